//! DISPATCH mode: what the worker has to tell waits here for a thread of the application.
//!
//! ```text
//!   worker ──push──> [ event event event ] ──dispatch──> callbacks, on the application's thread
//!      ^                    |      └── a descriptor, readable while something waits
//!      └── rests while it is full
//! ```
//! An event is a closure that owns everything it needs, and the client, server or task it is of.
//! Nothing is ever dropped because there is too much of it: while the queue is full the worker
//! reads no sockets and lets its clients rest (see [`super::Worker`]), so that an application that
//! does not dispatch is felt by its peers as back-pressure. The limit counts what waits already:
//! what one packet makes, and answers to what the application asks itself, still come in.
//!
//! Events run one at a time, in their order, on whatever thread calls [`EventQueue::dispatch`];
//! no lock is held meanwhile. The thread that did it last is *the* dispatching one. It may also
//! run events while it waits for something else, others only wait.
//!
//! The hook thread is the same with a thread of the library that dispatches ([`EventQueue::serve`]), and
//! only hooks in it: while its queue is full nothing rests but the servers (see `broker::input`).
//!
//! An object that is freed takes its events along: [`EventQueue::settle`] runs them on the
//! dispatching thread, and withdraws them on any other one, after the event that is running has
//! returned. Either way none of that object runs later.

mod client;
#[cfg(feature = "server")]
mod hooks;

use std::cell::Cell;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::client_host::ClientKey;
use super::error::Error;
use super::log::Log;
use super::server_host::ServerKey;
use super::turning::Turning;
use crate::base::Duration;

pub(super) use client::{Asked, CallbackSide, ClientSide};
#[cfg(feature = "server")]
pub(super) use hooks::{DispatchedHooks, receiver, task};

/// Events that may wait before the worker rests, unless an option says otherwise.
pub const EVENTS_MAX: usize = 1_024;

/// Nobody waits longer, and every system's time has room for it.
const WAIT_SECONDS_MAX: u64 = 365 * 86_400;

/// Whom an event is of; a client or server of this worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Owner {
    Client(u16, ClientKey),
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    Server(u16, ServerKey),
    Task,
}

type Event = Box<dyn FnOnce() + Send>;

/// What waits to be dispatched.
pub(super) struct EventQueue {
    state: Mutex<State>,
    /// The running event has returned.
    returned: Condvar,
    /// An eventfd: readable exactly while something waits.
    readable: OwnedFd,
    events_max: usize,
    is_full: AtomicBool,
    is_served: bool,
    /// The runtime it is of.
    id: u64,
    log: Option<Arc<dyn Log>>,
    /// Wakes the worker when there is room again.
    resume: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    events: VecDeque<(Owner, Event)>,
    running: Option<(Owner, ThreadId)>,
    dispatcher: Option<Weak<ThreadMark>>,
    events_peak: usize,
    full_count: u64,
    closed: bool,
}

/// Levels and counters of an event queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventStatistics {
    /// Events that wait.
    pub waiting: usize,
    /// How many may, before the worker rests.
    pub waiting_max: usize,
    /// The most that ever waited.
    pub waiting_peak: usize,
    /// How often the worker had to rest.
    pub full_count: u64,
}

/// Names a thread. Not the one of the standard library: that makes a handle of the thread which
/// leak checkers complain about on the host's main thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct ThreadId(u64);

/// Dies with its thread.
struct ThreadMark(ThreadId);

thread_local! {
    static MARK: Cell<Option<Arc<ThreadMark>>> = const { Cell::new(None) };
}

/// The mark of this thread.
fn this_thread() -> Arc<ThreadMark> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let made = || Arc::new(ThreadMark(ThreadId(LAST.fetch_add(1, Ordering::Relaxed) + 1)));
    // A thread that is ending gets one for the moment.
    MARK.try_with(|mark| {
        let this = mark.take().unwrap_or_else(made);
        mark.set(Some(this.clone()));
        this
    })
    .unwrap_or_else(|_| made())
}

