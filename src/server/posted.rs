//! What the owner has published and the worker has not taken yet: a limit for whoever publishes faster than the server works.
//!
//! Admission is a number of messages and of bytes, taken by the thread that publishes and given back when the worker has taken
//! the message over, or when it is dropped with the inbox. One message of any size is taken when nothing else waits. Behind
//! the inbox a publisher on the network is stopped by not being read; one in this process is refused while the memory is
//! used up. The refusals are counted here, where they happen, and moved to the shard's statistics by what reaches the worker next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::base::Budget;
use crate::broker::Options;
use crate::net::Error;

/// The account of one server.
#[derive(Debug)]
pub(super) struct Posted {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    messages_max: usize,
    bytes_max: usize,
    budget: Budget,
    refused: AtomicU64,
}

/// Room that one message has; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    posted: Arc<Posted>,
    bytes: usize,
}

impl Posted {
    pub fn new(options: &Options, budget: Budget) -> Arc<Self> {
        Arc::new(Self {
            messages: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            messages_max: options.max_posted_messages,
            bytes_max: options.max_posted_bytes,
            budget,
            refused: AtomicU64::new(0),
        })
    }

    /// Room for one message.
    ///
    /// # Errors
    /// `Client(QueueFull)`: `max_posted_messages` or `max_posted_bytes` wait, or memory is used up.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Result<Place, Error> {
        // Taken first and looked at then: two threads never both find the last place.
        let place = Place { posted: self.clone(), bytes };
        let messages = self.messages.fetch_add(1, Ordering::Relaxed);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if messages >= self.messages_max || (messages > 0 && waiting + bytes > self.bytes_max) || self.budget.is_exhausted() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Client(crate::proto::Error::QueueFull));
        }
        Ok(place)
    }

    /// Refusals since the last call.
    pub fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.posted.messages.fetch_sub(1, Ordering::Relaxed);
        self.posted.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::base::Duration;
    use crate::broker::Options;
    use crate::net::{Error, Mode, Runtime, RuntimeOptions};
    use crate::server::{Publication, Server};

    fn server(options: Options) -> Server {
        let runtime_options = RuntimeOptions { mode: Mode::Loop, memory_limit: 1 << 20, ..RuntimeOptions::default() };
        let runtime = Runtime::new(&runtime_options).expect("a runtime");
        Server::new(&runtime, options, None).expect("a server")
    }

    fn publish(server: &Server, payload: &[u8]) -> bool {
        match server.publish(&Publication { topic: "t", payload, ..Publication::default() }) {
            Ok(()) => true,
            Err(Error::Client(crate::proto::Error::QueueFull)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn max_posted_messages_refuses_who_publishes_faster_than_the_server_works() {
        let server = server(Options { max_posted_messages: 3, ..Options::default() });
        assert_eq!([1, 2, 3, 4, 5].map(|_| publish(&server, b"x")), [true, true, true, false, false]);
        server.runtime().poll(Some(Duration::ZERO)).expect("a turn");
        assert!(publish(&server, b"x"), "room again");
        assert_eq!(server.stats().expect("statistics").posts_refused, 2);
    }

    #[test]
    fn max_posted_bytes_takes_one_message_of_any_size_alone() {
        let server = server(Options { max_posted_bytes: 1_000, ..Options::default() });
        assert!(publish(&server, &[0; 5_000]));
        assert!(!publish(&server, b"x"));
        server.runtime().poll(Some(Duration::ZERO)).expect("a turn");
        assert!(publish(&server, &[0; 400]) && publish(&server, &[0; 400]));
        assert!(!publish(&server, &[0; 400]));
        assert_eq!(server.stats().expect("statistics").posts_refused, 2);
    }

    #[test]
    fn memory_limit_refuses_the_owner_too_and_what_a_packet_cannot_hold_is_too_large() {
        let server = server(Options::default());
        let held = server.runtime().budget().charge(2 << 20);
        assert!(!publish(&server, b"x"));
        drop(held);
        assert!(publish(&server, b"x"));
        assert_eq!(server.stats().expect("statistics").posts_refused, 1);
        let huge = vec![0; crate::codec::PAYLOAD_BYTES_MAX + 1];
        let refused = server.publish(&Publication { topic: "t", payload: &huge, ..Publication::default() });
        assert!(matches!(refused, Err(Error::Client(crate::proto::Error::TooLarge))), "{refused:?}");
    }
}
