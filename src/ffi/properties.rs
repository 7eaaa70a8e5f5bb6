//! Properties of MQTT 5: one handle that is builder and reader.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use super::{
    Failure, NLMQTT_INVALID_ARGUMENT, NLMQTT_NOT_FOUND, NLMQTT_TOO_LARGE, Outcome, bytes, check_out, fence, fence_or, nlmqtt_bytes, nlmqtt_status, nlmqtt_str,
    reference, reference_mut, string,
};
use crate::codec::{Place, Properties, PropertyError, PropertyId, PropertyKind, PropertyList, Value};

/// Payload Format Indicator: number, 0 or 1; PUBLISH and will.
pub const NLMQTT_PROPERTY_PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
/// Message Expiry Interval: number, seconds; PUBLISH and will.
pub const NLMQTT_PROPERTY_MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
/// Content Type: string; PUBLISH and will.
pub const NLMQTT_PROPERTY_CONTENT_TYPE: u8 = 0x03;
/// Response Topic: string; PUBLISH and will.
pub const NLMQTT_PROPERTY_RESPONSE_TOPIC: u8 = 0x08;
/// Correlation Data: binary; PUBLISH and will.
pub const NLMQTT_PROPERTY_CORRELATION_DATA: u8 = 0x09;
/// Subscription Identifier: number; PUBLISH (may repeat) and SUBSCRIBE.
pub const NLMQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
/// Session Expiry Interval: number, seconds; CONNECT, CONNACK, DISCONNECT.
pub const NLMQTT_PROPERTY_SESSION_EXPIRY_INTERVAL: u8 = 0x11;
/// Assigned Client Identifier: string; CONNACK.
pub const NLMQTT_PROPERTY_ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
/// Server Keep Alive: number, seconds; CONNACK.
pub const NLMQTT_PROPERTY_SERVER_KEEP_ALIVE: u8 = 0x13;
/// Authentication Method: string; CONNECT, CONNACK, AUTH.
pub const NLMQTT_PROPERTY_AUTHENTICATION_METHOD: u8 = 0x15;
/// Authentication Data: binary; CONNECT, CONNACK, AUTH.
pub const NLMQTT_PROPERTY_AUTHENTICATION_DATA: u8 = 0x16;
/// Request Problem Information: number, 0 or 1; CONNECT.
pub const NLMQTT_PROPERTY_REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
/// Will Delay Interval: number, seconds; will.
pub const NLMQTT_PROPERTY_WILL_DELAY_INTERVAL: u8 = 0x18;
/// Request Response Information: number, 0 or 1; CONNECT.
pub const NLMQTT_PROPERTY_REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
/// Response Information: string; CONNACK.
pub const NLMQTT_PROPERTY_RESPONSE_INFORMATION: u8 = 0x1A;
/// Server Reference: string; CONNACK, DISCONNECT.
pub const NLMQTT_PROPERTY_SERVER_REFERENCE: u8 = 0x1C;
/// Reason String: string; every answer, DISCONNECT, AUTH.
pub const NLMQTT_PROPERTY_REASON_STRING: u8 = 0x1F;
/// Receive Maximum: number; CONNECT, CONNACK.
pub const NLMQTT_PROPERTY_RECEIVE_MAXIMUM: u8 = 0x21;
/// Topic Alias Maximum: number; CONNECT, CONNACK.
pub const NLMQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
/// Topic Alias: number; PUBLISH.
pub const NLMQTT_PROPERTY_TOPIC_ALIAS: u8 = 0x23;
/// Maximum QoS: number, 0 or 1; CONNACK.
pub const NLMQTT_PROPERTY_MAXIMUM_QOS: u8 = 0x24;
/// Retain Available: number, 0 or 1; CONNACK.
pub const NLMQTT_PROPERTY_RETAIN_AVAILABLE: u8 = 0x25;
/// User Property: pair of strings, may repeat; every packet with properties.
pub const NLMQTT_PROPERTY_USER_PROPERTY: u8 = 0x26;
/// Maximum Packet Size: number, bytes; CONNECT, CONNACK.
pub const NLMQTT_PROPERTY_MAXIMUM_PACKET_SIZE: u8 = 0x27;
/// Wildcard Subscription Available: number, 0 or 1; CONNACK.
pub const NLMQTT_PROPERTY_WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
/// Subscription Identifier Available: number, 0 or 1; CONNACK.
pub const NLMQTT_PROPERTY_SUBSCRIPTION_IDENTIFIER_AVAILABLE: u8 = 0x29;
/// Shared Subscription Available: number, 0 or 1; CONNACK.
pub const NLMQTT_PROPERTY_SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;

