//! Drives the machine by bytes: server packets are made with the codec, client packets are taken
//! apart with it and compared as lines of text.

mod calls;
mod clock;
mod lifecycle;
mod limits;
mod naive_server;
mod publish;
mod queue;
mod receive;
mod replaced;
mod simulation;
mod subscribe;

use super::*;
use crate::base::Duration;
use crate::codec::{
    self, Ack, Auth, ConnAck, Disconnect, Packet, PacketId, PacketType, Properties, PropertyId, PropertyList, Publish, Qos, Reason, SubAck, SubscribeOptions,
    UnsubAck, Value, Version,
};

pub(super) struct Bench {
    pub(super) client: Client,
    pub(super) now: Instant,
    version: Version,
}

pub(super) fn options(version: Version) -> Options {
    let reconnect = ReconnectOptions { jitter: false, ..ReconnectOptions::default() };
    Options { servers: vec![0], version, client_id: "dev".into(), reconnect, ..Options::default() }
}

pub(super) fn id(value: u16) -> PacketId {
    PacketId::new(value).expect("above 0")
}

fn list(properties: &[(PropertyId, Value<'_>)]) -> PropertyList {
    let mut list = PropertyList::new();
    properties.iter().for_each(|(id, value)| list.push(*id, *value));
    list
}

fn qos(qos: Qos) -> SubscribeOptions {
    SubscribeOptions { qos, ..SubscribeOptions::default() }
}

impl Bench {
    fn new(options: Options) -> Self {
        let version = options.version;
        TOKEN_LAST.set(0);
        let client = Client::new(options, Budget::new(1 << 30), Rng::with_seed(1)).expect("options are good");
        Self { client, now: Instant::START, version }
    }

    /// Started and with CONNECT on its way.
    fn dialed(options: Options) -> Self {
        let mut bench = Self::new(options);
        bench.client.start(bench.now).expect("was stopped");
        bench.client.handle_dialed(bench.now);
        bench
    }

    /// In session.
    fn online(options: Options, session_present: bool, properties: &[(PropertyId, Value<'_>)]) -> Self {
        let mut bench = Self::dialed(options);
        bench.connack(session_present, properties);
        bench.sent();
        bench.events();
        bench
    }

    fn connack(&mut self, session_present: bool, properties: &[(PropertyId, Value<'_>)]) {
        let list = list(properties);
        let reason = Reason::SUCCESS;
        self.give(&Packet::ConnAck(ConnAck { session_present, reason, properties: list.as_properties() }));
    }

    /// Loses the connection and makes the next one.
    fn reconnect(&mut self, session_present: bool) {
        self.client.handle_closed(self.now, Cause::Network);
        self.now = self.client.poll_timeout().expect("retries");
        self.client.handle_timeout(self.now);
        self.client.handle_dialed(self.now);
        self.connack(session_present, &[]);
    }

    fn give(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.client.handle_input(self.now, &bytes);
    }

    fn ack(&mut self, packet_type: PacketType, packet_id: u16, reason: Reason) {
        let mut bytes = Vec::new();
        let ack = Ack { packet_id: id(packet_id), reason, properties: Properties::EMPTY };
        ack.encode(packet_type, self.version, &mut bytes);
        self.client.handle_input(self.now, &bytes);
    }

    fn suback(&mut self, packet_id: u16, reasons: &[u8]) {
        let properties = Properties::EMPTY;
        self.give(&Packet::SubAck(SubAck { packet_id: id(packet_id), properties, reasons }));
    }

    fn incoming(&mut self, topic: &str, quality: Qos, packet_id: u16, dup: bool, properties: &PropertyList) {
        self.give(&Packet::Publish(Publish {
            dup,
            qos: quality,
            retain: false,
            topic,
            packet_id: PacketId::new(packet_id),
            properties: properties.as_properties(),
            payload: b"in",
        }));
    }

    fn publish(&mut self, topic: &str, quality: Qos) -> Token {
        let request = PublishRequest { topic, payload: b"x", qos: quality, ..PublishRequest::default() };
        let token = next_token();
        self.client.publish(self.now, token, &request).expect("accepted");
        token
    }

    fn subscribe(&mut self, filters: &[&str], handler: bool) -> (Token, Option<SubscriptionKey>) {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, qos(Qos::AtLeastOnce))).collect();
        let request = SubscribeRequest { filters: &filters, handler, ..SubscribeRequest::default() };
        let token = next_token();
        (token, self.client.subscribe(token, &request).expect("accepted"))
    }

    /// What the client sent since the last call, a line for each packet.
    fn sent(&mut self) -> Vec<String> {
        drain(&mut self.client, self.now).iter().map(|bytes| line(self.version, bytes)).collect()
    }

    /// What happened, without what `dropped` tells.
    fn events(&mut self) -> Vec<String> {
        let all = self.all_events();
        all.into_iter().filter(|line| !line.starts_with("dropped")).collect()
    }

    fn all_events(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.client.poll_event()).map(|event| event_line(&event)).collect()
    }

    fn dropped(&mut self) -> Vec<String> {
        let all = self.all_events();
        all.into_iter().filter(|line| line.starts_with("dropped")).collect()
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.client.handle_timeout(self.now);
    }
}

/// The packets the client wants sent.
pub(super) fn drain(client: &mut Client, now: Instant) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(out) = client.poll_transmit(now) {
        bytes.extend(out.slices().flatten());
        out.advance(out.len());
    }
    let mut packets = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((_, length)) = codec::split(rest, usize::MAX).expect("legal") {
        packets.push(rest[..length].to_vec());
        rest = &rest[length..];
    }
    assert!(rest.is_empty(), "half a packet");
    packets
}

fn line(version: Version, bytes: &[u8]) -> String {
    let (frame, _) = codec::split(bytes, usize::MAX).expect("legal").expect("whole");
    let text = |payload: &[u8]| String::from_utf8_lossy(payload).into_owned();
    let ack = |name: &str, ack: Ack<'_>| format!("{name} {} {:02x}", ack.packet_id, ack.reason.0);
    match codec::decode(version, codec::Sender::Client, frame).expect("the client obeys the standard") {
        Packet::Connect(c) => {
            format!("CONNECT {} clean={} ka={}", c.client_id, c.clean_start, c.keep_alive_s)
        }
        Packet::Publish(p) => format!(
            "PUBLISH {}={} q{} {}{}{}",
            p.topic,
            text(p.payload),
            p.qos as u8,
            p.packet_id.map_or(0, PacketId::get),
            if p.dup { " dup" } else { "" },
            p.properties.u16(PropertyId::TopicAlias).map_or(String::new(), |alias| format!(" alias={alias}")),
        ),
        Packet::PubAck(a) => ack("PUBACK", a),
        Packet::PubRec(a) => ack("PUBREC", a),
        Packet::PubRel(a) => ack("PUBREL", a),
        Packet::PubComp(a) => ack("PUBCOMP", a),
        Packet::Subscribe(s) => {
            let filters: Vec<_> = s.filters.iter().map(|(filter, o)| format!("{filter}:{}", o.qos as u8)).collect();
            let ids: Vec<_> = s.properties.subscription_ids().map(|id| format!(" #{id}")).collect();
            format!("SUBSCRIBE {} {}{}", s.packet_id, filters.join(","), ids.concat())
        }
        Packet::Unsubscribe(u) => {
            format!("UNSUBSCRIBE {} {}", u.packet_id, u.filters.iter().collect::<Vec<_>>().join(","))
        }
        Packet::Disconnect(d) => format!("DISCONNECT {:02x}", d.reason.0),
        Packet::Auth(a) => format!("AUTH {:02x} {}", a.reason.0, text(a.properties.binary(PropertyId::AuthenticationData).unwrap_or_default())),
        other => format!("{:?}", other.packet_type()).to_uppercase(),
    }
}

fn event_line(event: &Event) -> String {
    match event {
        Event::Connected(c) => format!("connected present={} id={}", c.session_present, c.client_id),
        Event::Disconnected(d) => {
            let retry = d.retry_at.map_or("never".into(), |at| format!("{}", at.as_micros() / 1_000_000));
            format!("disconnected {:?} {:?} retry={retry}", d.cause, d.reason.map(|reason| reason.0))
        }
        Event::Message(m) => {
            let keys: Vec<_> = m.handlers.iter().map(|key| key.0).collect();
            format!("message {} q{} {keys:?}", m.message.topic(), m.qos as u8)
        }
        Event::Responded { token, response: Ok(incoming) } => {
            format!("responded {} {}", token.0, String::from_utf8_lossy(incoming.message.payload()))
        }
        Event::Responded { token, response: Err(outcome) } => format!("responded {} {outcome:?}", token.0),
        Event::Dropped { message, failure } => format!("dropped {} {failure:?}", message.topic()),
        Event::Published { token, outcome } => format!("published {} {outcome:?}", token.0),
        Event::Subscribed { token, outcome, reasons } => {
            format!("subscribed {} {outcome:?} {:?}", token.0, reasons.iter().map(|r| r.0).collect::<Vec<_>>())
        }
        Event::Unsubscribed { token, outcome, reasons } => {
            format!("unsubscribed {} {outcome:?} {:?}", token.0, reasons.iter().map(|r| r.0).collect::<Vec<_>>())
        }
        Event::Resubscribed { filter, reason } => format!("resubscribed {filter} {:02x}", reason.0),
        other => format!("{other:?}"),
    }
}

thread_local! {
    static TOKEN_LAST: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// 1, 2, 3 ... for each bench.
fn next_token() -> Token {
    Token(TOKEN_LAST.replace(TOKEN_LAST.get() + 1) + 1)
}
