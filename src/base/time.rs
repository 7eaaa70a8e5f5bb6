//! Time as an integer that is handed in.
//!
//! Nobody below `net` asks for the time. [`Instant`] counts microseconds since the runtime began,
//! so that a trace prints `t=12.003000s` and a seed replays. It comes from a monotonic clock: a
//! gateway without a battery clock boots in 1970 and jumps when the time arrives, and no timer
//! may notice.

use core::fmt;
use core::ops::{Add, AddAssign, Sub};
pub use core::time::Duration;

/// Microseconds since the runtime began.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment the runtime began.
    pub const START: Self = Self(0);

    /// The instant `micros` microseconds after the start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time since `earlier`; zero if that lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    /// Saturates: "never" is a legal deadline.
    fn add(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Wall time in milliseconds since 1970, handed in where a stamp is wanted; never used for a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct UnixTime(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_deadlines_saturate_instead_of_wrapping() {
        let now = Instant::from_micros(5);
        assert_eq!(now + Duration::MAX, Instant::from_micros(u64::MAX));
        assert_eq!(now - Duration::from_secs(1), Instant::START);
        assert_eq!(Instant::START.since(now), Duration::ZERO);
    }
}
