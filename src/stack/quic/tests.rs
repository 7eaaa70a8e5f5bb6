//! Two endpoints in virtual time, with a network between them that loses, repeats and reorders.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::*;
use crate::base::{Instant, Rng};
use crate::stack::tls::Roots;
use crate::stack::{ConnectionId, DatagramEvent, DatagramLimits, FaultKind, Received, Transmit};
use core::net::SocketAddr;

mod bounds;

const LIMITS: DatagramLimits =
    DatagramLimits { connections_max: 100, handshakes_max: 8, handshakes_per_source_max: 8, handshake_timeout: Duration::from_secs(5) };

struct Pems {
    ca: String,
    server: String,
    key: String,
}

fn pems() -> Pems {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&authority_key).expect("signed").pem();
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["server.example".to_owned()]).expect("a name");
    let server = params.signed_by(&key, &Issuer::new(authority, authority_key)).expect("signed").pem();
    Pems { ca, server, key: key.serialize_pem() }
}

fn server(pems: &Pems, options: QuicOptions) -> ServerQuic {
    let tls = ServerTlsOptions::new(pems.server.as_bytes(), pems.key.as_bytes(), || 1_800_000_000);
    ServerQuic::new(&tls, &options).expect("it can be made")
}

fn client(pems: &Pems, options: QuicOptions) -> ClientQuic {
    let tls = ClientTlsOptions::new(Roots::Pem(pems.ca.as_bytes()), || 1_800_000_000);
    ClientQuic::new(&tls, &options).expect("it can be made")
}

/// One side: its endpoint, where it is, and all that it has told.
struct End {
    machine: Box<dyn DatagramEndpoint>,
    address: SocketAddr,
    told: Vec<(ConnectionId, DatagramEvent)>,
}

impl End {
    fn new(make: &dyn MakeDatagrams, port: u16, limits: Option<DatagramLimits>, epoch: std::time::Instant) -> Self {
        Self { machine: make.make(&Birth { seed: 1, epoch, limits }), address: SocketAddr::from(([10, 0, 0, 1], port)), told: Vec::new() }
    }

    fn listen(&mut self) {
        while let Some(event) = self.machine.event() {
            self.told.push(event);
        }
    }

    fn accepted(&self) -> Vec<ConnectionId> {
        self.told.iter().filter(|(_, event)| matches!(event, DatagramEvent::Accepted { .. })).map(|(id, _)| *id).collect()
    }

    fn failures(&self) -> Vec<FaultKind> {
        let kinds = self.told.iter().filter_map(|(_, event)| match event {
            DatagramEvent::Failed { fault, .. } => Some(fault.kind),
            _ => None,
        });
        kinds.collect()
    }

    fn ended(&self, id: ConnectionId) -> Option<Option<FaultKind>> {
        self.told.iter().find_map(|(of, event)| match event {
            DatagramEvent::Ended(fault) if *of == id => Some(fault.as_ref().map(|fault| fault.kind)),
            _ => None,
        })
    }

    fn read_all(&mut self, now: Instant, id: ConnectionId) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), [0; 5_000]);
        while let Some(count) = self.machine.read(now, id, &mut buffer).filter(|count| *count > 0) {
            all.extend_from_slice(&buffer[..count]);
        }
        all
    }
}

/// The way between ends: each datagram takes its time.
struct World {
    now: Instant,
    random: Rng,
    loss_permille: u32,
    on_the_way: Vec<(Instant, u64, SocketAddr, SocketAddr, Vec<u8>)>,
    serial: u64,
    /// Datagrams that were sent, and by whom.
    sent: Vec<(SocketAddr, usize)>,
}

impl World {
    fn new(seed: u64) -> Self {
        Self { now: Instant::from_micros(1_000_000), random: Rng::with_seed(seed), loss_permille: 0, on_the_way: Vec::new(), serial: 0, sent: Vec::new() }
    }

    fn collect(&mut self, end: &mut End) {
        let mut out = Transmit::default();
        while end.machine.transmit(self.now, 4, &mut out) {
            for bytes in out.bytes.chunks(out.segment_bytes.unwrap_or(usize::MAX)) {
                self.sent.push((end.address, bytes.len()));
                let copies = if self.random.chance(self.loss_permille) { 0 } else { 1 + usize::from(self.random.chance(self.loss_permille)) };
                for _ in 0..copies {
                    self.serial += 1;
                    let jitter = if self.loss_permille > 0 { self.random.below(8_000) } else { 0 };
                    let due = self.now + Duration::from_micros(10_000 + jitter);
                    self.on_the_way.push((due, self.serial, end.address, out.to, bytes.to_vec()));
                }
            }
        }
    }

