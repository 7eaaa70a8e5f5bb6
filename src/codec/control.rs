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
