//! What can go wrong on this floor. One enum; each variant says when, whether state changed and
//! who is to blame.

use core::fmt;

use crate::codec::{self, Reason};

/// A fault of the peer (the connection is to be closed with [`Error::reason`]) or a request that
/// was refused (nothing changed).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Peer: bytes the codec refuses.
    Codec(codec::Error),
    /// Peer: a packet that is legal in itself but not now or not in this direction (§4.13).
    Protocol(&'static str),
    /// Peer: more unacknowledged QoS 1 and 2 messages than allowed (§3.3.4). Nothing changed.
    ReceiveMaximumExceeded,
    /// Peer: topic alias 0 or above the agreed maximum (§3.3.2.3.4). Nothing changed.
    TopicAliasInvalid,
    /// Caller: the machine was not started or is being stopped. Nothing changed.
    NotRunning,
    /// Caller: there is no connection and the request may not wait. Nothing changed.
    NotConnected,
    /// Caller: an empty topic name, one with a wildcard, or too long (§4.7). Nothing changed.
    TopicInvalid,
    /// Caller: not a topic filter, or none at all (§4.7). Nothing changed.
    FilterInvalid,
    /// Caller: the queue holds as many messages or bytes as it may. Nothing changed.
    QueueFull,
    /// Caller: larger than the server (or MQTT) accepts, 0x95. Nothing changed.
    TooLarge,
    /// Caller: the protocol version or the server has no such thing. Nothing changed.
    NotSupported(&'static str),
    /// Caller: an option has a value that cannot be used. Nothing changed.
    OptionInvalid(&'static str),
    /// Caller: no such token, subscription or delivery (any more). Nothing changed.
    Unknown,
    /// Caller: what is asked for is going on already. Nothing changed.
    Busy,
}

impl Error {
    /// The reason code for a DISCONNECT, or the closest one for a refused request.
    pub fn reason(self) -> Reason {
        match self {
            Self::Codec(error) => error.reason(),
            Self::Protocol(_) => Reason::PROTOCOL_ERROR,
            Self::ReceiveMaximumExceeded => Reason::RECEIVE_MAXIMUM_EXCEEDED,
            Self::TopicAliasInvalid => Reason::TOPIC_ALIAS_INVALID,
            Self::TopicInvalid => Reason::TOPIC_NAME_INVALID,
            Self::FilterInvalid => Reason::TOPIC_FILTER_INVALID,
            Self::QueueFull => Reason::QUOTA_EXCEEDED,
            Self::TooLarge => Reason::PACKET_TOO_LARGE,
            Self::NotRunning | Self::NotConnected | Self::NotSupported(_) | Self::OptionInvalid(_) | Self::Unknown | Self::Busy => {
                Reason::IMPLEMENTATION_SPECIFIC_ERROR
            }
        }
    }
}

impl From<codec::Error> for Error {
    fn from(error: codec::Error) -> Self {
        Self::Codec(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codec(error) => error.fmt(f),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::ReceiveMaximumExceeded => f.write_str("receive maximum exceeded"),
            Self::TopicAliasInvalid => f.write_str("topic alias invalid"),
            Self::NotRunning => f.write_str("not running"),
            Self::NotConnected => f.write_str("not connected"),
            Self::TopicInvalid => f.write_str("topic name invalid"),
            Self::FilterInvalid => f.write_str("topic filter invalid"),
            Self::QueueFull => f.write_str("queue full"),
            Self::TooLarge => f.write_str("packet too large"),
            Self::NotSupported(what) => write!(f, "not supported: {what}"),
            Self::OptionInvalid(what) => write!(f, "option invalid: {what}"),
            Self::Unknown => f.write_str("unknown or already finished"),
            Self::Busy => f.write_str("already in progress"),
        }
    }
}

impl std::error::Error for Error {}
