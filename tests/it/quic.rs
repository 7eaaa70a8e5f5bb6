//! QUIC over real sockets: everything that TLS over TCP does, and what only QUIC has: datagrams that are lost or nonsense, addresses that change.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nlmqtt::client::{Cause, Event, Publish, StopRequest};
use nlmqtt::codec::Qos;
use nlmqtt::config::ServerConfig;
use nlmqtt::server::{Change, Publication};
use nlmqtt::stack::{DatagramProtocol, FaultKind};

use crate::datagram_broker::Broker;
use crate::relay::{Relay, udp};
use crate::tls::{Authority, Peer, runtime};
use crate::wire::PATIENCE;

/// A server with a certificate of this authority.
fn broker(workers: usize, authority: &Authority, certificate: &str, query: &str, keys: &[(&str, &str)]) -> Broker {
    let file = |ending: &str| authority.file(&format!("{certificate}.{ending}"));
    Broker::at(workers, &format!("quic://127.0.0.1:0?cert={}&key={}{query}", file("pem"), file("key")), keys)
}

fn signed() -> (Authority, String) {
    let authority = Authority::new("authority");
    authority.sign("server", &["localhost", "127.0.0.1"], |_| {});
    let ca = authority.file("ca.pem");
    (authority, ca)
}

#[test]
fn every_qos_and_large_messages_go_both_ways_wherever_a_client_is_at_home() {
    let (authority, ca) = signed();
    for workers in [1, 4] {
        let broker = broker(workers, &authority, "server", "", &[]);
        broker.carries_both_ways(&[("ca_file", &ca)], 1_048_576, 6);
        assert_eq!(broker.stat("handshakes"), 6);
        assert_eq!(broker.stat("handshakes_failed"), 0);
    }
}

#[test]
fn every_fault_of_a_server_has_a_kind_of_its_own_over_quic_too() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    authority.sign_flawed();
    let (ca, foreign, crl) = (authority.file("ca.pem"), stranger.file("ca.pem"), authority.file("crl.pem"));
    let runtime = runtime();
    let rows: [(&str, &[(&str, &str)], Result<(), FaultKind>); 11] = [
        ("good", &[("ca_file", &ca)], Ok(())),
        ("good", &[("ca_file", &foreign)], Err(FaultKind::UnknownIssuer)),
        ("old", &[("ca_file", &ca)], Err(FaultKind::Expired)),
        ("young", &[("ca_file", &ca)], Err(FaultKind::NotYetValid)),
        ("young", &[("ca_file", &ca), ("tls_clock_floor", "3786912000")], Ok(())),
        ("other", &[("ca_file", &ca)], Err(FaultKind::WrongName)),
        ("other", &[("ca_file", &ca), ("tls_server_name", "elsewhere.example")], Ok(())),
        ("good", &[("ca_file", &ca), ("crl_file", &crl)], Err(FaultKind::Revoked)),
        ("good", &[("ca_file", &ca), ("tls_pins", &"ab".repeat(32))], Err(FaultKind::PinMismatch)),
        ("good", &[("ca_file", &ca), ("tls_alpn", "other")], Err(FaultKind::Tls)),
        ("old", &[("danger_accept_any_certificate", "true")], Ok(())),
    ];
    for (certificate, keys, expected) in rows {
        let broker = broker(1, &authority, certificate, "", &[]);
        let peer = Peer::new(&runtime, &broker.uri(), keys);
        match expected {
            Ok(()) => peer.outcome().unwrap_or_else(|lost| panic!("{certificate} {keys:?}: {lost:?}")),
            Err(kind) => {
                let lost = peer.outcome().expect_err("not let in");
                let fault = lost.fault.expect("a fault");
                assert!(fault.kind == kind && lost.cause == Cause::Tls && !fault.text.is_empty(), "{certificate} {keys:?}: {fault:?}");
                broker.wait_for("handshakes_failed", |count| count > 0);
            }
        }
    }
}

