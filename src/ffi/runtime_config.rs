//! Options of a runtime.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::log::LogTarget;
use super::{Failure, LogSink, UserData, fence, fence_or, nlmqtt_free_fn, nlmqtt_log_fn, nlmqtt_status, reference, reference_mut, string};
use crate::net::{Log, Mode, RuntimeOptions, Scheduling, ThreadHooks};

/// A library thread does the work and runs the callbacks; with more than one worker, one thread for each. The default.
pub const NLMQTT_MODE_THREAD: i32 = 0;
/// No thread: the application calls nlmqtt_runtime_poll, and callbacks run inside it.
pub const NLMQTT_MODE_LOOP: i32 = 1;
/// A library thread for each worker does the work; callbacks wait until the application calls nlmqtt_runtime_dispatch, and run inside it.
pub const NLMQTT_MODE_DISPATCH: i32 = 2;

/// The policy of the thread that makes the runtime. The default.
pub const NLMQTT_SCHEDULING_INHERITED: i32 = 0;
/// SCHED_BATCH: a little later than others. Its nice value becomes 0.
pub const NLMQTT_SCHEDULING_BATCH: i32 = 1;
/// SCHED_IDLE: only when nobody else wants to. Its nice value becomes 0.
pub const NLMQTT_SCHEDULING_IDLE: i32 = 2;
/// SCHED_FIFO: real time.
pub const NLMQTT_SCHEDULING_FIFO: i32 = 3;
/// SCHED_RR: real time with time slices.
pub const NLMQTT_SCHEDULING_ROUND_ROBIN: i32 = 4;

/// Told of a thread of the library, on that thread; `name` is borrowed until the callback returns. It may block signals,
/// attach the thread to a language runtime and the like; it must not call functions of this runtime.
pub type nlmqtt_thread_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, name: *const c_char)>;

/// Asked to look a name up: answer with nlmqtt_runtime_resolved and this `lookup`, from any thread, now or later; no answer
/// is none, and the client tries again when its time for connecting is over. `host` is borrowed until the callback returns.
/// Called where callbacks are.
pub type nlmqtt_resolve_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, host: *const c_char, lookup: u64)>;

/// Options of a runtime to be made. Used by one thread at a time.
pub struct nlmqtt_runtime_config {
    options: RuntimeOptions,
    log: Option<Arc<LogTarget>>,
    log_level_max: u8,
    log_levels: Vec<(String, u8)>,
}

impl nlmqtt_runtime_config {
    /// The options, and where the log goes.
    pub(crate) fn parts(&self) -> (RuntimeOptions, Option<Arc<LogSink>>) {
        let sink = |target: &Arc<LogTarget>| LogSink { target: target.clone(), level_max: self.log_level_max, levels: self.log_levels.clone() };
        let sink = self.log.as_ref().map(|target| Arc::new(sink(target)));
        let log = sink.clone().map(|sink| sink as Arc<dyn Log>);
        (RuntimeOptions { log, ..self.options.clone() }, sink)
    }
}

/// Default options: THREAD mode, no log, a memory limit of 512 MiB. The caller frees them with
/// nlmqtt_runtime_config_free, any time after nlmqtt_runtime_new. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_runtime_config_new() -> *mut nlmqtt_runtime_config {
    fence_or(core::ptr::null_mut(), || {
        let config = nlmqtt_runtime_config { options: RuntimeOptions::default(), log: None, log_level_max: 0, log_levels: Vec::new() };
        Ok(Box::into_raw(Box::new(config)))
    })
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_free(config: *mut nlmqtt_runtime_config) {
    fence_or((), || {
        if !config.is_null() {
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Who does the work, and who runs callbacks: NLMQTT_MODE_THREAD, NLMQTT_MODE_LOOP or NLMQTT_MODE_DISPATCH.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_mode(config: *mut nlmqtt_runtime_config, mode: i32) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        config.options.mode = match mode {
            NLMQTT_MODE_THREAD => Mode::Thread,
            NLMQTT_MODE_LOOP => Mode::Loop,
            NLMQTT_MODE_DISPATCH => Mode::Dispatch,
            _ => return Err(Failure::invalid(format!("{mode} is no mode"))),
        };
        Ok(())
    })
}

/// How many workers, each with a thread of its own, share the work; 0 = one for each core, 256 at most. Default 1, which is best for a
/// gateway. Clients made on the runtime are dealt out among them; of a server, each connected client lives on one of them, which
/// follows from its client identifier. Callbacks of one client, and hooks about one client of a server, are still called one at a
/// time and in order; those of different clients at the same time, unless the mode is DISPATCH. In LOOP mode there is exactly one worker:
/// nlmqtt_runtime_new answers INVALID_ARGUMENT to another number, and to more than 256.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_workers(config: *mut nlmqtt_runtime_config, workers: usize) -> nlmqtt_status {
    fence(|| {
        unsafe { reference_mut(config, "config") }?.options.workers = workers;
        Ok(())
    })
}

