//! The account: for each client and message what must arrive, what may, and what did.
//!
//! * QoS 0 at most once, QoS 1 at least once, QoS 2 exactly once; a repeated QoS 1 message says DUP;
//! * first arrivals of one publisher, topic and QoS come in the order in which the broker accepted
//!   them;
//! * a publish that was reported done was accepted; QoS 2 once per session of its publisher;
//! * of a shared group one member gets it.
//!
//! What arrives with RETAIN set may be a retained message for one of several subscriptions, at a
//! time the receiver chooses by reading: it must be allowed, and is not counted.

use std::collections::{BTreeMap, BTreeSet};

use nlmqtt::codec::Qos;

use crate::model::{Publication, matches, split_group};
use crate::trace::{Trace, trace};

/// One run's account.
#[derive(Clone)]
pub struct Ledger {
    entries: BTreeMap<(String, String), Entry>,
    groups: BTreeMap<(String, String), Entry>,
    /// In which order the broker accepted each message, and in which session of its publisher.
    accepted: BTreeMap<String, Vec<(u64, u64)>>,
    order_next: u64,
    /// Of (client, publisher, topic, QoS): the order of the last first arrival.
    arrived: BTreeMap<(String, String, String, u8), u64>,
    refused: BTreeSet<String>,
    /// Every QoS 0 message to a connected client must arrive, too.
    pub is_reliable: bool,
    trace: Trace,
}

/// A message on its way to somebody.
#[derive(Clone, Debug)]
pub struct Delivery {
    id: String,
    qos: Qos,
    published_qos: Qos,
    expires: bool,
}

impl Delivery {
    pub fn of(publication: &Publication, qos: Qos) -> Self {
        Self { id: publication.id.clone(), qos, published_qos: publication.qos, expires: publication.expires }
    }
}

#[derive(Clone, Debug, Default)]
struct Entry {
    must: u32,
    may: u32,
    got: u32,
    /// Of these, without RETAIN, and no announced repetition.
    got_live: u32,
    /// At least once, without RETAIN.
    has_arrived: bool,
    qos: BTreeSet<u8>,
    published_qos: Qos,
}

/// What a client was handed.
pub struct Arrival<'a> {
    pub client: &'a str,
    pub topic: &'a str,
    pub id: &'a str,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
}

impl Ledger {
    pub fn new(trace: Trace) -> Self {
        Self {
            entries: BTreeMap::new(),
            groups: BTreeMap::new(),
            accepted: BTreeMap::new(),
            order_next: 0,
            arrived: BTreeMap::new(),
            refused: BTreeSet::new(),
            is_reliable: false,
            trace,
        }
    }

    /// The broker took a message from its publisher.
    pub fn accepted(&mut self, publication: &Publication, generation: u64) {
        let order = self.order_next;
        self.order_next += 1;
        let times = self.accepted.entry(publication.id.clone()).or_default();
        let is_again = times.iter().any(|(_, earlier)| *earlier == generation);
        trace!(self.trace, "model: accepted {} on {}", publication.id, publication.topic);
        assert!(!(is_again && publication.qos == Qos::ExactlyOnce && !publication.is_empty), "{} was accepted twice in one session", publication.id);
        times.push((order, generation));
    }

    pub fn accepted_will(&mut self, will: &Publication) {
        self.accepted.entry(will.id.clone()).or_default().push((self.order_next, u64::MAX));
        self.order_next += 1;
    }

    /// A hook refused it; 3.x clients cannot be told.
    pub fn refused(&mut self, id: &str) {
        self.refused.insert(id.to_owned());
    }

    /// A publisher was told that its message is done.
    pub fn reported_done(&self, id: &str) {
        assert!(self.accepted.contains_key(id) || self.refused.contains(id), "{id} was reported done and never accepted");
    }

    fn entry(&mut self, client: &str, delivery: &Delivery) -> &mut Entry {
        let entry = self.entries.entry((client.to_owned(), delivery.id.clone())).or_default();
        entry.published_qos = delivery.published_qos;
        entry
    }

    /// A retained message may be sent for a subscription.
    pub fn may_get_retained(&mut self, client: &str, delivery: &Delivery) {
        self.entry(client, delivery);
    }

    /// A subscription of a client matched a message.
    pub fn matched(&mut self, client: &str, delivery: &Delivery, is_connected: bool, is_certain: bool) {
        let arrives = delivery.qos > Qos::AtMostOnce || (self.is_reliable && is_connected);
        let must = arrives && is_certain && !delivery.expires;
        let entry = self.entry(client, delivery);
        entry.qos.insert(delivery.qos as u8);
        entry.may += 1;
        entry.must += u32::from(must);
    }

