//! Threads of the library: how they are made, and who is told.
//!
//! Every thread has all signals masked: signals are the host program's affair. Priority and CPUs
//! are set by the new thread itself before it does anything else, and a thread that could not set
//! them never begins. Helpers (name look-ups) share the CPUs and the hooks, never a real-time
//! policy: what they wait for is the network.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;
use thread_priority::{
    NormalThreadSchedulePolicy as Normal, RealtimeThreadSchedulePolicy as Realtime, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::answer::{self, Waited};
use crate::base::Duration;

/// How the system chooses when a worker runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scheduling {
    /// As the thread that makes the runtime.
    #[default]
    Inherited,
    /// For long computations: a little later than others.
    Batch,
    /// Only when nobody else wants to.
    Idle,
    /// Real time, first in, first out, with a priority from 1 to 99.
    Fifo(u8),
    /// Real time with time slices, with a priority from 1 to 99.
    RoundRobin(u8),
}

/// Told when a thread of the library begins and ends, on that thread.
pub trait ThreadHooks: Send + Sync {
    /// The first thing the thread does.
    fn started(&self, name: &str);
    /// The last thing it does.
    fn stopping(&self, name: &str);
}

/// Options of all threads of a runtime.
#[derive(Clone)]
pub struct ThreadOptions {
    /// Name of the first worker; the others and helpers add a suffix. The system shows 15 bytes.
    pub name: String,
    /// Stack; 0 = the system's default.
    pub stack_bytes: usize,
    /// When the workers run.
    pub scheduling: Scheduling,
    /// CPUs the threads may run on; none = all.
    pub cpus: Vec<usize>,
    /// Who is told.
    pub hooks: Option<Arc<dyn ThreadHooks>>,
}

impl Default for ThreadOptions {
    fn default() -> Self {
        Self { name: "nlmqtt".to_owned(), stack_bytes: 0, scheduling: Scheduling::Inherited, cpus: Vec::new(), hooks: None }
    }
}

/// What a thread is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// Which.
    Worker(usize),
    /// With the suffix of its name.
    Helper(&'static str),
}

impl Role {
    fn is_worker(self) -> bool {
        matches!(self, Self::Worker(_))
    }
}

/// How long a new thread may take to set itself up.
const SETUP_WAIT: Duration = Duration::from_secs(10);

impl ThreadOptions {
    /// Starts a thread.
    ///
    /// # Errors
    /// No thread is left; a worker may not have this policy or these CPUs.
    pub(super) fn spawn(&self, role: Role, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        let name = match role {
            Role::Worker(0) => self.name.clone(),
            Role::Worker(index) => format!("{}-{index}", self.name),
            Role::Helper(suffix) => format!("{}{suffix}", self.name),
        };
        let mut builder = thread::Builder::new().name(name.clone());
        if self.stack_bytes > 0 {
            builder = builder.stack_size(self.stack_bytes);
        }
        let options = self.clone();
        let (answerer, asker) = answer::ask();
        let body = move || {
            let set_up = options.set_up(role);
            let may_run = set_up.is_ok() || !role.is_worker();
            answerer.answer(set_up);
            if may_run {
                let _told = options.hooks.map(|hooks| Told::new(hooks, name));
                body();
            }
        };
        let thread = with_signals_masked(|| builder.spawn(body))?;
        if role.is_worker() {
            match asker.wait(SETUP_WAIT) {
                Waited::Answer(result) => result?,
                Waited::Timeout | Waited::Gone => return Err(io::Error::other("a new thread did not begin")),
            }
        }
        Ok(thread)
    }

    fn set_up(&self, role: Role) -> io::Result<()> {
        if !self.cpus.is_empty() {
            let mut set = CpuSet::new();
            for &cpu in &self.cpus {
                set.set(cpu)?;
            }
            sched_setaffinity(Pid::from_raw(0), &set)?;
        }
        let policy = match (role, self.scheduling) {
            (_, Scheduling::Inherited) => return Ok(()),
            (Role::Helper(_), _) => ThreadSchedulePolicy::Normal(Normal::Other),
            (Role::Worker(_), Scheduling::Batch) => ThreadSchedulePolicy::Normal(Normal::Batch),
            (Role::Worker(_), Scheduling::Idle) => ThreadSchedulePolicy::Normal(Normal::Idle),
            (Role::Worker(_), Scheduling::Fifo(_)) => ThreadSchedulePolicy::Realtime(Realtime::Fifo),
            (Role::Worker(_), Scheduling::RoundRobin(_)) => ThreadSchedulePolicy::Realtime(Realtime::RoundRobin),
        };
        let priority = match self.scheduling {
            Scheduling::Fifo(number) | Scheduling::RoundRobin(number) if role.is_worker() => number.try_into().map(ThreadPriority::Crossplatform),
            _ => Ok(ThreadPriority::Min),
        };
        let priority = priority.map_err(|text| io::Error::new(io::ErrorKind::InvalidInput, text))?;
        set_thread_priority_and_policy(thread_native_id(), priority, policy).map_err(|error| match error {
            thread_priority::Error::OS(number) => io::Error::from_raw_os_error(number),
            other => io::Error::other(format!("{other:?}")),
        })
    }
}

/// Tells of the end of a thread, however it ends.
struct Told(Arc<dyn ThreadHooks>, String);

impl Told {
    fn new(hooks: Arc<dyn ThreadHooks>, name: String) -> Self {
        hooks.started(&name);
        Self(hooks, name)
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.0.stopping(&self.1);
    }
}

/// A new thread inherits the mask: it is set before, and put back after.
fn with_signals_masked<R>(make: impl FnOnce() -> R) -> R {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).ok();
    let made = make();
    if let Some(before) = before {
        // It was in force a moment ago.
        let _ = before.thread_set_mask();
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl ThreadHooks for Kept {
        fn started(&self, name: &str) {
            self.0.lock().expect("lock").push(format!("{name} started"));
        }

        fn stopping(&self, name: &str) {
            self.0.lock().expect("lock").push(format!("{name} stopping"));
        }
    }

    #[test]
    fn hooks_frame_the_thread_and_signals_are_masked() {
        let kept = Arc::new(Kept::default());
        let options = ThreadOptions { name: "worker".to_owned(), hooks: Some(kept.clone()), ..ThreadOptions::default() };
        let before = SigSet::thread_get_mask().expect("a mask");
        let body = kept.clone();
        let thread = options.spawn(Role::Helper("-dns"), move || {
            assert!(SigSet::thread_get_mask().expect("a mask").contains(nix::sys::signal::SIGPIPE));
            body.0.lock().expect("lock").push("body".to_owned());
        });
        thread.expect("a thread").join().expect("no panic");
        assert_eq!(*kept.0.lock().expect("lock"), ["worker-dns started", "body", "worker-dns stopping"]);
        assert_eq!(SigSet::thread_get_mask().expect("a mask"), before);
    }

    #[test]
    fn a_worker_that_cannot_have_its_cpus_never_begins() {
        let options = ThreadOptions { cpus: vec![1_000_000], ..ThreadOptions::default() };
        assert!(options.spawn(Role::Worker(0), || panic!("it began")).is_err());
    }
}
