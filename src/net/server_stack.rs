//! Connections of a server that have layers: what comes goes up through them, handshakes are bounded.
//!
//! A connection that has said nothing costs a socket and an empty stack, however many there are; it ends by
//! `connect_timeout`. With its first byte a handshake takes one of `max_handshakes` seats of its worker, and
//! gives it back when it is done, after `handshake_timeout` at the latest. Without a free seat it is not read
//! and waits, like any paused connection; then a handshake that has held a seat for longer than
//! [`PATIENCE`] is given up in favour of those who wait, so that half handshakes cannot keep the seats.

use std::collections::VecDeque;

use super::server_host::{ConnKey, Linked, ServerHost, ServerKey};
use super::worker::Worker;
use super::write::write_wire;
use super::{LinkId, Net};
use crate::base::{Duration, Instant, Level};
use crate::broker::HandshakeLoss;
use crate::stack::{About, Fault, Stack};

/// So long a handshake may take while others wait for its seat.
const PATIENCE: Duration = Duration::from_secs(1);

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

/// The handshakes in progress.
#[derive(Default)]
pub(super) struct Handshakes {
    seats: Level,
    /// When each took its seat, the oldest first; some of them are done.
    order: VecDeque<(Instant, ConnKey)>,
}

impl<N: Net> ServerHost<N> {
    fn stack(&mut self, connection: ConnKey) -> Option<&mut Stack> {
        self.links.get_mut(connection)?.stack.as_deref_mut()
    }

    /// The peer's layers have said good-bye.
    pub(super) fn is_ended(&mut self, connection: ConnKey) -> bool {
        self.stack(connection).is_some_and(|stack| stack.is_ended())
    }

    /// When the oldest handshake has taken too long.
    pub(super) fn handshake_deadline(&self) -> Option<Instant> {
        self.handshakes.order.front().map(|(since, _)| *since + self.shard.options().handshake_timeout)
    }

    fn is_shaking(&self, connection: ConnKey) -> bool {
        let stack = self.links.get(connection).and_then(|linked| linked.stack.as_ref());
        stack.is_some_and(|stack| stack.seat.is_some())
    }

    /// The oldest handshake in progress.
    fn oldest_handshake(&mut self) -> Option<(Instant, ConnKey)> {
        while let Some(&(since, connection)) = self.handshakes.order.front() {
            if self.is_shaking(connection) {
                return Some((since, connection));
            }
            self.handshakes.order.pop_front();
        }
        None
    }

    fn take_seat(&mut self, now: Instant, connection: ConnKey) -> bool {
        let seats_max = self.shard.options().max_handshakes;
        let Some(seat) = self.handshakes.seats.take_seat(seats_max) else { return false };
        if let Some(stack) = self.stack(connection) {
            stack.seat = Some(seat);
        }
        // Those that are done are looked for when they are in front, and here before they pile up.
        if self.handshakes.order.len() >= 2 * seats_max {
            let mut order = core::mem::take(&mut self.handshakes.order);
            order.retain(|(_, connection)| self.is_shaking(*connection));
            self.handshakes.order = order;
        }
        self.handshakes.order.push_back((now, connection));
        true
    }

    /// The link of a new connection, or of one that came home.
    pub(super) fn begin_layers(&mut self, connection: ConnKey) {
        let about = self.stack(connection).and_then(Stack::begin);
        self.layers_established(connection, about);
        if self.stack(connection).is_some_and(|stack| !stack.wire().is_empty()) {
            self.shard.wants_write(connection);
        }
    }

    fn layers_established(&mut self, connection: ConnKey, about: Option<Box<About>>) {
        let Some(about) = about else { return };
        self.shard.established(connection, about);
        // A header was all there was: from now on it is a plain connection.
        if let Some(linked) = self.links.get_mut(connection) {
            linked.stack.take_if(|stack| stack.is_empty());
        }
    }
}

impl<N: Net> Worker<N> {
    /// A connection with layers may be read: its handshake has a seat, and it takes what we answer.
    pub(super) fn may_read_layers(&mut self, server: ServerKey, connection: ConnKey) -> bool {
        let now = self.now;
        let Some(host) = self.servers.get_mut(server) else { return false };
        let Some(stack) = host.stack(connection) else { return true };
        if stack.is_wire_full() {
            return false;
        }
        if stack.is_established() || stack.seat.is_some() || host.take_seat(now, connection) {
            return true;
        }
        let had_waited = host.stack(connection).is_some_and(|stack| core::mem::replace(&mut stack.has_waited, true));
        if !had_waited {
            host.shard.count_handshake(HandshakeLoss::Delayed);
        }
        let stale = host.oldest_handshake().filter(|(since, _)| *since + PATIENCE <= now);
        let Some((_, stale)) = stale else { return false };
        host.shard.count_handshake(HandshakeLoss::Shed);
        self.connection_lost(server, stale);
        self.servers.get_mut(server).is_some_and(|host| host.take_seat(now, connection))
    }

    /// Closes what has shaken hands for too long.
    pub(super) fn end_stale_handshakes(&mut self, server: ServerKey) {
        while let Some(host) = self.servers.get_mut(server) {
            let Some((since, connection)) = host.oldest_handshake() else { return };
            if since + host.shard.options().handshake_timeout > self.now {
                return;
            }
            host.shard.count_handshake(HandshakeLoss::TimedOut);
            self.end_connection(server, connection);
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
        let result = match opened {
            Ok(opened) => {
                host.layers_established(connection, opened.established);
                Ok(opened.is_ended)
            }
            Err(fault) => Err(fault),
        };
        // Not before it is known who speaks: a fault in the same bytes may have kept the layers from telling.
        if is_established && !plain.is_empty() {
            self.hand_in(server, connection, &plain);
        }
        plain.clear();
        self.plain = plain;
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
        self.end_link(link, stack);
    }

    /// The layers say good-bye, as far as the socket takes it at once.
    fn end_connection(&mut self, server: ServerKey, connection: ConnKey) {
        let Some(host) = self.servers.get_mut(server) else { return };
        host.shard.closed(self.now, connection);
        let Some(Linked { link, mut stack, .. }) = host.unlink(connection) else { return };
        if let Some(stack) = &mut stack {
            stack.close();
        }
        self.end_link(link, stack);
    }

    fn end_link(&mut self, link: LinkId, stack: Option<Box<Stack>>) {
        if let Some(mut stack) = stack {
            // The link is given up either way.
            let _ = write_wire(&mut self.net, link, &mut stack);
        }
        self.linger(link);
    }
}
