//! What an application asks of a runtime itself: to run functions, to take the answer of a look-up.

use std::ffi::{c_char, c_void};
use std::net::IpAddr;

use super::{
    Failure, NLMQTT_LIMIT, NLMQTT_NOT_FOUND, Outcome, RuntimeInner, UserData, fence_on, nlmqtt_free_fn, nlmqtt_runtime, nlmqtt_status, reference, string,
};
use crate::base::Duration;
use crate::net::TaskId;

/// A function of the application, see nlmqtt_runtime_post.
pub type nlmqtt_task_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

fn post(inner: &RuntimeInner, delay: Option<Duration>, task: nlmqtt_task_fn, user: UserData) -> Outcome<TaskId> {
    let task = task.ok_or_else(|| Failure::invalid("task is NULL"))?;
    let run = move || {
        let user = user;
        unsafe { task(user.data) }
    };
    let posted = inner.parts().runtime.post_task(delay, Box::new(run));
    posted.map_err(|_| Failure::new(NLMQTT_LIMIT, format!("{} functions wait already", crate::net::TASKS_MAX)))
}

/// Runs `task` soon where callbacks run: on the library's thread in THREAD mode, inside nlmqtt_runtime_poll or
/// nlmqtt_runtime_dispatch in the other modes. From any thread, callbacks included. `user_data` is moved and released with `free_fn`
/// (may be NULL) after `task` has run, when the runtime ends before, or when this call fails. LIMIT: 65,536 wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_post(
    runtime: *mut nlmqtt_runtime,
    task: nlmqtt_task_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    unsafe { fence_on(runtime, "runtime", move |inner| post(inner, None, task, user).map(|_| ())) }
}

/// As nlmqtt_runtime_post, in `delay_ms` by the monotonic clock. `task_out` (may be NULL) names it for nlmqtt_runtime_cancel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_post_delayed(
    runtime: *mut nlmqtt_runtime,
    delay_ms: u32,
    task: nlmqtt_task_fn,
    user_data: *mut c_void,
    free_fn: nlmqtt_free_fn,
    task_out: *mut u64,
) -> nlmqtt_status {
    let user = UserData::new(user_data, free_fn);
    unsafe {
        fence_on(runtime, "runtime", move |inner| {
            let TaskId(number) = post(inner, Some(Duration::from_millis(delay_ms.into())), task, user)?;
            if let Some(out) = task_out.as_mut() {
                *out = number;
            }
            Ok(())
        })
    }
}

/// Takes a function of nlmqtt_runtime_post_delayed back: it will not run, and its `free_fn` runs now, on this thread. NOT_FOUND: it has
/// run, runs at this moment, or was cancelled before. Never waits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_cancel(runtime: *mut nlmqtt_runtime, task: u64) -> nlmqtt_status {
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            let cancelled = inner.parts().runtime.cancel_task(TaskId(task));
            if cancelled { Ok(()) } else { Err(Failure::new(NLMQTT_NOT_FOUND, "no such function waits")) }
        })
    }
}

/// Answers a resolver (nlmqtt_runtime_config_set_resolver): `addresses` are `count` texts such as "192.0.2.7" or "2001:db8::7", in the order
/// to try; copied. `count` 0: there is no such name, and `addresses` may be NULL. From any thread, also inside the resolver; an answer that
/// comes too late is without effect. INVALID_ARGUMENT: not an address, or more than 64.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_runtime_resolved(runtime: *mut nlmqtt_runtime, lookup: u64, addresses: *const *const c_char, count: usize) -> nlmqtt_status {
    const ADDRESSES_MAX: usize = 64;
    unsafe {
        fence_on(runtime, "runtime", |inner| {
            if count > ADDRESSES_MAX {
                return Err(Failure::invalid(format!("{count} addresses are more than {ADDRESSES_MAX}")));
            }
            if count > 0 {
                reference(addresses, "addresses")?;
            }
            let one = |index| {
                let text = string(*addresses.add(index), "address")?;
                text.parse::<IpAddr>().map_err(|_| Failure::invalid(format!("not an address: {text:?}")))
            };
            let all = (0..count).map(one).collect::<Outcome<Vec<IpAddr>>>()?;
            inner.parts().runtime.name_resolved(lookup, all);
            Ok(())
        })
    }
}
