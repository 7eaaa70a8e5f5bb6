//! Configuration of a server: keys, TOML, listeners.

use std::ffi::{c_char, c_void};

use super::client_config::{all_problems, copy_text, environment, file_text};
use super::{Failure, NLMQTT_CONFIG, check_out, fence, fence_or, nlmqtt_status, reference, reference_mut, string};
use crate::config::{Problem, ServerConfig};

/// Options of a server and where it listens. Used by one thread at a time.
#[derive(Clone, Default)]
pub struct nlmqtt_server_config {
    pub(crate) config: ServerConfig,
    problems: Vec<Problem>,
}

/// Is told one problem of a configuration file; `line` is 0 where it is about no single line. `text` is borrowed until it
/// returns.
pub type nlmqtt_problem_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, line: usize, text: *const c_char)>;

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
pub unsafe extern "C" fn nlmqtt_server_config_get(config: *const nlmqtt_server_config, key: *const c_char, buf: *mut c_char, cap: usize, len_out: *mut usize) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        let value = config.config.print(unsafe { string(key, "key") }?)?;
        if cap > 0 {
            check_out(buf, "buf")?;
        }
        unsafe { copy_text(&value, buf, cap) };
        if let Some(len) = unsafe { len_out.as_mut() } {
            *len = value.len();
        }
        Ok(())
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

/// Adds a listener: `mqtt://ADDRESS:PORT`. Port 0 takes a free one, no port is 1883, no address or `*` is every address,
/// `localhost` is 127.0.0.1 and ::1. UNSUPPORTED: a transport this build does not have; CONFIG: not a URI of a listener, or
/// there already.
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

/// Reads a TOML file: flat keys as in nlmqtt_server_config_set, and `[[listener]]` tables with `uri`, or `address` and
/// `port`. All or nothing: with a problem in it nothing changes, the last error names the first one, and
/// nlmqtt_server_config_check all of them. IO: it cannot be read; CONFIG: it has problems.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_file(config: *mut nlmqtt_server_config, path: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let path = unsafe { string(path, "path") }?;
        let text = file_text(path)?;
        let mut loaded = config.config.clone();
        config.problems = loaded.load_toml(&text);
        match config.problems.split_first() {
            None => config.config = loaded,
            Some((first, rest)) => {
                let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
                return Err(Failure::new(NLMQTT_CONFIG, format!("{path}: {first}{more}")));
            }
        }
        Ok(())
    })
}

/// Tells every problem of the last nlmqtt_server_config_load_file to `problem` (may be NULL), on this thread. OK: there is
/// none; CONFIG: there are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_check(config: *const nlmqtt_server_config, problem: nlmqtt_problem_fn, user_data: *mut c_void) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        for found in &config.problems {
            let text = std::ffi::CString::new(found.error.to_string().replace('\0', " ")).unwrap_or_default();
            if let Some(problem) = problem {
                unsafe { problem(user_data, found.line, text.as_ptr()) }
            }
        }
        match config.problems.len() {
            0 => Ok(()),
            count => Err(Failure::new(NLMQTT_CONFIG, format!("{count} problems"))),
        }
    })
}
