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
        self.qos as u8 | (u8::from(self.no_local) * NO_LOCAL) | (u8::from(self.retain_as_published) * RETAIN_AS_PUBLISHED) | (self.retain_handling as u8) << 4
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
        // 3.1 calls the upper bits unused, but a later walk would take them for options.
        if byte > 2 && !version.has_properties() {
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
    pub fn encode_from<'f, F>(version: Version, packet_id: PacketId, properties: Properties<'_>, filters: F, out: &mut Vec<u8>)
    where
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, Packet, Sender, split};

    fn read(version: Version, body: &[u8]) -> Result<Packet<'_>, Error> {
        crate::codec::decode(version, Sender::Client, Frame { first: 0x82, body })
    }

    #[test]
    fn the_example_of_the_standard_reads_and_writes() {
        // §3.8.3.1, figure 3-22, with packet identifier 10.
        let bytes = [0x82, 15, 0, 10, 0, 0, 3, b'a', b'/', b'b', 1, 0, 3, b'c', b'/', b'd', 2];
        let (frame, _) = split(&bytes, 100).expect("legal").expect("whole");
        let Ok(Packet::Subscribe(packet)) = crate::codec::decode(Version::V5, Sender::Client, frame) else {
            panic!("not a SUBSCRIBE");
        };
        let options = |qos| SubscribeOptions { qos, ..Default::default() };
        let filters = [("a/b", options(Qos::AtLeastOnce)), ("c/d", options(Qos::ExactlyOnce))];
        assert_eq!(packet.filters.iter().collect::<Vec<_>>(), filters);
        assert_eq!((packet.filters.len(), packet.filters.is_empty()), (2, false));
        let (mut from_slice, mut from_packet) = (Vec::new(), Vec::new());
        Subscribe::encode_from(Version::V5, packet.packet_id, packet.properties, &filters, &mut from_slice);
        packet.encode(Version::V5, &mut from_packet);
        assert_eq!((&from_slice[..], &from_packet[..]), (&bytes[..], &bytes[..]));
    }

    #[test]
    fn faults_of_subscribe_are_told_apart() {
        let protocol = |what| Err(Error::Protocol(what));
        let malformed = |what| Err(Error::Malformed(what));
        let table: [(Version, &[u8], Result<(), Error>); 16] = [
            (Version::V5, &[0, 1, 0], protocol("SUBSCRIBE without a filter")),
            (Version::V311, &[0, 1], protocol("SUBSCRIBE without a filter")),
            (Version::V311, &[0, 0, 0, 1, b'a', 0], protocol("packet identifier 0")),
            (Version::V311, &[0, 1, 0, 1, b'a'], malformed("packet ends inside a field")),
            (Version::V311, &[0, 1, 0, 2, b'a'], malformed("packet ends inside a field")),
            (Version::V311, &[0, 1, 0, 0, 0], malformed("empty topic filter")),
            (Version::V311, &[0, 1, 0, 1, b'a', 3], malformed("requested QoS")),
            (Version::V311, &[0, 1, 0, 1, b'a', 4], malformed("requested QoS")),
            (Version::V31, &[0, 1, 0, 1, b'a', 0x80], malformed("requested QoS")),
            (Version::V311, &[0, 1, 0, 1, 0, 0], malformed("U+0000 in a string")),
            (Version::V5, &[0, 1, 0, 0, 1, b'a', 3], protocol("QoS 3 in a subscription")),
            (Version::V5, &[0, 1, 0, 0, 1, b'a', 0x30], protocol("Retain Handling 3")),
            (Version::V5, &[0, 1, 0, 0, 1, b'a', 0x40], malformed("reserved subscription options")),
            (Version::V5, &[0, 1, 0, 0, 10, b'$', b's', b'h', b'a', b'r', b'e', b'/', b'g', b'/', b'a', 4], protocol("No Local on a shared subscription")),
            (Version::V5, &[0, 1, 2, 0x0b, 0, 0, 1, b'a', 0], protocol("Subscription Identifier 0")),
            (Version::V5, &[0, 1, 4, 0x0b, 1, 0x0b, 2, 0, 1, b'a', 0], protocol("property given twice")),
        ];
        for (version, body, expected) in table {
            assert_eq!(read(version, body).map(|_| ()), expected, "{version:?} {body:x?}");
        }
    }

    #[test]
    fn options_are_bits_in_5_and_only_a_qos_in_3() {
        let mut legal = 0;
        for byte in 0..=255 {
            if let Ok(options) = SubscribeOptions::from_byte(byte) {
                assert_eq!(options.to_byte(Version::V5), byte);
                assert_eq!(options.to_byte(Version::V311), byte & 3);
                legal += 1;
            }
        }
        assert_eq!(legal, 3 * 2 * 2 * 3);
    }

    #[test]
    fn suback_has_a_reason_of_its_version() {
        let read = |version, body: &[u8]| {
            let frame = Frame { first: 0x90, body };
            crate::codec::decode(version, Sender::Server, frame).map(|_| ())
        };
        assert_eq!(read(Version::V311, &[0, 1, 0, 1, 2, 0x80]), Ok(()));
        assert_eq!(read(Version::V311, &[0, 1, 0x87]), Err(Error::Protocol("reason code")));
        assert_eq!(read(Version::V5, &[0, 1, 0, 0x87, 0xa2]), Ok(()));
        assert_eq!(read(Version::V5, &[0, 1, 0, 3]), Err(Error::Protocol("reason code")));
        assert_eq!(read(Version::V5, &[0, 1, 0]), Err(Error::Malformed("SUBACK without a reason")));
        let mut out = Vec::new();
        let reasons = [1, 0x87, 0xa2];
        let packet = SubAck { packet_id: PacketId::MIN, properties: Properties::EMPTY, reasons: &reasons };
        packet.encode(Version::V311, &mut out);
        assert_eq!(out, [0x90, 5, 0, 1, 1, 0x80, 0x80]);
    }
}