    /// Goes on until nothing happens any more, or this time has come.
    fn run_until(&mut self, until: Instant, ends: &mut [&mut End]) {
        loop {
            for end in ends.iter_mut() {
                end.listen();
                self.collect(end);
            }
            let next = self.on_the_way.iter().map(|(due, ..)| *due).chain(ends.iter().filter_map(|end| end.machine.deadline())).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            self.on_the_way.sort_by_key(|(due, serial, ..)| (*due, *serial));
            while self.on_the_way.first().is_some_and(|(due, ..)| *due <= self.now) {
                let (_, _, from, to, bytes) = self.on_the_way.remove(0);
                if let Some(end) = ends.iter_mut().find(|end| end.address == to) {
                    end.machine.receive(self.now, &Received { from, to: None, ecn: 0, bytes: &bytes });
                }
            }
            for end in ends.iter_mut().filter(|end| end.machine.deadline().is_some_and(|due| due <= self.now)) {
                end.machine.expire(self.now);
            }
        }
        self.now = self.now.max(until);
        ends.iter_mut().for_each(|end| end.listen());
    }

    fn run(&mut self, time: Duration, ends: &mut [&mut End]) {
        self.run_until(self.now + time, ends);
    }
}

const SOON: Duration = Duration::from_millis(500);

fn epoch() -> std::time::Instant {
    std::time::Instant::now()
}

#[test]
fn bytes_arrive_whole_and_in_order_however_datagrams_travel() {
    let pems = pems();
    for seed in 0..12 {
        let mut world = World::new(seed);
        world.loss_permille = if seed == 0 { 0 } else { 60 };
        let start = epoch();
        let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
        let mut here = End::new(&client(&pems, QuicOptions::default()), 2, None, start);
        let id = here.machine.connect(world.now, there.address, "server.example").expect("begun");
        let data: Vec<u8> = (0..700_000_u32).map(|at| (at * 31 % 251) as u8).collect();
        let (mut up, mut down) = ((0, Vec::new()), (0, Vec::new()));
        for _ in 0..4_000 {
            world.run(Duration::from_millis(10), &mut [&mut here, &mut there]);
            // It is there with its first bytes.
            up.0 += here.machine.write(world.now, id, &data[up.0..]);
            let Some(&other) = there.accepted().first() else { continue };
            up.1.extend(there.read_all(world.now, other));
            down.0 += there.machine.write(world.now, other, &data[down.0..]);
            down.1.extend(here.read_all(world.now, id));
            if (up.1.len(), down.1.len()) == (data.len(), data.len()) {
                break;
            }
        }
        assert!(up.1 == data && down.1 == data, "seed {seed}: {} {}", up.1.len(), down.1.len());
        here.machine.finish(world.now, id);
        world.run(Duration::from_secs(20), &mut [&mut here, &mut there]);
        let other = there.accepted()[0];
        assert_eq!(there.machine.read(world.now, other, &mut [0; 8]), Some(0), "seed {seed}: the end");
        there.machine.close(world.now, other);
        world.run(Duration::from_secs(20), &mut [&mut here, &mut there]);
        // A good-bye is said once, and may be lost.
        let ended = here.ended(id);
        assert!(ended == Some(None) || (seed > 0 && ended == Some(Some(FaultKind::Silent))), "seed {seed}: {ended:?}");
        here.machine.close(world.now, id);
        world.run(Duration::from_secs(60), &mut [&mut here, &mut there]);
        assert_eq!((here.machine.connections(), there.machine.connections()), (0, 0), "seed {seed}");
        assert_eq!((here.machine.memory_bytes(), there.machine.memory_bytes()), (0, 0), "seed {seed}");
    }
}

/// Connects and leaves once, so that the client has tickets.
fn acquaint(world: &mut World, here: &mut End, there: &mut End) {
    let known = there.accepted().len();
    let id = here.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [here, there]);
    here.machine.write(world.now, id, b"hello");
    world.run(SOON, &mut [here, there]);
    assert_eq!(there.accepted().len(), known + 1);
    here.machine.close(world.now, id);
    world.run(SOON, &mut [here, there]);
}

