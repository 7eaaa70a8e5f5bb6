//! The log of a runtime: own lines go to the callback of their runtime and nowhere else.

use std::ffi::{CString, c_char, c_void};

use super::UserData;

/// Something failed that the program should know of.
pub const NLMQTT_LOG_ERROR: i32 = 1;
/// Something is not as it should be.
pub const NLMQTT_LOG_WARNING: i32 = 2;
/// Clients and connections that come and go, refusals and their reasons.
pub const NLMQTT_LOG_INFO: i32 = 3;
/// Packets.
pub const NLMQTT_LOG_DEBUG: i32 = 4;
/// Everything.
pub const NLMQTT_LOG_TRACE: i32 = 5;

/// Receives one line, without a line end; `text` is borrowed until the callback returns and ends with a NUL. Called
/// on the thread that has something to say, mostly the library's; it must not block.
pub type nlmqtt_log_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, text: *const c_char)>;

/// Where the lines of a runtime go.
pub(crate) struct LogSink {
    level_max: i32,
    call: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user: UserData,
}

impl LogSink {
    /// `None`: nothing is to be logged, and `user` is released at once.
    pub fn new(level_max: i32, call: nlmqtt_log_fn, user: UserData) -> Option<Self> {
        call.filter(|_| level_max > 0).map(|call| Self { level_max, call, user })
    }

    /// Says a line if its level is wanted; only then it is made.
    pub fn line(&self, level: i32, text: impl FnOnce() -> String) {
        if level > self.level_max {
            return;
        }
        // A peer may have put a NUL into a name: the line ends there.
        let mut bytes = text().into_bytes();
        bytes.truncate(bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()));
        let text = CString::new(bytes).unwrap_or_default();
        unsafe { (self.call)(self.user.data, level, text.as_ptr()) }
    }
}
