//! CONNECT (§3.1).

use super::primitive::{Reader, put_binary, put_packet, put_properties, put_u16};
use super::{Error, Frame, PacketType, Place, Properties, PropertyId, Qos, Version};

/// What a client opens with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect<'a> {
    /// Of the whole connection.
    pub version: Version,
    /// §3.1.2.4; "clean session" in 3.x.
    pub clean_start: bool,
    /// §3.1.2.10; 0 is off.
    pub keep_alive_s: u16,
    /// May be empty: the broker judges length and characters.
    pub client_id: &'a str,
    /// §3.1.2.5.
    pub will: Option<Will<'a>>,
    /// §3.1.3.5.
    pub username: Option<&'a str>,
    /// §3.1.3.6.
    pub password: Option<&'a [u8]>,
    /// Empty in 3.x.
    pub properties: Properties<'a>,
    /// The protocol level has bit 7 set: how mosquitto's bridges announce themselves in 3.x.
    pub is_bridge: bool,
}

/// The message to be published when the connection ends badly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    /// §3.1.2.6.
    pub qos: Qos,
    /// §3.1.2.7.
    pub retain: bool,
    /// A valid topic name.
    pub topic: &'a str,
    /// §3.1.3.4.
    pub payload: &'a [u8],
    /// Empty in 3.x.
    pub properties: Properties<'a>,
}

const RESERVED: u8 = 0x01;
const CLEAN_START: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS: u8 = 0x18;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;
const BRIDGE_LEVEL: u8 = 0x80;

/// The version a CONNECT asks for, if its head can be read: to answer a faulty one in its own
/// version (§4.13.1). `None` also for a packet that is no CONNECT and for unknown versions.
pub fn peek_version(frame: Frame<'_>) -> Option<Version> {
    if PacketType::of(frame.first) != Some(PacketType::Connect) {
        return None;
    }
    read_version(&mut Reader::new(frame.body)).ok().map(|(version, _)| version)
}

/// §3.1.2.1 and §3.1.2.2. `MQTT` with level 3 is what NewLife sends for 3.1.
fn read_version(reader: &mut Reader<'_>) -> Result<(Version, bool), Error> {
    let is_old_name = match reader.binary()? {
        b"MQTT" => false,
        b"MQIsdp" => true,
        _ => return Err(Error::Protocol("protocol name is not MQTT")),
    };
    let level = reader.byte()?;
    match (level & !BRIDGE_LEVEL, level & BRIDGE_LEVEL != 0) {
        (3, is_bridge) => Ok((Version::V31, is_bridge)),
        (4, is_bridge) if !is_old_name => Ok((Version::V311, is_bridge)),
        (5, false) if !is_old_name => Ok((Version::V5, false)),
        _ => Err(Error::UnsupportedVersion(level)),
    }
}

/// §3.1.2.3: the flags that contradict each other.
fn check_flags(version: Version, flags: u8) -> Result<(), Error> {
    let has = |bits| flags & bits != 0;
    // 3.1 calls the bits unused.
    if version != Version::V31 {
        if has(RESERVED) {
            return Err(Error::Malformed("reserved connect flag"));
        }
        if !has(WILL) && has(WILL_QOS | WILL_RETAIN) {
            return Err(Error::Malformed("will flags without a will"));
        }
    }
    if has(PASSWORD) && !has(USERNAME) && version != Version::V5 {
        return Err(Error::Malformed("password without a user name"));
    }
    Ok(())
}

pub(super) fn decode(body: &[u8]) -> Result<Connect<'_>, Error> {
    let mut reader = Reader::new(body);
    let (version, is_bridge) = read_version(&mut reader)?;
    let flags = reader.byte()?;
    check_flags(version, flags)?;
    let keep_alive_s = reader.u16()?;
    let properties = match version {
        Version::V5 => reader.properties(Place::Connect)?,
        _ => Properties::EMPTY,
    };
    check_authentication(properties)?;
    let client_id = reader.utf8()?;
    let will = if flags & WILL != 0 { Some(read_will(&mut reader, version, flags)?) } else { None };
    // 3.1: "the remaining length takes precedence over the user name flag".
    let is_there = |flag, reader: &Reader<'_>| flags & flag != 0 && !(version == Version::V31 && reader.is_empty());
    let username = if is_there(USERNAME, &reader) { Some(reader.utf8()?) } else { None };
    let password = if is_there(PASSWORD, &reader) { Some(reader.binary()?) } else { None };
    reader.finish()?;
    let clean_start = flags & CLEAN_START != 0;
    Ok(Connect { version, clean_start, keep_alive_s, client_id, will, username, password, properties, is_bridge })
}

