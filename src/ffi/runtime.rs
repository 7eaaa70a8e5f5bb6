//! Runtimes: made, turned, dispatched, counted, freed.

use std::sync::Arc;

use super::{Handle, Health, Inner, LogSink, Outcome, check_out, fence, fence_on, fence_or, nlmqtt_runtime_config, nlmqtt_status, reference, sized};
use crate::base::Duration;
use crate::net::{Mode, Runtime, RuntimeOptions};

/// A runtime: one event loop for any number of clients and servers. Any thread may call its functions.
pub struct nlmqtt_runtime(Arc<RuntimeInner>);

pub(crate) struct RuntimeInner {
    parts: RuntimeParts,
    health: Health,
}

/// What clients and servers keep of their runtime.
#[derive(Clone)]
pub(crate) struct RuntimeParts {
    pub runtime: Runtime,
    pub log: Option<Arc<LogSink>>,
}

impl RuntimeParts {
    /// One line of log of a module, if somebody wants it.
    pub fn log_of(&self, module: &str, level: i32, text: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log.line(level, module, text);
        }
    }

    /// One line of log of a server, if somebody wants it.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub fn log(&self, level: i32, text: impl FnOnce() -> String) {
        self.log_of("server", level, text);
    }
}

impl RuntimeInner {
    pub fn parts(&self) -> &RuntimeParts {
        &self.parts
    }
}

impl Inner for RuntimeInner {
    fn health(&self) -> &Health {
        &self.health
    }
}

impl Drop for RuntimeInner {
    fn drop(&mut self) {
        if self.health.is_forked() {
            // The thread to be joined is in the parent: memory only, and what it owns stays.
            core::mem::forget(self.parts.clone());
        }
    }
}

impl Handle for nlmqtt_runtime {
    type Inner = RuntimeInner;
    fn inner(&self) -> &Arc<RuntimeInner> {
        &self.0
    }
}

/// The runtime given, or a private one in THREAD mode for NULL.
pub(crate) unsafe fn runtime_or_private(runtime: *const nlmqtt_runtime) -> Outcome<RuntimeParts> {
    if runtime.is_null() {
        return Ok(RuntimeParts { runtime: Runtime::new(&RuntimeOptions::default())?, log: None });
    }
    let inner = &unsafe { reference(runtime, "runtime") }?.0;
    inner.health.check()?;
    Ok(inner.parts.clone())
}

/// Makes a runtime. `config` is borrowed for the call; NULL means the defaults. In THREAD and DISPATCH mode its threads start
/// now, one for each worker, with every signal masked. The caller frees it with nlmqtt_runtime_free. IO: no descriptor or thread is left, or a
/// thread may not have the scheduling or the CPUs it was given. INVALID_ARGUMENT: options that cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_new(config: *const nlmqtt_runtime_config, runtime_out: *mut *mut nlmqtt_runtime) -> nlmqtt_status {
    fence(|| {
        check_out(runtime_out, "runtime_out")?;
        let (options, log) = unsafe { config.as_ref() }.map(nlmqtt_runtime_config::parts).unwrap_or_default();
        crate::net::route_facade();
        let parts = RuntimeParts { runtime: Runtime::new(&options)?, log };
        parts.log_of("runtime", super::NLMQTT_LOG_DEBUG, || format!("made, {:?} mode", options.mode));
        let inner = RuntimeInner { parts, health: Health::new() };
        unsafe { *runtime_out = Box::into_raw(Box::new(nlmqtt_runtime(Arc::new(inner)))) };
        Ok(())
    })
}

/// Gives the runtime back. It ends when its clients and servers are freed, too; then its threads have ended when the last of
/// these calls returns (inside a callback: when the callback has returned). What was written last over QUIC or reliable UDP is sent on before that,
/// for a second at most if a peer does not answer. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_free(runtime: *mut nlmqtt_runtime) {
    fence_or((), || {
        if !runtime.is_null() {
            drop(unsafe { Box::from_raw(runtime) });
        }
        Ok(())
    });
}

/// The one descriptor to watch for reading; constant for the life of the runtime. In LOOP mode it is readable when
/// nlmqtt_runtime_poll has something to do, in DISPATCH mode when nlmqtt_runtime_dispatch has. Everything is inside it, time
/// too: the host's loop needs no time-out for this library. -1 in THREAD mode and for NULL. The library keeps and closes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_fd(runtime: *const nlmqtt_runtime) -> i32 {
    fence_or(-1, || {
        let inner = &unsafe { reference(runtime, "runtime") }?.0;
        inner.health.check()?;
        Ok(if inner.parts.runtime.mode() == Mode::Thread { -1 } else { inner.parts.runtime.fd() })
    })
}

/// LOOP mode: does what there is to do, and runs callbacks. Waits at most `timeout_ms` for something to happen: 0 = not at
/// all, negative = until it does. One thread at a time. UNSUPPORTED in the other modes, WOULD_DEADLOCK inside a callback, GONE
/// after a failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_poll(runtime: *mut nlmqtt_runtime, timeout_ms: i32) -> nlmqtt_status {
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            let wait_max = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
            Ok(inner.parts.runtime.poll(wait_max)?)
        })
    }
}

