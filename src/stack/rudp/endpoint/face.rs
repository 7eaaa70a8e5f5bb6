//! The endpoint as its host sees it.

use core::any::Any;
use core::net::SocketAddr;
use std::sync::Arc;

use super::{Endpoint, Key, Kind, id_of, key_of};
use crate::base::Instant;
use crate::stack::rudp::bare::Bare;
use crate::stack::rudp::cookie::Secret;
use crate::stack::rudp::first::First;
use crate::stack::rudp::known::KnownServers;
use crate::stack::rudp::options::{Generation, Options};
use crate::stack::rudp::peer::{Peer, Role, Way};
use crate::stack::{Birth, ConnectionId, DatagramCounters, DatagramEndpoint, DatagramEvent as Event, DatagramLimits, DatagramStatistics};
use crate::stack::{Fault, FaultKind, MakeDatagrams, Received, Transmit};

/// The number of nobody's connection.
const NOBODY: ConnectionId = ConnectionId(u64::MAX);

/// Makes endpoints with the same options, out of a secret.
#[derive(Clone)]
pub struct Maker {
    options: Options,
    secret: Secret,
    known: Arc<KnownServers>,
}

impl Maker {
    /// `secret` comes from where the system has what nobody can foresee: ids, tokens and proofs follow from it.
    pub fn new(options: Options, secret: Secret) -> Self {
        Self { options, secret, known: Arc::default() }
    }

    /// Its endpoints share with others which servers speak generation 2.
    pub fn knowing(self, known: &Arc<KnownServers>) -> Self {
        Self { known: Arc::clone(known), ..self }
    }
}

impl MakeDatagrams for Maker {
    fn make(&self, birth: &Birth) -> Box<dyn DatagramEndpoint> {
        // Several sockets of one listener do not share what follows from it.
        let secret = self.secret.map(|[high, low]| [high, low ^ birth.seed]);
        let mut endpoint = Endpoint::with_secret(self.options.clone(), birth, secret);
        endpoint.known = Arc::clone(&self.known);
        Box::new(endpoint)
    }

