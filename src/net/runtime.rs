//! A runtime: its workers, and whoever lends them threads.
//!
//! In THREAD mode a thread of the library turns each worker until the last handle is dropped. In
//! DISPATCH mode it does, too, but what they have to tell waits in a queue until the owner calls
//! [`Runtime::dispatch`]. In LOOP mode there is no thread: the owner calls [`Runtime::poll`].
//! Either is called whenever [`Runtime::fd`] is readable, or just so. The descriptor never changes;
//! time is inside it, and while work is left it stays readable, so a foreign loop needs no
//! time-out.
//!
//! A handle speaks to one of the workers, at first to the first; [`Runtime::at`] makes one that
//! speaks to another. When one worker fails the runtime ends with all of them.
//!
//! Whoever is not the worker posts. A call that wants an answer waits for it, except inside a
//! callback, where the worker would wait for itself: that is [`Error::WouldDeadlock`].

use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;

use super::answer::{self, Waited};
use super::client_host::ClientKey;
use super::dispatch::{EventQueue, EventStatistics, Owner};
use super::error::Error;
use super::inbox::Inbox;
use super::log::Log;
use super::memory::Names;
use super::mio::MioNet;
use super::options::{Mode, RuntimeOptions, WORKERS_MAX};
use super::resolver::Resolve;
use super::server_host::ServerKey;
use super::tasks::{Task, TaskId, Tasks};
use super::threads::Role;
use super::turning::Turning;
use super::worker::{Command, Worker};
use crate::base::{Budget, BudgetStatistics, Duration, Instant, Rng};

/// Whoever waits for an answer looks this often whether the worker is still there.
const ALIVE_INTERVAL: Duration = Duration::from_millis(500);
/// Whoever dispatches while it waits looks this often whether what it waits for has come without an
/// event.
const DISPATCH_INTERVAL: Duration = Duration::from_millis(20);

/// A handle to a runtime; cloning gives another one. The runtime ends with its last handle.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>, usize);

struct Shared {
    id: u64,
    /// One for each worker.
    inboxes: Vec<Arc<Inbox<Command<MioNet>>>>,
    /// Where the next client goes.
    next_worker: AtomicUsize,
    fd: RawFd,
    mode: Mode,
    can_resolve: bool,
    lookups_refused: Vec<Arc<AtomicU64>>,
    budget: Budget,
    names: Names,
    epoch: std::time::Instant,
    tasks: Arc<Tasks>,
    /// DISPATCH mode.
    events: Option<Arc<EventQueue>>,
    /// What the hook thread has to do, if there is one.
    hooks: Option<Arc<EventQueue>>,
    hook_thread: Mutex<Option<JoinHandle<()>>>,
    log: Option<Arc<dyn Log>>,
    /// LOOP mode: the worker lies here between two polls.
    worker: Mutex<Option<Worker<MioNet>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// The threads are to end, or one has ended.
    stopped: Arc<AtomicBool>,
}

