//! How many bytes may be on their way: NewReno as in RFC 9002, or CUBIC as in RFC 9438.
//!
//! Beyond the books: while the smoothed round trip exceeds twice the least one by 50 ms, the window does not grow and slow
//! start is over. On slow radio links that halves the delay and costs nothing.

use super::rtt::Rtt;
use super::serial;
use crate::base::{Duration, Instant};
use crate::stack::CongestionControl;

/// Frames in the first window (RFC 9002 §7.2).
const FIRST_FRAMES: u32 = 10;
/// Frames in the least one.
const LEAST_FRAMES: u32 = 2;
/// RFC 9438 §4.1 and §4.6.
const CUBIC_C: f64 = 0.4;
const CUBIC_BETA: f64 = 0.7;

/// The window of one direction.
#[derive(Clone, Debug)]
pub struct Congestion {
    control: CongestionControl,
    /// What a frame is to the formulas.
    frame_bytes: u16,
    window: u32,
    /// Below it, slow start.
    threshold: u32,
    /// Frames with lower numbers were on their way when a loss was answered. Numbers, because times cannot tell them from what is sent in
    /// the same microsecond.
    recovery_from: Option<u32>,
    /// What NewReno has earned towards the next byte of the window: a loss does not take it.
    earned: u64,
    cubic: Cubic,
}

/// Windows in bytes (RFC 9438 §4.1), so that a change of the frames' size changes none of them.
#[derive(Clone, Copy, Default, Debug)]
struct Cubic {
    window_max: f64,
    /// What the window was before the last loss.
    window_prior: f64,
    turning_s: f64,
    epoch: Option<Instant>,
    /// Since then the window did not matter: time that does not count (§5.8).
    rests_since: Option<Instant>,
    reno_window: f64,
}

impl Congestion {
    pub fn new(control: CongestionControl, frame_bytes: u16) -> Self {
        let window = u32::from(frame_bytes) * FIRST_FRAMES;
        Self { control, frame_bytes, window, threshold: u32::MAX, recovery_from: None, earned: 0, cubic: Cubic::default() }
    }

    /// Bytes that may be on their way.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// Frames have another size now: the least window has, too.
    pub fn resized(&mut self, frame_bytes: u16) {
        self.frame_bytes = frame_bytes;
        self.window = self.window.max(self.least_window());
    }

    /// The frame with this number, of so many bytes, arrived. `was_full`: the window was what held the sender back.
    pub fn acked(&mut self, now: Instant, number: u32, bytes: u32, rtt: &Rtt, was_full: bool) {
        let is_queueing = rtt.is_queueing();
        if is_queueing && self.window < self.threshold {
            self.threshold = self.window;
        }
        if !was_full || is_queueing {
            self.cubic.rests_since.get_or_insert(now);
            return;
        }
        if self.is_answered(number) {
            return;
        }
        // Numbers are modulo 2^32: what is long past is forgotten.
        self.recovery_from = self.recovery_from.filter(|from| serial(number, *from) < i32::MAX / 2);
        if self.window < self.threshold {
            self.window = self.window.saturating_add(bytes);
            return;
        }
        match self.control {
            CongestionControl::NewReno => {
                // Appendix B.5: a frame per window, in parts.
                self.earned += u64::from(self.frame_bytes) * u64::from(bytes);
                self.window = self.window.saturating_add((self.earned / u64::from(self.window)) as u32);
                self.earned %= u64::from(self.window);
            }
            CongestionControl::Cubic => self.grow_cubic(now, bytes, rtt.smoothed()),
        }
    }

    /// The frame with this number is lost; `next_number` has not been sent. Losses of one round trip count once: true for the first
    /// of them.
    pub fn lost(&mut self, number: u32, next_number: u32) -> bool {
        if self.is_answered(number) {
            return false;
        }
        self.recovery_from = Some(next_number);
        let kept = match self.control {
            CongestionControl::NewReno => self.window / 2,
            CongestionControl::Cubic => self.turn_cubic(),
        };
        self.window = kept.max(self.least_window());
        self.threshold = self.window;
        true
    }

    /// Everything of several probe time-outs is lost (RFC 9002 §7.6; RFC 9438 §4.8: the next curve begins where slow start ends).
    pub fn collapse(&mut self) {
        self.window = self.least_window();
        self.recovery_from = None;
        (self.cubic.epoch, self.cubic.window_max) = (None, 0.0);
    }

    fn is_answered(&self, number: u32) -> bool {
        self.recovery_from.is_some_and(|from| serial(number, from) < 0)
    }

    fn least_window(&self) -> u32 {
        LEAST_FRAMES * u32::from(self.frame_bytes)
    }

    /// §4.6 and §4.7: what is left of the window, and where the curve turns.
    fn turn_cubic(&mut self) -> u32 {
        let window = f64::from(self.window);
        let is_lower = window < self.cubic.window_max;
        self.cubic.window_max = if is_lower { window * (1.0 + CUBIC_BETA) / 2.0 } else { window };
        self.cubic.window_prior = window;
        self.cubic.epoch = None;
        (window * CUBIC_BETA) as u32
    }

