//! One packet as named fields, read strictly from bytes.
//!
//! The names are those of the table, so a pattern is compared field by field
//! without a type for each packet. The reader refuses everything the standard
//! refuses in a packet by itself; what depends on earlier packets is in
//! `watch`.

use crate::property;
use crate::topic::{check_filter, check_topic, options_text};
use crate::wire::{Reader, frame_length, show};

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Bytes(Vec<u8>),
    Codes(Vec<u8>),
}

impl Value {
    /// The number this value is, or is the text of (decimal or 0x...).
    pub fn as_number(&self) -> Result<u64, String> {
        match self {
            Value::Number(number) => Ok(*number),
            Value::Bytes(bytes) | Value::Codes(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                parse_number(&text).ok_or_else(|| format!("not a number: {text}"))
            }
        }
    }

    pub fn as_bytes(&self) -> Vec<u8> {
        match self {
            Value::Number(number) => number.to_string().into_bytes(),
            Value::Bytes(bytes) | Value::Codes(bytes) => bytes.clone(),
        }
    }
}

/// A decimal or 0x number.
pub fn parse_number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The packet types by number; 0 does not exist.
pub const KINDS: [&str; 16] = [
    "reserved",
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
    "auth",
];

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet {
    pub kind: &'static str,
    pub fields: Vec<(String, Value)>,
    pub size: usize,
}

impl Packet {
    pub fn all(&self, name: &str) -> Vec<&Value> {
        self.fields.iter().filter(|field| field.0 == name).map(|field| &field.1).collect()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.all(name).first().and_then(|value| value.as_number().ok())
    }

    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.all(name).first().map(|value| value.as_bytes())
    }

    /// One line for the report.
    pub fn show(&self) -> String {
        let mut text = self.kind.to_string();
        for (name, value) in &self.fields {
            let value = match value {
                Value::Number(number) => number.to_string(),
                Value::Bytes(bytes) => show(bytes),
                Value::Codes(codes) => {
                    let codes: Vec<String> = codes.iter().map(|c| format!("0x{c:02x}")).collect();
                    codes.join(",")
                }
            };
            text.push_str(&format!(" {name}={value}"));
        }
        text
    }
}

/// Reads the first packet of `bytes`: `Ok(None)` when it is not complete.
/// `level` is the protocol level of the connection (3, 4, 5).
pub fn decode(bytes: &[u8], level: u8, from_server: bool) -> Result<Option<Packet>, String> {
    let Some(size) = frame_length(bytes)? else {
        return Ok(None);
    };
    let header = 1 + bytes[1..].iter().position(|byte| byte & 0x80 == 0).unwrap_or(0) + 1;
    let mut decoder = Decoder { reader: Reader::new(&bytes[header..size]), fields: Vec::new(), level, from_server };
    let kind = KINDS[(bytes[0] >> 4) as usize];
    decoder.packet(kind, bytes[0] & 0x0f).map_err(|error| format!("malformed {kind}: {error}"))?;
    if !decoder.reader.is_empty() {
        return Err(format!("malformed {kind}: bytes left over"));
    }
    Ok(Some(Packet { kind, fields: decoder.fields, size }))
}

struct Decoder<'a> {
    reader: Reader<'a>,
    fields: Vec<(String, Value)>,
    level: u8,
    from_server: bool,
}

