//! What arrives on a connection of generation 2: numbers, to be acknowledged, and the bytes of the stream, to be read in order.
//!
//! ```text
//!   ring:   base ....... next  ....  [hole]  island  ....  limit
//!           not read     missing             arrived       the peer may not go beyond
//! ```
//! A frame whose bytes cannot be kept is not acknowledged: its sender will come again. The limit follows the reader, so
//! that memory is bounded by the window whatever the peer does, and the window doubles while the reader keeps up.

use heapless::Vec as FixedVec;

use super::frame::AckBlock;
use super::options::Options;
use super::ring::Ring;
use super::serial;
use crate::base::{Duration, Instant};

/// Islands of bytes beyond a missing one.
const HOLES_MAX: usize = 16;
/// Frames that are answered together.
const FRAMES_PER_ACK: u8 = 2;

/// What became of a DATA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// It was new; `grown`: there is more to read.
    Kept { grown: bool },
    /// It had arrived before.
    Again,
    /// There is no place for it: as if it never came.
    NotKept,
    /// It goes beyond the limit: the peer breaks the rules.
    BeyondLimit,
}

#[derive(Clone, Copy, Debug)]
struct Island {
    start: u32,
    end: u32,
}

/// One direction of a connection, at its receiver.
#[derive(Debug)]
pub struct Incoming {
    largest: u32,
    bitmap: u64,
    largest_at: Instant,
    base: u32,
    next: u32,
    limit: u32,
    window: u32,
    window_max: u32,
    /// When the reader had last taken half a window, and where that was.
    credited_at: Instant,
    credited_base: u32,
    ring: Ring,
    islands: FixedVec<Island, HOLES_MAX>,
    unanswered: u8,
    answer_at: Option<Instant>,
    answer_now: bool,
    /// As the sender of generation 2 knows it: reading is an edge.
    wants_data: bool,
}

impl Incoming {
    pub fn new(now: Instant, options: &Options) -> Self {
        Self {
            largest: 0,
            bitmap: 0,
            largest_at: now,
            base: 0,
            next: 0,
            limit: options.opening_window_bytes(),
            window: options.opening_window_bytes(),
            window_max: options.window_bytes_max.max(options.opening_window_bytes()),
            credited_at: now,
            credited_base: 0,
            ring: Ring::default(),
            islands: FixedVec::new(),
            unanswered: 0,
            answer_at: None,
            answer_now: false,
            wants_data: false,
        }
    }

    /// The largest number that arrived; 0: none.
    pub fn largest(&self) -> u32 {
        self.largest
    }

    /// The next byte that is missing.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// Takes a DATA.
    pub fn take(&mut self, now: Instant, number: u32, offset: u32, bytes: &[u8], at_once: bool, delay: Duration) -> Taken {
        let end = offset.wrapping_add(bytes.len() as u32);
        if bytes.len() > self.window_max as usize || serial(end, self.limit) > 0 {
            return Taken::BeyondLimit;
        }
        if self.has(number) {
            self.answer_now = true;
            return Taken::Again;
        }
        let before = self.next;
        if !self.keep(offset, end, bytes) {
            return Taken::NotKept;
        }
        let is_in_order = number == self.largest.wrapping_add(1);
        self.mark(now, number);
        self.unanswered = self.unanswered.saturating_add(1);
        // As long as something is missing, its sender learns soonest from answers to what follows it.
        let is_missing = !self.islands.is_empty();
        if !is_in_order || is_missing || at_once || bytes.is_empty() || self.unanswered >= FRAMES_PER_ACK {
            self.answer_now = true;
        } else if self.answer_at.is_none() {
            self.answer_at = Some(now + delay);
        }
        Taken::Kept { grown: self.next != before }
    }

    /// Copies out what is there in order. `None`: nothing now.
    pub fn read(&mut self, now: Instant, buffer: &mut [u8], rtt: Duration) -> Option<usize> {
        let count = (self.next.wrapping_sub(self.base) as usize).min(buffer.len());
        if count == 0 {
            self.wants_data = true;
            return None;
        }
        self.base = self.base.wrapping_add(count as u32);
        self.ring.take(&mut buffer[..count], self.base == self.next && self.islands.is_empty());
        self.credit(now, rtt);
        Some(count)
    }

