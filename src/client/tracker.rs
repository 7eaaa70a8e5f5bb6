//! What is asked of a client and not done yet: who waits for it, and whom to call. Its lock guards the lane, too.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::lane::Lane;
use super::{Completion, CompletionCallback, Credentials, Event, Incoming, LastDisconnect, Outcome, ReceiveOptions, RequestKind, State, Token};
use crate::base::{Duration, IdMap, Instant};
use crate::net::{ClientHandler, MessageIntake, PathMoved};
use crate::proto;
use crate::proto::client::ReceiveRoom;
use crate::stack::DatagramProtocol;

/// Failed requests whose end is remembered for a later wait.
const FAILURES_KEPT: usize = 1_024;

/// What is not done yet.
#[derive(Default)]
pub(super) struct Tracker {
    track: Mutex<Track>,
    changed: Condvar,
    /// Pending requests with a callback of their own.
    callbacks: AtomicUsize,
}

#[derive(Default)]
pub(super) struct Track {
    /// What the worker has not seen yet.
    pub lane: Lane,
    /// The number of the last request.
    pub token_last: u64,
    pub pending: IdMap<u64, Option<CompletionCallback>>,
    pub failures: VecDeque<(Token, Completion)>,
    pub is_online: bool,
    pub is_stopped: bool,
    pub is_closed: bool,
    /// Starts and stops on their way to the worker.
    pub orders: usize,
    /// Messages that wait to be pulled, and their bytes.
    received: VecDeque<Incoming>,
    received_bytes: usize,
    /// Reading rests.
    is_full: bool,
    /// What the last CONNACK said.
    pub client_id: String,
    pub server: Option<usize>,
    pub last_disconnect: Option<LastDisconnect>,
    /// Who is to be woken by each change, and who only when nothing is pending any more.
    sleepers: usize,
    flushers: usize,
}

/// What wakes who waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wakes {
    /// Each change.
    Each,
    /// The end of the last request: a wake-up for each of a thousand would cost more than they do.
    AllDone,
}

impl Track {
    fn sleepers_of(&mut self, wakes: Wakes) -> &mut usize {
        match wakes {
            Wakes::Each => &mut self.sleepers,
            Wakes::AllDone => &mut self.flushers,
        }
    }

    pub fn has_stopped(&self) -> bool {
        self.is_stopped && self.orders == 0
    }

    pub fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// Messages that wait to be pulled, and their bytes.
    pub fn received(&self) -> (usize, usize) {
        (self.received.len(), self.received_bytes)
    }

    fn receive(&mut self, incoming: Incoming) {
        self.received_bytes += incoming.message.len_bytes();
        self.received.push_back(incoming);
    }

    /// There was no room; true if there is still none worth the while.
    fn rest(&mut self, options: &ReceiveOptions) -> bool {
        self.is_full = !self.has_half(options);
        self.is_full
    }

    fn has_half(&self, options: &ReceiveOptions) -> bool {
        self.received.len() <= options.count_max / 2 && self.received_bytes <= options.bytes_max / 2
    }

    fn room(&self, options: &ReceiveOptions) -> ReceiveRoom {
        ReceiveRoom { count: options.count_max.saturating_sub(self.received.len()), bytes: options.bytes_max.saturating_sub(self.received_bytes) }
    }

    /// The oldest message; true with it if reading may go on now that half is free again.
    pub fn pull(&mut self, options: &ReceiveOptions) -> Option<(Incoming, bool)> {
        let incoming = self.received.pop_front()?;
        self.received_bytes -= incoming.message.len_bytes();
        let goes_on = self.is_full && self.has_half(options);
        self.is_full &= !goes_on;
        Some((incoming, goes_on))
    }
}

impl Tracker {
    pub fn lock(&self) -> MutexGuard<'_, Track> {
        self.track.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn sleep(&self, wait_max: Duration, wakes: Wakes, over: impl Fn(&Track) -> bool) -> bool {
        let mut track = self.lock();
        *track.sleepers_of(wakes) += 1;
        let (mut track, _) = self.changed.wait_timeout_while(track, wait_max, |track| !over(track)).unwrap_or_else(PoisonError::into_inner);
        *track.sleepers_of(wakes) -= 1;
        over(&track)
    }

    pub fn change(&self, act: impl FnOnce(&mut Track)) {
        let mut track = self.lock();
        act(&mut track);
        let is_over = track.pending.is_empty() || track.is_closed;
        if track.sleepers > 0 || (track.flushers > 0 && is_over) {
            self.changed.notify_all();
        }
    }

    /// A request begins.
    pub fn begin(&self, track: &mut Track, kind: RequestKind, done: Option<CompletionCallback>) -> Token {
        if done.is_some() {
            self.callbacks.fetch_add(1, Ordering::Relaxed);
        }
        track.token_last += 1;
        let token = kind.token(track.token_last);
        track.pending.insert(token.0, done);
        token
    }

    fn note_state(&self, state: State) {
        self.change(|track| {
            track.is_online = state == State::Online;
            track.is_stopped = state == State::Stopped;
        });
    }

    /// Calls the request's own callback, if it has one, without the lock. Only then there has to be a completion.
    fn call_back<C: Borrow<Completion>>(&self, token: Token, completion: impl FnOnce() -> C) {
        // The request of this token was posted after it was counted.
        if self.callbacks.load(Ordering::Relaxed) == 0 {
            return;
        }
        let done = self.lock().pending.get_mut(&token.0).and_then(Option::take);
        if let Some(done) = done {
            self.callbacks.fetch_sub(1, Ordering::Relaxed);
            done(token, completion().borrow());
        }
    }

