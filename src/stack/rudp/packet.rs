//! All that reliable UDP knows of MQTT: where a packet ends, how silent the sender of a CONNECT means to be, and which packet is whose
//! answer.

use core::hash::Hasher as _;
use std::hash::DefaultHasher;

use crate::base::Duration;

/// What the two parts of a packet's beginning say of its length: `Err(())`: nothing that MQTT allows; `Ok(None)`: too few bytes.
pub fn packet_bytes(front: &[u8]) -> Result<Option<usize>, ()> {
    let mut length = 0;
    for index in 0..4 {
        let Some(byte) = front.get(1 + index) else { return Ok(None) };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(2 + index + length));
        }
    }
    Err(())
}

/// A whole packet, and nothing behind it.
pub fn is_packet(bytes: &[u8]) -> bool {
    packet_bytes(bytes) == Ok(Some(bytes.len()))
}

/// A whole CONNECT.
pub fn is_connect(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x10) && is_packet(bytes)
}

/// Whether a packet may begin with this byte (MQTT 2.1.1, 2.1.3): no frame of reliable UDP does.
pub fn may_begin(byte: u8) -> bool {
    match (byte >> 4, byte & 0x0F) {
        (0, _) => false,
        (3, _) | (6 | 8 | 10, 2) => true,
        (6 | 8 | 10, _) => false,
        (_, flags) => flags == 0,
    }
}

/// What is behind the length.
fn body(packet: &[u8]) -> Option<&[u8]> {
    let length = packet.get(1..)?.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    packet.get(length + 2..)
}

fn number(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|number| u16::from_be_bytes(*number))
}

/// The identifier of a packet that has one (MQTT 2.2.1).
pub fn identifier(packet: &[u8]) -> Option<u16> {
    let (first, body) = (*packet.first()?, body(packet)?);
    match first >> 4 {
        3 if first & 6 != 0 => number(body.get(2 + usize::from(number(body)?)..)?),
        4..=11 => number(body),
        _ => None,
    }
}

/// The keep-alive a CONNECT asks for (MQTT 3.1.2.10), of which the beginning is enough; `None`: it asks for none, or is no CONNECT.
pub fn keep_alive(connect: &[u8]) -> Option<Duration> {
    let body = body(connect).filter(|_| connect[0] == 0x10)?;
    // Behind the name: a byte each for version and flags.
    let seconds = number(body.get(2 + usize::from(number(body)?) + 2..)?)?;
    Some(Duration::from_secs(seconds.into())).filter(|time| *time > Duration::ZERO)
}

/// How long somebody may be silent who has said this CONNECT: what the option says, and at least one and a half times the keep-alive,
/// which MQTT lets him.
pub fn silence_allowed(timeout: Duration, connect: &[u8]) -> Duration {
    keep_alive(connect).map_or(timeout, |time| timeout.max(time * 3 / 2))
}

/// By which a CONNECT is known again. Who does not know the packet finds no other one with the same.
pub fn fingerprint(packet: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(packet);
    hasher.finish()
}

/// A first packet that is larger is somebody else's to judge.
pub(crate) const FIRST_PACKET_BYTES_MAX: usize = 8 << 10;

/// Whether a stream that begins with these bytes, in two pieces, begins with a whole packet. If it is not MQTT, its
/// first byte will do.
pub fn begins_with_packet(is_plain: bool, (first, second): (&[u8], &[u8])) -> bool {
    let count = first.len() + second.len();
    let mut front = [0; 5];
    for (slot, byte) in front.iter_mut().zip(first.iter().chain(second)) {
        *slot = *byte;
    }
    match packet_bytes(&front[..count.min(5)]) {
        _ if !is_plain => count > 0,
        Ok(Some(bytes)) => count >= bytes.min(FIRST_PACKET_BYTES_MAX),
        Ok(None) => false,
        // Not MQTT: whoever reads it will say so.
        Err(()) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_as_long_as_its_second_byte_says() {
        assert!(is_packet(&[0xC0, 0]) && !is_packet(&[0xC0]) && !is_packet(&[0xC0, 0, 0]) && !is_packet(&[0xC0, 1]));
        assert_eq!(packet_bytes(&[0x30, 0x80, 0x01]), Ok(Some(131)));
        assert_eq!(packet_bytes(&[0x30, 0x80, 0x80, 0x80, 0x80]), Err(()));
    }

    #[test]
    fn the_keep_alive_of_a_connect_is_found_whatever_the_version() {
        let seconds = |packet: &[u8]| keep_alive(packet).map(|time| time.as_secs());
        assert_eq!(seconds(b"\x10\x10\x00\x04MQTT\x04\x02\x02\x58\x00\x04dev1"), Some(600));
        assert_eq!(seconds(b"\x10\x0E\x00\x06MQIsdp\x03\x02\x00\x3C\x00\x00"), Some(60));
        assert_eq!(seconds(b"\x10\x0D\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00"), None, "none is asked for");
        for cut in 0..11 {
            assert_eq!(seconds(&b"\x10\x10\x00\x04MQTT\x04\x02\x02\x58\x00\x04dev1"[..cut]), None);
        }
        assert_eq!(seconds(&[0x30, 4, 0, 0, 0, 9]), None);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        assert_eq!(silence_allowed(minutes(5), b"\x10\x10\x00\x04MQTT\x04\x02\x02\x58\x00\x04dev1"), minutes(15));
        assert_eq!(silence_allowed(minutes(5), b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3C\x00\x04dev1"), minutes(5));
    }

    #[test]
    fn no_frame_begins_like_a_packet() {
        let frames = [1, 2, 3, 4, 5, 0x21, 0x22, 0x25, 0x26, 0x27, 0x28];
        assert!(frames.iter().all(|byte| !may_begin(*byte)));
        let packets = [0x10, 0x20, 0x30, 0x3B, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0];
        assert!(packets.iter().all(|byte| may_begin(*byte)));
        assert!([0x00, 0x11, 0x60, 0x80, 0xA3, 0xC1].iter().all(|byte| !may_begin(*byte)));
    }

    #[test]
    fn a_first_packet_is_waited_for_up_to_a_size() {
        let begins = |first: &[u8], second: &[u8]| begins_with_packet(true, (first, second));
        assert!(!begins(&[], &[]) && !begins(&[0x10], &[]) && !begins(&[0x10, 3, 0], &[0]));
        assert!(begins(&[0x10, 3, 0], &[0, 0]) && begins(&[0x10, 3, 0, 0, 0, 7], &[]));
        let large = [&[0x10, 0xFF, 0xFF, 0x7F][..], &[0; FIRST_PACKET_BYTES_MAX]].concat();
        assert!(begins(&large[..FIRST_PACKET_BYTES_MAX], &[]) && !begins(&large[..FIRST_PACKET_BYTES_MAX - 1], &[]));
        assert!(begins(&[0x10, 0x80, 0x80, 0x80, 0x80], &[]) && begins_with_packet(false, (&[0x16], &[])) && !begins_with_packet(false, (&[], &[])));
    }
}
