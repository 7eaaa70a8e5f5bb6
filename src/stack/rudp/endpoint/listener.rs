//! Those who come in, and those nobody knows.

use super::{Endpoint, Key, Kind, LEAVING_MAX, REPLIES_MAX, TURNED_AWAY_MAX};
use crate::base::{Bucket, Instant};
use crate::stack::datagram::source_of;
use crate::stack::rudp::Reason;
use crate::stack::rudp::bare::{Bare, Took};
use crate::stack::rudp::first::First;
use crate::stack::rudp::frame::{Close, Frame, Hello, One, VERSION};
use crate::stack::rudp::options::Generation;
use crate::stack::rudp::packet::is_connect;
use crate::stack::rudp::peer::{Peer, Role, Way};

impl Endpoint {
    /// A CONNECT of generation 2. No state is made before it bears the id that was given to its address.
    pub(super) fn connect_second(&mut self, now: Instant, way: Way, hello: &Hello, datagram_bytes: usize) {
        if self.limits.is_some() && self.options.generation == Generation::One {
            // As a stock listener takes it, and a client that speaks both finds out.
            return self.one(now, way, &One::Connect, datagram_bytes);
        }
        if self.limits.is_none() || hello.version < VERSION || hello.sender == 0 || !self.options.has_second() {
            self.counters.unknown += 1;
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
            self.turn_away(way);
            return self.reply(way, &Frame::Close(Close { id: hello.sender, is_answer: false, reason: reason as u16, offset: 0 }));
        }
        let peer = Peer::called(now, way, hello.receiver, hello, &self.options, self.keys.fork(&mut self.rng));
        self.take_in(now, Kind::Second(Box::new(peer)));
    }

    /// What a client hears that calls itself so, and us by this id.
    fn answer(&self, hello: &Hello, id: u64) -> Hello {
        Hello {
            receiver: hello.sender,
            sender: id,
            version: VERSION,
            features: 0,
            frame_bytes_max: self.options.frame_bytes_taken(),
            limit: self.options.opening_window_bytes(),
            idle_s: u16::try_from(self.options.idle_timeout.as_secs()).unwrap_or(u16::MAX),
            token: self.keys.token(id),
        }
    }

    /// No more connections may be at all.
    fn is_full(&self) -> bool {
        self.limits.is_some_and(|limits| self.places >= limits.connections_max || self.connections.len() >= limits.connections_max.saturating_add(LEAVING_MAX))
    }

    /// There is no place for somebody. If no more connections may be at all, the host hears of it, as of those over TCP.
    fn turn_away(&mut self, way: Way) {
        if self.is_full() && !self.is_refusing && self.turned_away.len() < TURNED_AWAY_MAX {
            self.turned_away.push_back(way.remote);
        }
    }

    /// Why there is no place for another peer of generation 2.
    fn refusal(&self, way: Way) -> Option<Reason> {
        let limits = self.limits?;
        if self.is_refusing {
            return Some(Reason::GoingDown);
        }
        let ways = self.half_open.iter().filter_map(|key| self.connections.get(*key)).map(|connection| connection.kind.way());
        let of_source = ways.filter(|other| source_of(other.remote) == source_of(way.remote)).count();
        let is_full = self.is_full()
            || self.half_open.len() >= self.options.half_open_max.min(limits.handshakes_max)
            || of_source >= self.options.half_open_per_source_max.min(limits.handshakes_per_source_max);
        is_full.then_some(Reason::Busy)
    }

    /// A frame of generation 1 from an address nobody has.
    pub(super) fn stranger(&mut self, now: Instant, way: Way, one: &One<'_>) {
        match one {
            _ if self.limits.is_none() || !self.options.has_first() => self.counters.unknown += 1,
            One::Connect => self.bare_connack(now, way),
            One::Data { sequence, payload } if is_connect(payload) => {
                if self.admits_unproven(now, way, self.unproven.len()) {
                    let first = First::called(now, way, *sequence, payload, &self.options, self.keys.fork(&mut self.rng));
                    self.take_in(now, Kind::First(Box::new(first)));
                }
            }
            _ => self.counters.unknown += 1,
        }
    }

