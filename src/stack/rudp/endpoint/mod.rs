//! One UDP socket: addresses and ids to connections, and what has to be answered without one.
//!
//! # Theory of operation
//! Generation 2 is found by id, generation 1 and bare packets by address; a client that calls is found by both, because it does not know yet whom
//! it will meet. A CONNECT is answered out of two keys (`cookie`), without state, until it bears the id that was given
//! to its address; then there is a peer, and it is told to nobody before its first packet is there.
//!
//! After anything was done to a connection, `settle` looks at it once: what its user has to hear goes into the list of those with
//! news, what it may have to send into the list of those that are ready, its next deadline into the one ordered set, and if it
//! is over and released, it is forgotten. Every list holds a connection at most once.
//!
//! What is of no connection waits until all that came is taken (`strangers`). In `listener` is what concerns those who come in, in `face` the
//! trait.

mod face;
mod kind;
mod listener;
mod strangers;

use core::net::SocketAddr;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use slotmap::{Key as _, KeyData, SlotMap};

use super::Statistics;
use super::cookie::{Keys, Secret};
use super::first::First;
use super::frame::{Flaw, Frame, One};
use super::known::KnownServers;
use super::options::{Generation, Options};
use super::packet::may_begin;
use super::peer::{Role, Way};
use super::throttle::Throttle;
use crate::base::{Bucket, Instant, PeerMap, Rng, peer_map};
use crate::stack::datagram::BATCH_BYTES_MAX;
use crate::stack::{About, Birth, ConnectionId, DatagramEvent as Event, DatagramLimits, Fault, FaultKind, Transmit};

use kind::{Kind, Losses};
use strangers::{Strangers, receiver_of};

pub use face::Maker;

/// Newcomers turned away that wait to be told of; all are counted.
const TURNED_AWAY_MAX: usize = 64;

/// Connections beyond those that have a place: what was said last is on its way to them, or they are closed and not gone. While there are more,
/// nobody is let in.
const LEAVING_MAX: usize = 2_048;

/// Answers without a connection that wait to be sent; more are left out, and whoever asked asks again.
pub(crate) const REPLIES_MAX: usize = 256;

slotmap::new_key_type! {
    struct Key;
}

#[derive(Debug)]
struct Connection {
    kind: Kind,
    role: Role,
    timer: Option<Instant>,
    is_ready: bool,
    has_news: bool,
    /// It is on the lists of these.
    is_half_open: bool,
    is_unproven: bool,
    /// Its user has been told of it.
    is_told: bool,
    /// Its user is done with it.
    is_released: bool,
    /// It is one of those there may be so many of: its user has not written its last.
    has_place: bool,
    /// When a client falls back to generation 1, unless a better answer comes.
    fallback_at: Option<Instant>,
    has_fallen_back: bool,
    /// What of it was counted.
    losses: Losses,
    memory_bytes: usize,
}

/// What happened at one endpoint. Every limit has its counter here.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Datagrams that came.
    pub datagrams: u64,
    /// Of a wrong length, unknown type or with unknown flags.
    pub malformed: u64,
    /// With a wrong checksum.
    pub damaged: u64,
    /// For an id or address nobody has.
    pub unknown: u64,
    /// CONNECTs that were answered with an id, and without a place for their sender.
    pub cookies: u64,
    /// RESETs sent.
    pub resets: u64,
    /// RESETs and CONNACKs without a connection that were left out.
    pub replies_dropped: u64,
    /// Newcomers that were turned away: no place.
    pub refused: u64,
    /// Half-open peers of generation 2 that were forgotten.
    pub half_open_lost: u64,
    /// Clients that fell back to generation 1.
    pub fallbacks: u64,
    /// Newcomers of generation 1 and with bare packets that were turned away: no place, or too many.
    pub unproven_refused: u64,
    /// Connections of bare packets whose place a newcomer got.
    pub gave_way: u64,
    /// Connections that came in.
    pub accepted: u64,
    /// Frames of connections for which there was no place.
    pub not_kept: u64,
    /// Generation 1: packets that were waited for in vain.
    pub packets_missing: u64,
    /// Connections that came in and of whose peers nothing was heard any more.
    pub silent: u64,
}

