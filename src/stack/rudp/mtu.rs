//! How large a frame may be: what surely gets through, less when full frames do not, more when larger ones did
//! (in the manner of RFC 8899, with bytes of the stream as probes: their loss costs a resend, and says nothing about load).

use super::frame::FRAME_BYTES_LIMIT;
use crate::base::{Duration, Instant};

/// Every way takes this.
pub(crate) const FRAME_BYTES_MIN: u16 = 576;
/// Probe time-outs of larger frames, in a row, until they are given up.
pub(crate) const TIMEOUTS_MAX: u32 = 3;
/// Probes of one size.
const TRIES_MAX: u8 = 3;
/// Sizes nearer than this are not told apart.
const STEP_BYTES: u16 = 32;
/// A way may have changed: larger ones are tried again.
const AGAIN: Duration = Duration::from_secs(60);

/// The largest frame of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Mtu {
    bytes: u16,
    ceiling: u16,
    /// No larger one got through lately.
    too_large: u16,
    tries: u8,
    /// The size of a probe on its way.
    probing: Option<u16>,
    next_at: Instant,
}

impl Mtu {
    /// `bytes` get through; `probe_bytes` may, and `peer_bytes` is all the peer takes.
    pub fn new(now: Instant, bytes: u16, probe_bytes: u16, peer_bytes: u16) -> Self {
        let peer_bytes = peer_bytes.clamp(FRAME_BYTES_MIN, FRAME_BYTES_LIMIT as u16);
        let bytes = bytes.clamp(FRAME_BYTES_MIN, peer_bytes);
        let ceiling = probe_bytes.min(peer_bytes).max(bytes);
        Self { bytes, ceiling, too_large: ceiling.saturating_add(1), tries: 0, probing: None, next_at: now }
    }

    /// The largest frame.
    pub fn frame_bytes(&self) -> u16 {
        self.bytes
    }

    /// The size of a probe that is to be sent now.
    pub fn probe(&self, now: Instant) -> Option<u16> {
        if self.probing.is_some() || now < self.next_at || self.bytes >= self.ceiling {
            return None;
        }
        // The largest first: it is the likeliest.
        let size = if self.too_large > self.ceiling { self.ceiling } else { self.bytes + (self.too_large - self.bytes) / 2 };
        (size > self.bytes && (size == self.ceiling || size - self.bytes >= STEP_BYTES)).then_some(size)
    }

    /// It left.
    pub fn sent_probe(&mut self, size: u16) {
        self.probing = Some(size);
    }

    /// It arrived.
    pub fn arrived(&mut self) {
        self.bytes = self.bytes.max(self.probing.take().unwrap_or(0));
        self.tries = 0;
    }

    /// It did not.
    pub fn lost(&mut self, now: Instant) {
        let Some(size) = self.probing.take() else { return };
        self.tries += 1;
        if self.tries >= TRIES_MAX {
            (self.tries, self.too_large) = (0, size);
            if self.probe(now).is_none() {
                (self.too_large, self.next_at) = (self.ceiling.saturating_add(1), now + AGAIN);
            }
        }
    }

    /// Full frames get through no more, or nothing does. Larger ones are tried when something arrives.
    pub fn step_down(&mut self, now: Instant) {
        self.bytes = FRAME_BYTES_MIN;
        (self.too_large, self.probing, self.tries, self.next_at) = (self.ceiling.saturating_add(1), None, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found on a way that takes so much, and after how many probes.
    fn search(way: u16, ceiling: u16) -> (u16, usize) {
        let mut mtu = Mtu::new(Instant::START, 1_200, ceiling, u16::MAX);
        let mut probes = 0;
        while let Some(size) = mtu.probe(Instant::START) {
            probes += 1;
            mtu.sent_probe(size);
            assert_eq!(mtu.probe(Instant::START), None, "one at a time");
            if size <= way { mtu.arrived() } else { mtu.lost(Instant::START) }
        }
        (mtu.frame_bytes(), probes)
    }

    #[test]
    fn the_largest_frame_of_a_way_is_found() {
        assert_eq!(search(1_472, 1_472), (1_472, 1));
        assert_eq!(search(1_200, 1_200), (1_200, 0));
        assert_eq!(search(1_200, 1_472).0, 1_200);
        let (found, probes) = search(1_392, 1_472);
        assert!((1_392 - STEP_BYTES..=1_392).contains(&found) && probes < 20, "{found} {probes}");
        assert_eq!(Mtu::new(Instant::START, 1_200, 9_000, 100).frame_bytes(), FRAME_BYTES_MIN);
        assert_eq!(Mtu::new(Instant::START, 1_200, 0, 800).frame_bytes(), 800);
    }

    #[test]
    fn a_step_down_is_taken_back_when_frames_get_through_again() {
        let mut mtu = Mtu::new(Instant::START, 1_200, 0, 1_200);
        mtu.step_down(Instant::START);
        assert_eq!((mtu.frame_bytes(), mtu.probe(Instant::START)), (576, Some(1_200)));
        mtu.sent_probe(1_200);
        mtu.arrived();
        assert_eq!(mtu.frame_bytes(), 1_200);
    }
}
