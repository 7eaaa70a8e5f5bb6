//! The options of a client, in the order they are printed. A client reads them once, when it is
//! made: none is live.

use super::client::ClientConfig;
use super::key::{fields, proxy_of};
use super::key::{hash, hexadecimal, words};
use super::{Key, Kind, Value};
use crate::base::Duration;
use crate::codec::{PropertyId, Qos, Value as PropertyValue, Version};
use crate::net::TunnelProxy;
use crate::proto::client::{Authentication, Cause, OfflineQos0, Overflow, Resubscribe, Retry, Will};
#[cfg(feature = "datagram")]
use crate::stack::CongestionControl;
#[cfg(feature = "rudp")]
use crate::stack::rudp::Generation;
use crate::stack::{ProxyVersion, TlsVersion, TunnelKind};

const MANY: u64 = u32::MAX as u64;
const PACKET_BYTES_MAX: u64 = crate::codec::PACKET_BYTES_MAX as u64;
const DAY_MS: u64 = 86_400_000;
const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];
/// mosquitto's clients have all of these; the version is the index modulo 3.
const VERSION_WORDS: &[&str] = &["3.1", "3.1.1", "5", "31", "311", "5.0", "mqttv31", "mqttv311", "mqttv5", "3", "4", "v5"];
const RESUBSCRIBE_WORDS: &[&str] = &["session_lost", "always", "never"];
const OVERFLOW_WORDS: &[&str] = &["refuse_newest", "drop_oldest"];
const PROXY_VERSION_WORDS: &[&str] = &["off", "v1", "v2"];
const TLS_VERSION_WORDS: &[&str] = &["1.2", "1.3"];
#[cfg(feature = "rudp")]
const GENERATION_WORDS: &[&str] = &["auto", "1", "2"];
#[cfg(feature = "datagram")]
const CONGESTION_WORDS: &[&str] = &["newreno", "cubic"];
const RETRY_WORDS: &[&str] = &["soon", "slow", "stop"];

