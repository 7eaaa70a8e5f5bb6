//! MQTT bytes: one codec for 3.1, 3.1.1 and 5.0, the version an argument.
//!
//! ```text
//!   input bytes --frame::split--> Frame (fixed header checked, size limit applied)
//!               --decode--------> Packet<'a>, borrowed from the frame; what exists is legal
//!   Packet<'a>  --encode--------> appended to the caller's vector
//! ```
//! Nothing is allocated on the way in. A packet that breaks the standard is an [`Error`] that
//! knows its MQTT 5 reason code (§4.13).
//!
//! Encoding trusts its caller: a packet made by hand with a string of more than 65,535 bytes or
//! of more than 256 MiB in all panics, and property blocks must belong into their packet
//! ([`PropertyList::validate`]).
//!
//! Where the versions differ, 3.1 is read as its text has it: unused bits of CONNECT and CONNACK
//! are ignored, SUBSCRIBE, UNSUBSCRIBE and PUBREL may carry DUP, and a user name or password that
//! the flags announce may be missing at the end of CONNECT.

mod ack;
mod connack;
mod connect;
mod control;
mod delivery;
mod error;
mod frame;
mod message;
mod primitive;
mod property;
mod property_list;
mod publish;
mod reason;
mod subscribe;
mod unsubscribe;

pub use ack::Ack;
pub use connack::ConnAck;
pub use connect::{Connect, Will, peek_version};
pub use control::{Auth, Disconnect};
pub(crate) use delivery::COPY_BYTES_MAX;
pub use delivery::{Content, Delivery, FanOut, delivery_len, encode_content, encode_delivery};
pub use error::Error;
pub(crate) use frame::PACKET_BYTES_MAX;
pub use frame::{Frame, packet_len, split};
pub use message::Message;
pub(crate) use message::PAYLOAD_BYTES_MAX;
pub use property::{Place, Properties, PropertyId, PropertyKind, Value};
pub use property_list::{PropertyError, PropertyList};
pub use publish::{Publish, decode_apart};
pub use reason::Reason;
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeFilters, SubscribeOptions};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeFilters};

/// The protocol versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Version {
    /// MQTT 3.1 (2010).
    V31 = 3,
    /// MQTT 3.1.1.
    V311 = 4,
    /// MQTT 5.0.
    V5 = 5,
}

impl Version {
    /// True if packets have property blocks.
    pub const fn has_properties(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The protocol level in CONNECT (§3.1.2.2).
    pub const fn level(self) -> u8 {
        self as u8
    }
}

/// Quality of service (§4.3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Qos {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl TryFrom<u8> for Qos {
    type Error = Error;

    #[inline]
    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::AtMostOnce),
            1 => Ok(Self::AtLeastOnce),
            2 => Ok(Self::ExactlyOnce),
            _ => Err(Error::Malformed("QoS 3")),
        }
    }
}

/// A packet identifier (§2.2.1).
pub type PacketId = core::num::NonZeroU16;

/// Who sent the packet that is decoded: decides which packet types and fields are legal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Sender {
    Client,
    Server,
}

/// The packet types (§2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type in the first byte of a packet; type 0 is forbidden.
    #[inline]
    pub const fn of(first: u8) -> Option<Self> {
        Some(match first >> 4 {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The first byte of such a packet; PUBLISH has its own flags besides.
    const fn first(self) -> u8 {
        let flags = matches!(self, Self::PubRel | Self::Subscribe | Self::Unsubscribe) as u8 * 0b0010;
        (self as u8) << 4 | flags
    }

    /// Table 2-1, "direction of flow".
    const fn is_sent_by(self, sender: Sender, version: Version) -> bool {
        match self {
            Self::Connect | Self::Subscribe | Self::Unsubscribe | Self::PingReq => {
                matches!(sender, Sender::Client)
            }
            Self::ConnAck | Self::SubAck | Self::UnsubAck | Self::PingResp => {
                matches!(sender, Sender::Server)
            }
            Self::Disconnect => matches!(sender, Sender::Client) || version.has_properties(),
            _ => true,
        }
    }
}

/// A packet, borrowed from the bytes it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(UnsubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl Packet<'_> {
    /// Its type.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }

    /// Appends the packet as `version` has it (CONNECT: as its own version has it).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(version, out),
            Self::ConnAck(packet) => packet.encode(version, out),
            Self::Publish(packet) => packet.encode(version, out),
            Self::PubAck(packet) | Self::PubRec(packet) | Self::PubRel(packet) | Self::PubComp(packet) => {
                packet.encode(self.packet_type(), version, out);
            }
            Self::Subscribe(packet) => packet.encode(version, out),
            Self::SubAck(packet) => packet.encode(version, out),
            Self::Unsubscribe(packet) => packet.encode(version, out),
            Self::UnsubAck(packet) => packet.encode(version, out),
            Self::PingReq | Self::PingResp => out.extend_from_slice(&[self.packet_type().first(), 0]),
            Self::Disconnect(packet) => packet.encode(version, out),
            Self::Auth(packet) => packet.encode(version, out),
        }
    }
}

