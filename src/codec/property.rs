//! Properties (§2.2.2): which there are, where they belong, and a checked block of them.
//!
//! A [`Properties`] is a borrowed block of bytes that [`Properties::parse`] found legal, so that
//! asking it is a walk without errors. Nothing is collected: a block is walked once when it
//! arrives and once per question, and almost every block is empty.

use core::fmt;

use super::Error;
use super::primitive::Reader;
use crate::topic;

/// The 27 properties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // the names are those of table 2-4
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

use PropertyId as Id;

/// The types of table 2-4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PropertyKind {
    Byte,
    U16,
    U32,
    VarInt,
    Utf8,
    Binary,
    Pair,
}

/// Where a property block is: a packet type or the will inside a CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Place {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

impl Place {
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

const CONNECT: u16 = Place::Connect.bit();
const WILL: u16 = Place::Will.bit();
const CONNACK: u16 = Place::ConnAck.bit();
const PUBLISH: u16 = Place::Publish.bit();
const SUBSCRIBE: u16 = Place::Subscribe.bit();
const UNSUBSCRIBE: u16 = Place::Unsubscribe.bit();
const DISCONNECT: u16 = Place::Disconnect.bit();
const AUTH: u16 = Place::Auth.bit();
const ALL: u16 = (1 << (Place::Auth as u16 + 1)) - 1;
/// What answers carry: everything but CONNECT, will, PUBLISH, SUBSCRIBE and UNSUBSCRIBE.
const ANSWERS: u16 = ALL & !(CONNECT | WILL | PUBLISH | SUBSCRIBE | UNSUBSCRIBE);

impl PropertyId {
    /// All of them, in ascending order.
    pub const ALL: [Self; 27] = [
        Id::PayloadFormatIndicator,
        Id::MessageExpiryInterval,
        Id::ContentType,
        Id::ResponseTopic,
        Id::CorrelationData,
        Id::SubscriptionIdentifier,
        Id::SessionExpiryInterval,
        Id::AssignedClientIdentifier,
        Id::ServerKeepAlive,
        Id::AuthenticationMethod,
        Id::AuthenticationData,
        Id::RequestProblemInformation,
        Id::WillDelayInterval,
        Id::RequestResponseInformation,
        Id::ResponseInformation,
        Id::ServerReference,
        Id::ReasonString,
        Id::ReceiveMaximum,
        Id::TopicAliasMaximum,
        Id::TopicAlias,
        Id::MaximumQos,
        Id::RetainAvailable,
        Id::UserProperty,
        Id::MaximumPacketSize,
        Id::WildcardSubscriptionAvailable,
        Id::SubscriptionIdentifierAvailable,
        Id::SharedSubscriptionAvailable,
    ];

    /// The property of a number on the wire.
    #[inline]
    pub const fn from_u8(number: u8) -> Option<Self> {
        if number as usize >= BY_NUMBER.len() { None } else { BY_NUMBER[number as usize] }
    }

    /// Its type.
    #[inline]
    pub const fn kind(self) -> PropertyKind {
        match self {
            Id::PayloadFormatIndicator
            | Id::RequestProblemInformation
            | Id::RequestResponseInformation
            | Id::MaximumQos
            | Id::RetainAvailable
            | Id::WildcardSubscriptionAvailable
            | Id::SubscriptionIdentifierAvailable
            | Id::SharedSubscriptionAvailable => PropertyKind::Byte,
            Id::ServerKeepAlive | Id::ReceiveMaximum | Id::TopicAliasMaximum | Id::TopicAlias => PropertyKind::U16,
            Id::MessageExpiryInterval | Id::SessionExpiryInterval | Id::WillDelayInterval | Id::MaximumPacketSize => PropertyKind::U32,
            Id::SubscriptionIdentifier => PropertyKind::VarInt,
            Id::ContentType
            | Id::ResponseTopic
            | Id::AssignedClientIdentifier
            | Id::AuthenticationMethod
            | Id::ResponseInformation
            | Id::ServerReference
            | Id::ReasonString => PropertyKind::Utf8,
            Id::CorrelationData | Id::AuthenticationData => PropertyKind::Binary,
            Id::UserProperty => PropertyKind::Pair,
        }
    }

