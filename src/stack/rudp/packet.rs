//! All that reliable UDP knows of MQTT: where a packet ends.

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
    fn a_first_packet_is_waited_for_up_to_a_size() {
        let begins = |first: &[u8], second: &[u8]| begins_with_packet(true, (first, second));
        assert!(!begins(&[], &[]) && !begins(&[0x10], &[]) && !begins(&[0x10, 3, 0], &[0]));
        assert!(begins(&[0x10, 3, 0], &[0, 0]) && begins(&[0x10, 3, 0, 0, 0, 7], &[]));
        let large = [&[0x10, 0xFF, 0xFF, 0x7F][..], &[0; FIRST_PACKET_BYTES_MAX]].concat();
        assert!(begins(&large[..FIRST_PACKET_BYTES_MAX], &[]) && !begins(&large[..FIRST_PACKET_BYTES_MAX - 1], &[]));
        assert!(begins(&[0x10, 0x80, 0x80, 0x80, 0x80], &[]) && begins_with_packet(false, (&[0x16], &[])) && !begins_with_packet(false, (&[], &[])));
    }
}