/// Makes a packet of a frame. `version` is ignored for CONNECT (it carries its own).
#[inline]
pub fn decode<'a>(version: Version, sender: Sender, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
    // The hot one first, without the detour over the type.
    if frame.first >> 4 == PacketType::Publish as u8 {
        return Ok(Packet::Publish(publish::decode(version, sender, frame)?));
    }
    decode_other(version, sender, frame)
}

fn decode_other<'a>(version: Version, sender: Sender, frame: Frame<'a>) -> Result<Packet<'a>, Error> {
    frame::check_first(frame.first)?;
    let packet_type = PacketType::of(frame.first).ok_or(Error::Malformed("packet type 0"))?;
    if packet_type == PacketType::Auth && !version.has_properties() {
        return Err(Error::Malformed("packet type 15 before MQTT 5"));
    }
    if !packet_type.is_sent_by(sender, version) {
        return Err(Error::Protocol("packet type is not for this direction"));
    }
    // `split` lets DUP pass where 3.1 has it.
    if frame.first & 0b1000 != 0 && version != Version::V31 {
        return Err(Error::Malformed("fixed header flags"));
    }
    let body = frame.body;
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(connect::decode(body)?),
        PacketType::ConnAck => Packet::ConnAck(connack::decode(version, body)?),
        PacketType::Publish => Packet::Publish(publish::decode(version, sender, frame)?),
        PacketType::PubAck => Packet::PubAck(ack::decode(packet_type, version, body)?),
        PacketType::PubRec => Packet::PubRec(ack::decode(packet_type, version, body)?),
        PacketType::PubRel => Packet::PubRel(ack::decode(packet_type, version, body)?),
        PacketType::PubComp => Packet::PubComp(ack::decode(packet_type, version, body)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode(version, body)?),
        PacketType::SubAck => Packet::SubAck(subscribe::decode_ack(version, body)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode(version, body)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsubscribe::decode_ack(version, body)?),
        PacketType::PingReq | PacketType::PingResp if !body.is_empty() => {
            return Err(Error::Malformed("ping with a body"));
        }
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(control::decode_disconnect(version, sender, body)?),
        PacketType::Auth => Packet::Auth(control::decode_auth(body)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_only_from_the_side_that_may_send_them() {
        let misdirected = Err(Error::Protocol("packet type is not for this direction"));
        let read = |version, sender, first| decode(version, sender, Frame { first, body: &[] }).map(|_| ());
        for first in [0x10, 0x82, 0xa2, 0xc0] {
            assert_eq!(read(Version::V5, Sender::Server, first), misdirected, "{first:x}");
            assert_ne!(read(Version::V5, Sender::Client, first), misdirected, "{first:x}");
        }
        for first in [0x20, 0x90, 0xb0, 0xd0] {
            assert_eq!(read(Version::V5, Sender::Client, first), misdirected, "{first:x}");
            assert_ne!(read(Version::V5, Sender::Server, first), misdirected, "{first:x}");
        }
    }

    #[test]
    fn pings_are_empty() {
        let read = |sender, first, body| decode(Version::V311, sender, Frame { first, body });
        assert_eq!(read(Sender::Client, 0xc0, &[]), Ok(Packet::PingReq));
        assert_eq!(read(Sender::Server, 0xd0, &[]), Ok(Packet::PingResp));
        assert_eq!(read(Sender::Client, 0xc0, &[0]), Err(Error::Malformed("ping with a body")));
        let mut out = Vec::new();
        Packet::PingReq.encode(Version::V5, &mut out);
        Packet::PingResp.encode(Version::V31, &mut out);
        assert_eq!(out, [0xc0, 0, 0xd0, 0]);
    }

    #[test]
    fn a_frame_made_by_hand_is_checked_like_one_from_split() {
        for first in 0..=255 {
            let result = decode(Version::V5, Sender::Client, Frame { first, body: &[0, 1, b'a', 0, 1, 0] });
            if split(&[first], 10).is_err() {
                assert!(matches!(result, Err(Error::Malformed(_))), "{first:x}");
            }
        }
    }

    #[test]
    fn only_3_1_may_send_subscribe_and_unsubscribe_with_dup() {
        for first in [0x8a, 0xaa] {
            let body = if first == 0x8a { &[0, 1, 0, 1, b'a', 0][..] } else { &[0, 1, 0, 1, b'a'] };
            assert!(decode(Version::V31, Sender::Client, Frame { first, body }).is_ok());
            let refused = decode(Version::V311, Sender::Client, Frame { first, body });
            assert_eq!(refused, Err(Error::Malformed("fixed header flags")));
        }
    }
}
