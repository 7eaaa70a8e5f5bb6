//! The filters the application wants, and the exchanges that make the server agree.
//!
//! ```text
//!   subscribe ---> Wanted --SUBSCRIBE--> Asked --SUBACK--> Held      (or gone, if refused)
//!                    ^                     |                 |
//!                    +--- connection lost -+  session lost --+       (Refused: waits for the next)
//!   unsubscribe -> gone from the table, its filter waits in `unwanted` for UNSUBSCRIBE
//! ```
//! Whether asked by the application or asked again after a lost session, a filter takes the same
//! way; the only difference is who waits for the answer: a request, or nobody (then the answer is
//! an [`Event::Resubscribed`]). Filters go out together in as few packets as the server's limits
//! allow. A Subscription Identifier belongs to a whole packet (§3.8.2.1.2), so that with
//! identifiers each request with a handler has a packet of its own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::connection::Limits;
use super::event::{Event, Failure, Outcome, SubscribeRequest, SubscriptionKey, Token};
use super::options::{Options, Resubscribe};
use crate::codec::{
    PacketId, Properties, PropertyId, PropertyList, Reason, Subscribe, SubscribeOptions, Unsubscribe,
    Value, Version,
};
use crate::proto::Error;
use crate::topic;

/// SUBSCRIBE and UNSUBSCRIBE packets waiting for their answer at a time.
pub(super) const EXCHANGES_MAX: usize = 32;

/// The answer for a filter that was unsubscribed before the server answered.
const SUPERSEDED: Reason = Reason::IMPLEMENTATION_SPECIFIC_ERROR;

pub(super) type Events = VecDeque<Event>;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    table: BTreeMap<Arc<str>, Subscription>,
    /// Filters to ask for, in order, with the packet they want to be in. May name filters that are
    /// gone or no longer `Wanted`.
    wanted: VecDeque<(u32, Arc<str>)>,
    unwanted: VecDeque<(Arc<str>, Vec<Waiter>)>,
    exchanges: Vec<Exchange>,
    requests: BTreeMap<Token, Request>,
    /// How many filters lead to a handler.
    handlers: BTreeMap<u32, usize>,
    group_last: u32,
    serial_last: u64,
}

#[derive(Debug)]
struct Subscription {
    options: SubscribeOptions,
    /// Filters of one group go into one packet; 0 = with any others.
    group: u32,
    has_handler: bool,
    properties: Option<Arc<PropertyList>>,
    state: Stage,
    was_held: bool,
    /// The server knows it under its group's identifier.
    with_id: bool,
    waiters: Vec<Waiter>,
    serial: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Wanted,
    Asked(PacketId),
    Held,
    Refused,
}

/// A place in the answer of a request.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    token: Token,
    index: usize,
}

#[derive(Debug)]
struct Request {
    is_subscribe: bool,
    reasons: Vec<Reason>,
    missing: usize,
}

#[derive(Debug)]
struct Exchange {
    id: PacketId,
    is_subscribe: bool,
    filters: Vec<(Arc<str>, Vec<Waiter>)>,
}

/// What a packet may be made of.
pub(super) struct Terms<'a> {
    pub(super) version: Version,
    pub(super) limits: &'a Limits,
    /// Identifiers are wanted and the server has them.
    pub(super) use_ids: bool,
    pub(super) filters_max: usize,
}

