//! Strangers, forgers and noise: what they cost, and what they cannot do.
//!
//! `RUDP_FRAMES=n` sends so many random and mutated frames.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use nlmqtt::base::{Duration, Rng};
use nlmqtt::stack::rudp::frame::{AckBlock, Close, Data, Frame, Hello};
use nlmqtt::stack::rudp::{Options, ResetKey, Statistics};
use nlmqtt::stack::{DatagramEndpoint as _, DatagramEvent as Event, FaultKind};

use crate::first::Table;
use crate::stream::number;
use crate::world::{CLIENT, HELLO, SERVER, Way, World, connected, endpoint};

fn bytes(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

fn hello(receiver: u64, sender: u64) -> Hello {
    Hello { receiver, sender, version: 2, frame_bytes_max: 1_200, limit: 16_384, idle_s: 120, ..Hello::default() }
}

fn address(number: u32) -> SocketAddr {
    let [.., high, middle, low] = number.to_be_bytes();
    SocketAddr::from(([10, high, middle, low], 1_000))
}

fn world() -> World {
    World::new(3, Way::default(), [&Options::default(), &Options::default()])
}

/// All datagrams of one side from now on.
fn taped(world: &mut World, side: usize) -> Rc<RefCell<Vec<Vec<u8>>>> {
    let tape = Rc::new(RefCell::new(Vec::new()));
    let copy = Rc::clone(&tape);
    world.tap = Some(Box::new(move |from, datagram| {
        if from == side {
            copy.borrow_mut().push(datagram.to_vec());
        }
        true
    }));
    tape
}

/// The id this side gave the other one, from a tape of frames it was sent: all of generation 2 have it in the same place.
fn receiver_of(datagram: &[u8]) -> u64 {
    u64::from_be_bytes(datagram[4..12].try_into().expect("eight bytes"))
}

#[test]
fn a_flood_of_forged_connects_makes_no_state_and_is_answered_with_no_more_than_came() {
    let mut table = Table::new(&Options::default(), true);
    let before = table.endpoint.memory_bytes();
    let (mut came, mut answered) = (0, 0);
    for number in 0..20_000_u32 {
        table.stock = address(number);
        let frame = bytes(&Frame::Connect(hello(0, u64::from(number) + 1)));
        came += frame.len();
        answered += table.comes(&frame).iter().map(Vec::len).sum::<usize>();
        // And with an id it was not given.
        let guess = bytes(&Frame::Connect(hello(u64::from(number) + 7, 1)));
        came += guess.len();
        answered += table.comes(&guess).iter().map(Vec::len).sum::<usize>();
        table.comes(&[3, 0, 0, 0]);
    }
    assert!(answered <= came, "{answered} for {came}");
    assert_eq!(table.endpoint.connections(), 0);
    assert!(table.endpoint.memory_bytes() - before <= 256 * 40, "the table of rates and nothing else");
    assert!(table.events.is_empty());
}

#[test]
fn a_cookie_is_good_for_its_address_its_client_and_a_minute() {
    let mut table = Table::new(&Options::default(), true);
    let given = |table: &mut Table| {
        let answers = table.comes(&bytes(&Frame::Connect(hello(0, 9))));
        let Ok(Frame::Connack { hello, exists: false }) = Frame::read(&answers[0]) else { panic!("a CONNACK") };
        assert_eq!((hello.receiver, hello.version), (9, 2));
        hello.sender
    };
    let id = given(&mut table);
    let right = table.stock;
    table.stock = address(1);
    table.comes(&bytes(&Frame::Connect(hello(id, 9))));
    table.stock = right;
    table.comes(&bytes(&Frame::Connect(hello(id, 8))));
    table.after(Duration::from_secs(60));
    table.comes(&bytes(&Frame::Connect(hello(id, 9))));
    assert_eq!(table.endpoint.connections(), 0);
    let id = given(&mut table);
    let answers = table.comes(&bytes(&Frame::Connect(hello(id, 9))));
    assert!(matches!(Frame::read(&answers[0]), Ok(Frame::Connack { exists: true, .. })));
    // The same again: the same answer, and nothing changes.
    assert_eq!(table.comes(&bytes(&Frame::Connect(hello(id, 9)))), answers);
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().accepted), (1, 1));
}

