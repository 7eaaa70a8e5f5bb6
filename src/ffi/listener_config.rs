//! Options of one listener with types, beside the query of its URI: each goes the way of its key, so that both know the same ranges
//! and say the same errors.

use std::ffi::c_char;

use super::client_config::give_text;
use super::server_config::nlmqtt_server_config;
use super::{Outcome, fence, fence_or, nlmqtt_status, optional_string, reference, reference_mut, string};
use crate::config::ListenerConfig;

/// Clients are not asked for a certificate.
pub const NLMQTT_CLIENT_CERTIFICATE_NONE: i32 = 0;
/// They are asked, and let in without one, too.
pub const NLMQTT_CLIENT_CERTIFICATE_REQUEST: i32 = 1;
/// Without one they are not let in.
pub const NLMQTT_CLIENT_CERTIFICATE_REQUIRE: i32 = 2;

/// The user name is what CONNECT says.
pub const NLMQTT_IDENTITY_NONE: i32 = 0;
/// The user name is the common name of the client's certificate.
pub const NLMQTT_IDENTITY_COMMON_NAME: i32 = 1;
/// The user name is the first name in its subjectAltName.
pub const NLMQTT_IDENTITY_ALTERNATIVE_NAME: i32 = 2;
/// The user name is its SHA-256, in hexadecimal digits.
pub const NLMQTT_IDENTITY_FINGERPRINT: i32 = 3;

/// No header of the PROXY protocol is expected.
pub const NLMQTT_PROXY_POLICY_OFF: i32 = 0;
/// One is taken from those who are trusted, and need not be there.
pub const NLMQTT_PROXY_POLICY_OPTIONAL: i32 = 1;
/// Without one from somebody who is trusted nobody is let in.
pub const NLMQTT_PROXY_POLICY_REQUIRED: i32 = 2;

/// TLS 1.2, by the number the protocol has for it (RFC 5246 section 6.2.1).
pub const NLMQTT_TLS_VERSION_1_2: i32 = 0x0303;
/// TLS 1.3 (RFC 8446 section 4.2.1).
pub const NLMQTT_TLS_VERSION_1_3: i32 = 0x0304;

/// Where one listener listens, and how. Used by one thread at a time. Servers and their configurations take copies, so one can be changed a little and added
/// again.
pub struct nlmqtt_listener_config(pub(crate) ListenerConfig);

/// What is to be put; `None`: as if it had never been set.
type Setting<'a> = (&'a str, Option<String>);

fn change(config: *mut nlmqtt_listener_config, act: impl FnOnce(&mut ListenerConfig) -> Outcome<()>) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let mut next = config.0.clone();
        act(&mut next)?;
        config.0 = next;
        Ok(())
    })
}

fn put(listener: &mut ListenerConfig, settings: &[Setting<'_>]) -> Outcome<()> {
    for (key, value) in settings {
        match value {
            Some(value) => listener.set(key, value)?,
            None => listener.unset(key)?,
        }
    }
    Ok(())
}

/// All of it, or nothing.
fn set(config: *mut nlmqtt_listener_config, settings: &[Setting<'_>]) -> nlmqtt_status {
    change(config, |listener| put(listener, settings))
}

/// A key with a text; NULL: as if it had never been set.
unsafe fn setting<'a>(key: &'a str, text: *const c_char, name: &str) -> Outcome<Setting<'a>> {
    Ok((key, unsafe { optional_string(text, name) }?.map(str::to_owned)))
}

/// 0: as if it had never been set.
fn unless_zero(number: u32) -> Option<String> {
    (number != 0).then(|| number.to_string())
}

/// No word for a number that is none: the key says what it expects.
fn word(words: &[&str], number: i32) -> Option<String> {
    Some(usize::try_from(number).ok().and_then(|index| words.get(index)).copied().unwrap_or_default().to_owned())
}

/// MQTT over TCP at every address, port 1883, with the server's options. The caller frees it with nlmqtt_listener_config_free, any time after it was
/// added. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_listener_config_new() -> *mut nlmqtt_listener_config {
    fence_or(core::ptr::null_mut(), || Ok(Box::into_raw(Box::new(nlmqtt_listener_config(ListenerConfig::default())))))
}

