//! One account of bytes for everything that waits.
//!
//! Every message, queue entry and buffer is charged where it is created and credited when it is
//! dropped, so that the sum is exact whatever path an object takes. The budget is shared by
//! atomics (the one exception to "no atomics below net" beside the router's lock): a message may
//! be dropped by another worker than the one that made it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The account. Cloning gives another handle to the same account.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Account>);

#[derive(Debug)]
struct Account {
    used_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Budget {
    /// An account that [`Budget::is_exhausted`] when more than `limit_bytes` are charged.
    pub fn new(limit_bytes: usize) -> Self {
        Self(Arc::new(Account { used_bytes: AtomicUsize::new(0), limit_bytes }))
    }

    /// Charges `bytes`; they are credited when the result is dropped. Never refuses: what is
    /// already in memory must be counted. Ask [`Budget::is_exhausted`] before making more.
    pub fn charge(&self, bytes: usize) -> Charge {
        self.0.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        Charge { budget: self.clone(), bytes }
    }

    /// Bytes charged at this moment.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// The limit this account was made with.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes
    }

    /// Little is left: what would stay for long (queues, sessions, subscriptions, retained messages)
    /// is not let grow any more, so that it alone never exhausts the budget. The last eighth is for
    /// what comes and goes.
    pub fn is_tight(&self) -> bool {
        self.used_bytes() > self.0.limit_bytes - self.0.limit_bytes / 8
    }

    /// Publishers are no longer read and CONNECT is answered 0x89 while this is true.
    pub fn is_exhausted(&self) -> bool {
        self.used_bytes() > self.0.limit_bytes
    }
}

/// A sum charged to a [`Budget`]; credited when dropped.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Charge {
    /// The bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the sum, for a buffer that grew or shrank.
    pub fn resize(&mut self, bytes: usize) {
        let used = &self.budget.0.used_bytes;
        if bytes >= self.bytes {
            used.fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
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
}
