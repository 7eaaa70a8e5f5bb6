//! The configuration of a client: a builder with typed setters and one generic one.

use std::ffi::{c_char, c_void};

use super::config_keys::problems_to_failure;
use super::{
    Failure, NLMQTT_CONFIG, NLMQTT_IO, NLMQTT_UNSUPPORTED, Outcome, bytes, check_out, fence, fence_or, nlmqtt_properties, nlmqtt_status, optional_string,
    qos_of, reference, reference_mut, string, topic_name,
};
use crate::codec::{Place, PropertyList};
use crate::config::{ClientConfig, Error, Problem};
use crate::proto::client::{Authentication, Will};

/// Options of a client to be made. Used by one thread at a time.
pub struct nlmqtt_client_config(pub(crate) ClientConfig, pub(crate) Vec<Problem>);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = if matches!(error, Error::Scheme { .. } | Error::Feature(_)) { NLMQTT_UNSUPPORTED } else { NLMQTT_CONFIG };
        Self::new(status, error.to_string())
    }
}

/// Every problem in the text, a line each.
pub(crate) fn all_problems<P: ToString>(problems: &[P]) -> Outcome {
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Err(Failure::new(NLMQTT_CONFIG, lines.join("\n")))
}

/// The text of a file.
pub(crate) fn file_text(path: &str) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| Failure::new(NLMQTT_IO, format!("{path}: {error}")))
}

/// What the environment says, as far as it is text.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Default options, without a server. The caller frees them with nlmqtt_client_config_free, any time after
/// nlmqtt_client_new. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_client_config_new() -> *mut nlmqtt_client_config {
    fence_or(core::ptr::null_mut(), || Ok(Box::into_raw(Box::new(nlmqtt_client_config(ClientConfig::default(), Vec::new())))))
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_free(config: *mut nlmqtt_client_config) {
    fence_or((), || {
        if !config.is_null() {
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Adds a server, `SCHEME://user:password@host:port?key=value`: mqtt or tcp (TCP, port 1883 if there is none), mqtts, tls or ssl (TLS, 8883), ws and
/// wss (WebSocket, 80 and 443), rudp and rudps (reliable UDP, 14567), udp (bare packets in datagrams, 1883), quic (with that feature, 14567),
/// unix:///PATH, inproc://NAME. A user name, password or key counts for the whole client.
/// Several servers are a ladder: the one with the lowest `priority` is tried
/// first, the others in turn when it fails, whatever their transports. The one that worked is tried first again when its connection
/// is lost, and the best one again when that is ladder_probe_interval_s ago; nlmqtt_connected tells of each switch. Copied. CONFIG: not
/// such a URI; UNSUPPORTED: a transport this build does not have. Nothing changes then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_add_server(config: *mut nlmqtt_client_config, uri: *const c_char, priority: u32) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.0.add_server(unsafe { string(uri, "uri") }?, priority)?)
    })
}

/// Takes a connection string, `Server=tcp://host:1883;ClientId=id;UserName=name;Password=word;Timeout=15000` (timeout in
/// milliseconds); `,` may separate, too; every key of nlmqtt_client_config_set is understood. Copied. CONFIG: the last error
/// says what is wrong; nothing changes then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_load_connstr(config: *mut nlmqtt_client_config, text: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.0.load_connection_string(unsafe { string(text, "text") }?)?)
    })
}

/// Reads a TOML file of keys, and servers as `[[server]]` tables with `uri` and `priority`. CONFIG: the last error names
/// every problem with its line, nlmqtt_client_config_check tells them, and nothing has changed. IO: the file cannot be read; UNSUPPORTED: a build
/// without TOML.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_load_file(config: *mut nlmqtt_client_config, path: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let text = file_text(unsafe { string(path, "path") }?)?;
        let mut next = config.0.clone();
        config.1 = next.load_toml(&text);
        problems_to_failure(&config.1)?;
        config.0 = next;
        Ok(())
    })
}

/// Sets what variables of the environment say: NLMQTT_ and a key in upper case. CONFIG: the last error
/// names every one that cannot be used; the others have been set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_load_environment(config: *mut nlmqtt_client_config) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        all_problems(&config.0.load_environment(environment()))
    })
}

