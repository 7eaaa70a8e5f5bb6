//! A server by text: control with JSON, metrics.

use std::ffi::{c_char, c_void};

#[cfg(not(feature = "json"))]
use super::NLMQTT_UNSUPPORTED;
use super::properties::terminated;
use super::{Failure, Outcome, fence_on, nlmqtt_server, nlmqtt_status, optional_string, string};
#[cfg(feature = "json")]
use super::{NLMQTT_CONFIG, NLMQTT_LIMIT, NLMQTT_NOT_FOUND, server::ServerInner};

/// Prometheus' text format 0.0.4, for `Content-Type: text/plain; version=0.0.4`.
pub const NLMQTT_METRICS_PROMETHEUS: i32 = 1;
/// One JSON object, a number for each name.
pub const NLMQTT_METRICS_JSON: i32 = 2;

/// Is told a text, on the thread of the call: `len` bytes of UTF-8 and a NUL. Borrowed until it returns.
pub type nlmqtt_text_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, text: *const c_char, len: usize)>;

unsafe fn tell(text: &str, answer: nlmqtt_text_fn, user_data: *mut c_void) -> Outcome {
    let answer = answer.ok_or_else(|| Failure::invalid("answer is NULL"))?;
    let text = terminated(text.as_bytes());
    unsafe { answer(user_data, text.as_ptr().cast(), text.len() - 1) };
    Ok(())
}

/// Tells every counter and gauge to `answer` as one text, on this thread; `format`: NLMQTT_METRICS_*. Waits. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_metrics(server: *const nlmqtt_server, format: i32, answer: nlmqtt_text_fn, user_data: *mut c_void) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let as_json = match format {
                NLMQTT_METRICS_PROMETHEUS => false,
                NLMQTT_METRICS_JSON => true,
                _ => return Err(Failure::invalid(format!("{format} is no format of metrics"))),
            };
            tell(&inner.running()?.metrics(as_json)?, answer, user_data)
        })
    }
}

/// Administration by JSON: `parameters` is a JSON object (NULL: none), `answer` is told the JSON of the result, on this thread. Waits.
///
/// | method | parameters | result |
/// |---|---|---|
/// | `clients` | `limit` (1,000), `offset` | `total`, `clients` |
/// | `client` | `client_id` | the client, with its `subscriptions`, and `datagrams` (`protocol` rudp1, rudp2, quic or udp) or null |
/// | `kick` | `client_id`, `reason` (152), `end_session` | - |
/// | `ban` | `client_id`, `username` or `address`; `seconds` (0: for good) | - |
/// | `unban` | `client_id`, `username` or `address` | - |
/// | `bans` | - | the bans |
/// | `subscribe` | `client_id`, `filter`, `qos` (0) | - |
/// | `unsubscribe` | `client_id`, `filter` | - |
/// | `retained` | `filter` (`#`), `limit` (1,000) | `messages` (16 MiB at most), `truncated` |
/// | `retained_get` | `topic` | the message |
/// | `retained_delete` | `filter` | `deleted` |
/// | `publish` | `topic`, `payload` or `payload_hex`, `qos` (0), `retain` | `subscriptions` it met |
/// | `statistics` | - | every counter and gauge |
/// | `configuration` | - | every key, and `listener` |
/// | `configuration_check` | `configuration` (an object) or `toml` (a text) | `problems` |
/// | `configuration_reload` | `configuration` or `toml`, the whole | `applied`, `needs_restart`, `failed` |
///
/// INVALID_ARGUMENT: no such method, or its parameters cannot be used; NOT_FOUND: no such client, topic or ban; LIMIT: a limit is reached;
/// CONFIG: the configuration has problems; the last error says which. Nothing has happened then, and `answer` is not called. UNSUPPORTED: a
/// build without JSON. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_control(
    server: *mut nlmqtt_server,
    method: *const c_char,
    parameters: *const c_char,
    answer: nlmqtt_text_fn,
    user_data: *mut c_void,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (method, parameters) = (string(method, "method")?, optional_string(parameters, "parameters")?.unwrap_or_default());
            if answer.is_none() {
                return Err(Failure::invalid("answer is NULL"));
            }
            #[cfg(feature = "json")]
            return tell(&control(inner, method, parameters)?, answer, user_data);
            #[cfg(not(feature = "json"))]
            {
                let _ = (inner, method, parameters, user_data);
                Err(Failure::new(NLMQTT_UNSUPPORTED, "this build has no JSON"))
            }
        })
    }
}

/// The configuration is the handle's, everything else the broker's.
#[cfg(feature = "json")]
fn control(inner: &ServerInner, method: &str, parameters: &str) -> Outcome<String> {
    use crate::server::{changes_json, given_config, problems_json};
    match method {
        "configuration" => Ok(inner.state().config.to_json()),
        "configuration_check" => Ok(problems_json(&given_config(parameters)?.1)),
        "configuration_reload" => {
            let (config, problems) = given_config(parameters)?;
            if !problems.is_empty() {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                return Err(Failure::new(NLMQTT_CONFIG, lines.join("\n")));
            }
            Ok(changes_json(&inner.take_config(&config)?))
        }
        _ => Ok(inner.running()?.control(method, parameters)??),
    }
}

#[cfg(feature = "json")]
impl From<crate::service::ControlError> for Failure {
    fn from(error: crate::service::ControlError) -> Self {
        use crate::service::ControlError as E;
        match error {
            E::Invalid(text) => Self::invalid(text),
            E::NotFound(text) => Self::new(NLMQTT_NOT_FOUND, text),
            E::Limit(limit) => Self::new(NLMQTT_LIMIT, format!("the limit {limit} is reached")),
        }
    }
}
