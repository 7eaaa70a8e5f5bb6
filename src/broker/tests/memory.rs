//! The budget: who is charged, who is slowed down, and that nobody is locked out for ever.

use super::*;

/// A memory limit of 1 MiB: 7/8 of it, 896 KiB, is where nothing grows any more.
fn small() -> Options {
    Options { memory_limit: 1 << 20, ..Options::default() }
}

/// The first half of a PUBLISH of 200,000 bytes.
fn half_packet() -> Vec<u8> {
    let mut bytes = publish(V5, "t", 0, false, 0, &[], &[b'x'; 200_000]);
    bytes.truncate(100_000);
    bytes
}

#[test]
fn half_packets_are_charged_when_they_come_and_closed_when_memory_stays_short() {
    const CLIENTS: usize = 10_000;
    const LIMIT: u64 = 64 << 20;
    let mut world = World::new(Options { max_connections: CLIENTS + 1, memory_limit: LIMIT as usize, ..Options::default() });
    let clients: Vec<Peer> = (0..CLIENTS).map(|n| world.join(V5, &format!("c{n}"))).collect();
    let before = world.stats().memory_bytes;
    let mut half = publish(V5, "t", 0, false, 0, &[], &vec![b'x'; 1_990_000]);
    half.truncate(1_000_000);
    assert!(world.send(clients[0], &half));
    assert!(world.stats().memory_bytes >= before + 1_000_000, "charged before it is whole");
    let taken = 1 + clients[1..].iter().filter(|client| world.send(**client, &half)).count();
    assert!((40..70).contains(&taken), "{taken} halves of 1 MB in 64 MiB");
    assert!(world.stats().memory_bytes < LIMIT + 2_000_000, "one more at most");
    assert_eq!(world.stats().budget_pauses as usize, CLIENTS - taken, "each pause is counted once");
    let last = clients[CLIENTS - 1];
    assert!(!world.send(last, b"x") && world.stats().budget_pauses as usize == CLIENTS - taken);
    let late = world.dial().expect("accepted");
    world.send(late, &connect(V5, "late", true, 0, &[]));
    assert_eq!(world.lines(late), ["CONNACK 89 sp=0"]);
    assert_eq!(world.stats().connects_refused_busy, 1);
    // Whoever keeps a half has ten seconds, also if no more comes from it.
    world.after_ms(9_900);
    assert_eq!(world.stats().unfinished_packets_closed, 0);
    world.after_ms(200);
    let closed = world.stats().unfinished_packets_closed as usize;
    assert!((1..=taken).contains(&closed), "{closed} of {taken}");
    assert_eq!(world.lines(clients[0]), ["DISCONNECT 97"]);
    assert!(world.is_closed(clients[0]) && !world.is_closed(last));
    // There is memory again for those who only waited.
    assert!(world.send(last, &[0xC0, 0]));
    assert_eq!(world.lines(last), ["PINGRESP"]);
    world.end();
}

#[test]
fn half_a_connect_is_closed_when_memory_is_short() {
    let mut world = World::new(small());
    let mut peers = Vec::new();
    let head = {
        let mut bytes = packet(0x10, &[0; 200_000]);
        bytes.truncate(100_000);
        bytes
    };
    for _ in 0..50 {
        let peer = world.dial().expect("accepted");
        world.send(peer, &head);
        peers.push(peer);
    }
    let closed = peers.iter().filter(|peer| world.is_closed(**peer)).count();
    assert!(closed >= 38, "{closed} closed");
    assert_eq!(world.stats().connects_refused_busy as usize, closed);
    assert_eq!(world.stats().protocol_errors, 0);
    assert!(world.stats().memory_bytes < (1 << 20) + 300_000);
    world.after_ms(15_100);
    assert!(peers.iter().all(|peer| world.is_closed(*peer)), "no CONNECT in time");
    world.end();
}

#[test]
fn keep_alive_rests_while_the_server_does_not_read() {
    let mut world = World::new(small());
    let quiet = world.dial().expect("accepted");
    world.send(quiet, &connect(V5, "quiet", true, 1, &[]));
    let fat: Vec<Peer> = (0..12).map(|n| world.join(V5, &format!("c{n}"))).collect();
    for client in fat {
        world.send(client, &half_packet());
    }
    assert!(!world.send(quiet, &[0xC0, 0]), "not read");
    world.after_ms(5_000);
    assert!(!world.is_closed(quiet), "it may well have sent PINGREQ");
    world.after_ms(6_000);
    assert!(world.send(quiet, &[0xC0, 0]), "the halves are gone");
    world.after_ms(1_400);
    assert!(!world.is_closed(quiet));
    world.after_ms(200);
    assert!(world.is_closed(quiet), "now its silence is its own");
    assert_eq!(world.stats().keep_alive_timeouts, 1);
    world.end();
}

