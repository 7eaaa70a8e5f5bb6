//! The client: its life.

use std::sync::Arc;

use super::client_callbacks::{Callbacks, completion_outcome, nlmqtt_client_callbacks, state_number};
use super::client_config::nlmqtt_client_config;
use super::{
    Failure, Handle, Health, Inner, NLMQTT_IN_PROGRESS, Outcome, RuntimeParts, UserData, check_out, fence, fence_on, fence_or, nlmqtt_runtime, nlmqtt_status,
    reference, runtime_or_private, sized,
};
use crate::base::Duration;
use crate::client::{Client, ClientParts, StopRequest, Token};
use crate::codec::{PacketType, Reason};
use crate::net::Mode;

/// A client. Any thread may call its functions, callbacks included.
pub struct nlmqtt_client(Arc<ClientInner>);

pub(crate) struct ClientInner {
    // In this order: the client lets go of the runtime before the runtime ends.
    pub client: Client,
    /// The runtime is of this client alone.
    has_own_runtime: bool,
    _parts: RuntimeParts,
    health: Health,
}

impl Inner for ClientInner {
    fn health(&self) -> &Health {
        &self.health
    }
}

impl Handle for nlmqtt_client {
    type Inner = ClientInner;
    fn inner(&self) -> &Arc<ClientInner> {
        &self.0
    }
}

/// How to stop.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_stop_options {
    /// Bytes of this struct; set by nlmqtt_stop_options_init.
    pub struct_size: usize,
    /// How long to wait for what is queued and in flight, in milliseconds.
    pub timeout_ms: u32,
    /// Reason of DISCONNECT (MQTT 5 section 3.14.2.1): 0x00, or 0x04 to have the will published.
    pub reason: u8,
    /// Change the Session Expiry Interval to session_expiry_s (MQTT 5 section 3.14.2.2.2).
    pub has_session_expiry: bool,
    /// Seconds; 0 ends the session.
    pub session_expiry_s: u32,
}

/// Waiting for ever, as far as anybody waits.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long nlmqtt_client_free waits for a callback that does not return.
const FREE_WAIT: Duration = Duration::from_secs(60);

pub(crate) fn wait_max(timeout_ms: i32) -> Duration {
    u64::try_from(timeout_ms).map_or(FOREVER, Duration::from_millis)
}

/// Makes a client on a runtime; NULL gives it one of its own in THREAD mode. `config` is copied. `callbacks` is copied, may
/// be NULL, and its user_data is moved (released also when this call fails). The client does nothing before
/// nlmqtt_client_start. The caller frees it with nlmqtt_client_free. CONFIG: options that cannot be used, see the last error.
/// INVALID_ARGUMENT: a file of TLS cannot be read or used, the last error says which; or a server has a name, and this runtime can look up none.
/// WOULD_DEADLOCK inside a callback of the same runtime.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_new(
    runtime: *const nlmqtt_runtime,
    config: *const nlmqtt_client_config,
    callbacks: *const nlmqtt_client_callbacks,
    client_out: *mut *mut nlmqtt_client,
) -> nlmqtt_status {
    fence(|| {
        let table = unsafe { sized(callbacks, nlmqtt_client_callbacks::NONE, "callbacks") }?;
        let user = UserData::new(table.user_data, table.free_fn);
        let config = unsafe { reference(config, "config") }?;
        check_out(client_out, "client_out")?;
        let (options, servers, dial) = config.0.parts()?;
        let receive = config.0.receive_in_force();
        let parts = unsafe { runtime_or_private(runtime) }?;
        let handler = Box::new(Callbacks::new(table, user, parts.log.clone()));
        let client =
            Client::new(&parts.runtime, ClientParts { options, servers, dial, tls: config.0.tls.clone(), way: config.0.way.clone(), receive }, handler)?;
        let inner = ClientInner { client, has_own_runtime: runtime.is_null(), _parts: parts, health: Health::new() };
        unsafe { *client_out = Box::into_raw(Box::new(nlmqtt_client(Arc::new(inner)))) };
        Ok(())
    })
}

/// Frees a client in any state. What is not done completes with CANCELLED; nlmqtt_client_stop before gives it time. Returns
/// when the running callback has returned, and no later one comes; inside a callback it takes effect when that returns.
/// NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_free(client: *mut nlmqtt_client) {
    fence_or((), || {
        if client.is_null() {
            return Ok(());
        }
        let client = unsafe { Box::from_raw(client) };
        if client.0.health.is_forked() {
            // The thread behind it is in the parent: nothing to stop here.
            core::mem::forget(client);
            return Ok(());
        }
        let inner = &client.0;
        if inner.has_own_runtime && inner.client.runtime().is_turning() {
            // Another thread may be inside a function of this client: it must not wait for the end of this callback.
            inner.client.runtime().detach();
        }
        // Inside a callback, and after a failure of the runtime, there is nothing to wait for.
        let _ = inner.client.close(StopRequest::default(), FREE_WAIT);
        Ok(())
    });
}

