//! One answer from a worker to a thread that waits for it.
//!
//! Not a channel of the standard library: that one makes a handle of the waiting thread, which
//! lives as long as the thread does, and leak checkers complain about it on the host's main thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::base::Duration;

/// Gives the answer; dropping it without one says that there will be none.
pub struct Answerer<R>(Arc<Shared<R>>);

/// Waits for the answer.
pub struct Asker<R>(Arc<Shared<R>>);

struct Shared<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

enum State<R> {
    Open,
    Answered(R),
    /// Taken, or there will be none.
    Over,
}

/// What a wait came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Waited<R> {
    /// The answer.
    Answer(R),
    /// Not yet.
    Timeout,
    /// There will be none.
    Gone,
}

/// Both ends.
pub fn ask<R>() -> (Answerer<R>, Asker<R>) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Open), changed: Condvar::new() });
    (Answerer(shared.clone()), Asker(shared))
}

impl<R> Shared<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Answerer<R> {
    /// Gives the answer.
    pub fn answer(self, answer: R) {
        *self.0.lock() = State::Answered(answer);
        // Dropping `self` wakes whoever waits.
    }
}

impl<R> Drop for Answerer<R> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if matches!(*state, State::Open) {
            *state = State::Over;
        }
        self.0.changed.notify_all();
    }
}

impl<R> Asker<R> {
    /// Waits at most as long.
    pub fn wait(&self, wait_max: Duration) -> Waited<R> {
        let state = self.0.lock();
        let waited = self.0.changed.wait_timeout_while(state, wait_max, |state| matches!(state, State::Open));
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match core::mem::replace(&mut *state, State::Over) {
            State::Answered(answer) => Waited::Answer(answer),
            State::Over => Waited::Gone,
            State::Open => {
                *state = State::Open;
                Waited::Timeout
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_once_and_its_absence_is_told() {
        let (answerer, asker) = ask();
        assert_eq!(asker.wait(Duration::ZERO), Waited::Timeout);
        let thread = std::thread::spawn(move || answerer.answer(7));
        assert_eq!(asker.wait(Duration::from_secs(10)), Waited::Answer(7));
        assert_eq!(asker.wait(Duration::from_secs(10)), Waited::Gone);
        thread.join().expect("no panic");
        let (answerer, asker) = ask::<u8>();
        drop(answerer);
        assert_eq!(asker.wait(Duration::from_secs(10)), Waited::Gone);
    }
}
