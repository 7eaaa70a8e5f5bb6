//! Names are looked up off the loop: the system's resolver blocks, for minutes if it has to.
//!
//! Each look-up gets a thread of its own, so that one slow name does not delay another; at most
//! [`THREADS_MAX`] at one time, the others wait their turn. A runtime that stops does not wait for
//! them: a thread whose answer nobody takes ends by itself.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::sync::Arc;

/// Look-ups at one time.
pub const THREADS_MAX: usize = 8;
/// Look-ups that wait for a thread; one more fails at once.
pub const WAITING_MAX: usize = 1_024;

/// An answer.
pub type Resolved = (u64, io::Result<Vec<SocketAddr>>);

/// Runs look-ups on threads of its own.
pub struct Resolver {
    sender: mpsc::Sender<Resolved>,
    receiver: mpsc::Receiver<Resolved>,
    running: usize,
    waiting: VecDeque<(u64, String, u16)>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Resolver {
    /// `wake` is called by a look-up thread when its answer is there.
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver, running: 0, waiting: VecDeque::new(), wake }
    }

    /// Begins a look-up; literal addresses need no thread.
    pub fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
        if let Ok(address) = literal {
            self.answer(ticket, Ok(vec![SocketAddr::new(address, port)]));
        } else if self.waiting.len() >= WAITING_MAX {
            self.answer(ticket, Err(io::Error::other("too many names wait to be looked up")));
        } else {
            self.waiting.push_back((ticket, host.to_owned(), port));
            self.start_waiting();
        }
    }

    fn answer(&self, ticket: u64, result: io::Result<Vec<SocketAddr>>) {
        // The receiver is in the same struct: sending cannot fail.
        let _ = self.sender.send((ticket, result));
        (self.wake)();
    }

    fn start_waiting(&mut self) {
        while self.running < THREADS_MAX {
            let Some((ticket, host, port)) = self.waiting.pop_front() else { return };
            let (sender, wake) = (self.sender.clone(), self.wake.clone());
            let look_up = move || {
                let addresses = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
                let _ = sender.send((ticket, addresses));
                wake();
            };
            match super::runtime::spawn("nlmqtt-dns", look_up) {
                Ok(_) => self.running += 1,
                Err(error) => self.answer(ticket, Err(error)),
            }
        }
    }

    /// Answers that came since.
    pub fn poll(&mut self) -> Option<Resolved> {
        let resolved = self.receiver.try_recv().ok()?;
        self.running = self.running.saturating_sub(1);
        self.start_waiting();
        Some(resolved)
    }
}
