//! The shards of one server towards each other.
//!
//! ```text
//!   any shard ── CONNECT of a client id that is at home elsewhere ──> leaving ──(host)──> admit
//!   publisher's shard ── match once ──> own targets: deliver
//!                                  └──> others: outbox per shard ──(host)──> take_post
//! ```
//! Where a client id is at home follows from a keyed hash of it, so that no directory is needed and
//! no peer can choose it. A connection moves when its CONNECT has named the client, before
//! any hook is asked about it: hooks, session, take-over, queue and will are its home's alone.
//!
//! A message goes to another shard in one post with all its targets there. The host hands an outbox
//! over when its turn ends; what the other side has no room for stays, and while an outbox is full
//! nothing is read here that could fill it more. Posts that come in are always taken, whatever the
//! own outboxes hold, so that no two shards can wait for each other. What taking one makes in turn
//! (a shared message for yet another member) is bounded by the members tried.
//!
//! A target may be gone when its post arrives: keys carry generations, so it finds nothing.

use std::sync::Arc;

use crate::base::{Charge, Instant, Level};
use crate::codec::{Connect, Message};
use crate::route::{Hit, ShareId, Target};

use super::connection::{ConnKey, Connection, State};
use super::session::SessionKey;
use super::shard::Shard;

/// The most shards a server can have: a hook token has a byte for them.
pub const SHARDS_MAX: usize = 256;

/// What the shards of one server count together.
#[derive(Clone, Debug, Default)]
pub struct Levels {
    /// Network connections.
    pub connections: Level,
    /// Clients connected.
    pub clients: Level,
}

/// A message for targets of another shard.
#[derive(Debug)]
pub struct Post {
    message: Arc<Message>,
    hits: Vec<PostedHit>,
    charge: Charge,
}

#[derive(Debug)]
struct PostedHit {
    hit: Hit,
    subscription_ids: Box<[u32]>,
    /// Of a shared group: the members that could not take it.
    tried: Box<[Target]>,
}

impl Post {
    /// What it adds to the byte limit of an inbox.
    pub fn len_bytes(&self) -> usize {
        self.message.len_bytes() + self.charge.bytes()
    }
}

/// Posts for one other shard.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    posts: Vec<Post>,
    bytes: usize,
}

/// A connection on its way to its home.
#[derive(Debug)]
pub struct Traveller(Box<Connection>);

impl Shard {
    /// Makes it one of `count` shards that share a router and these levels.
    pub fn among(mut self, count: u16, levels: &Levels) -> Self {
        debug_assert!(usize::from(count) <= SHARDS_MAX && self.id < count);
        self.count = count;
        self.levels = levels.clone();
        self.outboxes.resize_with(count.into(), Outbox::default);
        self
    }

    /// Where a client id is at home.
    pub fn home_of(&self, client_id: &str) -> u16 {
        if self.count == 1 {
            return self.id;
        }
        self.router.read().expect("router lock").home_of(client_id, self.count.into()) as u16
    }

    /// The client of a CONNECT is at home elsewhere; its connection is about to leave then. A client
    /// id that this server invents will be of this shard.
    pub(super) fn sends_home(&mut self, key: ConnKey, connect: &Connect<'_>) -> bool {
        if self.count == 1 || connect.client_id.is_empty() {
            return false;
        }
        let home = self.home_of(connect.client_id);
        if home == self.id {
            return false;
        }
        self.connections[key].state = State::Leaving;
        self.leaving.push((key, home));
        true
    }

    /// A connection that is to be handed to another shard, and which.
    pub fn next_leaving(&mut self) -> Option<(ConnKey, u16)> {
        self.leaving.pop()
    }

    /// Takes a leaving connection out, with everything its client has sent. `None`: it has ended.
    pub fn release(&mut self, key: ConnKey) -> Option<Traveller> {
        self.connections.get(key).filter(|connection| connection.state == State::Leaving)?;
        let mut connection = self.connections.remove(key)?;
        connection.timer = None;
        connection.state = State::AwaitConnect;
        connection.flags.dirty = false;
        self.stats.connections_handed_over += 1;
        Some(Traveller(Box::new(connection)))
    }