/// One UDP socket's connections.
#[derive(Debug)]
pub struct Endpoint {
    options: Arc<Options>,
    limits: Option<DatagramLimits>,
    is_refusing: bool,
    keys: Keys,
    rng: Rng,
    connections: SlotMap<Key, Connection>,
    /// How many of them have a place.
    places: usize,
    by_id: PeerMap<u64, Key>,
    by_address: PeerMap<SocketAddr, Key>,
    /// Clients, by the id of their listener: whom a RESET is for.
    by_listener: PeerMap<u64, Key>,
    half_open: Vec<Key>,
    /// Of generation 1, where that lasts for seconds; and those of bare packets, which give no proof at all.
    unproven: Vec<Key>,
    unproven_bare: Vec<Key>,
    /// None of the latter has to give way before, whoever comes or speaks.
    gives_way_from: Instant,
    timers: BTreeSet<(Instant, Key)>,
    ready: VecDeque<Key>,
    news: VecDeque<Key>,
    /// Who was turned away because there are too many connections, of whom the host is to hear.
    turned_away: VecDeque<SocketAddr>,
    strangers: Strangers,
    replies: VecDeque<(Way, heapless::Vec<u8, 44>)>,
    /// A datagram that did not fit the batch before.
    spare: Option<(Way, Vec<u8>)>,
    resets: Option<Bucket>,
    throttle: Throttle,
    known: Arc<KnownServers>,
    memory_bytes: usize,
    counters: Counters,
}

impl Endpoint {
    /// An endpoint; without limits in `birth` it takes nobody in. Its keys follow from the seed: for tests, where a seed has to repeat
    /// everything. [`Maker`] knows better.
    pub fn new(options: Options, birth: &Birth) -> Self {
        let mut rng = Rng::with_seed(birth.seed);
        let mut key = || [rng.u64(), rng.u64()];
        Self::with_secret(options, birth, [key(), key(), key()])
    }

    fn with_secret(mut options: Options, birth: &Birth, secret: Secret) -> Self {
        if let Some(limits) = birth.limits {
            options.half_open_timeout = limits.handshake_timeout;
        }
        let mut rng = Rng::with_seed(birth.seed);
        Self {
            limits: birth.limits,
            is_refusing: false,
            keys: Keys::new(secret, options.reset_key.map(|key| key.0)),
            connections: SlotMap::with_key(),
            places: 0,
            by_id: peer_map(&mut rng),
            by_address: peer_map(&mut rng),
            by_listener: peer_map(&mut rng),
            half_open: Vec::new(),
            unproven: Vec::new(),
            unproven_bare: Vec::new(),
            gives_way_from: Instant::START,
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            news: VecDeque::new(),
            turned_away: VecDeque::new(),
            strangers: Strangers::default(),
            replies: VecDeque::new(),
            spare: None,
            resets: None,
            throttle: Throttle::new(&mut rng),
            known: Arc::default(),
            memory_bytes: 0,
            counters: Counters::default(),
            rng,
            options: Arc::new(options),
        }
    }

    /// What happened.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What happened on one connection.
    pub fn statistics(&self, id: ConnectionId) -> Option<Statistics> {
        self.connections.get(key_of(id)).map(|connection| connection.kind.statistics())
    }

