//! A runtime: one worker, and whoever lends it a thread.
//!
//! In THREAD mode a thread of the library turns the worker until the last handle is dropped. In
//! LOOP mode there is no thread: the owner calls [`Runtime::poll`], by itself or whenever
//! [`Runtime::fd`] is readable. The descriptor never changes; time is inside it, and while work is
//! left it stays readable, so a foreign loop needs no time-out.
//!
//! Whoever is not the worker posts. A call that wants an answer waits for it, except inside a
//! callback, where the worker would wait for itself: that is [`Error::WouldDeadlock`].

use std::cell::Cell;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::answer::{self, Waited};
use super::error::Error;
use super::inbox::Inbox;
use super::mio::MioNet;
use super::worker::{Command, Worker};
use crate::base::{Budget, Duration, Rng};

/// Whoever waits for an answer looks this often whether the worker is still there.
const ALIVE_INTERVAL: Duration = Duration::from_millis(500);

/// Who turns the worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// A thread of the library.
    #[default]
    Thread,
    /// The owner, by [`Runtime::poll`].
    Loop,
}

/// Options of a runtime.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Who turns the worker.
    pub mode: Mode,
    /// Name of the thread, at most 15 bytes are seen.
    pub thread_name: String,
    /// Stack of the thread; 0 = the system's default.
    pub stack_bytes: usize,
    /// Bytes of everything that waits in this runtime.
    pub memory_limit: usize,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { mode: Mode::Thread, thread_name: "nlmqtt".to_owned(), stack_bytes: 0, memory_limit: 512 << 20 }
    }
}

/// A handle to a runtime; cloning gives another one. The runtime ends with its last handle.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

struct Shared {
    id: u64,
    inbox: Arc<Inbox<Command<MioNet>>>,
    fd: RawFd,
    mode: Mode,
    budget: Budget,
    /// LOOP mode: the worker lies here between two polls.
    worker: Mutex<Option<Worker<MioNet>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The thread is to end, or has ended.
    stopped: Arc<AtomicBool>,
}

