//! What a client was asked for and its worker has not seen yet.
//!
//! ```text
//!   any thread ──publish, post──> [ entry entry entry ]   the first one is announced ──> inbox of the worker
//!   worker ──take──> all of them at once, in order ──> the machine; commands
//! ```
//! Whatever a client is asked for passes here, so that it is done in the order in which it was asked for, and of many things
//! the worker is told once. A small message is no object of its own: its bytes lie behind those of the one before, and what
//! may go at once is encoded from there ([`machine::Client::publish_checked`]). An empty lane owns no memory.
//!
//! Between the first entry and its announcement everybody waits for the thread that left it, as everybody waits for who holds the lock:
//! threads of a real-time priority and others that publish through one client wait for each other.
//!
//! The lock is the tracker's: a publish takes it once, to see whether there is room, to be noted as pending and to leave its
//! message. What is the application's (payloads, callbacks) is neither dropped nor called under it.

use std::sync::Arc;

use super::tracker::Tracker;
use super::{QueueTerms, Token};
use crate::base::{Budget, Charge, Instant};
use crate::codec::{COPY_BYTES_MAX, Qos};
use crate::net::{ClientGauge, ClientKey, Command, MioNet, Worker};
use crate::proto;
use crate::proto::client::{self as machine, PublishRequest};

/// What a message holds in memory besides topic, properties and payload, about.
const MESSAGE_BYTES: usize = 128;
/// So many messages at most have reached the machine and still count as on their way to it.
const ARRIVALS_MAX: usize = 64;

/// What a batch takes at once when it takes memory: it is given back with the batch, and what grows from nothing in small steps
/// is moved at each of them. Allocators keep pieces below 1 KiB at hand.
const ENTRIES_MIN: usize = 20;
const TOPICS_BYTES_MIN: usize = 500;
const PAYLOADS_BYTES_MIN: usize = 1_000;

/// The messages of a client on their way, and what else it was asked for.
#[derive(Default)]
pub(super) struct Lane {
    batch: Batch,
    /// The worker has been told, and has not looked yet.
    is_announced: bool,
    /// Messages the machine does not have yet, and their bytes; those that were taken out are among them.
    count: usize,
    bytes: usize,
}

/// What is taken at once.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    /// Of small messages, one behind the other. A string, because then its parts are known to be some.
    topics: String,
    payloads: Vec<u8>,
    /// For the three of them.
    charge: Option<Charge>,
}

enum Entry {
    Message { token: Token, body: Body },
    Command(Command<MioNet>),
}

enum Body {
    /// In the batch.
    Small { topic_len: u16, payload_len: u16, qos: Qos, retain: bool, terms: QueueTerms },
    /// Something that takes so many bytes and knows how to be given to the machine.
    Other { bytes: usize, give: Give },
}

/// Gives a message to the machine.
pub(super) type Give = Box<dyn FnOnce(&mut machine::Client, Instant) -> Result<(), proto::Error> + Send>;

/// What a message will hold in memory, about.
pub(super) fn message_bytes(request: &PublishRequest<'_>) -> usize {
    request.topic.len() + request.payload_len() + request.properties.as_bytes().len() + MESSAGE_BYTES
}

/// It may lie in a batch: a packet takes a copy of it anyhow, and its time to expiry does not run yet.
pub(super) fn is_small(request: &PublishRequest<'_>) -> bool {
    request.payload.len() <= COPY_BYTES_MAX && request.shared.is_none() && request.properties.is_empty() && request.expiry_s.is_none()
}

impl Body {
    fn bytes(&self) -> usize {
        match *self {
            Self::Small { topic_len, payload_len, .. } => usize::from(topic_len) + usize::from(payload_len) + MESSAGE_BYTES,
            Self::Other { bytes, .. } => bytes,
        }
    }
}

impl Lane {
    /// Messages on their way, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.count, self.bytes)
    }

    /// Adds a message that is checked and [`is_small`]. True: the worker is to be told.
    pub fn put_small(&mut self, token: Token, request: &PublishRequest<'_>, terms: QueueTerms, budget: &Budget) -> bool {
        let PublishRequest { topic, payload, qos, retain, .. } = *request;
        if self.batch.topics.is_empty() {
            self.batch.topics.reserve(TOPICS_BYTES_MIN);
            self.batch.payloads.reserve(PAYLOADS_BYTES_MIN);
        }
        self.batch.topics.push_str(topic);
        self.batch.payloads.extend_from_slice(payload);
        self.put_message(token, Body::Small { topic_len: topic.len() as u16, payload_len: payload.len() as u16, qos, retain, terms }, budget)
    }

    /// Adds any other message. True: the worker is to be told.
    pub fn put_other(&mut self, token: Token, bytes: usize, give: Give, budget: &Budget) -> bool {
        self.put_message(token, Body::Other { bytes, give }, budget)
    }

    fn put_message(&mut self, token: Token, body: Body, budget: &Budget) -> bool {
        self.count += 1;
        self.bytes += body.bytes();
        self.put(Entry::Message { token, body }, budget)
    }

    /// Adds what the worker is to do after all that was asked for before. True: the worker is to be told.
    pub fn put_command(&mut self, command: Command<MioNet>, budget: &Budget) -> bool {
        self.put(Entry::Command(command), budget)
    }

    fn put(&mut self, entry: Entry, budget: &Budget) -> bool {
        if self.batch.entries.is_empty() {
            self.batch.entries.reserve(ENTRIES_MIN);
        }
        self.batch.entries.push(entry);
        self.batch.settle(budget);
        !core::mem::replace(&mut self.is_announced, true)
    }

    fn take(&mut self) -> Batch {
        self.is_announced = false;
        core::mem::take(&mut self.batch)
    }

    /// Takes what nobody will look at.
    fn abandon(&mut self) -> Batch {
        let batch = self.take();
        for entry in &batch.entries {
            if let Entry::Message { body, .. } = entry {
                self.arrived(1, body.bytes());
            }
        }
        batch
    }

    fn arrived(&mut self, count: usize, bytes: usize) {
        self.count -= count;
        self.bytes -= bytes;
    }
}

