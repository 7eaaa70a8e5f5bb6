//! The byte budget against a counting allocator: what the broker believes it holds is what it holds,
//! within a twentieth, and a burst leaves nothing behind.
//!
//! The allocator counts what was asked for, per thread, so that tests do not count each other. A
//! shard is driven by bytes, without sockets. Hash tables double when they grow; where tables are
//! what is measured, as many entries are made as fill one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Arc, RwLock};

use nlmqtt::base::{Budget, Duration, Instant, Rng};
use nlmqtt::broker::{ConnKey, Options, Origin, Progress, Shard};
use nlmqtt::route::{self, Router};

#[cfg(feature = "quic")]
#[path = "memory/quic.rs"]
mod quic;

struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // At the end of a thread there is nobody left to tell.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

#[allow(unsafe_code)]
// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What this thread holds on the heap.
fn held() -> usize {
    usize::try_from(HELD.get()).expect("no thread frees what another has made")
}

struct World {
    shard: Shard,
    budget: Budget,
    now: Instant,
    dirty: Vec<ConnKey>,
}

impl World {
    fn new() -> Self {
        let options = Options { max_inflight_messages: 1, max_queued_messages: 0, max_queued_bytes: 0, max_output_bytes: 64 << 20, ..Options::default() };
        let (mut rng, budget) = (Rng::with_seed(5), Budget::new(1 << 30));
        let router = Arc::new(RwLock::new(Router::new(route::Options::default(), rng.fork())));
        let shard = Shard::new(0, options, router, budget.clone(), rng, None);
        let mut world = Self { shard, budget, now: Instant::START, dirty: Vec::new() };
        // Tables that have a first size have it.
        let first = world.join("first", true);
        world.subscribe(first, "first/filter", 0);
        world.publish(first, "first/filter", 0, false, b"");
        world
    }

    fn join(&mut self, client_id: &str, clean: bool) -> ConnKey {
        let key = self.shard.open(self.now, &Origin { peer: "127.0.0.1:50000", listener: "listener", ..Origin::default() }).expect("room");
        let mut body = b"\0\x04MQTT\x04\0\0\0".to_vec();
        body[7] = if clean { 2 } else { 0 };
        string(&mut body, client_id);
        self.input(key, &packet(0x10, &body));
        key
    }

    fn subscribe(&mut self, key: ConnKey, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        string(&mut body, filter);
        body.push(qos);
        self.input(key, &packet(0x82, &body));
    }

    fn publish(&mut self, key: ConnKey, topic: &str, qos: u8, retain: bool, payload: &[u8]) {
        let mut body = Vec::new();
        string(&mut body, topic);
        if qos > 0 {
            body.extend([0, 1]);
        }
        body.extend_from_slice(payload);
        self.input(key, &packet(0x30 | qos << 1 | u8::from(retain), &body));
    }

    /// One turn.
    fn input(&mut self, key: ConnKey, mut bytes: &[u8]) {
        while let Progress::Flush { consumed } = self.shard.handle_input(self.now, key, bytes) {
            bytes = &bytes[consumed..];
            self.flush(None);
        }
        self.flush(None);
    }

    /// Writes everything; the socket of `blocked` takes nothing.
    fn flush(&mut self, blocked: Option<ConnKey>) {
        self.shard.work(self.now);
        self.shard.take_dirty(self.now, &mut self.dirty);
        for key in core::mem::take(&mut self.dirty) {
            let waiting = self.shard.output(key).map_or(0, |out| out.len());
            let is_blocked = blocked == Some(key);
            self.shard.sent(self.now, key, if is_blocked { 0 } else { waiting }, is_blocked);
        }
    }

    /// What was charged and what was allocated between two moments differ by a twentieth at most.
    fn check(&self, name: &str, before: (usize, usize)) {
        self.check_within(name, before, 20);
    }

    /// By that part at most.
    fn check_within(&self, name: &str, before: (usize, usize), part: usize) {
        let (charged, real) = (self.budget.used_bytes() - before.0, held() - before.1);
        println!("{name}: charged {charged}, held {real}");
        assert!(charged.abs_diff(real) * part <= real, "{name}: {charged} bytes charged, {real} held");
    }

