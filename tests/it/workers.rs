//! A broker with four workers, each a thread: many clients at once, exact counts, order.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use nlmqtt::base::Duration;
use nlmqtt::broker::{Answer, BanKind, ClientInfo, HookToken, Hooks, Interest, PublishInfo};
use nlmqtt::client::{Client, ClientParts, Event, Publish};
use nlmqtt::codec::{self, PropertyList, Qos, Reason, SubscribeOptions};
use nlmqtt::net::{ClientHandler, Mode, Runtime, RuntimeOptions, ServerAddress};
use nlmqtt::server::{Publication, Server};

use crate::wire::{Broker, V3, V5, Wire, ack, connect, publish};

const WORKERS: usize = 4;
const PUBLISHERS: usize = 6;
const MESSAGES: u32 = 400;

fn broker() -> Broker {
    Broker::with_workers(
        WORKERS,
        |options| {
            options.max_output_bytes = 64 << 20;
            options.max_queued_messages = 0;
            options.max_queued_bytes = 0;
        },
        |_| None,
    )
}

/// Acknowledges what came, and hands it on if it is a PUBLISH that was not handed on before.
fn answer(wire: &mut Wire, packet: &crate::wire::Packet) -> bool {
    match (packet.first & 0xF0, packet.first >> 1 & 3) {
        (0x30, 0) => true,
        (0x30, 1) => {
            wire.send(&ack(0x40, packet.packet_id()));
            true
        }
        (0x30, _) => {
            wire.send(&ack(0x50, packet.packet_id()));
            true
        }
        (0x60, _) => {
            wire.send(&ack(0x70, u16::from_be_bytes([packet.body[0], packet.body[1]])));
            false
        }
        _ => false,
    }
}

/// Sends its messages and waits for what they are owed, a window at a time.
fn publish_all(address: std::net::SocketAddr, name: &str, qos: u8, count: u32, topic: &str) {
    let mut wire = Wire::join(address, V3, name);
    let mut open = 0;
    for number in 0..count {
        let packet_id = (number % 60_000 + 1) as u16;
        wire.send(&publish(V3, topic, qos, false, packet_id, &[], format!("{name} {number}").as_bytes()));
        open += u32::from(qos > 0);
        while open >= 20 || (number + 1 == count && open > 0) {
            let packet = wire.read().expect("an acknowledgement");
            match packet.first {
                0x50 => wire.send(&ack(0x62, u16::from_be_bytes([packet.body[0], packet.body[1]]))),
                0x40 | 0x70 => open -= 1,
                other => panic!("{name} got {other:02x}"),
            }
        }
    }
    wire.ping();
}

/// The numbers each publisher's messages came with.
type Seen = BTreeMap<String, Vec<u32>>;

/// Receives `count` messages.
fn receive(wire: &mut Wire, count: usize) -> Seen {
    let mut seen = Seen::new();
    let mut got = 0;
    while got < count {
        let packet = wire.read().expect("a message");
        if answer(wire, &packet) {
            let text = String::from_utf8_lossy(packet.payload(V3)).into_owned();
            let (name, number) = text.split_once(' ').expect("name and number");
            seen.entry(name.to_owned()).or_default().push(number.parse().expect("a number"));
            got += 1;
        }
    }
    seen
}