    fn insert(&mut self, kind: Kind, role: Role) -> Key {
        let (way, own_id) = (kind.way(), kind.own_id());
        let connection = Connection {
            kind,
            role,
            timer: None,
            is_ready: false,
            has_news: false,
            is_half_open: false,
            is_unproven: false,
            is_told: false,
            is_released: false,
            has_place: true,
            fallback_at: None,
            has_fallen_back: false,
            losses: Losses::default(),
            memory_bytes: 0,
        };
        let key = self.connections.insert(connection);
        self.places += 1;
        if let Some(id) = own_id {
            self.by_id.insert(id, key);
        }
        if own_id.is_none() || role == Role::Client {
            self.by_address.insert(way.remote, key);
        }
        key
    }

    /// Takes a datagram; `may_wait`: one of nobody's connection waits for what else came.
    fn take_datagram(&mut self, now: Instant, way: Way, bytes: &[u8], may_wait: bool) {
        let is_bare = may_begin(bytes[0]) && self.options.has_bare();
        let frame = match (!is_bare).then(|| Frame::read(bytes)).transpose() {
            Ok(frame) => frame,
            Err(flaw) => return count_flaw(&mut self.counters, flaw),
        };
        let id = frame.as_ref().and_then(receiver_of);
        let is_known = || id.map_or_else(|| self.by_address.contains_key(&way.remote), |id| self.by_id.contains_key(&id));
        match &frame {
            _ if may_wait && !is_known() => {
                if !self.strangers.keep(way, bytes, id.is_some()) {
                    *(if id.is_some() { &mut self.counters.refused } else { &mut self.counters.unproven_refused }) += 1;
                }
            }
            Some(frame) => self.frame(now, way, frame, bytes.len()),
            None => self.bare(now, way, bytes),
        }
    }

    fn frame(&mut self, now: Instant, way: Way, frame: &Frame<'_>, datagram_bytes: usize) {
        match frame {
            Frame::One(one) => return self.one(now, way, one, datagram_bytes),
            Frame::Connect(hello) => return self.connect_second(now, way, hello, datagram_bytes),
            Frame::Reset { id, .. } => {
                let Some(&key) = self.by_listener.get(id) else { return };
                return self.second(now, key, way, frame, datagram_bytes);
            }
            Frame::Connack { .. } | Frame::Data(_) | Frame::Ack { .. } | Frame::Ping { .. } | Frame::Close(_) => {}
        }
        let Some(id) = receiver_of(frame) else { return };
        let key = self.by_id.get(&id).copied().filter(|key| self.connections.get(*key).is_some_and(|connection| !connection.kind.is_over()));
        match key {
            Some(key) => self.second(now, key, way, frame, datagram_bytes),
            None => {
                self.counters.unknown += 1;
                if !matches!(frame, Frame::Connack { .. }) {
                    self.reset(now, way, id);
                }
            }
        }
    }

    fn second(&mut self, now: Instant, key: Key, way: Way, frame: &Frame<'_>, datagram_bytes: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Kind::Second(peer) = &mut connection.kind else { return };
        let before = peer.peer_id();
        peer.receive(now, way, frame, datagram_bytes);
        let after = peer.peer_id();
        if connection.role == Role::Client && before != after {
            connection.fallback_at = None;
            self.by_listener.remove(&before);
            self.by_listener.insert(after, key);
            self.known.remember(way.remote);
        }
        self.settle(now, key);
    }

    fn one(&mut self, now: Instant, way: Way, one: &One<'_>, datagram_bytes: usize) {
        let Some(&key) = self.by_address.get(&way.remote) else { return self.stranger(now, way, one) };
        let Some(connection) = self.connections.get_mut(key) else { return };
        match &mut connection.kind {
            Kind::Second(peer) => {
                let may_fall_back = *one == One::Connack && peer.is_calling() && self.options.generation == Generation::Auto;
                if may_fall_back && connection.fallback_at.is_none() && !self.known.has(way.remote) {
                    connection.fallback_at = Some(now + self.options.fallback_hold);
                }
            }
            Kind::Bare(bare) if !bare.is_over() => self.counters.unknown += 1,
            kind if kind.is_over() => return self.stranger(now, way, one),
            Kind::First(first) => {
                first.receive(now, one, datagram_bytes);
                if let Some(newcomer) = first.take_newcomer() {
                    let way = first.way();
                    first.replaced();
                    let first = First::replacing(now, way, &newcomer, &self.options, self.keys.fork(&mut self.rng));
                    self.settle(now, key);
                    let key = self.insert(Kind::First(Box::new(first)), Role::Listener);
                    self.counters.accepted += 1;
                    return self.settle(now, key);
                }
                if *one == One::Connect && connection.role == Role::Listener {
                    self.bare_connack(now, way);
                }
            }
            Kind::Bare(_) => {}
        }
        self.settle(now, key);
    }

