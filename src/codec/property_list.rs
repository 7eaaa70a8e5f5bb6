//! A property block being built.

use core::fmt;

use super::primitive::{VARINT_MAX, put_binary, put_u16, put_varint};
use super::{Place, Properties, PropertyId, Value};

/// Properties to be sent. Every value is checked when it comes in, so that the block is legal
/// wherever its properties are allowed ([`PropertyList::validate`]).
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct PropertyList {
    bytes: Vec<u8>,
}

/// Why a value or a list is not legal: the caller's fault, for whom it is reported, not asserted,
/// because applications hand such values in. The list is unchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PropertyError {
    /// The value has not the type of the property.
    WrongKind,
    /// The value is one the standard forbids for the property.
    WrongValue,
    /// A string or a binary of more than 65,535 bytes, a number above 268,435,455 as a variable
    /// byte integer, or a block larger than a packet.
    TooLong,
    /// A string with U+0000.
    Nul,
    /// The property does not belong into that packet.
    WrongPlace,
    /// The property may be there only once.
    Repeated,
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongKind => "value of the wrong type for the property",
            Self::WrongValue => "value not allowed for the property",
            Self::TooLong => "property too long",
            Self::Nul => "U+0000 in a property",
            Self::WrongPlace => "property does not belong into this packet",
            Self::Repeated => "property given twice",
        })
    }
}

impl std::error::Error for PropertyError {}

impl PropertyList {
    /// An empty list; allocates nothing.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Appends a property.
    pub fn add(&mut self, id: PropertyId, value: Value<'_>) -> Result<(), PropertyError> {
        if value.kind() != id.kind() {
            return Err(PropertyError::WrongKind);
        }
        check_size(value)?;
        id.check(value).map_err(|_| PropertyError::WrongValue)?;
        let before = self.bytes.len();
        self.put(id, value);
        if self.bytes.len() > BYTES_MAX {
            self.bytes.truncate(before);
            return Err(PropertyError::TooLong);
        }
        Ok(())
    }

    /// Appends a property that is known to be legal: for values of our own.
    pub fn push(&mut self, id: PropertyId, value: Value<'_>) {
        let result = self.add(id, value);
        debug_assert!(result.is_ok(), "{id:?} {value:?}: {result:?}");
    }

    fn put(&mut self, id: PropertyId, value: Value<'_>) {
        let out = &mut self.bytes;
        out.push(id as u8);
        match value {
            Value::Byte(value) => out.push(value),
            Value::U16(value) => put_u16(out, value),
            Value::U32(value) => out.extend_from_slice(&value.to_be_bytes()),
            Value::VarInt(value) => put_varint(out, value as usize),
            Value::Utf8(value) => put_binary(out, value.as_bytes()),
            Value::Binary(value) => put_binary(out, value),
            Value::Pair(name, value) => {
                put_binary(out, name.as_bytes());
                put_binary(out, value.as_bytes());
            }
        }
    }

    /// Takes every `id` out.
    pub fn remove(&mut self, id: PropertyId) {
        if self.count(id) > 0 {
            let all = core::mem::take(&mut self.bytes);
            self.extend_filtered(Properties::trusted(&all), |found| found != id);
        }
    }

    /// How often `id` is there.
    pub fn count(&self, id: PropertyId) -> usize {
        self.as_properties().raw().filter(|(found, _)| *found == id).count()
    }

    /// Takes everything out; keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// True without properties.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The block, to be asked or sent.
    pub fn as_properties(&self) -> Properties<'_> {
        Properties::trusted(&self.bytes)
    }

    /// True if the block may be sent there.
    pub fn validate(&self, place: Place) -> Result<(), PropertyError> {
        let mut seen = 0_u64;
        for (id, _) in self.as_properties().raw() {
            if !id.allowed_in(place) {
                return Err(PropertyError::WrongPlace);
            }
            if seen & (1 << id as u8) != 0 && !id.may_repeat(place) {
                return Err(PropertyError::Repeated);
            }
            seen |= 1 << id as u8;
        }
        debug_assert!(Properties::parse(place, &self.bytes).is_ok());
        Ok(())
    }

    /// Appends those properties of another block that `keep` names.
    pub fn extend_filtered(&mut self, from: Properties<'_>, keep: impl Fn(PropertyId) -> bool) {
        for (id, raw) in from.raw().filter(|(id, _)| keep(*id)) {
            self.bytes.push(id as u8);
            self.bytes.extend_from_slice(raw);
        }
    }
}

