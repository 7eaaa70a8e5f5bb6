//! Writes a packet from the table's words: `publish topic=a qos=1 id=3`.
//!
//! The writer has defaults for what a row does not name, and may write
//! anything illegal on request: `header=` replaces the first byte, `flags=`
//! and `level=` and `name=` parts of CONNECT.

use crate::packet::{KINDS, Value, parse_number};
use crate::property;
use crate::wire::{bytes_from_notation, hex, put_field, put_u16, put_varint};

/// Words of a packet after the kind: `key=value` pairs, in order.
pub struct Words<'a> {
    pairs: Vec<(&'a str, Value)>,
}

impl<'a> Words<'a> {
    pub fn parse(tokens: &'a [String]) -> Result<Words<'a>, String> {
        let mut pairs = Vec::new();
        for token in tokens {
            match token.split_once('=') {
                Some((key, text)) => pairs.push((key, value_of(text)?)),
                None => pairs.push((token.as_str(), Value::Bytes(b"1".to_vec()))),
            }
        }
        Ok(Words { pairs })
    }

    pub fn find(&self, key: &str) -> Option<&Value> {
        self.pairs.iter().find(|pair| pair.0 == key).map(|pair| &pair.1)
    }

    pub fn all(&self, key: &str) -> Vec<&Value> {
        self.pairs.iter().filter(|pair| pair.0 == key).map(|pair| &pair.1).collect()
    }

    pub fn pairs(&self) -> &[(&'a str, Value)] {
        &self.pairs
    }

    pub fn number(&self, key: &str, default: u64) -> Result<u64, String> {
        self.find(key).map_or(Ok(default), |value| value.as_number())
    }

    pub fn text(&self, key: &str) -> Option<String> {
        self.find(key).map(|value| String::from_utf8_lossy(&value.as_bytes()).into_owned())
    }

    pub fn bytes(&self, key: &str) -> Vec<u8> {
        self.find(key).map(Value::as_bytes).unwrap_or_default()
    }

    /// Refuses a key that the packet does not have: a misspelt row must not
    /// pass by testing less.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        for (key, _) in &self.pairs {
            let name = key.strip_prefix("will.").unwrap_or(key);
            let ok = match name.strip_prefix("prop.") {
                Some(name) => property::is_known(name),
                None => known.contains(key),
            };
            if !ok {
                return Err(format!("unknown word {key}"));
            }
        }
        Ok(())
    }
}

/// `hex:0a0b`, `fill:100` or plain text.
pub fn value_of(text: &str) -> Result<Value, String> {
    if let Some(digits) = text.strip_prefix("hex:") {
        return Ok(Value::Bytes(hex(digits)?));
    }
    if let Some(count) = text.strip_prefix("fill:") {
        let count = count.parse().map_err(|_| format!("bad count {text}"))?;
        return Ok(Value::Bytes(vec![b'x'; count]));
    }
    Ok(Value::Bytes(text.as_bytes().to_vec()))
}

const CONNECT_WORDS: [&str; 13] =
    ["id", "name", "level", "flags", "clean", "keep", "user", "pass", "header", "will.topic", "will.payload", "will.qos", "will.retain"];

/// The bytes of one packet; `id` is the default client identifier.
pub fn encode(tokens: &[String], level: u8, id: &str) -> Result<Vec<u8>, String> {
    let kind = tokens.first().ok_or("no packet")?.as_str();
    if kind == "bytes" {
        return bytes_from_notation(&tokens[1..]);
    }
    let number = KINDS.iter().position(|name| *name == kind).ok_or(format!("no packet {kind}"))?;
    let words = Words::parse(&tokens[1..])?;
    let mut header = (number as u8) << 4;
    let mut body = Vec::new();
    match kind {
        "connect" => connect(&words, level, id, &mut body)?,
        "connack" => {
            words.only(&["sp", "code", "header"])?;
            body.push(words.number("sp", 0)? as u8);
            body.push(words.number("code", 0)? as u8);
            properties(&words, level, "prop.", &mut body)?;
        }
        "publish" => header |= publish(&words, level, &mut body)?,
        "puback" | "pubrec" | "pubrel" | "pubcomp" => {
            words.only(&["id", "reason", "long", "header"])?;
            header |= u8::from(kind == "pubrel") << 1;
            put_u16(&mut body, words.number("id", 1)?);
            reason(&words, level, &mut body)?;
        }
        "subscribe" | "unsubscribe" => {
            words.only(&["id", "filter", "header"])?;
            header |= 2;
            put_u16(&mut body, words.number("id", 1)?);
            properties(&words, level, "prop.", &mut body)?;
            for filter in words.all("filter") {
                filter_bytes(kind, &filter.as_bytes(), &mut body)?;
            }
        }
        "suback" | "unsuback" => {
            words.only(&["id", "codes", "header"])?;
            put_u16(&mut body, words.number("id", 1)?);
            properties(&words, level, "prop.", &mut body)?;
            for code in words.text("codes").unwrap_or_default().split(',').filter(|c| !c.is_empty()) {
                body.push(parse_number(code).ok_or(format!("bad code {code}"))? as u8);
            }
        }
        "disconnect" | "auth" => {
            words.only(&["reason", "long", "header"])?;
            reason(&words, level, &mut body)?;
        }
        _ => words.only(&["header"])?,
    }
    let mut out = vec![words.number("header", u64::from(header))? as u8];
    put_varint(&mut out, body.len() as u64);
    out.extend(body);
    Ok(out)
}

