//! Clients and a server of one process, without sockets, in every mode.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use nlmqtt::base::Instant;
use nlmqtt::client::{Client, ClientParts, Event, Publish};
use nlmqtt::codec::{PropertyList, Qos, Reason, SubscribeOptions};
use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::net::{ClientHandler, Endpoint, Mode, Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::wire::PATIENCE;

struct Teller(Sender<Event>);

impl ClientHandler for Teller {
    fn event(&mut self, _now: Instant, event: Event) {
        // The test may be over.
        let _ = self.0.send(event);
    }
}

/// Lends a runtime this thread, if it has none of its own.
fn lend(runtime: &Runtime, tick: Duration) {
    match runtime.mode() {
        Mode::Loop => runtime.poll(Some(tick)).expect("a turn"),
        Mode::Dispatch => runtime.dispatch(Some(tick)).expect("dispatched"),
        Mode::Thread => std::thread::sleep(Duration::from_millis(1)),
    }
}

/// The next event `pick` wants, while somebody lends the runtime a thread.
fn next<T>(runtime: &Runtime, events: &Receiver<Event>, pick: impl FnMut(Event) -> Option<T>) -> T {
    next_of(&[runtime], events, pick)
}

/// As `next`, of several runtimes.
fn next_of<T>(runtimes: &[&Runtime], events: &Receiver<Event>, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    let tick = Duration::from_millis(if runtimes.len() > 1 { 1 } else { 20 });
    loop {
        assert!(begin.elapsed() < PATIENCE, "nothing comes");
        if let Some(found) = events.try_iter().find_map(&mut pick) {
            return found;
        }
        runtimes.iter().for_each(|runtime| lend(runtime, tick));
    }
}

fn client(runtime: &Runtime, client_id: &str) -> (Client, Receiver<Event>) {
    client_of(runtime, None, client_id)
}

/// A client that looks for its server in another runtime, if one is named.
fn client_of(runtime: &Runtime, other: Option<&Runtime>, client_id: &str) -> (Client, Receiver<Event>) {
    let (teller, events) = channel();
    let mut config = ClientConfig::default();
    config
        .add_server(&format!("inproc://hub?client_id={client_id}&reconnect_delay_min_ms=1&reconnect_delay_max_ms=20&max_packet_size=16M"), 0)
        .expect("a server");
    config.dial.names = other.map(|other| other.names().clone());
    let (options, servers, dial) = config.parts().expect("whole");
    let parts = ClientParts { options, servers, dial, ..ClientParts::default() };
    let client = Client::new(runtime, parts, Box::new(Teller(teller))).expect("a client");
    client.start();
    (client, events)
}

fn received(event: Event) -> Option<Vec<u8>> {
    if let Event::Message(message) = event { Some(message.message.payload().to_vec()) } else { None }
}

#[test]
fn a_client_and_a_server_of_one_process_need_no_socket() {
    for (mode, workers) in [(Mode::Thread, 1), (Mode::Thread, 3), (Mode::Loop, 1), (Mode::Dispatch, 1), (Mode::Dispatch, 2)] {
        let runtime = Runtime::new(&RuntimeOptions { mode, workers, ..RuntimeOptions::default() }).expect("a runtime");
        let mut config = ServerConfig::default();
        config.add_listener_uri("inproc://hub?max_connections=4").expect("a listener");
        config.set("max_packet_size", "16M").expect("legal");
        let server = Server::with_hooks(&runtime, config.options_in_force(), |_| None).expect("a server");
        // Nobody listens yet: it goes on trying.
        let (receiver, heard) = client(&runtime, "receiver");
        next(&runtime, &heard, |event| matches!(event, Event::Disconnected(_)).then_some(()));
        let endpoint = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("a listener");
        assert_eq!(endpoint, Endpoint::Memory("hub".to_owned()));
        assert!(server.add_listener(config.listeners[0].clone()).is_err(), "the name is taken");
        receiver.subscribe(&[("t", SubscribeOptions { qos: Qos::AtLeastOnce, ..Default::default() })], &PropertyList::new(), None, None).expect("accepted");
        next(&runtime, &heard, |event| matches!(event, Event::Subscribed { .. }).then_some(()));
        let (publisher, told) = client(&runtime, "publisher");
        // More than a pipe holds, in one piece and in many.
        let large: Vec<u8> = (0..3_000_000_u32).map(|index| index as u8).collect();
        publisher.publish(Publish { topic: "t", payload: &large, qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("accepted");
        assert!(next(&runtime, &heard, received) == large, "{mode:?}");
        for number in 0..500_u32 {
            let payload = [&number.to_be_bytes()[..], &[7; 1_000]].concat();
            publisher.publish(Publish { topic: "t", payload: &payload, qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("accepted");
        }
        let mut count = 0_u32;
        next(&runtime, &heard, |event| {
            let payload = received(event)?;
            assert_eq!(payload[..4], count.to_be_bytes(), "in order");
            count += 1;
            (count == 500).then_some(())
        });
        let summary = server.client("publisher").expect("answered").expect("a client");
        assert_eq!((summary.peer.as_str(), summary.connected), ("local", true));
        // It ends like any other connection.
        server.kick("publisher", Reason::ADMINISTRATIVE_ACTION, false).expect("posted");
        next(&runtime, &told, |event| matches!(event, Event::Disconnected(_)).then_some(()));
        next(&runtime, &told, |event| matches!(event, Event::Connected(_)).then_some(()));
        drop((receiver, publisher));
        server.stop_and_wait(Reason::SERVER_SHUTTING_DOWN, Duration::from_secs(10)).expect("it ends");
    }
}

#[test]
fn names_are_of_one_runtime() {
    let (first, second) = (Runtime::new(&RuntimeOptions::default()).expect("a runtime"), Runtime::new(&RuntimeOptions::default()).expect("a runtime"));
    let mut config = ServerConfig::default();
    config.add_listener_uri("inproc://hub").expect("a listener");
    for runtime in [&first, &second] {
        let server = Server::new(runtime, config.options_in_force(), None).expect("a server");
        server.add_listener(config.listener_in_force(&config.listeners[0])).expect("free there");
        let (_client, events) = client(runtime, "c");
        next(runtime, &events, |event| matches!(event, Event::Connected(_)).then_some(()));
    }
}

#[test]
fn a_client_finds_the_server_of_another_runtime_and_large_payloads_are_never_copied() {
    let modes = [(Mode::Thread, 1), (Mode::Thread, 3), (Mode::Loop, 1), (Mode::Dispatch, 2)];
    for (far, near) in modes.iter().flat_map(|far| modes.iter().map(move |near| (*far, *near))) {
        let runtime = |(mode, workers)| Runtime::new(&RuntimeOptions { mode, workers, ..RuntimeOptions::default() }).expect("a runtime");
        let (there, here) = (runtime(far), runtime(near));
        let both = [&there, &here];
        let mut config = ServerConfig::default();
        config.add_listener_uri("inproc://hub").expect("a listener");
        config.set("max_packet_size", "16M").expect("legal");
        let options = config.options_in_force();
        let server = Server::with_hooks(&there, options.clone(), |_| None).expect("a server");
        let listener = config.listener_in_force(&config.listeners[0]);
        server.add_listener(listener.clone()).expect("a listener");
        let (client, events) = client_of(&here, Some(&there), "c");
        client.subscribe(&[("t", SubscribeOptions { qos: Qos::AtLeastOnce, ..Default::default() })], &PropertyList::new(), None, None).expect("accepted");
        next_of(&both, &events, |event| matches!(event, Event::Subscribed { .. }).then_some(()));
        // More than a pipe holds, and more than are taken in one turn.
        let large: Vec<Bytes> = (1..=60).map(|number| Bytes::from(vec![number; if number % 8 == 0 { 100_000 } else { 2_000 }])).collect();
        let publish = |payload: &Bytes| {
            client.publish(Publish { topic: "t", shared: Some(payload.clone()), qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("accepted");
        };
        for payload in &large {
            publish(payload);
            publish(&Bytes::from_static(b"small"));
        }
        for payload in &large {
            // The very bytes that were published, through both runtimes.
            let received = |event| if let Event::Message(message) = event { Some(message.message) } else { None };
            let got = next_of(&both, &events, received);
            assert_eq!((got.payload().as_ptr(), got.payload().len()), (payload.as_ptr(), payload.len()), "{far:?} {near:?}");
            assert_eq!(next_of(&both, &events, received).payload(), b"small");
        }
        // The server goes first; by its name another one of its runtime is found.
        drop(server);
        next_of(&both, &events, |event| matches!(event, Event::Disconnected(_)).then_some(()));
        let server = Server::with_hooks(&there, options, |_| None).expect("a server");
        server.add_listener(listener).expect("the name is free again");
        next_of(&both, &events, |event| matches!(event, Event::Connected(_)).then_some(()));
        // So does its runtime.
        drop((server, there));
        next_of(&[&here], &events, |event| matches!(event, Event::Disconnected(_)).then_some(()));
    }
}

#[test]
fn the_descriptor_of_a_foreign_loop_is_readable_while_something_waits() {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let runtime = Runtime::new(&RuntimeOptions { mode: Mode::Loop, ..RuntimeOptions::default() }).expect("a runtime");
    let mut config = ServerConfig::default();
    config.add_listener_uri("inproc://hub").expect("a listener");
    let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
    server.add_listener(config.listener_in_force(&config.listeners[0])).expect("a listener");
    let (client, events) = client(&runtime, "c");
    client.subscribe(&[("t", SubscribeOptions::default())], &PropertyList::new(), None, None).expect("accepted");
    // A dozen round trips, each of many steps inside one worker; nothing but the descriptor says when to go on.
    #[allow(unsafe_code)]
    // SAFETY: the runtime, and with it the descriptor, outlives the loop.
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(runtime.fd()) };
    for round in 0..12_u8 {
        client.publish(Publish { topic: "t", payload: &[round], qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("accepted");
        loop {
            let mut watched = [PollFd::new(&descriptor, PollFlags::IN)];
            let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(poll(&mut watched, Some(&limit)).expect("polled"), 1, "it stalls in round {round}");
            runtime.poll(Some(Duration::ZERO)).expect("a turn");
            if events.try_iter().any(|event| received(event) == Some(vec![round])) {
                break;
            }
        }
    }
}
