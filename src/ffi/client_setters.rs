//! Typed setters of a client's configuration, beside `nlmqtt_client_config_set`: each goes the way of its key, so that both
//! know the same ranges and say the same errors. INVALID_ARGUMENT: `config` is NULL.

use std::ffi::c_char;

use super::client_config::nlmqtt_client_config;
use super::{Failure, NLMQTT_CONFIG, NLMQTT_OK, fence, nlmqtt_status, optional_string, reference_mut, string};

/// Try again with back-off.
pub const NLMQTT_RETRY_SOON: i32 = 0;
/// Try again after the longest delay.
pub const NLMQTT_RETRY_SLOW: i32 = 1;
/// Stop.
pub const NLMQTT_RETRY_STOP: i32 = 2;

/// Subscribe again when the server has lost the session.
pub const NLMQTT_RESUBSCRIBE_SESSION_LOST: i32 = 0;
/// Subscribe again after every connect.
pub const NLMQTT_RESUBSCRIBE_ALWAYS: i32 = 1;
/// Never: subscriptions are forgotten when the server has lost the session.
pub const NLMQTT_RESUBSCRIBE_NEVER: i32 = 2;

/// A full queue refuses the new message.
pub const NLMQTT_OVERFLOW_REFUSE_NEWEST: i32 = 0;
/// A full queue drops its oldest messages of the lowest priority; if all are of a higher one, it refuses the new message.
pub const NLMQTT_OVERFLOW_DROP_OLDEST: i32 = 1;

/// All of it, or nothing.
unsafe fn set(config: *mut nlmqtt_client_config, values: &[(&str, &dyn ToString)]) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let mut next = config.0.clone();
        for (key, value) in values {
            next.set(key, &value.to_string())?;
        }
        config.0 = next;
        Ok(())
    })
}

unsafe fn set_text(config: *mut nlmqtt_client_config, key: &str, text: *const c_char, name: &str) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.0.set(key, unsafe { string(text, name) }?)?)
    })
}

/// No word for a number that is none: the key says what it expects.
fn word<'w>(words: &[&'w str], number: i32) -> &'w str {
    usize::try_from(number).ok().and_then(|index| words.get(index)).copied().unwrap_or_default()
}

/// Key client_id: the client identifier (MQTT 5 section 3.1.3.1); empty: the server gives one. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_client_id(config: *mut nlmqtt_client_config, client_id: *const c_char) -> nlmqtt_status {
    unsafe { set_text(config, "client_id", client_id, "client_id") }
}

/// Key version: the number CONNECT has for it: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. CONFIG: another number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_version(config: *mut nlmqtt_client_config, version: u8) -> nlmqtt_status {
    let word = match version {
        3 => "3.1",
        4 => "3.1.1",
        5 => "5",
        // No word: the key says what it expects.
        _ => "",
    };
    unsafe { set(config, &[("version", &word)]) }
}

/// Key clean_start: begin with a new session (MQTT 5 section 3.1.2.4).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_clean_start(config: *mut nlmqtt_client_config, clean_start: bool) -> nlmqtt_status {
    unsafe { set(config, &[("clean_start", &clean_start)]) }
}

/// Key session_expiry_s: seconds the server keeps the session without a connection (MQTT 5 section 3.1.2.11.2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_session_expiry_s(config: *mut nlmqtt_client_config, session_expiry_s: u32) -> nlmqtt_status {
    unsafe { set(config, &[("session_expiry_s", &session_expiry_s)]) }
}

/// Key keepalive: seconds of the keep-alive (MQTT 5 section 3.1.2.10); 0: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_keepalive_s(config: *mut nlmqtt_client_config, keepalive_s: u16) -> nlmqtt_status {
    unsafe { set(config, &[("keepalive", &keepalive_s)]) }
}

/// Key receive_maximum: QoS 1 and 2 messages on their way from the server (MQTT 5 section 3.1.2.11.3). CONFIG: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_receive_maximum(config: *mut nlmqtt_client_config, receive_maximum: u16) -> nlmqtt_status {
    unsafe { set(config, &[("receive_maximum", &receive_maximum)]) }
}

/// Key max_packet_size: the largest packet the server may send, in bytes (MQTT 5 section 3.1.2.11.4). CONFIG: less than 128.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_max_packet_bytes(config: *mut nlmqtt_client_config, max_packet_bytes: usize) -> nlmqtt_status {
    unsafe { set(config, &[("max_packet_size", &max_packet_bytes)]) }
}

/// Key max_inflight_messages: QoS 1 and 2 messages on their way to the server. CONFIG: 0, or more than 60,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_max_inflight_messages(config: *mut nlmqtt_client_config, max_inflight_messages: u16) -> nlmqtt_status {
    unsafe { set(config, &[("max_inflight_messages", &max_inflight_messages)]) }
}