fn read_will<'a>(reader: &mut Reader<'a>, version: Version, flags: u8) -> Result<Will<'a>, Error> {
    let qos = Qos::try_from((flags & WILL_QOS) >> 3)?;
    let properties = match version {
        Version::V5 => reader.properties(Place::Will)?,
        _ => Properties::EMPTY,
    };
    let topic = reader.topic_name()?;
    if topic.is_empty() {
        return Err(Error::TopicNameInvalid);
    }
    let payload = reader.binary()?;
    Ok(Will { qos, retain: flags & WILL_RETAIN != 0, topic, payload, properties })
}

/// §3.1.2.11.10: authentication data belongs to a method.
pub(super) fn check_authentication(properties: Properties<'_>) -> Result<(), Error> {
    if properties.is_empty() || !properties.contains(PropertyId::AuthenticationData) || properties.contains(PropertyId::AuthenticationMethod) {
        return Ok(());
    }
    Err(Error::Protocol("Authentication Data without a method"))
}

impl Connect<'_> {
    /// Appends the packet in its own version; the argument is there to be like the others.
    pub fn encode(&self, _version: Version, out: &mut Vec<u8>) {
        put_packet(out, PacketType::Connect.first(), |out| {
            let name: &[u8] = if self.version == Version::V31 { b"MQIsdp" } else { b"MQTT" };
            put_binary(out, name);
            let is_bridge = self.is_bridge && self.version != Version::V5;
            out.push(self.version.level() | if is_bridge { BRIDGE_LEVEL } else { 0 });
            out.push(self.flags());
            put_u16(out, self.keep_alive_s);
            if self.version.has_properties() {
                put_properties(out, self.properties);
            }
            put_binary(out, self.client_id.as_bytes());
            if let Some(will) = &self.will {
                if self.version.has_properties() {
                    put_properties(out, will.properties);
                }
                put_binary(out, will.topic.as_bytes());
                put_binary(out, will.payload);
            }
            if let Some(username) = self.username {
                put_binary(out, username.as_bytes());
            }
            if let Some(password) = self.password {
                put_binary(out, password);
            }
        });
    }

    fn flags(&self) -> u8 {
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        debug_assert!(self.version == Version::V5 || self.username.is_some() || self.password.is_none());
        let will = self.will.map_or(0, |will| WILL | (will.qos as u8) << 3 | bit(will.retain, WILL_RETAIN));
        bit(self.clean_start, CLEAN_START) | will | bit(self.password.is_some(), PASSWORD) | bit(self.username.is_some(), USERNAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reason;

    /// The parts of a 3.1.1 CONNECT with client id "c".
    fn v311(flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 10, 0, 1, b'c'], payload].concat()
    }

    fn v5(flags: u8, properties: &[u8], payload: &[u8]) -> Vec<u8> {
        let head = [0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 10, properties.len() as u8];
        [&head, properties, &[0, 1, b'c'], payload].concat()
    }

    fn v31(flags: u8, payload: &[u8]) -> Vec<u8> {
        [&b"\0\x06MQIsdp\x03"[..], &[flags, 0, 10, 0, 1, b'c'], payload].concat()
    }

    fn fault(body: &[u8]) -> Option<Error> {
        decode(body).err()
    }

    #[test]
    fn the_variable_header_of_the_standard_reads() {
        // Figure 3-6, with every field that its flags announce.
        let head = [0, 4, b'M', b'Q', b'T', b'T', 5, 0xce, 0, 10, 5, 0x11, 0, 0, 0, 10];
        let payload = [&b"\0\x01c"[..], b"\0", b"\0\x01w", b"\0\x02hi", b"\0\x01u", b"\0\x01p"].concat();
        let body = [&head[..], &payload].concat();
        let packet = decode(&body).expect("legal");
        assert_eq!((packet.version, packet.clean_start, packet.keep_alive_s), (Version::V5, true, 10));
        assert_eq!(packet.properties.u32(PropertyId::SessionExpiryInterval), Some(10));
        assert_eq!((packet.client_id, packet.username, packet.password), ("c", Some("u"), Some(&b"p"[..])));
        let properties = Properties::EMPTY;
        let will = Will { qos: Qos::AtLeastOnce, retain: false, topic: "w", payload: b"hi", properties };
        assert_eq!(packet.will, Some(will));
        let mut out = Vec::new();
        packet.encode(Version::V31, &mut out);
        assert_eq!(out[2..], body);
    }

    #[test]
    fn names_and_levels_make_versions() {
        let read = |name: &str, level: u8| {
            let head = [&(name.len() as u16).to_be_bytes(), name.as_bytes(), &[level, 2, 0, 0]].concat();
            let body = [&head[..], if level == 5 { &[0, 0, 0] } else { &[0, 0] }].concat();
            assert_eq!(peek_version(Frame { first: 0x10, body: &body }), decode(&body).ok().map(|packet| packet.version));
            decode(&body).map(|packet| (packet.version, packet.is_bridge))
        };
        assert_eq!(read("MQTT", 3), Ok((Version::V31, false)));
        assert_eq!(read("MQTT", 4), Ok((Version::V311, false)));
        assert_eq!(read("MQTT", 5), Ok((Version::V5, false)));
        assert_eq!(read("MQIsdp", 3), Ok((Version::V31, false)));
        assert_eq!(read("MQIsdp", 0x83), Ok((Version::V31, true)));
        assert_eq!(read("MQTT", 0x84), Ok((Version::V311, true)));
        for (name, level) in [("MQTT", 6), ("MQTT", 0), ("MQTT", 0x85), ("MQIsdp", 4), ("MQTT", 0x80)] {
            assert_eq!(read(name, level), Err(Error::UnsupportedVersion(level)));
        }
        assert_eq!(read("mqtt", 4), Err(Error::Protocol("protocol name is not MQTT")));
        assert_eq!(peek_version(Frame { first: 0x30, body: b"\0\x04MQTT\x04" }), None);
        assert_eq!(Error::UnsupportedVersion(6).reason(), Reason::UNSUPPORTED_PROTOCOL_VERSION);
    }

    #[test]
    fn flags_that_contradict_each_other_are_malformed() {
        let reserved = Some(Error::Malformed("reserved connect flag"));
        let orphan = Some(Error::Malformed("will flags without a will"));
        assert_eq!(fault(&v311(0x01, &[])), reserved);
        assert_eq!(fault(&v5(0x01, &[], &[])), reserved);
        assert_eq!(fault(&v311(0x08, &[])), orphan);
        assert_eq!(fault(&v311(0x20, &[])), orphan);
        assert_eq!(fault(&v5(0x10, &[], &[])), orphan);
        assert_eq!(fault(&v311(0x1c, &[0, 1, b'w', 0, 0])), Some(Error::Malformed("QoS 3")));
        let password = [0, 1, b'p'];
        let no_name = Some(Error::Malformed("password without a user name"));
        assert_eq!(fault(&v311(0x40, &password)), no_name);
        assert_eq!(fault(&v31(0x40, &password)), no_name);
        assert_eq!(fault(&v5(0x40, &[], &password)), None);
    }

    #[test]
    fn mqtt_3_1_ignores_unused_bits_and_misses_no_announced_user_name() {
        let body = v31(0xc0 | 0x39, &[]);
        let packet = decode(&body).expect("legal in 3.1");
        assert_eq!((packet.will, packet.username, packet.password), (None, None, None));
        assert_eq!(fault(&v311(0x80, &[])), Some(Error::Malformed("packet ends inside a field")));
        assert_eq!(fault(&v31(0x80, &[0])), Some(Error::Malformed("packet ends inside a field")));
    }

    #[test]
    fn fields_are_all_there_and_nothing_behind_them() {
        let whole = v311(0xc6, b"\0\x01w\0\x01m\0\x01u\0\x01p");
        assert_eq!(fault(&whole), None);
        for end in 0..whole.len() {
            assert!(matches!(fault(&whole[..end]), Some(Error::Malformed(_) | Error::Protocol(_))), "{end}");
        }
        assert_eq!(fault(&[&whole[..], &[0]].concat()), Some(Error::Malformed("bytes behind the last field")));
        assert_eq!(fault(&v311(0x04, b"\0\x01#\0\0")), Some(Error::TopicNameInvalid));
        assert_eq!(fault(&v311(0x04, b"\0\0\0\0")), Some(Error::TopicNameInvalid));
    }

    #[test]
    fn properties_of_connect_and_will_do_not_mix() {
        let misplaced = Some(Error::Protocol("property does not belong here"));
        assert_eq!(fault(&v5(0, &[0x18, 0, 0, 0, 1], &[])), misplaced);
        assert_eq!(fault(&v5(4, &[], b"\x05\x11\0\0\0\x01\0\x01w\0\0")), misplaced);
        assert_eq!(fault(&v5(4, &[], b"\x05\x18\0\0\0\x01\0\x01w\0\0")), None);
        let method_is_missing = Some(Error::Protocol("Authentication Data without a method"));
        assert_eq!(fault(&v5(0, &[0x16, 0, 1, 9], &[])), method_is_missing);
        assert_eq!(fault(&v5(0, &[0x16, 0, 1, 9, 0x15, 0, 1, b'x'], &[])), None);
        assert_eq!(fault(&v5(0, &[0x27, 0, 0, 0, 0], &[])), Some(Error::Protocol("Maximum Packet Size 0")));
        assert_eq!(fault(&v5(0, &[0x17, 2], &[])), Some(Error::Protocol("property is neither 0 nor 1")));
        assert_eq!(fault(&v5(0, &[0x7f, 2], &[])), Some(Error::Malformed("unknown property")));
    }
}