/// Properties of a will; the other places are packet types.
pub const NLMQTT_PLACE_WILL: i32 = 0;
/// CONNECT.
pub const NLMQTT_PLACE_CONNECT: i32 = 1;
/// CONNACK.
pub const NLMQTT_PLACE_CONNACK: i32 = 2;
/// PUBLISH.
pub const NLMQTT_PLACE_PUBLISH: i32 = 3;
/// PUBACK.
pub const NLMQTT_PLACE_PUBACK: i32 = 4;
/// PUBREC.
pub const NLMQTT_PLACE_PUBREC: i32 = 5;
/// PUBREL.
pub const NLMQTT_PLACE_PUBREL: i32 = 6;
/// PUBCOMP.
pub const NLMQTT_PLACE_PUBCOMP: i32 = 7;
/// SUBSCRIBE.
pub const NLMQTT_PLACE_SUBSCRIBE: i32 = 8;
/// SUBACK.
pub const NLMQTT_PLACE_SUBACK: i32 = 9;
/// UNSUBSCRIBE.
pub const NLMQTT_PLACE_UNSUBSCRIBE: i32 = 10;
/// UNSUBACK.
pub const NLMQTT_PLACE_UNSUBACK: i32 = 11;
/// DISCONNECT.
pub const NLMQTT_PLACE_DISCONNECT: i32 = 14;
/// AUTH.
pub const NLMQTT_PLACE_AUTH: i32 = 15;

/// Properties of MQTT 5 (section 2.2.2), in their order. One that you made is yours alone: it may be used by one thread at
/// a time. One that a callback hands you is constant and borrowed.
pub struct nlmqtt_properties {
    list: PropertyList,
    /// What readers have asked for, with the NULs C wants; made by the first question.
    entries: OnceLock<Vec<Entry>>,
}

struct Entry {
    id: PropertyId,
    number: u32,
    /// A string or binary, and the second half of a pair; each with a NUL behind it.
    parts: [Box<[u8]>; 2],
}

impl nlmqtt_properties {
    /// A copy of a block.
    pub(crate) fn of(properties: Properties<'_>) -> Self {
        let mut list = PropertyList::new();
        list.extend_filtered(properties, |_| true);
        Self { list, entries: OnceLock::new() }
    }

    /// The block.
    pub(crate) fn as_properties(&self) -> Properties<'_> {
        self.list.as_properties()
    }

    /// The block, if it may be sent there.
    pub(crate) fn checked(&self, place: Place) -> Outcome<Properties<'_>> {
        self.list.validate(place)?;
        Ok(self.list.as_properties())
    }

    fn add(&mut self, id: PropertyId, value: Value<'_>) -> Outcome {
        self.list.add(id, value)?;
        self.entries.take();
        Ok(())
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get_or_init(|| self.list.as_properties().iter().map(|(id, value)| Entry::new(id, value)).collect())
    }

    fn find(&self, id: PropertyId, index: usize) -> Outcome<&Entry> {
        let found = self.entries().iter().filter(|entry| entry.id == id).nth(index);
        found.ok_or_else(|| Failure::new(NLMQTT_NOT_FOUND, format!("no {id:?} at index {index}")))
    }
}

impl Entry {
    fn new(id: PropertyId, value: Value<'_>) -> Self {
        let (mut number, mut parts) = (0, [Box::default(), Box::default()]);
        match value {
            Value::Byte(value) => number = value.into(),
            Value::U16(value) => number = value.into(),
            Value::U32(value) | Value::VarInt(value) => number = value,
            Value::Utf8(value) => parts[0] = terminated(value.as_bytes()),
            Value::Binary(value) => parts[0] = terminated(value),
            Value::Pair(name, value) => parts = [terminated(name.as_bytes()), terminated(value.as_bytes())],
        }
        Self { id, number, parts }
    }
}

pub(crate) fn terminated(bytes: &[u8]) -> Box<[u8]> {
    let mut copy = Vec::with_capacity(bytes.len() + 1);
    copy.extend_from_slice(bytes);
    copy.push(0);
    copy.into_boxed_slice()
}

