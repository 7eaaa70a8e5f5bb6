//! Clients that mean no good, over real sockets: the broker answers as the standard says, stays up,
//! serves a good client all the while, and owes its budget nothing in the end.
//!
//! What is drawn at random comes from one seed: `HOSTILE_SEED=n cargo test --test it hostile` repeats
//! what each socket is sent (not when it arrives). `HOSTILE_PACKETS=n` sends more or fewer.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nlmqtt::base::Rng;

use crate::wire::{Broker, Connect, PATIENCE, V3, V5, Wire, ack, connect, connect_with, header, publish, subscribe, unsubscribe};

const PACKETS: u64 = 1_000_000;
const THREADS: u64 = 4;
/// Drawn packets on one connection, about.
const PACKETS_PER_CONNECTION: u64 = 120;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// Says its seed if the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HOSTILE_SEED={}", self.0);
        }
    }
}

/// A round of a good client: its message comes back. Answers how long that took.
fn good_round(address: SocketAddr, round: u64) -> Duration {
    let begun = Instant::now();
    let level = if round % 2 == 0 { V3 } else { V5 };
    let mut good = Wire::join(address, level, &format!("good-{round}"));
    good.subscribe("good/own", 1);
    let payload = round.to_string();
    good.send(&publish(level, "good/own", 1, false, 5, &[], payload.as_bytes()));
    let (mut is_acknowledged, mut is_received) = (false, false);
    while !(is_acknowledged && is_received) {
        let packet = good.read().expect("the broker serves a good client");
        match packet.first {
            0x40 => is_acknowledged = true,
            0x32 => {
                is_received |= packet.payload(level) == payload.as_bytes();
                good.send(&ack(0x40, packet.packet_id()));
            }
            other => panic!("{other:02x} came"),
        }
    }
    good.send(&[0xE0, 0]);
    good.expect_closed();
    begun.elapsed()
}

fn level(rng: &mut Rng) -> u8 {
    if rng.chance(500) { V5 } else { V3 }
}

fn topic(rng: &mut Rng) -> String {
    let words = ["a", "b", "c", "", "long-name-of-a-level", "ä", "x"];
    let levels: Vec<&str> = (0..1 + rng.below(4)).map(|_| words[rng.below(7) as usize]).collect();
    let topic = levels.join("/");
    if topic.is_empty() { "t".to_owned() } else { topic }
}

fn filter(rng: &mut Rng) -> String {
    let base = topic(rng);
    match rng.below(6) {
        0 => "#".to_owned(),
        1 => format!("{base}/#"),
        2 => format!("+/{base}"),
        3 => format!("$share/g/{base}"),
        _ => base,
    }
}

fn draw_connect(rng: &mut Rng, level: u8) -> Vec<u8> {
    let client_id = format!("h{}", rng.below(40));
    let is_persistent = rng.chance(250);
    let expiry = [0x11, 0, 0, 1, 0];
    let will_topic = topic(rng);
    connect_with(
        level,
        &client_id,
        &Connect {
            clean: !is_persistent,
            keep_alive_s: 60,
            properties: if is_persistent && level == V5 { &expiry } else { &[] },
            will: rng.chance(250).then_some((will_topic.as_str(), "gone", &[][..])),
            username: None,
        },
    )
}

/// A packet a client may send.
fn draw_packet(rng: &mut Rng, level: u8) -> Vec<u8> {
    let id = 1 + rng.below(20) as u16;
    match rng.below(12) {
        0 => subscribe(level, id, &filter(rng), rng.below(3) as u8),
        1 => unsubscribe(level, id, &filter(rng)),
        2 => vec![0xC0, 0],
        3 => ack(0x40, id),
        4 => ack(0x50, id),
        5 | 6 => ack(0x62, id),
        7 => ack(0x70, id),
        _ => {
            let size = if rng.chance(20) { rng.below(20_000) } else { rng.below(100) };
            let qos = rng.below(3) as u8;
            publish(level, &topic(rng), qos, rng.chance(125), id, &[], &vec![b'x'; size as usize])
        }
    }
}

