//! What a client machine says, and what is said to it.

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Budget, Duration, Instant};
use crate::codec::{Message, PAYLOAD_BYTES_MAX, Place, Properties, PropertyId, PropertyList, Qos, Reason, SubscribeOptions};
use crate::proto::Error;
use crate::stack::Fault;
use crate::topic;

/// Names one request, chosen by whoever makes it, never twice; its completion event carries it,
/// exactly once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Token(pub u64);

/// Names one subscribe request whose messages are to be told apart ([`SubscribeRequest::handler`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubscriptionKey(pub u32);

/// Names a message that waits for [`super::Client::acknowledge`]. Void after the connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AckHandle {
    pub(super) connection: u64,
    pub(super) serial: u64,
}

impl AckHandle {
    /// As two numbers, the first of them above 0, for a language without private fields.
    pub fn to_numbers(self) -> (u64, u64) {
        (self.connection, self.serial)
    }

    /// Back again. Numbers that never were a handle name nothing.
    pub fn from_numbers(connection: u64, serial: u64) -> Self {
        Self { connection, serial }
    }
}

/// What the machine wants or tells; ask with [`super::Client::poll_event`] until there is none.
#[derive(Debug)]
pub enum Event {
    /// Driver: open a connection to this server (index in [`super::Options::servers`]), then
    /// `handle_dialed` or `handle_closed`. Credentials may be renewed before `handle_dialed`.
    Dial {
        /// Which one.
        server: usize,
    },
    /// Driver: write what `poll_transmit` still has, close, and report nothing more of it. Also
    /// ends a dial.
    HangUp,
    /// The state is another one.
    StateChanged(State),
    /// A session is there.
    Connected(Box<Connected>),
    /// A connection was lost, refused or not made.
    Disconnected(Box<Disconnected>),
    /// A message came.
    Message(Incoming),
    /// A publish is done.
    Published {
        /// Which one.
        token: Token,
        /// How it ended.
        outcome: Outcome,
    },
    /// A request (§4.10) is done.
    Responded {
        /// Which one.
        token: Token,
        /// The response, or why there is none.
        response: Result<Arc<Incoming>, Outcome>,
    },
    /// A message was given up: one of the application's, before its completion and unless the
    /// application itself had cancelled it, or a response nobody waits for.
    Dropped {
        /// The message.
        message: Arc<Message>,
        /// Why.
        failure: Failure,
    },
    /// A subscribe is done: every filter has its answer.
    Subscribed {
        /// Which one.
        token: Token,
        /// How it ended.
        outcome: Outcome,
        /// In the order of the filters asked for; 0 to 2 = granted QoS. 0x83 for a filter that was
        /// unsubscribed meanwhile.
        reasons: Vec<Reason>,
    },
    /// A stored filter was asked for again after the server had lost the session.
    Resubscribed {
        /// The filter.
        filter: Arc<str>,
        /// Granted QoS or the refusal; a refused filter is tried again with the next connection.
        reason: Reason,
    },
    /// An unsubscribe is done.
    Unsubscribed {
        /// Which one.
        token: Token,
        /// How it ended.
        outcome: Outcome,
        /// In the order of the filters asked for.
        reasons: Vec<Reason>,
    },
    /// No filter leads to this key any more: nothing will come for it.
    HandlerReleased(SubscriptionKey),
    /// The server sent AUTH (§3.15): 0x18 asks for [`super::Client::authenticate`], 0x00 ends a
    /// re-authentication.
    Auth {
        /// Continue (0x18) or success (0x00).
        reason: Reason,
        /// Authentication Data.
        data: Option<Vec<u8>>,
    },
    /// The queue has filled up to four fifths, or emptied to one half.
    QueueLevel {
        /// True when it filled up.
        high: bool,
        /// Messages waiting.
        count: usize,
        /// Their bytes.
        bytes: usize,
    },
}

/// Where the machine stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Not started, stopped, or given up.
    Stopped,
    /// Waits for the next try.
    Waiting,
    /// The driver opens a connection.
    Dialing,
    /// CONNECT went out.
    Connecting,
    /// In session.
    Online,
    /// In session, sends what is left, then stops.
    Stopping,
}

