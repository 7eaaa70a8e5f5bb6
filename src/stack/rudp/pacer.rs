//! Spreads frames over the round trip: a bucket that fills with 5/4 of the congestion window per round trip.
//!
//! Kept as the time at which the bucket would be full again had nothing more been sent; in nanoseconds, because at high
//! rates a frame takes less than a microsecond.

use crate::base::{Duration, Instant};

/// Frames that may always follow each other.
const BURST_FRAMES: u64 = 4;
/// Or so much time's worth, where that is more.
const BURST_NANOS: u64 = 2_000_000;

#[derive(Clone, Copy, Default, Debug)]
pub struct Pacer {
    full_at_nanos: u64,
}

/// What the rate follows from.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub window: u32,
    pub rtt: Duration,
    pub frame_bytes: u16,
}

impl Pace {
    fn nanos(&self, bytes: u64) -> u64 {
        let rtt = self.rtt.as_nanos() as u64;
        bytes.saturating_mul(rtt / 5 * 4) / u64::from(self.window.max(1))
    }

    fn burst_nanos(&self) -> u64 {
        self.nanos(BURST_FRAMES * u64::from(self.frame_bytes)).max(BURST_NANOS)
    }
}

impl Pacer {
    /// When the next frame may leave, if that is not now.
    pub fn wait(&self, now: Instant, pace: Pace) -> Option<Instant> {
        let ready = self.full_at_nanos.saturating_sub(pace.burst_nanos()).div_ceil(1_000);
        // What a burst leaves over has to take a whole frame: so at its end the bucket is empty.
        (ready > now.as_micros()).then(|| Instant::from_micros(ready))
    }

    /// A frame left.
    pub fn sent(&mut self, now: Instant, pace: Pace, bytes: usize) {
        let now = now.as_micros().saturating_mul(1_000);
        self.full_at_nanos = self.full_at_nanos.max(now).saturating_add(pace.nanos(bytes as u64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_takes_four_fifths_of_a_round_trip_after_a_burst() {
        let pace = Pace { window: 120_000, rtt: Duration::from_millis(100), frame_bytes: 1_200 };
        let (mut pacer, mut now, mut times) = (Pacer::default(), Instant::from_micros(1_000_000), Vec::new());
        for _ in 0..100 {
            if let Some(at) = pacer.wait(now, pace) {
                now = at;
            }
            pacer.sent(now, pace, 1_200);
            times.push(now.as_micros() - 1_000_000);
        }
        assert!(times[..5].iter().all(|time| *time == 0) && times[5] > 0, "{times:?}");
        assert!((75_000..=76_000).contains(&times[99]), "{times:?}");
    }
}
