//! An application message in memory.
//!
//! A message is made once, when its PUBLISH arrives, and shared by everyone who gets it: topic,
//! forwarded properties and payload lie in one allocation. A payload that its owner has handed over
//! instead ([`Message::with_payload`]) stays where it is. `delivery` makes packets of it.

use core::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Properties, PropertyId, Qos};
use crate::base::{Budget, Charge, Instant};

/// What the broker routes and what callbacks receive. Immutable; charged to the budget for as
/// long as somebody holds it.
pub struct Message {
    /// Topic, properties, payload.
    body: Bytes,
    /// The payload, if it is not in `body`.
    apart: Option<Box<Bytes>>,
    charge: Charge,
    expires: Option<Instant>,
    received: Instant,
    publisher: u64,
    properties_len: u32,
    topic_len: u16,
    qos: Qos,
    retain: bool,
}

/// The largest payload that fits a packet (§2.1.4) with any topic and, as a rule, its properties. What
/// does not fit with all that a receiver gets around it is not sent to that one.
pub(crate) const PAYLOAD_BYTES_MAX: usize = super::PACKET_BYTES_MAX - 200_000;

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
        let (topic_len, properties_len) = part_lens(topic, properties);
        let mut body = Vec::with_capacity(topic.len() + properties.as_bytes().len() + payload.len());
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(properties.as_bytes());
        body.extend_from_slice(payload);
        let charge = budget.charge(ARC_BYTES + size_of::<Self>() + body.len());
        let (body, apart) = (Bytes::from(body), None);
        Arc::new(Self { body, apart, charge, expires, received, publisher, properties_len, topic_len, qos, retain })
    }

    /// A message around a payload that is not copied: it is dropped with the message, or with the last who still sends or has
    /// received it. Else as [`Message::new`].
    ///
    /// # Panics
    /// If `topic` has more than 65,535 bytes: the caller's fault.
    #[allow(clippy::too_many_arguments)] // as `new`
    pub fn with_payload(
        budget: &Budget,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
        properties: Properties<'_>,
        expires: Option<Instant>,
        publisher: u64,
        received: Instant,
    ) -> Arc<Self> {
        let (topic_len, properties_len) = part_lens(topic, properties);
        let body = Bytes::from([topic.as_bytes(), properties.as_bytes()].concat());
        let charge = budget.charge(ARC_BYTES + size_of::<Self>() + size_of::<Bytes>() + body.len() + payload.len());
        let apart = Some(Box::new(payload));
        Arc::new(Self { body, apart, charge, expires, received, publisher, properties_len, topic_len, qos, retain })
    }

    /// The same message under another topic and with other properties, for one receiver. The payload is
    /// shared, and charged once more: the first owner may be gone before this one.
    ///
    /// # Panics
    /// If `topic` has more than 65,535 bytes: the caller's fault.
    pub fn renamed(&self, topic: &str, properties: Properties<'_>) -> Arc<Self> {
        let (topic_len, properties_len) = part_lens(topic, properties);
        let body = Bytes::from([topic.as_bytes(), properties.as_bytes()].concat());
        let payload = self.shared_payload();
        let charge = self.charge.beside(ARC_BYTES + size_of::<Self>() + size_of::<Bytes>() + body.len() + payload.len());
        let Self { expires, received, publisher, qos, retain, .. } = *self;
        let apart = Some(Box::new(payload));
        Arc::new(Self { body, apart, charge, expires, received, publisher, properties_len, topic_len, qos, retain })
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        core::str::from_utf8(self.topic_bytes()).expect("made of a string")
    }

    /// The topic name, where it need not be a `str`: that costs a look at every byte.
    pub fn topic_bytes(&self) -> &[u8] {
        &self.body[..usize::from(self.topic_len)]
    }

    fn payload_start(&self) -> usize {
        usize::from(self.topic_len) + self.properties_len as usize
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.apart.as_deref().map_or_else(|| &self.body[self.payload_start()..], |payload| &payload[..])
    }

    /// The payload, for one who may keep it for longer than the message, whose charge does not go along.
    pub fn shared_payload(&self) -> Bytes {
        self.apart.as_deref().map_or_else(|| self.body.slice(self.payload_start()..), Bytes::clone)
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

    /// Bytes of topic, properties and payload.
    pub fn body_len(&self) -> usize {
        self.body.len() + self.apart.as_ref().map_or(0, |payload| payload.len())
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

fn part_lens(topic: &str, properties: Properties<'_>) -> (u16, u32) {
    let topic_len = u16::try_from(topic.len()).expect("a topic of more than 65,535 bytes");
    let properties_len = u32::try_from(properties.as_bytes().len()).expect("more properties than a packet holds");
    (topic_len, properties_len)
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::base::Duration;
    use crate::codec::{PropertyList, Value};

    pub(in crate::codec) fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    pub(in crate::codec) fn message(budget: &Budget, payload: &[u8], expires: Option<Instant>) -> Arc<Message> {
        let mut list = PropertyList::new();
        list.push(PropertyId::ContentType, Value::Utf8("text"));
        list.push(PropertyId::UserProperty, Value::Pair("k", "v"));
        let properties = list.as_properties();
        Message::new(budget, "a/b", payload, Qos::ExactlyOnce, true, properties, expires, 7, at(5))
    }

    #[test]
    fn a_message_keeps_its_parts_and_its_account() {
        let budget = Budget::new(1_000_000);
        let message = message(&budget, b"payload", Some(at(9_000)));
        assert_eq!((message.topic(), message.payload()), ("a/b", &b"payload"[..]));
        assert_eq!(message.properties().utf8(PropertyId::ContentType), Some("text"));
        assert_eq!((message.qos(), message.retain(), message.publisher()), (Qos::ExactlyOnce, true, 7));
        assert_eq!((message.expires(), message.received()), (Some(at(9_000)), at(5)));
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
}
