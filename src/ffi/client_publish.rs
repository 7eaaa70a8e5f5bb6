//! Publishing: copied, moved or shared, with or without a completion of its own.

use std::ffi::{c_char, c_void};

use bytes::Bytes;

use super::client::nlmqtt_client;
use super::client_callbacks::{completion_callback, nlmqtt_completion_fn};
use super::client_requests::give_token;
use super::message::{not_a_name, publish_properties};
use super::{
    Outcome, UserData, bytes, fence_on, nlmqtt_free_fn, nlmqtt_message, nlmqtt_properties, nlmqtt_status, qos_of, reference, sized, string, topic_name,
};
use crate::client::{CompletionCallback, Publish, QueueTerms};
use crate::codec::PropertyList;
use crate::net::Error;
use crate::proto;

/// What else there is to say of a publish.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_publish_options {
    /// Bytes of this struct; set by nlmqtt_publish_options_init.
    pub struct_size: usize,
    /// 0, 1 or 2.
    pub qos: u8,
    /// Keep it as the topic's retained message.
    pub retain: bool,
    /// Properties of the PUBLISH (MQTT 5 section 3.3.2.3), the Message Expiry Interval included: the library counts it
    /// down and gives the message up when it is over. Copied; may be NULL.
    pub properties: *const nlmqtt_properties,
    /// Called when it is done; may be NULL. The published callback of the client is called, too.
    pub completion: nlmqtt_completion_fn,
    /// Given to `completion`.
    pub user_data: *mut c_void,
    /// Releases user_data exactly once, also when the call fails; may be NULL.
    pub free_fn: nlmqtt_free_fn,
    /// Messages of higher priority leave the queue first; 0 is usual.
    pub priority: u8,
    /// Only the newest value of the topic is wanted: while it waits to be sent, a newer publish of the same topic that says
    /// the same takes its place and its turn, and this one completes with REPLACED. Also for all publishes: option
    /// queue_newest_per_topic.
    pub newest_only: bool,
    /// Not NULL: `payload` is moved, not copied. It must not change until this function was called: exactly once, after
    /// the last use (also of a message that waits, or is sent again), also when the call fails (unless `options` cannot be
    /// read). On the thread that does the work; on the caller's if the call fails or frees the runtime. On the wire, payloads
    /// of up to 1,024 bytes are still copied into the packet, because that is cheaper. Over inproc:// a larger one is lent on
    /// to the server and to its subscribers there, unless it is to be retained: the last use is then theirs, on whatever thread.
    pub payload_free_fn: nlmqtt_free_fn,
    /// Given to payload_free_fn.
    pub payload_user_data: *mut c_void,
}

pub(crate) const PUBLISH_DEFAULTS: nlmqtt_publish_options = nlmqtt_publish_options {
    struct_size: size_of::<nlmqtt_publish_options>(),
    qos: 0,
    retain: false,
    properties: core::ptr::null(),
    completion: None,
    user_data: core::ptr::null_mut(),
    free_fn: None,
    priority: 0,
    newest_only: false,
    payload_free_fn: None,
    payload_user_data: core::ptr::null_mut(),
};

/// What the caller hands over with its options, taken before anything can fail, so that it is released in any case.
pub(crate) struct Given {
    options: nlmqtt_publish_options,
    payload: Payload,
    user: UserData,
}

enum Payload {
    Lent(*const c_void, usize),
    Moved(Moved),
}

/// A payload that stays where the application has it.
struct Moved {
    data: *const c_void,
    len: usize,
    _user: UserData,
}

// The application has promised not to touch it until `payload_free_fn` was called.
unsafe impl Send for Moved {}

impl AsRef<[u8]> for Moved {
    fn as_ref(&self) -> &[u8] {
        // Checked before it was wrapped.
        unsafe { bytes(self.data, self.len, "payload") }.unwrap_or_default()
    }
}

impl Given {
    /// # Safety
    /// As the publish functions say of their arguments.
    pub unsafe fn take(payload: *const c_void, len: usize, options: *const nlmqtt_publish_options, defaults: nlmqtt_publish_options) -> Outcome<Self> {
        let options = unsafe { sized(options, defaults, "options") }?;
        let user = UserData::new(options.user_data, options.free_fn);
        let payload = if options.payload_free_fn.is_some() {
            let _user = UserData::new(options.payload_user_data, options.payload_free_fn);
            Payload::Moved(Moved { data: payload, len, _user })
        } else {
            Payload::Lent(payload, len)
        };
        Ok(Self { options, payload, user })
    }

