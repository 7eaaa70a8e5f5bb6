//! A certificate that is refused for its time, and a wall clock that is set.

use super::*;
use crate::stack::{Fault, FaultKind};

impl Bench {
    fn start(servers: &[u32]) -> Self {
        let mut bench = Self::new(Options { servers: servers.to_vec(), ..options(Version::V5) });
        bench.client.start(bench.now).expect("stopped");
        bench
    }

    /// The attempt fails so; when the next one is to be, in seconds.
    fn fails(&mut self, kind: FaultKind) -> u64 {
        self.client.handle_fault(self.now, Fault::new(kind, "a test"));
        self.retry_s()
    }

    fn retry_s(&self) -> u64 {
        self.client.poll_timeout().expect("it waits").as_micros() / 1_000_000
    }

    fn clock_set(&mut self) {
        self.client.clock_set(self.now);
        self.client.handle_timeout(self.now);
    }

    /// Six attempts, after which there is much time until the next one.
    fn is_refused_for_long(&mut self, kind: FaultKind) {
        for _ in 0..6 {
            self.now = self.client.poll_timeout().expect("it waits");
            self.client.handle_timeout(self.now);
            self.fails(kind);
        }
    }
}

#[test]
fn who_was_refused_for_the_time_of_a_certificate_tries_again_when_the_clock_is_set() {
    for kind in [FaultKind::NotYetValid, FaultKind::Expired] {
        let mut bench = Bench::start(&[0]);
        assert!(!bench.client.waits_for_clock());
        bench.fails(kind);
        assert!(bench.client.waits_for_clock());
        bench.is_refused_for_long(kind);
        bench.after(5);
        assert_eq!(bench.client.state(), State::Waiting, "the ordinary pause");
        bench.clock_set();
        assert_eq!(bench.client.state(), State::Dialing);
        assert!(bench.client.waits_for_clock(), "it may be set again, and better");
        bench.client.handle_dialed(bench.now);
        bench.connack(false, &[]);
        assert!(!bench.client.waits_for_clock());
    }
}

#[test]
fn nobody_else_is_moved_by_the_clock() {
    let mut bench = Bench::start(&[0]);
    bench.fails(FaultKind::UnknownIssuer);
    bench.is_refused_for_long(FaultKind::UnknownIssuer);
    bench.after(5);
    bench.clock_set();
    assert_eq!((bench.client.state(), bench.client.waits_for_clock()), (State::Waiting, false));
    bench.client.stop(bench.now, StopRequest::default());
    bench.client.start(bench.now).expect("stopped");
    bench.fails(FaultKind::NotYetValid);
    bench.client.stop(bench.now, StopRequest::default());
    bench.clock_set();
    assert_eq!((bench.client.state(), bench.client.waits_for_clock()), (State::Stopped, false));
}

#[test]
fn a_clock_that_is_set_without_end_calls_nobody_more_often_than_once_a_second() {
    let mut bench = Bench::start(&[0]);
    bench.is_refused_for_long(FaultKind::NotYetValid);
    let (begin, mut dials) = (bench.now, 0);
    for _ in 0..100 {
        bench.now += Duration::from_millis(100);
        bench.clock_set();
        if bench.client.state() == State::Dialing {
            dials += 1;
            bench.fails(FaultKind::NotYetValid);
        }
    }
    assert_eq!((dials, bench.now.since(begin)), (10, Duration::from_secs(10)));
}

#[test]
fn an_attempt_that_may_have_looked_at_the_old_time_is_repeated() {
    let mut bench = Bench::start(&[0]);
    bench.is_refused_for_long(FaultKind::NotYetValid);
    bench.after(60);
    let now = bench.now.as_micros() / 1_000_000;
    bench.clock_set();
    assert_eq!(bench.fails(FaultKind::NotYetValid), now + 1);
    bench.after(1);
    assert_eq!(bench.fails(FaultKind::NotYetValid), now + 1 + 60, "once");
}

#[test]
fn of_several_servers_the_one_that_was_judged_by_the_old_time_is_not_forgotten() {
    let mut bench = Bench::start(&[0, 1]);
    for kind in [FaultKind::NotYetValid, FaultKind::WebSocket].repeat(6) {
        bench.now = bench.client.poll_timeout().expect("it waits").min(bench.now + Duration::from_secs(100));
        bench.client.handle_timeout(bench.now);
        bench.fails(kind);
    }
    bench.after(60);
    let now = bench.now.as_micros() / 1_000_000;
    assert_eq!(bench.fails(FaultKind::NotYetValid), now, "the other server, at once");
    bench.after(0);
    bench.clock_set();
    assert_eq!(bench.fails(FaultKind::WebSocket), now + 1);
}
