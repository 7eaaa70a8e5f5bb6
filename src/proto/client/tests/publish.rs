//! Messages both ways: completions, limits, acknowledgements, the queue.

use super::*;

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
fn what_is_sent_without_a_message_is_what_a_message_would_have_become() {
    let servers: [&[(PropertyId, Value<'_>)]; 5] = [
        &[],
        &[(PropertyId::TopicAliasMaximum, Value::U16(2))],
        &[(PropertyId::MaximumPacketSize, Value::U32(70))],
        &[(PropertyId::RetainAvailable, Value::Byte(0))],
        &[(PropertyId::MaximumQos, Value::Byte(0))],
    ];
    let user = list(&[(PropertyId::UserProperty, Value::Pair("k", "v"))]);
    for version in [Version::V31, Version::V311, Version::V5] {
        for server in servers.into_iter().take(if version == Version::V5 { servers.len() } else { 1 }) {
            let (mut direct, mut made) = (Bench::online(options(version), false, server), Bench::online(options(version), false, server));
            let mut token = 0;
            for (topic, bytes) in [("a", 0), ("a", 10), ("b/c", 64), ("d", 1_024), ("a", 1_025), ("b/c", 20)] {
                for (quality, retain, properties) in [(0, false, false), (0, true, false), (0, false, true), (1, true, true)] {
                    token += 1;
                    let properties = if properties { user.as_properties() } else { Properties::EMPTY };
                    let qos = Qos::try_from(quality).expect("legal");
                    let request = PublishRequest { topic, payload: &[7; 2_000][..bytes], qos, retain, properties, ..PublishRequest::default() };
                    let message = request.checked_message(&Budget::new(usize::MAX), made.now);
                    let results =
                        (direct.client.publish(direct.now, Token(token), &request), made.client.publish_own(made.now, Token(token), message, request.terms));
                    assert_eq!(results.0, results.1, "{version:?} {server:?} {token}");
                }
            }
            assert_eq!(drain(&mut direct.client, direct.now), drain(&mut made.client, made.now));
            assert_eq!(direct.all_events(), made.all_events());
            assert_eq!(direct.client.statistics().messages_sent, made.client.statistics().messages_sent);
        }
    }
}

#[test]
fn what_goes_at_once_takes_no_memory_but_the_packet() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.publish("t", Qos::AtMostOnce);
    assert_eq!(bench.client.budget().statistics().peak_bytes, 0);
    bench.publish("t", Qos::AtLeastOnce);
    assert!(bench.client.budget().statistics().peak_bytes > 0, "it may have to be sent again");
    assert_eq!(bench.sent(), ["PUBLISH t=x q0 0", "PUBLISH t=x q1 1"]);
}

#[test]
fn a_refusal_by_the_server_is_the_outcome_of_the_publish() {
    let mut bench = Bench::online(options(Version::V5), false, &[]);
    bench.publish("t", Qos::AtLeastOnce);
    bench.publish("t", Qos::ExactlyOnce);
    bench.sent();
    bench.ack(PacketType::PubAck, 1, Reason::NOT_AUTHORIZED);
    bench.ack(PacketType::PubRec, 2, Reason::QUOTA_EXCEEDED);
    let expected = ["published 1 Acknowledged(Not authorized (0x87))", "published 2 Acknowledged(Quota exceeded (0x97))"];
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
    let expected = ["CONNECT dev clean=false ka=60", "PUBLISH a=x q2 1 dup", "PUBREL 2 00", "PUBLISH c=x q2 3 dup", "PUBLISH d=x q1 4"];
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
    bench.client.publish(bench.now, next_token(), &request).expect("accepted");
    let request = PublishRequest { topic: "t", retain: true, ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("accepted");
    bench.publish("t", Qos::ExactlyOnce);
    for _ in 0..3 {
        bench.publish("t", Qos::AtLeastOnce);
    }
    assert_eq!(bench.sent(), ["PUBLISH t=x q1 1", "PUBLISH t=x q1 2"]);
    let expected = ["published 1 Failed(TooLarge)", "published 2 Failed(RetainNotSupported)", "published 3 Failed(QosNotSupported)"];
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
    let mut bench = Bench::online(Options { lower_qos: true, ..options(Version::V5) }, false, &[(PropertyId::MaximumQos, Value::Byte(0))]);
    bench.publish("t", Qos::ExactlyOnce);
    assert_eq!(bench.sent(), ["PUBLISH t=x q0 0"]);
}

#[test]
fn topic_aliases_work_both_ways() {
    let mut bench = Bench::online(options(Version::V5), false, &[(PropertyId::TopicAliasMaximum, Value::U16(1))]);
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
    let handles: Vec<AckHandle> =
        core::iter::from_fn(|| bench.client.poll_event()).filter_map(|event| if let Event::Message(message) = event { message.ack } else { None }).collect();
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
fn a_full_queue_refuses_or_drops_the_oldest() {
    let queue = |overflow| QueueOptions { count_max: 2, bytes_max: 1_000_000, overflow, ..QueueOptions::default() };
    let mut bench = Bench::dialed(Options { queue: queue(Overflow::RefuseNewest), ..options(Version::V5) });
    bench.events();
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::AtLeastOnce);
    let request = PublishRequest { topic: "c", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, next_token(), &request), Err(Error::QueueFull));
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
    let queue = QueueOptions { count_max: 9, bytes_max: 1_000, overflow: Overflow::RefuseNewest, ..QueueOptions::default() };
    let mut bench = Bench::dialed(Options { queue, ..options(Version::V311) });
    let request = PublishRequest { topic: "t", payload: &[0; 5_000], ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("the queue is empty");
    let request = PublishRequest { topic: "t", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, next_token(), &request), Err(Error::QueueFull));
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
    assert_eq!(bench.client.publish(bench.now, next_token(), &request), Err(Error::NotConnected));
}

#[test]
fn a_message_that_expired_in_the_queue_is_not_sent() {
    let mut bench = Bench::dialed(options(Version::V5));
    let request = PublishRequest { topic: "t", expiry_s: Some(5), ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("accepted");
    bench.sent();
    bench.after(6);
    bench.connack(false, &[]);
    assert!(bench.sent().is_empty());
    assert!(bench.events().contains(&"published 1 Failed(Expired)".to_owned()));
}

#[test]
fn a_message_skips_the_queue_only_where_it_overtakes_nothing() {
    let mut bench = Bench::online(options(Version::V5), false, &[(PropertyId::ReceiveMaximum, Value::U16(1))]);
    bench.publish("a", Qos::AtMostOnce);
    bench.publish("b", Qos::AtLeastOnce);
    assert_eq!(bench.client.queued().0, 0, "at once");
    bench.publish("c", Qos::AtLeastOnce);
    bench.publish("d", Qos::AtMostOnce);
    assert_eq!(bench.client.queued().0, 2, "behind one that waits for its acknowledgement");
    assert_eq!(bench.sent(), ["PUBLISH a=x q0 0", "PUBLISH b=x q1 1"]);
    bench.ack(PacketType::PubAck, 1, Reason::SUCCESS);
    assert_eq!(bench.sent(), ["PUBLISH c=x q1 2", "PUBLISH d=x q0 0"]);
    bench.subscribe(&["f"], false);
    bench.publish("e", Qos::AtMostOnce);
    assert_eq!(bench.sent(), ["SUBSCRIBE 3 f:1", "PUBLISH e=x q0 0"]);
    let request = PublishRequest { topic: "g", expiry_s: Some(5), ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("accepted");
    assert_eq!(bench.client.queued().0, 1, "what expires can be found");
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
    bench.ack(PacketType::PubAck, 1, Reason::SUCCESS);
    bench.suback(2, &[0]);
    let expected = ["published 1 Failed(Cancelled)", "published 2 Failed(Cancelled)", "subscribed 3 Failed(Cancelled) []"];
    assert_eq!(bench.events(), expected);
    assert_eq!(bench.client.in_flight(), 0);
}

#[test]
fn requests_that_could_not_be_sent_are_refused_at_once() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    let request = PublishRequest { topic: "a/+", ..PublishRequest::default() };
    assert_eq!(bench.client.publish(bench.now, next_token(), &request), Err(Error::TopicInvalid));
    let content = list(&[(PropertyId::ContentType, Value::Utf8("text"))]);
    let properties = content.as_properties();
    let request = PublishRequest { topic: "a", properties, ..PublishRequest::default() };
    assert!(matches!(bench.client.publish(bench.now, next_token(), &request), Err(Error::NotSupported(_))));
    assert_eq!(bench.client.unsubscribe(next_token(), &["a/#/b"]), Err(Error::FilterInvalid));
    let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
    let request = SubscribeRequest { filters: &[("a", no_local)], ..SubscribeRequest::default() };
    assert!(matches!(bench.client.subscribe(next_token(), &request), Err(Error::NotSupported(_))));
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
    client.publish(Instant::START, next_token(), &request).expect("accepted");
    assert!(budget.used_bytes() > 500);
    client.stop(Instant::START, StopRequest::default());
    while client.poll_event().is_some() {}
    assert_eq!(budget.used_bytes(), 0);
}
