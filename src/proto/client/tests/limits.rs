//! Limits of a client that no other test reaches. tests/limits.tsv names them all.

use super::*;

fn with(change: impl FnOnce(&mut Options)) -> Bench {
    let mut options = options(Version::V311);
    change(&mut options);
    Bench::online(options, false, &[])
}

#[test]
fn max_inflight_messages_makes_publishes_wait() {
    let mut bench = with(|options| options.in_flight_max = 2);
    for topic in ["a", "b", "c"] {
        bench.publish(topic, Qos::AtLeastOnce);
    }
    assert_eq!(bench.sent(), ["PUBLISH a=x q1 1", "PUBLISH b=x q1 2"]);
    assert_eq!(bench.client.queued().0, 1);
    bench.ack(PacketType::PubAck, 2, Reason::SUCCESS);
    assert_eq!(bench.sent(), ["PUBLISH c=x q1 3"]);
}

#[test]
fn max_subscriptions_refuses_a_new_filter_and_takes_a_stored_one() {
    let mut bench = with(|options| options.subscriptions_max = 2);
    bench.subscribe(&["a", "b"], false);
    let ask = |filter| [(filter, qos(Qos::ExactlyOnce))];
    let refused = bench.client.subscribe(next_token(), &SubscribeRequest { filters: &ask("c"), ..SubscribeRequest::default() });
    assert_eq!(refused, Err(Error::QueueFull));
    let known = bench.client.subscribe(next_token(), &SubscribeRequest { filters: &ask("b"), ..SubscribeRequest::default() });
    assert!(known.is_ok(), "{known:?}");
    assert_eq!(bench.client.subscriptions(), 2);
}

#[test]
fn max_subscribe_filters_makes_more_than_one_packet() {
    let mut bench = with(|options| options.subscribe_filters_max = 2);
    bench.subscribe(&["a", "b", "c"], false);
    let sent = bench.sent();
    let filters: Vec<usize> = sent.iter().map(|line| line.matches(':').count()).collect();
    assert_eq!(filters, [2, 1], "{sent:?}");
}

#[test]
fn max_output_bytes_makes_messages_wait() {
    let mut bench = with(|options| options.out_bytes_max = 1_024);
    let request = PublishRequest { topic: "t", payload: &[0; 500], ..PublishRequest::default() };
    for _ in 0..10 {
        bench.client.publish(bench.now, next_token(), &request).expect("queued");
    }
    let out = bench.client.poll_transmit(bench.now).expect("something to send");
    assert!(out.len() < 2_000, "{}", out.len());
    assert!(bench.client.queued().0 >= 6);
    let all = bench.sent().len();
    assert_eq!((all, bench.client.queued().0), (10, 0));
}
