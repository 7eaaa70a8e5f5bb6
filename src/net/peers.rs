//! The workers of one server towards each other: mailboxes, and connections that go home.
//!
//! ```text
//!   before a write: outbox ──append, under the mutex──> mailbox of the other ──swapped out whole──> its turn
//!                  ^ what has no room stays                 └── whoever found it full is woken then
//!   CONNECT for another worker: link detached ──posted with what was read──> attached there
//! ```
//! Outboxes are handed over before sockets are written: what a client does when it sees an
//! acknowledgement cannot overtake what was acknowledged, unless that mailbox is full.
//!
//! A mailbox holds a mutex for as long as a vector is appended or swapped, and its owner is woken
//! only if it sleeps. Nobody waits for anybody.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Net;
use super::inbox::Inbox;
use super::server_host::{Linked, ServerKey};
use super::worker::{Command, Owner, Worker};
use crate::broker::{Post, Traveller};

// A shard for each worker.
const _: () = assert!(super::WORKERS_MAX <= crate::broker::SHARDS_MAX);

/// An empty vector of posts keeps room for so many.
const POSTS_KEPT: usize = 256;

/// The places of one server, one on each of its workers.
pub struct Peers<N: Net>(Box<[Place<N>]>);

struct Place<N: Net> {
    inbox: Arc<Inbox<Command<N>>>,
    /// What the server is called on that worker, once it is there.
    server: OnceLock<ServerKey>,
    mail: Mutex<Mail>,
}

#[derive(Default)]
struct Mail {
    posts: Vec<Post>,
    bytes: usize,
    /// Who found it full since it was emptied.
    turned_away: Vec<u16>,
    /// The server has ended there.
    is_closed: bool,
}

/// This worker's place among them.
pub(super) struct Seat<N: Net> {
    peers: Arc<Peers<N>>,
    own: u16,
    /// Posts that are being taken; kept for its memory.
    taken: Vec<Post>,
    /// Connections that came home.
    arrivals: Vec<Arrival<N>>,
    /// So many of them came before the poll's last report.
    arrivals_due: usize,
}

struct Arrival<N: Net> {
    stream: N::Stream,
    linked: Linked,
    traveller: Traveller,
}

impl<N: Net> Peers<N> {
    /// Places for workers with these inboxes; a shard's number is its position.
    pub fn new(inboxes: impl IntoIterator<Item = Arc<Inbox<Command<N>>>>) -> Arc<Self> {
        let place = |inbox| Place { inbox, server: OnceLock::new(), mail: Mutex::default() };
        Arc::new(Self(inboxes.into_iter().map(place).collect()))
    }

    /// Moves what there is room for from the front of `posts`. A limit counts what waits already.
    /// False: the server has ended there, nothing will ever be taken.
    fn put(&self, from: u16, to: u16, posts: &mut Vec<Post>, posts_max: usize, bytes_max: usize) -> bool {
        let place = &self.0[usize::from(to)];
        let mut mail = place.lock();
        if mail.is_closed {
            return false;
        }
        let mut count = 0;
        while count < posts.len() && mail.posts.len() + count < posts_max && mail.bytes < bytes_max {
            mail.bytes += posts[count].len_bytes();
            count += 1;
        }
        if count < posts.len() && !mail.turned_away.contains(&from) {
            mail.turned_away.push(from);
        }
        match mail.posts.is_empty() && count == posts.len() {
            true => core::mem::swap(&mut mail.posts, posts),
            false => mail.posts.extend(posts.drain(..count)),
        }
        drop(mail);
        if count > 0 {
            place.inbox.nudge();
        }
        true
    }

    /// Everything that waits for one worker; those who found it full may try again.
    fn take(&self, own: u16, into: &mut Vec<Post>) {
        debug_assert!(into.is_empty());
        let mut mail = self.0[usize::from(own)].lock();
        core::mem::swap(&mut mail.posts, into);
        mail.bytes = 0;
        let turned_away = core::mem::take(&mut mail.turned_away);
        drop(mail);
        for peer in turned_away {
            self.0[usize::from(peer)].inbox.nudge();
        }
    }

    fn close(&self, own: u16) {
        let mut mail = self.0[usize::from(own)].lock();
        let Mail { posts, turned_away, .. } = core::mem::take(&mut *mail);
        mail.is_closed = true;
        drop(mail);
        drop(posts);
        for peer in turned_away {
            self.0[usize::from(peer)].inbox.nudge();
        }
    }

    /// Messages wait for some worker.
    pub fn has_posts(&self) -> bool {
        self.0.iter().any(|place| !place.lock().posts.is_empty())
    }
}

