//! Two endpoints and a network between them, in virtual time: nothing here waits, and a seed repeats everything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;

use nlmqtt::base::{Duration, Instant, Rng};
use nlmqtt::stack::rudp::frame::Frame;
use nlmqtt::stack::rudp::{Endpoint, Options, Statistics};
use nlmqtt::stack::{Birth, ConnectionId, DatagramEndpoint, DatagramEvent as Event, DatagramLimits, Received, Transmit};

pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;
const SEGMENTS_MAX: usize = 8;

/// What the way does to datagrams, in each direction.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    pub delay: Duration,
    pub loss_permille: u32,
    pub double_permille: u32,
    /// So many get up to this much later.
    pub reorder_permille: u32,
    pub reorder: Duration,
    /// So many get 1 to 32 flipped bits.
    pub damage_permille: u32,
    /// Bits a second, and bytes that wait; 0: as many as come.
    pub rate: u64,
    pub queue_bytes: u64,
    /// Larger datagrams vanish.
    pub mtu: usize,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(25),
            loss_permille: 0,
            double_permille: 0,
            reorder_permille: 0,
            reorder: Duration::from_millis(200),
            damage_permille: 0,
            rate: 0,
            queue_bytes: 62_500,
            mtu: usize::MAX,
        }
    }
}

/// One that is on its way: when, in which order it was sent, to whom, from where.
type Flight = Reverse<(Instant, u64, usize, SocketAddr, Vec<u8>)>;

pub struct World<E = Endpoint> {
    pub now: Instant,
    pub rng: Rng,
    pub endpoints: [E; 2],
    pub way: Way,
    pub is_down: bool,
    /// How far the clock of each side is ahead.
    pub ahead: [Duration; 2],
    pub client_address: SocketAddr,
    pub server_address: SocketAddr,
    pub events: [Vec<(ConnectionId, Event)>; 2],
    /// Called for each datagram that is sent; false: it is lost.
    pub tap: Option<Box<dyn FnMut(usize, &[u8]) -> bool>>,
    pub sent_datagrams: u64,
    pub sent_bytes: [u64; 2],
    flights: BinaryHeap<Flight>,
    count: u64,
    free_at: [Instant; 2],
    transmit: Transmit,
}

pub fn limits() -> DatagramLimits {
    DatagramLimits { connections_max: 10_000, handshakes_max: 10_000, handshakes_per_source_max: 10_000, handshake_timeout: Duration::from_secs(10) }
}

pub fn endpoint(seed: u64, options: &Options, is_listener: bool) -> Endpoint {
    Endpoint::new(
        options.clone(),
        &Birth {
            seed,
            epoch: std::time::Instant::now(),
            limits: is_listener.then(|| DatagramLimits { handshake_timeout: options.half_open_timeout, ..limits() }),
        },
    )
}

impl World {
    pub fn new(seed: u64, way: Way, options: [&Options; 2]) -> Self {
        let mut rng = Rng::with_seed(seed);
        let endpoints = [endpoint(rng.u64(), options[0], false), endpoint(rng.u64(), options[1], true)];
        Self::of(rng, way, endpoints)
    }

    pub fn statistics(&self, side: usize, id: ConnectionId) -> Statistics {
        self.endpoints[side].statistics(id).expect("it is there")
    }
}

impl<E: DatagramEndpoint> World<E> {
    /// With these endpoints.
    pub fn of(rng: Rng, way: Way, endpoints: [E; 2]) -> Self {
        Self {
            now: Instant::START + Duration::from_secs(1),
            endpoints,
            way,
            is_down: false,
            ahead: [Duration::ZERO; 2],
            client_address: "10.0.0.2:50000".parse().expect("an address"),
            server_address: "10.0.0.1:14567".parse().expect("an address"),
            events: [Vec::new(), Vec::new()],
            tap: None,
            sent_datagrams: 0,
            sent_bytes: [0; 2],
            flights: BinaryHeap::new(),
            count: 0,
            free_at: [Instant::START; 2],
            transmit: Transmit::default(),
            rng,
        }
    }

    /// What this side's clock says.
    pub fn clock(&self, side: usize) -> Instant {
        self.now + self.ahead[side]
    }

    pub fn connect(&mut self) -> ConnectionId {
        let (now, server) = (self.clock(CLIENT), self.server_address);
        self.endpoints[CLIENT].connect(now, server, "server").expect("it begins")
    }

    pub fn write(&mut self, side: usize, id: ConnectionId, bytes: &[u8]) -> usize {
        let now = self.clock(side);
        self.endpoints[side].write(now, id, bytes)
    }

    pub fn read(&mut self, side: usize, id: ConnectionId, buffer: &mut [u8]) -> Option<usize> {
        let now = self.clock(side);
        self.endpoints[side].read(now, id, buffer)
    }

    pub fn finish(&mut self, side: usize, id: ConnectionId) {
        let now = self.clock(side);
        self.endpoints[side].finish(now, id);
    }

    pub fn close(&mut self, side: usize, id: ConnectionId) {
        let now = self.clock(side);
        self.endpoints[side].close(now, id);
    }

    /// A datagram somebody made up, towards `to`.
    pub fn inject(&mut self, to: usize, from: SocketAddr, bytes: &[u8]) {
        let now = self.clock(to);
        self.endpoints[to].receive(now, &Received { from, to: None, ecn: 0, bytes });
    }

