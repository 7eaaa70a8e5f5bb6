//! What strangers can make an endpoint believe, and hold.

use super::*;

/// A client with a connection to a server that listens there.
fn connected(world: &mut World, pems: &Pems) -> (End, End, ConnectionId, ConnectionId) {
    let start = epoch();
    let options = QuicOptions { idle_timeout: Duration::from_secs(300), keepalive: Duration::from_secs(5), early_data: false, ..QuicOptions::of_listener() };
    let mut there = End::new(&server(pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    let mut here = End::new(&client(pems, options), 2, None, start);
    let id = here.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(SOON, &mut [&mut here, &mut there]);
    here.machine.write(world.now, id, b"a");
    world.run(SOON, &mut [&mut here, &mut there]);
    let other = there.accepted()[0];
    assert_eq!(there.read_all(world.now, other), b"a");
    (here, there, id, other)
}

fn moves(end: &End) -> Vec<SocketAddr> {
    let moved = end.told.iter().filter_map(|(_, event)| if let DatagramEvent::Moved(peer) = event { Some(*peer) } else { None });
    moved.collect()
}

#[test]
fn an_address_that_somebody_claims_with_a_copied_datagram_is_not_told_of() {
    let pems = pems();
    let mut world = World::new(1);
    let (mut here, mut there, id, other) = connected(&mut world, &pems);
    // Somebody on the way is faster, and says that it comes from elsewhere.
    let (victim, honest) = (SocketAddr::from(([10, 9, 9, 9], 9)), here.address);
    here.machine.write(world.now, id, b"b");
    let mut out = Transmit::default();
    while here.machine.transmit(world.now, 1, &mut out) {
        there.machine.receive(world.now, &Received { from: victim, to: None, ecn: 0, bytes: &out.bytes });
    }
    world.run(Duration::from_secs(20), &mut [&mut here, &mut there]);
    assert_eq!(moves(&there), [], "nobody answered from there");
    assert_eq!(there.machine.statistics(other).expect("it is there").path_changes, 0);
    assert_eq!(there.read_all(world.now, other), b"b");
    assert_eq!(there.machine.write(world.now, other, b"still here"), 10);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert_eq!(here.read_all(world.now, id), b"still here");
    // Who really moves answers from there.
    here.address.set_port(7);
    here.machine.rebound(world.now);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert!(moves(&there) == [here.address] && honest != here.address, "{:?}", there.told);
}

#[test]
fn an_address_is_not_proved_by_an_answer_that_was_asked_for_at_another_one() {
    let pems = pems();
    let mut world = World::new(1);
    let (mut here, mut there, id, other) = connected(&mut world, &pems);
    // Somebody on the way sends on all that the client says, as coming from elsewhere, and nothing of what is sent there. But the server asks
    // at the old address, too, and that answer is among what is sent on.
    let (victim, honest) = (SocketAddr::from(([10, 9, 9, 9], 9)), here.address);
    here.machine.write(world.now, id, b"b");
    let (mut out, mut to_victim) = (Transmit::default(), 0);
    for _ in 0..5 {
        while here.machine.transmit(world.now, 1, &mut out) {
            there.machine.receive(world.now, &Received { from: victim, to: None, ecn: 0, bytes: &out.bytes });
        }
        while there.machine.transmit(world.now, 1, &mut out) {
            match out.to == honest {
                true => here.machine.receive(world.now, &Received { from: there.address, to: None, ecn: 0, bytes: &out.bytes }),
                false => to_victim += 1,
            }
        }
    }
    assert!(to_victim > 1, "it answers there, and asks again");
    world.run(Duration::from_secs(20), &mut [&mut here, &mut there]);
    assert_eq!(moves(&there), []);
    assert_eq!(there.machine.statistics(other).expect("it is there").path_changes, 0);
    assert_eq!(there.machine.write(world.now, other, b"still here"), 10);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert_eq!(here.read_all(world.now, id), b"still here");
}

#[test]
fn who_is_ignored_for_want_of_a_seat_is_counted() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let dialling = client(&pems, QuicOptions { early_data: false, ..QuicOptions::default() });
    for (limits, is_crowded) in [
        (DatagramLimits { handshakes_per_source_max: 2, ..LIMITS }, true),
        (DatagramLimits { handshakes_max: 2, handshakes_per_source_max: 9, ..LIMITS }, false),
    ] {
        let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(limits), start);
        let mut mute: Vec<_> = (2..6).map(|port| End::new(&dialling, port, None, start)).collect();
        for end in &mut mute {
            end.machine.connect(world.now, there.address, "server.example").expect("begun");
            world.run(SOON, &mut [end, &mut there]);
        }
        let counters = there.machine.counters();
        assert_eq!((counters.crowded > 0, counters.delayed > 0), (is_crowded, !is_crowded), "{counters:?}");
    }
}

