//! DISCONNECT and AUTH (§3.14, §3.15).

use super::primitive::{Reader, put_packet, put_properties};
use super::{Error, PacketType, Place, Properties, PropertyId, Reason, Sender, Version};

/// The last packet of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Disconnect<'a> {
    /// Always normal in 3.x.
    pub reason: Reason,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

/// A step of enhanced authentication (§4.12), MQTT 5 only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: Reason,
    /// Has a method unless the packet is empty.
    pub properties: Properties<'a>,
}

pub(super) fn decode_disconnect(version: Version, sender: Sender, body: &[u8]) -> Result<Disconnect<'_>, Error> {
    let mut reader = Reader::new(body);
    let (mut reason, mut properties) = (Reason::NORMAL_DISCONNECTION, Properties::EMPTY);
    if version.has_properties() && !reader.is_empty() {
        reason = Reason(reader.byte()?);
        if !reason.is_valid_for(PacketType::Disconnect) {
            return Err(Error::Protocol("reason code"));
        }
        if !reader.is_empty() {
            properties = reader.properties(Place::Disconnect)?;
        }
    }
    reader.finish()?;
    if sender == Sender::Server {
        if reason == Reason::DISCONNECT_WITH_WILL {
            return Err(Error::Protocol("reason code"));
        }
        // [MQTT-3.14.2-2]
        if properties.contains(PropertyId::SessionExpiryInterval) {
            return Err(Error::Protocol("Session Expiry Interval from a server"));
        }
    }
    Ok(Disconnect { reason, properties })
}

impl Disconnect<'_> {
    /// Appends the packet in the shortest form.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Disconnect.first(), |out| {
            let has_reason = self.reason != Reason::NORMAL_DISCONNECTION || !self.properties.is_empty();
            if version.has_properties() && has_reason {
                out.push(self.reason.0);
                if !self.properties.is_empty() {
                    put_properties(out, self.properties);
                }
            }
        });
    }
}

/// §3.15.2.1 lets reason and properties be left out together; §3.15.2.2.2 wants a method in
/// every other packet.
pub(super) fn decode_auth(body: &[u8]) -> Result<Auth<'_>, Error> {
    if body.is_empty() {
        return Ok(Auth { reason: Reason::SUCCESS, properties: Properties::EMPTY });
    }
    let mut reader = Reader::new(body);
    let reason = Reason(reader.byte()?);
    if !reason.is_valid_for(PacketType::Auth) {
        return Err(Error::Protocol("reason code"));
    }
    let properties = reader.properties(Place::Auth)?;
    reader.finish()?;
    if !properties.contains(PropertyId::AuthenticationMethod) {
        return Err(Error::Protocol("AUTH without a method"));
    }
    Ok(Auth { reason, properties })
}

impl Auth<'_> {
    /// Appends the packet in the shortest form. Only MQTT 5 has it.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        debug_assert_eq!(version, Version::V5);
        put_packet(out, PacketType::Auth.first(), |out| {
            if self.reason != Reason::SUCCESS || !self.properties.is_empty() {
                out.push(self.reason.0);
                put_properties(out, self.properties);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Frame, Packet};

    fn disconnect(version: Version, sender: Sender, body: &[u8]) -> Result<Reason, Error> {
        match crate::codec::decode(version, sender, Frame { first: 0xe0, body })? {
            Packet::Disconnect(packet) => Ok(packet.reason),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn disconnect_has_short_forms() {
        let (v5, client, server) = (Version::V5, Sender::Client, Sender::Server);
        assert_eq!(disconnect(v5, client, &[]), Ok(Reason::NORMAL_DISCONNECTION));
        assert_eq!(disconnect(v5, client, &[4]), Ok(Reason::DISCONNECT_WITH_WILL));
        assert_eq!(disconnect(v5, client, &[0x8e, 0]), Ok(Reason::SESSION_TAKEN_OVER));
        assert_eq!(disconnect(v5, client, &[0, 5, 0x11, 0, 0, 0, 9]), Ok(Reason::NORMAL_DISCONNECTION));
        let from_server = Err(Error::Protocol("Session Expiry Interval from a server"));
        assert_eq!(disconnect(v5, server, &[0, 5, 0x11, 0, 0, 0, 9]), from_server);
        assert_eq!(disconnect(v5, server, &[4]), Err(Error::Protocol("reason code")));
        assert_eq!(disconnect(v5, client, &[0x10]), Err(Error::Protocol("reason code")));
        assert_eq!(disconnect(v5, client, &[0, 0, 0]), Err(Error::Malformed("bytes behind the last field")));
        assert_eq!(disconnect(v5, client, &[0, 1]), Err(Error::Malformed("packet ends inside a field")));
        assert_eq!(disconnect(Version::V311, client, &[]), Ok(Reason::NORMAL_DISCONNECTION));
        assert_eq!(disconnect(Version::V311, client, &[0]), Err(Error::Malformed("bytes behind the last field")));
        let direction = Err(Error::Protocol("packet type is not for this direction"));
        assert_eq!(disconnect(Version::V311, server, &[]), direction);
    }

    #[test]
    fn auth_names_its_method_unless_it_is_empty() {
        let read = |body: &'static [u8]| decode_auth(body).map(|packet| packet.reason);
        assert_eq!(read(&[]), Ok(Reason::SUCCESS));
        assert_eq!(read(&[0x18, 4, 0x15, 0, 1, b'x']), Ok(Reason::CONTINUE_AUTHENTICATION));
        assert_eq!(read(&[0x18, 0]), Err(Error::Protocol("AUTH without a method")));
        assert_eq!(read(&[0x18]), Err(Error::Malformed("packet ends inside a field")));
        assert_eq!(read(&[0x87, 0]), Err(Error::Protocol("reason code")));
        assert_eq!(read(&[0x18, 4, 0x15, 0, 1, b'x', 0]), Err(Error::Malformed("bytes behind the last field")));
        let old = crate::codec::decode(Version::V311, Sender::Client, Frame { first: 0xf0, body: &[] });
        assert_eq!(old, Err(Error::Malformed("packet type 15 before MQTT 5")));
    }
}
