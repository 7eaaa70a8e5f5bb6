//! What is attainable, in the same world as the table of the specification: 10 Mbit/s, 25 ms each way, a queue of 62.5 kB that drops
//! what does not fit, independent loss both ways. Virtual time: the numbers are the same on every machine.
//!
//! By default one seed of 20 s; `RUDP_BENCH=n` runs n seeds of 60 s and prints the whole table:
//! `RUDP_BENCH=20 cargo test --test rudp bench -- --nocapture`.

use std::collections::VecDeque;

use nlmqtt::base::{Duration, Instant};
use nlmqtt::stack::DatagramEndpoint;
use nlmqtt::stack::rudp::{CongestionControl, Options};

use crate::stream::number;
use crate::world::{CLIENT, SERVER, Way, World, connected};

const LOSSES_PERMILLE: [u32; 4] = [0, 10, 50, 100];

fn way(loss_permille: u32) -> Way {
    Way { loss_permille, rate: 10_000_000, queue_bytes: 62_500, ..Way::default() }
}

fn world(seed: u64, loss_permille: u32, options: &Options) -> World {
    World::new(seed, way(loss_permille), [options, options])
}

/// Bits a second of payload.
fn goodput<E: DatagramEndpoint>(world: &mut World<E>, time: Duration) -> f64 {
    let (client, server) = connected(world);
    let (start, mut read, mut buffer) = (world.now, 0_u64, vec![0; 65_536]);
    let until = start + time;
    while world.now < until {
        while world.write(CLIENT, client, &[7; 16_384]) > 0 {}
        world.step(until);
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            read += count as u64;
        }
    }
    read as f64 * 8.0 / time.as_secs_f64()
}

/// The delays of messages of 256 bytes, 50 a second, sorted.
fn delays<E: DatagramEndpoint>(world: &mut World<E>, time: Duration) -> Vec<Duration> {
    let (client, server) = connected(world);
    let until = world.now + time;
    let (mut sent, mut next, mut delays, mut rest, mut buffer) = (VecDeque::<Instant>::new(), world.now, Vec::new(), 0, vec![0; 65_536]);
    while world.now < until + Duration::from_secs(30) && (world.now < until || !sent.is_empty()) {
        if world.now >= next && world.now < until {
            assert_eq!(world.write(CLIENT, client, &[7; 256]), 256);
            sent.push_back(world.now);
            next += Duration::from_millis(20);
        }
        world.step(if world.now < until { next } else { world.now + Duration::from_millis(20) });
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            rest += count;
            while rest >= 256 {
                rest -= 256;
                delays.push(world.now.since(sent.pop_front().expect("it was sent")));
            }
        }
    }
    assert!(sent.is_empty(), "{} messages did not arrive", sent.len());
    delays.sort();
    delays
}

/// Makes the world of a seed and a loss.
type Make<'a, E> = &'a dyn Fn(u64, u32) -> World<E>;

fn p99_ms<E: DatagramEndpoint>(make: Make<'_, E>, seeds: u64, loss_permille: u32, time: Duration) -> f64 {
    let mut all: Vec<Duration> = (0..seeds).flat_map(|seed| delays(&mut make(seed, loss_permille), time)).collect();
    all.sort();
    all[all.len() * 99 / 100].as_secs_f64() * 1_000.0
}

fn mean_goodput<E: DatagramEndpoint>(make: Make<'_, E>, seeds: u64, loss_permille: u32, time: Duration) -> f64 {
    (0..seeds).map(|seed| goodput(&mut make(seed, loss_permille), time)).sum::<f64>() / seeds as f64 / 1e6
}

/// A row of the table, printed.
fn row<E: DatagramEndpoint>(name: &str, make: Make<'_, E>, seeds: u64, time: Duration) -> ([f64; 4], [f64; 4]) {
    let goodputs = LOSSES_PERMILLE.map(|loss| mean_goodput(make, seeds, loss, time));
    let delays = LOSSES_PERMILLE.map(|loss| p99_ms(make, seeds, loss, time));
    println!("{name}: Mbit/s {goodputs:.2?}; p99 ms {delays:.0?}");
    (goodputs, delays)
}

