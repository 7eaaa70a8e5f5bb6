//! Data representations of §1.5: reading from a borrowed slice, appending to a vector.

use super::property::{Place, Properties};
use super::{Error, PacketId};
use crate::topic;

/// The largest variable byte integer (§1.5.5) and so the largest remaining length (§2.1.4).
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// Reads a body from front to back. Every method fails with `Malformed` when bytes are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// A packet has no bytes behind its last field.
    pub(super) fn finish(self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Malformed("bytes behind the last field")) }
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Error::Malformed("packet ends inside a field"));
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// §1.5.5: one to four bytes, and no more than needed.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, Error> {
        let mut value = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            value |= u32::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                if byte == 0 && index > 0 {
                    return Err(Error::Malformed("variable byte integer longer than needed"));
                }
                return Ok(value);
            }
        }
        Err(Error::Malformed("variable byte integer of more than four bytes"))
    }

    /// §1.5.6.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// §1.5.4: well-formed UTF-8 without U+0000.
    pub(super) fn utf8(&mut self) -> Result<&'a str, Error> {
        let bytes = self.binary()?;
        if bytes.iter().fold(false, |found, &byte| found | (byte == 0)) {
            return Err(Error::Malformed("U+0000 in a string"));
        }
        core::str::from_utf8(bytes).map_err(|_| Error::Malformed("string is not UTF-8"))
    }

    /// A topic name; empty ones are the caller's to judge.
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, Error> {
        let bytes = self.binary()?;
        let Ok(name) = core::str::from_utf8(bytes) else {
            return Err(Error::Malformed("string is not UTF-8"));
        };
        if topic::has_name_fault(bytes) {
            let has_nul = bytes.contains(&0);
            return Err(if has_nul { Error::Malformed("U+0000 in a string") } else { Error::TopicNameInvalid });
        }
        Ok(name)
    }

    /// A topic filter: a string of at least one character (§4.7.3).
    pub(super) fn topic_filter(&mut self) -> Result<&'a str, Error> {
        match self.utf8()? {
            "" => Err(Error::Malformed("empty topic filter")),
            filter => Ok(filter),
        }
    }

    /// §2.2.1: never 0.
    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Error> {
        PacketId::new(self.u16()?).ok_or(Error::Protocol("packet identifier 0"))
    }

    /// §2.2.2: length and block.
    #[inline]
    pub(super) fn properties(&mut self, place: Place) -> Result<Properties<'a>, Error> {
        let count = self.varint()?;
        if count == 0 {
            return Ok(Properties::EMPTY);
        }
        Properties::parse(place, self.take(count as usize)?)
    }
}

/// Bytes that `value` takes as a variable byte integer.
#[inline]
pub(super) fn varint_len(value: usize) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}

/// # Panics
/// If `value` is above [`VARINT_MAX`]: the caller made a packet that cannot be sent.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, value: usize) {
    assert!(value <= VARINT_MAX as usize, "packet of more than 256 MiB");
    let mut rest = value;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[inline]
pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// # Panics
/// If `bytes` are more than 65,535: the caller's fault.
#[inline]
pub(super) fn put_binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u16::try_from(bytes.len()).expect("a field of more than 65,535 bytes");
    put_u16(out, count);
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn put_properties(out: &mut Vec<u8>, properties: Properties<'_>) {
    put_varint(out, properties.as_bytes().len());
    out.extend_from_slice(properties.as_bytes());
}

/// Appends a packet whose length is found by writing it: for everything but PUBLISH.
pub(super) fn put_packet(out: &mut Vec<u8>, first: u8, write_body: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[first, 0]);
    let start = out.len();
    write_body(out);
    let count = out.len() - start;
    if count < 0x80 {
        out[start - 1] = count as u8;
        return;
    }
    // The length needs more room than was left for it: move the body up.
    let extra = varint_len(count) - 1;
    out.resize(out.len() + extra, 0);
    out.copy_within(start..start + count, start + extra);
    let mut rest = count;
    for slot in &mut out[start - 1..start + extra] {
        *slot = (rest as u8 & 0x7f) | if rest >= 0x80 { 0x80 } else { 0 };
        rest >>= 7;
    }
    assert!(rest == 0, "packet of more than 256 MiB");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variable_byte_integers_have_the_bounds_of_the_standard() {
        let table: [(u32, &[u8]); 8] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (16_383, &[0xff, 0x7f]),
            (16_384, &[0x80, 0x80, 1]),
            (2_097_151, &[0xff, 0xff, 0x7f]),
            (2_097_152, &[0x80, 0x80, 0x80, 1]),
            (VARINT_MAX, &[0xff, 0xff, 0xff, 0x7f]),
        ];
        for (value, bytes) in table {
            let mut out = Vec::new();
            put_varint(&mut out, value as usize);
            assert_eq!(out, bytes);
            assert_eq!(varint_len(value as usize), bytes.len());
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
        }
        for bad in [&[0x80_u8, 0][..], &[0xff, 0x80, 0], &[0x80], &[0xff, 0xff, 0xff, 0xff, 1], &[]] {
            assert!(Reader::new(bad).varint().is_err(), "{bad:x?}");
        }
    }

    #[test]
    fn strings_are_well_formed_and_without_nul() {
        let read = |bytes: &'static [u8]| Reader::new(bytes).utf8();
        assert_eq!(read(&[0, 3, 0xef, 0xbb, 0xbf]), Ok("\u{feff}"));
        assert_eq!(read(&[0, 5, 0x41, 0xf0, 0xaa, 0x9b, 0x94]), Ok("A\u{2a6d4}"));
        for bad in [&[0_u8, 1, 0][..], &[0, 3, 0xed, 0xa0, 0x80], &[0, 2, 0xc0, 0x80], &[0, 1, 0xff], &[0, 2, b'a'], &[0], &[0, 4, 0xf4, 0x90, 0x80, 0x80]] {
            assert!(matches!(Reader::new(bad).utf8(), Err(Error::Malformed(_))), "{bad:x?}");
        }
    }

    #[test]
    fn long_bodies_are_moved_behind_a_longer_length() {
        for count in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut out = vec![9, 9];
            put_packet(&mut out, 0x30, |out| out.extend((0..count).map(|index| index as u8)));
            let (frame, taken) = super::super::split(&out[2..], usize::MAX).expect("legal").expect("whole");
            assert_eq!((taken, frame.body.len()), (out.len() - 2, count));
            assert!(frame.body.iter().enumerate().all(|(index, &byte)| byte == index as u8));
        }
    }
}
