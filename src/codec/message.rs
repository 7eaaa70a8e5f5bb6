//! An application message in memory, and the PUBLISH packets made of it.
//!
//! A message is made once, when its PUBLISH arrives, and shared by everyone who gets it: topic,
//! forwarded properties and payload lie in one allocation. What differs between two receivers
//! ([`Delivery`]) is written around those bytes into the receiver's out-buffer, small payloads by
//! copy, large ones as a shared slice.

use core::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::primitive::{put_binary, put_u16, put_varint, varint_len};
use super::publish::first_byte;
use super::{PacketId, Properties, PropertyId, Qos, Version};
use crate::base::{Budget, Charge, Instant, OutBuffer};

/// What the broker routes and what callbacks receive. Immutable; charged to the budget for as
/// long as somebody holds it.
pub struct Message {
    /// Topic, properties, payload.
    body: Bytes,
    charge: Charge,
    expires: Option<Instant>,
    received: Instant,
    publisher: u64,
    properties_len: u32,
    topic_len: u16,
    qos: Qos,
    retain: bool,
}

/// Counters of the `Arc`.
const ARC_BYTES: usize = 2 * size_of::<usize>();

impl Message {
    /// A message, charged to `budget`.
    ///
    /// `properties` is the block to be forwarded (§3.3.2.3: payload format, content type, response
    /// topic, correlation data, user properties): topic alias, subscription identifiers and expiry
    /// are not in it. `expires` is the deadline of the Message Expiry Interval. `publisher` is the
    /// number of the publishing client for No Local, 0 for none.
    ///
    /// # Panics
    /// If `topic` has more than 65,535 bytes: the caller's fault.
    #[allow(clippy::too_many_arguments)] // the fields; a builder would be a second struct of the same
    pub fn new(
        budget: &Budget,
        topic: &str,
        payload: &[u8],
        qos: Qos,
        retain: bool,
        properties: Properties<'_>,
        expires: Option<Instant>,
        publisher: u64,
        received: Instant,
    ) -> Arc<Self> {
        debug_assert!(
            !properties.contains(PropertyId::TopicAlias)
                && !properties.contains(PropertyId::SubscriptionIdentifier)
                && !properties.contains(PropertyId::MessageExpiryInterval)
        );
        let topic_len = u16::try_from(topic.len()).expect("a topic of more than 65,535 bytes");
        let properties_len =
            u32::try_from(properties.as_bytes().len()).expect("more properties than a packet holds");
        let mut body = Vec::with_capacity(topic.len() + properties.as_bytes().len() + payload.len());
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(properties.as_bytes());
        body.extend_from_slice(payload);
        let charge = budget.charge(ARC_BYTES + size_of::<Self>() + body.len());
        let body = Bytes::from(body);
        Arc::new(Self { body, charge, expires, received, publisher, properties_len, topic_len, qos, retain })
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        core::str::from_utf8(self.topic_bytes()).expect("made of a string")
    }

    fn topic_bytes(&self) -> &[u8] {
        &self.body[..usize::from(self.topic_len)]
    }

    fn payload_start(&self) -> usize {
        usize::from(self.topic_len) + self.properties_len as usize
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.body[self.payload_start()..]
    }

    /// The payload as a slice that shares the message's memory.
    pub fn payload_bytes(&self) -> Bytes {
        self.body.slice(self.payload_start()..)
    }

