//! Those who come in, and those nobody knows.

use super::{Endpoint, Kind, REPLIES_MAX};
use crate::base::{Bucket, Instant};
use crate::stack::rudp::Reason;
use crate::stack::rudp::first::First;
use crate::stack::rudp::frame::{Close, Frame, Hello, One, VERSION};
use crate::stack::rudp::options::Generation;
use crate::stack::rudp::packet::is_connect;
use crate::stack::rudp::peer::{Peer, Role, Way};

impl Endpoint {
    /// A CONNECT of generation 2. No state is made before it bears the id that was given to its address.
    pub(super) fn connect_second(&mut self, now: Instant, way: Way, hello: &Hello, datagram_bytes: usize) {
        if self.limits.is_none() || hello.version < VERSION || hello.sender == 0 || self.options.generation == Generation::One {
            return;
        }
        let known = self.by_id.get(&hello.receiver).and_then(|key| self.connections.get(*key).map(|connection| (*key, &connection.kind)));
        if let Some((key, Kind::Second(peer))) = known {
            if peer.peer_id() == hello.sender && !peer.is_over() {
                if peer.way().remote == way.remote {
                    return self.second(now, key, way, &Frame::Connect(*hello), datagram_bytes);
                }
                // Its address has changed since. It hears that it is known, and moves when its DATA come.
                return self.reply(way, &Frame::Connack { hello: self.answer(hello, hello.receiver), exists: true });
            }
        }
        if known.is_some() || !self.keys.is_fresh(now, way.remote, hello.sender, hello.receiver) {
            self.counters.cookies += 1;
            let id = self.keys.id(now, way.remote, hello.sender);
            return self.reply(way, &Frame::Connack { hello: self.answer(hello, id), exists: false });
        }
        if let Some(reason) = self.refusal(way) {
            self.counters.refused += 1;
            return self.reply(way, &Frame::Close(Close { id: hello.sender, is_answer: false, reason: reason as u16, offset: 0 }));
        }
        let peer = Peer::called(now, way, hello.receiver, hello, &self.options, self.keys.fork(&mut self.rng));
        let key = self.insert(Kind::Second(Box::new(peer)), Role::Listener);
        self.counters.accepted += 1;
        self.settle(now, key);
    }

    /// What a client hears that calls itself so, and us by this id.
    fn answer(&self, hello: &Hello, id: u64) -> Hello {
        Hello {
            receiver: hello.sender,
            sender: id,
            version: VERSION,
            features: 0,
            frame_bytes_max: self.options.frame_bytes_taken(),
            limit: self.options.first_window_bytes(),
            idle_s: u16::try_from(self.options.idle_timeout.as_secs()).unwrap_or(u16::MAX),
            token: self.keys.token(id),
        }
    }

    /// Why there is no place for another peer of generation 2.
    fn refusal(&self, way: Way) -> Option<Reason> {
        let limits = self.limits?;
        if self.is_refusing {
            return Some(Reason::GoingDown);
        }
        let ways = self.half_open.iter().filter_map(|key| self.connections.get(*key)).map(|connection| connection.kind.way());
        let of_source = ways.filter(|other| other.remote.ip() == way.remote.ip()).count();
        let is_full = self.connections.len() >= limits.connections_max
            || self.half_open.len() >= self.options.half_open_max.min(limits.handshakes_max)
            || of_source >= self.options.half_open_per_source_max.min(limits.handshakes_per_source_max);
        is_full.then_some(Reason::Busy)
    }

    /// A frame of generation 1 from an address nobody has.
    pub(super) fn stranger(&mut self, now: Instant, way: Way, one: &One<'_>) {
        let Some(limits) = self.limits else {
            self.counters.unknown += 1;
            return;
        };
        if self.options.generation == Generation::Two {
            self.counters.unknown += 1;
            return;
        }
        match one {
            One::Connect => self.bare_connack(now, way),
            One::Data { sequence, payload } if is_connect(payload) => {
                let is_full = self.is_refusing || self.connections.len() >= limits.connections_max || self.unproven.len() >= self.options.unproven_max;
                if is_full || !self.throttle.take(now, way.remote.ip(), self.options.first_generation_per_second) {
                    self.counters.first_refused += 1;
                    return;
                }
                let first = First::called(now, way, *sequence, payload, &self.options, self.keys.fork(&mut self.rng));
                let key = self.insert(Kind::First(Box::new(first)), Role::Listener);
                self.counters.accepted += 1;
                self.settle(now, key);
            }
            _ => self.counters.unknown += 1,
        }
    }

    /// Four bytes for four bytes, and no state.
    pub(super) fn bare_connack(&mut self, now: Instant, way: Way) {
        if self.is_refusing || !self.throttle.take(now, way.remote.ip(), self.options.first_generation_per_second) {
            self.counters.first_refused += 1;
            return;
        }
        self.reply(way, &Frame::One(One::Connack));
    }

    /// A frame for an id nobody has: its sender need not wait for long.
    pub(super) fn reset(&mut self, now: Instant, way: Way, id: u64) {
        if self.limits.is_none() {
            return;
        }
        let rate = self.options.resets_per_second;
        let resets = self.resets.get_or_insert_with(|| Bucket::new(now, rate));
        if !resets.has_room(now, rate) {
            self.counters.replies_dropped += 1;
            return;
        }
        resets.take(now, rate, 1);
        self.counters.resets += 1;
        self.reply(way, &Frame::Reset { id, token: self.keys.token(id) });
    }

    fn reply(&mut self, way: Way, frame: &Frame<'_>) {
        if self.replies.len() >= REPLIES_MAX {
            self.counters.replies_dropped += 1;
            return;
        }
        let mut bytes = Vec::with_capacity(44);
        frame.write(&mut bytes);
        if let Ok(bytes) = heapless::Vec::from_slice(&bytes) {
            self.replies.push_back((way, bytes));
        }
    }
}
