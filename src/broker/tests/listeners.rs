//! Rules of listeners: each is reached, and counted. tests/limits.tsv names these tests.

use super::*;
use crate::codec::{Qos, Reason};

fn rules(change: impl FnOnce(&mut Rules)) -> Arc<Rules> {
    let mut rules = Rules::default();
    change(&mut rules);
    Arc::new(rules)
}

fn mounted(prefix: &str) -> Arc<Rules> {
    rules(|rules| rules.mount_point = Some(Arc::new(MountPoint::new(prefix).expect("a prefix"))))
}

/// The properties of a CONNACK, as `Reason` and the bytes behind.
fn connack(world: &mut World, rules: &Arc<Rules>, level: u8, keep_alive_s: u16) -> Vec<u8> {
    let peer = world.dial_from("peer", Some(rules)).expect("room");
    world.send(peer, &connect(level, "c", true, keep_alive_s, &[]));
    core::mem::take(&mut world.clients[peer.0].wire)
}

#[test]
fn max_packet_size_of_a_listener_is_told_and_held() {
    let mut world = World::new(Options::default());
    let small = rules(|rules| rules.max_packet_size = Some(200));
    let answer = connack(&mut world, &small, V5, 0);
    assert!(answer.windows(5).any(|window| window == [0x27, 0, 0, 0, 200]), "{answer:?}");
    let (limited, free) = (world.join_by(&small, V5, "l"), world.join(V5, "f"));
    world.publish(free, "t", 0, false, &[0; 300]);
    world.publish(limited, "t", 0, false, &[0; 100]);
    assert!(world.lines(free).is_empty() && world.lines(limited).is_empty());
    world.publish(limited, "t", 0, false, &[0; 300]);
    assert_eq!(world.lines(limited), ["DISCONNECT 95"]);
    assert_eq!(world.stats().packets_too_large, 1);
    // It cannot allow more than the server.
    let mut world = World::new(Options { max_packet_size: 150, ..Options::default() });
    let limited = world.join_by(&small, V5, "l");
    world.publish(limited, "t", 0, false, &[0; 160]);
    assert_eq!(world.lines(limited), ["DISCONNECT 95"]);
    world.end();
}

#[test]
fn receive_maximum_of_a_listener_is_told_and_held() {
    let mut world = World::new(Options::default());
    let two = rules(|rules| rules.receive_maximum = Some(2));
    let answer = connack(&mut world, &two, V5, 0);
    assert!(answer.windows(3).any(|window| window == [0x21, 0, 2]), "{answer:?}");
    let client = world.join_by(&two, V5, "d");
    for id in 1..=3 {
        world.send(client, &publish(V5, "t", 2, false, id, &[], b"x"));
    }
    assert_eq!(world.lines(client), ["PUBREC 1 10", "PUBREC 2 10", "DISCONNECT 93"]);
    assert_eq!(world.stats().protocol_errors, 1);
    world.end();
}

#[test]
fn max_keepalive_of_a_listener_is_told_and_held() {
    let mut world = World::new(Options::default());
    let ten = rules(|rules| rules.max_keepalive_s = Some(10));
    let answer = connack(&mut world, &ten, V5, 60);
    assert!(answer.windows(3).any(|window| window == [0x13, 0, 10]), "{answer:?}");
    assert_eq!(world.stats().keep_alives_shortened, 1);
    world.after_ms(15_100);
    assert_eq!(world.stats().keep_alive_timeouts, 1);
    world.end();
}

#[test]
fn versions_a_listener_does_not_speak_are_refused() {
    let mut world = World::new(Options::default());
    let only_5 = rules(|rules| rules.versions = "5".parse().expect("legal"));
    assert_eq!(connack(&mut world, &only_5, V3, 0), [0x20, 2, 0, 1]);
    assert_eq!(connack(&mut world, &only_5, V5, 0)[3], 0);
    let only_3 = rules(|rules| rules.versions = "3.1,3.1.1".parse().expect("legal"));
    assert_eq!(connack(&mut world, &only_3, V5, 0)[3], Reason::UNSUPPORTED_PROTOCOL_VERSION.0);
    assert_eq!((world.stats().versions_refused, world.stats().connects_refused), (2, 2));
    world.end();
}

