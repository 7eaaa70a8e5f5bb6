//! The C ABI: fence, check, call, convert. No logic, no state but what a handle holds.
//!
//! Every exported function runs inside a fence: a panic never crosses into C, it becomes
//! [`NLMQTT_INTERNAL`] and poisons the handle it happened on. Pointers are checked before they are
//! used, strings are checked to be UTF-8, and a handle that came over a `fork` is refused, because
//! the threads behind it stayed in the parent. What failed, and why, is told by the status and by
//! the text that `nlmqtt_last_error` copies out, one per thread.
//!
//! Nothing here prints. The panic message of a fault inside the fence goes into that text, too.

#![allow(unsafe_code, non_camel_case_types)]
#![allow(clippy::missing_safety_doc)] // the C documentation says it for every pointer

#[cfg(not(feature = "server"))]
mod absent;
mod client;
mod client_callbacks;
mod client_config;
mod client_exchange;
mod client_publish;
mod client_requests;
mod client_setters;
mod client_statistics;
mod client_tls;
mod config_keys;
mod datagrams;
#[cfg(feature = "server")]
mod decision;
mod forked;
#[cfg(feature = "server")]
mod hook_calls;
mod hooks;
#[cfg(feature = "server")]
mod listener_config;
mod log;
mod message;
mod properties;
mod runtime;
mod runtime_config;
mod runtime_tasks;
#[cfg(feature = "server")]
mod server;
#[cfg(feature = "server")]
mod server_admin;
#[cfg(feature = "server")]
mod server_config;
#[cfg(feature = "server")]
mod server_config_keys;
#[cfg(feature = "server")]
mod server_control;
#[cfg(feature = "server")]
mod server_listen;
#[cfg(feature = "server")]
mod server_retained;
#[cfg(feature = "server")]
mod server_use;
mod status;
mod topic;
mod transport;
mod version;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use forked::Process;

#[cfg(not(feature = "server"))]
pub use absent::*;
pub use client::*;
pub use client_callbacks::*;
pub use client_config::*;
pub use client_exchange::*;
pub use client_publish::*;
pub use client_requests::*;
pub use client_setters::*;
pub use client_statistics::*;
pub use client_tls::*;
pub use config_keys::*;
pub use datagrams::*;
#[cfg(feature = "server")]
pub use decision::*;
pub use hooks::*;
#[cfg(feature = "server")]
pub use listener_config::*;
pub use log::*;
pub use message::*;
pub use properties::*;
pub use runtime::*;
pub use runtime_config::*;
pub use runtime_tasks::*;
#[cfg(feature = "server")]
pub use server::*;
#[cfg(feature = "server")]
pub use server_admin::*;
#[cfg(feature = "server")]
pub use server_config::*;
#[cfg(feature = "server")]
pub use server_config_keys::*;
#[cfg(feature = "server")]
pub use server_control::*;
#[cfg(feature = "server")]
pub use server_listen::*;
#[cfg(feature = "server")]
pub use server_retained::*;
#[cfg(feature = "server")]
pub use server_use::*;
pub use status::*;
pub use topic::*;
pub use transport::*;
pub use version::*;

/// A string that is borrowed: `len` bytes of UTF-8 at `data`, followed by a NUL that `len` does
/// not count. `data` is NULL where there is no string at all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_str {
    /// The bytes, or NULL.
    pub data: *const c_char,
    /// How many, without the NUL.
    pub len: usize,
}

/// Bytes that are borrowed. `data` is NULL where there are none at all.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_bytes {
    /// The bytes, or NULL.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

/// Releases the `user_data` of a registration. Runs exactly once, after the last use, on whatever
/// thread that is; also when the registering call fails.
pub type nlmqtt_free_fn = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

impl nlmqtt_str {
    pub(crate) const NONE: Self = Self { data: core::ptr::null(), len: 0 };

    /// A view of bytes whose last one is the NUL.
    pub(crate) fn of_terminated(bytes: &[u8]) -> Self {
        debug_assert_eq!(bytes.last(), Some(&0));
        Self { data: bytes.as_ptr().cast(), len: bytes.len().saturating_sub(1) }
    }
}

impl nlmqtt_bytes {
    pub(crate) const NONE: Self = Self { data: core::ptr::null(), len: 0 };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }
}

/// Why a call failed: the status to return, and the text for `nlmqtt_last_error`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub status: nlmqtt_status,
    pub text: String,
}