#[test]
fn clients_are_known_by_their_certificates_over_quic_too() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("gateway-7", &["gw7.example"], |_| {});
    stranger.sign("gateway-8", &[], |_| {});
    let ca = authority.file("ca.pem");
    let own = [("ca_file", ca.clone()), ("cert_file", authority.file("gateway-7.pem")), ("key_file", authority.file("gateway-7.key"))];
    let foreign = [("ca_file", ca.clone()), ("cert_file", stranger.file("gateway-8.pem")), ("key_file", stranger.file("gateway-8.key"))];
    let none = [("ca_file", ca.clone())];
    let runtime = runtime();
    let runs: [(&str, &[(&str, String)], Option<&str>); 5] = [
        ("require&identity=cn", &own, Some("gateway-7")),
        ("require&identity=san", &own, Some("gw7.example")),
        ("request", &none, Some("someone else")),
        ("require", &none, None),
        ("require", &foreign, None),
    ];
    for (query, keys, expected) in runs {
        let broker = broker(1, &authority, "server", &format!("&ca={ca}&client_cert={query}"), &[]);
        let mut keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        keys.extend([("client_id", "c"), ("username", "someone else")]);
        let peer = Peer::new(&runtime, &broker.uri(), &keys);
        match expected {
            None => {
                let fault = peer.outcome().expect_err("not let in").fault.expect("a fault");
                assert_eq!(fault.kind, FaultKind::CertificateRefused, "{query}: {fault:?}");
                broker.wait_for("handshakes_failed", |count| count > 0);
            }
            Some(name) => {
                peer.outcome().unwrap_or_else(|lost| panic!("{query}: {lost:?}"));
                assert_eq!(broker.server.clients().expect("a list").remove(0).username.as_deref(), Some(name), "{query}");
            }
        }
    }
}

