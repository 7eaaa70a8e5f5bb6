//! A client's keep-alive (MQTT 5 §3.1.2.10): when to ping, and when the server is taken for dead.
//! (A server only looks at the clock of its last input: see `broker/shard`.)

use crate::base::{Duration, Instant};

/// Pings when nothing went out for the interval, and also when nothing came in
/// (a client that only publishes QoS 0 would not notice a dead server).
#[derive(Clone, Copy, Debug)]
pub struct ClientKeepAlive {
    interval: Option<Duration>,
    answer_timeout: Duration,
    sent: Instant,
    heard: Instant,
    /// When the PINGREQ went out that waits for its PINGRESP.
    pinged: Option<Instant>,
}

/// What [`ClientKeepAlive::handle_timeout`] wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeepAliveAction {
    /// Nothing is due.
    None,
    /// Send PINGREQ now.
    Ping,
    /// No PINGRESP in time: close the connection.
    Dead,
}

impl ClientKeepAlive {
    /// For the interval in force, 0 = off. A PINGRESP may take `answer_timeout`.
    pub fn new(now: Instant, keep_alive_s: u16, answer_timeout: Duration) -> Self {
        let interval = (keep_alive_s > 0).then_some(Duration::from_secs(keep_alive_s.into()));
        Self { interval, answer_timeout, sent: now, heard: now, pinged: None }
    }

    /// A packet of any kind goes out.
    pub fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A packet of any kind came.
    pub fn received(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A PINGRESP came.
    pub fn pong(&mut self) {
        self.pinged = None;
    }

    /// When to call [`ClientKeepAlive::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let interval = self.interval?;
        Some(match self.pinged {
            Some(pinged) => pinged + self.answer_timeout,
            None => self.sent.min(self.heard) + interval,
        })
    }

    /// The deadline may have come.
    pub fn handle_timeout(&mut self, now: Instant) -> KeepAliveAction {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return KeepAliveAction::None;
        }
        if self.pinged.is_some() {
            return KeepAliveAction::Dead;
        }
        self.pinged = Some(now);
        self.sent = now;
        KeepAliveAction::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    #[test]
    fn the_client_pings_when_nothing_was_sent_for_the_interval() {
        let mut keep_alive = ClientKeepAlive::new(at(0), 10, Duration::from_secs(5));
        keep_alive.sent(at(6));
        keep_alive.received(at(6));
        assert_eq!(keep_alive.handle_timeout(at(15)), KeepAliveAction::None);
        assert_eq!(keep_alive.handle_timeout(at(16)), KeepAliveAction::Ping);
        assert_eq!(keep_alive.poll_timeout(), Some(at(21)));
        keep_alive.pong();
        keep_alive.received(at(17));
        assert_eq!(keep_alive.poll_timeout(), Some(at(26)));
    }

    #[test]
    fn the_client_pings_a_server_that_is_silent_although_it_sends_itself() {
        let mut keep_alive = ClientKeepAlive::new(at(0), 10, Duration::from_secs(5));
        keep_alive.sent(at(9));
        assert_eq!(keep_alive.handle_timeout(at(10)), KeepAliveAction::Ping);
    }

    #[test]
    fn a_server_that_does_not_answer_a_ping_is_dead() {
        let mut keep_alive = ClientKeepAlive::new(at(0), 10, Duration::from_secs(5));
        assert_eq!(keep_alive.handle_timeout(at(10)), KeepAliveAction::Ping);
        keep_alive.sent(at(14));
        assert_eq!(keep_alive.handle_timeout(at(15)), KeepAliveAction::Dead);
    }
}
