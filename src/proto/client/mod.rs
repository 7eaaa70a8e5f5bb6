//! A whole MQTT client without I/O: connects, keeps the session, queues, subscribes, reconnects.
//!
//! # Theory of operation
//! ```text
//!              start            handle_dialed         CONNACK
//!   Stopped ----------> Dialing ------------> Connecting ----> Online --stop--> Stopping
//!      ^                   ^  |                   |              |                 |
//!      |        retry time |  v lost              v              v                 |
//!      +---- gave up --- Waiting <----------------+--------------+                 |
//!      +---------------------------------------------------------------------------+
//! ```
//! The **driver** owns the connection and the clock. It calls `handle_dialed`, `handle_input`,
//! `handle_closed`, `handle_timeout`, then asks [`Client::poll_transmit`] until there is nothing
//! (what it gives is written and taken off with `OutBuffer::advance`: one write per turn), then
//! [`Client::poll_event`] until there is nothing, then sleeps until [`Client::poll_timeout`].
//! [`Event::Dial`] and [`Event::HangUp`] are for the driver. After `HangUp` (and after it has
//! called `handle_closed`) it reports nothing more of that connection.
//!
//! The **application** makes requests. It names each with a [`Token`] of its own choice, and exactly
//! one completion event of an accepted request carries it, also after `cancel` and `stop`. Without
//! a connection requests wait; a publish is refused while `Stopped`, subscribing then is preparing
//! for `start`.
//!
//! **Order on a new connection**: UNSUBSCRIBE and SUBSCRIBE, then what was in flight, then the
//! queue. Publishes keep their order among themselves.
//!
//! **Sessions** (§4.1): in MQTT 5 only the first connection after `start` asks for a clean start;
//! in 3.x a clean session ends with each connection. Whether the server still has the session is
//! what CONNACK says: if not, filters are subscribed again and unacknowledged messages are sent as
//! new ones, because nobody has told the application that they are done. Messages the server has
//! confirmed by PUBREC count as done then. Without a session on the server, exactly-once holds
//! within one connection only; that is the nature of QoS 2.
//!
//! | file | subject |
//! |---|---|
//! | `options`, `event` | what it is told, what it says |
//! | `lifecycle` | the transitions of the picture above |
//! | `incoming`, `outgoing` | packets from and to the server |
//! | `requests` | what the application asks for |
//! | `connection`, `acks` | what dies with the connection |
//! | `calls` | request and response (§4.10) |
//! | `subscriptions`, `asking`, `queue`, `reconnect` | the parts |

mod acks;
mod asking;
mod calls;
mod connection;
mod event;
mod incoming;
mod lifecycle;
mod options;
mod outgoing;
mod queue;
mod reconnect;
mod requests;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::base::{Budget, Instant, OutBuffer, Rng};
use crate::proto::{Error, OWED_BYTES_MAX, Receiver, Sender};
use calls::Calls;
use connection::Connection;
use queue::{Item, Queue};
use reconnect::{ClockDoubt, Reconnect};
use subscriptions::Subscriptions;

pub use calls::response_to;
pub use event::{
    AckHandle, Cause, Connected, Disconnected, Event, Failure, Incoming, Outcome, PublishRequest, QueueTerms, ReceiveRoom, State, Statistics, StopRequest,
    SubscribeRequest, SubscriptionKey, Token,
};
pub use options::{Authentication, OfflineQos0, Options, Overflow, QueueOptions, ReceiveOptions, ReconnectOptions, Resubscribe, Retry, Will};

