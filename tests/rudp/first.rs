//! Generation 1, byte for byte as stock peers speak it: what this side sends is compared, what it is sent is written by hand.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use nlmqtt::base::{Duration, Instant};
use nlmqtt::stack::rudp::{Endpoint, Generation, Maker, Options};
use nlmqtt::stack::{ConnectionId, DatagramEndpoint as _, DatagramEvent as Event, DatagramLimits, FaultKind, Received, Transmit};

use crate::world::{CLIENT, HELLO, SERVER, Way, World, endpoint, limits};

const STOCK: &str = "10.0.0.9:14567";

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(core::str::from_utf8(pair).expect("digits"), 16).expect("hex")).collect()
}

/// One endpoint, and a stock peer that is played by the test.
pub struct Table {
    pub endpoint: Endpoint,
    pub now: Instant,
    pub stock: SocketAddr,
    pub events: Vec<(ConnectionId, Event)>,
}

impl Table {
    pub fn new(options: &Options, is_listener: bool) -> Self {
        let now = Instant::START + Duration::from_secs(1);
        Self { endpoint: endpoint(1, options, is_listener), now, stock: STOCK.parse().expect("an address"), events: Vec::new() }
    }

    /// What is sent now, to whoever it is.
    pub fn sent_to(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        let (mut out, mut sent) = (Transmit::default(), Vec::new());
        while self.endpoint.transmit(self.now, 1, &mut out) {
            sent.push((out.to, out.bytes.clone()));
        }
        while let Some(event) = self.endpoint.event() {
            self.events.push(event);
        }
        sent
    }

    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        self.sent_to().into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// A datagram comes; what is answered.
    pub fn comes(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let from = self.stock;
        self.endpoint.receive(self.now, &Received { from, to: None, ecn: 0, bytes });
        self.sent()
    }

    /// Time passes; what is sent then.
    pub fn after(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let until = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.endpoint.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.endpoint.expire(self.now);
            sent.extend(self.sent());
        }
        self.now = until;
        sent
    }

    pub fn accepted(&mut self) -> ConnectionId {
        let index = self.events.iter().position(|(_, event)| matches!(event, Event::Accepted { .. })).expect("accepted");
        self.events.remove(index).0
    }

    pub fn ended(&mut self) -> Option<FaultKind> {
        let index = self.events.iter().position(|(_, event)| matches!(event, Event::Ended(_))).expect("ended");
        let Event::Ended(fault) = self.events.remove(index).1 else { unreachable!("it was looked for") };
        fault.map(|fault| fault.kind)
    }

    pub fn read(&mut self, id: ConnectionId) -> Vec<u8> {
        let mut buffer = vec![0; 100_000];
        let count = self.endpoint.read(self.now, id, &mut buffer).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    pub fn write(&mut self, id: ConnectionId, bytes: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(self.endpoint.write(self.now, id, bytes), bytes.len());
        self.sent()
    }

    /// A stock client comes in, and is proved.
    fn joined(&mut self) -> ConnectionId {
        self.comes(&hex("03 00 00 00"));
        self.comes(&data(1, HELLO));
        let id = self.accepted();
        assert_eq!(self.read(id), HELLO);
        for probe in self.write(id, &hex("20 02 00 00")) {
            self.comes(&[2, probe[1], probe[2], 0]);
        }
        id
    }
}

fn data(sequence: u16, packet: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    [&[1, high, low, 0][..], packet].concat()
}

fn ack(sequence: u16) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    vec![2, high, low, 0]
}

fn one() -> Options {
    Options { generation: Generation::One, ..Options::default() }
}

