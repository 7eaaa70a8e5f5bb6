//! Where lines of log go: to the sink of their runtime and nowhere else.
//!
//! Own lines know their runtime. Lines of third-party crates come through the `log` facade, which
//! is process-wide: [`route_facade`] installs one logger without any state that hands each line to
//! the sink of the runtime this thread works for at that moment. Without one the line is dropped.
//! Only the C build installs it; a Rust program keeps the logger of its own choice.

use std::cell::RefCell;
use std::sync::Arc;

/// Receives lines.
pub trait Log: Send + Sync {
    /// Are lines of this level, from 1 (error) to 5 (trace), wanted from this module?
    fn wants(&self, level: u8, module: &str) -> bool;

    /// One wanted line.
    fn line(&self, level: u8, module: &str, text: &str);
}

thread_local! {
    static SINK: RefCell<Option<Arc<dyn Log>>> = const { RefCell::new(None) };
}

/// While it lives, lines of third parties on this thread go to a sink.
pub(super) struct Logging(Option<Arc<dyn Log>>);

impl Logging {
    pub fn begin(sink: Option<&Arc<dyn Log>>) -> Self {
        // A thread that is ending has no sink any more.
        Self(SINK.try_with(|current| current.replace(sink.cloned())).unwrap_or_default())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let before = self.0.take();
        // What is replaced is dropped outside: it may run code of the user's.
        drop(SINK.try_with(|current| current.replace(before)));
    }
}

fn sink() -> Option<Arc<dyn Log>> {
    // Borrowed already: the sink itself logs through the facade; that line is dropped.
    SINK.try_with(|current| current.try_borrow().ok().and_then(|sink| sink.clone())).ok().flatten()
}

struct Router;

fn level_number(level: log::Level) -> u8 {
    level as u8
}

/// The crate a record comes from.
fn module(target: &str) -> &str {
    target.split("::").next().unwrap_or(target)
}

impl log::Log for Router {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        sink().is_some_and(|sink| sink.wants(level_number(metadata.level()), module(metadata.target())))
    }

    fn log(&self, record: &log::Record<'_>) {
        let (level, module) = (level_number(record.level()), module(record.target()));
        if let Some(sink) = sink().filter(|sink| sink.wants(level, module)) {
            sink.line(level, module, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Installs the router of third-party lines, once; without effect if there is a logger already.
pub fn route_facade() {
    static ROUTER: Router = Router;
    if log::set_logger(&ROUTER).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn wants(&self, level: u8, module: &str) -> bool {
            level <= 3 && module == "somebody"
        }

        fn line(&self, level: u8, module: &str, text: &str) {
            self.0.lock().expect("lock").push(format!("{level} {module} {text}"));
        }
    }

    #[test]
    fn a_line_of_a_third_party_goes_to_the_runtime_that_is_running() {
        route_facade();
        let (outer, inner) = (Arc::new(Kept::default()), Arc::new(Kept::default()));
        let sinks: [Arc<dyn Log>; 2] = [outer.clone(), inner.clone()];
        log::info!(target: "somebody::else", "to nobody");
        let logging = Logging::begin(Some(&sinks[0]));
        log::warn!(target: "somebody::else", "first");
        {
            let _nested = Logging::begin(Some(&sinks[1]));
            log::error!(target: "somebody", "second");
        }
        log::info!(target: "somebody", "third");
        log::debug!(target: "somebody", "not wanted");
        log::info!(target: "stranger", "not wanted");
        drop(logging);
        log::info!(target: "somebody", "to nobody");
        assert_eq!(*outer.0.lock().expect("lock"), ["2 somebody first", "3 somebody third"]);
        assert_eq!(*inner.0.lock().expect("lock"), ["1 somebody second"]);
    }
}