    /// §4.2 to §4.5.
    fn grow_cubic(&mut self, now: Instant, bytes: u32, rtt: Duration) {
        let (window, frame, acked) = (f64::from(self.window), f64::from(self.frame_bytes), f64::from(bytes));
        let cubic = &mut self.cubic;
        let rested = cubic.rests_since.take().map_or(Duration::ZERO, |since| now.since(since));
        let epoch = match cubic.epoch {
            Some(epoch) => epoch + rested,
            None => {
                cubic.window_max = cubic.window_max.max(window);
                cubic.turning_s = ((cubic.window_max - window) / frame / CUBIC_C).cbrt();
                cubic.reno_window = window;
                now
            }
        };
        cubic.epoch = Some(epoch);
        let alpha = if cubic.reno_window >= cubic.window_prior { 1.0 } else { 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA) };
        cubic.reno_window += alpha * frame * acked / window;
        let ahead_s = now.since(epoch).as_secs_f64() + rtt.as_secs_f64() - cubic.turning_s;
        let target = (CUBIC_C * ahead_s.powi(3) * frame + cubic.window_max).clamp(window, window * 1.5);
        let grown = (window + (target - window) / window * acked).max(cubic.reno_window);
        self.window = grown.min(f64::from(u32::MAX / 2)) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::START + Duration::from_millis(ms)
    }

    fn known_rtt() -> Rtt {
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_millis(50), Duration::ZERO);
        rtt
    }

    #[test]
    fn slow_start_doubles_a_loss_halves_once_and_avoidance_adds_a_frame_a_round_trip() {
        let (mut congestion, rtt) = (Congestion::new(CongestionControl::NewReno, 1_200), known_rtt());
        (1..11).for_each(|number| congestion.acked(at(50), number, 1_200, &rtt, true));
        assert_eq!(congestion.window(), 24_000);
        assert!(congestion.lost(11, 31) && !congestion.lost(30, 32));
        assert_eq!(congestion.window(), 12_000);
        congestion.acked(at(70), 30, 12_000, &rtt, true);
        assert_eq!(congestion.window(), 12_000, "what was sent before the loss was seen does not count");
        (31..41).for_each(|number| congestion.acked(at(120), number, 1_200, &rtt, true));
        assert!((13_140..=13_160).contains(&congestion.window()), "{}", congestion.window());
        let before = congestion.window();
        congestion.acked(at(120), 41, 13_200, &rtt, false);
        assert_eq!(congestion.window(), before, "an unused window does not grow");
        (0..9).for_each(|round| assert!(congestion.lost(50 + round, 51 + round)));
        assert_eq!(congestion.window(), 2_400);
        congestion.resized(1_452);
        assert_eq!(congestion.window(), 2_904, "two frames of any size");
        congestion.acked(at(200), 1 << 31, 1_452, &rtt, true);
        assert_eq!(congestion.recovery_from, None, "numbers come round");
    }

    #[test]
    fn cubic_comes_back_to_where_it_was_in_time_and_then_tries_more() {
        let mut congestion = Congestion::new(CongestionControl::Cubic, 1_200);
        congestion.window = 120_000;
        congestion.lost(1, 2);
        assert_eq!(congestion.window(), 84_000);
        // K = cbrt(100 * 0.3 / 0.4) = 4.2 s: after 21 round trips.
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_millis(200), Duration::ZERO);
        let mut windows = Vec::new();
        for round in 1..=40 {
            let window = congestion.window();
            congestion.acked(at(round * 200), 1 + round as u32, window, &rtt, true);
            windows.push(congestion.window());
        }
        assert!((118_000..=122_000).contains(&windows[20]), "{windows:?}");
        assert!(windows[39] > 140_000, "{windows:?}");
    }

    #[test]
    fn cubic_does_not_count_time_in_which_the_window_did_not_matter_and_begins_anew_after_time_outs() {
        let (mut congestion, rtt) = (Congestion::new(CongestionControl::Cubic, 1_200), known_rtt());
        congestion.window = 120_000;
        congestion.lost(1, 2);
        congestion.acked(at(50), 2, 1_200, &rtt, true);
        congestion.acked(at(100), 3, 1_200, &rtt, false);
        congestion.acked(at(60_000), 4, 84_000, &rtt, true);
        assert!(congestion.window() < 87_000, "{}", congestion.window());
        congestion.collapse();
        assert_eq!(congestion.window(), 2_400);
        (5..80).for_each(|number| congestion.acked(at(60_100), number, 1_200, &rtt, true));
        assert!(congestion.window() >= congestion.threshold, "slow start leads to half of what was");
        assert!(congestion.cubic.turning_s < f64::EPSILON, "and the curve begins there");
    }

    #[test]
    fn a_queue_ends_slow_start() {
        let (mut congestion, mut rtt) = (Congestion::new(CongestionControl::NewReno, 1_200), known_rtt());
        (0..40).for_each(|_| rtt.sample(Duration::from_millis(400), Duration::ZERO));
        congestion.acked(at(500), 1, 1_200, &rtt, true);
        assert_eq!((congestion.window(), congestion.threshold), (12_000, 12_000));
    }
}
