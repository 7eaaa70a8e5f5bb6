//! Administration of a running server: single clients, bans, scheduled tasks.
//!
//! What changes something waits until it is done, and answers; inside a callback it is posted, done after the callback returns, and answered
//! with OK.

use std::ffi::{c_char, c_void};

use super::message::qos_of;
use super::properties::terminated;
use super::server_use::tell_client;
use super::{
    Failure, NLMQTT_LIMIT, NLMQTT_NOT_FOUND, NLMQTT_REFUSED, Outcome, UserData, fence_on, nlmqtt_client_entry_fn, nlmqtt_free_fn, nlmqtt_server, nlmqtt_status,
    nlmqtt_str, nlmqtt_task_fn, string,
};
use crate::base::Duration;
use crate::broker::{BanError, BanKind};
use crate::codec::{Reason, SubscribeOptions};

/// A ban goes by the client identifier.
pub const NLMQTT_BAN_CLIENT_ID: i32 = 1;
/// A ban goes by the user name.
pub const NLMQTT_BAN_USERNAME: i32 = 2;
/// A ban goes by the IP address, whatever the port.
pub const NLMQTT_BAN_ADDRESS: i32 = 3;

/// One ban. Everything is borrowed until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct nlmqtt_ban_entry {
    /// Size of this struct in the library.
    pub struct_size: usize,
    /// What it goes by: NLMQTT_BAN_*.
    pub kind: i32,
    /// The client identifier, user name or address.
    pub text: nlmqtt_str,
    /// How many seconds it still holds; 0: for good.
    pub seconds_left: u64,
}

/// Is told one ban, on the thread of the call.
pub type nlmqtt_ban_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, ban: *const nlmqtt_ban_entry)>;

/// Is told one filter, on the thread of the call; borrowed until it returns.
pub type nlmqtt_filter_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, filter: nlmqtt_str)>;

fn no_client(client_id: &str) -> Failure {
    Failure::new(NLMQTT_NOT_FOUND, format!("no client '{client_id}'"))
}

/// Tells one client, connected or away, to `each`, on this thread. `client_id`: of one behind a mount point, here as in all calls about one
/// client, mount point, '#' and client identifier, such as "site/7/#pump". Waits. NOT_FOUND: there is no such client. WOULD_DEADLOCK inside a
/// callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_client_info(
    server: *const nlmqtt_server,
    client_id: *const c_char,
    each: nlmqtt_client_entry_fn,
    user_data: *mut c_void,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let client_id = string(client_id, "client_id")?;
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            let client = inner.running()?.client(client_id)?.ok_or_else(|| no_client(client_id))?;
            tell_client(&client, each, user_data);
            Ok(())
        })
    }
}

/// Tells the filters a client has subscribed to, sorted, to `each`, on this thread. Waits. NOT_FOUND: there is no such client.
/// WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_each_subscription(
    server: *const nlmqtt_server,
    client_id: *const c_char,
    each: nlmqtt_filter_fn,
    user_data: *mut c_void,
) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let client_id = string(client_id, "client_id")?;
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            for filter in inner.running()?.subscriptions(client_id)?.ok_or_else(|| no_client(client_id))? {
                each(user_data, nlmqtt_str::of_terminated(&terminated(filter.as_bytes())));
            }
            Ok(())
        })
    }
}

/// Subscribes for a client as if it had asked, past the hooks that decide; retained messages follow. Borrowed for the call. NOT_FOUND: there is no such client;
/// INVALID_ARGUMENT: not a topic filter; LIMIT: `max_subscriptions_per_client`, or a limit of the server.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_subscribe_client(server: *mut nlmqtt_server, client_id: *const c_char, filter: *const c_char, qos: u8) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (client_id, filter) = (string(client_id, "client_id")?, string(filter, "filter")?);
            let options = SubscribeOptions { qos: qos_of(qos)?, ..Default::default() };
            match inner.running()?.subscribe_client(client_id, filter, options)? {
                None => Err(no_client(client_id)),
                Some(Ok(())) => Ok(()),
                Some(Err(Reason::TOPIC_FILTER_INVALID)) => Err(Failure::invalid(format!("not a topic filter: {filter:?}"))),
                Some(Err(Reason::QUOTA_EXCEEDED)) => Err(Failure::new(NLMQTT_LIMIT, "the client has too many subscriptions")),
                Some(Err(reason)) => Err(Failure::new(NLMQTT_REFUSED, reason.text())),
            }
        })
    }
}

/// Ends a subscription of a client. Borrowed for the call. NOT_FOUND: there is no such client, or it has no such subscription.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_unsubscribe_client(server: *mut nlmqtt_server, client_id: *const c_char, filter: *const c_char) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (client_id, filter) = (string(client_id, "client_id")?, string(filter, "filter")?);
            match inner.running()?.unsubscribe_client(client_id, filter)? {
                None => Err(no_client(client_id)),
                Some(true) => Ok(()),
                Some(false) => Err(Failure::new(NLMQTT_NOT_FOUND, format!("'{client_id}' has no subscription to {filter:?}"))),
            }
        })
    }
}