#[test]
fn a_listener_speaks_the_golden_frames_of_generation_1() {
    let mut table = Table::new(&Options::default(), true);
    assert_eq!(table.comes(&hex("03 00 00 00")), [hex("04 00 00 00")]);
    assert_eq!(table.endpoint.connections(), 0, "no state before a packet");
    assert_eq!(table.comes(&hex("01 00 01 00 10 10 00 04 4D 51 54 54 04 02 02 58 00 04 64 65 76 31")), [hex("02 00 01 00")]);
    let id = table.accepted();
    let answers = table.write(id, &hex("20 02 00 00"));
    assert_eq!(answers[0], hex("01 00 01 00 20 02 00 00"));
    assert_eq!(answers.len(), 3, "and the two empty ones that ask for a proof");
    assert!(answers[1..].iter().all(|probe| probe.len() == 4 && probe[0] == 1 && probe[1] >= 0x80 && probe[3] == 0));
    for answer in &answers {
        assert!(table.comes(&[2, answer[1], answer[2], 0]).is_empty());
    }
    assert_eq!(table.comes(&hex("01 00 02 00 82 08 00 01 00 03 74 2F 23 01")), [hex("02 00 02 00")]);
    assert_eq!(table.comes(&hex("01 00 03 00 30 07 00 03 61 2F 62 68 69")), [hex("02 00 03 00")]);
    assert_eq!(table.comes(&hex("01 00 04 00 32 09 00 03 61 2F 62 00 01 68 69")), [hex("02 00 04 00")]);
    assert_eq!(table.read(id)[HELLO.len()..], hex("82080001000374 2F2301 3007 0003 612F62 6869 3209 0003 612F62 0001 6869"));
    // A packet that came before is acknowledged again and not delivered again.
    assert_eq!(table.comes(&hex("01 00 04 00 32 09 00 03 61 2F 62 00 01 68 69")), [hex("02 00 04 00")]);
    assert!(table.read(id).is_empty());
    assert!(table.comes(&hex("05 00 00 00")).is_empty());
    assert_eq!(table.ended(), None);
    table.endpoint.close(table.now, id);
    assert_eq!((table.endpoint.connections(), table.endpoint.deadline()), (0, None));
}

#[test]
fn sequences_wrap_through_zero() {
    let mut table = Table::new(&Options::default(), true);
    table.comes(&hex("03 00 00 00"));
    table.comes(&data(0xFFFE, HELLO));
    let id = table.accepted();
    assert_eq!(table.comes(&hex("01 FF FF 00 C0 00")), [hex("02 FF FF 00")]);
    assert_eq!(table.comes(&hex("01 00 00 00 C0 00")), [hex("02 00 00 00")]);
    assert_eq!(table.read(id)[HELLO.len()..], hex("C0 00 C0 00"));
}

#[test]
fn a_client_speaks_the_golden_frames_of_generation_1() {
    let mut table = Table::new(&one(), false);
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    assert_eq!(table.sent(), [hex("03 00 00 00")]);
    assert_eq!(table.after(Duration::from_millis(1_300)), [hex("03 00 00 00")], "CONNECT is repeated until the CONNACK");
    assert!(table.comes(&hex("04 00 00 00")).is_empty());
    assert!(matches!(table.events.remove(0).1, Event::Opened(_)));
    assert_eq!(table.write(id, HELLO), [hex("01 00 01 00 10 10 00 04 4D 51 54 54 04 02 02 58 00 04 64 65 76 31")]);
    assert!(table.comes(&ack(1)).is_empty());
    assert_eq!(table.comes(&hex("01 00 01 00 20 02 00 00")), [ack(1)]);
    assert_eq!(table.read(id), hex("20 02 00 00"));
    let packets = hex("82 08 00 01 00 03 74 2F 23 01 30 07 00 03 61 2F 62 68 69");
    assert_eq!(table.write(id, &packets), [data(2, &packets[..10]), data(3, &packets[10..])], "one packet in a frame");
    assert_eq!(table.after(Duration::from_millis(1_100)), [data(2, &packets[..10]), data(3, &packets[10..])], "sent again");
    table.comes(&ack(3));
    table.comes(&ack(2));
    assert_eq!(table.comes(&data(2, &hex("90 03 00 01 01"))), [ack(2)]);
    assert!(table.after(Duration::from_secs(20)).is_empty());
    table.endpoint.finish(table.now, id);
    assert_eq!(table.sent(), [hex("05 00 00 00")]);
    assert_eq!(table.ended(), None);
}

