//! The machine against a naive server over a channel that breaks anywhere.
//!
//! The channel keeps order, cuts bytes into pieces, and at a cut loses what was under way in either
//! direction. Checked: QoS 2 arrives exactly once and in order, QoS 1 at least once with first
//! arrivals in order, both ways; the server ends up with the filters that were asked for last; every
//! request completes exactly once, also with cancel and stop; no byte stays charged. Of values of
//! which only the newest is wanted none is lost without being replaced, none that was given up in
//! the queue arrives; a response completes the request it belongs to, and each request ends. A
//! failure names the seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::naive_server::{CLIENT_RECEIVE_MAXIMUM, Server};
use super::{drain, next_token, options};
use crate::base::{Budget, Duration, Instant, Rng};
use crate::codec::{ConnAck, Packet, Properties, Qos, Reason, Version};
use crate::proto::client::*;

/// What goes wrong besides cuts.
#[derive(Clone, Copy, Default, PartialEq)]
struct Faults {
    /// The server forgets sessions.
    amnesia: bool,
    /// The application cancels requests, stops and starts.
    moods: bool,
}

struct World {
    rng: Rng,
    now: Instant,
    client: Client,
    server: Server,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    linked: bool,
    published: Vec<(Qos, u32)>,
    /// Tokens without a completion yet; of a publish, with its number.
    open: BTreeMap<Token, Option<u32>>,
    wanted: BTreeSet<String>,
    budget: Budget,
    faults: Faults,
    failed: BTreeSet<u32>,
    sent_down: Vec<(Qos, u32)>,
    got: Vec<(Qos, u32)>,
    /// Values published: topic, QoS, number.
    values: Vec<(&'static str, Qos, u32)>,
    /// Values that were replaced, or expired, while they waited.
    given_up: BTreeSet<u32>,
    /// Requests without an end yet, and how many had a response.
    calls: BTreeMap<Token, u32>,
    calls_made: u32,
    responses: u32,
}

/// Topics of values, and their priority.
const VALUES: [(&str, u8); 3] = [("val/a", 0), ("val/b", 3), ("val/c", 200)];
const VALUES_FROM: u32 = 2_000_000;
const RESPONSE_TOPIC: &str = "answers";

impl World {
    fn new(seed: u64, version: Version, faults: Faults) -> Self {
        let options = Options {
            clean_start: false,
            session_expiry_s: 1_000_000,
            receive_maximum: CLIENT_RECEIVE_MAXIMUM as u16,
            out_bytes_max: 300,
            in_flight_max: 5,
            response_topic: RESPONSE_TOPIC.into(),
            queue: QueueOptions { count_max: 100_000, ..QueueOptions::default() },
            ..options(version)
        };
        let budget = Budget::new(1 << 30);
        let client = Client::new(options, budget.clone(), Rng::with_seed(seed)).expect("good");
        let server = Server {
            version,
            session: None,
            connected: false,
            input: Vec::new(),
            output: Vec::new(),
            log: Vec::new(),
            waiting: VecDeque::new(),
            values: Vec::new(),
            unheard: 0,
            aliases: BTreeMap::new(),
        };
        Self {
            rng: Rng::with_seed(seed),
            now: Instant::START,
            client,
            server,
            to_server: Vec::new(),
            to_client: Vec::new(),
            linked: false,
            published: Vec::new(),
            open: BTreeMap::new(),
            wanted: BTreeSet::new(),
            budget,
            faults,
            failed: BTreeSet::new(),
            sent_down: Vec::new(),
            got: Vec::new(),
            values: Vec::new(),
            given_up: BTreeSet::new(),
            calls: BTreeMap::new(),
            calls_made: 0,
            responses: 0,
        }
    }