/// The name of the first worker's thread, copied; the system shows its first 15 bytes. Those of other workers have "-1", "-2" and so on
/// behind it, threads that look names up "-dns". Default "nlmqtt".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_thread_name(config: *mut nlmqtt_runtime_config, name: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        unsafe { string(name, "name") }?.clone_into(&mut config.options.threads.name);
        Ok(())
    })
}

/// The stack of each thread in bytes; 0 = 2 MiB. In THREAD mode callbacks run on it. INVALID_ARGUMENT: less than 64 KiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_stack_bytes(config: *mut nlmqtt_runtime_config, stack_bytes: usize) -> nlmqtt_status {
    const STACK_BYTES_MIN: usize = 64 << 10;
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if stack_bytes != 0 && stack_bytes < STACK_BYTES_MIN {
            return Err(Failure::invalid(format!("a stack of {stack_bytes} bytes is too small")));
        }
        config.options.threads.stack_bytes = stack_bytes;
        Ok(())
    })
}

/// The scheduling policy of the threads that do the work, one of NLMQTT_SCHEDULING_*, and its priority: 1 to 99 for FIFO and
/// ROUND_ROBIN, else 0. Threads that look names up never run in real time. Without the right to it nlmqtt_runtime_new answers
/// IO. INVALID_ARGUMENT: no such policy or priority.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_scheduling(config: *mut nlmqtt_runtime_config, policy: i32, priority: u8) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        config.options.threads.scheduling = match (policy, priority) {
            (NLMQTT_SCHEDULING_INHERITED, 0) => Scheduling::Inherited,
            (NLMQTT_SCHEDULING_BATCH, 0) => Scheduling::Batch,
            (NLMQTT_SCHEDULING_IDLE, 0) => Scheduling::Idle,
            (NLMQTT_SCHEDULING_FIFO, 1..=99) => Scheduling::Fifo(priority),
            (NLMQTT_SCHEDULING_ROUND_ROBIN, 1..=99) => Scheduling::RoundRobin(priority),
            _ => return Err(Failure::invalid(format!("no scheduling policy {policy} with priority {priority}"))),
        };
        Ok(())
    })
}

/// The CPUs the threads of the library may run on, by their numbers from 0 on; copied. `count` 0 = all, the default.
/// nlmqtt_runtime_new answers IO if the machine has none of them. INVALID_ARGUMENT: a number of 1,024 or more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_cpus(config: *mut nlmqtt_runtime_config, cpus: *const u32, count: usize) -> nlmqtt_status {
    /// As many as the system call's set has.
    const CPUS_MAX: usize = 1_024;
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let cpus = match count {
            0 => &[],
            1..=CPUS_MAX => unsafe { core::slice::from_raw_parts(reference(cpus, "cpus")?, count) },
            _ => return Err(Failure::invalid(format!("{count} CPUs"))),
        };
        if let Some(cpu) = cpus.iter().find(|cpu| **cpu as usize >= CPUS_MAX) {
            return Err(Failure::invalid(format!("there is no CPU {cpu}")));
        }
        config.options.threads.cpus = cpus.iter().map(|cpu| *cpu as usize).collect();
        Ok(())
    })
}

struct ThreadCalls {
    start: nlmqtt_thread_fn,
    stop: nlmqtt_thread_fn,
    user: UserData,
}

impl ThreadCalls {
    fn call(&self, function: nlmqtt_thread_fn, name: &str) {
        if let Some(call) = function {
            let name = CString::new(name).unwrap_or_default();
            unsafe { call(self.user.data, name.as_ptr()) }
        }
    }
}

impl ThreadHooks for ThreadCalls {
    fn started(&self, name: &str) {
        self.call(self.start, name);
    }

    fn stopping(&self, name: &str) {
        self.call(self.stop, name);
    }
}

/// Who is told that a thread of the library began (`start`, the first thing on that thread) and ends (`stop`, the last). Either
/// may be NULL. `user_data` is moved here and released with `free_fn` (may be NULL) after the last call, which comes with the end of
/// the last look-up of a name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_thread_hooks(
    config: *mut nlmqtt_runtime_config,
    start: nlmqtt_thread_fn,
    stop: nlmqtt_thread_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    fence(move || {
        let config = unsafe { reference_mut(config, "config") }?;
        config.options.threads.hooks = Some(Arc::new(ThreadCalls { start, stop, user }));
        Ok(())
    })
}

/// How many threads may look names up at one time, 0 to 64; default 8. They begin when they are needed and end with their
/// answer; literal addresses need none. 0 forbids them: then no thread but the workers' is ever made, and a client of a server with a
/// name can be made only with a resolver (nlmqtt_runtime_config_set_resolver). Among many workers they are shared out, with one for each at
/// least. INVALID_ARGUMENT: more than 64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_helper_threads(config: *mut nlmqtt_runtime_config, count: usize) -> nlmqtt_status {
    const COUNT_MAX: usize = 64;
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if count > COUNT_MAX {
            return Err(Failure::invalid(format!("{count} helper threads are more than {COUNT_MAX}")));
        }
        config.options.helper_threads = count;
        Ok(())
    })
}

