//! Which server is next, and when.
//!
//! The servers are a ladder: by priority, the best first. A round goes over all of them without a pause; the pauses
//! are between rounds and double. The one that worked is remembered, and begins the next round: on a network where only the third
//! way gets through, the first two are not tried in vain each time. When the best was last tried `probe_interval`
//! ago, the next round begins with it again, so that the client finds back; and so does the round
//! after one in which none worked. Only a connection that lasted makes the pauses short again, so that a
//! server that throws its clients out at once is not called every second.

use super::options::{ReconnectOptions, Retry};
use crate::base::{Duration, Instant, Rng};

/// However often the wall clock is set: nobody is dialled for that sooner after the last time.
pub(super) const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// A certificate was refused for its time, and it may be the wall clock that is wrong: a board without a battery boots in 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ClockDoubt {
    None,
    /// It may be so until some server lets us in.
    Wrong,
    /// It was set since the present attempt began, which may have looked at it before.
    SetMeanwhile,
}

#[derive(Debug)]
pub(super) struct Reconnect {
    /// Indices of servers, the best first.
    order: Vec<usize>,
    /// Steps done in this round.
    position: usize,
    /// The step of `order` this round began with, before the others in order.
    first: usize,
    rounds: u32,
    online_since: Option<Instant>,
    /// When the best was last tried.
    best_tried: Instant,
    /// When any was.
    tried: Instant,
}

impl Reconnect {
    pub(super) fn new(priorities: &[u32]) -> Self {
        let mut order: Vec<usize> = (0..priorities.len()).collect();
        order.sort_by_key(|index| priorities[*index]);
        Self { order, position: 0, first: 0, rounds: 0, online_since: None, best_tried: Instant::START, tried: Instant::START }
    }

    /// Begins anew with the best server.
    pub(super) fn reset(&mut self) {
        (self.position, self.first, self.rounds, self.online_since) = (0, 0, 0, None);
    }

    /// Where on the ladder it stands.
    fn step(&self) -> usize {
        match self.position {
            0 => self.first,
            position if position <= self.first => position - 1,
            position => position,
        }
    }

    pub(super) fn server(&self) -> usize {
        self.order[self.step()]
    }

    /// [`Reconnect::server`] is being tried.
    pub(super) fn dialing(&mut self, now: Instant) {
        self.tried = now;
        if self.step() == 0 {
            self.best_tried = now;
        }
    }

    /// When to try again that the wall clock was set.
    pub(super) fn after_clock(&self, now: Instant) -> Instant {
        now.max(self.tried + CLOCK_INTERVAL)
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.online_since = Some(now);
    }

