//! Drives the machine by bytes: server packets are made with the codec, client packets are taken
//! apart with it and compared as lines of text.

#[path = "simulation.rs"]
mod simulation;

use super::*;
use crate::base::Duration;
use crate::codec::{
    self, Ack, Auth, ConnAck, Disconnect, Packet, PacketId, PacketType, Properties, PropertyId, PropertyList,
    Publish, Qos, Reason, SubAck, SubscribeOptions, UnsubAck, Value, Version,
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
        self.client.publish(self.now, &request).expect("accepted")
    }

    fn subscribe(&mut self, filters: &[&str], handler: bool) -> (Token, Option<SubscriptionKey>) {
        let filters: Vec<_> = filters.iter().map(|filter| (*filter, qos(Qos::AtLeastOnce))).collect();
        let request = SubscribeRequest { filters: &filters, handler, ..SubscribeRequest::default() };
        self.client.subscribe(&request).expect("accepted")
    }

    /// What the client sent since the last call, a line for each packet.
    fn sent(&mut self) -> Vec<String> {
        drain(&mut self.client, self.now).iter().map(|bytes| line(self.version, bytes)).collect()
    }

    fn events(&mut self) -> Vec<String> {
        core::iter::from_fn(|| self.client.poll_event()).map(|event| event_line(&event)).collect()
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
        Packet::Connect(c) => format!("CONNECT {} clean={} ka={}", c.client_id, c.clean_start, c.keep_alive_s),
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
        Packet::Auth(a) => format!(
            "AUTH {:02x} {}",
            a.reason.0,
            text(a.properties.binary(PropertyId::AuthenticationData).unwrap_or_default())
        ),
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

#[test]
fn a_clean_start_is_asked_for_once_and_the_session_is_kept_after_that() {
    let mut bench = Bench::dialed(Options { session_expiry_s: 60, ..options(Version::V5) });
    assert_eq!(bench.sent(), ["CONNECT dev clean=true ka=60"]);
    bench.connack(false, &[]);
    let expected = [
        "StateChanged(Dialing)",
        "Dial { server: 0 }",
        "StateChanged(Connecting)",
        "StateChanged(Online)",
        "connected present=false id=dev",
    ];
    assert_eq!(bench.events(), expected);
    bench.reconnect(true);
    assert_eq!(bench.sent(), ["CONNECT dev clean=false ka=60"]);
    let mut old = Bench::online(options(Version::V311), false, &[]);
    old.reconnect(false);
    assert_eq!(old.sent(), ["CONNECT dev clean=true ka=60"], "3.x asks for a clean session each time");
}

#[test]
fn an_assigned_client_identifier_is_used_from_then_on() {
    let mut bench = Bench::dialed(Options { client_id: String::new(), ..options(Version::V5) });
    bench.connack(false, &[(PropertyId::AssignedClientIdentifier, Value::Utf8("given"))]);
    bench.sent();
    bench.reconnect(true);
    assert_eq!(bench.sent(), ["CONNECT given clean=false ka=60"]);
}

#[test]
fn publishes_of_every_quality_complete_once() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut bench = Bench::online(options(version), false, &[]);
        for quality in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            bench.publish("t", quality);
        }
        assert_eq!(bench.sent(), ["PUBLISH t=x q0 0", "PUBLISH t=x q1 1", "PUBLISH t=x q2 2"]);
        assert_eq!(bench.events(), ["published 1 Sent"]);
        bench.ack(PacketType::PubRec, 2, Reason::SUCCESS);
        bench.ack(PacketType::PubAck, 1, Reason::SUCCESS);
        bench.ack(PacketType::PubAck, 1, Reason::SUCCESS);
        assert_eq!(bench.sent(), ["PUBREL 2 00"]);
        bench.ack(PacketType::PubComp, 2, Reason::SUCCESS);
        bench.ack(PacketType::PubComp, 2, Reason::SUCCESS);
        let success = "Acknowledged(Success (0x00))";
        assert_eq!(bench.events(), [format!("published 2 {success}"), format!("published 3 {success}")]);
        assert_eq!(bench.client.statistics().unknown_acks, 2);
    }
}