/// Frees a listener's configuration; what it was added to has its own copy. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_free(config: *mut nlmqtt_listener_config) {
    fence_or((), || {
        if !config.is_null() {
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Says where: a URI as for nlmqtt_server_config_add_listener; options in its query are set, others stay. Copied. CONFIG: not such a URI, or such an option is
/// not known; UNSUPPORTED: a transport this build does not have. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_uri(config: *mut nlmqtt_listener_config, uri: *const c_char) -> nlmqtt_status {
    change(config, |listener| Ok(listener.set("uri", unsafe { string(uri, "uri") }?)?))
}

/// Sets one option from text by its key in the README's table of listeners; or says where: `protocol`, `address`, `port`, `uri`, as in a
/// `[[listener]]` table of a file. Copied. CONFIG: no such key, or a value that cannot be used; the last error says what is there instead.
/// UNSUPPORTED: a transport this build does not have. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set(config: *mut nlmqtt_listener_config, key: *const c_char, value: *const c_char) -> nlmqtt_status {
    change(config, |listener| Ok(listener.set(unsafe { string(key, "key") }?, unsafe { string(value, "value") }?)?))
}

/// Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
/// `len_out` (may be NULL); empty: not set. `buf` may be NULL if `cap` is 0. CONFIG: no such key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_get(
    config: *const nlmqtt_listener_config,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len_out: *mut usize,
) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        let value = config.0.print(unsafe { string(key, "key") }?)?;
        unsafe { give_text(&value, buf, cap, len_out) }
    })
}

/// Key allow_anonymous: let clients without a user name in, whatever the server's option says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_allow_anonymous(config: *mut nlmqtt_listener_config, allow_anonymous: bool) -> nlmqtt_status {
    set(config, &[("allow_anonymous", Some(allow_anonymous.to_string()))])
}

/// Key versions: the oldest and the newest version spoken here, by the numbers CONNECT has for them: 3 is MQTT 3.1, 4 is 3.1.1, 5 is 5.0. CONFIG:
/// another number, or the oldest is newer than the newest.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_versions(config: *mut nlmqtt_listener_config, oldest: u8, newest: u8) -> nlmqtt_status {
    let known = (3..=5).contains(&oldest) && (3..=5).contains(&newest);
    let words = [(3, "3.1"), (4, "3.1.1"), (5, "5")].into_iter().filter(|(number, _)| known && (oldest..=newest).contains(number));
    let versions: Vec<&str> = words.map(|(_, word)| word).collect();
    set(config, &[("versions", Some(versions.join(",")))])
}

/// Key mount_point: put before every topic and filter of these clients, and taken off what they receive; it ends with `/`. NULL: none. Copied. CONFIG: not the
/// begin of a topic.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_mount_point(config: *mut nlmqtt_listener_config, mount_point: *const c_char) -> nlmqtt_status {
    change(config, |listener| put(listener, &[unsafe { setting("mount_point", mount_point, "mount_point") }?]))
}

/// Key max_connections: connections through this listener at one time; 0: only the server's limit. CONFIG: more than 10,000,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_max_connections(config: *mut nlmqtt_listener_config, max_connections: u32) -> nlmqtt_status {
    set(config, &[("max_connections", unless_zero(max_connections))])
}

/// Key max_packet_size: the largest packet a client may send, in bytes (MQTT 5 section 3.2.2.3.6); 0: the server's limit, which holds besides.
/// CONFIG: less than 128, or more than MQTT knows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_max_packet_bytes(config: *mut nlmqtt_listener_config, packet_bytes: u32) -> nlmqtt_status {
    set(config, &[("max_packet_size", unless_zero(packet_bytes))])
}

/// Key receive_maximum: QoS 1 and 2 messages on their way from one client (MQTT 5 section 3.2.2.3.3); 0: the server's limit, which holds besides.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_receive_maximum(config: *mut nlmqtt_listener_config, receive_maximum: u16) -> nlmqtt_status {
    set(config, &[("receive_maximum", unless_zero(receive_maximum.into()))])
}

/// Key max_keepalive: the longest keep-alive in seconds (MQTT 5 section 3.2.2.3.14); 0: the server's limit, which holds besides.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_max_keepalive_s(config: *mut nlmqtt_listener_config, keepalive_s: u16) -> nlmqtt_status {
    set(config, &[("max_keepalive", unless_zero(keepalive_s.into()))])
}

/// Keys rate_messages, rate_bytes and rate_connections: PUBLISH packets and bytes a client may send in a second, beyond which it is not read for a while, and
/// connections accepted in a second, beyond which they wait; 0: any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_rates(config: *mut nlmqtt_listener_config, messages: u32, bytes: u32, connections: u32) -> nlmqtt_status {
    let settings = [("rate_messages", messages), ("rate_bytes", bytes), ("rate_connections", connections)];
    set(config, &settings.map(|(key, rate)| (key, unless_zero(rate))))
}