#[test]
fn a_client_that_comes_back_is_heard_with_its_first_flight_and_once() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let (serving, dialling) = (server(&pems, QuicOptions::of_listener()), client(&pems, QuicOptions::default()));
    let mut there = End::new(&serving, 1, Some(LIMITS), start);
    let mut here = End::new(&dialling, 2, None, start);
    acquaint(&mut world, &mut here, &mut there);
    // Another socket of the same client.
    let mut back = End::new(&dialling, 3, None, start);
    let id = back.machine.connect(world.now, there.address, "server.example").expect("begun");
    back.listen();
    assert!(matches!(back.told[..], [(_, DatagramEvent::Opened(_))]), "it may write before anything was sent");
    assert_eq!(back.machine.write(world.now, id, b"CONNECT"), 7);
    assert_eq!(back.machine.write(world.now, id, b"PUBLISH"), 0, "nothing else goes early");
    world.collect(&mut back);
    let flight: Vec<_> = world.on_the_way.clone();
    let known = there.accepted().len();
    // One way only: 10 ms.
    world.run(Duration::from_millis(11), &mut [&mut back, &mut there]);
    let other = there.accepted()[known];
    assert_eq!(there.read_all(world.now, other), b"CONNECT", "after half a round trip");
    world.run(SOON, &mut [&mut back, &mut there]);
    assert_eq!(back.machine.write(world.now, id, b"PUBLISH"), 7);
    world.run(SOON, &mut [&mut back, &mut there]);
    assert_eq!(there.read_all(world.now, other), b"PUBLISH");
    // Somebody who has recorded the first flight sends it again, from elsewhere: its ticket is gone.
    let thief = SocketAddr::from(([10, 0, 0, 1], 9));
    let before = there.accepted().len();
    for (.., bytes) in &flight {
        there.machine.receive(world.now, &Received { from: thief, to: None, ecn: 0, bytes });
    }
    world.run(LIMITS.handshake_timeout * 2, &mut [&mut back, &mut there]);
    assert_eq!(there.accepted().len(), before, "nobody hears a CONNECT twice");
}

#[test]
fn early_data_that_is_not_taken_is_sent_again() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let dialling = client(&pems, QuicOptions::default());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    acquaint(&mut world, &mut End::new(&dialling, 2, None, start), &mut there);
    // A server that was started again knows no ticket; one that takes no early data has none to offer.
    for (port, early_data) in [(4, true), (5, false)] {
        let mut other = End::new(&server(&pems, QuicOptions { early_data, ..QuicOptions::of_listener() }), 1, Some(LIMITS), start);
        let mut back = End::new(&dialling, port, None, start);
        let id = back.machine.connect(world.now, other.address, "server.example").expect("begun");
        back.listen();
        let taken = back.machine.write(world.now, id, b"CONNECT");
        world.run(SOON, &mut [&mut back, &mut other]);
        if taken == 0 {
            assert_eq!(back.machine.write(world.now, id, b"CONNECT"), 7);
        }
        assert_eq!(back.machine.write(world.now, id, b"PUBLISH"), 7);
        world.run(SOON, &mut [&mut back, &mut other]);
        let accepted = other.accepted()[0];
        assert_eq!(other.read_all(world.now, accepted), b"CONNECTPUBLISH");
    }
    let mut reluctant = End::new(&client(&pems, QuicOptions { early_data: false, ..QuicOptions::default() }), 6, None, start);
    acquaint(&mut world, &mut reluctant, &mut there);
    let id = reluctant.machine.connect(world.now, there.address, "server.example").expect("begun");
    assert_eq!(reluctant.machine.write(world.now, id, b"CONNECT"), 0, "it was told not to");
}

#[test]
fn half_made_connections_are_bounded_and_addresses_have_to_be_proven() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let dialling = client(&pems, QuicOptions::default());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    // First packets from addresses that never answer.
    let spoof = |world: &mut World, there: &mut End, port: u16| -> usize {
        let mut here = End::new(&dialling, port, None, start);
        here.machine.connect(world.now, there.address, "server.example").expect("begun");
        let before = there.machine.connections();
        let mut out = Transmit::default();
        while here.machine.transmit(world.now, 1, &mut out) {
            there.machine.receive(world.now, &Received { from: here.address, to: None, ecn: 0, bytes: &out.bytes });
        }
        there.machine.connections() - before
    };
    let taken: usize = (0..100).map(|number| spoof(&mut world, &mut there, 1_000 + number)).sum();
    assert_eq!(taken, LIMITS.handshakes_max / 2, "the other half is for those who can prove their address");
    let mut honest = End::new(&dialling, 77, None, start);
    let id = honest.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut honest, &mut there]);
    honest.machine.write(world.now, id, b"x");
    world.run(SOON, &mut [&mut honest, &mut there]);
    assert_eq!(there.accepted().len(), 1, "a retry is all it costs");
    world.run(LIMITS.handshake_timeout, &mut [&mut honest, &mut there]);
    let timeouts = there.failures().iter().filter(|kind| **kind == FaultKind::Timeout).count();
    assert_eq!(timeouts, LIMITS.handshakes_max / 2);
    assert_eq!(spoof(&mut world, &mut there, 99), 1, "there is room again");
    // Somebody who shakes hands and never opens a stream is no connection either.
    let mut mute = End::new(&dialling, 78, None, start);
    mute.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(LIMITS.handshake_timeout * 2, &mut [&mut mute, &mut there]);
    assert_eq!(there.accepted().len(), 1);
}

