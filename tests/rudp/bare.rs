//! Bare packets in datagrams: what is a connection, what it may get, how it ends.

use std::net::SocketAddr;

use nlmqtt::base::Duration;
use nlmqtt::stack::rudp::{Generation, Options};
use nlmqtt::stack::{ConnectionId, DatagramEndpoint as _, DatagramEvent as Event, FaultKind};

use crate::first::{Table, hex};
use crate::world::HELLO;

/// What IPv4 and UDP put before each datagram.
const HEADERS: usize = 28;
const CONNACK: &[u8] = &[0x20, 2, 0, 0];
const PINGREQ: &[u8] = &[0xC0, 0];
/// A frame of generation 2, of a connection that is not there.
pub const PING: &str = "26000000a1b2c3d4e5f6071801020304050607083b20d35a";

fn bare() -> Options {
    Options { generation: Generation::Neither, ..Options::default() }
}

/// The same, where everybody of the test is believed.
fn believing() -> Options {
    Options { bare_trusted: "10.0.0.0/8".parse().expect("a network"), ..bare() }
}

fn joined(table: &mut Table) -> ConnectionId {
    assert!(table.comes(HELLO).is_empty(), "nothing but what its user has to say");
    let id = table.accepted();
    assert_eq!(table.read(id), HELLO);
    id
}

fn publish(payload_bytes: usize) -> Vec<u8> {
    assert!(payload_bytes < 125);
    [&[0x30, payload_bytes as u8 + 3, 0, 1, b't'][..], &vec![7; payload_bytes]].concat()
}

fn has_ended(table: &Table) -> bool {
    table.events.iter().any(|(_, event)| matches!(event, Event::Ended(_)))
}

#[test]
fn a_packet_is_a_datagram_both_ways() {
    let mut table = Table::new(&believing(), true);
    let id = joined(&mut table);
    assert_eq!(table.write(id, CONNACK), [CONNACK]);
    assert!(table.comes(&hex("82 08 00 01 00 03 74 2F 23 01")).is_empty());
    assert!(table.comes(PINGREQ).is_empty());
    assert_eq!(table.read(id), hex("82 08 00 01 00 03 74 2F 23 01 C0 00"));
    let both = [&hex("90 03 00 01 01")[..], &publish(100)].concat();
    assert_eq!(table.write(id, &both), [both[..5].to_vec(), both[5..].to_vec()]);
    assert!(table.write(id, &both[..3]).is_empty(), "half a packet waits for the rest");
    assert_eq!(table.write(id, &both[3..5]), [&both[..5]]);
    // What is no packet, or more than one, is not a datagram of it.
    for wrong in ["C0 00 C0 00", "30 05 00", "C0"] {
        table.comes(&hex(wrong));
    }
    assert!(table.read(id).is_empty());
    assert_eq!(table.endpoint.counters().malformed, 3);
    table.endpoint.finish(table.now, id);
    assert!(table.sent().is_empty(), "there is no good-bye");
    assert_eq!(table.ended(), None);
    table.endpoint.close(table.now, id);
    assert_eq!((table.endpoint.connections(), table.endpoint.deadline()), (0, None));
}

#[test]
fn a_client_needs_no_answer_to_begin_and_its_last_word_still_leaves() {
    let mut table = Table::new(&bare(), false);
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    assert!(table.sent().is_empty());
    let opened = table.events.remove(0).1;
    assert!(matches!(opened, Event::Opened(about) if about.packet_bytes_max == Some(8_192)));
    assert!(table.endpoint.connect(table.now, stock, "").is_err(), "an address is one connection");
    assert_eq!(table.write(id, HELLO), [HELLO]);
    assert!(table.after(Duration::from_secs(1_000)).is_empty(), "nothing is repeated");
    table.comes(CONNACK);
    assert_eq!(table.read(id), CONNACK);
    assert_eq!(table.endpoint.statistics(id).expect("it is there").generation, 0);
    assert_eq!(table.endpoint.write(table.now, id, &[0xE0, 0]), 2);
    table.endpoint.close(table.now, id);
    assert_eq!(table.sent(), [[0xE0, 0]]);
    assert_eq!(table.endpoint.connections(), 0);
}

#[test]
fn nothing_answers_bare_packets_where_they_were_not_asked_for() {
    let mut table = Table::new(&Options::default(), true);
    assert!(table.comes(HELLO).is_empty() && table.comes(PINGREQ).is_empty());
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().malformed), (0, 2));
    // Asked for beside both generations.
    let mut table = Table::new(&Options { bare: true, ..Options::default() }, true);
    assert!(table.comes(PINGREQ).is_empty(), "and even there a connection begins with CONNECT");
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unknown), (0, 1));
    let id = joined(&mut table);
    assert_eq!(table.write(id, CONNACK), [CONNACK]);
    // This address speaks so; a frame of generation 1 from it is nobody's.
    assert!(table.comes(&hex("01 00 01 00 C0 00")).is_empty());
    assert_eq!(table.endpoint.counters().unknown, 2);
    table.stock.set_port(9);
    assert_eq!(table.comes(&hex("03 00 00 00")), [hex("04 00 00 00")]);
    // Where nothing else was asked for, nothing else is answered.
    let mut table = Table::new(&bare(), true);
    assert!(table.comes(&hex("03 00 00 00")).is_empty());
    let connect = hex("030000800000000000000000a1b2c3d4e5f60718020004b00000400000780000000000000000000068f5af73");
    assert!(table.comes(&connect).is_empty());
    assert!(table.comes(&hex(PING)).is_empty(), "no RESET, either");
    assert_eq!(table.endpoint.counters().unknown, 3);
}