/// Keys allow and deny: addresses and networks, such as "10.0.0.0/8,::1", whose clients alone are let in, and whose are not, even if `allow` has
/// them; NULL: none are named. Copied. CONFIG: not such a list; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_addresses(config: *mut nlmqtt_listener_config, allow: *const c_char, deny: *const c_char) -> nlmqtt_status {
    change(config, |listener| put(listener, &[unsafe { setting("allow", allow, "allow") }?, unsafe { setting("deny", deny, "deny") }?]))
}

/// Keys cert and key: the server's certificate and those behind it, and its private key, not encrypted (PEM files); they are read when the listener
/// opens, and again by nlmqtt_server_reload. The paths are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_certificate_files(
    config: *mut nlmqtt_listener_config,
    cert_file: *const c_char,
    key_file: *const c_char,
) -> nlmqtt_status {
    change(config, |listener| {
        listener.set("cert", unsafe { string(cert_file, "cert_file") }?)?;
        Ok(listener.set("key", unsafe { string(key_file, "key_file") }?)?)
    })
}

/// Keys client_cert, identity, ca and crl: whether clients show certificates (NLMQTT_CLIENT_CERTIFICATE_*), what of them is the user name
/// (NLMQTT_IDENTITY_*, with REQUIRE only), who may sign them, and which were revoked (PEM files; `crl_file` may be NULL, `ca_file` with NONE, too).
/// The paths are copied. CONFIG: not such numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_client_certificates(
    config: *mut nlmqtt_listener_config,
    mode: i32,
    identity: i32,
    ca_file: *const c_char,
    crl_file: *const c_char,
) -> nlmqtt_status {
    change(config, |listener| {
        let words = [("client_cert", word(&["none", "request", "require"], mode)), ("identity", word(&["none", "cn", "san", "fingerprint"], identity))];
        put(listener, &words)?;
        put(listener, &[unsafe { setting("ca", ca_file, "ca_file") }?, unsafe { setting("crl", crl_file, "crl_file") }?])
    })
}

/// Keys tls_min and alpn: the oldest version of TLS (NLMQTT_TLS_VERSION_*), and protocols of ALPN (RFC 7301), separated by commas, the dearest first;
/// NULL: none. Copied. CONFIG: not such a number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_tls(config: *mut nlmqtt_listener_config, version_min: i32, alpn: *const c_char) -> nlmqtt_status {
    let version = word(&["1.2", "1.3"], version_min.wrapping_sub(NLMQTT_TLS_VERSION_1_2));
    change(config, |listener| put(listener, &[("tls_min", version), unsafe { setting("alpn", alpn, "alpn") }?]))
}

/// Keys paths and origins: paths of a WebSocket that are served besides the one in the URI, such as "/mqtt,/console", and origins whose pages are let
/// in, such as "https://console.example" (RFC 6454 section 6.2); NULL: all. Copied. CONFIG: not a list of paths.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_websocket(
    config: *mut nlmqtt_listener_config,
    paths: *const c_char,
    origins: *const c_char,
) -> nlmqtt_status {
    change(config, |listener| put(listener, &[unsafe { setting("paths", paths, "paths") }?, unsafe { setting("origins", origins, "origins") }?]))
}

/// Keys proxy and proxy_trusted: whether the header of the PROXY protocol is expected (NLMQTT_PROXY_POLICY_*), and the addresses or networks of those
/// who are believed about whom they connect, in that header and in X-Forwarded-For; NULL: nobody. Copied. CONFIG: not such a number, or not such a
/// list.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_proxy(config: *mut nlmqtt_listener_config, policy: i32, trusted: *const c_char) -> nlmqtt_status {
    let policy = word(&["off", "optional", "required"], policy);
    change(config, |listener| put(listener, &[("proxy", policy), unsafe { setting("proxy_trusted", trusted, "trusted") }?]))
}

/// Key backlog: connections that wait to be accepted; the kernel may allow fewer. CONFIG: 0, or more than 65,535.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_backlog(config: *mut nlmqtt_listener_config, backlog: u32) -> nlmqtt_status {
    set(config, &[("backlog", Some(backlog.to_string()))])
}

/// Keys tcp_keepalive_s and tcp_user_timeout_ms: seconds of silence before TCP asks whether the other side is there, three times, and milliseconds
/// TCP may wait for an acknowledgement (RFC 5482); 0: it does not ask, and waits as the kernel says. CONFIG: more than 32,767 seconds, or than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_tcp(config: *mut nlmqtt_listener_config, keepalive_s: u16, user_timeout_ms: u32) -> nlmqtt_status {
    set(config, &[("tcp_keepalive_s", Some(keepalive_s.to_string())), ("tcp_user_timeout_ms", Some(user_timeout_ms.to_string()))])
}

