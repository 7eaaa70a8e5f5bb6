//! What one connection still has to send.
//!
//! Small packets are copied one behind the other into a tail vector; a large payload is kept as a
//! shared slice, so that a fan-out of a photograph costs one copy of it. The writer asks for the
//! parts, hands them to one vectored write and reports how many bytes went out. An empty buffer
//! owns no memory once [`OutBuffer::release`] was called: an idle connection holds nothing.

use std::collections::VecDeque;

use bytes::Bytes;

/// Payloads up to this size are copied; above it they are shared. Measured: a copy of 1 KiB costs
/// less than the bookkeeping of a part.
pub const SHARE_BYTES_MIN: usize = 1_024;

/// Bytes to be sent, in order.
#[derive(Debug, Default)]
pub struct OutBuffer {
    /// Parts before the tail.
    parts: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// Bytes of the first part (or of the tail, without parts) that went out already.
    sent: usize,
    /// Bytes in `parts`.
    parts_bytes: usize,
}

impl OutBuffer {
    /// The vector to append small packets to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Appends a payload, copied or shared.
    pub fn push(&mut self, payload: &Bytes) {
        if payload.len() <= SHARE_BYTES_MIN {
            self.tail.extend_from_slice(payload);
            return;
        }
        self.seal_tail();
        self.parts_bytes += payload.len();
        self.parts.push_back(payload.clone());
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts_bytes += self.tail.len();
            self.parts.push_back(Bytes::from(core::mem::take(&mut self.tail)));
        }
    }

    /// Bytes not yet sent.
    pub fn len(&self) -> usize {
        self.parts_bytes + self.tail.len() - self.sent
    }

    /// True when all was sent.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unsent bytes, in order, as slices; at most `max` of them are worth asking for.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent;
        self.parts
            .iter()
            .map(|part| &part[..])
            .chain(core::iter::once(&self.tail[..]))
            .map(move |slice| &slice[core::mem::take(&mut skip)..])
            .filter(|slice| !slice.is_empty())
    }

    /// `count` bytes went out.
    ///
    /// # Panics
    /// If that is more than [`OutBuffer::len`]: the caller's fault.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more sent than there was");
        self.sent += count;
        while let Some(first) = self.parts.front() {
            if self.sent < first.len() {
                return;
            }
            self.sent -= first.len();
            self.parts_bytes -= first.len();
            self.parts.pop_front();
        }
        if self.sent == self.tail.len() {
            self.tail.clear();
            self.sent = 0;
        }
    }

    /// Forgets everything unsent.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Frees the memory of an empty buffer: an idle connection holds none.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn bytes_come_out_in_order_however_they_are_cut() {
        let mut rng = Rng::with_seed(3);
        let (mut buffer, mut expected, mut seen) = (OutBuffer::default(), Vec::new(), Vec::new());
        for step in 0..5_000_u32 {
            let bound = if rng.chance(100) { 5_000 } else { 60 };
            let length = rng.below(bound) as usize;
            let payload = Bytes::from(vec![step as u8; length]);
            expected.extend_from_slice(&payload);
            buffer.push(&payload);
            let all: Vec<u8> = buffer.slices().flatten().copied().collect();
            assert_eq!(all.len(), buffer.len());
            let count = rng.below(all.len() as u64 + 1) as usize;
            seen.extend_from_slice(&all[..count]);
            buffer.advance(count);
            buffer.release();
        }
        seen.extend(buffer.slices().flatten());
        assert_eq!(seen, expected);
    }
}
