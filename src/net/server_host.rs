//! One server on a worker: its shard, its listeners, and the links of its connections.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use slotmap::SecondaryMap;

use super::dispatch::{self, DispatchedHooks, Owner as EventOwner};
use super::handshakes::Handshakes;
use super::last_words::Speaker;
use super::listener::{Listener, ListenerOptions};
use super::peers::Seat;
use super::server_stack::{MayRead, Taken};
use super::worker::{After, Owner, Worker};
use super::write::{write_once, write_sealed};
use super::{Endpoint, LinkId, ListenerId, Net, Peer};
use crate::base::{Duration, Instant};
pub(super) use crate::broker::ConnKey;
use crate::broker::{Hooks, Origin, Progress, Receive, Rules, Shard, Task};
use crate::codec::Reason;
use crate::stack::{Ends, Recipe, Stack};

slotmap::new_key_type! {
    /// Names a server of a worker.
    pub struct ServerKey;
}

pub(super) struct ServerHost<N: Net> {
    pub shard: Shard,
    /// Its place among the workers of the server; `None`: this is the only one.
    pub(super) seat: Option<Seat<N>>,
    pub(super) links: SecondaryMap<ConnKey, Linked>,
    pub(super) handshakes: Handshakes,
    listeners: Vec<Listener>,
    dirty: Vec<ConnKey>,
    stopping: Option<Stopping>,
}

/// The link of a connection, its layers if it has any, and its place at the listener it came through, if any.
pub(super) struct Linked {
    pub(super) link: LinkId,
    pub(super) stack: Option<Box<Stack>>,
    _place: Option<Arc<()>>,
}

struct Stopping {
    deadline: Instant,
    done: Vec<Box<dyn FnOnce() + Send>>,
}

/// What an endpoint of datagrams lets in for a listener.
#[cfg(feature = "datagram")]
fn datagram_limits(shard: &Shard, listener: &ListenerOptions) -> crate::stack::DatagramLimits {
    let options = shard.options();
    let connections_max = listener.max_connections.unwrap_or(options.max_connections);
    #[cfg(feature = "quic")]
    let connections_max = match listener.transport.underlay {
        super::Underlay::Quic => connections_max.min(listener.quic_max_connections),
        _ => connections_max,
    };
    crate::stack::DatagramLimits {
        connections_max,
        handshakes_max: options.max_handshakes,
        handshakes_per_source_max: options.max_handshakes_per_address,
        handshake_timeout: options.handshake_timeout,
    }
}

impl<N: Net> ServerHost<N> {
    fn new(shard: Shard) -> Self {
        Self { shard, seat: None, links: SecondaryMap::new(), handshakes: Handshakes::default(), listeners: Vec::new(), dirty: Vec::new(), stopping: None }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let stopping = self.stopping.as_ref().map(|stopping| stopping.deadline);
        [self.shard.poll_timeout(), stopping, self.handshake_deadline()].into_iter().flatten().min()
    }

    /// It is stopping, and all that may keep it is that its last words have not arrived.
    pub fn is_parting(&self) -> bool {
        self.stopping.is_some() && self.shard.connection_count() == 0
    }

    /// The socket of a connection takes bytes again.
    pub fn writable(&mut self, connection: ConnKey) {
        self.shard.writable(connection);
    }

    /// Goes on with what was held back.
    pub fn go_on(&mut self, now: Instant) {
        self.shard.go_on(now);
    }

    /// Goes on with what needs no input.
    pub fn work(&mut self, now: Instant) {
        self.shard.work(now);
    }

    /// Wants another turn at once.
    pub fn has_work(&self) -> bool {
        self.shard.has_work() || self.seat.as_ref().is_some_and(Seat::has_arrivals)
    }

    /// The connection has a link.
    pub(super) fn link(&mut self, connection: ConnKey, linked: Linked) {
        self.links.insert(connection, linked);
    }

    /// The connection has no link any more; what it was.
    pub(super) fn unlink(&mut self, connection: ConnKey) -> Option<Linked> {
        let linked = self.links.remove(connection)?;
        if linked.stack.is_some() {
            self.leave_handshakes(connection);
        }
        Some(linked)
    }

    /// It takes nobody in any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }
}

