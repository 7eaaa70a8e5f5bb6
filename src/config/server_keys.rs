//! The options of a server, in the order they are printed.

use super::server::ServerConfig;
use super::{Key, Kind, Value};
use crate::base::Duration;
use crate::codec::Qos;
use crate::route::ShareStrategy;

/// Where a limit has no other bound.
const MANY: u64 = u32::MAX as u64;
/// The largest packet of MQTT (§2.1.4), fixed header included.
const PACKET_BYTES_MAX: u64 = crate::codec::PACKET_BYTES_MAX as u64;
const DAY_MS: u64 = 86_400_000;
const STRATEGIES: [ShareStrategy; 6] =
    [ShareStrategy::RoundRobin, ShareStrategy::Random, ShareStrategy::Sticky, ShareStrategy::HashClientId, ShareStrategy::HashTopic, ShareStrategy::LocalFirst];
const STRATEGY_WORDS: &[&str] = &["round_robin", "random", "sticky", "hash_client_id", "hash_topic", "local_first"];

/// A row for a field of the broker's options.
macro_rules! row {
    ($kind:expr, $name:literal $(| $alias:literal)*, $live:expr, $doc:literal, $read:expr, $write:expr) => {
        Key { name: $name, aliases: &[$($alias),*], kind: $kind, is_live: $live, doc: $doc, read: $read, write: $write }
    };
}
macro_rules! flag {
    ($field:ident, $name:literal, $live:expr, $doc:literal) => {
        row!(Kind::Bool, $name, $live, $doc, |c| Value::Bool(c.options.$field), |c, v| c.options.$field = v.into_bool())
    };
}
macro_rules! number {
    ($field:ident, $name:literal $(| $alias:literal)*, $kind:expr, $live:expr, $doc:literal) => {
        row!($kind, $name $(| $alias)*, $live, $doc, |c| Value::Number(c.options.$field as u64), |c, v| c.options.$field = v.into_number())
    };
}
macro_rules! milliseconds {
    ($field:ident, $name:literal, $min:expr, $doc:literal) => {
        row!(Kind::Number($min, DAY_MS), $name, LIVE, $doc, |c| Value::Number(u64::try_from(c.options.$field.as_millis()).unwrap_or(u64::MAX)), |c, v| c
            .options
            .$field =
            Duration::from_millis(v.into_number()))
    };
}

const LIVE: bool = true;
const RESTART: bool = false;

