//! The bytes of a stream that are on their way: sent and not acknowledged, or arrived and not read.
//!
//! A ring of a power of two, which begins at the offset its owner keeps. It takes memory with the first byte,
//! doubles up to what its owner allows, and gives all back when it is empty: an idle connection has none.

/// What it takes first.
const FIRST_BYTES: usize = 1_024;

#[derive(Debug, Default)]
pub struct Ring {
    bytes: Vec<u8>,
    start: usize,
}

impl Ring {
    /// Stores `bytes` so far behind the front. Grows as needed: the caller knows the limit.
    /// `held`: how many bytes behind the front may be in use.
    pub fn store(&mut self, distance: usize, bytes: &[u8], held: usize) {
        self.reserve(distance + bytes.len(), held);
        if bytes.is_empty() {
            return;
        }
        let at = (self.start + distance) & (self.bytes.len() - 1);
        let first = bytes.len().min(self.bytes.len() - at);
        self.bytes[at..at + first].copy_from_slice(&bytes[..first]);
        self.bytes[..bytes.len() - first].copy_from_slice(&bytes[first..]);
    }

    /// `count` bytes, so far behind the front, in two pieces.
    pub fn pieces(&self, distance: usize, count: usize) -> (&[u8], &[u8]) {
        if count == 0 {
            return (&[], &[]);
        }
        let at = (self.start + distance) & (self.bytes.len() - 1);
        let first = count.min(self.bytes.len() - at);
        (&self.bytes[at..at + first], &self.bytes[..count - first])
    }

    /// `count` bytes at the front are done with; `is_empty`: so are all.
    pub fn advance(&mut self, count: usize, is_empty: bool) {
        if is_empty {
            *self = Self::default();
        } else {
            self.start = (self.start + count) & (self.bytes.len() - 1);
        }
    }

    /// Copies bytes from the front, which then are done with; `is_empty`: so are all.
    pub fn take(&mut self, buffer: &mut [u8], is_empty: bool) {
        let (first, second) = self.pieces(0, buffer.len());
        buffer[..first.len()].copy_from_slice(first);
        buffer[first.len()..].copy_from_slice(second);
        self.advance(buffer.len(), is_empty);
    }

    /// What it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn reserve(&mut self, needed: usize, held: usize) {
        if needed <= self.bytes.len() {
            return;
        }
        let mut grown = vec![0; needed.next_power_of_two().max(FIRST_BYTES)];
        let (first, second) = self.pieces(0, held.min(self.bytes.len()));
        grown[..first.len()].copy_from_slice(first);
        grown[first.len()..first.len() + second.len()].copy_from_slice(second);
        *self = Self { bytes: grown, start: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::collections::VecDeque;

    #[test]
    fn bytes_come_out_as_they_went_in_however_it_wraps_and_grows() {
        let mut rng = Rng::with_seed(3);
        let (mut ring, mut model) = (Ring::default(), VecDeque::new());
        for round in 0..5_000_u64 {
            let piece: Vec<u8> = (0..rng.below(700)).map(|index| (index + round) as u8).collect();
            ring.store(model.len(), &piece, model.len());
            model.extend(&piece);
            let count = rng.below(model.len() as u64 + 1).min(rng.below(900)) as usize;
            let (first, second) = ring.pieces(0, count);
            let mut taken = [first, second].concat();
            let out: Vec<u8> = model.drain(..count).collect();
            assert_eq!(taken, out);
            taken.fill(0);
            ring.take(&mut taken, model.is_empty());
            assert_eq!(taken, out);
        }
        ring.advance(0, true);
        assert_eq!(ring.memory_bytes(), 0);
    }
}
