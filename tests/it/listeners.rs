//! Listeners with rules of their own.

use std::io::{Read, Write};
use std::time::Duration;

use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Endpoint, ListenerOptions, Runtime, RuntimeOptions};
use nlmqtt::server::{Change, Server};

use crate::wire::{Broker, Connect, PATIENCE, V3, Wire, connect, connect_with, publish, subscribe};

/// The first bytes of the answer to a CONNECT of 3.1.1; empty if the server closed.
fn answer(address: std::net::SocketAddr, client_id: &str) -> (Wire, Vec<u8>) {
    let (wire, answer) = Wire::connect(address, V3, &connect(V3, client_id, true, 60, &[]));
    (wire, answer.map_or_else(Vec::new, |packet| packet.body))
}

#[test]
fn each_listener_has_rules_of_its_own() {
    let mut config = ServerConfig::default();
    config.add_listener_uri("mqtt://127.0.0.1:0").expect("a listener");
    config.add_listener_uri("mqtt://127.0.0.1:0?allow_anonymous=false").expect("a listener");
    config.add_listener_uri("mqtt://127.0.0.1:0?max_connections=1").expect("a listener");
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
    let listen = |index: usize| server.add_listener(config.listener_in_force(&config.listeners[index])).expect("open").socket_address().expect("TCP");
    let (open, named, single) = (listen(0), listen(1), listen(2));

    assert_eq!(answer(open, "a").1, [0, 0]);
    assert_eq!(answer(named, "b").1, [0, 5], "not authorised");
    let (first, connack) = answer(single, "c");
    assert_eq!(connack, [0, 0]);
    assert_eq!(answer(single, "d").1, [0; 0], "the listener is full");
    assert_eq!(server.stats().expect("counters").connections_over_limit, 1);
    drop(first);
    let again = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        answer(single, "e").1 == [0, 0]
    });
    assert!(again, "there is room again when the first has gone");
}

#[test]
fn a_listener_takes_new_rules_while_it_is_open() {
    let broker = Broker::new(|_| {});
    assert_eq!(answer(broker.address, "a").1, [0, 0]);
    let mut rules = ListenerOptions::at(broker.address);
    rules.rules.allow_anonymous = Some(false);
    assert!(broker.server.change_listener(broker.address.into(), rules.clone()).expect("answered"));
    assert_eq!(answer(broker.address, "b").1, [0, 5], "not authorised");
    let nowhere = Endpoint::Tcp(([127, 0, 0, 1], 1).into());
    assert!(!broker.server.change_listener(nowhere, rules).expect("answered"));
}

/// A server with one listener of this URI.
fn with_listener(uri: &str, workers: usize) -> (Runtime, Server, std::net::SocketAddr) {
    let mut config = ServerConfig::default();
    config.add_listener_uri(uri).expect("a listener");
    let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
    let server = Server::with_hooks(&runtime, config.options_in_force(), |_| None).expect("a server");
    let address = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open").socket_address().expect("TCP");
    (runtime, server, address)
}

#[test]
fn a_publisher_over_its_rate_is_slowed_down_and_loses_nothing() {
    // Rates and mount point go along to the worker its client is at home on.
    for workers in [1, 3] {
        let (_runtime, server, address) = with_listener("mqtt://127.0.0.1:0?rate_messages=50&mount_point=site/", workers);
        let mut receiver = Wire::join(address, V3, "receiver");
        receiver.send(&subscribe(V3, 1, "t", 1));
        receiver.read().expect("SUBACK");
        let mut publisher = Wire::join(address, V3, "publisher");
        let begin = std::time::Instant::now();
        let burst: Vec<u8> = (0..100).flat_map(|_| publish(V3, "t", 0, false, 0, &[], b"x")).collect();
        publisher.send(&burst);
        for _ in 0..100 {
            assert_eq!(receiver.read().expect("all of them come").topic(), "t");
        }
        assert!(begin.elapsed() >= Duration::from_millis(900), "50 at once, and 50 in a second: {:?}", begin.elapsed());
        assert!(server.stats().expect("counters").rate_pauses > 0);
        let topics = server.subscriptions("site/#receiver").expect("answered").expect("a client");
        assert_eq!(topics, ["site/t"]);
    }
}