    /// The forwarded properties.
    pub fn properties(&self) -> Properties<'_> {
        Properties::trusted(&self.body[usize::from(self.topic_len)..self.payload_start()])
    }

    /// As published.
    pub fn qos(&self) -> Qos {
        self.qos
    }

    /// As published.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// When it is no longer to be delivered.
    pub fn expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Key of the publishing session; 0 = none.
    pub fn publisher(&self) -> u64 {
        self.publisher
    }

    /// When it came.
    pub fn received(&self) -> Instant {
        self.received
    }

    /// Bytes charged for it.
    pub fn len_bytes(&self) -> usize {
        self.charge.bytes()
    }

    /// True if it must not be delivered any more (§3.3.2.3.3).
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    /// What is left of the Message Expiry Interval (§3.3.2.3.3) in seconds, rounded up: at least 1
    /// while it is not expired, 0 then. `None` without an interval.
    pub fn expiry_left_s(&self, now: Instant) -> Option<u32> {
        let micros = self.expires?.as_micros().saturating_sub(now.as_micros());
        Some(u32::try_from(micros.div_ceil(1_000_000)).unwrap_or(u32::MAX))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the payload: it may be large, and secret.
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("payload_len", &self.payload().len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("properties", &self.properties())
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What differs between two deliveries of one message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivery<'a> {
    /// The lower of the message's and the subscription's.
    pub qos: Qos,
    /// Sent before on an earlier connection.
    pub dup: bool,
    /// §3.3.1.3.
    pub retain: bool,
    /// There if and only if `qos` is above 0.
    pub packet_id: Option<PacketId>,
    /// §3.3.2.3.4, MQTT 5 only.
    pub alias: Option<u16>,
    /// The receiver knows the alias already.
    pub omit_topic: bool,
    /// §3.3.2.3.8, ignored in 3.x.
    pub subscription_ids: &'a [u32],
}

/// Lengths of the parts of a PUBLISH.
struct Layout {
    /// Of the property block, without its own length; 0 in 3.x.
    properties: usize,
    remaining: usize,
    expiry_s: Option<u32>,
}

#[inline]
fn layout(message: &Message, delivery: &Delivery<'_>, version: Version, now: Instant) -> Layout {
    let topic = if delivery.omit_topic { 0 } else { usize::from(message.topic_len) };
    let payload = message.body.len() - message.payload_start();
    let mut remaining = 2 + topic + payload + if delivery.packet_id.is_some() { 2 } else { 0 };
    if !version.has_properties() {
        return Layout { properties: 0, remaining, expiry_s: None };
    }
    let expiry_s = message.expiry_left_s(now);
    let mut properties = message.properties_len as usize;
    properties += if expiry_s.is_some() { 5 } else { 0 };
    properties += if delivery.alias.is_some() { 3 } else { 0 };
    properties += delivery.subscription_ids.iter().map(|&id| 1 + varint_len(id as usize)).sum::<usize>();
    remaining += varint_len(properties) + properties;
    Layout { properties, remaining, expiry_s }
}

/// The size a delivery has on the wire: to compare with the receiver's Maximum Packet Size.
pub fn delivery_len(message: &Message, delivery: &Delivery<'_>, version: Version, now: Instant) -> usize {
    let remaining = layout(message, delivery, version, now).remaining;
    1 + varint_len(remaining) + remaining
}

/// Payloads up to this size go straight into the tail; a longer one is offered to the out-buffer
/// as a shared slice. Not above the out-buffer's own mark, or it would be sliced to be copied.
const COPY_BYTES_MAX: usize = 1_024;

/// Appends a PUBLISH of `message` to `out`.
pub fn encode_delivery(
    message: &Message,
    delivery: &Delivery<'_>,
    version: Version,
    now: Instant,
    out: &mut OutBuffer,
) {
    debug_assert_eq!(delivery.packet_id.is_some(), delivery.qos != Qos::AtMostOnce);
    debug_assert!(!delivery.omit_topic || delivery.alias.is_some());
    debug_assert!(version.has_properties() || delivery.alias.is_none());
    let layout = layout(message, delivery, version, now);
    let payload = message.payload();
    let is_copied = payload.len() <= COPY_BYTES_MAX;
    let tail = out.tail();
    tail.reserve(5 + layout.remaining - if is_copied { 0 } else { payload.len() });
    tail.push(first_byte(delivery.qos, delivery.dup, delivery.retain));
    put_varint(tail, layout.remaining);
    put_binary(tail, if delivery.omit_topic { &[] } else { message.topic_bytes() });
    if let Some(packet_id) = delivery.packet_id {
        put_u16(tail, packet_id.get());
    }
    if version.has_properties() {
        put_varint(tail, layout.properties);
        if layout.properties > 0 {
            put_delivery_properties(message, delivery, layout.expiry_s, tail);
        }
    }
    if is_copied {
        tail.extend_from_slice(payload);
    } else {
        out.push(&message.payload_bytes());
    }
}

fn put_delivery_properties(
    message: &Message,
    delivery: &Delivery<'_>,
    expiry_s: Option<u32>,
    tail: &mut Vec<u8>,
) {
    if let Some(expiry_s) = expiry_s {
        tail.push(PropertyId::MessageExpiryInterval as u8);
        tail.extend_from_slice(&expiry_s.to_be_bytes());
    }
    if let Some(alias) = delivery.alias {
        tail.push(PropertyId::TopicAlias as u8);
        put_u16(tail, alias);
    }
    for &id in delivery.subscription_ids {
        tail.push(PropertyId::SubscriptionIdentifier as u8);
        put_varint(tail, id as usize);
    }
    tail.extend_from_slice(message.properties().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Duration;
    use crate::codec::{Packet, PropertyList, Sender, Value, decode, split};

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    fn message(budget: &Budget, payload: &[u8], expires: Option<Instant>) -> Arc<Message> {
        let mut list = PropertyList::new();
        list.push(PropertyId::ContentType, Value::Utf8("text"));
        list.push(PropertyId::UserProperty, Value::Pair("k", "v"));
        let properties = list.as_properties();
        Message::new(budget, "a/b", payload, Qos::ExactlyOnce, true, properties, expires, 7, at(5))
    }

    fn sent(message: &Message, delivery: &Delivery<'_>, version: Version, now: Instant) -> Vec<u8> {
        let mut out = OutBuffer::default();
        encode_delivery(message, delivery, version, now, &mut out);
        let bytes: Vec<u8> = out.slices().flatten().copied().collect();
        assert_eq!(bytes.len(), delivery_len(message, delivery, version, now));
        bytes
    }

    #[test]
    fn a_message_keeps_its_parts_and_its_account() {
        let budget = Budget::new(1_000_000);
        let message = message(&budget, b"payload", Some(at(9_000)));
        assert_eq!((message.topic(), message.payload()), ("a/b", &b"payload"[..]));
        assert_eq!(message.properties().utf8(PropertyId::ContentType), Some("text"));
        assert_eq!((message.qos(), message.retain(), message.publisher()), (Qos::ExactlyOnce, true, 7));
        assert_eq!((message.expires(), message.received()), (Some(at(9_000)), at(5)));
        assert_eq!(message.payload_bytes().as_ptr(), message.payload().as_ptr());
        assert_eq!(budget.used_bytes(), message.len_bytes());
        assert!(message.len_bytes() < 200);
        drop(message);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn expiry_is_rounded_up_and_is_one_until_it_is_over() {
        let budget = Budget::new(1_000_000);
        let message = message(&budget, b"", Some(at(3_000)));
        let left = |millis| (message.is_expired(at(millis)), message.expiry_left_s(at(millis)));
        assert_eq!(left(0), (false, Some(3)));
        assert_eq!(left(1_000), (false, Some(2)));
        assert_eq!(left(1_001), (false, Some(2)));
        assert_eq!(left(2_999), (false, Some(1)));
        assert_eq!(left(3_000), (true, Some(0)));
        assert_eq!(left(9_000), (true, Some(0)));
    }

    #[test]
    fn a_delivery_decodes_to_what_was_meant() {
        let budget = Budget::new(10_000_000);
        for size in [0, 1, 64, 127, 1_024, 1_025, 70_000] {
            let payload: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let message = message(&budget, &payload, Some(at(10_000)));
            let packet_id = PacketId::new(77);
            let full = Delivery {
                qos: Qos::AtLeastOnce,
                dup: true,
                retain: true,
                packet_id,
                alias: Some(3),
                omit_topic: false,
                subscription_ids: &[1, 268_435_455],
            };
            let bytes = sent(&message, &full, Version::V5, at(8_500));
            let (frame, taken) = split(&bytes, usize::MAX).expect("legal").expect("whole");
            assert_eq!(taken, bytes.len());
            let Ok(Packet::Publish(publish)) = decode(Version::V5, Sender::Server, frame) else {
                panic!("not a PUBLISH");
            };
            assert_eq!((publish.topic, publish.payload, publish.packet_id), ("a/b", &payload[..], packet_id));
            assert!(publish.dup && publish.retain && publish.qos == Qos::AtLeastOnce);
            assert_eq!(publish.properties.u32(PropertyId::MessageExpiryInterval), Some(2));
            assert_eq!(publish.properties.u16(PropertyId::TopicAlias), Some(3));
            assert_eq!(publish.properties.subscription_ids().collect::<Vec<_>>(), [1, 268_435_455]);
            assert_eq!(publish.properties.user().collect::<Vec<_>>(), [("k", "v")]);
            let short = Delivery { omit_topic: true, ..full };
            let bytes = sent(&message, &short, Version::V5, at(8_500));
            let (frame, _) = split(&bytes, usize::MAX).expect("legal").expect("whole");
            let Ok(Packet::Publish(publish)) = decode(Version::V5, Sender::Server, frame) else {
                panic!("not a PUBLISH");
            };
            assert_eq!((publish.topic, publish.payload), ("", &payload[..]));
            let old = Delivery { subscription_ids: &[5], ..Delivery::default() };
            let bytes = sent(&message, &old, Version::V311, at(0));
            assert_eq!(bytes[bytes.len() - size - 5..][..5], *b"\0\x03a/b");
        }
    }

    #[test]
    fn a_large_payload_is_shared_not_copied() {
        let budget = Budget::new(10_000_000);
        let message = message(&budget, &[9; 5_000], None);
        let mut out = OutBuffer::default();
        encode_delivery(&message, &Delivery::default(), Version::V311, at(0), &mut out);
        assert!(out.slices().any(|slice| slice.as_ptr() == message.payload().as_ptr()));
    }
}