    fn publish_value(&mut self) {
        let (topic, priority) = VALUES[self.rng.below(3) as usize];
        let qos = Qos::try_from(self.rng.below(3) as u8).expect("below 3");
        let number = VALUES_FROM + self.values.len() as u32;
        let payload = number.to_string();
        let terms = QueueTerms { priority, newest_only: true, ..QueueTerms::default() };
        let expiry_s = self.rng.chance(200).then(|| 1 + self.rng.below(60) as u32);
        let request = PublishRequest { topic, payload: payload.as_bytes(), qos, terms, expiry_s, ..PublishRequest::default() };
        let token = next_token();
        if let Err(error) = self.client.publish(self.now, token, &request) {
            return assert!(error == Error::NotRunning && self.faults.moods);
        }
        self.values.push((topic, qos, number));
        assert!(self.open.insert(token, Some(number)).is_none());
    }

    fn request(&mut self) {
        let qos = Qos::try_from(self.rng.below(3) as u8).expect("below 3");
        let payload = self.calls_made.to_string();
        let request = PublishRequest { topic: "service", payload: payload.as_bytes(), qos, ..PublishRequest::default() };
        let (token, timeout) = (next_token(), Duration::from_secs(1 + self.rng.below(100)));
        let message = request.checked_message(&Budget::new(usize::MAX), self.now);
        match self.client.request(self.now, token, &message, QueueTerms::default(), timeout) {
            Ok(()) => {}
            Err(Error::NotSupported(_)) => return assert_ne!(self.client.options().version, Version::V5),
            Err(error) => return assert!(error == Error::NotRunning && self.faults.moods),
        }
        self.calls.insert(token, self.calls_made);
        self.calls_made += 1;
        assert!(self.open.insert(token, None).is_none());
    }

    fn publish(&mut self) {
        let qos = Qos::try_from(self.rng.below(3) as u8).expect("below 3");
        let number = self.published.len() as u32;
        let payload = number.to_string();
        let topic = ["up/a", "up/b", "up/c"][self.rng.below(3) as usize];
        let request = PublishRequest { topic, payload: payload.as_bytes(), qos, ..PublishRequest::default() };
        let token = next_token();
        if let Err(error) = self.client.publish(self.now, token, &request) {
            return assert!(error == Error::NotRunning && self.faults.moods);
        }
        self.published.push((qos, number));
        assert!(self.open.insert(token, Some(number)).is_none());
    }

    fn subscribe(&mut self) {
        let filter = format!("filter/{}", self.rng.below(8));
        let token = next_token();
        let accepted = if self.rng.chance(500) {
            let handler = self.rng.chance(300);
            let filters = &[(filter.as_str(), Default::default())];
            let request = SubscribeRequest { filters, handler, ..SubscribeRequest::default() };
            self.client.subscribe(token, &request).map(|_| ())
        } else {
            self.client.unsubscribe(token, &[&filter])
        };
        accepted.expect("not stopping");
        if self.client.subscriptions.is_wanted(&filter) {
            self.wanted.insert(filter);
        } else {
            self.wanted.remove(&filter);
        }
        assert!(self.open.insert(token, None).is_none());
    }

    /// The application cancels something, or stops and starts.
    fn mood(&mut self) {
        // What ended by a publish is told first.
        self.turn();
        match self.rng.below(10) {
            0 => {
                let drain = Duration::from_secs(self.rng.below(3));
                self.client.stop(self.now, StopRequest { drain, ..StopRequest::default() });
            }
            1..5 if self.client.state() == State::Stopped => {
                self.client.start(self.now).expect("stopped");
            }
            _ => {
                let index = self.rng.below(self.open.len() as u64 + 1) as usize;
                let Some(token) = self.open.keys().nth(index) else { return };
                self.client.cancel(*token).expect("not completed yet");
            }
        }
        self.turn();
    }

    fn publish_down(&mut self) {
        let qos = Qos::try_from(1 + self.rng.below(2) as u8).expect("1 or 2");
        let number = self.sent_down.len() as u32;
        self.sent_down.push((qos, number));
        self.server.waiting.push_back((qos, number));
        self.server.pump();
    }

