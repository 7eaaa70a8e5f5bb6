//! What a client tells: the table of callbacks, what they are given, and how events become calls.

use std::ffi::c_void;
use std::sync::Arc;

use super::datagrams::number_of;
use super::log::{LogSink, NLMQTT_LOG_INFO, NLMQTT_LOG_WARNING};
use super::properties::terminated;
use super::{
    Failure, NLMQTT_CANCELLED, NLMQTT_NOT_FOUND, NLMQTT_OK, NLMQTT_QUEUE_FULL, NLMQTT_REFUSED, NLMQTT_REPLACED, NLMQTT_TIMEOUT, NLMQTT_TOO_LARGE,
    NLMQTT_UNSUPPORTED, Outcome, UserData, bytes, fence, nlmqtt_bytes, nlmqtt_datagram_statistics, nlmqtt_free_fn, nlmqtt_message, nlmqtt_properties,
    nlmqtt_status, nlmqtt_str, of_client, of_fault, optional_string, reference_mut,
};
use crate::base::Instant;
use crate::client::{
    AckHandle, Cause, Completion, CompletionCallback, Connected, Credentials, Disconnected, Event, Failure as Ending, Incoming, LastDisconnect,
    Outcome as Done, RequestKind, State, Token,
};
use crate::net::{ClientHandler, MessageCallback, PathMoved};
use crate::proto;
use crate::stack::DatagramProtocol;

/// Not started, stopped, or given up.
pub const NLMQTT_CLIENT_STOPPED: i32 = 0;
/// Waits for the next try.
pub const NLMQTT_CLIENT_WAITING: i32 = 1;
/// The connection is being opened.
pub const NLMQTT_CLIENT_DIALING: i32 = 2;
/// CONNECT went out.
pub const NLMQTT_CLIENT_CONNECTING: i32 = 3;
/// In session.
pub const NLMQTT_CLIENT_ONLINE: i32 = 4;
/// In session, sends what is left, then stops.
pub const NLMQTT_CLIENT_STOPPING: i32 = 5;

/// No connection, or it broke.
pub const NLMQTT_CAUSE_NETWORK: i32 = 0;
/// The server closed without a word.
pub const NLMQTT_CAUSE_CLOSED: i32 = 1;
/// The server's name was not found.
pub const NLMQTT_CAUSE_NAMES: i32 = 2;
/// TLS failed.
pub const NLMQTT_CAUSE_TLS: i32 = 3;
/// No connection or no CONNACK in time.
pub const NLMQTT_CAUSE_TIMEOUT: i32 = 4;
/// No PINGRESP in time, or the server missed our packets.
pub const NLMQTT_CAUSE_KEEP_ALIVE: i32 = 5;
/// Bad user name or password, not authorised, banned.
pub const NLMQTT_CAUSE_CREDENTIALS: i32 = 6;
/// Client identifier refused.
pub const NLMQTT_CAUSE_IDENTITY: i32 = 7;
/// Protocol version refused.
pub const NLMQTT_CAUSE_VERSION: i32 = 8;
/// Enhanced authentication failed.
pub const NLMQTT_CAUSE_AUTHENTICATION: i32 = 9;
/// Busy, unavailable, quota, rate.
pub const NLMQTT_CAUSE_BUSY: i32 = 10;
/// Use another server, server moved.
pub const NLMQTT_CAUSE_MOVED: i32 = 11;
/// The server shuts down or an administrator closed the connection.
pub const NLMQTT_CAUSE_SHUTTING_DOWN: i32 = 12;
/// Another connection uses the client identifier.
pub const NLMQTT_CAUSE_TAKEN_OVER: i32 = 13;
/// One side broke the protocol.
pub const NLMQTT_CAUSE_PROTOCOL: i32 = 14;
/// Any other reason of the server.
pub const NLMQTT_CAUSE_OTHER: i32 = 15;
/// nlmqtt_client_stop.
pub const NLMQTT_CAUSE_STOPPED: i32 = 16;

