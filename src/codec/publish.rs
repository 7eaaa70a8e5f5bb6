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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: Version, first: u8, body: &[u8]) -> Result<Publish<'_>, Error> {
        crate::codec::decode(version, Sender::Client, Frame { first, body }).map(|packet| match packet {
            crate::codec::Packet::Publish(publish) => publish,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_example_of_the_standard_reads_and_writes() {
        // §3.3.2.4: topic "a/b", packet identifier 10, no properties.
        let body = [0, 3, b'a', b'/', b'b', 0, 10, 0];
        let packet = read(Version::V5, 0x3b, &body).expect("legal");
        let (topic, packet_id) = ("a/b", PacketId::new(10));
        let (qos, properties) = (Qos::AtLeastOnce, Properties::EMPTY);
        assert_eq!(packet, Publish { dup: true, qos, retain: true, topic, packet_id, properties, payload: &[] });
        let mut out = Vec::new();
        packet.encode(Version::V5, &mut out);
        assert_eq!((out[0], out[1], &out[2..]), (0x3b, 8, &body[..]));
        assert_eq!(packet.encoded_len(Version::V5), out.len());
    }

    #[test]
    fn faults_of_publish_are_told_apart() {
        let protocol = |what| Err(Error::Protocol(what));
        let malformed = |what| Err(Error::Malformed(what));
        type Row = (Version, u8, &'static [u8], Result<(), Error>);
        let table: [Row; 19] = [
            (Version::V311, 0x36, &[0, 1, b'a', 0, 1], malformed("QoS 3")),
            (Version::V311, 0x38, &[0, 1, b'a'], malformed("DUP with QoS 0")),
            (Version::V311, 0x32, &[0, 1, b'a', 0, 0], protocol("packet identifier 0")),
            (Version::V311, 0x32, &[0, 1, b'a', 0], malformed("packet ends inside a field")),
            (Version::V311, 0x30, &[], malformed("packet ends inside a field")),
            (Version::V311, 0x30, &[0, 9, b'a'], malformed("packet ends inside a field")),
            (Version::V311, 0x30, &[0, 0], Err(Error::TopicNameInvalid)),
            (Version::V31, 0x30, &[0, 1, b'#'], Err(Error::TopicNameInvalid)),
            (Version::V5, 0x30, &[0, 3, b'a', b'/', b'+', 0], Err(Error::TopicNameInvalid)),
            (Version::V5, 0x30, &[0, 2, b'a', 0, 0], malformed("U+0000 in a string")),
            (Version::V5, 0x30, &[0, 1, 0x80, 0], malformed("string is not UTF-8")),
            (Version::V5, 0x30, &[0, 1, b'a'], malformed("packet ends inside a field")),
            (Version::V5, 0x30, &[0, 0, 0], protocol("neither topic nor topic alias")),
            (Version::V5, 0x30, &[0, 0, 3, 0x23, 0, 1], Ok(())),
            (Version::V5, 0x30, &[0, 0, 3, 0x23, 0, 0], Err(Error::TopicAliasInvalid)),
            (Version::V5, 0x30, &[0, 1, b'a', 2, 0x0b, 1], protocol("Subscription Identifier from a client")),
            (Version::V5, 0x30, &[0, 1, b'a', 2, 0x01, 2], protocol("property is neither 0 nor 1")),
            (Version::V5, 0x30, &[0, 1, b'a', 0x80, 0], malformed("variable byte integer longer than needed")),
            (Version::V5, 0x30, &[0, 1, b'a', 4, 0x08, 0, 1, b'#'], protocol("Response Topic is not a topic name")),
        ];
        for (version, first, body, expected) in table {
            assert_eq!(read(version, first, body).map(|_| ()), expected, "{version:?} {first:x} {body:x?}");
        }
    }

    #[test]
    fn a_server_may_send_several_subscription_identifiers() {
        let body = [0, 1, b'a', 5, 0x0b, 1, 0x0b, 0x80, 1, b'p'];
        let packet = decode(Version::V5, Sender::Server, Frame { first: 0x30, body: &body }).expect("legal");
        assert_eq!(packet.properties.subscription_ids().collect::<Vec<_>>(), [1, 128]);
        assert_eq!(packet.payload, b"p");
    }
}
