//! Connections of a server that have layers: what comes goes up through them, handshakes are bounded.
//!
//! A connection that has said nothing costs a socket and an empty stack, however many there are; it ends by
//! `connect_timeout`. With its first byte a handshake takes one of the seats of its worker (`handshakes`), and
//! gives it back when it is done, after `handshake_timeout` at the latest. Without a seat it is not read and not looked
//! at: it is on none of the worker's lists until a seat is given to it.

use super::handshakes::{Admission, Limits, Renamed, Source};
use super::last_words::Speaker;
use super::server_host::{ConnKey, Linked, ServerHost, ServerKey};
use super::worker::Worker;
use super::write::write_wire;
use super::{LinkId, Net};
use crate::base::Instant;
use crate::broker::HandshakeLoss;
use crate::stack::{About, Fault, Stack};

/// What became of bytes that came over a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// More are welcome.
    On,
    /// They were the last, and some of them wait in the shard.
    Waits,
    /// The connection is closed.
    Closed,
}

/// Whether a connection with layers may be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MayRead {
    Yes,
    /// Not before it takes what we answer.
    WireFull,
    /// Not before its handshake has a seat: it will be listed then.
    NoSeat,
}

impl<N: Net> ServerHost<N> {
    fn stack(&mut self, connection: ConnKey) -> Option<&mut Stack> {
        self.links.get_mut(connection)?.stack.as_deref_mut()
    }

    /// The peer's layers have said good-bye.
    pub(super) fn is_ended(&mut self, connection: ConnKey) -> bool {
        self.stack(connection).is_some_and(|stack| stack.is_ended())
    }

    fn limits(&self) -> Limits {
        let options = self.shard.options();
        Limits { seats: options.max_handshakes, seats_per_source: options.max_handshakes_per_address, timeout: options.handshake_timeout }
    }

    /// When a handshake has taken too long, or one that waits can be seated.
    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        if self.handshakes.is_empty() { None } else { self.handshakes.deadline(&self.limits()) }
    }

    /// A connection with layers has shaken hands, or is gone.
    pub(super) fn leave_handshakes(&mut self, connection: ConnKey) {
        let limits = self.limits();
        self.handshakes.leave(connection, &limits);
    }

    /// It is known who is behind a proxy, or that nobody is.
    fn introduced(&mut self, now: Instant, connection: ConnKey) {
        let peer = self.stack(connection).and_then(|stack| stack.peer());
        self.shard.introduced(now, connection, peer.as_deref());
        let source = Source::new(self.shard.source_of(connection), connection);
        let limits = self.limits();
        if self.handshakes.rename(connection, source, &limits) == Renamed::Waits {
            self.shard.count_handshake(HandshakeLoss::Crowded);
        }
    }

    /// The link of a new connection, or of one that came home.
    pub(super) fn begin_layers(&mut self, now: Instant, connection: ConnKey) {
        let about = self.stack(connection).and_then(Stack::begin);
        self.layers_established(now, connection, about);
        if self.stack(connection).is_some_and(|stack| !stack.wire().is_empty()) {
            self.shard.wants_write(connection);
        }
    }

    fn layers_established(&mut self, now: Instant, connection: ConnKey, about: Option<Box<About>>) {
        let Some(about) = about else { return };
        self.shard.established(now, connection, about);
        // A header was all there was: from now on it is a plain connection.
        if let Some(linked) = self.links.get_mut(connection) {
            linked.stack.take_if(|stack| stack.is_empty());
            if linked.stack.is_some() {
                self.shard.counts_link(connection);
            }
        }
    }
}

impl<N: Net> Worker<N> {
    /// Whether a connection may be read: its handshake has a seat, and it takes what we answer.
    pub(super) fn may_read_layers(&mut self, server: ServerKey, connection: ConnKey) -> MayRead {
        let now = self.now;
        let Some(host) = self.servers.get_mut(server) else { return MayRead::NoSeat };
        let Some(stack) = host.stack(connection) else { return MayRead::Yes };
        if stack.is_wire_full() {
            return MayRead::WireFull;
        }
        if stack.is_established() {
            return MayRead::Yes;
        }
        let limits = host.limits();
        let source = || Source::new(host.shard.source_of(connection), connection);
        match host.handshakes.admit(now, connection, source, &limits) {
            Admission::Seated => return MayRead::Yes,
            Admission::Begins(why) => host.shard.count_handshake(why),
            Admission::Waits => {}
        }
        MayRead::NoSeat
    }

