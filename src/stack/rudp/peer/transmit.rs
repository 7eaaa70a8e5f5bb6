//! What a connection has to send now, the most urgent first.

use super::{Peer, Role, Stage, Way};
use crate::base::Instant;
use crate::stack::rudp::frame::{ACK_BLOCK_BYTES, ACK_BYTES, Close, DATA_OVERHEAD, Data, Frame, Hello, VERSION, seal};
use crate::stack::rudp::outgoing::Segment;
use crate::stack::rudp::records::Leaving;
use crate::stack::rudp::serial;

/// A window of fewer frames is small: it is used to the last byte, and each frame asks for an answer.
const SMALL_WINDOW_FRAMES: u32 = 8;

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
            limit: self.options.opening_window_bytes(),
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
        if self.probes_due > 0 {
            self.probes_due -= 1;
            let segment = self.outgoing.probe_segment(self.probe_from, self.mtu.frame_bytes() - self.overhead());
            let is_copy = serial(segment.offset, self.probe_from) < 0;
            self.probe_from = segment.offset.wrapping_add(segment.length.into());
            self.send_data(now, segment, true, Leaving { is_copy, ..Leaving::default() }, out);
            return Some(self.way);
        }
        let is_repeat_due = core::mem::take(&mut self.repeat_due) && self.outgoing.has_lost();
        if is_repeat_due || self.pacing(now).is_none() {
            if let Some((size, segment)) = self.size_probe(now).filter(|_| !is_repeat_due) {
                self.mtu.sent_probe(size);
                self.send_data(now, segment, true, Leaving { is_size_probe: true, ..Leaving::default() }, out);
                return Some(self.way);
            }
            let segment = if is_repeat_due { self.any_segment(self.mtu.frame_bytes()) } else { self.next_segment() };
            if let Some(segment) = segment {
                self.send_data(now, segment, false, Leaving::default(), out);
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

    /// What a DATA that leaves now has beside its bytes.
    fn overhead(&self) -> u16 {
        (DATA_OVERHEAD + if self.incoming.has_news() { ACK_BLOCK_BYTES } else { 0 }) as u16
    }

    fn any_segment(&self, room: u16) -> Option<Segment> {
        self.outgoing.next_segment(room.saturating_sub(self.overhead()), self.options.redundancy)
    }

    /// What the next DATA carries, if the window takes it. What is left of a small window takes a smaller frame.
    pub(super) fn next_segment(&self) -> Option<Segment> {
        let frame_bytes = self.mtu.frame_bytes();
        let segment = self.any_segment(frame_bytes)?;
        if self.has_window(segment.length) {
            return Some(segment);
        }
        let left = self.congestion.window().saturating_sub(self.outgoing.in_flight());
        let is_worth_it = self.is_window_small() && left >= u32::from(frame_bytes) / 2;
        is_worth_it.then(|| self.any_segment(left as u16)).flatten()
    }

    fn has_window(&self, length: u16) -> bool {
        let (bytes, least) = (u32::from(length) + DATA_OVERHEAD as u32, u32::from(self.mtu.frame_bytes()));
        self.outgoing.in_flight() + bytes <= self.congestion.window().max(least)
    }

    fn is_window_small(&self) -> bool {
        self.congestion.window() < SMALL_WINDOW_FRAMES * u32::from(self.mtu.frame_bytes())
    }

    /// A frame that is larger than was proved, where there are bytes for one. While nothing arrives, no larger frame will.
    fn size_probe(&self, now: Instant) -> Option<(u16, Segment)> {
        let size = self.mtu.probe(now).filter(|_| self.failures == 0)?;
        let room = size - self.overhead();
        if self.outgoing.fresh_bytes() < room.into() || !self.has_window(room) {
            return None;
        }
        let segment = self.outgoing.next_segment(room, false).filter(|segment| segment.length == room)?;
        Some((size, segment))
    }

    pub(super) fn pacing(&self, now: Instant) -> Option<Instant> {
        if self.rtt.is_known() { self.pacer.wait(now, self.pace()) } else { None }
    }

    fn send_data(&mut self, now: Instant, segment: Segment, answer_at_once: bool, leaving: Leaving, out: &mut Vec<u8>) {
        let start = out.len();
        let ack = if self.incoming.has_news() { Some(self.incoming.answer(now)) } else { None };
        let number = self.outgoing.number();
        // Whoever has more to send than the window takes is held back by it; who has not, may not let it grow.
        let with_this = self.outgoing.in_flight() + u32::from(segment.length) + DATA_OVERHEAD as u32;
        let is_full = with_this + u32::from(self.mtu.frame_bytes()) > self.congestion.window();
        let was_full = is_full || self.outgoing.fresh_bytes() > u32::from(segment.length);
        // Behind one that fills the window nothing leaves before an answer; in a small one few answers come, and each is missed.
        let answer_at_once = answer_at_once || is_full || (was_full && self.is_window_small());
        self.asked_at_once = answer_at_once;
        Data { id: self.peer_id, number, offset: segment.offset, answer_at_once, ack, bytes: &[] }.begin(out);
        self.outgoing.take(now, segment, Leaving { was_full, ..leaving }, out);
        seal(out, start);
        self.pacer.sent(now, self.pace(), out.len() - start);
        self.statistics.repeats += u64::from(segment.is_repeat && segment.length > 0);
    }
}
