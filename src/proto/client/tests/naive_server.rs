//! A server as simple as the standard allows: lists, no limits but a Receive Maximum.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::id;
use crate::codec::{self, Ack, ConnAck, Packet, PacketType, Properties, PropertyId, PropertyList, Publish, Qos, Reason, SubAck, UnsubAck, Value, Version};

/// A session on the server.
#[derive(Default)]
pub(super) struct Session {
    /// QoS 2 identifiers from PUBLISH to PUBREL.
    incoming: BTreeSet<u16>,
    /// Identifier, QoS, number, released; in order.
    outgoing: Vec<(u16, Qos, u32, bool)>,
    pub(super) filters: BTreeSet<String>,
    id_last: u16,
}

pub(super) struct Server {
    pub(super) version: Version,
    pub(super) session: Option<Session>,
    pub(super) connected: bool,
    pub(super) input: Vec<u8>,
    pub(super) output: Vec<u8>,
    /// What the client published: QoS, number, DUP.
    pub(super) log: Vec<(Qos, u32, bool)>,
    pub(super) waiting: VecDeque<(Qos, u32)>,
    /// Publishes to `val/...`: topic and number.
    pub(super) values: Vec<(String, u32)>,
    /// Requests whose response the client had not subscribed to.
    pub(super) unheard: u32,
    /// Of the connection.
    pub(super) aliases: BTreeMap<u16, String>,
}

pub(super) const CLIENT_RECEIVE_MAXIMUM: usize = 4;

impl Server {
    pub(super) fn handle_input(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let input = core::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((frame, length)) = codec::split(rest, usize::MAX).expect("legal") {
            let packet = codec::decode(self.version, codec::Sender::Client, frame).expect("legal");
            self.handle_packet(&packet);
            rest = &rest[length..];
        }
        self.input = rest.to_vec();
        self.pump();
    }

