//! Reliable UDP over real sockets: both generations, with TLS inside and without, over a way that loses and moves.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nlmqtt::broker::{ClientInfo, Hooks, Interest};
use nlmqtt::client::{Event, Outcome, Publish, StopRequest};
use nlmqtt::codec::Qos;
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{ClientHandler, PathMoved, Runtime, RuntimeOptions};
use nlmqtt::server::{Publication, Server};
use nlmqtt::stack::{DatagramProtocol, DatagramStatistics};

use crate::datagram_broker::Broker;
use crate::relay::{Relay, udp};
use crate::tls::{Authority, Peer, client, client_config, runtime};
use crate::wire::PATIENCE;

/// A server with plain reliable UDP.
fn plain(workers: usize) -> Broker {
    Broker::at(workers, "rudp://127.0.0.1:0", &[])
}

#[test]
fn every_qos_and_large_messages_go_both_ways_over_reliable_udp() {
    for workers in [1, 4] {
        let broker = plain(workers);
        broker.carries_both_ways(&[("rudp_generation", "2")], 1_048_576, 4);
    }
    let broker = Broker::at(1, "rudp://127.0.0.1:0?rudp_congestion=cubic&rudp_redundancy=true&rudp_probe_bytes=1452&rudp_window=65536", &[]);
    let keys = [("rudp_congestion", "cubic"), ("rudp_redundancy", "true"), ("rudp_probe_bytes", "1452"), ("version", "5")];
    broker.carries_both_ways(&keys, 100_000, 2);
}

#[test]
fn tls_goes_inside_reliable_udp() {
    let authority = Authority::new("authority");
    authority.sign("server", &["localhost", "127.0.0.1"], |_| {});
    let (cert, key, ca) = (authority.file("server.pem"), authority.file("server.key"), authority.file("ca.pem"));
    let broker = Broker::at(2, &format!("rudps://127.0.0.1:0?cert={cert}&key={key}"), &[]);
    broker.carries_both_ways(&[("ca_file", &ca)], 300_000, 2);
    let stranger = Authority::new("stranger");
    let lost = Peer::new(&runtime(), &format!("rudps://{}", broker.address), &[("ca_file", &stranger.file("ca.pem"))]).outcome().expect_err("not trusted");
    assert_eq!(lost.fault.map(|fault| fault.kind), Some(nlmqtt::stack::FaultKind::UnknownIssuer));
}

#[test]
fn a_client_of_generation_1_is_served_by_the_broker() {
    let broker = plain(2);
    broker.carries_both_ways(&[("rudp_generation", "1"), ("version", "3.1.1")], 8_000, 3);
}

#[test]
fn bare_packets_go_both_ways_at_a_port_of_their_own_or_beside_reliable_udp() {
    for version in ["3.1.1", "5"] {
        Broker::at(2, "udp://127.0.0.1:0", &[]).carries_both_ways(&[("version", version)], 8_000, 2);
    }
    let broker = Broker::at(1, "rudp://127.0.0.1:0?rudp_bare=true", &[]);
    broker.carries_both_ways(&[("version", "3.1.1")], 8_000, 1);
    let runtime = runtime();
    let bare = Peer::new(&runtime, &format!("udp://{}", broker.address), &[("client_id", "bare"), ("version", "3.1.1")]);
    bare.outcome().expect("let in");
    let end = Instant::now() + PATIENCE;
    while bare.client.datagram_statistics().expect("over datagrams").protocol != DatagramProtocol::BareUdp {
        assert!(Instant::now() < end, "{:?}", bare.client.datagram_statistics());
        std::thread::sleep(Duration::from_millis(20));
    }
    // What does not fit a datagram is refused, and holds nothing up.
    for size in [9_000, 100] {
        let payload = vec![size as u8; size];
        broker.server.publish_to("bare", &Publication { topic: "x", payload: &payload, ..Publication::default() }).expect("room");
    }
    assert_eq!(bare.message().len(), 100);
    assert_eq!(broker.stat("dropped_too_large"), 1);
}

#[test]
fn nothing_answers_bare_packets_unless_they_were_asked_for() {
    let broker = plain(1);
    let runtime = runtime();
    let stranger = Peer::new(&runtime, &format!("udp://{}", broker.address), &[("connect_timeout_ms", "300")]);
    stranger.outcome().expect_err("nobody answers");
    broker.wait_for("datagrams_malformed", |count| count >= 1);
    assert_eq!(broker.stat("connections_accepted"), 0);
}