impl From<PropertyError> for Failure {
    fn from(error: PropertyError) -> Self {
        let status = if error == PropertyError::TooLong { NLMQTT_TOO_LARGE } else { NLMQTT_INVALID_ARGUMENT };
        Self::new(status, error.to_string())
    }
}

fn property(id: u8) -> Outcome<PropertyId> {
    PropertyId::from_u8(id).ok_or_else(|| Failure::invalid(format!("0x{id:02X} is no property")))
}

/// A property that has this type.
fn property_of(id: u8, kinds: &[PropertyKind]) -> Outcome<PropertyId> {
    let id = property(id)?;
    if kinds.contains(&id.kind()) { Ok(id) } else { Err(PropertyError::WrongKind.into()) }
}

const NUMBERS: [PropertyKind; 4] = [PropertyKind::Byte, PropertyKind::U16, PropertyKind::U32, PropertyKind::VarInt];

/// An empty list. The caller frees it with nlmqtt_properties_free. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_properties_new() -> *mut nlmqtt_properties {
    fence_or(core::ptr::null_mut(), || Ok(Box::into_raw(Box::new(nlmqtt_properties::of(Properties::EMPTY)))))
}

/// A copy, for instance of what a callback lends; NULL for NULL. The caller frees it with nlmqtt_properties_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_copy(properties: *const nlmqtt_properties) -> *mut nlmqtt_properties {
    fence_or(core::ptr::null_mut(), || {
        let properties = unsafe { reference(properties, "properties") }?;
        Ok(Box::into_raw(Box::new(nlmqtt_properties::of(properties.as_properties()))))
    })
}

/// Frees a list made by nlmqtt_properties_new or nlmqtt_properties_copy. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_free(properties: *mut nlmqtt_properties) {
    fence_or((), || {
        if !properties.is_null() {
            drop(unsafe { Box::from_raw(properties) });
        }
        Ok(())
    });
}

/// Appends a number. INVALID_ARGUMENT: `id` is no number, or the standard forbids the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_add_u32(properties: *mut nlmqtt_properties, id: u8, value: u32) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference_mut(properties, "properties") }?;
        let id = property_of(id, &NUMBERS)?;
        let too_large = |_| Failure::invalid(format!("{value} is too large for {id:?}"));
        let value = match id.kind() {
            PropertyKind::Byte => Value::Byte(u8::try_from(value).map_err(too_large)?),
            PropertyKind::U16 => Value::U16(u16::try_from(value).map_err(too_large)?),
            PropertyKind::U32 => Value::U32(value),
            _ => Value::VarInt(value),
        };
        properties.add(id, value)
    })
}

/// Appends a string. Copied. INVALID_ARGUMENT: `id` is no string, or the text is not UTF-8; TOO_LARGE: more than 65,535
/// bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_add_string(properties: *mut nlmqtt_properties, id: u8, value: *const c_char) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference_mut(properties, "properties") }?;
        let id = property_of(id, &[PropertyKind::Utf8])?;
        properties.add(id, Value::Utf8(unsafe { string(value, "value") }?))
    })
}

/// Appends binary data. Copied. NULL is fine if `len` is 0. INVALID_ARGUMENT: `id` is not binary; TOO_LARGE: more than
/// 65,535 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_add_binary(properties: *mut nlmqtt_properties, id: u8, data: *const c_void, len: usize) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference_mut(properties, "properties") }?;
        let id = property_of(id, &[PropertyKind::Binary])?;
        properties.add(id, Value::Binary(unsafe { bytes(data, len, "data") }?))
    })
}

/// Appends a user property. Both strings are copied. INVALID_ARGUMENT: one is not UTF-8; TOO_LARGE: one has more than
/// 65,535 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_add_user(properties: *mut nlmqtt_properties, name: *const c_char, value: *const c_char) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference_mut(properties, "properties") }?;
        let (name, value) = unsafe { (string(name, "name")?, string(value, "value")?) };
        properties.add(PropertyId::UserProperty, Value::Pair(name, value))
    })
}

/// The value of the number `id`, the one at `index` if it repeats. NOT_FOUND: it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_get_u32(properties: *const nlmqtt_properties, id: u8, index: usize, value_out: *mut u32) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference(properties, "properties") }?;
        check_out(value_out, "value_out")?;
        let number = properties.find(property_of(id, &NUMBERS)?, index)?.number;
        unsafe { *value_out = number };
        Ok(())
    })
}

