//! PUBLISH (§3.3).

use super::frame::split_head;
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

/// The PUBLISH whose packet is `head` and behind it `payload`, which lies elsewhere. `None`: they are not just that, or it is not
/// legal, or has more than `packet_bytes_max` bytes; [`split`](super::split) and [`decode`](super::decode) say what is wrong with it.
pub fn decode_apart<'a>(version: Version, sender: Sender, head: &'a [u8], payload: &'a [u8], packet_bytes_max: usize) -> Option<Publish<'a>> {
    let (frame, total) = split_head(head).ok()??;
    let is_publish = PacketType::of(frame.first) == Some(PacketType::Publish);
    if !is_publish || total != head.len() + payload.len() || total > packet_bytes_max {
        return None;
    }
    let publish = decode(version, sender, frame).ok()?;
    publish.payload.is_empty().then_some(Publish { payload, ..publish })
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

    #[test]
    fn a_payload_may_lie_apart_if_it_is_just_what_its_packet_lacks() {
        let publish = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: "a/b",
            packet_id: PacketId::new(7),
            properties: Properties::EMPTY,
            payload: &[9; 2_000],
        };
        let mut whole = Vec::new();
        publish.encode(Version::V5, &mut whole);
        let join = |head: &[u8], payload: &[u8], max| decode_apart(Version::V5, Sender::Client, head, payload, max).is_some();
        let (head, payload) = whole.split_at(whole.len() - 2_000);
        assert_eq!(decode_apart(Version::V5, Sender::Client, head, payload, whole.len()), Some(publish));
        assert!(!join(head, payload, whole.len() - 1), "too large");
        assert!(!join(head, &payload[1..], 9_000) && !join(&head[1..], payload, 9_000) && !join(&[], payload, 9_000));
        // Cut elsewhere it is for the usual way.
        for at in (0..head.len()).chain([head.len() + 1, whole.len()]) {
            assert!(!join(&whole[..at], &whole[at..], 9_000), "{at}");
        }
        let mut other = whole.clone();
        other[0] = 0x82;
        assert!(!join(&other[..head.len()], payload, 9_000), "not a PUBLISH");
        other[0] = 0x36;
        assert!(!join(&other[..head.len()], payload, 9_000), "QoS 3");
    }
}