/// Names one received message that waits for nlmqtt_client_ack. Both 0: there is nothing to acknowledge.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_ack {
    /// Which connection.
    pub connection: u64,
    /// Which message of it.
    pub serial: u64,
}

impl nlmqtt_ack {
    pub(crate) fn of(handle: Option<AckHandle>) -> Self {
        let (connection, serial) = handle.map_or((0, 0), AckHandle::to_numbers);
        Self { connection, serial }
    }
}

/// A session is there. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_connected {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// Which server, counted in the order they were added.
    pub server: usize,
    /// The server had the session (MQTT 5 section 3.2.2.1.1).
    pub session_present: bool,
    /// The keep-alive in use.
    pub keep_alive_s: u16,
    /// The client identifier in use, given or assigned by the server.
    pub client_id: nlmqtt_str,
    /// Every property of CONNACK.
    pub properties: *const nlmqtt_properties,
    /// Which server the last session was with; the same as `server` for the first session. Another one: the client has
    /// switched, because the servers before did not work, or because a better one does again (option ladder_probe_interval_s).
    pub previous_server: usize,
}

/// A connection was lost, refused or not made. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_disconnected {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// Which server, counted in the order they were added.
    pub server: usize,
    /// One of NLMQTT_CAUSE_*.
    pub cause: i32,
    /// There is a reason code.
    pub has_reason: bool,
    /// What CONNACK or DISCONNECT said, ours or the server's.
    pub reason: u8,
    /// There had been a session.
    pub was_online: bool,
    /// Milliseconds until the next try; -1: there is none.
    pub retry_in_ms: i64,
    /// What happened, in words.
    pub text: nlmqtt_str,
    /// Another server to use, the server said (MQTT 5 section 4.11); may be none.
    pub server_reference: nlmqtt_str,
    /// Every property of the server's CONNACK or DISCONNECT.
    pub properties: *const nlmqtt_properties,
    /// What was wrong below MQTT: NLMQTT_TLS or a kind of it, NLMQTT_WEBSOCKET, NLMQTT_UPGRADE_REFUSED, or one of NLMQTT_PROXY_*; OK:
    /// nothing was, `cause` says it all.
    pub status: nlmqtt_status,
}

/// The datagrams of a connection over QUIC or reliable UDP (generation 2) go another way: the server has asked whether the client is where
/// its datagrams come from now, because this end has another address, or a NAT on the way gave it another one. The session and everything under way go on;
/// nothing needs to be done. One change may be told more than once, and over QUIC a server also asks when somebody on the way repeats a
/// datagram from elsewhere: the callback says that the server was in doubt, and proves nothing. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_path_moved {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// Which server, counted in the order they were added.
    pub server: usize,
    /// The address of this end now, such as "192.0.2.7:51702"; what a NAT makes of it only the server knows.
    pub local: nlmqtt_str,
    /// What happened on the connection until then.
    pub statistics: *const nlmqtt_datagram_statistics,
}

/// How a request ended. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_completion {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// The token of the request.
    pub token: u64,
    /// OK: sent (QoS 0), acknowledged (QoS 1 and 2), granted. REFUSED: the server said no. CANCELLED: by
    /// nlmqtt_client_cancel or nlmqtt_client_stop, or the client gave up. QUEUE_FULL, TIMEOUT (expired), TOO_LARGE,
    /// UNSUPPORTED (by this server): it was not sent.
    pub status: nlmqtt_status,
    /// There is a reason code of the server.
    pub has_reason: bool,
    /// It; of several filters the first refusal.
    pub reason: u8,
    /// A reason code for each filter, in the order asked for; NULL for a publish.
    pub reasons: *const u8,
    /// How many.
    pub reasons_len: usize,
}