    fn level(&self) -> (usize, usize) {
        (self.budget.used_bytes(), held())
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}

/// Entries that leave a table just filled: the tables of a shard double at powers of two (vectors) and
/// at seven eighths of them (hash tables).
const FILLS_VECTORS: usize = 1 << 13;
const FILLS_HASHES: usize = (1 << 14) * 7 / 8;

#[test]
fn queued_messages_are_charged_as_they_are() {
    let mut world = World::new();
    let (publisher, away) = (world.join("publisher", true), world.join("away", false));
    world.subscribe(away, "q", 1);
    world.shard.closed(world.now, away);
    let before = world.level();
    for _ in 0..4_096 {
        world.publish(publisher, "q", 1, false, &[7; 100]);
    }
    world.check("queued", before);
}

#[test]
fn retained_messages_are_charged_as_they_are() {
    let mut world = World::new();
    let publisher = world.join("publisher", true);
    let before = world.level();
    for number in 0..10_000 {
        world.publish(publisher, &format!("site/{number:07}/temperature"), 0, true, &[7; 256]);
    }
    world.check("retained", before);
}

#[test]
fn a_full_socket_is_charged_as_it_is_and_a_shared_payload_once() {
    let mut world = World::new();
    let publisher = world.join("publisher", true);
    let receivers: Vec<ConnKey> = (0..50).map(|number| world.join(&format!("r{number}"), true)).collect();
    for &receiver in &receivers {
        world.subscribe(receiver, "t", 0);
        // From now on it takes nothing.
        world.shard.sent(world.now, receiver, 0, true);
    }
    let before = world.level();
    for _ in 0..20 {
        world.publish(publisher, "t", 0, false, &[7; 60_000]);
    }
    world.check("shared", before);
    assert!(held() - before.1 < 3_000_000, "20 payloads, not 1,000");
    let before = world.level();
    for _ in 0..2_000 {
        world.publish(publisher, "t", 0, false, &[7; 100]);
    }
    world.check("copied", before);
}

#[test]
fn unfinished_packets_are_charged_as_they_are() {
    let mut world = World::new();
    let clients: Vec<ConnKey> = (0..50).map(|number| world.join(&format!("c{number}"), true)).collect();
    let half = &packet(0x30, &[b'x'; 200_000])[..100_000];
    let before = world.level();
    for &client in &clients {
        world.input(client, half);
    }
    world.check("unfinished", before);
}

/// There is no pool of buffers because there is nothing to put into it.
#[test]
fn a_connection_that_is_idle_again_holds_no_buffer() {
    let mut world = World::new();
    let clients: Vec<ConnKey> = (0..100).map(|number| world.join(&format!("c{number}"), true)).collect();
    for &client in &clients {
        world.subscribe(client, "t", 0);
    }
    let busy = |world: &mut World| {
        let mut body = Vec::new();
        string(&mut body, "t");
        body.extend_from_slice(&[7; 900]);
        let whole = packet(0x30, &body);
        // Two unfinished packets and a hundred filled buffers.
        clients[..2].iter().for_each(|&client| world.input(client, &whole[..500]));
        let _ = world.shard.handle_input(world.now, clients[2], &whole);
        let peak = held();
        world.flush(None);
        clients[..2].iter().for_each(|&client| world.input(client, &whole[500..]));
        peak
    };
    busy(&mut world);
    busy(&mut world);
    let before = world.level();
    let peak = busy(&mut world);
    assert!(peak > before.1 + 100 * 900, "{} of {peak} bytes were there before", before.1);
    assert_eq!(world.level(), before);
}

#[test]
fn connections_and_sessions_are_charged_as_they_are() {
    let before = held();
    let mut world = World::new();
    let start = world.level();
    for number in 0..FILLS_VECTORS - 2 {
        world.join(&format!("client-{number:09}"), true);
    }
    // Vectors that were there hold what they held: counted from nothing.
    let (charged, real) = (world.budget.used_bytes(), held() - before);
    println!("idle: charged {charged}, held {real}, at the start {start:?}");
    assert!(charged.abs_diff(real) * 20 <= real, "{charged} bytes charged, {real} held");
}

#[test]
fn subscriptions_are_charged_as_they_are() {
    let mut world = World::new();
    let clients: Vec<ConnKey> = (0..20).map(|number| world.join(&format!("c{number}"), true)).collect();
    let before = world.level();
    for number in 0..FILLS_HASHES - 4 {
        world.subscribe(clients[number % 20], &format!("site/{number:07}/temperature"), 0);
    }
    world.check("subscriptions", before);
    // What filters with wildcards cost depends on the levels they share; here they share one of three.
    let before = world.level();
    for number in 0..FILLS_HASHES - 4 {
        world.subscribe(clients[number % 20], &format!("site/{number:07}/+"), 0);
    }
    world.check_within("wildcards", before, 4);
}

#[test]
fn a_burst_leaves_nothing_behind() {
    let mut world = World::new();
    let publisher = world.join("publisher", true);
    let burst = |world: &mut World| {
        let receivers: Vec<ConnKey> = (0..200).map(|number| world.join(&format!("r{number}"), true)).collect();
        for &receiver in &receivers {
            world.subscribe(receiver, "t/#", 1);
            world.shard.sent(world.now, receiver, 0, true);
        }
        for number in 0..100 {
            world.publish(publisher, &format!("t/{number}"), 1, true, &[7; 2_000]);
        }
        let peak = held();
        for &receiver in &receivers {
            world.shard.writable(receiver);
        }
        world.flush(None);
        receivers.iter().for_each(|&receiver| world.shard.closed(world.now, receiver));
        for number in 0..100 {
            world.publish(publisher, &format!("t/{number}"), 0, true, b"");
        }
        // Stale timers and the like are looked at.
        for _ in 0..20 {
            world.now = world.now + Duration::from_secs(10);
            world.shard.handle_timeout(world.now);
        }
        peak
    };
    // The first bursts make the tables as large as a burst needs them, the one of matches when a topic comes again.
    burst(&mut world);
    burst(&mut world);
    let before = world.level();
    let peak = burst(&mut world);
    let after = world.level();
    println!("burst: before {before:?}, peak {peak}, after {after:?}");
    assert!(peak > before.1 + 1_000_000, "it was a burst");
    // Which of two topics has the place of both in the table of matches varies.
    assert!(after.0.abs_diff(before.0) < 500, "{} bytes charged before, {} after", before.0, after.0);
    assert!(after.1 <= before.1 + 10_000, "{} bytes held before, {} after", before.1, after.1);
}

#[cfg(feature = "tls")]
mod tls {
    use nlmqtt::base::Budget;
    use nlmqtt::stack::tls::{ClientTls, ClientTlsOptions, Roots, ServerTls, ServerTlsOptions};
    use nlmqtt::stack::{Ends, Place, Recipe, Stack};