fn connect(words: &Words, level: u8, id: &str, body: &mut Vec<u8>) -> Result<(), String> {
    words.only(&CONNECT_WORDS)?;
    let level = words.number("level", u64::from(level))? as u8;
    let name = if level == 3 { "MQIsdp" } else { "MQTT" };
    put_field(body, words.text("name").unwrap_or(name.into()).as_bytes());
    body.push(level);
    let will = words.find("will.topic").is_some();
    let mut flags = (words.number("clean", 1)? as u8) << 1;
    if will {
        flags |= 4 | (words.number("will.qos", 0)? as u8) << 3;
        flags |= (words.number("will.retain", 0)? as u8) << 5;
    }
    flags |= u8::from(words.find("pass").is_some()) << 6;
    flags |= u8::from(words.find("user").is_some()) << 7;
    body.push(words.number("flags", u64::from(flags))? as u8);
    put_u16(body, words.number("keep", 60)?);
    properties(words, level, "prop.", body)?;
    put_field(body, words.text("id").unwrap_or(id.into()).as_bytes());
    if will {
        properties(words, level, "will.prop.", body)?;
        put_field(body, &words.bytes("will.topic"));
        put_field(body, &words.bytes("will.payload"));
    }
    for name in ["user", "pass"] {
        if let Some(value) = words.find(name) {
            put_field(body, &value.as_bytes());
        }
    }
    Ok(())
}

fn publish(words: &Words, level: u8, body: &mut Vec<u8>) -> Result<u8, String> {
    words.only(&["topic", "qos", "id", "payload", "dup", "retain", "header"])?;
    let qos = words.number("qos", 0)? as u8;
    put_field(body, &words.bytes("topic"));
    if qos > 0 {
        put_u16(body, words.number("id", 1)?);
    }
    properties(words, level, "prop.", body)?;
    body.extend(words.bytes("payload"));
    Ok((words.number("dup", 0)? as u8) << 3 | qos << 1 | words.number("retain", 0)? as u8)
}

/// Reason and properties, in the shortest legal form unless `long` is said.
fn reason(words: &Words, level: u8, body: &mut Vec<u8>) -> Result<(), String> {
    if level < 5 {
        return Ok(());
    }
    let reason = words.number("reason", 0)? as u8;
    let has_properties = words.pairs().iter().any(|pair| pair.0.starts_with("prop."));
    if reason != 0 || has_properties || words.find("long").is_some() {
        body.push(reason);
    }
    if has_properties || words.find("long").is_some() {
        properties(words, level, "prop.", body)?;
    }
    Ok(())
}

fn properties(words: &Words, level: u8, prefix: &str, body: &mut Vec<u8>) -> Result<(), String> {
    if level < 5 {
        return Ok(());
    }
    let mut block = Vec::new();
    for (key, value) in words.pairs() {
        if let Some(name) = key.strip_prefix(prefix) {
            property::put(&mut block, name, value)?;
        }
    }
    put_varint(body, block.len() as u64);
    body.extend(block);
    Ok(())
}

fn filter_bytes(kind: &str, text: &[u8], body: &mut Vec<u8>) -> Result<(), String> {
    if kind == "unsubscribe" {
        put_field(body, text);
        return Ok(());
    }
    let at = text.iter().rposition(|&byte| byte == b'@').ok_or("a filter is FILTER@QOS")?;
    put_field(body, &text[..at]);
    body.push(options_of(&String::from_utf8_lossy(&text[at + 1..]))?);
    Ok(())
}

/// The options byte of `1+nl+rap+rh2`, or of a plain number.
pub fn options_of(text: &str) -> Result<u8, String> {
    let mut options = 0u8;
    for (index, word) in text.split('+').enumerate() {
        options |= match word {
            "nl" => 4,
            "rap" => 8,
            "rh1" => 0x10,
            "rh2" => 0x20,
            _ if index == 0 => parse_number(word).ok_or(format!("bad QoS {word}"))? as u8,
            _ => return Err(format!("bad option {word}")),
        };
    }
    Ok(options)
}
