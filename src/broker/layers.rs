//! What a shard is told of the layers below a connection (TLS and others), and what its host asks because of them.

use std::sync::Arc;

use super::connection::{ConnKey, State};
use super::shard::Shard;
#[cfg(feature = "datagram")]
use super::tell::session_info;
use crate::base::Instant;
use crate::codec::Connect;
#[cfg(feature = "datagram")]
use crate::codec::Reason;
use crate::stack::{About, Fault};
#[cfg(feature = "datagram")]
use crate::stack::{DatagramCounters, DatagramWatch};

/// What became of a handshake that is not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeLoss {
    /// It has to wait: as many as are allowed are in progress.
    Delayed,
    /// It has to wait: as many as are allowed for its address are in progress, or wait, too.
    Crowded,
    /// It stood still while others waited.
    Shed,
    /// It was not done in time.
    TimedOut,
}

impl Shard {
    /// The layers of a connection have something to write themselves.
    pub fn wants_write(&mut self, key: ConnKey) {
        if self.connections.contains_key(key) {
            self.mark_dirty(key);
        }
    }

    /// What is in its out-buffer is the last a client gets.
    pub fn is_closing(&self, key: ConnKey) -> bool {
        self.connections.get(key).is_none_or(|connection| connection.state == State::Closing)
    }

    /// The layers of a connection are open, and have learnt this.
    pub fn established(&mut self, now: Instant, key: ConnKey, about: Box<About>) {
        self.stats.handshakes += 1;
        self.introduced(now, key, about.peer().as_deref());
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.about = Some(Arc::from(about)).filter(|about| **about != About::default());
        connection.recharge();
    }

    /// The peer broke the rules of a layer; the host closes the connection.
    pub fn layer_failed(&mut self, key: ConnKey, was_established: bool, fault: &Fault) {
        match was_established {
            true => self.stats.protocol_errors += 1,
            false => self.stats.handshakes_failed += 1,
        }
        let Some(connection) = self.connections.get(key) else { return };
        let peer = &connection.peer;
        self.hooks.log(3, &|| format!("{peer}: {fault}, closing"));
    }

    /// The peer of a connection has another address: what is told of it from now on says so. One that would not have been let
    /// in from there does not stay.
    #[cfg(feature = "datagram")]
    pub fn moved(&mut self, now: Instant, key: ConnKey, peer: core::net::SocketAddr) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let text = peer.to_string();
        let before = core::mem::replace(&mut connection.peer, text.as_str().into());
        let is_denied = connection.entry.as_ref().is_some_and(|entry| !entry.rules.admits(peer.ip()));
        self.stats.paths_moved += 1;
        self.hooks.log(3, &|| format!("{before}: goes on from {peer}"));
        let session = connection.session.and_then(|session| self.sessions.get(session));
        if let Some(session) = session.filter(|_| self.interest.path_moved) {
            self.hooks.path_moved(session_info(session, self.connections.get(key)), &before);
        }
        if is_denied || self.bans.has_peer(now, &text) {
            match is_denied {
                true => self.stats.connections_denied += 1,
                false => self.stats.connections_banned += 1,
            }
            self.close(now, key, Reason::NOT_AUTHORIZED);
        }
    }

    /// A connection over datagrams can be looked at by this.
    #[cfg(feature = "datagram")]
    pub fn watch(&mut self, key: ConnKey, watch: Arc<dyn DatagramWatch>) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.watch = Some(watch);
        }
    }

    /// A listener over datagrams has counted so much more; it says so once a second at most.
    #[cfg(feature = "datagram")]
    pub fn count_datagrams(&mut self, listener: &str, counters: &DatagramCounters) {
        let stats = &mut self.stats;
        stats.datagrams_received += counters.received;
        stats.datagrams_malformed += counters.malformed;
        stats.datagrams_unknown += counters.unknown;
        stats.datagram_cookies += counters.cookies;
        stats.datagram_newcomers_refused += counters.refused;
        stats.datagram_resets += counters.resets;
        stats.datagram_replies_dropped += counters.replies_dropped;
        stats.handshakes_crowded += counters.crowded;
        stats.handshakes_delayed += counters.delayed;
        stats.datagram_words_lost += counters.words_lost;
        stats.datagrams_not_kept += counters.not_kept;
        stats.datagram_packets_missing += counters.packets_missing;
        stats.datagram_gave_way += counters.gave_way;
        stats.datagram_peers_silent += counters.silent;
        if counters.refused > 0 {
            self.hooks.log(2, &|| format!("{listener}: newcomers turned away: {}", counters.refused));
        }
    }

    /// Somebody did not come as far as a connection.
    #[cfg(feature = "datagram")]
    pub fn came_to_nothing(&mut self, peer: core::net::SocketAddr, fault: &Fault) {
        use crate::stack::FaultKind;
        match fault.kind {
            FaultKind::Refused => drop(self.turn_away()),
            FaultKind::Timeout => self.count_handshake(HandshakeLoss::TimedOut),
            _ => self.stats.handshakes_failed += 1,
        }
        self.hooks.log(3, &|| format!("{peer}: {fault}"));
    }

    /// For a layer that needs something unforeseeable.
    pub fn draw_seed(&mut self) -> u64 {
        self.rng.u64()
    }

    /// A handshake is not done.
    pub fn count_handshake(&mut self, loss: HandshakeLoss) {
        match loss {
            HandshakeLoss::Delayed => self.stats.handshakes_delayed += 1,
            HandshakeLoss::Crowded => self.stats.handshakes_crowded += 1,
            HandshakeLoss::Shed => self.stats.handshakes_shed += 1,
            HandshakeLoss::TimedOut => self.stats.handshake_timeouts += 1,
        }
    }
}

/// What a client says of itself; who is known by a certificate has its user name from there (option `identity` of a listener).
pub(super) fn named<'a>(about: Option<&'a About>, connect: &Connect<'a>) -> Connect<'a> {
    let identity = about.and_then(|about| about.identity.as_deref());
    Connect { username: identity.or(connect.username), ..*connect }
}
