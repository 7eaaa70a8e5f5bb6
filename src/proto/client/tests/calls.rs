//! Request and response (§4.10): bookkeeping, every way a request can end.

use super::*;

impl Bench {
    fn request(&mut self, topic: &str, quality: Qos, timeout_s: u64) -> Result<Token, Error> {
        let request = PublishRequest { topic, payload: b"?", qos: quality, ..PublishRequest::default() };
        let token = next_token();
        request.check()?;
        let message = request.checked_message(&Budget::new(usize::MAX), self.now);
        self.client.request(self.now, token, &message, QueueTerms::default(), Duration::from_secs(timeout_s)).map(|()| token)
    }

    /// Response Topic and Correlation Data of the requests that were sent, and the other packets.
    fn requested(&mut self) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
        let (mut requests, mut others) = (Vec::new(), Vec::new());
        for bytes in drain(&mut self.client, self.now) {
            let (frame, _) = codec::split(&bytes, usize::MAX).expect("legal").expect("whole");
            match codec::decode(self.version, codec::Sender::Client, frame).expect("legal") {
                Packet::Publish(publish) => {
                    let topic = publish.properties.utf8(PropertyId::ResponseTopic).expect("a request");
                    let data = publish.properties.binary(PropertyId::CorrelationData).expect("a request");
                    requests.push((topic.to_owned(), data.to_vec()));
                }
                _ => others.push(line(self.version, &bytes)),
            }
        }
        (requests, others)
    }

    fn respond(&mut self, (topic, correlation): &(String, Vec<u8>), quality: Qos, packet_id: u16) {
        let properties = list(&[(PropertyId::CorrelationData, Value::Binary(correlation))]);
        self.incoming(topic, quality, packet_id, false, &properties);
    }
}

fn online() -> Bench {
    Bench::online(Options { response_topic: "answers/dev".into(), ..options(Version::V5) }, false, &[])
}

#[test]
fn a_response_completes_the_request_it_belongs_to_and_the_topic_is_subscribed_once() {
    let mut bench = online();
    let tokens = [bench.request("svc", Qos::AtLeastOnce, 10), bench.request("svc", Qos::AtMostOnce, 10)];
    let [first, second] = tokens.map(|token| token.expect("accepted").0);
    let (requests, others) = bench.requested();
    assert_eq!(others, ["SUBSCRIBE 1 answers/dev:2"]);
    assert!(requests.iter().all(|(topic, data)| topic == "answers/dev" && data.len() == 8));
    assert_ne!(requests[0].1, requests[1].1);
    bench.suback(1, &[2]);
    // In another order, and before the PUBACK of the request.
    bench.respond(&requests[1], Qos::AtLeastOnce, 5);
    bench.respond(&requests[0], Qos::AtMostOnce, 0);
    bench.ack(PacketType::PubAck, 2, Reason::SUCCESS);
    assert_eq!(bench.all_events(), [format!("responded {second} in"), format!("responded {first} in")]);
    assert_eq!(bench.sent(), ["PUBACK 5 00"]);
    let third = bench.request("svc", Qos::AtLeastOnce, 10).expect("accepted");
    let (requests, others) = bench.requested();
    assert!(others.is_empty(), "subscribed already");
    bench.ack(PacketType::PubAck, 3, Reason::SUCCESS);
    bench.respond(&requests[0], Qos::AtMostOnce, 0);
    assert_eq!(bench.all_events(), [format!("responded {} in", third.0)]);
    assert_eq!((bench.client.requests_waiting(), bench.client.in_flight()), (0, 0));
}

