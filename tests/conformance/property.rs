//! The 27 properties of MQTT 5 (§2.2.2.2): one table for writer and reader.

use crate::packet::Value;
use crate::wire::{Reader, put_field, put_u16, put_varint};

/// How a property's value is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Form {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Binary,
    Pair,
}

/// Identifier, name in the table, form, and where it may stand. The places are
/// one letter each: C connect, W will, A connack, P publish, a puback,
/// r pubrec, l pubrel, c pubcomp, S subscribe, s suback, U unsubscribe,
/// u unsuback, D disconnect, X auth.
pub const PROPERTIES: [(u8, &str, Form, &str); 27] = [
    (0x01, "payload_format", Form::Byte, "PW"),
    (0x02, "message_expiry", Form::Four, "PW"),
    (0x03, "content_type", Form::Text, "PW"),
    (0x08, "response_topic", Form::Text, "PW"),
    (0x09, "correlation", Form::Binary, "PW"),
    (0x0b, "sub_id", Form::Varint, "PS"),
    (0x11, "session_expiry", Form::Four, "CAD"),
    (0x12, "assigned_id", Form::Text, "A"),
    (0x13, "server_keep_alive", Form::Two, "A"),
    (0x15, "auth_method", Form::Text, "CAX"),
    (0x16, "auth_data", Form::Binary, "CAX"),
    (0x17, "request_problem", Form::Byte, "C"),
    (0x18, "will_delay", Form::Four, "W"),
    (0x19, "request_response", Form::Byte, "C"),
    (0x1a, "response_info", Form::Text, "A"),
    (0x1c, "server_reference", Form::Text, "AD"),
    (0x1f, "reason_string", Form::Text, "AarlcsuDX"),
    (0x21, "receive_maximum", Form::Two, "CA"),
    (0x22, "alias_maximum", Form::Two, "CA"),
    (0x23, "alias", Form::Two, "P"),
    (0x24, "maximum_qos", Form::Byte, "A"),
    (0x25, "retain_available", Form::Byte, "A"),
    (0x26, "user", Form::Pair, "CAPWarlcSsUuDX"),
    (0x27, "maximum_packet", Form::Four, "CA"),
    (0x28, "wildcard_available", Form::Byte, "A"),
    (0x29, "sub_id_available", Form::Byte, "A"),
    (0x2a, "shared_available", Form::Byte, "A"),
];

/// Whether `name` is a property's name in the table.
pub fn is_known(name: &str) -> bool {
    PROPERTIES.iter().any(|entry| entry.1 == name)
}

/// Appends one property; `value` is the text of the table, already unescaped.
pub fn put(out: &mut Vec<u8>, name: &str, value: &Value) -> Result<(), String> {
    let (id, _, form, _) = PROPERTIES.iter().find(|entry| entry.1 == name).ok_or_else(|| format!("no property {name}"))?;
    out.push(*id);
    let bytes = value.as_bytes();
    match form {
        Form::Byte => out.push(value.as_number()? as u8),
        Form::Two => put_u16(out, value.as_number()?),
        Form::Four => out.extend_from_slice(&(value.as_number()? as u32).to_be_bytes()),
        Form::Varint => put_varint(out, value.as_number()?),
        Form::Text | Form::Binary => put_field(out, &bytes),
        Form::Pair => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (key, content) = text.split_once(':').ok_or("a user property is KEY:VALUE")?;
            put_field(out, key.as_bytes());
            put_field(out, content.as_bytes());
        }
    }
    Ok(())
}

/// Reads a property block with its length, strictly, into `fields`; names get
/// `prefix` in front.
pub fn read(reader: &mut Reader, place: char, prefix: &str, fields: &mut Vec<(String, Value)>) -> Result<(), String> {
    let length = reader.varint("property length")? as usize;
    let mut block = Reader::new(reader.take(length, "properties")?);
    let mut seen: Vec<u8> = Vec::new();
    while !block.is_empty() {
        // Identifiers are variable byte integers; every known one is one byte.
        let id = block.varint("property identifier")? as u8;
        let (_, name, form, places) = PROPERTIES.iter().find(|entry| entry.0 == id).ok_or_else(|| format!("unknown property 0x{id:02x}"))?;
        if !places.contains(place) {
            return Err(format!("property {name} is not allowed here"));
        }
        let repeats = *name == "user" || (*name == "sub_id" && place == 'P');
        if seen.contains(&id) && !repeats {
            return Err(format!("property {name} twice"));
        }
        seen.push(id);
        let value = match form {
            Form::Byte => Value::Number(block.number(1, name)?),
            Form::Two => Value::Number(block.number(2, name)?),
            Form::Four => Value::Number(block.number(4, name)?),
            Form::Varint => Value::Number(block.varint(name)?),
            Form::Text => Value::Bytes(block.string(name)?.to_vec()),
            Form::Binary => Value::Bytes(block.binary(name)?.to_vec()),
            Form::Pair => {
                let mut pair = block.string(name)?.to_vec();
                pair.push(b':');
                pair.extend_from_slice(block.string(name)?);
                Value::Bytes(pair)
            }
        };
        check(name, *form, &value)?;
        fields.push((format!("{prefix}{name}"), value));
    }
    if seen.contains(&0x16) && !seen.contains(&0x15) {
        return Err("authentication data without a method".into());
    }
    Ok(())
}

/// Values the standard forbids (§3.1.2.11, §3.2.2.3, §3.3.2.3).
fn check(name: &str, form: Form, value: &Value) -> Result<(), String> {
    let Value::Number(number) = value else {
        if name == "response_topic" && value.as_bytes().iter().any(|b| b"#+".contains(b)) {
            return Err("response topic with a wildcard".into());
        }
        return Ok(());
    };
    let nonzero = ["sub_id", "receive_maximum", "alias", "maximum_packet"];
    if *number == 0 && nonzero.contains(&name) {
        return Err(format!("property {name} is zero"));
    }
    if form == Form::Byte && *number > 1 {
        return Err(format!("property {name} is {number}"));
    }
    Ok(())
}
