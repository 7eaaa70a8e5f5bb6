//! PUBLISH (§3.3).

use super::primitive::{Reader, put_binary, put_properties, put_u16, put_varint, varint_len};
use super::{Error, Frame, PacketId, PacketType, Place, Properties, PropertyId, Qos, Sender, Version};

/// A message on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publish<'a> {
    /// §3.3.1.1.
    pub dup: bool,
    /// §3.3.1.2.
    pub qos: Qos,
    /// §3.3.1.3.
    pub retain: bool,
    /// A valid topic name; empty only with a topic alias in MQTT 5.
    pub topic: &'a str,
    /// There if and only if QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// The rest.
    pub payload: &'a [u8],
}

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// The first byte of a PUBLISH.
#[inline]
pub(super) fn first_byte(qos: Qos, dup: bool, retain: bool) -> u8 {
    PacketType::Publish.first() | (u8::from(dup) * DUP) | (qos as u8) << 1 | (u8::from(retain) * RETAIN)
}

#[inline]
pub(super) fn decode<'a>(version: Version, sender: Sender, frame: Frame<'a>) -> Result<Publish<'a>, Error> {
    let qos = Qos::try_from((frame.first >> 1) & 3)?;
    let dup = frame.first & DUP != 0;
    if dup && qos == Qos::AtMostOnce {
        return Err(Error::Malformed("DUP with QoS 0"));
    }
    let mut reader = Reader::new(frame.body);
    let topic = reader.topic_name()?;
    let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let properties = match version {
        Version::V5 => reader.properties(Place::Publish)?,
        _ => Properties::EMPTY,
    };
    if topic.is_empty() {
        check_empty_topic(version, properties)?;
    }
    // [MQTT-3.3.4-6]
    if sender == Sender::Client && !properties.is_empty() && properties.contains(PropertyId::SubscriptionIdentifier) {
        return Err(Error::Protocol("Subscription Identifier from a client"));
    }
    let retain = frame.first & RETAIN != 0;
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
}

/// §3.3.2.1.
#[cold]
fn check_empty_topic(version: Version, properties: Properties<'_>) -> Result<(), Error> {
    match version {
        Version::V5 if properties.contains(PropertyId::TopicAlias) => Ok(()),
        Version::V5 => Err(Error::Protocol("neither topic nor topic alias")),
        _ => Err(Error::TopicNameInvalid),
    }
}

impl Publish<'_> {
    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        debug_assert_eq!(self.packet_id.is_some(), self.qos != Qos::AtMostOnce);
        debug_assert!(!self.dup || self.qos != Qos::AtMostOnce);
        let remaining = self.remaining_len(version);
        out.reserve(5 + remaining);
        out.push(first_byte(self.qos, self.dup, self.retain));
        put_varint(out, remaining);
        put_binary(out, self.topic.as_bytes());
        if let Some(packet_id) = self.packet_id {
            put_u16(out, packet_id.get());
        }
        if version.has_properties() {
            put_properties(out, self.properties);
        }
        out.extend_from_slice(self.payload);
    }

    /// What [`Publish::encode`] appends, in bytes: to compare with the receiver's Maximum Packet
    /// Size before.
    pub fn encoded_len(&self, version: Version) -> usize {
        let remaining = self.remaining_len(version);
        1 + varint_len(remaining) + remaining
    }

    fn remaining_len(&self, version: Version) -> usize {
        let properties = self.properties.as_bytes().len();
        let block = if version.has_properties() { varint_len(properties) + properties } else { 0 };
        2 + self.topic.len() + if self.packet_id.is_some() { 2 } else { 0 } + block + self.payload.len()
    }
}
