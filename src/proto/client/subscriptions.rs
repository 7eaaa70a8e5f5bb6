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

use super::event::{Event, Failure, Outcome, SubscribeRequest, SubscriptionKey, Token};
use super::options::{Options, Resubscribe};
use crate::codec::{PacketId, PropertyList, Qos, Reason, SubscribeOptions, Version};
use crate::topic;

/// The answer for a filter that was unsubscribed before the server answered.
const SUPERSEDED: Reason = Reason::IMPLEMENTATION_SPECIFIC_ERROR;

pub(super) type Events = VecDeque<Event>;

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) table: BTreeMap<Arc<str>, Subscription>,
    /// Filters to ask for, in order, with the packet they want to be in. May name filters that are
    /// gone or no longer `Wanted`.
    pub(super) wanted: VecDeque<(u32, Arc<str>)>,
    pub(super) unwanted: VecDeque<(Arc<str>, Vec<Waiter>)>,
    pub(super) exchanges: Vec<Exchange>,
    requests: BTreeMap<Token, Request>,
    /// How many filters lead to a handler.
    handlers: BTreeMap<u32, usize>,
    group_last: u32,
    serial_last: u64,
    /// The library's own filter, for responses; and the refusal of it, until that is taken.
    own: Option<Arc<str>>,
    pub(super) own_refusal: Option<Reason>,
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) options: SubscribeOptions,
    /// Filters of one group go into one packet; 0 = with any others.
    pub(super) group: u32,
    pub(super) has_handler: bool,
    pub(super) properties: Option<Arc<PropertyList>>,
    pub(super) state: Stage,
    pub(super) was_held: bool,
    /// It was asked for since the last answer: the server may have it.
    pub(super) is_unsure: bool,
    /// The server knows it under its group's identifier.
    pub(super) with_id: bool,
    pub(super) waiters: Vec<Waiter>,
    serial: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Wanted,
    Asked(PacketId),
    Held,
    Refused,
}

/// A place in the answer of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiter {
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
pub(super) struct Exchange {
    pub(super) id: PacketId,
    pub(super) is_subscribe: bool,
    pub(super) filters: Vec<(Arc<str>, Vec<Waiter>)>,
}

impl Subscriptions {
    /// Stores the filters of a checked request and asks for them with the next packets.
    pub(super) fn subscribe(&mut self, token: Token, request: &SubscribeRequest<'_>, events: &mut Events) -> Option<SubscriptionKey> {
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
                is_unsure: false,
                with_id: false,
                waiters: Vec::new(),
                serial: self.serial_last,
            };
            if request.handler {
                *self.handlers.entry(group).or_default() += 1;
            }
            if let Some(replaced) = self.table.remove(&filter) {
                subscription.was_held = replaced.was_held;
                subscription.is_unsure = replaced.is_unsure;
                subscription.waiters.clone_from(&replaced.waiters);
                self.release(&replaced, events);
            }
            subscription.waiters.push(Waiter { token, index });
            self.wanted.push_back((group, Arc::clone(&filter)));
            self.table.insert(filter, subscription);
        }
        request.handler.then_some(SubscriptionKey(group))
    }

    /// Wants a filter for the library itself, before all others; nobody waits for the answer.
    pub(super) fn subscribe_own(&mut self, filter: Arc<str>) {
        self.serial_last += 1;
        let options = SubscribeOptions { qos: Qos::ExactlyOnce, ..SubscribeOptions::default() };
        let subscription = Subscription {
            options,
            group: 0,
            has_handler: false,
            properties: None,
            state: Stage::Wanted,
            was_held: false,
            is_unsure: false,
            with_id: false,
            waiters: Vec::new(),
            serial: 0,
        };
        self.wanted.push_front((0, Arc::clone(&filter)));
        self.table.insert(Arc::clone(&filter), subscription);
        self.own = Some(filter);
    }

    /// The library's own filter is still to be asked for.
    pub(super) fn is_own_wanted(&self) -> bool {
        let found = self.own.as_ref().and_then(|own| self.table.get(own));
        found.is_some_and(|subscription| subscription.state == Stage::Wanted)
    }

    pub(super) fn is_own(&self, filter: &str) -> bool {
        self.own.as_deref() == Some(filter)
    }

    pub(super) fn take_own_refusal(&mut self) -> Option<Reason> {
        self.own_refusal.take()
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

    /// Completes every request; what the server never agreed to is forgotten. Where an answer was
    /// lost with its connection, a server that keeps the session is told to forget it, too.
    pub(super) fn fail_all(&mut self, failure: Failure, events: &mut Events) {
        for (token, request) in core::mem::take(&mut self.requests) {
            events.push_back(completion(token, request, Some(failure)));
        }
        let never_held = self.table.iter().filter(|(_, subscription)| !subscription.was_held);
        let never_held: Vec<Arc<str>> = never_held.map(|(filter, _)| Arc::clone(filter)).collect();
        for filter in never_held {
            if self.table[&filter].is_unsure {
                self.unwanted.push_back((Arc::clone(&filter), Vec::new()));
            }
            self.forget(&filter, events);
        }
        self.table.values_mut().for_each(|subscription| subscription.waiters.clear());
        self.unwanted.iter_mut().for_each(|(_, waiters)| waiters.clear());
    }

    pub(super) fn forget(&mut self, filter: &str, events: &mut Events) {
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

    pub(super) fn answer(&mut self, waiters: &[Waiter], reason: Reason, events: &mut Events) {
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

    /// A session is there, new or resumed; `unsure`: it may be one that does not know the filters.
    pub(super) fn connected(&mut self, session_present: bool, unsure: bool, options: &Options, events: &mut Events) {
        let lost = !session_present;
        if lost && options.resubscribe == Resubscribe::Never {
            let own = self.own.as_deref();
            let held = self.table.iter().filter(|(filter, _)| own != Some(filter));
            let held = held.filter(|(_, subscription)| subscription.state == Stage::Held);
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
        let again = lost || unsure || options.resubscribe == Resubscribe::Always;
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

    /// Messages for it come, or will as soon as there is a connection.
    pub(super) fn is_usable(&self, filter: &str) -> bool {
        self.table.get(filter).is_some_and(|subscription| subscription.state != Stage::Refused)
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self, filter: &str) -> bool {
        self.table.contains_key(filter)
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }
}

fn completion(token: Token, request: Request, failure: Option<Failure>) -> Event {
    let refused = request.reasons.iter().find(|reason| reason.is_error());
    let outcome = match failure {
        Some(failure) => Outcome::Failed(failure),
        None => Outcome::Acknowledged(refused.copied().unwrap_or(Reason::SUCCESS)),
    };
    let reasons = if failure.is_some() { Vec::new() } else { request.reasons };
    if request.is_subscribe { Event::Subscribed { token, outcome, reasons } } else { Event::Unsubscribed { token, outcome, reasons } }
}