    /// Tells those who wait; after all callbacks.
    fn finish(&self, completed: &mut Vec<Token>, failed: &mut Vec<(Token, Completion)>) {
        if completed.is_empty() {
            return;
        }
        self.change(|track| {
            for token in completed.drain(..) {
                track.pending.remove(&token.0);
            }
            for failure in failed.drain(..) {
                track.failures.truncate(FAILURES_KEPT - 1);
                track.failures.push_front(failure);
            }
        });
    }
}

impl Completion {
    /// Sent, or acknowledged without a refusal.
    pub fn is_success(&self) -> bool {
        match self {
            Self::Published(outcome) | Self::Answered(outcome, _) => match outcome {
                Outcome::Sent => true,
                Outcome::Acknowledged(reason) => !reason.is_error(),
                Outcome::Failed(_) => false,
            },
            Self::Responded(_) => true,
            Self::Unanswered(_) | Self::Refused(_) => false,
        }
    }
}

/// Stands between the worker and the caller's handler.
pub(super) struct Tracking {
    tracker: Arc<Tracker>,
    handler: Box<dyn ClientHandler>,
    /// Requests that were told to the handler and not yet to those who wait: one lock for a whole turn's.
    completed: Vec<Token>,
    /// Those of them that failed, and how.
    failed: Vec<(Token, Completion)>,
}

/// Keeps messages for an application that pulls them.
pub(super) struct Pulled {
    pub tracker: Arc<Tracker>,
    pub options: ReceiveOptions,
}

impl MessageIntake for Pulled {
    fn room(&self) -> ReceiveRoom {
        self.tracker.lock().room(&self.options)
    }

    fn take(&mut self, incoming: Incoming) {
        self.tracker.change(|track| track.receive(incoming));
    }

    fn rest(&mut self) -> bool {
        self.tracker.lock().rest(&self.options)
    }
}

impl ClientHandler for Tracking {
    fn before_connect(&mut self, server: usize) -> Option<Credentials> {
        self.handler.before_connect(server)
    }

    fn event(&mut self, now: Instant, event: Event) {
        if let Some((token, completion)) = completion_of(&event) {
            self.tracker.call_back(token, || &completion);
            self.handler.event(now, event);
            return self.complete(token, completion);
        }
        // In the order in which it happened.
        self.told();
        self.note_connection(now, &event);
        let state = if let Event::StateChanged(state) = &event { Some(*state) } else { None };
        self.handler.event(now, event);
        // Who waits for something learns of it after the handler has.
        if let Some(state) = state {
            self.tracker.note_state(state);
        }
    }

    fn published(&mut self, now: Instant, token: Token, outcome: Outcome) {
        self.tracker.call_back(token, || Completion::Published(outcome));
        self.handler.published(now, token, outcome);
        self.complete(token, Completion::Published(outcome));
    }

    fn refused(&mut self, token: Token, error: proto::Error) {
        self.tracker.call_back(token, || Completion::Refused(error));
        self.handler.refused(token, error);
        self.complete(token, Completion::Refused(error));
        self.told();
    }

    fn fell_back(&mut self, server: usize, protocol: DatagramProtocol) {
        self.told();
        self.handler.fell_back(server, protocol);
    }

    fn path_moved(&mut self, moved: PathMoved) {
        self.told();
        self.handler.path_moved(moved);
    }

    fn told(&mut self) {
        self.tracker.finish(&mut self.completed, &mut self.failed);
    }
}

/// How a request ended, if this event says so.
fn completion_of(event: &Event) -> Option<(Token, Completion)> {
    match event {
        Event::Subscribed { token, outcome, reasons } | Event::Unsubscribed { token, outcome, reasons } => {
            Some((*token, Completion::Answered(*outcome, reasons.clone())))
        }
        Event::Responded { token, response: Ok(incoming) } => Some((*token, Completion::Responded(incoming.clone()))),
        Event::Responded { token, response: Err(outcome) } => Some((*token, Completion::Unanswered(*outcome))),
        _ => None,
    }
}

impl Tracking {
    pub fn new(tracker: Arc<Tracker>, handler: Box<dyn ClientHandler>) -> Self {
        Self { tracker, handler, completed: Vec::new(), failed: Vec::new() }
    }

    fn complete(&mut self, token: Token, completion: Completion) {
        self.completed.push(token);
        if !completion.is_success() {
            self.failed.push((token, completion));
        }
    }

    fn note_connection(&self, now: Instant, event: &Event) {
        match event {
            Event::Connected(connected) => self.tracker.change(|track| {
                track.client_id.clone_from(&connected.client_id);
                track.server = Some(connected.server);
            }),
            Event::Disconnected(disconnected) => self.tracker.change(|track| {
                track.server = None;
                track.last_disconnect = Some(LastDisconnect::of(now, disconnected));
            }),
            _ => {}
        }
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.told();
        let (mut left, mut received) = (IdMap::default(), VecDeque::new());
        self.tracker.change(|track| {
            left = core::mem::take(&mut track.pending);
            received = core::mem::take(&mut track.received);
            track.received_bytes = 0;
            track.is_online = false;
            track.is_stopped = true;
            track.is_closed = true;
        });
        // Callbacks may own something of the caller's: not under the lock.
        drop((left, received));
    }
}
