//! What is said last over datagrams arrives as it does over TCP, and who stops waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nlmqtt::client::{Event, Publish, State, StopRequest};
use nlmqtt::codec::{Qos, Reason};
use nlmqtt::net::{Endpoint, Error};
use nlmqtt::server::{Publication, Server};

use crate::datagram_broker::Broker;
use crate::relay::Relay;
use crate::tls::{Authority, Peer, runtime};
use crate::wire::PATIENCE;

/// What both ends need of TLS.
struct Files {
    /// Its files go with it.
    _authority: Authority,
    server: String,
    ca: String,
}

fn files() -> Files {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let server = format!("?cert={}&key={}", authority.file("server.pem"), authority.file("server.key"));
    Files { server, ca: authority.file("ca.pem"), _authority: authority }
}

/// A server of each transport over datagrams, and the scheme.
fn brokers(files: &Files, workers: usize) -> Vec<(&'static str, Broker)> {
    let mut all = vec![("rudp", String::new()), ("rudps", files.server.clone())];
    if cfg!(feature = "quic") {
        all.push(("quic", files.server.clone()));
    }
    all.into_iter().map(|(scheme, query)| (scheme, Broker::at(workers, &format!("{scheme}://127.0.0.1:0{query}"), &[]))).collect()
}

fn peer(runtime: &nlmqtt::net::Runtime, relay: &Relay, scheme: &str, files: &Files, keys: &[(&str, &str)]) -> Peer {
    let own = [("client_id", "far"), ("version", "5"), ("reconnect_delay_min_ms", "60000"), ("connect_timeout_ms", "20000")];
    let keys = [&own[..], keys].concat();
    let tls = [("ca_file", files.ca.as_str())];
    let keys = if scheme == "rudp" { keys } else { [&keys[..], &tls].concat() };
    let peer = Peer::new(runtime, &relay.uri(scheme), &keys);
    peer.outcome().expect("let in");
    peer
}

#[test]
fn why_a_server_closes_is_heard_after_a_gap_that_is_longer_than_its_patience_with_a_link() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 2) {
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        broker.server.kick("far", Reason::ADMINISTRATIVE_ACTION, false).expect("posted");
        std::thread::sleep(Duration::from_millis(2_600));
        relay.loss_permille.store(0, Ordering::Relaxed);
        let lost = peer.outcome().expect_err("closed");
        assert_eq!(lost.reason, Some(Reason::ADMINISTRATIVE_ACTION), "{scheme}: {lost:?}");
        assert_eq!(broker.stat("datagram_words_lost"), 0, "{scheme}");
    }
}

#[test]
fn what_is_given_up_on_the_socket_of_a_listener_that_was_closed_is_counted() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 1) {
        let relay = Relay::to(broker.address);
        let _peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        assert!(broker.server.remove_listener(broker.endpoint()).expect("posted"), "{scheme}");
        broker.server.kick("far", Reason::ADMINISTRATIVE_ACTION, false).expect("posted");
        broker.wait_for("datagram_words_lost", |count| count == 1);
    }
}

#[test]
fn a_client_that_has_stopped_has_said_all_of_it() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 2) {
        let (sender, received) = channel();
        let subscribe = move |message: &Arc<nlmqtt::codec::Message>| sender.send(message.payload().len()).expect("the test listens");
        broker.server.subscribe("bulk", subscribe).expect("a filter");
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(100, Ordering::Relaxed);
        for _ in 0..100 {
            peer.client.publish(Publish { topic: "bulk", payload: &[7; 1_000], qos: Qos::AtMostOnce, ..Publish::default() }, None).expect("room");
        }
        let drain = nlmqtt::base::Duration::from_secs(20);
        peer.client.stop_and_wait(StopRequest { drain, ..StopRequest::default() }).expect("stopped");
        // As if the process had ended: nothing more gets through.
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        let count = (0..100).take_while(|_| received.recv_timeout(PATIENCE).is_ok_and(|size| size == 1_000)).count();
        assert_eq!(count, 100, "{scheme}");
        broker.wait_for("clients_connected", |count| count == 0);
    }
}