pub(super) static KEYS: &[Key<ServerConfig>] = &[
    row!(
        Kind::Bool,
        "allow_anonymous",
        LIVE,
        "let clients without a user name in; not set: true if every listener is on loopback and behind no proxy",
        |c| Value::Bool(c.allows_anonymous()),
        |c, v| c.set_allow_anonymous(v.into_bool())
    ),
    flag!(allow_zero_length_clientid, "allow_zero_length_clientid", LIVE, "give a client identifier to clients that have none"),
    row!(Kind::Text, "auto_id_prefix", LIVE, "begin of the client identifiers this server gives", |c| Value::Text(c.options.auto_id_prefix.clone()), |c, v| {
        c.options.auto_id_prefix = v.into_text()
    }),
    number!(max_connections, "max_connections", Kind::Number(1, 10_000_000), LIVE, "connections at one time"),
    number!(max_packet_size, "max_packet_size", Kind::Bytes(128, PACKET_BYTES_MAX), LIVE, "largest packet a client may send"),
    number!(
        max_inflight_messages,
        "max_inflight_messages",
        Kind::Number(0, 65_535),
        LIVE,
        "QoS 1 and 2 messages on their way to one client; 0: as many as it allows"
    ),
    number!(receive_maximum, "receive_maximum", Kind::Number(1, 65_535), LIVE, "QoS 1 and 2 messages on their way from one client"),
    number!(max_queued_messages, "max_queued_messages", Kind::Number(0, MANY), LIVE, "messages that wait in one session; 0: any number"),
    number!(max_queued_bytes, "max_queued_bytes", Kind::Bytes(0, MANY), LIVE, "bytes that wait in one session; 0: any number"),
    flag!(queue_drop_oldest, "queue_drop_oldest", LIVE, "a full queue drops its oldest message, not the new one"),
    flag!(queue_qos0_messages, "queue_qos0_messages", LIVE, "QoS 0 messages wait for clients that are away, too"),
    number!(max_keepalive_s, "max_keepalive", Kind::Number(0, 65_535), LIVE, "longest keep-alive in seconds; 0: any"),
    number!(max_topic_alias, "max_topic_alias", Kind::Number(0, 65_535), LIVE, "topic aliases a client may use"),
    number!(max_topic_alias_broker, "max_topic_alias_broker", Kind::Number(0, 65_535), LIVE, "topic aliases this server uses towards a client"),
    row!(Kind::Number(0, 2), "maximum_qos" | "max_qos", LIVE, "highest QoS", |c| Value::Number(c.options.maximum_qos as u64), |c, v| c.options.maximum_qos =
        Qos::try_from(v.into_number::<u8>()).unwrap_or_default()),
    flag!(retain_available, "retain_available", LIVE, "keep retained messages"),
    number!(max_retained_messages, "max_retained_messages", Kind::Number(0, MANY), RESTART, "retained messages"),
    number!(max_retained_bytes, "max_retained_bytes", Kind::Bytes(0, MANY), RESTART, "bytes of retained messages"),
    number!(max_subscriptions_per_client, "max_subscriptions_per_client", Kind::Number(1, MANY), LIVE, "subscriptions of one session"),
    number!(
        max_subscribe_filters,
        "max_subscribe_filters",
        Kind::Number(1, MANY),
        LIVE,
        "filters in one SUBSCRIBE, further ones are refused; in one UNSUBSCRIBE, more end the connection"
    ),
    number!(max_subscriptions, "max_subscriptions", Kind::Number(1, MANY), RESTART, "subscriptions of all sessions"),
    number!(max_filters, "max_filters", Kind::Number(1, MANY), RESTART, "distinct filters of all sessions"),
    number!(max_topic_levels, "max_topic_levels", Kind::Number(1, 65_535), LIVE, "levels of a topic or filter"),
    row!(
        Kind::Lifetime,
        "persistent_client_expiration",
        LIVE,
        "longest life of a session whose client is away",
        |c| Value::Number(c.options.persistent_client_expiration_s.into()),
        |c, v| c.options.persistent_client_expiration_s = v.into_number()
    ),
    row!(
        Kind::Choice(STRATEGY_WORDS),
        "shared_subscription_strategy",
        RESTART,
        "who of a shared subscription gets a message",
        |c| Value::Number(STRATEGIES.iter().position(|own| *own == c.options.shared_subscription_strategy).unwrap_or(0) as u64),
        |c, v| c.options.shared_subscription_strategy = STRATEGIES[v.into_number::<usize>()]
    ),
    milliseconds!(
        shared_ack_timeout,
        "shared_ack_timeout_ms",
        0,
        "a member of a shared subscription that does not acknowledge for so long loses the message; 0: never"
    ),
    number!(max_output_bytes, "max_output_bytes", Kind::Bytes(1_024, MANY), LIVE, "bytes that wait for one connection's socket"),
    milliseconds!(slow_consumer_grace, "slow_consumer_grace_ms", 0, "a client that does not read for so long is closed"),
    milliseconds!(connect_timeout, "connect_timeout_ms", 1, "from accept to CONNECT"),
    number!(max_handshakes, "max_handshakes", Kind::Number(1, 1_000_000), LIVE, "TLS and other handshakes in progress on one worker; further ones wait"),
    number!(
        max_handshakes_per_address,
        "max_handshakes_per_address",
        Kind::Number(1, 1_000_000),
        LIVE,
        "of these, with one address (IPv6: one /64), which is the client's behind a trusted proxy"
    ),
    milliseconds!(handshake_timeout, "handshake_timeout_ms", 1, "from the first byte of a handshake to its end"),
    milliseconds!(hook_timeout, "hook_timeout_ms", 1, "for the late answer of a hook"),
    milliseconds!(tick_interval, "tick_interval_ms", 1, "how often the hook `tick` is called"),
    number!(max_bans, "max_bans", Kind::Number(0, 1_000_000), LIVE, "client identifiers, user names and addresses that are banned"),
    number!(max_scheduled_tasks, "max_scheduled_tasks", Kind::Number(0, 1_000_000), LIVE, "tasks of the application that wait for their time"),
    number!(
        max_posted_messages,
        "max_posted_messages",
        Kind::Number(1, MANY),
        RESTART,
        "messages the application has published and the server has not taken yet"
    ),
    number!(max_posted_bytes, "max_posted_bytes", Kind::Bytes(1, MANY), RESTART, "their bytes; one message of any size is taken when nothing else waits"),
    number!(
        workers,
        "workers",
        Kind::Number(0, 256),
        RESTART,
        "threads among which the clients are shared out; 1 is best for a gateway, 0: one for each core; of a server with a runtime of its own"
    ),
    number!(
        max_inbox_posts,
        "max_inbox_posts",
        Kind::Number(1, MANY),
        LIVE,
        "messages of the other workers that wait for one; beyond it they wait there, and publishers do"
    ),
    number!(max_inbox_bytes, "max_inbox_bytes", Kind::Bytes(1, MANY), LIVE, "bytes of such messages"),
    number!(memory_limit, "memory_limit", Kind::Bytes(1 << 20, MANY), RESTART, "bytes of everything that waits; of a server with a runtime of its own"),
    milliseconds!(memory_pause, "memory_pause_ms", 1, "while the memory limit is exceeded: how long a client may keep an unfinished packet"),
];