impl Subscriptions {
    /// Stores the filters of a checked request and asks for them with the next packets.
    pub(super) fn subscribe(
        &mut self,
        token: Token,
        request: &SubscribeRequest<'_>,
        events: &mut Events,
    ) -> Option<SubscriptionKey> {
        let mut group = 0;
        if request.handler || !request.properties.is_empty() {
            self.group_last += 1;
            group = self.group_last;
        }
        let properties = (!request.properties.is_empty()).then(|| {
            let mut list = PropertyList::new();
            list.extend_filtered(request.properties, |_| true);
            Arc::new(list)
        });
        self.add_request(token, true, request.filters.len());
        for (index, (filter, options)) in request.filters.iter().enumerate() {
            let filter: Arc<str> = (*filter).into();
            self.serial_last += 1;
            let mut subscription = Subscription {
                options: *options,
                group,
                has_handler: request.handler,
                properties: properties.clone(),
                state: Stage::Wanted,
                was_held: false,
                with_id: false,
                waiters: Vec::new(),
                serial: self.serial_last,
            };
            if request.handler {
                *self.handlers.entry(group).or_default() += 1;
            }
            if let Some(replaced) = self.table.remove(&filter) {
                subscription.was_held = replaced.was_held;
                subscription.waiters.clone_from(&replaced.waiters);
                self.release(&replaced, events);
            }
            subscription.waiters.push(Waiter { token, index });
            self.wanted.push_back((group, Arc::clone(&filter)));
            self.table.insert(filter, subscription);
        }
        request.handler.then_some(SubscriptionKey(group))
    }

    pub(super) fn unsubscribe(&mut self, token: Token, filters: &[&str], events: &mut Events) {
        self.add_request(token, false, filters.len());
        for (index, filter) in filters.iter().enumerate() {
            if let Some(removed) = self.table.remove(*filter) {
                self.release(&removed, events);
                self.answer(&removed.waiters, SUPERSEDED, events);
            }
            self.unwanted.push_back(((*filter).into(), vec![Waiter { token, index }]));
        }
    }

    fn add_request(&mut self, token: Token, is_subscribe: bool, count: usize) {
        let request = Request { is_subscribe, reasons: vec![Reason::SUCCESS; count], missing: count };
        self.requests.insert(token, request);
    }

    /// Completes a request without the server. False for an unknown token.
    pub(super) fn cancel(&mut self, token: Token, events: &mut Events) -> bool {
        let Some(request) = self.requests.remove(&token) else { return false };
        events.push_back(completion(token, request, Some(Failure::Cancelled)));
        let requests = &self.requests;
        let pointless: Vec<Arc<str>> = self
            .table
            .iter_mut()
            .filter_map(|(filter, subscription)| {
                subscription.waiters.retain(|waiter| requests.contains_key(&waiter.token));
                let unsent = subscription.state == Stage::Wanted && !subscription.was_held;
                (unsent && subscription.waiters.is_empty()).then(|| Arc::clone(filter))
            })
            .collect();
        pointless.iter().for_each(|filter| self.forget(filter, events));
        true
    }

    /// Completes every request; what the server never agreed to is forgotten.
    pub(super) fn fail_all(&mut self, failure: Failure, events: &mut Events) {
        for (token, request) in core::mem::take(&mut self.requests) {
            events.push_back(completion(token, request, Some(failure)));
        }
        let never_held = self.table.iter().filter(|(_, subscription)| !subscription.was_held);
        let never_held: Vec<Arc<str>> = never_held.map(|(filter, _)| Arc::clone(filter)).collect();
        never_held.iter().for_each(|filter| self.forget(filter, events));
        self.table.values_mut().for_each(|subscription| subscription.waiters.clear());
        self.unwanted.iter_mut().for_each(|(_, waiters)| waiters.clear());
    }

    fn forget(&mut self, filter: &str, events: &mut Events) {
        if let Some(removed) = self.table.remove(filter) {
            self.release(&removed, events);
        }
    }

