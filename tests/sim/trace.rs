//! What happened: a hash of every line, and the last lines themselves.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use nlmqtt::base::Instant;

const LINES_KEPT: usize = 200;

/// A handle to one run's trace.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    now: Instant,
    hash: u64,
    count: u64,
    kept: VecDeque<String>,
}

impl Trace {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The time of the lines that follow.
    pub fn set_now(&self, now: Instant) {
        self.lines().now = now;
    }

    /// One line. The hash covers its time and its text.
    pub fn line(&self, text: std::fmt::Arguments<'_>) {
        let mut lines = self.lines();
        let mut line = if lines.kept.len() < LINES_KEPT { String::new() } else { lines.kept.pop_front().unwrap_or_default() };
        line.clear();
        let now = lines.now;
        write!(line, "{now:?} {text}").expect("a string takes everything");
        // FNV-1a: the same everywhere, and nobody attacks a trace.
        for byte in line.bytes() {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        lines.count += 1;
        if std::env::var_os("SIM_TRACE").is_some() {
            eprintln!("{line}");
        }
        lines.kept.push_back(line);
    }

    /// Hash and number of all lines so far.
    pub fn fingerprint(&self) -> (u64, u64) {
        let lines = self.lines();
        (lines.hash, lines.count)
    }

    /// The last lines.
    pub fn tail(&self) -> String {
        let lines = self.lines();
        lines.kept.iter().map(|line| format!("{line}\n")).collect()
    }
}

/// One line of a trace, written like `println!`.
macro_rules! trace {
    ($trace:expr, $($text:tt)*) => { $trace.line(format_args!($($text)*)) };
}
pub(crate) use trace;