    /// The caller has a completion callback.
    pub fn has_completion(&self) -> bool {
        self.options.completion.is_some()
    }

    /// Has `act` publish it.
    ///
    /// # Safety
    /// As the publish functions say of their arguments.
    pub unsafe fn publish<R>(self, topic: &str, act: impl FnOnce(Publish<'_>, &PropertyList, Option<CompletionCallback>) -> Result<R, Error>) -> Outcome<R> {
        let Self { options, payload, user } = self;
        let (kept, expiry_s) = publish_properties(unsafe { options.properties.as_ref() })?;
        let qos = qos_of(options.qos)?;
        let (payload, shared) = match payload {
            Payload::Lent(data, len) => (unsafe { bytes(data, len, "payload") }?, None),
            Payload::Moved(moved) => {
                unsafe { bytes(moved.data, moved.len, "payload") }?;
                (&[][..], Some(Bytes::from_owner(moved)))
            }
        };
        let publish = Publish {
            topic,
            payload,
            shared,
            qos,
            retain: options.retain,
            properties: kept.as_properties(),
            expiry_s,
            terms: QueueTerms { priority: options.priority, newest_only: options.newest_only, ..QueueTerms::default() },
        };
        Ok(act(publish, &kept, completion_callback(options.completion, user))?)
    }
}

/// QoS 0 and nothing else. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_publish_options_init(options: *mut nlmqtt_publish_options) {
    if let Some(options) = unsafe { options.as_mut() } {
        *options = PUBLISH_DEFAULTS;
    }
}

/// Queues a message, connected or not; it is sent as soon as there is a connection, and again after each lost one until the
/// server has acknowledged it (QoS 1 and 2). Everything is copied; `payload` may be NULL if `len` is 0. `token_out` (may be
/// NULL) names it for the published callback, nlmqtt_client_wait and nlmqtt_client_cancel. Never waits. QUEUE_FULL: as many
/// messages or bytes wait as the options allow, 65,536 completions wait to be dispatched, or the runtime's memory limit is
/// reached; try later; INVALID_STATE: not started; INVALID_ARGUMENT: not a topic name; TOO_LARGE: more than a packet holds.
/// Nothing was queued then, and no callback comes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_publish(
    client: *mut nlmqtt_client,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
    token_out: *mut u64,
) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            let (topic, payload, qos) = (string(topic, "topic")?, bytes(payload, len, "payload")?, qos_of(qos)?);
            let publish = Publish { topic, payload, qos, retain, ..Publish::default() };
            let token = inner.client.publish(publish, None).map_err(|error| match error {
                Error::Client(proto::Error::TopicInvalid) => not_a_name(topic),
                error => error.into(),
            })?;
            give_token(token_out, token);
            Ok(())
        })
    }
}

/// As nlmqtt_client_publish, with properties, a callback of its own, a priority, and a payload that may be moved instead of
/// copied. `options` is borrowed for the call; NULL means the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_publish_ex(
    client: *mut nlmqtt_client,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    options: *const nlmqtt_publish_options,
    token_out: *mut u64,
) -> nlmqtt_status {
    let given = unsafe { Given::take(payload, len, options, PUBLISH_DEFAULTS) };
    unsafe {
        fence_on(client, "client", move |inner| {
            let given = given?;
            let topic = topic_name(topic)?;
            let token = given.publish(topic, |publish, _, done| inner.client.publish(publish, done))?;
            give_token(token_out, token);
            Ok(())
        })
    }
}

/// As nlmqtt_client_publish, of a message that exists: one of nlmqtt_message_new, or one that was received, with its QoS,
/// its RETAIN flag and its properties. The payload is shared, not copied. The message stays the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_publish_message(client: *mut nlmqtt_client, message: *const nlmqtt_message, token_out: *mut u64) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            let handle = reference(message, "message")?;
            let (message, qos, retain, expiry_s) = handle.parts();
            let token = if expiry_s.is_none() {
                inner.client.publish_message(handle.shared(), qos, retain, None)?
            } else {
                // Its time begins now: a message of its own.
                let (topic, payload, properties) = (message.topic(), message.payload(), message.properties());
                inner.client.publish(Publish { topic, payload, qos, retain, properties, expiry_s, ..Publish::default() }, None)?
            };
            give_token(token_out, token);
            Ok(())
        })
    }
}