#[test]
fn a_refusal_by_the_server_is_the_outcome_of_the_publish() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.publish("t", Qos::AtLeastOnce);
    bench.publish("t", Qos::ExactlyOnce);
    bench.sent();
    bench.ack(PacketType::PubAck, 1, Reason::NOT_AUTHORIZED);
    bench.ack(PacketType::PubRec, 2, Reason::QUOTA_EXCEEDED);
    let expected =
        ["published 1 Acknowledged(Not authorized (0x87))", "published 2 Acknowledged(Quota exceeded (0x97))"];
    assert_eq!(bench.events(), expected);
    assert!(bench.sent().is_empty(), "no PUBREL after a refusal");
}

#[test]
fn a_resumed_session_resends_in_order_before_anything_new() {
    let mut bench = Bench::online(Options { session_expiry_s: 60, ..options(Version::V5) }, false, &[]);
    for topic in ["a", "b", "c"] {
        bench.publish(topic, Qos::ExactlyOnce);
    }
    bench.sent();
    bench.ack(PacketType::PubRec, 2, Reason::SUCCESS);
    bench.client.handle_closed(bench.now, Cause::Network);
    bench.publish("d", Qos::AtLeastOnce);
    bench.reconnect(true);
    let expected = [
        "CONNECT dev clean=false ka=60",
        "PUBLISH a=x q2 1 dup",
        "PUBREL 2 00",
        "PUBLISH c=x q2 3 dup",
        "PUBLISH d=x q1 4",
    ];
    assert_eq!(bench.sent(), expected);
}

#[test]
fn a_lost_session_sends_what_nobody_confirmed_as_new_messages() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::ExactlyOnce);
    bench.publish("c", Qos::ExactlyOnce);
    bench.sent();
    bench.ack(PacketType::PubRec, 2, Reason::SUCCESS);
    bench.sent();
    bench.events();
    bench.reconnect(false);
    let sent = bench.sent();
    assert_eq!(sent[1..], ["PUBLISH a=x q1 4", "PUBLISH c=x q2 5"]);
    assert!(bench.events().contains(&"published 2 Acknowledged(Success (0x00))".to_owned()));
}

#[test]
fn the_limits_of_the_server_are_obeyed() {
    let limits = [
        (PropertyId::ReceiveMaximum, Value::U16(2)),
        (PropertyId::MaximumPacketSize, Value::U32(60)),
        (PropertyId::MaximumQos, Value::Byte(1)),
        (PropertyId::RetainAvailable, Value::Byte(0)),
        (PropertyId::ServerKeepAlive, Value::U16(7)),
    ];
    let mut bench = Bench::online(options(Version::V5), false, &limits);
    let request = PublishRequest { topic: "t", payload: &[0; 60], ..PublishRequest::default() };
    bench.client.publish(bench.now, &request).expect("accepted");
    let request = PublishRequest { topic: "t", retain: true, ..PublishRequest::default() };
    bench.client.publish(bench.now, &request).expect("accepted");
    bench.publish("t", Qos::ExactlyOnce);
    for _ in 0..3 {
        bench.publish("t", Qos::AtLeastOnce);
    }
    assert_eq!(bench.sent(), ["PUBLISH t=x q1 1", "PUBLISH t=x q1 2"]);
    let expected = [
        "published 1 Failed(TooLarge)",
        "published 2 Failed(RetainNotSupported)",
        "published 3 Failed(QosNotSupported)",
    ];
    assert_eq!(bench.events(), expected);
    bench.ack(PacketType::PubAck, 2, Reason::SUCCESS);
    assert_eq!(bench.sent(), ["PUBLISH t=x q1 3"]);
    bench.after(6);
    assert!(bench.sent().is_empty());
    bench.after(1);
    assert_eq!(bench.sent(), ["PINGREQ"]);
}

#[test]
fn a_message_above_the_maximum_qos_is_lowered_if_so_asked() {
    let mut bench = Bench::online(
        Options { lower_qos: true, ..options(Version::V5) },
        false,
        &[(PropertyId::MaximumQos, Value::Byte(0))],
    );
    bench.publish("t", Qos::ExactlyOnce);
    assert_eq!(bench.sent(), ["PUBLISH t=x q0 0"]);
}