impl Decoder<'_> {
    fn set(&mut self, name: &str, number: u64) {
        self.fields.push((name.into(), Value::Number(number)));
    }

    fn set_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.fields.push((name.into(), Value::Bytes(bytes.to_vec())));
    }

    fn properties(&mut self, place: char) -> Result<(), String> {
        if self.level == 5 {
            property::read(&mut self.reader, place, "prop.", &mut self.fields)?;
        }
        Ok(())
    }

    fn packet(&mut self, kind: &str, flags: u8) -> Result<(), String> {
        let server_only = ["connack", "suback", "unsuback", "pingresp"];
        let client_only = ["connect", "subscribe", "unsubscribe", "pingreq"];
        if (self.from_server && client_only.contains(&kind))
            || (!self.from_server && server_only.contains(&kind))
            || (self.from_server && kind == "disconnect" && self.level < 5)
        {
            return Err("not allowed in this direction".into());
        }
        let wanted = match kind {
            "pubrel" | "subscribe" | "unsubscribe" => 2,
            _ => 0,
        };
        // MQTT 3.1 had DUP and QoS in every header; the judge keeps to 3.1.1.
        if kind != "publish" && flags != wanted {
            return Err(format!("header flags are {flags}, not {wanted}"));
        }
        match kind {
            "connect" => self.connect(),
            "connack" => self.connack(),
            "publish" => self.publish(flags),
            "puback" | "pubrec" | "pubrel" | "pubcomp" => self.ack(kind),
            "subscribe" => self.subscribe(),
            "suback" => self.codes('s', &[0, 1, 2, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2]),
            "unsubscribe" => self.unsubscribe(),
            "unsuback" if self.level < 5 => self.id(),
            "unsuback" => self.codes('u', &[0, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91]),
            "pingreq" | "pingresp" => Ok(()),
            "disconnect" => self.disconnect(),
            "auth" if self.level == 5 => self.auth(),
            _ => Err("no such packet in this version".into()),
        }
    }

    fn id(&mut self) -> Result<(), String> {
        let id = self.reader.number(2, "packet identifier")?;
        if id == 0 {
            return Err("packet identifier zero".into());
        }
        self.set("id", id);
        Ok(())
    }

    fn connect(&mut self) -> Result<(), String> {
        let name = self.reader.string("protocol name")?;
        let level = self.reader.u8("protocol level")?;
        let expected: &[u8] = if level == 3 { b"MQIsdp" } else { b"MQTT" };
        if name != expected || !(3..=5).contains(&level) {
            return Err(format!("protocol {} level {level}", show(name)));
        }
        self.level = level;
        let flags = self.reader.u8("connect flags")?;
        let bit = |index: u8| u64::from(flags >> index & 1);
        let will_qos = u64::from(flags >> 3 & 3);
        if bit(0) != 0 || will_qos == 3 || (bit(2) == 0 && flags & 0x38 != 0) {
            return Err(format!("connect flags 0x{flags:02x}"));
        }
        if level < 5 && bit(6) == 1 && bit(7) == 0 {
            return Err("password without user name".into());
        }
        self.set_bytes("name", name);
        self.set("level", u64::from(level));
        self.set("clean", bit(1));
        let keep = self.reader.number(2, "keep alive")?;
        self.set("keep", keep);
        self.properties('C')?;
        let id = self.reader.string("client identifier")?;
        if id.is_empty() && level < 5 && bit(1) == 0 {
            return Err("empty client identifier without clean session".into());
        }
        self.set_bytes("id", id);
        if bit(2) == 1 {
            self.set("will.qos", will_qos);
            self.set("will.retain", bit(5));
            if level == 5 {
                property::read(&mut self.reader, 'W', "will.prop.", &mut self.fields)?;
            }
            let topic = self.reader.string("will topic")?;
            check_topic(topic)?;
            self.set_bytes("will.topic", topic);
            let payload = self.reader.binary("will payload")?;
            self.set_bytes("will.payload", payload);
        }
        if bit(7) == 1 {
            let user = self.reader.string("user name")?;
            self.set_bytes("user", user);
        }
        if bit(6) == 1 {
            let password = self.reader.binary("password")?;
            self.set_bytes("pass", password);
        }
        Ok(())
    }

    fn connack(&mut self) -> Result<(), String> {
        let flags = self.reader.u8("acknowledge flags")?;
        let code = self.reader.u8("code")?;
        if flags > 1 || (code != 0 && flags != 0) {
            return Err(format!("acknowledge flags 0x{flags:02x} with code 0x{code:02x}"));
        }
        let legal: &[u8] = if self.level == 5 {
            &[0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f]
        } else {
            &[0, 1, 2, 3, 4, 5]
        };
        check_code(code, legal)?;
        self.set("sp", u64::from(flags));
        self.set("code", u64::from(code));
        // A CONNACK 0x01 to an unknown level may come in the 3.1.1 layout.
        if self.level == 5 && (code == 0 || code >= 0x80) {
            self.properties('A')?;
        }
        Ok(())
    }

    fn publish(&mut self, flags: u8) -> Result<(), String> {
        let qos = flags >> 1 & 3;
        let dup = flags >> 3;
        if qos == 3 || (qos == 0 && dup == 1) {
            return Err(format!("QoS {qos} with DUP {dup}"));
        }
        self.set("dup", u64::from(dup));
        self.set("qos", u64::from(qos));
        self.set("retain", u64::from(flags & 1));
        let topic = self.reader.string("topic")?;
        self.set_bytes("topic", topic);
        if qos > 0 {
            self.id()?;
        }
        self.properties('P')?;
        let aliased = self.fields.iter().any(|field| field.0 == "prop.alias");
        if !(topic.is_empty() && aliased) {
            check_topic(topic)?;
        }
        if !self.from_server && self.fields.iter().any(|field| field.0 == "prop.sub_id") {
            return Err("subscription identifier from a client".into());
        }
        let payload = self.reader.rest();
        if self.fields.iter().any(|f| f.0 == "prop.payload_format" && f.1 == Value::Number(1)) && std::str::from_utf8(payload).is_err() {
            return Err("payload is not the UTF-8 it says it is".into());
        }
        self.set_bytes("payload", payload);
        Ok(())
    }

    fn ack(&mut self, kind: &str) -> Result<(), String> {
        self.id()?;
        let mut reason = 0;
        if self.level == 5 && !self.reader.is_empty() {
            reason = self.reader.u8("reason")?;
            if !self.reader.is_empty() {
                let place = match kind {
                    "puback" => 'a',
                    "pubrec" => 'r',
                    "pubrel" => 'l',
                    _ => 'c',
                };
                self.properties(place)?;
            }
        }
        let legal: &[u8] = match kind {
            "puback" | "pubrec" => &[0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            _ => &[0, 0x92],
        };
        check_code(reason, legal)?;
        if self.level == 5 {
            self.set("reason", u64::from(reason));
        }
        Ok(())
    }

    fn subscribe(&mut self) -> Result<(), String> {
        self.id()?;
        self.properties('S')?;
        if self.reader.is_empty() {
            return Err("no topic filter".into());
        }
        while !self.reader.is_empty() {
            let filter = self.reader.string("topic filter")?;
            check_filter(filter)?;
            let options = self.reader.u8("options")?;
            let reserved = if self.level == 5 { 0xc0 } else { 0xfc };
            if options & reserved != 0 || options & 3 == 3 || options >> 4 & 3 == 3 {
                return Err(format!("subscription options 0x{options:02x}"));
            }
            if options & 4 != 0 && filter.starts_with(b"$share/") {
                return Err("no local on a shared subscription".into());
            }
            let mut text = filter.to_vec();
            text.extend(options_text(options).into_bytes());
            self.set_bytes("filter", &text);
        }
        Ok(())
    }

    fn unsubscribe(&mut self) -> Result<(), String> {
        self.id()?;
        self.properties('U')?;
        if self.reader.is_empty() {
            return Err("no topic filter".into());
        }
        while !self.reader.is_empty() {
            let filter = self.reader.string("topic filter")?;
            check_filter(filter)?;
            self.set_bytes("filter", filter);
        }
        Ok(())
    }

    fn codes(&mut self, place: char, legal: &[u8]) -> Result<(), String> {
        self.id()?;
        self.properties(place)?;
        let codes = self.reader.rest();
        if codes.is_empty() {
            return Err("no code".into());
        }
        let legal = if self.level == 5 { legal } else { &[0, 1, 2, 0x80] };
        for &code in codes {
            check_code(code, legal)?;
        }
        self.fields.push(("codes".into(), Value::Codes(codes.to_vec())));
        Ok(())
    }

    fn disconnect(&mut self) -> Result<(), String> {
        if self.level < 5 {
            return Ok(());
        }
        let mut reason = 0;
        if !self.reader.is_empty() {
            reason = self.reader.u8("reason")?;
            if !self.reader.is_empty() {
                self.properties('D')?;
            }
        }
        let both = [0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        let server = [0x87, 0x89, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2];
        let own: &[u8] = if self.from_server { &server } else { &[0x04, 0x8c] };
        if !both.contains(&reason) {
            check_code(reason, own)?;
        }
        self.set("reason", u64::from(reason));
        let expiry = self.fields.iter().any(|field| field.0 == "prop.session_expiry");
        let reference = self.fields.iter().any(|field| field.0 == "prop.server_reference");
        if (self.from_server && expiry) || (!self.from_server && reference) {
            return Err("property of the other side".into());
        }
        Ok(())
    }

    fn auth(&mut self) -> Result<(), String> {
        let mut reason = 0;
        if !self.reader.is_empty() {
            reason = self.reader.u8("reason")?;
            self.properties('X')?;
        }
        // §3.15.2.1: success is the server's, re-authenticate the client's.
        let legal: &[u8] = if self.from_server { &[0, 0x18] } else { &[0x18, 0x19] };
        check_code(reason, legal)?;
        if !self.fields.iter().any(|field| field.0 == "prop.auth_method") {
            return Err("no authentication method".into());
        }
        self.set("reason", u64::from(reason));
        Ok(())
    }
}

fn check_code(code: u8, legal: &[u8]) -> Result<(), String> {
    if legal.contains(&code) { Ok(()) } else { Err(format!("code 0x{code:02x} is not allowed")) }
}