#[test]
fn what_is_too_large_for_a_frame_of_generation_1_is_refused_and_counted_and_holds_nothing_up() {
    let broker = plain(1);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &broker.uri(), &[("rudp_generation", "1"), ("version", "3.1.1"), ("client_id", "old")]);
    peer.outcome().expect("let in");
    let before = broker.stat("dropped_too_large");
    for size in [9_000, 100] {
        let payload = vec![size as u8; size];
        broker.server.publish_to("old", &Publication { topic: "x", payload: &payload, qos: Qos::AtLeastOnce, ..Publication::default() }).expect("room");
    }
    assert_eq!(peer.message().len(), 100, "the next one comes");
    assert_eq!(broker.stat("dropped_too_large"), before + 1);
    peer.client.publish(Publish { topic: "x", payload: &[0; 9_000], qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
    peer.client.publish(Publish { topic: "x", payload: &[0; 100], qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
    let (mut good, mut bad) = (0, 0);
    while good + bad < 2 {
        if let Event::Published { outcome, .. } = peer.told.recv_timeout(PATIENCE).expect("both end") {
            match outcome {
                Outcome::Failed(_) => bad += 1,
                _ => good += 1,
            }
        }
    }
    assert_eq!((good, bad), (1, 1));
}

/// A stock peer of generation 1, whose frames are written by hand.
struct Stock(UdpSocket);

impl Stock {
    /// The next frame that is no acknowledgement and no question for a proof; DATA is acknowledged.
    fn receive(&self) -> Vec<u8> {
        let (end, mut buffer) = (Instant::now() + PATIENCE, [0; 9_000]);
        loop {
            assert!(Instant::now() < end, "nothing came");
            let Ok(count) = self.0.recv(&mut buffer) else { continue };
            let frame = &buffer[..count];
            if frame[0] == 1 {
                self.0.send(&[2, frame[1], frame[2], 0]).expect("sent");
            }
            if frame[0] != 2 && count > 4 || frame[0] > 3 {
                return frame.to_vec();
            }
        }
    }

    fn send(&self, text: &str) {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let bytes: Vec<u8> = digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("digits"), 16).expect("hexadecimal")).collect();
        self.0.send(&bytes).expect("sent");
    }
}

#[test]
fn the_golden_frames_of_generation_1_are_answered_by_the_broker() {
    let broker = plain(1);
    let stock = Stock(udp());
    stock.0.connect(broker.address).expect("a way");
    stock.send("03 00 00 00");
    assert_eq!(stock.receive(), [4, 0, 0, 0]);
    stock.send("01 00 01 00 10 10 00 04 4D 51 54 54 04 02 02 58 00 04 64 65 76 31");
    assert_eq!(stock.receive(), [1, 0, 1, 0, 0x20, 2, 0, 0]);
    stock.send("01 00 02 00 82 08 00 01 00 03 74 2F 23 01");
    assert_eq!(stock.receive(), [1, 0, 2, 0, 0x90, 3, 0, 1, 1]);
    broker.server.publish(&Publication { topic: "t/x", payload: b"on", ..Publication::default() }).expect("room");
    assert_eq!(stock.receive(), [&[1, 0, 3, 0, 0x30, 7, 0, 3][..], b"t/xon"].concat());
    // Packets that overtake each other, and one that comes twice.
    stock.send("01 00 04 00 C0 00");
    stock.send("01 00 03 00 32 09 00 03 61 2F 62 00 01 68 69");
    assert_eq!(stock.receive(), [1, 0, 4, 0, 0x40, 2, 0, 1]);
    assert_eq!(stock.receive(), [1, 0, 5, 0, 0xD0, 0]);
    stock.send("01 00 03 00 32 09 00 03 61 2F 62 00 01 68 69");
    stock.send("01 00 05 00 C0 00");
    assert_eq!(stock.receive(), [1, 0, 6, 0, 0xD0, 0]);
    stock.send("05 00 00 00");
    broker.wait_for("clients_connected", |count| count == 0);
}

#[test]
fn a_client_speaks_generation_1_where_the_server_knows_nothing_else() {
    let server = udp();
    let address = server.local_addr().expect("bound");
    let played = std::thread::spawn(move || {
        let (mut frames, mut buffer, end) = (Vec::<Vec<u8>>::new(), [0; 9_000], Instant::now() + PATIENCE);
        while frames.len() < 2 && Instant::now() < end {
            let Ok((count, from)) = server.recv_from(&mut buffer) else { continue };
            match buffer[0] {
                3 => drop(server.send_to(&[4, 0, 0, 0], from)),
                1 => {
                    let _ = server.send_to(&[2, buffer[1], buffer[2], 0], from);
                    if frames.is_empty() {
                        let _ = server.send_to(&[1, 0, 1, 0, 0x20, 2, 0, 0], from);
                    }
                    frames.push(buffer[..count].to_vec());
                }
                _ => {}
            }
        }
        frames
    });
    let runtime = runtime();
    let peer = Peer::new(&runtime, &format!("rudp://{address}"), &[("client_id", "dev1"), ("version", "3.1.1")]);
    peer.outcome().expect("let in");
    peer.client.publish(Publish { topic: "a/b", payload: b"hi", ..Publish::default() }, None).expect("room");
    let frames = played.join().expect("no panic");
    assert_eq!(frames[0][..6], [1, 0, 1, 0, 0x10, 0x10]);
    assert_eq!(frames[1], [&[1, 0, 2, 0, 0x30, 7, 0, 3][..], b"a/bhi"].concat());
}

#[test]
fn losses_and_another_address_cost_time_and_nothing_else() {
    let broker = plain(1);
    let relay = Relay::to(broker.address);
    relay.loss_permille.store(50, Ordering::Relaxed);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("rudp"), &[("client_id", "far"), ("rudp_generation", "2"), ("rudp_keepalive_s", "1")]);
    peer.outcome().expect("let in");
    for number in 0..20_u8 {
        let payload = vec![number; 30_000];
        broker.server.publish_to("far", &Publication { topic: "x", payload: &payload, qos: Qos::AtLeastOnce, ..Publication::default() }).expect("room");
        if number % 7 == 3 {
            relay.move_on();
        }
        assert!(peer.message() == payload, "{number}");
    }
    assert_eq!(broker.stat("clients_connected"), 1);
    assert_eq!(broker.stat("connections_accepted"), 1, "it is one connection");
}

