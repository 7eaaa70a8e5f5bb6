//! Which runtime a thread works for at the moment: inside its callbacks nobody may wait for it.

use std::cell::Cell;
use std::sync::Arc;

use super::log::{Log, Logging};

thread_local! {
    /// The runtime this thread turns, or runs callbacks of; 0: none.
    static TURNING: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, this thread works for a runtime.
pub(super) struct Turning {
    before: u64,
    _logging: Logging,
}

impl Turning {
    pub fn begin(id: u64, log: Option<&Arc<dyn Log>>) -> Self {
        Self { before: TURNING.replace(id), _logging: Logging::begin(log) }
    }

    /// This thread works for that runtime.
    pub fn is(id: u64) -> bool {
        // A thread that is ending works for none.
        TURNING.try_with(Cell::get).is_ok_and(|turning| turning == id)
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNING.set(self.before);
    }
}

/// This thread works for some runtime: it is inside a callback, or the library's own.
pub fn is_turning_any() -> bool {
    TURNING.try_with(Cell::get).is_ok_and(|id| id != 0)
}
