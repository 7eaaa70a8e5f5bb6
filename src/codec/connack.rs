//! CONNACK (§3.2).

use super::connect::check_authentication;
use super::primitive::{Reader, put_packet, put_properties};
use super::{Error, PacketType, Place, Properties, Reason, Version};

/// The answer to CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnAck<'a> {
    /// §3.2.2.1.1; always false in 3.1.
    pub session_present: bool,
    /// In 3.x the reason that the return code stands for.
    pub reason: Reason,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

pub(super) fn decode(version: Version, body: &[u8]) -> Result<ConnAck<'_>, Error> {
    let mut reader = Reader::new(body);
    let flags = reader.byte()?;
    // 3.1 has no flags there, only an unused byte.
    if flags > 1 && version != Version::V31 {
        return Err(Error::Malformed("reserved CONNACK flags"));
    }
    let session_present = flags == 1 && version != Version::V31;
    let code = reader.byte()?;
    let (reason, properties) = match version {
        // A 3.x server refuses MQTT 5 in its own words (3.1.1 §3.2.2.3).
        Version::V5 if code == 1 && reader.is_empty() => (Reason::UNSUPPORTED_PROTOCOL_VERSION, Properties::EMPTY),
        Version::V5 => {
            let reason = Reason(code);
            if !reason.is_valid_for(PacketType::ConnAck) {
                return Err(Error::Protocol("reason code"));
            }
            (reason, reader.properties(Place::ConnAck)?)
        }
        _ => (Reason::from_v3_connack(code).ok_or(Error::Protocol("reserved return code"))?, Properties::EMPTY),
    };
    reader.finish()?;
    check_authentication(properties)?;
    if session_present && reason != Reason::SUCCESS {
        return Err(Error::Protocol("session present in a refusal"));
    }
    Ok(ConnAck { session_present, reason, properties })
}

impl ConnAck<'_> {
    /// Appends the packet; in 3.x with the return code nearest to the reason.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        debug_assert!(!self.session_present || self.reason == Reason::SUCCESS);
        put_packet(out, PacketType::ConnAck.first(), |out| match version {
            Version::V31 => out.extend_from_slice(&[0, self.reason.to_v3_connack()]),
            Version::V311 => out.extend_from_slice(&[u8::from(self.session_present), self.reason.to_v3_connack()]),
            Version::V5 => {
                out.extend_from_slice(&[u8::from(self.session_present), self.reason.0]);
                put_properties(out, self.properties);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: Version, body: &[u8]) -> Result<(bool, Reason), Error> {
        decode(version, body).map(|packet| (packet.session_present, packet.reason))
    }

    #[test]
    fn every_version_has_its_own_code() {
        assert_eq!(read(Version::V311, &[1, 0]), Ok((true, Reason::SUCCESS)));
        assert_eq!(read(Version::V311, &[0, 5]), Ok((false, Reason::NOT_AUTHORIZED)));
        assert_eq!(read(Version::V31, &[0x55, 0]), Ok((false, Reason::SUCCESS)));
        assert_eq!(read(Version::V5, &[0, 0x9c, 4, 0x1c, 0, 1, b'x']), Ok((false, Reason::USE_ANOTHER_SERVER)));
        assert_eq!(read(Version::V5, &[0, 1]), Ok((false, Reason::UNSUPPORTED_PROTOCOL_VERSION)));
    }

    #[test]
    fn faults_of_connack_are_told_apart() {
        let cut = Err(Error::Malformed("packet ends inside a field"));
        assert_eq!(read(Version::V311, &[0]), cut);
        assert_eq!(read(Version::V5, &[0, 0]), cut);
        assert_eq!(read(Version::V311, &[2, 0]), Err(Error::Malformed("reserved CONNACK flags")));
        assert_eq!(read(Version::V311, &[0, 6]), Err(Error::Protocol("reserved return code")));
        assert_eq!(read(Version::V311, &[0, 0, 0]), Err(Error::Malformed("bytes behind the last field")));
        assert_eq!(read(Version::V5, &[0, 0x10, 0]), Err(Error::Protocol("reason code")));
        assert_eq!(read(Version::V5, &[1, 0x87, 0]), Err(Error::Protocol("session present in a refusal")));
        let data = &[0, 0, 4, 0x16, 0, 1, 9];
        assert_eq!(read(Version::V5, data), Err(Error::Protocol("Authentication Data without a method")));
        assert_eq!(read(Version::V5, &[0, 0, 3, 0x21, 0, 0]), Err(Error::Protocol("Receive Maximum 0")));
    }

    #[test]
    fn what_3_x_cannot_say_becomes_server_unavailable() {
        let packet = ConnAck { session_present: false, reason: Reason::QUOTA_EXCEEDED, properties: Properties::EMPTY };
        let mut out = Vec::new();
        packet.encode(Version::V311, &mut out);
        packet.encode(Version::V5, &mut out);
        assert_eq!(out, [0x20, 2, 0, 3, 0x20, 3, 0, 0x97, 0]);
    }
}