#[test]
fn a_packet_that_is_never_acknowledged_ends_the_connection_with_a_reason() {
    let mut table = Table::new(&one(), false);
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    table.sent();
    table.comes(&hex("04 00 00 00"));
    table.write(id, HELLO);
    let sent = table.after(Duration::from_secs(60));
    assert_eq!(sent.iter().filter(|frame| frame[0] == 1).count(), 5, "six times with the first");
    assert_eq!(table.ended(), Some(FaultKind::Silent));
    let mut nobody = Table::new(&one(), false);
    nobody.endpoint.connect(nobody.now, stock, "").expect("it begins");
    nobody.after(Duration::from_secs(16));
    assert_eq!(nobody.ended(), Some(FaultKind::Timeout));
}

#[test]
fn a_late_connack_and_a_first_packet_begin_the_order_anew() {
    let mut table = Table::new(&one(), false);
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    table.after(Duration::from_millis(1_300));
    table.comes(&hex("04 00 00 00"));
    table.write(id, HELLO);
    table.comes(&data(1, &hex("20 02 00 00")));
    table.comes(&data(2, &hex("D0 00")));
    // The stock listener has taken the second CONNECT for another client, and counts from one again.
    table.comes(&hex("04 00 00 00"));
    // A packet that comes again is only late; another one with its sequence is news.
    assert_eq!(table.comes(&data(1, &hex("20 02 00 00"))), [ack(1)]);
    assert_eq!(table.comes(&data(1, &hex("20 02 00 05"))), [ack(1)]);
    assert_eq!(table.read(id), hex("20 02 00 00 D0 00 20 02 00 05"));
}

/// Packets of both sides across a world of generation 1.
fn exchange(way: Way, drop: Option<u64>) -> (World, u64) {
    let mut world = World::new(7, way, [&one(), &Options::default()]);
    let count = Rc::new(RefCell::new(0_u64));
    let counter = Rc::clone(&count);
    world.tap = Some(Box::new(move |_, _| {
        *counter.borrow_mut() += 1;
        drop != Some(*counter.borrow() - 1)
    }));
    let client = world.connect();
    world.wait(CLIENT, |event| matches!(event, Event::Opened(_)));
    world.write(CLIENT, client, HELLO);
    let (server, _) = world.wait(SERVER, |event| matches!(event, Event::Accepted { .. }));
    let packet = |tag: u8| [0x30, 2, tag, tag ^ 0xFF];
    world.write(SERVER, server, &hex("20 02 00 00"));
    let (mut up, mut down) = (hex("20 02 00 00"), HELLO.to_vec());
    let mut got = [Vec::new(), Vec::new()];
    for tag in 0..8 {
        world.write(SERVER, server, &packet(tag));
        world.write(CLIENT, client, &packet(tag | 0x80));
        up.extend(packet(tag));
        down.extend(packet(tag | 0x80));
        world.run(Duration::from_millis(30));
    }
    world.run(Duration::from_secs(60));
    for (side, id) in [(CLIENT, client), (SERVER, server)] {
        let mut buffer = [0; 4_096];
        let read = world.read(side, id, &mut buffer).unwrap_or(0);
        got[side].extend_from_slice(&buffer[..read]);
    }
    assert_eq!(got, [up, down], "with number {drop:?} lost");
    let total = *count.borrow();
    (world, total)
}

#[test]
fn the_loss_of_each_frame_in_turn_loses_nothing() {
    let (_, total) = exchange(Way::default(), None);
    assert!(total > 36, "{total}");
    for number in 0..total {
        exchange(Way::default(), Some(number));
    }
}

#[test]
fn reorder_and_duplication_are_repaired_before_delivery() {
    let way = Way { reorder_permille: 500, double_permille: 300, ..Way::default() };
    exchange(way, None);
    exchange(Way { loss_permille: 100, ..way }, None);
}

#[test]
fn a_client_falls_back_to_what_a_stock_listener_speaks() {
    let mut table = Table::new(&Options::default(), false);
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    let called = table.sent();
    assert_eq!((called.len(), called[0].len(), &called[0][..4]), (1, 44, &[3, 0, 0, 0x80][..]));
    table.comes(&hex("04 00 00 00"));
    table.after(Duration::from_millis(499));
    assert!(table.events.is_empty(), "a better answer is waited for");
    table.after(Duration::from_millis(1));
    assert!(matches!(table.events.remove(0), (opened, Event::Opened(_)) if opened == id));
    assert_eq!(table.endpoint.counters().fallbacks, 1);
    assert_eq!(table.endpoint.statistics(id).expect("it is there").generation, 1);
    assert_eq!(table.write(id, HELLO), [data(1, HELLO)]);
}