#[test]
fn topic_aliases_work_both_ways() {
    let mut bench =
        Bench::online(options(Version::V5), false, &[(PropertyId::TopicAliasMaximum, Value::U16(1))]);
    bench.publish("long", Qos::AtMostOnce);
    bench.publish("long", Qos::AtMostOnce);
    assert_eq!(bench.sent(), ["PUBLISH long=x q0 0 alias=1", "PUBLISH =x q0 0 alias=1"]);
    bench.events();
    let alias = list(&[(PropertyId::TopicAlias, Value::U16(16))]);
    bench.incoming("in/topic", Qos::AtMostOnce, 0, false, &alias);
    bench.incoming("", Qos::AtMostOnce, 0, false, &alias);
    assert_eq!(bench.events(), ["message in/topic q0 []", "message in/topic q0 []"]);
    let beyond = list(&[(PropertyId::TopicAlias, Value::U16(17))]);
    bench.incoming("in/topic", Qos::AtMostOnce, 0, false, &beyond);
    assert_eq!(bench.sent(), ["DISCONNECT 94"]);
}

#[test]
fn a_qos_2_message_is_delivered_once_however_often_it_comes() {
    for version in [Version::V311, Version::V5] {
        let options = Options { clean_start: false, session_expiry_s: 9, ..options(version) };
        let mut bench = Bench::online(options, true, &[]);
        bench.incoming("t", Qos::ExactlyOnce, 7, false, &PropertyList::new());
        bench.incoming("t", Qos::ExactlyOnce, 7, true, &PropertyList::new());
        assert_eq!(bench.sent(), ["PUBREC 7 00", "PUBREC 7 00"]);
        bench.reconnect(true);
        bench.incoming("t", Qos::ExactlyOnce, 7, true, &PropertyList::new());
        bench.ack(PacketType::PubRel, 7, Reason::SUCCESS);
        bench.ack(PacketType::PubRel, 7, Reason::SUCCESS);
        let sent = bench.sent();
        let unknown = if version == Version::V5 { "PUBCOMP 7 92" } else { "PUBCOMP 7 00" };
        assert_eq!(sent[1..], ["PUBREC 7 00", "PUBCOMP 7 00", unknown]);
        let messages = bench.events().iter().filter(|line| line.starts_with("message")).count();
        assert_eq!(messages, 1);
        assert_eq!(bench.client.statistics().duplicates, 2);
    }
}

#[test]
fn more_messages_than_the_receive_maximum_are_a_fault_of_the_server() {
    let options = Options { receive_maximum: 1, manual_ack: true, ..options(Version::V5) };
    let mut bench = Bench::online(options, false, &[]);
    bench.incoming("t", Qos::AtLeastOnce, 1, false, &PropertyList::new());
    bench.incoming("t", Qos::AtLeastOnce, 2, false, &PropertyList::new());
    assert_eq!(bench.sent(), ["DISCONNECT 93"]);
    assert_eq!(bench.events()[1..3], ["HangUp", "disconnected Protocol Some(147) retry=1"]);
}

#[test]
fn manual_acknowledgements_leave_in_the_order_of_arrival() {
    let mut bench = Bench::online(Options { manual_ack: true, ..options(Version::V5) }, false, &[]);
    bench.incoming("a", Qos::AtLeastOnce, 1, false, &PropertyList::new());
    bench.incoming("b", Qos::ExactlyOnce, 2, false, &PropertyList::new());
    let handles: Vec<AckHandle> = core::iter::from_fn(|| bench.client.poll_event())
        .filter_map(|event| if let Event::Message(message) = event { message.ack } else { None })
        .collect();
    bench.client.acknowledge(handles[1], Reason::NOT_AUTHORIZED).expect("known");
    assert!(bench.sent().is_empty());
    bench.client.acknowledge(handles[0], Reason::SUCCESS).expect("known");
    assert_eq!(bench.sent(), ["PUBACK 1 00", "PUBREC 2 87"]);
    assert_eq!(bench.client.acknowledge(handles[0], Reason::SUCCESS), Err(Error::Unknown));
    bench.incoming("c", Qos::AtLeastOnce, 3, false, &PropertyList::new());
    let Some(Event::Message(message)) = bench.client.poll_event() else { panic!("no message") };
    bench.reconnect(false);
    let late = bench.client.acknowledge(message.ack.expect("manual"), Reason::SUCCESS);
    assert_eq!(late, Err(Error::Unknown), "belongs to the old connection");
}