#[test]
fn one_address_has_its_share_of_handshakes_and_another_one_comes_in() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    // Without early data nobody is open before the server has answered.
    let dialling = client(&pems, QuicOptions { early_data: false, ..QuicOptions::default() });
    let limits = DatagramLimits { handshakes_per_source_max: 2, ..LIMITS };
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(limits), start);
    let mut mute: Vec<_> = (2..6).map(|port| End::new(&dialling, port, None, start)).collect();
    for end in &mut mute {
        end.machine.connect(world.now, there.address, "server.example").expect("begun");
        world.run(SOON, &mut [end, &mut there]);
    }
    let opened = |end: &End| end.told.iter().any(|(_, event)| matches!(event, DatagramEvent::Opened(_)));
    assert_eq!(mute.iter().filter(|end| opened(end)).count(), 2);
    let mut other = End::new(&dialling, 9, None, start);
    other.address.set_ip([10, 0, 0, 2].into());
    let id = other.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut other, &mut there]);
    other.machine.write(world.now, id, b"x");
    world.run(SOON, &mut [&mut other, &mut there]);
    assert_eq!(there.accepted().len(), 1);
    // When theirs have taken too long, there is room again.
    world.run(LIMITS.handshake_timeout, &mut [&mut other, &mut there]);
    let mut late = End::new(&dialling, 7, None, start);
    let id = late.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut late, &mut there]);
    late.machine.write(world.now, id, b"x");
    world.run(SOON, &mut [&mut late, &mut there]);
    assert_eq!(there.accepted().len(), 2);
}

#[test]
fn connections_have_a_limit_of_their_own() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let dialling = client(&pems, QuicOptions::default());
    let limits = DatagramLimits { connections_max: 2, ..LIMITS };
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(limits), start);
    let mut ends: Vec<_> = (2..5).map(|port| End::new(&dialling, port, None, start)).collect();
    let mut ids = Vec::new();
    for end in &mut ends {
        let id = end.machine.connect(world.now, there.address, "server.example").expect("begun");
        world.run(SOON, &mut [end, &mut there]);
        end.machine.write(world.now, id, b"x");
        world.run(SOON, &mut [end, &mut there]);
        ids.push(id);
    }
    assert_eq!(there.accepted().len(), 2);
    assert_eq!((ends[2].ended(ids[2]), there.failures()), (Some(Some(FaultKind::Refused)), vec![FaultKind::Refused]));
    let first = there.accepted()[0];
    there.machine.close(world.now, first);
    world.run(SOON, &mut [&mut ends[0], &mut there]);
    let mut late = End::new(&dialling, 9, None, start);
    let id = late.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut late, &mut there]);
    assert_eq!(late.machine.write(world.now, id, b"x"), 1, "there is a place again");
    there.machine.refuse_all();
    let mut last = End::new(&dialling, 10, None, start);
    let id = last.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut last, &mut there]);
    assert_eq!(last.ended(id), Some(Some(FaultKind::Refused)));
}

#[test]
fn a_path_that_moves_is_told_and_a_silent_one_ends() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let options = QuicOptions { idle_timeout: Duration::from_secs(3), early_data: false, ..QuicOptions::of_listener() };
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    let mut here = End::new(&client(&pems, options), 2, None, start);
    let id = here.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut here, &mut there]);
    here.machine.write(world.now, id, b"a");
    world.run(SOON, &mut [&mut here, &mut there]);
    let other = there.accepted()[0];
    here.address.set_port(3);
    here.machine.rebound(world.now);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert!(there.told.contains(&(other, DatagramEvent::Moved(here.address))), "{:?}", there.told);
    assert_eq!(there.machine.write(world.now, other, b"to the new place"), 16);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert_eq!(here.read_all(world.now, id), b"to the new place");
    world.run(Duration::from_secs(10), &mut [&mut here, &mut there]);
    assert_eq!((here.ended(id), there.ended(other)), (Some(Some(FaultKind::Silent)), Some(Some(FaultKind::Silent))));
}

