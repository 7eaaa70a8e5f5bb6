//! The ladder of servers: what works is remembered, what is better is found again.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nlmqtt::base::Instant;
use nlmqtt::client::{Client, ClientParts, Event};
use nlmqtt::config::ClientConfig;
use nlmqtt::net::{ClientHandler, ListenerOptions, Runtime, RuntimeOptions};

use crate::wire::{Broker, PATIENCE};

struct Teller(Sender<Event>);

impl ClientHandler for Teller {
    fn event(&mut self, _now: Instant, event: Event) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

/// What was tried in vain, then where the session is now and where the last one was.
fn next_session(events: &Receiver<Event>) -> (Vec<usize>, usize, usize) {
    let mut failed = Vec::new();
    loop {
        match events.recv_timeout(PATIENCE).expect("it goes on") {
            Event::Connected(connected) => return (failed, connected.server, connected.previous_server),
            Event::Disconnected(disconnected) if !disconnected.was_online => failed.push(disconnected.server),
            _ => {}
        }
    }
}

#[test]
fn a_client_remembers_the_server_that_works_and_goes_back_to_a_better_one() {
    let broker = Broker::new(|_| {});
    // A port that is taken, and nobody listens there for now.
    let place = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    place.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let better = place.local_addr().expect("bound").as_socket().expect("TCP");
    let mut config = ClientConfig::default();
    config.add_server(&format!("mqtt://{}", broker.address), 1).expect("a server");
    config.add_server(&format!("mqtt://{better}"), 0).expect("a server");
    for (key, value) in [("client_id", "c"), ("reconnect_delay_min_ms", "1"), ("reconnect_delay_max_ms", "10"), ("ladder_probe_interval_s", "2")] {
        config.set(key, value).expect("legal");
    }
    let (teller, events) = channel();
    let (options, servers, dial) = config.parts().expect("whole");
    let parts = ClientParts { options, servers, dial, ..ClientParts::default() };
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let client = Client::new(&runtime, parts, Box::new(Teller(teller))).expect("a client");
    let begin = std::time::Instant::now();
    client.start();
    assert_eq!(next_session(&events), (vec![1], 0, 0), "the better one is tried first");
    let kick = || broker.server.kick("c", nlmqtt::codec::Reason::ADMINISTRATIVE_ACTION, false);
    kick().expect("posted");
    let second = next_session(&events);
    // On a machine that stands still for two seconds the time to look for the better one has come already.
    assert!(second == (vec![], 0, 0) || begin.elapsed() >= Duration::from_secs(2), "{second:?}");
    place.listen(8).expect("a bound socket");
    broker.server.add_listener_socket(place.into(), ListenerOptions::at(better)).expect("a listening socket");
    std::thread::sleep(Duration::from_millis(2_200));
    kick().expect("posted");
    assert_eq!(next_session(&events), (vec![], 1, 0), "found again");
    assert_eq!(client.statistics().server_switches, 1);
}

#[cfg(all(feature = "tls", feature = "websocket", feature = "rudp"))]
#[test]
fn a_ladder_has_rungs_of_every_transport() {
    let authority = crate::tls::Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = crate::tls::Broker::new(&authority, "server", "");
    // Ports that are free again: nobody listens there for now.
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut config = ClientConfig::default();
    for (priority, uri) in [format!("rudp://{udp}"), format!("wss://{tcp}/mqtt"), broker.uri()].iter().enumerate() {
        config.add_server(uri, priority as u32).expect("a server");
    }
    let ca = authority.file("ca.pem");
    for (key, value) in [
        ("client_id", "c"),
        ("ca_file", ca.as_str()),
        ("connect_timeout_ms", "3000"),
        ("reconnect_delay_min_ms", "1"),
        ("reconnect_delay_max_ms", "10"),
        ("ladder_probe_interval_s", "1"),
    ] {
        config.set(key, value).expect("legal");
    }
    let (teller, events) = channel();
    let (options, servers, dial) = config.parts().expect("whole");
    let parts = ClientParts { options, servers, dial, tls: config.tls.clone(), way: config.way.clone(), receive: None };
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let client = Client::new(&runtime, parts, Box::new(Teller(teller))).expect("a client");
    client.start();
    assert_eq!(next_session(&events), (vec![0, 1], 2, 2), "down to the one that works");
    let mut listener = nlmqtt::config::ServerConfig::default();
    listener.add_listener_uri(&format!("rudp://{udp}")).expect("a listener");
    broker.server.add_listener(listener.listener_in_force(&listener.listeners[0])).expect("the port is free");
    std::thread::sleep(Duration::from_millis(1_200));
    broker.server.kick("c", nlmqtt::codec::Reason::ADMINISTRATIVE_ACTION, false).expect("posted");
    assert_eq!(next_session(&events), (vec![], 0, 2), "up to the best one");
    assert_eq!(client.statistics().server_switches, 1);
}
