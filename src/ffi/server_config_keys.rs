//! Configuration of a server by keys with types; see `config_keys`.

use std::ffi::{c_char, c_void};

use super::config_keys::{each_key, flag, number};
use super::server_config::nlmqtt_server_config;
use super::{check_out, fence, nlmqtt_key_fn, nlmqtt_status, reference, reference_mut, string};
use crate::config::{self, Value};

/// Tells every key of a server's configuration to `each`, in the order of the documentation. INVALID_ARGUMENT: `each` is NULL. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_each_key(each: nlmqtt_key_fn, user_data: *mut c_void) -> nlmqtt_status {
    fence(|| each_key(config::server_keys(), each, user_data))
}

/// Sets an option that is true or false. CONFIG: no such key, or of another kind; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_bool(config: *mut nlmqtt_server_config, key: *const c_char, value: bool) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            unsafe { string(key, "key") }?,
            Value::Bool(value),
        )?)
    })
}

/// Sets an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, of another kind, or out
/// of range; nothing has changed then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_number(config: *mut nlmqtt_server_config, key: *const c_char, value: u64) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            unsafe { string(key, "key") }?,
            Value::Number(value),
        )?)
    })
}

/// The value of an option that is true or false. CONFIG: no such key, or of another kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_get_bool(config: *const nlmqtt_server_config, key: *const c_char, value_out: *mut bool) -> nlmqtt_status {
    fence(|| {
        let value = flag(config::server_keys(), &unsafe { reference(config, "config") }?.config, unsafe { string(key, "key") }?)?;
        check_out(value_out, "value_out")?;
        unsafe { *value_out = value };
        Ok(())
    })
}

/// The value of an option that is a number, bytes, or a life time in seconds (4,294,967,295: never). CONFIG: no such key, or of another kind.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_get_number(config: *const nlmqtt_server_config, key: *const c_char, value_out: *mut u64) -> nlmqtt_status {
    fence(|| {
        let value = number(config::server_keys(), &unsafe { reference(config, "config") }?.config, unsafe { string(key, "key") }?)?;
        check_out(value_out, "value_out")?;
        unsafe { *value_out = value };
        Ok(())
    })
}

/// Let clients without a user name in. Not set: on loopback only.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_allow_anonymous(config: *mut nlmqtt_server_config, allow_anonymous: bool) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(config::server_keys(), &mut unsafe { reference_mut(config, "config") }?.config, "allow_anonymous", Value::Bool(allow_anonymous))?)
    })
}

/// Connections at one time. CONFIG: 0, or more than 10,000,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_max_connections(config: *mut nlmqtt_server_config, max_connections: u32) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "max_connections",
            Value::Number(max_connections.into()),
        )?)
    })
}

/// The largest packet a client may send, in bytes. CONFIG: less than 128, or more than MQTT knows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_max_packet_bytes(config: *mut nlmqtt_server_config, packet_bytes: u32) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "max_packet_size",
            Value::Number(packet_bytes.into()),
        )?)
    })
}

/// How many messages, and bytes of them, wait in one session; 0: any number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_queue_limits(config: *mut nlmqtt_server_config, messages_max: u32, bytes_max: u32) -> nlmqtt_status {
    fence(|| {
        let config = &mut unsafe { reference_mut(config, "config") }?.config;
        let mut next = config.clone();
        config::set_value(config::server_keys(), &mut next, "max_queued_messages", Value::Number(messages_max.into()))?;
        config::set_value(config::server_keys(), &mut next, "max_queued_bytes", Value::Number(bytes_max.into()))?;
        *config = next;
        Ok(())
    })
}

/// The longest keep-alive in seconds; 0: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_max_keepalive_s(config: *mut nlmqtt_server_config, keepalive_s: u16) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "max_keepalive",
            Value::Number(keepalive_s.into()),
        )?)
    })
}

/// The longest life of a session whose client is away, in seconds; 4,294,967,295: for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_session_expiry_max_s(config: *mut nlmqtt_server_config, session_expiry_s: u32) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "persistent_client_expiration",
            Value::Number(session_expiry_s.into()),
        )?)
    })
}

/// Time for the late answer of a hook. CONFIG: 0, or more than a day.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_hook_timeout_ms(config: *mut nlmqtt_server_config, timeout_ms: u32) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "hook_timeout_ms",
            Value::Number(timeout_ms.into()),
        )?)
    })
}

/// Bytes of everything that waits in the private runtime of a server. CONFIG: less than 1 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_config_set_memory_limit(config: *mut nlmqtt_server_config, limit_bytes: u32) -> nlmqtt_status {
    fence(|| {
        Ok(config::set_value(
            config::server_keys(),
            &mut unsafe { reference_mut(config, "config") }?.config,
            "memory_limit",
            Value::Number(limit_bytes.into()),
        )?)
    })
}
