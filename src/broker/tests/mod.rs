//! Drives a shard by bytes, without sockets: time is a number, a socket takes what the test lets it
//! take. Packets of clients are written by hand, so that the codec is not judged by itself alone;
//! packets of the server are taken apart and compared as lines of text.

mod apart;
mod bugs;
mod limits;
mod listeners;
mod memory;
mod peers;
mod race;
mod shared;

use std::sync::{Arc, RwLock};

use super::*;
use crate::base::{Budget, Duration, Instant, Rng};
use crate::codec::{self, Packet, PropertyId, Version};
use crate::route::{self, Router};

pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) now: Instant,
    pub(super) budget: Budget,
    clients: Vec<Client>,
}

struct Client {
    key: ConnKey,
    version: Version,
    /// Bytes that reached the client and were not looked at.
    wire: Vec<u8>,
    /// Bytes its socket still takes.
    room: usize,
    is_closed: bool,
}

/// A connection of a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Peer(usize);

pub(super) const V3: u8 = 4;
pub(super) const V5: u8 = 5;

impl World {
    pub(super) fn new(options: Options) -> Self {
        Self::with_hooks(options, None)
    }

    pub(super) fn with_hooks(options: Options, hooks: Option<Box<dyn Hooks>>) -> Self {
        let budget = Budget::new(options.memory_limit);
        let mut rng = Rng::with_seed(7);
        let limits = route::RetainedLimits { count_max: options.max_retained_messages, bytes_max: options.max_retained_bytes };
        let route_options = route::Options {
            retained: limits,
            share_strategy: options.shared_subscription_strategy,
            filters_max: options.max_filters,
            subscriptions_max: options.max_subscriptions,
        };
        let router = Arc::new(RwLock::new(Router::new(route_options, rng.fork())));
        let shard = Shard::new(0, options, router, budget.clone(), rng, hooks);
        Self { shard, now: Instant::START, budget, clients: Vec::new() }
    }

    /// A connection that has said nothing; `None`: it was turned away.
    pub(super) fn dial(&mut self) -> Option<Peer> {
        self.dial_from("peer", None)
    }

    /// As `dial`, from an address and through a listener with rules.
    pub(super) fn dial_from(&mut self, peer: &str, rules: Option<&Arc<Rules>>) -> Option<Peer> {
        let key = self.shard.open(self.now, &Origin { peer, listener: "listener", rules, ..Origin::default() })?;
        self.clients.push(Client { key, version: Version::V311, wire: Vec::new(), room: usize::MAX, is_closed: false });
        Some(Peer(self.clients.len() - 1))
    }

    /// A connected client, clean, without keep-alive; its CONNACK was looked at.
    pub(super) fn join(&mut self, level: u8, client_id: &str) -> Peer {
        let peer = self.dial().expect("room for a connection");
        self.send(peer, &connect(level, client_id, true, 0, &[]));
        assert_eq!(self.lines(peer), ["CONNACK 00 sp=0"], "{client_id}");
        peer
    }

    /// As `join`, through a listener with rules.
    pub(super) fn join_by(&mut self, rules: &Arc<Rules>, level: u8, client_id: &str) -> Peer {
        let peer = self.dial_from("peer", Some(rules)).expect("room for a connection");
        self.send(peer, &connect(level, client_id, true, 0, &[]));
        assert_eq!(self.lines(peer), ["CONNACK 00 sp=0"], "{client_id}");
        peer
    }

    /// A connected client with a session that lasts.
    pub(super) fn join_for_long(&mut self, level: u8, client_id: &str, session_present: bool) -> Peer {
        let peer = self.dial().expect("room for a connection");
        let for_ever = [0x11, 0xFF, 0xFF, 0xFF, 0xFF];
        self.send(peer, &connect(level, client_id, false, 0, if level == V5 { &for_ever } else { &[] }));
        let connack = format!("CONNACK 00 sp={}", u8::from(session_present));
        assert_eq!(self.take_lines(peer, 1), [connack]);
        peer
    }