#[test]
fn a_client_that_is_gone_and_over_its_rate_gives_its_place_back() {
    let (_runtime, server, address) = with_listener("mqtt://127.0.0.1:0?rate_messages=1&max_connections=1", 1);
    let will = Connect { clean: true, will: Some(("gone", "x", &[])), ..Connect::default() };
    let mut socket = std::net::TcpStream::connect(address).expect("there");
    socket.write_all(&connect_with(V3, "z", &will)).expect("sent");
    // Unread, it would make a reset of the end.
    socket.read_exact(&mut [0; 4]).expect("CONNACK");
    socket.write_all(&publish(V3, "a", 0, false, 0, &[], b"").repeat(2_000)).expect("sent");
    drop(socket);
    let end = std::time::Instant::now() + PATIENCE;
    while server.stats().expect("counters").rate_given_up == 0 {
        assert!(std::time::Instant::now() < end, "{:?}", server.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.stats().expect("counters").wills_published, 1);
    assert_eq!(answer(address, "honest").1, [0, 0]);
}

#[test]
fn sessions_of_two_mount_points_have_nothing_to_do_with_each_other() {
    for workers in [1, 3] {
        let (_runtime, server, address) = with_listener("mqtt://127.0.0.1:0?mount_point=a/", workers);
        let mut config = ServerConfig::default();
        config.add_listener_uri("mqtt://127.0.0.1:0?mount_point=b/").expect("a listener");
        let other = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open").socket_address().expect("TCP");
        for client in ["pump", "valve", "door", "lamp"] {
            let mut victim = Wire::join(address, V3, client);
            victim.send(&subscribe(V3, 1, "t", 1));
            victim.read().expect("SUBACK");
            drop(Wire::join(other, V3, client));
            victim.send(&publish(V3, "t", 0, false, 0, &[], b"x"));
            assert_eq!(victim.read().expect("still there").topic(), "t");
            let name = format!("a/#{client}");
            assert_eq!(server.subscriptions(&name).expect("answered").expect("found wherever it is at home"), ["a/t"]);
            assert!(server.subscriptions(client).expect("answered").is_none());
        }
        assert_eq!(server.stats().expect("counters").take_overs, 0);
    }
}

#[test]
fn rate_connections_lets_clients_wait_to_be_accepted() {
    let (_runtime, server, address) = with_listener("mqtt://127.0.0.1:0?rate_connections=5", 1);
    let begin = std::time::Instant::now();
    let wires: Vec<Wire> = (0..10).map(|number| Wire::join(address, V3, &format!("c{number}"))).collect();
    assert!(begin.elapsed() >= Duration::from_millis(900), "five at once, and five in a second: {:?}", begin.elapsed());
    let stats = server.stats().expect("counters");
    assert!(stats.accept_pauses > 0);
    assert_eq!((stats.clients_connected, stats.connections_over_limit), (10, 0));
    drop(wires);
}

#[test]
fn addresses_are_allowed_and_denied() {
    for (rules, is_let_in) in [("allow=127.0.0.0/8", true), ("allow=10.0.0.0/8,::1", false), ("deny=127.0.0.1", false)] {
        let (_runtime, server, address) = with_listener(&format!("mqtt://127.0.0.1:0?{rules}"), 1);
        assert_eq!(answer(address, "c").1 == [0, 0], is_let_in, "{rules}");
        assert_eq!(server.stats().expect("counters").connections_denied, u64::from(!is_let_in));
    }
}

#[test]
fn a_reload_changes_a_listener_without_closing_it() {
    let listener = |query: &str| {
        let mut config = ServerConfig::default();
        config.add_listener_uri(&format!("mqtt://127.0.0.1:0{query}")).expect("a listener");
        config
    };
    let (mut config, new) = (listener(""), listener("?versions=5&rate_messages=9"));
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
    let endpoint = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open");
    let address = endpoint.socket_address().expect("TCP");
    let mut listening = vec![(config.listeners[0].clone(), endpoint.clone())];
    let (before, connack) = answer(address, "a");
    assert_eq!(connack, [0, 0]);
    let changes = server.take_config(&mut config, &mut listening, &new).expect("answered");
    assert_eq!(changes, [Change::Applied(format!("listener {endpoint} changed"))]);
    assert_eq!(listening, [(new.listeners[0].clone(), endpoint.clone())]);
    assert_eq!(answer(address, "b").1, [0, 1], "not this version any more");
    assert!(server.client("a").expect("answered").is_some_and(|client| client.connected), "who is there stays");
    // Options of the socket need another one.
    let backlog = listener("?backlog=7");
    let changes = server.take_config(&mut config, &mut listening, &backlog).expect("answered");
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!(changes[0], Change::Applied(format!("listener {endpoint} closed")));
    drop(before);
}
