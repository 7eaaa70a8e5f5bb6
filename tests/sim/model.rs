//! The naive broker: a list of sessions, a list of filters each, a linear match, no limits.
//!
//! It is fed by the hooks of the real one, in the order in which the real one decides, and says
//! what each client must get and may get. `ledger` keeps that account; this file knows sessions,
//! filters, wills and retained messages.
//!
//! Timers cannot be compared to the microsecond: within [`TOLERANCE`] of a deadline the model takes
//! either answer, and what is published then may arrive but need not.

use std::collections::{BTreeMap, BTreeSet};

use nlmqtt::base::{Duration, Instant};
use nlmqtt::codec::{Qos, RetainHandling, SubscribeOptions};

use crate::ledger::{Delivery, Ledger};
use crate::trace::{Trace, trace};

/// How far a timer of the real broker may be off: its process may have stood still.
pub const TOLERANCE: Duration = Duration::from_secs(8);

/// The model, and the account of one run.
#[derive(Clone)]
pub struct Model {
    pub now: Instant,
    pub ledger: Ledger,
    pub sessions: BTreeMap<String, Session>,
    pub retained: BTreeMap<String, Publication>,
    pub wills: Vec<PendingWill>,
    /// CONNECT packets the real broker has not answered, by peer.
    pub connecting: BTreeMap<String, Connect>,
    /// Sessions are lost when the broker dies; the number of the next one.
    generation_next: u64,
    /// Longest life of a session in seconds.
    pub expiry_max_s: u32,
    /// Faults are over: every hook answers at once.
    pub is_healed: bool,
    trace: Trace,
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect {
    pub client: String,
    pub clean_start: bool,
    pub expiry_s: u32,
    pub will: Option<Will>,
}

#[derive(Clone, Debug)]
pub struct Will {
    pub topic: String,
    pub qos: Qos,
    pub retain: bool,
    pub delay_s: u32,
}

/// A will whose client is away. `session_ends` moves its time forward.
#[derive(Clone, Debug)]
pub struct PendingWill {
    pub client: String,
    pub will: Will,
    pub due: Instant,
    /// A reconnect came so close to its time that both answers are good.
    pub is_optional: bool,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub generation: u64,
    pub is_connected: bool,
    pub expiry_s: u32,
    pub ends: Option<Instant>,
    pub will: Option<Will>,
    pub filters: BTreeMap<String, SubscribeOptions>,
    /// Shared filters it ever had: messages for them may wait in it.
    pub groups: BTreeSet<String>,
    /// Shared filters it gave up at some time.
    pub left: BTreeSet<String>,
    /// Filters for which retained messages may be on their way to this connection.
    pub jobs: BTreeSet<String>,
}

/// A message the real broker has accepted.
#[derive(Clone, Debug)]
pub struct Publication {
    /// What its payload says: who published it, and its number.
    pub id: String,
    pub publisher: String,
    pub topic: String,
    pub qos: Qos,
    pub retain: bool,
    pub is_empty: bool,
    pub expires: bool,
}

/// Of a shared group, when a message comes.
#[derive(Default)]
struct Members {
    /// With which QoS they would get it.
    qualities: BTreeSet<Qos>,
    has_connected: bool,
    /// The session of one may have ended.
    has_uncertain: bool,
}

impl Model {
    pub fn new(trace: Trace, expiry_max_s: u32) -> Self {
        Self {
            now: Instant::START,
            ledger: Ledger::new(trace.clone()),
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            wills: Vec::new(),
            connecting: BTreeMap::new(),
            generation_next: 0,
            expiry_max_s,
            is_healed: false,
            trace,
        }
    }

    /// Time goes by: sessions end, and wills that did not come are late.
    pub fn advance(&mut self, now: Instant) {
        self.now = now;
        let ended: Vec<String> =
            self.sessions.iter().filter(|(_, session)| session.ends.is_some_and(|ends| ends + TOLERANCE < now)).map(|(client, _)| client.clone()).collect();
        for client in ended {
            // When exactly it ended, and who was in its groups then, is not known.
            self.end_session(&client, false);
        }
        for will in &self.wills {
            assert!(will.is_optional || will.due + TOLERANCE >= now, "the will of {} was due at {:?} and did not come", will.client, will.due);
        }
        self.wills.retain(|will| will.due + TOLERANCE >= now);
    }