    use super::{Arc, held};

    fn recipes() -> (Recipe, Recipe) {
        let own = rcgen::generate_simple_self_signed(vec!["server.example".to_owned()]).expect("signed");
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let server = ServerTls::new(&ServerTlsOptions::new(certificate.as_bytes(), key.as_bytes(), || 1_800_000_000));
        let client = ClientTls::new(&ClientTlsOptions::new(Roots::DangerAnybody, || 1_800_000_000));
        let recipe = |make| Recipe::default().with(Place::Tls, make);
        (recipe(Arc::new(server.expect("whole"))), recipe(Arc::new(client.expect("whole"))))
    }

    fn stack(recipe: &Recipe, budget: &Budget) -> Box<Stack> {
        recipe.stack(budget, &Ends { host: "server.example", ..Ends::default() }).expect("made").expect("not plain")
    }

    fn carry(from: &mut Stack, to: &mut Stack) {
        let bytes: Vec<u8> = from.wire().slices().flatten().copied().collect();
        to.open(&bytes, &mut Vec::new()).expect("well");
        from.wrote(bytes.len());
    }

    /// What a server holds for each of many connections that are this far, charged and real.
    fn per_connection(recipes: &(Recipe, Recipe), rounds: usize) -> (usize, usize) {
        const COUNT: usize = 50;
        let (of_servers, of_clients) = (Budget::new(1 << 30), Budget::new(1 << 30));
        let mut servers = Vec::new();
        for _ in 0..COUNT {
            let (mut server, mut client) = (stack(&recipes.0, &of_servers), stack(&recipes.1, &of_clients));
            client.begin();
            server.begin();
            for _ in 0..rounds {
                carry(&mut client, &mut server);
                carry(&mut server, &mut client);
            }
            servers.push(server);
        }
        let (charged, before) = (of_servers.used_bytes(), held());
        servers.clear();
        assert_eq!(of_servers.used_bytes(), 0);
        (charged / COUNT, (before - held()) / COUNT)
    }

