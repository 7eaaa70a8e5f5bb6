//! How long a round trip takes (RFC 9002 §5), and when to stop waiting for an answer (§6.2).

use crate::base::Duration;

/// Believed before the first sample (§6.2.2).
const INITIAL: Duration = Duration::from_millis(333);
/// Timers are not finer than this (§6.1.2).
const GRANULARITY: Duration = Duration::from_millis(1);
/// No probe waits longer.
const PROBE_MAX: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug)]
pub struct Rtt {
    smoothed: Duration,
    variation: Duration,
    least: Duration,
    latest: Duration,
    has_sample: bool,
}

impl Default for Rtt {
    fn default() -> Self {
        Self { smoothed: INITIAL, variation: INITIAL / 2, least: INITIAL, latest: INITIAL, has_sample: false }
    }
}

impl Rtt {
    /// One more sample; `delay`: what the peer says it held the answer back.
    pub fn sample(&mut self, latest: Duration, delay: Duration) {
        let latest = latest.max(Duration::from_micros(1));
        self.latest = latest;
        if !core::mem::replace(&mut self.has_sample, true) {
            *self = Self { smoothed: latest, variation: latest / 2, least: latest, ..*self };
            return;
        }
        self.least = self.least.min(latest);
        let adjusted = if latest >= self.least + delay { latest - delay } else { latest };
        let deviation = self.smoothed.abs_diff(adjusted);
        self.variation = (self.variation * 3 + deviation) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// The smoothed round trip.
    pub fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// There was a sample.
    pub fn is_known(&self) -> bool {
        self.has_sample
    }

    /// A frame is lost if a later one arrived and so much time has passed (§6.1.2).
    pub fn loss_delay(&self) -> Duration {
        (self.smoothed.max(self.latest) * 9 / 8).max(GRANULARITY)
    }

    /// How long an answer may take, after so many that did not come.
    pub fn probe_timeout(&self, ack_delay: Duration, failures: u32) -> Duration {
        let once = self.smoothed + (self.variation * 4).max(GRANULARITY) + ack_delay;
        once.saturating_mul(1 << failures.min(16)).min(PROBE_MAX)
    }

    /// Frames wait in queues: growing would only lengthen them.
    pub fn is_queueing(&self) -> bool {
        self.has_sample && self.smoothed > self.least * 2 + Duration::from_millis(50)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_follows_rfc_9002() {
        let ms = Duration::from_millis;
        let mut rtt = Rtt::default();
        assert_eq!((rtt.smoothed(), rtt.probe_timeout(ms(25), 0)), (ms(333), ms(333 + 666 + 25)));
        rtt.sample(ms(80), ms(25));
        assert_eq!((rtt.smoothed(), rtt.variation), (ms(80), ms(40)), "the first sample knows no delay");
        rtt.sample(ms(120), ms(24));
        assert_eq!((rtt.smoothed(), rtt.variation, rtt.least), (ms(82), ms(34), ms(80)));
        rtt.sample(ms(90), ms(24));
        assert_eq!(rtt.smoothed(), ms(83), "a delay that leads below the least round trip does not count");
        assert_eq!(rtt.probe_timeout(ms(25), 9), PROBE_MAX);
        assert!(!rtt.is_queueing());
        (0..30).for_each(|_| rtt.sample(ms(250), ms(0)));
        assert!(rtt.is_queueing());
    }
}