/// More would leave no room in a packet for anything else.
const BYTES_MAX: usize = VARINT_MAX as usize - 4 * 65_536;

fn check_size(value: Value<'_>) -> Result<(), PropertyError> {
    let string = |value: &str| match value {
        value if value.len() > 65_535 => Err(PropertyError::TooLong),
        value if value.as_bytes().contains(&0) => Err(PropertyError::Nul),
        _ => Ok(()),
    };
    match value {
        Value::Utf8(value) => string(value),
        Value::Pair(name, value) => string(name).and_then(|()| string(value)),
        Value::Binary(value) if value.len() > 65_535 => Err(PropertyError::TooLong),
        Value::VarInt(value) if value > VARINT_MAX => Err(PropertyError::TooLong),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_refused_and_leave_the_list_as_it_was() {
        let long = "x".repeat(65_536);
        let cases = [
            (PropertyId::TopicAlias, Value::U32(1), PropertyError::WrongKind),
            (PropertyId::SubscriptionIdentifier, Value::U32(1), PropertyError::WrongKind),
            (PropertyId::TopicAlias, Value::U16(0), PropertyError::WrongValue),
            (PropertyId::MaximumQos, Value::Byte(2), PropertyError::WrongValue),
            (PropertyId::ReceiveMaximum, Value::U16(0), PropertyError::WrongValue),
            (PropertyId::ResponseTopic, Value::Utf8("a/#"), PropertyError::WrongValue),
            (PropertyId::SubscriptionIdentifier, Value::VarInt(0), PropertyError::WrongValue),
            (PropertyId::SubscriptionIdentifier, Value::VarInt(1 << 28), PropertyError::TooLong),
            (PropertyId::ContentType, Value::Utf8(&long), PropertyError::TooLong),
            (PropertyId::CorrelationData, Value::Binary(long.as_bytes()), PropertyError::TooLong),
            (PropertyId::UserProperty, Value::Pair("a", &long), PropertyError::TooLong),
            (PropertyId::UserProperty, Value::Pair("a\0", "b"), PropertyError::Nul),
            (PropertyId::ReasonString, Value::Utf8("\0"), PropertyError::Nul),
        ];
        let mut list = PropertyList::new();
        list.push(PropertyId::ContentType, Value::Utf8("x"));
        let before = list.clone();
        for (id, value, expected) in cases {
            assert_eq!(list.add(id, value), Err(expected), "{id:?}");
            assert_eq!(list, before);
        }
        assert_eq!(list.add(PropertyId::ContentType, Value::Utf8(&long[1..])), Ok(()));
    }

    #[test]
    fn a_list_is_counted_filtered_and_validated() {
        let mut list = PropertyList::new();
        list.push(PropertyId::UserProperty, Value::Pair("a", "1"));
        list.push(PropertyId::TopicAlias, Value::U16(7));
        list.push(PropertyId::UserProperty, Value::Pair("a", "2"));
        assert_eq!(list.count(PropertyId::UserProperty), 2);
        assert_eq!(list.validate(Place::Publish), Ok(()));
        assert_eq!(list.validate(Place::Connect), Err(PropertyError::WrongPlace));
        let mut copy = PropertyList::new();
        copy.extend_filtered(list.as_properties(), |id| id != PropertyId::TopicAlias);
        list.remove(PropertyId::TopicAlias);
        assert_eq!(list, copy);
        assert_eq!(list.as_properties().user().collect::<Vec<_>>(), [("a", "1"), ("a", "2")]);
        list.push(PropertyId::ReasonString, Value::Utf8("x"));
        list.push(PropertyId::ReasonString, Value::Utf8("y"));
        assert_eq!(list.validate(Place::PubAck), Err(PropertyError::Repeated));
        list.clear();
        assert!(list.is_empty() && list.as_properties().is_empty());
    }
}
