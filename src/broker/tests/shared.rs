//! Shared subscriptions (MQTT 5 §4.8.2) through a shard: who gets a message, and who gets it when
//! the one chosen goes away or does not acknowledge.

use super::*;
use crate::route::ShareStrategy;

fn world(strategy: ShareStrategy) -> World {
    World::new(Options { shared_subscription_strategy: strategy, ..Options::default() })
}

/// Three members of one group at QoS 1.
fn members(world: &mut World) -> [Peer; 3] {
    ["a", "b", "c"].map(|client_id| {
        let member = world.join(V5, client_id);
        world.subscribe(member, "$share/g/t/#", 1);
        member
    })
}

/// How many messages each member got of `count`, published to `topic(n)`.
fn shares(world: &mut World, members: &[Peer; 3], publisher: Peer, count: usize, topic: impl Fn(usize) -> String) -> [usize; 3] {
    for n in 0..count {
        world.publish(publisher, &topic(n), 0, false, b"x");
    }
    members.map(|member| world.lines(member).len())
}

#[test]
fn round_robin_random_sticky_and_hashes_choose_as_they_say() {
    let same = |_| "t/1".to_owned();
    let mut world = self::world(ShareStrategy::RoundRobin);
    let (group, publisher) = (members(&mut world), world.join(V5, "p"));
    assert_eq!(shares(&mut world, &group, publisher, 30, same), [10; 3]);

    let mut world = self::world(ShareStrategy::Random);
    let (group, publisher) = (members(&mut world), world.join(V5, "p"));
    let got = shares(&mut world, &group, publisher, 300, same);
    assert!(got.iter().all(|count| (50..150).contains(count)) && got.iter().sum::<usize>() == 300, "{got:?}");

    let mut world = self::world(ShareStrategy::Sticky);
    let (group, publisher) = (members(&mut world), world.join(V5, "p"));
    let got = shares(&mut world, &group, publisher, 30, same);
    assert_eq!(got.iter().filter(|count| **count == 30).count(), 1, "{got:?}");
    let favourite = got.iter().position(|count| *count == 30).expect("one of them");
    world.cut(group[favourite]);
    let after = shares(&mut world, &group, publisher, 30, same);
    assert_eq!(after.iter().filter(|count| **count == 30).count(), 1, "{after:?}");
    assert_eq!(after[favourite], 0, "it went away");

    let mut world = self::world(ShareStrategy::HashClientId);
    let group = members(&mut world);
    let mut reached = [0; 3];
    for n in 0..20 {
        let publisher = world.join(V5, &format!("p{n}"));
        let got = shares(&mut world, &group, publisher, 5, |n| format!("t/{n}"));
        assert_eq!(got.iter().filter(|count| **count == 5).count(), 1, "one member for one publisher: {got:?}");
        (0..3).for_each(|index| reached[index] += got[index]);
    }
    assert!(reached.iter().all(|count| *count > 0), "{reached:?}");

    let mut world = self::world(ShareStrategy::HashTopic);
    let (group, one, other) = (members(&mut world), world.join(V5, "p"), world.join(V5, "q"));
    let first = shares(&mut world, &group, one, 20, |n| format!("t/{n}"));
    let second = shares(&mut world, &group, other, 20, |n| format!("t/{n}"));
    assert_eq!(first, second, "the topic alone decides");
    assert!(first.iter().all(|count| *count > 0), "{first:?}");
}

#[test]
fn a_member_that_goes_away_is_replaced_even_if_its_session_ends_with_it() {
    let mut world = self::world(ShareStrategy::RoundRobin);
    let (group, publisher) = (members(&mut world), world.join(V5, "p"));
    for payload in [b"1", b"2", b"3"] {
        world.publish(publisher, "t", 1, false, payload);
    }
    assert_eq!(world.lines(group[0]), ["PUBLISH t=1 q1"]);
    assert_eq!(world.lines(group[1]), ["PUBLISH t=2 q1"]);
    assert_eq!(world.lines(group[2]), ["PUBLISH t=3 q1"]);
    world.cut(group[0]);
    world.cut(group[1]);
    let mut got = world.lines(group[2]);
    got.sort();
    assert_eq!(got, ["PUBLISH t=1 q1", "PUBLISH t=2 q1"], "what nobody acknowledged");
    assert!(world.stats().shared_reoffered >= 2);
    world.end();
}

#[test]
fn a_qos_2_message_that_was_sent_goes_to_nobody_else() {
    let mut world = self::world(ShareStrategy::RoundRobin);
    let (first, second) = (world.join(V5, "a"), world.join(V5, "b"));
    world.subscribe(first, "$share/g/t", 2);
    world.subscribe(second, "$share/g/t", 2);
    let publisher = world.join(V5, "p");
    world.publish(publisher, "t", 2, false, b"x");
    assert_eq!(world.lines(first), ["PUBLISH t=x q2"]);
    world.cut(first);
    assert_eq!(world.lines(second), [""; 0]);
    assert_eq!(world.stats().dropped_session_ended, 1);
    world.end();
}

#[test]
fn shared_ack_timeout_ms_gives_a_message_to_another_member() {
    let mut world = self::world(ShareStrategy::Sticky);
    let (group, publisher) = (members(&mut world), world.join(V5, "p"));
    world.publish(publisher, "t", 1, false, b"x");
    let holders = |world: &mut World| group.map(|member| world.lines(member).len());
    let first = holders(&mut world);
    assert_eq!(first.iter().sum::<usize>(), 1);
    world.after_ms(29_000);
    assert_eq!(holders(&mut world), [0; 3]);
    world.after_ms(2_000);
    let second = holders(&mut world);
    assert_eq!(second.iter().sum::<usize>(), 1);
    assert_ne!(first, second, "another member");
    assert_eq!(world.stats().shared_reoffered, 1);
    world.end();
}