/// DISPATCH mode: runs the callbacks that wait, on this thread; if none do, waits at most `timeout_ms` for some: 0 = not at all,
/// negative = until there are. What comes meanwhile is for the next call. One thread should do it; others may, one callback runs at a
/// time. Functions that wait dispatch meanwhile if they are called on the thread that dispatched last, or before one did; on other
/// threads they only wait. A client or server that is freed on that thread is told what waits for it before the call returns; freed on
/// another one, it is told nothing more, and its `free_fn`s run there. UNSUPPORTED in the other modes, WOULD_DEADLOCK inside a callback, GONE after a failure,
/// INTERNAL after a fault around one callback: the others wait for the next call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_dispatch(runtime: *mut nlmqtt_runtime, timeout_ms: i32) -> nlmqtt_status {
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            let wait_max = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
            Ok(inner.parts.runtime.dispatch(wait_max)?)
        })
    }
}

/// How many bytes wait in this runtime, and how many may. Either pointer may be NULL. Never waits. Any thread, callbacks
/// included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_memory(runtime: *const nlmqtt_runtime, used_bytes_out: *mut usize, limit_bytes_out: *mut usize) -> nlmqtt_status {
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            let budget = inner.parts.runtime.budget();
            if let Some(used) = used_bytes_out.as_mut() {
                *used = budget.used_bytes();
            }
            if let Some(limit) = limit_bytes_out.as_mut() {
                *limit = budget.limit_bytes();
            }
            Ok(())
        })
    }
}

/// Levels and counters of a runtime.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_runtime_statistics {
    /// Bytes of this struct; set by nlmqtt_runtime_statistics_init.
    pub struct_size: usize,
    /// Bytes that wait now: messages, queues, buffers.
    pub memory_used_bytes: usize,
    /// The most that ever waited.
    pub memory_peak_bytes: usize,
    /// The soft limit in force.
    pub memory_soft_bytes: usize,
    /// The memory limit in force.
    pub memory_hard_bytes: usize,
    /// How often the soft limit was passed.
    pub memory_soft_reached: u64,
    /// How often the memory limit was passed.
    pub memory_hard_reached: u64,
    /// DISPATCH mode: callbacks that wait.
    pub events_waiting: usize,
    /// How many may before the library rests.
    pub events_max: usize,
    /// The most that ever waited.
    pub events_peak: usize,
    /// How often the library had to rest.
    pub events_full: u64,
    /// Functions of nlmqtt_runtime_post and _post_delayed that wait.
    pub tasks_waiting: usize,
    /// Such functions refused because 65,536 waited.
    pub tasks_refused: u64,
    /// Look-ups of names that failed because 1,024 of one worker waited for a helper thread.
    pub lookups_refused: u64,
}

const NO_STATISTICS: nlmqtt_runtime_statistics = nlmqtt_runtime_statistics {
    struct_size: size_of::<nlmqtt_runtime_statistics>(),
    memory_used_bytes: 0,
    memory_peak_bytes: 0,
    memory_soft_bytes: 0,
    memory_hard_bytes: 0,
    memory_soft_reached: 0,
    memory_hard_reached: 0,
    events_waiting: 0,
    events_max: 0,
    events_peak: 0,
    events_full: 0,
    tasks_waiting: 0,
    tasks_refused: 0,
    lookups_refused: 0,
};

/// Zero everywhere. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_statistics_init(statistics: *mut nlmqtt_runtime_statistics) {
    if let Some(statistics) = unsafe { statistics.as_mut() } {
        *statistics = NO_STATISTICS;
    }
}

/// Fills in levels and counters. `statistics` must have been made by nlmqtt_runtime_statistics_init. Never waits. Any thread, callbacks
/// included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_stats(runtime: *const nlmqtt_runtime, statistics: *mut nlmqtt_runtime_statistics) -> nlmqtt_status {
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            check_out(statistics, "statistics")?;
            let size = sized(statistics.cast_const(), NO_STATISTICS, "statistics")?.struct_size;
            let crate::net::RuntimeStatistics { memory, events, tasks, tasks_refused, lookups_refused } = inner.parts.runtime.statistics();
            let all = nlmqtt_runtime_statistics {
                struct_size: size,
                memory_used_bytes: memory.used_bytes,
                memory_peak_bytes: memory.peak_bytes,
                memory_soft_bytes: memory.soft_bytes,
                memory_hard_bytes: memory.hard_bytes,
                memory_soft_reached: memory.soft_reached,
                memory_hard_reached: memory.hard_reached,
                events_waiting: events.waiting,
                events_max: events.waiting_max,
                events_peak: events.waiting_peak,
                events_full: events.full_count,
                tasks_waiting: tasks,
                tasks_refused,
                lookups_refused,
            };
            let room = size.min(size_of::<nlmqtt_runtime_statistics>());
            core::ptr::copy_nonoverlapping((&raw const all).cast::<u8>(), statistics.cast::<u8>(), room);
            Ok(())
        })
    }
}