    /// CONNACK with success.
    pub fn connected(&mut self, client: &str, peer: &str, session_present: bool) {
        let Some(connect) = self.connecting.remove(peer) else { panic!("{client} is connected without CONNECT") };
        let old = self.sessions.get(client);
        let near_end = old.is_some_and(|old| old.ends.is_some_and(|ends| is_near(ends, self.now)));
        let expected = !connect.clean_start && old.is_some();
        trace!(self.trace, "model: {client} connected, session present {session_present}");
        assert!(session_present == expected || (near_end && !session_present), "{client}: session present {session_present}, should be {expected}");
        if !session_present {
            self.end_session(client, !near_end);
        }
        let now = self.now;
        // A reconnect before the delay is over cancels the will (MQTT-3.1.3-9).
        self.wills.retain_mut(|will| {
            let is_other = will.client != client;
            will.is_optional |= !is_other && is_near(will.due, now);
            is_other || will.is_optional
        });
        let generation = self.generation_next;
        self.generation_next += 1;
        let session = self.sessions.entry(client.to_owned()).or_insert_with(|| Session {
            generation,
            is_connected: true,
            expiry_s: 0,
            ends: None,
            will: None,
            filters: BTreeMap::new(),
            groups: BTreeSet::new(),
            left: BTreeSet::new(),
            jobs: BTreeSet::new(),
        });
        session.is_connected = true;
        session.expiry_s = connect.expiry_s.min(self.expiry_max_s);
        session.ends = None;
        session.will = connect.will;
    }

    /// The connection of a connected client ended; `normally`: by DISCONNECT with reason 0.
    pub fn disconnected(&mut self, client: &str, normally: bool) {
        trace!(self.trace, "model: {client} disconnected, normally {normally}");
        let now = self.now;
        let Some(session) = self.sessions.get_mut(client) else { panic!("{client} disconnected without a session") };
        session.is_connected = false;
        session.jobs.clear();
        let will = session.will.take().filter(|_| !normally);
        let expiry_s = session.expiry_s;
        session.ends = (expiry_s != u32::MAX).then(|| now + Duration::from_secs(u64::from(expiry_s)));
        if let Some(will) = will {
            let due = now + Duration::from_secs(u64::from(will.delay_s.min(expiry_s)));
            self.wills.push(PendingWill { client: client.to_owned(), will, due, is_optional: false });
        }
        self.ledger.forgive_qos0(client);
        if expiry_s == 0 {
            self.end_session(client, true);
        }
    }

    /// A session is gone, and with it what it had to get; its will is due now (§3.1.3.2.2). `is_now`:
    /// the real broker ends it at this moment.
    fn end_session(&mut self, client: &str, is_now: bool) {
        let Some(session) = self.sessions.remove(client) else { return };
        trace!(self.trace, "model: the session of {client} ends");
        let ended = session.ends.filter(|_| !session.is_connected).unwrap_or(self.now);
        for will in self.wills.iter_mut().filter(|will| will.client == client) {
            will.due = will.due.min(ended.max(self.now));
        }
        self.ledger.forgive(client);
        for group in session.groups {
            // One who left the group takes what waits for it along: the group may be another by now.
            let is_member = session.filters.get(&group).is_some_and(|options| options.qos == Qos::AtLeastOnce) && !session.left.contains(&group);
            let has_other = is_now && is_member && self.sessions.values().any(|other| other.is_connected && other.filters.contains_key(&group));
            self.ledger.forgive_group(&group, has_other);
        }
    }

    /// The broker has died: nobody has a session, nothing is retained, no will comes.
    pub fn broker_died(&mut self) {
        for client in self.sessions.keys().cloned().collect::<Vec<_>>() {
            self.end_session(&client, true);
            self.ledger.forgive_group_all();
        }
        self.retained.clear();
        self.wills.clear();
        self.connecting.clear();
    }

    /// SUBSCRIBE was granted; retained messages may and must come.
    pub fn subscribed(&mut self, client: &str, filters: &[(String, SubscribeOptions)]) {
        for (filter, options) in filters {
            let Some(session) = self.sessions.get_mut(client) else { panic!("{client} subscribed without a session") };
            let is_new = session.filters.insert(filter.clone(), *options).is_none();
            trace!(self.trace, "model: {client} subscribed to {filter}");
            let sends = match options.retain_handling {
                RetainHandling::SendAtSubscribe => true,
                RetainHandling::SendIfNew => is_new,
                RetainHandling::DoNotSend => false,
            };
            if filter.starts_with("$share/") {
                session.groups.insert(filter.clone());
                continue;
            }
            if sends {
                session.jobs.insert(filter.clone());
            } else if !session.jobs.contains(filter) {
                continue;
            }
            for kept in self.retained.values().filter(|kept| matches(filter, &kept.topic)) {
                if !(options.no_local && kept.publisher == client) {
                    self.ledger.may_get_retained(client, &Delivery::of(kept, kept.qos));
                }
            }
        }
    }

