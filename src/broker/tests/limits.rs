//! Every limit of a server is reached once, and counted. tests/limits.tsv names these tests.

use super::*;
use crate::codec::{Qos, Reason};

fn with(change: impl FnOnce(&mut Options)) -> World {
    let mut options = Options::default();
    change(&mut options);
    World::new(options)
}

#[test]
fn max_connections_turns_away_one_more() {
    let mut world = with(|options| options.max_connections = 2);
    let first = world.dial().expect("room");
    world.dial().expect("room");
    assert!(world.dial().is_none());
    assert_eq!(world.stats().connections_over_limit, 1);
    world.cut(first);
    assert!(world.dial().is_some(), "room again");
    world.end();
}

#[test]
fn max_packet_size_is_looked_at_before_anything_is_kept() {
    let mut world = with(|options| options.max_packet_size = 1_000);
    let client = world.join(V5, "c");
    let before = world.stats().memory_bytes;
    world.send(client, &[0x30, 0xE9, 0x07]);
    assert_eq!(world.lines(client), ["DISCONNECT 95"]);
    assert_eq!(world.stats().packets_too_large, 1);
    assert!(world.stats().memory_bytes <= before);
    world.end();
}

#[test]
fn max_inflight_messages_makes_messages_wait() {
    let mut world = with(|options| options.max_inflight_messages = 2);
    let (receiver, publisher) = (world.join(V5, "r"), world.join(V5, "p"));
    world.subscribe(receiver, "t", 1);
    for payload in [b"1", b"2", b"3"] {
        world.publish(publisher, "t", 1, false, payload);
    }
    assert_eq!(world.lines(receiver), ["PUBLISH t=1 q1", "PUBLISH t=2 q1"]);
    assert_eq!(world.stats().messages_queued, 1);
    world.send(receiver, &puback(2));
    assert_eq!(world.lines(receiver), ["PUBLISH t=3 q1"]);
    world.end();
}

#[test]
fn receive_maximum_exceeded_ends_the_connection() {
    let mut world = with(|options| options.receive_maximum = 2);
    let client = world.join(V5, "c");
    for id in 1..=3 {
        world.send(client, &publish(V5, "t", 2, false, id, &[], b"x"));
    }
    assert_eq!(world.lines(client), ["PUBREC 1 10", "PUBREC 2 10", "DISCONNECT 93"]);
    assert_eq!(world.stats().protocol_errors, 1);
    world.end();
}

#[test]
fn max_queued_messages_drops_the_newest_or_the_oldest() {
    for (drop_oldest, expected) in [(false, ["1", "2"]), (true, ["3", "4"])] {
        let mut world = with(|options| {
            options.max_queued_messages = 2;
            options.queue_drop_oldest = drop_oldest;
        });
        let receiver = world.join_for_long(V3, "r", false);
        world.subscribe(receiver, "t", 1);
        world.cut(receiver);
        let publisher = world.join(V3, "p");
        for payload in [b"1", b"2", b"3", b"4"] {
            world.publish(publisher, "t", 1, false, payload);
        }
        assert_eq!(world.stats().dropped_queue_full, 2);
        let receiver = world.join_for_long(V3, "r", true);
        assert_eq!(world.lines(receiver), expected.map(|payload| format!("PUBLISH t={payload} q1")));
        world.end();
    }
}

#[test]
fn max_queued_bytes_holds_when_many_small_messages_make_room_for_large_ones() {
    let mut world = with(|options| {
        options.max_queued_bytes = 100_000;
        options.max_queued_messages = 100;
        options.queue_drop_oldest = true;
    });
    let receiver = world.join_for_long(V3, "r", false);
    world.subscribe(receiver, "t", 1);
    world.cut(receiver);
    let publisher = world.join(V3, "p");
    for size in core::iter::repeat_n(10, 100).chain(core::iter::repeat_n(90_000, 100)) {
        world.publish(publisher, "t", 1, false, &vec![b'x'; size]);
    }
    let queued = world.shard.clients().find(|client| client.client_id == "r").expect("a session").queued_bytes;
    assert!(queued < 100_000 + 91_000, "{queued} bytes wait");
    assert_eq!(world.stats().dropped_queue_full, 198);
    world.end();
}