/// Where nlmqtt_client_callbacks.before_connect puts new credentials.
pub struct nlmqtt_credentials(Option<Credentials>);

/// Called when a message comes. `message` is borrowed until the callback returns; nlmqtt_message_ref keeps it. `ack` is for
/// nlmqtt_client_ack if the option manual_ack is set. On the thread that does the work, one callback of a client at a time.
pub type nlmqtt_client_message_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, message: *const nlmqtt_message, ack: nlmqtt_ack)>;

/// Called when a request is done; `completion` is borrowed until it returns. On the thread that does the work, one callback
/// of a client at a time.
pub type nlmqtt_completion_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, completion: *const nlmqtt_completion)>;

/// What a client tells. Fill it with nlmqtt_client_callbacks_init, then set what you want; NULL: not interested. Every
/// callback runs on the thread that does the work (in THREAD mode the library's, of many workers always the same one, the one that polls in
/// LOOP mode, the one that dispatches in DISPATCH mode), one at a time. It may call every function; what changes something happens after it
/// has returned, and what waits answers WOULD_DEADLOCK. Everything it is given is borrowed until it returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_client_callbacks {
    /// Bytes of this struct; set by nlmqtt_client_callbacks_init.
    pub struct_size: usize,
    /// Given to every callback.
    pub user_data: *mut c_void,
    /// Releases user_data, exactly once, after the last callback; may be NULL.
    pub free_fn: nlmqtt_free_fn,
    /// The state is another one, one of NLMQTT_CLIENT_*.
    pub state: Option<unsafe extern "C" fn(user_data: *mut c_void, state: i32)>,
    /// A session is there.
    pub connected: Option<unsafe extern "C" fn(user_data: *mut c_void, connected: *const nlmqtt_connected)>,
    /// A connection was lost, refused or not made.
    pub disconnected: Option<unsafe extern "C" fn(user_data: *mut c_void, disconnected: *const nlmqtt_disconnected)>,
    /// A connection to this server (in the order they were added) is about to be opened: the time to renew credentials,
    /// by nlmqtt_credentials_set.
    pub before_connect: Option<unsafe extern "C" fn(user_data: *mut c_void, server: usize, credentials: *mut nlmqtt_credentials)>,
    /// A message came for which no subscription has a callback of its own.
    pub message: nlmqtt_client_message_fn,
    /// A publish is done.
    pub published: nlmqtt_completion_fn,
    /// A subscribe is done.
    pub subscribed: nlmqtt_completion_fn,
    /// A stored filter was asked for again, because the server had lost the session; the granted QoS or the refusal.
    pub resubscribed: Option<unsafe extern "C" fn(user_data: *mut c_void, filter: nlmqtt_str, reason: u8)>,
    /// An unsubscribe is done.
    pub unsubscribed: nlmqtt_completion_fn,
    /// The queue has filled up to four fifths (`is_high`), or emptied to one half.
    pub queue_level: Option<unsafe extern "C" fn(user_data: *mut c_void, is_high: bool, count: usize, bytes: usize)>,
    /// The server sent AUTH (MQTT 5 section 3.15): 0x18 asks for nlmqtt_client_authenticate, 0x00 ends a
    /// re-authentication. `data` is NULL where there is none.
    pub auth: Option<unsafe extern "C" fn(user_data: *mut c_void, reason: u8, data: nlmqtt_bytes)>,
    /// A message was given up, and why: QUEUE_FULL (pushed out by newer ones), TIMEOUT (expired), REPLACED, TOO_LARGE or
    /// UNSUPPORTED (for this server), CANCELLED (nlmqtt_client_stop, or the client gave up; not nlmqtt_client_cancel), before its
    /// completion; NOT_FOUND: a response nobody waits for. `message` is borrowed until it returns.
    pub dropped: Option<unsafe extern "C" fn(user_data: *mut c_void, message: *const nlmqtt_message, status: nlmqtt_status)>,
    /// The connection goes on over another path, or the server has asked whether it does.
    pub path_moved: Option<unsafe extern "C" fn(user_data: *mut c_void, moved: *const nlmqtt_path_moved)>,
    /// This server (in the order they were added) does not know the protocol it was asked for first, so the connection speaks an older one:
    /// `protocol`, one of NLMQTT_DATAGRAMS_*. That is generation 1 of reliable UDP, where the option rudp_generation is auto. Told when the
    /// connection is there, before `connected`; nlmqtt_client_datagram_stats tells what carries any other connection, also inside `connected`.
    pub fell_back: Option<unsafe extern "C" fn(user_data: *mut c_void, server: usize, protocol: i32)>,
}

