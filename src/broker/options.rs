//! What can be set on a broker, with its defaults; keys bear mosquitto's names where it has them.

use crate::base::Duration;
use crate::codec::Qos;
use crate::route::ShareStrategy;

/// Options of one server. `Default` is a gateway's broker on loopback.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients without a user name are let in (hooks may still refuse).
    pub allow_anonymous: bool,
    /// A zero-length client id gets one from the server (3.1.1 with a clean session, 5.0 always).
    pub allow_zero_length_clientid: bool,
    /// Put in front of client ids the server invents.
    pub auto_id_prefix: String,
    /// Connections at one time; one more is answered 0x9F or closed.
    pub max_connections: usize,
    /// Largest packet a client may send, in bytes; checked on the fixed header (0x95).
    pub max_packet_size: usize,
    /// QoS 1 and 2 messages on the way to one client, unacknowledged; 0 = the client's limit.
    pub max_inflight_messages: u16,
    /// QoS 1 and 2 messages on the way from one client (Receive Maximum of CONNACK, 5.0 only).
    /// Generous, because a widespread client library overshoots a small one; each costs two bytes.
    pub receive_maximum: u16,
    /// Messages waiting in one session; 0 = no limit in number.
    pub max_queued_messages: usize,
    /// Bytes waiting in one session; 0 = no limit in bytes.
    pub max_queued_bytes: usize,
    /// A full queue drops its oldest message instead of the new one.
    pub queue_drop_oldest: bool,
    /// QoS 0 messages wait for a client that is away, too.
    pub queue_qos0_messages: bool,
    /// Longest keep-alive a client may ask for, in seconds; longer ones get it as Server Keep
    /// Alive (5.0). Those of 3.x cannot be told and keep theirs. 0 = any.
    pub max_keepalive_s: u16,
    /// Aliases a client may use (Topic Alias Maximum of CONNACK).
    pub max_topic_alias: u16,
    /// Aliases this server uses towards a client, at most what the client allows.
    pub max_topic_alias_broker: u16,
    /// Highest QoS; a higher one in PUBLISH is refused 0x9B, in SUBSCRIBE it is lowered.
    pub maximum_qos: Qos,
    /// Retained messages are kept.
    pub retain_available: bool,
    /// Retained messages at most.
    pub max_retained_messages: usize,
    /// Bytes of retained messages at most.
    pub max_retained_bytes: usize,
    /// Subscriptions of one session at most (0x97).
    pub max_subscriptions_per_client: usize,
    /// Filters of one SUBSCRIBE, each further one is refused (0x97), and of one UNSUBSCRIBE, more end the connection (0x97).
    pub max_subscribe_filters: usize,
    /// Subscriptions of all sessions at most (0x97).
    pub max_subscriptions: usize,
    /// Distinct filters of all sessions at most; a shared group counts as one more (0x97).
    pub max_filters: usize,
    /// Levels of a topic or filter at most.
    pub max_topic_levels: usize,
    /// Longest life of a session whose client is away, in seconds; `u32::MAX` = for ever.
    pub persistent_client_expiration_s: u32,
    /// How a member of a shared subscription is chosen.
    pub shared_subscription_strategy: ShareStrategy,
    /// A member that does not acknowledge for this long loses the message to another; 0 = never.
    pub shared_ack_timeout: Duration,
    /// Bytes waiting in one connection's out-buffer; beyond it QoS 0 is dropped and counted.
    pub max_output_bytes: usize,
    /// A client whose out-buffer stays over the mark for this long is closed (0x97).
    pub slow_consumer_grace: Duration,
    /// Time from accept to a complete CONNECT.
    pub connect_timeout: Duration,
    /// Handshakes (TLS and other layers) in progress on one worker; further ones wait.
    pub max_handshakes: usize,
    /// Of these, handshakes with one address (IPv6: one /64); further ones wait. Behind a trusted proxy it is the client's
    /// address, once it is known. Who has none (Unix sockets, in-process) is not counted.
    pub max_handshakes_per_address: usize,
    /// Time from the first byte of a handshake to its end.
    pub handshake_timeout: Duration,
    /// Time for a hook's late answer; then the operation is refused (0x83).
    pub hook_timeout: Duration,
    /// How often the hook `tick` is called.
    pub tick_interval: Duration,
    /// Client ids, user names and addresses that are banned, together; one more is refused.
    pub max_bans: usize,
    /// Tasks of the owner that wait for their time; one more is refused.
    pub max_scheduled_tasks: usize,
    /// Messages the owner has published and the worker has not taken yet; one more is refused.
    pub max_posted_messages: usize,
    /// Their bytes; one message of any size is taken when nothing else waits.
    pub max_posted_bytes: usize,
    /// Messages that wait for one worker, from all others together; beyond it they wait with their
    /// senders, and a worker with so many for another one reads no publishers.
    pub max_inbox_posts: usize,
    /// Bytes of messages that wait for one worker; as `max_inbox_posts`.
    pub max_inbox_bytes: usize,
    /// Workers of the private runtime of a server; 0 = one for each core.
    pub workers: usize,
    /// Bytes of everything that waits; beyond it CONNECT is answered 0x89 and publishers rest. From
    /// seven eighths of it on, queues, sessions, subscriptions and the retained store do not grow.
    pub memory_limit: usize,
    /// How long a client may keep an unfinished packet while the memory limit is exceeded (0x97).
    pub memory_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            allow_zero_length_clientid: true,
            auto_id_prefix: "auto-".to_owned(),
            max_connections: 100_000,
            max_packet_size: 2_000_000,
            max_inflight_messages: 20,
            receive_maximum: 1_000,
            max_queued_messages: 1_000,
            max_queued_bytes: 1 << 20,
            queue_drop_oldest: false,
            queue_qos0_messages: false,
            max_keepalive_s: 65_535,
            max_topic_alias: 10,
            max_topic_alias_broker: 10,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            max_retained_messages: 1_000_000,
            max_retained_bytes: 256 << 20,
            max_subscribe_filters: 10_000,
            max_subscriptions_per_client: 100_000,
            max_subscriptions: 10_000_000,
            max_filters: 1_000_000,
            max_topic_levels: 200,
            persistent_client_expiration_s: u32::MAX,
            shared_subscription_strategy: ShareStrategy::RoundRobin,
            shared_ack_timeout: Duration::from_secs(30),
            max_output_bytes: 256 << 10,
            slow_consumer_grace: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(15),
            max_handshakes: 128,
            max_handshakes_per_address: 32,
            handshake_timeout: Duration::from_secs(10),
            hook_timeout: Duration::from_secs(10),
            tick_interval: Duration::from_secs(1),
            max_bans: 10_000,
            max_scheduled_tasks: 10_000,
            max_posted_messages: 65_536,
            max_posted_bytes: 64 << 20,
            max_inbox_posts: 65_536,
            max_inbox_bytes: 8 << 20,
            workers: 1,
            memory_limit: 512 << 20,
            memory_pause: Duration::from_secs(10),
        }
    }
}