#[test]
fn allow_and_deny_close_before_a_byte_is_read() {
    let mut world = World::new(Options::default());
    let some = rules(|rules| {
        rules.allow = "10.0.0.0/8".parse().expect("a network");
        rules.deny = "10.0.0.1".parse().expect("an address");
    });
    assert!(world.dial_from("10.0.0.2:1", Some(&some)).is_some());
    assert!(world.dial_from("10.0.0.1:1", Some(&some)).is_none());
    assert!(world.dial_from("[::ffff:11.0.0.1]:1", Some(&some)).is_none());
    assert!(world.dial_from("11.0.0.1:1", None).is_some(), "another listener's rules");
    assert_eq!(world.stats().connections_denied, 2);
    world.end();
}

#[test]
fn allow_and_deny_hold_for_whom_a_proxy_connects() {
    for (client, answer) in [("10.0.0.2", 0), ("11.0.0.1", 5)] {
        let mut world = World::new(Options::default());
        let some = rules(|rules| rules.allow = "10.0.0.0/8".parse().expect("a network"));
        let peer = world.dial_from("10.9.9.9:1", Some(&some)).expect("the proxy is let in");
        let about = crate::stack::About { forwarded_for: client.parse().ok(), ..Default::default() };
        world.shard.established(world.now, world.clients[peer.0].key, Box::new(about));
        world.send(peer, &connect(V3, "c", true, 0, &[]));
        let wire = core::mem::take(&mut world.clients[peer.0].wire);
        assert_eq!(wire, [0x20, 2, 0, answer], "{client}");
        assert_eq!(world.stats().connections_denied, u64::from(answer != 0));
        world.end();
    }
}

/// Publishes without the helper, which insists on being read.
fn send_messages(world: &mut World, peer: Peer, count: u8) -> bool {
    let bytes: Vec<u8> = (0..count).flat_map(|_| publish(V3, "t", 0, false, 0, &[], b"x")).collect();
    world.send(peer, &bytes)
}

#[test]
fn rate_messages_stops_reading_until_there_is_room() {
    let mut world = World::new(Options::default());
    let slow = rules(|rules| rules.rate_messages = Some(10));
    let (publisher, receiver) = (world.join_by(&slow, V3, "p"), world.join(V3, "r"));
    world.subscribe(receiver, "t", 0);
    // In one read: ten fill the bucket's second, the rest is kept and comes one every 100 ms.
    assert!(send_messages(&mut world, publisher, 15));
    assert_eq!(world.lines(receiver).len(), 10);
    assert_eq!(world.stats().rate_pauses, 1);
    assert!(!send_messages(&mut world, publisher, 1), "it is not read");
    world.after_ms(250);
    assert_eq!(world.lines(receiver).len(), 2);
    world.after_ms(500);
    assert_eq!(world.lines(receiver).len(), 3);
    world.after_ms(2_000);
    assert!(send_messages(&mut world, publisher, 1), "it is read again");
    assert_eq!(world.lines(receiver).len(), 1);
    assert_eq!(world.stats().rate_pauses, 1, "one pause, however often it was looked at");
    world.end();
}

#[test]
fn rate_bytes_takes_a_packet_of_any_size_and_waits_for_what_it_owes() {
    let mut world = World::new(Options::default());
    let slow = rules(|rules| rules.rate_bytes = Some(1_000));
    let (publisher, receiver) = (world.join_by(&slow, V3, "p"), world.join(V3, "r"));
    world.subscribe(receiver, "t", 0);
    world.publish(publisher, "t", 0, false, &[0; 3_000]);
    assert_eq!(world.lines(receiver), ["PUBLISH t=3000 bytes q0"]);
    assert!(!send_messages(&mut world, publisher, 1));
    world.after_ms(1_900);
    assert!(!send_messages(&mut world, publisher, 1));
    world.after_ms(200);
    assert!(send_messages(&mut world, publisher, 1));
    assert_eq!(world.lines(receiver).len(), 1);
    assert_eq!(world.stats().rate_pauses, 1);
    world.end();
}