    /// Drains the machine after an input.
    fn turn(&mut self) {
        for packet in drain(&mut self.client, self.now) {
            if self.linked {
                self.to_server.extend(packet);
            }
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Dial { .. } => {
                    self.linked = true;
                    self.client.handle_dialed(self.now);
                    self.turn();
                }
                Event::HangUp => self.unlink(),
                Event::Published { token, outcome } => {
                    let number = self.open.remove(&token).expect("completed twice");
                    if matches!(outcome, Outcome::Failed(_)) {
                        self.failed.extend(number);
                    }
                    if matches!(outcome, Outcome::Failed(Failure::Replaced | Failure::Expired)) {
                        self.given_up.extend(number);
                    }
                }
                Event::Responded { token, response } => {
                    self.open.remove(&token).expect("completed twice");
                    let number = self.calls.remove(&token).expect("completed twice");
                    if let Ok(incoming) = response {
                        assert_eq!(incoming.message.payload(), number.to_string().as_bytes(), "another request's");
                        self.responses += 1;
                    }
                }
                Event::Subscribed { token, .. } | Event::Unsubscribed { token, .. } => {
                    self.open.remove(&token).expect("completed twice");
                }
                Event::Message(message) => {
                    let text = core::str::from_utf8(message.message.payload()).ok();
                    let number = text.and_then(|text| text.parse().ok()).expect("a number");
                    self.got.push((message.qos, number));
                }
                Event::Disconnected(lost) => assert_eq!(lost.error, None, "the server was blamed"),
                _ => {}
            }
        }
        self.to_client.append(&mut self.server.output);
    }

    fn unlink(&mut self) {
        self.linked = false;
        self.server.connected = false;
        self.server.input.clear();
        self.server.output.clear();
        self.to_server.clear();
        self.to_client.clear();
    }

    /// Moves up to `bytes_max` bytes each way.
    fn carry(&mut self, bytes_max: u64) {
        let up = self.rng.below(bytes_max + 1).min(self.to_server.len() as u64) as usize;
        let bytes: Vec<u8> = self.to_server.drain(..up).collect();
        self.server.handle_input(&bytes);
        self.to_client.append(&mut self.server.output);
        let down = self.rng.below(bytes_max + 1).min(self.to_client.len() as u64) as usize;
        if self.rng.chance(200) {
            // The application takes its messages when it likes, or no more for a while.
            self.client.set_receive_room(ReceiveRoom { count: self.rng.below(4) as usize, bytes: usize::MAX });
            self.client.handle_input(self.now, &[]);
            self.turn();
        }
        if self.client.wants_input() {
            // What it said may have ended the connection.
            let down = down.min(self.to_client.len());
            let bytes: Vec<u8> = self.to_client.drain(..down).collect();
            self.client.handle_input(self.now, &bytes);
            self.turn();
        }
    }

    fn cut(&mut self) {
        if self.linked {
            self.carry(40);
            self.unlink();
            self.client.handle_closed(self.now, Cause::Network);
            self.turn();
        }
    }

    fn advance(&mut self) {
        if let Some(at) = self.client.poll_timeout() {
            self.now = self.now.max(at.min(self.now + Duration::from_secs(90)));
            self.client.handle_timeout(self.now);
            self.turn();
        }
    }

    fn run(&mut self, steps: u32) {
        self.client.start(self.now).expect("stopped");
        self.turn();
        for _ in 0..steps {
            match self.rng.below(100) {
                0..12 => self.publish(),
                12..16 => self.publish_value(),
                16..18 => self.request(),
                18..20 if self.client.state() != State::Stopping => self.subscribe(),
                20..35 => self.publish_down(),
                35..94 => self.carry(60),
                94..96 => self.cut(),
                96 if self.faults.amnesia && !self.linked => self.server.session = None,
                97 if self.faults.moods => self.mood(),
                _ if !self.linked => self.advance(),
                _ => self.turn(),
            }
        }
        // Healed: everything must come to an end.
        if self.client.state() == State::Stopped {
            self.client.start(self.now).expect("stopped");
        }
        self.turn();
        for _ in 0..100_000 {
            // A response that was lost is waited for until its time is over.
            if !self.linked || (self.calls.len() == self.open.len() && self.to_client.is_empty()) {
                self.advance();
            }
            self.client.set_receive_room(ReceiveRoom { count: usize::MAX, bytes: usize::MAX });
            self.client.handle_input(self.now, &[]);
            self.turn();
            self.carry(1_000);
            let idle = self.to_client.is_empty() && self.to_server.is_empty() && self.server.waiting.is_empty();
            if self.open.is_empty() && idle && self.linked && self.client.state() == State::Online {
                return;
            }
        }
        panic!("not done: {:?} open, {:?}", self.open.len(), self.client.state());
    }
}

