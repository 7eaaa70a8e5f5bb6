//! What an application asks of its client besides publishing: subscribe, cancel, acknowledge, authenticate.

use std::ffi::{c_char, c_void};

use super::client::nlmqtt_client;
use super::client_callbacks::{completion_callback, message_callback, nlmqtt_ack, nlmqtt_client_message_fn, nlmqtt_completion_fn};
use super::client_config::property_list;
use super::{
    Failure, NLMQTT_NOT_FOUND, Outcome, UserData, bytes, fence_on, nlmqtt_free_fn, nlmqtt_properties, nlmqtt_status, qos_of, reference, sized, string,
};
use crate::client::{AckHandle, Token};
use crate::codec::{PacketType, Place, PropertyList, Reason, RetainHandling, SubscribeOptions};

/// One filter of a subscribe.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_subscription {
    /// Bytes of this struct; set by nlmqtt_subscription_init.
    pub struct_size: usize,
    /// The filter (MQTT 5 section 4.7), also `$share/GROUP/FILTER`. Copied.
    pub filter: *const c_char,
    /// The highest QoS to deliver with: 0, 1 or 2.
    pub qos: u8,
    /// MQTT 5: not what this client publishes itself.
    pub no_local: bool,
    /// MQTT 5: keep the RETAIN flag as it was published.
    pub retain_as_published: bool,
    /// MQTT 5: 0 = send retained messages now, 1 = only for a new subscription, 2 = do not.
    pub retain_handling: u8,
}

/// What else there is to say of a subscribe.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_subscribe_options {
    /// Bytes of this struct; set by nlmqtt_subscribe_options_init.
    pub struct_size: usize,
    /// User properties (MQTT 5 section 3.8.2.1). Copied; may be NULL.
    pub properties: *const nlmqtt_properties,
    /// Gets the messages of these filters; NULL: the message callback of the client does.
    pub message: nlmqtt_client_message_fn,
    /// Given to `message`.
    pub message_user_data: *mut c_void,
    /// Releases message_user_data exactly once, when no message can come any more or the call fails; may be NULL.
    pub message_free_fn: nlmqtt_free_fn,
    /// Called when every filter has its answer; may be NULL. The subscribed callback of the client is called, too.
    pub completion: nlmqtt_completion_fn,
    /// Given to `completion`.
    pub completion_user_data: *mut c_void,
    /// Releases completion_user_data exactly once, also when the call fails; may be NULL.
    pub completion_free_fn: nlmqtt_free_fn,
}

const SUBSCRIPTION_DEFAULTS: nlmqtt_subscription = nlmqtt_subscription {
    struct_size: size_of::<nlmqtt_subscription>(),
    filter: core::ptr::null(),
    qos: 0,
    no_local: false,
    retain_as_published: false,
    retain_handling: 0,
};

const SUBSCRIBE_DEFAULTS: nlmqtt_subscribe_options = nlmqtt_subscribe_options {
    struct_size: size_of::<nlmqtt_subscribe_options>(),
    properties: core::ptr::null(),
    message: None,
    message_user_data: core::ptr::null_mut(),
    message_free_fn: None,
    completion: None,
    completion_user_data: core::ptr::null_mut(),
    completion_free_fn: None,
};

/// No filter, QoS 0. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_subscription_init(subscription: *mut nlmqtt_subscription) {
    if let Some(subscription) = unsafe { subscription.as_mut() } {
        *subscription = SUBSCRIPTION_DEFAULTS;
    }
}

/// Nothing. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_subscribe_options_init(options: *mut nlmqtt_subscribe_options) {
    if let Some(options) = unsafe { options.as_mut() } {
        *options = SUBSCRIBE_DEFAULTS;
    }
}

pub(crate) unsafe fn give_token(token_out: *mut u64, token: Token) {
    if let Some(out) = unsafe { token_out.as_mut() } {
        *out = token.0;
    }
}

/// Subscribes to one filter, now, after every reconnect that lost the session, and also before nlmqtt_client_start. `message`
/// gets its messages; NULL: the message callback of the client does. `user_data` is given to it and released with `free_fn`
/// (may be NULL) exactly once, when no message can come any more or the call fails. A filter that is subscribed to already is
/// replaced. `token_out` (may be NULL) names it for the subscribed callback and nlmqtt_client_wait. Never waits.
/// INVALID_ARGUMENT: not a filter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_subscribe(
    client: *mut nlmqtt_client,
    filter: *const c_char,
    qos: u8,
    message: nlmqtt_client_message_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
    token_out: *mut u64,
) -> nlmqtt_status {
    let subscription = nlmqtt_subscription { filter, qos, ..SUBSCRIPTION_DEFAULTS };
    let (message_user_data, message_free_fn) = (user_data, free_fn);
    let options = nlmqtt_subscribe_options { message, message_user_data, message_free_fn, ..SUBSCRIBE_DEFAULTS };
    unsafe { nlmqtt_client_subscribe_many(client, &raw const subscription, 1, &raw const options, token_out) }
}

/// As nlmqtt_client_subscribe, for `count` filters in one request. `subscriptions` and `options` are borrowed for the call;
/// `options` NULL means the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_subscribe_many(
    client: *mut nlmqtt_client,
    subscriptions: *const nlmqtt_subscription,
    count: usize,
    options: *const nlmqtt_subscribe_options,
    token_out: *mut u64,
) -> nlmqtt_status {
    let sized_options = unsafe { sized(options, SUBSCRIBE_DEFAULTS, "options") };
    let users = sized_options.as_ref().ok().map(|options| {
        let message = UserData::new(options.message_user_data, options.message_free_fn);
        (message, UserData::new(options.completion_user_data, options.completion_free_fn))
    });
    unsafe {
        fence_on(client, "client", move |inner| {
            let options = sized_options?;
            let filters = filters(subscriptions, count)?;
            let properties = property_list(options.properties, Place::Subscribe)?;
            let (message, completion) = users.unzip();
            let callback = message.and_then(|user| message_callback(options.message, user));
            let done = completion.and_then(|user| completion_callback(options.completion, user));
            give_token(token_out, inner.client.subscribe(&filters, &properties, callback, done)?);
            Ok(())
        })
    }
}

