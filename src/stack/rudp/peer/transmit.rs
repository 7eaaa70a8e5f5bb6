//! What a connection has to send now, the most urgent first.

use super::{Peer, Role, Stage, Way};
use crate::base::Instant;
use crate::stack::rudp::frame::{ACK_BLOCK_BYTES, ACK_BYTES, Close, DATA_OVERHEAD, Data, Frame, Hello, VERSION, seal};
use crate::stack::rudp::outgoing::Segment;

impl Peer {
    /// Appends one datagram to `out`: where to. `None`: nothing now.
    pub fn transmit(&mut self, now: Instant, token: u64, out: &mut Vec<u8>) -> Option<Way> {
        let start = out.len();
        let way = self.frame(now, token, out)?;
        self.sent_at = now;
        self.statistics.frames_sent += 1;
        self.statistics.bytes_sent += (out.len() - start) as u64;
        Some(way)
    }

    fn frame(&mut self, now: Instant, token: u64, out: &mut Vec<u8>) -> Option<Way> {
        if self.stage == Stage::Over {
            return None;
        }
        if core::mem::take(&mut self.hello_due) {
            self.hello(token, out);
            self.hello_at = now;
            return Some(self.way);
        }
        if let Some((way, opaque)) = self.pong.take() {
            Frame::Ping { id: self.peer_id, opaque, is_answer: true }.write(out);
            return Some(way);
        }
        if let Some((way, opaque)) = self.challenge.as_mut().and_then(|challenge| challenge.take_try(now)) {
            Frame::Ping { id: self.peer_id, opaque, is_answer: false }.write(out);
            return Some(way);
        }
        match self.stage {
            Stage::Calling | Stage::Over => None,
            Stage::Closing { .. } => self.goodbye(now, out),
            Stage::Open => self.data_or_ack(now, out),
        }
    }

    fn hello(&self, token: u64, out: &mut Vec<u8>) {
        let hello = Hello {
            receiver: self.peer_id,
            sender: self.own_id,
            version: VERSION,
            features: 0,
            frame_bytes_max: self.options.frame_bytes_taken(),
            limit: self.options.first_window_bytes(),
            idle_s: u16::try_from(self.options.idle_timeout.as_secs()).unwrap_or(u16::MAX),
            token: if self.role == Role::Listener { token } else { 0 },
        };
        match self.role {
            Role::Client => Frame::Connect(hello).write(out),
            Role::Listener => Frame::Connack { hello, exists: true }.write(out),
        }
    }

    fn goodbye(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Way> {
        let Stage::Closing { reason, left, next_at } = self.stage else { return None };
        let close = |is_answer| Close { id: self.peer_id, is_answer, reason: reason as u16, offset: self.outgoing.end() };
        if core::mem::take(&mut self.answer_close) {
            Frame::Close(close(true)).write(out);
            self.stage = Stage::Over;
            return Some(self.way);
        }
        if next_at > now || left == 0 {
            return None;
        }
        Frame::Close(close(false)).write(out);
        let wait = self.rtt.probe_timeout(self.options.ack_delay, 0);
        self.stage = Stage::Closing { reason, left: left - 1, next_at: now + wait };
        Some(self.way)
    }

    fn data_or_ack(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Way> {
        let overhead = DATA_OVERHEAD + if self.incoming.has_news() { ACK_BLOCK_BYTES } else { 0 };
        if self.probes_due > 0 {
            self.probes_due -= 1;
            let segment = self.outgoing.probe_segment(self.mtu.frame_bytes() - overhead as u16);
            self.send_data(now, segment, true, false, out);
            return Some(self.way);
        }
        if self.may_send(now) {
            // While nothing arrives, no larger frame will.
            if let Some(size) = self.mtu.probe(now).filter(|_| self.failures == 0) {
                let room = size - overhead as u16;
                if self.outgoing.fresh_bytes() >= u32::from(room) {
                    if let Some(segment) = self.outgoing.next_segment(room, false).filter(|segment| segment.length == room) {
                        self.mtu.sent_probe(size);
                        self.send_data(now, segment, true, true, out);
                        return Some(self.way);
                    }
                }
            }
            if let Some(segment) = self.outgoing.next_segment(self.mtu.frame_bytes() - overhead as u16, self.options.redundancy) {
                self.send_data(now, segment, false, false, out);
                return Some(self.way);
            }
        }
        if self.incoming.must_answer(now) {
            Frame::Ack { id: self.peer_id, block: self.incoming.answer(now) }.write(out);
            // Where the newest DATA came from, if it may be there: it need not wait for the proof.
            let elsewhere = self.challenge.as_mut().and_then(|challenge| challenge.spend(ACK_BYTES).then_some(challenge.way));
            return Some(elsewhere.unwrap_or(self.way));
        }
        None
    }

    /// The window and the pacer allow a frame.
    fn may_send(&self, now: Instant) -> bool {
        self.has_window() && self.pacing(now).is_none()
    }

    pub(super) fn has_window(&self) -> bool {
        self.outgoing.in_flight() + u32::from(self.mtu.frame_bytes()) <= self.congestion.window().max(u32::from(self.mtu.frame_bytes()))
    }

    pub(super) fn pacing(&self, now: Instant) -> Option<Instant> {
        if self.rtt.is_known() { self.pacer.wait(now, self.pace()) } else { None }
    }

    fn send_data(&mut self, now: Instant, segment: Segment, answer_at_once: bool, is_probe: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let ack = if self.incoming.has_news() { Some(self.incoming.answer(now)) } else { None };
        let number = self.outgoing.number();
        // Whoever has more to send than the window takes is held back by it; who has not, may not let it grow.
        let frame_bytes = u32::from(self.mtu.frame_bytes());
        let is_full = self.outgoing.in_flight() + 2 * frame_bytes > self.congestion.window();
        // Behind this one nothing leaves before an answer.
        let answer_at_once = answer_at_once || is_full;
        Data { id: self.peer_id, number, offset: segment.offset, answer_at_once, ack, bytes: &[] }.begin(out);
        let was_full = is_full || self.outgoing.fresh_bytes() > u32::from(segment.length);
        self.outgoing.take(now, segment, is_probe, was_full, out);
        seal(out, start);
        self.pacer.sent(now, self.pace(), out.len() - start);
        self.statistics.repeats += u64::from(segment.is_repeat && segment.length > 0);
    }
}