impl nlmqtt_client_callbacks {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        user_data: core::ptr::null_mut(),
        free_fn: None,
        state: None,
        connected: None,
        disconnected: None,
        before_connect: None,
        message: None,
        published: None,
        subscribed: None,
        resubscribed: None,
        unsubscribed: None,
        queue_level: None,
        auth: None,
        dropped: None,
        path_moved: None,
        fell_back: None,
    };
}

/// An empty table. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_callbacks_init(callbacks: *mut nlmqtt_client_callbacks) {
    if let Some(callbacks) = unsafe { callbacks.as_mut() } {
        *callbacks = nlmqtt_client_callbacks::NONE;
    }
}

/// Inside before_connect only: the credentials from now on; either may be NULL for none. Copied. With what cannot be sent (a
/// password without a user name before MQTT 5, more than 65,535 bytes) there is no connection: NLMQTT_CAUSE_CREDENTIALS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_credentials_set(
    credentials: *mut nlmqtt_credentials,
    username: *const std::ffi::c_char,
    password: *const c_void,
    password_len: usize,
) -> nlmqtt_status {
    fence(|| {
        let credentials = unsafe { reference_mut(credentials, "credentials") }?;
        let username = unsafe { optional_string(username, "username") }?.map(str::to_owned);
        let secret = unsafe { bytes(password, password_len, "password") }?;
        let password = (!password.is_null()).then(|| secret.to_vec());
        credentials.0 = Some(Credentials { username, password });
        Ok(())
    })
}

/// Calls the table.
pub(crate) struct Callbacks {
    table: nlmqtt_client_callbacks,
    user: UserData,
    log: Option<Arc<LogSink>>,
}

// The user data is `Send` by the promise of `UserData`; functions are.
unsafe impl Send for Callbacks {}

impl Callbacks {
    pub fn new(table: nlmqtt_client_callbacks, user: UserData, log: Option<Arc<LogSink>>) -> Self {
        Self { table, user, log }
    }

    fn log(&self, level: i32, text: impl FnOnce() -> String) {
        if let Some(log) = &self.log {
            log.line(level, "client", text);
        }
    }

    fn connected(&self, connected: &Connected) {
        self.log(NLMQTT_LOG_INFO, || format!("client {}: connected", connected.client_id));
        let (from, to) = (connected.previous_server, connected.server);
        if from != to {
            self.log(NLMQTT_LOG_INFO, || format!("client {}: switched from server {from} to server {to}", connected.client_id));
        }
        let Some(call) = self.table.connected else { return };
        let client_id = terminated(connected.client_id.as_bytes());
        let properties = nlmqtt_properties::of(connected.properties.as_properties());
        let info = nlmqtt_connected {
            struct_size: size_of::<nlmqtt_connected>(),
            server: connected.server,
            session_present: connected.session_present,
            keep_alive_s: connected.keep_alive_s,
            client_id: nlmqtt_str::of_terminated(&client_id),
            properties: &raw const properties,
            previous_server: connected.previous_server,
        };
        unsafe { call(self.user.data, &raw const info) }
    }

