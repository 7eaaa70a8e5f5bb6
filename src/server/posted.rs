//! What the owner has posted and the worker has not taken yet: a limit for whoever posts faster than the server works.
//!
//! Admission is a number of messages and of bytes, taken by the thread that publishes and given back when the worker has taken
//! the message over, or when it is dropped with the inbox. One message of any size is taken when nothing else waits. Behind
//! the inbox a publisher on the network is stopped by not being read; one in this process is refused while the memory is
//! used up. Orders (kick, subscribe, the late answer of a hook, whatever a callback changes) have as many places of their own: a
//! flood of messages must not keep the owner from stopping it, and since an order may be what gives memory back, memory that is
//! used up does not refuse it. The refusals are counted here, where they happen, and moved to the shard's statistics by what reaches the worker next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::base::Budget;
use crate::broker::Options;
use crate::net::Error;

/// The accounts of one server.
#[derive(Debug)]
pub(super) struct Posted {
    messages: Level,
    orders: Level,
    count_max: usize,
    bytes_max: usize,
    budget: Budget,
    refused: AtomicU64,
}

/// What waits at the moment.
#[derive(Default, Debug)]
struct Level {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Message,
    Order,
}

/// Room that one post has; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    posted: Arc<Posted>,
    kind: Kind,
    bytes: usize,
}

impl Posted {
    pub fn new(options: &Options, budget: Budget) -> Arc<Self> {
        Arc::new(Self {
            messages: Level::default(),
            orders: Level::default(),
            count_max: options.max_posted_messages,
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
        self.take_place(Kind::Message, bytes)
    }

    /// Room for one order.
    ///
    /// # Errors
    /// `Client(QueueFull)`: as many orders as `max_posted_messages`, or as many bytes of them as `max_posted_bytes`, wait.
    pub fn admit_order(self: &Arc<Self>, bytes: usize) -> Result<Place, Error> {
        self.take_place(Kind::Order, bytes)
    }

    fn take_place(self: &Arc<Self>, kind: Kind, bytes: usize) -> Result<Place, Error> {
        // Taken first and looked at then: two threads never both find the last place.
        let place = Place { posted: self.clone(), kind, bytes };
        let level = self.level(kind);
        let count = level.count.fetch_add(1, Ordering::Relaxed);
        let waiting = level.bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_full = count >= self.count_max || (count > 0 && waiting + bytes > self.bytes_max);
        if is_full || (kind == Kind::Message && self.budget.is_exhausted()) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Client(crate::proto::Error::QueueFull));
        }
        Ok(place)
    }

    fn level(&self, kind: Kind) -> &Level {
        match kind {
            Kind::Message => &self.messages,
            Kind::Order => &self.orders,
        }
    }

    /// Refusals since the last call.
    pub fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let level = self.posted.level(self.kind);
        level.count.fetch_sub(1, Ordering::Relaxed);
        level.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::base::Duration;
    use crate::broker::{Decision, HookToken, Options};
    use crate::codec::Reason;
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

    fn is_taken<T>(outcome: Result<T, Error>) -> bool {
        match outcome {
            Ok(_) => true,
            Err(Error::Client(crate::proto::Error::QueueFull)) => false,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn orders_have_places_of_their_own_and_as_many_as_messages() {
        let server = server(Options { max_posted_messages: 3, ..Options::default() });
        let kick = || is_taken(server.kick("nobody", Reason::ADMINISTRATIVE_ACTION, false));
        assert_eq!([1, 2, 3, 4].map(|_| publish(&server, b"x")), [true, true, true, false]);
        let held = server.runtime().budget().charge(2 << 20);
        assert!(kick(), "neither messages nor memory are in the way of an order");
        drop(held);
        assert!(is_taken(server.complete(HookToken::from_numbers(0, 0), Decision::Allow)));
        let subscription = server.subscribe("t", |_| {}).expect("the third");
        assert!(!is_taken(server.subscribe("t", |_| {})) && !kick());
        assert!(!is_taken(server.complete(HookToken::from_numbers(0, 0), Decision::Allow)));
        // Ending what there is needs no place, and happens once.
        server.unsubscribe(subscription);
        server.unsubscribe(subscription);
        server.runtime().poll(Some(Duration::ZERO)).expect("a turn");
        assert!(kick() && publish(&server, b"x"), "room again");
        assert_eq!(server.stats().expect("statistics").posts_refused, 4);
        server.unsubscribe(subscription);
        assert_eq!(server.stats().expect("statistics").subscriptions, 0);
    }

    #[test]
    fn orders_are_bounded_in_bytes_too() {
        let server = server(Options { max_posted_bytes: 1_000, ..Options::default() });
        let long = "x".repeat(5_000);
        assert!(is_taken(server.kick(&long, Reason::ADMINISTRATIVE_ACTION, false)), "one of any size");
        assert!(!is_taken(server.kick("c", Reason::ADMINISTRATIVE_ACTION, false)));
        server.runtime().poll(Some(Duration::ZERO)).expect("a turn");
        let answer = || server.complete(HookToken::from_numbers(0, 0), Decision::Challenge(vec![0; 600]));
        assert!(is_taken(answer()) && !is_taken(answer()));
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