#[test]
fn a_server_that_repeats_itself_without_end_is_left() {
    let mut bench = Bench::online(Options { manual_ack: true, ..options(Version::V311) }, false, &[]);
    for _ in 0..70_000 {
        bench.incoming("t", Qos::ExactlyOnce, 1, true, &PropertyList::new());
    }
    assert!(bench.events().iter().any(|line| line.starts_with("disconnected Protocol Some(147)")));
}

#[test]
fn filters_asked_for_offline_go_out_in_one_subscribe_and_again_when_the_session_is_lost() {
    let mut bench = Bench::dialed(Options { clean_start: false, ..options(Version::V311) });
    bench.subscribe(&["b", "a/#"], true);
    bench.subscribe(&["c"], false);
    bench.sent();
    bench.connack(false, &[]);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 b:1,a/#:1,c:1"]);
    bench.events();
    bench.suback(1, &[1, 0x80, 0]);
    let expected = [
        "subscribed 1 Acknowledged(Unspecified error (0x80)) [1, 128]",
        "subscribed 2 Acknowledged(Success (0x00)) [0]",
    ];
    assert_eq!(bench.events(), expected);
    bench.reconnect(false);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 2 b:1,c:1"], "a refused filter is not kept");
    bench.events();
    bench.suback(2, &[1, 0x80]);
    assert_eq!(bench.events(), ["resubscribed b 01", "resubscribed c 80"]);
    bench.reconnect(true);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 3 c:1"], "refused before: tried again");
}

#[test]
fn filters_may_be_prepared_before_the_start_and_are_kept_over_a_stop() {
    let mut bench = Bench::new(options(Version::V311));
    bench.subscribe(&["a"], false);
    bench.client.stop(bench.now, StopRequest::default());
    assert_eq!(bench.events(), ["subscribed 1 Failed(Stopped) []"]);
    bench.subscribe(&["b"], true);
    bench.client.start(bench.now).expect("stopped");
    bench.client.handle_dialed(bench.now);
    bench.connack(false, &[]);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 1 b:1"]);
    bench.suback(1, &[1]);
    bench.client.stop(bench.now, StopRequest::default());
    bench.sent();
    assert!(!bench.events().iter().any(|line| line.starts_with("HandlerReleased")));
    bench.client.start(bench.now).expect("stopped");
    bench.client.handle_dialed(bench.now);
    bench.connack(false, &[]);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 2 b:1"]);
}

#[test]
fn an_unanswered_subscribe_is_asked_again_and_answers_its_request() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.subscribe(&["a"], false);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 a:1"]);
    bench.reconnect(true);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 2 a:1"]);
    bench.events();
    bench.suback(2, &[1]);
    assert_eq!(bench.events(), ["subscribed 1 Acknowledged(Success (0x00)) [1]"]);
}

#[test]
fn subscription_identifiers_lead_to_the_handler_and_matching_does_without_them() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    let (_, first) = bench.subscribe(&["a/#"], true);
    let (_, second) = bench.subscribe(&["a/b"], true);
    bench.subscribe(&["c"], false);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 a/#:1 #1", "SUBSCRIBE 2 a/b:1 #2", "SUBSCRIBE 3 c:1"]);
    let with = |id| list(&[(PropertyId::SubscriptionIdentifier, Value::VarInt(id))]);
    bench.incoming("a/b", Qos::AtMostOnce, 0, false, &with(2));
    bench.incoming("a/b", Qos::AtMostOnce, 0, false, &with(99));
    bench.incoming("a/b", Qos::AtMostOnce, 0, false, &PropertyList::new());
    assert_eq!(bench.events(), ["message a/b q0 [2]", "message a/b q0 []", "message a/b q0 []"]);
    assert_eq!((first, second), (Some(SubscriptionKey(1)), Some(SubscriptionKey(2))));

    let none = [(PropertyId::SubscriptionIdentifierAvailable, Value::Byte(0))];
    let mut bench = Bench::online(options(Version::V5), false, &none);
    bench.subscribe(&["a/#", "a/+"], true);
    bench.subscribe(&["$share/g/a/b"], true);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 a/#:1,a/+:1,$share/g/a/b:1"]);
    bench.incoming("a/b", Qos::AtMostOnce, 0, false, &PropertyList::new());
    bench.incoming("x", Qos::AtMostOnce, 0, false, &PropertyList::new());
    assert_eq!(bench.events(), ["message a/b q0 [1, 2]", "message x q0 []"]);
}

