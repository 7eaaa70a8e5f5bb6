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
        debug_assert!(matches!(
            packet_type,
            PacketType::PubAck | PacketType::PubRec | PacketType::PubRel | PacketType::PubComp
        ));
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
