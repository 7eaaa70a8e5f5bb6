//! What the owner of a server does with it: publish, subscribe, answer hooks, list, kick, count.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::hook_calls::HookTable;
use super::message::{publish_properties, qos_of, topic_name};
use super::properties::terminated;
use super::{
    Failure, NLMQTT_PENDING, Outcome, UserData, bytes, check_out, fence_on, nlmqtt_datagram_statistics, nlmqtt_decision, nlmqtt_free_fn, nlmqtt_hook_token,
    nlmqtt_message, nlmqtt_properties, nlmqtt_server, nlmqtt_status, nlmqtt_str, reference, string,
};
use crate::broker::ClientSummary;
use crate::codec::{Message, Reason};
use crate::server::{Publication, Subscription};

/// Receives a message of nlmqtt_server_subscribe. It is lent until the callback returns; keep it with nlmqtt_message_ref. Called on the thread that
/// does the server's work (of many workers, the first one's), one at a time; what it calls on the server is done after it returns.
pub type nlmqtt_server_message_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, message: *const nlmqtt_message)>;

/// Is told one counter or gauge; `name` lives as long as the library.
pub type nlmqtt_stat_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, name: *const c_char, value: u64)>;

/// Is told one client; borrowed until it returns.
pub type nlmqtt_client_entry_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, client: *const nlmqtt_client_entry)>;

/// A client with a session. Everything is borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_client_entry {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// The client identifier.
    pub client_id: nlmqtt_str,
    /// Its user name; `data` is NULL without one.
    pub username: nlmqtt_str,
    /// Where it is connected from; empty while it is away.
    pub peer: nlmqtt_str,
    /// 3 (MQTT 3.1), 4 (3.1.1) or 5.
    pub protocol_level: u8,
    /// It is connected now.
    pub connected: bool,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Messages that wait for it.
    pub queued_messages: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Messages on their way, not acknowledged yet.
    pub in_flight_messages: usize,
    /// Keep-alive in seconds; 0: none, or it is away.
    pub keep_alive_s: u16,
    /// How long its session lives while it is away, in seconds; 4,294,967,295: for ever.
    pub session_expiry_s: u32,
    /// Bytes that wait for its socket.
    pub output_bytes: usize,
    /// It is connected over a Unix socket, and the kernel has said by which process: the next three.
    pub has_process: bool,
    /// Process; 0: of another name space.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The mount point of its session; `data` is NULL without one. Calls about this client name it by mount point, '#' and client
    /// identifier, such as "site/7/#pump".
    pub mount_point: nlmqtt_str,
    /// Of a client that is connected over QUIC or reliable UDP; otherwise NULL.
    pub datagrams: *const nlmqtt_datagram_statistics,
}

struct Receiver {
    call: unsafe extern "C" fn(*mut c_void, *const nlmqtt_message),
    user: UserData,
    table: Arc<HookTable>,
}

impl Receiver {
    fn receive(&self, message: &Arc<Message>) {
        if !self.table.is_closed() {
            let message = nlmqtt_message::published(message);
            unsafe { (self.call)(self.user.data, &raw const message) }
        }
    }
}

/// Publishes to whoever subscribed, past hooks and access control: this is the owner speaking. Copied; it happens soon. `properties` may be NULL,
/// `payload` too if `len` is 0. INVALID_ARGUMENT: not a topic name. INVALID_STATE: stopped. QUEUE_FULL: the options
/// `max_posted_messages` or `max_posted_bytes` wait to be taken by the server already, or memory is used up; TOO_LARGE: more
/// than a packet can hold. Nothing was published then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_publish(
    server: *mut nlmqtt_server,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
    properties: *const nlmqtt_properties,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (topic, payload) = (topic_name(topic)?, bytes(payload, len, "payload")?);
            let (kept, expiry_s) = publish_properties(properties.as_ref())?;
            let publication = Publication { topic, payload, qos: qos_of(qos)?, retain, properties: kept.as_properties(), expiry_s };
            Ok(inner.running()?.publish(&publication)?)
        })
    }
}