#[test]
fn a_handler_is_released_when_its_last_filter_is_gone() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.subscribe(&["a", "b"], true);
    bench.sent();
    bench.suback(1, &[0, 0]);
    bench.events();
    bench.client.unsubscribe(&["a"]).expect("accepted");
    assert!(bench.events().is_empty());
    bench.subscribe(&["b"], false);
    assert_eq!(bench.events(), ["HandlerReleased(SubscriptionKey(1))"]);
    assert_eq!(bench.sent(), ["UNSUBSCRIBE 2 a", "SUBSCRIBE 3 b:1"]);
    let packet_id = id(2);
    bench.give(&Packet::UnsubAck(UnsubAck { packet_id, properties: Properties::EMPTY, reasons: &[0x11] }));
    assert_eq!(bench.events(), ["unsubscribed 2 Acknowledged(Success (0x00)) [17]"]);
}

#[test]
fn what_the_server_cannot_do_is_refused_here_instead_of_losing_the_connection() {
    let limits = [
        (PropertyId::WildcardSubscriptionAvailable, Value::Byte(0)),
        (PropertyId::SharedSubscriptionAvailable, Value::Byte(0)),
        (PropertyId::MaximumPacketSize, Value::U32(40)),
    ];
    let mut bench = Bench::online(options(Version::V5), false, &limits);
    let long = "l".repeat(50);
    bench.subscribe(&["a/+", "$share/g/a", &long, "ok1234567890", "ok1234567891"], false);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 ok1234567890:1", "SUBSCRIBE 2 ok1234567891:1"], "split by size");
    bench.suback(2, &[1]);
    bench.suback(1, &[0]);
    let expected = "subscribed 1 Acknowledged(Wildcard Subscriptions not supported (0xA2)) [162, 158, 149, 0, 1]";
    assert_eq!(bench.events(), [expected]);
}

#[test]
fn a_suback_that_does_not_fit_its_subscribe_is_a_fault_of_the_server() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.subscribe(&["a", "b"], false);
    bench.sent();
    bench.suback(9, &[0]);
    assert_eq!(bench.client.statistics().unknown_acks, 1);
    bench.suback(1, &[0]);
    assert_eq!(bench.sent(), ["DISCONNECT 82"]);
}

#[test]
fn a_full_queue_refuses_or_drops_the_oldest() {
    let queue = |overflow| QueueOptions { count_max: 2, bytes_max: 1_000_000, overflow };
    let mut bench = Bench::dialed(Options { queue: queue(Overflow::RefuseNewest), ..options(Version::V5) });
    bench.events();
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::AtLeastOnce);
    let request = PublishRequest { topic: "c", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, &request), Err(Error::QueueFull));
    let line = bench.events().join(";");
    assert!(line.starts_with("QueueLevel { high: true, count: 1"), "{line}");

    let mut bench = Bench::dialed(Options { queue: queue(Overflow::DropOldest), ..options(Version::V5) });
    for topic in ["a", "b", "c"] {
        bench.publish(topic, Qos::AtLeastOnce);
    }
    assert!(bench.events().contains(&"published 1 Failed(Overflow)".to_owned()));
    bench.connack(false, &[]);
    assert_eq!(bench.sent()[1..], ["PUBLISH b=x q1 1", "PUBLISH c=x q1 2"]);
    assert!(bench.events().iter().any(|line| line.starts_with("QueueLevel { high: false, count: 0")));
}

#[test]
fn the_queue_is_bounded_in_bytes_but_takes_one_message_of_any_size() {
    let queue = QueueOptions { count_max: 9, bytes_max: 1_000, overflow: Overflow::RefuseNewest };
    let mut bench = Bench::dialed(Options { queue, ..options(Version::V311) });
    let request = PublishRequest { topic: "t", payload: &[0; 5_000], ..PublishRequest::default() };
    bench.client.publish(bench.now, &request).expect("the queue is empty");
    let request = PublishRequest { topic: "t", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, &request), Err(Error::QueueFull));
}