/// What a client tells of its path.
struct Paths(std::sync::mpsc::Sender<PathMoved>);

impl ClientHandler for Paths {
    fn path_moved(&mut self, moved: PathMoved) {
        self.0.send(moved).expect("the test listens");
    }
}

/// What a client tells of a server that is behind it.
struct Fallbacks(std::sync::mpsc::Sender<(usize, DatagramProtocol)>);

impl ClientHandler for Fallbacks {
    fn fell_back(&mut self, server: usize, protocol: DatagramProtocol) {
        self.0.send((server, protocol)).expect("the test listens");
    }
}

#[test]
fn a_client_that_falls_back_tells_it_and_one_that_does_not_is_silent() {
    let runtime = runtime();
    let patience = nlmqtt::base::Duration::from_secs(PATIENCE.as_secs());
    for (listener, generation, expected) in [("1", "auto", Some((0, DatagramProtocol::ReliableUdpOne))), ("1", "1", None), ("auto", "auto", None)] {
        let broker = Broker::at(1, &format!("rudp://127.0.0.1:0?rudp_generation={listener}"), &[]);
        let (sender, told) = channel();
        let config = client_config(&broker.uri(), &[("version", "3.1.1"), ("rudp_generation", generation)]);
        let client = client(&runtime, &config, Box::new(Fallbacks(sender)));
        client.start();
        client.wait_connected(patience).expect("let in");
        assert_eq!(told.try_recv().ok(), expected, "{listener} {generation}");
        let protocol = if listener == "auto" { DatagramProtocol::ReliableUdpTwo } else { DatagramProtocol::ReliableUdpOne };
        assert_eq!(client.datagram_statistics().map(|all| all.protocol), Some(protocol));
        client.stop_and_wait(StopRequest::default()).expect("stopped");
    }
}

