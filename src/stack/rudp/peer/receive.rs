//! What a connection makes of frames that bear its id.

use super::{Peer, Role, Stage, Way, idle_of};
use crate::base::{Duration, Instant};
use crate::stack::rudp::congestion::Congestion;
use crate::stack::rudp::frame::{AckBlock, Close, Data, Frame, Hello, VERSION};
use crate::stack::rudp::incoming::Taken;
use crate::stack::rudp::mtu::Mtu;
use crate::stack::rudp::packet::{begins_with_packet, silence_allowed};
use crate::stack::rudp::path::{Challenge, REPEAT};
use crate::stack::rudp::rtt::Rtt;
use crate::stack::rudp::{Reason, serial};
use crate::stack::{Fault, FaultKind};

/// So long after a CONNECT no RESET is believed: if it is true, the next frame brings another one.
const RESET_DOUBT: Duration = Duration::from_secs(2);

/// In so many bytes of a CONNECT is its keep-alive.
const CONNECT_FRONT_BYTES: usize = 20;

/// So long after a listener gave us an id, it has not forgotten it.
const NAME_DOUBT: Duration = Duration::from_secs(3);

impl Peer {
    /// Takes a frame with this connection's id, which came in a datagram of so many bytes.
    pub fn receive(&mut self, now: Instant, way: Way, frame: &Frame<'_>, datagram_bytes: usize) {
        if self.stage == Stage::Over {
            return;
        }
        self.statistics.frames_received += 1;
        self.statistics.bytes_received += datagram_bytes as u64;
        match frame {
            Frame::Connack { hello, exists } => self.connack(now, hello, *exists),
            // The endpoint has seen that address and ids are the same: it is a repeat.
            Frame::Connect(_) => self.hello_due = true,
            Frame::Reset { id, token } => return self.reset(now, *id, *token),
            _ if self.stage == Stage::Calling => return,
            Frame::Data(data) => self.data(now, way, data, datagram_bytes),
            Frame::Ack { block, .. } => self.ack(now, block),
            Frame::Close(close) => self.closed(now, close),
            Frame::Ping { opaque, is_answer: false, .. } => self.challenged(way, *opaque),
            Frame::Ping { opaque, is_answer: true, .. } => self.proved(now, way, *opaque),
            Frame::One(_) => return,
        }
        self.received_at = now;
    }

    fn connack(&mut self, now: Instant, hello: &Hello, exists: bool) {
        if self.role != Role::Client || hello.sender == 0 || hello.version < VERSION {
            return;
        }
        if exists {
            self.is_confirmed |= self.stage == Stage::Open && hello.sender == self.peer_id;
            return;
        }
        let is_first = self.stage == Stage::Calling;
        // Another id after we were open: the listener knows the first one no more, and has made nothing. Unless this one was
        // on its way all the time.
        let is_late = now.since(self.named_at) < NAME_DOUBT || self.stage != Stage::Open || hello.sender == self.peer_id;
        if self.is_confirmed || (!is_first && is_late) {
            return;
        }
        self.named_at = now;
        (self.peer_id, self.token) = (hello.sender, hello.token);
        self.idle = self.options.idle_timeout.min(idle_of(hello));
        if self.options.keep_alive.is_zero() && self.options.is_plain {
            // The listener sees MQTT's keep-alive, and lets as much pass.
            self.idle = self.idle.max(self.options.mqtt_silence.min(self.options.idle_timeout));
        }
        self.mtu = Mtu::new(now, self.options.frame_bytes, self.options.probe_bytes_max, hello.frame_bytes_max);
        self.congestion = Congestion::new(self.options.congestion, self.mtu.frame_bytes());
        self.outgoing.set_limit(hello.limit);
        if is_first {
            if self.repeats == 0 {
                self.rtt.sample(now.since(self.opened_at), Duration::ZERO);
            }
            (self.stage, self.marks.is_opened) = (Stage::Open, true);
            self.repeat_at = now + Duration::from_secs(1);
        }
        self.hello_due = true;
    }

    /// DATA that overtook our CONNECT is answered by a RESET, which may in turn be overtaken by all that follows the CONNECT.
    fn reset(&mut self, now: Instant, id: u64, token: u64) {
        let is_old_enough = now.since(self.hello_at) >= RESET_DOUBT;
        if self.role == Role::Client && self.is_confirmed && is_old_enough && id == self.peer_id && token == self.token {
            let is_closing = matches!(self.stage, Stage::Closing { .. });
            self.end((!is_closing).then(|| Fault::new(FaultKind::Silent, "the other side does not know this connection any more")));
            self.stage = Stage::Over;
        }
    }

    fn data(&mut self, now: Instant, way: Way, data: &Data<'_>, datagram_bytes: usize) {
        if self.stage != Stage::Open || data.number == 0 {
            return;
        }
        self.is_confirmed = true;
        let is_newest = serial(data.number, self.incoming.largest()) > 0;
        match self.incoming.take(now, data.number, data.offset, data.bytes, data.answer_at_once, self.options.ack_delay) {
            Taken::BeyondLimit => {
                return self.fail(now, Reason::Protocol, Fault::new(FaultKind::Datagram, "more bytes than the limit allows"));
            }
            Taken::NotKept => {
                self.statistics.frames_not_kept += 1;
                return;
            }
            Taken::Again => self.statistics.duplicates += 1,
            Taken::Kept { grown } => {
                if is_newest && way.remote != self.way.remote {
                    self.consider(now, way, datagram_bytes);
                }
                if grown {
                    self.arrived();
                }
            }
        }
        if let Some(block) = &data.ack {
            self.ack(now, block);
        }
    }

