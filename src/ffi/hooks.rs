//! Server hooks: the table an application fills in. `hook_calls` has what stands between it and the broker.

use std::ffi::{c_char, c_void};

use super::{nlmqtt_bytes, nlmqtt_decision, nlmqtt_free_fn, nlmqtt_hook_token, nlmqtt_message, nlmqtt_properties, nlmqtt_str};

/// The authorize hook is asked about a topic name to publish to.
pub const NLMQTT_ACCESS_PUBLISH: i32 = 1;
/// The authorize hook is asked about a topic filter to subscribe to, without its `$share/GROUP/`.
pub const NLMQTT_ACCESS_SUBSCRIBE: i32 = 2;

/// The queue of the session was full.
pub const NLMQTT_DROPPED_QUEUE_FULL: i32 = 1;
/// QoS 0, and the client reads too slowly.
pub const NLMQTT_DROPPED_OUTPUT_FULL: i32 = 2;
/// Larger than the client's Maximum Packet Size (MQTT 5 section 3.1.2.11.4).
pub const NLMQTT_DROPPED_TOO_LARGE: i32 = 3;
/// The session ended while the message waited.
pub const NLMQTT_DROPPED_SESSION_ENDED: i32 = 4;
/// The memory of the server was short.
pub const NLMQTT_DROPPED_MEMORY_SHORT: i32 = 5;

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
    /// Where it connects from, such as "127.0.0.1:50123"; "local" for a Unix socket, and inside the
    /// process. Behind a trusted proxy the address that it names: port 0 from X-Forwarded-For, "unix:PATH" for a client of a Unix socket.
    pub peer: nlmqtt_str,
    /// 3 (MQTT 3.1), 4 (3.1.1) or 5.
    pub protocol_level: u8,
    /// The version of TLS of its connection, "1.2" or "1.3"; `data` is NULL without TLS.
    pub tls_version: nlmqtt_str,
    /// The certificate the client has shown and that was verified, in DER; `data` is NULL without one.
    pub certificate: nlmqtt_bytes,
    /// What a trusted proxy says in its header (PROXY protocol, version 2) of the client's connection to it: the name
    /// the client asked for (TLV AUTHORITY); `data` is NULL if it does not say.
    pub proxy_authority: nlmqtt_str,
    /// The same: the version of TLS there, such as "TLSv1.3".
    pub proxy_tls_version: nlmqtt_str,
    /// The same: the common name in the certificate the client has shown there and the proxy has verified.
    pub proxy_common_name: nlmqtt_str,
    /// The same: the proxy's name for the connection (TLV UNIQUE_ID).
    pub proxy_unique_id: nlmqtt_bytes,
    /// The same: the protocol agreed on by ALPN.
    pub proxy_alpn: nlmqtt_bytes,
    /// It is connected over a Unix socket, and the kernel has said by which process: the next three.
    pub has_process: bool,
    /// Process; 0: of another name space.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The mount point of its listener; `data` is NULL without one. The same client identifier at another one is another client; calls
    /// about one client name it by mount point, '#' and client identifier, such as "site/7/#pump".
    pub mount_point: nlmqtt_str,
    /// TLS of its connection went on with an earlier session: no certificate was shown again, `certificate` is that of then.
    pub tls_resumed: bool,
    /// As `proxy_authority`: the cipher of TLS there, such as "ECDHE-RSA-AES128-GCM-SHA256".
    pub proxy_tls_cipher: nlmqtt_str,
    /// The path its WebSocket was asked for, without its query; `data` is NULL without WebSocket.
    pub websocket_path: nlmqtt_str,
    /// The web page its WebSocket was opened by (Origin, RFC 6454), such as "https://console.example"; `data` is NULL if it was no browser.
    pub websocket_origin: nlmqtt_str,
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
/// "allow" or "not interested" and costs nothing. They stand in the order of a client's life; new ones will come at the end.
///
/// Thread word of all of them: they are called on the thread that does the server's work, in DISPATCH mode on the one that calls
/// nlmqtt_runtime_dispatch, one at a time, in the order of each client's packets. On a runtime with more than one worker they are called on
/// the worker of the client they are about (`tick`: on the first; `accept`: on the one that listens; `retained_set` and `retained_cleared`: on the
/// publisher's; of what expires while it is retained: on the first): in order for one client, but AT THE SAME TIME for clients of different
/// workers, with the same `user_data`, so that the application must protect what it shares between them. In DISPATCH mode they stay one at
/// a time. What they call on the server is done after they return; functions that wait answer WOULD_DEADLOCK. A hook that blocks stalls its
/// worker only, which is this server if there is one; in DISPATCH mode it stalls only the clients that wait for an answer, and the option
/// `hook_timeout_ms` counts from the question on. nlmqtt_runtime_config_set_hook_threads gives them a thread of their own: as in DISPATCH
/// mode, without the application's thread.
///
/// The deciding ones return NLMQTT_ALLOW, NLMQTT_DENY or what else is said there, with details in `decision`; or
/// NLMQTT_PENDING, and later nlmqtt_server_complete with `token` from any thread. Without an answer within the option `hook_timeout_ms`
/// it is NLMQTT_DENY with 0x83. The others return nothing and only hear what has happened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_server_hooks {
    /// Set by nlmqtt_server_hooks_init.
    pub struct_size: usize,
    /// Handed to every hook. Moved to the server by nlmqtt_server_new.
    pub user_data: *mut c_void,
    /// Releases `user_data` after the last hook has returned; may be NULL.
    pub free_fn: nlmqtt_free_fn,
    /// Decides about a network connection before a byte of it is read: ALLOW, DENY (it is closed without a word), PENDING. `peer` is
    /// where it comes from, `listener` the address it came in at (empty: it was adopted); both are borrowed until it returns. About a
    /// connection of a trusted proxy it is asked when that has said whom it brings, and `peer` is who that is.
    pub accept: Option<
        unsafe extern "C" fn(user_data: *mut c_void, peer: nlmqtt_str, listener: nlmqtt_str, token: nlmqtt_hook_token, decision: *mut nlmqtt_decision) -> i32,
    >,
    /// Decides about a CONNECT before it is asked who the client is: ALLOW, DENY, PENDING.
    pub connect: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            connect: *const nlmqtt_connect_info,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// Decides who a client is: ALLOW, DENY, CHALLENGE (a client that named an authentication method), PENDING. With this hook the option
    /// `allow_anonymous` is the hook's affair.
    pub authenticate: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            connect: *const nlmqtt_connect_info,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// Decides about an AUTH, while a client connects or authenticates again (MQTT 5 section 4.12): ALLOW, DENY, CHALLENGE, PENDING.
    /// Needs `authenticate`. `method` and `data` are borrowed until it returns.
    pub auth_exchange: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            method: nlmqtt_str,
            data: nlmqtt_bytes,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// A client is connected: CONNACK with success is on its way.
    pub connected: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, session_present: bool)>,
    /// The connection of a connected client has ended; `reason` is that of a DISCONNECT (MQTT 5 section 3.14.2.1), 0x80 for a connection
    /// that was lost.
    pub disconnected: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, reason: u8)>,
    /// A client has a new session (MQTT 5 section 4.1). Called before `connected`.
    pub session_created: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info)>,
    /// A client came back to the session it had. Called before `connected`.
    pub session_resumed: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info)>,
    /// A session has ended: its time is over, it was to end with its connection, a clean start replaced it, or the application ended it.
    pub session_expired: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info)>,
    /// A newer connection of the same client identifier takes the session of this one, which will be closed with 0x8E.
    pub session_taken_over: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info)>,
    /// May this client publish to this topic, or subscribe to this filter (`access`: NLMQTT_ACCESS_*)? ALLOW, DENY, PENDING. Asked before
    /// `publish` and `subscribe`, and, after `authenticate`, about the topic of a will: DENY refuses the CONNECT then. `topic` is borrowed until it
    /// returns.
    pub authorize: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            access: i32,
            topic: nlmqtt_str,
            qos: u8,
            retain: bool,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// Decides about a SUBSCRIBE: ALLOW (nlmqtt_decision_set_filter and _refuse_filter change single filters), DENY (all), PENDING. Only filters
    /// that were authorized are listed.
    pub subscribe: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            filters: *const nlmqtt_subscription_info,
            filter_count: usize,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// A client has a subscription, new or in place of an old one to the same filter.
    pub subscribed: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, subscription: *const nlmqtt_subscription_info)>,
    /// Decides about an UNSUBSCRIBE: ALLOW, DENY, PENDING.
    pub unsubscribe: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            filters: *const nlmqtt_str,
            filter_count: usize,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// A subscription was given up by its client, or taken away by the application. `filter` is borrowed until it returns.
    pub unsubscribed: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, filter: nlmqtt_str)>,
    /// Decides about a PUBLISH: ALLOW, DENY, DROP, REWRITE, PENDING.
    pub publish: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            client: *const nlmqtt_client_info,
            publish: *const nlmqtt_publish_info,
            token: nlmqtt_hook_token,
            decision: *mut nlmqtt_decision,
        ) -> i32,
    >,
    /// A message goes out to a client for the first time; `qos` is that of the delivery. `message` is lent; keep it with nlmqtt_message_ref.
    pub publish_out: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message, qos: u8)>,
    /// A message reached a client: written (QoS 0) or acknowledged (1 and 2); `qos` is that of the delivery. `message` is lent.
    pub delivered: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message, qos: u8)>,
    /// A message will not reach a client; `reason` is one of NLMQTT_DROPPED_*. `message` is lent.
    pub dropped: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message, reason: i32)>,
    /// A message expired while it waited for a client (MQTT 5 section 3.3.2.3.3), or as the retained one of its topic: then `client` is
    /// NULL. `message` is lent.
    pub expired: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message)>,
    /// A message is the retained one of its topic now (MQTT 5 section 3.3.1.3). `message` is lent.
    pub retained_set: Option<unsafe extern "C" fn(user_data: *mut c_void, message: *const nlmqtt_message)>,
    /// A topic has no retained message any more. `topic` is borrowed until it returns.
    pub retained_cleared: Option<unsafe extern "C" fn(user_data: *mut c_void, topic: nlmqtt_str)>,
    /// The will of a client goes out (MQTT 5 section 3.1.2.5). `message` is lent.
    pub will: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, message: *const nlmqtt_message)>,
    /// A limit turned somebody away or refused something: `limit` is its key, such as "max_connections", and lives as long as the library.
    /// `client` is NULL if it is about no client.
    pub quota: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, limit: *const c_char)>,
    /// A client does not read: `waiting_bytes` wait for its socket, more than the option `max_output_bytes`. It is closed after `slow_consumer_grace_ms`.
    pub slow_client: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, waiting_bytes: usize)>,
    /// Called every `tick_interval_ms`.
    pub tick: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// A stop that returned NLMQTT_IN_PROGRESS is over: no client is left.
    pub stopped: Option<unsafe extern "C" fn(user_data: *mut c_void)>,
    /// A connected client over QUIC or reliable UDP goes on from another address, which has proved to be its own: `client` has the new one,
    /// `previous_peer` is the one before, borrowed until it returns. Its connection, session and deliveries go on. One that the
    /// listener does not take or a ban forbids is closed afterwards.
    pub path_moved: Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_info, previous_peer: nlmqtt_str)>,
}

impl nlmqtt_server_hooks {
    pub(crate) const NONE: Self = Self {
        struct_size: size_of::<Self>(),
        user_data: core::ptr::null_mut(),
        free_fn: None,
        accept: None,
        connect: None,
        authenticate: None,
        auth_exchange: None,
        connected: None,
        disconnected: None,
        session_created: None,
        session_resumed: None,
        session_expired: None,
        session_taken_over: None,
        authorize: None,
        subscribe: None,
        subscribed: None,
        unsubscribe: None,
        unsubscribed: None,
        publish: None,
        publish_out: None,
        delivered: None,
        dropped: None,
        expired: None,
        retained_set: None,
        retained_cleared: None,
        will: None,
        quota: None,
        slow_client: None,
        tick: None,
        stopped: None,
        path_moved: None,
    };
}

/// Fills a hook table with its size and NULLs. Call it before you set anything. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_hooks_init(hooks: *mut nlmqtt_server_hooks) {
    if !hooks.is_null() {
        unsafe { hooks.write(nlmqtt_server_hooks::NONE) }
    }
}
