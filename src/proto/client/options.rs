//! What a client is told once, before it starts. Every limit has its name and default here.

use super::event::Cause;
use crate::base::Duration;
use crate::codec::{PACKET_BYTES_MAX, Place, PropertyId, PropertyList, Qos, Version};
use crate::proto::Error;
use crate::topic;

/// Options of a client; [`Options::default`] is meant to be usable with one server added.
#[derive(Clone)]
pub struct Options {
    /// One priority per server, the lowest is tried first; [`super::Event::Dial`] carries the index.
    pub servers: Vec<u32>,
    /// Protocol version. Default 3.1.1.
    pub version: Version,
    /// Client identifier; empty asks the server for one (not in 3.1, in 3.1.1 with `clean_start`).
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password; in 3.x only together with a user name.
    pub password: Option<Vec<u8>>,
    /// MQTT 5: the first connection begins a new session (§3.1.2.4). 3.x: clean session, every
    /// connection has a session of its own. Default true.
    pub clean_start: bool,
    /// MQTT 5: how long the server keeps the session without a connection (§3.1.2.11.2). Default 0.
    pub session_expiry_s: u32,
    /// Keep-alive, 0 = off. Default 60. A server may dictate another (§3.2.2.3.14).
    pub keep_alive_s: u16,
    /// How many unacknowledged QoS 1 and 2 messages the server may send. Default 100.
    pub receive_maximum: u16,
    /// The largest packet accepted. Default 2,000,000.
    pub packet_bytes_max: usize,
    /// How many topic aliases the server may use. Default 16.
    pub topic_alias_maximum: u16,
    /// How many topic aliases this side uses if the server allows as many. Default 16.
    pub topic_alias_out_max: u16,
    /// Own QoS 1 and 2 messages sent and not acknowledged. Default 100, at most 60,000.
    pub in_flight_max: u16,
    /// The will, published by the server when the connection is lost (§3.1.2.5).
    pub will: Option<Will>,
    /// User properties, Request Response Information and Request Problem Information of CONNECT.
    pub connect_properties: PropertyList,
    /// Enhanced authentication (§4.12).
    pub authentication: Option<Authentication>,
    /// From the dial to CONNACK. Default 15 s.
    pub connect_timeout: Duration,
    /// From PINGREQ to PINGRESP. Default 15 s.
    pub ping_timeout: Duration,
    /// When to try again.
    pub reconnect: ReconnectOptions,
    /// When to ask for the stored subscriptions again.
    pub resubscribe: Resubscribe,
    /// Use subscription identifiers where the server has them. Default true.
    pub subscription_ids: bool,
    /// Stored filters. Default 10,000.
    pub subscriptions_max: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE. Default 1,000.
    pub subscribe_filters_max: usize,
    /// What waits to be sent.
    pub queue: QueueOptions,
    /// Requests that wait for their response (§4.10). Default 1,000.
    pub requests_max: usize,
    /// Where responses come to; empty: a topic of the library's choice.
    pub response_topic: String,
    /// What a QoS 0 publish without a connection does.
    pub offline_qos0: OfflineQos0,
    /// A message with QoS above the server's maximum is sent with that instead of failing.
    pub lower_qos: bool,
    /// Messages are acknowledged by [`super::Client::acknowledge`] only.
    pub manual_ack: bool,
    /// Bytes encoded and not taken by the driver above which nothing more is taken from the
    /// queue and [`super::Client::wants_input`] is false. Default 256 KiB.
    pub out_bytes_max: usize,
}

/// A will message.
#[derive(Clone, Default)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS it is published with.
    pub qos: Qos,
    /// Whether it is retained.
    pub retain: bool,
    /// Will Delay Interval and the properties of the message (§3.1.3.2).
    pub properties: PropertyList,
}

/// What CONNECT says of enhanced authentication.
#[derive(Clone)]
pub struct Authentication {
    /// Name of the method.
    pub method: String,
    /// First data.
    pub data: Vec<u8>,
}