/// Keys rudp_max_half_open, rudp_max_half_open_per_source and rudp_max_unproven: clients of reliable UDP at one time whose first packet is not there
/// yet, in all and of one address, and those of generation 1, and likewise of udp://, whose address is not proved. 0: the default (256, 32, 64). Who is
/// above that is turned away and counted (`datagram_newcomers_refused`), unless, with udp://, somebody was silent for too long (key rudp_bare_grace_ms),
/// whose place it gets (`datagram_gave_way`). CONFIG: more than 10,000, 10,000, 100,000, or a build without reliable UDP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_rudp_newcomers(
    config: *mut nlmqtt_listener_config,
    half_open_max: u32,
    half_open_per_source_max: u32,
    unproven_max: u32,
) -> nlmqtt_status {
    let settings = [("rudp_max_half_open", half_open_max), ("rudp_max_half_open_per_source", half_open_per_source_max), ("rudp_max_unproven", unproven_max)];
    set(config, &settings.map(|(key, number)| (key, unless_zero(number))))
}

/// Keys rudp_rate_newcomers and rudp_rate_resets: CONNECTs of generation 1 and udp:// of one address in a second, and answers in a second to those who believe
/// in a connection that is not there; 0: none is given. What is above that is dropped and counted (`datagram_newcomers_refused`,
/// `datagram_replies_dropped`). CONFIG: 0 newcomers, more than 1,000,000, or a build without reliable UDP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_rudp_rates(config: *mut nlmqtt_listener_config, newcomers: u32, resets: u32) -> nlmqtt_status {
    set(config, &[("rudp_rate_newcomers", Some(newcomers.to_string())), ("rudp_rate_resets", Some(resets.to_string()))])
}

/// Keys rudp_gap_timeout_ms and rudp_silent_timeout_s, of generation 1: milliseconds a missing packet is waited for before those behind it are handed on,
/// and seconds of silence after which a client is forgotten (of udp://, too), unless 1.5 times its MQTT keep-alive is longer. 0: the default (20,000, 300).
/// CONFIG: more than a minute, or than a day; or a build without reliable UDP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_rudp_patience(
    config: *mut nlmqtt_listener_config,
    gap_timeout_ms: u32,
    silent_timeout_s: u32,
) -> nlmqtt_status {
    set(config, &[("rudp_gap_timeout_ms", unless_zero(gap_timeout_ms)), ("rudp_silent_timeout_s", unless_zero(silent_timeout_s))])
}

/// Keys rudp_bare and rudp_bare_trusted: bare packets in datagrams (udp://) are taken at this port, too, which anybody can forge; and the addresses or networks
/// that are believed to be where such packets come from, while others get no more bytes than they send (NULL: those of this host only). Copied. CONFIG: not
/// such a list, or a build without reliable UDP.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_rudp_bare(config: *mut nlmqtt_listener_config, enabled: bool, trusted: *const c_char) -> nlmqtt_status {
    change(config, |listener| put(listener, &[("rudp_bare", Some(enabled.to_string())), unsafe { setting("rudp_bare_trusted", trusted, "trusted") }?]))
}

/// Key dscp: the class of the packets that are sent (RFC 2474). CONFIG: more than 63.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_dscp(config: *mut nlmqtt_listener_config, dscp: u8) -> nlmqtt_status {
    set(config, &[("dscp", Some(dscp.to_string()))])
}

/// Keys mode and owner: permissions of the file of a Unix socket, such as 0660, and who is to own it: "USER", "USER:GROUP" or ":GROUP", by name or
/// number; NULL: nobody else. Copied. CONFIG: more than 0777.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_listener_config_set_unix_file(config: *mut nlmqtt_listener_config, mode: u32, owner: *const c_char) -> nlmqtt_status {
    change(config, |listener| put(listener, &[("mode", Some(format!("{mode:04o}"))), unsafe { setting("owner", owner, "owner") }?]))
}

/// Adds a listener: a copy of `listener`, which stays the caller's. CONFIG: its options do not go together, the last error says which, or there is one at its
/// address already; UNSUPPORTED: a transport this build does not have. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_add_listener_config(config: *mut nlmqtt_server_config, listener: *const nlmqtt_listener_config) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.config.add_listener(&unsafe { reference(listener, "listener") }?.0)?)
    })
}