/// So many clients with cookies from addresses of this host; how many were let in.
fn crowd(table: &mut Table, count: u16, of: impl Fn(u16) -> SocketAddr) -> usize {
    let mut refused = 0;
    for number in 0..count {
        table.stock = of(number);
        let client = u64::from(number) + 1;
        let answers = table.comes(&bytes(&Frame::Connect(hello(0, client))));
        let Ok(Frame::Connack { hello: answer, .. }) = Frame::read(&answers[0]) else { panic!("a CONNACK") };
        let answers = table.comes(&bytes(&Frame::Connect(hello(answer.sender, client))));
        if let Ok(Frame::Close(close)) = Frame::read(&answers[0]) {
            assert_eq!((close.id, close.reason), (client, 3));
            refused += 1;
        }
    }
    usize::from(count) - refused
}

#[test]
fn half_open_peers_are_limited_in_all_and_by_source_and_forgotten() {
    let mut table = Table::new(&Options::default(), true);
    assert_eq!(crowd(&mut table, 40, |port| SocketAddr::from(([10, 0, 0, 1], 1_000 + port))), 32);
    assert_eq!(table.endpoint.counters().refused, 8);
    let mut table = Table::new(&Options::default(), true);
    let neighbour = |number: u16| SocketAddr::from(([0x2001, 0xDB8, 0, 1, 0, 0, 0, number], 1_000));
    assert_eq!(crowd(&mut table, 40, neighbour), 32, "a customer has a whole network of IPv6");
    let mut table = Table::new(&Options::default(), true);
    assert_eq!(crowd(&mut table, 300, |number| address(number.into())), 256);
    table.after(Duration::from_secs(12));
    assert_eq!(table.endpoint.connections(), 0, "nobody sent a first packet");
    assert_eq!((table.events.len(), table.endpoint.counters().half_open_lost), (256, 256));
    assert!(table.events.iter().all(|(_, event)| matches!(event, Event::Failed { fault, .. } if fault.kind == FaultKind::Timeout)));
}

#[test]
fn connections_max_refuses_one_more_with_a_reason() {
    let mut world = world();
    let mut limits = crate::world::limits();
    limits.connections_max = 1;
    world.endpoints[SERVER].renew(&nlmqtt::stack::rudp::Maker::new(Options::default(), [[1, 2], [3, 4], [5, 6]]), limits);
    connected(&mut world);
    let second = world.connect();
    let (id, event) = world.wait(CLIENT, |event| matches!(event, Event::Ended(_)));
    assert_eq!(id, second);
    assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Refused));
    assert_eq!(world.endpoints[SERVER].counters().refused, 1);
    let (_, told) = world.wait(SERVER, |event| matches!(event, Event::Failed { .. }));
    assert!(matches!(told, Event::Failed { peer, fault } if peer == world.client_address && fault.kind == FaultKind::Refused));
    // Of a flood all are counted, and some are told of.
    for number in 0..1_000 {
        world.inject(SERVER, address(number), &[&[1, 0, 1, 0], HELLO].concat());
    }
    world.run(Duration::from_millis(1));
    assert_eq!(world.events[SERVER].iter().filter(|(_, event)| matches!(event, Event::Failed { .. })).count(), 64);
    assert_eq!(world.endpoints[SERVER].counters().unproven_refused, 1_000);
}

#[test]
fn whoever_goes_down_takes_nobody_in_and_says_so() {
    let mut world = world();
    world.endpoints[SERVER].refuse_all();
    world.connect();
    let (_, event) = world.wait(CLIENT, |event| matches!(event, Event::Ended(_)));
    assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Refused));
}

#[test]
fn an_ack_for_what_was_never_sent_ends_the_connection_with_reason_2() {
    let mut world = world();
    let tape = taped(&mut world, CLIENT);
    let (client, server) = connected(&mut world);
    let id = receiver_of(tape.borrow().last().expect("frames"));
    world.write(SERVER, server, b"abc");
    world.run(Duration::from_secs(1));
    let to_client = taped(&mut world, SERVER);
    let forged = bytes(&Frame::Ack { id, block: AckBlock { largest: 1_000, next: 3, limit: 99_999, ..AckBlock::default() } });
    let from = world.client_address;
    world.inject(SERVER, from, &forged);
    world.run(Duration::from_secs(1));
    assert!(to_client.borrow().iter().any(|frame| matches!(Frame::read(frame), Ok(Frame::Close(Close { reason: 2, .. })))));
    for (side, id) in [(SERVER, server), (CLIENT, client)] {
        let (ended, event) = world.wait(side, |event| matches!(event, Event::Ended(_)));
        assert_eq!(ended, id);
        assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Datagram));
    }
}