#[test]
fn max_keepalive_is_told_and_enforced() {
    let mut world = with(|options| options.max_keepalive_s = 10);
    let client = world.dial().expect("room");
    world.send(client, &connect(V5, "c", true, 600, &[]));
    assert_eq!(world.lines(client), ["CONNACK 00 sp=0"]);
    assert_eq!(world.stats().keep_alives_shortened, 1);
    world.after_ms(14_900);
    assert!(!world.is_closed(client));
    world.after_ms(200);
    assert_eq!(world.lines(client), ["DISCONNECT 8d"]);
    assert_eq!(world.stats().keep_alive_timeouts, 1);
    world.end();
}

#[test]
fn max_topic_alias_exceeded_ends_the_connection() {
    let mut world = with(|options| options.max_topic_alias = 3);
    let client = world.join(V5, "c");
    world.send(client, &publish(V5, "t", 0, false, 0, &[0x23, 0, 3], b"x"));
    assert_eq!(world.lines(client), [""; 0]);
    world.send(client, &publish(V5, "t", 0, false, 0, &[0x23, 0, 4], b"x"));
    assert_eq!(world.lines(client), ["DISCONNECT 94"]);
    assert_eq!(world.stats().protocol_errors, 1);
    world.end();
}

#[test]
fn max_topic_alias_broker_is_never_passed() {
    let mut world = with(|options| options.max_topic_alias_broker = 2);
    let receiver = world.dial().expect("room");
    world.send(receiver, &connect(V5, "r", true, 0, &[0x22, 0, 100]));
    world.lines(receiver);
    world.subscribe(receiver, "#", 0);
    let publisher = world.join(V5, "p");
    let mut aliases = std::collections::BTreeSet::new();
    for n in 0..10 {
        world.publish(publisher, &format!("t/{n}"), 0, false, b"x");
        let wire = core::mem::take(&mut world.clients[receiver.0].wire);
        let (frame, _) = codec::split(&wire, usize::MAX).expect("legal").expect("whole");
        let Ok(Packet::Publish(publish)) = codec::decode(Version::V5, codec::Sender::Server, frame) else { panic!("no PUBLISH") };
        aliases.insert(publish.properties.u16(PropertyId::TopicAlias));
    }
    assert_eq!(aliases.into_iter().collect::<Vec<_>>(), [Some(1), Some(2)]);
    world.end();
}

#[test]
fn maximum_qos_is_lowered_in_subscribe_and_refused_in_publish() {
    let mut world = with(|options| options.maximum_qos = Qos::AtLeastOnce);
    let client = world.join(V5, "c");
    world.send(client, &subscribe(V5, 1, &["t"], 2));
    assert_eq!(world.lines(client), ["SUBACK 1 01"]);
    world.publish(client, "t", 2, false, b"x");
    assert_eq!(world.lines(client), ["DISCONNECT 9b"]);
    assert_eq!(world.stats().protocol_errors, 1);
    world.end();
}

#[test]
fn max_retained_messages_refuses_a_new_topic_and_takes_an_update() {
    let mut world = with(|options| options.max_retained_messages = 1);
    let client = world.join(V5, "c");
    for topic in ["a", "b", "a"] {
        world.publish(client, topic, 1, true, b"x");
    }
    assert_eq!(world.lines(client), ["PUBACK 7 10", "PUBACK 7 97", "PUBACK 7 10"]);
    assert_eq!((world.stats().retained_refused, world.stats().retained_messages), (1, 1));
    world.end();
}

