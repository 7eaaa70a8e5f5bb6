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
    let mut world = World::new(Options { max_connections: 10_000, ..small() });
    let clients: Vec<Peer> = (0..50).map(|n| world.join(V5, &format!("c{n}"))).collect();
    let before = world.stats().memory_bytes;
    let half = half_packet();
    assert!(world.send(clients[0], &half));
    assert!(world.stats().memory_bytes >= before + 100_000, "charged before it is whole");
    let taken = clients[1..].iter().filter(|client| world.send(**client, &half)).count();
    assert!(taken < 12, "{taken} halves of 100 kB in 1 MiB");
    assert!(world.stats().memory_bytes < (1 << 20) + 300_000, "one more at most");
    assert_eq!(world.stats().budget_pauses as usize, 49 - taken, "each pause is counted once");
    assert!(!world.send(clients[49], b"x") && world.stats().budget_pauses as usize == 49 - taken);
    let late = world.dial().expect("accepted");
    world.send(late, &connect(V5, "late", true, 0, &[]));
    assert_eq!(world.lines(late), ["CONNACK 89 sp=0"]);
    assert_eq!(world.stats().connects_refused_busy, 1);
    // Whoever keeps a half has ten seconds, also if no more comes from it.
    world.after_ms(9_900);
    assert_eq!(world.stats().unfinished_packets_closed, 0);
    world.after_ms(200);
    assert_eq!(world.stats().unfinished_packets_closed as usize, taken + 1);
    assert_eq!(world.lines(clients[0]), ["DISCONNECT 97"]);
    assert!(world.is_closed(clients[0]) && !world.is_closed(clients[49]));
    // There is memory again for those who only waited.
    assert!(world.send(clients[49], &[0xC0, 0]));
    assert_eq!(world.lines(clients[49]), ["PINGRESP"]);
    world.end();
}

#[test]
fn half_a_connect_is_closed_when_memory_is_short() {
    let mut world = World::new(small());
    let mut peers = Vec::new();
    let head = { let mut bytes = packet(0x10, &[0; 200_000]); bytes.truncate(100_000); bytes };
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
    assert!(subscribed > before + 1_000 * 256);
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
    assert!(queued > 1_000 * 150, "messages and their places in the queue: {queued}");
    let client = world.join_for_long(V5, "c", true);
    world.send(client, &unsubscribe(V5, 1, &names));
    world.end();
}