#[test]
fn every_message_reaches_every_subscriber_once_and_in_order_whatever_worker_it_lives_on() {
    let broker = broker();
    let address = broker.address;
    let mut receivers = Vec::new();
    for qos in [0, 1, 2] {
        for index in 0..4 {
            let mut wire = Wire::join(address, V3, &format!("s{qos}-{index}"));
            wire.subscribe("t/#", qos);
            receivers.push(thread::spawn(move || {
                let seen = receive(&mut wire, PUBLISHERS * MESSAGES as usize);
                assert!(wire.ping().iter().all(|packet| packet.first == 0x62), "nothing comes twice");
                seen
            }));
        }
    }
    // While clients come, take over and go on all workers.
    let is_over = Arc::new(AtomicBool::new(false));
    let churn: Vec<_> = (0..2)
        .map(|index| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                let mut rounds = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let names = (0..4).map(|n| format!("churn{}", (index + n + rounds) % 8));
                    let wires: Vec<Wire> = names.map(|name| Wire::connect(address, V3, &connect(V3, &name, false, 0, &[])).0).collect();
                    rounds += 1;
                    drop(wires);
                }
            })
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|index| thread::spawn(move || publish_all(address, &format!("p{index}"), (index % 3) as u8, MESSAGES, &format!("t/{index}"))))
        .collect();
    publishers.into_iter().for_each(|publisher| publisher.join().expect("published"));
    let expected: Vec<u32> = (0..MESSAGES).collect();
    for receiver in receivers {
        let seen = receiver.join().expect("received");
        assert_eq!(seen.len(), PUBLISHERS);
        seen.iter().for_each(|(name, numbers)| assert_eq!(*numbers, expected, "{name}"));
    }
    is_over.store(true, Ordering::Relaxed);
    churn.into_iter().for_each(|thread| thread.join().expect("no panic"));
    assert!(broker.stat("messages_handed_over") > 0 && broker.stat("connections_handed_over") > 0 && broker.stat("take_overs") > 0);
    broker.is_left_without_a_byte();
}

#[test]
fn of_a_shared_group_over_all_workers_exactly_one_member_gets_each_message() {
    let broker = broker();
    let address = broker.address;
    let total = Arc::new(Mutex::new(Vec::new()));
    let members: Vec<_> = (0..8)
        .map(|index| {
            let mut wire = Wire::join(address, V3, &format!("m{index}"));
            wire.subscribe("$share/g/work/#", 2);
            let total = total.clone();
            thread::spawn(move || {
                while let Some(packet) = wire.read() {
                    if answer(&mut wire, &packet) {
                        total.lock().expect("no panic").push(String::from_utf8_lossy(packet.payload(V3)).into_owned());
                    }
                }
            })
        })
        .collect();
    let publishers: Vec<_> =
        (0..PUBLISHERS).map(|index| thread::spawn(move || publish_all(address, &format!("p{index}"), 1 + (index % 2) as u8, MESSAGES, "work/x"))).collect();
    publishers.into_iter().for_each(|publisher| publisher.join().expect("published"));
    let end = std::time::Instant::now() + crate::wire::PATIENCE;
    let wanted = PUBLISHERS * MESSAGES as usize;
    while total.lock().expect("no panic").len() < wanted && std::time::Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
    }
    for index in 0..8 {
        broker.server.kick(&format!("m{index}"), Reason::ADMINISTRATIVE_ACTION, true).expect("posted");
    }
    members.into_iter().for_each(|member| member.join().expect("no panic"));
    let mut got = total.lock().expect("no panic").clone();
    got.sort();
    got.dedup();
    assert_eq!((got.len(), total.lock().expect("no panic").len()), (wanted, wanted), "each once");
    broker.is_left_without_a_byte();
}

#[test]
fn tiny_inboxes_slow_everybody_down_and_lose_nothing() {
    let broker = Broker::with_workers(
        WORKERS,
        |options| {
            (options.max_inbox_posts, options.max_output_bytes) = (1, 64 << 20);
            (options.max_queued_messages, options.max_queued_bytes) = (0, 0);
        },
        |_| None,
    );
    let address = broker.address;
    // Everybody publishes to everybody: each worker waits for room at each other.
    let peers: Vec<_> = (0..8)
        .map(|index| {
            let mut wire = Wire::join(address, V3, &format!("s{index}"));
            wire.subscribe("all", 1);
            thread::spawn(move || receive(&mut wire, 8 * 100))
        })
        .collect();
    let publishers: Vec<_> = (0..8).map(|index| thread::spawn(move || publish_all(address, &format!("p{index}"), 1, 100, "all"))).collect();
    publishers.into_iter().for_each(|publisher| publisher.join().expect("published"));
    let expected: Vec<u32> = (0..100).collect();
    for peer in peers {
        peer.join().expect("received").iter().for_each(|(name, numbers)| assert_eq!(*numbers, expected, "{name}"));
    }
    broker.is_left_without_a_byte();
}

