//! One account of bytes for everything that waits.
//!
//! Every message, queue entry and buffer is charged where it is created and credited when it is
//! dropped, so that the sum is exact whatever path an object takes. The budget is shared by
//! atomics (the one exception to "no atomics below net" beside the router's lock): a message may
//! be dropped by another worker than the one that made it.
//!
//! Two marks: beyond the soft one nothing that stays for long grows any more, and what may be lost is
//! not kept for those who are slow; beyond the hard one nothing new is let in. Nothing is refused here: what is in memory already
//! must be counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The account. Cloning gives another handle to the same account.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug, Default)]
struct Account {
    used_bytes: AtomicUsize,
    peak_bytes: AtomicUsize,
    soft_bytes: usize,
    hard_bytes: usize,
    soft_reached: AtomicU64,
    hard_reached: AtomicU64,
}

/// What an account says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BudgetStatistics {
    /// Bytes charged at this moment.
    pub used_bytes: usize,
    /// The most bytes ever charged.
    pub peak_bytes: usize,
    /// The soft mark.
    pub soft_bytes: usize,
    /// The hard mark.
    pub hard_bytes: usize,
    /// How often the soft mark was passed.
    pub soft_reached: u64,
    /// How often the hard mark was passed.
    pub hard_reached: u64,
}

impl Budget {
    /// An account with a hard mark, and the soft one of [`Budget::soft_of`].
    pub fn new(limit_bytes: usize) -> Self {
        Self::with_marks(Self::soft_of(limit_bytes), limit_bytes)
    }

    /// Where the soft mark stands if nobody says otherwise: at seven eighths of the hard one.
    pub fn soft_of(hard_bytes: usize) -> usize {
        hard_bytes - hard_bytes / 8
    }

    /// An account that [`Budget::is_tight`] beyond `soft_bytes` and [`Budget::is_exhausted`] beyond
    /// `hard_bytes`.
    pub fn with_marks(soft_bytes: usize, hard_bytes: usize) -> Self {
        Self(Arc::new(Account { soft_bytes, hard_bytes, ..Account::default() }))
    }

    /// Charges `bytes`; they are credited when the result is dropped. Never refuses: what is
    /// already in memory must be counted. Ask [`Budget::is_exhausted`] before making more.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.0.add(bytes);
        Charge { budget: self.clone(), bytes }
    }

    /// Bytes charged at this moment.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The hard mark this account was made with.
    pub fn limit_bytes(&self) -> usize {
        self.0.hard_bytes
    }

    /// Little is left: what would stay for long (queues, sessions, subscriptions, retained messages)
    /// is not let grow any more, so that it alone never exhausts the budget, and QoS 0 messages are
    /// not kept for receivers that are blocked. What is between the marks is for what comes and goes.
    pub fn is_tight(&self) -> bool {
        self.used_bytes() > self.0.soft_bytes
    }

    /// Publishers are no longer read and CONNECT is answered 0x89 while this is true.
    pub fn is_exhausted(&self) -> bool {
        self.used_bytes() > self.0.hard_bytes
    }

    /// Levels, marks and counters.
    pub fn statistics(&self) -> BudgetStatistics {
        BudgetStatistics {
            used_bytes: self.used_bytes(),
            peak_bytes: self.0.peak_bytes.load(Ordering::Relaxed),
            soft_bytes: self.0.soft_bytes,
            hard_bytes: self.0.hard_bytes,
            soft_reached: self.0.soft_reached.load(Ordering::Relaxed),
            hard_reached: self.0.hard_reached.load(Ordering::Relaxed),
        }
    }
}

impl Account {
    fn add(&self, bytes: usize) {
        let before = self.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        let after = before.saturating_add(bytes);
        if after > self.peak_bytes.load(Ordering::Relaxed) {
            self.peak_bytes.fetch_max(after, Ordering::Relaxed);
        }
        for (mark, reached) in [(self.soft_bytes, &self.soft_reached), (self.hard_bytes, &self.hard_reached)] {
            if before <= mark && after > mark {
                reached.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A sum charged to a [`Budget`]; credited when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Charge {
    /// Charges `bytes` to the same budget, for something else.
    pub fn beside(&self, bytes: usize) -> Self {
        self.budget.charge(bytes)
    }

    /// The bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the sum, for a buffer that grew or shrank.
    pub fn resize(&mut self, bytes: usize) {
        if bytes == self.bytes {
            return;
        }
        if bytes > self.bytes {
            self.budget.0.add(bytes - self.bytes);
        } else {
            self.budget.0.used_bytes.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.used_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_charge_is_credited_when_it_is_dropped() {
        let budget = Budget::new(100);
        let mut first = budget.charge(60);
        let second = budget.charge(60);
        assert!(budget.is_exhausted());
        first.resize(30);
        assert!(budget.is_tight() && !budget.is_exhausted());
        first.resize(10);
        assert_eq!(budget.used_bytes(), 70);
        assert!(!budget.is_exhausted() && !budget.is_tight());
        drop((first, second));
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn marks_are_counted_each_time_they_are_passed() {
        let budget = Budget::with_marks(50, 100);
        for _ in 0..3 {
            let mut charge = budget.charge(60);
            assert!(budget.is_tight() && !budget.is_exhausted());
            charge.resize(120);
            assert!(budget.is_exhausted());
        }
        assert_eq!(budget.statistics(), BudgetStatistics { used_bytes: 0, peak_bytes: 120, soft_bytes: 50, hard_bytes: 100, soft_reached: 3, hard_reached: 3 });
    }
}
