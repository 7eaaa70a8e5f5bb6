//! Messages: immutable, borrowed in callbacks, kept by reference.
//!
//! What a callback lends lies on the library's stack and costs nothing; `nlmqtt_message_ref` makes a counted handle of it
//! that shares the payload. That is why it answers with the handle to keep.

use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::properties::terminated;
use super::{
    Failure, NLMQTT_TOO_LARGE, Outcome, bytes, check_out, fence, fence_or, nlmqtt_bytes, nlmqtt_properties, nlmqtt_status, nlmqtt_str, reference, string,
};
use crate::base::{Budget, Instant};
use crate::codec::{Message, PAYLOAD_BYTES_MAX, Place, PropertyId, PropertyList, Qos, Value};
use crate::topic;

/// An application message. Immutable; any thread may read it.
pub struct nlmqtt_message {
    /// 0: lent by a callback, not counted.
    count: AtomicUsize,
    message: Arc<Message>,
    qos: Qos,
    retain: bool,
    dup: bool,
    /// Message Expiry Interval of a message made by the application.
    expiry_s: Option<u32>,
    subscription_ids: Vec<u32>,
    /// With the NUL C wants; made by the first question.
    topic: OnceLock<Box<[u8]>>,
    properties: OnceLock<nlmqtt_properties>,
}

impl nlmqtt_message {
    /// A message as it was delivered.
    pub(crate) fn delivered(message: &Arc<Message>, qos: Qos, retain: bool, dup: bool, subscription_ids: &[u32]) -> Self {
        Self {
            count: AtomicUsize::new(0),
            message: message.clone(),
            qos,
            retain,
            dup,
            expiry_s: None,
            subscription_ids: subscription_ids.to_vec(),
            topic: OnceLock::new(),
            properties: OnceLock::new(),
        }
    }

    /// A counted handle of it, for the caller to keep.
    pub(crate) fn kept(message: &Arc<Message>, qos: Qos, retain: bool, dup: bool, subscription_ids: &[u32]) -> *mut Self {
        let handle = Self { count: AtomicUsize::new(1), ..Self::delivered(message, qos, retain, dup, subscription_ids) };
        Box::into_raw(Box::new(handle))
    }

    /// A message with the flags it was published with.
    pub(crate) fn published(message: &Arc<Message>) -> Self {
        Self::delivered(message, message.qos(), message.retain(), false, &[])
    }

    /// Its parts, to be published again.
    pub(crate) fn parts(&self) -> (&Message, Qos, bool, Option<u32>) {
        (&self.message, self.qos, self.retain, self.expiry_s)
    }

    /// The message itself, to be sent without a copy.
    pub(crate) fn shared(&self) -> Arc<Message> {
        self.message.clone()
    }

    fn owned(&self) -> Self {
        Self { count: AtomicUsize::new(1), expiry_s: self.expiry_s, ..Self::delivered(&self.message, self.qos, self.retain, self.dup, &self.subscription_ids) }
    }
}

/// Splits properties of a PUBLISH to be sent into those that travel in the message and the expiry.
pub(crate) fn publish_properties(properties: Option<&nlmqtt_properties>) -> Outcome<(PropertyList, Option<u32>)> {
    let mut kept = PropertyList::new();
    let Some(properties) = properties else { return Ok((kept, None)) };
    let given = properties.checked(Place::Publish)?;
    if given.contains(PropertyId::TopicAlias) || given.contains(PropertyId::SubscriptionIdentifier) {
        return Err(Failure::invalid("topic aliases and subscription identifiers of a PUBLISH are the library's affair"));
    }
    kept.extend_filtered(given, |id| id != PropertyId::MessageExpiryInterval);
    Ok((kept, given.u32(PropertyId::MessageExpiryInterval)))
}

/// QoS as it comes from C.
pub(crate) fn qos_of(number: u8) -> Outcome<Qos> {
    Qos::try_from(number).map_err(|_| Failure::invalid(format!("{number} is no QoS")))
}

/// A topic name to publish to.
pub(crate) unsafe fn topic_name<'a>(pointer: *const c_char) -> Outcome<&'a str> {
    let name = unsafe { string(pointer, "topic") }?;
    if topic::is_valid_name(name) { Ok(name) } else { Err(not_a_name(name)) }
}

/// What to say of what is not one.
pub(crate) fn not_a_name(name: &str) -> Failure {
    Failure::invalid(format!("not a topic name: {name:?}"))
}