#[test]
fn an_offline_qos_0_message_waits_or_is_refused() {
    let mut bench = Bench::dialed(options(Version::V311));
    bench.publish("t", Qos::AtMostOnce);
    bench.connack(false, &[]);
    assert_eq!(bench.sent()[1..], ["PUBLISH t=x q0 0"]);
    let refuse = Options { offline_qos0: OfflineQos0::Refuse, ..options(Version::V311) };
    let mut bench = Bench::dialed(refuse);
    let request = PublishRequest { topic: "t", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, &request), Err(Error::NotConnected));
}

#[test]
fn a_message_that_expired_in_the_queue_is_not_sent() {
    let mut bench = Bench::dialed(options(Version::V5));
    let request = PublishRequest { topic: "t", expiry_s: Some(5), ..PublishRequest::default() };
    bench.client.publish(bench.now, &request).expect("accepted");
    bench.sent();
    bench.after(6);
    bench.connack(false, &[]);
    assert!(bench.sent().is_empty());
    assert!(bench.events().contains(&"published 1 Failed(Expired)".to_owned()));
}

#[test]
fn cancelled_requests_complete_once_wherever_they_are() {
    let mut bench = Bench::online(options(Version::V5), false, &[(PropertyId::ReceiveMaximum, Value::U16(1))]);
    let flying = bench.publish("a", Qos::AtLeastOnce);
    let waiting = bench.publish("b", Qos::AtLeastOnce);
    let (subscribing, _) = bench.subscribe(&["f"], false);
    bench.sent();
    for token in [flying, waiting, subscribing] {
        bench.client.cancel(token).expect("known");
        assert_eq!(bench.client.cancel(token), Err(Error::Unknown));
    }
    bench.ack(PacketType::PubAck, 2, Reason::SUCCESS);
    bench.suback(1, &[0]);
    let expected = [
        "published 1 Failed(Cancelled)",
        "published 2 Failed(Cancelled)",
        "subscribed 3 Failed(Cancelled) []",
    ];
    assert_eq!(bench.events(), expected);
    assert_eq!(bench.client.in_flight(), 0);
}

#[test]
fn stop_completes_everything_once_and_may_come_twice() {
    let mut bench = Bench::online(options(Version::V5), false, &[(PropertyId::ReceiveMaximum, Value::U16(1))]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::AtLeastOnce);
    bench.subscribe(&["f"], true);
    bench.client.unsubscribe(&["g"]).expect("accepted");
    bench.sent();
    bench.client.stop(bench.now, StopRequest::default());
    bench.client.stop(bench.now, StopRequest::default());
    assert_eq!(bench.sent(), ["DISCONNECT 00"]);
    let expected = [
        "HangUp",
        "disconnected Stopped None retry=never",
        "published 1 Failed(Stopped)",
        "published 2 Failed(Stopped)",
        "subscribed 3 Failed(Stopped) []",
        "unsubscribed 4 Failed(Stopped) []",
        "HandlerReleased(SubscriptionKey(1))",
        "StateChanged(Stopped)",
    ];
    assert_eq!(bench.events(), expected);
    assert_eq!(bench.client.poll_timeout(), None);
    let request = PublishRequest { topic: "t", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, &request), Err(Error::NotRunning));
    bench.client.start(bench.now).expect("stopped");
    assert_eq!(bench.events(), ["StateChanged(Dialing)", "Dial { server: 0 }"]);
}

#[test]
fn stop_with_drain_waits_for_what_is_in_flight_but_not_for_ever() {
    let drain = StopRequest { drain: Duration::from_secs(5), ..StopRequest::default() };
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.client.stop(bench.now, drain);
    assert_eq!(bench.sent(), ["PUBLISH a=x q1 1"]);
    bench.ack(PacketType::PubAck, 1, Reason::SUCCESS);
    assert_eq!(bench.sent(), ["DISCONNECT 00"]);
    assert_eq!(bench.client.state(), State::Stopped);

    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.client.stop(bench.now, drain);
    bench.sent();
    bench.after(5);
    assert_eq!(bench.sent(), ["DISCONNECT 00"]);
    assert!(bench.events().contains(&"published 1 Failed(Stopped)".to_owned()));
}

#[test]
fn the_connect_timeout_covers_dial_and_connack() {
    let mut bench = Bench::new(options(Version::V5));
    bench.client.start(bench.now).expect("stopped");
    bench.after(10);
    bench.client.handle_dialed(bench.now);
    bench.sent();
    bench.events();
    bench.after(4);
    assert!(bench.events().is_empty());
    bench.after(1);
    let expected = ["HangUp", "disconnected Timeout None retry=16", "StateChanged(Waiting)"];
    assert_eq!(bench.events(), expected);
}