    /// Bytes from a client, as a host hands them in; then one flush. False: it must not be read.
    pub(super) fn send(&mut self, peer: Peer, mut bytes: &[u8]) -> bool {
        let key = self.clients[peer.0].key;
        if bytes.windows(5).take(8).any(|window| window == b"MQTT\x05") {
            self.clients[peer.0].version = Version::V5;
        }
        if !self.shard.wants_input(self.now, key) {
            return false;
        }
        while let Progress::Flush { consumed } = self.shard.handle_input(self.now, key, bytes) {
            bytes = &bytes[consumed..];
            self.flush();
            if self.shard.is_congested() {
                self.shard.hold(self.now, key, bytes);
                break;
            }
        }
        self.flush();
        true
    }

    /// Writes as a host does until nothing is left to be written.
    pub(super) fn flush(&mut self) {
        for _ in 0..100_000 {
            self.shard.go_on(self.now);
            self.shard.work(self.now);
            let mut dirty = Vec::new();
            self.shard.take_dirty(self.now, &mut dirty);
            if dirty.is_empty() && !self.shard.has_work() {
                return;
            }
            for key in dirty {
                self.write(key);
            }
        }
        panic!("a shard that is never done");
    }

    fn write(&mut self, key: ConnKey) {
        let client = self.clients.iter_mut().rev().find(|client| client.key == key).expect("ours");
        let Some(out) = self.shard.output(key) else { return };
        let offered: Vec<u8> = out.slices().flatten().copied().collect();
        let count = offered.len().min(client.room);
        client.room -= count;
        client.wire.extend_from_slice(&offered[..count]);
        if self.shard.sent(self.now, key, count, count < offered.len()) {
            client.is_closed = true;
            self.shard.closed(self.now, key);
        }
    }

    /// From now on the socket takes `room` bytes.
    pub(super) fn set_room(&mut self, peer: Peer, room: usize) {
        self.clients[peer.0].room = room;
        if room > 0 {
            self.shard.writable(self.clients[peer.0].key);
            self.flush();
        }
    }

    /// The network connection breaks.
    pub(super) fn cut(&mut self, peer: Peer) {
        self.clients[peer.0].is_closed = true;
        self.shard.closed(self.now, self.clients[peer.0].key);
        self.flush();
    }

    pub(super) fn is_closed(&self, peer: Peer) -> bool {
        self.clients[peer.0].is_closed
    }

    /// Time goes by, timer after timer.
    pub(super) fn after_ms(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(next) = self.shard.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.shard.handle_timeout(self.now);
            self.flush();
        }
        self.now = end;
    }

    /// The packets a client got since the last call, a line for each.
    pub(super) fn lines(&mut self, peer: Peer) -> Vec<String> {
        let client = &mut self.clients[peer.0];
        let bytes = core::mem::take(&mut client.wire);
        let mut rest = bytes.as_slice();
        let mut lines = Vec::new();
        while let Some((frame, length)) = codec::split(rest, usize::MAX).expect("legal") {
            lines.push(line(client.version, frame));
            rest = &rest[length..];
        }
        client.wire = rest.to_vec();
        lines
    }

    /// The first `count` of them; the others stay for later.
    pub(super) fn take_lines(&mut self, peer: Peer, count: usize) -> Vec<String> {
        let client = &mut self.clients[peer.0];
        let mut lines = Vec::new();
        while lines.len() < count {
            let Some((frame, length)) = codec::split(&client.wire, usize::MAX).expect("legal") else { break };
            lines.push(line(client.version, frame));
            client.wire.drain(..length);
        }
        lines
    }

    pub(super) fn subscribe(&mut self, peer: Peer, filter: &str, options: u8) {
        let level = self.level(peer);
        self.send(peer, &subscribe(level, 1, &[filter], options));
        let line = self.take_lines(peer, 1);
        assert_eq!(line, [format!("SUBACK 1 {:02x}", options & 3)], "{filter}");
    }

    pub(super) fn publish(&mut self, peer: Peer, topic: &str, qos: u8, retain: bool, payload: &[u8]) -> bool {
        let level = self.level(peer);
        self.send(peer, &publish(level, topic, qos, retain, 7, &[], payload))
    }

    fn level(&self, peer: Peer) -> u8 {
        self.clients[peer.0].version.level()
    }

    pub(super) fn stats(&self) -> Stats {
        self.shard.stats()
    }

    /// Everybody goes, nothing is retained: nothing may be charged.
    pub(super) fn end(mut self) {
        self.shard.clear(self.now);
        assert_eq!(self.budget.used_bytes(), 0, "bytes are still charged");
    }
}

