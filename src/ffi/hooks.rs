//! Server hooks: the table an application fills in, and what stands between it and the broker.
//!
//! The broker asks in its own types; here they become views with a NUL behind every string, copied into one buffer that
//! is used again and again. A hook that is NULL is not even prepared for: see `interest`.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::runtime::RuntimeParts;
use super::{
    NLMQTT_LOG_INFO, UserData, nlmqtt_bytes, nlmqtt_decision, nlmqtt_free_fn, nlmqtt_hook_token, nlmqtt_message, nlmqtt_properties, nlmqtt_str,
};
use crate::broker::{Access, Answer, ClientInfo, Decision, HookToken, Hooks, Interest, PublishInfo};
use crate::codec::{Connect, Message, Qos, Reason, SubscribeOptions};

/// The authorize hook is asked about a topic name to publish to.
pub const NLMQTT_ACCESS_PUBLISH: i32 = 1;
/// The authorize hook is asked about a topic filter to subscribe to, without its `$share/GROUP/`.
pub const NLMQTT_ACCESS_SUBSCRIBE: i32 = 2;

/// Who a hook is asked about. Everything is borrowed until the hook returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_client_info {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// The client identifier, empty if the server is still to choose one.
    pub client_id: nlmqtt_str,
    /// The user name of CONNECT; `data` is NULL without one.
    pub username: nlmqtt_str,
    /// Where it connects from, such as "127.0.0.1:50123".
    pub peer: nlmqtt_str,
    /// 3 (MQTT 3.1), 4 (3.1.1) or 5.
    pub protocol_level: u8,
}

/// A CONNECT (MQTT 5 section 3.1). Everything is borrowed until the hook returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_connect_info {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// The password; `data` is NULL without one. It may contain any bytes.
    pub password: nlmqtt_bytes,
    /// Properties of CONNECT; an empty list in 3.x.
    pub properties: *const nlmqtt_properties,
    /// Topic of the will; `data` is NULL without a will.
    pub will_topic: nlmqtt_str,
    /// Payload of the will.
    pub will_payload: nlmqtt_bytes,
    /// Properties of the will; NULL without a will.
    pub will_properties: *const nlmqtt_properties,
    /// QoS of the will.
    pub will_qos: u8,
    /// RETAIN flag of the will.
    pub will_retain: bool,
    /// Clean Start (clean session in 3.x).
    pub clean_start: bool,
    /// Keep-alive in seconds; 0 = none.
    pub keep_alive_s: u16,
}

/// A PUBLISH before it becomes a message (MQTT 5 section 3.3). Everything is borrowed until the hook returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_publish_info {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// The topic name; an alias is resolved already.
    pub topic: nlmqtt_str,
    /// The payload.
    pub payload: nlmqtt_bytes,
    /// Its properties; an empty list in 3.x.
    pub properties: *const nlmqtt_properties,
    /// QoS.
    pub qos: u8,
    /// RETAIN flag.
    pub retain: bool,
    /// DUP flag.
    pub dup: bool,
}

/// One filter of a SUBSCRIBE (MQTT 5 section 3.8.3). Borrowed until the hook returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_subscription_info {
    /// The filter as it came, `$share/GROUP/` included.
    pub filter: nlmqtt_str,
    /// The QoS it would get.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling, 0 to 2.
    pub retain_handling: u8,
}

