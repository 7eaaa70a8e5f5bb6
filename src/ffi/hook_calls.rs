//! What stands between a server and the hook table of its application.
//!
//! The broker asks in its own types; here they become views with a NUL behind every string, copied into one buffer that
//! is used again and again. A hook that is NULL is not even prepared for: see `interest`.

use std::ffi::{CString, c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::runtime::RuntimeParts;
use super::{
    NLMQTT_ACCESS_PUBLISH, NLMQTT_ACCESS_SUBSCRIBE, NLMQTT_DROPPED_MEMORY_SHORT, NLMQTT_DROPPED_OUTPUT_FULL, NLMQTT_DROPPED_QUEUE_FULL,
    NLMQTT_DROPPED_SESSION_ENDED, NLMQTT_DROPPED_TOO_LARGE, NLMQTT_LOG_INFO, UserData, nlmqtt_bytes, nlmqtt_client_info, nlmqtt_connect_info, nlmqtt_decision,
    nlmqtt_hook_token, nlmqtt_message, nlmqtt_properties, nlmqtt_publish_info, nlmqtt_server_hooks, nlmqtt_str, nlmqtt_subscription_info,
};
use crate::base::PeerProcess;
use crate::broker::{Access, Answer, ClientInfo, Decision, DropReason, HookToken, Hooks, Interest, PublishInfo, SessionEvent};
use crate::codec::{Connect, Message, Qos, Reason, SubscribeOptions};

/// The table of one server, shared by all that may call it; the last one releases `user_data`.
pub(crate) struct HookTable {
    pub calls: nlmqtt_server_hooks,
    pub user: UserData,
    /// The server was freed: no hook is called any more.
    pub closed: AtomicBool,
}

// As said in the documentation of the table: its functions are called on the server's threads, at the same time if there are many.
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

    fn ask_about_connect(&mut self, call: ConnectHook, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let Some(call) = call else { return Answer::ALLOW };
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

    /// Tells something about a client, unless the server was freed.
    fn tell<F: Copy>(
        &mut self,
        hook: Option<F>,
        client: ClientInfo<'_>,
        more: Option<&str>,
        call: impl FnOnce(F, *mut c_void, *const nlmqtt_client_info, nlmqtt_str),
    ) {
        if let (Some(hook), false) = (hook, self.table.is_closed()) {
            let (client, more) = self.strings.client(client, more);
            call(hook, self.table.user.data, &raw const client, more);
        }
    }

    /// Tells something about no client.
    fn tell_all<F: Copy>(&self, hook: Option<F>, call: impl FnOnce(F, *mut c_void)) {
        if let (Some(hook), false) = (hook, self.table.is_closed()) {
            call(hook, self.table.user.data);
        }
    }

    fn log_line(&self, level: i32, text: impl FnOnce() -> String) {
        if let Some(log) = self.parts.as_ref().filter(|_| !self.table.is_closed()) {
            log.line(level, "server", text);
        }
    }
}

/// A hook that is asked about a CONNECT.
type ConnectHook =
    Option<unsafe extern "C" fn(*mut c_void, *const nlmqtt_client_info, *const nlmqtt_connect_info, nlmqtt_hook_token, *mut nlmqtt_decision) -> i32>;

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
        let tls_version = client.about.and_then(|about| about.tls_version);
        let proxied = client.about.map(|about| about.said_by_proxy()).unwrap_or_default();
        let request = client.about.and_then(|about| about.request.as_deref());
        let all = [
            Some(client.client_id),
            client.mount_point,
            client.username,
            Some(client.peer),
            tls_version,
            proxied.authority,
            proxied.tls_version,
            proxied.tls_cipher,
            proxied.common_name,
            request.map(|request| &*request.path),
            request.and_then(|request| request.origin.as_deref()),
            more,
        ];
        let texts = self.put(all);
        let [client_id, mount_point, username, peer, tls_version, proxy_authority, proxy_tls_version, proxy_tls_cipher, ..] = texts;
        let [.., proxy_common_name, websocket_path, websocket_origin, more] = texts;
        let [proxy_unique_id, proxy_alpn] = [proxied.unique_id, proxied.alpn].map(|bytes| bytes.map_or(nlmqtt_bytes::NONE, nlmqtt_bytes::of));
        let certificate = client.about.and_then(|about| about.certificate.as_deref());
        let certificate = certificate.map_or(nlmqtt_bytes::NONE, nlmqtt_bytes::of);
        let (struct_size, protocol_level) = (size_of::<nlmqtt_client_info>(), client.protocol_level);
        let process = client.process.unwrap_or(PeerProcess { pid: 0, uid: 0, gid: 0 });
        let info = nlmqtt_client_info {
            struct_size,
            client_id,
            username,
            peer,
            protocol_level,
            tls_version,
            certificate,
            proxy_authority,
            proxy_tls_version,
            proxy_common_name,
            proxy_unique_id,
            proxy_alpn,
            has_process: client.process.is_some(),
            pid: process.pid,
            uid: process.uid,
            gid: process.gid,
            mount_point,
            tls_resumed: client.about.is_some_and(|about| about.is_tls_resumed),
            proxy_tls_cipher,
            websocket_path,
            websocket_origin,
        };
        (info, more)
    }
}