#[test]
fn max_retained_bytes_holds_against_updates_that_grow() {
    let mut world = with(|options| options.max_retained_bytes = 10_000);
    let client = world.join(V5, "c");
    for topic in 0..8 {
        world.publish(client, &format!("{topic}"), 1, true, b"x");
    }
    for topic in 0..8 {
        world.publish(client, &format!("{topic}"), 1, true, &[b'x'; 5_000]);
    }
    let refused = world.lines(client).iter().filter(|line| *line == "PUBACK 7 97").count();
    assert_eq!((refused, world.stats().retained_refused), (7, 7), "one of them has room");
    assert!(world.shard.router.read().expect("router lock").retained().bytes() <= 10_000);
    world.publish(client, "0", 1, true, b"");
    world.publish(client, "1", 1, true, &[b'x'; 5_000]);
    assert_eq!(world.lines(client), ["PUBACK 7 10", "PUBACK 7 10"], "cleared, so there is room");
    world.end();
}

#[test]
fn max_subscriptions_per_client_refuses_one_more_and_takes_a_known_one() {
    let mut world = with(|options| options.max_subscriptions_per_client = 2);
    let client = world.join(V5, "c");
    world.send(client, &subscribe(V5, 1, &["a", "b", "c", "a"], 1));
    assert_eq!(world.lines(client), ["SUBACK 1 01 01 97 01"]);
    assert_eq!((world.stats().subscriptions_refused, world.stats().subscriptions), (1, 2));
    world.end();
}

#[test]
fn max_subscriptions_and_max_filters_hold_for_all_clients_together() {
    for (max_subscriptions, max_filters) in [(2, 100), (100, 2)] {
        let mut world = with(|options| {
            options.max_subscriptions = max_subscriptions;
            options.max_filters = max_filters;
        });
        let (first, second) = (world.join(V5, "a"), world.join(V5, "b"));
        world.subscribe(first, "a", 0);
        world.subscribe(second, "b/#", 0);
        world.send(second, &subscribe(V5, 2, &["c", "b/#"], 1));
        assert_eq!(world.lines(second), ["SUBACK 2 97 01"], "no new one; a known one changes");
        assert_eq!((world.stats().subscriptions, world.stats().subscriptions_refused), (2, 1));
        world.publish(first, "c", 1, false, b"x");
        assert_eq!(world.lines(first), ["PUBACK 7 10"], "nobody has it");
        world.send(first, &unsubscribe(V5, 3, &["a"]));
        world.send(second, &subscribe(V5, 4, &["c"], 0));
        assert_eq!(world.lines(second), ["SUBACK 4 00"], "room again");
        world.end();
    }
}

#[test]
fn max_topic_levels_refuses_topics_and_filters() {
    let mut world = with(|options| options.max_topic_levels = 3);
    let client = world.join(V5, "c");
    world.send(client, &subscribe(V5, 1, &["a/b/c", "a/b/c/#"], 0));
    assert_eq!(world.lines(client), ["SUBACK 1 00 8f"]);
    world.publish(client, "a/b/c/d", 1, false, b"x");
    assert_eq!(world.lines(client), ["PUBACK 7 90"]);
    assert_eq!((world.stats().subscriptions_refused, world.stats().publish_refused), (1, 1));
    world.end();
}

#[test]
fn persistent_client_expiration_ends_sessions() {
    let mut world = with(|options| options.persistent_client_expiration_s = 10);
    for (level, client_id) in [(V3, "three"), (V5, "five")] {
        let client = world.join_for_long(level, client_id, false);
        world.cut(client);
    }
    world.after_ms(9_000);
    assert_eq!((world.stats().sessions_offline, world.stats().sessions_expired), (2, 0));
    world.after_ms(2_000);
    assert_eq!((world.stats().sessions_offline, world.stats().sessions_expired), (0, 2));
    world.end();
}

#[test]
fn max_output_bytes_drops_qos_0_and_stops_reading_who_does_not_read() {
    let mut world = with(|options| options.max_output_bytes = 10_000);
    let (receiver, publisher) = (world.join(V3, "r"), world.join(V3, "p"));
    world.subscribe(receiver, "t", 0);
    world.set_room(receiver, 0);
    for _ in 0..100 {
        world.publish(publisher, "t", 0, false, &[b'x'; 1_000]);
    }
    assert!(world.stats().dropped_output_full > 80, "{:?}", world.stats());
    assert!(world.send(receiver, &[0xC0, 0].repeat(300_000)), "what it is owed for packets may wait");
    assert!(!world.send(receiver, &[0xC0, 0]), "nothing more is taken from it");
    assert_eq!(world.stats().output_pauses, 1);
    world.set_room(receiver, usize::MAX);
    assert!(world.send(receiver, &[0xC0, 0]));
    assert_eq!(world.lines(receiver).pop().as_deref(), Some("PINGRESP"));
    world.end();
}

