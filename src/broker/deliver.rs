//! From the router to the receivers: out-buffers, in-flight windows, queues.
//!
//! QoS 0 goes into the out-buffer or, when a blocked receiver's buffer is over its mark or memory over
//! its soft one, nowhere (counted). QoS 1 and 2 go out while the in-flight window and the buffer have room, and wait in
//! the session's queue otherwise; `pump` moves them on whenever an acknowledgement or the socket
//! makes room; while memory is over its soft mark they wait only where they could go out at once, and
//! are dropped otherwise (counted). A target of another shard goes into the outbox there (see `peers`). A
//! shared subscription's message that finds its member gone or full is offered to other members, once
//! each and to 16 at most.

use std::sync::Arc;

use crate::base::Instant;
use crate::codec::{self, Ack, Delivery, FanOut, Message, PacketId, PacketType, Properties, Qos, Reason};
use crate::proto::Resend;
use crate::route::{Hit, Hits, MatchCache, Router, ShareId, Target};

use super::connection::{ConnKey, Connection};
use super::hooks::DropReason;
use super::session::{Outgoing, Session, SessionKey};
use super::shard::Shard;
use super::tell::{Tell, session_info, tell};

/// An out-buffer that is not blocked may pass its mark by this factor before QoS 0 is dropped: the
/// flush that was asked for comes first.
const OVERSHOOT: usize = 4;

/// Members tried for one shared message.
const SHARE_TRIES_MAX: usize = 16;

impl Shard {
    /// Keeps a message that is to be retained and finds who subscribed to it, both at one moment: who
    /// subscribes before gets it now, who does later finds it kept. `topic` is the message's,
    /// `publisher` the session it comes from. False: it could not be kept.
    pub(super) fn find_receivers(&mut self, topic: &str, message: &Arc<Message>, publisher: Option<SessionKey>) -> bool {
        debug_assert_eq!(topic, message.topic());
        let mut matches = self.matches.take().unwrap_or_else(|| Box::new(MatchCache::new(&self.budget)));
        let target = publisher.map(|session| self.target(session));
        let mut find = |router: &Router| matches.find(router, topic, target, message.publisher());
        let is_kept = match message.retain() {
            true => self.retain(message, true, find),
            false => {
                find(&self.router.read().expect("router lock"));
                true
            }
        };
        self.matches = Some(matches);
        is_kept
    }

    /// Hands a message to those that were found; how many there are.
    pub(super) fn hand_out(&mut self, now: Instant, message: &Arc<Message>) -> usize {
        let Some(matches) = self.matches.take() else { return 0 };
        self.deliver_all(now, message, matches.found());
        let count = matches.found().len();
        self.matches = Some(matches);
        count
    }

    fn deliver_all(&mut self, now: Instant, message: &Arc<Message>, hits: &Hits) {
        let is_fan_out = hits.len() > 1;
        if is_fan_out {
            self.fan_out.begin(message);
        }
        for (hit, subscription_ids) in hits.iter() {
            if hit.target.shard != self.id {
                self.post(hit, subscription_ids, message, &[]);
            } else if hit.share.is_some() {
                self.deliver_shared(now, hit, subscription_ids, message);
            } else {
                self.deliver(now, hit, subscription_ids, message);
            }
        }
        if is_fan_out {
            self.fan_out.end();
        }
    }

    /// This shard's session as the router names it.
    pub(super) fn target(&self, session: SessionKey) -> Target {
        Target { shard: self.id, key: session.as_u64() }
    }

    /// Gives the message to the chosen member, or to another one if that cannot take it.
    fn deliver_shared(&mut self, now: Instant, hit: &Hit, subscription_ids: &[u32], message: &Arc<Message>) {
        if self.deliver(now, hit, subscription_ids, message) {
            return;
        }
        if let Some(share) = hit.share {
            self.reoffer(now, share, vec![hit.target], message);
        }
    }

