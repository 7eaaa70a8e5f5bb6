//! Configuration by keys: the tables of keys as documentation, typed setters, and what is wrong with a configuration.
//!
//! One table of keys serves every way to configure; these functions are the way with types.

use std::ffi::{c_char, c_void};

use super::client_config::nlmqtt_client_config;
use super::properties::terminated;
use super::{Failure, NLMQTT_CONFIG, NLMQTT_UNSUPPORTED, Outcome, check_out, fence, nlmqtt_status, nlmqtt_str, reference, reference_mut, string};
use crate::config::{self, ClientConfig, Error, Key, Kind, Problem, Value};

/// `true` or `false`.
pub const NLMQTT_KIND_BOOL: i32 = 1;
/// A whole number.
pub const NLMQTT_KIND_NUMBER: i32 = 2;
/// A number of bytes; as text, `k`, `M` or `G` may follow.
pub const NLMQTT_KIND_BYTES: i32 = 3;
/// Seconds; as text, `90s`, `12h`, `3d`, `2w`, `6m`, `1y` or `never`.
pub const NLMQTT_KIND_LIFETIME: i32 = 4;
/// Any text.
pub const NLMQTT_KIND_TEXT: i32 = 5;
/// Text that is not to be shown.
pub const NLMQTT_KIND_SECRET: i32 = 6;
/// An IP address, or nothing.
pub const NLMQTT_KIND_ADDRESS: i32 = 7;
/// One of the words in `expected`.
pub const NLMQTT_KIND_CHOICE: i32 = 8;

/// One key of a configuration. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_key_info {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// Its name: of nlmqtt_*_config_set, a TOML file, JSON and a connection string.
    pub name: nlmqtt_str,
    /// Other names it is known by, separated by `, `; empty: none.
    pub aliases: nlmqtt_str,
    /// What its values are, in words, with their range.
    pub expected: nlmqtt_str,
    /// Its default, as text.
    pub default_value: nlmqtt_str,
    /// Its variable of the environment.
    pub environment: nlmqtt_str,
    /// What it does.
    pub doc: nlmqtt_str,
    /// What its values are: NLMQTT_KIND_*.
    pub kind: i32,
    /// nlmqtt_server_reload changes it in a running server.
    pub live: bool,
}

/// Is told one key of a configuration, on the thread of the call.
pub type nlmqtt_key_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, key: *const nlmqtt_key_info)>;

/// One thing that is wrong with a configuration. Borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_problem {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// Its line in the file or text that was loaded, from 1; 0: it is about no single line.
    pub line: usize,
    /// What is wrong.
    pub text: nlmqtt_str,
    /// What would be right; `data` is NULL where that is not known.
    pub suggestion: nlmqtt_str,
}

/// Is told one problem, on the thread of the call.
pub type nlmqtt_problem_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, problem: *const nlmqtt_problem)>;

fn kind_number(kind: Kind) -> i32 {
    match kind {
        Kind::Bool => NLMQTT_KIND_BOOL,
        Kind::Number(..) => NLMQTT_KIND_NUMBER,
        Kind::Bytes(..) => NLMQTT_KIND_BYTES,
        Kind::Lifetime => NLMQTT_KIND_LIFETIME,
        Kind::Text | Kind::List | Kind::Hashes | Kind::Fields | Kind::Proxy | Kind::Path => NLMQTT_KIND_TEXT,
        Kind::Secret => NLMQTT_KIND_SECRET,
        Kind::Address => NLMQTT_KIND_ADDRESS,
        Kind::Choice(_) => NLMQTT_KIND_CHOICE,
    }
}

pub(crate) fn each_key<T: Default>(keys: &'static [Key<T>], each: nlmqtt_key_fn, user_data: *mut c_void) -> Outcome {
    let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
    for row in config::describe(keys) {
        let texts = [row.name, &row.aliases.join(", "), &row.kind.to_string(), &row.default, &row.environment, row.doc].map(|text| terminated(text.as_bytes()));
        let [name, aliases, expected, default_value, environment, doc] = texts.each_ref().map(|text| nlmqtt_str::of_terminated(text));
        let kind = kind_number(row.kind);
        let info =
            nlmqtt_key_info { struct_size: size_of::<nlmqtt_key_info>(), name, aliases, expected, default_value, environment, doc, kind, live: row.is_live };
        unsafe { each(user_data, &raw const info) }
    }
    Ok(())
}