#[test]
fn a_request_times_out_and_its_late_response_is_told_as_dropped() {
    let mut bench = online();
    let token = bench.request("svc", Qos::AtLeastOnce, 3).expect("accepted");
    let (requests, _) = bench.requested();
    assert_eq!(bench.client.poll_timeout(), Some(bench.now + Duration::from_secs(3)));
    bench.after(3);
    assert_eq!(bench.all_events(), [format!("responded {} Failed(Unanswered)", token.0)]);
    bench.ack(PacketType::PubAck, 2, Reason::SUCCESS);
    bench.respond(&requests[0], Qos::AtMostOnce, 0);
    bench.respond(&(requests[0].0.clone(), b"short".to_vec()), Qos::ExactlyOnce, 9);
    assert_eq!(bench.all_events(), ["dropped answers/dev Unwanted", "dropped answers/dev Unwanted"]);
    assert_eq!(bench.sent(), ["PUBREC 9 00"]);
    let statistics = bench.client.statistics();
    assert_eq!((statistics.requests_timed_out, statistics.responses_unwanted), (1, 2));
}

#[test]
fn a_request_that_cannot_be_answered_ends_at_once() {
    for reason in [Reason::NO_MATCHING_SUBSCRIBERS, Reason::NOT_AUTHORIZED] {
        let mut bench = online();
        let token = bench.request("svc", Qos::AtLeastOnce, 10).expect("accepted");
        bench.sent();
        bench.ack(PacketType::PubAck, 2, reason);
        assert_eq!(bench.all_events(), [format!("responded {} Acknowledged({reason:?})", token.0)]);
    }
    // The server does not let it have its topic: no response can come. The next request tries again.
    let mut bench = online();
    let token = bench.request("svc", Qos::AtMostOnce, 10).expect("accepted");
    bench.sent();
    bench.suback(1, &[0x87]);
    assert_eq!(bench.all_events(), [format!("responded {} Acknowledged(Not authorized (0x87))", token.0)]);
    bench.request("svc", Qos::AtMostOnce, 10).expect("accepted");
    assert_eq!(bench.requested().1, ["SUBSCRIBE 2 answers/dev:2"]);
}

#[test]
fn a_request_that_waits_can_be_cancelled_or_run_out_of_time_unsent() {
    let mut bench = Bench::dialed(options(Version::V5));
    let cancelled = bench.request("a", Qos::AtLeastOnce, 10).expect("accepted");
    let late = bench.request("b", Qos::AtLeastOnce, 2).expect("accepted");
    bench.client.cancel(cancelled).expect("open");
    assert_eq!(bench.client.cancel(cancelled), Err(Error::Unknown));
    bench.after(2);
    let expected = [format!("responded {} Failed(Cancelled)", cancelled.0), format!("responded {} Failed(Unanswered)", late.0)];
    let ended: Vec<String> = bench.events().into_iter().filter(|line| line.starts_with("responded")).collect();
    assert_eq!(ended, expected);
    assert_eq!(bench.client.queued(), (0, 0));
    // After it was sent, too.
    bench.connack(false, &[]);
    let sent = bench.request("c", Qos::AtMostOnce, 10).expect("accepted");
    bench.sent();
    bench.all_events();
    bench.client.cancel(sent).expect("open");
    let stopped = bench.request("d", Qos::ExactlyOnce, 10).expect("accepted");
    bench.client.stop(bench.now, StopRequest::default());
    let events = bench.events();
    assert!(events.contains(&format!("responded {} Failed(Cancelled)", sent.0)));
    assert!(events.contains(&format!("responded {} Failed(Stopped)", stopped.0)));
    assert!(!events.iter().any(|line| line.starts_with("published")), "one completion each: {events:?}");
}

#[test]
fn a_stop_with_time_waits_for_responses() {
    let mut bench = online();
    bench.request("svc", Qos::AtMostOnce, 10).expect("accepted");
    let (requests, _) = bench.requested();
    bench.suback(1, &[2]);
    bench.client.stop(bench.now, StopRequest { drain: Duration::from_secs(5), ..StopRequest::default() });
    assert!(bench.sent().is_empty());
    bench.respond(&requests[0], Qos::AtMostOnce, 0);
    assert_eq!(bench.sent(), ["DISCONNECT 00"]);
}