/// Levels and counters of a runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuntimeStatistics {
    /// Bytes of everything that waits.
    pub memory: BudgetStatistics,
    /// Events that wait for a dispatch, or for the hook thread; zeros if there is neither.
    pub events: EventStatistics,
    /// Functions of the application that wait to be run.
    pub tasks: usize,
    /// Functions refused because too many waited.
    pub tasks_refused: u64,
    /// Look-ups of names that failed because too many waited.
    pub lookups_refused: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl Runtime {
    /// Starts a runtime.
    ///
    /// # Errors
    /// `Io`: no descriptor or thread is left, or a thread may not have its policy or CPUs. `Invalid`,
    /// `Unsupported`: options that cannot be.
    pub fn new(options: &RuntimeOptions) -> Result<Self, Error> {
        options.check()?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let epoch = std::time::Instant::now();
        let new_net = |_| MioNet::new(epoch, options.helper_threads_each(), options.threads.clone());
        let mut nets = (0..options.workers_in_force()).map(new_net).collect::<io::Result<Vec<_>>>()?;
        let budget = Budget::with_marks(options.memory_soft_in_force(), options.memory_limit);
        let names = Names::new(budget.clone());
        nets.iter_mut().for_each(|net| net.share_names(&names));
        let inboxes: Vec<_> = nets.iter().map(inbox_of).collect();
        let queue = || {
            let inboxes = inboxes.clone();
            let resume = Box::new(move || inboxes.iter().for_each(|inbox| inbox.nudge()));
            EventQueue::new(id, options.log.clone(), options.events_max, resume)
        };
        let events = (options.mode == Mode::Dispatch).then(queue).transpose()?.map(Arc::new);
        let hooks = (options.hook_threads > 0).then(queue).transpose()?.map(|queue| Arc::new(queue.served()));
        if let Some(resolve) = &options.resolve {
            nets.iter_mut().for_each(|net| net.resolve_with(resolve_on(events.as_ref(), resolve.clone())));
        }
        let fd = events.as_ref().map_or(nets[0].poll_fd(), |events| events.fd());
        let tasks = Arc::new(Tasks::default());
        let shared = Arc::new(Shared {
            id,
            inboxes: inboxes.clone(),
            next_worker: AtomicUsize::new(0),
            fd,
            mode: options.mode,
            lookups_refused: nets.iter().map(MioNet::lookups_refused).collect(),
            can_resolve: options.resolve.is_some() || options.helper_threads > 0,
            budget,
            names,
            epoch,
            tasks: tasks.clone(),
            events: events.clone(),
            hooks: hooks.clone(),
            hook_thread: Mutex::new(None),
            log: options.log.clone(),
            worker: Mutex::new(None),
            threads: Mutex::default(),
            stopped: Arc::new(AtomicBool::new(false)),
        });
        if let Some(hooks) = hooks.clone() {
            *lock(&shared.hook_thread) = Some(options.threads.spawn(Role::Helper("-hooks"), move || hooks.serve())?);
        }
        for (index, (net, inbox)) in nets.into_iter().zip(inboxes).enumerate() {
            let mut worker = Worker::new(net, inbox);
            // The first one runs what the application posts.
            let tasks = if index == 0 { tasks.clone() } else { Arc::default() };
            worker.furnish(index as u16, tasks, (events.clone(), hooks.clone()), options.log.clone());
            match options.mode {
                Mode::Loop => *lock(&shared.worker) = Some(worker),
                Mode::Thread | Mode::Dispatch => {
                    let (stopped, inboxes, log) = (shared.stopped.clone(), shared.inboxes.clone(), options.log.clone());
                    let body = move || run(id, log.as_ref(), worker, &stopped, &inboxes);
                    // If there is no thread for one of them, those before end with `shared`.
                    lock(&shared.threads).push(options.threads.spawn(Role::Worker(index), body)?);
                }
            }
        }
        Ok(Self(shared, 0))
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.0.inboxes.len()
    }

    /// A handle that speaks to this worker.
    pub fn at(&self, worker: usize) -> Self {
        Self(self.0.clone(), worker % self.workers())
    }

    /// A handle that speaks to the worker whose turn it is: so clients are shared out.
    pub fn at_next(&self) -> Self {
        self.at(self.0.next_worker.fetch_add(1, Ordering::Relaxed))
    }

    /// What servers need to reach their other workers; in the order of the workers.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn inboxes(&self) -> &[Arc<Inbox<Command<MioNet>>>] {
        &self.0.inboxes
    }

    /// Who turns the workers.
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// The one descriptor; constant for the life of the runtime. Readable when [`Runtime::poll`]
    /// (LOOP mode) or [`Runtime::dispatch`] (DISPATCH mode) has something to do; of no use in
    /// THREAD mode.
    pub fn fd(&self) -> RawFd {
        self.0.fd
    }

    /// The account of everything that waits in this runtime.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Where the servers of this runtime listen inside the process, for clients of others ([`DialOptions::names`](super::DialOptions)).
    /// They hold nothing of the runtime but its budget, and may be kept for longer.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Levels and counters; never waits for the worker.
    pub fn statistics(&self) -> RuntimeStatistics {
        let (tasks, tasks_refused) = self.0.tasks.levels();
        RuntimeStatistics {
            memory: self.0.budget.statistics(),
            events: self.queues().next().map(|events| events.statistics()).unwrap_or_default(),
            tasks,
            tasks_refused,
            lookups_refused: self.0.lookups_refused.iter().map(|refused| refused.load(Ordering::Relaxed)).sum(),
        }
    }

    /// Names can be looked up: there are helper threads, or the application does it.
    pub fn can_resolve(&self) -> bool {
        self.0.can_resolve
    }

    /// A generator seeded by the system.
    pub fn rng(&self) -> Rng {
        use std::hash::{BuildHasher, RandomState};
        Rng::with_seed(RandomState::new().hash_one(self.0.id))
    }

    /// LOOP mode: one turn, waiting at most `wait_max` (`None`: until something happens).
    ///
    /// # Errors
    /// `Unsupported` in the other modes, `WouldDeadlock` inside a callback, `Gone` after a failure.
    pub fn poll(&self, wait_max: Option<Duration>) -> Result<(), Error> {
        if self.0.mode != Mode::Loop {
            return Err(Error::Unsupported("poll in another mode than LOOP"));
        }
        if self.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        let mut slot = lock(&self.0.worker);
        let worker = slot.as_mut().ok_or(Error::Gone)?;
        let turned = Turning::begin(self.0.id, self.0.log.as_ref());
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
        Turning::is(self.0.id)
    }

    /// DISPATCH mode: runs the callbacks that wait, on this thread; if none do, waits at most
    /// `wait_max` for some (`None`: until there are).
    ///
    /// # Errors
    /// `Unsupported` in the other modes, `WouldDeadlock` inside a callback, `Gone` after a failure
    /// of the worker, `Internal`: a fault of our own around a callback; what waits behind it stays.
    pub fn dispatch(&self, wait_max: Option<Duration>) -> Result<(), Error> {
        let Some(events) = &self.0.events else { return Err(Error::Unsupported("dispatch in another mode than DISPATCH")) };
        if self.is_turning() {
            return Err(Error::WouldDeadlock);
        }
        if self.0.stopped.load(Ordering::SeqCst) && events.statistics().waiting == 0 {
            return Err(Error::Gone);
        }
        events.dispatch(wait_max)
    }

    /// After this, nothing of a client of this worker that was removed runs any more; inside a callback it has no
    /// effect.
    pub(crate) fn settle_client(&self, client: ClientKey) {
        self.settle(Owner::Client(self.1 as u16, client));
    }

    /// As [`Runtime::settle_client`], of a server.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub(crate) fn settle_server(&self, server: ServerKey) {
        self.settle(Owner::Server(self.1 as u16, server));
    }

    fn settle(&self, owner: Owner) {
        if !self.is_turning() {
            self.queues().for_each(|events| events.settle(owner));
        }
    }

    fn queues(&self) -> impl Iterator<Item = &Arc<EventQueue>> {
        self.0.events.iter().chain(&self.0.hooks)
    }

    /// Waits until a callback that is running on another thread has returned; inside a callback it
    /// has no effect.
    pub fn fence(&self) {
        if self.is_turning() {
            return;
        }
        // The only failure is a worker that has ended already, and its callbacks with it.
        for worker in 0..self.workers() {
            let _ = self.at(worker).request(Duration::MAX, |_| {});
        }
        self.queues().for_each(|events| events.fence());
    }

    /// Runs `task` where callbacks run, soon or after `delay`.
    ///
    /// # Errors
    /// The task itself: too many wait.
    pub fn post_task(&self, delay: Option<Duration>, task: Task) -> Result<TaskId, Task> {
        let shared = &self.0;
        let due = delay.map(|delay| self.now() + delay);
        let id = shared.tasks.insert(due, task)?;
        match (due, &shared.events) {
            // The worker learns of the new time.
            (Some(_), _) => self.at(0).post(Box::new(|_| {})),
            (None, Some(events)) => events.push(Owner::Task, shared.tasks.runner(id)),
            (None, None) => {
                let run = shared.tasks.runner(id);
                self.at(0).post(Box::new(move |_| run()));
            }
        }
        Ok(id)
    }

    /// Takes a task back: it will not run, and is dropped here. False: it has run, or runs.
    pub fn cancel_task(&self, id: TaskId) -> bool {
        self.0.tasks.take(id).is_some()
    }

    /// The application's answer to [`RuntimeOptions::resolve`]; an empty one says that there is no
    /// such name. From any thread; one that comes too late is without effect.
    pub fn name_resolved(&self, ticket: u64, addresses: Vec<IpAddr>) {
        let worker = (ticket % WORKERS_MAX as u64) as usize;
        // Of another number there was no look-up.
        if worker < self.workers() {
            self.at(worker).post(Box::new(move |worker| worker.name_resolved(ticket, addresses)));
        }
    }

    /// THREAD mode: the threads end by themselves with the last handle, and nobody waits for them: whoever lets go of that
    /// handle may hold what a callback waits for.
    pub fn detach(&self) {
        lock(&self.0.threads).clear();
    }

    /// The time by the clock of its workers.
    pub fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.0.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Runs `command` on the worker, soon. From any thread, callbacks included.
    pub fn post(&self, command: Command<MioNet>) {
        self.0.inboxes[self.1].post(command);
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

    /// Waits for something the worker will do or tell: by turning it in LOOP mode, by dispatching on
    /// the thread that dispatches (`done` is asked now and then), else by sleeping (`sleep` answers
    /// whether it happened in time).
    ///
    /// # Errors
    /// `Timeout`; else as [`Runtime::poll`] and [`Runtime::dispatch`].
    pub fn wait_for(&self, wait_max: Duration, done: impl Fn() -> bool, sleep: impl FnOnce(Duration) -> bool) -> Result<(), Error> {
        let is_helping = match &self.0.events {
            Some(events) => events.may_dispatch(),
            None => self.0.mode == Mode::Loop,
        };
        if !is_helping {
            return if sleep(wait_max) { Ok(()) } else { Err(Error::Timeout) };
        }
        let start = std::time::Instant::now();
        loop {
            if done() {
                return Ok(());
            }
            let left = wait_max.checked_sub(start.elapsed()).ok_or(Error::Timeout)?;
            match self.0.mode {
                Mode::Dispatch => self.dispatch(Some(left.min(DISPATCH_INTERVAL)))?,
                Mode::Loop | Mode::Thread => self.poll(Some(left))?,
            }
        }
    }

    /// LOOP mode, outside a turn: nobody else touches the worker.
    fn run_here<R>(&self, mut slot: MutexGuard<'_, Option<Worker<MioNet>>>, ask: impl FnOnce(&mut Worker<MioNet>) -> R) -> Result<R, Error> {
        let worker = slot.as_mut().ok_or(Error::Gone)?;
        let turned = Turning::begin(self.0.id, self.0.log.as_ref());
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
        // Not a post: a worker could take that before it sleeps, and sleep for ever.
        self.inboxes.iter().for_each(|inbox| inbox.wake());
        let threads = core::mem::take(&mut *lock(&self.threads));
        // The last handle may be dropped inside a callback: then the threads end by themselves.
        for thread in threads.into_iter().filter(|_| !Turning::is(self.id)) {
            let _ = thread.join();
        }
        // What the application handed over and was not used yet is given back.
        self.events.iter().chain(&self.hooks).for_each(|events| events.close());
        if let Some(thread) = lock(&self.hook_thread).take().filter(|_| !Turning::is(self.id)) {
            let _ = thread.join();
        }
        drop(self.tasks.clear());
    }
}