impl EventQueue {
    /// An empty queue.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new(id: u64, log: Option<Arc<dyn Log>>, events_max: usize, resume: Box<dyn Fn() + Send + Sync>) -> Result<Self, Error> {
        let readable = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        Ok(Self { state: Mutex::default(), returned: Condvar::new(), readable, events_max, is_full: AtomicBool::new(false), is_served: false, id, log, resume })
    }

    /// It will have a thread that serves it: nobody else runs its events.
    pub fn served(self) -> Self {
        Self { is_served: true, ..self }
    }

    /// Readable while something waits; constant.
    pub fn fd(&self) -> RawFd {
        self.readable.as_raw_fd()
    }

    /// The worker must rest.
    pub fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }

    /// Adds an event. After the end of the runtime it is dropped.
    pub fn push(&self, owner: Owner, event: Event) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return drop(event);
        }
        if state.events.is_empty() {
            self.signal();
        }
        state.events.push_back((owner, event));
        let waiting = state.events.len();
        state.events_peak = state.events_peak.max(waiting);
        if waiting >= self.events_max && !self.is_full.swap(true, Ordering::AcqRel) {
            state.full_count += 1;
        }
    }

    /// Runs the events that wait now; if there are none, waits at most `wait_max` for some
    /// (`None`: until there are).
    ///
    /// # Errors
    /// `Internal`: an event had a fault of our own; the others stay.
    pub fn dispatch(&self, wait_max: Option<Duration>) -> Result<(), Error> {
        let me = this_thread();
        let mut left = {
            let mut state = self.lock();
            state.dispatcher = Some(Arc::downgrade(&me));
            state.events.len()
        };
        if left == 0 {
            self.wait(wait_max)?;
            left = self.lock().events.len();
        }
        while left > 0 && self.run_next(me.0, |_| true)? {
            left -= 1;
        }
        // A host that watches for edges gets a new one while something is left.
        let state = self.lock();
        if !state.events.is_empty() {
            self.signal();
        }
        Ok(())
    }

    /// The body of a thread that does nothing else: runs events until the end.
    pub fn serve(&self) {
        while !self.lock().closed {
            // An own fault of one event must not keep the others; a poll that failed is tried again.
            let _ = self.dispatch(None);
        }
    }

    /// This thread may run events while it waits for something: it is the one that dispatches, or
    /// there is none (any more).
    pub fn may_dispatch(&self) -> bool {
        self.dispatcher().map_or(!self.is_served, |dispatcher| dispatcher == this_thread().0)
    }

    fn dispatcher(&self) -> Option<ThreadId> {
        let state = self.lock();
        state.dispatcher.as_ref().and_then(Weak::upgrade).map(|mark| mark.0)
    }

    /// After this, no event of an object that makes no new ones runs any more.
    pub fn settle(&self, owner: Owner) {
        if self.may_dispatch() {
            // An own fault of one event must not keep the others.
            while self.run_next(this_thread().0, |of| of == owner).unwrap_or(true) {}
            return;
        }
        let mut withdrawn = VecDeque::new();
        let mut state = self.lock();
        state.events.retain_mut(|(of, event)| {
            if *of == owner {
                withdrawn.push_back(core::mem::replace(event, Box::new(|| {})));
            }
            *of != owner
        });
        self.took(&state);
        drop(self.wait_returned(state, owner));
        drop(withdrawn);
    }

    /// Waits until an event that is running on another thread has returned.
    pub fn fence(&self) {
        let state = self.lock();
        if let Some((owner, _)) = state.running {
            drop(self.wait_returned(state, owner));
        }
    }

    /// Ends it: what waits is dropped and nothing more comes in.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let left = core::mem::take(&mut state.events);
        self.took(&state);
        drop(state);
        // Whoever serves it sees the end.
        self.signal();
        drop(left);
    }

    /// Levels and counters.
    pub fn statistics(&self) -> EventStatistics {
        let state = self.lock();
        EventStatistics { waiting: state.events.len(), waiting_max: self.events_max, waiting_peak: state.events_peak, full_count: state.full_count }
    }

    /// Runs the first event that is wanted. False: there is none.
    fn run_next(&self, me: ThreadId, is_wanted: impl Fn(Owner) -> bool) -> Result<bool, Error> {
        let mut state = self.lock();
        // Another thread is inside an event: order is kept.
        while state.running.is_some_and(|(_, thread)| thread != me) {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let Some(index) = state.events.iter().position(|(owner, _)| is_wanted(*owner)) else { return Ok(false) };
        let Some((owner, event)) = state.events.remove(index) else { return Ok(false) };
        self.took(&state);
        let outer = state.running.replace((owner, me));
        drop(state);
        let turning = Turning::begin(self.id, self.log.as_ref());
        let result = catch_unwind(AssertUnwindSafe(event));
        drop(turning);
        self.lock().running = outer;
        self.returned.notify_all();
        result.map(|()| true).map_err(|_| Error::Internal)
    }

    /// Events were taken out.
    fn took(&self, state: &State) {
        if state.events.is_empty() {
            let mut count = [0; 8];
            // Nothing to read: it was not signalled.
            let _ = rustix::io::read(&self.readable, &mut count);
        }
        if state.events.len() <= self.events_max / 2 && self.is_full.swap(false, Ordering::AcqRel) {
            (self.resume)();
        }
    }

    fn signal(&self) {
        // It cannot be full: that takes 2^64 - 1 signals without a read.
        let _ = rustix::io::write(&self.readable, &1_u64.to_ne_bytes());
    }

    fn wait(&self, wait_max: Option<Duration>) -> Result<(), Error> {
        let mut descriptors = [PollFd::from_borrowed_fd(self.readable.as_fd(), PollFlags::IN)];
        let timeout = wait_max.map(|wait| Timespec { tv_sec: wait.as_secs().min(WAIT_SECONDS_MAX) as _, tv_nsec: wait.subsec_nanos() as _ });
        match poll(&mut descriptors, timeout.as_ref()) {
            // A signal handler of the host's ran: its loop may want to look.
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(Error::Io(error.into())),
        }
    }

    fn wait_returned<'a>(&self, state: MutexGuard<'a, State>, owner: Owner) -> MutexGuard<'a, State> {
        let me = this_thread().0;
        let runs_elsewhere = |state: &mut State| state.running.is_some_and(|(of, thread)| of == owner && thread != me);
        self.returned.wait_while(state, runs_elsewhere).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something of the application's that is used and dropped on the dispatching thread only, one