#[test]
fn requests_are_refused_where_they_cannot_work() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    assert!(matches!(bench.request("svc", Qos::AtMostOnce, 1), Err(Error::NotSupported(_))));
    let mut bench = Bench::online(Options { requests_max: 2, ..options(Version::V5) }, false, &[]);
    assert!(matches!(bench.request("svc", Qos::AtMostOnce, 0), Err(Error::OptionInvalid(_))));
    assert_eq!(bench.request("svc/#", Qos::AtMostOnce, 1), Err(Error::TopicInvalid));
    bench.request("svc", Qos::AtMostOnce, 1).expect("accepted");
    bench.request("svc", Qos::AtMostOnce, 1).expect("accepted");
    assert_eq!(bench.request("svc", Qos::AtMostOnce, 1), Err(Error::QueueFull));
    let own = list(&[(PropertyId::CorrelationData, Value::Binary(b"mine"))]);
    let request = PublishRequest { topic: "svc", properties: own.as_properties(), ..PublishRequest::default() };
    let message = request.checked_message(&Budget::new(usize::MAX), bench.now);
    let refused = bench.client.request(bench.now, next_token(), &message, QueueTerms::default(), Duration::from_secs(1));
    assert!(matches!(refused, Err(Error::OptionInvalid(_))));
}

#[test]
fn the_response_topic_lies_where_the_server_wants_it() {
    let information = [(PropertyId::ResponseInformation, Value::Utf8("srv/tenant-7/"))];
    let mut bench = Bench::online(options(Version::V5), false, &information);
    bench.request("svc", Qos::AtMostOnce, 1).expect("accepted");
    assert!(bench.requested().0[0].0.starts_with("srv/tenant-7/"));
    // It is subscribed to again with a new session; the application hears nothing of that.
    bench.suback(1, &[2]);
    bench.reconnect(false);
    assert!(bench.sent()[1].starts_with("SUBSCRIBE 2 srv/tenant-7/"));
    bench.suback(2, &[2]);
    assert!(!bench.events().iter().any(|line| line.starts_with("resubscribed")));
}

#[test]
fn an_application_that_listens_there_itself_gets_the_response_too() {
    let mut bench = online();
    let (_, key) = bench.subscribe(&["answers/#"], true);
    let token = bench.request("svc", Qos::AtMostOnce, 10).expect("accepted");
    let (requests, _) = bench.requested();
    bench.suback(1, &[2]);
    bench.suback(2, &[1]);
    bench.all_events();
    let number = key.expect("a handler").0;
    let both = list(&[(PropertyId::CorrelationData, Value::Binary(&requests[0].1)), (PropertyId::SubscriptionIdentifier, Value::VarInt(number))]);
    bench.incoming("answers/dev", Qos::AtMostOnce, 0, false, &both);
    let expected = [format!("responded {} in", token.0), format!("message answers/dev q0 [{number}]")];
    assert_eq!(bench.all_events(), expected);
}

#[test]
fn a_response_goes_where_the_request_says() {
    let budget = Budget::new(1 << 20);
    let asked = list(&[(PropertyId::ResponseTopic, Value::Utf8("answers/dev")), (PropertyId::CorrelationData, Value::Binary(b"42"))]);
    let message = |properties: &PropertyList| {
        let properties = properties.as_properties();
        crate::codec::Message::new(&budget, "svc", b"?", Qos::AtMostOnce, false, properties, None, 0, Instant::START)
    };
    let own = list(&[(PropertyId::ContentType, Value::Utf8("text")), (PropertyId::CorrelationData, Value::Binary(b"no"))]);
    let request = message(&asked);
    let (topic, properties) = response_to(&request, &own).expect("a request");
    assert_eq!(topic, "answers/dev");
    let properties = properties.as_properties();
    assert_eq!(properties.binary(PropertyId::CorrelationData), Some(&b"42"[..]));
    assert_eq!(properties.utf8(PropertyId::ContentType), Some("text"));
    assert!(matches!(response_to(&message(&PropertyList::new()), &own), Err(Error::NotSupported(_))));
}