#[test]
fn nobody_is_talked_out_of_generation_2() {
    let mut world = World::new(5, Way::default(), [&Options::default(), &Options::default()]);
    let client = world.connect();
    world.flush();
    // A forged bare CONNACK is there before the listener's answer, which wins.
    let server = world.server_address;
    world.inject(CLIENT, server, &hex("04 00 00 00"));
    world.run(Duration::from_secs(2));
    assert_eq!((world.statistics(CLIENT, client).generation, world.endpoints[CLIENT].counters().fallbacks), (2, 0));
    // To this server nobody falls back any more, whatever is lost.
    world.is_down = true;
    world.close(CLIENT, client);
    let client = world.connect();
    world.flush();
    world.inject(CLIENT, server, &hex("04 00 00 00"));
    world.run(Duration::from_secs(20));
    assert_eq!(world.endpoints[CLIENT].counters().fallbacks, 0);
    assert!(matches!(&world.wait(CLIENT, |event| matches!(event, Event::Ended(_))), (id, _) if *id == client));
}

#[test]
fn a_forged_session_of_generation_1_gets_three_times_its_bytes_and_no_more() {
    let mut table = Table::new(&Options::default(), true);
    let came = [hex("03 00 00 00"), data(1, HELLO), data(2, &hex("82 06 00 01 00 01 23 00"))];
    let mut sent: usize = came.iter().map(|frame| table.comes(frame)).flatten().map(|frame| frame.len()).sum();
    let id = table.accepted();
    // What the broker has for a subscriber of everything.
    let mut flood = vec![0x30, 0x7F];
    flood.resize(129, 0);
    for _ in 0..50 {
        sent += table.write(id, &flood).iter().map(Vec::len).sum::<usize>();
    }
    sent += table.after(Duration::from_secs(9)).iter().map(Vec::len).sum::<usize>();
    let bytes: usize = came.iter().map(Vec::len).sum();
    assert!(sent <= 3 * bytes, "{sent} for {bytes}");
    table.after(Duration::from_secs(2));
    assert_eq!(table.ended(), Some(FaultKind::Timeout), "no proof came");
}

#[test]
fn three_wrong_acknowledgements_drop_an_unproven_peer() {
    let mut table = Table::new(&Options::default(), true);
    table.comes(&data(1, HELLO));
    let id = table.accepted();
    table.write(id, &hex("20 02 00 00"));
    for guess in [0x9000, 0xA000] {
        table.comes(&ack(guess));
    }
    assert!(table.events.iter().all(|(_, event)| !matches!(event, Event::Ended(_))));
    table.comes(&ack(0xB000));
    assert_eq!(table.ended(), Some(FaultKind::Datagram));
}

#[test]
fn a_live_peer_is_replaced_after_a_connect_and_a_proof_only() {
    let mut table = Table::new(&Options::default(), true);
    let id = table.joined();
    // A packet that begins a session, without a CONNECT before it: it is one more packet of this one.
    table.comes(&data(2, HELLO));
    assert_eq!(table.read(id), HELLO);
    // A late CONNECT changes nothing.
    assert_eq!(table.comes(&hex("03 00 00 00")), [hex("04 00 00 00")]);
    assert_eq!(table.comes(&data(3, &hex("C0 00"))), [ack(3)]);
    assert_eq!(table.read(id), hex("C0 00"));
    // With its session behind it, a proof is asked for, and the old peer goes on meanwhile.
    table.after(Duration::from_secs(10));
    let probes = table.comes(&data(1, HELLO));
    assert_eq!(probes.len(), 2);
    assert_eq!(table.comes(&data(4, &hex("C0 00"))), [ack(4)]);
    table.comes(&[2, probes[0][1], probes[0][2], 0]);
    assert!(!has_ended(&table));
    assert_eq!(table.comes(&[2, probes[1][1], probes[1][2], 0]), [ack(1)]);
    assert_eq!(table.ended(), Some(FaultKind::Silent));
    let newcomer = table.accepted();
    assert!(newcomer != id);
    assert_eq!(table.read(newcomer), HELLO);
    table.endpoint.close(table.now, id);
    assert_eq!(table.comes(&data(2, &hex("C0 00"))), [ack(2)], "the address is the newcomer's");
}