#[test]
fn more_bytes_than_the_limit_end_the_connection_with_reason_2() {
    let mut world = world();
    let tape = taped(&mut world, CLIENT);
    let (_, server) = connected(&mut world);
    let id = receiver_of(tape.borrow().last().expect("frames"));
    let data = Data { id, number: 500, offset: 1 << 20, answer_at_once: false, ack: None, bytes: b"x" };
    let from = world.client_address;
    world.inject(SERVER, from, &bytes(&Frame::Data(data)));
    let (ended, event) = world.wait(SERVER, |event| matches!(event, Event::Ended(_)));
    assert_eq!(ended, server);
    assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Datagram));
}

#[test]
fn a_reset_is_believed_with_its_token_only() {
    let mut world = world();
    let tape = taped(&mut world, CLIENT);
    let (client, _) = connected(&mut world);
    world.run(Duration::from_secs(5));
    let listener_id = receiver_of(tape.borrow().last().expect("frames"));
    let from = world.server_address;
    world.inject(CLIENT, from, &bytes(&Frame::Reset { id: listener_id, token: 1 }));
    world.inject(CLIENT, from, &bytes(&Frame::Reset { id: 1, token: 1 }));
    world.run(Duration::from_secs(5));
    assert!(world.events[CLIENT].iter().all(|(_, event)| !matches!(event, Event::Ended(_))));
    // A listener that has begun anew with its stored key makes it known with the next frame.
    let options = Options { reset_key: Some(ResetKey([5, 6])), ..Options::default() };
    let mut world = World::new(3, Way::default(), [&Options::default(), &options]);
    let (restarted, _) = connected(&mut world);
    world.run(Duration::from_secs(5));
    world.endpoints[SERVER] = endpoint(99, &options, true);
    let start = world.now;
    world.write(CLIENT, restarted, b"\xC0\x00");
    let (_, event) = world.wait(CLIENT, |event| matches!(event, Event::Ended(_)));
    assert!(matches!(event, Event::Ended(Some(fault)) if fault.kind == FaultKind::Silent));
    assert!(world.now.since(start) < Duration::from_secs(1), "no time-out is waited for");
    let _ = client;
}

#[test]
fn resets_are_limited_and_answer_no_handshake_and_no_reset() {
    let mut table = Table::new(&Options::default(), true);
    for frame in [
        bytes(&Frame::Connack { hello: hello(5, 6), exists: true }),
        bytes(&Frame::Reset { id: 5, token: 6 }),
        bytes(&Frame::Ping { id: 5, opaque: 6, is_answer: false })[..23].to_vec(),
        [0x21; 30].to_vec(),
    ] {
        assert!(table.comes(&frame).is_empty());
    }
    let answered = (0..1_000).filter(|number| !table.comes(&bytes(&Frame::Ping { id: number + 1, opaque: 6, is_answer: false })).is_empty()).count();
    assert_eq!((answered, table.endpoint.counters().resets, table.endpoint.counters().replies_dropped), (100, 100, 900));
    let mut client = Table::new(&Options::default(), false);
    assert!(client.comes(&bytes(&Frame::Ping { id: 1, opaque: 6, is_answer: false })).is_empty(), "who listens to nobody resets nobody");
}

