//! What happens to messages that wait: priority, newest value per topic, age, and who has to go.

use super::*;

fn queue(count_max: usize, overflow: Overflow) -> QueueOptions {
    QueueOptions { count_max, overflow, ..QueueOptions::default() }
}

fn waiting(queue: QueueOptions) -> Bench {
    let mut bench = Bench::dialed(Options { queue, ..options(Version::V5) });
    bench.all_events();
    bench
}

impl Bench {
    fn publish_with(&mut self, topic: &str, payload: &str, priority: u8, newest_only: bool) -> Result<Token, Error> {
        let terms = QueueTerms { priority, newest_only, ..QueueTerms::default() };
        let payload = payload.as_bytes();
        let request = PublishRequest { topic, payload, qos: Qos::AtLeastOnce, terms, ..PublishRequest::default() };
        let token = next_token();
        self.client.publish(self.now, token, &request).map(|()| token)
    }

    fn sent_when_connected(&mut self) -> Vec<String> {
        self.connack(false, &[]);
        self.sent()[1..].to_vec()
    }
}

#[test]
fn higher_priority_leaves_first_and_order_stays_within_one() {
    let mut bench = waiting(QueueOptions::default());
    for (topic, priority) in [("a", 0), ("b", 7), ("c", 0), ("d", 255), ("e", 7)] {
        bench.publish_with(topic, "x", priority, false).expect("room");
    }
    let topics = ["d=x q1 1", "b=x q1 2", "e=x q1 3", "a=x q1 4", "c=x q1 5"];
    assert_eq!(bench.sent_when_connected(), topics.map(|topic| format!("PUBLISH {topic}")));
}

#[test]
fn the_newest_value_of_a_topic_takes_the_place_of_the_older_one() {
    let mut bench = waiting(QueueOptions::default());
    let old = bench.publish_with("a", "1", 0, true).expect("room");
    bench.publish_with("b", "1", 0, true).expect("room");
    bench.publish_with("a", "kept", 0, false).expect("room");
    bench.publish_with("a", "2", 0, true).expect("room");
    assert_eq!(bench.all_events(), ["dropped a Replaced".to_owned(), format!("published {} Failed(Replaced)", old.0)]);
    assert_eq!(bench.client.statistics().replaced, 1);
    // With another priority it has another turn.
    bench.publish_with("a", "3", 9, true).expect("room");
    assert_eq!(bench.client.queued().0, 3);
    let expected = ["PUBLISH a=3 q1 1", "PUBLISH b=1 q1 2", "PUBLISH a=kept q1 3"];
    assert_eq!(bench.sent_when_connected(), expected);
    // What is on its way is not replaced.
    bench.publish_with("a", "4", 0, true).expect("room");
    assert_eq!(bench.sent(), ["PUBLISH a=4 q1 4"]);
}

#[test]
fn with_the_option_every_topic_waits_with_its_newest_value() {
    let mut bench = waiting(QueueOptions { count_max: 2, newest_only: true, ..QueueOptions::default() });
    for payload in ["1", "2", "3"] {
        bench.publish_with("a", payload, 0, false).expect("takes the place of the older one");
        bench.publish_with("b", payload, 0, false).expect("takes the place of the older one");
    }
    assert_eq!(bench.publish_with("c", "1", 0, false), Err(Error::QueueFull));
    assert_eq!(bench.sent_when_connected(), ["PUBLISH a=3 q1 1", "PUBLISH b=3 q1 2"]);
}

#[test]
fn a_message_that_takes_a_place_may_not_break_the_limit_of_bytes() {
    let mut bench = waiting(QueueOptions { bytes_max: 1_000, ..QueueOptions::default() });
    bench.publish_with("a", "1", 0, true).expect("room");
    bench.publish_with("b", "1", 0, true).expect("room");
    assert_eq!(bench.publish_with("a", &"2".repeat(900), 0, true), Err(Error::QueueFull));
    assert_eq!(bench.sent_when_connected(), ["PUBLISH a=1 q1 1", "PUBLISH b=1 q1 2"], "refused: nothing has changed");
}