/// Breaks a packet: bits, bytes, length, end.
fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..1 + rng.below(3) {
        let at = rng.below(bytes.len().max(1) as u64) as usize;
        match rng.below(7) {
            _ if bytes.is_empty() => bytes.push(rng.u64() as u8),
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.u64() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, rng.u64() as u8),
            4 => {
                let copy = bytes[at..].to_vec();
                bytes.extend_from_slice(&copy);
            }
            5 => {
                let length = bytes.len().min(2);
                bytes[length - 1] = rng.u64() as u8;
            }
            _ => bytes[0] = rng.u64() as u8,
        }
    }
    // What is retained in the end is found by `#`, which does not mean topics that begin with `$`.
    bytes.iter_mut().filter(|byte| **byte == b'$').for_each(|byte| *byte = b'%');
}

/// One connection's worth of bytes; how many packets were drawn for it.
fn draw_stream(rng: &mut Rng) -> (Vec<u8>, u64) {
    let level = level(rng);
    let mut stream = draw_connect(rng, level);
    let mut count = 1;
    if rng.chance(100) {
        mutate(rng, &mut stream);
    }
    for _ in 0..rng.below(2 * PACKETS_PER_CONNECTION) {
        let mut packet = draw_packet(rng, level);
        if rng.chance(10) {
            mutate(rng, &mut packet);
        }
        stream.append(&mut packet);
        count += 1;
    }
    (stream, count)
}

/// What a server sends is whole packets of a server: CONNACK first, nothing after DISCONNECT.
fn judge_answers(bytes: &[u8]) {
    let mut rest = bytes;
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let (head, length) = header(rest).expect("a whole header");
        assert!(rest.len() >= head + length, "a server ends with whole packets: {seen:02x?} then {rest:02x?}");
        let kind = rest[0] >> 4;
        let flags_are_legal = match kind {
            3 => rest[0] & 6 != 6,
            6 => rest[0] & 15 == 2,
            2 | 4 | 5 | 7 | 9 | 11 | 13 | 14 => rest[0] & 15 == 0,
            _ => false,
        };
        assert!(flags_are_legal, "{:02x} from a server", rest[0]);
        assert_eq!(kind == 2, seen.is_empty(), "CONNACK once and first: {seen:02x?}");
        assert!(seen.last() != Some(&0xE0), "after DISCONNECT: {:02x}", rest[0]);
        seen.push(rest[0]);
        rest = &rest[head + length..];
    }
}

/// Sends a stream, cut at random, and reads until the server closes.
fn attack(rng: &mut Rng, address: SocketAddr, stream: &[u8]) {
    use std::io::{Read, Write};
    let mut wire = Wire::dial(address);
    let mut other = wire.stream.try_clone().expect("a second handle");
    let leaves_at_once = rng.chance(50);
    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
            loop {
                match other.read(&mut chunk) {
                    Ok(0) => return Some(bytes),
                    Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                    // Reset: how much of the answers came is chance.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                    Err(error) => panic!("the server does not close: {error}"),
                }
            }
        });
        let mut rest = stream;
        while !rest.is_empty() {
            let cut = if rng.chance(250) { 1 + rng.below(rest.len().min(200) as u64) as usize } else { rest.len() };
            if wire.stream.write_all(&rest[..cut]).is_err() {
                break;
            }
            rest = &rest[cut..];
        }
        let _ = wire.stream.shutdown(if leaves_at_once { Shutdown::Both } else { Shutdown::Write });
        reader.join().expect("the reader")
    });
    if let Some(bytes) = reader.filter(|_| !leaves_at_once) {
        judge_answers(&bytes);
    }
}

