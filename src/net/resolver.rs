//! Names are looked up off the loop: the system's resolver blocks, for minutes if it has to.
//!
//! Each look-up gets a thread of its own, so that one slow name does not delay another; at most as
//! many as an option says at one time, the others wait their turn. A runtime that stops does not
//! wait for them: a thread whose answer nobody takes ends by itself. The application may look names
//! up itself; then there are no such threads. Literal addresses need neither.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use super::threads::{Role, ThreadOptions};

/// Look-ups at one time, unless an option says otherwise.
pub const HELPER_THREADS: usize = 8;
/// Look-ups that wait for a thread; one more fails at once.
pub const WAITING_MAX: usize = 1_024;

/// An answer.
pub type Resolved = (u64, io::Result<Vec<SocketAddr>>);

/// An answer, and whether a thread gave it.
type Sent = (Resolved, bool);

/// The application's own way to look names up: is given a ticket and a name, and answers through
/// [`super::Runtime::name_resolved`].
pub type Resolve = Arc<dyn Fn(u64, &str) + Send + Sync>;

/// The address a text is, with or without the brackets of IPv6.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Runs look-ups on threads of its own.
pub struct Resolver {
    threads_max: usize,
    threads: ThreadOptions,
    resolve: Option<Resolve>,
    sender: mpsc::Sender<Sent>,
    receiver: mpsc::Receiver<Sent>,
    running: usize,
    waiting: VecDeque<(u64, String, u16)>,
    refused: Arc<AtomicU64>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Resolver {
    /// `wake` is called by a look-up thread when its answer is there.
    pub fn new(threads_max: usize, threads: ThreadOptions, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { threads_max, threads, resolve: None, sender, receiver, running: 0, waiting: VecDeque::new(), refused: Arc::default(), wake }
    }

    /// From now on the application looks names up.
    pub fn resolve_with(&mut self, resolve: Resolve) {
        self.resolve = Some(resolve);
    }

    /// Counts look-ups that failed because too many waited.
    pub fn refused(&self) -> Arc<AtomicU64> {
        self.refused.clone()
    }

    /// Begins a look-up; literal addresses need no thread.
    pub fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        if let Some(address) = literal(host) {
            self.answer(ticket, Ok(vec![SocketAddr::new(address, port)]));
        } else if let Some(resolve) = &self.resolve {
            resolve(ticket, host);
        } else if self.threads_max == 0 {
            self.answer(ticket, Err(io::Error::other("no helper threads to look names up")));
        } else if self.waiting.len() >= WAITING_MAX {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.answer(ticket, Err(io::Error::other("too many names wait to be looked up")));
        } else {
            self.waiting.push_back((ticket, host.to_owned(), port));
            self.start_waiting();
        }
    }

    fn answer(&self, ticket: u64, result: io::Result<Vec<SocketAddr>>) {
        // The receiver is in the same struct: sending cannot fail.
        let _ = self.sender.send(((ticket, result), false));
        (self.wake)();
    }

    fn start_waiting(&mut self) {
        while self.running < self.threads_max {
            let Some((ticket, host, port)) = self.waiting.pop_front() else { return };
            let (sender, wake) = (self.sender.clone(), self.wake.clone());
            let look_up = move || {
                let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                let _ = sender.send(((ticket, addresses), true));
                wake();
            };
            match self.threads.spawn(Role::Helper("-dns"), look_up) {
                Ok(_) => self.running += 1,
                Err(error) => self.answer(ticket, Err(error)),
            }
        }
    }

    /// Answers that came since.
    pub fn poll(&mut self) -> Option<Resolved> {
        let (resolved, by_thread) = self.receiver.try_recv().ok()?;
        if by_thread {
            self.running -= 1;
            self.start_waiting();
        }
        Some(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_up_too_many_fails_at_once_and_is_counted() {
        let mut resolver = Resolver::new(1, ThreadOptions::default(), Arc::new(|| {}));
        // One runs; nothing is taken from those that wait before its answer is.
        for ticket in 0..=WAITING_MAX as u64 {
            resolver.resolve(ticket, "localhost", 1);
        }
        assert_eq!(resolver.refused().load(Ordering::Relaxed), 0);
        resolver.resolve(7_777, "localhost", 1);
        assert_eq!(resolver.refused().load(Ordering::Relaxed), 1);
        // A literal address needs no place.
        resolver.resolve(8_888, "[::1]", 9);
        let mut answers = Vec::new();
        while answers.len() < 2 {
            // The thread's own answer may be among them.
            answers.extend(std::iter::from_fn(|| resolver.receiver.try_recv().ok()).filter(|(_, by_thread)| !by_thread).map(|(answer, _)| answer));
        }
        assert!(answers[0].0 == 7_777 && answers[0].1.is_err());
        assert_eq!(answers[1].1.as_deref().ok(), Some(&["[::1]:9".parse().expect("an address")][..]));
    }

    #[test]
    fn without_threads_a_name_is_not_found_or_the_applications_affair() {
        let mut resolver = Resolver::new(0, ThreadOptions::default(), Arc::new(|| {}));
        resolver.resolve(1, "localhost", 1);
        assert!(resolver.poll().is_some_and(|(ticket, answer)| ticket == 1 && answer.is_err()));
        let (sender, receiver) = mpsc::channel();
        resolver.resolve_with(Arc::new(move |ticket, host| sender.send((ticket, host.to_owned())).expect("it is heard")));
        resolver.resolve(2, "localhost", 1);
        assert_eq!(receiver.try_recv(), Ok((2, "localhost".to_owned())));
        assert!(resolver.poll().is_none());
    }
}