/// As nlmqtt_server_publish, with a message that is there already; it is borrowed for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_publish_message(server: *mut nlmqtt_server, message: *const nlmqtt_message) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let publication = publication_of(reference(message, "message")?);
            Ok(inner.running()?.publish(&publication)?)
        })
    }
}

/// Sends a message to one client, whatever it subscribed to; it waits in the session while the client is away. `client_id` (as for
/// nlmqtt_server_client_info) and `message` are borrowed for the call. It happens soon; nothing happens if there is no such client.
/// QUEUE_FULL as for nlmqtt_server_publish.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_publish_to(server: *mut nlmqtt_server, client_id: *const c_char, message: *const nlmqtt_message) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let client_id = string(client_id, "client_id")?;
            let publication = publication_of(reference(message, "message")?);
            Ok(inner.running()?.publish_to(client_id, &publication)?)
        })
    }
}

fn publication_of(message: &nlmqtt_message) -> Publication<'_> {
    let (message, qos, retain, expiry_s) = message.parts();
    Publication { topic: message.topic(), payload: message.payload(), qos, retain, properties: message.properties(), expiry_s }
}

/// Subscribes inside this process: `receive` is called for each message that meets `filter`, retained ones first. What is published after
/// this call is received. `user_data` is moved and released with `free_fn` (may be NULL) after the last call, also when this call fails.
/// `subscription_out` may be NULL; it is what nlmqtt_server_unsubscribe wants. Ends with a stop. INVALID_ARGUMENT: not a topic filter.
/// QUEUE_FULL: as many calls of this function, nlmqtt_server_kick and nlmqtt_server_complete as `max_posted_messages` says wait to be done
/// by the server already; they do not count among the messages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_subscribe(
    server: *mut nlmqtt_server,
    filter: *const c_char,
    receive: nlmqtt_server_message_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
    subscription_out: *mut u64,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    unsafe {
        fence_on(server, "server", move |inner| {
            let filter = string(filter, "filter")?;
            let call = receive.ok_or_else(|| Failure::invalid("receive is NULL"))?;
            let receiver = Receiver { call, user, table: inner.table.clone() };
            let Subscription(number) = inner.running()?.subscribe(filter, move |message| receiver.receive(message))?;
            if let Some(out) = subscription_out.as_mut() {
                *out = number;
            }
            Ok(())
        })
    }
}

/// Ends a subscription of nlmqtt_server_subscribe; it happens soon, inside a callback when that returns. One that has ended already, or never was, is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_unsubscribe(server: *mut nlmqtt_server, subscription: u64) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            inner.running()?.unsubscribe(Subscription(subscription));
            Ok(())
        })
    }
}

/// Answers a hook that returned NLMQTT_PENDING, from any thread: `code` is one of NLMQTT_ALLOW to NLMQTT_CHALLENGE; `decision` has its
/// details, is borrowed for the call and may be NULL. It happens soon. An answer that comes too late, or twice, is counted
/// (`hook_late_answers`) and otherwise nothing. QUEUE_FULL as for nlmqtt_server_subscribe, also by the bytes in `decision`
/// (`max_posted_bytes`): the question is still open, answer again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_complete(
    server: *mut nlmqtt_server,
    token: nlmqtt_hook_token,
    code: i32,
    decision: *const nlmqtt_decision,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let details = decision.as_ref().map(nlmqtt_decision::copy).unwrap_or_default();
            let decided = details.decide(code).filter(|_| code != NLMQTT_PENDING);
            let decided = decided.ok_or_else(|| Failure::invalid(format!("{code} is no decision")))?;
            Ok(inner.running()?.complete(token.token()?, decided)?)
        })
    }
}

