//! The PUBLISH packets made of a [`Message`].
//!
//! What differs between two receivers ([`Delivery`]) is written around the message's bytes into the
//! receiver's out-buffer, small payloads by copy, large ones as a shared slice. A [`FanOut`] encodes
//! what does not differ once. What goes to one receiver and is kept by nobody need not be a message in
//! memory: its [`Content`] will do.

use std::sync::Arc;

use super::message::Message;
use super::primitive::{put_binary, put_u16, put_varint, varint_len};
use super::publish::first_byte;
use super::{PacketId, Properties, PropertyId, Qos, Version};
use crate::base::{Instant, OutBuffer};

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

/// What a PUBLISH says, wherever that lies.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// A topic name.
    pub topic: &'a [u8],
    /// Those to be forwarded, see [`Message::new`]; ignored in 3.x.
    pub properties: Properties<'a>,
    /// What is left of the Message Expiry Interval; ignored in 3.x.
    pub expiry_s: Option<u32>,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Content<'a> {
    #[inline]
    fn of(message: &'a Message, now: Instant) -> Self {
        Self { topic: message.topic_bytes(), properties: message.properties(), expiry_s: message.expiry_left_s(now), payload: message.payload() }
    }
}

/// Lengths of the parts of a PUBLISH.
struct Layout {
    /// Of the property block, without its own length; 0 in 3.x.
    properties: usize,
    remaining: usize,
}

#[inline]
fn layout(content: &Content<'_>, delivery: &Delivery<'_>, version: Version) -> Layout {
    let topic = if delivery.omit_topic { 0 } else { content.topic.len() };
    let mut remaining = 2 + topic + content.payload.len() + if delivery.packet_id.is_some() { 2 } else { 0 };
    if !version.has_properties() {
        return Layout { properties: 0, remaining };
    }
    let mut properties = content.properties.as_bytes().len();
    properties += if content.expiry_s.is_some() { 5 } else { 0 };
    properties += if delivery.alias.is_some() { 3 } else { 0 };
    properties += delivery.subscription_ids.iter().map(|&id| 1 + varint_len(id as usize)).sum::<usize>();
    remaining += varint_len(properties) + properties;
    Layout { properties, remaining }
}

/// The size a delivery has on the wire: to compare with the receiver's Maximum Packet Size.
pub fn delivery_len(message: &Message, delivery: &Delivery<'_>, version: Version, now: Instant) -> usize {
    let remaining = layout(&Content::of(message, now), delivery, version).remaining;
    1 + varint_len(remaining) + remaining
}

/// Payloads up to this size go straight into the tail; a longer one is lent to the out-buffer, by the message, which
/// keeps its place in the budget until it is sent. Not above the out-buffer's own mark, or it would be lent to be copied.
pub(crate) const COPY_BYTES_MAX: usize = 1_024;

/// Appends a PUBLISH of `message` to `out`.
pub fn encode_delivery(message: &Arc<Message>, delivery: &Delivery<'_>, version: Version, now: Instant, out: &mut OutBuffer) {
    put_delivery(&Content::of(message, now), delivery, version, out.tail());
    if !is_copied(message.payload()) {
        out.push(&message.shared_payload(), message.clone());
    }
}

/// As [`encode_delivery`], of a payload of at most 1 KiB, which nobody needs to lend.
pub fn encode_content(content: &Content<'_>, delivery: &Delivery<'_>, version: Version, out: &mut OutBuffer) {
    assert!(is_copied(content.payload), "who asks for more has to lend it");
    put_delivery(content, delivery, version, out.tail());
}

fn is_copied(payload: &[u8]) -> bool {
    payload.len() <= COPY_BYTES_MAX
}