    /// A shared group matched a message; its members would get it with one of `qualities`.
    pub fn matched_group(&mut self, group: &str, publication: &Publication, qualities: &BTreeSet<Qos>, is_certain: bool) {
        let entry = self.groups.entry((group.to_owned(), publication.id.clone())).or_default();
        entry.qos.extend(qualities.iter().map(|qos| *qos as u8));
        entry.may += 1;
        entry.must += u32::from(is_certain && !qualities.contains(&Qos::AtMostOnce) && !publication.expires);
    }

    /// A client's session is gone: what it has not got need not come.
    pub fn forgive(&mut self, client: &str) {
        for (_, entry) in self.entries.iter_mut().filter(|((name, _), _)| name == client) {
            entry.must = entry.must.min(entry.got);
        }
    }

    /// A client's connection is gone: what was under way without acknowledgement is lost.
    pub fn forgive_qos0(&mut self, client: &str) {
        for (_, entry) in self.entries.iter_mut().filter(|((name, _), entry)| name == client && entry.qos.contains(&0)) {
            entry.must = entry.must.min(entry.got);
        }
    }

    /// A member's session is gone. QoS 1 goes to another member if there is one; QoS 2 that was
    /// under way to it must not (MQTT-4.8.2-5).
    pub fn forgive_group(&mut self, group: &str, has_other: bool) {
        for (_, entry) in self.groups.iter_mut().filter(|((name, _), _)| name == group) {
            if !has_other || entry.qos.contains(&2) {
                entry.must = entry.must.min(entry.got);
            }
        }
    }

    pub fn forgive_group_all(&mut self) {
        for entry in self.groups.values_mut() {
            entry.must = entry.must.min(entry.got);
        }
    }

    /// A client was handed a message.
    pub fn arrived(&mut self, arrival: &Arrival<'_>) {
        let Arrival { client, topic, id, qos, retain, dup } = *arrival;
        trace!(self.trace, "{client} got {id} on {topic} QoS {} dup {dup} retain {retain}", qos as u8);
        if topic.starts_with('s') {
            return self.arrived_shared(client, topic, id, qos);
        }
        let Some(entry) = self.entries.get_mut(&(client.to_owned(), id.to_owned())) else {
            panic!("{client} got {id} on {topic}, which it did not subscribe to");
        };
        entry.got += 1;
        assert!(qos <= entry.published_qos, "{client} got {id} with QoS {}, published with less", qos as u8);
        if retain {
            return;
        }
        let is_first = !core::mem::replace(&mut entry.has_arrived, true);
        // QoS 1 may be repeated, and says so.
        entry.got_live += u32::from(!(dup && qos == Qos::AtLeastOnce));
        assert!(entry.qos.contains(&(qos as u8)), "{client} got {id} with QoS {}, not one of {:?}", qos as u8, entry.qos);
        assert!(entry.got_live <= entry.may, "{client} got {id} {} times of {}, QoS {}, dup {dup}", entry.got_live, entry.may, qos as u8);
        if is_first && qos > Qos::AtMostOnce && !id.ends_with(".will") {
            self.check_order(client, topic, id, qos);
        }
    }

    fn check_order(&mut self, client: &str, topic: &str, id: &str, qos: Qos) {
        let publisher = id.split('.').next().unwrap_or_default();
        let key = (client.to_owned(), publisher.to_owned(), topic.to_owned(), qos as u8);
        let last = self.arrived.get(&key).copied();
        let times = self.accepted.get(id).map(Vec::as_slice).unwrap_or_default();
        let next = times.iter().map(|(order, _)| *order).find(|order| last.is_none_or(|last| *order > last));
        let Some(next) = next else { panic!("{client} got {id} out of order: accepted {times:?}, but {last:?} had arrived") };
        self.arrived.insert(key, next);
    }

    fn arrived_shared(&mut self, client: &str, topic: &str, id: &str, qos: Qos) {
        let entry = self.groups.iter_mut().find(|((group, name), _)| name == id && matches(split_group(group).1, topic));
        let Some(((group, _), entry)) = entry else { panic!("{client} got {id} on {topic}, which no group had subscribed to") };
        entry.got += 1;
        entry.qos.insert(qos as u8);
        let is_strict = !entry.qos.contains(&1);
        assert!(!is_strict || entry.got <= entry.may, "{group} got {id} {} times of {}, QoS {}", entry.got, entry.may, qos as u8);
    }

    /// What must still arrive.
    pub fn missing(&self) -> Vec<String> {
        let short = |entry: &Entry| entry.got < entry.must;
        let all = self.entries.iter().chain(&self.groups);
        all.filter(|(_, entry)| short(entry)).map(|((who, id), entry)| format!("{who} lacks {id}: {entry:?}")).collect()
    }
}
