//! What a connection of generation 2 does when the world changes under it, each change by itself.

use nlmqtt::base::Duration;
use nlmqtt::stack::CongestionControl;
use nlmqtt::stack::rudp::Options;
use nlmqtt::stack::{ConnectionId, DatagramEndpoint as _, DatagramEvent as Event, FaultKind};

use crate::world::{CLIENT, SERVER, Way, World, connected};

fn world(way: Way, options: &Options) -> World {
    World::new(4, way, [options, options])
}

/// Sends so many bytes one way while the other side reads; how long it took.
fn transfer(world: &mut World, from: (usize, ConnectionId), to: (usize, ConnectionId), total: usize) -> Duration {
    let (start, mut written, mut read, mut buffer) = (world.now, 0, 0, [0; 65_536]);
    while read < total {
        if written < total {
            written += world.write(from.0, from.1, &vec![(written >> 8) as u8; (total - written).min(65_536)]);
        }
        world.run(Duration::from_millis(5));
        while let Some(count) = world.read(to.0, to.1, &mut buffer) {
            assert!(count > 0, "it has ended: {:?}", world.events);
            read += count;
        }
        assert!(world.now.since(start) < Duration::from_secs(900), "{read} of {total} in 15 minutes");
    }
    world.now.since(start)
}

#[test]
fn an_idle_subscriber_is_found_again_after_its_address_has_changed() {
    let mut world = world(Way::default(), &Options::default());
    let (client, server) = connected(&mut world);
    world.client_address = "10.0.0.7:4444".parse().expect("an address");
    world.run(Duration::from_secs(25));
    let (moved, event) = world.wait(SERVER, |event| matches!(event, Event::Moved(_)));
    assert_eq!((moved, event), (server, Event::Moved(world.client_address)));
    transfer(&mut world, (SERVER, server), (CLIENT, client), 10_000);
    assert_eq!(world.statistics(SERVER, server).moves, 1);
}

#[test]
fn without_a_keep_alive_the_idle_time_is_that_of_mqtt() {
    // A client with a keep-alive of 600 s in MQTT, and none below it.
    let silent = Options { keep_alive: Duration::ZERO, mqtt_silence: Duration::from_secs(900), idle_timeout: Duration::from_secs(900), ..Options::default() };
    let mut world = World::new(4, Way::default(), [&silent, &Options::default()]);
    let (client, server) = connected(&mut world);
    world.run(Duration::from_secs(5));
    let before = world.sent_datagrams;
    world.run(Duration::from_secs(885));
    assert_eq!(world.sent_datagrams, before, "nobody says a word");
    transfer(&mut world, (SERVER, server), (CLIENT, client), 1_000);
    // Both notice when that has passed, too.
    world.is_down = true;
    world.run(Duration::from_secs(905));
    for side in [CLIENT, SERVER] {
        let (_, event) = world.wait(side, |event| matches!(event, Event::Ended(_)));
        assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Silent));
    }
    assert_eq!(world.endpoints[SERVER].counters().silent, 1);
    // Who has a keep-alive is missed after the idle time, whatever MQTT's is (600 s here).
    let mut world = World::new(4, Way::default(), [&Options::default(), &Options::default()]);
    connected(&mut world);
    world.is_down = true;
    world.run(Duration::from_secs(125));
    world.wait(SERVER, |event| matches!(event, Event::Ended(_)));
}

#[test]
fn a_client_shows_itself_after_all_where_the_listener_cannot_see_mqtts_keep_alive() {
    let sealed = Options { is_plain: false, ..Options::default() };
    let silent = Options { keep_alive: Duration::ZERO, mqtt_silence: Duration::from_secs(900), idle_timeout: Duration::from_secs(900), ..sealed.clone() };
    let mut world = World::new(4, Way::default(), [&silent, &sealed]);
    let (client, server) = connected(&mut world);
    world.run(Duration::from_secs(890));
    transfer(&mut world, (SERVER, server), (CLIENT, client), 1_000);
}