#[test]
fn keep_alive_rests_while_a_client_is_over_its_rate() {
    let mut world = World::new(Options::default());
    let slow = rules(|rules| rules.rate_bytes = Some(100));
    let peer = world.dial_from("peer", Some(&slow)).expect("room");
    world.send(peer, &connect(V3, "c", true, 2, &[]));
    world.publish(peer, "t", 0, false, &[0; 1_000]);
    world.after_ms(8_000);
    assert!(!world.is_closed(peer), "the silence is ours");
    world.after_ms(10_000);
    assert!(world.is_closed(peer), "now it is the client's");
    world.end();
}

#[test]
fn a_mount_point_is_under_everything_a_client_says_and_hears() {
    let mut world = World::new(Options::default());
    let site = mounted("site/7/");
    let (inside, outside) = (world.join_by(&site, V5, "in"), world.join(V5, "out"));
    world.subscribe(inside, "a/#", 1);
    world.subscribe(outside, "#", 0);
    world.publish(inside, "a/b", 1, false, b"1");
    assert_eq!(world.take_lines(inside, 2), ["PUBLISH a/b=1 q1", "PUBACK 7 00"]);
    assert_eq!(world.lines(outside), ["PUBLISH site/7/a/b=1 q0"]);
    world.publish(outside, "site/7/a/c", 0, false, b"2");
    world.publish(outside, "a/d", 0, false, b"3");
    world.publish(outside, "site/7", 0, false, b"4");
    assert_eq!(world.lines(inside), ["PUBLISH a/c=2 q0"]);
    world.lines(outside);
    // Retained, by a subscription with wildcards only.
    world.publish(outside, "site/7/r", 0, true, b"5");
    world.publish(outside, "site/7", 0, true, b"6");
    let late = world.join_by(&site, V5, "late");
    world.send(late, &subscribe(V5, 1, &["#"], 0));
    assert_eq!(world.lines(late), ["SUBACK 1 00", "PUBLISH r=5 q0 retain"]);
    world.send(late, &unsubscribe(V5, 2, &["#"]));
    assert_eq!(world.lines(late), ["UNSUBACK 2 00"]);
    assert_eq!(world.shard.subscriptions("site/7/#in").expect("a client"), ["site/7/a/#"]);
    // What would begin with $ there cannot be published.
    world.publish(inside, "$x", 1, false, b"7");
    assert_eq!(world.lines(inside), ["PUBACK 7 90"]);
    world.end();
}

#[test]
fn wills_and_shared_subscriptions_are_under_the_mount_point() {
    let mut world = World::new(Options::default());
    let site = mounted("m/");
    let (first, second, outside) = (world.join_by(&site, V3, "1"), world.join_by(&site, V3, "2"), world.join(V3, "out"));
    world.subscribe(first, "$share/g/t", 1);
    world.subscribe(second, "$share/g/t", 1);
    world.subscribe(outside, "m/gone", 0);
    for payload in [b"a", b"b"] {
        world.publish(outside, "m/t", 0, false, payload);
    }
    let got = [world.lines(first), world.lines(second)].concat();
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got.iter().all(|line| line.starts_with("PUBLISH t=")), "{got:?}");
    let mut body = Vec::new();
    put_text(&mut body, "MQTT");
    body.extend_from_slice(&[V3, 0x06, 0, 0]);
    ["w", "gone", "x"].iter().for_each(|text| put_text(&mut body, text));
    let peer = world.dial_from("peer", Some(&site)).expect("room");
    world.send(peer, &packet(0x10, &body));
    world.cut(peer);
    assert_eq!(world.lines(outside), ["PUBLISH m/gone=x q0"]);
    world.end();
}

