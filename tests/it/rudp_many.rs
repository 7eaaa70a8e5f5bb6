//! Thousands of peers on one UDP socket: all are served, nothing is lost or doubled, and an idle one costs little.

use std::collections::BTreeSet;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use nlmqtt::client::{Client, Event, Publish};
use nlmqtt::codec::Qos;
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{ClientHandler, Runtime, RuntimeOptions};
use nlmqtt::server::{Publication, Server};

use crate::tls::{client, client_config, runtime};
use crate::wire::PATIENCE;

const PEERS: usize = 2_000;
/// Who come at the same time: fewer than may be half open.
const WAVE: usize = 16;
/// What the broker may hold for one that is idle: connection, session, both ends of a pipe, and the peer of the transport.
const PEER_BYTES_MAX: u64 = 12 << 10;

struct Hearer(Sender<Vec<u8>>);

impl ClientHandler for Hearer {
    fn event(&mut self, _: nlmqtt::base::Instant, event: Event) {
        if let Event::Message(incoming) = event {
            self.0.send(incoming.message.payload().to_vec()).expect("the test listens");
        }
    }
}

#[test]
fn two_thousand_peers_of_one_socket_are_served_without_loss() {
    let peers = crate::descriptors_for(PEERS) / WAVE * WAVE;
    let mut config = ServerConfig::default();
    config.add_listener_uri("rudp://127.0.0.1:0").expect("a listener");
    let serving = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let server = Server::new(&serving, config.options_in_force(), None).expect("a server");
    let endpoint = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open");
    let uri = format!("rudp://{}", endpoint.socket_address().expect("UDP"));
    let stat = |name: &str| {
        let stats = server.stats().expect("counters");
        let found = stats.iter().find(|(known, _)| *known == name).expect("a counter").1;
        found
    };
    let before = stat("memory_bytes");
    let (said, heard) = channel();
    let (dialling, patience) = (runtime(), nlmqtt::base::Duration::from_secs(PATIENCE.as_secs()));
    let mut clients: Vec<Client> = Vec::with_capacity(peers);
    while clients.len() < peers {
        let first = clients.len();
        clients.extend((first..first + WAVE).map(|number| {
            let keys = [("client_id", &*format!("peer{number}")), ("rudp_generation", "2")];
            let client = client(&dialling, &client_config(&uri, &keys), Box::new(Hearer(said.clone())));
            client.start();
            client
        }));
        clients[first..].iter().for_each(|client| client.wait_connected(patience).expect("let in"));
    }
    assert_eq!((stat("clients_connected"), stat("connections_accepted")), (peers as u64, peers as u64));
    let each = (stat("memory_bytes") - before) / peers as u64;
    println!("{peers} idle peers of reliable UDP: {each} bytes each");
    assert!(each <= PEER_BYTES_MAX, "{each} bytes for each idle peer");
    // Down to every one, and up from every one.
    for number in 0..peers {
        let payload = number.to_string();
        let publication = Publication { topic: "x", payload: payload.as_bytes(), qos: Qos::AtLeastOnce, ..Publication::default() };
        while server.publish_to(&format!("peer{number}"), &publication).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    expect_all(peers, || heard.recv_timeout(PATIENCE).expect("it comes"));
    assert!(heard.try_recv().is_err(), "one for each");
    let (came, coming) = channel();
    server.subscribe("up", move |message| came.send(message.payload().to_vec()).expect("the test listens")).expect("a filter");
    for (number, client) in clients.iter().enumerate() {
        let payload = number.to_string();
        client.publish(Publish { topic: "up", payload: payload.as_bytes(), qos: Qos::ExactlyOnce, ..Publish::default() }, None).expect("room");
    }
    expect_all(peers, || coming.recv_timeout(PATIENCE).expect("it comes"));
    assert!(coming.try_recv().is_err(), "one from each");
    let end = Instant::now() + PATIENCE;
    while stat("datagrams_received") < 4 * peers as u64 {
        assert!(Instant::now() < end, "{:?}", server.stats());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((stat("datagrams_malformed"), stat("clients_connected")), (0, peers as u64));
    assert_eq!(stat("connections_accepted"), peers as u64, "nobody had to come again");
}

/// One payload of each peer, in any order.
fn expect_all(peers: usize, mut next: impl FnMut() -> Vec<u8>) {
    let all: BTreeSet<Vec<u8>> = (0..peers).map(|_| next()).collect();
    assert_eq!(all, (0..peers).map(|number| number.to_string().into_bytes()).collect());
}