fn has_ended(table: &Table) -> bool {
    table.events.iter().any(|(_, event)| matches!(event, Event::Ended(_)))
}

/// The session of somebody else.
fn other_hello() -> Vec<u8> {
    let mut other = HELLO.to_vec();
    *other.last_mut().expect("bytes") = b'2';
    other
}

#[test]
fn who_does_not_know_the_session_of_a_live_peer_does_not_take_its_place() {
    // The peer acknowledges whatever comes to its address; so what is sent there in a forger's name would be its proof.
    let mut table = Table::new(&Options::default(), true);
    let id = table.joined();
    table.after(Duration::from_secs(20));
    for sequence in [1, 2, 500] {
        assert_eq!(table.comes(&hex("03 00 00 00")), [hex("04 00 00 00")]);
        assert!(table.comes(&data(sequence, &other_hello())).is_empty(), "neither asked for a proof nor acknowledged");
    }
    assert!(table.after(Duration::from_secs(5)).is_empty() && !has_ended(&table));
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (1, 3));
    assert_eq!(table.comes(&data(2, &hex("C0 00"))), [ack(2)]);
    assert_eq!(table.read(id), hex("C0 00"), "and nothing of it was delivered");
}

#[test]
fn a_late_copy_of_the_first_packet_begins_nothing() {
    let mut table = Table::new(&Options::default(), true);
    table.joined();
    table.comes(&hex("03 00 00 00"));
    assert_eq!(table.comes(&data(1, HELLO)), [ack(1)]);
    // Nor does one whose CONNECT was long ago: it is a packet of the peer's.
    table.after(Duration::from_secs(16));
    assert_eq!(table.comes(&data(1, HELLO)), [ack(1)]);
    assert!(!has_ended(&table));
    // A stock client that reconnects goes on counting: its session is known by what it says, whatever the sequence.
    table.comes(&hex("03 00 00 00"));
    assert_eq!(table.comes(&data(700, HELLO)).len(), 2);
}

#[test]
fn a_newcomer_that_gives_no_proof_goes_and_has_to_call_again() {
    let mut table = Table::new(&Options::default(), true);
    table.joined();
    table.after(Duration::from_secs(10));
    let before = table.endpoint.memory_bytes();
    table.comes(&hex("03 00 00 00"));
    let probes = table.comes(&data(1, HELLO));
    assert!(table.endpoint.memory_bytes() > before);
    let repeated = table.after(Duration::from_secs(9));
    assert!(!repeated.is_empty() && repeated.iter().all(|frame| probes.contains(frame)), "it is asked again");
    assert!(table.after(Duration::from_secs(60)).len() <= 2, "and no more when its time is over");
    assert_eq!((table.endpoint.memory_bytes(), table.endpoint.counters().unproven_refused), (before, 1));
    for probe in &probes {
        table.comes(&[2, probe[1], probe[2], 0]);
    }
    assert_eq!(table.comes(&data(1, HELLO)), [ack(1)], "one more packet of the peer's");
    // Nor does one who guesses.
    table.comes(&hex("03 00 00 00"));
    let probes = table.comes(&data(1, HELLO));
    for guess in [1, 2, 3] {
        table.comes(&ack(0x7000 + guess));
    }
    assert_eq!(table.endpoint.counters().unproven_refused, 2);
    for probe in &probes {
        table.comes(&[2, probe[1], probe[2], 0]);
    }
    assert!(!has_ended(&table));
}

/// A client of generation 1 whose session has begun.
fn called(table: &mut Table) -> ConnectionId {
    let stock = table.stock;
    let id = table.endpoint.connect(table.now, stock, "").expect("it begins");
    table.sent();
    table.comes(&hex("04 00 00 00"));
    table.write(id, HELLO);
    table.comes(&ack(1));
    id
}

