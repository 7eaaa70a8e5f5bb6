//! What arrives in generation 1: packets, put into the order of their sequences, and read as a stream of bytes.
//!
//! Stock senders give up silently, so a packet that is missing is waited for only for a while; it is counted then, and if it
//! comes later after all, it is handed on late rather than lost. What there is no place for is not acknowledged.

use heapless::Vec as FixedVec;

use super::super::packet::packet_bytes;
use super::super::unread::Unread;
use crate::base::{Duration, Instant};

/// Packets that wait for an earlier one.
const EARLY_MAX: usize = 64;
/// Bytes that wait to be read, or for an earlier packet.
const BYTES_MAX: usize = 128 << 10;

/// What became of a DATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It is to be acknowledged.
    Kept,
    /// It had come before, and is to be acknowledged again.
    Again,
    /// As if it never came.
    NotKept,
}

#[derive(Debug)]
struct Early {
    sequence: u16,
    packet: Box<[u8]>,
}

#[derive(Debug)]
pub struct Order {
    expected: u16,
    early: Vec<Early>,
    early_bytes: usize,
    /// Since when an earlier packet is waited for.
    gap_at: Option<Instant>,
    missing: FixedVec<u16, EARLY_MAX>,
    unread: Unread,
    /// Packets that were waited for in vain.
    pub missed: u64,
    /// Of them, those that came later.
    pub late: u64,
}

impl Order {
    /// `base`: the sequence of the first packet.
    pub fn new(base: u16) -> Self {
        Self { expected: base, early: Vec::new(), early_bytes: 0, gap_at: None, missing: FixedVec::new(), unread: Unread::default(), missed: 0, late: 0 }
    }

    /// The next packet has this sequence, whatever came before.
    pub fn begin_anew(&mut self, base: u16) {
        (self.expected, self.early, self.early_bytes, self.gap_at) = (base, Vec::new(), 0, None);
        self.missing.clear();
    }

    /// The packet with this sequence is here, or was.
    pub fn is_known(&self, sequence: u16) -> bool {
        let is_past = (sequence.wrapping_sub(self.expected) as i16) < 0;
        let is_missing = || self.missing.iter().any(|missing| *missing == sequence);
        (is_past && !is_missing()) || self.early.iter().any(|early| early.sequence == sequence)
    }

    /// Takes a DATA.
    pub fn take(&mut self, now: Instant, sequence: u16, payload: &[u8]) -> Taken {
        if payload.is_empty() {
            return Taken::Kept;
        }
        if self.is_known(sequence) {
            return Taken::Again;
        }
        let distance = sequence.wrapping_sub(self.expected) as i16;
        let is_room = self.unread.bytes() + self.early_bytes + payload.len() <= BYTES_MAX;
        if distance > EARLY_MAX as i16 || !is_room || !is_packets(payload) {
            return Taken::NotKept;
        }
        if distance < 0 {
            self.missing.retain(|missing| *missing != sequence);
            self.late += 1;
            self.unread.push(payload);
            return Taken::Kept;
        }
        if distance == 0 {
            self.unread.push(payload);
            self.expected = self.expected.wrapping_add(1);
            self.drain(now);
            return Taken::Kept;
        }
        self.early_bytes += payload.len();
        self.early.push(Early { sequence, packet: payload.into() });
        self.gap_at.get_or_insert(now);
        if self.early.len() >= EARLY_MAX {
            self.skip(now);
        }
        Taken::Kept
    }

    /// Since when an earlier packet is waited for.
    pub fn gap_at(&self) -> Option<Instant> {
        self.gap_at
    }

    /// It was waited for long enough.
    pub fn expire(&mut self, now: Instant, gap_timeout: Duration) {
        if self.gap_at.is_some_and(|at| at + gap_timeout <= now) {
            self.skip(now);
        }
    }

    /// Nothing more comes: what waits for an earlier packet was acknowledged, and is handed on without it.
    pub fn end(&mut self) {
        while let Some(since) = self.gap_at {
            self.skip(since);
        }
    }

