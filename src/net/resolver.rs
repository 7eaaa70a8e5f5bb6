//! Names are looked up off the loop: the system's resolver blocks, for minutes if it has to.
//!
//! Each look-up gets a thread of its own, so that one slow name does not delay another; at most as
//! many as an option says at one time, the others wait their turn. A runtime that stops does not
//! wait for them: a thread whose answer nobody takes ends by itself. The application may look names
//! up itself; then there are no such threads. Literal addresses need neither.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::Arc;

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
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Resolver {
    /// `wake` is called by a look-up thread when its answer is there.
    pub fn new(threads_max: usize, threads: ThreadOptions, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { threads_max, threads, resolve: None, sender, receiver, running: 0, waiting: VecDeque::new(), wake }
    }

    /// From now on the application looks names up.
    pub fn resolve_with(&mut self, resolve: Resolve) {
        self.resolve = Some(resolve);
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