    fn fall_back(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.fallback_at = None;
        let Kind::Second(peer) = &connection.kind else { return };
        if peer.is_calling() {
            let (own_id, way) = (peer.own_id(), peer.way());
            connection.kind = Kind::First(Box::new(First::calling(now, way, true, &self.options, self.keys.fork(&mut self.rng))));
            connection.has_fallen_back = true;
            self.by_id.remove(&own_id);
            self.counters.fallbacks += 1;
        }
    }

    /// Something was done to this connection: puts it into the lists it belongs to.
    fn settle(&mut self, now: Instant, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let is_over = connection.kind.is_over();
        let (is_half_open, is_unproven) = (connection.kind.is_half_open() && !is_over, connection.kind.is_unproven() && !is_over);
        let unproven = if matches!(connection.kind, Kind::Bare(_)) { &mut self.unproven_bare } else { &mut self.unproven };
        for (list, is_in, was_in) in [(&mut self.half_open, is_half_open, &mut connection.is_half_open), (unproven, is_unproven, &mut connection.is_unproven)] {
            if core::mem::replace(was_in, is_in) != is_in {
                keep_in(list, key, is_in);
            }
        }
        let (losses, before) = (connection.kind.losses(), connection.losses);
        connection.losses = losses;
        self.counters.not_kept += losses.not_kept - before.not_kept;
        self.counters.packets_missing += losses.packets_missing - before.packets_missing;
        self.counters.unproven_refused += connection.kind.take_refused();
        let (marks, ending) = connection.kind.said();
        let has_news = marks.is_opened || marks.is_readable || marks.is_writable || marks.is_moved || ending.is_some();
        if has_news && !connection.is_released && !core::mem::replace(&mut connection.has_news, true) {
            self.news.push_back(key);
        }
        if !is_over && !core::mem::replace(&mut connection.is_ready, true) {
            self.ready.push_back(key);
        }
        let deadline = connection.kind.deadline(now).into_iter().chain(connection.fallback_at).min();
        // A deadline that moved on is looked at when the old one comes.
        if deadline.is_none_or(|at| connection.timer.is_none_or(|timer| at < timer)) {
            if let Some(timer) = connection.timer.take() {
                self.timers.remove(&(timer, key));
            }
            if let Some(at) = deadline {
                connection.timer = Some(at);
                self.timers.insert((at, key));
            }
        }
        let memory_bytes = connection.kind.memory_bytes();
        self.memory_bytes = self.memory_bytes + memory_bytes - core::mem::replace(&mut connection.memory_bytes, memory_bytes);
        if is_over && connection.is_released {
            self.forget(key);
        }
    }

    /// Its user has written its last.
    fn leave(&mut self, key: Key) {
        let has_place = self.connections.get_mut(key).is_some_and(|connection| core::mem::take(&mut connection.has_place));
        self.places -= usize::from(has_place);
    }

    fn forget(&mut self, key: Key) {
        self.leave(key);
        let Some(connection) = self.connections.remove(key) else { return };
        self.memory_bytes -= connection.memory_bytes;
        if let Some(timer) = connection.timer {
            self.timers.remove(&(timer, key));
        }
        let way = connection.kind.way();
        if self.by_address.get(&way.remote) == Some(&key) {
            self.by_address.remove(&way.remote);
        }
        if let Kind::Second(peer) = &connection.kind {
            for (map, id) in [(&mut self.by_id, peer.own_id()), (&mut self.by_listener, peer.peer_id())] {
                if map.get(&id) == Some(&key) {
                    map.remove(&id);
                }
            }
        }
    }