/// Makes a message. Topic, payload and properties are copied; `properties` may be NULL, `payload` too if `len` is 0. The
/// caller releases it with nlmqtt_message_unref.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_new(
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
    properties: *const nlmqtt_properties,
    message_out: *mut *mut nlmqtt_message,
) -> nlmqtt_status {
    fence(|| {
        let (topic, payload) = unsafe { (topic_name(topic)?, bytes(payload, len, "payload")?) };
        check_out(message_out, "message_out")?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Failure::new(NLMQTT_TOO_LARGE, "payload larger than a packet"));
        }
        let qos = qos_of(qos)?;
        let (kept, expiry_s) = publish_properties(unsafe { properties.as_ref() })?;
        // Memory of the application, not of a runtime: an account of its own.
        let budget = Budget::new(usize::MAX);
        let message = Message::new(&budget, topic, payload, qos, retain, kept.as_properties(), None, 0, Instant::START);
        let handle = nlmqtt_message { count: AtomicUsize::new(1), expiry_s, ..nlmqtt_message::published(&message) };
        unsafe { *message_out = Box::into_raw(Box::new(handle)) };
        Ok(())
    })
}

/// Keeps a message beyond the callback that lent it, without copying its payload. Returns the handle to keep, which may be
/// another one than the one given; NULL for NULL. Each needs one nlmqtt_message_unref. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_ref(message: *const nlmqtt_message) -> *mut nlmqtt_message {
    fence_or(core::ptr::null_mut(), || {
        let handle = unsafe { reference(message, "message") }?;
        if handle.count.load(Ordering::Relaxed) == 0 {
            return Ok(Box::into_raw(Box::new(handle.owned())));
        }
        handle.count.fetch_add(1, Ordering::Relaxed);
        Ok(message.cast_mut())
    })
}

/// Gives one reference back; the last one frees the message. NULL is fine, and so is (without effect) a message that a
/// callback only lent. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_unref(message: *mut nlmqtt_message) {
    fence_or((), || {
        let Some(handle) = (unsafe { message.as_ref() }) else { return Ok(()) };
        if handle.count.load(Ordering::Relaxed) != 0 && handle.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(unsafe { Box::from_raw(message) });
        }
        Ok(())
    });
}

/// The topic name. Borrowed from the message. No string for NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_topic(message: *const nlmqtt_message) -> nlmqtt_str {
    fence_or(nlmqtt_str::NONE, || {
        let handle = unsafe { reference(message, "message") }?;
        Ok(nlmqtt_str::of_terminated(handle.topic.get_or_init(|| terminated(handle.message.topic().as_bytes()))))
    })
}

/// The payload. Borrowed from the message. No bytes for NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_payload(message: *const nlmqtt_message) -> nlmqtt_bytes {
    fence_or(nlmqtt_bytes::NONE, || Ok(nlmqtt_bytes::of(unsafe { reference(message, "message") }?.message.payload())))
}

/// The QoS: of the delivery in a client, of the publish in a server. 0 for NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_qos(message: *const nlmqtt_message) -> u8 {
    fence_or(0, || Ok(unsafe { reference(message, "message") }?.qos as u8))
}

/// The RETAIN flag (MQTT 5 section 3.3.1.3). Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_retain(message: *const nlmqtt_message) -> bool {
    fence_or(false, || Ok(unsafe { reference(message, "message") }?.retain))
}

/// The DUP flag (MQTT 5 section 3.3.1.1): it may have come before. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_dup(message: *const nlmqtt_message) -> bool {
    fence_or(false, || Ok(unsafe { reference(message, "message") }?.dup))
}

/// The properties that travel with the message (MQTT 5 section 3.3.2.3); an empty list if there are none. Borrowed from
/// the message. NULL for NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_properties(message: *const nlmqtt_message) -> *const nlmqtt_properties {
    fence_or(core::ptr::null(), || {
        let handle = unsafe { reference(message, "message") }?;
        let properties = handle.properties.get_or_init(|| {
            let mut properties = nlmqtt_properties::of(handle.message.properties());
            if let Some(expiry_s) = handle.expiry_s {
                let mut list = PropertyList::new();
                list.push(PropertyId::MessageExpiryInterval, Value::U32(expiry_s));
                list.extend_filtered(properties.as_properties(), |_| true);
                properties = nlmqtt_properties::of(list.as_properties());
            }
            properties
        });
        Ok(core::ptr::from_ref(properties))
    })
}

/// The subscription identifier at `index` (MQTT 5 section 3.3.2.3.8); 0 if there are not so many. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_subscription_id(message: *const nlmqtt_message, index: usize) -> u32 {
    fence_or(0, || Ok(unsafe { reference(message, "message") }?.subscription_ids.get(index).copied().unwrap_or(0)))
}

/// When the message came, in microseconds since its runtime began; 0 for one made by nlmqtt_message_new. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_message_received_us(message: *const nlmqtt_message) -> u64 {
    fence_or(0, || Ok(unsafe { reference(message, "message") }?.message.received().as_micros()))
}