/// What CONNACK said.
#[derive(Debug)]
pub struct Connected {
    /// Which server.
    pub server: usize,
    /// Which one the last session was with; the same for the first.
    pub previous_server: usize,
    /// The server had the session.
    pub session_present: bool,
    /// The reason of CONNACK: success.
    pub reason: Reason,
    /// The client identifier in use, given or assigned.
    pub client_id: String,
    /// The keep-alive in use.
    pub keep_alive_s: u16,
    /// Every property of CONNACK.
    pub properties: PropertyList,
}

/// How a connection ended or was not made, and what happens next.
#[derive(Debug)]
pub struct Disconnected {
    /// Which server.
    pub server: usize,
    /// The class of what happened.
    pub cause: Cause,
    /// What CONNACK or DISCONNECT said, ours or the server's.
    pub reason: Option<Reason>,
    /// What was wrong with the server's packets.
    pub error: Option<Error>,
    /// What was wrong below MQTT, such as a certificate.
    pub fault: Option<Fault>,
    /// The session had been established.
    pub was_online: bool,
    /// When the next try is; `None`: there is none.
    pub retry_at: Option<Instant>,
    /// Another server to use, the server said (§4.11).
    pub server_reference: Option<String>,
    /// Every property of the server's CONNACK or DISCONNECT.
    pub properties: PropertyList,
}

/// Classes of failure; a rule for each is in [`super::ReconnectOptions`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Cause {
    /// No connection, or it broke.
    Network,
    /// The server closed without a word.
    Closed,
    /// The server's name was not found.
    Names,
    /// TLS failed: certificate, version, handshake.
    Tls,
    /// No connection or no CONNACK in time.
    Timeout,
    /// No PINGRESP in time, or the server missed our packets (0x8D).
    KeepAlive,
    /// Bad user name or password, not authorised, banned.
    Credentials,
    /// Client identifier refused.
    Identity,
    /// Protocol version refused.
    Version,
    /// Enhanced authentication failed.
    Authentication,
    /// Busy, unavailable, quota, rate.
    Busy,
    /// Use another server, server moved.
    Moved,
    /// The server shuts down or an administrator closed the connection.
    ShuttingDown,
    /// Another connection uses the client identifier.
    TakenOver,
    /// One side broke the protocol.
    Protocol,
    /// Any other reason of the server.
    Other,
    /// `stop`.
    Stopped,
}

impl Cause {
    /// How many there are.
    pub const COUNT: usize = Self::Stopped as usize + 1;

    /// The class of a reason in CONNACK or in the server's DISCONNECT.
    pub fn of(reason: Reason) -> Self {
        match reason {
            Reason::BAD_USER_NAME_OR_PASSWORD | Reason::NOT_AUTHORIZED | Reason::BANNED => Self::Credentials,
            Reason::CLIENT_IDENTIFIER_NOT_VALID => Self::Identity,
            Reason::UNSUPPORTED_PROTOCOL_VERSION => Self::Version,
            Reason::BAD_AUTHENTICATION_METHOD => Self::Authentication,
            Reason::SERVER_UNAVAILABLE | Reason::SERVER_BUSY | Reason::QUOTA_EXCEEDED | Reason::MESSAGE_RATE_TOO_HIGH | Reason::CONNECTION_RATE_EXCEEDED => {
                Self::Busy
            }
            Reason::USE_ANOTHER_SERVER | Reason::SERVER_MOVED => Self::Moved,
            Reason::SERVER_SHUTTING_DOWN | Reason::ADMINISTRATIVE_ACTION => Self::ShuttingDown,
            Reason::SESSION_TAKEN_OVER => Self::TakenOver,
            Reason::KEEP_ALIVE_TIMEOUT => Self::KeepAlive,
            Reason::MALFORMED_PACKET | Reason::PROTOCOL_ERROR | Reason::RECEIVE_MAXIMUM_EXCEEDED | Reason::TOPIC_ALIAS_INVALID | Reason::PACKET_TOO_LARGE => {
                Self::Protocol
            }
            _ => Self::Other,
        }
    }
}

