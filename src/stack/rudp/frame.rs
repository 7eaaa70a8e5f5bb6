//! Frames of both generations: bytes to values and back. `WIRE.md` is the table.
//!
//! Whatever is a [`Frame`] had the right length, known flags and the right checksum; whether it makes sense is the
//! peer's question. Bytes that the table calls zero are sent as zero and not looked at.

use crc::{CRC_32_ISCSI, Crc, Table};

/// The greatest frame of all: what fits a UDP datagram over IPv4.
pub(crate) const FRAME_BYTES_LIMIT: usize = 65_507;
/// What a DATA adds to its bytes, without an ACK block.
pub(crate) const DATA_OVERHEAD: usize = 22;
/// An ACK block.
pub(crate) const ACK_BLOCK_BYTES: usize = 22;
/// A frame of generation 1 without payload.
pub(crate) const HEADER_BYTES: usize = 4;
const HELLO_BYTES: usize = 44;
/// An ACK.
pub(crate) const ACK_BYTES: usize = 38;
const SHORT_BYTES: usize = 24;
const CHECKSUM_BYTES: usize = 4;
const CHECKSUM: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The version a CONNECT of generation 2 names.
pub(crate) const VERSION: u8 = 2;

const DATA_1: u8 = 0x01;
const ACK_1: u8 = 0x02;
const CONNECT: u8 = 0x03;
const CONNACK: u8 = 0x04;
const CLOSE_1: u8 = 0x05;
const DATA: u8 = 0x21;
const ACK: u8 = 0x22;
const CLOSE: u8 = 0x25;
const PING: u8 = 0x26;
const PONG: u8 = 0x27;
const RESET: u8 = 0x28;

const FLAG_HELLO: u8 = 0x80;
const FLAG_EXISTS: u8 = 0x81;
const FLAG_HAS_ACK: u8 = 0x01;
const FLAG_ANSWER_AT_ONCE: u8 = 0x02;
const FLAG_IS_ANSWER: u8 = 0x01;

/// Why a datagram is no frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// Its length does not fit its type.
    Length,
    /// No type of either generation.
    Kind,
    /// A flag this version does not know.
    Flags,
    /// The checksum is another one: damaged on the way.
    Checksum,
}

/// One frame, borrowed from its datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
// The fields are the table's.
#[allow(missing_docs)]
pub enum Frame<'a> {
    /// Generation 1.
    One(One<'a>),
    /// Generation 2: who wants in.
    Connect(Hello),
    /// The answer; `exists`: the peer has been made.
    Connack { hello: Hello, exists: bool },
    /// Bytes of the stream.
    Data(Data<'a>),
    /// What arrived.
    Ack { id: u64, block: AckBlock },
    /// The end of the connection.
    Close(Close),
    /// A path challenge, or (`is_answer`) its echo.
    Ping { id: u64, opaque: u64, is_answer: bool },
    /// The receiver of `id` knows no such connection.
    Reset { id: u64, token: u64 },
}

/// A frame of generation 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum One<'a> {
    /// A packet.
    Data { sequence: u16, payload: &'a [u8] },
    /// It arrived.
    Ack { sequence: u16 },
    /// Who wants in.
    Connect,
    /// May come in.
    Connack,
    /// Good-bye.
    Close,
}

/// What CONNECT and CONNACK say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hello {
    /// The receiver's id; 0 as long as it is not known.
    pub receiver: u64,
    /// The sender's.
    pub sender: u64,
    /// The highest version it speaks.
    pub version: u8,
    /// Bits of what it can; none is defined yet.
    pub features: u8,
    /// The largest frame it takes.
    pub frame_bytes_max: u16,
    /// Bytes of the stream it takes before it says more.
    pub limit: u32,
    /// After so many silent seconds it gives up.
    pub idle_s: u16,
    /// What a RESET for the sender's id will bear; a client sends zero.
    pub token: u64,
}

