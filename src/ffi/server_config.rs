//! Configuration of a server: keys, TOML, listeners.

use std::ffi::{c_char, c_void};

use super::client_config::{all_problems, environment, file_text, give_text};
use super::config_keys::{nlmqtt_problem_fn, tell_problems};
use super::{Failure, NLMQTT_CONFIG, NLMQTT_UNSUPPORTED, Outcome, fence, fence_or, nlmqtt_status, reference, reference_mut, string};
use crate::config::{Error, Problem, ServerConfig};

/// Options of a server and where it listens. Used by one thread at a time.
#[derive(Clone, Default)]
pub struct nlmqtt_server_config {
    pub(crate) config: ServerConfig,
    problems: Vec<Problem>,
}

/// The defaults, and no listener. The caller frees it with nlmqtt_server_config_free. NULL if memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_server_config_new() -> *mut nlmqtt_server_config {
    fence_or(core::ptr::null_mut(), || Ok(Box::into_raw(Box::default())))
}

/// Frees a configuration; servers made with it have their own copy. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_free(config: *mut nlmqtt_server_config) {
    fence_or((), || {
        if !config.is_null() {
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Sets one option from text. Keys bear the names mosquitto.conf gives the same option, such as `max_connections`; the key
/// `listener` adds a listener. CONFIG: no such key, or a value that cannot be used; the
/// last error says what is there instead. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set(config: *mut nlmqtt_server_config, key: *const c_char, value: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let (key, value) = unsafe { (string(key, "key")?, string(value, "value")?) };
        Ok(config.config.set(key, value)?)
    })
}

/// Copies the value of an option into `buf`, cut to `cap` bytes with the NUL, and its whole length without the NUL into
/// `len_out` (may be NULL). `buf` may be NULL if `cap` is 0. CONFIG: no such key.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_get(
    config: *const nlmqtt_server_config,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    len_out: *mut usize,
) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        let value = config.config.print(unsafe { string(key, "key") }?)?;
        unsafe { give_text(&value, buf, cap, len_out) }
    })
}

/// Sets the options that environment variables name: `NLMQTT_` and the key in upper case. CONFIG: some cannot be used, the
/// last error has a line for each; the others are set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_environment(config: *mut nlmqtt_server_config) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        all_problems(&config.config.load_environment(environment()))
    })
}

/// Adds a listener, `SCHEME://ADDRESS:PORT`: mqtt or tcp (TCP, port 1883 if there is none), mqtts, tls or ssl (TLS, 8883), ws and wss (WebSocket, 8083
/// and 8084), rudp and rudps (reliable UDP, 14567), udp (bare packets in datagrams, 1883), quic (with that feature, 14567); `inproc://NAME` inside
/// the process; or `unix:///PATH` for a Unix socket, whose file is made at the start and removed at the stop (one that is there is
/// replaced only if nobody listens behind it). Options of its own are in the query, `?max_connections=10&rate_messages=100`; the README has
/// the table. Port 0 takes a free one, no address or `*` is every address, `localhost` is 127.0.0.1 and ::1. UNSUPPORTED:
/// a transport this build does not have; CONFIG: not a URI of a listener, or there already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_add_listener(config: *mut nlmqtt_server_config, uri: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.config.add_listener_uri(unsafe { string(uri, "uri") }?)?)
    })
}

/// How many listeners there are; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_listener_count(config: *const nlmqtt_server_config) -> usize {
    fence_or(0, || Ok(unsafe { reference(config, "config") }?.config.listeners.len()))
}

/// Reads a TOML file: flat keys as in nlmqtt_server_config_set, and `[[listener]]` tables with `uri`, or `protocol`, `address` and
/// `port` as in mosquitto.conf, and options. All or nothing: with a problem in it nothing changes, the last error names the first one, and
/// nlmqtt_server_config_check all of them. IO: it cannot be read; CONFIG: it has problems; UNSUPPORTED: a build without TOML.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_file(config: *mut nlmqtt_server_config, path: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let path = unsafe { string(path, "path") }?;
        let text = file_text(path)?;
        config.load(|loaded| loaded.load_toml(&text), &format!("{path}: "))
    })
}

/// As nlmqtt_server_config_load_file, with the text of a JSON object: keys, and `listener` as a URI, an object as a `[[listener]]` table, or an array of these.
/// Copied. CONFIG: it has problems, nothing has changed; UNSUPPORTED: a build without JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_json(config: *mut nlmqtt_server_config, text: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let text = unsafe { string(text, "text") }?;
        config.load(|loaded| loaded.load_json(text), "")
    })
}

/// Takes a connection string, `listener=mqtt://127.0.0.1:1883;max_connections=100`, of any keys. Copied. CONFIG: the last error says what
/// is wrong; nothing changes then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_connstr(config: *mut nlmqtt_server_config, text: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        Ok(config.config.load_connection_string(unsafe { string(text, "text") }?)?)
    })
}

impl nlmqtt_server_config {
    /// Takes what `read` sets, if it finds no problem.
    fn load(&mut self, read: impl FnOnce(&mut ServerConfig) -> Vec<Problem>, place: &str) -> Outcome {
        let mut loaded = self.config.clone();
        self.problems = read(&mut loaded);
        match self.problems.split_first() {
            None => self.config = loaded,
            Some((first, rest)) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                let status = if matches!(first.error, Error::Feature(_)) { NLMQTT_UNSUPPORTED } else { NLMQTT_CONFIG };
                return Err(Failure::new(status, format!("{place}{first}{more}")));
            }
        }
        Ok(())
    }
}

/// Tells every problem to `problem` (may be NULL), on this thread: those of the last file or JSON, or else what cannot work together. OK:
/// there is none; CONFIG: there are, and the last error has a line for each. `problem` may free `config`. Files of TLS are read at the start, not here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_check(config: *const nlmqtt_server_config, problem: nlmqtt_problem_fn, user_data: *mut c_void) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        tell_problems(if config.problems.is_empty() { config.config.check() } else { config.problems.clone() }, problem, user_data)
    })
}
