//! Whether a peer of generation 1 is where its datagrams come from.
//!
//! Both stock ends acknowledge an empty DATA with any sequence and deliver nothing for it. Two of them, with sequences nobody
//! can guess, prove the way back. Until then the address gets no more than three times what came from it.

use super::super::frame::HEADER_BYTES;
use crate::base::{Duration, Instant, Rng};

/// An address gets no more than so many times what came from it.
const AMPLIFICATION: usize = 3;
/// After so many wrong acknowledgements the peer is dropped.
const WRONG_ACKS_MAX: u8 = 3;
/// Unanswered ones are sent again.
const REPEAT: Duration = Duration::from_secs(1);
/// If nobody above answers, they are sent after this.
const BEGIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Proof {
    sequences: [u16; 2],
    is_acked: [bool; 2],
    is_sent: [bool; 2],
    next_at: Instant,
    allowance: usize,
    wrong: u8,
}

impl Proof {
    pub fn new(now: Instant, rng: &mut Rng) -> Self {
        let mut sequence = || 0x8000 | (rng.u64() as u16);
        let first = sequence();
        let second = core::iter::repeat_with(&mut sequence).find(|second| *second != first).unwrap_or(first ^ 1);
        Self { sequences: [first, second], is_acked: [false; 2], is_sent: [false; 2], next_at: now + BEGIN, allowance: 0, wrong: 0 }
    }

    /// So many bytes came.
    pub fn earn(&mut self, bytes: usize) {
        self.allowance = self.allowance.saturating_add(bytes * AMPLIFICATION);
    }

    /// Whether so many may be sent; if so, they are counted.
    pub fn spend(&mut self, bytes: usize) -> bool {
        let is_allowed = bytes <= self.allowance;
        self.allowance -= if is_allowed { bytes } else { 0 };
        is_allowed
    }

    /// The first answer has left: it is time to ask.
    pub fn begin(&mut self, now: Instant) {
        if self.is_sent == [false; 2] {
            self.next_at = self.next_at.min(now);
        }
    }

    pub fn next_at(&self) -> Instant {
        self.next_at
    }

    /// The sequence of an empty DATA that is to be sent now.
    pub fn next(&mut self, now: Instant) -> Option<u16> {
        if now < self.next_at || self.allowance < HEADER_BYTES {
            return None;
        }
        let index = (0..2).find(|index| !self.is_sent[*index] && !self.is_acked[*index]);
        let Some(index) = index else {
            self.is_sent = self.is_acked;
            self.next_at = now + REPEAT;
            return None;
        };
        self.is_sent[index] = true;
        self.spend(HEADER_BYTES);
        Some(self.sequences[index])
    }

    /// Takes an acknowledgement: whether it is one of these.
    pub fn acked(&mut self, sequence: u16) -> bool {
        let found = self.sequences.iter().position(|own| *own == sequence);
        if let Some(index) = found {
            self.is_acked[index] = true;
        }
        found.is_some()
    }

    /// One for something that was never sent. True: that was one too many.
    pub fn wrong(&mut self) -> bool {
        self.wrong = self.wrong.saturating_add(1);
        self.wrong >= WRONG_ACKS_MAX
    }

    pub fn is_given(&self) -> bool {
        self.is_acked == [true; 2]
    }
}