#[test]
fn who_is_half_made_when_nobody_is_let_in_any_more_keeps_no_place_for_ever() {
    let pems = pems();
    let (mut world, start) = (World::new(1), epoch());
    let mut there = End::new(&server(&pems, QuicOptions::of_listener()), 1, Some(LIMITS), start);
    let mut gone = End::new(&client(&pems, QuicOptions { idle_timeout: Duration::ZERO, early_data: false, ..QuicOptions::default() }), 2, None, start);
    gone.machine.connect(world.now, there.address, "server.example").expect("begun");
    world.run(Duration::from_millis(15), &mut [&mut gone, &mut there]);
    assert_eq!(there.machine.connections(), 1);
    there.machine.refuse_all();
    world.run(Duration::from_secs(600), &mut [&mut there]);
    assert_eq!((there.machine.connections(), there.machine.memory_bytes()), (0, 0));
    assert_eq!(there.failures(), [FaultKind::Timeout]);
}

#[test]
fn a_connection_is_charged_with_what_it_may_hold_and_with_little_at_rest() {
    let pems = pems();
    let mut world = World::new(1);
    let (mut here, mut there, id, other) = connected(&mut world, &pems);
    let at_rest = there.machine.memory_bytes();
    assert!(at_rest < 40_000, "{at_rest}");
    // Nobody reads: the window fills, and is charged already.
    let data = vec![7; 400_000];
    let sent = here.machine.write(world.now, id, &data);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert!(here.machine.memory_bytes() >= sent, "{sent}");
    assert!(there.machine.memory_bytes() <= at_rest + 1_000);
    // Somebody reads: it grows, and the charge with it.
    let (mut read, mut peak) = (0, 0);
    let mut written = sent;
    while read < data.len() {
        written += here.machine.write(world.now, id, &data[written..]);
        world.run(Duration::from_millis(20), &mut [&mut here, &mut there]);
        read += there.read_all(world.now, other).len();
        peak = peak.max(there.machine.memory_bytes());
    }
    assert!(peak > at_rest + 90_000 && peak <= at_rest + RECEIVE_BYTES_MAX as usize, "{at_rest} {peak}");
    // What is not acknowledged is charged at the sender, as long as it is not.
    let before = there.machine.memory_bytes();
    let taken = there.machine.write(world.now, other, &data);
    assert!(taken > 10_000 && there.machine.memory_bytes() >= before + taken, "{before} {taken}");
    for _ in 0..100 {
        world.run(Duration::from_millis(500), &mut [&mut here, &mut there]);
        here.read_all(world.now, id);
    }
    assert!(there.machine.memory_bytes() <= before, "{before}");
    // What was granted cannot be taken back; but who uses it at leisure is given no more than a small window for it.
    for _ in 0..30 {
        assert_eq!(here.machine.write(world.now, id, &data[..8_000]), 8_000);
        world.run(Duration::from_secs(12), &mut [&mut here, &mut there]);
        assert_eq!(there.read_all(world.now, other).len(), 8_000);
    }
    assert!(there.machine.memory_bytes() <= at_rest + 1_000, "{at_rest} {}", there.machine.memory_bytes());
    here.machine.close(world.now, id);
    there.machine.close(world.now, other);
    world.run(Duration::from_secs(60), &mut [&mut here, &mut there]);
    assert_eq!((here.machine.memory_bytes(), there.machine.memory_bytes()), (0, 0));
}

