//! Connecting, losing, stopping, and what a server does wrong.

use super::*;

#[test]
fn a_clean_start_is_asked_for_once_and_the_session_is_kept_after_that() {
    let mut bench = Bench::dialed(Options { session_expiry_s: 60, ..options(Version::V5) });
    assert_eq!(bench.sent(), ["CONNECT dev clean=true ka=60"]);
    bench.connack(false, &[]);
    let expected = ["StateChanged(Dialing)", "Dial { server: 0 }", "StateChanged(Connecting)", "StateChanged(Online)", "connected present=false id=dev"];
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
fn stop_completes_everything_once_and_may_come_twice() {
    let mut bench = Bench::online(options(Version::V5), false, &[(PropertyId::ReceiveMaximum, Value::U16(1))]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::AtLeastOnce);
    bench.subscribe(&["f"], true);
    bench.client.unsubscribe(next_token(), &["g"]).expect("accepted");
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
    assert_eq!(bench.client.publish(bench.now, next_token(), &request), Err(Error::NotRunning));
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
    let properties = list(&[(PropertyId::AuthenticationMethod, Value::Utf8("M")), (PropertyId::AuthenticationData, Value::Binary(b"challenge"))]);
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
        let publish = Publish { dup: false, qos: Qos::AtMostOnce, retain, topic, packet_id: None, properties, payload };
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
fn an_unfinished_qos_2_handshake_is_finished_after_a_stop_and_a_start() {
    let mut bench = Bench::online(Options { clean_start: false, ..options(Version::V311) }, true, &[]);
    bench.publish("a", Qos::AtLeastOnce);
    bench.publish("b", Qos::ExactlyOnce);
    bench.publish("c", Qos::ExactlyOnce);
    bench.sent();
    bench.ack(PacketType::PubRec, 3, Reason::SUCCESS);
    bench.client.stop(bench.now, StopRequest::default());
    bench.sent();
    let failed = bench.events().iter().filter(|line| line.ends_with("Failed(Stopped)")).count();
    assert_eq!(failed, 3);
    bench.client.start(bench.now).expect("stopped");
    bench.client.handle_dialed(bench.now);
    bench.connack(true, &[]);
    assert_eq!(bench.sent()[1..], ["PUBLISH b=x q2 2 dup", "PUBREL 3 00"]);
    bench.events();
    bench.ack(PacketType::PubComp, 3, Reason::SUCCESS);
    bench.client.handle_closed(bench.now, Cause::Network);
    bench.client.stop(bench.now, StopRequest::default());
    bench.client.start(bench.now).expect("stopped");
    bench.client.handle_dialed(bench.now);
    bench.connack(false, &[]);
    assert_eq!(bench.sent().len(), 1, "the server has forgotten: nothing is left to finish");
    assert!(bench.events().iter().all(|line| !line.starts_with("published")), "completed once");
    assert_eq!(bench.client.in_flight(), 0);
}