#[test]
fn bench_of_goodput_and_delay_in_virtual_time() {
    let is_long = std::env::var_os("RUDP_BENCH").is_some();
    let (seeds, time) = (number("RUDP_BENCH", 1), Duration::from_secs(if is_long { 60 } else { 20 }));
    let reno = Options::default();
    let cubic = Options { congestion: CongestionControl::Cubic, ..Options::default() };
    let all = Options { redundancy: true, probe_bytes_max: 1_452, ..cubic.clone() };
    println!("{seeds} seeds of {} s; losses 0, 1, 5, 10 %", time.as_secs());
    for (name, options) in [("NewReno, 1,200 B", &reno), ("CUBIC, 1,200 B", &cubic), ("CUBIC, 1,452 B probed, redundancy", &all)] {
        let (goodputs, delays) = row(name, &|seed, loss| world(seed, loss, options), seeds, time);
        assert!(goodputs[0] > 8.0 && goodputs.is_sorted_by(|left, right| left >= right), "{goodputs:?}");
        assert!(delays[0] < 40.0 && delays[3] < 1_000.0, "{delays:?}");
    }
    #[cfg(feature = "quic")]
    row("QUIC of this library (quinn-proto)", &|seed, loss| quic::world(seed, way(loss)), seeds, time);
}

/// QUIC in the same world.
#[cfg(feature = "quic")]
mod quic {
    use std::net::SocketAddr;

    use nlmqtt::base::{Instant, Rng};
    use nlmqtt::stack::quic::{ClientQuic, QuicOptions, ServerQuic};
    use nlmqtt::stack::tls::{ClientTlsOptions, Roots, ServerTlsOptions};
    use nlmqtt::stack::{Birth, ClientCertificate, ConnectionId, DatagramEndpoint, DatagramEvent, DatagramLimits, Fault, Identity};
    use nlmqtt::stack::{MakeDatagrams, Received, TlsVersion, Transmit};

    use crate::world::{Way, World, limits};

    /// An endpoint of whatever kind.
    pub struct Boxed(Box<dyn DatagramEndpoint>);

    #[rustfmt::skip]
    impl DatagramEndpoint for Boxed {
        fn connect(&mut self, now: Instant, remote: SocketAddr, host: &str) -> Result<ConnectionId, Fault> { self.0.connect(now, remote, host) }
        fn receive(&mut self, now: Instant, datagram: &Received<'_>) { self.0.receive(now, datagram) }
        fn transmit(&mut self, now: Instant, segments_max: usize, out: &mut Transmit) -> bool { self.0.transmit(now, segments_max, out) }
        fn deadline(&self) -> Option<Instant> { self.0.deadline() }
        fn expire(&mut self, now: Instant) { self.0.expire(now) }
        fn event(&mut self) -> Option<(ConnectionId, DatagramEvent)> { self.0.event() }
        fn read(&mut self, now: Instant, id: ConnectionId, buffer: &mut [u8]) -> Option<usize> { self.0.read(now, id, buffer) }
        fn write(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> usize { self.0.write(now, id, bytes) }
        fn finish(&mut self, now: Instant, id: ConnectionId) { self.0.finish(now, id) }
        fn close(&mut self, now: Instant, id: ConnectionId) { self.0.close(now, id) }
        fn refuse_all(&mut self) { self.0.refuse_all() }
        fn renew(&mut self, make: &dyn MakeDatagrams, limits: DatagramLimits) -> bool { self.0.renew(make, limits) }
        fn rebound(&mut self, now: Instant) { self.0.rebound(now) }
        fn connections(&self) -> usize { self.0.connections() }
        fn memory_bytes(&self) -> usize { self.0.memory_bytes() }
    }

    /// Two endpoints that trust each other; what they draw is their library's, so that a seed repeats the network only.
    pub fn world(seed: u64, way: Way) -> World<Boxed> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["server".to_owned()]).expect("a name").self_signed(&key).expect("signed").pem();
        let (epoch, key) = (std::time::Instant::now(), key.serialize_pem());
        let clock = || 1_800_000_000;
        let server = ServerTlsOptions {
            certificates: certificate.as_bytes(),
            key: key.as_bytes(),
            ca: None,
            client_certificate: ClientCertificate::None,
            revoked: None,
            identity: Identity::None,
            version_min: TlsVersion::V13,
            alpn: &[],
            clock,
        };
        let client = ClientTlsOptions {
            roots: Roots::Pem(certificate.as_bytes()),
            certificates: None,
            key: None,
            sign: None,
            server_name: None,
            pins: Vec::new(),
            revoked: None,
            version_min: TlsVersion::V13,
            alpn: &[],
            clock,
            clock_floor_s: 0,
        };
        let server = ServerQuic::new(&server, &QuicOptions::of_listener()).expect("it can be made");
        let client = ClientQuic::new(&client, &QuicOptions::default()).expect("it can be made");
        let mut rng = Rng::with_seed(seed);
        let mut make = |make: &dyn MakeDatagrams, limits| Boxed(make.make(&Birth { seed: rng.u64(), epoch, limits }));
        let endpoints = [make(&client, None), make(&server, Some(limits()))];
        World::of(rng, way, endpoints)
    }
}
