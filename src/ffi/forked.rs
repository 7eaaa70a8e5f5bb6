//! In which process a handle was made.
//!
//! A handle is of no use in the child of a fork: its threads are in the parent. Asking the kernel who we are would be a system call
//! in every function, a tenth of what a publish costs; so the C library tells the child that it is one, and the child counts it.
//! Where that cannot be arranged the kernel is asked.

use std::ffi::c_int;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

// Not for the header.
/// cbindgen:ignore
type Handler = Option<unsafe extern "C" fn()>;

#[allow(unused_doc_comments)] // It is for cbindgen.
/// cbindgen:ignore
unsafe extern "C" {
    /// POSIX. A library that is unloaded takes its handlers along.
    fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int;
}

/// Forks between the first process that used the library and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Async-signal-safe, as the child of a process with threads must be.
unsafe extern "C" fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Names this process among its ancestors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Process(u32);

impl Process {
    /// The one this is called in.
    pub fn this() -> Self {
        static TOLD: OnceLock<bool> = OnceLock::new();
        // SAFETY: the handler is a function of this library, and does what one may do there.
        let told = *TOLD.get_or_init(|| unsafe { pthread_atfork(None, None, Some(in_child)) == 0 });
        Self(if told { FORKS.load(Ordering::Relaxed) } else { std::process::id() })
    }
}