#[test]
fn queues_alone_never_exhaust_the_memory_and_their_owners_may_come_back() {
    let mut world = World::new(Options { max_queued_bytes: 0, max_queued_messages: 0, ..small() });
    let owner = world.join_for_long(V5, "owner", false);
    world.subscribe(owner, "t", 1);
    world.cut(owner);
    let publisher = world.join(V5, "publisher");
    for _ in 0..200 {
        assert!(world.publish(publisher, "t", 1, false, &[b'x'; 10_000]), "never paused");
    }
    let stats = world.stats();
    assert!(stats.dropped_memory > 100 && stats.budget_pauses == 0, "{stats:?}");
    assert!(world.stats().memory_bytes > 800_000 && !world.budget.is_exhausted(), "up to the soft mark");
    let brim = world.budget.charge(20_000);
    assert!(world.budget.is_tight() && !world.budget.is_exhausted());
    let stranger = world.dial().expect("accepted");
    world.send(stranger, &connect(V5, "stranger", true, 0, &[]));
    assert_eq!(world.lines(stranger), ["CONNACK 89 sp=0"], "no new session");
    world.send(publisher, &publish(V5, "r", 1, true, 8, &[], b"x"));
    world.send(publisher, &subscribe(V5, 9, &["x"], 0));
    let answers = world.lines(publisher);
    assert_eq!(answers[answers.len() - 2..], ["PUBACK 8 97", "SUBACK 9 97"], "nothing that stays");
    drop(brim);
    let owner = world.join_for_long(V5, "owner", true);
    let mut received = 0;
    loop {
        let count = world.lines(owner).len();
        if count == 0 {
            break;
        }
        received += count;
        for id in 1..=received as u16 {
            world.send(owner, &puback(id));
        }
    }
    assert_eq!(received as u64 + world.stats().dropped_memory, 200);
    assert!(!world.budget.is_tight(), "room was made");
    world.end();
}

#[test]
fn whatever_a_session_keeps_is_charged() {
    let mut world = World::new(Options { memory_limit: 1 << 30, ..Options::default() });
    let client = world.join_for_long(V5, "c", false);
    let before = world.stats().memory_bytes;
    let filters: Vec<String> = (0..1_000).map(|n| format!("a/{n}/+")).collect();
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
    world.send(client, &subscribe(V5, 1, &names, 1));
    let subscribed = world.stats().memory_bytes;
    assert!(subscribed > before + 1_000 * 150);
    let publisher = world.join(V5, "p");
    let alias = [0x23, 0, 1];
    let joined = world.stats().memory_bytes;
    world.send(publisher, &publish(V5, &"x".repeat(5_000), 0, false, 0, &alias, b""));
    assert!(world.stats().memory_bytes >= joined + 5_000, "the topic behind an alias");
    world.cut(client);
    let away = world.stats().memory_bytes;
    for n in 0..1_000 {
        world.send(publisher, &publish(V5, "a/1/x", 1, false, 1 + n, &[], b""));
    }
    let queued = world.stats().memory_bytes - away;
    assert!(queued > 1_000 * 10 * size_of::<usize>() as u64, "messages and their places in the queue: {queued}");
    let client = world.join_for_long(V5, "c", true);
    world.send(client, &unsubscribe(V5, 1, &names));
    world.end();

    // A user name, open QoS 2 exchanges, a wide window.
    let mut world = World::new(Options { max_inflight_messages: 0, ..Options::default() });
    let named = world.dial().expect("room");
    let before = world.stats().memory_bytes;
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, 0x82, 0, 0, 0, 1, b'n', 0x10, 0];
    body.extend([b'u'; 0x1000]);
    world.send(named, &packet(0x10, &body));
    assert_eq!(world.lines(named), ["CONNACK 00 sp=0"]);
    assert!(world.stats().memory_bytes >= before + 0x1000, "the user name");
    let before = world.stats().memory_bytes;
    for id in 1..=100 {
        world.send(named, &publish(V3, "t", 2, false, id, &[], b""));
    }
    assert!(world.stats().memory_bytes >= before + 8_192, "a hundred identifiers");
    world.lines(named);
    world.subscribe(named, "own", 1);
    let before = world.stats().memory_bytes;
    for id in 0..1_000 {
        world.send(named, &publish(V3, "own", 1, false, 1_000 + id, &[], b""));
    }
    assert!(world.stats().memory_bytes >= before + 1_000 * 10 * size_of::<usize>() as u64, "a thousand in flight");
    for id in 1..=1_000 {
        world.send(named, &puback(id));
    }
    assert!(world.stats().memory_bytes < before + 1_000, "and they are through");
    world.end();
}

