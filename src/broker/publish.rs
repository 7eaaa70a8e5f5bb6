//! PUBLISH from a client and the acknowledgements of both directions (MQTT 5 §3.3 to §3.7, §4.3).

use std::sync::Arc;

use crate::base::{Duration, Instant};
use crate::codec::{Ack, Message, PacketId, PacketType, Properties, PropertyId, PropertyList, Publish, Qos, Reason};
use crate::proto::{Arrival, PubRecOutcome};
use crate::route::Router;

use super::connection::{ConnKey, Resumed, Stage};
use super::ending::forwarded;
use super::hooks::{Access, Decision, PublishInfo, Rewrite};
use super::session::{Outgoing, SessionKey};
use super::shard::{Fault, Shard, client_info, protocol_error};

/// What the hooks made of a PUBLISH.
enum Verdict {
    Accept(Option<Rewrite>),
    Refuse(Reason),
    Drop,
    /// A hook answers later.
    Parked,
}

impl Shard {
    pub(super) fn on_publish(&mut self, now: Instant, key: ConnKey, publish: &Publish<'_>, whole: &[u8], resumed: Option<Resumed>) -> Result<(), Fault> {
        let connection = &mut self.connections[key];
        let session = connection.session.expect("a connected client has a session");
        let alias = publish.properties.u16(PropertyId::TopicAlias);
        let resolved = connection.alias_in.resolve(alias, publish.topic)?;
        let mounted = self.sessions[session].mount.as_ref().map(|mount| mount.whole_topic(&resolved).unwrap_or_default());
        let topic: &str = mounted.as_deref().unwrap_or(&resolved);
        if resumed.is_none() {
            self.stats.publish_received += 1;
        }
        if publish.qos > self.options.maximum_qos {
            return Err(Fault::Reason(Reason::QOS_NOT_SUPPORTED, "QoS above the server's maximum"));
        }
        if publish.retain && !self.options.retain_available {
            return Err(Fault::Reason(Reason::RETAIN_NOT_SUPPORTED, "retained messages are not kept"));
        }
        if publish.properties.subscription_ids().next().is_some() {
            return Err(protocol_error("a subscription identifier from a client (MQTT-3.3.4-6)"));
        }
        if let (Qos::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) {
            if self.sessions[session].receiver.contains(id) {
                self.sessions[session].receiver.publish(publish.qos, id)?;
                self.stats.publish_duplicates += 1;
                self.acknowledge(key, PacketType::PubRec, id, Reason::SUCCESS);
                return Ok(());
            }
        }
        let verdict = if !self.is_publishable(topic) {
            Verdict::Refuse(if resolved.starts_with("$SYS") { Reason::NOT_AUTHORIZED } else { Reason::TOPIC_NAME_INVALID })
        } else {
            self.judge(now, key, session, topic, publish, whole, resumed)
        };
        if matches!(verdict, Verdict::Parked) {
            return Ok(());
        }
        if let Some(id) = publish.packet_id {
            let arrival = self.sessions[session].receiver.publish(publish.qos, id)?;
            debug_assert_eq!(arrival, Arrival::New, "duplicates were answered above");
            if publish.qos == Qos::ExactlyOnce {
                self.sessions[session].recharge(); // Only these are remembered.
            }
        }
        let reason = match verdict {
            Verdict::Accept(rewrite) => self.take_message(now, session, topic, publish, rewrite),
            Verdict::Refuse(reason) => {
                self.stats.publish_refused += 1;
                reason
            }
            Verdict::Drop => {
                self.stats.dropped_by_hook += 1;
                Reason::SUCCESS
            }
            Verdict::Parked => unreachable!("left above"),
        };
        self.answer_publish(key, session, publish, reason);
        Ok(())
    }