    /// Takes in a connection that another shard released.
    pub fn admit(&mut self, now: Instant, Traveller(connection): Traveller) -> ConnKey {
        let key = self.connections.insert(*connection);
        self.arm_connection(key);
        self.take_rest(now, key);
        key
    }

    /// A target of another shard: into the outbox, with the others there of the same message.
    pub(super) fn post(&mut self, hit: &Hit, subscription_ids: &[u32], message: &Arc<Message>, tried: &[Target]) {
        let outbox = &mut self.outboxes[usize::from(hit.target.shard)];
        let posted = PostedHit { hit: hit.clone(), subscription_ids: subscription_ids.into(), tried: tried.into() };
        let bytes = size_of::<PostedHit>() + size_of_val(subscription_ids) + size_of_val(tried);
        match outbox.posts.last_mut() {
            Some(last) if Arc::ptr_eq(&last.message, message) => {
                last.charge.resize(last.charge.bytes() + bytes);
                last.hits.push(posted);
                outbox.bytes += bytes;
            }
            _ => {
                let charge = self.budget.charge(size_of::<Post>() + bytes);
                let post = Post { message: message.clone(), hits: vec![posted], charge };
                outbox.bytes += post.len_bytes();
                outbox.posts.push(post);
                self.stats.messages_handed_over += 1;
            }
        }
        self.outbox_full |= outbox.posts.len() >= self.options.max_inbox_posts || outbox.bytes >= self.options.max_inbox_bytes;
    }

    /// Offers each outbox that is not empty to `take`, which takes from its front what the other
    /// shard has room for.
    pub fn hand_over(&mut self, mut take: impl FnMut(u16, &mut Vec<Post>)) {
        let (posts_max, bytes_max) = (self.options.max_inbox_posts, self.options.max_inbox_bytes);
        self.outbox_full = false;
        for (peer, outbox) in self.outboxes.iter_mut().enumerate().filter(|(_, outbox)| !outbox.posts.is_empty()) {
            take(peer as u16, &mut outbox.posts);
            if outbox.posts.is_empty() {
                outbox.bytes = 0;
                continue;
            }
            self.stats.inbox_full += 1;
            outbox.bytes = outbox.posts.iter().map(Post::len_bytes).sum();
            self.outbox_full |= outbox.posts.len() >= posts_max || outbox.bytes >= bytes_max;
        }
    }

    /// Something waits for another shard.
    pub fn has_posts(&self) -> bool {
        self.outboxes.iter().any(|outbox| !outbox.posts.is_empty())
    }

    /// A message from another shard.
    pub fn take_post(&mut self, now: Instant, post: Post) {
        let Post { message, hits, charge: _charge } = post;
        let is_fan_out = hits.len() > 1;
        if is_fan_out {
            self.fan_out.begin(&message);
        }
        for PostedHit { hit, subscription_ids, tried } in hits {
            match hit.share {
                Some(share) => self.take_shared(now, share, &hit, &subscription_ids, &message, &tried),
                None if self.sessions.contains_key(SessionKey::from_u64(hit.target.key)) => {
                    self.deliver(now, &hit, &subscription_ids, &message);
                }
                None => self.stats.dropped_session_ended += 1,
            }
        }
        if is_fan_out {
            self.fan_out.end();
        }
    }

    /// The member chosen may have gone since: then it is not the one to take it, if another is there.
    fn take_shared(&mut self, now: Instant, share: ShareId, hit: &Hit, subscription_ids: &[u32], message: &Arc<Message>, tried: &[Target]) {
        let session = self.sessions.get(SessionKey::from_u64(hit.target.key));
        let is_away = session.is_some_and(|session| session.connection.is_none() && session.local.is_none());
        let has_better = is_away && self.router.read().expect("router lock").has_other_online(share, hit.target);
        if has_better || !self.deliver(now, hit, subscription_ids, message) {
            let mut tried = tried.to_vec();
            tried.push(hit.target);
            self.reoffer(now, share, tried, message);
        }
    }

    /// Posts that will never be taken: the server on the other worker has ended, and its sessions.
    pub fn lost(&mut self, posts: &[Post]) {
        self.stats.dropped_session_ended += posts.iter().map(|post| post.hits.len() as u64).sum::<u64>();
    }

    /// Out-buffers wait to be written before more is handed in.
    pub fn wants_flush(&self) -> bool {
        self.flush_wanted
    }
}