macro_rules! row {
    ($kind:expr, $name:literal $(| $alias:literal)*, $doc:literal, $read:expr, $write:expr) => {
        Key { name: $name, aliases: &[$($alias),*], kind: $kind, is_live: false, doc: $doc, read: $read, write: $write }
    };
}
macro_rules! flag {
    ($name:literal $(| $alias:literal)*, $($field:ident).+, $doc:literal) => {
        row!(Kind::Bool, $name $(| $alias)*, $doc, |c| Value::Bool(c.options.$($field).+), |c, v| c.options.$($field).+ = v.into_bool())
    };
}
macro_rules! number {
    ($name:literal $(| $alias:literal)*, $($field:ident).+, $kind:expr, $doc:literal) => {
        row!($kind, $name $(| $alias)*, $doc, |c| Value::Number(c.options.$($field).+ as u64), |c, v| c.options.$($field).+ = v.into_number())
    };
}
macro_rules! tls_text {
    ($name:literal $(| $alias:literal)*, $field:ident, $doc:literal) => {
        row!(Kind::Text, $name $(| $alias)*, $doc, |c| Value::Text(c.tls.$field.clone()), |c, v| c.tls.$field = v.into_text())
    };
}
macro_rules! tls_pem {
    ($name:literal, $kind:expr, $field:ident, $doc:literal) => {
        row!($kind, $name, $doc, |c| Value::Text(lossy(&c.tls.$field)), |c, v| c.tls.$field = v.into_text().into_bytes())
    };
}
#[cfg(feature = "quic")]
macro_rules! quic_seconds {
    ($name:literal, $field:ident, $doc:literal) => {
        row!(Kind::Number(0, 86_400), $name, $doc, |c| Value::Number(c.tls.quic.$field.as_secs()), |c, v| c.tls.quic.$field =
            Duration::from_secs(v.into_number()))
    };
}
#[cfg(feature = "datagram")]
macro_rules! congestion {
    ($name:literal, $($field:ident).+, $doc:literal) => {
        row!(Kind::Choice(CONGESTION_WORDS), $name, $doc, |c| Value::Number(c.$($field).+ as u64), |c, v| c.$($field).+ =
            [CongestionControl::NewReno, CongestionControl::Cubic][v.into_number::<usize>()])
    };
}
#[cfg(feature = "rudp")]
macro_rules! rudp_seconds {
    ($name:literal, $field:ident, $min:literal, $doc:literal) => {
        row!(Kind::Number($min, 65_535), $name, $doc, |c| Value::Number(c.way.rudp.$field.as_secs()), |c, v| c.way.rudp.$field =
            Duration::from_secs(v.into_number()))
    };
}
#[cfg(feature = "rudp")]
macro_rules! rudp_number {
    ($name:literal, $field:ident, $kind:expr, $doc:literal) => {
        row!($kind, $name, $doc, |c| Value::Number(c.way.rudp.$field.into()), |c, v| c.way.rudp.$field = v.into_number())
    };
}
macro_rules! milliseconds {
    ($name:literal $(| $alias:literal)*, $($field:ident).+, $doc:literal) => {
        row!(
            Kind::Number(1, DAY_MS), $name $(| $alias)*, $doc,
            |c| Value::Number(u64::try_from(c.options.$($field).+.as_millis()).unwrap_or(u64::MAX)),
            |c, v| c.options.$($field).+ = Duration::from_millis(v.into_number())
        )
    };
}
macro_rules! retry {
    ($name:literal, $cause:ident, $doc:literal) => {
        row!(Kind::Choice(RETRY_WORDS), $name, $doc, |c| Value::Number(c.options.reconnect.rule(Cause::$cause) as u64), |c, v| {
            let retry = [Retry::Soon, Retry::Slow, Retry::GiveUp][v.into_number::<usize>()];
            c.options.reconnect.set_rule(Cause::$cause, retry);
        })
    };
}