#[test]
fn a_client_that_goes_on_from_another_address_keeps_its_connection() {
    let (authority, ca) = signed();
    let broker = broker(2, &authority, "server", "", &[]);
    let relay = Relay::to(broker.address);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("quic"), &[("ca_file", &ca), ("client_id", "rover"), ("username", "me")]);
    peer.outcome().expect("let in");
    let address = || broker.server.clients().expect("a list").remove(0).peer;
    for _ in 0..2 {
        let before = broker.stat("paths_moved");
        let here = relay.move_on();
        // The server hears of it with the next datagram.
        peer.client.publish(Publish { topic: "t", payload: b"x", qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
        broker.wait_for("paths_moved", |count| count > before);
        broker.server.publish_to("rover", &Publication { topic: "x", payload: b"there", ..Publication::default() }).expect("room");
        assert_eq!(peer.message(), b"there");
        assert_eq!(address(), here.to_string());
    }
    assert_eq!(broker.stat("connections_accepted"), 1);
    // Both know what went to and fro, and how often it moved; the server challenges a client at each new place, and maybe at the old one.
    let end = Instant::now() + PATIENCE;
    loop {
        let ours = peer.client.datagram_statistics().expect("over datagrams");
        let theirs = broker.server.clients().expect("a list").remove(0).datagrams.expect("over datagrams");
        if theirs.path_changes == 2 && ours.path_changes >= 2 {
            assert_eq!((ours.protocol, theirs.protocol), (DatagramProtocol::Quic, DatagramProtocol::Quic));
            assert!(ours.round_trip.as_micros() > 0 && ours.window_bytes > 1_000 && ours.datagram_bytes_max >= 1_200, "{ours:?}");
            assert!(ours.bytes_received > 1_000 && theirs.bytes_sent > 1_000 && theirs.datagrams_received > 2, "{ours:?} {theirs:?}");
            break;
        }
        assert!(Instant::now() < end, "{ours:?} {theirs:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    broker.wait_for("datagrams_received", |count| count > 4);
}

#[test]
fn datagrams_grow_as_far_as_the_keys_of_both_sides_say() {
    let (authority, ca) = signed();
    // The loopback interface carries them all; less than 20 bytes are not worth a trial.
    for (tried, range) in [("0", 1_200..=1_200), ("1452", 1_432..=1_452), ("9000", 8_980..=9_000)] {
        for congestion in ["cubic", "newreno"] {
            let broker = broker(1, &authority, "server", &format!("&quic_probe_bytes={tried}&quic_congestion={congestion}"), &[]);
            let runtime = runtime();
            let keys = [("ca_file", ca.as_str()), ("client_id", "grower"), ("quic_probe_bytes", tried), ("quic_congestion", congestion)];
            let peer = Peer::new(&runtime, &broker.uri(), &keys);
            peer.outcome().expect("let in");
            let payload = vec![b'x'; 200_000];
            let end = Instant::now() + PATIENCE;
            loop {
                peer.client.publish(Publish { topic: "t", payload: &payload, qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
                let received = broker.stat("publish_received");
                broker.server.publish_to("grower", &Publication { topic: "x", payload: &payload, ..Publication::default() }).expect("room");
                assert!(peer.message() == payload);
                broker.wait_for("publish_received", |count| count >= received);
                let ours = peer.client.datagram_statistics().expect("over datagrams").datagram_bytes_max;
                let theirs = broker.server.clients().expect("a list").remove(0).datagrams.expect("over datagrams").datagram_bytes_max;
                assert!(ours <= *range.end() && theirs <= *range.end(), "{ours} {theirs}");
                if range.contains(&ours) && range.contains(&theirs) {
                    break;
                }
                assert!(Instant::now() < end, "{tried}: {ours} {theirs}");
            }
        }
    }
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "", &[]);
    let relay = Relay::to(broker.address);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("quic"), &[("ca_file", &ca), ("quic_idle_timeout_s", "1"), ("quic_keepalive_s", "0"), ("keepalive", "60")]);
    peer.outcome().expect("let in");
    relay.loss_permille.store(1_000, Ordering::Relaxed);
    let lost = peer.outcome().expect_err("nobody is there");
    let fault = lost.fault.expect("a fault");
    assert!(fault.kind == FaultKind::Silent && lost.cause == Cause::Network, "{fault:?}");
    broker.wait_for("clients_connected", |count| count == 0);
    relay.loss_permille.store(0, Ordering::Relaxed);
    peer.outcome().or_else(|_| peer.outcome()).or_else(|_| peer.outcome()).expect("back again");
    // With a keep-alive of its own, nothing is silent for so long.
    let awake = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("quic_idle_timeout_s", "3"), ("quic_keepalive_s", "1"), ("keepalive", "600")]);
    awake.outcome().expect("let in");
    std::thread::sleep(Duration::from_secs(5));
    assert!(awake.told.try_iter().all(|event| !matches!(event, Event::Disconnected(_))), "it is still there");
}

#[test]
fn who_is_one_too_many_is_refused_and_told_so() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "&max_connections=2", &[]);
    let runtime = runtime();
    let keys = |id: &'static str| [("ca_file", ca.clone()), ("client_id", id.to_owned()), ("reconnect_delay_min_ms", "50".to_owned())];
    let peer = |id| Peer::new(&runtime, &broker.uri(), &keys(id).each_ref().map(|(key, value)| (*key, value.as_str())));
    let (first, second) = (peer("first"), peer("second"));
    first.outcome().expect("let in");
    second.outcome().expect("let in");
    let third = peer("third");
    let lost = third.outcome().expect_err("one too many");
    assert_eq!(lost.fault.map(|fault| fault.kind), Some(FaultKind::Refused));
    broker.wait_for("connections_over_limit", |count| count > 0);
    first.client.stop_and_wait(StopRequest::default()).expect("stopped");
    let end = Instant::now() + PATIENCE;
    while third.outcome().is_err() {
        assert!(Instant::now() < end, "there is a place again");
    }
}

