//! Request and response (MQTT 5 section 4.10), and messages taken instead of handed over.

use std::ffi::{c_char, c_void};

use super::client::{nlmqtt_client, wait_max};
use super::client_callbacks::{complete, nlmqtt_ack, nlmqtt_completion};
use super::client_publish::{Given, PUBLISH_DEFAULTS, nlmqtt_publish_options};
use super::client_requests::give_token;
use super::{Failure, UserData, check_out, fence_on, nlmqtt_free_fn, nlmqtt_message, nlmqtt_status, reference, topic_name};
use crate::base::Duration;
use crate::client::{Completion, CompletionCallback};

/// Called when a request is done. `response` is NULL if there is none; then completion->status says why: TIMEOUT, REFUSED
/// (by the server, reason 0x10: nobody is there to answer), CANCELLED, or as for a publish. Both are borrowed until it returns;
/// nlmqtt_message_ref keeps the response. On the thread that does the work, one callback of a client at a time.
pub type nlmqtt_response_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, completion: *const nlmqtt_completion, response: *const nlmqtt_message)>;

/// Publishes a request and waits at most `timeout_ms` for the response to it (MQTT 5 section 4.10). Response Topic and
/// Correlation Data are chosen by the library; the Response Topic (option response_topic) is subscribed to with the first
/// request, for as long as the client lives. `options` says the rest of the publish, NULL means the defaults; a completion in
/// it is refused, because `response` is it. `response` (may be NULL) is called exactly once if this returns OK; `user_data` is
/// given to it and released with `free_fn` (may be NULL) exactly once, also when the call fails. A request waits for a
/// connection, its time runs meanwhile. `token_out` (may be NULL) names it for nlmqtt_client_wait and nlmqtt_client_cancel.
/// Never waits. Errors as nlmqtt_client_publish; QUEUE_FULL also for more than the option max_requests (then as the
/// completion), UNSUPPORTED (as the completion) before MQTT 5; INVALID_ARGUMENT: a time-out of 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_request(
    client: *mut nlmqtt_client,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    options: *const nlmqtt_publish_options,
    timeout_ms: u32,
    response: nlmqtt_response_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
    token_out: *mut u64,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    let given = unsafe { Given::take(payload, len, options, PUBLISH_DEFAULTS) };
    unsafe {
        fence_on(client, "client", move |inner| {
            let given = given?;
            let topic = topic_name(topic)?;
            if given.has_completion() {
                return Err(Failure::invalid("a request has no completion but its response callback"));
            }
            if timeout_ms == 0 {
                return Err(Failure::invalid("a time-out of 0"));
            }
            let timeout = Duration::from_millis(timeout_ms.into());
            let done = response_callback(response, user);
            let token = given.publish(topic, |publish, _, _| inner.client.request(publish, timeout, done))?;
            give_token(token_out, token);
            Ok(())
        })
    }
}

fn response_callback(call: nlmqtt_response_fn, user: UserData) -> Option<CompletionCallback> {
    let call = call?;
    Some(Box::new(move |token, completion| {
        let user = user;
        let incoming = if let Completion::Responded(incoming) = completion { Some(incoming) } else { None };
        let response =
            incoming.map(|incoming| nlmqtt_message::delivered(&incoming.message, incoming.qos, incoming.retain, incoming.dup, &incoming.subscription_ids));
        let response = response.as_ref().map_or(core::ptr::null(), core::ptr::from_ref);
        complete(token, completion, |info| unsafe { call(user.data, info, response) });
    }))
}

/// Answers a request that came: publishes to its Response Topic with its Correlation Data (MQTT 5 section 4.10). `request` is
/// the message as it came, lent or kept. `options` says the rest, NULL means QoS and nothing else: that of the request. Else
/// as nlmqtt_client_publish_ex. UNSUPPORTED: the message has no Response Topic, it is no request.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_respond(
    client: *mut nlmqtt_client,
    request: *const nlmqtt_message,
    payload: *const c_void,
    len: usize,
    options: *const nlmqtt_publish_options,
    token_out: *mut u64,
) -> nlmqtt_status {
    let qos = unsafe { request.as_ref() }.map_or(0, |request| request.parts().1 as u8);
    let given = unsafe { Given::take(payload, len, options, nlmqtt_publish_options { qos, ..PUBLISH_DEFAULTS }) };
    unsafe {
        fence_on(client, "client", move |inner| {
            let given = given?;
            let request = reference(request, "request")?.parts().0;
            let token = given.publish("", |publish, properties, done| inner.client.respond(request, publish, properties, done))?;
            give_token(token_out, token);
            Ok(())
        })
    }
}

/// Pull style (option pull_receive): takes the oldest message that came and has no callback of its own, waits for one at most
/// `timeout_ms` (0: not at all, negative: for ever). The caller releases it with nlmqtt_message_unref. `ack_out` (may be NULL)
/// is for nlmqtt_client_ack. What waits is bounded by the options max_received_messages and max_received_bytes; beyond,
/// nothing is read from the server (acknowledgements of own publishes rest, too), and nothing is dropped. In LOOP mode it
/// polls meanwhile. Any number of threads. TIMEOUT: none came; UNSUPPORTED: without the option; INVALID_STATE: not started, or
/// stopped and nothing left; GONE: it has given up and nothing is left; WOULD_DEADLOCK inside a callback, unless `timeout_ms`
/// is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_next_message(
    client: *mut nlmqtt_client,
    timeout_ms: i32,
    message_out: *mut *mut nlmqtt_message,
    ack_out: *mut nlmqtt_ack,
) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            check_out(message_out, "message_out")?;
            let incoming = inner.client.next_message(wait_max(timeout_ms))?;
            *message_out = nlmqtt_message::kept(&incoming.message, incoming.qos, incoming.retain, incoming.dup, &incoming.subscription_ids);
            if let Some(ack) = ack_out.as_mut() {
                *ack = nlmqtt_ack::of(incoming.ack);
            }
            Ok(())
        })
    }
}