#[test]
fn response_topics_are_under_the_mount_point_too() {
    let mut world = World::new(Options::default());
    let (inside, outside) = (world.join_by(&mounted("m/"), V5, "in"), world.join(V5, "out"));
    world.subscribe(inside, "q", 0);
    world.subscribe(outside, "m/q", 0);
    let response = |topic: &str| [&[0x08, 0, topic.len() as u8], topic.as_bytes()].concat();
    let has = |world: &mut World, peer: Peer, wanted: &[u8]| {
        let wire = core::mem::take(&mut world.clients[peer.0].wire);
        assert!(!wire.is_empty());
        wire.windows(wanted.len()).any(|window| window == wanted)
    };
    world.send(inside, &publish(V5, "q", 0, false, 0, &response("r"), b"?"));
    assert!(has(&mut world, outside, &response("m/r")));
    assert!(has(&mut world, inside, &response("r")));
    world.send(outside, &publish(V5, "m/q", 0, false, 0, &response("m/s"), b"?"));
    assert!(has(&mut world, inside, &response("s")));
    world.send(outside, &publish(V5, "m/q", 0, false, 0, &response("zz"), b"?"));
    assert!(!has(&mut world, inside, &response("zz")), "it cannot be answered to");
    world.end();
}

#[test]
fn a_session_is_of_one_mount_point() {
    let mut world = World::new(Options::default());
    let (here, there) = (mounted("here/"), mounted("there/"));
    let come = |world: &mut World, rules: &Arc<Rules>| {
        let peer = world.dial_from("peer", Some(rules)).expect("room");
        world.send(peer, &connect(V3, "c", false, 0, &[]));
        (peer, world.take_lines(peer, 1).remove(0))
    };
    let (peer, connack) = come(&mut world, &here);
    assert_eq!(connack, "CONNACK 00 sp=0");
    world.subscribe(peer, "t", 1);
    world.cut(peer);
    let publisher = world.join(V3, "p");
    world.publish(publisher, "here/t", 1, false, b"secret");
    // Equal prefixes are one, whichever listener has them.
    let (peer, connack) = come(&mut world, &mounted("here/"));
    assert_eq!(connack, "CONNACK 00 sp=1");
    assert_eq!(world.lines(peer), ["PUBLISH t=secret q1"]);
    let (peer, connack) = come(&mut world, &there);
    assert_eq!((connack.as_str(), world.lines(peer).len()), ("CONNACK 00 sp=0", 0));
    world.end();
}

#[test]
fn nobody_touches_a_session_of_another_mount_point_by_its_client_id() {
    let mut world = World::new(Options::default());
    let (a, b) = (mounted("a/"), mounted("b/"));
    let come = |world: &mut World, rules: Option<&Arc<Rules>>, clean: bool| {
        let peer = world.dial_from("peer", rules).expect("room");
        world.send(peer, &connect(V3, "pump", clean, 0, &[]));
        (peer, world.take_lines(peer, 1).remove(0))
    };
    let victim = come(&mut world, Some(&a), false).0;
    world.subscribe(victim, "t", 1);
    // Each way there is to end it: a clean start, one that is not, and a client id that looks like its whole name.
    for (rules, clean, has_own) in [(Some(&b), false, 0), (Some(&b), false, 1), (Some(&b), true, 0), (None, true, 0), (None, false, 0)] {
        assert_eq!(come(&mut world, rules, clean).1, format!("CONNACK 00 sp={has_own}"));
    }
    world.join(V3, "a/#pump");
    assert!(!world.is_closed(victim));
    assert_eq!(world.stats().take_overs, 3, "each its own");
    // The owner means just one of them.
    let subscriptions = |world: &World, client: &str| world.shard.subscriptions(client).map(|list| list.len());
    assert_eq!(["a/#pump", "b/#pump", "pump", "c/#pump"].map(|client| subscriptions(&world, client)), [Some(1), Some(0), Some(0), None]);
    assert_eq!(world.shard.client("a/#pump").expect("there").mount_point.as_deref(), Some("a/"));
    let message = crate::codec::Message::new(&world.budget, "a/x", b"1", Qos::AtMostOnce, false, crate::codec::Properties::EMPTY, None, 0, world.now);
    assert!(world.shard.publish_to(world.now, "a/#pump", &message));
    world.flush();
    assert_eq!(world.lines(victim), ["PUBLISH x=1 q0"]);
    drop(message);
    assert!(world.shard.kick(world.now, "a/#pump", crate::codec::Reason::ADMINISTRATIVE_ACTION, true));
    world.flush();
    assert!(world.is_closed(victim) && world.shard.client("a/#pump").is_some_and(|other| other.mount_point.is_none()), "that name is free for who bears it");
    assert!(world.shard.client("b/#pump").is_some() && world.shard.client("pump").is_some());
    world.end();
}