fn ban_kind(kind: i32) -> Outcome<BanKind> {
    Ok(match kind {
        NLMQTT_BAN_CLIENT_ID => BanKind::ClientId,
        NLMQTT_BAN_USERNAME => BanKind::Username,
        NLMQTT_BAN_ADDRESS => BanKind::Address,
        _ => return Err(Failure::invalid(format!("{kind} is no kind of ban"))),
    })
}

/// Does not let a client in any more (`kind`: NLMQTT_BAN_*), for `seconds` or for good (0), and closes the connections this is about with 0x8A Banned. One that
/// is there already is replaced. Borrowed for the call. INVALID_ARGUMENT: an empty text, or not an IP address; LIMIT: there are `max_bans`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_ban(server: *mut nlmqtt_server, kind: i32, text: *const c_char, seconds: u32) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (kind, text) = (ban_kind(kind)?, string(text, "text")?);
            let time = (seconds != 0).then(|| Duration::from_secs(seconds.into()));
            inner.running()?.ban(kind, text, time)?.map_err(|error| match error {
                BanError::Full => Failure::new(NLMQTT_LIMIT, "there are max_bans bans"),
                BanError::Invalid => Failure::invalid(format!("'{text}' is no {}", kind.name())),
            })
        })
    }
}

/// Ends a ban. Borrowed for the call. NOT_FOUND: there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_unban(server: *mut nlmqtt_server, kind: i32, text: *const c_char) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let (kind, text) = (ban_kind(kind)?, string(text, "text")?);
            match inner.running()?.unban(kind, text)? {
                true => Ok(()),
                false => Err(Failure::new(NLMQTT_NOT_FOUND, format!("no ban of {} '{text}'", kind.name()))),
            }
        })
    }
}

/// Tells every ban in force to `each`, on this thread. Waits. WOULD_DEADLOCK inside a callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_each_ban(server: *const nlmqtt_server, each: nlmqtt_ban_fn, user_data: *mut c_void) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| {
            let each = each.ok_or_else(|| Failure::invalid("each is NULL"))?;
            for ban in inner.running()?.bans()? {
                let text = terminated(ban.text.as_bytes());
                let entry = nlmqtt_ban_entry {
                    struct_size: size_of::<nlmqtt_ban_entry>(),
                    kind: match ban.kind {
                        BanKind::ClientId => NLMQTT_BAN_CLIENT_ID,
                        BanKind::Username => NLMQTT_BAN_USERNAME,
                        BanKind::Address => NLMQTT_BAN_ADDRESS,
                    },
                    text: nlmqtt_str::of_terminated(&text),
                    // Less than a second is not "for good".
                    seconds_left: ban.left.map_or(0, |left| left.as_secs().max(1)),
                };
                each(user_data, &raw const entry);
            }
            Ok(())
        })
    }
}

/// Runs `task` on the thread that runs the server's hooks (of many workers, the first one's) after `delay_ms`, and then every `period_ms`
/// (0: once). What it calls on the server is done after it returns. `user_data` is moved and released with `free_fn` (may be NULL) after
/// the last run, when the task is cancelled, when the server ends, or when this call fails. `task_out` (may be NULL) is what
/// nlmqtt_server_cancel wants. LIMIT: `max_scheduled_tasks` wait already (inside a callback it is counted instead).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_schedule(
    server: *mut nlmqtt_server,
    delay_ms: u32,
    period_ms: u32,
    task: nlmqtt_task_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
    task_out: *mut u64,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    unsafe {
        fence_on(server, "server", move |inner| {
            let task = task.ok_or_else(|| Failure::invalid("task is NULL"))?;
            let table = inner.table.clone();
            let run = move || {
                let user = &user;
                if !table.is_closed() {
                    task(user.data);
                }
            };
            let period = (period_ms != 0).then(|| Duration::from_millis(period_ms.into()));
            let id = inner.running()?.schedule(Duration::from_millis(delay_ms.into()), period, run)?;
            let id = id.ok_or_else(|| Failure::new(NLMQTT_LIMIT, "max_scheduled_tasks tasks wait already"))?;
            if let Some(out) = task_out.as_mut() {
                *out = id;
            }
            Ok(())
        })
    }
}

/// Ends a task of nlmqtt_server_schedule; when this returns outside of a callback, it does not run and will not (in DISPATCH mode it may be
/// running on the thread that dispatches). NOT_FOUND: it has ended already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_server_cancel(server: *mut nlmqtt_server, task: u64) -> nlmqtt_status {
    unsafe {
        fence_on(server, "server", |inner| match inner.running()?.cancel(task)? {
            true => Ok(()),
            false => Err(Failure::new(NLMQTT_NOT_FOUND, "the task has ended")),
        })
    }
}