    /// Another member for a message that those who were tried did not take or acknowledge.
    pub(super) fn reoffer(&mut self, now: Instant, share: ShareId, mut tried: Vec<Target>, message: &Arc<Message>) {
        while tried.len() < SHARE_TRIES_MAX {
            let other = self.router.read().expect("router lock").another(share, &tried);
            let Some(other) = other else { break };
            self.stats.shared_reoffered += 1;
            if other.target.shard != self.id {
                return self.post(&other, other.subscription_id().as_slice(), message, &tried);
            }
            if self.deliver(now, &other, other.subscription_id().as_slice(), message) {
                return;
            }
            tried.push(other.target);
        }
        let first = tried.first().filter(|target| target.shard == self.id);
        match first.and_then(|target| self.sessions.get(SessionKey::from_u64(target.key))) {
            Some(session) => tell!(self).dropped(session, None, message, DropReason::QueueFull),
            None => self.stats.dropped_queue_full += 1,
        }
    }

    /// One message to one session. False: a shared member cannot take it.
    pub(super) fn deliver(&mut self, now: Instant, hit: &Hit, subscription_ids: &[u32], message: &Arc<Message>) -> bool {
        let retain = message.retain() && hit.retain_as_published;
        let key = SessionKey::from_u64(hit.target.key);
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if let Some(local) = &mut session.local {
            local(message);
            return true;
        }
        if session.mount.as_ref().is_some_and(|mount| mount.hides(message.topic())) {
            return true;
        }
        let qos = message.qos().min(hit.qos);
        let open = session.connection.filter(|&key| self.connections.get(key).is_some_and(Connection::is_open));
        if qos == Qos::AtMostOnce {
            if let Some(connection) = open {
                return self.write_qos0(now, key, connection, subscription_ids, message, retain, hit.share.is_some());
            }
            if !self.options.queue_qos0_messages || !session.is_persistent() {
                return hit.share.is_none();
            }
        }
        let outgoing = Outgoing { message: message.clone(), qos, retain, subscription_ids: subscription_ids.into(), share: hit.share, sent: now };
        self.send_or_queue(now, key, outgoing)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn write_qos0(
        &mut self,
        now: Instant,
        session: SessionKey,
        key: ConnKey,
        subscription_ids: &[u32],
        message: &Arc<Message>,
        retain: bool,
        shared: bool,
    ) -> bool {
        let max = self.options.max_output_bytes;
        let (connection, session) = (&mut self.connections[key], &self.sessions[session]);
        let waiting = connection.out.len();
        let mut tell = tell!(self);
        // Memory is short: what may be lost is not kept for a receiver that does not take it.
        let is_tight = connection.flags.blocked && waiting > 0 && self.budget.is_tight();
        if waiting > max || is_tight {
            if connection.flags.blocked || waiting > max.saturating_mul(OVERSHOOT) {
                if !shared {
                    tell.dropped(session, Some(connection), message, DropReason::OutputFull);
                }
                return !shared;
            }
            self.flush_wanted = true;
        }
        let delivery = Delivery { retain, subscription_ids, ..Delivery::default() };
        if write_publish(now, session, connection, message, delivery, &mut self.fan_out, &mut tell) {
            tell.publish_out(session, connection, message, Qos::AtMostOnce);
            if self.interest.delivered {
                self.hooks.delivered(session_info(session, Some(connection)), message, Qos::AtMostOnce);
            }
        }
        connection.mark_dirty(key, &mut self.dirty);
        true
    }

    /// Sends now if nothing waits before it and there is room, else queues. False: a shared
    /// member's queue is full.
    pub(super) fn send_or_queue(&mut self, now: Instant, key: SessionKey, outgoing: Outgoing) -> bool {
        let (messages_max, bytes_max) = (self.options.max_queued_messages, self.options.max_queued_bytes);
        let output_max = self.options.max_output_bytes;
        let is_tight = self.budget.is_tight();
        let session = &mut self.sessions[key];
        let connection = session.connection.filter(|&key| self.connections.get(key).is_some_and(Connection::is_open));
        if let Some(connection_key) = connection {
            let connection = &mut self.connections[connection_key];
            let may_grow = !is_tight || session.sender.in_flight() == 0;
            if may_grow && session.queue.is_empty() && session.sender.can_send() && connection.out.len() <= output_max {
                let is_shared = outgoing.share.is_some();
                start(now, session, connection, outgoing, &mut self.fan_out, &mut tell!(self));
                connection.mark_dirty(connection_key, &mut self.dirty);
                if is_shared {
                    self.arm_share(now, key);
                }
                return true;
            }
        } else if !session.is_persistent() {
            tell!(self).dropped(session, None, &outgoing.message, DropReason::SessionEnded);
            return outgoing.share.is_none();
        }
        let is_full = session.queue_is_full(messages_max, bytes_max);
        if (is_full || is_tight) && outgoing.share.is_some() {
            return false;
        }
        let connection = connection.and_then(|connection| self.connections.get(connection));
        let mut tell = tell!(self);
        if is_tight && !is_full {
            tell.dropped(session, connection, &outgoing.message, DropReason::MemoryShort);
            return true;
        }
        if is_full && !self.options.queue_drop_oldest {
            tell.dropped(session, connection, &outgoing.message, DropReason::QueueFull);
            return true;
        }
        // Many small ones may have to go for a large one: the limit in bytes holds as well.
        while session.queue_is_full(messages_max, bytes_max) {
            let Some(oldest) = session.dequeue() else { break };
            tell.dropped(session, connection, &oldest.message, DropReason::QueueFull);
        }
        self.stats.messages_queued += 1;
        session.enqueue(outgoing);
        true
    }

    /// Sends to an open connection without looking at queue or buffer limits; the caller did.
    pub(super) fn send_now(&mut self, now: Instant, session: SessionKey, key: ConnKey, outgoing: Outgoing) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return };
        start(now, &mut self.sessions[session], connection, outgoing, &mut self.fan_out, &mut tell!(self));
        connection.mark_dirty(key, &mut self.dirty);
    }

    /// Moves on whatever has room now: what must be sent again, what waits, what is retained.
    pub(super) fn pump(&mut self, now: Instant, key: ConnKey) {
        let output_max = self.options.max_output_bytes;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return };
        let Some(session) = connection.session.and_then(|session| self.sessions.get_mut(session)) else { return };
        let before = connection.out.len();
        let mut tell = tell!(self);
        while connection.out.len() <= output_max {
            match session.sender.next_resend() {
                Some(Resend::Publish { packet_id, qos, message }) => {
                    let outgoing: Outgoing = message.clone();
                    let delivery = delivery_of(&outgoing, qos, Some(packet_id), true);
                    if !write_publish(now, session, connection, &outgoing.message, delivery, &mut self.fan_out, &mut tell) {
                        // Too large for this connection: as if it had been sent (MQTT-3.1.2-25).
                        session.sender.abandon(packet_id);
                    }
                }
                Some(Resend::PubRel { packet_id }) => {
                    let ack = Ack { packet_id, reason: Reason::SUCCESS, properties: Properties::EMPTY };
                    ack.encode(PacketType::PubRel, connection.version, connection.out.tail());
                }
                None => break,
            }
        }
        while connection.out.len() <= output_max && session.sender.can_send() {
            let Some(outgoing) = session.dequeue() else { break };
            start(now, session, connection, outgoing, &mut self.fan_out, &mut tell);
        }
        session.recharge();
        let has_room = connection.out.len() <= output_max && session.queue.is_empty();
        let wants_work = connection.retained.is_some() && !connection.flags.working && has_room;
        if wants_work {
            connection.flags.working = true;
            self.working.push(key);
        }
        if connection.out.len() != before {
            connection.mark_dirty(key, &mut self.dirty);
        }
    }
}