/// DATA of generation 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data<'a> {
    /// The receiver's id.
    pub id: u64,
    /// Its number: a new one for each frame.
    pub number: u32,
    /// Where in the stream its bytes belong.
    pub offset: u32,
    /// To be acknowledged at once.
    pub answer_at_once: bool,
    /// What arrived in the other direction.
    pub ack: Option<AckBlock>,
    /// The bytes; none is legal.
    pub bytes: &'a [u8],
}

/// What arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AckBlock {
    /// The largest number; 0: none yet.
    pub largest: u32,
    /// Bit k: number `largest - 1 - k` arrived.
    pub bitmap: u64,
    /// How long ago the largest arrived.
    pub delay_ms: u8,
    /// The next byte of the stream that is missing.
    pub next: u32,
    /// Only bytes below this offset may be sent.
    pub limit: u32,
}

/// CLOSE of generation 2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Close {
    /// The receiver's id.
    pub id: u64,
    /// It answers a CLOSE.
    pub is_answer: bool,
    /// A number of [`super::Reason`], or one that is not known here.
    pub reason: u16,
    /// Where the sender's stream ends.
    pub offset: u32,
}

impl AckBlock {
    /// Whether it acknowledges `number`.
    pub fn has(&self, number: u32) -> bool {
        match self.largest.wrapping_sub(number) {
            0 => self.largest != 0,
            distance @ 1..=64 => self.bitmap >> (distance - 1) & 1 == 1,
            _ => false,
        }
    }

    fn read(bytes: &[u8]) -> Self {
        Self { largest: u32_at(bytes, 0), bitmap: u64_at(bytes, 4), delay_ms: bytes[12], next: u32_at(bytes, 14), limit: u32_at(bytes, 18) }
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.largest.to_be_bytes());
        out.extend_from_slice(&self.bitmap.to_be_bytes());
        out.extend_from_slice(&[self.delay_ms, 0]);
        out.extend_from_slice(&self.next.to_be_bytes());
        out.extend_from_slice(&self.limit.to_be_bytes());
    }
}

impl Hello {
    fn read(bytes: &[u8]) -> Self {
        Self {
            receiver: u64_at(bytes, 4),
            sender: u64_at(bytes, 12),
            version: bytes[20],
            features: bytes[21],
            frame_bytes_max: u16_at(bytes, 22),
            limit: u32_at(bytes, 24),
            idle_s: u16_at(bytes, 28),
            token: u64_at(bytes, 32),
        }
    }

    fn write(&self, kind: u8, flags: u8, out: &mut Vec<u8>) {
        header(kind, 0, flags, self.receiver, out);
        out.extend_from_slice(&self.sender.to_be_bytes());
        out.extend_from_slice(&[self.version, self.features]);
        out.extend_from_slice(&self.frame_bytes_max.to_be_bytes());
        out.extend_from_slice(&self.limit.to_be_bytes());
        out.extend_from_slice(&self.idle_s.to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.token.to_be_bytes());
    }
}