fn subscription_info(filter: nlmqtt_str, options: SubscribeOptions) -> nlmqtt_subscription_info {
    nlmqtt_subscription_info {
        filter,
        qos: options.qos as u8,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling as u8,
    }
}

/// The name of a key with its NUL; made once.
fn key_name(name: &str) -> *const c_char {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    let names = || crate::config::server_keys().iter().map(|key| key.name).chain(crate::config::listener_keys().iter().map(|key| key.name));
    let all = || names().map(|name| CString::new(name).unwrap_or_default()).collect();
    let found = NAMES.get_or_init(all).iter().find(|known| known.as_bytes() == name.as_bytes());
    found.map_or(c"".as_ptr(), |known| known.as_ptr())
}

/// What a hook is answered for when its server is being freed.
const CLOSED: Answer = Answer::Now(Decision::Deny(Reason::SERVER_UNAVAILABLE));

impl Hooks for TableHooks {
    fn interest(&self) -> Interest {
        let calls = &self.table.calls;
        let sessions = [calls.session_created, calls.session_resumed, calls.session_expired, calls.session_taken_over];
        Interest {
            accept: calls.accept.is_some(),
            connect: calls.connect.is_some(),
            authenticate: calls.authenticate.is_some(),
            session: sessions.iter().any(Option::is_some),
            authorize: calls.authorize.is_some(),
            subscribe: calls.subscribe.is_some(),
            subscribed: calls.subscribed.is_some(),
            unsubscribe: calls.unsubscribe.is_some(),
            unsubscribed: calls.unsubscribed.is_some(),
            publish: calls.publish.is_some(),
            publish_out: calls.publish_out.is_some(),
            delivered: calls.delivered.is_some(),
            dropped: calls.dropped.is_some(),
            expired: calls.expired.is_some(),
            retained: calls.retained_set.is_some() || calls.retained_cleared.is_some(),
            will: calls.will.is_some(),
            quota: calls.quota.is_some(),
            slow_client: calls.slow_client.is_some(),
            tick: calls.tick.is_some(),
            path_moved: calls.path_moved.is_some(),
        }
    }

    fn accept(&mut self, peer: &str, listener: &str, token: HookToken) -> Answer {
        let Some(call) = self.table.calls.accept else { return Answer::ALLOW };
        if self.table.is_closed() {
            return CLOSED;
        }
        let [peer, listener] = self.strings.put([Some(peer), Some(listener)]);
        let mut decision = nlmqtt_decision::default();
        let code = unsafe { call(self.table.user.data, peer, listener, nlmqtt_hook_token::of(token), &raw mut decision) };
        decision.answer(code)
    }

    fn connect(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let call = self.table.calls.connect;
        self.ask_about_connect(call, client, connect, token)
    }