impl World {
    /// The server knows what is wanted; after a stop nothing is held.
    fn check_end(&mut self, seed: u64) {
        let session = self.server.session.as_mut().expect("connected");
        session.filters.remove(RESPONSE_TOPIC);
        assert_eq!(session.filters, self.wanted, "seed {seed}");
        self.check_values(seed);
        self.client.stop(self.now, StopRequest::default());
        self.turn();
        assert!(self.open.is_empty() && self.client.poll_timeout().is_none(), "seed {seed}");
        assert_eq!(self.budget.used_bytes(), 0, "seed {seed}");
    }
}

impl World {
    fn check_values(&self, seed: u64) {
        // After a stop, what was in flight may be sent again with nobody waiting.
        assert!(self.faults.moods || self.server.unheard == 0, "seed {seed}: asked before it could hear the answer");
        let arrived: BTreeSet<u32> = self.server.values.iter().map(|(_, number)| *number).collect();
        for (topic, _) in VALUES {
            let numbers = self.server.values.iter().filter(|(seen, _)| seen == topic).map(|(_, number)| *number);
            let first = first_arrivals(numbers.collect());
            assert!(first.is_sorted(), "seed {seed}: {topic}: {first:?}");
        }
        for (topic, qos, number) in &self.values {
            let needed = *qos != Qos::AtMostOnce && !self.failed.contains(number);
            assert!(!needed || arrived.contains(number), "seed {seed}: {topic}: {number} is lost");
        }
        // With a lost session, what was sent may come back to the queue and expire there.
        let sent: Vec<_> = self.given_up.intersection(&arrived).collect();
        assert!(self.faults.amnesia || sent.is_empty(), "seed {seed}: given up, but sent: {sent:?}");
    }
}

fn of_quality(messages: impl IntoIterator<Item = (Qos, u32)>, quality: Qos) -> Vec<u32> {
    messages.into_iter().filter(|(qos, _)| *qos == quality).map(|(_, number)| number).collect()
}

fn first_arrivals(numbers: Vec<u32>) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    numbers.into_iter().filter(|number| seen.insert(*number)).collect()
}

#[test]
fn over_any_broken_channel_qos_2_arrives_once_and_qos_1_at_least_once_in_order() {
    for seed in 0..60 {
        for version in [Version::V311, Version::V5] {
            let mut world = World::new(seed, version, Faults::default());
            world.run(3_000);
            world.check_end(seed);
            assert_eq!(world.failed, world.given_up, "seed {seed} {version:?}");
            let statistics = world.client.statistics();
            assert!(statistics.connects > 3, "seed {seed}: the channel did not break");
            assert!(statistics.receive_pauses > 0, "seed {seed}: the application always had room");
            assert!(statistics.replaced > 0, "seed {seed}: nothing was replaced");
            assert!(version != Version::V5 || world.responses > 0, "seed {seed}: no response came");
            let up = |log: &[(Qos, u32, bool)]| -> Vec<(Qos, u32)> { log.iter().map(|(qos, number, _)| (*qos, *number)).collect() };
            let log = up(&world.server.log);
            for (sent, arrived, way) in [(&world.published, &log, "up"), (&world.sent_down, &world.got, "down")] {
                let sent_2 = of_quality(sent.clone(), Qos::ExactlyOnce);
                assert_eq!(of_quality(arrived.clone(), Qos::ExactlyOnce), sent_2, "seed {seed} {version:?} {way}");
                let sent_1 = of_quality(sent.clone(), Qos::AtLeastOnce);
                let arrived_1 = first_arrivals(of_quality(arrived.clone(), Qos::AtLeastOnce));
                assert_eq!(arrived_1, sent_1, "seed {seed} {version:?} {way}");
                let arrived_0 = of_quality(arrived.clone(), Qos::AtMostOnce);
                assert_eq!(arrived_0, first_arrivals(arrived_0.clone()), "seed {seed} {version:?} {way}");
            }
            let mut seen = BTreeSet::new();
            for (_, number, dup) in &world.server.log {
                assert!(seen.insert(*number) || *dup, "seed {seed}: sent again without DUP");
            }
        }
    }
}