#[test]
fn a_million_random_and_mutated_packets_do_no_harm() {
    let seed = Seed(number("HOSTILE_SEED", 1));
    let packets = number("HOSTILE_PACKETS", PACKETS);
    let broker = Broker::new(|_| {});
    let address = broker.address;
    let sent = Arc::new(AtomicU64::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    good_round(address, 0);
    let (begun, mut rounds) = (Instant::now(), 1);
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (sent, is_over) = (sent.clone(), is_over.clone());
                let mut rng = Rng::with_seed(seed.0 * 1_000 + thread);
                scope.spawn(move || {
                    while sent.load(Ordering::Relaxed) < packets && !is_over.load(Ordering::Relaxed) {
                        let (stream, count) = draw_stream(&mut rng);
                        attack(&mut rng, address, &stream);
                        sent.fetch_add(count, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        while attackers.iter().any(|attacker| !attacker.is_finished()) {
            let took = good_round(address, rounds);
            assert!(took < PATIENCE, "a good client waited for {took:?}");
            rounds += 1;
        }
        is_over.store(true, Ordering::Relaxed);
        attackers.into_iter().for_each(|attacker| attacker.join().expect("an attacker found a fault"));
    });
    good_round(address, rounds);
    let stats = broker.server.stats().expect("counters");
    println!("{} packets, {} rounds of a good client, {:?}: {stats:?}", sent.load(Ordering::Relaxed), rounds, begun.elapsed());
    assert!(rounds > 3 && stats.protocol_errors > 100 && stats.publish_received > packets / 10, "{stats:?}");
    broker.is_left_without_a_byte();
}

#[test]
fn garbage_before_connect_is_closed_without_an_answer() {
    let broker = Broker::new(|_| {});
    let mut watcher = Wire::join(broker.address, V3, "watcher");
    watcher.subscribe("#", 0);
    let mut rng = Rng::with_seed(number("HOSTILE_SEED", 1));
    let mut random: Vec<u8> = (0..200).map(|_| rng.u64() as u8).collect();
    random[0] = 0xA7; // no first byte of any packet
    let cases: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        &[0xFF; 64],
        &random,
        &publish(V3, "early", 0, false, 0, &[], b"x"),
        &publish(V5, "early", 1, true, 1, &[], b"x"),
        &subscribe(V3, 1, "#", 0),
        &[0xC0, 0],
        &[0xE0, 0],
        &[0x20, 2, 0, 0],
        // A length of five bytes.
        &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
    ];
    for case in cases {
        let mut wire = Wire::dial(broker.address);
        wire.send(case);
        wire.expect_closed();
    }
    assert_eq!(broker.stat("protocol_errors"), cases.len() as u64);
    assert_eq!(watcher.ping(), [], "nobody received what came before CONNECT");
    // Versions there are none of are answered.
    let mut unknown = connect(V3, "x", true, 0, &[]);
    unknown[8] = 9;
    let (mut wire, answer) = Wire::connect(broker.address, V5, &unknown);
    assert_eq!(answer.map(|packet| (packet.first, packet.body[..2].to_vec())), Some((0x20, vec![0, 0x84])));
    wire.expect_closed();
    drop(watcher);
    broker.is_left_without_a_byte();
}

#[test]
fn a_second_connect_and_forbidden_packets_end_the_connection() {
    let broker = Broker::new(|_| {});
    for (bad, reason) in [
        (connect(V5, "again", true, 0, &[]), 0x82),
        (vec![0x20, 3, 0, 0, 0], 0x82),
        (vec![0x90, 4, 0, 1, 0, 0], 0x82),
        (vec![0x80, 6, 0, 1, 0, 0, 0, 0], 0x81),
        (vec![0x36, 5, 0, 1, b't', 0, 1], 0x81),
        (vec![0xC0, 0x80, 0x80, 0x80, 0x80, 0x01], 0x81),
        (publish(V5, "a/+", 0, false, 0, &[], b""), 0x81),
        (publish(V5, "", 0, false, 0, &[], b""), 0x82),
        (publish(V5, "t", 1, false, 0, &[], b""), 0x81),
        (publish(V5, "t", 0, false, 0, &[0x0B, 1], b""), 0x82),
    ] {
        let mut five = Wire::join(broker.address, V5, "five");
        five.send(&bad);
        let answer = five.read().unwrap_or_else(|| panic!("no DISCONNECT for {bad:02x?}"));
        assert_eq!(answer.first, 0xE0, "{bad:02x?}");
        assert!(answer.body[0] == reason || (answer.body[0] | 3) == 0x83 || answer.body[0] == 0x90, "{bad:02x?}: {:02x}", answer.body[0]);
        five.expect_closed();
    }
    for bad in [connect(V3, "again", true, 0, &[]), vec![0x20, 2, 0, 0], vec![0xF0, 0], publish(V3, "a/#", 0, false, 0, &[], b"")] {
        let mut three = Wire::join(broker.address, V3, "three");
        three.send(&bad);
        three.expect_closed();
    }
    broker.is_left_without_a_byte();
}

#[test]
fn a_length_of_256_mb_is_refused_before_anything_is_kept() {
    let broker = Broker::new(|_| {});
    let mut five = Wire::join(broker.address, V5, "five");
    let before = broker.stat("memory_bytes");
    five.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    five.expect_disconnect(0x95);
    let mut three = Wire::join(broker.address, V3, "three");
    three.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    three.expect_closed();
    let mut nobody = Wire::dial(broker.address);
    nobody.send(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F]);
    nobody.expect_closed();
    assert_eq!(broker.stat("packets_too_large"), 3);
    assert!(broker.stat("memory_bytes") <= before);
    broker.is_left_without_a_byte();
}

#[test]
fn slow_senders_are_served_byte_by_byte() {
    let broker = Broker::new(|_| {});
    let mut streams = Vec::new();
    for n in 0..50 {
        let level = if n % 2 == 0 { V3 } else { V5 };
        let mut bytes = connect(level, &format!("slow{n}"), true, 0, &[]);
        bytes.extend(subscribe(level, 1, &format!("slow/{n}"), 0));
        bytes.extend(publish(level, &format!("slow/{n}"), 0, false, 0, &[], b"slow"));
        bytes.extend([0xC0, 0]);
        streams.push((Wire::dial(broker.address), bytes));
    }
    let longest = streams.iter().map(|(_, bytes)| bytes.len()).max().expect("some");
    for at in 0..longest {
        for (wire, bytes) in &mut streams {
            if let Some(byte) = bytes.get(at) {
                wire.send(&[*byte]);
            }
        }
        if at % 10 == 0 {
            std::thread::sleep(Duration::from_millis(20));
            good_round(broker.address, at as u64);
        }
    }
    for (wire, _) in &mut streams {
        let firsts: Vec<u8> = (0..4).map(|_| wire.read().expect("an answer").first).collect();
        assert_eq!(firsts, [0x20, 0x90, 0x30, 0xD0]);
    }
    drop(streams);
    broker.is_left_without_a_byte();
}

#[test]
fn half_open_sockets_end_also_when_the_end_comes_with_the_last_bytes() {
    let broker = Broker::new(|_| {});
    let mut watcher = Wire::join(broker.address, V3, "watcher");
    watcher.subscribe("#", 0);
    // While the worker sleeps, bytes and end arrive together: one event for both.
    for round in 0..5_u64 {
        let size = 1 << (round * 4);
        let runtime = broker.runtime.clone();
        let sleeper = std::thread::spawn(move || runtime.request(nlmqtt::base::Duration::from_secs(30), |_| std::thread::sleep(Duration::from_millis(300))));
        std::thread::sleep(Duration::from_millis(100));
        let mut wire = Wire::dial(broker.address);
        let will = Connect { clean: true, will: Some(("will", "gone", &[])), ..Connect::default() };
        wire.send(&connect_with(V3, "half", &will));
        wire.send(&publish(V3, "last", 0, false, 0, &[], &vec![b'x'; size]));
        wire.stream.shutdown(Shutdown::Write).expect("open");
        sleeper.join().expect("slept").expect("answered");
        assert_eq!(wire.read().map(|packet| packet.first), Some(0x20), "the answer still comes");
        wire.expect_closed();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.push(watcher.read().expect("what the half-open client said").topic());
        }
        assert_eq!(seen, ["last", "will"], "round {round}");
    }
    // One that vanishes without a word is found by its keep-alive.
    let (mut silent, connack) = Wire::connect(broker.address, V5, &connect(V5, "silent", true, 1, &[]));
    assert!(connack.is_some());
    silent.expect_disconnect(0x8D);
    assert_eq!(broker.stat("keep_alive_timeouts"), 1);
    drop(watcher);
    broker.is_left_without_a_byte();
}