    fn handle_packet(&mut self, packet: &Packet<'_>) {
        match packet {
            Packet::Connect(connect) => {
                let session_present = self.session.is_some() && !connect.clean_start;
                if !session_present {
                    self.session = Some(Session::default());
                }
                let mut list = PropertyList::new();
                list.push(PropertyId::ReceiveMaximum, Value::U16(3));
                list.push(PropertyId::TopicAliasMaximum, Value::U16(2));
                let reason = Reason::SUCCESS;
                let properties = list.as_properties();
                let packet = Packet::ConnAck(ConnAck { session_present, reason, properties });
                packet.encode(self.version, &mut self.output);
                self.connected = true;
                self.aliases.clear();
                let again = self.session.as_ref().expect("made above").outgoing.clone();
                for (packet_id, qos, number, released) in again {
                    if released {
                        self.ack(PacketType::PubRel, packet_id);
                    } else {
                        self.publish(packet_id, qos, number, true);
                    }
                }
            }
            Packet::Publish(publish) => {
                let number = core::str::from_utf8(publish.payload).ok().and_then(|text| text.parse().ok());
                let number = number.expect("a number");
                let session = self.session.as_mut().expect("connected");
                let packet_id = publish.packet_id.map_or(0, |id| id.get());
                let fresh = publish.qos != Qos::ExactlyOnce || session.incoming.insert(packet_id);
                let topic = self.topic(publish);
                if fresh && topic.starts_with("val/") {
                    self.values.push((topic, number));
                } else if fresh && topic == "service" {
                    self.respond(publish);
                } else if fresh {
                    self.log.push((publish.qos, number, publish.dup));
                }
                match publish.qos {
                    Qos::AtMostOnce => {}
                    Qos::AtLeastOnce => self.ack(PacketType::PubAck, packet_id),
                    Qos::ExactlyOnce => self.ack(PacketType::PubRec, packet_id),
                }
            }
            Packet::PubRel(ack) => {
                self.session.as_mut().expect("connected").incoming.remove(&ack.packet_id.get());
                self.ack(PacketType::PubComp, ack.packet_id.get());
            }
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                let session = self.session.as_mut().expect("connected");
                session.outgoing.retain(|(packet_id, ..)| *packet_id != ack.packet_id.get());
            }
            Packet::PubRec(ack) => {
                let session = self.session.as_mut().expect("connected");
                let packet_id = ack.packet_id.get();
                let found = session.outgoing.iter_mut().find(|(known, ..)| *known == packet_id);
                found.expect("in flight").3 = true;
                self.ack(PacketType::PubRel, packet_id);
            }
            Packet::Subscribe(subscribe) => {
                let session = self.session.as_mut().expect("connected");
                session.filters.extend(subscribe.filters.iter().map(|(filter, _)| filter.to_owned()));
                let reasons = vec![2; subscribe.filters.len()];
                let (packet_id, properties) = (subscribe.packet_id, Properties::EMPTY);
                let packet = Packet::SubAck(SubAck { packet_id, properties, reasons: &reasons });
                packet.encode(self.version, &mut self.output);
            }
            Packet::Unsubscribe(unsubscribe) => {
                let session = self.session.as_mut().expect("connected");
                for filter in unsubscribe.filters.iter() {
                    session.filters.remove(filter);
                }
                let reasons = vec![0; unsubscribe.filters.len()];
                let (packet_id, properties) = (unsubscribe.packet_id, Properties::EMPTY);
                let packet = Packet::UnsubAck(UnsubAck { packet_id, properties, reasons: &reasons });
                packet.encode(self.version, &mut self.output);
            }
            Packet::PingReq => Packet::PingResp.encode(self.version, &mut self.output),
            Packet::Disconnect(_) => {}
            other => panic!("unexpected {:?}", other.packet_type()),
        }
    }

    fn ack(&mut self, packet_type: PacketType, packet_id: u16) {
        let ack = Ack { packet_id: id(packet_id), reason: Reason::SUCCESS, properties: Properties::EMPTY };
        ack.encode(packet_type, self.version, &mut self.output);
    }

    fn topic(&mut self, publish: &Publish<'_>) -> String {
        let Some(alias) = publish.properties.u16(PropertyId::TopicAlias) else { return publish.topic.to_owned() };
        if !publish.topic.is_empty() {
            self.aliases.insert(alias, publish.topic.to_owned());
        }
        self.aliases[&alias].clone()
    }

    /// The response to a request is its payload.
    fn respond(&mut self, request: &Publish<'_>) {
        let topic = request.properties.utf8(PropertyId::ResponseTopic).expect("a request");
        let correlation = request.properties.binary(PropertyId::CorrelationData).expect("a request");
        let session = self.session.as_ref().expect("connected");
        self.unheard += u32::from(!session.filters.contains(topic));
        let mut list = PropertyList::new();
        list.push(PropertyId::CorrelationData, Value::Binary(correlation));
        let publish =
            Publish { dup: false, qos: Qos::AtMostOnce, retain: false, topic, packet_id: None, properties: list.as_properties(), payload: request.payload };
        publish.encode(self.version, &mut self.output);
    }

    fn publish(&mut self, packet_id: u16, qos: Qos, number: u32, dup: bool) {
        let payload = number.to_string();
        let publish =
            Publish { dup, qos, retain: false, topic: "down", packet_id: Some(id(packet_id)), properties: Properties::EMPTY, payload: payload.as_bytes() };
        publish.encode(self.version, &mut self.output);
    }

    /// Sends what waits, within the client's Receive Maximum.
    pub(super) fn pump(&mut self) {
        while let (true, Some(session)) = (self.connected, &mut self.session) {
            if session.outgoing.len() >= CLIENT_RECEIVE_MAXIMUM {
                return;
            }
            let Some((qos, number)) = self.waiting.pop_front() else { return };
            session.id_last = session.id_last % 9 + 1;
            while session.outgoing.iter().any(|(known, ..)| *known == session.id_last) {
                session.id_last = session.id_last % 9 + 1;
            }
            let packet_id = session.id_last;
            session.outgoing.push((packet_id, qos, number, false));
            self.publish(packet_id, qos, number, false);
        }
    }
}