thread_local! {
    /// The runtime whose worker this thread is turning; 0: none.
    static TURNING: Cell<u64> = const { Cell::new(0) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Runtime {
    /// Starts a runtime.
    ///
    /// # Errors
    /// No descriptor or thread is left.
    pub fn new(options: &RuntimeOptions) -> Result<Self, Error> {
        let net = MioNet::new()?;
        let fd = net.poll_fd();
        let waker = net.waker();
        let inbox = Arc::new(Inbox::new(Box::new(move || {
            let _ = waker.wake();
        })));
        let worker = Worker::new(net, inbox.clone());
        let shared = Arc::new(Shared {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            inbox,
            fd,
            mode: options.mode,
            budget: Budget::new(options.memory_limit),
            worker: Mutex::new(None),
            thread: Mutex::new(None),
            stopped: Arc::new(AtomicBool::new(false)),
        });
        match options.mode {
            Mode::Loop => *lock(&shared.worker) = Some(worker),
            Mode::Thread => {
                let (id, stopped) = (shared.id, shared.stopped.clone());
                let body = move || run(id, worker, &stopped);
                *lock(&shared.thread) = Some(spawn_with(&options.thread_name, options.stack_bytes, body)?);
            }
        }
        Ok(Self(shared))
    }

    /// Who turns the worker.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// The one descriptor; constant for the life of the runtime. Only useful in LOOP mode.
    pub fn fd(&self) -> RawFd {
        self.0.fd
    }

    /// The account of everything that waits in this runtime.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// A generator seeded by the system.
    pub fn rng(&self) -> Rng {
        use std::hash::{BuildHasher, RandomState};
        Rng::with_seed(RandomState::new().hash_one(self.0.id))
    }

    /// LOOP mode: one turn, waiting at most `wait_max` (`None`: until something happens).
    ///
    /// # Errors
    /// `Unsupported` in THREAD mode, `WouldDeadlock` inside a callback, `Gone` after a failure.
    pub fn poll(&self, wait_max: Option<Duration>) -> Result<(), Error> {
        if self.0.mode != Mode::Loop {
            return Err(Error::Unsupported("poll in THREAD mode"));
        }
        if self.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        let mut slot = lock(&self.0.worker);
        let worker = slot.as_mut().ok_or(Error::Gone)?;
        let turned = Turning::begin(self.0.id);
        let result = turn_fenced(worker, wait_max);
        drop(turned);
        if let Err(error) = result {
            self.0.stopped.store(true, Ordering::SeqCst);
            *slot = None;
            return Err(error.into());
        }
        // Posts made during the turn must be able to wake a loop that is not ours.
        let deadline = if worker.inbox().may_sleep() { worker.next_deadline() } else { Some(worker.now()) };
        worker.net().arm(deadline)?;
        Ok(())
    }

    /// This thread is inside a callback of this runtime.
    pub fn is_turning(&self) -> bool {
        TURNING.get() == self.0.id
    }

    /// THREAD mode: the thread ends by itself with the last handle, and nobody waits for it: whoever lets go of that
    /// handle may hold what a callback waits for.
    pub fn detach(&self) {
        drop(lock(&self.0.thread).take());
    }

    /// Runs `command` on the worker, soon. From any thread, callbacks included.
    pub fn post(&self, command: Command<MioNet>) {
        self.0.inbox.post(command);
    }

    /// Runs `ask` on the worker and waits for its answer.
    ///
    /// # Errors
    /// `WouldDeadlock` inside a callback; `Timeout`; `Gone` when the worker has ended.
    pub fn request<R: Send + 'static>(&self, wait_max: Duration, ask: impl FnOnce(&mut Worker<MioNet>) -> R + Send + 'static) -> Result<R, Error> {
        if self.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        if self.0.mode == Mode::Loop {
            // Taken: another thread is inside `poll`, and will do it.
            if let Some(slot) = try_lock(&self.0.worker) {
                return self.run_here(slot, ask);
            }
        }
        let (answerer, asker) = answer::ask();
        self.post(Box::new(move |worker| answerer.answer(ask(worker))));
        let start = std::time::Instant::now();
        loop {
            if self.0.stopped.load(Ordering::SeqCst) {
                return if let Waited::Answer(answer) = asker.wait(Duration::ZERO) { Ok(answer) } else { Err(Error::Gone) };
            }
            let left = wait_max.checked_sub(start.elapsed()).ok_or(Error::Timeout)?;
            match asker.wait(left.min(ALIVE_INTERVAL)) {
                Waited::Answer(answer) => return Ok(answer),
                Waited::Timeout => {}
                Waited::Gone => return Err(Error::Gone),
            }
        }
    }

    /// Waits for something the worker will do: by turning it in LOOP mode (`done` is asked after
    /// every turn), by sleeping in THREAD mode (`sleep` answers whether it happened in time).
    ///
    /// # Errors
    /// `Timeout`; in LOOP mode also as [`Runtime::poll`].
    pub fn wait_for(&self, wait_max: Duration, done: impl Fn() -> bool, sleep: impl FnOnce(Duration) -> bool) -> Result<(), Error> {
        if self.0.mode == Mode::Thread {
            return if sleep(wait_max) { Ok(()) } else { Err(Error::Timeout) };
        }
        let start = std::time::Instant::now();
        loop {
            if done() {
                return Ok(());
            }
            let left = wait_max.checked_sub(start.elapsed()).ok_or(Error::Timeout)?;
            self.poll(Some(left))?;
        }
    }

    /// LOOP mode, outside a turn: nobody else touches the worker.
    fn run_here<R>(&self, mut slot: MutexGuard<'_, Option<Worker<MioNet>>>, ask: impl FnOnce(&mut Worker<MioNet>) -> R) -> Result<R, Error> {
        let worker = slot.as_mut().ok_or(Error::Gone)?;
        let turned = Turning::begin(self.0.id);
        // What was posted before is done before.
        worker.run_commands();
        let answer = ask(worker);
        drop(turned);
        let now = worker.now();
        worker.net().arm(Some(now))?;
        Ok(answer)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Not a post: the worker could take that before it sleeps, and sleep for ever.
        self.inbox.wake();
        let thread = lock(&self.thread).take();
        // The last handle may be dropped inside a callback: then the thread ends by itself.
        if let Some(thread) = thread.filter(|_| TURNING.get() != self.id) {
            let _ = thread.join();
        }
    }
}

/// Marks this thread as the one that turns a runtime.
struct Turning(u64);

impl Turning {
    fn begin(id: u64) -> Self {
        Self(TURNING.replace(id))
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNING.set(self.0);
    }
}

/// The body of a THREAD mode runtime.
fn run(id: u64, mut worker: Worker<MioNet>, stopped: &AtomicBool) {
    let _turning = Turning::begin(id);
    let mut is_sound = true;
    while is_sound && !stopped.load(Ordering::SeqCst) {
        is_sound = turn_fenced(&mut worker, None).is_ok();
    }
    stopped.store(true, Ordering::SeqCst);
    // What was posted before the end is still done: a client that was freed in its own callback is stopped,
    // and everything it was asked for completes.
    if is_sound {
        let _ = turn_fenced(&mut worker, Some(Duration::ZERO));
    }
    // Whoever waits for an answer hears that there is none.
    let mut abandoned = Vec::new();
    worker.inbox().take(&mut abandoned);
}

/// A turn; a fault of our own ends this worker, not the process and not the other runtimes.
fn turn_fenced(worker: &mut Worker<MioNet>, wait_max: Option<Duration>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(|| worker.turn(wait_max))).unwrap_or_else(|_| Err(io::Error::other("internal fault")))
}

/// This thread turns some runtime: it is inside a callback, or the library's own.
pub fn is_turning_any() -> bool {
    // A thread that is ending turns nothing.
    TURNING.try_with(Cell::get).is_ok_and(|id| id != 0)
}

/// Starts a thread with every signal masked: signals are the host program's affair.
///
/// # Errors
/// No thread is left.
pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    spawn_with(name, 0, body)
}

fn spawn_with(name: &str, stack_bytes: usize, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut builder = thread::Builder::new().name(name.to_owned());
    if stack_bytes > 0 {
        builder = builder.stack_size(stack_bytes);
    }
    // The mask is inherited: set it before, put it back after.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok();
    let thread = builder.spawn(body);
    if let Some(before) = before {
        let _ = before.thread_set_mask();
    }
    thread
}

fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