    fn may_fragment(&self) -> bool {
        // A packet of generation 1 is one datagram, whatever the path takes. Who tries larger frames of generation 2 has to see them get lost.
        let tries = self.options.has_second() && self.options.probe_bytes_max > self.options.frame_bytes;
        (self.options.has_first() || self.options.has_bare()) && !tries
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DatagramEndpoint for Endpoint {
    fn connect(&mut self, now: Instant, remote: SocketAddr, _host: &str) -> Result<ConnectionId, Fault> {
        let is_there = self.by_address.get(&remote).and_then(|key| self.connections.get(*key)).is_some_and(|connection| match &connection.kind {
            // Neither generation 1 nor who sends bare packets tells two of an address apart.
            Kind::First(_) | Kind::Bare(_) => !connection.kind.is_over(),
            Kind::Second(peer) => peer.is_calling() && self.options.generation != Generation::Two,
        });
        if is_there {
            return Err(Fault::new(FaultKind::Refused, "there is a connection to this address, and the server may not tell two apart"));
        }
        let (way, rng) = (Way { remote, local: None }, self.keys.fork(&mut self.rng));
        let kind = match self.options.generation {
            Generation::Neither => Kind::Bare(Box::new(Bare::calling(now, way, &self.options))),
            Generation::One => Kind::First(Box::new(First::calling(now, way, false, &self.options, rng))),
            Generation::Auto | Generation::Two => Kind::Second(Box::new(Peer::calling(now, way, self.keys.number(&mut self.rng).max(1), &self.options, rng))),
        };
        let key = self.insert(kind, Role::Client);
        self.settle(now, key);
        Ok(id_of(key))
    }

    fn receive(&mut self, now: Instant, datagram: &Received<'_>) {
        if datagram.bytes.is_empty() {
            return;
        }
        self.counters.datagrams += 1;
        let way = Way { remote: datagram.from, local: datagram.to };
        self.take_datagram(now, way, datagram.bytes, self.limits.is_some());
    }

    fn transmit(&mut self, now: Instant, segments_max: usize, out: &mut Transmit) -> bool {
        // All that came has been taken: now those whom nobody knows.
        if !self.strangers.is_empty() {
            for (way, bytes) in self.strangers.take() {
                self.take_datagram(now, way, &bytes, false);
            }
        }
        out.bytes.clear();
        (out.segment_bytes, out.ecn) = (None, 0);
        if let Some((way, bytes)) = self.replies.pop_front() {
            (out.to, out.from) = (way.remote, way.local);
            out.bytes.extend_from_slice(&bytes);
            return true;
        }
        if let Some((way, bytes)) = self.spare.take() {
            (out.to, out.from, out.bytes) = (way.remote, way.local, bytes);
            return true;
        }
        while let Some(key) = self.ready.pop_front() {
            let is_sent = self.batch(now, key, segments_max, out);
            if let Some(connection) = self.connections.get_mut(key) {
                // The next one first: nobody keeps others waiting.
                connection.is_ready = !is_sent;
                self.settle(now, key);
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.is_ready = is_sent;
                }
            }
            if is_sent {
                return true;
            }
        }
        false
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn expire(&mut self, now: Instant) {
        let due: Vec<Key> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in due {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if let Some(timer) = connection.timer.take() {
                self.timers.remove(&(timer, key));
            }
            connection.kind.expire(now);
            if connection.fallback_at.is_some_and(|at| at <= now) {
                self.fall_back(now, key);
            }
            self.settle(now, key);
        }
    }

    fn event(&mut self) -> Option<(ConnectionId, Event)> {
        if let Some(peer) = self.turned_away.pop_front() {
            return Some((NOBODY, Event::Failed { peer, fault: Fault::new(FaultKind::Refused, "too many connections") }));
        }
        while let Some(&key) = self.news.front() {
            if let Some(event) = self.news_of(key) {
                return Some((id_of(key), event));
            }
            self.news.pop_front();
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.has_news = false;
            if connection.is_released && connection.kind.is_over() {
                self.forget(key);
            }
        }
        None
    }

    fn read(&mut self, now: Instant, id: ConnectionId, buffer: &mut [u8]) -> Option<usize> {
        let connection = self.connections.get_mut(key_of(id))?;
        let count = connection.kind.read(now, buffer);
        if count.is_some() {
            self.settle(now, key_of(id));
        }
        count
    }

    fn write(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(key_of(id)) else { return 0 };
        let count = connection.kind.write(bytes);
        self.settle(now, key_of(id));
        count
    }

    fn finish(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(key_of(id)) else { return };
        connection.kind.finish(now);
        self.leave(key_of(id));
        self.settle(now, key_of(id));
    }

    fn close(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(key_of(id)) else { return };
        connection.is_released = true;
        connection.kind.close(now);
        self.leave(key_of(id));
        self.settle(now, key_of(id));
    }

    fn refuse_all(&mut self) {
        self.is_refusing = true;
    }

    fn renew(&mut self, make: &dyn MakeDatagrams, limits: DatagramLimits) -> bool {
        let Some(Maker { options, .. }) = make.as_any().downcast_ref::<Maker>() else { return false };
        self.options = Arc::new(Options { half_open_timeout: limits.handshake_timeout, ..options.clone() });
        self.limits = self.limits.map(|_| limits);
        (self.is_refusing, self.gives_way_from) = (false, Instant::START);
        true
    }

    fn rebound(&mut self, now: Instant) {
        let keys: Vec<Key> = self.connections.keys().collect();
        for key in keys {
            if let Some(Kind::Second(peer)) = self.connections.get_mut(key).map(|connection| &mut connection.kind) {
                peer.rebound();
            }
            self.settle(now, key);
        }
    }

    fn connections(&self) -> usize {
        self.connections.len()
    }

    fn statistics(&self, id: ConnectionId) -> Option<DatagramStatistics> {
        Endpoint::statistics(self, id).map(Into::into)
    }

    fn counters(&self) -> DatagramCounters {
        let own = &self.counters;
        DatagramCounters {
            received: own.datagrams,
            malformed: own.malformed + own.damaged,
            unknown: own.unknown,
            cookies: own.cookies,
            refused: own.refused + own.unproven_refused,
            resets: own.resets,
            replies_dropped: own.replies_dropped,
            not_kept: own.not_kept,
            packets_missing: own.packets_missing,
            gave_way: own.gave_way,
            silent: own.silent,
            ..DatagramCounters::default()
        }
    }

    fn memory_bytes(&self) -> usize {
        let tables = self.connections.capacity() * size_of::<super::Connection>() + self.timers.len() * size_of::<(Instant, Key)>() * 2;
        let maps = (self.by_id.capacity() + self.by_address.capacity() + self.by_listener.capacity()) * (size_of::<SocketAddr>() + size_of::<Key>());
        size_of::<Self>() + tables + maps + self.memory_bytes + self.throttle.memory_bytes() + self.strangers.memory_bytes()
    }
}