#[test]
fn quic_has_a_limit_of_connections_of_its_own() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "&quic_max_connections=2&max_connections=9", &[]);
    let runtime = runtime();
    let peer = |id: &str| Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", id)]);
    let let_in = [peer("first"), peer("second")];
    let_in.iter().for_each(|peer| peer.outcome().expect("let in"));
    let lost = peer("third").outcome().expect_err("one too many");
    assert_eq!(lost.fault.map(|fault| fault.kind), Some(FaultKind::Refused));
    broker.wait_for("connections_over_limit", |count| count > 0);
    // A reload raises it for the same socket.
    let mut options = broker.config.listener_in_force(&broker.config.listeners[0]);
    options.quic_max_connections = 3;
    assert!(broker.server.change_listener(broker.endpoint(), options).expect("changed"));
    peer("third").outcome().expect("let in");
}

#[test]
fn datagrams_of_nonsense_do_no_harm() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "", &[]);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", "good")]);
    peer.outcome().expect("let in");
    let socket = udp();
    let seed = std::env::var("HOSTILE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = nlmqtt::base::Rng::with_seed(seed);
    let mut bytes = [0_u8; 1_400];
    for number in 0..100_000_u32 {
        let length = random.below(bytes.len() as u64) as usize;
        bytes[..length].chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&random.u64().to_le_bytes()[..chunk.len()]));
        // Some look like a first packet of QUIC v1, some like one of another version.
        match random.below(4) {
            0 if length > 5 => bytes[..5].copy_from_slice(&[0xC0, 0, 0, 0, 1]),
            1 if length > 5 => bytes[..5].copy_from_slice(&[0xC0, 0x0A, 0x1A, 0x2A, 0x3A]),
            _ => {}
        }
        let _ = socket.send_to(&bytes[..length], broker.address);
        if number % 10_000 == 0 {
            broker.server.publish_to("good", &Publication { topic: "x", payload: b"on", ..Publication::default() }).expect("room");
            assert_eq!(peer.message(), b"on", "seed {seed}");
        }
    }
    let other = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca)]);
    other.outcome().unwrap_or_else(|lost| panic!("seed {seed}: {lost:?}"));
    assert_eq!(broker.stat("clients_connected"), 2);
}

#[test]
fn losses_on_the_way_cost_time_and_nothing_else() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "", &[]);
    let relay = Relay::to(broker.address);
    relay.loss_permille.store(30, Ordering::Relaxed);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("quic"), &[("ca_file", &ca), ("client_id", "far"), ("connect_timeout_ms", "20000")]);
    peer.outcome().expect("let in");
    for number in 0..20_u8 {
        let payload = vec![number; 30_000];
        broker.server.publish_to("far", &Publication { topic: "x", payload: &payload, qos: Qos::AtLeastOnce, ..Publication::default() }).expect("room");
    }
    for number in 0..20_u8 {
        assert!(peer.message() == vec![number; 30_000], "{number}");
    }
}

#[test]
fn what_a_client_cannot_take_waits_in_its_queue_and_comes_in_order() {
    let (authority, ca) = signed();
    let broker = broker(1, &authority, "server", "", &[("max_queued_bytes", "64M"), ("max_queued_messages", "1000")]);
    let relay = Relay::to(broker.address);
    let runtime = runtime();
    let peer = Peer::new(&runtime, &relay.uri("quic"), &[("ca_file", &ca), ("client_id", "slow")]);
    peer.outcome().expect("let in");
    relay.loss_permille.store(1_000, Ordering::Relaxed);
    // Far more than windows, pipe and out-buffer hold.
    for number in 0..150_u8 {
        let payload = vec![number; 30_000];
        broker.server.publish_to("slow", &Publication { topic: "x", payload: &payload, qos: Qos::AtLeastOnce, ..Publication::default() }).expect("room");
    }
    broker.wait_for("messages_queued", |count| count > 50);
    relay.loss_permille.store(0, Ordering::Relaxed);
    for number in 0..150_u8 {
        assert!(peer.message() == vec![number; 30_000], "{number}");
    }
    assert_eq!(broker.stat("dropped_queue_full") + broker.stat("slow_consumers_closed"), 0);
}

