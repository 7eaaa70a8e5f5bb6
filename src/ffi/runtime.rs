//! Runtimes: who does the work, and where the log goes.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use super::{
    Failure, Handle, Health, Inner, LogSink, Outcome, UserData, check_out, fence,
    fence_on, fence_or, nlmqtt_free_fn, nlmqtt_log_fn, nlmqtt_status, reference, reference_mut, string,
};
use crate::base::Duration;
use crate::net::{Mode, Runtime, RuntimeOptions};

/// One library thread does the work and runs the callbacks. The default.
pub const NLMQTT_MODE_THREAD: i32 = 0;
/// No thread: the application calls nlmqtt_runtime_poll, and callbacks run inside it.
pub const NLMQTT_MODE_LOOP: i32 = 1;

/// A function of the application, see nlmqtt_runtime_post.
pub type nlmqtt_task_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

/// Options of a runtime to be made. Used by one thread at a time.
pub struct nlmqtt_runtime_config {
    options: RuntimeOptions,
    log: Option<Arc<LogSink>>,
}

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
    /// One line of log, if somebody wants it.
    #[cfg_attr(not(feature = "server"), allow(dead_code))]
    pub fn log(&self, level: i32, text: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log.line(level, text);
        }
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

/// Default options: THREAD mode, no log, a memory limit of 512 MiB. The caller frees them with
/// nlmqtt_runtime_config_free, any time after nlmqtt_runtime_new. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_runtime_config_new() -> *mut nlmqtt_runtime_config {
    fence_or(core::ptr::null_mut(), || {
        let config = nlmqtt_runtime_config { options: RuntimeOptions::default(), log: None };
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

/// Who does the work: NLMQTT_MODE_THREAD or NLMQTT_MODE_LOOP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_mode(config: *mut nlmqtt_runtime_config, mode: i32) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        config.options.mode = match mode {
            NLMQTT_MODE_THREAD => Mode::Thread,
            NLMQTT_MODE_LOOP => Mode::Loop,
            _ => return Err(Failure::invalid(format!("{mode} is no mode"))),
        };
        Ok(())
    })
}

/// The name of the thread, copied; the system shows its first 15 bytes. Default "nlmqtt".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_thread_name(config: *mut nlmqtt_runtime_config, name: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        unsafe { string(name, "name") }?.clone_into(&mut config.options.thread_name);
        Ok(())
    })
}

/// The stack of the thread in bytes; 0 = 2 MiB. Callbacks run on it. INVALID_ARGUMENT: less than 64 KiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_stack_bytes(config: *mut nlmqtt_runtime_config, stack_bytes: usize) -> nlmqtt_status {
    const STACK_BYTES_MIN: usize = 64 << 10;
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if stack_bytes != 0 && stack_bytes < STACK_BYTES_MIN {
            return Err(Failure::invalid(format!("a stack of {stack_bytes} bytes is too small")));
        }
        config.options.stack_bytes = stack_bytes;
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

/// Where the log of the runtime and of everything on it goes: lines up to `level_max` (one of NLMQTT_LOG_*; 0 = none).
/// `log` may be NULL for none. `user_data` is moved here and released with `free_fn` (may be NULL) after the last line,
/// which may come after nlmqtt_runtime_free if a callback frees it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_config_set_log(config: *mut nlmqtt_runtime_config, level_max: i32, log: nlmqtt_log_fn, user_data: *mut c_void, free_fn: nlmqtt_free_fn) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    fence(move || {
        let config = unsafe { reference_mut(config, "config") }?;
        config.log = LogSink::new(level_max, log, user).map(Arc::new);
        Ok(())
    })
}

/// Makes a runtime. `config` is borrowed for the call; NULL means the defaults. In THREAD mode its thread starts now, with
/// every signal masked. The caller frees it with nlmqtt_runtime_free. IO: no descriptor or thread is left.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_new(config: *const nlmqtt_runtime_config, runtime_out: *mut *mut nlmqtt_runtime) -> nlmqtt_status {
    fence(|| {
        check_out(runtime_out, "runtime_out")?;
        let config = unsafe { config.as_ref() };
        let options = config.map(|config| config.options.clone()).unwrap_or_default();
        let log = config.and_then(|config| config.log.clone());
        let parts = RuntimeParts { runtime: Runtime::new(&options)?, log };
        let inner = RuntimeInner { parts, health: Health::new() };
        unsafe { *runtime_out = Box::into_raw(Box::new(nlmqtt_runtime(Arc::new(inner)))) };
        Ok(())
    })
}

/// Gives the runtime back. It ends when its clients and servers are freed, too; then its thread has ended when the last of
/// these calls returns (inside a callback: when the callback has returned). NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_free(runtime: *mut nlmqtt_runtime) {
    fence_or((), || {
        if !runtime.is_null() {
            drop(unsafe { Box::from_raw(runtime) });
        }
        Ok(())
    });
}

/// LOOP mode: the one descriptor to watch for reading; constant for the life of the runtime. Everything is inside it, time
/// too: the host's loop needs no time-out for this library. -1 in THREAD mode and for NULL. The library keeps and closes it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_fd(runtime: *const nlmqtt_runtime) -> i32 {
    fence_or(-1, || {
        let inner = &unsafe { reference(runtime, "runtime") }?.0;
        inner.health.check()?;
        Ok(if inner.parts.runtime.mode() == Mode::Loop { inner.parts.runtime.fd() } else { -1 })
    })
}

/// LOOP mode: does what there is to do, and runs callbacks. Waits at most `timeout_ms` for something to happen: 0 = not at
/// all, negative = until it does. One thread at a time. UNSUPPORTED in THREAD mode, WOULD_DEADLOCK inside a callback, GONE
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

/// Runs `task` soon on the thread that does the work: the library's in THREAD mode, the one that polls in LOOP mode. From
/// any thread, callbacks included. `user_data` is moved and released with `free_fn` (may be NULL) after `task` has run, or
/// when the runtime ends before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_post(runtime: *mut nlmqtt_runtime, task: nlmqtt_task_fn, user_data: *mut c_void, free_fn: nlmqtt_free_fn) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    unsafe {
        fence_on(runtime, "runtime", move |inner| {
            let task = task.ok_or_else(|| Failure::invalid("task is NULL"))?;
            inner.parts.runtime.post(Box::new(move |_| {
                let user = user;
                task(user.data);
            }));
            Ok(())
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