#[test]
fn thousands_of_sockets_that_say_nothing_do_no_harm() {
    let silent_count = crate::descriptors_for(3_000);
    let broker = Broker::new(|options| options.connect_timeout = nlmqtt::base::Duration::from_secs(5));
    good_round(broker.address, 0);
    let silent: Vec<Wire> = (0..silent_count).map(|_| Wire::dial(broker.address)).collect();
    broker.wait_for("connections_accepted", |count| count > silent_count as u64);
    for round in 1..20 {
        good_round(broker.address, round);
    }
    broker.wait_for("connect_timeouts", |count| count == silent_count as u64);
    for mut wire in silent {
        wire.expect_closed();
    }
    good_round(broker.address, 20);
    broker.is_left_without_a_byte();
}

#[test]
fn half_packets_of_many_clients_exhaust_the_budget_and_are_shed() {
    let broker = Broker::new(|options| {
        options.memory_limit = 16 << 20;
        options.memory_pause = nlmqtt::base::Duration::from_secs(2);
    });
    let mut fat: Vec<Wire> = (0..60).map(|n| Wire::join(broker.address, V5, &format!("fat{n}"))).collect();
    let mut half = publish(V5, "t", 0, false, 0, &[], &vec![b'x'; 1_900_000]);
    half.truncate(1_000_000);
    std::thread::scope(|scope| {
        for wire in &mut fat {
            let half = &half;
            scope.spawn(move || wire.send(half));
        }
        broker.wait_for("budget_pauses", |count| count > 0);
        let (_, refused) = Wire::connect(broker.address, V5, &connect(V5, "late", true, 0, &[]));
        if let Some(connack) = refused {
            assert!(matches!(connack.body[1], 0x89 | 0), "{connack:?}");
        }
        let most = broker.stat("memory_bytes");
        assert!(most < 64 << 20, "{most} bytes of 16 MiB");
        broker.wait_for("unfinished_packets_closed", |count| count > 0);
    });
    drop(fat);
    broker.wait_for("clients_connected", |count| count == 0);
    good_round(broker.address, 1);
    broker.is_left_without_a_byte();
}

#[test]
fn a_flood_without_reading_ends_with_the_flooder_alone() {
    let broker = Broker::new(|options| options.slow_consumer_grace = nlmqtt::base::Duration::from_secs(2));
    let mut flooder = Wire::join(broker.address, V5, "flooder");
    flooder.stream.set_write_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    let pings = [0xC0, 0].repeat(50_000);
    let mut most = 0;
    let begun = Instant::now();
    while broker.stat("slow_consumers_closed") == 0 {
        flooder.send(&pings);
        most = most.max(broker.stat("memory_bytes"));
        assert!(begun.elapsed() < PATIENCE, "never closed");
    }
    assert!(most < 2 << 20, "{most} bytes for one that does not read");
    assert!(broker.stat("output_pauses") >= 1);
    good_round(broker.address, 1);
    drop(flooder);
    broker.is_left_without_a_byte();
}
