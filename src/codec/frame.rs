//! The fixed header (§2.1) and nothing else: finds packets in a stream of bytes.
//!
//! [`split`] does not know the version of the connection (it runs before CONNECT is decoded), so
//! it is as lenient as the most lenient version: a PUBREL, SUBSCRIBE or UNSUBSCRIBE may carry the
//! DUP bit, as MQTT 3.1 sends it (decode refuses it in the others), and the remaining length may
//! take more bytes than it needs, which 3.1 and 3.1.1 allow and firmware with a fixed four-byte
//! header does.

use super::Error;

/// The largest packet there is: the largest Remaining Length and its header (§2.1.4).
pub(crate) const PACKET_BYTES_MAX: usize = 268_435_460;

/// One packet, not yet looked into.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Packet type and flags.
    pub first: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
}

/// Takes one packet off the front of `input`; the `usize` is what it takes there in all. `None`:
/// more bytes are needed.
///
/// Wrong flags and a length of more than four bytes are `Malformed`, a packet of more than
/// `packet_bytes_max` bytes in all is `PacketTooLarge`, both as soon as those bytes are there.
#[inline]
pub fn split(input: &[u8], packet_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, Error> {
    let Some((&first, rest)) = input.split_first() else {
        return Ok(None);
    };
    check_first(first)?;
    let Some((remaining, width)) = remaining_length(rest)? else {
        return Ok(None);
    };
    let total = 1 + width + remaining;
    if total > packet_bytes_max {
        return Err(Error::PacketTooLarge);
    }
    Ok(input.get(1 + width..total).map(|body| (Frame { first, body }, total)))
}

/// The packet that begins `input`, as much of it as is there, and what it takes in all. `None`: its fixed header is not there.
pub(super) fn split_head(input: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Error> {
    let Some((&first, rest)) = input.split_first() else { return Ok(None) };
    let Some((remaining, width)) = remaining_length(rest)? else { return Ok(None) };
    Ok(Some((Frame { first, body: &rest[width..] }, 1 + width + remaining)))
}

/// What the first packet of `input` takes in all, once its fixed header is there; `None` before
/// that, and for a length that [`split`] refuses.
pub fn packet_len(input: &[u8]) -> Option<usize> {
    let (remaining, width) = remaining_length(input.get(1..)?).ok()??;
    Some(1 + width + remaining)
}

/// Value and width of the length at the front of `bytes`.
#[inline]
fn remaining_length(bytes: &[u8]) -> Result<Option<(usize, usize)>, Error> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Error::Malformed("remaining length of more than four bytes")) }
}

/// §2.1.3 and, for PUBLISH, §3.3.1.
#[inline]
pub(super) fn check_first(first: u8) -> Result<(), Error> {
    let flags = first & 0x0f;
    match first >> 4 {
        0 => Err(Error::Malformed("packet type 0")),
        3 if flags & 0b0110 == 0b0110 => Err(Error::Malformed("QoS 3")),
        3 if flags & 0b1110 == 0b1000 => Err(Error::Malformed("DUP with QoS 0")),
        3 => Ok(()),
        6 | 8 | 10 if flags & 0b0111 == 0b0010 => Ok(()),
        6 | 8 | 10 => Err(Error::Malformed("fixed header flags")),
        _ if flags == 0 => Ok(()),
        _ => Err(Error::Malformed("fixed header flags")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_found_only_when_it_is_whole() {
        let input = [0x30, 0x03, 0, 1, b'a', 0xc0, 0];
        for end in 0..5 {
            assert!(split(&input[..end], 100).expect("legal").is_none());
            assert_eq!(packet_len(&input[..end]), (end >= 2).then_some(5));
        }
        let (frame, taken) = split(&input, 100).expect("legal").expect("whole");
        assert_eq!((frame.first, frame.body, taken), (0x30, &input[2..5], 5));
        let (frame, taken) = split(&input[5..], 100).expect("legal").expect("whole");
        assert_eq!((frame.first, frame.body.len(), taken), (0xc0, 0, 2));
    }

    #[test]
    fn faults_show_before_the_body_has_come() {
        let too_wide = Some(Error::Malformed("remaining length of more than four bytes"));
        assert_eq!(split(&[0x30, 0x80, 0x80, 0x80, 0x80], 9).err(), too_wide);
        assert_eq!(split(&[0x30, 100], 101).err(), Some(Error::PacketTooLarge));
        assert!(split(&[0x30, 100], 102).expect("legal").is_none());
        assert_eq!(packet_len(&[0x30, 0xff, 0xff, 0xff, 0xff]), None);
        assert_eq!(packet_len(&[0x30, 0xff, 0xff, 0xff, 0x7f]), Some(268_435_460));
    }

    #[test]
    fn every_first_byte_is_judged_as_the_table_says() {
        let legal = |first: u8| match first >> 4 {
            0 => false,
            3 => [0, 1, 2, 3, 4, 5, 10, 11, 12, 13].contains(&(first & 15)),
            6 | 8 | 10 => [2, 10].contains(&(first & 15)),
            _ => first & 15 == 0,
        };
        for first in 0..=255 {
            assert_eq!(split(&[first], 100).is_ok(), legal(first), "{first:x}");
        }
    }

    #[test]
    fn a_padded_length_is_accepted() {
        let (frame, taken) = split(&[0xc0, 0x80, 0x80, 0x00], 100).expect("legal").expect("whole");
        assert_eq!((frame.body.len(), taken), (0, 4));
    }
}