/// Connects, and connects again whenever the connection is lost, until nlmqtt_client_stop. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_start(client: *mut nlmqtt_client) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            inner.client.start();
            Ok(())
        })
    }
}

/// Ends the connection with DISCONNECT when what is queued and in flight is done, at the latest after `timeout_ms`; what is
/// left then completes with CANCELLED. Over datagrams the good-bye has to arrive, too. Waits for it. Twice is fine, and so is another
/// nlmqtt_client_start later.
/// IN_PROGRESS inside a callback and in LOOP mode: it has begun, the state callback tells when it is over. TIMEOUT: a
/// callback does not return; it stops when that does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_stop(client: *mut nlmqtt_client, timeout_ms: u32) -> nlmqtt_status {
    let drain = Duration::from_millis(timeout_ms.into());
    unsafe { fence_on(client, "client", |inner| stop(inner, StopRequest { drain, ..StopRequest::default() })) }
}

/// The defaults: reason 0x00, no time. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_stop_options_init(options: *mut nlmqtt_stop_options) {
    if let Some(options) = unsafe { options.as_mut() } {
        *options = STOP_DEFAULTS;
    }
}

const STOP_DEFAULTS: nlmqtt_stop_options =
    nlmqtt_stop_options { struct_size: size_of::<nlmqtt_stop_options>(), timeout_ms: 0, reason: 0, has_session_expiry: false, session_expiry_s: 0 };

/// As nlmqtt_client_stop, with a reason of its own. `options` is borrowed for the call; NULL means the defaults.
/// INVALID_ARGUMENT: not a reason a client may give in DISCONNECT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_stop_ex(client: *mut nlmqtt_client, options: *const nlmqtt_stop_options) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            let options = sized(options, STOP_DEFAULTS, "options")?;
            let reason = Reason(options.reason);
            if !reason.is_valid_for(PacketType::Disconnect) {
                return Err(Failure::invalid(format!("0x{:02X} is no reason of DISCONNECT", options.reason)));
            }
            let session_expiry_s = options.has_session_expiry.then_some(options.session_expiry_s);
            let drain = Duration::from_millis(options.timeout_ms.into());
            stop(inner, StopRequest { reason, session_expiry_s, drain })
        })
    }
}

fn stop(inner: &ClientInner, request: StopRequest) -> Outcome {
    let runtime = inner.client.runtime();
    if runtime.is_turning() || runtime.mode() == Mode::Loop {
        inner.client.stop(request);
        return Err(Failure::new(NLMQTT_IN_PROGRESS, "begun; the state callback tells when it is over"));
    }
    Ok(inner.client.stop_and_wait(request)?)
}

/// Waits until a session is there, at most `timeout_ms` (negative: for ever). In LOOP mode it polls meanwhile. TIMEOUT; GONE:
/// it was stopped or has given up; INVALID_STATE: not started; WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_connect_wait(client: *mut nlmqtt_client, timeout_ms: i32) -> nlmqtt_status {
    unsafe { fence_on(client, "client", |inner| Ok(inner.client.wait_connected(wait_max(timeout_ms))?)) }
}

/// Tries now instead of at the end of the wait between two tries; otherwise without effect. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_reconnect_now(client: *mut nlmqtt_client) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            inner.client.reconnect_now();
            Ok(())
        })
    }
}

/// Where it stands, one of NLMQTT_CLIENT_*; NLMQTT_CLIENT_STOPPED for NULL. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_state(client: *const nlmqtt_client) -> i32 {
    fence_or(super::NLMQTT_CLIENT_STOPPED, || Ok(state_number(unsafe { reference(client, "client") }?.0.client.state())))
}

/// Waits until every request is done, at most `timeout_ms` (negative: for ever). In LOOP mode it polls meanwhile. TIMEOUT;
/// WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_flush(client: *mut nlmqtt_client, timeout_ms: i32) -> nlmqtt_status {
    unsafe { fence_on(client, "client", |inner| Ok(inner.client.flush(wait_max(timeout_ms))?)) }
}

/// Waits until one request is done, at most `timeout_ms` (negative: for ever), and answers with its end, see
/// nlmqtt_completion.status (of requests that failed, the last 1,024 are remembered). In LOOP mode it polls meanwhile.
/// TIMEOUT; WOULD_DEADLOCK inside a callback; INVALID_ARGUMENT: not a token of this client.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_wait(client: *mut nlmqtt_client, token: u64, timeout_ms: i32) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            let failed = inner.client.wait(Token(token), wait_max(timeout_ms))?;
            completion_outcome(failed.as_ref())
        })
    }
}