/// What a server tells of a client's path: where it is, and where it was.
struct Places(std::sync::mpsc::Sender<(String, String)>);

impl Hooks for Places {
    fn interest(&self) -> Interest {
        Interest { path_moved: true, ..Interest::default() }
    }

    fn path_moved(&mut self, client: ClientInfo<'_>, previous_peer: &str) {
        assert_eq!(client.client_id, "seen");
        self.0.send((client.peer.to_owned(), previous_peer.to_owned())).expect("the test listens");
    }
}

#[test]
fn both_sides_tell_of_a_path_that_moves_and_count_what_goes_over_it() {
    let (told, places) = channel();
    let broker = Broker::with_hooks(2, "rudp://127.0.0.1:0", &[], |_| Some(Box::new(Places(told.clone()))));
    let relay = Relay::to(broker.address);
    let (sender, paths) = channel();
    let (runtime, keys) = (runtime(), [("client_id", "seen"), ("rudp_generation", "2")]);
    let client = client(&runtime, &client_config(&relay.uri("rudp"), &keys), Box::new(Paths(sender)));
    assert_eq!(client.datagram_statistics(), None, "there is no connection");
    client.start();
    let patience = nlmqtt::base::Duration::from_secs(PATIENCE.as_secs());
    client.wait_connected(patience).expect("let in");
    let send = || {
        let publish = Publish { topic: "a", payload: &[7; 5_000], qos: Qos::AtLeastOnce, ..Publish::default() };
        let token = client.publish(publish, None).expect("room");
        client.wait(token, patience).expect("acknowledged");
    };
    send();
    let before = broker.server.client("seen").expect("asked").expect("there").peer;
    let now = relay.move_on();
    send();
    assert_eq!(places.recv_timeout(PATIENCE).expect("the server tells it"), (now.to_string(), before));
    let moved = paths.recv_timeout(PATIENCE).expect("the client tells it");
    assert_eq!((moved.server, moved.statistics.protocol), (0, DatagramProtocol::ReliableUdpTwo));
    assert!(moved.local.is_some_and(|local| local.ip().is_loopback() && local.port() != 0), "{moved:?}");
    assert!(moved.statistics.path_changes >= 1);
    // Both count on, and look seldom.
    let end = Instant::now() + PATIENCE;
    loop {
        let theirs = broker.server.client("seen").expect("asked").expect("there").datagrams.expect("over datagrams");
        let ours = client.datagram_statistics().expect("over datagrams");
        let is_whole = |all: &DatagramStatistics| all.path_changes >= 1 && all.bytes_sent.max(all.bytes_received) > 10_000;
        if is_whole(&theirs) && is_whole(&ours) && broker.stat("datagrams_received") >= theirs.datagrams_received {
            assert!(ours.bytes_sent > 10_000 && ours.datagrams_sent > 8 && ours.datagrams_received > 2, "{ours:?}");
            assert!(theirs.bytes_received > 10_000 && theirs.protocol == DatagramProtocol::ReliableUdpTwo, "{theirs:?}");
            assert!(ours.round_trip.as_micros() > 0 && ours.window_bytes > 1_000 && ours.datagram_bytes_max >= 576, "{ours:?}");
            break;
        }
        assert!(Instant::now() < end, "{ours:?} {theirs:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(broker.stat("paths_moved"), 1);
    client.stop_and_wait(StopRequest::default()).expect("stopped");
    assert_eq!(client.datagram_statistics(), None, "the connection has ended");
}

#[test]
fn an_endpoint_counts_what_comes_from_strangers() {
    let broker = plain(1);
    let stranger = udp();
    let send = |text: &str| {
        let bytes: Vec<u8> = (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect();
        stranger.send_to(&bytes, broker.address).expect("sent");
    };
    // The specification's CONNECT, its ACK with a flipped bit, no frame at all, and its DATA, which is of nobody's connection.
    send("030000800000000000000000a1b2c3d4e5f60718020004b00000400000780000000000000000000068f5af73");
    send("2200000008c701db8beab88100000001000000000000000019000000000400004000c953ae71");
    send("fe0102");
    send("210001000f1e2d3c4b5a6978000000000000c0002982690c");
    broker.wait_for("datagrams_received", |count| count == 4);
    assert_eq!(broker.stat("datagram_cookies"), 1);
    assert_eq!(broker.stat("datagrams_malformed"), 2);
    assert_eq!((broker.stat("datagrams_unknown"), broker.stat("datagram_resets")), (1, 1));
    assert_eq!(broker.stat("connections_accepted"), 0);
}

/// Bytes written as hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("digits"), 16).expect("hexadecimal")).collect()
}

/// The log of a server.
struct Log(std::sync::mpsc::Sender<String>);

impl Hooks for Log {
    fn log(&mut self, _: u8, text: &dyn Fn() -> String) {
        // The server may be heard for longer than the test.
        let _ = self.0.send(text());
    }
}

#[test]
fn limits_of_newcomers_have_keys_and_are_counted() {
    let (log, told) = channel();
    let uri = "rudp://127.0.0.1:0?rudp_max_unproven=1&rudp_max_half_open=1&rudp_rate_resets=1";
    let broker = Broker::with_hooks(1, uri, &[], |_| Some(Box::new(Log(log.clone()))));
    // Two sessions of generation 1 without a proof.
    let strangers = [udp(), udp()];
    for stranger in &strangers {
        stranger.send_to(&hex("01 0001 00 100C 0004 4D515454 04 02 0000 0000"), broker.address).expect("sent");
    }
    broker.wait_for("datagram_newcomers_refused", |count| count == 1);
    let is_told = |text: &String| *text == format!("{}: newcomers turned away: 1", broker.uri());
    assert!(told.try_iter().any(|text| is_told(&text)), "and the log says so");
    // Two of generation 2 that say nothing: each is given an id, and comes back with it.
    let mut closed = 0;
    for (stranger, own) in strangers.iter().zip([1_u64, 2]) {
        let call = |receiver: &[u8]| {
            let mut frame = hex("03000080 0000000000000000 0000000000000000 0200 04b0 00004000 0078 0000 0000000000000000");
            frame[4..12].copy_from_slice(receiver);
            frame[12..20].copy_from_slice(&own.to_be_bytes());
            nlmqtt::stack::rudp::frame::seal(&mut frame, 0);
            stranger.send_to(&frame, broker.address).expect("sent");
            let (end, mut buffer) = (Instant::now() + PATIENCE, [0; 100]);
            loop {
                assert!(Instant::now() < end, "nothing came");
                // Those of generation 1 are in between.
                if let Ok(count @ 22..) = stranger.recv(&mut buffer) {
                    return buffer[..count].to_vec();
                }
            }
        };
        let given = call(&[0; 8]);
        assert_eq!((given[0], given[3]), (4, 0x80));
        closed += usize::from(call(&given[12..20])[0] == 0x25);
    }
    assert_eq!(closed, 1);
    broker.wait_for("datagram_newcomers_refused", |count| count == 2);
    // DATA of nobody's connection: one in a second is told so.
    for _ in 0..20 {
        strangers[0].send_to(&hex("210001000f1e2d3c4b5a6978000000000000c0002982690c"), broker.address).expect("sent");
    }
    broker.wait_for("datagrams_unknown", |count| count >= 20);
    assert!(broker.stat("datagram_replies_dropped") >= 1);
}

#[test]
fn a_missing_packet_and_a_silent_peer_of_generation_1_are_counted() {
    let broker = Broker::at(1, "rudp://127.0.0.1:0?rudp_gap_timeout_ms=50&rudp_silent_timeout_s=4", &[]);
    let stock = Stock(udp());
    stock.0.connect(broker.address).expect("a way");
    // Without a keep-alive in MQTT, which would let it be silent for longer.
    stock.send("01 0001 00 100C 0004 4D515454 04 02 0000 0000");
    assert_eq!(stock.receive(), [1, 0, 1, 0, 0x20, 2, 0, 0]);
    stock.send("01 0003 00 C000");
    assert_eq!(stock.receive(), [1, 0, 2, 0, 0xD0, 0], "the one before it never came");
    broker.wait_for("datagram_packets_missing", |count| count == 1);
    broker.wait_for("datagram_peers_silent", |count| count == 1);
    broker.wait_for("clients_connected", |count| count == 0);
}

#[test]
fn no_client_of_this_process_falls_back_where_one_has_heard_generation_2() {
    // One after the other at the same address: a server of generation 2, then somebody who knows generation 1 only.
    let broker = plain(1);
    let address = broker.address;
    let runtime = runtime();
    let first = Peer::new(&runtime, &broker.uri(), &[("client_id", "first")]);
    first.outcome().expect("let in");
    first.client.stop_and_wait(StopRequest::default()).expect("stopped");
    drop(broker);
    let end = Instant::now() + PATIENCE;
    let socket = loop {
        match UdpSocket::bind(address) {
            Ok(socket) => break socket,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
    let other = Peer::new(&runtime, &format!("rudp://{address}"), &[("client_id", "other"), ("connect_timeout_ms", "4000")]);
    // It says "generation 1" to every call; nobody believes it.
    let mut buffer = [0; 2_048];
    let mut calls = 0;
    let ended = loop {
        if let Ok(outcome) = other.told.try_recv() {
            if matches!(outcome, Event::Disconnected(_)) {
                break outcome;
            }
            assert!(!matches!(outcome, Event::Connected(_)), "{outcome:?}");
        }
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        match (buffer[0], count) {
            (3, 44..) => {
                calls += 1;
                socket.send_to(&[4, 0, 0, 0], from).expect("sent");
            }
            (1 | 3, _) => panic!("it speaks generation 1: {:?}", &buffer[..count]),
            // What the first one still has to say.
            _ => {}
        }
    };
    assert!(calls >= 2, "{calls} calls, then {ended:?}");
}

#[test]
fn a_restarted_listener_is_known_again_by_its_key_at_once() {
    let key = "00112233445566778899aabbccddeeff";
    let first = Broker::at(1, &format!("rudp://127.0.0.1:0?rudp_reset_key={key}"), &[]);
    let relay = Relay::to(first.address);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("rudp"), &[("client_id", "stays"), ("rudp_generation", "2")]);
    peer.outcome().expect("let in");
    // Long enough that a RESET is believed.
    std::thread::sleep(Duration::from_millis(2_100));
    // It vanishes without a word: what it says when it ends does not get through.
    relay.loss_permille.store(1_000, Ordering::Relaxed);
    let address = first.address;
    drop(first);
    let end = Instant::now() + PATIENCE;
    let mut config = ServerConfig::default();
    config.add_listener_uri(&format!("rudp://{address}?rudp_reset_key={key}")).expect("a listener");
    let other = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&other, config.options_in_force(), None).expect("a server");
    while server.add_listener(config.listener_in_force(&config.listeners[0])).is_err() {
        assert!(Instant::now() < end, "the port becomes free");
        std::thread::sleep(Duration::from_millis(20));
    }
    relay.loss_permille.store(0, Ordering::Relaxed);
    let start = Instant::now();
    peer.client.publish(Publish { topic: "a", payload: b"b", qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
    peer.outcome().expect_err("it learns that it is not known any more");
    peer.outcome().expect("and comes back");
    assert!(start.elapsed() < Duration::from_secs(60), "and not by the silence of two minutes");
}

#[test]
fn a_peer_written_from_the_wire_document_speaks_with_the_broker() {
    let broker = Broker::at(1, "rudp://127.0.0.1:0?rudp_bare=true", &[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/rudp_peer.py");
    let told = std::process::Command::new("python3").args(["-B", script, &broker.address.port().to_string()]).output().expect("python3 is there");
    let (out, errors) = (String::from_utf8_lossy(&told.stdout), String::from_utf8_lossy(&told.stderr));
    assert!(told.status.success() && out.contains("all said"), "{out}{errors}");
    broker.wait_for("clients_connected", |count| count == 0);
    assert_eq!(broker.stat("protocol_errors"), 0);
}

#[test]
fn what_does_not_go_together_is_refused_with_a_reason() {
    let with_tls =
        [("rudps", "rudp_generation=1", "rudp_generation 1 is without TLS"), ("rudps", "rudp_max_unproven=7", "rudp_max_unproven is of generation 1")];
    let plain = [
        ("mqtt", "rudp_window=65536", "rudp_window is of reliable UDP"),
        ("rudp", "rudp_window=1", "rudp_window: '1' is not a number from 8192"),
        ("rudp", "rudp_reset_key=xyz", "32 hexadecimal digits"),
        ("udp", "rudp_generation=2", "rudp_generation is of reliable UDP"),
        ("rudp", "rudp_bare_trusted=::1", "rudp_bare_trusted is of udp://"),
        ("rudp", "rudp_bare_grace_ms=1", "rudp_bare_grace_ms is of udp://"),
        ("rudp", "rudp_generation=1&rudp_congestion=cubic", "rudp_congestion is of generation 2"),
        ("rudp", "rudp_generation=2&rudp_gap_timeout_ms=7", "rudp_gap_timeout_ms is of generation 1"),
        ("rudp", "rudp_generation=2&rudp_max_unproven=7", "rudp_max_unproven is of generation 1"),
    ];
    for (scheme, query, reason) in plain.into_iter().chain(with_tls.into_iter().filter(|_| cfg!(feature = "tls"))) {
        let certificate = if scheme == "rudps" { "cert=c&key=k&" } else { "" };
        let uri = format!("{scheme}://127.0.0.1:0?{certificate}{query}");
        let error = ServerConfig::default().add_listener_uri(&uri).expect_err(&uri).to_string();
        assert!(error.contains(reason), "{uri}: {error}");
    }
    let with_bare_packets = "rudp://127.0.0.1:0?rudp_generation=2&rudp_bare=true&rudp_max_unproven=7";
    ServerConfig::default().add_listener_uri(with_bare_packets).expect("they go together");
    struct Nobody;
    impl nlmqtt::net::ClientHandler for Nobody {
        fn event(&mut self, _: nlmqtt::base::Instant, _: Event) {}
    }
    let plain = ("3.1.1", &[("server", "rudp://127.0.0.1"), ("version", "5")][..]);
    let tls = ("without TLS", &[("server", "rudps://127.0.0.1"), ("danger_accept_any_certificate", "true")][..]);
    for (reason, keys) in [plain].into_iter().chain(cfg!(feature = "tls").then_some(tls)) {
        let mut config = nlmqtt::config::ClientConfig::default();
        for (key, value) in keys.iter().chain(&[("rudp_generation", "1")]) {
            config.set(key, value).expect("a key");
        }
        let (options, servers, dial) = config.parts().expect("whole");
        let parts = nlmqtt::client::ClientParts { options, servers, dial, tls: config.tls.clone(), way: config.way.clone(), receive: None };
        let error = nlmqtt::client::Client::new(&runtime(), parts, Box::new(Nobody)).map(|_| ()).expect_err("not together");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn what_a_client_says_last_arrives_although_its_runtime_ends_at_once() {
    let broker = plain(1);
    for keys in [&[("rudp_generation", "2")][..], &[("rudp_generation", "1"), ("version", "3.1.1")]] {
        let (sender, received) = channel();
        let subscribe = move |_: &Arc<nlmqtt::codec::Message>| sender.send(()).expect("the test listens");
        let subscription = broker.server.subscribe("last", subscribe).expect("a filter");
        let runtime = runtime();
        let peer = Peer::new(&runtime, &broker.uri(), keys);
        peer.outcome().expect("let in");
        for _ in 0..20 {
            peer.client.publish(Publish { topic: "last", payload: &[7; 5_000], ..Publish::default() }, None).expect("room");
        }
        peer.client.stop_and_wait(StopRequest { drain: PATIENCE, ..StopRequest::default() }).expect("stopped");
        drop((peer, runtime));
        for number in 0..20 {
            received.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{keys:?}: {number} of 20"));
        }
        broker.server.unsubscribe(subscription);
    }
}

#[test]
fn a_listener_that_is_dropped_and_brought_back_listens_again_although_somebody_has_stayed() {
    let broker = plain(1);
    let runtime = runtime();
    let stayed = Peer::new(&runtime, &broker.uri(), &[("client_id", "stayed")]);
    stayed.outcome().expect("let in");
    assert!(broker.server.remove_listener(broker.endpoint()).expect("asked"));
    let mut config = ServerConfig::default();
    config.add_listener_uri(&broker.uri()).expect("a listener");
    let again = broker.server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open again");
    assert_eq!(again, broker.endpoint());
    let late = Peer::new(&runtime, &broker.uri(), &[("client_id", "late")]);
    late.outcome().expect("let in");
    assert_eq!(broker.stat("clients_connected"), 2, "nobody had to go");
}