impl<N: Net> Worker<N> {
    /// Takes in the shard that `make` makes of its hooks, which in DISPATCH mode are called by the
    /// application's thread. It listens nowhere yet.
    pub fn add_server(&mut self, hooks: Option<Box<dyn Hooks>>, make: impl FnOnce(Option<Box<dyn Hooks>>) -> Shard) -> ServerKey {
        let (events, inbox, log, index) = (self.hooks.clone(), self.inbox().clone(), self.log.clone(), self.index);
        let server = |key| {
            let hooks = match (events, hooks) {
                (Some(events), Some(hooks)) => Some(Box::new(DispatchedHooks::new(&events, (index, key), hooks, inbox, log)) as Box<dyn Hooks>),
                (_, hooks) => hooks,
            };
            ServerHost::new(make(hooks))
        };
        self.servers.insert_with_key(server)
    }

    fn of_server(&self, server: ServerKey) -> EventOwner {
        EventOwner::Server(self.index, server)
    }

    /// A scheduled task, as the mode wants it.
    pub fn task(&self, server: ServerKey, period: Option<Duration>, run: Box<dyn FnMut() + Send>) -> Task {
        let Some(events) = &self.events else { return Task { period, run, cancelled: None } };
        let (run, cancelled) = dispatch::task(events, self.of_server(server), run);
        Task { period, run, cancelled: Some(cancelled) }
    }

    /// A callback of an in-process subscription, as the mode wants it.
    pub fn receiver(&self, server: ServerKey, receive: Receive) -> Receive {
        match &self.events {
            Some(events) => dispatch::receiver(events, self.of_server(server), receive),
            None => receive,
        }
    }

    /// Starts to listen, with the layers of `recipe` under each connection; answers with the address in use.
    ///
    /// # Errors
    /// As [`Net::listen`]; `NotFound` if the server is gone.
    pub fn add_listener(&mut self, server: ServerKey, options: &ListenerOptions, recipe: Recipe) -> io::Result<Endpoint> {
        self.accepting(server)?;
        let (listener, bound) = self.open_listener(server, options, &recipe)?;
        self.take_listener(server, listener, bound.clone(), options, recipe);
        Ok(bound)
    }

    /// A socket for datagrams is still there whose listener was closed.
    #[cfg(feature = "datagram")]
    pub fn keeps_socket_at(&mut self, address: std::net::SocketAddr) -> bool {
        self.net.keeps_datagrams(address)
    }

    fn open_listener(&mut self, server: ServerKey, options: &ListenerOptions, recipe: &Recipe) -> io::Result<(ListenerId, Endpoint)> {
        #[cfg(feature = "datagram")]
        if let (Endpoint::Udp(place), Some(make)) = (&options.endpoint, recipe.datagrams()) {
            let shard = &mut self.servers[server].shard;
            let seed = shard.draw_seed();
            let of_server = (seed, datagram_limits(shard, options), shard.budget().charge(0));
            return self.net.listen_datagrams(*place, &options.socket, &**make, of_server);
        }
        let _ = (server, recipe);
        self.net.listen(&options.endpoint, &options.socket)
    }

    /// Listens with a socket that listens already; the place in `options` does not count.
    ///
    /// # Errors
    /// As [`Net::listen_on`]; `NotFound` if the server is gone.
    pub fn add_listener_socket(&mut self, server: ServerKey, socket: OwnedFd, options: &ListenerOptions, recipe: Recipe) -> io::Result<Endpoint> {
        self.accepting(server)?;
        let (listener, bound) = self.net.listen_on(socket, &options.socket)?;
        self.take_listener(server, listener, bound.clone(), options, recipe);
        Ok(bound)
    }