/// Tells every problem; `Err`: there are some, the text has a line for each.
pub(crate) fn tell_problems(problems: Vec<Problem>, each: nlmqtt_problem_fn, user_data: *mut c_void) -> Outcome {
    for problem in &problems {
        let text = terminated(problem.error.to_string().replace('\0', " ").as_bytes());
        let suggestion = problem.error.suggestion().map(|text| terminated(text.replace('\0', " ").as_bytes()));
        let told = nlmqtt_problem {
            struct_size: size_of::<nlmqtt_problem>(),
            line: problem.line,
            text: nlmqtt_str::of_terminated(&text),
            suggestion: suggestion.as_ref().map_or(nlmqtt_str::NONE, |text| nlmqtt_str::of_terminated(text)),
        };
        if let Some(each) = each {
            unsafe { each(user_data, &raw const told) }
        }
    }
    problems_to_failure(&problems)
}

/// Every problem in the text, a line each.
pub(crate) fn problems_to_failure(problems: &[Problem]) -> Outcome {
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let unsupported = problems.iter().any(|problem| matches!(problem.error, Error::Feature(_)));
    Err(Failure::new(if unsupported { NLMQTT_UNSUPPORTED } else { NLMQTT_CONFIG }, lines.join("\n")))
}

pub(crate) fn number<T>(keys: &'static [Key<T>], config: &T, key: &str) -> Outcome<u64> {
    match config::value_of(keys, config, key)? {
        Value::Number(number) => Ok(number),
        _ => Err(Failure::new(NLMQTT_CONFIG, format!("{key} is no number"))),
    }
}

pub(crate) fn flag<T>(keys: &'static [Key<T>], config: &T, key: &str) -> Outcome<bool> {
    match config::value_of(keys, config, key)? {
        Value::Bool(flag) => Ok(flag),
        _ => Err(Failure::new(NLMQTT_CONFIG, format!("{key} is neither true nor false"))),
    }
}

/// Tells every key of a client's configuration to `each`, in the order of the documentation. INVALID_ARGUMENT: `each` is NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_each_key(each: nlmqtt_key_fn, user_data: *mut c_void) -> nlmqtt_status {
    fence(|| each_key(config::client_keys(), each, user_data))
}

/// Tells every problem of a client's configuration to `problem` (may be NULL), on this thread: those of the last file or JSON, or else what
/// cannot work together; `problem` may free `config`. OK: there is none; CONFIG: there are, and the last error has a line for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_check(config: *const nlmqtt_client_config, problem: nlmqtt_problem_fn, user_data: *mut c_void) -> nlmqtt_status {
    fence(|| {
        let nlmqtt_client_config(config, problems) = unsafe { reference(config, "config") }?;
        tell_problems(if problems.is_empty() { config.check() } else { problems.clone() }, problem, user_data)
    })
}

/// As nlmqtt_client_config_load_file, with the text of a JSON object: keys, and `server` as a URI, an object of `uri` and `priority`, or an
/// array of these. Copied. CONFIG: it has problems, nothing has changed; UNSUPPORTED: a build without JSON.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_load_json(config: *mut nlmqtt_client_config, text: *const c_char) -> nlmqtt_status {
    fence(|| {
        let nlmqtt_client_config(config, problems) = unsafe { reference_mut(config, "config") }?;
        let mut next: ClientConfig = config.clone();
        *problems = next.load_json(unsafe { string(text, "text") }?);
        problems_to_failure(problems)?;
        *config = next;
        Ok(())
    })
}

/// Sets an option that is true or false. CONFIG: no such key, or of another kind; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_bool(config: *mut nlmqtt_client_config, key: *const c_char, value: bool) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(config::client_keys(), &mut unsafe { reference_mut(config, "config") }?.0, unsafe { string(key, "key") }?, Value::Bool(value))?)
    })
}

/// Sets an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, of another kind, or out
/// of range; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_set_number(config: *mut nlmqtt_client_config, key: *const c_char, value: u64) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(config::client_keys(), &mut unsafe { reference_mut(config, "config") }?.0, unsafe { string(key, "key") }?, Value::Number(value))?)
    })
}

/// The value of an option that is true or false. CONFIG: no such key, or of another kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_get_bool(config: *const nlmqtt_client_config, key: *const c_char, value_out: *mut bool) -> nlmqtt_status {
    fence(|| {
        let value = flag(config::client_keys(), &unsafe { reference(config, "config") }?.0, unsafe { string(key, "key") }?)?;
        check_out(value_out, "value_out")?;
        unsafe { *value_out = value };
        Ok(())
    })
}

/// The value of an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, or of another kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_config_get_number(config: *const nlmqtt_client_config, key: *const c_char, value_out: *mut u64) -> nlmqtt_status {
    fence(|| {
        let value = number(config::client_keys(), &unsafe { reference(config, "config") }?.0, unsafe { string(key, "key") }?)?;
        check_out(value_out, "value_out")?;
        unsafe { *value_out = value };
        Ok(())
    })
}
