//! Time as an integer that is handed in.
//!
//! Nobody below `net` asks for the time. [`Instant`] counts microseconds since the runtime began,
//! so that a trace prints `t=12.003000s` and a seed replays. It comes from a monotonic clock: a
//! gateway without a battery clock boots in 1970 and jumps when the time arrives, and no timer
//! may notice.

use core::fmt;
use core::num::NonZeroU64;
use core::ops::{Add, AddAssign, Sub};
pub use core::time::Duration;

/// Microseconds since the runtime began. One more is kept, so that "no deadline" needs no room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(NonZeroU64);

impl Instant {
    /// The moment the runtime began.
    pub const START: Self = Self(NonZeroU64::MIN);

    /// The instant `micros` microseconds after the start; `u64::MAX` is one less.
    pub const fn from_micros(micros: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    /// Microseconds since the start.
    pub const fn as_micros(self) -> u64 {
        self.0.get() - 1
    }

    /// Time since `earlier`; zero if that lies in the future.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.as_micros().saturating_sub(earlier.as_micros()))
    }
}

impl Default for Instant {
    fn default() -> Self {
        Self::START
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
        Self::from_micros(self.as_micros().saturating_sub(micros))
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t={}.{:06}s", self.as_micros() / 1_000_000, self.as_micros() % 1_000_000)
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
        assert_eq!((Instant::START.as_micros(), now.as_micros()), (0, 5));
        assert_eq!(size_of::<Option<Instant>>(), size_of::<u64>());
    }
}