/// One client. See the module documentation for the contract.
pub struct Client {
    options: Options,
    budget: Budget,
    rng: Rng,
    state: State,
    /// Of the state: end of the wait, the connect timeout, end of the drain.
    deadline: Option<Instant>,
    stopping: Option<StopRequest>,
    /// When the drain of the last stop ends.
    stop_until: Option<Instant>,
    events: VecDeque<Event>,
    out: OutBuffer,
    /// Something was appended to `out` since the driver last asked.
    is_touched: bool,
    /// The session: what outlives a connection.
    sender: Sender<Item>,
    receiver: Receiver,
    client_id: String,
    /// A CONNACK came since `start`.
    has_connected: bool,
    /// So many of the next CONNACKs may speak of a session this side knows nothing of: a CONNECT
    /// went out whose CONNACK did not come, and the server took it as the begin of a new session,
    /// before the next connection or, if it was slow on its way, even after it.
    unsure_connections: u8,
    queue: Queue,
    subscriptions: Subscriptions,
    calls: Calls,
    /// What the server said in CONNACK (§3.2.2.3.15).
    response_information: Option<String>,
    /// What may still come to the driver; `None`: any number of messages.
    receive_room: Option<ReceiveRoom>,
    reconnect: Reconnect,
    clock: ClockDoubt,
    /// Where the last session was.
    last_server: Option<usize>,
    connection: Option<Connection>,
    connection_last: u64,
    statistics: Statistics,
}

impl Client {
    /// A stopped client. What it holds in memory is charged to `budget`.
    pub fn new(options: Options, budget: Budget, rng: Rng) -> Result<Self, Error> {
        options.validate()?;
        Ok(Self {
            sender: Sender::new(options.in_flight_max),
            receiver: Receiver::new(outgoing::receive_maximum(&options)),
            client_id: options.client_id.clone(),
            queue: Queue::new(options.queue),
            reconnect: Reconnect::new(&options.servers),
            clock: ClockDoubt::None,
            last_server: None,
            subscriptions: Subscriptions::default(),
            calls: Calls::default(),
            response_information: None,
            receive_room: None,
            state: State::Stopped,
            deadline: None,
            stopping: None,
            stop_until: None,
            events: VecDeque::new(),
            out: OutBuffer::default(),
            is_touched: false,
            has_connected: false,
            unsure_connections: 0,
            connection: None,
            connection_last: 0,
            statistics: Statistics::default(),
            options,
            budget,
            rng,
        })
    }

    /// The next event, until there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if event.is_none() && self.events.capacity() > EVENTS_KEPT {
            self.events = VecDeque::new();
        }
        event
    }

    /// True while [`Client::poll_event`] has something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// When to call [`Client::handle_timeout`], at the latest.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let keep_alive = self.connection.as_ref().and_then(|live| live.keep_alive.poll_timeout());
        let all = [self.deadline, keep_alive, self.queue.next_expiry(), self.calls.next_deadline()];
        all.into_iter().flatten().min()
    }

    /// False while there is no room for another message, and while so much waits to be written that
    /// no more packets should be read: their answers would pile up. That not before there are more
    /// of them than packet identifiers: two sides that both have much to write and do not read would
    /// wait for each other for ever.
    pub fn wants_input(&self) -> bool {
        self.out.len() < self.options.out_bytes_max + OWED_BYTES_MAX && !self.is_held()
    }

    /// Driver: how many messages may be given to it, those of subscriptions with a handler not
    /// counted. When there is no room, decoding rests, `wants_input` is false, and silence of the
    /// server is excused; with new room, `handle_input` (of nothing, too) goes on.
    pub fn set_receive_room(&mut self, room: ReceiveRoom) {
        self.receive_room = Some(room);
    }

    /// Decoding rests until there is room for another message.
    pub fn is_held(&self) -> bool {
        // CONNACK comes in any case.
        let in_session = matches!(self.state, State::Online | State::Stopping);
        in_session && self.receive_room.is_some_and(|room| room.count == 0 || room.bytes == 0)
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The client identifier in use: given, or assigned by the server.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The options in force.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Where what it holds is charged.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// For a layer that needs something unforeseeable.
    pub fn draw_seed(&mut self) -> u64 {
        self.rng.u64()
    }

    /// Counters.
    pub fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// Messages waiting to be sent and their bytes.
    pub fn queued(&self) -> (usize, usize) {
        (self.queue.len(), self.queue.bytes())
    }

    /// QoS 1 and 2 messages sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.sender.in_flight()
    }

    /// Filters stored.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }
}

/// A burst of events leaves no more room behind than this.
const EVENTS_KEPT: usize = 64;