/// How many threads run the hooks of this runtime's servers, 0 or 1; default 0: the worker of each client does. With 1 a thread of
/// the library does nothing else, one hook at a time: a hook that blocks then stalls only the clients that wait for an answer, the
/// option `hook_timeout_ms` counts from the question on, and while as many calls wait as nlmqtt_runtime_config_set_events_max says
/// the servers take in no more packets. Callbacks of clients, of nlmqtt_server_subscribe and of tasks stay on the workers. For THREAD
/// mode: nlmqtt_runtime_new answers INVALID_ARGUMENT in the others, which start no thread or have one of the application for this.
/// INVALID_ARGUMENT: more than 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_hook_threads(config: *mut nlmqtt_runtime_config, count: usize) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if count > 1 {
            return Err(Failure::invalid(format!("{count} hook threads are more than 1")));
        }
        config.options.hook_threads = count;
        Ok(())
    })
}

/// Looks names up in place of the system's resolver; NULL means that one. `user_data` is moved here and released with `free_fn`
/// (may be NULL) after the last call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_resolver(
    config: *mut nlmqtt_runtime_config,
    resolve: nlmqtt_resolve_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    fence(move || {
        let config = unsafe { reference_mut(config, "config") }?;
        config.options.resolve = resolve.map(|call| {
            let asked = move |lookup, host: &str| {
                let user = &user;
                let host = CString::new(host).unwrap_or_default();
                unsafe { call(user.data, host.as_ptr(), lookup) }
            };
            Arc::new(asked) as crate::net::Resolve
        });
        Ok(())
    })
}

/// DISPATCH mode: so many callbacks may wait for nlmqtt_runtime_dispatch before the library rests: it reads no sockets then, and its
/// clients send nothing, so that peers feel it as back-pressure. Nothing is dropped; what one read of a client or one packet of a server
/// makes, and what the application asks for itself, still comes in. The rest ends when half of them have run. A server on the other side
/// may give a client up that rests longer than 1.5 times its keep-alive, and so may servers here with theirs. Default 1,024.
/// INVALID_ARGUMENT: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_events_max(config: *mut nlmqtt_runtime_config, events_max: usize) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if events_max == 0 {
            return Err(Failure::invalid("a queue of 0 events"));
        }
        config.options.events_max = events_max;
        Ok(())
    })
}

/// Bytes of everything that waits in this runtime: messages, queues, buffers. Beyond it servers refuse new connections
/// with 0x89 and rest before they read more from publishers. INVALID_ARGUMENT: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_memory_limit(config: *mut nlmqtt_runtime_config, limit_bytes: usize) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if limit_bytes == 0 {
            return Err(Failure::invalid("a memory limit of 0"));
        }
        config.options.memory_limit = limit_bytes;
        Ok(())
    })
}

/// Beyond so many bytes servers drop QoS 0 messages for clients that do not take what they have already, and sessions,
/// their queues, subscriptions and the retained store grow no more. Default: seven eighths of the memory limit. nlmqtt_runtime_new answers
/// INVALID_ARGUMENT if it is above the limit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_memory_soft_limit(config: *mut nlmqtt_runtime_config, limit_bytes: usize) -> nlmqtt_status {
    fence(|| {
        unsafe { reference_mut(config, "config") }?.options.memory_soft = Some(limit_bytes);
        Ok(())
    })
}

/// Where the log of the runtime and of everything on it goes: lines up to `level_max` (one of NLMQTT_LOG_*; 0 = none, unless
/// nlmqtt_runtime_config_set_log_level says otherwise for a module). `log` may be NULL for none. `user_data` is moved here and released
/// with `free_fn` (may be NULL) after the last line, which may come after nlmqtt_runtime_free if a callback frees it.
/// INVALID_ARGUMENT: no such level.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_log(
    config: *mut nlmqtt_runtime_config,
    level_max: i32,
    log: nlmqtt_log_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    fence(move || {
        let config = unsafe { reference_mut(config, "config") }?;
        config.log_level_max = log_level(level_max)?;
        config.log = LogTarget::new(log, user).map(Arc::new);
        Ok(())
    })
}

/// Another level for the lines of one module: "client", "server", "runtime", or the name of a crate inside such as "mio". Copied;
/// the last word on a module holds. INVALID_ARGUMENT: no such level, or more than 64 modules.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_log_level(config: *mut nlmqtt_runtime_config, module: *const c_char, level_max: i32) -> nlmqtt_status {
    const MODULES_MAX: usize = 64;
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let module = unsafe { string(module, "module") }?;
        let level = log_level(level_max)?;
        config.log_levels.retain(|(known, _)| known != module);
        if config.log_levels.len() >= MODULES_MAX {
            return Err(Failure::invalid(format!("levels for more than {MODULES_MAX} modules")));
        }
        config.log_levels.push((module.to_owned(), level));
        Ok(())
    })
}

fn log_level(level: i32) -> Result<u8, Failure> {
    let known = u8::try_from(level).ok().filter(|level| i32::from(*level) <= super::NLMQTT_LOG_TRACE);
    known.ok_or_else(|| Failure::invalid(format!("{level} is no level of log")))
}
