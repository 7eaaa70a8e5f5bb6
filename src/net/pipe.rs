//! What waits in one direction of a stream inside the process: bytes, and among them payloads that are handed on by reference.
//!
//! Bytes are copied into one ring. A payload stands behind so many of them; whoever reads takes those first, and then the
//! payload as it is, or, if it cannot do with that, byte by byte like the rest. Its memory is not this pipe's, but is counted like
//! bytes as long as it waits here: whoever sent it may have forgotten it by then.

use std::collections::VecDeque;
use std::io::Read;

use bytes::{Buf, Bytes};

/// Bytes that wait in one direction of a stream between a client and a server; a payload goes in whole while there are fewer.
pub(super) const PIPE_BYTES_MAX: usize = 256 << 10;
/// An empty pipe keeps room for so many.
const PIPE_BYTES_KEPT: usize = 16 << 10;

pub(super) struct Content {
    bytes_max: usize,
    bytes: VecDeque<u8>,
    payloads: VecDeque<Placed>,
    /// Of `bytes`, those behind the last payload.
    tail: usize,
    payload_bytes: usize,
}

struct Placed {
    /// Of the pipe's bytes, those between the payload before and this one.
    behind: usize,
    payload: Bytes,
}

impl Content {
    /// Takes so many bytes, at most, and a payload while there are fewer.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: VecDeque::new(), payloads: VecDeque::new(), tail: 0, payload_bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.bytes.len() + self.payload_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn is_full(&self) -> bool {
        self.len() >= self.bytes_max
    }

    pub fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.len())
    }

    /// There is so much room again that it is worth while to tell of it.
    pub fn is_half_empty(&self) -> bool {
        self.len() <= self.bytes_max / 2
    }

    /// What it holds in memory.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity() + self.payloads.capacity() * size_of::<Placed>() + self.payload_bytes
    }

    /// How many of them it takes.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.room());
        self.bytes.extend(&bytes[..count]);
        self.tail += count;
        count
    }

    /// How many bytes of it it takes: all or none.
    pub fn write_payload(&mut self, payload: &Bytes) -> usize {
        if self.is_full() {
            return 0;
        }
        self.payload_bytes += payload.len();
        self.payloads.push_back(Placed { behind: core::mem::take(&mut self.tail), payload: payload.clone() });
        payload.len()
    }

    /// A payload comes next.
    pub fn is_payload_next(&self) -> bool {
        self.payloads.front().is_some_and(|placed| placed.behind == 0)
    }

    /// The payload that comes next.
    pub fn take_payload(&mut self) -> Option<Bytes> {
        if !self.is_payload_next() {
            return None;
        }
        let Placed { payload, .. } = self.payloads.pop_front()?;
        self.payload_bytes -= payload.len();
        Some(payload)
    }

    /// Bytes, up to the next payload.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let next = self.payloads.front_mut().map_or(&mut self.tail, |placed| &mut placed.behind);
        let count = buffer.len().min(*next);
        *next -= count;
        self.bytes.read_exact(&mut buffer[..count]).expect("no more than there is");
        count
    }

    /// Bytes, those of payloads, too.
    pub fn read_through(&mut self, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() && !self.is_empty() {
            let rest = &mut buffer[filled..];
            filled += if self.is_payload_next() { self.read_payload(rest) } else { self.read(rest) };
        }
        filled
    }

    fn read_payload(&mut self, buffer: &mut [u8]) -> usize {
        let Some(Placed { payload, .. }) = self.payloads.front_mut() else { return 0 };
        let count = buffer.len().min(payload.len());
        payload.copy_to_slice(&mut buffer[..count]);
        if payload.is_empty() {
            self.payloads.pop_front();
        }
        self.payload_bytes -= count;
        count
    }

    /// The bytes that come next, as many as lie together; those of a payload, too.
    #[cfg(feature = "datagram")]
    pub fn front(&self) -> &[u8] {
        match self.payloads.front() {
            Some(placed) if placed.behind == 0 => &placed.payload,
            next => {
                let bytes = self.bytes.as_slices().0;
                &bytes[..bytes.len().min(next.map_or(self.tail, |placed| placed.behind))]
            }
        }
    }

    /// So many of those are done with.
    #[cfg(feature = "datagram")]
    pub fn consume(&mut self, count: usize) {
        if let Some(placed) = self.payloads.front_mut().filter(|placed| placed.behind == 0) {
            placed.payload.advance(count);
            self.payload_bytes -= count;
            if placed.payload.is_empty() {
                self.payloads.pop_front();
            }
            return;
        }
        self.bytes.drain(..count);
        *self.payloads.front_mut().map_or(&mut self.tail, |placed| &mut placed.behind) -= count;
    }

    /// An empty one gives memory back.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.bytes.shrink_to(PIPE_BYTES_KEPT);
            self.payloads = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn bytes_and_payloads_come_out_in_order_however_they_are_taken() {
        let mut rng = Rng::with_seed(7);
        let (mut content, mut expected, mut seen) = (Content::new(PIPE_BYTES_MAX), Vec::new(), Vec::new());
        for step in 0..20_000_u32 {
            let piece: Vec<u8> = (0..rng.below(40)).map(|index| (u64::from(step) + index) as u8).collect();
            if rng.chance(300) && !piece.is_empty() {
                content.write_payload(&piece.clone().into());
            } else {
                content.write(&piece);
            }
            expected.extend(piece);
            let mut buffer = [0; 64];
            let buffer = &mut buffer[..rng.below(64) as usize];
            match rng.below(if cfg!(feature = "datagram") { 4 } else { 3 }) {
                #[cfg(feature = "datagram")]
                3 => {
                    let front = content.front();
                    assert!(!front.is_empty() || content.is_empty());
                    let count = front.len().min(buffer.len());
                    seen.extend(&front[..count]);
                    content.consume(count);
                }
                0 => {
                    let count = content.read(buffer);
                    seen.extend(&buffer[..count]);
                }
                1 => {
                    let count = content.read_through(buffer);
                    assert!(count == buffer.len() || content.is_empty());
                    seen.extend(&buffer[..count]);
                }
                _ => seen.extend(content.take_payload().unwrap_or_default()),
            }
            content.release();
            assert_eq!(content.len(), expected.len() - seen.len());
        }
        let mut rest = vec![0; content.len()];
        assert_eq!(content.read_through(&mut rest), rest.len());
        seen.extend(rest);
        assert!(seen == expected);
        content.release();
        assert!(content.is_empty() && content.memory_bytes() <= PIPE_BYTES_KEPT);
    }

    #[test]
    fn a_payload_is_handed_on_as_it_is_and_goes_in_whole_while_there_is_room() {
        let mut content = Content::new(PIPE_BYTES_MAX);
        let payload = Bytes::from(vec![7; 2 * PIPE_BYTES_MAX]);
        assert_eq!(content.write(b"head"), 4);
        assert_eq!(content.write_payload(&payload), payload.len());
        assert!(content.is_full() && content.memory_bytes() > payload.len());
        assert_eq!((content.write(b"more"), content.write_payload(&payload)), (0, 0));
        assert!(content.take_payload().is_none(), "what is in front of it comes first");
        assert_eq!(content.read(&mut [0; 10]), 4);
        assert_eq!(content.read(&mut [0; 10]), 0);
        assert_eq!(content.take_payload().map(|taken| taken.as_ptr()), Some(payload.as_ptr()));
        assert_eq!(content.write(b"more"), 4);
    }
}