fn line(version: Version, frame: codec::Frame<'_>) -> String {
    let ack = |name: &str, ack: codec::Ack<'_>| format!("{name} {} {:02x}", ack.packet_id, ack.reason.0);
    let reasons = |reasons: &[u8]| reasons.iter().map(|reason| format!(" {reason:02x}")).collect::<String>();
    match codec::decode(version, codec::Sender::Server, frame).expect("the server obeys the standard") {
        Packet::ConnAck(c) => format!("CONNACK {:02x} sp={}", c.reason.0, u8::from(c.session_present)),
        Packet::Publish(p) => format!(
            "PUBLISH {}={} q{}{}{}{}",
            p.topic,
            if p.payload.len() > 16 { format!("{} bytes", p.payload.len()) } else { String::from_utf8_lossy(p.payload).into_owned() },
            p.qos as u8,
            if p.retain { " retain" } else { "" },
            if p.dup { " dup" } else { "" },
            p.properties.u32(PropertyId::MessageExpiryInterval).map_or(String::new(), |left| format!(" expiry={left}")),
        ),
        Packet::PubAck(a) => ack("PUBACK", a),
        Packet::PubRec(a) => ack("PUBREC", a),
        Packet::PubRel(a) => ack("PUBREL", a),
        Packet::PubComp(a) => ack("PUBCOMP", a),
        Packet::SubAck(s) => format!("SUBACK {}{}", s.packet_id, reasons(s.reasons)),
        Packet::UnsubAck(u) => format!("UNSUBACK {}{}", u.packet_id, reasons(u.reasons)),
        Packet::Disconnect(d) => format!("DISCONNECT {:02x}", d.reason.0),
        other => format!("{:?}", other.packet_type()).to_uppercase(),
    }
}

/// A packet: first byte, remaining length, body.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length & 127) as u8;
        length >>= 7;
        bytes.push(if length > 0 { byte | 128 } else { byte });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as u16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn put_properties(level: u8, body: &mut Vec<u8>, properties: &[u8]) {
    if level == V5 {
        assert!(properties.len() < 128, "one byte of length");
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
}

pub(super) fn connect(level: u8, client_id: &str, clean: bool, keep_alive_s: u16, properties: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend_from_slice(&[level, u8::from(clean) << 1]);
    body.extend_from_slice(&keep_alive_s.to_be_bytes());
    put_properties(level, &mut body, properties);
    put_text(&mut body, client_id);
    packet(0x10, &body)
}

pub(super) fn subscribe(level: u8, packet_id: u16, filters: &[&str], options: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_properties(level, &mut body, &[]);
    for filter in filters {
        put_text(&mut body, filter);
        body.push(options);
    }
    packet(0x82, &body)
}

pub(super) fn unsubscribe(level: u8, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_properties(level, &mut body, &[]);
    filters.iter().for_each(|filter| put_text(&mut body, filter));
    packet(0xA2, &body)
}

pub(super) fn publish(level: u8, topic: &str, qos: u8, retain: bool, packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    put_properties(level, &mut body, properties);
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub(super) fn puback(packet_id: u16) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    vec![0x40, 2, high, low]
}
