//! A token bucket in integers: so many tokens a second, and room for one second's worth.
//!
//! What is taken is taken whole, so that one packet of any size gets through: the level may fall below
//! zero, and nothing more should be taken until it is above it again. No time is lost to rounding:
//! what a refill leaves over counts in the next one.

use super::{Duration, Instant};

const MICROS: u64 = 1_000_000;

/// One bucket. The rate is its owner's, and may change between two calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bucket {
    level: i64,
    /// Millionths of a token.
    rest: u64,
    refilled: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Instant, per_second: u32) -> Self {
        Self { level: per_second.into(), rest: 0, refilled: now }
    }

    /// Takes `count` tokens, whether they are there or not. False: the bucket is empty now.
    pub fn take(&mut self, now: Instant, per_second: u32, count: usize) -> bool {
        self.refill(now, per_second);
        self.level = self.level.saturating_sub(i64::try_from(count).unwrap_or(i64::MAX));
        self.level > 0
    }

    /// There is something in it.
    pub fn has_room(&mut self, now: Instant, per_second: u32) -> bool {
        self.refill(now, per_second);
        self.level > 0
    }

    /// When there is something in it again, if nothing is taken; a time that is past: now.
    pub fn ready_at(&self, per_second: u32) -> Instant {
        let missing = u64::try_from(1_i64.saturating_sub(self.level)).unwrap_or(0);
        let micros = missing.saturating_mul(MICROS).saturating_sub(self.rest).div_ceil(u64::from(per_second.max(1)));
        self.refilled + Duration::from_micros(micros)
    }

    fn refill(&mut self, now: Instant, per_second: u32) {
        let micros = u64::try_from(now.since(self.refilled).as_micros()).unwrap_or(u64::MAX);
        let gained = micros.saturating_mul(per_second.into()).saturating_add(self.rest);
        let level = self.level.saturating_add(i64::try_from(gained / MICROS).unwrap_or(i64::MAX));
        (self.level, self.rest) = if level >= per_second.into() { (per_second.into(), 0) } else { (level, gained % MICROS) };
        self.refilled = self.refilled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    #[test]
    fn a_second_holds_its_rate_and_a_burst_is_one_second() {
        let mut bucket = Bucket::new(at(0), 3);
        assert_eq!([1, 1, 1].map(|count| bucket.take(at(0), 3, count)), [true, true, false]);
        assert_eq!(bucket.ready_at(3), Instant::START + Duration::from_micros(333_334));
        assert!(!bucket.has_room(at(333), 3));
        assert!(bucket.has_room(bucket.ready_at(3), 3));
        assert!(bucket.has_room(at(100_000), 3));
        assert_eq!([1, 1, 1].map(|count| bucket.take(at(100_000), 3, count)), [true, true, false], "no more than a second's worth");
    }

    #[test]
    fn one_packet_of_any_size_is_taken_and_owed_for() {
        let mut bucket = Bucket::new(at(0), 1_000);
        assert!(!bucket.take(at(0), 1_000, 10_000));
        assert_eq!(bucket.ready_at(1_000), at(9_001));
        assert!(!bucket.has_room(at(9_000), 1_000));
        assert!(bucket.has_room(at(9_001), 1_000));
    }

    #[test]
    fn nothing_is_lost_to_rounding() {
        for rate in [1_u32, 3, 7, 1_000, 999_999, u32::MAX] {
            let (mut bucket, mut taken) = (Bucket::new(at(0), rate), 0_u64);
            // Looked at every 10 ms for ten seconds, always emptied.
            for step in 0..=1_000 {
                while bucket.has_room(at(step * 10), rate) {
                    let count = if rate > 1_000 { rate as usize / 1_000 } else { 1 };
                    bucket.take(at(step * 10), rate, count);
                    taken += count as u64;
                }
            }
            let expected = u64::from(rate) * 11;
            assert!(taken >= expected && taken <= expected + u64::from(rate / 1_000).max(1), "{rate}: {taken}");
        }
        assert!(!Bucket::new(at(0), u32::MAX).take(at(1 << 50), u32::MAX, usize::MAX), "no overflow");
    }
}
