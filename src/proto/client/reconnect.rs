//! Which server is next, and when.
//!
//! A round goes over the servers by priority without a pause; the pauses are between rounds and
//! double. A connection that was established and lost begins at the first server again; only one
//! that lasted makes the pauses short again, so that a server that throws its clients out at once
//! is not called every second.

use super::options::{ReconnectOptions, Retry};
use crate::base::{Instant, Rng};

#[derive(Debug)]
pub(super) struct Reconnect {
    /// Indices of servers, the best first.
    order: Vec<usize>,
    position: usize,
    rounds: u32,
    online_since: Option<Instant>,
}

impl Reconnect {
    pub(super) fn new(priorities: &[u32]) -> Self {
        let mut order: Vec<usize> = (0..priorities.len()).collect();
        order.sort_by_key(|index| priorities[*index]);
        Self { order, position: 0, rounds: 0, online_since: None }
    }

    /// Begins anew with the best server.
    pub(super) fn reset(&mut self) {
        (self.position, self.rounds, self.online_since) = (0, 0, None);
    }

    pub(super) fn server(&self) -> usize {
        self.order[self.position]
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
            self.position = 0;
        } else {
            self.position = (self.position + 1) % self.order.len();
            if self.position != 0 && retry != Retry::GiveUp {
                return Some(now);
            }
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
    use crate::base::Duration;

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
}