#[test]
fn a_rebound_socket_is_told_at_once() {
    let mut world = world(Way::default(), &Options::default());
    let (client, server) = connected(&mut world);
    world.client_address = "10.0.0.2:4444".parse().expect("an address");
    let now = world.now;
    world.endpoints[CLIENT].rebound(now);
    world.run(Duration::from_millis(300));
    assert_eq!(world.statistics(SERVER, server).moves, 1);
    transfer(&mut world, (SERVER, server), (CLIENT, client), 10_000);
}

#[test]
fn bytes_arrive_after_a_link_was_down_for_half_a_minute() {
    let mut world = world(Way::default(), &Options::default());
    let (client, server) = connected(&mut world);
    world.write(CLIENT, client, &[1; 5_000]);
    world.is_down = true;
    world.run(Duration::from_secs(30));
    world.is_down = false;
    let mut buffer = [0; 8_192];
    let mut read = 0;
    world.run(Duration::from_secs(9));
    while let Some(count) = world.read(SERVER, server, &mut buffer) {
        read += count;
    }
    assert_eq!(read, 5_000, "a probe is sent every 8 s at least");
    let took = transfer(&mut world, (CLIENT, client), (SERVER, server), 200_000);
    assert_eq!(world.statistics(CLIENT, client).frame_bytes, 1_200, "the size of frames has recovered");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn silence_ends_both_sides_with_a_reason_after_the_smaller_idle_time() {
    let short = Options { idle_timeout: Duration::from_secs(30), ..Options::default() };
    let mut world = World::new(4, Way::default(), [&Options::default(), &short]);
    let (client, server) = connected(&mut world);
    world.run(Duration::from_secs(100));
    assert!(world.events.iter().flatten().all(|(_, event)| !matches!(event, Event::Ended(_))), "keep-alive keeps it alive");
    world.is_down = true;
    world.run(Duration::from_secs(35));
    for (side, id) in [(CLIENT, client), (SERVER, server)] {
        let (ended, event) = world.wait(side, |event| matches!(event, Event::Ended(_)));
        assert_eq!(ended, id);
        assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Silent));
    }
}

#[test]
fn frames_become_smaller_where_full_ones_vanish_and_larger_where_they_pass() {
    let mut narrow = world(Way { mtu: 800, ..Way::default() }, &Options::default());
    let (client, server) = connected(&mut narrow);
    transfer(&mut narrow, (CLIENT, client), (SERVER, server), 100_000);
    let statistics = narrow.statistics(CLIENT, client);
    assert_eq!((statistics.frame_bytes, statistics.steps_down), (576, 1));
    let probing = Options { probe_bytes_max: 1_452, ..Options::default() };
    for (mtu, least, most) in [(9_000, 1_452, 1_452), (1_400, 1_360, 1_400)] {
        let mut wide = world(Way { mtu, ..Way::default() }, &probing);
        let (client, server) = connected(&mut wide);
        transfer(&mut wide, (CLIENT, client), (SERVER, server), 600_000);
        let found = wide.statistics(CLIENT, client).frame_bytes;
        assert!((least..=most).contains(&found), "{found} on a way of {mtu}");
    }
}

#[test]
fn a_reader_that_stops_stops_the_writer_and_goes_on_where_it_was() {
    let mut world = world(Way { loss_permille: 50, ..Way::default() }, &Options::default());
    let (client, server) = connected(&mut world);
    let mut written = 0;
    for _ in 0..200 {
        written += world.write(CLIENT, client, &[5; 10_000]);
        world.run(Duration::from_millis(50));
    }
    assert!(written <= (128 << 10) + (16 << 10), "no more than both windows: {written}");
    let held = world.endpoints[SERVER].memory_bytes();
    world.run(Duration::from_secs(300));
    assert!(world.events.iter().flatten().all(|(_, event)| !matches!(event, Event::Ended(_))), "a stopped reader is no silent peer");
    assert_eq!(world.endpoints[SERVER].memory_bytes(), held);
    let (mut read, mut buffer) = (0, [0; 4_096]);
    let until = world.now + Duration::from_secs(60);
    while read < written && world.now < until {
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            read += count;
        }
        world.run(Duration::from_millis(20));
    }
    assert_eq!(read, written);
}