#[test]
fn an_old_frame_from_elsewhere_moves_nobody_and_a_new_one_asks_first() {
    let mut world = world();
    let tape = taped(&mut world, CLIENT);
    let (client, server) = connected(&mut world);
    let stranger: SocketAddr = "10.66.66.66:666".parse().expect("an address");
    let old: Vec<Vec<u8>> = tape.borrow().iter().filter(|frame| frame[0] == 0x21).cloned().collect();
    let answers = taped(&mut world, SERVER);
    old.iter().for_each(|frame| world.inject(SERVER, stranger, frame));
    world.run(Duration::from_secs(5));
    assert!(answers.borrow().iter().all(|frame| frame[0] != 0x26), "a replay is not worth a question");
    // On the path somebody takes a frame, and sends it from elsewhere before it arrives.
    world.is_down = true;
    let tape = taped(&mut world, CLIENT);
    world.write(CLIENT, client, b"\xC0\x00");
    world.flush();
    let taken = tape.borrow()[0].clone();
    let answers = taped(&mut world, SERVER);
    world.inject(SERVER, stranger, &taken);
    world.write(SERVER, server, &[7; 10_000]);
    world.run(Duration::from_secs(5));
    world.is_down = false;
    let to_stranger: usize = answers.borrow().iter().filter(|frame| frame[0] == 0x26).map(Vec::len).sum();
    assert!(to_stranger > 0 && to_stranger <= 3 * taken.len(), "{to_stranger} for {}", taken.len());
    world.run(Duration::from_secs(60));
    assert!(world.events[SERVER].iter().all(|(_, event)| !matches!(event, Event::Moved(_))));
    let mut buffer = vec![0; 20_000];
    assert_eq!(world.read(CLIENT, client, &mut buffer), Some(10_000), "the true peer has it all");
}

#[test]
fn random_and_mutated_frames_do_nothing_and_leave_nothing() {
    let mut world = World::new(3, Way::default(), [&Options::default(), &Options { bare: true, ..Options::default() }]);
    let tape = taped(&mut world, CLIENT);
    let (client, server) = connected(&mut world);
    for side in [CLIENT, SERVER] {
        let id = if side == CLIENT { client } else { server };
        world.write(side, id, &[0x30; 5_000]);
    }
    world.run(Duration::from_secs(2));
    let mut known = tape.borrow().clone();
    // And bare packets, with sessions of their own.
    known.extend([HELLO.to_vec(), vec![0xC0, 0], [&[1, 0, 1, 0], HELLO].concat()]);
    world.tap = None;
    let mut rng = Rng::with_seed(number("RUDP_SEED", 1));
    let (mut before, count) = (None, number("RUDP_FRAMES", 100_000));
    for round in 0..count {
        let mut frame = match rng.below(4) {
            0 => (0..rng.below(80)).map(|_| rng.u64() as u8).collect(),
            1 => {
                let kinds = [1, 2, 3, 4, 5, 0x10, 0x30, 0xC0, 0x21, 0x22, 0x25, 0x26, 0x27, 0x28];
                let mut frame: Vec<u8> = (0..4 + rng.below(60)).map(|_| rng.u64() as u8).collect();
                frame[0] = kinds[rng.below(kinds.len() as u64) as usize];
                frame[3] &= 0x83;
                frame
            }
            _ => known[rng.below(known.len() as u64) as usize].clone(),
        };
        for _ in 0..rng.below(4) {
            if !frame.is_empty() {
                let at = rng.below(frame.len() as u64) as usize;
                match rng.below(3) {
                    0 => frame[at] = rng.u64() as u8,
                    1 => frame.truncate(at),
                    _ => frame.insert(at, rng.u64() as u8),
                }
            }
        }
        // Half of them have a right checksum: what is inside is judged, too.
        if frame.len() > 16 && rng.chance(500) {
            let length = frame.len() - 4;
            frame.truncate(length);
            nlmqtt::stack::rudp::frame::seal(&mut frame, 0);
        }
        let (side, from) = if rng.chance(500) { (CLIENT, world.server_address) } else { (SERVER, address(rng.below(2_000) as u32)) };
        let from = if side == SERVER && rng.chance(300) { world.client_address } else { from };
        world.inject(side, from, &frame);
        // Nobody reads what a session out of noise has to say: it is closed.
        let events = core::mem::take(&mut world.events);
        for (id, _) in events[SERVER].iter().filter(|(_, event)| matches!(event, Event::Accepted { .. } | Event::Ended(_))) {
            world.close(SERVER, *id);
        }
        if round % 64 == 0 {
            world.run(Duration::from_millis(50));
        }
        if round == count / 4 {
            before = Some(world.endpoints.each_ref().map(|endpoint| endpoint.memory_bytes()));
        }
    }
    let after = world.endpoints.each_ref().map(|endpoint| endpoint.memory_bytes());
    let before = before.expect("a quarter of them were sent");
    for side in [CLIENT, SERVER] {
        assert!(after[side] <= before[side] + before[side] / 2 + 65_536, "side {side} grew from {} to {}", before[side], after[side]);
    }
    // Somebody new can still come.
    world.run(Duration::from_secs(700));
    world.events = [Vec::new(), Vec::new()];
    let fresh = world.connect();
    let (id, _) = world.wait(CLIENT, |event| matches!(event, Event::Opened(_)));
    assert_eq!(id, fresh);
    world.write(CLIENT, fresh, HELLO);
    world.wait(SERVER, |event| matches!(event, Event::Accepted { .. }));
}