    /// Asks the hooks that are there.
    fn judge(
        &mut self,
        now: Instant,
        key: ConnKey,
        session: SessionKey,
        topic: &str,
        publish: &Publish<'_>,
        whole: &[u8],
        mut resumed: Option<Resumed>,
    ) -> Verdict {
        if self.interest.authorize {
            let decision = self.decide(now, key, Stage::Authorize, whole, &mut resumed, |shard, token| {
                let state = &shard.sessions[session];
                let client = client_info(&shard.connections[key], &state.client_id, state.username.as_deref());
                shard.hooks.authorize(client, Access::Publish, topic, publish.qos, publish.retain, token)
            });
            match decision {
                None => return Verdict::Parked,
                Some(Decision::Allow) => {}
                Some(Decision::Deny(reason)) => return Verdict::Refuse(reason),
                Some(_) => return Verdict::Refuse(Reason::NOT_AUTHORIZED),
            }
        }
        if !self.interest.publish {
            return Verdict::Accept(None);
        }
        let info = PublishInfo { topic, payload: publish.payload, qos: publish.qos, retain: publish.retain, dup: publish.dup, properties: publish.properties };
        let decision = self.decide(now, key, Stage::Act, whole, &mut resumed, |shard, token| {
            let state = &shard.sessions[session];
            let client = client_info(&shard.connections[key], &state.client_id, state.username.as_deref());
            shard.hooks.publish(client, &info, token)
        });
        match decision {
            None => Verdict::Parked,
            Some(Decision::Allow) => Verdict::Accept(None),
            Some(Decision::Rewrite(rewrite)) if rewrite.topic.as_deref().is_none_or(crate::topic::is_valid_name) => Verdict::Accept(Some(rewrite)),
            Some(Decision::Drop) => Verdict::Drop,
            Some(Decision::Deny(reason)) => Verdict::Refuse(reason),
            Some(_) => Verdict::Refuse(Reason::IMPLEMENTATION_SPECIFIC_ERROR),
        }
    }

    /// Makes the message and hands it to everyone who subscribed.
    fn take_message(&mut self, now: Instant, session: SessionKey, topic: &str, publish: &Publish<'_>, rewrite: Option<Rewrite>) -> Reason {
        let rewrite = rewrite.unwrap_or_default();
        let session_state = &self.sessions[session];
        let topic = rewrite.topic.as_deref().unwrap_or(topic);
        let expires = publish.properties.u32(PropertyId::MessageExpiryInterval).map(|seconds| now + Duration::from_secs(u64::from(seconds)));
        let mut kept = PropertyList::new();
        let mount = session_state.mount.as_ref();
        let properties = if publish.properties.iter().all(|(id, _)| forwarded(id) && (mount.is_none() || id != PropertyId::ResponseTopic)) {
            publish.properties
        } else {
            kept.extend_filtered(publish.properties, forwarded);
            mount.into_iter().for_each(|mount| mount.whole_properties(&mut kept));
            kept.as_properties()
        };
        let (qos, retain) = (rewrite.qos.unwrap_or(publish.qos), rewrite.retain.unwrap_or(publish.retain));
        let (budget, publisher) = (&self.budget, session_state.publisher_number);
        let payload = rewrite.payload.as_deref().unwrap_or(publish.payload);
        let message = match &self.apart {
            Some(apart) if rewrite.payload.is_none() && !retain => {
                Message::with_payload(budget, topic, apart.clone(), qos, retain, properties, expires, publisher, now)
            }
            _ => Message::new(budget, topic, payload, qos, retain, properties, expires, publisher, now),
        };
        if !self.find_receivers(topic, &message, Some(session)) {
            return Reason::QUOTA_EXCEEDED;
        }
        match self.hand_out(now, &message) {
            0 => Reason::NO_MATCHING_SUBSCRIBERS,
            _ => Reason::SUCCESS,
        }
    }

    /// Keeps, replaces or clears the retained message of a topic (§3.3.1.3), and does `then` under the
    /// same lock. `is_published`: it goes to those who subscribed already, too. False: no room.
    pub(super) fn retain(&mut self, message: &Arc<Message>, is_published: bool, then: impl FnOnce(&Router)) -> bool {
        let is_tight = self.budget.is_tight();
        let mut router = self.router.write().expect("router lock");
        if message.payload().is_empty() {
            let cleared = router.retained_mut().clear(message.topic());
            then(&router);
            drop(router);
            if cleared && self.interest.retained {
                self.hooks.retained_cleared(message.topic());
            }
            return true;
        }
        let retained = router.retained_mut();
        let kept = match is_published {
            true => retained.set(message.clone(), is_tight),
            false => retained.set_unpublished(message.clone(), is_tight),
        };
        let kept = kept.is_ok();
        then(&router);
        drop(router);
        if !kept {
            self.stats.retained_refused += 1;
            self.tell_quota("max_retained_messages");
        } else if self.interest.retained {
            self.hooks.retained_set(message);
        }
        kept
    }