/// Bounds of what waits to be sent, connected or not.
#[derive(Clone, Copy, Debug)]
pub struct QueueOptions {
    /// Messages. Default 1,000.
    pub count_max: usize,
    /// Bytes. Default 1 MiB. One message is always admitted to an empty queue.
    pub bytes_max: usize,
    /// Which message has to go when it is full.
    pub overflow: Overflow,
    /// A message that has waited as long is given up; zero: never. Default zero.
    pub age_max: Duration,
    /// Every message is one of which only the newest value per topic is wanted.
    pub newest_only: bool,
}

/// Bounds of what waits for an application that takes its messages by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReceiveOptions {
    /// Messages. Default 1,000.
    pub count_max: usize,
    /// Bytes; the last message may go beyond. Default 1 MiB.
    pub bytes_max: usize,
}

impl Default for ReceiveOptions {
    fn default() -> Self {
        Self { count_max: 1_000, bytes_max: 1 << 20 }
    }
}

/// Who has to go when the queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// The new message is refused at once.
    RefuseNewest,
    /// The oldest waiting messages of the lowest priority complete with
    /// [`super::Failure::Overflow`]; if all are of a higher one, the new message is refused.
    DropOldest,
}

/// What a QoS 0 publish without a connection does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfflineQos0 {
    /// It waits like the others.
    Queue,
    /// It is refused.
    Refuse,
}

/// When stored subscriptions are asked for again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resubscribe {
    /// When the server has lost the session.
    SessionLost,
    /// After every connect.
    Always,
    /// Never: they are forgotten when the server has lost the session.
    Never,
}

/// Back-off and the decision per class of failure.
#[derive(Clone, Copy, Debug)]
pub struct ReconnectOptions {
    /// Before the second try; doubled for each further round over the servers. Default 1 s.
    pub delay_min: Duration,
    /// Where doubling ends, and the delay of [`Retry::Slow`]. Default 60 s.
    pub delay_max: Duration,
    /// Delays are drawn between half and all of their value. Default true.
    pub jitter: bool,
    /// A connection that lasted as long makes the delay small again. Default 30 s.
    pub stable_after: Duration,
    /// After which time the best server is tried first again, when a connection to another one is lost; zero: never. Default 600 s.
    pub probe_interval: Duration,
    /// What each cause leads to, indexed by [`Cause`].
    pub rules: [Retry; Cause::COUNT],
}

/// What a failure leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// Try again with back-off.
    Soon,
    /// Try again after the longest delay.
    Slow,
    /// Stop.
    GiveUp,
}

impl ReconnectOptions {
    /// What `cause` leads to.
    pub fn rule(&self, cause: Cause) -> Retry {
        self.rules[cause as usize]
    }

    /// Changes what `cause` leads to.
    pub fn set_rule(&mut self, cause: Cause, retry: Retry) {
        self.rules[cause as usize] = retry;
    }
}

impl Default for ReconnectOptions {
    fn default() -> Self {
        let mut options = Self {
            delay_min: Duration::from_secs(1),
            delay_max: Duration::from_secs(60),
            jitter: true,
            stable_after: Duration::from_secs(30),
            probe_interval: Duration::from_secs(600),
            rules: [Retry::Soon; Cause::COUNT],
        };
        // Two clients with one identifier would throw each other out without end.
        options.set_rule(Cause::TakenOver, Retry::Slow);
        // Nothing will be different in a second; a technician may change it within hours.
        for cause in [Cause::Credentials, Cause::Identity, Cause::Version, Cause::Authentication] {
            options.set_rule(cause, Retry::Slow);
        }
        options
    }
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { count_max: 1_000, bytes_max: 1 << 20, overflow: Overflow::RefuseNewest, age_max: Duration::ZERO, newest_only: false }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            version: Version::V311,
            client_id: String::new(),
            username: None,
            password: None,
            clean_start: true,
            session_expiry_s: 0,
            keep_alive_s: 60,
            receive_maximum: 100,
            packet_bytes_max: 2_000_000,
            topic_alias_maximum: 16,
            topic_alias_out_max: 16,
            in_flight_max: 100,
            will: None,
            connect_properties: PropertyList::new(),
            authentication: None,
            connect_timeout: Duration::from_secs(15),
            ping_timeout: Duration::from_secs(15),
            reconnect: ReconnectOptions::default(),
            resubscribe: Resubscribe::SessionLost,
            subscription_ids: true,
            subscriptions_max: 10_000,
            subscribe_filters_max: 1_000,
            queue: QueueOptions::default(),
            requests_max: 1_000,
            response_topic: String::new(),
            offline_qos0: OfflineQos0::Queue,
            lower_qos: false,
            manual_ack: false,
            out_bytes_max: 262_144,
        }
    }
}