    /// What TLS holds inside is known as a constant, so not to the byte.
    #[test]
    fn connections_over_tls_are_charged_about_as_they_are() {
        let recipes = recipes();
        let (charged, real) = per_connection(&recipes, 0);
        println!("silent: charged {charged}, held {real}");
        assert!(charged.abs_diff(real) <= 100 && real < 600, "silent: {charged} bytes charged, {real} held");
        for (name, rounds) in [("in the handshake", 1), ("idle", 4)] {
            let (charged, real) = per_connection(&recipes, rounds);
            println!("{name}: charged {charged}, held {real}");
            assert!(charged.abs_diff(real) * 4 <= real, "{name}: {charged} bytes charged, {real} held");
        }
    }
}

/// What a WebSocket costs above a plain connection: its layers, behind the handshake, with nothing under way.
#[cfg(feature = "websocket")]
#[test]
fn an_idle_websocket_costs_less_than_two_kibibytes_more() {
    use nlmqtt::base::OutBuffer;
    use nlmqtt::stack::ws::{Accept, Acceptor};
    use nlmqtt::stack::{Ends, Place, Recipe};

    const COUNT: usize = 500;
    let request = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let recipe = Recipe::default().with(Place::WebSocket, Arc::new(Accept(Arc::new(Acceptor::default()))));
    let budget = Budget::new(1 << 30);
    let (mut stacks, mut plain, mut answer) = (Vec::with_capacity(COUNT), Vec::with_capacity(1 << 16), OutBuffer::default());
    // A good large packet each way: what a connection needed once it must give back.
    answer.push(&bytes::Bytes::from(vec![7; 30_000]), Arc::new(()));
    let mut ping = vec![0x82, 0xfe, 0x40, 0x00, 0, 0, 0, 0];
    ping.resize(8 + 0x4000, 0xc0);
    let before = held();
    for _ in 0..COUNT {
        let mut stack = recipe.stack(&budget, &Ends::default()).expect("no fault").expect("a layer");
        assert!(stack.begin().is_none());
        assert!(stack.open(request.as_bytes(), &mut plain).expect("granted").established.is_some());
        stack.open(&ping, &mut plain).expect("a frame");
        assert_eq!((plain.len(), stack.seal(&answer)), (0x4000, 30_000));
        stack.wrote(stack.wire().len());
        plain.clear();
        stacks.push(stack);
    }
    let each = (held() - before) / COUNT;
    assert!(each < 2_048, "{each} bytes");
    let charged = budget.used_bytes() / COUNT;
    assert!(charged.abs_diff(each) <= each / 4, "{charged} bytes are charged for {each}");
}

/// What a peer of reliable UDP costs a listener when nothing is under way, after a good deal was.
#[cfg(feature = "rudp")]
#[test]
fn an_idle_peer_of_reliable_udp_costs_less_than_four_kibibytes_and_is_charged_as_it_is() {
    use nlmqtt::stack::rudp::{Endpoint, Generation, Options};
    use nlmqtt::stack::{Birth, ConnectionId, DatagramEndpoint, DatagramEvent, DatagramLimits, Received, Transmit};

    const COUNT: usize = 500;
    let hello = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
    let limits =
        DatagramLimits { connections_max: 10_000, handshakes_max: 10_000, handshakes_per_source_max: 10_000, handshake_timeout: Duration::from_secs(10) };
    let options = Options { generation: Generation::Two, half_open_max: COUNT, half_open_per_source_max: COUNT, ..Options::default() };
    let make = |limits| Endpoint::new(options.clone(), &Birth { seed: 1, epoch: std::time::Instant::now(), limits });
    let (mut client, mut server) = (make(None), make(Some(limits)));
    let (near, far) = ("10.0.0.2:50000".parse().expect("an address"), "10.0.0.1:14567".parse().expect("an address"));
    let (mut now, mut out, mut buffer) = (Instant::START, Transmit::default(), vec![0; 65_536]);
    let mut accepted: Vec<ConnectionId> = Vec::new();
    let mut pump = |client: &mut Endpoint, server: &mut Endpoint, now: &mut Instant, accepted: &mut Vec<ConnectionId>| {
        for _ in 0..2_500 {
            *now += Duration::from_millis(2);
            (client.expire(*now), server.expire(*now));
            while client.transmit(*now, 1, &mut out) {
                server.receive(*now, &Received { from: near, to: None, ecn: 0, bytes: &out.bytes });
            }
            while server.transmit(*now, 1, &mut out) {
                client.receive(*now, &Received { from: far, to: None, ecn: 0, bytes: &out.bytes });
            }
            while let Some((id, event)) = server.event() {
                if matches!(event, DatagramEvent::Accepted { .. }) {
                    accepted.push(id);
                }
                while server.read(*now, id, &mut buffer).is_some() {}
            }
            while client.event().is_some() {}
        }
    };
    let before = held();
    let dialled: Vec<ConnectionId> = (0..COUNT).map(|_| client.connect(now, far, "").expect("it begins")).collect();
    pump(&mut client, &mut server, &mut now, &mut accepted);
    for id in &dialled {
        assert_eq!(client.write(now, *id, hello), hello.len());
    }
    pump(&mut client, &mut server, &mut now, &mut accepted);
    for id in &dialled {
        assert_eq!(client.write(now, *id, &[7; 8_000]), 8_000);
    }
    pump(&mut client, &mut server, &mut now, &mut accepted);
    assert_eq!(accepted.len(), COUNT);
    let (charged, all) = (server.memory_bytes(), held());
    drop(server);
    let each = (all - held()) / COUNT;
    println!("reliable UDP: {each} bytes for each idle peer, {} are charged", charged / COUNT);
    assert!(all > before && each <= 4_096, "{each} bytes");
    assert!((charged / COUNT).abs_diff(each) <= each / 4, "{} bytes are charged for {each}", charged / COUNT);
}