#[test]
fn an_address_gets_no_more_bytes_than_came_from_it_unless_it_is_believed() {
    let mut table = Table::new(&bare(), true);
    let id = joined(&mut table);
    let mut came = HEADERS + HELLO.len();
    let mut sent: usize = table.write(id, CONNACK).iter().map(|packet| HEADERS + packet.len()).sum();
    assert_eq!(sent, HEADERS + CONNACK.len(), "a CONNACK is always afforded");
    for _ in 0..20 {
        sent += table.write(id, &publish(120)).iter().map(|packet| HEADERS + packet.len()).sum::<usize>();
    }
    let subscribe = hex("82 06 00 01 00 01 23 00");
    let (mut more, mut rounds) = (0, 0);
    for _ in 0..40 {
        came += HEADERS + subscribe.len();
        let packets = table.comes(&subscribe);
        more += packets.len();
        sent += packets.iter().map(|packet| HEADERS + packet.len()).sum::<usize>();
        assert!(sent <= came, "{sent} for {came}");
        rounds += 1;
    }
    assert!(more > rounds / 8, "what waits goes with what comes: {more}");
    // One of this host, and one who is trusted, get what there is for them.
    for from in ["127.0.0.1:5000", "[::1]:5000", "[::ffff:127.0.0.1]:5000", "10.1.2.3:5000"] {
        let mut table = Table::new(&believing(), true);
        table.stock = from.parse().expect("an address");
        let id = joined(&mut table);
        let packets: usize = (0..20).map(|_| table.write(id, &publish(120)).len()).sum();
        assert_eq!(packets, 20, "{from}");
    }
}

#[test]
fn those_who_are_not_believed_are_limited_and_one_source_has_a_rate() {
    let options = Options { unproven_max: 4, newcomers_per_source_per_second: 6, ..bare() };
    let mut table = Table::new(&options, true);
    for number in 0..10 {
        table.stock = SocketAddr::from(([10, 0, 0, number], 1_000));
        table.comes(HELLO);
    }
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (4, 6));
    // Those of this host are believed, and only their rate is looked at.
    for port in 0..10 {
        table.stock = SocketAddr::from(([127, 0, 0, 1], 1_000 + port));
        table.comes(HELLO);
    }
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (10, 10));
    table.endpoint.refuse_all();
    table.stock.set_port(7);
    table.now += Duration::from_secs(1);
    table.comes(HELLO);
    assert_eq!(table.endpoint.counters().unproven_refused, 11);
}

/// Connections that came in so far, whoever of them is still there.
fn accepted(table: &Table) -> u64 {
    table.endpoint.counters().accepted
}

/// Somebody at this address says this.
fn from(table: &mut Table, number: u8, packet: &[u8]) {
    table.stock = SocketAddr::from(([10, 0, 0, number], 1_000));
    table.comes(packet);
}

#[test]
fn forgers_of_connects_hold_no_place_that_a_newcomer_wants() {
    // HELLO has a keep-alive of 600 s, and may have one of 18 h.
    let mut hello = HELLO.to_vec();
    hello[10..12].copy_from_slice(&[0xFF, 0xFF]);
    let mut table = Table::new(&Options { unproven_max: 4, newcomers_per_source_per_second: 100, ..bare() }, true);
    for number in 0..4 {
        from(&mut table, number, &hello);
        table.after(Duration::from_secs(1));
    }
    from(&mut table, 9, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().unproven_refused), (4, 1), "they have ten seconds each");
    table.after(Duration::from_millis(6_500));
    assert!(!has_ended(&table));
    from(&mut table, 9, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (5, 1));
    assert_eq!(table.ended(), Some(FaultKind::Silent));
    from(&mut table, 10, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (5, 1), "the next one has half a second more");
    // Who is believed takes nobody's place.
    table.after(Duration::from_secs(60));
    table.stock = SocketAddr::from(([127, 0, 0, 1], 1_000));
    table.comes(HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (6, 1));
    // A flood of them costs each other their places.
    for number in 20..120 {
        from(&mut table, number, &hello);
    }
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (10, 5));
}

