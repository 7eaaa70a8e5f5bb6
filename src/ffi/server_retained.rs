//! Retained messages of a running server: got, listed, set, cleared. Past hooks that decide and access control: these are calls of the owner.

use std::ffi::{c_char, c_void};

use super::message::{publish_properties, qos_of, topic_name};
use super::{
    Failure, NLMQTT_LIMIT, NLMQTT_NOT_FOUND, bytes, check_out, fence_on, nlmqtt_message, nlmqtt_message_ref, nlmqtt_properties, nlmqtt_server,
    nlmqtt_server_message_fn, nlmqtt_status, string,
};
use crate::server::Publication;

/// The retained message of a topic (MQTT 5 section 3.3.1.3). The caller releases it with nlmqtt_message_unref. Waits. NOT_FOUND: there is
/// none. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_retained_get(
    server: *const nlmqtt_server,
    topic: *const c_char,
    message_out: *mut *mut nlmqtt_message,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let topic = topic_name(topic)?;
            check_out(message_out, "message_out")?;
            let found = inner.running()?.retained(topic)?;
            let found = found.ok_or_else(|| Failure::new(NLMQTT_NOT_FOUND, format!("nothing is retained for '{topic}'")))?;
            let lent = nlmqtt_message::published(&found);
            *message_out = nlmqtt_message_ref(&raw const lent);
            Ok(())
        })
    }
}

/// Tells the retained messages that meet `filter` to `each`, sorted by topic, on this thread. They are fetched in parts: what changes
/// meanwhile may be seen or not. Each message is lent; keep it with nlmqtt_message_ref. Waits. INVALID_ARGUMENT: not a plain topic filter.
/// WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_each_retained(
    server: *const nlmqtt_server,
    filter: *const c_char,
    each: nlmqtt_server_message_fn,
    user_data: *mut c_void,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let filter = string(filter, "filter")?;
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            let running = inner.running()?;
            running.each_retained(filter, |message| {
                let lent = nlmqtt_message::published(message);
                each(user_data, &raw const lent);
                true
            })?;
            Ok(())
        })
    }
}

/// Keeps a message as the retained one of `topic`, and sends nobody anything; without a payload it clears it. Copied. `properties` may be
/// NULL. LIMIT: there is no room.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_retained_set(
    server: *mut nlmqtt_server,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    properties: *const nlmqtt_properties,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (topic, payload) = (topic_name(topic)?, bytes(payload, len, "payload")?);
            let (kept, expiry_s) = publish_properties(properties.as_ref())?;
            let publication = Publication { topic, payload, qos: qos_of(qos)?, retain: true, properties: kept.as_properties(), expiry_s };
            match inner.running()?.set_retained(&publication)? {
                true => Ok(()),
                false => Err(Failure::new(NLMQTT_LIMIT, "the store of retained messages is full")),
            }
        })
    }
}

/// Forgets the retained messages of all topics that meet `filter`, and sends nobody anything. `count_out` (may be NULL): how many those
/// were, 0 inside a callback. INVALID_ARGUMENT: not a plain topic filter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_retained_clear(server: *mut nlmqtt_server, filter: *const c_char, count_out: *mut usize) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let count = inner.running()?.clear_retained(string(filter, "filter")?)?;
            if let Some(out) = count_out.as_mut() {
                *out = count;
            }
            Ok(())
        })
    }
}
