//! Filters: asking, asking again, handlers, refusals.

use super::*;

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
    let expected = ["subscribed 1 Acknowledged(Unspecified error (0x80)) [1, 128]", "subscribed 2 Acknowledged(Success (0x00)) [0]"];
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
    bench.client.unsubscribe(next_token(), &["a"]).expect("accepted");
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