    fn disconnected(&self, now: Instant, disconnected: &Disconnected) {
        let what = why(&LastDisconnect::of(now, disconnected));
        self.log(NLMQTT_LOG_INFO, || format!("client: {what}"));
        let Some(call) = self.table.disconnected else { return };
        let text = terminated(what.as_bytes());
        let reference = disconnected.server_reference.as_ref().map(|text| terminated(text.as_bytes()));
        let properties = nlmqtt_properties::of(disconnected.properties.as_properties());
        let retry_in = disconnected.retry_at.map(|retry_at| retry_at.since(now).as_millis());
        let info = nlmqtt_disconnected {
            struct_size: size_of::<nlmqtt_disconnected>(),
            server: disconnected.server,
            cause: disconnected.cause as i32,
            has_reason: disconnected.reason.is_some(),
            reason: disconnected.reason.map_or(0, |reason| reason.0),
            was_online: disconnected.was_online,
            retry_in_ms: retry_in.map_or(-1, |left| i64::try_from(left).unwrap_or(i64::MAX)),
            text: nlmqtt_str::of_terminated(&text),
            server_reference: reference.as_deref().map_or(nlmqtt_str::NONE, nlmqtt_str::of_terminated),
            properties: &raw const properties,
            status: disconnected.fault.as_ref().map_or(NLMQTT_OK, |fault| of_fault(fault.kind)),
        };
        unsafe { call(self.user.data, &raw const info) }
    }

    fn completed(&self, token: Token, completion: &Completion) {
        let call = match RequestKind::of(token) {
            RequestKind::Publish => self.table.published,
            RequestKind::Subscribe => self.table.subscribed,
            RequestKind::Unsubscribe => self.table.unsubscribed,
            // Its own callback is all there is.
            RequestKind::Request => None,
        };
        if let Some(call) = call {
            complete(token, completion, |info| unsafe { call(self.user.data, info) });
        }
    }
}

impl ClientHandler for Callbacks {
    fn before_connect(&mut self, server: usize) -> Option<Credentials> {
        let mut credentials = nlmqtt_credentials(None);
        if let Some(call) = self.table.before_connect {
            unsafe { call(self.user.data, server, &raw mut credentials) }
        }
        credentials.0
    }

    fn event(&mut self, now: Instant, event: Event) {
        let (table, data) = (&self.table, self.user.data);
        match event {
            Event::StateChanged(state) => {
                if let Some(call) = table.state {
                    unsafe { call(data, state_number(state)) }
                }
            }
            Event::Connected(connected) => self.connected(&connected),
            Event::Disconnected(disconnected) => self.disconnected(now, &disconnected),
            Event::Message(incoming) => {
                if let Some(call) = table.message {
                    deliver(&incoming, |message, ack| unsafe { call(data, message, ack) });
                }
            }
            Event::Dropped { message, failure } => {
                if let Some(call) = table.dropped {
                    let message = nlmqtt_message::published(&message);
                    unsafe { call(data, &raw const message, ending_status(failure)) }
                }
            }
            Event::Subscribed { token, outcome, reasons } | Event::Unsubscribed { token, outcome, reasons } => {
                self.completed(token, &Completion::Answered(outcome, reasons));
            }
            Event::Resubscribed { filter, reason } => {
                if let Some(call) = table.resubscribed {
                    let filter = terminated(filter.as_bytes());
                    unsafe { call(data, nlmqtt_str::of_terminated(&filter), reason.0) }
                }
            }
            Event::QueueLevel { high, count, bytes } => {
                if let Some(call) = table.queue_level {
                    unsafe { call(data, high, count, bytes) }
                }
            }
            Event::Auth { reason, data: bytes } => {
                if let Some(call) = table.auth {
                    unsafe { call(data, reason.0, bytes.as_deref().map_or(nlmqtt_bytes::NONE, nlmqtt_bytes::of)) }
                }
            }
            // The driver's own, and what is told elsewhere.
            Event::Dial { .. } | Event::HangUp | Event::HandlerReleased(_) | Event::Published { .. } | Event::Responded { .. } => {}
        }
    }

