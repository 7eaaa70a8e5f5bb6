//! The world: one clock, one generator, one heap of happenings in order of (time, sequence).
//!
//! Hosts have addresses, listeners and links; streams connect them; `kernel` moves bytes. Nothing
//! here knows of MQTT. A host may die (with or without its kernel saying so), stand still, or lose
//! its way to the others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nlmqtt::base::{Budget, Duration, Instant, Rng};
use nlmqtt::net::MemoryJournal;
use nlmqtt::net::memory::Names;

use crate::faults::Faults;
use crate::stream::{EndState, Stream};
use crate::trace::{Trace, trace};

/// Everything outside the code under test.
pub struct World {
    pub now: Instant,
    pub rng: Rng,
    pub faults: Faults,
    pub trace: Trace,
    pub hosts: Vec<Host>,
    pub streams: Vec<Stream>,
    /// Of listeners inside the process, and what waits in their streams.
    pub names: Names,
    pub names_budget: Budget,
    /// Payloads that were handed on by reference.
    pub payloads: u64,
    /// Wall time is this much ahead of the monotonic clock.
    pub wall_offset_ms: u64,
    sequence: u64,
    happenings: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
}

/// What the world does by itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Happening {
    /// A dial reaches the other host (stream, tries so far).
    Knock(usize, u32),
    /// The answer reaches the dialer: yes or no.
    Answered(usize, bool),
    /// A segment may arrive at this end.
    Arrive(usize, usize),
    /// This end may have room again.
    Room(usize, usize),
    /// A reset reaches this end.
    Reset(usize, usize),
    /// A name was looked up (host, its life, ticket).
    Resolved(usize, u32, u64),
    /// Nothing but a reason to look at the hosts.
    Tick,
}

/// One machine with its workers, which share its address.
pub struct Host {
    pub name: &'static str,
    pub ip: IpAddr,
    pub is_up: bool,
    /// Counts its lives.
    pub boot: u32,
    /// Its process gets no turn before.
    pub frozen_until: Instant,
    /// Nothing reaches it, and nothing it sends reaches others, before.
    pub cut: [Instant; 2],
    pub links: Vec<Option<(usize, usize)>>,
    /// The worker whose poll watches a link.
    watchers: Vec<usize>,
    free: Vec<u32>,
    freed: Vec<u32>,
    pub listeners: Vec<Option<Listener>>,
    pub edges: BTreeMap<u32, (bool, bool)>,
    pub listener_edges: BTreeSet<u32>,
    pub resolved: Vec<(u64, io::Result<Vec<SocketAddr>>)>,
    pub lookups: BTreeMap<u64, (String, u16)>,
    /// One for each worker.
    pub woken: Vec<Arc<AtomicBool>>,
    pub journal: MemoryJournal,
    port_last: u16,
}

pub struct Listener {
    pub address: SocketAddr,
    /// The worker that accepts.
    pub worker: usize,
    pub waiting: VecDeque<usize>,
}

/// The link of a stream that is on its way from one worker to another.
pub const NO_LINK: u32 = u32::MAX;

/// Towards a host, and from it: the two entries of [`Host::cut`].
pub const INWARD: usize = 0;
pub const OUTWARD: usize = 1;

impl World {
    pub fn new(seed: u64, faults: Faults, trace: Trace) -> Self {
        let names_budget = Budget::new(1 << 30);
        Self {
            names: Names::new(names_budget.clone()),
            names_budget,
            payloads: 0,
            now: Instant::START,
            rng: Rng::with_seed(seed),
            faults,
            trace,
            hosts: Vec::new(),
            streams: Vec::new(),
            wall_offset_ms: 0,
            sequence: 0,
            happenings: BinaryHeap::new(),
        }
    }