    /// PUBACK or PUBREC. 3.x cannot refuse: it gets a positive answer (MQTT-3.3.5-2).
    fn answer_publish(&mut self, key: ConnKey, session: SessionKey, publish: &Publish<'_>, reason: Reason) {
        let Some(id) = publish.packet_id else { return };
        let says_reason = self.connections[key].version.has_properties();
        let receiver = &mut self.sessions[session].receiver;
        match publish.qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => {
                receiver.acknowledged(id);
                self.acknowledge(key, PacketType::PubAck, id, reason);
            }
            Qos::ExactlyOnce => {
                if reason.is_error() && says_reason {
                    receiver.refused(id);
                }
                self.acknowledge(key, PacketType::PubRec, id, reason);
            }
        }
    }

    fn acknowledge(&mut self, key: ConnKey, packet_type: PacketType, packet_id: PacketId, reason: Reason) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let ack = Ack { packet_id, reason, properties: Properties::EMPTY };
        ack.encode(packet_type, connection.version, connection.out.tail());
        self.mark_dirty(key);
    }

    pub(super) fn on_puback(&mut self, now: Instant, key: ConnKey, ack: &Ack<'_>) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        match self.sessions[session].sender.puback(ack.packet_id) {
            Some(outgoing) => self.delivered(now, key, session, &outgoing),
            None => self.stats.unknown_acknowledgements += 1,
        }
        Ok(())
    }

    pub(super) fn on_pubrec(&mut self, now: Instant, key: ConnKey, ack: &Ack<'_>) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        match self.sessions[session].sender.pubrec(ack.packet_id, ack.reason) {
            PubRecOutcome::Release => self.acknowledge(key, PacketType::PubRel, ack.packet_id, Reason::SUCCESS),
            PubRecOutcome::Ended(_) => self.pump(now, key),
            PubRecOutcome::Unknown => {
                self.stats.unknown_acknowledgements += 1;
                if !ack.reason.is_error() {
                    self.acknowledge(key, PacketType::PubRel, ack.packet_id, Reason::PACKET_IDENTIFIER_NOT_FOUND);
                }
            }
        }
        Ok(())
    }

    pub(super) fn on_pubrel(&mut self, key: ConnKey, ack: &Ack<'_>) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        let known = self.sessions[session].receiver.pubrel(ack.packet_id);
        let reason = if known { Reason::SUCCESS } else { Reason::PACKET_IDENTIFIER_NOT_FOUND };
        self.acknowledge(key, PacketType::PubComp, ack.packet_id, reason);
        Ok(())
    }

    pub(super) fn on_pubcomp(&mut self, now: Instant, key: ConnKey, ack: &Ack<'_>) -> Result<(), Fault> {
        let session = self.connections[key].session.expect("connected");
        match self.sessions[session].sender.pubcomp(ack.packet_id) {
            Some(outgoing) => self.delivered(now, key, session, &outgoing),
            None => self.stats.unknown_acknowledgements += 1,
        }
        Ok(())
    }

    /// A QoS 1 or 2 message is with its receiver: there is room for the next.
    fn delivered(&mut self, now: Instant, key: ConnKey, session: SessionKey, outgoing: &Outgoing) {
        if self.interest.delivered {
            let state = &self.sessions[session];
            let client = client_info(&self.connections[key], &state.client_id, state.username.as_deref());
            self.hooks.delivered(client, &outgoing.message, outgoing.qos);
        }
        // Mostly nothing waits for the room.
        let state = &mut self.sessions[session];
        if state.queue.is_empty() && !state.sender.must_resend() && self.connections[key].retained.is_none() {
            return state.recharge();
        }
        self.pump(now, key);
    }
}
