//! Faults that were found by reading; each stays found.

use super::*;

#[test]
fn a_client_that_never_reads_cannot_make_the_output_grow_with_pings() {
    let mut world = World::new(Options { max_output_bytes: 10_000, ..Options::default() });
    let client = world.join(V3, "c");
    world.set_room(client, 0);
    let pings = [0xC0, 0].repeat(1_000);
    let before = world.stats().memory_bytes;
    let taken = (0..1_000).filter(|_| world.send(client, &pings)).count();
    assert!(taken < 300, "{taken} times 1,000 answers for 10,000 bytes of room and half a megabyte that may be owed");
    let charged = world.stats().memory_bytes - before;
    assert!((510_000..1_100_000).contains(&charged), "and what they take is charged, twice as much at most: {charged}");
    world.after_ms(61_000);
    assert!(world.is_closed(client));
    assert_eq!(world.stats().slow_consumers_closed, 1);
    world.end();
}

#[test]
fn a_client_that_writes_all_it_may_before_it_reads_is_not_stuck() {
    let mut world = World::new(Options { max_output_bytes: 1_024, ..Options::default() });
    let client = world.join(V3, "c");
    world.set_room(client, 0);
    for id in 1..=u16::MAX {
        assert!(world.send(client, &publish(V3, "t", 1, false, id, &[], b"")), "PUBLISH {id}");
    }
    world.set_room(client, usize::MAX);
    assert_eq!(world.lines(client).len(), usize::from(u16::MAX));
    world.end();
}

#[test]
fn retained_jobs_neither_pile_up_nor_cost_more_than_they_are() {
    let mut world = World::new(Options { max_subscribe_filters: 100_000, ..Options::default() });
    let publisher = world.join(V3, "p");
    world.publish(publisher, "r/1", 0, true, b"x");
    let client = world.join(V3, "c");
    // Subscribed again and again behind a full socket: one job for each filter.
    world.set_room(client, 0);
    for _ in 0..100 {
        world.send(client, &subscribe(V3, 1, &["r/#"], 0));
    }
    let jobs = world.shard.connections[world.clients[client.0].key].retained.as_ref().map_or(0, |jobs| jobs.len());
    assert!(jobs <= 1, "{jobs} jobs");
    world.set_room(client, usize::MAX);
    world.lines(client);
    // Many filters in one packet, and away again: what looks at all the others for each does not end in the time of a test.
    let filters: Vec<String> = (0..50_000).map(|n| format!("f/{n}")).collect();
    let names: Vec<&str> = filters.iter().map(String::as_str).collect();
    world.send(client, &unsubscribe(V3, 2, &["r/#"]));
    world.set_room(client, 0);
    world.send(client, &subscribe(V3, 3, &names, 0));
    world.send(client, &unsubscribe(V3, 4, &names));
    world.set_room(client, usize::MAX);
    world.send(client, &subscribe(V3, 5, &names, 0));
    assert_eq!(world.stats().subscriptions, 50_000);
    world.end();
}

#[test]
fn a_resend_too_large_for_the_new_connection_does_not_block_the_window() {
    let mut world = World::new(Options { max_inflight_messages: 1, ..Options::default() });
    let receiver = world.join_for_long(V5, "r", false);
    world.subscribe(receiver, "t", 1);
    let publisher = world.join(V5, "p");
    world.publish(publisher, "t", 1, false, &[b'x'; 500]);
    world.publish(publisher, "t", 1, false, b"small");
    world.cut(receiver);
    let receiver = world.dial().expect("room");
    let maximum_packet_size = [0x11, 0, 0, 1, 0, 0x27, 0, 0, 0, 100];
    world.send(receiver, &connect(V5, "r", false, 0, &maximum_packet_size));
    assert_eq!(world.lines(receiver), ["CONNACK 00 sp=1", "PUBLISH t=small q1"]);
    assert_eq!(world.stats().dropped_too_large, 1);
    world.end();
}

#[test]
fn a_message_of_the_owner_obeys_the_output_limit() {
    let mut world = World::new(Options { max_output_bytes: 10_000, ..Options::default() });
    let client = world.join(V3, "c");
    world.set_room(client, 0);
    let message = codec::Message::new(&world.budget, "t", &[b'x'; 1_000], codec::Qos::AtMostOnce, false, codec::Properties::EMPTY, None, 0, world.now);
    (0..100).for_each(|_| {
        assert!(world.shard.publish_to(world.now, "c", &message));
        world.flush();
    });
    drop(message);
    assert!(world.stats().dropped_output_full > 80, "{:?}", world.stats());
    world.end();
}