/// Appends the packet, without a payload that is not copied; answers where the packet identifier
/// stands in it, if there is one.
#[inline]
fn put_delivery(content: &Content<'_>, delivery: &Delivery<'_>, version: Version, out: &mut Vec<u8>) -> usize {
    debug_assert_eq!(delivery.packet_id.is_some(), delivery.qos != Qos::AtMostOnce);
    debug_assert!(!delivery.omit_topic || delivery.alias.is_some());
    debug_assert!(version.has_properties() || delivery.alias.is_none());
    let layout = layout(content, delivery, version);
    let payload = content.payload;
    let (copied, shared_bytes) = if is_copied(payload) { (payload, 0) } else { (&[][..], payload.len()) };
    let start = out.len();
    out.reserve(5 + layout.remaining - shared_bytes);
    out.push(first_byte(delivery.qos, delivery.dup, delivery.retain));
    put_varint(out, layout.remaining);
    put_binary(out, if delivery.omit_topic { &[] } else { content.topic });
    let id_at = out.len() - start;
    if let Some(packet_id) = delivery.packet_id {
        put_u16(out, packet_id.get());
    }
    if version.has_properties() {
        put_varint(out, layout.properties);
        if layout.properties > 0 {
            put_delivery_properties(content, delivery, out);
        }
    }
    out.extend_from_slice(copied);
    id_at
}

/// One message on its way to many: each variant of its packet is encoded once, copied for every
/// receiver, and given the packet identifier there.
///
/// What is told from others by more than version, QoS and RETAIN (topic alias, subscription
/// identifiers, DUP) is encoded by itself, and so is any other message.
#[derive(Debug, Default)]
pub struct FanOut {
    message: Option<Arc<Message>>,
    variants: [Option<Variant>; VARIANTS],
    bytes: Vec<u8>,
}

/// Properties or none, three QoS, RETAIN or not.
const VARIANTS: usize = 2 * 3 * 2;

/// Where a packet lies in [`FanOut::bytes`].
#[derive(Clone, Copy, Debug)]
struct Variant {
    start: usize,
    end: usize,
    /// Behind `start`.
    id_at: usize,
}

impl FanOut {
    /// From now on `message` goes to many.
    pub fn begin(&mut self, message: &Arc<Message>) {
        self.end();
        self.message = Some(message.clone());
    }

    /// It has gone to all; keeps nothing but the memory of one small packet.
    pub fn end(&mut self) {
        self.message = None;
        self.variants = [None; VARIANTS];
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
    }