    const fn places(self) -> u16 {
        match self {
            Id::PayloadFormatIndicator | Id::MessageExpiryInterval | Id::ContentType | Id::ResponseTopic | Id::CorrelationData => PUBLISH | WILL,
            Id::SubscriptionIdentifier => PUBLISH | SUBSCRIBE,
            Id::SessionExpiryInterval => CONNECT | CONNACK | DISCONNECT,
            Id::AuthenticationMethod | Id::AuthenticationData => CONNECT | CONNACK | AUTH,
            Id::RequestProblemInformation | Id::RequestResponseInformation => CONNECT,
            Id::WillDelayInterval => WILL,
            Id::ServerReference => CONNACK | DISCONNECT,
            Id::ReasonString => ANSWERS,
            Id::ReceiveMaximum | Id::TopicAliasMaximum | Id::MaximumPacketSize => CONNECT | CONNACK,
            Id::TopicAlias => PUBLISH,
            Id::UserProperty => ALL,
            Id::AssignedClientIdentifier
            | Id::ServerKeepAlive
            | Id::ResponseInformation
            | Id::MaximumQos
            | Id::RetainAvailable
            | Id::WildcardSubscriptionAvailable
            | Id::SubscriptionIdentifierAvailable
            | Id::SharedSubscriptionAvailable => CONNACK,
        }
    }

    /// True if the standard knows it there.
    #[inline]
    pub const fn allowed_in(self, place: Place) -> bool {
        self.places() & place.bit() != 0
    }

    /// True if it may be there more than once.
    #[inline]
    pub const fn may_repeat(self, place: Place) -> bool {
        matches!((self, place), (Id::UserProperty, _) | (Id::SubscriptionIdentifier, Place::Publish))
    }

    /// What §3 says of single values: flags are 0 or 1, some numbers are not 0, a response topic
    /// has no wildcard.
    pub(super) fn check(self, value: Value<'_>) -> Result<(), Error> {
        match (self, value) {
            (_, Value::Byte(0 | 1)) => Ok(()),
            (_, Value::Byte(_)) => Err(Error::Protocol("property is neither 0 nor 1")),
            (Id::TopicAlias, Value::U16(0)) => Err(Error::TopicAliasInvalid),
            (Id::ReceiveMaximum, Value::U16(0)) => Err(Error::Protocol("Receive Maximum 0")),
            (Id::MaximumPacketSize, Value::U32(0)) => Err(Error::Protocol("Maximum Packet Size 0")),
            (Id::SubscriptionIdentifier, Value::VarInt(0)) => Err(Error::Protocol("Subscription Identifier 0")),
            (Id::ResponseTopic, Value::Utf8(name)) if !topic::is_valid_name(name) => Err(Error::Protocol("Response Topic is not a topic name")),
            _ => Ok(()),
        }
    }
}

const BY_NUMBER: [Option<PropertyId>; 0x2B] = {
    let mut table = [None; 0x2B];
    let mut index = 0;
    while index < PropertyId::ALL.len() {
        let id = PropertyId::ALL[index];
        table[id as usize] = Some(id);
        index += 1;
    }
    table
};

/// The value of a property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Value<'a> {
    Byte(u8),
    U16(u16),
    U32(u32),
    VarInt(u32),
    Utf8(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

impl Value<'_> {
    /// The type it has.
    pub const fn kind(&self) -> PropertyKind {
        match self {
            Self::Byte(_) => PropertyKind::Byte,
            Self::U16(_) => PropertyKind::U16,
            Self::U32(_) => PropertyKind::U32,
            Self::VarInt(_) => PropertyKind::VarInt,
            Self::Utf8(_) => PropertyKind::Utf8,
            Self::Binary(_) => PropertyKind::Binary,
            Self::Pair(..) => PropertyKind::Pair,
        }
    }
}

/// A property block without its length, found legal for its place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self(&[]);