#[test]
fn a_stream_that_is_finished_is_not_charged_while_its_connection_stays() {
    let pems = pems();
    let mut world = World::new(1);
    let (mut here, mut there, id, other) = connected(&mut world, &pems);
    let (at_rest, here_at_rest) = (there.machine.memory_bytes(), here.machine.memory_bytes());
    let taken = there.machine.write(world.now, other, &[7; 40_000]);
    there.machine.finish(world.now, other);
    assert!(taken > 10_000 && there.machine.memory_bytes() >= at_rest + taken, "{taken}");
    let mut read = 0;
    for _ in 0..20 {
        world.run(SOON, &mut [&mut here, &mut there]);
        read += here.read_all(world.now, id).len();
    }
    assert_eq!(read, taken);
    assert!(there.told.contains(&(other, DatagramEvent::Said)));
    assert!(there.machine.memory_bytes() <= at_rest, "{at_rest} {}", there.machine.memory_bytes());
    // Nothing more can come, either.
    assert!(here.machine.memory_bytes() + RECEIVE_BYTES_FIRST as usize <= here_at_rest, "{here_at_rest} {}", here.machine.memory_bytes());
    here.machine.write(world.now, id, b"the last");
    here.machine.finish(world.now, id);
    world.run(SOON, &mut [&mut here, &mut there]);
    assert_eq!(there.read_all(world.now, other), b"the last");
    assert!(there.machine.memory_bytes() + RECEIVE_BYTES_FIRST as usize <= at_rest, "{at_rest} {}", there.machine.memory_bytes());
    assert_eq!((here.ended(id), there.ended(other)), (None, None));
}

#[test]
fn who_was_told_good_bye_takes_no_place_while_that_is_on_its_way() {
    let pems = pems();
    let mut world = World::new(1);
    let (mut here, mut there, _, other) = connected(&mut world, &pems);
    let renewed = server(&pems, QuicOptions::of_listener());
    assert!(there.machine.renew(&renewed, DatagramLimits { connections_max: 1, ..LIMITS }));
    let dialling = client(&pems, QuicOptions { early_data: false, ..QuicOptions::default() });
    let dial = |there: &mut End, world: &mut World, port| {
        let mut end = End::new(&dialling, port, None, epoch());
        let id = end.machine.connect(world.now, there.address, "server.example").expect("begun");
        world.run(SOON, &mut [&mut end, there]);
        end.machine.write(world.now, id, b"x");
        world.run(SOON, &mut [&mut end, there]);
        (end, id)
    };
    let (refused, id) = dial(&mut there, &mut world, 20);
    assert_eq!(refused.ended(id), Some(Some(FaultKind::Refused)));
    // Its peer hears nothing of it.
    assert_eq!(there.machine.write(world.now, other, b"good-bye"), 8);
    there.machine.finish(world.now, other);
    let (let_in, id) = dial(&mut there, &mut world, 21);
    assert_eq!((let_in.ended(id), there.accepted().len()), (None, 2));
    let (refused, id) = dial(&mut there, &mut world, 22);
    assert_eq!(refused.ended(id), Some(Some(FaultKind::Refused)), "nor does it leave two places");
    there.machine.close(world.now, other);
    let (refused, id) = dial(&mut there, &mut world, 23);
    assert_eq!(refused.ended(id), Some(Some(FaultKind::Refused)));
    world.run(SOON, &mut [&mut here, &mut there]);
}