    /// Something can be read, and the reader was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        self.base != self.next && core::mem::take(&mut self.wants_data)
    }

    /// All that the peer sent was read.
    pub fn is_read(&self) -> bool {
        self.base == self.next
    }

    /// The first bytes of the stream, as long as nothing was read.
    pub fn front(&self) -> (&[u8], &[u8]) {
        self.ring.pieces(0, self.next.wrapping_sub(self.base) as usize)
    }

    /// An answer is due.
    pub fn must_answer(&self, now: Instant) -> bool {
        self.answer_now || self.answer_at.is_some_and(|at| at <= now)
    }

    /// When one will be.
    pub fn answer_at(&self) -> Option<Instant> {
        self.answer_at
    }

    /// Something has come that was not answered yet: a DATA that leaves now takes the answer along.
    pub fn has_news(&self) -> bool {
        self.answer_now || self.unanswered > 0
    }

    /// The answer. Whoever takes it sends it.
    pub fn answer(&mut self, now: Instant) -> AckBlock {
        self.raise_limit();
        self.unanswered = 0;
        self.answer_at = None;
        self.answer_now = false;
        let delay_ms = u8::try_from(now.since(self.largest_at).as_millis()).unwrap_or(u8::MAX);
        AckBlock { largest: self.largest, bitmap: self.bitmap, delay_ms, next: self.next, limit: self.limit }
    }

    pub fn memory_bytes(&self) -> usize {
        self.ring.memory_bytes()
    }

    fn has(&self, number: u32) -> bool {
        let block = AckBlock { largest: self.largest, bitmap: self.bitmap, ..AckBlock::default() };
        block.has(number)
    }

    fn mark(&mut self, now: Instant, number: u32) {
        let distance = serial(number, self.largest);
        if distance > 0 {
            let shifted = self.bitmap.checked_shl(distance as u32).unwrap_or(0);
            // Number 0 does not exist.
            let previous = if self.largest == 0 { 0 } else { 1_u64.checked_shl(distance as u32 - 1).unwrap_or(0) };
            self.bitmap = shifted | previous;
            self.largest = number;
            self.largest_at = now;
        } else if distance >= -64 {
            self.bitmap |= 1 << (-distance - 1).max(0);
        }
    }

    /// Stores what is new of these bytes. False: there is no place for another island.
    fn keep(&mut self, offset: u32, end: u32, bytes: &[u8]) -> bool {
        if serial(end, self.next) <= 0 {
            return true;
        }
        let skipped = serial(self.next, offset).max(0) as usize;
        let start = offset.wrapping_add(skipped as u32);
        if start != self.next && !self.add_island(Island { start, end }) {
            return false;
        }
        let held = self.islands.iter().map(|island| island.end).fold(self.next, |last, end| if serial(end, last) > 0 { end } else { last });
        self.ring.store(start.wrapping_sub(self.base) as usize, &bytes[skipped..], held.wrapping_sub(self.base) as usize);
        if start == self.next {
            self.next = end;
        }
        while let Some(index) = self.islands.iter().position(|island| serial(island.start, self.next) <= 0) {
            let island = self.islands.swap_remove(index);
            if serial(island.end, self.next) > 0 {
                self.next = island.end;
            }
        }
        true
    }

    fn add_island(&mut self, mut island: Island) -> bool {
        let touches = |other: &Island, island: &Island| serial(other.start, island.end) <= 0 && serial(island.start, other.end) <= 0;
        let is_room = self.islands.iter().any(|other| touches(other, &island)) || !self.islands.is_full();
        if !is_room {
            return false;
        }
        while let Some(index) = self.islands.iter().position(|other| touches(other, &island)) {
            let other = self.islands.swap_remove(index);
            island.start = if serial(other.start, island.start) < 0 { other.start } else { island.start };
            island.end = if serial(other.end, island.end) > 0 { other.end } else { island.end };
        }
        self.islands.push(island).is_ok()
    }

    /// The reader has taken something. Each half of a window that it takes quickly doubles the window; when the peer knows
    /// of only half a window more, it hears of the rest at once.
    fn credit(&mut self, now: Instant, rtt: Duration) {
        if self.base.wrapping_sub(self.credited_base) >= self.window / 2 {
            if now.since(self.credited_at) < rtt * 2 {
                self.window = self.window.saturating_mul(2).min(self.window_max);
            }
            (self.credited_at, self.credited_base) = (now, self.base);
        }
        if self.base.wrapping_add(self.window).wrapping_sub(self.limit) >= self.window / 2 {
            self.raise_limit();
            self.answer_now = true;
        }
    }

    fn raise_limit(&mut self) {
        let limit = self.base.wrapping_add(self.window);
        if serial(limit, self.limit) > 0 {
            self.limit = limit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incoming() -> Incoming {
        Incoming::new(Instant::START, &Options::default())
    }

    fn take(incoming: &mut Incoming, number: u32, offset: u32, bytes: &[u8]) -> Taken {
        incoming.take(Instant::START, number, offset, bytes, false, Duration::from_millis(25))
    }

    #[test]
    fn bytes_are_read_in_order_and_once_however_segments_overlap() {
        let mut incoming = incoming();
        assert_eq!(take(&mut incoming, 2, 3, b"def"), Taken::Kept { grown: false });
        assert_eq!(take(&mut incoming, 2, 3, b"def"), Taken::Again);
        assert_eq!(take(&mut incoming, 3, 2, b"cdefg"), Taken::Kept { grown: false });
        assert_eq!(take(&mut incoming, 5, 0, b"abcd"), Taken::Kept { grown: true });
        let mut buffer = [0; 16];
        assert_eq!(incoming.read(Instant::START, &mut buffer, Duration::ZERO), Some(7));
        assert_eq!(&buffer[..7], b"abcdefg");
        assert_eq!(incoming.read(Instant::START, &mut buffer, Duration::ZERO), None);
        assert_eq!(incoming.memory_bytes(), 0);
        let block = incoming.answer(Instant::START);
        assert_eq!((block.largest, block.bitmap, block.next), (5, 0b0110, 7));
    }

    #[test]
    fn holes_max_is_a_limit_and_what_was_not_kept_is_not_acknowledged() {
        let mut incoming = incoming();
        for hole in 0..HOLES_MAX as u32 {
            assert_eq!(take(&mut incoming, hole + 1, 10 + hole * 10, b"x"), Taken::Kept { grown: false });
        }
        assert_eq!(take(&mut incoming, 50, 5, b"x"), Taken::NotKept);
        assert_eq!(incoming.answer(Instant::START).largest, HOLES_MAX as u32);
        assert_eq!(take(&mut incoming, 51, 0, &[7; 200]), Taken::Kept { grown: true });
        assert_eq!(incoming.next(), 200);
    }

    #[test]
    fn the_limit_holds_and_moves_with_the_reader_only() {
        let mut incoming = incoming();
        let limit = incoming.limit;
        assert_eq!(take(&mut incoming, 1, limit - 1, b"xy"), Taken::BeyondLimit);
        assert_eq!(take(&mut incoming, 1, 0, &vec![1; limit as usize]), Taken::Kept { grown: true });
        assert_eq!(incoming.answer(Instant::START).limit, limit);
        let mut buffer = vec![0; limit as usize / 2];
        incoming.read(Instant::START + Duration::from_secs(9), &mut buffer, Duration::ZERO);
        assert!(incoming.must_answer(Instant::START), "a reopened window is told at once");
        assert_eq!(incoming.answer(Instant::START).limit, limit + limit / 2);
    }

    #[test]
    fn offsets_and_numbers_wrap() {
        let mut incoming = incoming();
        let start = u32::MAX - 2;
        (incoming.base, incoming.next, incoming.limit, incoming.largest) = (start, start, start.wrapping_add(100), u32::MAX);
        assert_eq!(take(&mut incoming, 1, start.wrapping_add(2), b"cd"), Taken::Kept { grown: false });
        assert_eq!(take(&mut incoming, 2, start, b"ab"), Taken::Kept { grown: true });
        assert_eq!((incoming.next, incoming.largest), (1, 2));
    }
}