    /// A machine that is switched on.
    pub fn add_host(&mut self, name: &'static str) -> usize {
        let index = self.hosts.len();
        self.hosts.push(Host {
            name,
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1 + index as u8)),
            is_up: true,
            boot: 1,
            frozen_until: Instant::START,
            cut: [Instant::START; 2],
            links: Vec::new(),
            watchers: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            listeners: Vec::new(),
            edges: BTreeMap::new(),
            listener_edges: BTreeSet::new(),
            resolved: Vec::new(),
            lookups: BTreeMap::new(),
            woken: vec![Arc::default()],
            journal: MemoryJournal::new(1 << 16),
            port_last: 40_000,
        });
        index
    }

    /// Its process has so many workers from now on.
    pub fn set_workers(&mut self, host: usize, count: usize) {
        self.hosts[host].woken = (0..count).map(|_| Arc::default()).collect();
    }

    pub fn at(&mut self, when: Instant, what: Happening) {
        self.sequence += 1;
        self.happenings.push(Reverse((when.max(self.now), self.sequence, what)));
    }

    pub fn after(&mut self, delay: Duration, what: Happening) {
        self.at(self.now + delay, what);
    }

    /// When the world does something next.
    pub fn next(&self) -> Option<Instant> {
        self.happenings.peek().map(|Reverse((when, _, _))| *when)
    }

    /// Moves the clock; everything that is due happens.
    pub fn advance(&mut self, to: Instant) {
        self.now = self.now.max(to);
        self.trace.set_now(self.now);
        while self.next().is_some_and(|when| when <= self.now) {
            if let Some(Reverse((_, _, what))) = self.happenings.pop() {
                self.happen(what);
            }
        }
    }

    /// One way's time for one segment.
    pub fn latency(&mut self) -> Duration {
        let max = self.faults.latency.as_micros() as u64;
        Duration::from_micros(10 + max / 4 + self.rng.below(max))
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Knock(stream, tries) => self.knock(stream, tries),
            Happening::Answered(stream, taken) => self.answered(stream, taken),
            Happening::Arrive(stream, end) => self.arrive(stream, end),
            Happening::Room(stream, end) => self.room(stream, end),
            Happening::Reset(stream, end) => self.reset(stream, end),
            Happening::Resolved(host, boot, ticket) => self.name_found(host, boot, ticket),
            Happening::Tick => {}
        }
    }

    fn name_found(&mut self, host: usize, boot: u32, ticket: u64) {
        if self.hosts[host].boot != boot || !self.hosts[host].is_up {
            return;
        }
        let Some((name, port)) = self.hosts[host].lookups.remove(&ticket) else { return };
        let found = self.hosts.iter().find(|other| other.name == name).map(|other| SocketAddr::new(other.ip, port));
        let answer = match found {
            Some(address) if !self.rng.chance(self.faults.names) => Ok(vec![address]),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        trace!(self.trace, "{} name {name}: {}", self.hosts[host].name, answer.is_ok());
        self.hosts[host].resolved.push((ticket, answer));
    }

    /// Nothing reaches `to` from `from` before this.
    pub fn blocked_until(&self, from: usize, to: usize) -> Instant {
        self.hosts[from].cut[OUTWARD].max(self.hosts[to].cut[INWARD])
    }

    /// The machine's power fails, or (`politely`) only its process dies and the kernel tells the
    /// other sides.
    pub fn crash(&mut self, host: usize, politely: bool) {
        trace!(self.trace, "{} dies{}", self.hosts[host].name, if politely { "" } else { " without a word" });
        for stream in 0..self.streams.len() {
            let ends = &self.streams[stream].ends;
            if let Some(end) = (0..2).find(|end| ends[*end].host == host && ends[*end].link == NO_LINK) {
                self.watch(host, 0, (stream, end));
            }
        }
        for index in 0..self.hosts[host].links.len() {
            if self.hosts[host].links[index].is_none() {
                continue;
            }
            if politely {
                self.close_link(host, index as u32);
            } else {
                self.forget_link(host, index as u32);
            }
        }
        let closed = core::mem::take(&mut self.hosts[host].listeners);
        for stream in closed.into_iter().flatten().flat_map(|listener| listener.waiting) {
            self.streams[stream].ends[1].state = EndState::Closed;
        }
        let machine = &mut self.hosts[host];
        machine.is_up = false;
        machine.boot += 1;
        machine.edges.clear();
        machine.listener_edges.clear();
        machine.resolved.clear();
        machine.lookups.clear();
        machine.links.clear();
        machine.watchers.clear();
        machine.free.clear();
        machine.freed.clear();
        machine.woken = vec![Arc::default()];
    }

    /// It is there again, without memory.
    pub fn restart(&mut self, host: usize) {
        trace!(self.trace, "{} starts", self.hosts[host].name);
        self.hosts[host].is_up = true;
        self.hosts[host].frozen_until = self.now;
    }

    /// Ends of every fault of the past: cuts and freezes.
    pub fn heal(&mut self) {
        self.faults = self.faults.healed();
        for host in &mut self.hosts {
            host.frozen_until = self.now;
            host.cut = [self.now; 2];
        }
    }

    /// Streams that have an end somewhere.
    pub fn open_streams(&self) -> usize {
        let is_open = |stream: &&Stream| stream.ends.iter().any(|end| !matches!(end.state, EndState::Closed));
        self.streams.iter().filter(is_open).count()
    }
}

impl Host {
    /// One of its workers has something to look at.
    pub fn has_news(&self, worker: usize) -> bool {
        let has_edge = self.edges.keys().any(|link| self.watcher(*link) == worker);
        let has_listener = self.listener_edges.iter().any(|listener| self.accepts(*listener, worker));
        has_edge || has_listener || (worker == 0 && !self.resolved.is_empty()) || self.woken[worker].load(Ordering::Relaxed)
    }

    /// The worker whose poll watches a link.
    pub fn watcher(&self, link: u32) -> usize {
        self.watchers[link as usize]
    }

    /// It is this worker that accepts there.
    pub fn accepts(&self, listener: u32, worker: usize) -> bool {
        self.listeners[listener as usize].as_ref().is_none_or(|listening| listening.worker == worker)
    }

    pub fn edge(&mut self, link: u32, readable: bool, writable: bool) {
        if link == NO_LINK {
            return; // No poll watches it.
        }
        let edge = self.edges.entry(link).or_insert((false, false));
        edge.0 |= readable;
        edge.1 |= writable;
    }

    /// A link's number: one that was freed in an earlier turn, or a new one.
    pub fn take_index(&mut self, worker: usize, stream: usize, end: usize) -> u32 {
        if let Some(index) = self.free.pop() {
            self.links[index as usize] = Some((stream, end));
            self.watchers[index as usize] = worker;
            return index;
        }
        self.links.push(Some((stream, end)));
        self.watchers.push(worker);
        self.links.len() as u32 - 1
    }

    /// A link that is no stream of this world.
    pub fn reserve_link(&mut self, worker: usize) -> u32 {
        let link = self.take_index(worker, usize::MAX, 0);
        self.links[link as usize] = None;
        link
    }

    /// Gives back what was reserved.
    pub fn release_link(&mut self, link: u32) {
        self.freed.push(link);
    }

    pub fn free_index(&mut self, link: u32) {
        if self.links[link as usize].take().is_some() {
            self.edges.remove(&link);
            self.freed.push(link);
        }
    }

    /// A turn begins: what was freed may be used again.
    pub fn begin_turn(&mut self) {
        self.free.append(&mut self.freed);
    }

    pub fn next_port(&mut self) -> u16 {
        self.port_last = if self.port_last == u16::MAX { 40_000 } else { self.port_last + 1 };
        self.port_last
    }
}