#[test]
fn nobody_at_the_port_and_files_that_are_renewed() {
    let (authority, ca) = signed();
    let runtime = runtime();
    let port = udp().local_addr().expect("bound").port();
    let nobody = Peer::new(&runtime, &format!("quic://127.0.0.1:{port}"), &[("ca_file", &ca)]);
    let lost = nobody.outcome().expect_err("nobody");
    assert_eq!(lost.fault.map(|fault| fault.kind), Some(FaultKind::Unreachable), "said by the kernel, not by a time-out");
    // Another authority's certificate, taken without a restart; who is connected stays.
    let broker = broker(1, &authority, "server", "", &[]);
    let old = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", "old")]);
    old.outcome().expect("let in");
    let other = Authority::new("other");
    other.sign("server", &["127.0.0.1"], |_| {});
    for ending in ["pem", "key"] {
        std::fs::copy(other.file(&format!("server.{ending}")), authority.file(&format!("server.{ending}"))).expect("copied");
    }
    let options = broker.config.listener_in_force(&broker.config.listeners[0]);
    assert!(broker.server.change_listener(broker.endpoint(), options).expect("changed"));
    Peer::new(&runtime, &broker.uri(), &[("ca_file", &other.file("ca.pem"))]).outcome().expect("the new one");
    broker.server.publish_to("old", &Publication { topic: "x", payload: b"on", ..Publication::default() }).expect("room");
    assert_eq!(old.message(), b"on");
    // A listener that is closed takes nobody in, and keeps whom it has.
    assert!(broker.server.remove_listener(broker.endpoint()).expect("closed"));
    broker.server.publish_to("old", &Publication { topic: "x", payload: b"still", ..Publication::default() }).expect("room");
    assert_eq!(old.message(), b"still");
    let late = Peer::new(&runtime, &broker.uri(), &[("ca_file", &other.file("ca.pem"))]);
    assert_eq!(late.outcome().expect_err("closed").fault.map(|fault| fault.kind), Some(FaultKind::Refused));
}

#[cfg(feature = "rudp")]
#[test]
fn a_reload_keeps_the_socket_for_the_same_machine_only_and_tells_the_new_scheme() {
    let (authority, ca) = signed();
    let at = |uri: &str| {
        let mut config = ServerConfig::default();
        config.add_listener_uri(uri).expect("a listener");
        config
    };
    let broker = Broker::at(1, "rudp://127.0.0.1:0", &[]);
    let mut config = at(&broker.uri());
    let mut listening = vec![(config.listeners[0].clone(), broker.endpoint())];
    let mut reload = |uri: &str| {
        let changes = broker.server.take_config(&mut config, &mut listening, &at(uri)).expect("asked");
        let places: Vec<String> = listening.iter().map(|(_, bound)| bound.to_string()).collect();
        (changes, places)
    };
    let (bare, quic) = (format!("udp://{}", broker.address), format!("quic://{}", broker.address));
    assert_eq!(reload(&bare), (vec![Change::Applied(format!("listener {} changed", broker.uri()))], vec![bare.clone()]));
    let with_files = format!("{quic}?cert={}&key={}", authority.file("server.pem"), authority.file("server.key"));
    let changed = [format!("listener {bare} closed"), format!("listener {quic} opened")].map(Change::Applied);
    assert_eq!(reload(&with_files), (changed.to_vec(), vec![quic.clone()]));
    Peer::new(&runtime(), &quic, &[("ca_file", &ca)]).outcome().expect("let in");
}
