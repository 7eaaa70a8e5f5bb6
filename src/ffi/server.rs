//! Servers: made, started, stopped, reloaded, freed.

use std::ffi::{CString, c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hook_calls::{HookTable, TableHooks};
use super::runtime::{RuntimeParts, runtime_or_private};
use super::{
    Failure, Handle, Health, Inner, NLMQTT_IN_PROGRESS, NLMQTT_INVALID_STATE, NLMQTT_LOG_INFO, Outcome, check_out, fence, fence_on, fence_or, nlmqtt_runtime,
    nlmqtt_server_config, nlmqtt_server_hooks, nlmqtt_status, reference, sized,
};
use crate::base::Duration;
use crate::broker::Hooks;
use crate::codec::Reason;
use crate::config::ServerConfig;
use crate::net::{Error, ListenerOptions, Mode, Runtime, RuntimeOptions};
use crate::server::{Change, Listening, Server};

/// A key was changed in the running server, or a listener opened or closed.
pub const NLMQTT_CHANGE_APPLIED: i32 = 1;
/// A key is different, but takes effect only in a new server.
pub const NLMQTT_CHANGE_NEEDS_RESTART: i32 = 2;
/// A listener could not be opened.
pub const NLMQTT_CHANGE_FAILED: i32 = 3;

/// Is told one difference by nlmqtt_server_reload (`change`: NLMQTT_CHANGE_*); `what` is borrowed until it returns.
pub type nlmqtt_change_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, change: i32, what: *const c_char)>;

/// A broker. Any thread may call its functions, callbacks included; those that wait for an answer say so, and answer
/// WOULD_DEADLOCK inside a callback of its runtime.
pub struct nlmqtt_server(Arc<ServerInner>);

pub(crate) struct ServerInner {
    state: Mutex<State>,
    /// Held while configuration and listeners change; never while a callback runs.
    changing: Mutex<()>,
    pub table: Arc<HookTable>,
    pub parts: RuntimeParts,
    has_own_runtime: bool,
    health: Health,
}

pub(crate) struct State {
    pub config: ServerConfig,
    running: Option<Arc<Server>>,
    /// Where it listens: what was asked for and what it is.
    pub listeners: Vec<Listening>,
    started: bool,
}

impl ServerInner {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker behind the handle.
    pub fn running(&self) -> Outcome<Arc<Server>> {
        let running = self.state().running.clone();
        running.ok_or_else(|| Failure::new(NLMQTT_INVALID_STATE, "the server is stopped"))
    }