pub(super) static KEYS: &[Key<ClientConfig>] = &[
    row!(
        Kind::Text,
        "client_id" | "clientid" | "id",
        "client identifier; empty: the server gives one",
        |c| Value::Text(c.options.client_id.clone()),
        |c, v| c.options.client_id = v.into_text()
    ),
    row!(Kind::Text, "username" | "user_name", "user name; empty: none", |c| Value::Text(c.options.username.clone().unwrap_or_default()), |c, v| c
        .options
        .username =
        Some(v.into_text()).filter(|text| !text.is_empty())),
    row!(Kind::Secret, "password", "password; empty: none", |c| Value::Text(c.options.password.as_deref().map(lossy).unwrap_or_default()), |c, v| c
        .options
        .password =
        Some(v.into_text().into_bytes()).filter(|bytes| !bytes.is_empty())),
    row!(
        Kind::Choice(VERSION_WORDS),
        "version" | "protocol_version" | "mqtt_version",
        "protocol version",
        |c| Value::Number(VERSIONS.iter().position(|own| *own == c.options.version).unwrap_or(1) as u64),
        |c, v| c.options.version = VERSIONS[v.into_number::<usize>() % 3]
    ),
    flag!("clean_start" | "cleansession" | "clean_session", clean_start, "begin with a new session"),
    number!(
        "session_expiry_s" | "session_expiry",
        session_expiry_s,
        Kind::Number(0, MANY),
        "how long the server keeps the session without a connection (MQTT 5)"
    ),
    number!("keepalive" | "keep_alive" | "keepalive_interval", keep_alive_s, Kind::Number(0, 65_535), "keep-alive in seconds; 0: none"),
    number!("receive_maximum", receive_maximum, Kind::Number(1, 65_535), "QoS 1 and 2 messages on their way from the server"),
    number!("max_packet_size", packet_bytes_max, Kind::Bytes(128, PACKET_BYTES_MAX), "largest packet the server may send"),
    number!("max_topic_alias", topic_alias_maximum, Kind::Number(0, 65_535), "topic aliases the server may use"),
    number!("max_topic_alias_out", topic_alias_out_max, Kind::Number(0, 65_535), "topic aliases used towards the server"),
    number!("max_inflight_messages", in_flight_max, Kind::Number(1, 60_000), "QoS 1 and 2 messages on their way to the server"),
    row!(
        Kind::Text,
        "will_topic",
        "topic of the will; empty: no will",
        |c| Value::Text(c.options.will.as_ref().map(|will| will.topic.clone()).unwrap_or_default()),
        |c, v| will(c).topic = v.into_text()
    ),
    row!(
        Kind::Text,
        "will_payload",
        "payload of the will",
        |c| Value::Text(c.options.will.as_ref().map(|will| lossy(&will.payload)).unwrap_or_default()),
        |c, v| will(c).payload = v.into_text().into_bytes()
    ),
    row!(Kind::Number(0, 2), "will_qos", "QoS of the will", |c| Value::Number(c.options.will.as_ref().map_or(0, |will| will.qos as u64)), |c, v| will(c).qos =
        Qos::try_from(v.into_number::<u8>()).unwrap_or_default()),
    row!(Kind::Bool, "will_retain", "the will is retained", |c| Value::Bool(c.options.will.as_ref().is_some_and(|will| will.retain)), |c, v| will(c).retain =
        v.into_bool()),
    row!(
        Kind::Number(0, MANY),
        "will_delay_s",
        "how long the server waits before it publishes the will (MQTT 5)",
        |c| Value::Number(will_delay(c).into()),
        |c, v| {
            let properties = &mut will(c).properties;
            properties.remove(PropertyId::WillDelayInterval);
            match v.into_number() {
                0 => {}
                seconds => properties.push(PropertyId::WillDelayInterval, PropertyValue::U32(seconds)),
            }
        }
    ),
    row!(
        Kind::Bool,
        "request_response_information",
        "ask for Response Information (MQTT 5)",
        |c| Value::Bool(connect_byte(c, PropertyId::RequestResponseInformation) == Some(1)),
        |c, v| set_connect_byte(c, PropertyId::RequestResponseInformation, v.into_bool(), false)
    ),
    row!(
        Kind::Bool,
        "request_problem_information",
        "ask for reason strings (MQTT 5)",
        |c| Value::Bool(connect_byte(c, PropertyId::RequestProblemInformation) != Some(0)),
        |c, v| set_connect_byte(c, PropertyId::RequestProblemInformation, v.into_bool(), true)
    ),
    row!(
        Kind::Text,
        "auth_method",
        "method of enhanced authentication; empty: none (MQTT 5)",
        |c| Value::Text(c.options.authentication.as_ref().map(|auth| auth.method.clone()).unwrap_or_default()),
        |c, v| authentication(c).method = v.into_text()
    ),
    row!(
        Kind::Secret,
        "auth_data",
        "first data of enhanced authentication (MQTT 5)",
        |c| Value::Text(c.options.authentication.as_ref().map(|auth| lossy(&auth.data)).unwrap_or_default()),
        |c, v| authentication(c).data = v.into_text().into_bytes()
    ),
    milliseconds!("connect_timeout_ms" | "timeout", connect_timeout, "from the dial to CONNACK"),
    milliseconds!("ping_timeout_ms", ping_timeout, "from PINGREQ to PINGRESP"),
    milliseconds!("reconnect_delay_min_ms", reconnect.delay_min, "before the second try; doubled for each further one"),
    milliseconds!("reconnect_delay_max_ms", reconnect.delay_max, "where doubling ends"),
    flag!("reconnect_jitter", reconnect.jitter, "delays are drawn between half and all of their value"),
    milliseconds!("reconnect_stable_after_ms", reconnect.stable_after, "a connection that lasted as long makes the delay small again"),
    row!(
        Kind::Number(0, 31_536_000),
        "ladder_probe_interval_s",
        "of several servers the one that worked is tried first again; after this time the best one; 0: never",
        |c| Value::Number(c.options.reconnect.probe_interval.as_secs()),
        |c, v| c.options.reconnect.probe_interval = Duration::from_secs(v.into_number())
    ),
    retry!("reconnect_on_network", Network, "no connection, or it broke: try again soon, slow, or stop"),
    retry!("reconnect_on_closed", Closed, "the server closed without a word"),
    retry!("reconnect_on_names", Names, "the server's name was not found"),
    retry!("reconnect_on_tls", Tls, "TLS failed"),
    retry!("reconnect_on_timeout", Timeout, "no connection or no CONNACK in time"),
    retry!("reconnect_on_keepalive", KeepAlive, "no PINGRESP in time"),
    retry!("reconnect_on_credentials", Credentials, "user name or password refused"),
    retry!("reconnect_on_identity", Identity, "client identifier refused"),
    retry!("reconnect_on_version", Version, "protocol version refused"),
    retry!("reconnect_on_authentication", Authentication, "enhanced authentication failed"),
    retry!("reconnect_on_busy", Busy, "server busy, unavailable, quota"),
    retry!("reconnect_on_moved", Moved, "server moved"),
    retry!("reconnect_on_shutdown", ShuttingDown, "the server shuts down"),
    retry!("reconnect_on_taken_over", TakenOver, "another connection uses the client identifier"),
    retry!("reconnect_on_protocol", Protocol, "one side broke the protocol"),
    retry!("reconnect_on_other", Other, "any other reason"),
    row!(
        Kind::Choice(RESUBSCRIBE_WORDS),
        "resubscribe",
        "when stored subscriptions are asked for again",
        |c| Value::Number(c.options.resubscribe as u64),
        |c, v| c.options.resubscribe = [Resubscribe::SessionLost, Resubscribe::Always, Resubscribe::Never][v.into_number::<usize>()]
    ),
    flag!("subscription_ids", subscription_ids, "use subscription identifiers where the server has them"),
    number!("max_subscriptions", subscriptions_max, Kind::Number(1, MANY), "stored filters"),
    number!("max_subscribe_filters", subscribe_filters_max, Kind::Number(1, 65_535), "filters in one SUBSCRIBE"),
    number!("max_queued_messages", queue.count_max, Kind::Number(1, MANY), "messages that wait to be sent"),
    number!("max_queued_bytes", queue.bytes_max, Kind::Bytes(1, MANY), "bytes that wait to be sent"),
    row!(Kind::Choice(OVERFLOW_WORDS), "queue_overflow", "who has to go when the queue is full", |c| Value::Number(c.options.queue.overflow as u64), |c, v| {
        c.options.queue.overflow = [Overflow::RefuseNewest, Overflow::DropOldest][v.into_number::<usize>()]
    }),
    row!(
        Kind::Bool,
        "queue_qos0_messages",
        "QoS 0 messages wait for a connection; else they are refused without one",
        |c| Value::Bool(c.options.offline_qos0 == OfflineQos0::Queue),
        |c, v| c.options.offline_qos0 = if v.into_bool() { OfflineQos0::Queue } else { OfflineQos0::Refuse }
    ),
    row!(
        Kind::Number(0, DAY_MS),
        "queue_expiry_ms",
        "a message that has waited for so long is given up; 0: never",
        |c| Value::Number(u64::try_from(c.options.queue.age_max.as_millis()).unwrap_or(u64::MAX)),
        |c, v| c.options.queue.age_max = Duration::from_millis(v.into_number())
    ),
    flag!("queue_newest_per_topic", queue.newest_only, "of the messages of one topic that wait, only the newest stays"),
    flag!("lower_qos", lower_qos, "a QoS above the server's is lowered instead of failing"),
    flag!("manual_ack", manual_ack, "messages are acknowledged by the application"),
    row!(
        Kind::Bool,
        "pull_receive",
        "messages without a callback of their own wait for nlmqtt_client_next_message",
        |c| Value::Bool(c.pull_receive),
        |c, v| c.pull_receive = v.into_bool()
    ),
    row!(
        Kind::Number(1, MANY),
        "max_received_messages",
        "messages that wait to be taken; beyond, nothing is read from the server",
        |c| Value::Number(c.receive.count_max as u64),
        |c, v| c.receive.count_max = v.into_number()
    ),
    row!(
        Kind::Bytes(1, MANY),
        "max_received_bytes",
        "bytes that wait to be taken; beyond, nothing is read from the server",
        |c| Value::Number(c.receive.bytes_max as u64),
        |c, v| c.receive.bytes_max = v.into_number()
    ),
    number!("max_requests", requests_max, Kind::Number(1, MANY), "requests that wait for their response (MQTT 5)"),
    row!(
        Kind::Text,
        "response_topic",
        "topic responses come to; empty: the library chooses one (MQTT 5)",
        |c| Value::Text(c.options.response_topic.clone()),
        |c, v| c.options.response_topic = v.into_text()
    ),
    number!("max_output_bytes", out_bytes_max, Kind::Bytes(1_024, MANY), "bytes that wait for the socket"),
    row!(
        Kind::Address,
        "bind_address",
        "local address to connect from; empty: any",
        |c| Value::Text(c.dial.bind.map(|address| address.to_string()).unwrap_or_default()),
        |c, v| c.dial.bind = v.into_text().parse().ok()
    ),
    row!(
        Kind::Text,
        "bind_device",
        "network device to connect over (SO_BINDTODEVICE); empty: any",
        |c| Value::Text(c.dial.device.clone().unwrap_or_default()),
        |c, v| c.dial.device = Some(v.into_text()).filter(|name| !name.is_empty())
    ),
    row!(
        Kind::Number(0, MANY),
        "socket_mark",
        "mark of the connection's packets (SO_MARK); 0: none",
        |c| Value::Number(c.dial.mark.unwrap_or(0).into()),
        |c, v| c.dial.mark = Some(v.into_number()).filter(|mark| *mark != 0)
    ),
    tls_text!("ca_file" | "cafile", ca_file, "file of authorities (PEM) that may sign the server's certificate; none: those of the system"),
    tls_pem!("ca_pem", Kind::Text, ca_pem, "such authorities, as text"),
    tls_text!("cert_file" | "certfile", cert_file, "file of the client's certificate and those behind it (PEM)"),
    tls_pem!("cert_pem", Kind::Text, cert_pem, "in place of cert_file, the text itself"),
    tls_text!("key_file" | "keyfile", key_file, "file of the certificate's private key (PEM)"),
    tls_pem!("key_pem", Kind::Secret, key_pem, "in place of key_file, the text itself"),
    tls_text!("crl_file" | "crlfile", crl_file, "file of certificates that were revoked (PEM)"),
    tls_text!("tls_server_name", server_name, "name in the server's certificate, and sent to it; empty: the host of its URI"),
    row!(Kind::List, "tls_alpn" | "alpn", "protocols of ALPN, separated by commas, the dearest first", |c| Value::Text(c.tls.alpn.join(",")), |c, v| c
        .tls
        .alpn =
        words(&v.into_text()).map(str::to_owned).collect()),
    row!(Kind::Choice(TLS_VERSION_WORDS), "tls_min" | "tls_version", "oldest version of TLS", |c| Value::Number(c.tls.version_min as u64), |c, v| {
        c.tls.version_min = [TlsVersion::V12, TlsVersion::V13][v.into_number::<usize>()]
    }),
    row!(
        Kind::Hashes,
        "tls_pins",
        "SHA-256 of public keys (64 hexadecimal digits each, separated by commas), one of which the server's own certificate has to have",
        |c| Value::Text(c.tls.pins.iter().map(|pin| hexadecimal(pin)).collect::<Vec<_>>().join(",")),
        |c, v| c.tls.pins = words(&v.into_text()).filter_map(hash).collect()
    ),
    row!(
        Kind::Number(0, MANY),
        "tls_clock_floor",
        "the clock is never taken to be before this second since 1970, when certificates are judged",
        |c| Value::Number(c.tls.clock_floor_s),
        |c, v| c.tls.clock_floor_s = v.into_number()
    ),
    row!(
        Kind::Bool,
        "danger_accept_any_certificate",
        "the server's certificate is not checked: nobody knows who it is",
        |c| Value::Bool(c.tls.danger_accept_any),
        |c, v| c.tls.danger_accept_any = v.into_bool()
    ),
    #[cfg(feature = "quic")]
    quic_seconds!("quic_idle_timeout_s", idle_timeout, "QUIC: a server that is silent for so long is given up; 0: as the server says"),
    #[cfg(feature = "quic")]
    quic_seconds!(
        "quic_keepalive_s",
        keepalive,
        "QUIC: a server that is silent for so long is asked whether it is there, which also keeps the way through translated addresses open; 0: it is not"
    ),
    #[cfg(feature = "quic")]
    row!(
        Kind::Bool,
        "quic_early_data",
        "QUIC: to a server that knows it from before, the CONNECT goes with the first datagram (0-RTT)",
        |c| Value::Bool(c.tls.quic.early_data),
        |c, v| c.tls.quic.early_data = v.into_bool()
    ),
    #[cfg(feature = "quic")]
    row!(
        Kind::Number(0, 65_527),
        "quic_probe_bytes",
        "QUIC: datagrams up to this size are tried; 0: none, all are of at most 1,200 bytes",
        |c| Value::Number(c.tls.quic.probe_bytes_max.into()),
        |c, v| c.tls.quic.probe_bytes_max = v.into_number()
    ),
    #[cfg(feature = "quic")]
    congestion!("quic_congestion", tls.quic.congestion, "QUIC: congestion control"),
    #[cfg(feature = "rudp")]
    row!(
        Kind::Choice(GENERATION_WORDS),
        "rudp_generation",
        "reliable UDP: the generation that is spoken; auto falls back to the first where the server knows nothing else",
        |c| Value::Number(c.way.rudp.generation as u64),
        |c, v| c.way.rudp.generation = [Generation::Auto, Generation::One, Generation::Two][v.into_number::<usize>()]
    ),
    #[cfg(feature = "rudp")]
    rudp_seconds!(
        "rudp_idle_timeout_s",
        idle_timeout,
        1,
        "reliable UDP: a server that is silent for so long is given up; the smaller value of both sides counts"
    ),
    #[cfg(feature = "rudp")]
    rudp_seconds!(
        "rudp_keepalive_s",
        keep_alive,
        0,
        "reliable UDP: after so long without sending, a frame shows the server that, and where, the client is; 0: none does, MQTT's keep-alive has to"
    ),
    #[cfg(feature = "rudp")]
    row!(
        Kind::Number(1, DAY_MS),
        "rudp_answer_timeout_ms",
        "generation 1: a server that has taken a packet and does not answer it for so long is left, because it would never repeat its answer",
        |c| Value::Number(u64::try_from(c.way.rudp.answer_timeout.as_millis()).unwrap_or(u64::MAX)),
        |c, v| c.way.rudp.answer_timeout = Duration::from_millis(v.into_number())
    ),
    #[cfg(feature = "rudp")]
    rudp_number!("rudp_window", window_bytes_max, Kind::Bytes(8_192, 16 << 20), "reliable UDP: bytes the server may send before the first of them was read"),
    #[cfg(feature = "rudp")]
    rudp_number!("rudp_frame_bytes", frame_bytes, Kind::Number(576, 65_507), "reliable UDP: the largest frame that is sent without a trial"),
    #[cfg(feature = "rudp")]
    rudp_number!("rudp_probe_bytes", probe_bytes_max, Kind::Number(0, 65_507), "reliable UDP: frames up to this size are tried; 0: none"),
    #[cfg(feature = "rudp")]
    congestion!("rudp_congestion", way.rudp.congestion, "reliable UDP: congestion control"),
    #[cfg(feature = "rudp")]
    row!(
        Kind::Bool,
        "rudp_redundancy",
        "reliable UDP: each frame repeats the small one before it, so that a single loss delays nothing",
        |c| Value::Bool(c.way.rudp.redundancy),
        |c, v| c.way.rudp.redundancy = v.into_bool()
    ),
    row!(
        Kind::Fields,
        "websocket_headers",
        "fields of the request for a WebSocket, one a line: Name: value",
        |c| Value::Text(c.way.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join("\n")),
        |c, v| c.way.fields = fields(&v.into_text()).unwrap_or_default()
    ),
    row!(Kind::Path, "websocket_path", "path to ask for at servers whose URI has none; empty: /mqtt", |c| Value::Text(c.websocket_path.clone()), |c, v| c
        .websocket_path =
        v.into_text()),
    row!(
        Kind::Proxy,
        "proxy_uri" | "proxy",
        "proxy on the way to every server: http://host:port (CONNECT) or socks5://host:port; empty: none",
        |c| Value::Text(c.way.proxy.as_ref().map(print_proxy).unwrap_or_default()),
        |c, v| c.way.proxy = proxy_of(&v.into_text()).flatten()
    ),
    row!(Kind::Text, "proxy_username", "user name for the proxy; empty: none", |c| Value::Text(c.way.proxy_username.clone()), |c, v| c.way.proxy_username =
        v.into_text()),
    row!(Kind::Secret, "proxy_password", "password for the proxy", |c| Value::Text(c.way.proxy_password.clone()), |c, v| c.way.proxy_password = v.into_text()),
    row!(
        Kind::Choice(PROXY_VERSION_WORDS),
        "proxy_protocol",
        "header of the PROXY protocol that is sent first: its version",
        |c| Value::Number(match c.way.proxy_protocol {
            None => 0,
            Some(ProxyVersion::V1) => 1,
            Some(ProxyVersion::V2) => 2,
        }),
        |c, v| c.way.proxy_protocol = [None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)][v.into_number::<usize>()]
    ),
];