#[test]
fn what_was_not_read_when_a_connection_was_forgotten_can_be_read() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    let mut here = End::new(&client(&pems, QuicOptions::default()), 2, None, start);
    let id = here.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut here, &mut there]);
    here.machine.write(world.now, id, b"last words");
    world.run(SOON, &mut [&mut here, &mut there]);
    here.machine.close(world.now, id);
    world.run(Duration::from_secs(60), &mut [&mut here, &mut there]);
    let other = there.accepted()[0];
    assert_eq!((there.machine.connections(), there.ended(other)), (0, Some(None)));
    assert_eq!(there.read_all(world.now, other), b"last words");
    there.machine.close(world.now, other);
    assert_eq!((there.machine.memory_bytes(), there.machine.write(world.now, other, b"x")), (0, 0));
}

#[test]
fn nonsense_is_dropped_and_answered_by_no_more_than_it_is() {
    let pems = pems();
    let (mut world, start) = (World::new(7), epoch());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    let from = SocketAddr::from(([10, 0, 0, 9], 9));
    let (mut came, mut went) = (0, 0);
    for _ in 0..20_000 {
        let length = world.random.below(1_500) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| world.random.u64() as u8).collect();
        if world.random.chance(500) && length > 5 {
            bytes[0] |= 0xC0;
            bytes[1..5].copy_from_slice(&[0, 0, 0, 1]);
        }
        came += length;
        there.machine.receive(world.now, &Received { from, to: None, ecn: 0, bytes: &bytes });
        let mut out = Transmit::default();
        while there.machine.transmit(world.now, 1, &mut out) {
            went += out.bytes.len();
        }
        there.listen();
        world.now += Duration::from_micros(100);
    }
    assert!(went <= 3 * came && there.accepted().is_empty(), "{came} {went}");
    assert!(there.machine.connections() <= LIMITS.handshakes_max);
}

/// A client of another make, which says all it has to say in one packet.
#[test]
fn who_comes_and_goes_in_one_packet_is_counted_once() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(DatagramLimits { connections_max: 1, ..LIMITS }), start);
    for round in 0..3_u16 {
        let address = SocketAddr::from(([10, 0, 0, 1], 2 + round));
        let made = client(&pems, QuicOptions::default());
        let mut endpoint = quinn_proto::Endpoint::new(made.endpoint.clone(), None, true, None);
        let (handle, mut stranger) = endpoint.connect(start, made.client.clone(), there.address, "server.example").expect("begun");
        for _ in 0..20 {
            while stranger.poll().is_some() {}
            if !stranger.is_handshaking() {
                if let Some(id) = stranger.streams().open(quinn_proto::Dir::Bi) {
                    stranger.send_stream(id).write(b"x").expect("room");
                    stranger.recv_stream(id).stop(VarInt::from(0_u8)).expect("open");
                }
            }
            let mut bytes = Vec::new();
            let then = start + Duration::from_micros(world.now.as_micros());
            while let Some(transmit) = stranger.poll_transmit(then, 1, &mut bytes) {
                there.machine.receive(world.now, &Received { from: address, to: None, ecn: 0, bytes: &bytes[..transmit.size] });
                bytes.clear();
            }
            there.listen();
            world.collect(&mut there);
            for (.., bytes) in world.on_the_way.drain(..).filter(|(_, _, _, to, _)| *to == address) {
                if let Some(quinn_proto::DatagramEvent::ConnectionEvent(_, event)) =
                    endpoint.handle(then, there.address, None, None, (&bytes[..]).into(), &mut Vec::new())
                {
                    stranger.handle_event(event);
                }
            }
            while let Some(event) = stranger.poll_endpoint_events() {
                if let Some(answer) = endpoint.handle_event(handle, event) {
                    stranger.handle_event(answer);
                }
            }
            world.run(Duration::from_millis(1), &mut [&mut there]);
        }
        // As a driver does with whom it was told of.
        let id = *there.accepted().last().expect("it came");
        assert_eq!(there.ended(id), Some(None), "round {round}: it has gone");
        there.machine.close(world.now, id);
        world.run(Duration::from_secs(60), &mut [&mut there]);
        assert_eq!((there.accepted().len(), there.machine.connections()), (usize::from(round) + 1, 0));
    }
    assert_eq!(there.failures(), [], "there was room for each");
}