impl<N: Net> Place<N> {
    fn lock(&self) -> MutexGuard<'_, Mail> {
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<N: Net> Worker<N> {
    /// The shard of this server is the one with the number `own` among these.
    pub fn join_peers(&mut self, server: ServerKey, peers: Arc<Peers<N>>, own: u16) {
        let Some(host) = self.servers.get_mut(server) else { return };
        // Set once: a server joins when it is made.
        let _ = peers.0[usize::from(own)].server.set(server);
        host.seat = Some(Seat { peers, own, taken: Vec::new(), arrivals: Vec::new(), arrivals_due: 0 });
        self.has_peers = true;
    }

    /// Takes what other workers have for a server.
    pub(super) fn take_posts(&mut self, server: ServerKey) {
        let Some(seat) = self.servers.get_mut(server).and_then(|host| host.seat.as_mut()) else { return };
        let mut posts = core::mem::take(&mut seat.taken);
        seat.peers.take(seat.own, &mut posts);
        for post in posts.drain(..) {
            let Some(host) = self.servers.get_mut(server) else { return };
            host.shard.take_post(self.now, post);
            // As after input: a fan-in must not drop what a write can take.
            if host.shard.wants_flush() {
                self.flush_server(server);
            }
        }
        if let Some(seat) = self.servers.get_mut(server).and_then(|host| host.seat.as_mut()) {
            // A burst does not keep its memory.
            posts.shrink_to(POSTS_KEPT);
            seat.taken = posts;
        }
    }

    /// Gives other workers what this turn has for them.
    pub(super) fn hand_over(&mut self, server: ServerKey) {
        let Some(host) = self.servers.get_mut(server) else { return };
        let Some(seat) = &host.seat else { return };
        let (posts_max, bytes_max) = (host.shard.options().max_inbox_posts, host.shard.options().max_inbox_bytes);
        let mut lost = Vec::new();
        host.shard.hand_over(|peer, posts| {
            if !seat.peers.put(seat.own, peer, posts, posts_max, bytes_max) {
                lost.append(posts);
            }
        });
        host.shard.lost(&lost);
    }

    /// Sends connections home whose clients are at home on another worker.
    pub(super) fn see_off(&mut self, server: ServerKey) {
        while let Some(host) = self.servers.get_mut(server) {
            let Some((connection, home)) = host.shard.next_leaving() else { return };
            let Some(seat) = &host.seat else { return };
            let place = &seat.peers.0[usize::from(home)];
            let (inbox, there) = (place.inbox.clone(), place.server.get().copied());
            let Some(traveller) = host.shard.release(connection) else { continue };
            let Some(linked) = host.unlink(connection) else { continue };
            let Some(there) = there else {
                self.close(linked.link);
                continue;
            };
            self.disown(linked.link);
            // A stream that cannot be detached is closed, and its client tries again.
            let Ok(stream) = self.net.detach(linked.link) else { continue };
            inbox.post(Box::new(move |worker: &mut Self| match worker.servers.get_mut(there).and_then(|host| host.seat.as_mut()) {
                Some(seat) => seat.arrivals.push(Arrival { stream, linked, traveller }),
                None => worker.turn_back(stream),
            }));
        }
    }

    /// A connection that comes home waits for the next report of the poll: what its client sent on an
    /// older connection, such as acknowledgements, is in that, and is read before the old one is taken
    /// over.
    pub(super) fn await_report(&mut self, server: ServerKey) {
        if let Some(seat) = self.servers.get_mut(server).and_then(|host| host.seat.as_mut()) {
            seat.arrivals_due = seat.arrivals.len();
        }
    }

    /// Lets those in that came before the report.
    pub(super) fn welcome(&mut self, server: ServerKey) {
        let Some(seat) = self.servers.get_mut(server).and_then(|host| host.seat.as_mut()) else { return };
        let due = core::mem::take(&mut seat.arrivals_due);
        for Arrival { stream, mut linked, traveller } in seat.arrivals.drain(..due).collect::<Vec<_>>() {
            let Some(host) = self.servers.get_mut(server).filter(|host| !host.is_stopping()) else {
                self.turn_back(stream);
                continue;
            };
            // Without memory to watch it with it is closed, and its client tries again.
            let Ok(link) = self.net.attach(stream) else { continue };
            linked.link = link;
            let connection = host.shard.admit(self.now, traveller);
            host.link(connection, linked);
            host.begin_layers(self.now, connection);
            let is_ended = host.is_ended(connection);
            self.own(link, Owner::Connection(server, connection));
            if is_ended {
                // Nothing comes that would have it looked at.
                self.list(link, true);
            }
        }
    }

    /// Nobody is there for it any more.
    fn turn_back(&mut self, stream: N::Stream) {
        if let Ok(link) = self.net.attach(stream) {
            self.net.close(link);
        }
    }

    /// The server has ended here: what comes for it is not kept.
    pub(super) fn leave(&mut self, seat: Option<Seat<N>>) {
        let Some(mut seat) = seat else { return };
        seat.arrivals.drain(..).for_each(|arrival| self.turn_back(arrival.stream));
    }
}

impl<N: Net> Seat<N> {
    /// Connections wait to be let in.
    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }
}

impl<N: Net> Drop for Seat<N> {
    /// What comes for a server that has ended is not kept.
    fn drop(&mut self) {
        self.peers.close(self.own);
    }
}
