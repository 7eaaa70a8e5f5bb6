//! What a peer can do wrong on the level of bytes, and the reason code that says so (§4.13).

use core::fmt;

use super::Reason;

/// A fault of the peer. Nothing was changed by the packet; the connection must be closed
/// (§4.13.1), in MQTT 5 after a CONNACK or DISCONNECT with [`Error::reason`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Bytes that cannot be parsed according to the standard (0x81). Says what was being read.
    Malformed(&'static str),
    /// A well-formed packet that the standard forbids here (0x82). Says what is forbidden.
    Protocol(&'static str),
    /// The fixed header announces more than the receiver's Maximum Packet Size (0x95).
    PacketTooLarge,
    /// CONNECT of a protocol level that is not 3, 4 or 5 (0x84; return code 1 in 3.x). The level.
    UnsupportedVersion(u8),
    /// A topic name that is empty or has a wildcard, in PUBLISH or in a will (0x90).
    TopicNameInvalid,
    /// Topic alias 0 (0x94, §3.3.2.3.4).
    TopicAliasInvalid,
}

impl Error {
    /// The reason code to close the connection with.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MALFORMED_PACKET,
            Self::Protocol(_) => Reason::PROTOCOL_ERROR,
            Self::PacketTooLarge => Reason::PACKET_TOO_LARGE,
            Self::UnsupportedVersion(_) => Reason::UNSUPPORTED_PROTOCOL_VERSION,
            Self::TopicNameInvalid => Reason::TOPIC_NAME_INVALID,
            Self::TopicAliasInvalid => Reason::TOPIC_ALIAS_INVALID,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed packet: {what}"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::PacketTooLarge => f.write_str("packet too large"),
            Self::UnsupportedVersion(level) => write!(f, "unsupported protocol level {level}"),
            Self::TopicNameInvalid => f.write_str("topic name invalid"),
            Self::TopicAliasInvalid => f.write_str("topic alias invalid"),
        }
    }
}

impl std::error::Error for Error {}
