//! Reason codes (§2.4) and the return codes of CONNACK in 3.x.

use core::fmt;

use super::PacketType;

/// A reason code. Any byte can be held: an application may see one that a later standard adds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

const fn mask(types: &[PacketType]) -> u16 {
    let (mut mask, mut index) = (0, 0);
    while index < types.len() {
        mask |= 1 << types[index] as u16;
        index += 1;
    }
    mask
}

const CONNACK: u16 = mask(&[PacketType::ConnAck]);
/// PUBACK and PUBREC: a server says them of a message.
const TAKEN: u16 = mask(&[PacketType::PubAck, PacketType::PubRec]);
/// PUBREL and PUBCOMP.
const RELEASED: u16 = mask(&[PacketType::PubRel, PacketType::PubComp]);
const SUBACK: u16 = mask(&[PacketType::SubAck]);
const UNSUBACK: u16 = mask(&[PacketType::UnsubAck]);
const DISCONNECT: u16 = mask(&[PacketType::Disconnect]);
const AUTH: u16 = mask(&[PacketType::Auth]);

/// Makes the constants, their texts and their places from one table.
macro_rules! reasons {
    ($($name:ident = $code:literal, $text:literal, $places:expr;)*) => {
        impl Reason {
            $(#[doc = $text] pub const $name: Self = Self($code);)*
        }

        /// Text and places of a code.
        const fn entry(code: u8) -> (&'static str, u16) {
            match code {
                $($code => ($text, $places),)*
                _ => ("Unknown reason code", 0),
            }
        }
    };
}

reasons! {
    SUCCESS = 0x00, "Success", CONNACK | TAKEN | RELEASED | SUBACK | UNSUBACK | DISCONNECT | AUTH;
    GRANTED_QOS_1 = 0x01, "Granted QoS 1", SUBACK;
    GRANTED_QOS_2 = 0x02, "Granted QoS 2", SUBACK;
    DISCONNECT_WITH_WILL = 0x04, "Disconnect with Will Message", DISCONNECT;
    NO_MATCHING_SUBSCRIBERS = 0x10, "No matching subscribers", TAKEN;
    NO_SUBSCRIPTION_EXISTED = 0x11, "No subscription existed", UNSUBACK;
    CONTINUE_AUTHENTICATION = 0x18, "Continue authentication", AUTH;
    REAUTHENTICATE = 0x19, "Re-authenticate", AUTH;
    UNSPECIFIED_ERROR = 0x80, "Unspecified error", CONNACK | TAKEN | SUBACK | UNSUBACK | DISCONNECT;
    MALFORMED_PACKET = 0x81, "Malformed Packet", CONNACK | DISCONNECT;
    PROTOCOL_ERROR = 0x82, "Protocol Error", CONNACK | DISCONNECT;
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "Implementation specific error",
        CONNACK | TAKEN | SUBACK | UNSUBACK | DISCONNECT;
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "Unsupported Protocol Version", CONNACK;
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "Client Identifier not valid", CONNACK;
    BAD_USER_NAME_OR_PASSWORD = 0x86, "Bad User Name or Password", CONNACK;
    NOT_AUTHORIZED = 0x87, "Not authorized", CONNACK | TAKEN | SUBACK | UNSUBACK | DISCONNECT;
    SERVER_UNAVAILABLE = 0x88, "Server unavailable", CONNACK;
    SERVER_BUSY = 0x89, "Server busy", CONNACK | DISCONNECT;
    BANNED = 0x8A, "Banned", CONNACK;
    SERVER_SHUTTING_DOWN = 0x8B, "Server shutting down", DISCONNECT;
    BAD_AUTHENTICATION_METHOD = 0x8C, "Bad authentication method", CONNACK | DISCONNECT;
    KEEP_ALIVE_TIMEOUT = 0x8D, "Keep Alive timeout", DISCONNECT;
    SESSION_TAKEN_OVER = 0x8E, "Session taken over", DISCONNECT;
    TOPIC_FILTER_INVALID = 0x8F, "Topic Filter invalid", SUBACK | UNSUBACK | DISCONNECT;
    TOPIC_NAME_INVALID = 0x90, "Topic Name invalid", CONNACK | TAKEN | DISCONNECT;
    PACKET_IDENTIFIER_IN_USE = 0x91, "Packet Identifier in use", TAKEN | SUBACK | UNSUBACK;
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "Packet Identifier not found", RELEASED;
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "Receive Maximum exceeded", DISCONNECT;
    TOPIC_ALIAS_INVALID = 0x94, "Topic Alias invalid", DISCONNECT;
    PACKET_TOO_LARGE = 0x95, "Packet too large", CONNACK | DISCONNECT;
    MESSAGE_RATE_TOO_HIGH = 0x96, "Message rate too high", DISCONNECT;
    QUOTA_EXCEEDED = 0x97, "Quota exceeded", CONNACK | TAKEN | SUBACK | DISCONNECT;
    ADMINISTRATIVE_ACTION = 0x98, "Administrative action", DISCONNECT;
    PAYLOAD_FORMAT_INVALID = 0x99, "Payload format invalid", CONNACK | TAKEN | DISCONNECT;
    RETAIN_NOT_SUPPORTED = 0x9A, "Retain not supported", CONNACK | DISCONNECT;
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported", CONNACK | DISCONNECT;
    USE_ANOTHER_SERVER = 0x9C, "Use another server", CONNACK | DISCONNECT;
    SERVER_MOVED = 0x9D, "Server moved", CONNACK | DISCONNECT;
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "Shared Subscriptions not supported", SUBACK | DISCONNECT;
    CONNECTION_RATE_EXCEEDED = 0x9F, "Connection rate exceeded", CONNACK | DISCONNECT;
    MAXIMUM_CONNECT_TIME = 0xA0, "Maximum connect time", DISCONNECT;
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1, "Subscription Identifiers not supported", SUBACK | DISCONNECT;
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2, "Wildcard Subscriptions not supported", SUBACK | DISCONNECT;
}

impl Reason {
    /// 0x00 in a DISCONNECT.
    pub const NORMAL_DISCONNECTION: Self = Self(0x00);
    /// 0x00 in a SUBACK.
    pub const GRANTED_QOS_0: Self = Self(0x00);

    /// True from 0x80 on.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// The name the standard gives it.
    pub const fn text(self) -> &'static str {
        entry(self.0).0
    }

    /// True if the standard lists the code for `packet` (§2.4 and the tables of chapter 3).
    pub const fn is_valid_for(self, packet: PacketType) -> bool {
        entry(self.0).1 & mask(&[packet]) != 0
    }

    /// The return code that says the same to a 3.x client (3.1.1 §3.2.2.3); "server unavailable"
    /// for what 3.x has no word for.
    pub const fn to_v3_connack(self) -> u8 {
        match self {
            Self::SUCCESS => 0,
            Self::UNSUPPORTED_PROTOCOL_VERSION => 1,
            Self::CLIENT_IDENTIFIER_NOT_VALID => 2,
            Self::BAD_USER_NAME_OR_PASSWORD | Self::BAD_AUTHENTICATION_METHOD => 4,
            Self::NOT_AUTHORIZED | Self::BANNED => 5,
            _ => 3,
        }
    }

    /// The reason of a 3.x return code; 6 and above are reserved.
    pub const fn from_v3_connack(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => return None,
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.text(), self.0)
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_standard_is_known_and_no_other() {
        let known = |code: &u8| entry(*code).1 != 0;
        assert_eq!((0..=255).filter(known).count(), 43);
        assert_eq!(Reason::SERVER_MOVED.text(), "Server moved");
        assert_eq!(Reason(0x85).to_string(), "Client Identifier not valid (0x85)");
        assert!(!Reason(0x19).is_error() && Reason(0x80).is_error());
    }

    #[test]
    fn every_packet_has_as_many_codes_as_its_table_in_the_standard() {
        let count = |packet| (0..=255).filter(|&code| Reason(code).is_valid_for(packet)).count();
        assert_eq!(count(PacketType::ConnAck), 22);
        assert_eq!(count(PacketType::PubAck), 9);
        assert_eq!(count(PacketType::PubRec), 9);
        assert_eq!(count(PacketType::PubRel), 2);
        assert_eq!(count(PacketType::PubComp), 2);
        assert_eq!(count(PacketType::SubAck), 12);
        assert_eq!(count(PacketType::UnsubAck), 7);
        // 29 of §3.14.2.1, and 0x8C, which §2.4 lists for DISCONNECT.
        assert_eq!(count(PacketType::Disconnect), 30);
        assert_eq!(count(PacketType::Auth), 3);
        assert_eq!(count(PacketType::Publish), 0);
    }

    #[test]
    fn return_codes_of_3_x_survive_the_way_there_and_back() {
        for code in 0..=5 {
            assert_eq!(Reason::from_v3_connack(code).map(Reason::to_v3_connack), Some(code));
        }
        assert_eq!(Reason::from_v3_connack(6), None);
        assert_eq!(Reason::QUOTA_EXCEEDED.to_v3_connack(), 3);
    }
}
