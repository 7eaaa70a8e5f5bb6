//! Configuration of a server: keys, TOML, listeners.

use std::ffi::{c_char, c_void};

use super::{
    Failure, NLMQTT_CONFIG, NLMQTT_IO, NLMQTT_NOT_FOUND, NLMQTT_UNSUPPORTED, Outcome, fence, fence_or, nlmqtt_status, reference,
    reference_mut, string,
};
use crate::config::{Error, Problem, ServerConfig};

/// Options of a server and where it listens. Used by one thread at a time.
#[derive(Clone, Default)]
pub struct nlmqtt_server_config {
    pub(crate) config: ServerConfig,
    problems: Vec<Problem>,
}

/// Is told one problem of a configuration file; `line` is 0 where it is about no single line. `text` is borrowed until it
/// returns.
pub type nlmqtt_problem_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, line: usize, text: *const c_char)>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Scheme { .. } => NLMQTT_UNSUPPORTED,
            Error::UnknownKey { .. } => NLMQTT_NOT_FOUND,
            _ => NLMQTT_CONFIG,
        };
        Self::new(status, error.to_string())
    }
}

/// Copies text into a caller's buffer, cut to its size with the NUL.
pub(crate) unsafe fn copy_text(text: &str, buf: *mut c_char, cap: usize) -> Outcome {
    if buf.is_null() || cap == 0 {
        return Err(Failure::invalid("buf is NULL or cap is 0"));
    }
    if text.len() >= cap {
        return Err(Failure::new(super::NLMQTT_TOO_LARGE, format!("{} bytes are needed", text.len() + 1)));
    }
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast(), text.len());
        *buf.add(text.len()) = 0;
    }
    Ok(())
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
/// `listener` adds a listener. NOT_FOUND: no such key; CONFIG: a value that cannot be used. Nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set(config: *mut nlmqtt_server_config, key: *const c_char, value: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let (key, value) = unsafe { (string(key, "key")?, string(value, "value")?) };
        Ok(config.config.set(key, value)?)
    })
}

/// The value of an option as text, copied into `buf`. NOT_FOUND: no such key; TOO_LARGE: `cap` bytes are too few.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_get(config: *const nlmqtt_server_config, key: *const c_char, buf: *mut c_char, cap: usize) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference(config, "config") }?;
        let value = config.config.print(unsafe { string(key, "key") }?)?;
        unsafe { copy_text(&value, buf, cap) }
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

/// Reads a TOML file: flat keys as in nlmqtt_server_config_set, and `[[listener]]` tables with `uri`, or `address` and
/// `port`. All or nothing: with a problem in it nothing changes, the last error names the first one, and
/// nlmqtt_server_config_check all of them. IO: it cannot be read; CONFIG: it has problems.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_load_file(config: *mut nlmqtt_server_config, path: *const c_char) -> nlmqtt_status {
    fence(|| {
        let config = unsafe { reference_mut(config, "config") }?;
        let path = unsafe { string(path, "path") }?;
        let unreadable = |error| Failure::new(NLMQTT_IO, format!("{path}: {error}"));
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
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