/// Keys max_topic_alias and max_topic_alias_out: topic aliases the server may use, and those this client uses (MQTT 5 section
/// 3.1.2.11.5); 0: none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_topic_aliases(config: *mut nlmqtt_client_config, in_max: u16, out_max: u16) -> nlmqtt_status {
    unsafe { set(config, &[("max_topic_alias", &in_max), ("max_topic_alias_out", &out_max)]) }
}

/// Key connect_timeout_ms: milliseconds from the dial to CONNACK. CONFIG: 0, or more than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_connect_timeout_ms(config: *mut nlmqtt_client_config, connect_timeout_ms: u32) -> nlmqtt_status {
    unsafe { set(config, &[("connect_timeout_ms", &connect_timeout_ms)]) }
}

/// Key ping_timeout_ms: milliseconds from PINGREQ to PINGRESP. CONFIG: 0, or more than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_ping_timeout_ms(config: *mut nlmqtt_client_config, ping_timeout_ms: u32) -> nlmqtt_status {
    unsafe { set(config, &[("ping_timeout_ms", &ping_timeout_ms)]) }
}

/// Keys reconnect_delay_min_ms, reconnect_delay_max_ms and reconnect_jitter: milliseconds before the second try, where doubling
/// them ends, and whether they are drawn between half and all of that. CONFIG: 0, or more than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_reconnect_delay(config: *mut nlmqtt_client_config, min_ms: u32, max_ms: u32, jitter: bool) -> nlmqtt_status {
    unsafe { set(config, &[("reconnect_delay_min_ms", &min_ms), ("reconnect_delay_max_ms", &max_ms), ("reconnect_jitter", &jitter)]) }
}

/// Keys reconnect_on_...: what a cause (NLMQTT_CAUSE_*, but not STOPPED) leads to, one of NLMQTT_RETRY_*. CONFIG: not such
/// a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_reconnect_rule(config: *mut nlmqtt_client_config, cause: i32, rule: i32) -> nlmqtt_status {
    let causes = [
        "network",
        "closed",
        "names",
        "tls",
        "timeout",
        "keepalive",
        "credentials",
        "identity",
        "version",
        "authentication",
        "busy",
        "moved",
        "shutdown",
        "taken_over",
        "protocol",
        "other",
    ];
    let key = format!("reconnect_on_{}", word(&causes, cause));
    unsafe { set(config, &[(&key, &word(&["soon", "slow", "stop"], rule))]) }
}

/// Key resubscribe: when stored subscriptions are asked for again, one of NLMQTT_RESUBSCRIBE_*. CONFIG: not such a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_resubscribe(config: *mut nlmqtt_client_config, resubscribe: i32) -> nlmqtt_status {
    unsafe { set(config, &[("resubscribe", &word(&["session_lost", "always", "never"], resubscribe))]) }
}

/// Keys max_queued_messages and max_queued_bytes: what waits to be sent. CONFIG: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_queue_limits(config: *mut nlmqtt_client_config, messages_max: usize, bytes_max: usize) -> nlmqtt_status {
    unsafe { set(config, &[("max_queued_messages", &messages_max), ("max_queued_bytes", &bytes_max)]) }
}

/// Keys queue_overflow (one of NLMQTT_OVERFLOW_*), queue_expiry_ms (milliseconds after which a message that waits is given up;
/// 0: never) and queue_newest_per_topic (of the messages of one topic that wait, only the newest stays). CONFIG: not such a
/// number, or more than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_queue_policy(
    config: *mut nlmqtt_client_config,
    overflow: i32,
    expiry_ms: u32,
    newest_per_topic: bool,
) -> nlmqtt_status {
    let overflow = word(&["refuse_newest", "drop_oldest"], overflow);
    unsafe { set(config, &[("queue_overflow", &overflow), ("queue_expiry_ms", &expiry_ms), ("queue_newest_per_topic", &newest_per_topic)]) }
}

/// Key queue_qos0_messages: QoS 0 messages wait for a connection, too; else they are refused without one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_queue_qos0(config: *mut nlmqtt_client_config, queue_qos0: bool) -> nlmqtt_status {
    unsafe { set(config, &[("queue_qos0_messages", &queue_qos0)]) }
}

/// Key manual_ack: messages are acknowledged by nlmqtt_client_ack only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_manual_ack(config: *mut nlmqtt_client_config, manual_ack: bool) -> nlmqtt_status {
    unsafe { set(config, &[("manual_ack", &manual_ack)]) }
}

/// Keys pull_receive, max_received_messages and max_received_bytes: messages without a callback of their own wait for
/// nlmqtt_client_next_message, as many and as many bytes; beyond, nothing is read from the server. CONFIG: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_pull_receive(config: *mut nlmqtt_client_config, messages_max: usize, bytes_max: usize) -> nlmqtt_status {
    unsafe { set(config, &[("pull_receive", &true), ("max_received_messages", &messages_max), ("max_received_bytes", &bytes_max)]) }
}

