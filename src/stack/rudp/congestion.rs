//! How many bytes may be on their way: NewReno as in RFC 9002, or CUBIC as in RFC 9438.
//!
//! Beyond the books: while the smoothed round trip exceeds twice the least one by 50 ms, the window does not grow and slow
//! start is over. On slow radio links that halves the delay and costs nothing.

use super::options::CongestionControl;
use super::rtt::Rtt;
use crate::base::{Duration, Instant};

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
    window: u32,
    /// Below it, slow start.
    threshold: u32,
    /// What was sent before belongs to a loss that was answered.
    recovery_at: Option<Instant>,
    /// Bytes acknowledged since the window last grew by one frame.
    counted: u32,
    cubic: Cubic,
}

/// In frames and seconds (RFC 9438 §4.1).
#[derive(Clone, Copy, Default, Debug)]
struct Cubic {
    window_max: f64,
    turning_s: f64,
    epoch: Option<Instant>,
    reno_window: f64,
}

impl Congestion {
    pub fn new(control: CongestionControl, frame_bytes: u16) -> Self {
        let window = u32::from(frame_bytes) * FIRST_FRAMES;
        Self { control, window, threshold: u32::MAX, recovery_at: None, counted: 0, cubic: Cubic::default() }
    }

    /// Bytes that may be on their way.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// A frame of so many bytes, sent then, arrived. `was_full`: the window was what held the sender back.
    pub fn acked(&mut self, now: Instant, sent_at: Instant, bytes: u32, rtt: &Rtt, frame_bytes: u16, was_full: bool) {
        let is_queueing = rtt.is_queueing();
        if is_queueing && self.window < self.threshold {
            self.threshold = self.window;
        }
        if !was_full || is_queueing || self.recovery_at.is_some_and(|at| sent_at <= at) {
            return;
        }
        if self.window < self.threshold {
            self.window = self.window.saturating_add(bytes);
            return;
        }
        match self.control {
            CongestionControl::NewReno => {
                self.counted += bytes;
                if self.counted >= self.window {
                    self.counted -= self.window;
                    self.window = self.window.saturating_add(frame_bytes.into());
                }
            }
            CongestionControl::Cubic => self.grow_cubic(now, bytes, rtt.smoothed(), frame_bytes),
        }
    }

    /// A frame sent then is lost. Losses of one round trip count once.
    pub fn lost(&mut self, now: Instant, sent_at: Instant, frame_bytes: u16) {
        if self.recovery_at.is_some_and(|at| sent_at <= at) {
            return;
        }
        self.recovery_at = Some(now);
        self.counted = 0;
        let kept = match self.control {
            CongestionControl::NewReno => self.window / 2,
            CongestionControl::Cubic => self.turn_cubic(frame_bytes),
        };
        self.window = kept.max(LEAST_FRAMES * u32::from(frame_bytes));
        self.threshold = self.window;
    }

    /// Everything of several probe time-outs is lost (RFC 9002 §7.6).
    pub fn collapse(&mut self, frame_bytes: u16) {
        self.window = LEAST_FRAMES * u32::from(frame_bytes);
        self.recovery_at = None;
        self.cubic.epoch = None;
    }

    /// §4.6 and §4.7: what is left of the window, and where the curve turns.
    fn turn_cubic(&mut self, frame_bytes: u16) -> u32 {
        let window = f64::from(self.window) / f64::from(frame_bytes);
        let is_lower = window < self.cubic.window_max;
        self.cubic.window_max = if is_lower { window * (1.0 + CUBIC_BETA) / 2.0 } else { window };
        self.cubic.epoch = None;
        (f64::from(self.window) * CUBIC_BETA) as u32
    }

    /// §4.2 to §4.5.
    fn grow_cubic(&mut self, now: Instant, bytes: u32, rtt: Duration, frame_bytes: u16) {
        let frame = f64::from(frame_bytes);
        let window = f64::from(self.window) / frame;
        let cubic = &mut self.cubic;
        let epoch = *cubic.epoch.get_or_insert_with(|| {
            cubic.window_max = cubic.window_max.max(window);
            cubic.turning_s = ((cubic.window_max - window) / CUBIC_C).cbrt();
            cubic.reno_window = window;
            now
        });
        let acked = f64::from(bytes) / frame;
        let alpha = if cubic.reno_window >= cubic.window_max { 1.0 } else { 3.0 * (1.0 - CUBIC_BETA) / (1.0 + CUBIC_BETA) };
        cubic.reno_window += alpha * acked / window;
        let ahead_s = now.since(epoch).as_secs_f64() + rtt.as_secs_f64() - cubic.turning_s;
        let target = (CUBIC_C * ahead_s.powi(3) + cubic.window_max).clamp(window, window * 1.5);
        let grown = (window + (target - window) / window * acked).max(cubic.reno_window);
        self.window = (grown * frame).min(f64::from(u32::MAX / 2)) as u32;
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
        (0..10).for_each(|_| congestion.acked(at(50), at(1), 1_200, &rtt, 1_200, true));
        assert_eq!(congestion.window(), 24_000);
        congestion.lost(at(60), at(20), 1_200);
        congestion.lost(at(61), at(59), 1_200);
        assert_eq!(congestion.window(), 12_000);
        congestion.acked(at(70), at(60), 12_000, &rtt, 1_200, true);
        assert_eq!(congestion.window(), 12_000, "what was sent before the loss was seen does not count");
        (0..10).for_each(|_| congestion.acked(at(120), at(61), 1_200, &rtt, 1_200, true));
        assert_eq!(congestion.window(), 13_200);
        congestion.acked(at(120), at(61), 13_200, &rtt, 1_200, false);
        assert_eq!(congestion.window(), 13_200, "an unused window does not grow");
        (0..9).for_each(|round| congestion.lost(at(200 + round), at(200 + round), 1_200));
        assert_eq!(congestion.window(), 2_400);
    }

    #[test]
    fn cubic_comes_back_to_where_it_was_in_time_and_then_tries_more() {
        let mut congestion = Congestion::new(CongestionControl::Cubic, 1_200);
        congestion.window = 120_000;
        congestion.lost(at(0), at(0), 1_200);
        assert_eq!(congestion.window(), 84_000);
        // K = cbrt(100 * 0.3 / 0.4) = 4.2 s: after 21 round trips.
        let mut rtt = Rtt::default();
        rtt.sample(Duration::from_millis(200), Duration::ZERO);
        let mut windows = Vec::new();
        for round in 1..=40 {
            let window = congestion.window();
            congestion.acked(at(round * 200), at(round * 200 - 100), window, &rtt, 1_200, true);
            windows.push(congestion.window());
        }
        assert!((118_000..=122_000).contains(&windows[20]), "{windows:?}");
        assert!(windows[39] > 140_000, "{windows:?}");
    }

    #[test]
    fn a_queue_ends_slow_start() {
        let (mut congestion, mut rtt) = (Congestion::new(CongestionControl::NewReno, 1_200), known_rtt());
        (0..40).for_each(|_| rtt.sample(Duration::from_millis(400), Duration::ZERO));
        congestion.acked(at(500), at(100), 1_200, &rtt, 1_200, true);
        assert_eq!((congestion.window(), congestion.threshold), (12_000, 12_000));
    }
}