/// Sets one option by its key, such as "keepalive" to "30"; the README lists the keys. "server" adds a server. Copied.
/// CONFIG: no such key, or not such a value; the last error suggests what may have been meant.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set(config: *mut nlmqtt_client_config, key: *const c_char, value: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let (key, value) = unsafe { (string(key, "key")?, string(value, "value")?) };
        Ok(config.0.set(key, value)?)
    })
}

/// Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
/// `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. CONFIG: no such key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_get(
    config: *const nlmqtt_client_config,
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

/// A text for a buffer of the caller's, as `copy_text`, and its whole length.
///
/// # Safety
/// `buf` has room for `cap` bytes, unless it is NULL; `len_out` may be NULL.
pub(crate) unsafe fn give_text(text: &str, buf: *mut c_char, cap: usize, len_out: *mut usize) -> Outcome<()> {
    if cap > 0 {
        check_out(buf, "buf")?;
    }
    unsafe { copy_text(text, buf, cap) };
    if let Some(len) = unsafe { len_out.as_mut() } {
        *len = text.len();
    }
    Ok(())
}

/// As much of a text as fits, whole characters, and a NUL.
///
/// # Safety
/// `buf` has room for `cap` bytes.
pub(crate) unsafe fn copy_text(text: &str, buf: *mut c_char, cap: usize) {
    if cap == 0 || buf.is_null() {
        return;
    }
    let mut len = text.len().min(cap - 1);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast(), len);
        *buf.add(len) = 0;
    }
}

/// Sets user name and password; either may be NULL for none (MQTT 5 section 3.1.3.5). Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_credentials(
    config: *mut nlmqtt_client_config,
    username: *const c_char,
    password: *const c_void,
    password_len: usize,
) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let username = unsafe { optional_string(username, "username") }?;
        let secret = unsafe { bytes(password, password_len, "password") }?;
        config.0.options.username = username.map(str::to_owned);
        config.0.options.password = (!password.is_null()).then(|| secret.to_vec());
        Ok(())
    })
}

/// Sets the will: what the server publishes when the connection is lost (MQTT 5 section 3.1.2.5). `topic` NULL: no will.
/// `properties` may be NULL; a Will Delay Interval belongs in it. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_will(
    config: *mut nlmqtt_client_config,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
    properties: *const nlmqtt_properties,
) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        if topic.is_null() {
            config.0.options.will = None;
            return Ok(());
        }
        let (topic, payload) = unsafe { (topic_name(topic)?, bytes(payload, len, "payload")?) };
        let properties = unsafe { property_list(properties, Place::Will) }?;
        let will = Will { topic: topic.to_owned(), payload: payload.to_vec(), qos: qos_of(qos)?, retain, properties };
        config.0.options.will = Some(will);
        Ok(())
    })
}

/// Sets user properties and the two Request ... Information properties of CONNECT (MQTT 5 section 3.1.2.11); the others
/// have keys. NULL: none. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_connect_properties(config: *mut nlmqtt_client_config, properties: *const nlmqtt_properties) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        config.0.options.connect_properties = unsafe { property_list(properties, Place::Connect) }?;
        Ok(())
    })
}

/// Sets method and first data of enhanced authentication (MQTT 5 section 4.12). `method` NULL: none. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_authentication(
    config: *mut nlmqtt_client_config,
    method: *const c_char,
    data: *const c_void,
    len: usize,
) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let method = unsafe { optional_string(method, "method") }?;
        let data = unsafe { bytes(data, len, "data") }?;
        let whole = |method: &str| Authentication { method: method.to_owned(), data: data.to_vec() };
        config.0.options.authentication = method.map(whole);
        Ok(())
    })
}

/// A copy of what the caller lends; empty for NULL.
pub(crate) unsafe fn property_list(properties: *const nlmqtt_properties, place: Place) -> Outcome<PropertyList> {
    let mut list = PropertyList::new();
    if let Some(properties) = unsafe { properties.as_ref() } {
        list.extend_filtered(properties.checked(place)?, |_| true);
    }
    Ok(list)
}