#[test]
fn a_subscriber_finds_each_state_of_a_topic_retained_or_live_and_none_twice() {
    let broker = broker();
    let address = broker.address;
    let is_over = Arc::new(AtomicBool::new(false));
    let done = is_over.clone();
    let publisher = thread::spawn(move || {
        let mut wire = Wire::join(address, V3, "p");
        let mut number = 0_u32;
        while !done.load(Ordering::Relaxed) {
            number += 1;
            wire.send(&publish(V3, "state", 1, true, 1, &[], number.to_string().as_bytes()));
            wire.expect(0x40, &[0, 1]);
        }
    });
    let rounds = Arc::new(AtomicUsize::new(0));
    let watchers: Vec<_> = (0..4)
        .map(|index| {
            let rounds = rounds.clone();
            thread::spawn(move || {
                for round in 0..50 {
                    let mut wire = Wire::join(address, V3, &format!("w{index}-{round}"));
                    wire.send(&crate::wire::subscribe(V3, 1, "state", 1));
                    let mut numbers = Vec::<u32>::new();
                    while numbers.len() < 12 {
                        let packet = wire.read().expect("a message");
                        if answer(&mut wire, &packet) {
                            let number = String::from_utf8_lossy(packet.payload(V3)).parse().expect("a number");
                            // The retained one may come behind the first ones that are live.
                            numbers.push(number);
                        }
                    }
                    let first = *numbers.iter().min().expect("12 of them");
                    numbers.sort_unstable();
                    assert_eq!(numbers, (first..first + 12).collect::<Vec<u32>>(), "one is missing, or came twice");
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    watchers.into_iter().for_each(|watcher| watcher.join().expect("no gap"));
    is_over.store(true, Ordering::Relaxed);
    publisher.join().expect("no panic");
    assert_eq!(rounds.load(Ordering::Relaxed), 200);
    broker.is_left_without_a_byte();
}

/// Hooks that note which worker was asked about which client.
struct Noting {
    worker: usize,
    seen: Arc<Mutex<BTreeMap<String, Vec<usize>>>>,
}

impl Noting {
    fn note(&self, client: ClientInfo<'_>) {
        self.seen.lock().expect("no panic").entry(client.client_id.to_owned()).or_default().push(self.worker);
    }
}

impl Hooks for Noting {
    fn interest(&self) -> Interest {
        Interest { connect: true, authenticate: true, publish: true, ..Interest::default() }
    }

    fn connect(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, _: HookToken) -> Answer {
        self.note(client);
        Answer::ALLOW
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, _: HookToken) -> Answer {
        self.note(client);
        Answer::ALLOW
    }

    fn publish(&mut self, client: ClientInfo<'_>, _: &PublishInfo<'_>, _: HookToken) -> Answer {
        self.note(client);
        Answer::ALLOW
    }

    fn disconnected(&mut self, client: ClientInfo<'_>, _: Reason) {
        self.note(client);
    }
}

#[test]
fn hooks_of_a_client_are_all_asked_on_its_home() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let noted = seen.clone();
    let broker = Broker::with_workers(WORKERS, |_| {}, |worker| Some(Box::new(Noting { worker, seen: noted.clone() }) as Box<dyn Hooks>));
    for _ in 0..2 {
        for index in 0..96 {
            let mut wire = Wire::join(broker.address, V3, &format!("c{index}"));
            wire.send(&publish(V3, "t", 0, false, 0, &[], b"x"));
            wire.ping();
        }
    }
    broker.wait_for("clients_connected", |count| count == 0);
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 96);
    assert!(seen.values().all(|workers| workers.len() == 8 && workers.iter().all(|worker| *worker == workers[0])), "{seen:?}");
    let mut used: Vec<usize> = seen.values().map(|workers| workers[0]).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), WORKERS, "a worker without any of 96 clients");
}

#[test]
fn the_owner_reaches_clients_on_all_workers() {
    let broker = broker();
    let server = &broker.server;
    let mut wires: Vec<Wire> = (0..16).map(|index| Wire::join(broker.address, V5, &format!("c{index}"))).collect();
    assert_eq!(server.clients().expect("a list").len(), 16);
    wires.iter_mut().for_each(|wire| wire.subscribe("news/#", 0));
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = heard.clone();
    let subscription = server
        .subscribe("up/#", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        })
        .expect("a filter");
    server.publish(&Publication { topic: "news/1", payload: b"all", ..Publication::default() }).expect("a topic");
    for (index, wire) in wires.iter_mut().enumerate() {
        assert_eq!(wire.read().expect("the news").payload(V5), b"all");
        server
            .publish_to(&format!("c{index}"), &Publication { topic: "you", payload: b"one", qos: Qos::AtMostOnce, ..Publication::default() })
            .expect("a topic");
        assert_eq!(wire.read().expect("for it alone").topic(), "you");
        wire.send(&publish(V5, "up/x", 1, false, 1, &[], b"up"));
        assert_eq!(wire.read().expect("PUBACK").first, 0x40);
        let client = server.client(&format!("c{index}")).expect("answered").expect("known");
        assert!(client.connected && client.subscriptions == 1);
        assert_eq!(server.subscriptions(&format!("c{index}")).expect("answered"), Some(vec!["news/#".to_owned()]));
    }
    let end = std::time::Instant::now() + crate::wire::PATIENCE;
    while heard.load(Ordering::SeqCst) < 16 && std::time::Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(heard.load(Ordering::SeqCst), 16);
    server.unsubscribe(subscription);
    control(server, "c3");
    server.kick("c5", Reason::ADMINISTRATIVE_ACTION, true).expect("posted");
    wires[5].expect_disconnect(0x98);
    server.ban(BanKind::ClientId, "c6", None).expect("answered").expect("room");
    wires[6].expect_disconnect(0x8A);
    server.ban(BanKind::Address, "127.0.0.1", None).expect("answered").expect("room");
    assert_eq!(server.bans().expect("a list").len(), 2);
    wires.iter_mut().enumerate().filter(|(index, _)| ![3, 5, 6].contains(index)).for_each(|(_, wire)| wire.expect_disconnect(0x8A));
    assert!(server.unban(BanKind::Address, "127.0.0.1").expect("answered"));
    let again: Vec<Wire> = (7..16).map(|index| Wire::join(broker.address, V5, &format!("c{index}"))).collect();
    assert_eq!(broker.stat("bans"), 1);
    assert_eq!(broker.stat("clients_maximum"), 16);
    server.stop_and_wait(Reason::SERVER_SHUTTING_DOWN, Duration::from_secs(5)).expect("in time");
    again.into_iter().for_each(|mut wire| wire.expect_disconnect(0x8B));
    assert_eq!(broker.runtime.budget().used_bytes(), 0);
}