#[test]
fn a_good_bye_comes_after_all_bytes_and_is_answered() {
    let mut world = world(Way { loss_permille: 100, ..Way::default() }, &Options::default());
    let (client, server) = connected(&mut world);
    assert_eq!(world.write(CLIENT, client, &[9; 16_000]), 16_000);
    world.finish(CLIENT, client);
    assert_eq!(world.write(CLIENT, client, b"more"), 0);
    let (mut read, mut buffer) = (0, [0; 4_096]);
    loop {
        world.run(Duration::from_millis(20));
        match world.read(SERVER, server, &mut buffer) {
            Some(0) => break,
            Some(count) => read += count,
            None => {}
        }
    }
    assert_eq!(read, 16_000);
    assert_eq!(world.wait(SERVER, |event| matches!(event, Event::Ended(_))), (server, Event::Ended(None)));
    assert_eq!(world.wait(CLIENT, |event| matches!(event, Event::Ended(_))), (client, Event::Ended(None)));
    for (side, id) in [(CLIENT, client), (SERVER, server)] {
        world.close(side, id);
    }
    world.run(Duration::from_secs(10));
    assert!(world.endpoints.iter().all(|endpoint| endpoint.connections() == 0), "nobody waits for stragglers");
}

#[test]
fn a_close_that_overtakes_bytes_is_reported_as_a_loss() {
    let mut world = world(Way::default(), &Options::default());
    let (client, server) = connected(&mut world);
    world.tap = Some(Box::new(|side, datagram| side != CLIENT || datagram[0] != 0x21));
    world.write(CLIENT, client, b"lost");
    world.flush();
    world.close(CLIENT, client);
    let (ended, event) = world.wait(SERVER, |event| matches!(event, Event::Ended(_)));
    assert_eq!(ended, server);
    assert!(matches!(event, Event::Ended(Some(fault)) if fault.text.contains("missing")));
}

#[test]
fn small_messages_survive_losses_sooner_with_redundancy() {
    let delays = |redundancy| {
        let way = Way { loss_permille: 100, ..Way::default() };
        let mut world = world(way, &Options { redundancy, congestion: CongestionControl::Cubic, ..Options::default() });
        let (client, server) = connected(&mut world);
        let (mut sent, mut read, mut worst, mut buffer) = (Vec::new(), 0, Vec::new(), [0; 4_096]);
        for _ in 0..2_000 {
            if world.write(CLIENT, client, &[1; 100]) == 100 {
                sent.push(world.now);
            }
            let until = world.now + Duration::from_millis(20);
            while world.step(until) {
                while let Some(count) = world.read(SERVER, server, &mut buffer) {
                    for number in read / 100..(read + count) / 100 {
                        worst.push(world.now.since(sent[number]));
                    }
                    read += count;
                }
            }
        }
        worst.sort();
        (worst[worst.len() * 99 / 100], world.sent_bytes[CLIENT])
    };
    let (plain, redundant) = (delays(false), delays(true));
    assert!(redundant.0 < plain.0, "{redundant:?} and {plain:?}");
    assert!(redundant.1 < plain.1 * 2, "{redundant:?} and {plain:?}");
}

#[test]
fn several_packets_share_a_frame_and_a_lone_one_waits_for_nobody() {
    let mut world = world(Way::default(), &Options::default());
    let (client, server) = connected(&mut world);
    let before = world.statistics(CLIENT, client).frames_sent;
    for _ in 0..10 {
        world.write(CLIENT, client, &[0x30, 2, 0, 0]);
    }
    world.flush();
    assert_eq!(world.statistics(CLIENT, client).frames_sent, before + 1);
    world.run(Duration::from_millis(25));
    assert_eq!(world.read(SERVER, server, &mut [0; 100]), Some(40), "after one way, and no more");
}