#[test]
fn who_is_gone_and_over_its_rate_keeps_its_place_for_a_moment() {
    let mut world = World::new(Options::default());
    let slow = rules(|rules| rules.rate_messages = Some(1));
    let peer = world.join_by(&slow, V3, "c");
    let messages: Vec<u8> = (0..100).flat_map(|_| publish(V3, "t", 0, false, 0, &[], b"")).collect();
    world.send(peer, &messages);
    let key = world.clients[peer.0].key;
    assert!(!world.shard.is_given_up(world.now, key), "it may still be taken");
    world.after_ms(4_990);
    assert!(!world.shard.is_given_up(world.now, key));
    world.after_ms(10);
    assert!(world.shard.is_given_up(world.now, key));
    assert_eq!(world.stats().rate_given_up, 1);
    let other = world.join(V3, "other");
    assert!(!world.shard.is_given_up(world.now, world.clients[other.0].key), "it has no rate");
    world.cut(peer);
    world.end();
}

#[test]
fn bytes_of_a_link_with_layers_are_charged_and_those_of_its_packets_are_not() {
    let mut world = World::new(Options::default());
    let slow = rules(|rules| rules.rate_bytes = Some(100));
    let peer = world.join_by(&slow, V3, "c");
    let key = world.clients[peer.0].key;
    world.shard.counts_link(key);
    world.publish(peer, "t", 0, false, &[0; 1_000]);
    assert!(world.shard.wants_input(world.now, key));
    world.shard.charge_link(world.now, key, 500);
    assert!(!world.shard.wants_input(world.now, key));
    assert_eq!(world.stats().rate_pauses, 1);
    world.after_ms(3_900);
    assert!(!world.shard.wants_input(world.now, key));
    world.after_ms(200);
    assert!(world.shard.wants_input(world.now, key));
    world.end();
}

#[test]
fn hooks_see_whole_topics() {
    struct Ask(Arc<std::sync::Mutex<Vec<String>>>);
    impl Hooks for Ask {
        fn interest(&self) -> Interest {
            Interest { authorize: true, publish_out: true, ..Interest::default() }
        }
        fn authorize(&mut self, _: ClientInfo<'_>, access: Access, topic: &str, _: Qos, _: bool, _: HookToken) -> Answer {
            self.0.lock().expect("alone").push(format!("{access:?} {topic}"));
            Answer::ALLOW
        }
        fn publish_out(&mut self, _: ClientInfo<'_>, message: &Arc<crate::codec::Message>, _: Qos) {
            self.0.lock().expect("alone").push(format!("out {}", message.topic()));
        }
    }
    let heard = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut world = World::with_hooks(Options::default(), Some(Box::new(Ask(heard.clone()))));
    let client = world.join_by(&mounted("m/"), V3, "c");
    world.subscribe(client, "$share/g/t", 0);
    world.publish(client, "t", 0, false, b"x");
    assert_eq!(*heard.lock().expect("alone"), ["Subscribe m/t", "Publish m/t", "out m/t"]);
    world.end();
}