/// What an application watches and decides in a server. Call nlmqtt_server_hooks_init, then set what you need; NULL means
/// "allow" or "not interested" and costs nothing.
///
/// Thread word of all of them: they are called on the thread that does the server's work, in DISPATCH mode on the one that calls
/// nlmqtt_runtime_dispatch, one at a time, in the order of each client's packets. What they call on the server is done after they return; functions that wait answer WOULD_DEADLOCK. A hook that
/// blocks stalls this server; in DISPATCH mode it stalls only the clients that wait for an answer, and the option `hook_timeout_ms` counts
/// from the question on.
///
/// The deciding ones return NLMQTT_ALLOW, NLMQTT_DENY or what else is said there, with details in `decision`; or
/// NLMQTT_PENDING, and later nlmqtt_server_complete with `token` from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_server_hooks {
    /// Set by nlmqtt_server_hooks_init.
    pub struct_size: usize,
    /// Handed to every hook. Moved to the server by nlmqtt_server_new.
    pub user_data: *mut c_void,
    /// Releases `user_data` after the last hook has returned; may be NULL.
    pub free_fn: nlmqtt_free_fn,
    /// Decides about a CONNECT: ALLOW, DENY, CHALLENGE (a client that named an authentication method), PENDING. With this hook the option
    /// `allow_anonymous` is the hook's affair.
    pub authenticate: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, connect: *const nlmqtt_connect_info, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// Decides about an AUTH, while a client connects or authenticates again (MQTT 5 section 4.12): ALLOW, DENY, CHALLENGE, PENDING.
    /// Needs `authenticate`. `method` and `data` are borrowed until it returns.
    pub auth_exchange: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, method: nlmqtt_str, data: nlmqtt_bytes, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// A client is connected: CONNACK with success is on its way.
    pub connected: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, session_present: bool)>,
    /// The connection of a connected client has ended; `reason` is that of a DISCONNECT (MQTT 5 section 3.14.2.1), 0x80 for a connection
    /// that was lost.
    pub disconnected: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, reason: u8)>,
    /// May this client publish to this topic, or subscribe to this filter (`access`: NLMQTT_ACCESS_*)? ALLOW, DENY, PENDING. Asked before
    /// `publish` and `subscribe`; `topic` is borrowed until it returns.
    pub authorize: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, access: i32, topic: nlmqtt_str, qos: u8, retain: bool, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// Decides about a SUBSCRIBE: ALLOW (nlmqtt_decision_set_filter and _refuse_filter change single filters), DENY (all), PENDING. Only filters
    /// that were authorized are listed.
    pub subscribe: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, filters: *const nlmqtt_subscription_info, filter_count: usize, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// Decides about an UNSUBSCRIBE: ALLOW, DENY, PENDING.
    pub unsubscribe: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, filters: *const nlmqtt_str, filter_count: usize, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// Decides about a PUBLISH: ALLOW, DENY, DROP, REWRITE, PENDING.
    pub publish: Option<
        unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, publish: *const nlmqtt_publish_info, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// A message reached a client: written (QoS 0) or acknowledged (1 and 2); `qos` is that of the delivery. `message` is lent; keep it with nlmqtt_message_ref.
    pub delivered: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message, qos: u8)>,
    /// A stop that returned NLMQTT_IN_PROGRESS is over: no client is left.
    pub stopped: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
}

impl nlmqtt_server_hooks {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        user_data: core::ptr::null_mut(),
        free_fn: None,
        authenticate: None,
        auth_exchange: None,
        connected: None,
        disconnected: None,
        authorize: None,
        subscribe: None,
        unsubscribe: None,
        publish: None,
        delivered: None,
        stopped: None,
    };
}

/// Fills a hook table with its size and NULLs. Call it before you set anything. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_hooks_init(hooks: *mut nlmqtt_server_hooks) {
    if !hooks.is_null() {
        unsafe { hooks.write(nlmqtt_server_hooks::NONE) }
    }
}

/// The table of one server, shared by all that may call it; the last one releases `user_data`.
pub(crate) struct HookTable {
    pub calls: nlmqtt_server_hooks,
    pub user: UserData,
    /// The server was freed: no hook is called any more.
    pub closed: AtomicBool,
}

// As said in the documentation of the table: its functions are called on the server's thread.
unsafe impl Send for HookTable {}
unsafe impl Sync for HookTable {}

impl HookTable {
    pub fn new(calls: nlmqtt_server_hooks) -> Arc<Self> {
        let user = UserData::new(calls.user_data, calls.free_fn);
        Arc::new(Self { calls, user, closed: AtomicBool::new(false) })
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Tells that a stop is over.
    pub fn stopped(&self) {
        if let (Some(stopped), false) = (self.calls.stopped, self.is_closed()) {
            unsafe { stopped(self.user.data) }
        }
    }
}

/// A hook table as the broker sees it.
pub(crate) struct TableHooks {
    table: Arc<HookTable>,
    parts: Option<Arc<super::LogSink>>,
    strings: Strings,
}

impl TableHooks {
    pub fn new(table: Arc<HookTable>, parts: &RuntimeParts) -> Self {
        Self { table, parts: parts.log.clone(), strings: Strings::default() }
    }