#[test]
fn slow_consumer_grace_ms_closes_who_does_not_read() {
    let mut world = with(|options| {
        options.max_output_bytes = 10_000;
        options.slow_consumer_grace = Duration::from_secs(5);
    });
    let (receiver, publisher) = (world.join(V3, "r"), world.join(V3, "p"));
    world.subscribe(receiver, "t", 0);
    // The socket fills up before the mark is reached: the mark is noticed all the same.
    world.set_room(receiver, 100);
    for _ in 0..100 {
        world.publish(publisher, "t", 0, false, &[b'x'; 1_000]);
    }
    world.after_ms(4_900);
    assert_eq!(world.stats().slow_consumers_closed, 0);
    world.after_ms(200);
    assert_eq!(world.stats().slow_consumers_closed, 1);
    assert!(world.is_closed(receiver));
    world.end();
}

#[test]
fn connect_timeout_ms_closes_who_says_nothing() {
    let mut world = with(|options| options.connect_timeout = Duration::from_secs(3));
    let silent = world.dial().expect("room");
    let half = world.dial().expect("room");
    world.send(half, &connect(V5, "x", true, 0, &[])[..5]);
    world.after_ms(2_900);
    assert_eq!(world.stats().connect_timeouts, 0);
    world.after_ms(200);
    assert_eq!(world.stats().connect_timeouts, 2);
    assert!(world.is_closed(silent) && world.is_closed(half));
    world.end();
}

struct NeverAnswers;

impl Hooks for NeverAnswers {
    fn interest(&self) -> Interest {
        Interest { publish: true, ..Interest::default() }
    }

    fn publish(&mut self, _client: ClientInfo<'_>, _publish: &PublishInfo<'_>, _token: HookToken) -> Answer {
        Answer::Pending
    }
}

#[test]
fn hook_timeout_ms_refuses_what_waits() {
    let options = Options { hook_timeout: Duration::from_secs(2), ..Options::default() };
    let mut world = World::with_hooks(options, Some(Box::new(NeverAnswers)));
    let client = world.join(V5, "c");
    let mut two = publish(V5, "t", 1, false, 1, &[], b"x");
    two.extend_from_slice(&publish(V5, "t", 1, false, 2, &[], b"y"));
    world.send(client, &two);
    world.after_ms(2_100);
    assert_eq!(world.lines(client), [format!("PUBACK 1 {:02x}", Reason::IMPLEMENTATION_SPECIFIC_ERROR.0)]);
    world.after_ms(2_100);
    assert_eq!(world.lines(client), ["PUBACK 2 83"], "the next one was asked about, too");
    assert_eq!(world.stats().hook_timeouts, 2);
    world.end();
}

#[test]
fn max_subscribe_filters_refuses_further_ones_and_ends_an_unsubscribe() {
    let mut world = with(|options| options.max_subscribe_filters = 2);
    let client = world.join(V5, "c");
    let filters = |first: u8, has_options: bool| {
        let mut body = vec![0, 9, 0];
        for filter in [b'a', b'b', b'c', b'd'] {
            body.extend([0, 1, filter]);
            body.extend(has_options.then_some(0));
        }
        [&[first, body.len() as u8][..], &body].concat()
    };
    world.send(client, &filters(0x82, true));
    assert_eq!(world.lines(client), ["SUBACK 9 00 00 97 97"]);
    assert_eq!((world.stats().subscriptions, world.stats().subscriptions_refused), (2, 2));
    world.send(client, &filters(0xA2, false));
    assert_eq!(world.lines(client), ["DISCONNECT 97"]);
    assert_eq!(world.stats().protocol_errors, 1);
    world.end();
}