/// The will, begun if there is none; without a topic it is left out in the end.
fn will(config: &mut ClientConfig) -> &mut Will {
    config.options.will.get_or_insert_with(Will::default)
}

fn will_delay(config: &ClientConfig) -> u32 {
    let will = config.options.will.as_ref();
    will.and_then(|will| will.properties.as_properties().u32(PropertyId::WillDelayInterval)).unwrap_or(0)
}

fn authentication(config: &mut ClientConfig) -> &mut Authentication {
    config.options.authentication.get_or_insert_with(|| Authentication { method: String::new(), data: Vec::new() })
}

fn connect_byte(config: &ClientConfig, id: PropertyId) -> Option<u8> {
    config.options.connect_properties.as_properties().byte(id)
}

fn set_connect_byte(config: &mut ClientConfig, id: PropertyId, value: bool, default: bool) {
    config.options.connect_properties.remove(id);
    if value != default {
        config.options.connect_properties.push(id, PropertyValue::Byte(value.into()));
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn print_proxy(proxy: &TunnelProxy) -> String {
    let scheme = if proxy.kind == TunnelKind::Http { "http" } else { "socks5" };
    let host = if proxy.host.contains(':') { format!("[{}]", proxy.host) } else { proxy.host.clone() };
    format!("{scheme}://{host}:{}", proxy.port)
}