fn control(server: &Server, client_id: &str) {
    let call = |method: &str, parameters: &str| server.control(method, parameters).expect("answered");
    let list = call("clients", "{\"limit\":10,\"offset\":10}").expect("good");
    assert!(list.contains("\"total\":16") && list.matches("\"client_id\"").count() == 6, "{list}");
    assert!(call("client", &format!("{{\"client_id\":\"{client_id}\"}}")).expect("good").contains("news/#"));
    assert!(call("statistics", "").expect("good").contains("\"clients_connected\":16"));
    assert!(call("kick", &format!("{{\"client_id\":\"{client_id}\"}}")).is_ok());
    assert!(call("kick", "{}").is_err() && call("nothing", "").is_err());
}

#[test]
fn in_dispatch_mode_the_hooks_of_all_workers_run_on_one_thread() {
    let seen = Arc::new(Mutex::new(BTreeMap::new()));
    let options = RuntimeOptions { mode: Mode::Dispatch, workers: WORKERS, ..RuntimeOptions::default() };
    let runtime = Runtime::new(&options).expect("a runtime");
    let noted = seen.clone();
    let make = |worker| Some(Box::new(Noting { worker, seen: noted.clone() }) as Box<dyn Hooks>);
    let server = Server::with_hooks(&runtime, nlmqtt::broker::Options::default(), make).expect("a server");
    let address = server.add_listener(nlmqtt::net::ListenerOptions::at(([127, 0, 0, 1], 0).into())).expect("a listener").socket_address().expect("TCP");
    let clients = thread::spawn(move || {
        for index in 0..16 {
            let mut wire = Wire::join(address, V3, &format!("c{index}"));
            wire.send(&publish(V3, "t", 1, false, 1, &[], b"x"));
            wire.expect(0x40, &[0, 1]);
        }
    });
    while !clients.is_finished() {
        runtime.dispatch(Some(Duration::from_millis(20))).expect("no fault");
    }
    clients.join().expect("no panic");
    server.end();
    assert_eq!(seen.lock().expect("no panic").len(), 16);
    assert_eq!(runtime.budget().used_bytes(), 0);
}