/// A message that came, and what belongs to this delivery of it.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The message.
    pub message: Arc<Message>,
    /// QoS of the delivery.
    pub qos: Qos,
    /// DUP flag: it may have come before (QoS 1).
    pub dup: bool,
    /// RETAIN flag.
    pub retain: bool,
    /// Subscription identifiers the server sent.
    pub subscription_ids: Vec<u32>,
    /// The subscriptions with a handler that it belongs to.
    pub handlers: Vec<SubscriptionKey>,
    /// With manual acknowledgement and QoS above 0.
    pub ack: Option<AckHandle>,
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// QoS 0: encoded for the connection. Nobody will confirm it.
    Sent,
    /// The server answered; the reason may be a refusal. For (un)subscribe the first refusal or
    /// success.
    Acknowledged(Reason),
    /// It will not be sent, or its answer will not be waited for.
    Failed(Failure),
}

/// Why a request was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// By `cancel`. If it was on its way already, the server may have it.
    Cancelled,
    /// By `stop`. If it was on its way already, the server may have it.
    Stopped,
    /// The reconnect policy gave up.
    GaveUp,
    /// Newer messages pushed it out of the queue.
    Overflow,
    /// Its Message Expiry Interval, or the longest time a message may wait, passed before it was
    /// sent.
    Expired,
    /// A newer value of its topic took its place in the queue.
    Replaced,
    /// A request: no response came in time.
    Unanswered,
    /// A response: nobody waits for it, any more.
    Unwanted,
    /// Above the server's Maximum Packet Size (0x95).
    TooLarge,
    /// Above the server's Maximum QoS (0x9B).
    QosNotSupported,
    /// The server has no retained messages (0x9A).
    RetainNotSupported,
}

impl Failure {
    /// The closest reason code.
    pub fn reason(self) -> Reason {
        match self {
            Self::TooLarge => Reason::PACKET_TOO_LARGE,
            Self::QosNotSupported => Reason::QOS_NOT_SUPPORTED,
            Self::RetainNotSupported => Reason::RETAIN_NOT_SUPPORTED,
            Self::Overflow => Reason::QUOTA_EXCEEDED,
            Self::Cancelled | Self::Stopped | Self::GaveUp | Self::Expired | Self::Replaced | Self::Unanswered | Self::Unwanted => Reason::UNSPECIFIED_ERROR,
        }
    }
}

/// How a message waits in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct QueueTerms {
    /// Higher ones are sent first; 0 is usual.
    pub priority: u8,
    /// Only the newest value of its topic is wanted: while it waits, a newer one that says the same
    /// takes its place.
    pub newest_only: bool,
    /// Whoever asks has made sure that there is room, by what was known then: a queue that has
    /// filled up meanwhile does not refuse it.
    pub is_admitted: bool,
}

/// How many messages the driver may still be given; the last one may have more than `bytes`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveRoom {
    /// Messages.
    pub count: usize,
    /// Their bytes in memory.
    pub bytes: usize,
}

/// A message to be published. Everything is copied.
#[derive(Clone, Copy, Default)]
pub struct PublishRequest<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// The payload instead, as memory that is shared and not copied.
    pub shared: Option<&'a Bytes>,
    /// Quality of service.
    pub qos: Qos,
    /// Retain it.
    pub retain: bool,
    /// Payload format, content type, response topic, correlation data, user properties (MQTT 5).
    pub properties: Properties<'a>,
    /// It is given up after as many seconds; MQTT 5 tells the server the rest.
    pub expiry_s: Option<u32>,
    /// How it waits.
    pub terms: QueueTerms,
}