#[test]
fn an_in_process_subscription_that_is_refused_leaves_nothing_and_short_memory_refuses_none() {
    let mut world = World::new(Options { max_subscriptions: 1, memory_limit: 1 << 20, ..Options::default() });
    let released = Arc::new(());
    let receiver = || {
        let held = released.clone();
        Box::new(move |_: &Arc<codec::Message>| drop(held.clone()))
    };
    let brim = world.budget.charge(1_000_000);
    assert!(world.budget.is_tight());
    let first = world.shard.subscribe_local(world.now, "a", receiver());
    assert!(first.is_ok(), "the owner's own");
    assert_eq!(world.shard.subscribe_local(world.now, "b", receiver()), Err(codec::Reason::QUOTA_EXCEEDED));
    assert_eq!(Arc::strong_count(&released), 2, "the callback of the refused one is gone");
    drop(brim);
    world.end();
}

#[test]
fn timers_of_ended_sessions_and_connections_do_not_pile_up() {
    let mut world = World::new(Options::default());
    // Sessions that could live for a hundred years, each ended by the next one of the same client.
    for _ in 0..200 {
        for _ in 0..10 {
            let client = world.dial().expect("room");
            world.send(client, &connect(V5, "again", true, 65_535, &[0x11, 0xC0, 0, 0, 0]));
            world.cut(client);
        }
        world.after_ms(10_000);
    }
    assert!(world.shard.wheel.len() < 400, "{} timers", world.shard.wheel.len());
    // And a timer that is looked at early is not due for that.
    let client = world.dial().expect("room");
    world.send(client, &connect(V5, "patient", true, 1_000, &[0x11, 0, 0, 3, 0xE8]));
    world.after_ms(1_499_000);
    assert!(!world.is_closed(client));
    world.after_ms(2_000);
    assert!(world.is_closed(client), "1.5 times 1,000 s");
    world.after_ms(998_000);
    assert_eq!(world.stats().sessions_expired, 0);
    world.after_ms(2_000);
    assert_eq!(world.stats().sessions_expired, 1, "1,000 s later");
    world.end();
}

#[test]
fn a_packet_in_single_bytes_is_one_packet() {
    let mut world = World::new(Options::default());
    let client = world.join(V3, "c");
    world.subscribe(client, "t", 0);
    for byte in publish(V3, "t", 1, false, 9, &[], &[b'x'; 300]) {
        world.send(client, &[byte]);
    }
    assert_eq!(world.lines(client), ["PUBLISH t=300 bytes q0", "PUBACK 9 00"]);
    let idle = world.stats().memory_bytes;
    world.send(client, &[0xC0, 0]);
    assert_eq!(world.stats().memory_bytes, idle, "nothing is left of it");
    world.end();
}

#[test]
fn a_retained_message_counts_down_its_expiry_and_ends() {
    let mut world = World::new(Options::default());
    let publisher = world.join(V5, "p");
    world.send(publisher, &publish(V5, "t", 1, true, 1, &[2, 0, 0, 0, 10], b"x"));
    world.after_ms(4_000);
    let early = world.join(V5, "early");
    world.subscribe(early, "t", 1);
    assert_eq!(world.lines(early), ["PUBLISH t=x q1 retain expiry=6"]);
    world.after_ms(6_100);
    let late = world.join(V5, "late");
    world.subscribe(late, "#", 1);
    assert_eq!(world.lines(late), [""; 0]);
    world.after_ms(20_000);
    assert_eq!(world.stats().retained_messages, 0, "swept");
    world.end();
}

#[test]
fn no_local_goes_by_the_client_id_whatever_became_of_the_session() {
    const NO_LOCAL: u8 = 0x04;
    let mut world = World::new(Options::default());
    let before = world.join(V5, "same");
    world.publish(before, "t", 0, true, b"own");
    world.cut(before);
    let other = world.join(V5, "other");
    world.publish(other, "u", 0, true, b"foreign");
    let again = world.join(V5, "same");
    world.subscribe(again, "#", NO_LOCAL);
    assert_eq!(world.lines(again), ["PUBLISH u=foreign q0 retain"], "not what this client id published itself (MQTT-3.8.3-3)");
    world.end();
}

#[test]
fn a_filter_subscribed_again_gets_the_rest_of_its_retained_messages_by_the_new_options() {
    const DO_NOT_SEND: u8 = 0x20;
    let mut world = World::new(Options { max_output_bytes: 100, ..Options::default() });
    let publisher = world.join(V5, "p");
    for n in 0..200 {
        world.publish(publisher, &format!("t/{n}"), 1, true, &[b'x'; 100]);
    }
    world.lines(publisher);
    let receiver = world.join(V5, "r");
    world.set_room(receiver, 0);
    world.send(receiver, &subscribe(V5, 1, &["t/#"], 0));
    world.send(receiver, &subscribe(V5, 2, &["t/#"], 1 | DO_NOT_SEND));
    world.set_room(receiver, usize::MAX);
    let mut all = Vec::new();
    loop {
        let lines = world.lines(receiver);
        if lines.is_empty() {
            break;
        }
        all.extend(lines);
    }
    let count = |quality: &str| all.iter().filter(|line| line.starts_with("PUBLISH") && line.contains(quality)).count();
    assert!(count(" q1") > 0, "{all:?}");
    assert!(count(" q0") < 80, "only what was on its way");
    world.end();
}