/// The string `id`, the one at `index` if it repeats. Borrowed from the list, until it is changed or freed, or until the
/// callback returns that lent the list. NOT_FOUND: it is not there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_get_string(properties: *const nlmqtt_properties, id: u8, index: usize, value_out: *mut nlmqtt_str) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference(properties, "properties") }?;
        check_out(value_out, "value_out")?;
        let entry = properties.find(property_of(id, &[PropertyKind::Utf8])?, index)?;
        unsafe { *value_out = nlmqtt_str::of_terminated(&entry.parts[0]) };
        Ok(())
    })
}

/// The binary `id`, the one at `index` if it repeats. Borrowed as by nlmqtt_properties_get_string. NOT_FOUND: it is not
/// there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_get_binary(
    properties: *const nlmqtt_properties,
    id: u8,
    index: usize,
    value_out: *mut nlmqtt_bytes,
) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference(properties, "properties") }?;
        check_out(value_out, "value_out")?;
        let entry = properties.find(property_of(id, &[PropertyKind::Binary])?, index)?;
        unsafe { *value_out = nlmqtt_bytes::of(&entry.parts[0][..entry.parts[0].len() - 1]) };
        Ok(())
    })
}

/// The user property at `index`. Borrowed as by nlmqtt_properties_get_string. NOT_FOUND: there are not so many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_get_user(
    properties: *const nlmqtt_properties,
    index: usize,
    name_out: *mut nlmqtt_str,
    value_out: *mut nlmqtt_str,
) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference(properties, "properties") }?;
        check_out(name_out, "name_out")?;
        check_out(value_out, "value_out")?;
        let entry = properties.find(PropertyId::UserProperty, index)?;
        unsafe {
            *name_out = nlmqtt_str::of_terminated(&entry.parts[0]);
            *value_out = nlmqtt_str::of_terminated(&entry.parts[1]);
        }
        Ok(())
    })
}

/// How often `id` is there; `id` 0 counts all. 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_count(properties: *const nlmqtt_properties, id: u8) -> usize {
    fence_or(0, || {
        let properties = unsafe { reference(properties, "properties") }?;
        Ok(if id == 0 { properties.as_properties().iter().count() } else { properties.list.count(property(id)?) })
    })
}

/// Which property is the one at `index` of all; 0 if there are not so many. To walk through a list: ask for the id, then
/// for the value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_id_at(properties: *const nlmqtt_properties, index: usize) -> u8 {
    fence_or(0, || {
        let properties = unsafe { reference(properties, "properties") }?;
        Ok(properties.as_properties().iter().nth(index).map_or(0, |(id, _)| id as u8))
    })
}

/// Takes every `id` out; `id` 0 takes everything out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_remove(properties: *mut nlmqtt_properties, id: u8) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference_mut(properties, "properties") }?;
        match id {
            0 => properties.list.clear(),
            id => properties.list.remove(property(id)?),
        }
        properties.entries.take();
        Ok(())
    })
}

/// OK if the list may be sent at `place` (one of NLMQTT_PLACE_*): every property belongs there and none is there twice
/// that must not be (MQTT 5 section 2.2.2.2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_properties_validate(properties: *const nlmqtt_properties, place: i32) -> nlmqtt_status {
    fence(|| {
        let properties = unsafe { reference(properties, "properties") }?;
        let place = match place {
            NLMQTT_PLACE_WILL => Place::Will,
            NLMQTT_PLACE_CONNECT => Place::Connect,
            NLMQTT_PLACE_CONNACK => Place::ConnAck,
            NLMQTT_PLACE_PUBLISH => Place::Publish,
            NLMQTT_PLACE_PUBACK => Place::PubAck,
            NLMQTT_PLACE_PUBREC => Place::PubRec,
            NLMQTT_PLACE_PUBREL => Place::PubRel,
            NLMQTT_PLACE_PUBCOMP => Place::PubComp,
            NLMQTT_PLACE_SUBSCRIBE => Place::Subscribe,
            NLMQTT_PLACE_SUBACK => Place::SubAck,
            NLMQTT_PLACE_UNSUBSCRIBE => Place::Unsubscribe,
            NLMQTT_PLACE_UNSUBACK => Place::UnsubAck,
            NLMQTT_PLACE_DISCONNECT => Place::Disconnect,
            NLMQTT_PLACE_AUTH => Place::Auth,
            _ => return Err(Failure::invalid(format!("{place} is no place of properties"))),
        };
        properties.checked(place).map(|_| ())
    })
}
