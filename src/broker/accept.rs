//! A network connection begins: bans of addresses, limits, the listener's rules, the accept hook.
//!
//! The hook is asked before a byte is read; behind a trusted proxy as soon as that has said whom it brings.

use core::net::IpAddr;
use std::sync::Arc;

use crate::base::{Instant, PeerProcess};

use super::ban::address_of;
use super::connection::{ConnKey, Connection, Stage};
use super::hooks::{Answer, Decision};
use super::rate::Entry;
use super::rules::Rules;
use super::shard::Shard;
use crate::codec::Reason;

/// Where a network connection comes from.
#[derive(Clone, Copy, Default, Debug)]
pub struct Origin<'a> {
    /// Address and port of the client, or another word for it.
    pub peer: &'a str,
    /// Where it came in; empty: it was adopted.
    pub listener: &'a str,
    /// Of a Unix socket.
    pub process: Option<PeerProcess>,
    /// What the listener says of its clients.
    pub rules: Option<&'a Arc<Rules>>,
    /// It is a trusted proxy, which will say who is behind it.
    pub is_proxy: bool,
}

impl Shard {
    /// A client's network connection began. `None`: there are too many, it is banned or a hook said
    /// no; close it.
    pub fn open(&mut self, now: Instant, origin: &Origin<'_>) -> Option<ConnKey> {
        let Origin { peer, listener, process, rules, is_proxy } = *origin;
        let Some(seat) = self.levels.connections.take_seat(self.options.max_connections) else { return self.turn_away() };
        self.stats.connections_accepted += 1;
        if self.bans.has_peer(now, peer) {
            self.stats.connections_banned += 1;
            return None;
        }
        let address = address_of(peer);
        if rules.zip(address).is_some_and(|(rules, address)| !rules.admits(address)) {
            self.stats.connections_denied += 1;
            self.tell_quota("allow");
            return None;
        }
        let charge = self.budget.charge(Connection::own_bytes());
        let mut connection = Connection::new(now, peer, charge, seat);
        connection.flags.allow_anonymous = rules.and_then(|rules| rules.allow_anonymous);
        let rules = rules.filter(|rules| !rules.are_plain());
        if rules.is_some() || process.is_some() || is_proxy {
            let mut entry = Entry::new(now, rules, process);
            entry.stranger_at = is_proxy.then(|| listener.into());
            connection.entry = Some(Box::new(entry));
        }
        connection.recharge();
        let key = self.connections.insert(connection);
        if !is_proxy && !self.ask_accept(now, key, listener) {
            self.connections.remove(key);
            return None;
        }
        self.arm_connection(key);
        Some(key)
    }

    /// False: a hook says no.
    fn ask_accept(&mut self, now: Instant, key: ConnKey, listener: &str) -> bool {
        if !self.interest.accept {
            return true;
        }
        let token = self.next_token(key);
        match self.hooks.accept(&self.connections[key].peer, listener, token) {
            Answer::Now(Decision::Allow | Decision::AllowWith(_)) => {}
            Answer::Now(_) => {
                self.stats.connections_refused += 1;
                return false;
            }
            Answer::Pending => self.park(now, token, Stage::Accept, &[], Vec::new()),
        }
        true
    }

    /// A trusted proxy has said who is behind it; `None`: it has not, or it is the client itself. Bans and the listener's rules
    /// about that address hold at CONNECT, where there is an answer.
    pub fn introduced(&mut self, now: Instant, key: ConnKey, peer: Option<&str>) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(peer) = peer {
            connection.peer = peer.into();
        }
        let listener = connection.entry.as_mut().and_then(|entry| entry.stranger_at.take());
        connection.recharge();
        let Some(listener) = listener else { return };
        if !self.ask_accept(now, key, &listener) {
            self.close(now, key, Reason::NOT_AUTHORIZED);
        }
    }

    /// The address a connection comes from. `None`: there is none, or it is that of a proxy which has not said yet whom it brings.
    pub fn source_of(&self, key: ConnKey) -> Option<IpAddr> {
        let connection = self.connections.get(key)?;
        let is_stranger = connection.entry.as_ref().is_some_and(|entry| entry.stranger_at.is_some());
        if is_stranger { None } else { address_of(&connection.peer) }
    }

    /// The accept hook's late answer: no is a close without a word, MQTT has none to say yet.
    pub(super) fn accept_decided(&mut self, now: Instant, key: ConnKey, decision: &Decision) {
        if matches!(decision, Decision::Allow | Decision::AllowWith(_)) {
            return self.take_rest(now, key);
        }
        self.stats.connections_refused += 1;
        self.close(now, key, Reason::NOT_AUTHORIZED);
    }

    /// Counts that a listener rests because of its rate.
    pub fn count_accept_pause(&mut self) {
        self.stats.accept_pauses += 1;
    }

    /// Counts a connection that is closed at once because a limit is reached.
    pub fn turn_away(&mut self) -> Option<ConnKey> {
        self.stats.connections_accepted += 1;
        self.stats.connections_over_limit += 1;
        self.tell_quota("max_connections");
        None
    }
}