impl PublishRequest<'_> {
    /// It can be published at all.
    ///
    /// # Errors
    /// `TopicInvalid`; `TooLarge` for any packet; `OptionInvalid`: properties that a PUBLISH does not take from an application.
    pub fn check(&self) -> Result<(), Error> {
        if !topic::is_valid_name(self.topic) {
            return Err(Error::TopicInvalid);
        }
        if self.payload_len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        check_properties(self.properties)
    }

    /// Bytes of the payload, wherever it is.
    pub fn payload_len(&self) -> usize {
        self.shared.map_or(self.payload.len(), Bytes::len)
    }

    /// The message that is asked for, charged to `budget`, if [`PublishRequest::check`] has found it good; its interval to expiry
    /// begins now.
    pub fn checked_message(&self, budget: &Budget, now: Instant) -> Arc<Message> {
        let Self { topic, payload, qos, retain, properties, .. } = *self;
        let expires = self.expiry_s.map(|seconds| now + Duration::from_secs(seconds.into()));
        match self.shared {
            Some(shared) => Message::with_payload(budget, topic, shared.clone(), qos, retain, properties, expires, 0, now),
            None => Message::new(budget, topic, payload, qos, retain, properties, expires, 0, now),
        }
    }
}

/// §3.3.2.3: what the application may say of a message.
fn check_properties(properties: Properties<'_>) -> Result<(), Error> {
    if properties.is_empty() {
        return Ok(());
    }
    let legal = properties.iter().all(|(id, _)| {
        matches!(
            id,
            PropertyId::PayloadFormatIndicator | PropertyId::ContentType | PropertyId::ResponseTopic | PropertyId::CorrelationData | PropertyId::UserProperty
        )
    });
    let response = properties.utf8(PropertyId::ResponseTopic);
    if !response.is_none_or(topic::is_valid_name) {
        return Err(Error::TopicInvalid);
    }
    let once = Properties::parse(Place::Publish, properties.as_bytes());
    if legal && once.is_ok() { Ok(()) } else { Err(Error::OptionInvalid("properties")) }
}

/// Filters to subscribe to. Everything is copied.
#[derive(Clone, Copy, Default)]
pub struct SubscribeRequest<'a> {
    /// Filters with their options; one that is stored already is replaced.
    pub filters: &'a [(&'a str, SubscribeOptions)],
    /// Messages carry the key of this request in [`Incoming::handlers`].
    pub handler: bool,
    /// User properties (MQTT 5).
    pub properties: Properties<'a>,
}

/// How to stop.
#[derive(Clone, Copy, Debug)]
pub struct StopRequest {
    /// Reason of DISCONNECT in MQTT 5: 0x00, or 0x04 to have the will published.
    pub reason: Reason,
    /// Session Expiry Interval to change to (MQTT 5 §3.14.2.2.2).
    pub session_expiry_s: Option<u32>,
    /// How long to wait for what is queued and in flight, and over datagrams until the good-bye has arrived; zero: not at all.
    pub drain: crate::base::Duration,
}

impl Default for StopRequest {
    fn default() -> Self {
        let drain = crate::base::Duration::ZERO;
        Self { reason: Reason::NORMAL_DISCONNECTION, session_expiry_s: None, drain }
    }
}

/// Counters since the client was made; they never go down.
#[derive(Clone, Copy, Default, Debug)]
pub struct Statistics {
    /// Successful connections.
    pub connects: u64,
    /// Connections lost and attempts failed.
    pub disconnects: u64,
    /// PUBLISH packets received, duplicates included.
    pub messages_received: u64,
    /// QoS 2 duplicates not handed on.
    pub duplicates: u64,
    /// PUBLISH packets sent, resends included.
    pub messages_sent: u64,
    /// PUBLISH packets sent again.
    pub messages_resent: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Publishes that failed without the server's word.
    pub dropped: u64,
    /// Of these: pushed out of the queue by newer messages.
    pub overflowed: u64,
    /// Of these: waited too long.
    pub expired: u64,
    /// Of these: a newer value of the topic took their place.
    pub replaced: u64,
    /// Requests without a response in time.
    pub requests_timed_out: u64,
    /// Responses nobody waited for.
    pub responses_unwanted: u64,
    /// How often reading rested because the application did not take its messages.
    pub receive_pauses: u64,
    /// Acknowledgements with an identifier that is not in use.
    pub unknown_acks: u64,
    /// Sessions with another server than the one before.
    pub server_switches: u64,
}