/// Sends on which thread a client heard what.
struct Listening(usize, Sender<(usize, ThreadId, Event)>);

impl ClientHandler for Listening {
    fn event(&mut self, _: nlmqtt::base::Instant, event: Event) {
        // The test may be over.
        let _ = self.1.send((self.0, thread::current().id(), event));
    }
}

#[test]
fn clients_are_dealt_out_among_the_workers_and_each_keeps_to_its_own() {
    let broker = broker();
    let runtime = Runtime::new(&RuntimeOptions { workers: WORKERS, ..RuntimeOptions::default() }).expect("a runtime");
    let (sender, events) = channel();
    let clients: Vec<Client> = (0..2 * WORKERS)
        .map(|index| {
            let options = nlmqtt::client::Options { servers: vec![0], client_id: format!("c{index}"), ..nlmqtt::client::Options::default() };
            let servers = vec![ServerAddress::plain("127.0.0.1", broker.address.port())];
            let parts = ClientParts { options, servers, ..ClientParts::default() };
            Client::new(&runtime, parts, Box::new(Listening(index, sender.clone()))).expect("a client")
        })
        .collect();
    for client in &clients {
        client.start();
        client.subscribe(&[("all", SubscribeOptions::default())], &PropertyList::new(), None, None).expect("posted");
    }
    let mut threads = BTreeMap::<usize, Vec<ThreadId>>::new();
    let (mut subscribed, mut received) = (0, 0);
    while received < clients.len() * clients.len() {
        let (index, thread, event) = events.recv_timeout(crate::wire::PATIENCE).expect("an event");
        threads.entry(index).or_default().push(thread);
        match event {
            Event::Subscribed { .. } => subscribed += 1,
            Event::Message(_) => received += 1,
            _ => continue,
        }
        if subscribed == clients.len() && received == 0 {
            for client in &clients {
                client.publish(Publish { topic: "all", payload: b"x", qos: Qos::AtLeastOnce, ..Publish::default() }, None).expect("room");
            }
        }
    }
    assert!(threads.values().all(|on| on.iter().all(|thread| *thread == on[0])), "a client hears on one thread");
    let used: HashSet<ThreadId> = threads.values().map(|on| on[0]).collect();
    assert_eq!(used.len(), WORKERS);
}

#[test]
fn one_hook_table_does_not_do_for_many_workers_and_loop_mode_has_one() {
    let runtime = Runtime::new(&RuntimeOptions { workers: 2, ..RuntimeOptions::default() }).expect("a runtime");
    let hooks: Box<dyn Hooks> = Box::new(Noting { worker: 0, seen: Arc::default() });
    assert!(Server::new(&runtime, nlmqtt::broker::Options::default(), Some(hooks)).is_err());
    for workers in [0, 2] {
        assert!(Runtime::new(&RuntimeOptions { workers, mode: Mode::Loop, ..RuntimeOptions::default() }).is_err());
    }
    assert!(Runtime::new(&RuntimeOptions { workers: nlmqtt::net::WORKERS_MAX + 1, ..RuntimeOptions::default() }).is_err());
    let all = Runtime::new(&RuntimeOptions { workers: 0, ..RuntimeOptions::default() }).expect("one for each core");
    assert_eq!(all.workers(), thread::available_parallelism().map_or(1, usize::from));
}