impl Batch {
    /// Its account follows its memory.
    fn settle(&mut self, budget: &Budget) {
        let bytes = self.entries.capacity() * size_of::<Entry>() + self.topics.capacity() + self.payloads.capacity();
        self.charge.get_or_insert_with(|| budget.charge(0)).resize(bytes);
    }
}

/// What the worker is told: something waits. If it ends without having looked, that is dropped.
pub(super) struct Announcement {
    tracker: Arc<Tracker>,
    gauge: Arc<ClientGauge>,
    is_heard: bool,
}

impl Announcement {
    pub fn new(tracker: Arc<Tracker>, gauge: Arc<ClientGauge>) -> Self {
        Self { tracker, gauge, is_heard: false }
    }

    /// Does what waits now, and nothing that comes meanwhile.
    pub fn hear(mut self, worker: &mut Worker<MioNet>, client: ClientKey) {
        self.is_heard = true;
        let Batch { entries, topics, payloads, charge: _charge } = self.tracker.lock().lane.take();
        let mut walk = Walk { entries: entries.into_iter(), topics: &topics, payloads: &payloads, to: &self, arrived_count: 0, arrived_bytes: 0 };
        loop {
            if walk.is_at_message() {
                worker.requests_of_client(client, |machine, now| walk.publish_next(machine, now));
            }
            match walk.next_command() {
                Some(command) => command(worker),
                None => return,
            }
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if !self.is_heard {
            let unheard = self.tracker.lock().lane.abandon();
            drop(unheard);
        }
    }
}

/// The way along a batch.
struct Walk<'a> {
    entries: std::vec::IntoIter<Entry>,
    /// Of the messages that are left.
    topics: &'a str,
    payloads: &'a [u8],
    to: &'a Announcement,
    /// Messages the machine has, which still count as waiting here.
    arrived_count: usize,
    arrived_bytes: usize,
}