    fn published(&mut self, _now: Instant, token: Token, outcome: Done) {
        self.completed(token, &Completion::Published(outcome));
    }

    fn fell_back(&mut self, server: usize, protocol: DatagramProtocol) {
        self.log(NLMQTT_LOG_WARNING, || format!("client: the server does not know generation 2 of reliable UDP, goes on over {}", protocol.name()));
        if let Some(call) = self.table.fell_back {
            unsafe { call(self.user.data, server, number_of(protocol)) }
        }
    }

    fn path_moved(&mut self, moved: PathMoved) {
        let local = moved.local.map(|local| local.to_string()).unwrap_or_default();
        self.log(NLMQTT_LOG_INFO, || format!("client: goes on over another path, from {local}"));
        if let Some(call) = self.table.path_moved {
            let (local, statistics) = (terminated(local.as_bytes()), nlmqtt_datagram_statistics::from(moved.statistics));
            let info = nlmqtt_path_moved {
                struct_size: size_of::<nlmqtt_path_moved>(),
                server: moved.server,
                local: nlmqtt_str::of_terminated(&local),
                statistics: &raw const statistics,
            };
            unsafe { call(self.user.data, &raw const info) }
        }
    }

    fn refused(&mut self, token: Token, error: proto::Error) {
        self.completed(token, &Completion::Refused(error));
    }
}

pub(crate) fn state_number(state: State) -> i32 {
    match state {
        State::Stopped => NLMQTT_CLIENT_STOPPED,
        State::Waiting => NLMQTT_CLIENT_WAITING,
        State::Dialing => NLMQTT_CLIENT_DIALING,
        State::Connecting => NLMQTT_CLIENT_CONNECTING,
        State::Online => NLMQTT_CLIENT_ONLINE,
        State::Stopping => NLMQTT_CLIENT_STOPPING,
    }
}

/// What happened, for people.
pub(crate) fn why(disconnected: &LastDisconnect) -> String {
    let what = match disconnected.cause {
        Cause::Network if disconnected.was_online => "connection lost",
        Cause::Network => "connection refused or network unreachable",
        Cause::Closed => "closed by the server",
        Cause::Names => "name of the server not found",
        Cause::Tls => "TLS failed",
        Cause::Timeout => "no answer to the connection in time",
        Cause::KeepAlive => "keep-alive timeout",
        Cause::Credentials => "credentials refused",
        Cause::Identity => "client identifier refused",
        Cause::Version => "protocol version refused",
        Cause::Authentication => "authentication failed",
        Cause::Busy => "server busy",
        Cause::Moved => "server moved",
        Cause::ShuttingDown => "server shutting down",
        Cause::TakenOver => "session taken over by another connection",
        Cause::Protocol => "protocol error",
        Cause::Other => "refused by the server",
        Cause::Stopped => "stopped",
    };
    match (disconnected.error, disconnected.reason) {
        _ if disconnected.fault.is_some() => disconnected.fault.as_ref().map_or(String::new(), |fault| format!("{what}: {fault}")),
        (Some(error), _) => format!("{what}: {error}"),
        (None, Some(reason)) if reason.is_error() => format!("{what}: {}", reason.text()),
        _ => what.to_owned(),
    }
}

fn deliver(incoming: &Incoming, call: impl FnOnce(*const nlmqtt_message, nlmqtt_ack)) {
    let Incoming { message, qos, retain, dup, subscription_ids, ack, .. } = incoming;
    let message = nlmqtt_message::delivered(message, *qos, *retain, *dup, subscription_ids);
    call(&raw const message, nlmqtt_ack::of(*ack));
}