    /// As [`encode_delivery`]. Between `begin` and `end`, `now` is the same.
    pub fn encode(&mut self, message: &Arc<Message>, delivery: &Delivery<'_>, version: Version, now: Instant, out: &mut OutBuffer) {
        let is_ours = self.message.as_ref().is_some_and(|ours| Arc::ptr_eq(ours, message));
        if !is_ours || delivery.dup || delivery.alias.is_some() || !delivery.subscription_ids.is_empty() {
            return encode_delivery(message, delivery, version, now, out);
        }
        let index = (usize::from(version.has_properties()) * 3 + delivery.qos as usize) * 2 + usize::from(delivery.retain);
        let variant = match self.variants[index] {
            Some(variant) => variant,
            None => {
                let start = self.bytes.len();
                let id_at = put_delivery(&Content::of(message, now), delivery, version, &mut self.bytes);
                *self.variants[index].insert(Variant { start, end: self.bytes.len(), id_at })
            }
        };
        let tail = out.tail();
        let id_at = tail.len() + variant.id_at;
        tail.extend_from_slice(&self.bytes[variant.start..variant.end]);
        if let Some(packet_id) = delivery.packet_id {
            tail[id_at..id_at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
        }
        if !is_copied(message.payload()) {
            out.push(&message.shared_payload(), message.clone());
        }
    }
}

/// What a fan-out keeps allocated for the next one.
const KEPT_BYTES: usize = 4_096;

fn put_delivery_properties(content: &Content<'_>, delivery: &Delivery<'_>, tail: &mut Vec<u8>) {
    if let Some(expiry_s) = content.expiry_s {
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
    tail.extend_from_slice(content.properties.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::base::Budget;
    use crate::codec::message::tests::{at, message};
    use crate::codec::{Packet, PropertyList, Sender, Value, decode, split};

    fn sent(message: &Arc<Message>, delivery: &Delivery<'_>, version: Version, now: Instant) -> Vec<u8> {
        let mut out = OutBuffer::default();
        encode_delivery(message, delivery, version, now, &mut out);
        let bytes: Vec<u8> = out.slices().flatten().copied().collect();
        assert_eq!(bytes.len(), delivery_len(message, delivery, version, now));
        bytes
    }

    #[test]
    fn a_delivery_decodes_to_what_was_meant() {
        let budget = Budget::new(10_000_000);
        for size in [0, 1, 64, 127, 1_024, 1_025, 70_000] {
            let payload: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let message = message(&budget, &payload, Some(at(10_000)));
            let packet_id = PacketId::new(77);
            let full =
                Delivery { qos: Qos::AtLeastOnce, dup: true, retain: true, packet_id, alias: Some(3), omit_topic: false, subscription_ids: &[1, 268_435_455] };
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
    #[test]
    fn a_payload_that_is_handed_over_is_neither_copied_nor_held_longer_than_needed() {
        let budget = Budget::new(10_000_000);
        let owner = Arc::new(vec![7_u8; 5_000]);
        struct Held(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let mut list = PropertyList::new();
        list.push(PropertyId::ContentType, Value::Utf8("text"));
        let payload = Bytes::from_owner(Held(owner.clone()));
        let message = Message::with_payload(&budget, "a/b", payload, Qos::AtLeastOnce, false, list.as_properties(), Some(at(9_000)), 0, at(0));
        assert_eq!((message.topic(), message.payload().as_ptr()), ("a/b", owner.as_ptr()));
        assert!(budget.used_bytes() > 5_000 && budget.used_bytes() == message.len_bytes());
        let delivery = Delivery { qos: Qos::AtLeastOnce, packet_id: PacketId::new(1), ..Delivery::default() };
        let bytes = sent(&message, &delivery, Version::V5, at(0));
        let (frame, _) = split(&bytes, usize::MAX).expect("legal").expect("whole");
        let Ok(Packet::Publish(publish)) = decode(Version::V5, Sender::Server, frame) else {
            panic!("not a PUBLISH");
        };
        assert_eq!((publish.topic, publish.payload), ("a/b", &owner[..]));
        assert_eq!(publish.properties.utf8(PropertyId::ContentType), Some("text"));
        let mut out = OutBuffer::default();
        encode_delivery(&message, &delivery, Version::V5, at(0), &mut out);
        assert!(out.slices().any(|slice| slice.as_ptr() == owner.as_ptr()));
        drop(message);
        assert!(Arc::strong_count(&owner) == 2 && budget.used_bytes() > 5_000, "the connection still sends it");
        out.advance(out.len());
        assert_eq!((Arc::strong_count(&owner), budget.used_bytes()), (1, 0));
    }

    #[test]
    fn a_fan_out_writes_what_each_receiver_would_get_alone() {
        let budget = Budget::new(10_000_000);
        for size in [0, 64, 1_024, 1_025] {
            let (ours, other) = (message(&budget, &vec![7; size], Some(at(10_000))), message(&budget, b"other", None));
            let mut fan_out = FanOut::default();
            fan_out.begin(&ours);
            let mut id = 0;
            for round in 0..3 {
                for (version, qos, retain, dup, ids) in variants() {
                    id += 1;
                    let packet_id = if qos == Qos::AtMostOnce { None } else { PacketId::new(id) };
                    let dup = dup && packet_id.is_some();
                    let delivery = Delivery { qos, dup, retain, packet_id, subscription_ids: ids, ..Delivery::default() };
                    let message = if round == 1 && retain { &other } else { &ours };
                    let mut out = OutBuffer::default();
                    out.tail().extend(b"before");
                    fan_out.encode(message, &delivery, version, at(0), &mut out);
                    let bytes: Vec<u8> = out.slices().flatten().copied().collect();
                    assert_eq!(bytes[6..], sent(message, &delivery, version, at(0)), "{version:?} {delivery:?}");
                }
            }
            fan_out.end();
            drop((ours, other));
            assert_eq!(budget.used_bytes(), 0, "nothing is held");
        }
    }

    fn variants() -> impl Iterator<Item = (Version, Qos, bool, bool, &'static [u32])> {
        let flags = [(false, false), (false, true), (true, false), (true, true)];
        let versions = [Version::V31, Version::V311, Version::V5].into_iter();
        versions.flat_map(move |version| {
            [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().flat_map(move |qos| {
                let ids: [&[u32]; 2] = [&[], &[5]];
                flags.into_iter().flat_map(move |(retain, dup)| ids.into_iter().map(move |ids| (version, qos, retain, dup, ids)))
            })
        })
    }
}