    /// Checks a block: numbers, place, types, repeats, values. An unknown number, a string that
    /// is not UTF-8 and a cut value are malformed; the rest is a protocol error (§2.2.2.2).
    pub fn parse(place: Place, bytes: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let mut seen = 0_u64;
        while !reader.is_empty() {
            // The number is a variable byte integer by §2.2.2.2; all that exist are one byte.
            let id = PropertyId::from_u8(reader.byte()?).ok_or(Error::Malformed("unknown property"))?;
            if !id.allowed_in(place) {
                return Err(Error::Protocol("property does not belong here"));
            }
            let bit = 1 << id as u8;
            if seen & bit != 0 && !id.may_repeat(place) {
                return Err(Error::Protocol("property given twice"));
            }
            seen |= bit;
            id.check(read_value(&mut reader, id.kind())?)?;
        }
        Ok(Self(bytes))
    }

    /// A block that was checked already: of a [`super::PropertyList`] or a message.
    pub(super) const fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// All properties in their order.
    pub fn iter(self) -> impl Iterator<Item = (PropertyId, Value<'a>)> {
        self.raw().filter_map(|(id, raw)| Some((id, read_value(&mut Reader::new(raw), id.kind()).ok()?)))
    }

    /// True without properties.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The block as it is on the wire, without its length.
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// The value of a byte property.
    pub fn byte(self, id: PropertyId) -> Option<u8> {
        match self.first(id)? {
            Value::Byte(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a two-byte property.
    pub fn u16(self, id: PropertyId) -> Option<u16> {
        match self.first(id)? {
            Value::U16(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a four-byte or variable-byte property.
    pub fn u32(self, id: PropertyId) -> Option<u32> {
        match self.first(id)? {
            Value::U32(value) | Value::VarInt(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a string property.
    pub fn utf8(self, id: PropertyId) -> Option<&'a str> {
        match self.first(id)? {
            Value::Utf8(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a binary property.
    pub fn binary(self, id: PropertyId) -> Option<&'a [u8]> {
        match self.first(id)? {
            Value::Binary(value) => Some(value),
            _ => None,
        }
    }

    /// The user properties in their order.
    pub fn user(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// The subscription identifiers of a PUBLISH in their order.
    pub fn subscription_ids(self) -> impl Iterator<Item = u32> {
        self.iter().filter_map(|(_, value)| match value {
            Value::VarInt(value) => Some(value),
            _ => None,
        })
    }

    /// True if `id` is there.
    pub fn contains(self, id: PropertyId) -> bool {
        self.raw().any(|(found, _)| found == id)
    }

    fn first(self, id: PropertyId) -> Option<Value<'a>> {
        let (_, raw) = self.raw().find(|(found, _)| *found == id)?;
        read_value(&mut Reader::new(raw), id.kind()).ok()
    }

    /// Each property with the bytes of its value: a walk that looks at lengths only.
    pub(super) fn raw(self) -> Raw<'a> {
        Raw { rest: self.0 }
    }
}

impl fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// See [`Properties::raw`].
pub(super) struct Raw<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Raw<'a> {
    type Item = (PropertyId, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (&number, values) = self.rest.split_first()?;
        let id = PropertyId::from_u8(number)?;
        let mut reader = Reader::new(values);
        skip_value(&mut reader, id.kind()).ok()?;
        self.rest = reader.rest();
        Some((id, &values[..values.len() - self.rest.len()]))
    }
}

fn read_value<'a>(reader: &mut Reader<'a>, kind: PropertyKind) -> Result<Value<'a>, Error> {
    Ok(match kind {
        PropertyKind::Byte => Value::Byte(reader.byte()?),
        PropertyKind::U16 => Value::U16(reader.u16()?),
        PropertyKind::U32 => Value::U32(reader.u32()?),
        PropertyKind::VarInt => Value::VarInt(reader.varint()?),
        PropertyKind::Utf8 => Value::Utf8(reader.utf8()?),
        PropertyKind::Binary => Value::Binary(reader.binary()?),
        PropertyKind::Pair => Value::Pair(reader.utf8()?, reader.utf8()?),
    })
}

#[inline]
fn skip_value(reader: &mut Reader<'_>, kind: PropertyKind) -> Result<(), Error> {
    match kind {
        PropertyKind::Byte => reader.take(1).map(drop),
        PropertyKind::U16 => reader.take(2).map(drop),
        PropertyKind::U32 => reader.take(4).map(drop),
        PropertyKind::VarInt => reader.varint().map(drop),
        PropertyKind::Utf8 | PropertyKind::Binary => reader.binary().map(drop),
        PropertyKind::Pair => {
            reader.binary()?;
            reader.binary().map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::PropertyList;

    const PLACES: [Place; 14] = [
        Place::Connect,
        Place::Will,
        Place::ConnAck,
        Place::Publish,
        Place::PubAck,
        Place::PubRec,
        Place::PubRel,
        Place::PubComp,
        Place::Subscribe,
        Place::SubAck,
        Place::Unsubscribe,
        Place::UnsubAck,
        Place::Disconnect,
        Place::Auth,
    ];

    /// A legal value for each property.
    fn sample(id: PropertyId) -> Value<'static> {
        match id.kind() {
            PropertyKind::Byte => Value::Byte(1),
            PropertyKind::U16 => Value::U16(0x102),
            PropertyKind::U32 => Value::U32(0x1020304),
            PropertyKind::VarInt => Value::VarInt(300),
            PropertyKind::Utf8 => Value::Utf8("text"),
            PropertyKind::Binary => Value::Binary(&[0, 0xff]),
            PropertyKind::Pair => Value::Pair("", "value"),
        }
    }

    #[test]
    fn every_place_has_as_many_properties_as_the_standard_lists() {
        // Counted in §3.1.2.11 to §3.15.2.2, user property included.
        let expected = [9, 7, 17, 8, 2, 2, 2, 2, 2, 2, 1, 2, 4, 4];
        for (place, expected) in PLACES.into_iter().zip(expected) {
            let count = PropertyId::ALL.iter().filter(|id| id.allowed_in(place)).count();
            assert_eq!(count, expected, "{place:?}");
        }
    }

    #[test]
    fn a_property_is_read_where_it_belongs_once_and_whole() {
        for id in PropertyId::ALL {
            assert_eq!(PropertyId::from_u8(id as u8), Some(id));
            let mut list = PropertyList::new();
            list.add(id, sample(id)).expect("legal");
            let bytes = list.as_properties().as_bytes();
            for place in PLACES {
                if !id.allowed_in(place) {
                    let misplaced = Err(Error::Protocol("property does not belong here"));
                    assert_eq!(Properties::parse(place, bytes), misplaced);
                    continue;
                }
                let block = Properties::parse(place, bytes).expect("legal");
                assert_eq!(block.iter().collect::<Vec<_>>(), [(id, sample(id))]);
                let twice = [bytes, bytes].concat();
                let repeated = Properties::parse(place, &twice);
                if id.may_repeat(place) {
                    assert_eq!(repeated.expect("legal").iter().count(), 2);
                } else {
                    assert_eq!(repeated, Err(Error::Protocol("property given twice")));
                }
                for end in 1..bytes.len() {
                    assert!(matches!(Properties::parse(place, &bytes[..end]), Err(Error::Malformed(_))));
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_no_property_are_malformed() {
        let known: Vec<u8> = PropertyId::ALL.iter().map(|id| *id as u8).collect();
        for number in (0..=255).filter(|number| !known.contains(number)) {
            let bytes = [number, 0, 0, 0, 0];
            let result = Properties::parse(Place::ConnAck, &bytes);
            assert_eq!(result, Err(Error::Malformed("unknown property")), "{number}");
        }
    }

    #[test]
    fn a_block_answers_by_type() {
        let mut list = PropertyList::new();
        for id in PropertyId::ALL {
            list.push(id, sample(id));
        }
        let block = list.as_properties();
        assert_eq!(block.byte(PropertyId::MaximumQos), Some(1));
        assert_eq!(block.u16(PropertyId::TopicAlias), Some(0x102));
        assert_eq!(block.u32(PropertyId::MaximumPacketSize), Some(0x1020304));
        assert_eq!(block.u32(PropertyId::SubscriptionIdentifier), Some(300));
        assert_eq!(block.utf8(PropertyId::ReasonString), Some("text"));
        assert_eq!(block.binary(PropertyId::CorrelationData), Some(&[0, 0xff][..]));
        assert_eq!(block.user().collect::<Vec<_>>(), [("", "value")]);
        assert_eq!(block.subscription_ids().collect::<Vec<_>>(), [300]);
        assert_eq!(block.byte(PropertyId::TopicAlias), None);
        assert_eq!(Properties::EMPTY.u16(PropertyId::TopicAlias), None);
        assert!(Properties::default().is_empty() && !block.is_empty());
    }
}