    /// The attempt or the connection failed: when to try [`Reconnect::server`], or `None`.
    pub(super) fn failed(&mut self, now: Instant, retry: Retry, options: &ReconnectOptions, rng: &mut Rng) -> Option<Instant> {
        if let Some(since) = self.online_since.take() {
            if now.since(since) >= options.stable_after {
                self.rounds = 0;
            }
            let is_probe_due = !options.probe_interval.is_zero() && now.since(self.best_tried) >= options.probe_interval;
            (self.first, self.position) = (if is_probe_due { 0 } else { self.step() }, 0);
        } else {
            self.position = (self.position + 1) % self.order.len();
            if self.position != 0 && retry != Retry::GiveUp {
                return Some(now);
            }
            self.first = 0;
        }
        let delay = match retry {
            Retry::GiveUp => return None,
            Retry::Slow => options.delay_max,
            Retry::Soon => {
                let factor = 1_u32.checked_shl(self.rounds).unwrap_or(u32::MAX);
                options.delay_min.saturating_mul(factor).min(options.delay_max)
            }
        };
        self.rounds = self.rounds.saturating_add(1);
        Some(now + if options.jitter { rng.jitter(delay) } else { delay })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(reconnect: &mut Reconnect, now: Instant, options: &ReconnectOptions) -> u64 {
        let mut rng = Rng::with_seed(1);
        let at = reconnect.failed(now, Retry::Soon, options, &mut rng).expect("retries");
        at.since(now).as_secs()
    }

    #[test]
    fn delays_double_from_1_to_60_seconds_without_end() {
        let options = ReconnectOptions { jitter: false, ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[0]);
        let delays: Vec<u64> = (0..70).map(|_| seconds(&mut reconnect, Instant::START, &options)).collect();
        assert_eq!(delays[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(delays[8..].iter().all(|delay| *delay == 60));
    }

    #[test]
    fn jitter_stays_between_half_and_all_of_the_delay() {
        let options = ReconnectOptions::default();
        let mut rng = Rng::with_seed(2);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let mut reconnect = Reconnect::new(&[0]);
            let at = reconnect.failed(Instant::START, Retry::Slow, &options, &mut rng).expect("retries");
            let delay = at.since(Instant::START);
            assert!(delay >= Duration::from_secs(30) && delay <= Duration::from_secs(60));
            seen.insert(delay);
        }
        assert!(seen.len() > 90);
    }

    #[test]
    fn a_round_goes_over_the_servers_by_priority_without_a_pause() {
        let options = ReconnectOptions { jitter: false, ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[5, 1, 3]);
        let now = Instant::START;
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push((reconnect.server(), seconds(&mut reconnect, now, &options)));
        }
        assert_eq!(seen, [(1, 0), (2, 0), (0, 1), (1, 0)]);
    }

    #[test]
    fn only_a_connection_that_lasted_makes_the_delay_short_again() {
        let options = ReconnectOptions { jitter: false, ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[0]);
        let mut now = Instant::START;
        for expected in [1, 2, 4] {
            reconnect.connected(now);
            now += Duration::from_secs(1);
            assert_eq!(seconds(&mut reconnect, now, &options), expected);
        }
        reconnect.connected(now);
        now += Duration::from_secs(30);
        assert_eq!(seconds(&mut reconnect, now, &options), 1);
    }

    /// Tries servers from `now` on, each of `seconds` apart, until one of those that work is reached.
    fn until(reconnect: &mut Reconnect, now: Instant, options: &ReconnectOptions, works: &[usize]) -> Vec<usize> {
        let mut tried = Vec::new();
        loop {
            reconnect.dialing(now);
            tried.push(reconnect.server());
            if works.contains(&reconnect.server()) {
                reconnect.connected(now);
                return tried;
            }
            seconds(reconnect, now, options);
        }
    }

    #[test]
    fn the_server_that_works_is_remembered_and_the_better_ones_are_probed_again_later() {
        let options = ReconnectOptions { jitter: false, probe_interval: Duration::from_secs(600), ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[0, 1, 2, 3]);
        let at = |seconds: u64| Instant::START + Duration::from_secs(seconds);
        assert_eq!(until(&mut reconnect, at(0), &options, &[2]), [0, 1, 2]);
        seconds(&mut reconnect, at(100), &options);
        assert_eq!(until(&mut reconnect, at(101), &options, &[2]), [2], "remembered");
        seconds(&mut reconnect, at(599), &options);
        assert_eq!(until(&mut reconnect, at(600), &options, &[3]), [2, 0, 1, 3], "if it fails, from the top");
        seconds(&mut reconnect, at(1_199), &options);
        assert_eq!(until(&mut reconnect, at(1_200), &options, &[3]), [3], "the best was tried at 600");
        seconds(&mut reconnect, at(1_300), &options);
        assert_eq!(until(&mut reconnect, at(1_301), &options, &[0, 3]), [0], "probed again");
    }

    #[test]
    fn after_a_round_in_which_none_worked_the_next_begins_at_the_top() {
        let options = ReconnectOptions { jitter: false, ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[0, 1, 2]);
        until(&mut reconnect, Instant::START, &options, &[2]);
        seconds(&mut reconnect, Instant::START, &options);
        let round: Vec<usize> = (0..6)
            .map(|_| {
                let server = reconnect.server();
                seconds(&mut reconnect, Instant::START, &options);
                server
            })
            .collect();
        assert_eq!(round, [2, 0, 1, 0, 1, 2]);
    }

    #[test]
    fn without_an_interval_the_better_ones_are_tried_only_when_the_remembered_one_fails() {
        let options = ReconnectOptions { jitter: false, probe_interval: Duration::ZERO, ..ReconnectOptions::default() };
        let mut reconnect = Reconnect::new(&[0, 1]);
        until(&mut reconnect, Instant::START, &options, &[1]);
        let late = Instant::START + Duration::from_secs(1_000_000);
        seconds(&mut reconnect, late, &options);
        assert_eq!(until(&mut reconnect, late, &options, &[1]), [1]);
        reconnect.reset();
        assert_eq!(reconnect.server(), 0, "a new start");
    }
}