impl<'a> Frame<'a> {
    /// Takes a datagram for what it is.
    ///
    /// # Errors
    /// It is no frame of either generation, or was damaged.
    pub fn read(datagram: &'a [u8]) -> Result<Self, Flaw> {
        let &[kind, _, _, flags, ..] = datagram else { return Err(Flaw::Length) };
        match kind {
            // Stock peers send nothing behind these, and look at nothing behind them.
            CONNECT | CONNACK if datagram.len() == HEADER_BYTES => Ok(Self::One(if kind == CONNECT { One::Connect } else { One::Connack })),
            DATA_1 => Ok(Self::One(One::Data { sequence: u16_at(datagram, 1), payload: &datagram[HEADER_BYTES..] })),
            ACK_1 => Ok(Self::One(One::Ack { sequence: u16_at(datagram, 1) })),
            CLOSE_1 => Ok(Self::One(One::Close)),
            CONNECT | CONNACK => {
                let is_known = flags == FLAG_HELLO || (kind == CONNACK && flags == FLAG_EXISTS);
                let body = checked(datagram, HELLO_BYTES, usize::MAX, is_known)?;
                let hello = Hello::read(body);
                Ok(if kind == CONNECT { Self::Connect(hello) } else { Self::Connack { hello, exists: flags == FLAG_EXISTS } })
            }
            DATA => Self::data(datagram, flags),
            ACK => {
                let body = checked(datagram, ACK_BYTES, ACK_BYTES, flags == 0)?;
                Ok(Self::Ack { id: u64_at(body, 4), block: AckBlock::read(&body[12..]) })
            }
            CLOSE => {
                let body = checked(datagram, SHORT_BYTES, SHORT_BYTES, flags & !FLAG_IS_ANSWER == 0)?;
                Ok(Self::Close(Close { id: u64_at(body, 4), is_answer: flags != 0, reason: u16_at(body, 12), offset: u32_at(body, 16) }))
            }
            PING | PONG => {
                let body = checked(datagram, SHORT_BYTES, SHORT_BYTES, flags == 0)?;
                Ok(Self::Ping { id: u64_at(body, 4), opaque: u64_at(body, 12), is_answer: kind == PONG })
            }
            RESET => {
                let body = checked(datagram, SHORT_BYTES, SHORT_BYTES, flags == 0)?;
                Ok(Self::Reset { id: u64_at(body, 4), token: u64_at(body, 12) })
            }
            _ => Err(Flaw::Kind),
        }
    }

    fn data(datagram: &'a [u8], flags: u8) -> Result<Self, Flaw> {
        let has_ack = flags & FLAG_HAS_ACK != 0;
        let least = DATA_OVERHEAD + if has_ack { ACK_BLOCK_BYTES } else { 0 };
        let body = checked(datagram, least, usize::MAX, flags & !(FLAG_HAS_ACK | FLAG_ANSWER_AT_ONCE) == 0)?;
        let (ack, bytes) = match has_ack {
            true => (Some(AckBlock::read(&body[18..])), &body[18 + ACK_BLOCK_BYTES..]),
            false => (None, &body[18..]),
        };
        Ok(Self::Data(Data {
            id: u64_at(body, 4),
            number: u32::from(u16_at(body, 12)) << 16 | u32::from(u16_at(body, 1)),
            offset: u32_at(body, 14),
            answer_at_once: flags & FLAG_ANSWER_AT_ONCE != 0,
            ack,
            bytes,
        }))
    }

    /// Appends it to `out`, which begins a datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        match self {
            Self::One(one) => return one.write(out),
            Self::Connect(hello) => hello.write(CONNECT, FLAG_HELLO, out),
            Self::Connack { hello, exists } => hello.write(CONNACK, if *exists { FLAG_EXISTS } else { FLAG_HELLO }, out),
            Self::Data(data) => {
                data.begin(out);
                out.extend_from_slice(data.bytes);
            }
            Self::Ack { id, block } => {
                header(ACK, 0, 0, *id, out);
                block.write(out);
            }
            Self::Close(close) => {
                header(CLOSE, 0, if close.is_answer { FLAG_IS_ANSWER } else { 0 }, close.id, out);
                out.extend_from_slice(&close.reason.to_be_bytes());
                out.extend_from_slice(&[0, 0]);
                out.extend_from_slice(&close.offset.to_be_bytes());
            }
            Self::Ping { id, opaque, is_answer } => {
                header(if *is_answer { PONG } else { PING }, 0, 0, *id, out);
                out.extend_from_slice(&opaque.to_be_bytes());
            }
            Self::Reset { id, token } => {
                header(RESET, 0, 0, *id, out);
                out.extend_from_slice(&token.to_be_bytes());
            }
        }
        seal(out, start);
    }
}

