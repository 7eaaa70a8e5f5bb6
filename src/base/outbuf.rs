//! What one connection still has to send.
//!
//! Small packets are copied one behind the other into a tail vector; a large payload is kept as a
//! shared slice, so that a fan-out of a photograph costs one copy of it. The writer asks for the
//! parts, hands them to one vectored write and reports how many bytes went out. An empty buffer
//! owns no memory once [`OutBuffer::release`] was called: an idle connection holds nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// Payloads up to this size are copied; above it they are shared. Measured: a copy of 1 KiB costs
/// less than the bookkeeping of a part.
pub const SHARE_BYTES_MIN: usize = 1_024;

/// What the tail takes at once when it takes memory: it is given back at the end of the turn, and
/// what grows from nothing in small steps is moved at each of them. Allocators keep pieces below 1 KiB at
/// hand.
const TAIL_BYTES_MIN: usize = 1_000;

/// Sent bytes in front of the tail go when there are so many, and no fewer than what is left.
const MOVE_BYTES_MIN: usize = 32 << 10;

/// Bytes to be sent, in order.
#[derive(Debug, Default)]
pub struct OutBuffer {
    /// Parts before the tail; few connections have any.
    parts: Option<Box<Parts>>,
    tail: Vec<u8>,
    /// Bytes of the first part (or of the tail, without parts) that went out already.
    sent: usize,
}

#[derive(Debug, Default)]
struct Parts {
    queue: VecDeque<Part>,
    bytes: usize,
    /// Those of the parts that were tails.
    own_bytes: usize,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// Who has lent them, and has its memory charged; `None`: they were the tail.
    lender: Option<Lender>,
}

/// Whoever a payload belongs to; kept until that is sent.
pub type Lender = Arc<dyn Any + Send + Sync>;

/// A part of what is unsent.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// A payload of which nothing is sent yet.
    Payload(&'a Bytes),
}

impl Part {
    fn own_bytes(&self) -> usize {
        if self.lender.is_none() { self.bytes.len() } else { 0 }
    }
}

impl Parts {
    fn push(&mut self, part: Part) {
        self.bytes += part.bytes.len();
        self.own_bytes += part.own_bytes();
        self.queue.push_back(part);
    }

    fn pop(&mut self) {
        let Some(part) = self.queue.pop_front() else { return };
        self.bytes -= part.bytes.len();
        self.own_bytes -= part.own_bytes();
    }
}

impl OutBuffer {
    /// The vector to append small packets to.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail.reserve_exact(TAIL_BYTES_MIN);
        }
        &mut self.tail
    }

    /// Appends a payload of `lender`: copied, or shared.
    pub fn push(&mut self, payload: &Bytes, lender: Lender) {
        if payload.len() <= SHARE_BYTES_MIN {
            self.tail().extend_from_slice(payload);
            return;
        }
        let parts = self.parts.get_or_insert_default();
        if !self.tail.is_empty() {
            // A packet's head, mostly: it waits for its payload without room for more.
            self.tail.shrink_to_fit();
            parts.push(Part { bytes: Bytes::from(core::mem::take(&mut self.tail)), lender: None });
        }
        parts.push(Part { bytes: payload.clone(), lender: Some(lender) });
    }

    fn parts_bytes(&self) -> usize {
        self.parts.as_ref().map_or(0, |parts| parts.bytes)
    }

    /// Bytes not yet sent.
    pub fn len(&self) -> usize {
        self.parts_bytes() + self.tail.len() - self.sent
    }

    /// Memory taken for what is not yet sent, shared payloads not counted: they are their messages'.
    /// Bytes that were sent count while their part is not done.
    pub fn memory_bytes(&self) -> usize {
        let queue = self.parts.as_ref().map_or(0, |parts| size_of::<Parts>() + parts.queue.capacity() * size_of::<Part>() + parts.own_bytes);
        self.tail.capacity() + queue
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
            .flat_map(|parts| parts.queue.iter())
            .map(|part| &part.bytes[..])
            .chain(core::iter::once(&self.tail[..]))
            .map(move |slice| &slice[core::mem::take(&mut skip)..])
            .filter(|slice| !slice.is_empty())
    }

    /// As [`OutBuffer::slices`], with payloads as they are while nothing of them is sent.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let mut skip = self.sent;
        let parts = self.parts.iter().flat_map(|parts| parts.queue.iter());
        let parts = parts.map(|part| (&part.bytes[..], part.lender.as_ref().map(|_| &part.bytes)));
        parts.chain(core::iter::once((&self.tail[..], None))).filter_map(move |(slice, payload)| {
            let rest = &slice[core::mem::take(&mut skip)..];
            match payload {
                Some(payload) if rest.len() == payload.len() => Some(Piece::Payload(payload)),
                _ => (!rest.is_empty()).then_some(Piece::Bytes(rest)),
            }
        })
    }

    /// `count` bytes went out.
    ///
    /// # Panics
    /// If that is more than [`OutBuffer::len`]: the caller's fault.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.len(), "more sent than there was");
        self.sent += count;
        while let Some(first) = self.parts.as_ref().and_then(|parts| parts.queue.front()).map(|part| part.bytes.len()) {
            if self.sent < first {
                return;
            }
            self.sent -= first;
            self.parts.iter_mut().for_each(|parts| parts.pop());
        }
        if self.sent == self.tail.len() {
            self.tail.clear();
            self.sent = 0;
        } else if self.sent >= MOVE_BYTES_MIN && self.sent >= self.tail.len() / 2 {
            // Who is never quite done does not keep all it ever sent.
            self.tail.drain(..self.sent);
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
            buffer.push(&payload, Arc::new(()));
            let all: Vec<u8> = buffer.slices().flatten().copied().collect();
            assert_eq!(all.len(), buffer.len());
            let pieces = buffer.pieces().flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::Payload(payload) => payload,
            });
            assert!(pieces.eq(&all));
            let count = rng.below(all.len() as u64 + 1) as usize;
            seen.extend_from_slice(&all[..count]);
            buffer.advance(count);
            buffer.release();
        }
        seen.extend(buffer.slices().flatten());
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_tail_that_never_empties_does_not_grow() {
        let mut buffer = OutBuffer::default();
        for _ in 0..1_000 {
            buffer.tail().extend_from_slice(&[0; 10_000]);
            buffer.advance(buffer.len() - 1);
        }
        assert!(buffer.memory_bytes() < 10 * MOVE_BYTES_MIN, "{}", buffer.memory_bytes());
    }
}