    fn authenticate(&mut self, client: ClientInfo<'_>, connect: &Connect<'_>, token: HookToken) -> Answer {
        let call = self.table.calls.authenticate;
        self.ask_about_connect(call, client, connect, token)
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
        let filters: Vec<_> = texts.iter().zip(filters).map(|(text, (_, options))| subscription_info(nlmqtt_str::of_terminated(text), *options)).collect();
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
        let hook = self.table.calls.connected;
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, session_present) });
    }

    fn disconnected(&mut self, client: ClientInfo<'_>, reason: Reason) {
        self.log_line(NLMQTT_LOG_INFO, || {
            let text = if reason == Reason::SUCCESS { "Normal disconnection" } else { reason.text() };
            format!("{}: '{}' disconnected: {text} (0x{:02X})", client.peer, client.client_id, reason.0)
        });
        let hook = self.table.calls.disconnected;
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, reason.0) });
    }

    fn session(&mut self, client: ClientInfo<'_>, event: SessionEvent) {
        let calls = &self.table.calls;
        let hook = match event {
            SessionEvent::Created => calls.session_created,
            SessionEvent::Resumed => calls.session_resumed,
            SessionEvent::Expired => calls.session_expired,
            SessionEvent::TakenOver => calls.session_taken_over,
        };
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client) });
    }

    fn path_moved(&mut self, client: ClientInfo<'_>, previous_peer: &str) {
        let hook = self.table.calls.path_moved;
        self.tell(hook, client, Some(previous_peer), |call, user, client, previous_peer| unsafe { call(user, client, previous_peer) });
    }

    fn subscribed(&mut self, client: ClientInfo<'_>, filter: &str, options: SubscribeOptions) {
        let hook = self.table.calls.subscribed;
        self.tell(hook, client, Some(filter), |call, user, client, filter| {
            let subscription = subscription_info(filter, options);
            unsafe { call(user, client, &raw const subscription) }
        });
    }

    fn unsubscribed(&mut self, client: ClientInfo<'_>, filter: &str) {
        let hook = self.table.calls.unsubscribed;
        self.tell(hook, client, Some(filter), |call, user, client, filter| unsafe { call(user, client, filter) });
    }

    fn publish_out(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {
        let (hook, message) = (self.table.calls.publish_out, nlmqtt_message::published(message));
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, &raw const message, qos as u8) });
    }

    fn delivered(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, qos: Qos) {
        let (hook, message) = (self.table.calls.delivered, nlmqtt_message::published(message));
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, &raw const message, qos as u8) });
    }

    fn dropped(&mut self, client: ClientInfo<'_>, message: &Arc<Message>, reason: DropReason) {
        let reason = match reason {
            DropReason::QueueFull => NLMQTT_DROPPED_QUEUE_FULL,
            DropReason::OutputFull => NLMQTT_DROPPED_OUTPUT_FULL,
            DropReason::TooLarge => NLMQTT_DROPPED_TOO_LARGE,
            DropReason::SessionEnded => NLMQTT_DROPPED_SESSION_ENDED,
            DropReason::MemoryShort => NLMQTT_DROPPED_MEMORY_SHORT,
        };
        let (hook, message) = (self.table.calls.dropped, nlmqtt_message::published(message));
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, &raw const message, reason) });
    }

    fn expired(&mut self, client: Option<ClientInfo<'_>>, message: &Arc<Message>) {
        let (hook, message) = (self.table.calls.expired, nlmqtt_message::published(message));
        match client {
            Some(client) => self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, &raw const message) }),
            None => self.tell_all(hook, |call, user| unsafe { call(user, core::ptr::null(), &raw const message) }),
        }
    }

    fn retained_set(&mut self, message: &Arc<Message>) {
        let message = nlmqtt_message::published(message);
        self.tell_all(self.table.calls.retained_set, |call, user| unsafe { call(user, &raw const message) });
    }

    fn retained_cleared(&mut self, topic: &str) {
        let [topic] = self.strings.put([Some(topic)]);
        self.tell_all(self.table.calls.retained_cleared, |call, user| unsafe { call(user, topic) });
    }

    fn will(&mut self, client: ClientInfo<'_>, message: &Arc<Message>) {
        let (hook, message) = (self.table.calls.will, nlmqtt_message::published(message));
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, &raw const message) });
    }

    fn quota(&mut self, client: Option<ClientInfo<'_>>, limit: &'static str) {
        let (hook, limit) = (self.table.calls.quota, key_name(limit));
        match client {
            Some(client) => self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, limit) }),
            None => self.tell_all(hook, |call, user| unsafe { call(user, core::ptr::null(), limit) }),
        }
    }

    fn slow_client(&mut self, client: ClientInfo<'_>, waiting_bytes: usize) {
        let hook = self.table.calls.slow_client;
        self.tell(hook, client, None, |call, user, client, _| unsafe { call(user, client, waiting_bytes) });
    }

    fn tick(&mut self) {
        self.tell_all(self.table.calls.tick, |call, user| unsafe { call(user) });
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
        unsafe extern "C" fn publish(
            _: *mut c_void,
            _: *const nlmqtt_client_info,
            _: *const nlmqtt_publish_info,
            _: nlmqtt_hook_token,
            _: *mut nlmqtt_decision,
        ) -> i32 {
            0
        }
        let calls = nlmqtt_server_hooks { publish: Some(publish), ..nlmqtt_server_hooks::NONE };
        let runtime = crate::net::Runtime::new(&Default::default()).expect("a runtime");
        let hooks = TableHooks::new(HookTable::new(calls), &RuntimeParts { runtime, log: None });
        assert_eq!(hooks.interest(), Interest { publish: true, ..Interest::default() });
    }
}