    fn release(&mut self, removed: &Subscription, events: &mut Events) {
        let Some(count) = self.handlers.get_mut(&removed.group).filter(|_| removed.has_handler) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.handlers.remove(&removed.group);
            events.push_back(Event::HandlerReleased(SubscriptionKey(removed.group)));
        }
    }

    fn answer(&mut self, waiters: &[Waiter], reason: Reason, events: &mut Events) {
        for waiter in waiters {
            let Some(request) = self.requests.get_mut(&waiter.token) else { continue };
            request.reasons[waiter.index] = reason;
            request.missing -= 1;
            if request.missing == 0 {
                if let Some(request) = self.requests.remove(&waiter.token) {
                    events.push_back(completion(waiter.token, request, None));
                }
            }
        }
    }

    /// What was asked and not answered is to be asked again.
    pub(super) fn connection_lost(&mut self, events: &mut Events) {
        for exchange in core::mem::take(&mut self.exchanges).into_iter().rev() {
            if !exchange.is_subscribe {
                exchange.filters.into_iter().rev().for_each(|entry| self.unwanted.push_front(entry));
                continue;
            }
            for (filter, waiters) in exchange.filters.into_iter().rev() {
                let Some(subscription) = self.table.get_mut(&filter) else {
                    self.answer(&waiters, SUPERSEDED, events);
                    continue;
                };
                subscription.waiters.extend(waiters);
                if subscription.state == Stage::Asked(exchange.id) {
                    subscription.state = Stage::Wanted;
                    self.wanted.push_front((subscription.group, filter));
                }
            }
        }
    }

    /// A session is there, new or resumed.
    pub(super) fn connected(&mut self, session_present: bool, options: &Options, events: &mut Events) {
        let lost = !session_present;
        if lost && options.resubscribe == Resubscribe::Never {
            let held = self.table.iter().filter(|(_, subscription)| subscription.state == Stage::Held);
            let held: Vec<Arc<str>> = held.map(|(filter, _)| Arc::clone(filter)).collect();
            held.iter().for_each(|filter| self.forget(filter, events));
        }
        if lost {
            let none = match options.version {
                Version::V5 => Reason::NO_SUBSCRIPTION_EXISTED,
                _ => Reason::SUCCESS,
            };
            for (_, waiters) in core::mem::take(&mut self.unwanted) {
                self.answer(&waiters, none, events);
            }
        }
        // MQTT 3.1 does not say whether it has kept the session.
        let again = lost || options.resubscribe == Resubscribe::Always || options.version == Version::V31;
        for subscription in self.table.values_mut() {
            let retry = subscription.state == Stage::Refused;
            if retry || (again && subscription.state == Stage::Held) {
                subscription.state = Stage::Wanted;
            }
        }
        let wanted = self.table.iter().filter(|(_, subscription)| subscription.state == Stage::Wanted);
        let mut wanted: Vec<_> = wanted.map(|(filter, s)| (s.serial, s.group, filter)).collect();
        wanted.sort_unstable_by_key(|(serial, ..)| *serial);
        self.wanted = wanted.into_iter().map(|(_, group, filter)| (group, Arc::clone(filter))).collect();
    }

    pub(super) fn can_ask(&self) -> bool {
        let waiting = !self.wanted.is_empty() || !self.unwanted.is_empty();
        waiting && self.exchanges.len() < EXCHANGES_MAX
    }

    pub(super) fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.unwanted.is_empty() && self.exchanges.is_empty()
    }

    pub(super) fn is_taken(&self, id: PacketId) -> bool {
        self.exchanges.iter().any(|exchange| exchange.id == id)
    }

    /// Appends one UNSUBSCRIBE or SUBSCRIBE under `id`. False if there was nothing to ask after all.
    pub(super) fn ask(
        &mut self,
        id: PacketId,
        terms: &Terms<'_>,
        out: &mut Vec<u8>,
        events: &mut Events,
    ) -> bool {
        if self.unwanted.is_empty() {
            self.ask_subscribe(id, terms, out, events)
        } else {
            self.ask_unsubscribe(id, terms, out, events)
        }
    }

    fn ask_unsubscribe(
        &mut self,
        id: PacketId,
        terms: &Terms<'_>,
        out: &mut Vec<u8>,
        events: &mut Events,
    ) -> bool {
        let (mut filters, mut bytes) = (Vec::new(), OVERHEAD_BYTES);
        while let Some((filter, waiters)) = self.unwanted.pop_front() {
            if OVERHEAD_BYTES + 2 + filter.len() > terms.limits.packet_bytes_max {
                self.answer(&waiters, Reason::PACKET_TOO_LARGE, events);
                continue;
            }
            bytes += 2 + filter.len();
            if bytes > terms.limits.packet_bytes_max || filters.len() == terms.filters_max {
                self.unwanted.push_front((filter, waiters));
                break;
            }
            filters.push((filter, waiters));
        }
        if filters.is_empty() {
            return false;
        }
        let names = filters.iter().map(|(filter, _)| filter);
        Unsubscribe::encode_from(terms.version, id, Properties::EMPTY, names, out);
        self.exchanges.push(Exchange { id, is_subscribe: false, filters });
        true
    }

    fn ask_subscribe(
        &mut self,
        id: PacketId,
        terms: &Terms<'_>,
        out: &mut Vec<u8>,
        events: &mut Events,
    ) -> bool {
        let Some(first) = self.next_wanted() else { return false };
        let packet = self.packet_of(&first, terms.use_ids);
        let mut properties = PropertyList::new();
        let subscription = &self.table[&first];
        if terms.use_ids && subscription.has_handler {
            properties.push(PropertyId::SubscriptionIdentifier, Value::VarInt(subscription.group));
        }
        if let Some(own) = &subscription.properties {
            properties.extend_filtered(own.as_properties(), |_| true);
        }
        let overhead = OVERHEAD_BYTES + properties.as_properties().as_bytes().len();
        let (mut filters, mut bytes) = (Vec::new(), overhead);
        let mut others = VecDeque::new();
        while let Some((group, filter)) = self.wanted.pop_front() {
            if packet != 0 && group != packet {
                others.push_back((group, filter));
                continue;
            }
            if self.table.get(&filter).is_none_or(|found| found.state != Stage::Wanted) {
                continue;
            }
            if self.packet_of(&filter, terms.use_ids) != packet {
                others.push_back((group, filter));
                continue;
            }
            if let Some(refusal) = refusal(&filter, overhead, terms.limits) {
                self.answered(&filter, Vec::new(), refusal, events);
                continue;
            }
            bytes += 3 + filter.len();
            if bytes > terms.limits.packet_bytes_max || filters.len() == terms.filters_max {
                self.wanted.push_front((group, filter));
                break;
            }
            // Marked at once: the same filter may stand in `wanted` a second time.
            if let Some(subscription) = self.table.get_mut(&filter) {
                subscription.state = Stage::Asked(id);
                subscription.with_id = terms.use_ids && subscription.has_handler;
                let waiters = core::mem::take(&mut subscription.waiters);
                filters.push((filter, waiters));
            }
        }
        others.append(&mut self.wanted);
        self.wanted = others;
        if filters.is_empty() {
            return false;
        }
        let pairs = filters.iter().map(|(filter, _)| (&**filter, self.table[filter].options));
        Subscribe::encode_from(terms.version, id, properties.as_properties(), pairs, out);
        self.exchanges.push(Exchange { id, is_subscribe: true, filters });
        true
    }

    /// Drops stale names in front; the first filter that is really wanted, left in place.
    fn next_wanted(&mut self) -> Option<Arc<str>> {
        while let Some((_, filter)) = self.wanted.front() {
            if self.table.get(filter).is_some_and(|found| found.state == Stage::Wanted) {
                return Some(Arc::clone(filter));
            }
            self.wanted.pop_front();
        }
        None
    }

    /// Which packet a filter has to be in; 0 = any.
    fn packet_of(&self, filter: &Arc<str>, use_ids: bool) -> u32 {
        let subscription = &self.table[filter];
        let apart = subscription.properties.is_some() || (use_ids && subscription.has_handler);
        if apart { subscription.group } else { 0 }
    }

    /// SUBACK (§3.9) or UNSUBACK (§3.11) came. `Ok(false)`: nobody waits for it.
    pub(super) fn acknowledged(
        &mut self,
        id: PacketId,
        is_subscribe: bool,
        reasons: &[u8],
        events: &mut Events,
    ) -> Result<bool, Error> {
        let found = |exchange: &Exchange| exchange.id == id && exchange.is_subscribe == is_subscribe;
        let Some(index) = self.exchanges.iter().position(found) else { return Ok(false) };
        // UNSUBACK of MQTT 3 has no reasons.
        let counts = reasons.len() == self.exchanges[index].filters.len();
        if !counts && (is_subscribe || !reasons.is_empty()) {
            return Err(Error::Protocol("number of reasons in SUBACK or UNSUBACK"));
        }
        let exchange = self.exchanges.remove(index);
        for (index, (filter, waiters)) in exchange.filters.into_iter().enumerate() {
            let reason = reasons.get(index).map_or(Reason::SUCCESS, |reason| Reason(*reason));
            let current = self.table.get(&filter).map(|subscription| subscription.state);
            if is_subscribe && current == Some(Stage::Asked(id)) {
                self.answered(&filter, waiters, reason, events);
            } else {
                self.answer(&waiters, reason, events);
            }
        }
        Ok(true)
    }

    /// The final word on a filter of the table.
    fn answered(&mut self, filter: &Arc<str>, waiters: Vec<Waiter>, reason: Reason, events: &mut Events) {
        let Some(subscription) = self.table.get_mut(filter) else { return };
        let mut waiters = waiters;
        waiters.append(&mut subscription.waiters);
        subscription.state = if reason.is_error() { Stage::Refused } else { Stage::Held };
        let again = subscription.was_held && waiters.is_empty();
        subscription.was_held |= !reason.is_error();
        if !subscription.was_held {
            self.forget(filter, events);
        }
        if again {
            events.push_back(Event::Resubscribed { filter: Arc::clone(filter), reason });
        }
        self.answer(&waiters, reason, events);
    }

    /// The handlers a message belongs to: by the identifiers the server sent, else by matching
    /// those filters that the server does not know by an identifier.
    pub(super) fn handlers(&self, name: &str, ids: &[u32]) -> Vec<SubscriptionKey> {
        let mut keys = Vec::new();
        if self.handlers.is_empty() {
            return keys;
        }
        for id in ids.iter().filter(|id| self.handlers.contains_key(id)) {
            keys.push(SubscriptionKey(*id));
        }
        if ids.is_empty() {
            for (filter, subscription) in &self.table {
                let candidate = subscription.has_handler && !subscription.with_id;
                let plain = topic::split_share(filter).map_or(&**filter, |(_, plain)| plain);
                if candidate && topic::matches(plain, name) {
                    keys.push(SubscriptionKey(subscription.group));
                }
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }
}

/// Fixed header, packet identifier and the length of the properties.
const OVERHEAD_BYTES: usize = 5 + 2 + 4;

/// Why a filter must not be sent to this server: it would close the connection.
fn refusal(filter: &str, overhead: usize, limits: &Limits) -> Option<Reason> {
    let share = topic::split_share(filter);
    let plain = share.map_or(filter, |(_, plain)| plain);
    if share.is_some() && !limits.shared {
        return Some(Reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    if topic::has_wildcard(plain) && !limits.wildcards {
        return Some(Reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED);
    }
    (overhead + 3 + filter.len() > limits.packet_bytes_max).then_some(Reason::PACKET_TOO_LARGE)
}

fn completion(token: Token, request: Request, failure: Option<Failure>) -> Event {
    let refused = request.reasons.iter().find(|reason| reason.is_error());
    let outcome = match failure {
        Some(failure) => Outcome::Failed(failure),
        None => Outcome::Acknowledged(refused.copied().unwrap_or(Reason::SUCCESS)),
    };
    let reasons = if failure.is_some() { Vec::new() } else { request.reasons };
    if request.is_subscribe {
        Event::Subscribed { token, outcome, reasons }
    } else {
        Event::Unsubscribed { token, outcome, reasons }
    }
}
