//! Packets from the server.

use std::sync::Arc;

use bytes::Bytes;

use super::Client;
use super::event::{AckHandle, Cause, Connected, Event, Failure, Incoming, Outcome, State};
use super::lifecycle::Ending;
use super::reconnect::ClockDoubt;
use crate::base::{Duration, Instant};
use crate::codec::{self, Ack, Auth, ConnAck, Disconnect, Frame, Message, Packet, PacketType, Publish};
use crate::codec::{Properties, PropertyId, PropertyList, Qos, Reason, Version};
use crate::proto::{Arrival, Error, PubRecOutcome};

/// What the properties of a PUBLISH say (§3.3.2.3).
#[derive(Default)]
struct Said {
    alias: Option<u16>,
    subscription_ids: Vec<u32>,
    expiry_s: Option<u32>,
    /// The message's own.
    forwarded: PropertyList,
}

impl Said {
    fn of(properties: Properties<'_>) -> Self {
        let is_forwarded = |id| !matches!(id, PropertyId::TopicAlias | PropertyId::SubscriptionIdentifier | PropertyId::MessageExpiryInterval);
        let mut forwarded = PropertyList::new();
        forwarded.extend_filtered(properties, is_forwarded);
        Self {
            alias: properties.u16(PropertyId::TopicAlias),
            subscription_ids: properties.subscription_ids().collect(),
            expiry_s: properties.u32(PropertyId::MessageExpiryInterval),
            forwarded,
        }
    }
}

impl Client {
    /// Driver: bytes came, any number, cut anywhere.
    pub fn handle_input(&mut self, now: Instant, input: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        self.statistics.bytes_received += input.len() as u64;
        let mut partial = core::mem::take(&mut connection.partial);
        if partial.is_empty() {
            let taken = self.take_packets(now, input);
            self.keep(&input[taken..], partial);
            return;
        }
        partial.extend_from_slice(input);
        let taken = self.take_packets(now, &partial);
        partial.drain(..taken);
        self.keep(&[], partial);
    }

    /// Driver: what comes next is this payload, which need not be copied. False: it is not just what the unfinished PUBLISH lacks, or it
    /// cannot be taken now; hand it in as bytes.
    pub fn handle_payload(&mut self, now: Instant, payload: &Bytes) -> bool {
        if !matches!(self.state, State::Online | State::Stopping) || self.is_held() {
            return false;
        }
        let Some(connection) = &mut self.connection else { return false };
        let head = core::mem::take(&mut connection.partial);
        let Some(publish) = codec::decode_apart(self.options.version, codec::Sender::Server, &head, payload, self.options.packet_bytes_max) else {
            connection.partial = head;
            return false;
        };
        connection.keep_alive.received(now);
        self.statistics.bytes_received += payload.len() as u64;
        if let Err(error) = self.on_publish(now, publish, Some(payload)) {
            self.fault(now, error);
        }
        true
    }

    /// Keeps the beginning of a packet for the next input.
    fn keep(&mut self, rest: &[u8], mut partial: Vec<u8>) {
        if let Some(connection) = &mut self.connection {
            partial.extend_from_slice(rest);
            // An idle connection holds nothing.
            connection.partial = if partial.is_empty() { Vec::new() } else { partial };
        }
    }

