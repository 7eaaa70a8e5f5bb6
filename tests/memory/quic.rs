//! What connections of QUIC are charged with against what they hold: inside quinn-proto, which does not say, lies what was not read and what was
//! not acknowledged. A charge is for what a connection may hold, so it is never less than what it does.

use std::net::SocketAddr;

use nlmqtt::base::{Duration, Instant, Rng};
use nlmqtt::stack::quic::{ClientQuic, QuicOptions, ServerQuic};
use nlmqtt::stack::tls::{ClientTlsOptions, Roots, ServerTlsOptions};
use nlmqtt::stack::{Birth, ConnectionId, DatagramEndpoint, DatagramEvent, DatagramLimits};
use nlmqtt::stack::{MakeDatagrams, Received, Transmit};

use super::held;

const LIMITS: DatagramLimits =
    DatagramLimits { connections_max: 100, handshakes_max: 100, handshakes_per_source_max: 100, handshake_timeout: Duration::from_secs(100) };

/// A server whose memory is looked at, and clients one by one.
struct World {
    now: Instant,
    server: Box<dyn DatagramEndpoint>,
    /// What the server has allocated and not freed.
    held_bytes: isize,
    clients: Vec<(SocketAddr, Box<dyn DatagramEndpoint>, ConnectionId)>,
    accepted: Vec<ConnectionId>,
    random: Rng,
    /// Of a thousand datagrams to the server, so many are lost.
    loss_permille: u32,
    /// None of the server's datagrams arrives.
    is_cut: bool,
    out: Transmit,
}

fn makers() -> (ServerQuic, ClientQuic) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let pem = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name").self_signed(&key).expect("signed").pem();
    let key = key.serialize_pem();
    let tls = ServerTlsOptions::new(pem.as_bytes(), key.as_bytes(), || 0);
    let server = ServerQuic::new(&tls, &QuicOptions::of_listener()).expect("it can be made");
    let tls = ClientTlsOptions::new(Roots::DangerAnybody, || 0);
    (server, ClientQuic::new(&tls, &QuicOptions { early_data: false, ..QuicOptions::default() }).expect("it can be made"))
}

impl World {
    /// So many connections that have said one word.
    fn new(count: u16) -> Self {
        let (serving, dialling) = makers();
        let epoch = std::time::Instant::now();
        let birth = |limits| Birth { seed: 1, epoch, limits };
        let mut out = Transmit::default();
        out.bytes.reserve(64 << 10);
        let mut world = Self {
            now: Instant::from_micros(1_000_000),
            server: serving.make(&birth(Some(LIMITS))),
            held_bytes: 0,
            clients: Vec::new(),
            accepted: Vec::new(),
            random: Rng::with_seed(3),
            loss_permille: 0,
            is_cut: false,
            out,
        };
        for number in 0..count {
            let mut client = dialling.make(&birth(None));
            let id = client.connect(world.now, server_address(), "localhost").expect("begun");
            world.clients.push((SocketAddr::from(([10, 0, 0, 2], 1_000 + number)), client, id));
            world.run(20);
            world.clients.last_mut().expect("pushed").1.write(world.now, id, b"x");
            world.run(20);
        }
        assert_eq!(world.accepted.len(), usize::from(count));
        world
    }

    fn at_server<R>(&mut self, act: impl FnOnce(&mut Box<dyn DatagramEndpoint>, Instant) -> R) -> R {
        let before = held();
        let result = act(&mut self.server, self.now);
        self.held_bytes += held() as isize - before as isize;
        result
    }

    /// So many steps of 20 ms.
    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.now += Duration::from_millis(20);
            for index in 0..self.clients.len() {
                let (address, client, _) = &mut self.clients[index];
                let address = *address;
                if client.deadline().is_some_and(|due| due <= self.now) {
                    client.expire(self.now);
                }
                let mut datagrams = Vec::new();
                while client.transmit(self.now, 1, &mut self.out) {
                    datagrams.push(self.out.bytes.clone());
                }
                while client.event().is_some() {}
                for bytes in datagrams {
                    if !self.random.chance(self.loss_permille) {
                        self.at_server(|server, now| server.receive(now, &Received { from: address, to: None, ecn: 0, bytes: &bytes }));
                    }
                }
            }
            self.serve();
        }
    }

    fn serve(&mut self) {
        self.at_server(|server, now| {
            if server.deadline().is_some_and(|due| due <= now) {
                server.expire(now);
            }
        });
        while let Some((id, event)) = self.at_server(|server, _| server.event()) {
            if let DatagramEvent::Accepted { .. } = event {
                self.accepted.push(id);
            }
        }
        let mut out = core::mem::take(&mut self.out);
        while self.at_server(|server, now| server.transmit(now, 1, &mut out)) {
            let found = self.clients.iter_mut().find(|(address, ..)| *address == out.to).filter(|_| !self.is_cut);
            if let Some((_, client, _)) = found {
                client.receive(self.now, &Received { from: server_address(), to: None, ecn: 0, bytes: &out.bytes });
            }
        }
        self.out = out;
    }

    /// What one connection holds and what it is charged with, since there were none.
    fn check(&self, what: &str) -> (usize, usize) {
        let count = self.clients.len();
        let (held, charged) = (usize::try_from(self.held_bytes).expect("it holds something") / count, self.server.memory_bytes() / count);
        println!("{what}: {held} bytes held, {charged} charged");
        assert!(held <= charged, "{what}: {held} bytes held, {charged} charged");
        (held, charged)
    }
}

fn server_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 1))
}

#[test]
fn connections_of_quic_never_hold_more_than_they_are_charged_with() {
    let mut world = World::new(20);
    for id in world.accepted.clone() {
        world.at_server(|server, now| assert_eq!(server.read(now, id, &mut [0; 8]), Some(1)));
    }
    world.run(100);
    let (_, at_rest) = world.check("at rest");
    // Nobody reads what comes, and of that much is missing.
    world.loss_permille = 300;
    let data = vec![7; 300_000];
    for _ in 0..40 {
        for (_, client, id) in &mut world.clients {
            client.write(world.now, *id, &data);
        }
        world.run(5);
        world.check("not read, with gaps");
    }
    world.loss_permille = 0;
    world.run(200);
    world.check("not read");
    // Everything is read for a while, and then nothing.
    let mut buffer = vec![0; 64 << 10];
    for round in 0..60 {
        for (_, client, id) in &mut world.clients {
            client.write(world.now, *id, &data);
        }
        world.run(2);
        for id in world.accepted.clone() {
            while round < 40 && world.at_server(|server, now| server.read(now, id, &mut buffer)).is_some() {}
        }
    }
    let (held, charged) = world.check("a large window, not read");
    assert!(held > 100_000 && charged > 100_000, "{held} {charged}: it was filled");
    for id in world.accepted.clone() {
        while world.at_server(|server, now| server.read(now, id, &mut buffer)).is_some() {}
    }
    // Nothing is acknowledged.
    world.is_cut = true;
    for id in world.accepted.clone() {
        world.at_server(|server, now| server.write(now, id, &data));
    }
    world.run(10);
    let (held, _) = world.check("not acknowledged");
    assert!(held > 10_000 && at_rest < 40_000, "{held} {at_rest}");
}