#[test]
fn the_oldest_of_the_lowest_priority_goes_and_never_a_higher_one() {
    let mut bench = waiting(queue(3, Overflow::DropOldest));
    for (topic, priority) in [("a", 5), ("b", 0), ("c", 0), ("d", 5), ("e", 5)] {
        bench.publish_with(topic, "x", priority, false).expect("a lower one goes");
    }
    assert_eq!(bench.dropped(), ["dropped b Overflow", "dropped c Overflow"]);
    assert_eq!(bench.publish_with("f", "x", 4, false), Err(Error::QueueFull));
    bench.publish_with("g", "x", 5, false).expect("the oldest of its own goes");
    assert_eq!(bench.dropped(), ["dropped a Overflow"]);
    assert_eq!(bench.client.statistics().overflowed, 3);
    assert_eq!(bench.sent_when_connected(), ["PUBLISH d=x q1 1", "PUBLISH e=x q1 2", "PUBLISH g=x q1 3"]);
}

#[test]
fn a_message_that_waits_too_long_is_given_up_when_its_time_comes() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let age_max = Duration::from_secs(5);
        let queue = QueueOptions { age_max, count_max: 1, ..QueueOptions::default() };
        let mut bench = Bench::dialed(Options { queue, ..options(version) });
        let token = bench.publish("t", Qos::AtMostOnce);
        bench.sent();
        bench.all_events();
        assert_eq!(bench.client.poll_timeout(), Some(bench.now + age_max));
        bench.after(4);
        assert!(bench.all_events().is_empty());
        bench.after(1);
        let expected = ["dropped t Expired".to_owned(), format!("published {} Failed(Expired)", token.0)];
        assert_eq!(bench.all_events()[..2], expected);
        assert_eq!((bench.client.statistics().expired, bench.client.queued()), (1, (0, 0)));
        bench.publish("u", Qos::AtMostOnce);
    }
}

#[test]
fn a_message_whose_room_was_made_sure_of_is_not_refused() {
    let mut bench = waiting(queue(1, Overflow::RefuseNewest));
    bench.publish("a", Qos::AtLeastOnce);
    assert_eq!(bench.publish_with("b", "x", 0, false), Err(Error::QueueFull));
    let terms = QueueTerms { is_admitted: true, ..QueueTerms::default() };
    let request = PublishRequest { topic: "c", terms, ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("admitted");
    assert_eq!(bench.client.queued().0, 2);
}

#[test]
fn what_is_over_does_not_keep_a_new_message_out() {
    let mut bench = waiting(queue(1, Overflow::RefuseNewest));
    let request = PublishRequest { topic: "t", expiry_s: Some(2), ..PublishRequest::default() };
    bench.client.publish(bench.now, next_token(), &request).expect("room");
    bench.now += Duration::from_secs(3);
    bench.publish("u", Qos::AtLeastOnce);
    assert_eq!(bench.dropped(), ["dropped t Expired"]);
}

#[test]
fn a_lost_session_sends_first_what_was_in_flight_within_each_priority() {
    let mut bench = Bench::online(options(Version::V311), false, &[]);
    bench.publish_with("a", "1", 0, true).expect("room");
    bench.publish_with("b", "1", 1, false).expect("room");
    bench.sent();
    bench.client.handle_closed(bench.now, Cause::Network);
    bench.publish_with("a", "2", 0, true).expect("room");
    bench.publish_with("c", "1", 1, false).expect("room");
    bench.reconnect_waiting(false);
    let expected = ["PUBLISH b=1 q1 3", "PUBLISH c=1 q1 4", "PUBLISH a=1 q1 5", "PUBLISH a=2 q1 6"];
    assert_eq!(bench.sent()[1..], expected);
}

impl Bench {
    /// The connection is lost already.
    fn reconnect_waiting(&mut self, session_present: bool) {
        self.now = self.client.poll_timeout().expect("retries");
        self.client.handle_timeout(self.now);
        self.client.handle_dialed(self.now);
        self.connack(session_present, &[]);
    }
}