    /// There is more to read.
    fn arrived(&mut self) {
        if self.is_half_open {
            if !begins_with_packet(self.options.is_plain, self.incoming.front()) {
                return;
            }
            (self.is_half_open, self.marks.is_opened) = (false, true);
            self.let_pass();
        }
        self.marks.is_readable |= self.incoming.take_edge();
    }

    /// A client whose keep-alive is off says that it may be silent for longer than we would let it: then MQTT's keep-alive counts.
    fn let_pass(&mut self) {
        let mut front = [0; CONNECT_FRONT_BYTES];
        let (first, second) = self.incoming.front();
        for (slot, byte) in front.iter_mut().zip(first.iter().chain(second)) {
            *slot = *byte;
        }
        if self.options.is_plain {
            self.idle = self.idle.max(silence_allowed(self.idle, &front).min(self.peer_idle));
        }
    }

    fn ack(&mut self, now: Instant, block: &AckBlock) {
        if !matches!(self.stage, Stage::Open | Stage::Closing { .. }) {
            return;
        }
        self.is_confirmed = true;
        let was_blocked = self.outgoing.is_blocked();
        let Ok(acked) = self.outgoing.acked(now, block, &mut self.congestion, &self.rtt) else {
            return self.fail(now, Reason::Protocol, Fault::new(FaultKind::Datagram, "what was never sent was acknowledged"));
        };
        if let Some(latest) = acked.rtt {
            self.rtt.sample(latest, Duration::from_millis(block.delay_ms.into()));
        }
        if acked.progress {
            self.failures = 0;
        }
        if was_blocked && !self.outgoing.is_blocked() {
            self.blocked_probes = 0;
        }
        match acked.probe {
            Some(true) => {
                self.mtu.arrived();
                self.congestion.resized(self.mtu.frame_bytes());
            }
            Some(false) => self.mtu.lost(now),
            None => {}
        }
        self.find_lost(now);
        self.marks.is_writable |= self.outgoing.take_edge();
        self.close_if_done(now);
    }

    pub(super) fn find_lost(&mut self, now: Instant) {
        let lost = self.outgoing.find_lost(now, &mut self.congestion, &self.rtt);
        self.statistics.frames_lost += u64::from(lost.frames);
        if lost.probe {
            self.mtu.lost(now);
        }
        self.repeat_due |= lost.is_new && self.outgoing.has_lost();
    }

    fn closed(&mut self, now: Instant, close: &Close) {
        let is_closing = matches!(self.stage, Stage::Closing { .. });
        if close.is_answer && !is_closing {
            return;
        }
        self.is_confirmed = true;
        let fault = match Reason::of(close.reason) {
            _ if is_closing => None,
            Reason::Normal if serial(close.offset, self.incoming.next()) > 0 => {
                Some(Fault::new(FaultKind::Silent, "the other side has closed, and bytes before its end are missing"))
            }
            Reason::Normal => None,
            reason => Some(reason.fault()),
        };
        self.is_finished = fault.is_none() && !is_closing;
        if self.is_finished {
            self.marks.is_readable |= self.incoming.take_edge();
        }
        self.end(fault);
        if close.is_answer {
            self.stage = Stage::Over;
        } else {
            (self.answer_close, self.stage) = (true, Stage::Closing { reason: Reason::Normal, left: 0, next_at: now });
        }
    }

    /// A frame newer than all came from elsewhere: is the peer there now?
    fn consider(&mut self, now: Instant, way: Way, datagram_bytes: usize) {
        if self.role != Role::Listener {
            return;
        }
        if let Some(challenge) = &mut self.challenge {
            if challenge.way.remote == way.remote {
                return challenge.earn(datagram_bytes);
            }
        }
        // One new address at a time and second: others wait for their next frame.
        if self.challenged_at.is_some_and(|at| now.since(at) < REPEAT) {
            return;
        }
        self.challenged_at = Some(now);
        self.challenge = Some(Box::new(Challenge::new(now, way, self.rng.u64(), datagram_bytes)));
    }

    /// The other side wants to know whether we are here. A listener asks for nothing but this: a client has come to be elsewhere for it.
    fn challenged(&mut self, way: Way, opaque: u64) {
        self.pong = Some((way, opaque));
        if self.role == Role::Client && self.asked != Some(opaque) {
            self.asked = Some(opaque);
            self.statistics.moves += 1;
            self.marks.is_moved = true;
        }
    }

    fn proved(&mut self, now: Instant, way: Way, opaque: u64) {
        let is_proof = self.challenge.as_ref().is_some_and(|challenge| challenge.opaque == opaque && challenge.way.remote == way.remote);
        if !is_proof {
            return;
        }
        self.challenge = None;
        let is_same_host = way.remote.ip() == self.way.remote.ip();
        self.way = way;
        if !is_same_host {
            self.rtt = Rtt::default();
            self.congestion = Congestion::new(self.options.congestion, self.mtu.frame_bytes());
        }
        self.failures = 0;
        self.mtu.lost(now);
        self.outgoing.resend_all();
        self.statistics.moves += 1;
        self.marks.is_moved = true;
        self.received_at = now;
    }
}
