//! A number that goes up and down on several threads, and the most it ever was.
//!
//! Like the budget, shared by atomics: the workers of one server count their connections together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number. Cloning gives another handle to the same one.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<Marks>);

#[derive(Debug, Default)]
struct Marks {
    now: AtomicUsize,
    peak: AtomicUsize,
}

/// One that was counted, until it is dropped.
#[derive(Debug)]
pub struct Seat(Level);

impl Level {
    /// Counts one more, unless there are `max` already.
    pub fn take_seat(&self, max: usize) -> Option<Seat> {
        let now = self.raise();
        // Made whatever there are: whoever is one too many is counted out by dropping it.
        let seat = Seat(self.clone());
        (now <= max).then_some(seat)
    }

    /// One more; how many there are then.
    pub fn raise(&self) -> usize {
        let now = self.0.now.fetch_add(1, Ordering::Relaxed) + 1;
        if now > self.0.peak.load(Ordering::Relaxed) {
            self.0.peak.fetch_max(now, Ordering::Relaxed);
        }
        now
    }

    /// One less.
    pub fn lower(&self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn now(&self) -> usize {
        self.0.now.load(Ordering::Relaxed)
    }

    /// The most there ever were.
    pub fn peak(&self) -> usize {
        self.0.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lower();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_seats_than_allowed_and_a_dropped_one_is_free() {
        let level = Level::default();
        let seats: Vec<_> = (0..3).map(|_| level.take_seat(2)).collect();
        assert!(seats[0].is_some() && seats[1].is_some() && seats[2].is_none());
        assert_eq!(level.now(), 2);
        drop(seats);
        assert_eq!((level.now(), level.take_seat(1).is_some()), (0, true));
    }
}