/// Closes the connection of a client with `reason` (0x80 and above; 0 = 0x98 Administrative action), and ends its session if `end_session`.
/// `client_id` as for nlmqtt_server_client_info, borrowed for the call. It happens soon; nothing happens if there is no such client. QUEUE_FULL
/// as for nlmqtt_server_subscribe: it is not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_kick(server: *mut nlmqtt_server, client_id: *const c_char, reason: u8, end_session: bool) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let client_id = string(client_id, "client_id")?;
            let reason = match reason {
                0 => Reason::ADMINISTRATIVE_ACTION,
                0x80.. => Reason(reason),
                _ => return Err(Failure::invalid(format!("0x{reason:02X} is no reason to close a connection"))),
            };
            Ok(inner.running()?.kick(client_id, reason, end_session)?)
        })
    }
}

/// Tells every client with a session to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_each_client(server: *const nlmqtt_server, each: nlmqtt_client_entry_fn, user_data: *mut c_void) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            for client in inner.running()?.clients()? {
                tell_client(&client, each, user_data);
            }
            Ok(())
        })
    }
}

/// Tells one client.
pub(crate) unsafe fn tell_client(client: &ClientSummary, each: unsafe extern "C" fn(*mut c_void, *const nlmqtt_client_entry), user_data: *mut c_void) {
    let client_id = terminated(client.client_id.as_bytes());
    let username = client.username.as_deref().map(|name| terminated(name.as_bytes()));
    let peer = terminated(client.peer.as_bytes());
    let mount_point = client.mount_point.as_deref().map(|mount| terminated(mount.as_bytes()));
    let datagrams = client.datagrams.map(nlmqtt_datagram_statistics::from);
    let entry = nlmqtt_client_entry {
        struct_size: size_of::<nlmqtt_client_entry>(),
        client_id: nlmqtt_str::of_terminated(&client_id),
        username: username.as_ref().map_or(nlmqtt_str::NONE, |name| nlmqtt_str::of_terminated(name)),
        peer: nlmqtt_str::of_terminated(&peer),
        protocol_level: client.protocol_level,
        connected: client.connected,
        subscriptions: client.subscriptions,
        queued_messages: client.queued_messages,
        queued_bytes: client.queued_bytes,
        in_flight_messages: client.in_flight_messages,
        keep_alive_s: client.keep_alive_s,
        session_expiry_s: client.session_expiry_s,
        output_bytes: client.output_bytes,
        has_process: client.process.is_some(),
        pid: client.process.map_or(0, |process| process.pid),
        uid: client.process.map_or(0, |process| process.uid),
        gid: client.process.map_or(0, |process| process.gid),
        mount_point: mount_point.as_ref().map_or(nlmqtt_str::NONE, |mount| nlmqtt_str::of_terminated(mount)),
        datagrams: datagrams.as_ref().map_or(core::ptr::null(), core::ptr::from_ref),
    };
    unsafe { each(user_data, &raw const entry) }
}

/// Tells every counter and gauge to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_each_stat(server: *const nlmqtt_server, each: nlmqtt_stat_fn, user_data: *mut c_void) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            for (name, value) in inner.running()?.stats()?.iter() {
                let name = stat_name(name)?;
                each(user_data, name.as_ptr(), value);
            }
            Ok(())
        })
    }
}

/// One counter or gauge by its name, such as "clients_connected". Waits. NOT_FOUND: no such name. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_stat(server: *const nlmqtt_server, name: *const c_char, value_out: *mut u64) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let name = string(name, "name")?;
            check_out(value_out, "value_out")?;
            let found = inner.running()?.stats()?.iter().find(|(known, _)| *known == name);
            let (_, value) = found.ok_or_else(|| Failure::new(super::NLMQTT_NOT_FOUND, format!("no statistic '{name}'")))?;
            *value_out = value;
            Ok(())
        })
    }
}

/// The name with its NUL, made once.
fn stat_name(name: &'static str) -> Outcome<&'static CString> {
    use std::sync::OnceLock;
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    let all = || crate::broker::Stats::default().iter().map(|(name, _)| CString::new(name).unwrap_or_default()).collect();
    let found = NAMES.get_or_init(all).iter().find(|known| known.as_bytes() == name.as_bytes());
    found.ok_or_else(|| Failure::invalid("no such statistic"))
}
