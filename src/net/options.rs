//! Options of a runtime.

use std::sync::Arc;

use super::dispatch::EVENTS_MAX;
use super::error::Error;
use super::log::Log;
use super::resolver::{HELPER_THREADS, Resolve};
use super::threads::ThreadOptions;
use crate::base::Budget;

/// The most workers of a runtime: hook tokens and look-up tickets have a byte for them.
pub const WORKERS_MAX: usize = 256;

/// Who turns the workers, and who runs callbacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Threads of the library do both.
    #[default]
    Thread,
    /// The owner does both, by [`super::Runtime::poll`].
    Loop,
    /// Threads of the library turn the workers, the owner runs callbacks, by
    /// [`super::Runtime::dispatch`].
    Dispatch,
}

/// Options of a runtime.
#[derive(Clone)]
pub struct RuntimeOptions {
    /// Who does what.
    pub mode: Mode,
    /// Workers among which clients are shared out; 0 = one for each core.
    pub workers: usize,
    /// Threads of the library.
    pub threads: ThreadOptions,
    /// Threads that look names up, at one time; 0 forbids them. They are shared out among the workers,
    /// at least one to each.
    pub helper_threads: usize,
    /// Looks names up in their place.
    pub resolve: Option<Resolve>,
    /// Threads that run the hooks of servers: 0, they run on the workers, or 1.
    pub hook_threads: usize,
    /// Events that wait for a dispatch before the workers rest; of the hook thread, before its servers do.
    pub events_max: usize,
    /// Bytes of everything that waits in this runtime: the hard mark.
    pub memory_limit: usize,
    /// The soft mark; `None`: seven eighths of the hard one.
    pub memory_soft: Option<usize>,
    /// Where lines of log go.
    pub log: Option<Arc<dyn Log>>,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            mode: Mode::Thread,
            workers: 1,
            threads: ThreadOptions::default(),
            helper_threads: HELPER_THREADS,
            resolve: None,
            hook_threads: 0,
            events_max: EVENTS_MAX,
            memory_limit: 512 << 20,
            memory_soft: None,
            log: None,
        }
    }
}

impl RuntimeOptions {
    /// The soft mark in force.
    pub fn memory_soft_in_force(&self) -> usize {
        self.memory_soft.unwrap_or(Budget::soft_of(self.memory_limit))
    }

    /// How many workers there will be.
    pub fn workers_in_force(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX),
            count => count,
        }
    }

    /// Threads that look names up for one worker.
    pub(super) fn helper_threads_each(&self) -> usize {
        self.helper_threads.min((self.helper_threads / self.workers_in_force()).max(1))
    }

    /// What cannot be.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.mode == Mode::Loop && self.workers != 1 {
            return Err(Error::Invalid(format!("LOOP mode has exactly one worker, not {}", self.workers)));
        }
        if self.workers_in_force() > WORKERS_MAX {
            return Err(Error::Invalid(format!("{} workers are more than {WORKERS_MAX}", self.workers)));
        }
        if self.memory_soft_in_force() > self.memory_limit {
            return Err(Error::Invalid("the soft memory limit is above the hard one".to_owned()));
        }
        if self.hook_threads > 1 {
            return Err(Error::Invalid(format!("{} hook threads, one at most", self.hook_threads)));
        }
        if self.hook_threads == 1 && self.mode != Mode::Thread {
            return Err(Error::Invalid("a hook thread in another mode than THREAD".to_owned()));
        }
        if self.events_max == 0 {
            return Err(Error::Invalid("a queue of 0 events".to_owned()));
        }
        Ok(())
    }
}