    /// UNSUBSCRIBE was taken.
    pub fn unsubscribed(&mut self, client: &str, filters: &[&str]) {
        let Some(session) = self.sessions.get_mut(client) else { panic!("{client} unsubscribed without a session") };
        for filter in filters {
            trace!(self.trace, "model: {client} unsubscribed from {filter}");
            session.jobs.remove(*filter);
            if session.filters.remove(*filter).is_some() && split_group(filter).0.is_some() {
                session.left.insert((*filter).to_owned());
            }
        }
    }

    /// A PUBLISH of a client was accepted.
    pub fn published(&mut self, publication: &Publication) {
        let generation = self.sessions.get(&publication.publisher).map(|session| session.generation);
        let Some(generation) = generation else { panic!("{} published without a session", publication.publisher) };
        self.ledger.accepted(publication, generation);
        self.route(publication);
    }

    /// A message with the topic of a will was seen in the broker.
    pub fn will_seen(&mut self, topic: &str) {
        let now = self.now;
        // A clean start ends the old session, and its will is due, before CONNACK.
        let is_replaced = |client: &str| self.connecting.values().any(|connect| connect.client == client && connect.clean_start);
        let due = |will: &PendingWill| will.will.topic == topic && (will.due <= now || is_near(will.due, now) || is_replaced(&will.client));
        let found = self.wills.iter().position(|will| !will.is_optional && due(will)).or_else(|| self.wills.iter().position(due));
        let Some(index) = found else { panic!("a will on {topic} that is not due; pending: {:?}", self.wills) };
        let PendingWill { client, will, .. } = self.wills.remove(index);
        trace!(self.trace, "model: the will of {client}");
        let publication =
            Publication { id: will_id(&client), publisher: client, topic: will.topic, qos: will.qos, retain: will.retain, is_empty: false, expires: false };
        self.ledger.accepted_will(&publication);
        self.route(&publication);
    }

    fn route(&mut self, publication: &Publication) {
        if publication.retain {
            if publication.is_empty {
                self.retained.remove(&publication.topic);
            } else {
                self.retained.insert(publication.topic.clone(), publication.clone());
            }
        }
        if publication.is_empty {
            return; // Its payload does not say who sent it: nothing can be accounted.
        }
        let mut groups: BTreeMap<&str, Members> = BTreeMap::new();
        for (client, session) in &self.sessions {
            let mut qos = None;
            for (filter, options) in &session.filters {
                let (group, plain) = split_group(filter);
                if !matches(plain, &publication.topic) {
                    continue;
                }
                if group.is_some() {
                    let members = groups.entry(filter).or_default();
                    members.qualities.insert(options.qos.min(publication.qos));
                    members.has_connected |= session.is_connected;
                    members.has_uncertain |= session.ends.is_some_and(|ends| is_near(ends, self.now));
                } else if !(options.no_local && publication.publisher == *client) {
                    qos = qos.max(Some(options.qos));
                }
            }
            let Some(qos) = qos else { continue };
            let delivery = Delivery::of(publication, qos.min(publication.qos));
            let is_certain = session.is_connected || session.ends.is_none_or(|ends| !is_near(ends, self.now));
            self.ledger.matched(client, &delivery, session.is_connected, is_certain);
        }
        for (group, members) in groups {
            // Those who are away are chosen only if nobody is connected.
            let is_certain = members.has_connected || !members.has_uncertain;
            self.ledger.matched_group(group, publication, &members.qualities, is_certain);
        }
    }
}

/// What the payload of a client's will says.
pub fn will_id(client: &str) -> String {
    format!("{client}.will")
}

fn is_near(deadline: Instant, now: Instant) -> bool {
    now + TOLERANCE >= deadline && deadline + TOLERANCE >= now
}

/// The group and the filter of a shared subscription (§4.8.2).
pub fn split_group(filter: &str) -> (Option<&str>, &str) {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or((None, filter), |(group, plain)| (Some(group), plain))
}

/// §4.7, as plainly as it can be said.
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
