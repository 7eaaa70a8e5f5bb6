//! What is known of a client on other threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::proto::client::{Client, State, Statistics};
use crate::stack::{DatagramStatistics, DatagramWatch};

/// What a client holds, for threads that may not wait for the worker: a little late, never wrong.
#[derive(Default, Debug)]
pub struct ClientGauge {
    queued_count: AtomicUsize,
    queued_bytes: AtomicUsize,
    in_flight: AtomicUsize,
    requests_waiting: AtomicUsize,
    state: AtomicUsize,
    /// Freed inside one of its callbacks: only completions are still told.
    is_closed: AtomicBool,
    statistics: Mutex<Statistics>,
    /// The connection, if it is one over datagrams.
    watch: Mutex<Option<Arc<dyn DatagramWatch>>>,
}

impl ClientGauge {
    pub(super) fn set(&self, machine: &Client, state: State) {
        self.note_queued(machine);
        self.in_flight.store(machine.in_flight(), Ordering::Relaxed);
        self.requests_waiting.store(machine.requests_waiting(), Ordering::Relaxed);
        if self.state.load(Ordering::Relaxed) != state as usize {
            self.set_statistics(machine);
            self.state.store(state as usize, Ordering::Release);
        }
    }

    /// Notes what waits to be sent.
    pub fn note_queued(&self, machine: &Client) {
        let (count, bytes) = machine.queued();
        self.queued_count.store(count, Ordering::Relaxed);
        self.queued_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_statistics(&self, machine: &Client) {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner) = machine.statistics();
    }

    /// From now on only completions are told; for one who frees the client inside a callback and
    /// may not be called back by it.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// It was closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Counters, as they were when the worker last had something to do for the client.
    pub fn statistics(&self) -> Statistics {
        *self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the connection can be looked at by this.
    pub(super) fn watch(&self, watch: Option<Arc<dyn DatagramWatch>>) {
        *self.watch.lock().unwrap_or_else(PoisonError::into_inner) = watch;
    }

    /// What happened on the connection; `None`: there is none, or not over datagrams.
    pub fn datagrams(&self) -> Option<DatagramStatistics> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|watch| watch.statistics())
    }

    /// Messages and bytes that wait to be sent.
    pub fn queued(&self) -> (usize, usize) {
        (self.queued_count.load(Ordering::Relaxed), self.queued_bytes.load(Ordering::Relaxed))
    }

    /// QoS 1 and 2 messages sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests without a response.
    pub fn requests_waiting(&self) -> usize {
        self.requests_waiting.load(Ordering::Relaxed)
    }

    /// Where the machine stands.
    pub fn state(&self) -> State {
        let all = [State::Stopped, State::Waiting, State::Dialing, State::Connecting, State::Online, State::Stopping];
        let number = self.state.load(Ordering::Acquire);
        all.into_iter().find(|state| *state as usize == number).unwrap_or(State::Stopped)
    }
}