    /// Copies out what is there in order. `None`: nothing now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.unread.read(buffer)
    }

    pub fn is_read(&self) -> bool {
        self.unread.bytes() == 0
    }

    /// Something can be read, and the reader was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        self.unread.take_edge()
    }

    pub fn memory_bytes(&self) -> usize {
        self.unread.memory_bytes() + self.early.capacity() * size_of::<Early>() + self.early_bytes
    }

    fn drain(&mut self, now: Instant) {
        while let Some(index) = self.early.iter().position(|early| early.sequence == self.expected) {
            let Early { packet, .. } = self.early.swap_remove(index);
            self.early_bytes -= packet.len();
            self.unread.push(&packet);
            self.expected = self.expected.wrapping_add(1);
        }
        self.gap_at = if self.early.is_empty() { None } else { Some(now) };
        if self.early.is_empty() {
            self.early = Vec::new();
        }
    }

    /// Goes on behind the gap.
    fn skip(&mut self, now: Instant) {
        let distance = |early: &Early| early.sequence.wrapping_sub(self.expected);
        let Some(next) = self.early.iter().min_by_key(|early| distance(early)).map(|early| early.sequence) else { return };
        while self.expected != next {
            self.missed += 1;
            if self.missing.is_full() {
                self.missing.remove(0);
            }
            // There is room now.
            let _ = self.missing.push(self.expected);
            self.expected = self.expected.wrapping_add(1);
        }
        self.drain(now);
    }
}

/// One whole packet, or several.
fn is_packets(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match packet_bytes(bytes) {
            Ok(Some(count)) if count <= bytes.len() => bytes = &bytes[count..],
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(tag: u8) -> [u8; 3] {
        [0x30, 1, tag]
    }

    fn read(order: &mut Order) -> Vec<u8> {
        let mut buffer = [0; 1_024];
        let count = order.read(&mut buffer).unwrap_or(0);
        buffer[..count].chunks(3).map(|packet| packet[2]).collect()
    }

    #[test]
    fn packets_are_read_in_the_order_of_their_sequences_through_zero() {
        let mut order = Order::new(0xFFFE);
        for tag in [1_u8, 3, 0, 3, 2] {
            order.take(Instant::START, 0xFFFE_u16.wrapping_add(tag.into()), &packet(tag));
        }
        assert_eq!(order.take(Instant::START, 0, &packet(2)), Taken::Again);
        assert_eq!(read(&mut order), [0, 1, 2, 3]);
        assert_eq!(order.memory_bytes(), 0);
    }

    #[test]
    fn a_gap_is_waited_for_and_what_comes_late_is_not_lost() {
        let (mut order, limit) = (Order::new(1), Duration::from_secs(5));
        order.take(Instant::START, 2, &packet(2));
        order.take(Instant::START, 4, &packet(4));
        order.expire(Instant::START + Duration::from_millis(4_999), limit);
        assert!(read(&mut order).is_empty());
        order.expire(Instant::START + limit, limit);
        assert_eq!((read(&mut order), order.missed), (vec![2], 1));
        assert_eq!(order.take(Instant::START + limit, 1, &packet(1)), Taken::Kept);
        assert_eq!(order.take(Instant::START + limit, 1, &packet(1)), Taken::Again);
        assert_eq!((read(&mut order), order.late), (vec![1], 1));
        order.take(Instant::START + limit, 3, &packet(3));
        assert_eq!(read(&mut order), [3, 4]);
    }

    #[test]
    fn early_max_and_the_bytes_are_limits_and_what_is_not_kept_is_not_acknowledged() {
        let mut order = Order::new(1);
        assert_eq!(order.take(Instant::START, 1 + EARLY_MAX as u16 + 1, &packet(0)), Taken::NotKept);
        for sequence in 0..EARLY_MAX as u16 {
            assert_eq!(order.take(Instant::START, sequence + 2, &packet(0)), Taken::Kept);
        }
        assert_eq!((read(&mut order).len(), order.missed), (EARLY_MAX, 1));
        let mut large = vec![0x30, 0xFC, 0x3F];
        large.resize(8_191, 0);
        let taken: Vec<Taken> = (0..17).map(|sequence| order.take(Instant::START, 66 + sequence, &large)).collect();
        assert!(taken[..16].iter().all(|taken| *taken == Taken::Kept) && taken[16] == Taken::NotKept);
        assert_eq!(order.take(Instant::START, 82, &[0x30, 9, 0]), Taken::NotKept, "half a packet");
        assert_eq!(order.take(Instant::START, 500, &[]), Taken::Kept, "an empty one takes no part");
    }
}