/// A callback of one subscription; `None` if there is no function.
pub(crate) fn message_callback(call: nlmqtt_client_message_fn, user: UserData) -> Option<MessageCallback> {
    let call = call?;
    Some(Box::new(move |incoming| {
        let user = &user;
        deliver(incoming, |message, ack| unsafe { call(user.data, message, ack) });
    }))
}

/// A callback of one request; `None` if there is no function.
pub(crate) fn completion_callback(call: nlmqtt_completion_fn, user: UserData) -> Option<CompletionCallback> {
    let call = call?;
    Some(Box::new(move |token, completion| {
        let user = user;
        complete(token, completion, |info| unsafe { call(user.data, info) });
    }))
}

pub(crate) fn complete(token: Token, completion: &Completion, call: impl FnOnce(*const nlmqtt_completion)) {
    let (reason, reasons): (_, Option<Vec<u8>>) = match completion {
        Completion::Published(outcome) | Completion::Unanswered(outcome) => (reason_of(*outcome), None),
        Completion::Answered(outcome, reasons) => (reason_of(*outcome), Some(reasons.iter().map(|reason| reason.0).collect())),
        Completion::Responded(_) | Completion::Refused(_) => (None, None),
    };
    let info = nlmqtt_completion {
        struct_size: size_of::<nlmqtt_completion>(),
        token: token.0,
        status: completion_status(completion),
        has_reason: reason.is_some(),
        reason: reason.unwrap_or(0),
        reasons: reasons.as_ref().map_or(core::ptr::null(), Vec::as_ptr),
        reasons_len: reasons.as_ref().map_or(0, Vec::len),
    };
    call(&raw const info);
}

fn reason_of(outcome: Done) -> Option<u8> {
    if let Done::Acknowledged(reason) = outcome { Some(reason.0) } else { None }
}

/// A completion as a status.
pub(crate) fn completion_status(completion: &Completion) -> nlmqtt_status {
    let outcome = match completion {
        Completion::Refused(error) => return of_client(error),
        Completion::Responded(_) => return NLMQTT_OK,
        Completion::Unanswered(Done::Sent | Done::Acknowledged(_)) => return NLMQTT_REFUSED,
        Completion::Unanswered(outcome) => outcome,
        Completion::Published(outcome) | Completion::Answered(outcome, _) => outcome,
    };
    match outcome {
        Done::Sent => NLMQTT_OK,
        Done::Acknowledged(reason) if reason.is_error() => NLMQTT_REFUSED,
        Done::Acknowledged(_) => NLMQTT_OK,
        Done::Failed(ending) => ending_status(*ending),
    }
}

fn ending_status(ending: Ending) -> nlmqtt_status {
    match ending {
        Ending::Cancelled | Ending::Stopped | Ending::GaveUp => NLMQTT_CANCELLED,
        Ending::Overflow => NLMQTT_QUEUE_FULL,
        Ending::Expired | Ending::Unanswered => NLMQTT_TIMEOUT,
        Ending::Replaced => NLMQTT_REPLACED,
        Ending::Unwanted => NLMQTT_NOT_FOUND,
        Ending::TooLarge => NLMQTT_TOO_LARGE,
        Ending::QosNotSupported | Ending::RetainNotSupported => NLMQTT_UNSUPPORTED,
    }
}

/// How a request that was waited for ended.
pub(crate) fn completion_outcome(completion: Option<&Completion>) -> Outcome {
    match completion {
        None => Ok(()),
        Some(failed) => Err(Failure::new(completion_status(failed), describe(failed))),
    }
}

fn describe(completion: &Completion) -> String {
    match completion {
        Completion::Refused(error) => error.to_string(),
        Completion::Responded(_) => "answered".to_owned(),
        Completion::Published(outcome) | Completion::Unanswered(outcome) | Completion::Answered(outcome, _) => match outcome {
            Done::Sent => "sent".to_owned(),
            Done::Acknowledged(reason) => reason.text().to_owned(),
            Done::Failed(ending) => format!("{ending:?}"),
        },
    }
}
