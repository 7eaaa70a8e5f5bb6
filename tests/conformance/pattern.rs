//! What a row expects: `publish topic=a qos=1 !prop.alias`.
//!
//! Fields that are not named are not compared. A number may be a list
//! (`0x81,0x82`) or a range (`0x80..0xff`); codes are compared one by one,
//! each with its own alternatives (`0,0/0x11`); a field that repeats must
//! repeat as often and in the same order. `id=?p` keeps a value as `$p`.

use std::collections::BTreeMap;

use crate::encode::value_of;
use crate::packet::{KINDS, Packet, Value, parse_number};
use crate::property;

pub type Names = BTreeMap<String, String>;

const FIELDS: [&str; 23] = [
    "sp",
    "code",
    "topic",
    "qos",
    "id",
    "payload",
    "dup",
    "retain",
    "reason",
    "filter",
    "codes",
    "name",
    "level",
    "clean",
    "keep",
    "user",
    "pass",
    "will.topic",
    "will.payload",
    "will.qos",
    "will.retain",
    "wire_topic",
    "size",
];

/// Whether the words name a packet and fields that exist.
pub fn check(tokens: &[String]) -> Result<(), String> {
    let kind = tokens.first().ok_or("no pattern")?;
    if !KINDS.contains(&kind.as_str()) {
        return Err(format!("no packet {kind}"));
    }
    for token in &tokens[1..] {
        let key = match token.strip_prefix('!') {
            Some(key) => key,
            None => token.split_once('=').ok_or(format!("not KEY=VALUE: {token}"))?.0,
        };
        let name = key.strip_prefix("will.").unwrap_or(key);
        let ok = match name.strip_prefix("prop.") {
            Some(name) => property::is_known(name),
            None => FIELDS.contains(&key),
        };
        if !ok {
            return Err(format!("unknown field {key}"));
        }
    }
    Ok(())
}

/// Compares; on success the captured values are put into `names`.
pub fn matches(tokens: &[String], packet: &Packet, names: &mut Names) -> Result<(), String> {
    if tokens[0] != packet.kind {
        return Err(format!("a {} and not a {}", packet.kind, tokens[0]));
    }
    let mut captured = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    for token in &tokens[1..] {
        if let Some(key) = token.strip_prefix('!') {
            if !packet.all(key).is_empty() {
                return Err(format!("{key} must be absent"));
            }
            continue;
        }
        let key = token.split_once('=').ok_or("not KEY=VALUE")?.0;
        if done.contains(&key) {
            continue;
        }
        done.push(key);
        let wanted: Vec<&str> = tokens[1..].iter().filter_map(|token| token.split_once('=')).filter(|pair| pair.0 == key).map(|pair| pair.1).collect();
        let mut seen = packet.all(key);
        let size = Value::Number(packet.size as u64);
        if key == "size" {
            seen = vec![&size];
        }
        if key == "prop.sub_id" {
            // Their order is not significant (§3.3.4).
            seen.sort_by_key(|value| value.as_number().unwrap_or(0));
        }
        if seen.len() != wanted.len() {
            return Err(format!("{key} {} times, not {}", seen.len(), wanted.len()));
        }
        for (text, value) in wanted.iter().zip(seen) {
            if let Some(name) = text.strip_prefix('?') {
                let shown = String::from_utf8_lossy(&value.as_bytes()).into_owned();
                captured.push((name.to_string(), shown));
            } else if !value_matches(text, value)? {
                return Err(format!("{key} is not {text}"));
            }
        }
    }
    names.extend(captured);
    Ok(())
}

fn value_matches(text: &str, value: &Value) -> Result<bool, String> {
    match value {
        Value::Number(number) => number_matches(text, ',', *number),
        Value::Bytes(bytes) => Ok(value_of(text)?.as_bytes() == *bytes),
        Value::Codes(codes) => {
            let wanted: Vec<&str> = text.split(',').collect();
            if wanted.len() != codes.len() {
                return Ok(false);
            }
            for (text, code) in wanted.iter().zip(codes) {
                if !number_matches(text, '/', u64::from(*code))? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether the number is in the list of numbers and ranges.
pub fn number_matches(text: &str, separator: char, number: u64) -> Result<bool, String> {
    for word in text.split(separator) {
        let (low, high) = word.split_once("..").unwrap_or((word, word));
        let low = parse_number(low).ok_or_else(|| format!("not a number: {word}"))?;
        let high = parse_number(high).ok_or_else(|| format!("not a number: {word}"))?;
        if (low..=high).contains(&number) {
            return Ok(true);
        }
    }
    Ok(false)
}