#[test]
fn what_is_to_come_of_retained_messages_is_charged() {
    let mut world = World::new(Options::default());
    let client = world.join(V5, "c");
    let topics: Vec<String> = (0..1_000).map(|n| format!("{n}/{}", "x".repeat(1_000))).collect();
    topics.iter().for_each(|topic| _ = world.publish(client, topic, 0, true, b"x"));
    let subscribed = |world: &mut World, retain_handling: u8| {
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        for names in names.chunks(60) {
            world.send(client, &subscribe(V5, 1, names, retain_handling << 4));
        }
        world.stats().memory_bytes
    };
    // They wait behind a full socket.
    let without = subscribed(&mut world, 2);
    world.set_room(client, 0);
    let with = subscribed(&mut world, 0);
    assert!(with > without + 900_000, "{without}, {with}: most of a thousand filters of a thousand bytes");
    world.set_room(client, usize::MAX);
    assert!(world.stats().memory_bytes < without + 100_000, "and all are done");
    world.end();
}

/// Tells its token; the test answers.
struct Asks(std::sync::mpsc::Sender<HookToken>);

impl Hooks for Asks {
    fn interest(&self) -> Interest {
        Interest { publish: true, ..Interest::default() }
    }

    fn publish(&mut self, _client: ClientInfo<'_>, _publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        self.0.send(token).expect("the test listens");
        Answer::Pending
    }
}

#[test]
fn a_parked_packet_is_charged_until_its_answer_comes() {
    let (sender, tokens) = std::sync::mpsc::channel();
    let mut world = World::with_hooks(Options::default(), Some(Box::new(Asks(sender))));
    let client = world.join(V5, "c");
    let publish = |world: &mut World, payload: &[u8]| {
        world.publish(client, "t", 0, false, payload);
        let waiting = world.stats().memory_bytes;
        let token = tokens.try_recv().expect("asked");
        assert!(world.shard.complete(world.now, token, Decision::Allow));
        world.flush();
        waiting
    };
    // Those make the table of matches and a place in it.
    publish(&mut world, b"");
    publish(&mut world, b"");
    let before = world.stats().memory_bytes;
    assert!(publish(&mut world, &[b'x'; 100_000]) >= before + 100_000);
    assert_eq!(world.stats().memory_bytes, before, "nothing was sent, and nothing is kept");
    world.end();
}

#[test]
fn a_hundred_thousand_retained_messages_reach_one_subscriber_without_a_heap_of_them() {
    const TOPICS: usize = 100_000;
    let mut world = World::new(Options::default());
    let publisher = world.join(V3, "p");
    for n in 0..TOPICS {
        world.publish(publisher, &format!("r/{}/{}", n % 100, n / 100), 1, true, b"x");
    }
    assert_eq!(world.lines(publisher).len(), TOPICS);
    let subscriber = world.join(V3, "s");
    let before = world.stats().memory_bytes;
    world.subscribe(subscriber, "#", 1);
    let mut seen = std::collections::BTreeSet::new();
    loop {
        let wire = core::mem::take(&mut world.clients[subscriber.0].wire);
        let (mut rest, mut answers) = (wire.as_slice(), Vec::new());
        while let Some((frame, length)) = codec::split(rest, usize::MAX).expect("legal") {
            let Ok(Packet::Publish(publish)) = codec::decode(Version::V311, codec::Sender::Server, frame) else { panic!("not a PUBLISH") };
            assert!(publish.retain && seen.insert(publish.topic.to_owned()), "{} again", publish.topic);
            answers.extend(puback(publish.packet_id.expect("QoS 1").get()));
            rest = &rest[length..];
        }
        if answers.is_empty() {
            break;
        }
        assert!(world.stats().memory_bytes < before + 100_000, "64 at a time wait");
        world.send(subscriber, &answers);
    }
    assert_eq!(seen.len(), TOPICS);
    world.end();
}

#[test]
fn a_connect_in_two_pieces_gets_its_answer_when_memory_is_gone() {
    let mut world = World::new(Options { memory_limit: 100_000, ..Options::default() });
    let others = world.budget.charge(200_000);
    let client = world.dial().expect("room");
    let packet = connect(V5, "c", true, 0, &[]);
    world.send(client, &packet[..2]);
    world.send(client, &packet[2..]);
    assert_eq!(world.lines(client), ["CONNACK 89 sp=0"]);
    drop(others);
    world.end();
}