    /// A server that is stopping listens no more.
    fn accepting(&mut self, server: ServerKey) -> io::Result<&mut ServerHost<N>> {
        let host = self.servers.get_mut(server).filter(|host| host.stopping.is_none());
        host.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn take_listener(&mut self, server: ServerKey, listener: ListenerId, bound: Endpoint, options: &ListenerOptions, recipe: Recipe) {
        let entry = Listener::new(self.now, listener, bound, options, recipe);
        self.servers[server].listeners.push(entry);
        self.listen_for(listener, Some(server));
    }

    /// Serves a client on a stream that is connected already. False: it is not let in.
    ///
    /// # Errors
    /// As [`Net::adopt`]; `NotFound` if the server is gone.
    pub fn adopt(&mut self, server: ServerKey, socket: OwnedFd, rules: Option<&Arc<Rules>>) -> io::Result<bool> {
        self.accepting(server)?;
        let (link, peer) = self.net.adopt(socket)?;
        let now = self.now;
        let host = &mut self.servers[server];
        let admitted = host.shard.open(now, &Origin { peer: &peer.to_string(), listener: "", process: peer.process, rules, is_proxy: false });
        match admitted {
            Some(connection) => {
                host.links.insert(connection, Linked { link, stack: None, _place: None });
                self.own(link, Owner::Connection(server, connection));
            }
            None => self.net.close(link),
        }
        Ok(admitted.is_some())
    }

    /// Serves a client on a stream that is connected already, as if it had come in through the listener at this address; its rate of
    /// connections does not make anybody wait. `None`: it does not listen there. False: it is not let in.
    ///
    /// # Errors
    /// As [`Worker::adopt`].
    pub fn adopt_at(&mut self, server: ServerKey, socket: &OwnedFd, address: &Endpoint) -> io::Result<Option<bool>> {
        let host = self.accepting(server)?;
        let Some(listener) = host.listeners.iter().find(|listener| listener.bound == *address).map(|listener| listener.id) else { return Ok(None) };
        let (link, peer) = self.net.adopt(socket.try_clone()?)?;
        Ok(Some(self.accepted(server, listener, link, peer)))
    }

    /// Other rules and layers for whoever comes from now on; the address stays. False: it did not listen there.
    pub fn change_listener(&mut self, server: ServerKey, address: &Endpoint, options: &ListenerOptions, recipe: Recipe) -> bool {
        let Some(host) = self.servers.get_mut(server) else { return false };
        let Some(listener) = host.listeners.iter_mut().find(|listener| listener.bound == *address) else { return false };
        #[cfg(feature = "datagram")]
        if let Some(make) = recipe.datagrams() {
            self.net.renew_datagrams(listener.id, &**make, datagram_limits(&host.shard, options));
        }
        listener.change(self.now, options, recipe);
        true
    }

    /// Stops listening at an address; its connections stay. False: it did not listen there.
    pub fn remove_listener(&mut self, server: ServerKey, address: &Endpoint) -> bool {
        let Some(host) = self.servers.get_mut(server) else { return false };
        let Some(index) = host.listeners.iter().position(|listener| listener.bound == *address) else { return false };
        let listener = host.listeners.swap_remove(index).id;
        self.listen_for(listener, None);
        self.net.unlisten(listener);
        true
    }

    /// The shard of a server, and the time of this turn.
    pub fn shard(&mut self, server: ServerKey) -> Option<(&mut Shard, Instant)> {
        self.servers.get_mut(server).map(|host| (&mut host.shard, self.now))
    }

    /// Stops a server: no new connections, DISCONNECT with `reason` to every client, at most
    /// `drain` for that to go out (over datagrams: to arrive), then `done` is called and the server is gone.
    pub fn stop_server(&mut self, server: ServerKey, reason: Reason, drain: Duration, done: Box<dyn FnOnce() + Send>) {
        let Some(host) = self.servers.get_mut(server) else { return self.tell(self.of_server(server), done) };
        for listener in core::mem::take(&mut host.listeners) {
            self.listen_for(listener.id, None);
            self.net.unlisten(listener.id);
        }
        let host = &mut self.servers[server];
        let deadline = self.now + drain;
        match &mut host.stopping {
            // Stopped twice: the shorter drain holds, and both hear of the end.
            Some(stopping) => {
                stopping.deadline = stopping.deadline.min(deadline);
                stopping.done.push(done);
            }
            None => {
                host.shard.stop(self.now, reason);
                host.stopping = Some(Stopping { deadline, done: vec![done] });
            }
        }
    }

    /// Until when this listener takes nobody in; `None`: it does.
    pub(super) fn listener_rests(&mut self, server: ServerKey, listener: ListenerId) -> Option<Instant> {
        let host = self.servers.get_mut(server)?;
        let until = host.listeners.iter_mut().find(|entry| entry.id == listener)?.rests_until(self.now)?;
        host.shard.count_accept_pause();
        Some(until)
    }

    /// Somebody came in through a listener. False: he is not let in, the link is closed.
    pub(super) fn accepted(&mut self, server: ServerKey, listener: ListenerId, link: LinkId, peer: Peer) -> bool {
        let is_in = self.let_in(server, listener, link, peer);
        if !is_in {
            self.net.close(link);
        }
        is_in
    }

    fn let_in(&mut self, server: ServerKey, listener: ListenerId, link: LinkId, peer: Peer) -> bool {
        let Some(host) = self.servers.get_mut(server) else { return false };
        let Some(entry) = host.listeners.iter_mut().find(|entry| entry.id == listener) else { return false };
        let place = entry.take_place(self.now);
        let is_proxy = entry.is_proxy(&peer);
        let origin = Origin { peer: &peer.to_string(), listener: &entry.bound.to_string(), process: peer.process, rules: Some(&entry.rules), is_proxy };
        let admitted = match place {
            None => host.shard.turn_away(),
            Some(_) => host.shard.open(self.now, &origin),
        };
        let Some(connection) = admitted else { return false };
        #[cfg(feature = "datagram")]
        if let Some(about) = self.net.about(link) {
            host.shard.established(self.now, connection, about);
        }
        #[cfg(feature = "datagram")]
        if let Some(watch) = self.net.watched(link) {
            host.shard.watch(connection, watch);
        }
        if entry.recipe.is_empty() {
            host.links.insert(connection, Linked { link, stack: None, _place: place });
            self.own(link, Owner::Connection(server, connection));
            return true;
        }
        let ends = Ends { source: peer.address, destination: entry.bound.socket_address(), seed: host.shard.draw_seed(), ..Ends::default() };
        match entry.recipe.stack(host.shard.budget(), &ends) {
            Ok(stack) => {
                host.links.insert(connection, Linked { link, stack, _place: place });
                host.begin_layers(self.now, connection);
                self.own(link, Owner::Connection(server, connection));
                true
            }
            Err(fault) => {
                host.shard.layer_failed(connection, false, &fault);
                host.shard.closed(self.now, connection);
                false
            }
        }
    }

    /// A connection goes on from another address.
    #[cfg(feature = "datagram")]
    pub(super) fn moved(&mut self, link: LinkId, peer: std::net::SocketAddr) {
        if let Owner::Connection(server, connection) = self.owner(link) {
            if let Some(host) = self.servers.get_mut(server) {
                host.shard.moved(self.now, connection, peer);
            }
        }
    }

    /// A listener over datagrams has counted.
    #[cfg(feature = "datagram")]
    pub(super) fn counted(&mut self, server: ServerKey, listener: ListenerId, counters: &crate::stack::DatagramCounters) {
        if let Some(host) = self.servers.get_mut(server) {
            let bound = host.listeners.iter().find(|entry| entry.id == listener).map(|entry| entry.bound.to_string());
            host.shard.count_datagrams(bound.as_deref().unwrap_or("a listener that was closed"), counters);
        }
    }

    /// Somebody wanted to come in through a listener.
    #[cfg(feature = "datagram")]
    pub(super) fn came_to_nothing(&mut self, server: ServerKey, peer: std::net::SocketAddr, fault: &crate::stack::Fault) {
        if let Some(host) = self.servers.get_mut(server) {
            host.shard.came_to_nothing(peer, fault);
        }
    }

    pub(super) fn read_connection(&mut self, server: ServerKey, connection: ConnKey, link: LinkId) -> After {
        let must_rest = self.must_rest();
        let Some(host) = self.servers.get_mut(server) else { return After::Closed };
        if !host.shard.wants_input(self.now, connection) || must_rest {
            return self.leave_unread(server, connection, link);
        }
        let has_layers = host.links.get(connection).is_some_and(|linked| linked.stack.is_some());
        if has_layers && self.end_if_told(server, connection) {
            return After::Closed;
        }
        if has_layers {
            match self.may_read_layers(server, connection) {
                MayRead::Yes => {}
                MayRead::WireFull => return After::Pause,
                MayRead::NoSeat => return After::Elsewhere,
            }
        }
        let mut scratch = core::mem::take(&mut self.scratch);
        let read = self.net.read(link, &mut scratch);
        let after = match read {
            Ok(0) => self.read_payloads(server, connection, link, &mut scratch),
            Ok(count) => match self.take_in(server, connection, &scratch[..count]) {
                // A short read was the last: no second one just to see that nothing is there.
                Taken::On if count < scratch.len() => After::Drained,
                Taken::On => After::Again,
                Taken::Waits => After::Pause,
                Taken::Closed => After::Closed,
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => After::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => After::Again,
            Err(_) => {
                self.connection_lost(server, connection);
                After::Closed
            }
        };
        self.scratch = scratch;
        after
    }

    /// A connection is not read now, unless its peer is gone, and what it left has waited for long enough.
    fn leave_unread(&mut self, server: ServerKey, connection: ConnKey, link: LinkId) -> After {
        let has_ended = self.has_ended(link);
        let is_given_up =
            self.servers.get_mut(server).is_some_and(|host| (has_ended || host.is_ended(connection)) && host.shard.is_given_up(self.now, connection));
        if !is_given_up {
            return After::Pause;
        }
        self.connection_lost(server, connection);
        After::Closed
    }

    pub(super) fn hand_in(&mut self, server: ServerKey, connection: ConnKey, mut bytes: &[u8]) {
        while let Some(host) = self.servers.get_mut(server) {
            let Progress::Flush { consumed } = host.shard.handle_input(self.now, connection, bytes) else { return };
            bytes = &bytes[consumed..];
            self.flush_server(server);
            let Some(host) = self.servers.get_mut(server) else { return };
            if host.shard.is_congested() {
                return host.shard.hold(self.now, connection, bytes);
            }
        }
    }

    pub(super) fn connection_lost(&mut self, server: ServerKey, connection: ConnKey) {
        let Some(host) = self.servers.get_mut(server) else { return };
        host.shard.closed(self.now, connection);
        if let Some(linked) = host.unlink(connection) {
            self.close(linked.link);
        }
    }

    /// Writes every dirty connection once. False: there was none.
    pub(super) fn flush_server(&mut self, server: ServerKey) -> bool {
        self.hand_over(server);
        let Some(host) = self.servers.get_mut(server) else { return false };
        let mut dirty = core::mem::take(&mut host.dirty);
        host.shard.take_dirty(self.now, &mut dirty);
        let any = !dirty.is_empty();
        for connection in dirty.drain(..) {
            self.flush_connection(server, connection);
        }
        if let Some(host) = self.servers.get_mut(server) {
            host.dirty = dirty;
        }
        any
    }

    fn flush_connection(&mut self, server: ServerKey, connection: ConnKey) {
        let Some(host) = self.servers.get_mut(server) else { return };
        let Some(Linked { link, stack, .. }) = host.links.get_mut(connection) else { return };
        let link = *link;
        let is_closing = stack.is_some() && host.shard.is_closing(connection);
        let Some(out) = host.shard.output(connection) else { return };
        let written = match stack {
            None => write_once(&mut self.net, link, out),
            Some(stack) => write_sealed(&mut self.net, link, stack, out, is_closing),
        };
        match written {
            Ok((count, blocked)) => {
                if host.shard.sent(self.now, connection, count, blocked) {
                    host.unlink(connection);
                    host.shard.closed(self.now, connection);
                    self.linger(link, Speaker::Server(server));
                }
            }
            Err(_) => self.connection_lost(server, connection),
        }
    }

    pub(super) fn server_timeout(&mut self, server: ServerKey) {
        self.turn_handshakes(server);
        let host = &mut self.servers[server];
        if host.shard.poll_timeout().is_some_and(|deadline| deadline <= self.now) {
            host.shard.handle_timeout(self.now);
        }
        let is_due = host.stopping.as_ref().is_some_and(|stopping| stopping.deadline <= self.now);
        if is_due || (host.is_parting() && !self.last_words.has(Speaker::Server(server))) {
            self.remove_server(server);
        }
    }

    /// Ends a server at once, without a word to its clients.
    pub fn remove_server(&mut self, server: ServerKey) {
        let Some(mut host) = self.servers.remove(server) else { return };
        for listener in core::mem::take(&mut host.listeners) {
            self.listen_for(listener.id, None);
            self.net.unlisten(listener.id);
        }
        for (_, Linked { link, .. }) in host.links.drain() {
            self.close(link);
        }
        host.shard.clear(self.now);
        let done = host.stopping.map(|stopping| stopping.done).unwrap_or_default();
        // Hooks and their data go before anybody hears that they are gone.
        self.leave(host.seat.take());
        drop(host.shard);
        for done in done {
            self.tell(self.of_server(server), done);
        }
    }
}