    fn log_line(&self, level: i32, text: impl FnOnce() -> String) {
        if let Some(log) = self.parts.as_ref().filter(|_| !self.table.is_closed()) {
            log.line(level, "server", text);
        }
    }
}

/// Strings for one call, each with the NUL C wants.
#[derive(Default)]
struct Strings(Vec<u8>);

impl Strings {
    fn put<const COUNT: usize>(&mut self, texts: [Option<&str>; COUNT]) -> [nlmqtt_str; COUNT] {
        let mut ends = [0; COUNT];
        self.0.clear();
        for (text, end) in texts.iter().zip(&mut ends) {
            self.0.extend_from_slice(text.unwrap_or_default().as_bytes());
            self.0.push(0);
            *end = self.0.len();
        }
        // The buffer has its final place now.
        let mut start = 0;
        let mut views = [nlmqtt_str::NONE; COUNT];
        for ((text, end), view) in texts.iter().zip(ends).zip(&mut views) {
            if text.is_some() {
                *view = nlmqtt_str::of_terminated(&self.0[start..end]);
            }
            start = end;
        }
        views
    }

    /// The client, and one string more.
    fn client(&mut self, client: ClientInfo<'_>, more: Option<&str>) -> (nlmqtt_client_info, nlmqtt_str) {
        let [client_id, username, peer, more] = self.put([Some(client.client_id), client.username, Some(client.peer), more]);
        let protocol_level = client.protocol_level;
        (nlmqtt_client_info { struct_size: size_of::<nlmqtt_client_info>(), client_id, username, peer, protocol_level }, more)
    }
}

/// What a hook is answered for when its server is being freed.
const CLOSED: Answer = Answer::Now(Decision::Deny(Reason::SERVER_UNAVAILABLE));

impl Hooks for TableHooks {
    fn interest(&self) -> Interest {
        let calls = &self.table.calls;
        Interest {
            authenticate: calls.authenticate.is_some(),
            authorize: calls.authorize.is_some(),
            publish: calls.publish.is_some(),
            subscribe: calls.subscribe.is_some(),
            unsubscribe: calls.unsubscribe.is_some(),
            delivered: calls.delivered.is_some(),
        }
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let Some(call) = self.table.calls.authenticate else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let properties = nlmqtt_properties::of(connect.properties);
        let will_properties = connect.will.map(|will| nlmqtt_properties::of(will.properties));
        let (client, will_topic) = self.strings.client(client, connect.will.map(|will| will.topic));
        let connect = nlmqtt_connect_info {
            struct_size: size_of::<nlmqtt_connect_info>(),
            password: connect.password.map_or(nlmqtt_bytes::NONE, nlmqtt_bytes::of),
            properties: &raw const properties,
            will_topic,
            will_payload: connect.will.map_or(nlmqtt_bytes::NONE, |will| nlmqtt_bytes::of(will.payload)),
            will_properties: will_properties.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
            will_qos: connect.will.map_or(0, |will| will.qos as u8),
            will_retain: connect.will.is_some_and(|will| will.retain),
            clean_start: connect.clean_start,
            keep_alive_s: connect.keep_alive_s,
        };
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, &raw const connect, nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn auth_exchange(&mut self, client: ClientInfo<'_>, method: &str, data: &[u8], token: HookToken) -> Answer {
        let Some(call) = self.table.calls.auth_exchange else {
            return Answer::Now(Decision::Deny(Reason::BAD_AUTHENTICATION_METHOD));
        };
        if self.table.is_closed() {
            return CLOSED;
        }
        let (client, method) = self.strings.client(client, Some(method));
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, method, nlmqtt_bytes::of(data), nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn authorize(&mut self, client: ClientInfo<'_>, access: Access, topic: &str, qos: Qos, retain: bool, token: HookToken) -> Answer {
        let Some(call) = self.table.calls.authorize else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let access = match access {
            Access::Publish => NLMQTT_ACCESS_PUBLISH,
            Access::Subscribe => NLMQTT_ACCESS_SUBSCRIBE,
        };
        let (client, topic) = self.strings.client(client, Some(topic));
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, access, topic, qos as u8, retain, nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn subscribe(&mut self, client: ClientInfo<'_>, filters: &[(String, SubscribeOptions)], token: HookToken) -> Answer {
        let Some(call) = self.table.calls.subscribe else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let texts: Vec<_> = filters.iter().map(|(filter, _)| super::properties::terminated(filter.as_bytes())).collect();
        let filters: Vec<_> = texts.iter().zip(filters).map(|(text, (_, options))| nlmqtt_subscription_info {
            filter: nlmqtt_str::of_terminated(text),
            qos: options.qos as u8,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            retain_handling: options.retain_handling as u8,
        }).collect();
        let (client, _) = self.strings.client(client, None);
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, filters.as_ptr(), filters.len(), nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn unsubscribe(&mut self, client: ClientInfo<'_>, filters: &[&str], token: HookToken) -> Answer {
        let Some(call) = self.table.calls.unsubscribe else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let texts: Vec<_> = filters.iter().map(|filter| super::properties::terminated(filter.as_bytes())).collect();
        let filters: Vec<_> = texts.iter().map(|text| nlmqtt_str::of_terminated(text)).collect();
        let (client, _) = self.strings.client(client, None);
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, filters.as_ptr(), filters.len(), nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, token: HookToken) -> Answer {
        let Some(call) = self.table.calls.publish else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let properties = nlmqtt_properties::of(publish.properties);
        let (client, topic) = self.strings.client(client, Some(publish.topic));
        let publish = nlmqtt_publish_info {
            struct_size: size_of::<nlmqtt_publish_info>(),
            topic,
            payload: nlmqtt_bytes::of(publish.payload),
            properties: &raw const properties,
            qos: publish.qos as u8,
            retain: publish.retain,
            dup: publish.dup,
        };
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, &raw const client, &raw const publish, nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn connected(&mut self, client: ClientInfo<'_>, session_present: bool) {
        self.log_line(NLMQTT_LOG_INFO, || {
            let session = if session_present { "old" } else { "new" };
            format!("{}: connected as '{}', MQTT level {}, {session} session", client.peer, client.client_id, client.protocol_level)
        });
        if let (Some(call), false) = (self.table.calls.connected, self.table.is_closed()) {
            let (client, _) = self.strings.client(client, None);
            unsafe { call(self.table.user.data, &raw const client, session_present) }
        }
    }

    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {
        self.log_line(NLMQTT_LOG_INFO, || {
            let text = if reason == Reason::SUCCESS { "Normal disconnection" } else { reason.text() };
            format!("{}: '{}' disconnected: {text} (0x{:02X})", client.peer, client.client_id, reason.0)
        });
        if let (Some(call), false) = (self.table.calls.disconnected, self.table.is_closed()) {
            let (client, _) = self.strings.client(client, None);
            unsafe { call(self.table.user.data, &raw const client, reason.0) }
        }
    }

    fn delivered(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {
        if let (Some(call), false) = (self.table.calls.delivered, self.table.is_closed()) {
            let (client, _) = self.strings.client(client, None);
            let message = nlmqtt_message::published(message);
            unsafe { call(self.table.user.data, &raw const client, &raw const message, qos as u8) }
        }
    }

    fn log(&mut self, level: u8, text: &dyn Fn() -> String) {
        self.log_line(level.into(), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn strings_end_with_a_nul_and_absent_ones_are_null() {
        let mut strings = Strings::default();
        for _ in 0..2 {
            let [first, none, empty, last] = strings.put([Some("first"), None, Some(""), Some("längst")]);
            assert_eq!(unsafe { CStr::from_ptr(first.data) }, c"first");
            assert!(none.data.is_null() && !empty.data.is_null() && empty.len == 0);
            assert_eq!((unsafe { CStr::from_ptr(last.data) }, last.len), (c"längst", 7));
        }
    }

    #[test]
    fn interest_is_in_the_hooks_that_are_there() {
        unsafe extern "C" fn publish(_: *mut c_void, _: *const nlmqtt_client_info, _: *const nlmqtt_publish_info, _: nlmqtt_hook_token, _: *mut nlmqtt_decision) -> i32 {
            0
        }
        let calls = nlmqtt_server_hooks { publish: Some(publish), ..nlmqtt_server_hooks::NONE };
        let runtime = crate::net::Runtime::new(&Default::default()).expect("a runtime");
        let hooks = TableHooks::new(HookTable::new(calls), &RuntimeParts { runtime, log: None });
        assert_eq!(hooks.interest(), Interest { publish: true, ..Interest::default() });
    }
}