/// The most filters that one call takes.
const FILTERS_MAX: usize = 65_536;

/// The filters of an array, whose elements have the size the caller's header gave them.
unsafe fn filters<'a>(first: *const nlmqtt_subscription, count: usize) -> Outcome<Vec<(&'a str, SubscribeOptions)>> {
    let step = unsafe { sized(reference(first, "subscriptions")?, SUBSCRIPTION_DEFAULTS, "subscriptions") }?.struct_size;
    if count == 0 || count > FILTERS_MAX {
        return Err(Failure::invalid(format!("{count} filters")));
    }
    let one = |index: usize| {
        let at = unsafe { first.byte_add(index * step) };
        let given = unsafe { sized(at, SUBSCRIPTION_DEFAULTS, "subscriptions") }?;
        let options = SubscribeOptions {
            qos: qos_of(given.qos)?,
            no_local: given.no_local,
            retain_as_published: given.retain_as_published,
            retain_handling: match given.retain_handling {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                other => return Err(Failure::invalid(format!("retain_handling {other}"))),
            },
        };
        Ok((unsafe { string(given.filter, "filter") }?, options))
    };
    (0..count).map(one).collect()
}

/// Forgets a filter and unsubscribes from it. `token_out` may be NULL. Never waits. INVALID_ARGUMENT: not a filter.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_unsubscribe(client: *mut nlmqtt_client, filter: *const c_char, token_out: *mut u64) -> nlmqtt_status {
    unsafe { nlmqtt_client_unsubscribe_many(client, &raw const filter, 1, token_out) }
}

/// As nlmqtt_client_unsubscribe, for `count` filters in one request. Copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_unsubscribe_many(
    client: *mut nlmqtt_client,
    filters: *const *const c_char,
    count: usize,
    token_out: *mut u64,
) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            reference(filters, "filters")?;
            if count == 0 || count > FILTERS_MAX {
                return Err(Failure::invalid(format!("{count} filters")));
            }
            let one = |index| string(*filters.add(index), "filter");
            let filters = (0..count).map(one).collect::<Outcome<Vec<&str>>>()?;
            give_token(token_out, inner.client.unsubscribe(&filters, None)?);
            Ok(())
        })
    }
}

/// Gives a request up: it completes with CANCELLED, unless it is done already. What is on its way cannot be called back.
/// Never waits. NOT_FOUND: 0 is no token.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_cancel(client: *mut nlmqtt_client, token: u64) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            if token == 0 {
                return Err(Failure::new(NLMQTT_NOT_FOUND, "0 is no token"));
            }
            inner.client.cancel(Token(token));
            Ok(())
        })
    }
}

/// Acknowledges a received message (option manual_ack): PUBACK or PUBREC goes out when everything before it was acknowledged.
/// `reason` 0x00, or a refusal (MQTT 5 section 3.4.2.1). After a reconnect it is without effect: the server sends the
/// message again. Never waits. NOT_FOUND: nothing is to be acknowledged; INVALID_ARGUMENT: not a reason of PUBACK.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_ack(client: *mut nlmqtt_client, ack: nlmqtt_ack, reason: u8) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            if ack.connection == 0 {
                return Err(Failure::new(NLMQTT_NOT_FOUND, "there is nothing to acknowledge"));
            }
            if !Reason(reason).is_valid_for(PacketType::PubAck) {
                return Err(Failure::invalid(format!("0x{reason:02X} is no reason of PUBACK")));
            }
            inner.client.acknowledge(AckHandle::from_numbers(ack.connection, ack.serial), Reason(reason));
            Ok(())
        })
    }
}

/// Answers the server's AUTH with reason 0x18 (MQTT 5 section 4.12). Copied; `data` may be NULL if `len` is 0. Never waits;
/// without effect if the server did not ask. UNSUPPORTED: the configuration names no method. TOO_LARGE: more than 65,535 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_authenticate(client: *mut nlmqtt_client, data: *const c_void, len: usize) -> nlmqtt_status {
    unsafe { fence_on(client, "client", |inner| Ok(inner.client.authenticate(authentication_data(data, len)?)?)) }
}

/// Begins to authenticate again with the method of the configuration (MQTT 5 section 4.12.1). Copied; the auth callback
/// tells how it goes on. Never waits; without effect without a connection. UNSUPPORTED: the configuration names no method. TOO_LARGE: as above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_reauthenticate(client: *mut nlmqtt_client, data: *const c_void, len: usize) -> nlmqtt_status {
    unsafe { fence_on(client, "client", |inner| Ok(inner.client.reauthenticate(authentication_data(data, len)?)?)) }
}

unsafe fn authentication_data<'a>(data: *const c_void, len: usize) -> Outcome<&'a [u8]> {
    let data = unsafe { bytes(data, len, "data") }?;
    if PropertyList::new().add(crate::codec::PropertyId::AuthenticationData, crate::codec::Value::Binary(data)).is_err() {
        return Err(Failure::new(super::NLMQTT_TOO_LARGE, "authentication data of more than 65,535 bytes"));
    }
    Ok(data)
}