#[test]
fn who_was_heard_of_keeps_its_place_for_as_long_as_silence_is_allowed() {
    let mut table = Table::new(&Options { unproven_max: 4, newcomers_per_source_per_second: 100, ..bare() }, true);
    for number in 0..4 {
        from(&mut table, number, HELLO);
    }
    table.after(Duration::from_secs(5));
    for number in 0..3 {
        from(&mut table, number, PINGREQ);
    }
    table.after(Duration::from_secs(20));
    from(&mut table, 8, HELLO);
    from(&mut table, 9, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (5, 1), "of the one who has said no more");
    from(&mut table, 8, PINGREQ);
    // 300 s, whatever its keep-alive allows as long as nobody else comes.
    table.after(Duration::from_secs(270));
    from(&mut table, 0, PINGREQ);
    table.after(Duration::from_secs(20));
    let before = table.endpoint.counters().unknown;
    for number in 10..20 {
        from(&mut table, number, HELLO);
    }
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (7, 3), "those of 1 and 2");
    from(&mut table, 0, PINGREQ);
    from(&mut table, 8, PINGREQ);
    assert_eq!(table.endpoint.counters().unknown, before);
    from(&mut table, 1, PINGREQ);
    assert_eq!(table.endpoint.counters().unknown, before + 1);
}

#[test]
fn who_came_when_all_others_had_spoken_gives_way_as_soon_as_anybody() {
    let mut table = Table::new(&Options { unproven_max: 4, newcomers_per_source_per_second: 100, ..bare() }, true);
    for number in 0..4 {
        from(&mut table, number, HELLO);
    }
    table.after(Duration::from_secs(5));
    for number in 0..4 {
        from(&mut table, number, PINGREQ);
    }
    // The list is looked at, and nobody in it is due for minutes.
    from(&mut table, 8, HELLO);
    assert_eq!(accepted(&table), 4);
    let (leaver, _) = table.events.iter().find(|(_, event)| matches!(event, Event::Accepted { .. })).expect("let in");
    let leaver = *leaver;
    table.endpoint.finish(table.now, leaver);
    table.endpoint.close(table.now, leaver);
    table.sent();
    assert_eq!(table.endpoint.connections(), 3);
    from(&mut table, 9, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (5, 0));
    table.after(Duration::from_secs(11));
    from(&mut table, 10, HELLO);
    assert_eq!((accepted(&table), table.endpoint.counters().gave_way), (6, 1), "the place of 9");
}

#[test]
fn those_who_never_prove_their_address_leave_generation_1_its_places() {
    let mut table = Table::new(&Options { bare: true, unproven_max: 4, ..Options::default() }, true);
    for number in 0..10 {
        table.stock = SocketAddr::from(([10, 0, 0, number], 1_000));
        table.comes(HELLO);
    }
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (4, 6));
    table.stock.set_port(7);
    assert_eq!(table.comes(&[&hex("01 00 01 00")[..], HELLO].concat()), [hex("02 00 01 00")]);
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (5, 6));
}

#[test]
fn a_silent_client_of_bare_packets_is_forgotten_and_not_before_its_keep_alive_allows() {
    let mut quick = HELLO.to_vec();
    quick[10..12].copy_from_slice(&[0, 60]);
    // HELLO has a keep-alive of 600 s: one and a half of that may pass. 60 s are nothing beside the option.
    for (connect, seconds) in [(HELLO, 900), (&quick, 300)] {
        let mut table = Table::new(&bare(), true);
        table.comes(connect);
        let id = table.accepted();
        table.after(Duration::from_secs(seconds - 1));
        assert!(!has_ended(&table));
        assert!(table.after(Duration::from_secs(2)).is_empty());
        assert_eq!(table.ended(), Some(FaultKind::Silent));
        table.endpoint.close(table.now, id);
        assert_eq!(table.endpoint.connections(), 0);
    }
}

#[test]
fn only_its_own_connect_begins_a_connection_anew() {
    let mut table = Table::new(&believing(), true);
    let id = joined(&mut table);
    // A copy the network made, and somebody else's.
    table.comes(HELLO);
    let mut other = HELLO.to_vec();
    *other.last_mut().expect("bytes") = b'2';
    table.after(Duration::from_secs(10));
    table.comes(&other);
    assert!(!has_ended(&table) && table.read(id).is_empty());
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (1, 1));
    table.comes(HELLO);
    assert_eq!(table.ended(), Some(FaultKind::Silent));
    let again = table.accepted();
    assert!(again != id);
    assert_eq!(table.read(again), HELLO);
    table.endpoint.close(table.now, id);
    table.comes(PINGREQ);
    assert_eq!(table.read(again), PINGREQ, "the address is the newer one's");
}

#[test]
fn what_nobody_reads_is_lost_and_counted_and_takes_no_more_memory() {
    let mut table = Table::new(&believing(), true);
    table.comes(HELLO);
    let id = table.accepted();
    let large = [&[0x30, 0xE8, 0x07][..], &[0; 1_000]].concat();
    for _ in 0..200 {
        table.comes(&large);
    }
    let statistics = table.endpoint.statistics(id).expect("it is there");
    assert!((60..80).contains(&statistics.frames_not_kept), "{statistics:?}");
    let held = table.endpoint.memory_bytes();
    for _ in 0..200 {
        table.comes(&large);
    }
    assert_eq!(table.endpoint.memory_bytes(), held);
}