/// First transmission of a message of a session with room in its window.
fn start(now: Instant, session: &mut Session, connection: &mut Connection, mut outgoing: Outgoing, fan_out: &mut FanOut, tell: &mut Tell<'_>) {
    if outgoing.message.is_expired(now) {
        return tell.expired(session, connection, &outgoing.message);
    }
    outgoing.sent = now;
    let qos = outgoing.qos;
    if qos == Qos::AtMostOnce {
        if write_publish(now, session, connection, &outgoing.message, delivery_of(&outgoing, qos, None, false), fan_out, tell) {
            tell.publish_out(session, connection, &outgoing.message, qos);
        }
        return;
    }
    // The packet identifier has a fixed size: any will do to measure.
    let probe = delivery_of(&outgoing, qos, Some(PacketId::MIN), false);
    if !fits_shown(now, session, connection, &outgoing.message, &probe) {
        return tell.dropped(session, Some(connection), &outgoing.message, DropReason::TooLarge);
    }
    let packet_id = session.sender.unused_id(|_| false);
    write_publish(now, session, connection, &outgoing.message, delivery_of(&outgoing, qos, Some(packet_id), false), fan_out, tell);
    tell.publish_out(session, connection, &outgoing.message, qos);
    session.sender.begin_as(packet_id, qos, outgoing);
}