    /// The next thing to be said of a connection.
    fn news_of(&mut self, key: Key) -> Option<Event> {
        let connection = self.connections.get_mut(key).filter(|connection| !connection.is_released)?;
        let (way, role) = (connection.kind.way(), connection.role);
        let packet_bytes_max = connection.kind.packet_bytes_max();
        let (marks, ending) = connection.kind.said();
        if core::mem::take(&mut marks.is_opened) {
            connection.is_told = true;
            let about = Box::new(About { packet_bytes_max, is_fallback: connection.has_fallen_back, ..About::default() });
            return Some(if role == Role::Client { Event::Opened(about) } else { Event::Accepted { peer: way.remote, local: way.local, about } });
        }
        if !connection.is_told && role == Role::Listener {
            let fault = ending.take()?.unwrap_or_else(|| Fault::new(FaultKind::Silent, "it has gone before it sent anything"));
            connection.is_released = true;
            self.counters.half_open_lost += 1;
            return Some(Event::Failed { peer: way.remote, fault });
        }
        if core::mem::take(&mut marks.is_readable) {
            return Some(Event::Readable);
        }
        if core::mem::take(&mut marks.is_writable) {
            return Some(Event::Writable);
        }
        if core::mem::take(&mut marks.is_moved) {
            return Some(Event::Moved(way.remote));
        }
        let ended = ending.take()?;
        let is_silent = ended.as_ref().is_some_and(|fault| fault.kind == FaultKind::Silent);
        self.counters.silent += u64::from(is_silent && role == Role::Listener);
        Some(Event::Ended(ended))
    }

    /// Fills `out` with a datagram of this connection, and more of the same size.
    fn batch(&mut self, now: Instant, key: Key, segments_max: usize, out: &mut Transmit) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let has_segments = connection.kind.own_id().is_some();
        let token = connection.kind.own_id().map_or(0, |id| self.keys.token(id));
        let mut next = |bytes: &mut Vec<u8>| connection.kind.transmit(now, token, bytes);
        let Some(way) = next(&mut out.bytes) else { return false };
        (out.to, out.from) = (way.remote, way.local);
        let segment = out.bytes.len();
        for _ in 1..segments_max {
            let start = out.bytes.len();
            if start + segment > BATCH_BYTES_MAX || (!has_segments && segment > SEGMENT_BYTES_MAX) {
                break;
            }
            let Some(following) = next(&mut out.bytes) else { break };
            let length = out.bytes.len() - start;
            if following != way || length > segment {
                self.spare = Some((following, out.bytes.split_off(start)));
                break;
            }
            out.segment_bytes = Some(segment);
            if length < segment {
                break;
            }
        }
        true
    }
}

/// What may have to be cut by IP (IPv6 takes 1,280 bytes everywhere) is no part of a batch: the kernel takes no such segments.
const SEGMENT_BYTES_MAX: usize = 1_232;

/// `key` comes into the list, or leaves it.
fn keep_in(list: &mut Vec<Key>, key: Key, is_in: bool) {
    if is_in {
        list.push(key);
    } else {
        list.retain(|other| *other != key);
    }
}

fn id_of(key: Key) -> ConnectionId {
    ConnectionId(key.data().as_ffi())
}

fn key_of(id: ConnectionId) -> Key {
    Key::from(KeyData::from_ffi(id.0))
}

fn count_flaw(counters: &mut Counters, flaw: Flaw) {
    match flaw {
        Flaw::Checksum => counters.damaged += 1,
        Flaw::Length | Flaw::Kind | Flaw::Flags => counters.malformed += 1,
    }
}