#[test]
fn a_flood_of_generation_1_turns_away_nobody_of_generation_2() {
    let options = Options { newcomers_per_source_per_second: 1_000, ..Options::default() };
    let mut endpoint = endpoint(1, &options, true);
    let now = nlmqtt::base::Instant::START + Duration::from_secs(1);
    let mut comes = |from, bytes: &[u8]| endpoint.receive(now, &nlmqtt::stack::Received { from, to: None, ecn: 0, bytes });
    for number in 0..5_000 {
        comes(address(number), &[3, 0, 0, 0]);
        comes(address(number), &[&[1, 0, 1, 0], HELLO].concat());
    }
    for number in 0..100 {
        comes(address(number), &bytes(&Frame::Connect(hello(0, u64::from(number) + 1))));
    }
    let (mut out, mut answers) = (nlmqtt::stack::Transmit::default(), [0, 0]);
    while endpoint.transmit(now, 1, &mut out) {
        answers[usize::from(out.bytes.len() == 44)] += 1;
    }
    let [of_first, of_second] = answers;
    assert!(of_second == 100 && (64..=256).contains(&of_first), "{answers:?}");
    let counters = endpoint.counters();
    assert!(counters.unproven_refused >= 9_000 && counters.refused == 0, "{counters:?}");
}

#[test]
fn those_who_are_there_are_served_before_newcomers_of_the_same_turn() {
    let mut world = world();
    let tape = taped(&mut world, CLIENT);
    let (client, server) = connected(&mut world);
    world.is_down = true;
    world.write(CLIENT, client, b"\xC0\x00");
    world.flush();
    let frame = tape.borrow().last().expect("a frame").clone();
    // All in one turn: thousands of newcomers, and somebody who is there behind them.
    let (before, from) = (world.endpoints[SERVER].counters(), world.client_address);
    for number in 0..3_000 {
        world.inject(SERVER, address(number), &bytes(&Frame::Connect(hello(0, u64::from(number) + 1))));
    }
    world.inject(SERVER, from, &frame);
    let mut buffer = [0; 8];
    assert_eq!(world.read(SERVER, server, &mut buffer), Some(2), "it has arrived");
    assert_eq!(world.endpoints[SERVER].counters().cookies, before.cookies, "and no newcomer has cost anything yet");
    world.flush();
    let after = world.endpoints[SERVER].counters();
    assert_eq!((after.cookies - before.cookies, after.refused - before.refused), (1_024, 3_000 - 1_024));
}

#[test]
fn an_established_peer_keeps_its_rate_under_a_flood() {
    let options = Options { generation: nlmqtt::stack::rudp::Generation::Two, ..Options::default() };
    let mut world = World::new(9, Way::default(), [&options, &Options::default()]);
    let (client, server) = connected(&mut world);
    let (mut read, mut buffer) = (0, [0; 4_096]);
    for turn in 0..400_u32 {
        // 1 Mbit/s: 1,250 bytes each 10 ms.
        world.write(CLIENT, client, &[7; 1_250]);
        for number in 0..50 {
            let forged = bytes(&Frame::Connect(hello(0, u64::from(turn * 50 + number) + 1)));
            world.inject(SERVER, address(turn * 50 + number), &forged);
        }
        world.run(Duration::from_millis(10));
        while let Some(count) = world.read(SERVER, server, &mut buffer) {
            read += count;
        }
    }
    assert!(read >= 400 * 1_250 * 95 / 100, "{read}");
    assert_eq!(world.endpoints[SERVER].connections(), 1);
    let Statistics { frames_lost, .. } = world.statistics(CLIENT, client);
    assert_eq!(frames_lost, 0);
}