    /// Closes what has shaken hands for too long, and has those read that get a seat.
    pub(super) fn turn_handshakes(&mut self, server: ServerKey) {
        while let Some(host) = self.servers.get_mut(server).filter(|host| !host.handshakes.is_empty()) {
            let limits = host.limits();
            if let Some(connection) = host.handshakes.next(self.now, &limits) {
                if let Some(link) = host.links.get(connection).map(|linked| linked.link) {
                    self.list(link, false);
                }
                continue;
            }
            let Some((connection, why)) = host.handshakes.overdue(self.now, &limits) else { return };
            // Whatever becomes of its link.
            host.leave_handshakes(connection);
            host.shard.count_handshake(why);
            match why {
                HandshakeLoss::TimedOut => self.end_connection(server, connection),
                _ => self.connection_lost(server, connection),
            }
        }
    }

    /// Bytes came over a link; plain ones go to the shard.
    pub(super) fn take_in(&mut self, server: ServerKey, connection: ConnKey, bytes: &[u8]) -> Taken {
        let Some(host) = self.servers.get_mut(server) else { return Taken::Closed };
        let Some(stack) = host.stack(connection) else {
            self.hand_in(server, connection, bytes);
            return Taken::On;
        };
        let was_established = stack.is_established();
        let mut plain = core::mem::take(&mut self.plain);
        let opened = stack.open(bytes, &mut plain);
        let is_established = stack.is_established();
        if !stack.wire().is_empty() {
            host.shard.wants_write(connection);
        }
        if is_established && !was_established {
            host.leave_handshakes(connection);
        }
        let result = opened.map(|opened| {
            if opened.is_introduced {
                host.introduced(self.now, connection);
            }
            host.layers_established(self.now, connection, opened.established);
            opened.is_ended
        });
        // Not before it is known who speaks: a fault in the same bytes may have kept the layers from telling.
        if is_established && !plain.is_empty() {
            self.hand_in(server, connection, &plain);
        }
        plain.clear();
        self.plain = plain;
        // Without a stack by now, a header was all there was.
        if let Some(host) = self.servers.get_mut(server).filter(|host| host.links.get(connection).is_some_and(|linked| linked.stack.is_some())) {
            host.shard.charge_link(self.now, connection, bytes.len());
        }
        match result {
            Ok(false) => return Taken::On,
            // What waits comes first, as it does when a plain connection ends: it is looked at again when the shard wants more.
            Ok(true) if self.is_waiting(server, connection) => return Taken::Waits,
            Ok(true) => self.end_connection(server, connection),
            Err(fault) => self.layer_failed(server, connection, was_established, &fault),
        }
        Taken::Closed
    }

    fn is_waiting(&mut self, server: ServerKey, connection: ConnKey) -> bool {
        let now = self.now;
        let Some(host) = self.servers.get_mut(server) else { return false };
        !host.shard.is_closing(connection) && !host.shard.wants_input(now, connection)
    }

    /// The peer's layers have said good-bye, and what waited was taken.
    pub(super) fn end_if_told(&mut self, server: ServerKey, connection: ConnKey) -> bool {
        let is_ended = self.servers.get_mut(server).is_some_and(|host| host.is_ended(connection));
        if is_ended {
            self.end_connection(server, connection);
        }
        is_ended
    }

    /// The peer is at fault: it gets the last word of the layer, as far as the socket takes it at once.
    fn layer_failed(&mut self, server: ServerKey, connection: ConnKey, was_established: bool, fault: &Fault) {
        let Some(host) = self.servers.get_mut(server) else { return };
        host.shard.layer_failed(connection, was_established, fault);
        let Some(Linked { link, stack, .. }) = host.unlink(connection) else { return };
        host.shard.closed(self.now, connection);
        self.end_link(server, link, stack);
    }

    /// The layers say good-bye, as far as the socket takes it at once.
    fn end_connection(&mut self, server: ServerKey, connection: ConnKey) {
        let Some(host) = self.servers.get_mut(server) else { return };
        host.shard.closed(self.now, connection);
        let Some(Linked { link, mut stack, .. }) = host.unlink(connection) else { return };
        if let Some(stack) = &mut stack {
            stack.close();
        }
        self.end_link(server, link, stack);
    }

    fn end_link(&mut self, server: ServerKey, link: LinkId, stack: Option<Box<Stack>>) {
        if let Some(mut stack) = stack {
            // The link is given up either way.
            let _ = write_wire(&mut self.net, link, &mut stack);
        }
        self.linger(link, Speaker::Server(server));
    }
}
