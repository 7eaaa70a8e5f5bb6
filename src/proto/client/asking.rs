//! SUBSCRIBE and UNSUBSCRIBE packets made of what [`Subscriptions`] wants, and their answers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::Limits;
use super::event::Event;
use super::subscriptions::{Events, Exchange, Stage, Subscriptions, Waiter};
use crate::codec::{PacketId, Properties, PropertyId, PropertyList, Reason, Subscribe, Unsubscribe};
use crate::codec::{Value, Version};
use crate::proto::Error;
use crate::topic;

/// SUBSCRIBE and UNSUBSCRIBE packets waiting for their answer at a time.
pub(super) const EXCHANGES_MAX: usize = 32;

/// What a packet may be made of.
pub(super) struct Terms<'a> {
    pub(super) version: Version,
    pub(super) limits: &'a Limits,
    /// Identifiers are wanted and the server has them.
    pub(super) use_ids: bool,
    pub(super) filters_max: usize,
}

impl Subscriptions {
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
    pub(super) fn ask(&mut self, id: PacketId, terms: &Terms<'_>, out: &mut Vec<u8>, events: &mut Events) -> bool {
        if self.unwanted.is_empty() { self.ask_subscribe(id, terms, out, events) } else { self.ask_unsubscribe(id, terms, out, events) }
    }

    fn ask_unsubscribe(&mut self, id: PacketId, terms: &Terms<'_>, out: &mut Vec<u8>, events: &mut Events) -> bool {
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

    fn ask_subscribe(&mut self, id: PacketId, terms: &Terms<'_>, out: &mut Vec<u8>, events: &mut Events) -> bool {
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
                subscription.is_unsure = true;
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
    pub(super) fn acknowledged(&mut self, id: PacketId, is_subscribe: bool, reasons: &[u8], events: &mut Events) -> Result<bool, Error> {
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
                // The answer to an older request for a filter that is asked for again, without having
                // been given up in between.
                let agreed = is_subscribe && !reason.is_error() && !self.is_being_given_up(&filter);
                if let Some(subscription) = self.table.get_mut(&filter).filter(|_| agreed) {
                    subscription.was_held = true;
                }
                self.answer(&waiters, reason, events);
            }
        }
        Ok(true)
    }

    /// An UNSUBSCRIBE for it is still to be sent or answered.
    fn is_being_given_up(&self, filter: &str) -> bool {
        let asked = self.exchanges.iter().filter(|exchange| !exchange.is_subscribe).flat_map(|exchange| &exchange.filters);
        asked.chain(&self.unwanted).any(|(name, _)| &**name == filter)
    }

    /// The final word on a filter of the table.
    fn answered(&mut self, filter: &Arc<str>, waiters: Vec<Waiter>, reason: Reason, events: &mut Events) {
        let Some(subscription) = self.table.get_mut(filter) else { return };
        let mut waiters = waiters;
        waiters.append(&mut subscription.waiters);
        subscription.state = if reason.is_error() { Stage::Refused } else { Stage::Held };
        let again = subscription.was_held && waiters.is_empty();
        subscription.was_held |= !reason.is_error();
        subscription.is_unsure = false;
        let is_own = self.is_own(filter);
        if is_own && reason.is_error() {
            self.own_refusal = Some(reason);
        }
        let Some(subscription) = self.table.get(filter) else { return };
        if !subscription.was_held {
            self.forget(filter, events);
        }
        if again && !is_own {
            events.push_back(Event::Resubscribed { filter: Arc::clone(filter), reason });
        }
        self.answer(&waiters, reason, events);
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