    /// One change of configuration or listeners at a time. It waits, so not inside a callback.
    pub fn changing(&self) -> Outcome<MutexGuard<'_, ()>> {
        if self.parts.runtime.is_turning() {
            return Err(Error::WouldDeadlock.into());
        }
        Ok(self.changing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The running server takes what can change.
    pub fn take_config(&self, new: &ServerConfig) -> Outcome<Vec<Change>> {
        let _changing = self.changing()?;
        let running = self.running()?;
        let (mut config, mut listeners) = {
            let state = self.state();
            (state.config.clone(), state.listeners.clone())
        };
        let changes = running.take_config(&mut config, &mut listeners, new);
        // Also after a failure half way: this is what is in force.
        let mut state = self.state();
        state.config = config;
        state.listeners = listeners;
        Ok(changes?)
    }

    fn make(&self, config: &ServerConfig) -> Outcome<Arc<Server>> {
        let hooks = |_| Some(Box::new(TableHooks::new(self.table.clone(), &self.parts)) as Box<dyn Hooks>);
        Ok(Arc::new(Server::with_hooks(&self.parts.runtime, config.options_in_force(), hooks)?))
    }
}

impl Inner for ServerInner {
    fn health(&self) -> &Health {
        &self.health
    }
}

impl Drop for ServerInner {
    fn drop(&mut self) {
        if self.health.is_forked() {
            // The worker is in the parent: memory only, and what it owns stays.
            core::mem::forget((self.parts.clone(), self.table.clone(), self.state().running.take()));
        }
    }
}

impl Handle for nlmqtt_server {
    type Inner = ServerInner;
    fn inner(&self) -> &Arc<ServerInner> {
        &self.0
    }
}

/// Makes a broker that does not listen yet; publish and subscribe inside this process work already. `runtime` is borrowed for
/// the call and kept by reference; NULL makes a private one in THREAD mode. `config` is copied; NULL means the defaults.
/// `hooks` is copied, NULL means none; its `user_data` is moved, also when the call fails. The caller frees the server with
/// nlmqtt_server_free. Waits. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_new(
    runtime: *mut nlmqtt_runtime,
    config: *const nlmqtt_server_config,
    hooks: *const nlmqtt_server_hooks,
    server_out: *mut *mut nlmqtt_server,
) -> nlmqtt_status {
    fence(|| {
        let calls = unsafe { sized(hooks, nlmqtt_server_hooks::NONE, "hooks") }?;
        let table = HookTable::new(calls);
        check_out(server_out, "server_out")?;
        if calls.auth_exchange.is_some() && calls.authenticate.is_none() {
            return Err(Failure::invalid("hooks: auth_exchange needs authenticate"));
        }
        let config = unsafe { config.as_ref() }.map(|config| config.config.clone()).unwrap_or_default();
        let parts = if runtime.is_null() {
            let options = RuntimeOptions { memory_limit: config.options.memory_limit, workers: config.options.workers, ..RuntimeOptions::default() };
            RuntimeParts { runtime: Runtime::new(&options)?, log: None }
        } else {
            unsafe { runtime_or_private(runtime) }?
        };
        let state = State { config: config.clone(), running: None, listeners: Vec::new(), started: false };
        let inner = Arc::new(ServerInner {
            state: Mutex::new(state),
            changing: Mutex::new(()),
            table,
            parts,
            has_own_runtime: runtime.is_null(),
            health: Health::new(),
        });
        let running = inner.make(&config)?;
        inner.state().running = Some(running);
        unsafe { *server_out = Box::into_raw(Box::new(nlmqtt_server(inner))) };
        Ok(())
    })
}

/// Frees a server in any state; NULL is fine. Its connections are closed without a word (nlmqtt_server_stop says good-bye). Returns
/// after a callback that is running has returned, and none is called later; `free_fn`s have run. Inside one of its own callbacks
/// it takes effect when that returns. In a process forked after it was made only memory is released.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_free(server: *mut nlmqtt_server) {
    fence_or((), || {
        if server.is_null() {
            return Ok(());
        }
        let inner = unsafe { Box::from_raw(server) }.0;
        if inner.health.is_forked() {
            return Ok(());
        }
        if inner.has_own_runtime && inner.parts.runtime.is_turning() {
            // Another thread may be inside a function of this server: it must not wait for the end of this callback.
            inner.parts.runtime.detach();
        }
        inner.table.closed.store(true, std::sync::atomic::Ordering::Release);
        let running = inner.state().running.take();
        match running {
            Some(running) => running.end(),
            // Stopped: what the worker still does for it, such as the callback that says so, ends first.
            None => inner.parts.runtime.fence(),
        }
        Ok(())
    });
}

