//! Sessions that were replaced without this side seeing it, and what is left of them on a server;
//! each was found by the simulator of the whole broker.

use super::*;

fn kept(version: Version) -> Options {
    Options { clean_start: false, session_expiry_s: 60, ..options(version) }
}

/// A CONNECT goes out, and the connection is lost before its CONNACK.
fn connect_in_vain(bench: &mut Bench) {
    for cause in [Cause::Network, Cause::Network] {
        bench.client.handle_closed(bench.now, cause);
        bench.now = bench.client.poll_timeout().expect("retries");
        bench.client.handle_timeout(bench.now);
        bench.client.handle_dialed(bench.now);
    }
    bench.sent();
    bench.events();
}

#[test]
fn a_session_behind_a_lost_connack_is_given_the_filters_again() {
    let mut bench = Bench::online(kept(Version::V5), true, &[]);
    bench.subscribe(&["a"], false);
    bench.sent();
    bench.suback(1, &[1]);
    bench.reconnect(true);
    assert_eq!(bench.sent().len(), 1, "a resumed session knows them");
    connect_in_vain(&mut bench);
    bench.connack(true, &[]);
    assert_eq!(bench.sent(), ["SUBSCRIBE 2 a:1"], "it may be the one the lost CONNECT began");
    bench.suback(2, &[1]);
    bench.reconnect(true);
    assert_eq!(bench.sent()[1..], ["SUBSCRIBE 3 a:1"], "that CONNECT may even have come after the next");
    bench.suback(3, &[1]);
    bench.reconnect(true);
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn a_session_that_another_connection_took_over_is_given_the_filters_again() {
    let mut bench = Bench::online(kept(Version::V5), true, &[]);
    bench.subscribe(&["a"], false);
    bench.sent();
    bench.suback(1, &[1]);
    bench.give(&Packet::Disconnect(Disconnect { reason: Reason::SESSION_TAKEN_OVER, properties: Properties::EMPTY }));
    bench.now = bench.client.poll_timeout().expect("retries");
    bench.client.handle_timeout(bench.now);
    bench.client.handle_dialed(bench.now);
    bench.sent();
    bench.connack(true, &[]);
    assert_eq!(bench.sent(), ["SUBSCRIBE 2 a:1"]);
}

#[test]
fn in_a_doubtful_session_a_kept_identifier_without_dup_is_a_new_message() {
    let none = PropertyList::new();
    for dup in [false, true] {
        let mut bench = Bench::online(kept(Version::V5), true, &[]);
        bench.incoming("t", Qos::ExactlyOnce, 1, false, &none);
        connect_in_vain(&mut bench);
        bench.connack(true, &[]);
        bench.events();
        bench.incoming("t", Qos::ExactlyOnce, 1, dup, &none);
        let expected: &[&str] = if dup { &[] } else { &["message t q2 []"] };
        assert_eq!(bench.events(), expected);
        assert_eq!(bench.sent(), ["PUBREC 1 00"]);
    }
}

#[test]
fn a_kept_identifier_in_a_resumed_session_is_a_repetition_whatever_dup_says() {
    let none = PropertyList::new();
    let mut bench = Bench::online(kept(Version::V5), true, &[]);
    bench.incoming("t", Qos::ExactlyOnce, 1, false, &none);
    bench.reconnect(true);
    bench.events();
    bench.incoming("t", Qos::ExactlyOnce, 1, false, &none);
    assert_eq!(bench.events(), [""; 0]);
}

#[test]
fn a_filter_whose_answer_was_lost_is_taken_back_from_a_server_that_keeps_the_session() {
    let mut bench = Bench::online(kept(Version::V5), true, &[]);
    bench.subscribe(&["a"], false);
    assert_eq!(bench.sent(), ["SUBSCRIBE 1 a:1"]);
    bench.client.handle_closed(bench.now, Cause::Network);
    bench.client.stop(bench.now, StopRequest::default());
    assert!(bench.events().contains(&"subscribed 1 Failed(Stopped) []".to_owned()));
    bench.client.start(bench.now).expect("stopped");
    bench.client.handle_dialed(bench.now);
    bench.sent();
    bench.connack(true, &[]);
    assert_eq!(bench.sent(), ["UNSUBSCRIBE 2 a"], "the application was told that it failed");
}

#[test]
fn mqtt_3_1_does_not_say_whether_it_kept_the_session_so_nothing_is_taken_for_granted() {
    let mut bench = Bench::online(Options { clean_start: false, ..options(Version::V31) }, false, &[]);
    bench.subscribe(&["a", "b"], false);
    bench.sent();
    bench.suback(1, &[1, 1]);
    bench.client.stop(bench.now, StopRequest::default());
    bench.client.start(bench.now).expect("stopped");
    bench.client.unsubscribe(next_token(), &["b"]).expect("accepted");
    bench.client.handle_dialed(bench.now);
    bench.sent();
    bench.connack(false, &[]);
    assert_eq!(bench.sent(), ["UNSUBSCRIBE 2 b", "SUBSCRIBE 3 a:1"]);
}

#[test]
fn who_has_much_to_write_reads_on() {
    let mut bench = Bench::online(Options { out_bytes_max: 100, ..options(Version::V5) }, false, &[]);
    for _ in 0..100 {
        bench.publish("t", Qos::AtMostOnce);
    }
    while bench.client.poll_transmit(bench.now).is_some_and(|out| out.len() < 100) {}
    assert!(bench.client.wants_input(), "else two of a kind would wait for each other for ever");
}
