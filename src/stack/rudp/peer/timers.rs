//! When a connection wants to be looked at, and what it does then.

use super::{Peer, Role, Stage};
use crate::base::{Duration, Instant};
use crate::stack::rudp::mtu::{FRAME_BYTES_MIN, TIMEOUTS_MAX};
use crate::stack::rudp::{Reason, repeat_wait};
use crate::stack::{Fault, FaultKind};

/// Frames of a probe: two, because a single one is lost as easily as what it is sent for (RFC 9002 §6.2.4).
const PROBES: u8 = 2;

impl Peer {
    /// When [`Self::expire`] or [`Self::transmit`] has something to do; `None`: it is over.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Over => None,
            Stage::Calling => Some(self.repeat_at.min(self.opened_at + self.options.connect_timeout)),
            Stage::Closing { next_at, .. } => Some(next_at),
            Stage::Open => {
                let mut first = self.received_at + self.idle;
                let mut consider = |at: Option<Instant>| first = at.map_or(first, |at| at.min(first));
                consider(self.incoming.answer_at());
                consider(self.outgoing.loss_at());
                consider(self.probe_at());
                consider(self.keep_alive_at());
                consider(self.half_open_at());
                consider(self.finish_at);
                consider(self.challenge.as_ref().map(|challenge| challenge.next_at));
                if !self.is_confirmed {
                    consider(Some(self.repeat_at.min(self.opened_at + self.options.connect_timeout)));
                }
                if self.next_segment().is_some() {
                    consider(self.pacing(now));
                }
                Some(first)
            }
        }
    }

    /// The time has come for something.
    pub fn expire(&mut self, now: Instant) {
        match self.stage {
            Stage::Over => {}
            Stage::Calling => self.call_again(now),
            Stage::Closing { left, next_at, .. } => {
                if next_at <= now && left == 0 && !self.answer_close {
                    self.end(None);
                    self.stage = Stage::Over;
                }
            }
            Stage::Open => self.expire_open(now),
        }
    }

    fn call_again(&mut self, now: Instant) {
        if self.opened_at + self.options.connect_timeout <= now {
            return self.fail(now, Reason::TimeOut, Fault::new(FaultKind::Timeout, "nobody has answered"));
        }
        if self.repeat_at <= now {
            self.hello_due = true;
            self.repeats += 1;
            self.repeat_at = now + repeat_wait(self.repeats, &mut self.rng);
        }
    }

    fn expire_open(&mut self, now: Instant) {
        if self.received_at + self.idle <= now {
            return self.fail(now, Reason::TimeOut, Fault::new(FaultKind::Silent, "nothing was heard for the idle time"));
        }
        if self.half_open_at().is_some_and(|at| at <= now) {
            return self.fail(now, Reason::TimeOut, Fault::new(FaultKind::Timeout, "no first packet came"));
        }
        if !self.is_confirmed {
            self.call_again(now);
            if self.stage != Stage::Open {
                return;
            }
        }
        if self.outgoing.loss_at().is_some_and(|at| at <= now) {
            self.find_lost(now);
        }
        if self.probe_at().is_some_and(|at| at <= now) {
            self.probe(now);
        }
        if self.keep_alive_at().is_some_and(|at| at <= now) {
            // An empty DATA has a number: it is repeated if need be, and shows where we are now.
            self.send_probes(1);
        }
        if self.challenge.as_ref().is_some_and(|challenge| challenge.is_in_vain(now)) {
            self.challenge = None;
        }
        self.close_if_done(now);
    }

    /// An answer is overdue.
    fn probe(&mut self, now: Instant) {
        if self.outgoing.is_blocked() && !self.outgoing.waits() {
            self.blocked_probes += 1;
            return self.send_probes(1);
        }
        self.failures += 1;
        self.send_probes(if self.outgoing.is_done() { 1 } else { PROBES });
        // A listener that has not made its side knows nothing of DATA.
        self.hello_due |= !self.is_confirmed;
        if self.failures == TIMEOUTS_MAX && self.outgoing.largest_in_flight() > FRAME_BYTES_MIN.into() {
            self.mtu.step_down(now);
            self.congestion.resized(FRAME_BYTES_MIN);
            self.outgoing.resend_larger(FRAME_BYTES_MIN.into());
            self.statistics.steps_down += 1;
        }
    }

    /// So many frames leave now, whatever the window says.
    pub(super) fn send_probes(&mut self, count: u8) {
        (self.probes_due, self.probe_from) = (self.probes_due.max(count), self.outgoing.acknowledged());
    }

    fn probe_at(&self) -> Option<Instant> {
        let since = self.outgoing.last_sent_at().unwrap_or(self.opened_at);
        let is_blocked = self.outgoing.is_blocked();
        if self.probes_due > 0 || !(self.outgoing.waits() || is_blocked) {
            return None;
        }
        let failures = if self.outgoing.waits() { self.failures } else { self.blocked_probes };
        let delay = if self.asked_at_once { Duration::ZERO } else { self.options.ack_delay };
        Some(since + self.rtt.probe_timeout(delay, failures))
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let is_due = self.role == Role::Client && self.probes_due == 0 && !self.outgoing.waits();
        self.keep_alive().filter(|_| is_due).map(|time| self.sent_at + time)
    }

    /// How often a client shows that it is there. One that does not want to has to, all the same, if MQTT lets it be silent for longer than the
    /// listener does.
    fn keep_alive(&self) -> Option<Duration> {
        match self.options.keep_alive {
            Duration::ZERO => (self.idle < self.options.mqtt_silence).then(|| self.idle / 3),
            time => Some(time),
        }
    }

    fn half_open_at(&self) -> Option<Instant> {
        self.is_half_open.then(|| self.opened_at + self.options.half_open_timeout)
    }
}