/// Starts to listen; without a listener in the configuration that is nothing, and fine. After a stop it begins anew, without
/// sessions and messages. Waits. ADDRESS_IN_USE, IO: a listener cannot be opened, the last error says which; then none is.
/// INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which.
/// INVALID_STATE: started already. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_start(server: *mut nlmqtt_server) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            if inner.parts.runtime.is_turning() {
                return Err(Error::WouldDeadlock.into());
            }
            let (config, running) = {
                let mut state = inner.state();
                if state.started {
                    return Err(Failure::new(NLMQTT_INVALID_STATE, "started already"));
                }
                state.started = true;
                (state.config.clone(), state.running.clone())
            };
            let started = running.map_or_else(|| inner.make(&config), Ok).and_then(|running| {
                let listeners = open_listeners(inner, &running, &config, &config.listeners)?;
                Ok((running, listeners))
            });
            let mut state = inner.state();
            match started {
                Ok((running, listeners)) => {
                    state.running = Some(running);
                    // Behind those that were added before.
                    state.listeners.extend(listeners);
                    Ok(())
                }
                Err(failure) => {
                    state.started = false;
                    Err(failure)
                }
            }
        })
    }
}

fn open_listeners(inner: &ServerInner, running: &Server, config: &ServerConfig, wanted: &[ListenerOptions]) -> Outcome<Vec<Listening>> {
    let mut open = Vec::with_capacity(wanted.len());
    for options in wanted {
        match running.add_listener(config.listener_in_force(options)) {
            Ok(address) => {
                inner.parts.log(NLMQTT_LOG_INFO, || format!("listening on {address}"));
                open.push((options.clone(), address));
            }
            Err(error) => {
                for (_, address) in open {
                    // It was opened a moment ago by us.
                    let _ = running.remove_listener(address);
                }
                let failure = Failure::from(error);
                return Err(Failure::new(failure.status, format!("cannot listen on {}: {}", options.endpoint, failure.text)));
            }
        }
    }
    Ok(open)
}

/// Stops: no new connections, DISCONNECT with `reason` to every client of MQTT 5 (0x00 = 0x8B Server shutting down), at most
/// `drain_ms` for that to go out (over datagrams: to arrive); sessions and messages are gone then. Waits until it is over, at most `drain_ms` and a
/// second. Inside a callback, and in LOOP mode, it only begins, returns IN_PROGRESS and ends with the hook `stopped`. Stopping twice
/// is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_stop(server: *mut nlmqtt_server, reason: u8, drain_ms: u32) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let reason = match reason {
                0 => Reason::SERVER_SHUTTING_DOWN,
                0x80.. => Reason(reason),
                _ => return Err(Failure::invalid(format!("0x{reason:02X} is no reason of a DISCONNECT of a server"))),
            };
            let running = {
                let mut state = inner.state();
                state.started = false;
                state.listeners.clear();
                state.running.take()
            };
            let Some(running) = running else { return Ok(()) };
            let drain = Duration::from_millis(drain_ms.into());
            if inner.parts.runtime.is_turning() || inner.parts.runtime.mode() == Mode::Loop {
                let table = inner.table.clone();
                running.stop(reason, drain, move || table.stopped());
                return Err(Failure::new(NLMQTT_IN_PROGRESS, "the hook `stopped` tells when it is over"));
            }
            Ok(running.stop_and_wait(reason, drain)?)
        })
    }
}

/// Takes a new configuration: what can change in a running server changes now, also listeners; `change` (may be NULL) is told each
/// difference, on this thread, before the call returns. `config` is copied. Waits. OK also if something needs a restart or a
/// listener cannot be opened: `change` says so. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_reload(
    server: *mut nlmqtt_server,
    config: *const nlmqtt_server_config,
    change: nlmqtt_change_fn,
    user_data: *mut c_void,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let new = &reference(config, "config")?.config;
            let changes = inner.take_config(new)?;
            for told in changes {
                let (kind, what) = match told {
                    Change::Applied(what) => (NLMQTT_CHANGE_APPLIED, what),
                    Change::NeedsRestart(what) => (NLMQTT_CHANGE_NEEDS_RESTART, what),
                    Change::Failed(what) => (NLMQTT_CHANGE_FAILED, what),
                };
                let what = CString::new(what).unwrap_or_default();
                if let Some(change) = change {
                    change(user_data, kind, what.as_ptr());
                }
            }
            Ok(())
        })
    }
}