#[test]
fn when_the_server_forgets_sessions_no_message_is_lost_and_every_request_completes_once() {
    for seed in 100..140 {
        for version in [Version::V311, Version::V5] {
            let faults = Faults { amnesia: true, moods: false };
            let mut world = World::new(seed, version, faults);
            world.run(3_000);
            world.check_end(seed);
            assert_eq!(world.failed, world.given_up, "seed {seed} {version:?}");
            let arrived: BTreeSet<u32> = world.server.log.iter().map(|(_, number, _)| *number).collect();
            for (qos, number) in &world.published {
                let needed = *qos != Qos::AtMostOnce;
                assert!(!needed || arrived.contains(number), "seed {seed} {version:?}: {number} is lost");
            }
        }
    }
}

#[test]
fn cancel_stop_and_start_at_any_moment_leave_no_request_open_and_none_completed_twice() {
    for seed in 200..260 {
        for version in [Version::V311, Version::V5] {
            let faults = Faults { amnesia: seed % 2 == 0, moods: true };
            let mut world = World::new(seed, version, faults);
            world.run(3_000);
            let arrived: BTreeSet<u32> = world.server.log.iter().map(|(_, number, _)| *number).collect();
            for (qos, number) in &world.published {
                let needed = *qos != Qos::AtMostOnce && !world.failed.contains(number);
                assert!(!needed || arrived.contains(number), "seed {seed} {version:?}: {number} is lost");
            }
            world.check_values(seed);
            world.client.stop(world.now, StopRequest::default());
            world.turn();
            assert!(world.open.is_empty(), "seed {seed}");
            drop(world.client);
            assert_eq!(world.budget.used_bytes(), 0, "seed {seed}");
        }
    }
}

#[test]
fn whatever_bytes_come_the_machine_neither_panics_nor_grows() {
    let mut rng = Rng::with_seed(77);
    for round in 0..3_000_u64 {
        let version = [Version::V31, Version::V311, Version::V5][round as usize % 3];
        let mut world = World::new(round, version, Faults::default());
        world.client.start(world.now).expect("stopped");
        world.client.handle_dialed(world.now);
        if rng.chance(800) {
            let mut bytes = Vec::new();
            let (reason, properties) = (Reason::SUCCESS, Properties::EMPTY);
            Packet::ConnAck(ConnAck { session_present: false, reason, properties }).encode(version, &mut bytes);
            world.client.handle_input(world.now, &bytes);
        }
        for _ in 0..20 {
            // Mostly plausible headers, or nothing would get past the first byte.
            let first = [0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x70, 0x90, 0xb0, 0xd0, 0xe0, 0xf0];
            let mut bytes = vec![first[rng.below(13) as usize], rng.below(12) as u8];
            bytes.extend((0..bytes[1]).map(|_| if rng.chance(700) { rng.below(3) as u8 } else { rng.u64() as u8 }));
            world.client.handle_input(world.now, &bytes);
            drain(&mut world.client, world.now);
            while world.client.poll_event().is_some() {}
        }
        assert!(world.client.receiver.len() <= 65_535);
        if let Some(connection) = &world.client.connection {
            assert!(connection.partial.len() < 300);
        }
    }
}