#[test]
fn a_refused_connect_is_retried_by_the_rule_of_its_cause() {
    let refuse = |bench: &mut Bench, reason| {
        bench.give(&Packet::ConnAck(ConnAck { session_present: false, reason, properties: Properties::EMPTY }));
        bench.events().into_iter().find(|line| line.starts_with("disconnected")).expect("reported")
    };
    let mut bench = Bench::dialed(options(Version::V5));
    assert_eq!(refuse(&mut bench, Reason::SERVER_BUSY), "disconnected Busy Some(137) retry=1");
    let mut bench = Bench::dialed(options(Version::V311));
    let reason = Reason::BAD_USER_NAME_OR_PASSWORD;
    assert_eq!(refuse(&mut bench, reason), "disconnected Credentials Some(134) retry=60");
    let mut give_up = options(Version::V311);
    give_up.reconnect.set_rule(Cause::Credentials, Retry::GiveUp);
    let mut bench = Bench::dialed(give_up);
    bench.publish("t", Qos::AtMostOnce);
    assert_eq!(refuse(&mut bench, reason), "disconnected Credentials Some(134) retry=never");
    assert_eq!(bench.client.state(), State::Stopped);
}

#[test]
fn servers_are_tried_by_priority_and_the_servers_word_on_another_is_reported() {
    let mut bench = Bench::dialed(Options { servers: vec![2, 1], ..options(Version::V5) });
    assert!(bench.events().contains(&"Dial { server: 1 }".to_owned()));
    let properties = list(&[(PropertyId::ServerReference, Value::Utf8("other:1883"))]);
    let reason = Reason::USE_ANOTHER_SERVER;
    let properties = properties.as_properties();
    bench.give(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }));
    let disconnected = core::iter::from_fn(|| bench.client.poll_event())
        .find_map(|event| if let Event::Disconnected(what) = event { Some(what) } else { None })
        .expect("reported");
    assert_eq!(disconnected.server_reference.as_deref(), Some("other:1883"));
    assert_eq!(disconnected.cause, Cause::Moved);
    bench.after(0);
    assert!(bench.events().contains(&"Dial { server: 0 }".to_owned()), "the next one, without a pause");
}

#[test]
fn a_disconnect_by_the_server_is_reported_and_a_take_over_retries_slowly() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    let (reason, properties) = (Reason::SESSION_TAKEN_OVER, Properties::EMPTY);
    bench.give(&Packet::Disconnect(Disconnect { reason, properties }));
    assert_eq!(bench.events()[..2], ["HangUp", "disconnected TakenOver Some(142) retry=60"]);
    assert!(bench.sent().is_empty());
}

#[test]
fn a_silent_server_is_pinged_and_then_left() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.after(60);
    assert_eq!(bench.sent(), ["PINGREQ"]);
    bench.give(&Packet::PingResp);
    bench.after(60);
    assert_eq!(bench.sent(), ["PINGREQ"]);
    bench.after(15);
    assert_eq!(bench.events()[..2], ["HangUp", "disconnected KeepAlive None retry=136"]);
}

#[test]
fn packets_that_have_no_place_end_the_connection() {
    let mut early = Bench::dialed(options(Version::V5));
    early.sent();
    early.give(&Packet::PingResp);
    assert_eq!(early.sent(), ["DISCONNECT 82"]);
    let mut twice = Bench::online(options(Version::V5), false, &[]);
    twice.connack(false, &[]);
    assert_eq!(twice.sent(), ["DISCONNECT 82"]);
    let mut unasked = Bench::dialed(options(Version::V311));
    unasked.sent();
    unasked.connack(true, &[]);
    assert!(unasked.sent().is_empty(), "3.x has no DISCONNECT with a reason");
    assert!(unasked.events().contains(&"HangUp".to_owned()), "session present after a clean session");
    let mut garbage = Bench::online(options(Version::V5), false, &[]);
    garbage.client.handle_input(garbage.now, &[0x00, 0x00]);
    assert_eq!(garbage.sent(), ["DISCONNECT 81"]);
    let mut large = Bench::online(Options { packet_bytes_max: 128, ..options(Version::V5) }, false, &[]);
    large.client.handle_input(large.now, &[0x30, 0xff, 0x01]);
    assert_eq!(large.sent(), ["DISCONNECT 95"]);
}