fn delivery_of(outgoing: &Outgoing, qos: Qos, packet_id: Option<PacketId>, dup: bool) -> Delivery<'_> {
    Delivery { qos, dup, retain: outgoing.retain, packet_id, alias: None, omit_topic: false, subscription_ids: &outgoing.subscription_ids }
}

/// A packet larger than the client said it takes is never sent (MQTT-3.1.2-24), nor one larger than a
/// packet can be.
fn fits(now: Instant, connection: &Connection, message: &Message, delivery: &Delivery<'_>) -> bool {
    let max = connection.packet_bytes_max as usize;
    // Most are far below it: then the exact length is not wanted.
    let around = DELIVERY_BYTES + SUBSCRIPTION_ID_BYTES * delivery.subscription_ids.len();
    message.body_len() + around <= max || codec::delivery_len(message, delivery, connection.version, now) <= max
}

/// As `fits`, of what the client sees of a message.
fn fits_shown(now: Instant, session: &Session, connection: &Connection, message: &Message, delivery: &Delivery<'_>) -> bool {
    let shown = || session.mount.as_ref().and_then(|mount| mount.shown(message));
    fits(now, connection, message, delivery) || shown().is_some_and(|shown| fits(now, connection, &shown, delivery))
}

/// What a delivery puts around a message at most: header, lengths, packet identifier, expiry, alias.
const DELIVERY_BYTES: usize = 32;
const SUBSCRIPTION_ID_BYTES: usize = 5;

/// Encodes one PUBLISH, with a topic alias if the client takes them. False: it is too large.
fn write_publish(
    now: Instant,
    session: &Session,
    connection: &mut Connection,
    message: &Arc<Message>,
    delivery: Delivery<'_>,
    fan_out: &mut FanOut,
    tell: &mut Tell<'_>,
) -> bool {
    if session.mount.is_some() {
        return write_mounted(now, session, connection, message, delivery, fan_out, tell);
    }
    write_shown(now, session, connection, message, delivery, fan_out, tell)
}

/// As [`write_publish`], of what a client behind a mount point sees. Apart, so that the others pay nothing for it.
#[cold]
fn write_mounted(
    now: Instant,
    session: &Session,
    connection: &mut Connection,
    message: &Arc<Message>,
    delivery: Delivery<'_>,
    fan_out: &mut FanOut,
    tell: &mut Tell<'_>,
) -> bool {
    let shown = session.mount.as_ref().and_then(|mount| mount.shown(message));
    write_shown(now, session, connection, shown.as_ref().unwrap_or(message), delivery, fan_out, tell)
}

fn write_shown(
    now: Instant,
    session: &Session,
    connection: &mut Connection,
    message: &Arc<Message>,
    mut delivery: Delivery<'_>,
    fan_out: &mut FanOut,
    tell: &mut Tell<'_>,
) -> bool {
    if !fits(now, connection, message, &delivery) {
        tell.dropped(session, Some(connection), message, DropReason::TooLarge);
        return false;
    }
    // An alias is taught only with a packet that is certain to go out.
    let taught = Delivery { alias: Some(1), ..delivery };
    if connection.alias_out.is_enabled() && fits(now, connection, message, &taught) {
        if let Some((alias, known)) = connection.alias_out.assign(message.topic()) {
            delivery.alias = Some(alias);
            delivery.omit_topic = known;
        }
    }
    fan_out.encode(message, &delivery, connection.version, now, &mut connection.out);
    tell.stats.publish_sent += 1;
    true
}