impl Failure {
    pub fn new(status: nlmqtt_status, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    pub fn invalid(text: impl Into<String>) -> Self {
        Self::new(NLMQTT_INVALID_ARGUMENT, text)
    }
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
    static FENCES: Cell<u32> = const { Cell::new(0) };
}

/// Keeps a text for `nlmqtt_last_error`.
pub(crate) fn set_last_error(text: &str) {
    // A thread that is ending has no text any more.
    let _ = LAST_ERROR.try_with(|last| {
        let mut last = last.borrow_mut();
        last.clear();
        last.push_str(text);
    });
}

pub(crate) fn with_last_error<R>(read: impl FnOnce(&str) -> R) -> R {
    LAST_ERROR.with(|last| read(&last.borrow()))
}

/// Runs the body of an exported function.
pub(crate) fn fence(body: impl FnOnce() -> Outcome) -> nlmqtt_status {
    match fenced(body) {
        Ok(()) => NLMQTT_OK,
        Err(status) => status,
    }
}

/// As [`fence`], for functions that return a value: `fallback` if it fails.
pub(crate) fn fence_or<T>(fallback: T, body: impl FnOnce() -> Outcome<T>) -> T {
    fenced(body).unwrap_or(fallback)
}

fn fenced<T>(body: impl FnOnce() -> Outcome<T>) -> Result<T, nlmqtt_status> {
    silence_panics();
    FENCES.set(FENCES.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(body));
    FENCES.set(FENCES.get() - 1);
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(failure)) => {
            set_last_error(&failure.text);
            Err(failure.status)
        }
        // The panic hook kept the text.
        Err(_) => Err(NLMQTT_INTERNAL),
    }
}

/// A fault of ours must not print into the host's stderr: inside a fence, or while a thread works for
/// a runtime, the message becomes the last error; elsewhere the hook that was there before is called.
///
/// The hook is the one thing here that looks process-wide, and is not: it lives in the standard
/// library, and the packaged libraries carry one of their own that nobody else sees (the shared one
/// exports `nlmqtt_*` only, the archive is localised). Two Rust libraries in one program have a hook
/// each. Other ways were looked at: `resume_unwind` calls no hook, but cannot replace the panics
/// of indexing and assertions; `panic = "abort"` would end the host; output capture and
/// `panic_immediate_abort` are not stable. A Rust program that uses the crate never comes here: only
/// the C functions do.
fn silence_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if FENCES.get() > 0 || crate::net::is_turning_any() {
                set_last_error(&info.to_string());
            } else {
                before(info);
            }
        }));
    });
}

/// What every handle carries: whether it may still be used.
#[derive(Debug)]
pub(crate) struct Health {
    poisoned: AtomicBool,
    process: Process,
}

impl Health {
    pub fn new() -> Self {
        Self { poisoned: AtomicBool::new(false), process: Process::this() }
    }

    /// The handle was made by the parent of this process.
    pub fn is_forked(&self) -> bool {
        Process::this() != self.process
    }

    pub fn check(&self) -> Outcome {
        if self.is_forked() {
            return Err(Failure::new(NLMQTT_FORKED, "made before a fork: its threads are in the parent process"));
        }
        if self.poisoned.load(Ordering::Relaxed) {
            return Err(Failure::new(NLMQTT_INTERNAL, "poisoned by an internal fault; it may only be freed"));
        }
        Ok(())
    }

    fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }
}

/// What a handle with threads behind it points to. The handle itself may be freed by a callback
/// while one of its functions is still on the stack: those hold the inside, not the handle.
pub(crate) trait Handle {
    type Inner: Inner;
    fn inner(&self) -> &Arc<Self::Inner>;
}

/// See [`Handle`].
pub(crate) trait Inner {
    fn health(&self) -> &Health;
}

/// Runs the body of a function of a handle; a panic poisons the handle.
pub(crate) unsafe fn fence_on<H: Handle>(handle: *const H, name: &str, body: impl FnOnce(&Arc<H::Inner>) -> Outcome) -> nlmqtt_status {
    fence(|| {
        let inner = unsafe { reference(handle, name) }?.inner().clone();
        inner.health().check()?;
        match catch_unwind(AssertUnwindSafe(|| body(&inner))) {
            Ok(result) => result,
            Err(_) => {
                inner.health().poison();
                Err(Failure::new(NLMQTT_INTERNAL, with_last_error(str::to_owned)))
            }
        }
    })
}

/// What `(fn, user_data, free_fn)` hands over; dropping it calls `free_fn`.
pub(crate) struct UserData {
    pub data: *mut c_void,
    free: nlmqtt_free_fn,
}

// The documentation of every registration says on which threads it is used.
unsafe impl Send for UserData {}
unsafe impl Sync for UserData {}

impl UserData {
    pub fn new(data: *mut c_void, free: nlmqtt_free_fn) -> Self {
        Self { data, free }
    }
}

impl Drop for UserData {
    fn drop(&mut self) {
        if let Some(free) = self.free {
            unsafe { free(self.data) }
        }
    }
}

fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL"))
}

/// A pointer that must not be NULL.
pub(crate) unsafe fn reference<'a, T>(pointer: *const T, name: &str) -> Outcome<&'a T> {
    unsafe { pointer.as_ref() }.ok_or_else(|| null(name))
}

/// A pointer that must not be NULL, to something only the caller uses.
pub(crate) unsafe fn reference_mut<'a, T>(pointer: *mut T, name: &str) -> Outcome<&'a mut T> {
    unsafe { pointer.as_mut() }.ok_or_else(|| null(name))
}

/// A string that must be there.
pub(crate) unsafe fn string<'a>(pointer: *const c_char, name: &str) -> Outcome<&'a str> {
    unsafe { optional_string(pointer, name) }?.ok_or_else(|| null(name))
}

/// A string, or NULL for none.
pub(crate) unsafe fn optional_string<'a>(pointer: *const c_char, name: &str) -> Outcome<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    let bytes = unsafe { CStr::from_ptr(pointer) }.to_bytes();
    if bytes.is_ascii() {
        // Nearly always, and found out several bytes at a time, however short it is.
        return Ok(Some(unsafe { core::str::from_utf8_unchecked(bytes) }));
    }
    core::str::from_utf8(bytes).map(Some).map_err(|_| Failure::invalid(format!("{name} is not UTF-8")))
}

/// Bytes; NULL is fine if there are none.
pub(crate) unsafe fn bytes<'a>(data: *const c_void, len: usize, name: &str) -> Outcome<&'a [u8]> {
    match (data.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::invalid(format!("{name} is NULL, but its length is {len}"))),
        (false, _) if isize::try_from(len).is_err() => Err(Failure::invalid(format!("{name} is too long"))),
        (false, _) => Ok(unsafe { core::slice::from_raw_parts(data.cast(), len) }),
    }
}

/// Checks an out pointer before anything is done.
pub(crate) fn check_out<T>(out: *mut T, name: &str) -> Outcome {
    if out.is_null() { Err(null(name)) } else { Ok(()) }
}

/// Takes the fields a caller's struct has, defaults for those its header did not know yet.
///
/// # Safety
/// `given` is NULL or points to `struct_size` bytes that begin with that number.
pub(crate) unsafe fn sized<T: Copy>(given: *const T, defaults: T, name: &str) -> Outcome<T> {
    if given.is_null() {
        return Ok(defaults);
    }
    let size = unsafe { given.cast::<usize>().read_unaligned() };
    if size < size_of::<usize>() || size > 1 << 16 {
        return Err(Failure::invalid(format!("{name}: struct_size is {size}; call its init function first")));
    }
    let mut value = defaults;
    unsafe {
        core::ptr::copy_nonoverlapping(given.cast::<u8>(), (&raw mut value).cast::<u8>(), size.min(size_of::<T>()));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_with_its_text() {
        assert_eq!(fence(|| panic!("own fault 17")), NLMQTT_INTERNAL);
        assert!(with_last_error(|text| text.contains("own fault 17")));
        assert_eq!(fence(|| Err(Failure::invalid("this one"))), NLMQTT_INVALID_ARGUMENT);
        assert!(with_last_error(|text| text == "this one"));
    }

    struct Fragile(Arc<Inside>);

    struct Inside(Health);

    impl Handle for Fragile {
        type Inner = Inside;
        fn inner(&self) -> &Arc<Inside> {
            &self.0
        }
    }

    impl Inner for Inside {
        fn health(&self) -> &Health {
            &self.0
        }
    }

    #[test]
    fn a_poisoned_handle_refuses_every_later_call() {
        let handle = Fragile(Arc::new(Inside(Health::new())));
        let call = |fault: bool| unsafe { fence_on(&handle, "handle", |_| if fault { panic!("fault") } else { Ok(()) }) };
        assert_eq!(call(false), NLMQTT_OK);
        assert_eq!(call(true), NLMQTT_INTERNAL);
        assert_eq!(call(false), NLMQTT_INTERNAL);
    }

    #[test]
    fn a_struct_of_an_older_header_is_filled_up_with_defaults() {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct Options {
            struct_size: usize,
            old: u64,
            new: u64,
        }
        let defaults = Options { struct_size: 0, old: 1, new: 2 };
        let given = Options { struct_size: 16, old: 7, new: 99 };
        let taken = unsafe { sized(&given, defaults, "options") }.expect("legal");
        assert_eq!((taken.old, taken.new), (7, 2));
        let empty = Options { struct_size: 0, old: 7, new: 9 };
        assert!(unsafe { sized(&empty, defaults, "options") }.is_err());
    }
}
