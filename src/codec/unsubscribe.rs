//! UNSUBSCRIBE and UNSUBACK (§3.10, §3.11).

use super::primitive::{Reader, put_binary, put_packet, put_properties, put_u16};
use super::{Error, PacketId, PacketType, Place, Properties, Reason, Version};

/// What a client no longer wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribe<'a> {
    /// To be answered with.
    pub packet_id: PacketId,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// One or more.
    pub filters: UnsubscribeFilters<'a>,
}

/// The filters of an UNSUBSCRIBE: strings of at least one byte, syntax not checked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct UnsubscribeFilters<'a> {
    /// Walked once by `decode`, so that a walk cannot fail.
    bytes: &'a [u8],
    count: usize,
}

impl<'a> UnsubscribeFilters<'a> {
    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        let mut reader = Reader::new(self.bytes);
        (0..self.count).map_while(move |_| reader.topic_filter().ok())
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

impl core::fmt::Debug for UnsubscribeFilters<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

pub(super) fn decode(version: Version, body: &[u8]) -> Result<Unsubscribe<'_>, Error> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let properties = match version {
        Version::V5 => reader.properties(Place::Unsubscribe)?,
        _ => Properties::EMPTY,
    };
    let bytes = reader.rest();
    if bytes.is_empty() {
        return Err(Error::Protocol("UNSUBSCRIBE without a filter"));
    }
    let mut count = 0;
    while !reader.is_empty() {
        reader.topic_filter()?;
        count += 1;
    }
    Ok(Unsubscribe { packet_id, properties, filters: UnsubscribeFilters { bytes, count } })
}

impl Unsubscribe<'_> {
    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        Self::encode_from(version, self.packet_id, self.properties, self.filters.iter(), out);
    }

    /// Appends a packet of filters from anywhere: a slice or an iterator of strings, not empty.
    pub fn encode_from<F>(version: Version, packet_id: PacketId, properties: Properties<'_>, filters: F, out: &mut Vec<u8>)
    where
        F: IntoIterator,
        F::Item: AsRef<str>,
    {
        put_packet(out, PacketType::Unsubscribe.first(), |out| {
            put_u16(out, packet_id.get());
            if version.has_properties() {
                put_properties(out, properties);
            }
            for filter in filters {
                put_binary(out, filter.as_ref().as_bytes());
            }
        });
    }
}

/// The answer to UNSUBSCRIBE: a reason per filter, none in 3.x.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnsubAck<'a> {
    /// Of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// [`Reason`] codes; empty in 3.x.
    pub reasons: &'a [u8],
}

pub(super) fn decode_ack(version: Version, body: &[u8]) -> Result<UnsubAck<'_>, Error> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if !version.has_properties() {
        reader.finish()?;
        return Ok(UnsubAck { packet_id, properties: Properties::EMPTY, reasons: &[] });
    }
    let properties = reader.properties(Place::UnsubAck)?;
    let reasons = reader.rest();
    if reasons.is_empty() {
        return Err(Error::Malformed("UNSUBACK without a reason"));
    }
    if !reasons.iter().all(|&code| Reason(code).is_valid_for(PacketType::UnsubAck)) {
        return Err(Error::Protocol("reason code"));
    }
    Ok(UnsubAck { packet_id, properties, reasons })
}

impl UnsubAck<'_> {
    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::UnsubAck.first(), |out| {
            put_u16(out, self.packet_id.get());
            if version.has_properties() {
                put_properties(out, self.properties);
                out.extend_from_slice(self.reasons);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, Packet, Sender};

    #[test]
    fn the_example_of_the_standard_reads_and_writes() {
        // §3.10.3, figure 3-32.
        let body = [0, 10, 0, 3, b'a', b'/', b'b', 0, 3, b'c', b'/', b'd'];
        let frame = Frame { first: 0xa2, body: &body };
        let Ok(Packet::Unsubscribe(packet)) = crate::codec::decode(Version::V311, Sender::Client, frame) else {
            panic!("not an UNSUBSCRIBE");
        };
        assert_eq!(packet.filters.iter().collect::<Vec<_>>(), ["a/b", "c/d"]);
        assert_eq!((packet.filters.len(), packet.filters.is_empty()), (2, false));
        let mut out = Vec::new();
        Unsubscribe::encode_from(Version::V311, packet.packet_id, packet.properties, ["a/b", "c/d"], &mut out);
        assert_eq!(out[2..], body);
    }

    #[test]
    fn faults_of_unsubscribe_are_told_apart() {
        let read = |version, body: &[u8]| crate::codec::decode(version, Sender::Client, Frame { first: 0xa2, body }).map(|_| ());
        assert_eq!(read(Version::V5, &[0, 1, 0]), Err(Error::Protocol("UNSUBSCRIBE without a filter")));
        assert_eq!(read(Version::V5, &[0, 1, 0, 0, 0]), Err(Error::Malformed("empty topic filter")));
        let misplaced = Err(Error::Protocol("property does not belong here"));
        assert_eq!(read(Version::V5, &[0, 1, 2, 0x0b, 1, 0, 1, b'a']), misplaced);
        assert_eq!(read(Version::V311, &[0, 0, 0, 1, b'a']), Err(Error::Protocol("packet identifier 0")));
        assert_eq!(read(Version::V311, &[0, 1, 0, 1, 0xff]), Err(Error::Malformed("string is not UTF-8")));
    }

    #[test]
    fn unsuback_has_reasons_only_in_5() {
        let read = |version, body: &'static [u8]| decode_ack(version, body).map(|packet| packet.reasons);
        assert_eq!(read(Version::V311, &[0, 1]), Ok(&[][..]));
        assert_eq!(read(Version::V311, &[0, 1, 0]), Err(Error::Malformed("bytes behind the last field")));
        assert_eq!(read(Version::V5, &[0, 1, 0, 0, 0x11]), Ok(&[0, 0x11][..]));
        assert_eq!(read(Version::V5, &[0, 1, 0]), Err(Error::Malformed("UNSUBACK without a reason")));
        assert_eq!(read(Version::V5, &[0, 1, 0, 1]), Err(Error::Protocol("reason code")));
        let packet = UnsubAck { packet_id: PacketId::MIN, properties: Properties::EMPTY, reasons: &[0x11] };
        let mut out = Vec::new();
        packet.encode(Version::V31, &mut out);
        assert_eq!(out, [0xb0, 2, 0, 1]);
    }
}