#[test]
fn an_answer_of_mqtt_that_is_missing_for_10_s_ends_a_client_of_generation_1() {
    let mut table = Table::new(&one(), false);
    called(&mut table);
    table.after(Duration::from_millis(9_900));
    assert!(!has_ended(&table));
    assert_eq!(table.after(Duration::from_millis(200)), [hex("05 00 00 00")], "CONNECT was not answered");
    assert_eq!(table.ended(), Some(FaultKind::Silent));
    let mut table = Table::new(&one(), false);
    let id = called(&mut table);
    table.comes(&data(1, &hex("20 02 00 00")));
    table.write(id, &hex("32 07 00 01 74 00 05 68 69 C0 00"));
    // The answer to one, while the acknowledgement of the other is waited for.
    table.comes(&ack(2));
    table.comes(&data(2, &hex("40 02 00 05")));
    table.after(Duration::from_millis(500));
    table.comes(&ack(3));
    table.after(Duration::from_secs(9));
    table.comes(&data(3, &hex("D0 00")));
    table.after(Duration::from_secs(30));
    assert!(!has_ended(&table), "nothing is missing");
}

#[test]
fn a_client_of_generation_1_that_has_nothing_to_say_shows_that_it_is_there() {
    let mut table = Table::new(&one(), false);
    let id = called(&mut table);
    table.comes(&data(1, &hex("20 02 00 00")));
    for _ in 0..5 {
        let sent = table.after(Duration::from_secs(101));
        assert!(matches!(&sent[..], [frame] if frame.len() == 4 && frame[0] == 1 && frame[1] >= 0x80), "an empty DATA of a sequence far away: {sent:?}");
        table.comes(&[2, sent[0][1], sent[0][2], 0]);
    }
    assert_eq!(table.write(id, &hex("E0 00")), [data(2, &hex("E0 00"))], "it has taken no sequence");
    let mut table = Table::new(&Options { keep_alive: Duration::ZERO, ..one() }, false);
    called(&mut table);
    table.comes(&data(1, &hex("20 02 00 00")));
    assert!(table.after(Duration::from_secs(899)).is_empty(), "it does not have to, and its MQTT keep-alive is 600 s");
    assert!(!has_ended(&table));
}

#[test]
fn what_was_acknowledged_behind_a_gap_is_not_lost_with_the_end() {
    let message = hex("30 04 00 01 74 31");
    let mut table = Table::new(&Options::default(), true);
    let id = table.joined();
    // The first of three is missing. A stock client does not wait for acknowledgements before it goes.
    assert_eq!(table.comes(&data(3, &message)), [ack(3)]);
    assert_eq!(table.comes(&data(4, &hex("E0 00"))), [ack(4)]);
    table.comes(&hex("05 00 00 00"));
    assert_eq!(table.read(id), [&message[..], &hex("E0 00")].concat());
    assert_eq!((table.ended(), table.endpoint.counters().packets_missing), (None, 1));
}

#[test]
fn unproven_max_and_the_rate_of_a_source_are_limits() {
    let options = Options { unproven_max: 4, newcomers_per_source_per_second: 6, ..Options::default() };
    let mut table = Table::new(&options, true);
    for port in 0..10 {
        table.stock.set_port(1_000 + port);
        table.comes(&data(1, HELLO));
    }
    assert_eq!((table.endpoint.connections(), table.endpoint.counters().unproven_refused), (4, 6));
    let answered = (0..10).filter(|_| !table.comes(&hex("03 00 00 00")).is_empty()).count();
    assert_eq!((answered, table.endpoint.counters().unproven_refused), (2, 14));
    table.after(Duration::from_secs(11));
    assert_eq!(table.events.iter().filter(|(_, event)| matches!(event, Event::Ended(_))).count(), 4);
}