/// call at a time.
pub(super) struct Later<T: Send + 'static> {
    queue: Arc<EventQueue>,
    owner: Owner,
    inner: Option<Arc<Mutex<T>>>,
}

impl<T: Send + 'static> Later<T> {
    pub fn new(queue: Arc<EventQueue>, owner: Owner, inner: T) -> Self {
        Self { queue, owner, inner: Some(Arc::new(Mutex::new(inner))) }
    }

    /// The queue in between is full.
    #[cfg(feature = "server")]
    pub fn is_full(&self) -> bool {
        self.queue.is_full()
    }

    /// `act` will be done with it.
    pub fn call(&self, act: impl FnOnce(&mut T) + Send + 'static) {
        let Some(inner) = self.inner.clone() else { return };
        self.queue.push(self.owner, Box::new(move || act(&mut inner.lock().unwrap_or_else(PoisonError::into_inner))));
    }
}

impl<T: Send + 'static> Drop for Later<T> {
    fn drop(&mut self) {
        let inner = self.inner.take();
        self.queue.push(self.owner, Box::new(move || drop(inner)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    fn queue(events_max: usize) -> (Arc<EventQueue>, Arc<AtomicUsize>) {
        let resumed = Arc::new(AtomicUsize::new(0));
        let counted = resumed.clone();
        let resume = Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        (Arc::new(EventQueue::new(u64::MAX, None, events_max, resume).expect("a descriptor")), resumed)
    }

    fn is_readable(queue: &EventQueue) -> bool {
        let mut descriptors = [PollFd::from_borrowed_fd(queue.readable.as_fd(), PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("a poll") == 1
    }

    fn server(number: u64) -> Owner {
        Owner::Server(0, slotmap::KeyData::from_ffi(number).into())
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_something_waits() {
        let (queue, _) = queue(10);
        let ran = Arc::new(AtomicUsize::new(0));
        assert!(!is_readable(&queue));
        for _ in 0..3 {
            let ran = ran.clone();
            queue.push(
                Owner::Task,
                Box::new(move || {
                    ran.fetch_add(1, Ordering::SeqCst);
                }),
            );
            assert!(is_readable(&queue));
        }
        queue.dispatch(Some(Duration::ZERO)).expect("no fault");
        assert_eq!(ran.load(Ordering::SeqCst), 3);
        assert!(!is_readable(&queue));
        queue.dispatch(Some(Duration::from_millis(1))).expect("nothing to do");
    }

    #[test]
    fn a_full_queue_takes_more_counts_it_and_resumes_when_half_is_gone() {
        let (queue, resumed) = queue(4);
        for _ in 0..9 {
            queue.push(Owner::Task, Box::new(|| {}));
        }
        assert!(queue.is_full());
        assert_eq!(queue.statistics(), EventStatistics { waiting: 9, waiting_max: 4, waiting_peak: 9, full_count: 1 });
        queue.dispatch(None).expect("no fault");
        assert!(!queue.is_full());
        assert_eq!(resumed.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn events_that_come_during_a_dispatch_are_of_the_next_one() {
        let (queue, _) = queue(10);
        let inner = queue.clone();
        queue.push(Owner::Task, Box::new(move || inner.push(Owner::Task, Box::new(|| {}))));
        queue.dispatch(None).expect("no fault");
        assert_eq!(queue.statistics().waiting, 1);
        assert!(is_readable(&queue));
    }

    #[test]
    fn a_fault_in_an_event_leaves_the_others() {
        let (queue, _) = queue(10);
        queue.push(Owner::Task, Box::new(|| std::panic::resume_unwind(Box::new(()))));
        queue.push(Owner::Task, Box::new(|| {}));
        assert!(queue.dispatch(None).is_err());
        assert_eq!(queue.statistics().waiting, 1);
        queue.dispatch(None).expect("no fault");
    }

    #[test]
    fn what_is_freed_elsewhere_is_withdrawn_after_the_running_event() {
        let (queue, _) = queue(10);
        let (entered, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (inside, outside) = (entered.clone(), left.clone());
        queue.push(
            server(1),
            Box::new(move || {
                inside.store(true, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(50));
                outside.store(true, Ordering::SeqCst);
            }),
        );
        queue.push(server(1), Box::new(|| panic!("withdrawn")));
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        queue.push(
            server(2),
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        );
        let dispatching = queue.clone();
        let thread = thread::spawn(move || dispatching.dispatch(None));
        while !entered.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert!(!queue.may_dispatch());
        queue.settle(server(1));
        assert!(left.load(Ordering::SeqCst), "the running event has returned");
        thread.join().expect("no panic").expect("no fault");
        assert_eq!(ran.load(Ordering::SeqCst), 1);
        // The thread that dispatched is gone: anybody may.
        assert!(queue.may_dispatch());
    }

    #[test]
    fn what_is_freed_on_the_dispatching_thread_runs_first_and_alone() {
        let (queue, _) = queue(10);
        queue.dispatch(Some(Duration::ZERO)).expect("nothing to do");
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = ran.clone();
        queue.push(server(2), Box::new(|| panic!("not asked for")));
        queue.push(
            server(1),
            Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            }),
        );
        queue.settle(server(1));
        assert_eq!((ran.load(Ordering::SeqCst), queue.statistics().waiting), (1, 1));
        queue.close();
    }
}
