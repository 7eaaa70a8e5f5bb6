//! The one source of randomness below `net`: seeded, so that a failing run can be repeated.

use super::Duration;

/// A small, fast generator. Not for secrets: keys come from the TLS provider.
#[derive(Clone, Debug)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// The same seed gives the same numbers.
    pub fn with_seed(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A generator of its own for a part, so that parts do not disturb each other's sequence.
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// Any 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.u64(..bound) }
    }

    /// True with probability `permille` / 1000.
    pub fn chance(&mut self, permille: u32) -> bool {
        self.below(1000) < u64::from(permille)
    }

    /// Between half of `duration` and all of it: the jitter of a back-off.
    pub fn jitter(&mut self, duration: Duration) -> Duration {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + self.below(micros / 2 + 1))
    }
}