#[test]
fn who_was_told_good_bye_takes_no_place_while_that_is_on_its_way() {
    let mut table = Table::new(&Options::default(), true);
    let id = table.joined();
    let few = DatagramLimits { connections_max: 1, ..limits() };
    assert!(table.endpoint.renew(&Maker::new(Options::default(), [[1, 2], [3, 4], [5, 6]]), few));
    let calls = |table: &mut Table, port| {
        table.stock.set_port(port);
        table.comes(&hex("03 00 00 00"));
        table.comes(&data(1, HELLO));
        table.endpoint.counters().accepted
    };
    assert_eq!(calls(&mut table, 20), 1);
    // Nobody acknowledges it.
    table.write(id, &hex("E0 00"));
    table.endpoint.finish(table.now, id);
    assert_eq!(calls(&mut table, 21), 2);
    assert_eq!(calls(&mut table, 22), 2, "nor does it leave two places");
    table.endpoint.close(table.now, id);
    assert_eq!(calls(&mut table, 23), 2);
    assert!(table.endpoint.connections() <= 2);
}

#[test]
fn a_silent_peer_of_generation_1_is_forgotten_after_five_minutes_or_what_its_keep_alive_allows() {
    let mut quick = HELLO.to_vec();
    quick[10..12].copy_from_slice(&[0, 60]);
    for (connect, seconds) in [(&quick[..], 300), (HELLO, 900)] {
        let mut table = Table::new(&Options::default(), true);
        table.comes(&data(1, connect));
        let id = table.accepted();
        for probe in table.write(id, &hex("20 02 00 00")) {
            table.comes(&[2, probe[1], probe[2], 0]);
        }
        table.after(Duration::from_secs(seconds - 1));
        assert!(!has_ended(&table));
        assert_eq!(table.after(Duration::from_secs(2)), [hex("05 00 00 00")]);
        assert_eq!((table.ended(), table.endpoint.counters().silent), (Some(FaultKind::Silent), 1));
        table.endpoint.close(table.now, id);
        assert_eq!(table.endpoint.connections(), 0);
    }
}

#[test]
fn what_stock_peers_ignore_is_ignored() {
    let mut table = Table::new(&Options::default(), true);
    let id = table.joined();
    for frame in ["", "01", "02 00", "06 00 00 00", "20 00 00 00", "01 00 02 00 C0", "FF FF FF FF", "03 00 00 00 00", "04 00 00 00"] {
        assert!(table.comes(&hex(frame)).is_empty(), "{frame}");
    }
    assert_eq!(table.comes(&hex("01 80 00 00")), [hex("02 80 00 00")], "an empty DATA is acknowledged, whatever its sequence");
    assert!(table.read(id).is_empty());
    let mut second = Table::new(&Options { generation: Generation::Two, ..Options::default() }, true);
    assert!(second.comes(&hex("03 00 00 00")).is_empty() && second.comes(&data(1, HELLO)).is_empty());
    assert_eq!(second.endpoint.connections(), 0);
    // Nor does a listener of generation 1 see anything in a CONNECT of the second but a CONNECT.
    let mut first = Table::new(&one(), true);
    let connect = hex("030000800000000000000000a1b2c3d4e5f60718020004b00000400000780000000000000000000068f5af73");
    assert_eq!(first.comes(&connect), [hex("04 00 00 00")]);
    assert!(first.comes(&hex(crate::bare::PING)).is_empty(), "RESET is of generation 2");
    assert_eq!((first.endpoint.connections(), first.endpoint.counters().unknown), (0, 1));
}

#[test]
fn large_packets_go_both_ways() {
    let mut world = World::new(7, Way::default(), [&one(), &Options::default()]);
    let client = world.connect();
    world.wait(CLIENT, |event| matches!(event, Event::Opened(_)));
    world.write(CLIENT, client, HELLO);
    let (server, _) = world.wait(SERVER, |event| matches!(event, Event::Accepted { .. }));
    world.write(SERVER, server, &hex("20 02 00 00"));
    world.run(Duration::from_secs(1));
    let mut packet = hex("30 F9 3F");
    packet.resize(3 + 8_185, 7);
    for (from, to) in [((CLIENT, client), (SERVER, server)), ((SERVER, server), (CLIENT, client))] {
        let mut read = 0;
        for _ in 0..40 {
            assert_eq!(world.write(from.0, from.1, &packet), packet.len());
            world.run(Duration::from_millis(100));
            let mut buffer = vec![0; 100_000];
            while let Some(count) = world.read(to.0, to.1, &mut buffer) {
                read += count;
            }
        }
        assert!(read >= 40 * packet.len(), "{read}");
    }
}