impl Walk<'_> {
    fn is_at_message(&self) -> bool {
        matches!(self.entries.as_slice().first(), Some(Entry::Message { .. }))
    }

    /// Gives the next message to the machine; `None` at a command, and at the end. What was refused, and all before it, has arrived
    /// when this returns.
    fn publish_next(&mut self, machine: &mut machine::Client, now: Instant) -> Option<Result<(), (Token, proto::Error)>> {
        if !self.is_at_message() {
            self.note_arrivals(machine);
            return None;
        }
        let Some(Entry::Message { token, body }) = self.entries.next() else { return None };
        self.arrived_count += 1;
        self.arrived_bytes += body.bytes();
        let result = match body {
            Body::Small { topic_len, payload_len, qos, retain, terms } => {
                let (topic, payload);
                (topic, self.topics) = self.topics.split_at(topic_len.into());
                (payload, self.payloads) = self.payloads.split_at(payload_len.into());
                machine.publish_checked(now, token, &PublishRequest { topic, payload, qos, retain, terms, ..PublishRequest::default() })
            }
            Body::Other { give, .. } => give(machine, now),
        };
        if result.is_err() || self.arrived_count == ARRIVALS_MAX {
            self.note_arrivals(machine);
        }
        Some(result.map_err(|error| (token, error)))
    }

    /// In the eyes of who counts they arrive at once: they are neither counted twice nor not at all.
    fn note_arrivals(&mut self, machine: &machine::Client) {
        let (count, bytes) = (core::mem::take(&mut self.arrived_count), core::mem::take(&mut self.arrived_bytes));
        let mut track = self.to.tracker.lock();
        track.lane.arrived(count, bytes);
        self.to.gauge.note_queued(machine);
    }

    /// The next command. Messages before it are nobody's: the client is gone.
    fn next_command(&mut self) -> Option<Command<MioNet>> {
        self.entries.find_map(|entry| match entry {
            Entry::Command(command) => Some(command),
            Entry::Message { body, .. } => {
                self.to.tracker.lock().lane.arrived(1, body.bytes());
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::Duration;
    use crate::client::{Client, ClientParts, Completion, CompletionCallback, Options, Publish, StopRequest};
    use crate::codec::Properties;
    use crate::net::{ClientHandler, Mode, Runtime, RuntimeOptions, ServerAddress, Transport, Underlay};

    const REQUEST: PublishRequest<'_> = PublishRequest {
        topic: "a/b",
        payload: b"payload",
        shared: None,
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
        expiry_s: None,
        terms: TERMS,
    };
    const TERMS: QueueTerms = QueueTerms { priority: 0, newest_only: false, is_admitted: true };

    #[test]
    fn an_empty_lane_owns_no_memory_and_what_waits_is_charged() {
        let (budget, mut lane) = (Budget::new(1 << 20), Lane::default());
        for round in 1..=3 {
            assert!(lane.put_small(Token(4), &REQUEST, TERMS, &budget), "the first one is announced");
            assert!(!lane.put_small(Token(8), &REQUEST, TERMS, &budget) && !lane.put_command(Box::new(|_| {}), &budget));
            let batch = lane.take();
            assert_eq!((batch.entries.len(), batch.topics.as_str(), batch.payloads.len()), (3, "a/ba/b", 14));
            let owned = batch.entries.capacity() * size_of::<Entry>() + batch.topics.capacity() + batch.payloads.capacity();
            assert_eq!(budget.used_bytes(), owned);
            drop(batch);
            assert_eq!((budget.used_bytes(), lane.batch.entries.capacity()), (0, 0));
            assert_eq!(lane.waiting(), (2 * round, 2 * round * message_bytes(&REQUEST)), "until the machine has them");
        }
        lane.arrived(6, 6 * message_bytes(&REQUEST));
        assert_eq!(lane.waiting(), (0, 0));
    }

    #[test]
    fn what_nobody_hears_is_dropped_with_its_announcement() {
        let (budget, tracker, held) = (Budget::new(1 << 20), Arc::new(Tracker::default()), Arc::new(()));
        let holder = held.clone();
        assert!(tracker.lock().lane.put_command(Box::new(move |_| drop(holder)), &budget));
        assert!(!tracker.lock().lane.put_small(Token(4), &REQUEST, TERMS, &budget));
        drop(Announcement::new(tracker.clone(), Arc::default()));
        assert_eq!((Arc::strong_count(&held), budget.used_bytes(), tracker.lock().lane.waiting()), (1, 0, (0, 0)));
        assert!(tracker.lock().lane.put_command(Box::new(|_| {}), &budget), "who comes now is announced again");
    }

    struct Nobody;

    impl ClientHandler for Nobody {}

    /// A client whose server is not there, on a runtime that does nothing by itself.
    fn alone() -> (Runtime, Client) {
        let runtime = Runtime::new(&RuntimeOptions { mode: Mode::Loop, ..RuntimeOptions::default() }).expect("descriptors");
        let transport = Transport { underlay: Underlay::InProcess, ..Transport::default() };
        let servers = vec![ServerAddress { transport, ..ServerAddress::plain("nobody", 0) }];
        let options = Options { servers: vec![0], client_id: "lane".to_owned(), ..Options::default() };
        let client = Client::new(&runtime, ClientParts { options, servers, ..ClientParts::default() }, Box::new(Nobody)).expect("options");
        (runtime, client)
    }

    #[test]
    fn what_a_client_is_asked_for_is_done_in_that_order() {
        let (runtime, client) = alone();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let noting = || -> Option<CompletionCallback> {
            let ends = ends.clone();
            Some(Box::new(move |token, completion| ends.lock().expect("sound").push((token, format!("{completion:?}")))))
        };
        let publish = |payload| client.publish(Publish { topic: "t", payload, ..Publish::default() }, noting()).expect("it was started before");
        client.start();
        let (small, large) = (publish(&[7; 10]), publish(&[7; 5_000]));
        client.cancel(small);
        let kept = publish(&[]);
        client.cancel(large);
        client.stop(StopRequest::default());
        assert_eq!(client.levels().queued_count, 3);
        runtime.poll(Some(Duration::ZERO)).expect("it turns");
        let end = |failure| format!("{:?}", Completion::Published(machine::Outcome::Failed(failure)));
        let (cancelled, stopped) = (end(machine::Failure::Cancelled), end(machine::Failure::Stopped));
        assert_eq!(*ends.lock().expect("sound"), [(small, cancelled.clone()), (large, cancelled), (kept, stopped)]);
        assert_eq!((client.levels().queued_count, client.levels().queued_bytes), (0, 0));
    }

    #[test]
    fn a_message_counts_once_on_its_way_and_in_the_queue() {
        let (runtime, client) = alone();
        client.start();
        let mut accepted = 0;
        while client.publish(Publish { topic: "t", payload: &[7; 100], ..Publish::default() }, None).is_ok() {
            accepted += 1;
            if accepted % 200 == 0 {
                runtime.poll(Some(Duration::ZERO)).expect("it turns");
            }
            assert_eq!(client.levels().queued_count, accepted);
        }
        assert_eq!(accepted, machine::QueueOptions::default().count_max);
        runtime.poll(Some(Duration::ZERO)).expect("it turns");
        assert_eq!(client.levels().queued_count, accepted);
    }
}
