//! Whether a peer is where its frames come from: a number that only this address is told, and that has to come back.

use super::peer::Way;
use crate::base::{Duration, Instant};

/// Between two tries, and between two addresses.
pub(crate) const REPEAT: Duration = Duration::from_secs(1);
/// The number is sent so often.
const TRIES: u8 = 3;
/// An address gets no more than so many times what came from it, until it is proved.
const AMPLIFICATION: usize = 3;
/// A PING.
const PING_BYTES: usize = 24;

/// A challenge that was not answered yet.
#[derive(Debug)]
pub struct Challenge {
    /// The way that is asked about.
    pub way: Way,
    /// What has to come back.
    pub opaque: u64,
    /// When it is sent again, or given up.
    pub next_at: Instant,
    left: u8,
    allowance: usize,
}

impl Challenge {
    /// For a way on which so many bytes came.
    pub fn new(now: Instant, way: Way, opaque: u64, bytes: usize) -> Self {
        Self { way, opaque, next_at: now, left: TRIES, allowance: bytes * AMPLIFICATION }
    }

    /// More came.
    pub fn earn(&mut self, bytes: usize) {
        self.allowance += bytes * AMPLIFICATION;
    }

    /// What is to be sent now, and where.
    pub fn take_try(&mut self, now: Instant) -> Option<(Way, u64)> {
        if now < self.next_at || self.left == 0 || self.allowance < PING_BYTES {
            return None;
        }
        self.left -= 1;
        self.allowance -= PING_BYTES;
        self.next_at = now + REPEAT;
        Some((self.way, self.opaque))
    }

    /// Whether so many bytes more may go there; if so, they are counted.
    pub fn spend(&mut self, bytes: usize) -> bool {
        let is_allowed = bytes <= self.allowance;
        self.allowance -= if is_allowed { bytes } else { 0 };
        is_allowed
    }

    /// Nothing came back.
    pub fn is_in_vain(&self, now: Instant) -> bool {
        now >= self.next_at && (self.left == 0 || self.allowance < PING_BYTES)
    }
}
