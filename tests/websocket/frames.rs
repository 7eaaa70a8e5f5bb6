//! Frames by hand (RFC 6455 §5.2).

/// One frame as the test writes it, right or wrong.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    pub opcode: u8,
    pub is_unfinished: bool,
    pub reserved: u8,
    /// Masked by a server, or not masked by a client.
    pub is_mask_wrong: bool,
    /// Bytes the length is written in, instead of as many as it needs.
    pub length_bytes: Option<usize>,
    pub is_top_bit_set: bool,
    pub payload: Vec<u8>,
}

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

impl Frame {
    /// The bytes that a client, or a server, sends.
    pub fn bytes(&self, is_client: bool) -> Vec<u8> {
        let is_masked = is_client != self.is_mask_wrong;
        let length = self.payload.len() as u64;
        let width = self.length_bytes.unwrap_or(match length {
            0..=125 => 0,
            126..=65_535 => 2,
            _ => 8,
        });
        let mut bytes = vec![self.opcode | self.reserved << 4 | u8::from(!self.is_unfinished) << 7];
        let mask_bit = u8::from(is_masked) << 7;
        bytes.push(match width {
            0 => length as u8 | mask_bit,
            2 => 126 | mask_bit,
            _ => 127 | mask_bit,
        });
        let top = if self.is_top_bit_set { 1 << 63 } else { 0 };
        bytes.extend_from_slice(&(length | top).to_be_bytes()[8 - width..]);
        let mask = [0x5a, 0x00, 0xff, 0x13];
        if is_masked {
            bytes.extend_from_slice(&mask);
        }
        bytes.extend(self.payload.iter().enumerate().map(|(index, byte)| if is_masked { byte ^ mask[index % 4] } else { *byte }));
        bytes
    }
}

/// Takes a whole frame off the front of `bytes`. Its sender must follow the standard.
pub fn take(bytes: &mut Vec<u8>, is_of_client: bool) -> Option<(u8, Vec<u8>)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    assert_eq!(first & 0xf0, 0x80, "whole messages without reserved bits");
    assert_eq!(second >> 7 == 1, is_of_client, "who masks");
    let (length, width) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two"))), 2),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight")) as usize, 8),
        short => (usize::from(short), 0),
    };
    let mut start = 2 + width;
    let mut mask = [0; 4];
    if is_of_client {
        mask.copy_from_slice(bytes.get(start..start + 4)?);
        start += 4;
    }
    let payload = bytes.get(start..start + length)?.iter().enumerate().map(|(index, byte)| byte ^ mask[index % 4]).collect();
    bytes.drain(..start + length);
    Some((first & 15, payload))
}
