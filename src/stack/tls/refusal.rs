//! Why a certificate was refused, for one who hears of it by an alert's number only.
//!
//! quinn-proto hands on what rustls says as the number of an alert and a text, and one number is the answer to several
//! faults that are a status each here. The check runs inside the call that hands a datagram to the machine, on the same thread, so
//! what it found is noted on the side, and taken when that call has ended.

use std::cell::RefCell;

use rustls::Error;

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// The last check on this thread came to this.
pub(super) fn note(error: Option<&Error>) {
    // A thread that is ending hears of nothing any more.
    let _ = LAST.try_with(|last| last.replace(error.cloned()));
}

/// Takes what the last check came to, if it was a refusal.
pub(in crate::stack) fn take() -> Option<Error> {
    LAST.try_with(|last| last.take()).ok().flatten()
}