    /// How much of `input` was used.
    fn take_packets(&mut self, now: Instant, input: &[u8]) -> usize {
        let mut taken = 0;
        while self.connection.is_some() && !self.is_held() {
            let rest = &input[taken..];
            let handled = match codec::split(rest, self.options.packet_bytes_max) {
                Ok(None) => break,
                Ok(Some((frame, length))) => {
                    taken += length;
                    self.handle_frame(now, frame)
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = handled {
                self.fault(now, error);
                return input.len();
            }
        }
        taken
    }

    /// A whole packet.
    fn handle_frame(&mut self, now: Instant, frame: Frame<'_>) -> Result<(), Error> {
        let packet = codec::decode(self.options.version, codec::Sender::Server, frame)?;
        if let Some(connection) = &mut self.connection {
            connection.keep_alive.received(now);
        }
        match &packet {
            Packet::ConnAck(ack) => return self.on_connack(now, ack),
            Packet::Auth(auth) => return self.on_auth(auth),
            Packet::Disconnect(disconnect) => {
                self.on_disconnect(now, disconnect);
                return Ok(());
            }
            _ if self.state == State::Connecting => {
                return Err(Error::Protocol("packet before CONNACK"));
            }
            _ => {}
        }
        match &packet {
            Packet::Publish(publish) => self.on_publish(now, *publish, None)?,
            Packet::PubAck(ack) => self.on_puback(ack),
            Packet::PubRec(ack) => self.on_pubrec(ack),
            Packet::PubRel(ack) => self.on_pubrel(ack),
            Packet::PubComp(ack) => self.on_pubcomp(ack),
            Packet::SubAck(ack) => {
                let known = self.subscriptions.acknowledged(ack.packet_id, true, ack.reasons, &mut self.events)?;
                self.statistics.unknown_acks += u64::from(!known);
                self.settle_refused_calls();
            }
            Packet::UnsubAck(ack) => {
                let known = self.subscriptions.acknowledged(ack.packet_id, false, ack.reasons, &mut self.events)?;
                self.statistics.unknown_acks += u64::from(!known);
            }
            Packet::PingResp => {
                if let Some(connection) = &mut self.connection {
                    connection.keep_alive.pong();
                }
            }
            _ => return Err(Error::Protocol("packet that only clients send")),
        }
        Ok(())
    }

    fn on_connack(&mut self, now: Instant, ack: &ConnAck<'_>) -> Result<(), Error> {
        let Some(connection) = self.connection.as_mut().filter(|_| self.state == State::Connecting) else {
            return Err(Error::Protocol("second CONNACK"));
        };
        if ack.reason != Reason::SUCCESS {
            let ending = Ending { cause: Cause::of(ack.reason), reason: Some(ack.reason), error: None, fault: None, properties: ack.properties, hang_up: true };
            self.lost(now, ending);
            return Ok(());
        }
        // [MQTT-3.2.2-2]
        if ack.session_present && connection.clean_start {
            return Err(Error::Protocol("session present after a clean start"));
        }
        let assigned = ack.properties.utf8(PropertyId::AssignedClientIdentifier);
        if let Some(assigned) = assigned {
            self.client_id = assigned.to_owned();
        } else if self.client_id.is_empty() && self.options.version == Version::V5 {
            return Err(Error::Protocol("no client identifier assigned"));
        }
        // MQTT 3.1 does not tell. A session that was asked for may be there, from before a stop, too:
        // what belongs to it is sent again, which a server without it takes as new.
        let may_be_present = self.options.version == Version::V31 && !connection.clean_start;
        let session_present = ack.session_present || (may_be_present && self.has_connected);
        connection.accepted(now, &self.options, ack.properties);
        let limits = connection.limits;
        self.response_information = ack.properties.utf8(PropertyId::ResponseInformation).map(str::to_owned);
        self.deadline = None;
        self.has_connected = true;
        self.statistics.connects += 1;
        self.reconnect.connected(now);
        let server = self.reconnect.server();
        let previous_server = self.last_server.replace(server).unwrap_or(server);
        self.statistics.server_switches += u64::from(previous_server != server);
        self.clock = ClockDoubt::None;
        self.set_state(State::Online);
        let mut properties = PropertyList::new();
        properties.extend_filtered(ack.properties, |_| true);
        self.events.push_back(Event::Connected(Box::new(Connected {
            server,
            previous_server,
            session_present,
            reason: ack.reason,
            client_id: self.client_id.clone(),
            keep_alive_s: limits.keep_alive_s.unwrap_or(self.options.keep_alive_s),
            properties,
        })));
        let keeps = session_present || may_be_present;
        if keeps {
            self.receiver.connected();
        } else {
            self.session_lost();
        }
        self.sender.connected(limits.receive_maximum);
        let unsure = self.unsure_connections > 0 || self.options.version == Version::V31;
        self.unsure_connections = self.unsure_connections.saturating_sub(1);
        if let Some(connection) = &mut self.connection {
            connection.is_session_unsure = unsure;
        }
        self.subscriptions.connected(keeps, unsure, &self.options, &mut self.events);
        self.expire_queue(now);
        Ok(())
    }

    /// §4.12: part of CONNECT, or a re-authentication this side began.
    fn on_auth(&mut self, auth: &Auth<'_>) -> Result<(), Error> {
        let method = self.options.authentication.as_ref().map(|own| own.method.as_str());
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let named = auth.properties.utf8(PropertyId::AuthenticationMethod);
        // An empty AUTH is success without a method (§3.15.2.1).
        let same = method.is_some() && (named == method || named.is_none());
        let connecting = self.state == State::Connecting;
        let expected = match auth.reason {
            Reason::CONTINUE_AUTHENTICATION => connecting || connection.reauthenticating,
            Reason::SUCCESS => !connecting && connection.reauthenticating,
            _ => false,
        };
        if !same || !expected {
            return Err(Error::Protocol("AUTH that nobody asked for"));
        }
        connection.auth_expected = auth.reason == Reason::CONTINUE_AUTHENTICATION;
        connection.reauthenticating &= connection.auth_expected;
        let data = auth.properties.binary(PropertyId::AuthenticationData).map(<[u8]>::to_vec);
        self.events.push_back(Event::Auth { reason: auth.reason, data });
        Ok(())
    }

    fn on_disconnect(&mut self, now: Instant, disconnect: &Disconnect<'_>) {
        let cause = match disconnect.reason {
            Reason::NORMAL_DISCONNECTION => Cause::Closed,
            reason => Cause::of(reason),
        };
        let ending = Ending { cause, reason: Some(disconnect.reason), error: None, fault: None, properties: disconnect.properties, hang_up: true };
        self.lost(now, ending);
    }

    /// `apart`: its payload, if that need not be copied.
    fn on_publish(&mut self, now: Instant, publish: Publish<'_>, apart: Option<&Bytes>) -> Result<(), Error> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        self.statistics.messages_received += 1;
        // Mostly there are none.
        let said = if publish.properties.is_empty() { Said::default() } else { Said::of(publish.properties) };
        let Said { alias, subscription_ids, expiry_s, forwarded } = said;
        let topic = connection.alias_in.resolve(alias, publish.topic)?;
        let handlers = self.subscriptions.handlers(&topic, &subscription_ids);
        let is_response = self.calls.topic() == Some(&*topic);
        let is_own = is_response && handlers.is_empty();
        let mut ack = None;
        if let Some(id) = publish.packet_id {
            if connection.is_session_unsure && !publish.dup {
                self.receiver.forget_earlier(id);
            }
            let arrival = self.receiver.publish(publish.qos, id)?;
            let reserved = connection.acks.reserve(id, publish.qos);
            let serial = reserved.ok_or(Error::ReceiveMaximumExceeded)?;
            let duplicate = arrival == Arrival::Duplicate;
            if duplicate || is_own || !self.options.manual_ack {
                connection.acks.answer(serial, Reason::SUCCESS);
            } else {
                ack = Some(AckHandle { connection: connection.number, serial });
            }
            if duplicate {
                self.statistics.duplicates += 1;
                self.send_ready_acks();
                return Ok(());
            }
        }
        let expires = expiry_s.map(|seconds| now + Duration::from_secs(seconds.into()));
        let Publish { qos, dup, retain, payload, .. } = publish;
        let (budget, properties) = (&self.budget, forwarded.as_properties());
        let message = match apart {
            Some(apart) => Message::with_payload(budget, &topic, apart.clone(), qos, retain, properties, expires, 0, now),
            None => Message::new(budget, &topic, payload, qos, retain, properties, expires, 0, now),
        };
        let incoming = Incoming { message, qos, dup, retain, subscription_ids, handlers, ack };
        if is_response {
            self.on_response(&incoming);
        }
        if !is_own {
            self.deliver(now, incoming);
        }
        self.send_ready_acks();
        Ok(())
    }

    fn on_response(&mut self, incoming: &Incoming) {
        let correlation = incoming.message.properties().binary(PropertyId::CorrelationData);
        if let Some(token) = self.calls.waiting_for(correlation) {
            self.end_call(token, Ok(Arc::new(incoming.clone())));
        } else if incoming.handlers.is_empty() {
            self.statistics.responses_unwanted += 1;
            let (message, failure) = (incoming.message.clone(), Failure::Unwanted);
            self.events.push_back(Event::Dropped { message, failure });
        }
    }

    fn deliver(&mut self, now: Instant, incoming: Incoming) {
        let bytes = incoming.message.len_bytes();
        let counted = incoming.handlers.is_empty();
        self.events.push_back(Event::Message(incoming));
        let Some(room) = self.receive_room.as_mut().filter(|_| counted) else { return };
        room.count = room.count.saturating_sub(1);
        room.bytes = room.bytes.saturating_sub(bytes);
        if self.is_held() {
            self.statistics.receive_pauses += 1;
            if let Some(connection) = &mut self.connection {
                connection.keep_alive.excuse(now);
            }
        }
    }

    /// Sends the acknowledgements whose turn it is.
    pub(super) fn send_ready_acks(&mut self) {
        while let Some(connection) = &mut self.connection {
            let Some((id, qos, reason)) = connection.acks.pop() else { return };
            let refused = reason.is_error() && self.options.version == Version::V5;
            match qos {
                Qos::ExactlyOnce => {
                    if refused {
                        self.receiver.refused(id);
                    }
                    self.send_ack(PacketType::PubRec, id, reason);
                }
                _ => {
                    self.receiver.acknowledged(id);
                    self.send_ack(PacketType::PubAck, id, reason);
                }
            }
        }
    }

    fn on_puback(&mut self, ack: &Ack<'_>) {
        match self.sender.puback(ack.packet_id) {
            Some(item) => self.published(&item, Outcome::Acknowledged(ack.reason)),
            None => self.statistics.unknown_acks += 1,
        }
    }

    fn on_pubrec(&mut self, ack: &Ack<'_>) {
        match self.sender.pubrec(ack.packet_id, ack.reason) {
            PubRecOutcome::Release => {
                if let Some(item) = self.sender.get_mut(ack.packet_id) {
                    item.accepted = ack.reason;
                }
                self.send_ack(PacketType::PubRel, ack.packet_id, Reason::SUCCESS);
            }
            PubRecOutcome::Ended(item) => self.published(&item, Outcome::Acknowledged(ack.reason)),
            PubRecOutcome::Unknown => {
                self.statistics.unknown_acks += 1;
                // A refusal ends the delivery on the server's side too: nothing to release.
                if !ack.reason.is_error() {
                    let reason = Reason::PACKET_IDENTIFIER_NOT_FOUND;
                    self.send_ack(PacketType::PubRel, ack.packet_id, reason);
                }
            }
        }
    }

    fn on_pubrel(&mut self, ack: &Ack<'_>) {
        let known = self.receiver.pubrel(ack.packet_id);
        let reason = if known { Reason::SUCCESS } else { Reason::PACKET_IDENTIFIER_NOT_FOUND };
        self.send_ack(PacketType::PubComp, ack.packet_id, reason);
    }

    fn on_pubcomp(&mut self, ack: &Ack<'_>) {
        match self.sender.pubcomp(ack.packet_id) {
            Some(item) => self.published(&item, Outcome::Acknowledged(item.accepted)),
            None => self.statistics.unknown_acks += 1,
        }
    }
}