#[test]
fn a_server_that_has_stopped_has_said_all_of_it() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 2) {
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(100, Ordering::Relaxed);
        for _ in 0..100 {
            broker.server.publish_to("far", &Publication { topic: "x", payload: &[7; 1_000], ..Publication::default() }).expect("room");
        }
        broker.server.stop_and_wait(Reason::SERVER_SHUTTING_DOWN, nlmqtt::base::Duration::from_secs(20)).expect("stopped");
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        let mut count = 0;
        let lost = loop {
            match peer.told.recv_timeout(PATIENCE).expect("it comes") {
                Event::Message(_) => count += 1,
                Event::Disconnected(lost) => break lost,
                _ => {}
            }
        };
        assert_eq!((count, lost.reason), (100, Some(Reason::SERVER_SHUTTING_DOWN)), "{scheme}: {lost:?}");
        if scheme == "rudps" {
            assert!(lost.fault.is_none(), "the good-bye of TLS was there, too: {lost:?}");
        }
    }
}

#[test]
fn a_server_does_not_wait_for_those_who_cannot_be_reached_beyond_its_drain() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 1) {
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        let start = Instant::now();
        // A busy machine may be late, and then it says so.
        let _ = broker.server.stop_and_wait(Reason::SERVER_SHUTTING_DOWN, nlmqtt::base::Duration::from_millis(700));
        assert!((Duration::from_millis(700)..PATIENCE).contains(&start.elapsed()), "{scheme}: {:?}", start.elapsed());
        let start = Instant::now();
        let drain = nlmqtt::base::Duration::from_millis(300);
        let _ = peer.client.stop_and_wait(StopRequest { drain, ..StopRequest::default() });
        assert!(start.elapsed() < PATIENCE, "{scheme}: {:?}", start.elapsed());
    }
}

fn wait_for_state(peer: &Peer, state: State) {
    let start = Instant::now();
    while peer.client.state() != state {
        assert!(start.elapsed() < PATIENCE, "{:?}", peer.client.state());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_with_nothing_left_to_send_waits_for_its_good_bye_all_the_same() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 1) {
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        let (start, drain) = (Instant::now(), nlmqtt::base::Duration::from_millis(700));
        // A busy machine may be late, and then it says so.
        let _ = peer.client.stop_and_wait(StopRequest { drain, ..StopRequest::default() });
        assert!(start.elapsed() >= Duration::from_millis(700), "{scheme}: {:?}", start.elapsed());
        wait_for_state(&peer, State::Stopped);
    }
}

#[test]
fn who_is_told_to_stop_again_waits_no_longer_for_what_cannot_arrive() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 1) {
        let relay = Relay::to(broker.address);
        let peer = peer(&runtime, &relay, scheme, &files, &[]);
        relay.loss_permille.store(1_000, Ordering::Relaxed);
        peer.client.stop(StopRequest { drain: nlmqtt::base::Duration::from_secs(60), ..StopRequest::default() });
        wait_for_state(&peer, State::Stopping);
        let start = Instant::now();
        peer.client.stop(StopRequest::default());
        wait_for_state(&peer, State::Stopped);
        // The transports give up after five.
        assert!(start.elapsed() < Duration::from_secs(3), "{scheme}: {:?}", start.elapsed());
    }
}

#[test]
fn a_listener_that_comes_back_while_somebody_has_stayed_finds_its_socket_on_whatever_worker_it_is() {
    let (files, runtime) = (files(), runtime());
    for (scheme, broker) in brokers(&files, 4) {
        let relay = Relay::to(broker.address);
        let old = peer(&runtime, &relay, scheme, &files, &[]);
        let again = |server: &Server| -> Result<Endpoint, Error> {
            let mut options = broker.config.listener_in_force(&broker.config.listeners[0]);
            options.endpoint = broker.endpoint();
            server.add_listener(options)
        };
        for _ in 0..3 {
            assert!(broker.server.remove_listener(broker.endpoint()).expect("asked"), "{scheme}");
            assert_eq!(again(&broker.server).unwrap_or_else(|error| panic!("{scheme}: {error}")), broker.endpoint());
        }
        assert!(again(&broker.server).is_err(), "{scheme}: it listens there");
        let second = Relay::to(broker.address);
        let new = peer(&runtime, &second, scheme, &files, &[("client_id", "new")]);
        for (id, peer) in [("far", &old), ("new", &new)] {
            broker.server.publish_to(id, &Publication { topic: "x", payload: b"on", ..Publication::default() }).expect("room");
            assert_eq!(peer.message(), b"on", "{scheme} {id}");
        }
    }
}
