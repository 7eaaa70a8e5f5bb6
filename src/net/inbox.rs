//! How other threads reach a worker: a mutex around a vector that is swapped out whole, and a
//! wake-up only if the worker sleeps.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What is posted to a worker.
pub struct Inbox<C> {
    commands: Mutex<Vec<C>>,
    /// The worker is about to sleep, or sleeps: whoever posts must wake it.
    sleeping: AtomicBool,
    /// There is something for it elsewhere.
    nudged: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<C> Inbox<C> {
    /// `wake` ends the worker's wait.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Self {
        // Until the first turn begins, every post must wake.
        Self { commands: Mutex::new(Vec::new()), sleeping: AtomicBool::new(true), nudged: AtomicBool::new(false), wake }
    }

    /// Adds a command; from any thread.
    pub fn post(&self, command: C) {
        self.commands.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(command);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// Says that there is something for the worker elsewhere; wakes it if it sleeps.
    pub fn nudge(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        if self.sleeping.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// Ends the worker's wait, or the next one if it does not wait now.
    pub fn wake(&self) {
        (self.wake)();
    }

    /// Takes everything that was posted; the vector goes back and forth, so that nothing is
    /// allocated in the steady state.
    pub fn take(&self, into: &mut Vec<C>) {
        debug_assert!(into.is_empty());
        let mut commands = self.commands.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        core::mem::swap(&mut *commands, into);
    }

    /// The worker wants to sleep. False: something was posted, or it was nudged: do not.
    pub fn may_sleep(&self) -> bool {
        self.sleeping.store(true, Ordering::SeqCst);
        let empty = self.commands.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).is_empty();
        let may = empty && !self.nudged.load(Ordering::SeqCst);
        if !may {
            self.sleeping.store(false, Ordering::SeqCst);
        }
        may
    }

    /// The worker is awake again, and looks everywhere.
    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
        self.nudged.store(false, Ordering::SeqCst);
    }
}
