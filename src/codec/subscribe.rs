//! SUBSCRIBE and SUBACK (§3.8, §3.9).

use core::borrow::Borrow;

use super::primitive::{Reader, put_binary, put_packet, put_properties, put_u16};
use super::{Error, PacketId, PacketType, Place, Properties, Qos, Reason, Version};

/// What a client wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribe<'a> {
    /// To be answered with.
    pub packet_id: PacketId,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// One or more.
    pub filters: SubscribeFilters<'a>,
}

/// The filters of a SUBSCRIBE with their options. They are strings of at least one byte; their
/// syntax is not checked here, because the broker answers for each filter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SubscribeFilters<'a> {
    /// Walked once by `decode`, so that a walk cannot fail.
    bytes: &'a [u8],
    count: usize,
}

/// §3.8.3.1; in 3.x only `qos`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SubscribeOptions {
    /// The highest QoS to deliver with.
    pub qos: Qos,
    /// Not what this client publishes itself.
    pub no_local: bool,
    /// Keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// What of the retained messages to send now.
    pub retain_handling: RetainHandling,
}

/// When to send retained messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum RetainHandling {
    #[default]
    SendAtSubscribe = 0,
    SendIfNew = 1,
    DoNotSend = 2,
}

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RESERVED: u8 = 0b1100_0000;

impl SubscribeOptions {
    /// The byte behind the filter.
    pub fn to_byte(self, version: Version) -> u8 {
        if !version.has_properties() {
            return self.qos as u8;
        }
        self.qos as u8
            | u8::from(self.no_local) * NO_LOCAL
            | u8::from(self.retain_as_published) * RETAIN_AS_PUBLISHED
            | (self.retain_handling as u8) << 4
    }

    /// Options of a byte in the form of MQTT 5, of which those of 3.x are a part.
    pub fn from_byte(byte: u8) -> Result<Self, Error> {
        if byte & RESERVED != 0 {
            return Err(Error::Malformed("reserved subscription options"));
        }
        let qos = Qos::try_from(byte & 3).map_err(|_| Error::Protocol("QoS 3 in a subscription"))?;
        let retain_handling = match (byte >> 4) & 3 {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Error::Protocol("Retain Handling 3")),
        };
        let (no_local, retain_as_published) = (byte & NO_LOCAL != 0, byte & RETAIN_AS_PUBLISHED != 0);
        Ok(Self { qos, no_local, retain_as_published, retain_handling })
    }
}

fn read_filter<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, SubscribeOptions), Error> {
    Ok((reader.topic_filter()?, SubscribeOptions::from_byte(reader.byte()?)?))
}

impl<'a> SubscribeFilters<'a> {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, SubscribeOptions)> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| read_filter(&mut reader).ok())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never true of a decoded packet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl core::fmt::Debug for SubscribeFilters<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

pub(super) fn decode(version: Version, body: &[u8]) -> Result<Subscribe<'_>, Error> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => reader.properties(Place::Subscribe)?,
        _ => Properties::EMPTY,
    };
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Error::Protocol("SUBSCRIBE without a filter"));
    }
    let mut count = 0;
    while !reader.is_empty() {
        let filter = reader.topic_filter()?;
        let byte = reader.byte()?;
        if byte > 2 && version == Version::V311 {
            return Err(Error::Malformed("requested QoS"));
        }
        // 3.1 calls the upper bits unused, but they would be options to a later walk.
        if byte > 2 && version == Version::V31 {
            return Err(Error::Malformed("requested QoS"));
        }
        let options = SubscribeOptions::from_byte(byte)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.starts_with("$share/") {
            return Err(Error::Protocol("No Local on a shared subscription"));
        }
        count += 1;
    }
    Ok(Subscribe { packet_id, properties, filters: SubscribeFilters { bytes, count } })
}

impl Subscribe<'_> {
    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Self::encode_from(version, self.packet_id, self.properties, self.filters.iter(), out);
    }

    /// Appends a packet of filters from anywhere: a slice of pairs or an iterator of pairs, not
    /// empty.
    pub fn encode_from<'f, F>(
        version: Version,
        packet_id: PacketId,
        properties: Properties<'_>,
        filters: F,
        out: &mut Vec<u8>,
    ) where
        F: IntoIterator,
        F::Item: Borrow<(&'f str, SubscribeOptions)>,
    {
        put_packet(out, PacketType::Subscribe.first(), |out| {
            put_u16(out, packet_id.get());
            if version.has_properties() {
                put_properties(out, properties);
            }
            for item in filters {
                let (filter, options) = item.borrow();
                put_binary(out, filter.as_bytes());
                out.push(options.to_byte(version));
            }
        });
    }
}

/// The answer to SUBSCRIBE: a reason per filter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubAck<'a> {
    /// Of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// [`Reason`] codes: the QoS granted, or an error (in 3.x always 0x80).
    pub reasons: &'a [u8],
}

pub(super) fn decode_ack(version: Version, body: &[u8]) -> Result<SubAck<'_>, Error> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => reader.properties(Place::SubAck)?,
        _ => Properties::EMPTY,
    };
    let reasons = reader.rest();
    let is_valid = |&code: &u8| match version {
        Version::V5 => Reason(code).is_valid_for(PacketType::SubAck),
        _ => matches!(code, 0..=2 | 0x80),
    };
    if reasons.is_empty() {
        return Err(Error::Malformed("SUBACK without a reason"));
    }
    if !reasons.iter().all(is_valid) {
        return Err(Error::Protocol("reason code"));
    }
    Ok(SubAck { packet_id, properties, reasons })
}

impl SubAck<'_> {
    /// Appends the packet; in 3.x every error is 0x80.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::SubAck.first(), |out| {
            put_u16(out, self.packet_id.get());
            if version.has_properties() {
                put_properties(out, self.properties);
                out.extend_from_slice(self.reasons);
            } else {
                out.extend(self.reasons.iter().map(|&code| code.min(Reason::UNSPECIFIED_ERROR.0)));
            }
        });
    }
}
