//! Listeners with rules of their own.

use std::time::Duration;

use nlmqtt::config::ServerConfig;
use nlmqtt::net::{ListenerOptions, Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::wire::{Broker, V3, Wire, connect};

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
    let listen = |index: usize| server.add_listener(config.listener_in_force(&config.listeners[index])).expect("open");
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
    let rules = ListenerOptions { allow_anonymous: Some(false), ..ListenerOptions::at(broker.address) };
    assert!(broker.server.change_listener(broker.address, rules.clone()).expect("answered"));
    assert_eq!(answer(broker.address, "b").1, [0, 5], "not authorised");
    let nowhere = ([127, 0, 0, 1], 1).into();
    assert!(!broker.server.change_listener(nowhere, rules).expect("answered"));
}