    /// Takes events, sends what is to be sent.
    pub fn flush(&mut self) {
        for side in [CLIENT, SERVER] {
            while let Some(event) = self.endpoints[side].event() {
                self.events[side].push(event);
            }
            let now = self.clock(side);
            let mut transmit = core::mem::take(&mut self.transmit);
            while self.endpoints[side].transmit(now, SEGMENTS_MAX, &mut transmit) {
                assert!(!transmit.bytes.is_empty(), "zero-length datagrams are never sent");
                for datagram in transmit.bytes.chunks(transmit.segment_bytes.unwrap_or(usize::MAX)) {
                    self.send(side, transmit.to, datagram);
                }
            }
            self.transmit = transmit;
        }
    }

    /// The next thing happens; false: nothing does before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        self.flush();
        let arrival = self.flights.peek().map(|flight| flight.0.0);
        let timers = [CLIENT, SERVER].map(|side| self.endpoints[side].deadline().map(|at| at - self.ahead[side]));
        let Some(next) = arrival.into_iter().chain(timers.into_iter().flatten()).min().filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        for side in [CLIENT, SERVER] {
            let now = self.clock(side);
            if self.endpoints[side].deadline().is_some_and(|at| at <= now) {
                self.endpoints[side].expire(now);
            }
        }
        while self.flights.peek().is_some_and(|flight| flight.0.0 <= self.now) {
            let Some(Reverse((_, _, to, from, bytes))) = self.flights.pop() else { break };
            self.inject(to, from, &bytes);
            self.flush();
        }
        true
    }

    /// All that happens in this time.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.flush();
    }

    /// Until there is such an event; it is taken out.
    pub fn wait(&mut self, side: usize, is_wanted: impl Fn(&Event) -> bool) -> (ConnectionId, Event) {
        let until = self.now + Duration::from_secs(600);
        loop {
            if let Some(index) = self.events[side].iter().position(|(_, event)| is_wanted(event)) {
                return self.events[side].remove(index);
            }
            assert!(self.step(until), "it never came; there are {:?}", self.events);
        }
    }

    fn send(&mut self, side: usize, to: SocketAddr, datagram: &[u8]) {
        self.sent_datagrams += 1;
        self.sent_bytes[side] += datagram.len() as u64;
        if std::env::var_os("RUDP_TRACE").is_some() {
            println!("{:?} {side} {:?}", self.now, Frame::read(datagram).map(brief));
        }
        let is_wanted = self.tap.as_mut().is_none_or(|tap| tap(side, datagram));
        let (other, is_there) = if side == CLIENT { (SERVER, to == self.server_address) } else { (CLIENT, to == self.client_address) };
        if !is_wanted || !is_there || self.is_down || datagram.len() > self.way.mtu || self.rng.chance(self.way.loss_permille) {
            return;
        }
        let Some(leaves_at) = self.queue(side, datagram.len() as u64) else { return };
        let from = if side == CLIENT { self.client_address } else { self.server_address };
        for _ in 0..if self.rng.chance(self.way.double_permille) { 2 } else { 1 } {
            let mut at = leaves_at + self.way.delay;
            if self.rng.chance(self.way.reorder_permille) {
                at += Duration::from_micros(self.rng.below(self.way.reorder.as_micros() as u64));
            }
            let mut bytes = datagram.to_vec();
            if self.rng.chance(self.way.damage_permille) {
                for _ in 0..=self.rng.below(32) {
                    let bit = self.rng.below(bytes.len() as u64 * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            }
            self.count += 1;
            self.flights.push(Reverse((at, self.count, other, from, bytes)));
        }
    }

    /// When the last bit of it has left a line of limited rate; `None`: its queue is full.
    fn queue(&mut self, side: usize, bytes: u64) -> Option<Instant> {
        // A frame of a line has the headers of IP and UDP, too.
        let micros = match self.way.rate {
            0 => return Some(self.now),
            rate => (bytes + 28) * 8_000_000 / rate,
        };
        let waiting = self.free_at[side].since(self.now);
        if waiting.as_micros() as u64 * self.way.rate / 8_000_000 + bytes + 28 > self.way.queue_bytes {
            return None;
        }
        self.free_at[side] = self.free_at[side].max(self.now) + Duration::from_micros(micros);
        Some(self.free_at[side])
    }
}

/// A frame in short, for `RUDP_TRACE=1`.
fn brief(frame: Frame<'_>) -> String {
    match frame {
        Frame::Data(data) => format!("DATA {} {}+{} {} {:?}", data.number, data.offset, data.bytes.len(), data.answer_at_once, data.ack),
        other => format!("{other:?}"),
    }
}

/// Connects two endpoints, and says the first packet: the two connections.
pub fn connected<E: DatagramEndpoint>(world: &mut World<E>) -> (ConnectionId, ConnectionId) {
    let client = world.connect();
    let (opened, _) = world.wait(CLIENT, |event| matches!(event, Event::Opened(_)));
    assert_eq!(opened, client);
    assert_eq!(world.write(CLIENT, client, HELLO), HELLO.len());
    let (server, _) = world.wait(SERVER, |event| matches!(event, Event::Accepted { .. }));
    let mut buffer = [0; 64];
    let count = world.read(SERVER, server, &mut buffer).expect("the first packet");
    assert_eq!(&buffer[..count], HELLO);
    world.run(Duration::from_secs(1));
    (client, server)
}

/// An MQTT CONNECT.
pub const HELLO: &[u8] = b"\x10\x10\x00\x04MQTT\x04\x02\x02\x58\x00\x04dev1";