/// Keys max_requests and response_topic: requests that wait for their response, and where responses come to (NULL: as it is;
/// empty: the library chooses a topic). Copied. CONFIG: 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_requests(
    config: *mut nlmqtt_client_config,
    requests_max: usize,
    response_topic: *const c_char,
) -> nlmqtt_status {
    let status = unsafe { set(config, &[("max_requests", &requests_max)]) };
    if status != NLMQTT_OK || response_topic.is_null() {
        return status;
    }
    unsafe { set_text(config, "response_topic", response_topic, "response_topic") }
}

/// Key ladder_probe_interval_s: of several servers the one that worked is tried first again when its connection is lost; after so many seconds the best
/// one; 0: never.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_ladder_probe_interval_s(config: *mut nlmqtt_client_config, interval_s: u32) -> nlmqtt_status {
    unsafe { set(config, &[("ladder_probe_interval_s", &interval_s)]) }
}

/// Keys proxy_uri, proxy_username and proxy_password: the proxy on the way to every server, "http://host:port" (CONNECT, RFC 9110 section 9.3.6) or
/// "socks5://host:port" (RFC 1928), which looks names up; user name and password may be NULL for none. `uri` NULL or empty: no proxy. Copied. CONFIG:
/// not such a URI; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_proxy(
    config: *mut nlmqtt_client_config,
    uri: *const c_char,
    username: *const c_char,
    password: *const c_char,
) -> nlmqtt_status {
    fence(|| {
        let uri = unsafe { optional_string(uri, "uri") }?.unwrap_or_default();
        let (username, password) = unsafe { (optional_string(username, "username")?, optional_string(password, "password")?) };
        let config = unsafe { reference_mut(config, "config") }?;
        let mut next = config.0.clone();
        next.set("proxy_uri", uri)?;
        next.set("proxy_username", username.unwrap_or_default())?;
        next.set("proxy_password", password.unwrap_or_default())?;
        config.0 = next;
        Ok(())
    })
}

/// Key proxy_protocol: the version of the PROXY protocol whose header is sent first to whoever is connected to, 1 or 2; 0: none. CONFIG: another number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_proxy_protocol(config: *mut nlmqtt_client_config, version: i32) -> nlmqtt_status {
    unsafe { set(config, &[("proxy_protocol", &word(&["off", "v1", "v2"], version))]) }
}

/// Key websocket_path: what to ask for at servers whose URI has no path, such as "/gateway"; NULL or empty: "/mqtt". Copied. CONFIG: not a path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_websocket_path(config: *mut nlmqtt_client_config, path: *const c_char) -> nlmqtt_status {
    fence(|| {
        let path = unsafe { optional_string(path, "path") }?.unwrap_or_default();
        Ok(unsafe { reference_mut(config, "config") }?.0.set("websocket_path", path)?)
    })
}

/// One more line of the key websocket_headers: a field of the request for a WebSocket (RFC 9110 section 5), such as "Authorization" and "Bearer ...".
/// Fields of one name may be there several times. Setting the key itself begins anew. Copied. CONFIG: not a field, or one of the handshake's own;
/// nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_add_websocket_header(
    config: *mut nlmqtt_client_config,
    name: *const c_char,
    value: *const c_char,
) -> nlmqtt_status {
    fence(|| {
        let (name, value) = unsafe { (string(name, "name")?, string(value, "value")?) };
        let config = unsafe { reference_mut(config, "config") }?;
        if name.contains([':', '\n']) || value.contains('\n') {
            return Err(Failure::new(NLMQTT_CONFIG, "a field of a request is one line, and its name has no colon"));
        }
        let fields = format!("{}\n{name}: {value}", config.0.print("websocket_headers")?);
        Ok(config.0.set("websocket_headers", &fields)?)
    })
}

/// Keys bind_address, bind_device and socket_mark: the local IP address to connect from, the network device to connect over
/// (SO_BINDTODEVICE), and the mark of the connection's packets (SO_MARK); NULL and 0: any, none. A connection that the system
/// does not let have them (they need a privilege) is not made: NLMQTT_CAUSE_NETWORK. Copied. CONFIG: not an IP address; nothing
/// changes then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_bind(
    config: *mut nlmqtt_client_config,
    address: *const c_char,
    device: *const c_char,
    mark: u32,
) -> nlmqtt_status {
    fence(|| {
        let (address, device) = unsafe { (optional_string(address, "address")?, optional_string(device, "device")?) };
        let config = unsafe { reference_mut(config, "config") }?;
        let mut next = config.0.clone();
        next.set("bind_address", address.unwrap_or_default())?;
        next.set("bind_device", device.unwrap_or_default())?;
        next.set("socket_mark", &mark.to_string())?;
        config.0 = next;
        Ok(())
    })
}
