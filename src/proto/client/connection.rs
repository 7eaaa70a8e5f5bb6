//! What belongs to one network connection and dies with it: the server's limits, aliases,
//! keep-alive, the order of acknowledgements, the bytes of a packet that is not whole yet.

use super::acks::Acks;
use super::options::{Authentication, Options};
use crate::base::Instant;
use crate::codec::{Connect, PACKET_BYTES_MAX, Properties, PropertyId, PropertyList, Qos, Value, Version, Will};
use crate::proto::{AliasIn, AliasOut, ClientKeepAlive};

#[derive(Debug)]
pub(super) struct Connection {
    /// Tells one connection from the next: part of every [`super::AckHandle`].
    pub(super) number: u64,
    /// CONNECT asked for a new session.
    pub(super) clean_start: bool,
    pub(super) limits: Limits,
    pub(super) keep_alive: ClientKeepAlive,
    pub(super) alias_in: AliasIn,
    pub(super) alias_out: AliasOut,
    pub(super) acks: Acks,
    /// The largest packet that what carries it takes.
    pub(super) link_bytes_max: usize,
    /// The beginning of a packet.
    pub(super) partial: Vec<u8>,
    /// The server waits for our AUTH.
    pub(super) auth_expected: bool,
    pub(super) reauthenticating: bool,
    /// The session may be another than the one this side has the rest of.
    pub(super) is_session_unsure: bool,
}

/// What the server said in CONNACK (§3.2.2.3), or the defaults.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: usize,
    pub(super) topic_alias_maximum: u16,
    pub(super) qos_maximum: Qos,
    pub(super) retain: bool,
    pub(super) wildcards: bool,
    pub(super) shared: bool,
    pub(super) subscription_ids: bool,
    pub(super) keep_alive_s: Option<u16>,
}

impl Limits {
    pub(super) fn of(version: Version, properties: Properties<'_>) -> Self {
        let flag = |id| properties.byte(id) != Some(0);
        let bytes = properties.u32(PropertyId::MaximumPacketSize);
        let maximum = properties.byte(PropertyId::MaximumQos).map(Qos::try_from);
        Self {
            receive_maximum: properties.u16(PropertyId::ReceiveMaximum).unwrap_or(u16::MAX),
            packet_bytes_max: bytes.map_or(PACKET_BYTES_MAX, |bytes| bytes as usize).min(PACKET_BYTES_MAX),
            topic_alias_maximum: properties.u16(PropertyId::TopicAliasMaximum).unwrap_or(0),
            qos_maximum: maximum.and_then(Result::ok).unwrap_or(Qos::ExactlyOnce),
            retain: flag(PropertyId::RetainAvailable),
            wildcards: flag(PropertyId::WildcardSubscriptionAvailable),
            shared: flag(PropertyId::SharedSubscriptionAvailable),
            subscription_ids: version == Version::V5 && flag(PropertyId::SubscriptionIdentifierAvailable),
            keep_alive_s: properties.u16(PropertyId::ServerKeepAlive),
        }
    }
}

impl Connection {
    pub(super) fn new(now: Instant, number: u64, clean_start: bool, options: &Options) -> Self {
        let version = options.version;
        let alias_maximum = if version == Version::V5 { options.topic_alias_maximum } else { 0 };
        Self {
            number,
            clean_start,
            limits: Limits::of(version, Properties::EMPTY),
            link_bytes_max: PACKET_BYTES_MAX,
            // Off until CONNACK: the connect timeout watches over that.
            keep_alive: ClientKeepAlive::new(now, 0, options.ping_timeout),
            alias_in: AliasIn::new(alias_maximum),
            alias_out: AliasOut::new(0),
            acks: Acks::default(),
            partial: Vec::new(),
            auth_expected: false,
            reauthenticating: false,
            is_session_unsure: false,
        }
    }

    /// CONNACK came.
    pub(super) fn accepted(&mut self, now: Instant, options: &Options, properties: Properties<'_>) {
        self.limits = Limits::of(options.version, properties);
        self.limits.packet_bytes_max = self.limits.packet_bytes_max.min(self.link_bytes_max);
        let keep_alive_s = self.limits.keep_alive_s.unwrap_or(options.keep_alive_s);
        self.keep_alive = ClientKeepAlive::new(now, keep_alive_s, options.ping_timeout);
        self.alias_out = AliasOut::new(self.limits.topic_alias_maximum.min(options.topic_alias_out_max));
    }
}

/// Appends CONNECT (§3.1).
pub(super) fn encode_connect(options: &Options, client_id: &str, clean_start: bool, out: &mut Vec<u8>) {
    let properties = connect_properties(options);
    let will = options.will.as_ref().map(|will| Will {
        qos: will.qos,
        retain: will.retain,
        topic: &will.topic,
        payload: &will.payload,
        properties: will.properties.as_properties(),
    });
    let connect = Connect {
        version: options.version,
        clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id,
        will,
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: properties.as_properties(),
        is_bridge: false,
    };
    connect.encode(options.version, out);
}

fn connect_properties(options: &Options) -> PropertyList {
    let mut list = PropertyList::new();
    if options.version != Version::V5 {
        return list;
    }
    if options.session_expiry_s > 0 {
        list.push(PropertyId::SessionExpiryInterval, Value::U32(options.session_expiry_s));
    }
    if options.receive_maximum < u16::MAX {
        list.push(PropertyId::ReceiveMaximum, Value::U16(options.receive_maximum));
    }
    let bytes_max = u32::try_from(options.packet_bytes_max).unwrap_or(u32::MAX);
    list.push(PropertyId::MaximumPacketSize, Value::U32(bytes_max));
    if options.topic_alias_maximum > 0 {
        list.push(PropertyId::TopicAliasMaximum, Value::U16(options.topic_alias_maximum));
    }
    if let Some(authentication) = &options.authentication {
        push_authentication(&mut list, authentication, &authentication.data);
    }
    list.extend_filtered(options.connect_properties.as_properties(), |_| true);
    list
}

/// Method and, unless empty, data (§4.12).
pub(super) fn push_authentication(list: &mut PropertyList, authentication: &Authentication, data: &[u8]) {
    list.push(PropertyId::AuthenticationMethod, Value::Utf8(&authentication.method));
    if !data.is_empty() {
        list.push(PropertyId::AuthenticationData, Value::Binary(data));
    }
}
