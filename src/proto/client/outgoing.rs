//! What goes out besides answers: exchanges, resends, the queue, in this order, as far as the
//! server's limits and the out-buffer allow.

use std::sync::Arc;

use super::Client;
use super::asking::Terms;
use super::event::{Failure, Outcome, PublishRequest, State};
use super::options::Options;
use super::queue::Item;
use crate::base::{Instant, OutBuffer};
use crate::codec::{Ack, COPY_BYTES_MAX, Content, Delivery, Message, PacketId, PacketType, Properties, Qos, Reason, Version};
use crate::codec::{delivery_len, encode_content, encode_delivery};
use crate::proto::Resend;

/// What the server was told, or could assume.
pub(super) fn receive_maximum(options: &Options) -> u16 {
    if options.version == Version::V5 { options.receive_maximum } else { u16::MAX }
}

impl Client {
    /// Driver: the bytes to be written, `None` when there are none. Write them, take off what went
    /// out with `OutBuffer::advance`, ask again.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<&mut OutBuffer> {
        self.fill(now);
        if self.state == State::Stopping && self.is_drained() {
            self.finish_stop(now);
        }
        if core::mem::take(&mut self.is_touched) {
            if let Some(connection) = &mut self.connection {
                connection.keep_alive.sent(now);
            }
        }
        (!self.out.is_empty()).then_some(&mut self.out)
    }

    /// Driver: the same bytes again.
    pub fn output(&mut self) -> &mut OutBuffer {
        &mut self.out
    }

    /// Moves what may be sent into the out-buffer.
    pub(super) fn fill(&mut self, now: Instant) {
        if !matches!(self.state, State::Online | State::Stopping) {
            return;
        }
        self.ask();
        self.settle_refused_calls();
        self.resend(now);
        self.send_queue(now);
        self.note_level();
    }

    fn has_room(&self) -> bool {
        self.out.len() < self.options.out_bytes_max
    }

    fn ask(&mut self) {
        while self.has_room() && self.subscriptions.can_ask() {
            let Some(connection) = &self.connection else { return };
            let terms = Terms {
                version: self.options.version,
                limits: &connection.limits,
                use_ids: self.options.subscription_ids && connection.limits.subscription_ids,
                filters_max: self.options.subscribe_filters_max,
            };
            let subscriptions = &mut self.subscriptions;
            let id = self.sender.unused_id(|id| subscriptions.is_taken(id));
            let asked = subscriptions.ask(id, &terms, self.out.tail(), &mut self.events);
            self.is_touched |= asked;
        }
    }

    fn resend(&mut self, now: Instant) {
        while self.has_room() {
            let (id, item) = match self.sender.next_resend() {
                None => return,
                Some(Resend::PubRel { packet_id }) => (packet_id, None),
                Some(Resend::Publish { packet_id, qos, message: item }) => (packet_id, Some((qos, Arc::clone(&item.message), item.retain))),
            };
            let Some((qos, message, retain)) = item else {
                self.send_ack(PacketType::PubRel, id, Reason::SUCCESS);
                continue;
            };
            if let Some(failure) = self.obstacle(&message, qos, retain, now) {
                // The server does not expect it: after a resumed session its limits are others.
                let ended = match qos {
                    Qos::ExactlyOnce => match self.sender.pubrec(id, failure.reason()) {
                        crate::proto::PubRecOutcome::Ended(item) => Some(item),
                        _ => None,
                    },
                    _ => self.sender.puback(id),
                };
                ended.iter().for_each(|item| self.publish_failed(item, failure));
                continue;
            }
            self.statistics.messages_resent += 1;
            self.send_publish(&message, qos, retain, Some(id), true, now);
        }
    }

    fn send_queue(&mut self, now: Instant) {
        self.expire_queue(now);
        while self.may_send_publish() {
            let Some(front) = self.queue.front() else { return };
            let Some(plan) = self.plan(&front.message, front.qos, front.retain, now) else { return };
            let Some(item) = self.queue.pop() else { return };
            self.send_item(item, plan, now);
        }
    }

    /// Room for a PUBLISH, and nothing that must not be overtaken by one.
    fn may_send_publish(&self) -> bool {
        self.has_room() && !self.subscriptions.is_own_wanted()
    }

    /// A message that is nothing special need not see the queue when nothing waits to go out before it: it is
    /// appended to what leaves at the end of the turn. What can be replaced or expires waits there, where it can be found.
    pub(super) fn goes_at_once(&self, item: &Item) -> bool {
        item.expires.is_none() && !item.newest_only && self.is_way_free()
    }

    /// Nothing waits that a message must not overtake.
    fn is_way_free(&self) -> bool {
        self.state == State::Online && self.queue.len() == 0 && self.may_send_publish() && !self.subscriptions.can_ask() && !self.sender.must_resend()
    }

    /// Sends what is nothing special and nobody will ask for again: the packet is all that is ever made of it. False: it needs
    /// a message, to wait, or to be told of.
    pub(super) fn send_request(&mut self, request: &PublishRequest<'_>) -> bool {
        let is_plain = request.qos == Qos::AtMostOnce && request.expiry_s.is_none() && request.shared.is_none() && request.payload.len() <= COPY_BYTES_MAX;
        let waits = self.options.queue.newest_only || request.terms.newest_only || !self.options.queue.age_max.is_zero();
        if !is_plain || waits || !self.is_way_free() {
            return false;
        }
        let (version, Some(connection)) = (self.options.version, &mut self.connection) else { return false };
        let content = Content { topic: request.topic.as_bytes(), properties: request.properties, expiry_s: None, payload: request.payload };
        let fits = content.topic.len() + content.properties.as_bytes().len() + content.payload.len() + HEADER_BYTES_MAX <= connection.limits.packet_bytes_max;
        let is_known = version == Version::V5 || content.properties.is_empty();
        if !fits || !is_known || (request.retain && !connection.limits.retain) {
            return false;
        }
        let delivery = Delivery { retain: request.retain, ..aliased(connection.alias_out.assign(request.topic)) };
        encode_content(&content, &delivery, version, &mut self.out);
        self.note_sent();
        true
    }

    /// How a message is sent now: at this QoS, or why not at all. `None`: it has to wait.
    pub(super) fn plan(&self, message: &Message, qos: Qos, retain: bool, now: Instant) -> Option<Result<Qos, Failure>> {
        let maximum = self.connection.as_ref()?.limits.qos_maximum;
        let qos = if self.options.lower_qos { qos.min(maximum) } else { qos };
        if let Some(failure) = self.obstacle(message, qos, retain, now) {
            return Some(Err(failure));
        }
        (qos == Qos::AtMostOnce || self.sender.can_send()).then_some(Ok(qos))
    }

    pub(super) fn send_item(&mut self, item: Item, plan: Result<Qos, Failure>, now: Instant) {
        let (message, retain) = (Arc::clone(&item.message), item.retain);
        match plan {
            Err(failure) => self.publish_failed(&item, failure),
            Ok(Qos::AtMostOnce) => {
                self.send_publish(&message, Qos::AtMostOnce, retain, None, false, now);
                self.published(&item, Outcome::Sent);
            }
            Ok(qos) => {
                let taken = &self.subscriptions;
                let id = self.sender.begin_avoiding(qos, item, |id| taken.is_taken(id));
                self.send_publish(&message, qos, retain, Some(id), false, now);
            }
        }
    }

    /// Why this server must not be sent this message.
    fn obstacle(&self, message: &Message, qos: Qos, retain: bool, now: Instant) -> Option<Failure> {
        let limits = &self.connection.as_ref()?.limits;
        if qos > limits.qos_maximum {
            return Some(Failure::QosNotSupported);
        }
        if retain && !limits.retain {
            return Some(Failure::RetainNotSupported);
        }
        // The longest form it could take; asked only where it matters.
        if message.len_bytes() + HEADER_BYTES_MAX <= limits.packet_bytes_max {
            return None;
        }
        let longest = Delivery {
            qos,
            packet_id: (qos != Qos::AtMostOnce).then_some(PacketId::MIN),
            alias: (limits.topic_alias_maximum > 0).then_some(1),
            ..Delivery::default()
        };
        let bytes = delivery_len(message, &longest, self.options.version, now);
        (bytes > limits.packet_bytes_max).then_some(Failure::TooLarge)
    }

    fn send_publish(&mut self, message: &Arc<Message>, qos: Qos, retain: bool, packet_id: Option<PacketId>, dup: bool, now: Instant) {
        let Some(connection) = &mut self.connection else { return };
        let aliases = &mut connection.alias_out;
        let alias = if aliases.is_enabled() { aliases.assign(message.topic()) } else { None };
        let delivery = Delivery { qos, dup, retain, packet_id, ..aliased(alias) };
        encode_delivery(message, &delivery, self.options.version, now, &mut self.out);
        self.note_sent();
    }

    /// A PUBLISH was appended.
    fn note_sent(&mut self) {
        self.is_touched = true;
        self.statistics.messages_sent += 1;
    }

    pub(super) fn send_ack(&mut self, packet_type: PacketType, packet_id: PacketId, reason: Reason) {
        let version = self.options.version;
        let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
        ack.encode(packet_type, version, self.tail());
    }

    /// The server has lost the session: what it had confirmed is done, the rest is new again.
    pub(super) fn session_lost(&mut self) {
        let entries: Vec<(bool, Item)> = self.sender.drain_entries().collect();
        let mut again = Vec::new();
        for (released, item) in entries {
            if released {
                self.published(&item, Outcome::Acknowledged(item.accepted));
            } else if item.token.is_some() {
                again.push(item);
            }
        }
        again.into_iter().rev().for_each(|item| self.queue.push_front(item));
        self.receiver.clear();
    }

    /// Gives up what has waited too long.
    pub(super) fn expire_queue(&mut self, now: Instant) {
        while let Some(item) = self.queue.pop_expired(now) {
            self.publish_failed(&item, Failure::Expired);
        }
    }
}

/// A delivery with what [`AliasOut::assign`](crate::proto::AliasOut::assign) has answered.
fn aliased(alias: Option<(u16, bool)>) -> Delivery<'static> {
    Delivery { alias: alias.map(|(alias, _)| alias), omit_topic: alias.is_some_and(|(_, is_known)| is_known), ..Delivery::default() }
}

/// Fixed header, identifier, topic length, property length, expiry and alias.
const HEADER_BYTES_MAX: usize = 32;
