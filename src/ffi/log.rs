//! The log of a runtime: own lines, and those of the crates inside, go to the callback of their
//! runtime and nowhere else.

use std::ffi::{CString, c_char, c_void};
use std::sync::Arc;

use super::UserData;
use crate::net::Log;

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

/// Receives one line, without a line end. `module` says who speaks: "client", "server", "runtime", or the name of a crate
/// inside such as "mio". Both are borrowed until the callback returns and end with a NUL. Called on the thread that has
/// something to say, mostly the library's, in DISPATCH mode, too, and on many at the same time; it must not block.
pub type nlmqtt_log_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, module: *const c_char, text: *const c_char)>;

/// The callback, kept by a configuration and by every runtime made from it.
pub(crate) struct LogTarget {
    call: unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char),
    user: UserData,
}

/// Where the lines of a runtime go, and which.
pub(crate) struct LogSink {
    pub target: Arc<LogTarget>,
    pub level_max: u8,
    /// Modules with a level of their own.
    pub levels: Vec<(String, u8)>,
}

impl LogTarget {
    /// `None`: there is no function, and `user` is released at once.
    pub fn new(call: nlmqtt_log_fn, user: UserData) -> Option<Self> {
        call.map(|call| Self { call, user })
    }
}

impl LogSink {
    /// Says a line if it is wanted; only then it is made.
    pub fn line(&self, level: i32, module: &str, text: impl FnOnce() -> String) {
        let level = u8::try_from(level).unwrap_or(u8::MAX);
        if self.wants(level, module) {
            Log::line(self, level, module, &text());
        }
    }
}

impl Log for LogSink {
    fn wants(&self, level: u8, module: &str) -> bool {
        let own = self.levels.iter().find(|(known, _)| known == module);
        level <= own.map_or(self.level_max, |(_, level)| *level)
    }

    fn line(&self, level: u8, module: &str, text: &str) {
        // A peer may have put a NUL into a name: the line ends there.
        let until_nul = |text: &str| CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default();
        let (module, text) = (until_nul(module), until_nul(text));
        unsafe { (self.target.call)(self.target.user.data, level.into(), module.as_ptr(), text.as_ptr()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::sync::Mutex;

    unsafe extern "C" fn keep(user_data: *mut c_void, level: i32, module: *const c_char, text: *const c_char) {
        let lines = unsafe { &*user_data.cast::<Mutex<Vec<String>>>() };
        let [module, text] = [module, text].map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy());
        lines.lock().expect("lock").push(format!("{level} {module} {text}"));
    }

    #[test]
    fn a_module_may_have_a_level_of_its_own_and_a_line_ends_at_a_nul() {
        let lines = Mutex::new(Vec::<String>::new());
        let user = UserData::new((&raw const lines).cast_mut().cast(), None);
        let target = Arc::new(LogTarget::new(Some(keep), user).expect("a function"));
        let sink = LogSink { target, level_max: 2, levels: vec![("server".to_owned(), 4), ("mio".to_owned(), 0)] };
        sink.line(2, "client", || "wanted".to_owned());
        sink.line(3, "client", || panic!("made in vain"));
        sink.line(4, "server", || "cut\0off".to_owned());
        sink.line(1, "mio", || panic!("made in vain"));
        assert_eq!(*lines.lock().expect("lock"), ["2 client wanted", "4 server cut"]);
    }
}