#[test]
fn enhanced_authentication_runs_before_connack_and_again_later() {
    let authentication = Some(Authentication { method: "M".into(), data: b"first".to_vec() });
    let mut bench = Bench::dialed(Options { authentication, ..options(Version::V5) });
    bench.sent();
    let properties = list(&[
        (PropertyId::AuthenticationMethod, Value::Utf8("M")),
        (PropertyId::AuthenticationData, Value::Binary(b"challenge")),
    ]);
    let properties = properties.as_properties();
    let auth = |reason| Packet::Auth(Auth { reason, properties });
    bench.give(&auth(Reason::CONTINUE_AUTHENTICATION));
    assert!(bench.events().last().is_some_and(|line| line.starts_with("Auth { reason: Continue")));
    bench.client.authenticate(b"answer").expect("asked for");
    assert_eq!(bench.client.authenticate(b"answer"), Err(Error::Unknown));
    assert_eq!(bench.sent(), ["AUTH 18 answer"]);
    bench.connack(false, &[(PropertyId::AuthenticationMethod, Value::Utf8("M"))]);
    bench.client.reauthenticate(b"again").expect("online");
    assert_eq!(bench.client.reauthenticate(b"again"), Err(Error::Busy));
    bench.give(&auth(Reason::SUCCESS));
    assert_eq!(bench.sent(), ["AUTH 19 again"]);
    bench.give(&auth(Reason::SUCCESS));
    assert_eq!(bench.sent(), ["DISCONNECT 82"], "nobody asked for this one");
}

#[test]
fn input_may_be_cut_anywhere() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    let mut bytes = Vec::new();
    for (topic, payload) in [("a", &b""[..]), ("bb", &[7; 300]), ("c", b"z")] {
        let (retain, properties) = (false, Properties::EMPTY);
        let publish =
            Publish { dup: false, qos: Qos::AtMostOnce, retain, topic, packet_id: None, properties, payload };
        publish.encode(Version::V5, &mut bytes);
    }
    for width in [1, 2, 3, 7, 100, 1_000] {
        for piece in bytes.chunks(width) {
            bench.client.handle_input(bench.now, piece);
        }
        assert_eq!(bench.events(), ["message a q0 []", "message bb q0 []", "message c q0 []"]);
    }
    let partial = bench.client.connection.as_ref().map(|connection| connection.partial.capacity());
    assert_eq!(partial, Some(0), "an idle connection holds nothing");
}

#[test]
fn requests_that_could_not_be_sent_are_refused_at_once() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    let request = PublishRequest { topic: "a/+", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, &request), Err(Error::TopicInvalid));
    let content = list(&[(PropertyId::ContentType, Value::Utf8("text"))]);
    let properties = content.as_properties();
    let request = PublishRequest { topic: "a", properties, ..PublishRequest::default() };
    assert!(matches!(bench.client.publish(bench.now, &request), Err(Error::NotSupported(_))));
    assert_eq!(bench.client.unsubscribe(&["a/#/b"]), Err(Error::FilterInvalid));
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    let request = SubscribeRequest { filters: &[("a", no_local)], ..SubscribeRequest::default() };
    assert!(matches!(bench.client.subscribe(&request), Err(Error::NotSupported(_))));
    assert!(bench.sent().is_empty() && bench.events().is_empty());
    let nobody = Client::new(Options::default(), Budget::new(1), Rng::with_seed(1));
    assert_eq!(nobody.err(), Some(Error::OptionInvalid("servers: none")));
}

#[test]
fn memory_of_every_message_is_credited_in_the_end() {
    let budget = Budget::new(1 << 20);
    let mut client = Client::new(options(Version::V311), budget.clone(), Rng::with_seed(1)).expect("good");
    client.start(Instant::START).expect("stopped");
    let request = PublishRequest { topic: "t", payload: &[0; 500], ..PublishRequest::default() };
    client.publish(Instant::START, &request).expect("accepted");
    assert!(budget.used_bytes() > 500);
    client.stop(Instant::START, StopRequest::default());
    assert_eq!(budget.used_bytes(), 0);
}
