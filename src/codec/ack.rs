//! PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7): one form.

use super::primitive::{Reader, put_packet, put_properties, put_u16};
use super::{Error, PacketId, PacketType, Place, Properties, Reason, Version};

/// One step of the handshake of a QoS 1 or 2 message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack<'a> {
    /// Of the message.
    pub packet_id: PacketId,
    /// Always success in 3.x.
    pub reason: Reason,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

fn place(packet_type: PacketType) -> Place {
    match packet_type {
        PacketType::PubAck => Place::PubAck,
        PacketType::PubRec => Place::PubRec,
        PacketType::PubRel => Place::PubRel,
        _ => Place::PubComp,
    }
}

#[inline]
pub(super) fn decode(packet_type: PacketType, version: Version, body: &[u8]) -> Result<Ack<'_>, Error> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let (mut reason, mut properties) = (Reason::SUCCESS, Properties::EMPTY);
    // Both may be left out, the properties first (§3.4.2.1, §3.4.2.2.1).
    if version.has_properties() && !reader.is_empty() {
        reason = Reason(reader.byte()?);
        if !reason.is_valid_for(packet_type) {
            return Err(Error::Protocol("reason code"));
        }
        if !reader.is_empty() {
            properties = reader.properties(place(packet_type))?;
        }
    }
    reader.finish()?;
    Ok(Ack { packet_id, reason, properties })
}

impl Ack<'_> {
    /// Appends the packet as one of the four types, in the shortest form.
    #[inline]
    pub fn encode(&self, packet_type: PacketType, version: Version, out: &mut Vec<u8>) {
        debug_assert!(matches!(packet_type, PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp));
        let [high, low] = self.packet_id.get().to_be_bytes();
        if !version.has_properties() || (self.reason == Reason::SUCCESS && self.properties.is_empty()) {
            out.extend_from_slice(&[packet_type.first(), 2, high, low]);
            return;
        }
        put_packet(out, packet_type.first(), |out| {
            put_u16(out, self.packet_id.get());
            out.push(self.reason.0);
            if !self.properties.is_empty() {
                put_properties(out, self.properties);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, Packet, Sender, decode};

    fn read(version: Version, first: u8, body: &[u8]) -> Result<Reason, Error> {
        match decode(version, Sender::Client, Frame { first, body })? {
            Packet::PubAck(packet) | Packet::PubRec(packet) | Packet::PubRel(packet) | Packet::PubComp(packet) => Ok(packet.reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reason_and_properties_may_be_left_out_in_5() {
        assert_eq!(read(Version::V5, 0x40, &[0, 1]), Ok(Reason::SUCCESS));
        assert_eq!(read(Version::V5, 0x40, &[0, 1, 0x10]), Ok(Reason::NO_MATCHING_SUBSCRIBERS));
        assert_eq!(read(Version::V5, 0x50, &[0, 1, 0x97, 0]), Ok(Reason::QUOTA_EXCEEDED));
        assert_eq!(read(Version::V5, 0x50, &[0, 1, 0x97, 4, 0x1f, 0, 1, b'x']), Ok(Reason::QUOTA_EXCEEDED));
    }

    #[test]
    fn faults_of_acknowledgements_are_told_apart() {
        let behind = Err(Error::Malformed("bytes behind the last field"));
        assert_eq!(read(Version::V311, 0x40, &[0, 1, 0]), behind);
        assert_eq!(read(Version::V5, 0x40, &[0, 1, 0, 0, 0]), behind);
        assert_eq!(read(Version::V5, 0x40, &[0]), Err(Error::Malformed("packet ends inside a field")));
        assert_eq!(read(Version::V5, 0x40, &[0, 0]), Err(Error::Protocol("packet identifier 0")));
        assert_eq!(read(Version::V5, 0x62, &[0, 1, 0x10]), Err(Error::Protocol("reason code")));
        assert_eq!(read(Version::V5, 0x70, &[0, 1, 0x92]), Ok(Reason::PACKET_IDENTIFIER_NOT_FOUND));
        let misplaced = Err(Error::Protocol("property does not belong here"));
        assert_eq!(read(Version::V5, 0x40, &[0, 1, 0, 2, 0x01, 0]), misplaced);
    }

    #[test]
    fn only_3_1_may_send_pubrel_with_dup() {
        assert_eq!(read(Version::V31, 0x6a, &[0, 1]), Ok(Reason::SUCCESS));
        for version in [Version::V311, Version::V5] {
            assert_eq!(read(version, 0x6a, &[0, 1]), Err(Error::Malformed("fixed header flags")));
        }
    }

    #[test]
    fn the_shortest_form_is_written() {
        let packet_id = PacketId::new(0x1234).expect("not 0");
        let ack = Ack { packet_id, reason: Reason::SUCCESS, properties: Properties::EMPTY };
        let refusal = Ack { reason: Reason::NOT_AUTHORIZED, ..ack };
        let write = |ack: Ack<'_>, packet_type, version| {
            let mut out = Vec::new();
            ack.encode(packet_type, version, &mut out);
            out
        };
        assert_eq!(write(ack, PacketType::PubRel, Version::V5), [0x62, 2, 0x12, 0x34]);
        assert_eq!(write(refusal, PacketType::PubRec, Version::V5), [0x50, 3, 0x12, 0x34, 0x87]);
        assert_eq!(write(refusal, PacketType::PubAck, Version::V311), [0x40, 2, 0x12, 0x34]);
    }
}