/// Identifiers are left for SUBSCRIBE and UNSUBSCRIBE.
const IN_FLIGHT_MAX: u16 = 60_000;

impl Options {
    /// Refuses what could not be sent or would break the standard.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |good: bool, what| if good { Ok(()) } else { Err(Error::OptionInvalid(what)) };
        check(!self.servers.is_empty(), "servers: none")?;
        check(self.in_flight_max > 0 && self.in_flight_max <= IN_FLIGHT_MAX, "in_flight_max")?;
        check(self.receive_maximum > 0, "receive_maximum")?;
        check(self.packet_bytes_max >= 128 && self.packet_bytes_max <= PACKET_BYTES_MAX, "packet_bytes_max")?;
        check(self.subscribe_filters_max > 0, "subscribe_filters_max")?;
        let response_topic = &self.response_topic;
        check(response_topic.is_empty() || topic::is_valid_name(response_topic), "response_topic")?;
        check(self.reconnect.delay_min > Duration::ZERO, "delay_min")?;
        check(self.reconnect.delay_min <= self.reconnect.delay_max, "delay_max")?;
        let nameless = self.client_id.is_empty();
        check(!nameless || self.version != Version::V31, "client_id: empty in MQTT 3.1")?;
        let clean = self.clean_start || self.version == Version::V5;
        check(!nameless || clean, "client_id: empty without clean session")?;
        check(is_text(&self.client_id), "client_id")?;
        check(self.username.as_deref().is_none_or(is_text), "username")?;
        check(self.password.as_ref().is_none_or(|password| password.len() <= 65_535), "password")?;
        let bare = self.password.is_some() && self.username.is_none();
        check(!bare || self.version == Version::V5, "password without a user name")?;
        self.validate_properties()?;
        self.will.as_ref().map_or(Ok(()), |will| self.validate_will(will))
    }

    fn validate_properties(&self) -> Result<(), Error> {
        let own = [PropertyId::UserProperty, PropertyId::RequestProblemInformation, PropertyId::RequestResponseInformation];
        let mut ids = self.connect_properties.as_properties().iter().map(|(id, _)| id);
        let legal = ids.all(|id| own.contains(&id));
        if !legal || self.connect_properties.validate(Place::Connect).is_err() {
            return Err(Error::OptionInvalid("connect_properties"));
        }
        let Some(authentication) = &self.authentication else { return Ok(()) };
        let legal = self.version == Version::V5 && is_text(&authentication.method) && authentication.data.len() <= 65_535;
        if legal { Ok(()) } else { Err(Error::OptionInvalid("authentication")) }
    }

    fn validate_will(&self, will: &Will) -> Result<(), Error> {
        if !topic::is_valid_name(&will.topic) {
            return Err(Error::TopicInvalid);
        }
        let plain = will.properties.is_empty() || self.version == Version::V5;
        if !plain || will.payload.len() > 65_535 || will.properties.validate(Place::Will).is_err() {
            return Err(Error::OptionInvalid("will"));
        }
        Ok(())
    }
}

/// §1.5.4: what fits a string of MQTT.
fn is_text(text: &str) -> bool {
    text.len() <= 65_535 && !text.contains('\0')
}