/// The application's way to look names up, called where callbacks are.
fn resolve_on(events: Option<&Arc<EventQueue>>, resolve: Resolve) -> Resolve {
    let Some(events) = events.cloned() else { return resolve };
    Arc::new(move |ticket, host| {
        let (resolve, host) = (resolve.clone(), host.to_owned());
        events.push(Owner::Task, Box::new(move || resolve(ticket, &host)));
    })
}

/// How a worker is reached that waits here.
fn inbox_of(net: &MioNet) -> Arc<Inbox<Command<MioNet>>> {
    let waker = net.waker();
    Arc::new(Inbox::new(Box::new(move || {
        // It fails only without descriptors, which it has.
        let _ = waker.wake();
    })))
}

/// The body of a thread of the library.
fn run(id: u64, log: Option<&Arc<dyn Log>>, mut worker: Worker<MioNet>, stopped: &AtomicBool, inboxes: &[Arc<Inbox<Command<MioNet>>>]) {
    let _turning = Turning::begin(id, log);
    let mut is_sound = true;
    while is_sound && !stopped.load(Ordering::SeqCst) {
        is_sound = turn_fenced(&mut worker, None).is_ok();
    }
    stopped.store(true, Ordering::SeqCst);
    if !is_sound {
        // Half a server is none: the others end, too.
        inboxes.iter().for_each(|inbox| inbox.wake());
    }
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