impl Data<'_> {
    /// Appends all that stands before the bytes; they and [`seal`] follow.
    pub fn begin(&self, out: &mut Vec<u8>) {
        let flags = if self.ack.is_some() { FLAG_HAS_ACK } else { 0 } | if self.answer_at_once { FLAG_ANSWER_AT_ONCE } else { 0 };
        header(DATA, self.number as u16, flags, self.id, out);
        out.extend_from_slice(&((self.number >> 16) as u16).to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        if let Some(block) = &self.ack {
            block.write(out);
        }
    }
}

impl One<'_> {
    /// Appends it to `out`, which begins a datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (kind, sequence, payload): (u8, u16, &[u8]) = match *self {
            Self::Data { sequence, payload } => (DATA_1, sequence, payload),
            Self::Ack { sequence } => (ACK_1, sequence, &[]),
            Self::Connect => (CONNECT, 0, &[]),
            Self::Connack => (CONNACK, 0, &[]),
            Self::Close => (CLOSE_1, 0, &[]),
        };
        let [high, low] = sequence.to_be_bytes();
        out.extend_from_slice(&[kind, high, low, 0]);
        out.extend_from_slice(payload);
    }
}

/// Appends the checksum of the frame that begins at `start`.
pub fn seal(out: &mut Vec<u8>, start: usize) {
    let checksum = checksum(&out[start..]);
    out.extend_from_slice(&checksum.to_be_bytes());
}

/// The CRC-32C of these bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    CHECKSUM.checksum(bytes)
}

fn header(kind: u8, sequence: u16, flags: u8, id: u64, out: &mut Vec<u8>) {
    let [high, low] = sequence.to_be_bytes();
    out.extend_from_slice(&[kind, high, low, flags]);
    out.extend_from_slice(&id.to_be_bytes());
}

/// The frame without its checksum, if length, flags and checksum are right.
fn checked(datagram: &[u8], least: usize, most: usize, has_known_flags: bool) -> Result<&[u8], Flaw> {
    if datagram.len() < least || datagram.len() > most {
        return Err(Flaw::Length);
    }
    if !has_known_flags {
        return Err(Flaw::Flags);
    }
    let (body, checksum) = datagram.split_at(datagram.len() - CHECKSUM_BYTES);
    if self::checksum(body).to_be_bytes() == checksum { Ok(body) } else { Err(Flaw::Checksum) }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) << 16 | u32::from(u16_at(bytes, at + 2))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_with_known_flags_are_frames() {
        let mut frame = Vec::new();
        Frame::Ping { id: 1, opaque: 2, is_answer: false }.write(&mut frame);
        assert_eq!(Frame::read(&frame), Ok(Frame::Ping { id: 1, opaque: 2, is_answer: false }));
        for length in 0..frame.len() {
            assert_eq!(Frame::read(&frame[..length]), Err(Flaw::Length), "{length}");
        }
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(Frame::read(&damaged), Ok(Frame::Ping { .. } | Frame::Reset { .. } | Frame::Data { .. })), "{bit}");
        }
        frame[3] = 0x40;
        assert_eq!(Frame::read(&frame), Err(Flaw::Flags), "sealed frames do not exist yet");
    }

    #[test]
    fn a_connect_of_another_length_is_dropped() {
        assert_eq!(Frame::read(&[3, 0, 0, 0]), Ok(Frame::One(One::Connect)));
        assert_eq!(Frame::read(&[3, 0, 0, 0, 0]), Err(Flaw::Length));
        assert_eq!(Frame::read(&[4, 0, 0, 0, 0]), Err(Flaw::Length));
        assert_eq!(Frame::read(&[6, 0, 0, 0]), Err(Flaw::Kind));
    }

    #[test]
    fn an_ack_block_has_the_largest_and_what_its_bits_say() {
        let block = AckBlock { largest: 70, bitmap: 1 | 1 << 63, ..AckBlock::default() };
        assert!(block.has(70) && block.has(69) && block.has(6));
        assert!(!block.has(71) && !block.has(68) && !block.has(5) && !block.has(4));
        assert!(!AckBlock::default().has(0));
    }
}