    /// A bare packet.
    pub(super) fn bare(&mut self, now: Instant, way: Way, packet: &[u8]) {
        let known = self.by_address.get(&way.remote).and_then(|key| self.connections.get_mut(*key).map(|connection| (*key, &mut connection.kind)));
        match known.filter(|(_, kind)| !kind.is_over()) {
            None => self.bare_stranger(now, way, packet),
            Some((key, Kind::Bare(bare))) => {
                let took = bare.receive(now, packet);
                match took {
                    Took::Taken | Took::NotKept => {}
                    Took::Malformed => self.counters.malformed += 1,
                    Took::Refused => self.counters.unproven_refused += 1,
                    Took::Anew => bare.replaced(),
                }
                self.settle(now, key);
                if took == Took::Anew {
                    self.bare_stranger(now, way, packet);
                }
            }
            // One address, one way to speak.
            Some(_) => self.counters.unknown += 1,
        }
    }

    fn bare_stranger(&mut self, now: Instant, way: Way, packet: &[u8]) {
        if self.limits.is_none() || !is_connect(packet) {
            self.counters.unknown += 1;
            return;
        }
        // Who is believed is none of them.
        let is_believed = self.options.is_believed(way.remote.ip());
        let leaving = if is_believed { None } else { self.gives_way(now) };
        let others = if is_believed { 0 } else { self.unproven_bare.len() - usize::from(leaving.is_some()) };
        if self.admits_unproven(now, way, others) {
            if let Some(key) = leaving {
                if let Some(Kind::Bare(bare)) = self.connections.get_mut(key).map(|connection| &mut connection.kind) {
                    bare.give_way();
                    self.counters.gave_way += 1;
                }
                self.settle(now, key);
            }
            self.take_in(now, Kind::Bare(Box::new(Bare::called(now, way, packet, &self.options))));
        }
    }

    /// Whose place a newcomer gets who sends bare packets and is not believed, if there is no other one.
    fn gives_way(&mut self, now: Instant) -> Option<Key> {
        if self.unproven_bare.len() < self.options.unproven_max || now < self.gives_way_from {
            return None;
        }
        let times = self.unproven_bare.iter().filter_map(|key| match &self.connections.get(*key)?.kind {
            Kind::Bare(bare) => Some((bare.gives_way_at(&self.options), *key)),
            Kind::First(_) | Kind::Second(_) => None,
        });
        let (at, key) = times.min_by_key(|(at, _)| *at)?;
        // Who comes from now on, or speaks, is not due before that, either: a flood has the list looked at once in that time.
        self.gives_way_from = at.min(now + self.options.bare_grace.min(self.options.silent_timeout));
        (at <= now).then_some(key)
    }

    /// Whether there is a place for somebody from an address without a proof, beside so many others of his kind.
    fn admits_unproven(&mut self, now: Instant, way: Way, others: usize) -> bool {
        let has_no_place = self.is_refusing || self.is_full() || others >= self.options.unproven_max;
        let is_admitted = !has_no_place && self.throttle.take(now, way.remote.ip(), self.options.newcomers_per_source_per_second);
        if !is_admitted {
            self.counters.unproven_refused += 1;
            self.turn_away(way);
        }
        is_admitted
    }

    fn take_in(&mut self, now: Instant, kind: Kind) {
        let key = self.insert(kind, Role::Listener);
        self.counters.accepted += 1;
        self.settle(now, key);
    }

    /// Four bytes for four bytes, and no state.
    pub(super) fn bare_connack(&mut self, now: Instant, way: Way) {
        // Half of the answers that may wait are for generation 2: under a flood of this one its newcomers still come in.
        let has_room = !self.is_refusing && self.replies.len() < REPLIES_MAX / 2;
        if !has_room || !self.throttle.take(now, way.remote.ip(), self.options.newcomers_per_source_per_second) {
            self.counters.unproven_refused += 1;
            return;
        }
        self.reply(way, &Frame::One(One::Connack));
    }

    /// A frame for an id nobody has: its sender need not wait for long.
    pub(super) fn reset(&mut self, now: Instant, way: Way, id: u64) {
        if self.limits.is_none() || !self.options.has_second() {
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
