//! One connection of generation 1, in both roles: what stock peers speak, with what they lack made up for on this side.
//!
//! # Theory of operation
//! ```text
//!   client    Calling ──CONNACK──> Open ──finish, all acknowledged: CLOSE──> Over
//!   listener  (a whole MQTT CONNECT came) Open, unproven ──two empty DATA acknowledged──> proven
//! ```
//! A frame carries one packet, or is an acknowledgement. What the user writes is cut into packets (`sender`), what arrives is
//! put into order (`order`). Nothing but the address says who somebody is, so a listener's side asks for a proof (`proof`).
//!
//! A stock client begins anew with CONNECT. Anybody can send that, so a peer that is there stays unless more is known of who sent it
//! (`succession`). A client's side waits for the answers of MQTT itself (`answers`): stock listeners never send them again.

mod answers;
mod order;
mod proof;
mod sender;
mod succession;

pub(super) use sender::PACKET_BYTES_MAX;

use std::collections::VecDeque;
use std::sync::Arc;

use self::answers::Answers;
use self::order::{Order, Taken};
use self::proof::Proof;
use self::sender::{Acked, Sender};
use self::succession::{Caller, Newcomer, Succession};
use super::frame::{HEADER_BYTES, One, checksum};
use super::options::Options;
use super::packet::{is_connect, packet_bytes, silence_allowed};
use super::peer::{Role, Way};
use super::{Marks, Statistics, repeat_wait};
use crate::base::{Duration, Instant, Rng};
use crate::stack::{Fault, FaultKind};

/// Acknowledgements that wait to be sent; more are left out, and their packets come again.
const ACKS_MAX: usize = 64;
/// A client that has sent no DATA for so long sends an empty one: stock listeners forget who is silent for five minutes.
const KEEP_ALIVE: Duration = Duration::from_secs(100);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Calling,
    Open,
    /// CLOSE is to be sent.
    Closing,
    Over,
}

/// One connection of generation 1.
#[derive(Debug)]
pub struct First {
    role: Role,
    stage: Stage,
    way: Way,
    options: Arc<Options>,
    order: Order,
    sender: Sender,
    acks: VecDeque<u16>,
    proof: Option<Box<Proof>>,
    succession: Succession,
    answers: Answers,
    opened_at: Instant,
    received_at: Instant,
    /// When DATA left last.
    data_at: Instant,
    /// It ends after so much silence.
    silence: Duration,
    repeat_at: Instant,
    repeats: u32,
    connect_due: bool,
    /// A bare CONNACK came that nobody waited for: the server may have begun anew.
    may_begin_anew: bool,
    /// The checksum of the last packet with sequence 1.
    first_packet: Option<u32>,
    finish_at: Option<Instant>,
    is_finished: bool,
    rng: Rng,
    pub(super) marks: Marks,
    pub(super) ending: Option<Option<Fault>>,
    statistics: Statistics,
}

impl First {
    /// A client's side: it calls, unless a CONNACK is there already.
    pub fn calling(now: Instant, way: Way, is_answered: bool, options: &Arc<Options>, mut rng: Rng) -> Self {
        let repeat_at = now + rng.jitter(Duration::from_secs(1)) + Duration::from_millis(250);
        let mut first = Self::new(now, Role::Client, way, (1, &[]), options, rng);
        (first.stage, first.connect_due, first.repeat_at) = (Stage::Calling, !is_answered, repeat_at);
        if is_answered {
            first.open();
        }
        first
    }

    /// A listener's side, for the DATA that holds an MQTT CONNECT.
    pub fn called(now: Instant, way: Way, sequence: u16, packet: &[u8], options: &Arc<Options>, rng: Rng) -> Self {
        let mut first = Self::new(now, Role::Listener, way, (sequence, packet), options, rng);
        let mut proof = Proof::new(now, &mut first.rng);
        proof.earn(HEADER_BYTES + packet.len());
        first.proof = Some(Box::new(proof));
        first.marks.is_opened = true;
        first.take(now, sequence, packet);
        first
    }

    /// A listener's side for one who has given its proof.
    pub fn replacing(now: Instant, way: Way, newcomer: &Newcomer, options: &Arc<Options>, rng: Rng) -> Self {
        let mut first = Self::called(now, way, newcomer.sequence, &newcomer.packet, options, rng);
        first.proof = None;
        first
    }

    fn new(now: Instant, role: Role, way: Way, (base, packet): (u16, &[u8]), options: &Arc<Options>, rng: Rng) -> Self {
        Self {
            role,
            stage: Stage::Open,
            way,
            options: Arc::clone(options),
            order: Order::new(base),
            sender: Sender::new(options.send_bytes_max as usize),
            acks: VecDeque::new(),
            proof: None,
            succession: Succession::new(now, base, packet),
            answers: Answers::default(),
            opened_at: now,
            received_at: now,
            data_at: now,
            silence: silence_allowed(options.silent_timeout, packet),
            repeat_at: now,
            repeats: 0,
            connect_due: false,
            may_begin_anew: false,
            first_packet: None,
            finish_at: None,
            is_finished: false,
            rng,
            marks: Marks::default(),
            ending: None,
            statistics: Statistics { generation: 1, ..Statistics::default() },
        }
    }

    pub fn way(&self) -> Way {
        self.way
    }

    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Its address is not proved.
    pub fn is_unproven(&self) -> bool {
        self.proof.is_some()
    }

    /// Takes a frame from its address.
    pub fn receive(&mut self, now: Instant, one: &One<'_>, datagram_bytes: usize) {
        if matches!(self.stage, Stage::Over | Stage::Closing) {
            return;
        }
        self.statistics.frames_received += 1;
        self.statistics.bytes_received += datagram_bytes as u64;
        self.succession.earn(datagram_bytes);
        if let Some(proof) = &mut self.proof {
            proof.earn(datagram_bytes);
        }
        match one {
            One::Data { .. } if self.stage == Stage::Calling => {}
            One::Data { sequence, payload } => self.data(now, *sequence, payload),
            One::Ack { sequence } => self.acked(now, *sequence),
            One::Connect if self.role == Role::Listener => self.succession.connect_came(now),
            One::Connack if self.role == Role::Client => match self.stage {
                Stage::Calling => {
                    self.open();
                    self.received_at = now;
                }
                // Who has sent one CONNECT has one answer, however often it comes.
                _ => self.may_begin_anew |= self.repeats > 0,
            },
            One::Close => {
                self.received_at = now;
                self.is_finished = true;
                self.end(None);
                self.stage = Stage::Over;
            }
            One::Connect | One::Connack => {}
        }
    }

    fn open(&mut self) {
        (self.stage, self.marks.is_opened) = (Stage::Open, true);
    }

    fn data(&mut self, now: Instant, sequence: u16, payload: &[u8]) {
        self.received_at = now;
        if self.role == Role::Client && sequence == 1 && !payload.is_empty() {
            self.first_again(checksum(payload));
        }
        if self.role == Role::Listener && is_connect(payload) && self.succession.consider(now, sequence, payload, &mut self.rng) != Caller::Peer {
            return;
        }
        self.take(now, sequence, payload);
    }

    /// A DATA 1. Where the server may have begun anew, another one than before begins the order anew; the same one is only late.
    fn first_again(&mut self, packet: u32) {
        let is_other = self.first_packet.replace(packet).is_some_and(|before| before != packet);
        if self.may_begin_anew && is_other {
            self.may_begin_anew = false;
            self.order.begin_anew(1);
        }
    }

    fn take(&mut self, now: Instant, sequence: u16, payload: &[u8]) {
        match self.order.take(now, sequence, payload) {
            Taken::NotKept => {
                self.statistics.frames_not_kept += 1;
                return;
            }
            Taken::Again => self.statistics.duplicates += 1,
            Taken::Kept if self.role == Role::Client => self.answered(payload),
            Taken::Kept => {}
        }
        self.marks.is_readable |= self.order.take_edge();
        if self.acks.len() < ACKS_MAX {
            self.acks.push_back(sequence);
        }
    }

    fn answered(&mut self, mut packets: &[u8]) {
        while let Ok(Some(bytes)) = packet_bytes(packets) {
            let (packet, rest) = packets.split_at(bytes.min(packets.len()));
            self.answers.came(packet);
            packets = rest;
        }
    }

    fn acked(&mut self, now: Instant, sequence: u16) {
        self.received_at = now;
        if self.succession.acked(sequence) {
            return;
        }
        let is_proof = self.proof.as_mut().is_some_and(|proof| proof.acked(sequence));
        self.proof.take_if(|proof| proof.is_given());
        if is_proof {
            return;
        }
        match self.sender.acked(sequence) {
            Acked::Now(packet) => {
                self.answers.arrived(now, &packet);
                self.marks.is_writable |= self.sender.take_edge();
                self.close_if_done(now);
            }
            Acked::Before => {}
            Acked::Never => {
                self.succession.wrong();
                if self.proof.as_mut().is_some_and(|proof| proof.wrong()) {
                    self.end(Some(Fault::new(FaultKind::Datagram, "what was never sent was acknowledged")));
                    self.stage = Stage::Over;
                }
            }
        }
    }

    /// Who was turned away since this was asked last, of those who wanted its place.
    pub fn take_refused(&mut self) -> u64 {
        self.succession.take_refused()
    }

    /// Who takes its place now: proof was given.
    pub fn take_newcomer(&mut self) -> Option<Box<Newcomer>> {
        self.succession.take()
    }

    /// Another connection has taken its place.
    pub fn replaced(&mut self) {
        self.end(Some(Fault::new(FaultKind::Silent, "the other side has begun anew")));
        self.stage = Stage::Over;
    }

    /// Appends one datagram to `out`. False: nothing now.
    pub fn transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        if !self.frame(now, out) {
            return false;
        }
        self.statistics.frames_sent += 1;
        self.statistics.bytes_sent += (out.len() - start) as u64;
        true
    }

    fn frame(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if self.stage == Stage::Over {
            return false;
        }
        if core::mem::take(&mut self.connect_due) {
            One::Connect.write(out);
            return true;
        }
        if let Some(&sequence) = self.acks.front() {
            if self.may_spend(HEADER_BYTES) {
                self.acks.pop_front();
                if self.acks.is_empty() {
                    self.acks = VecDeque::new();
                }
                One::Ack { sequence }.write(out);
                return true;
            }
        }
        let asked = self.proof.as_mut().and_then(|proof| proof.next(now));
        let asked = asked.or_else(|| self.succession.next(now));
        let asked = asked.or_else(|| self.keep_alive_at().filter(|at| *at <= now).map(|_| self.sender.far_sequence()));
        if let Some(sequence) = asked {
            self.data_at = now;
            One::Data { sequence, payload: &[] }.write(out);
            return true;
        }
        if self.stage == Stage::Closing {
            self.stage = Stage::Over;
            One::Close.write(out);
            return true;
        }
        self.packet(now, out)
    }

    fn packet(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        if self.stage != Stage::Open {
            return false;
        }
        let Some(bytes) = self.sender.due_bytes(now) else { return false };
        if !self.may_spend(HEADER_BYTES + bytes) {
            return false;
        }
        let Some((sequence, payload, is_repeat)) = self.sender.next(now) else { return false };
        One::Data { sequence, payload }.write(out);
        if self.role == Role::Client && !is_repeat {
            self.answers.asked(payload);
            self.silence = silence_allowed(self.silence, payload);
        }
        self.data_at = now;
        self.statistics.repeats += u64::from(is_repeat);
        if let Some(proof) = &mut self.proof {
            proof.begin(now);
        }
        self.marks.is_writable |= self.sender.take_edge();
        true
    }

    fn may_spend(&mut self, bytes: usize) -> bool {
        self.proof.as_mut().is_none_or(|proof| proof.spend(bytes))
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let is_due = self.role == Role::Client && self.stage == Stage::Open && self.options.keep_alive > Duration::ZERO && self.finish_at.is_none();
        is_due.then(|| self.data_at + KEEP_ALIVE)
    }

    /// When it has something to do; `None`: it is over.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let mut first = match self.stage {
            Stage::Over => return None,
            Stage::Closing => now,
            Stage::Calling => self.repeat_at.min(self.opened_at + self.options.connect_timeout),
            Stage::Open => self.received_at + self.silence,
        };
        let mut consider = |at: Option<Instant>| first = at.map_or(first, |at| at.min(first));
        consider(self.order.gap_at().map(|at| at + self.options.gap_timeout));
        if let Some(proof) = &self.proof {
            consider(Some(self.opened_at + self.options.half_open_timeout));
            consider(Some(proof.next_at()).filter(|at| *at > now));
        }
        consider(self.succession.deadline(now, self.options.half_open_timeout));
        if self.stage == Stage::Open {
            consider(self.keep_alive_at());
            consider(self.answers.since().map(|since| since + self.options.answer_timeout));
            consider(self.finish_at);
            // What the proof holds back now waits for what comes, and not for a time.
            consider(self.sender.next_at(now).filter(|at| *at > now || self.proof.is_none()));
        }
        Some(first)
    }

    /// The time has come for something.
    pub fn expire(&mut self, now: Instant) {
        self.order.expire(now, self.options.gap_timeout);
        self.marks.is_readable |= self.order.take_edge();
        self.succession.expire(now, self.options.half_open_timeout);
        match self.stage {
            Stage::Calling if self.opened_at + self.options.connect_timeout <= now => {
                self.fail(FaultKind::Timeout, "nobody has answered");
            }
            Stage::Calling if self.repeat_at <= now => {
                self.connect_due = true;
                self.repeats += 1;
                self.repeat_at = now + repeat_wait(self.repeats, &mut self.rng);
            }
            Stage::Open if self.received_at + self.silence <= now => {
                self.fail(FaultKind::Silent, "nothing was heard for too long");
            }
            Stage::Open if self.proof.is_some() && self.opened_at + self.options.half_open_timeout <= now => {
                self.fail(FaultKind::Timeout, "no proof of the address came");
            }
            Stage::Open if self.sender.has_failed(now) => {
                self.fail(FaultKind::Silent, "a packet was not acknowledged");
            }
            Stage::Open if self.answers.is_missing(now, self.options.answer_timeout) => {
                self.fail(FaultKind::Silent, "a packet has arrived, and its answer has not come");
            }
            Stage::Open => self.close_if_done(now),
            Stage::Calling | Stage::Closing | Stage::Over => {}
        }
    }

    /// As [`crate::stack::DatagramEndpoint::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let count = self.order.read(buffer);
        if count.is_none() && self.is_finished && self.order.is_read() { Some(0) } else { count }
    }

    /// As [`crate::stack::DatagramEndpoint::write`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.stage != Stage::Open || self.finish_at.is_some() {
            return 0;
        }
        self.sender.write(bytes).unwrap_or_else(|_| {
            self.fail(FaultKind::Datagram, "what was to be sent does not fit a frame of generation 1");
            0
        })
    }

    /// No more is written.
    pub fn finish(&mut self, now: Instant) {
        if self.finish_at.is_none() {
            self.finish_at = Some(now + self.options.close_timeout);
            self.close_if_done(now);
        }
    }

    /// Says good-bye, whatever is on its way.
    pub fn close(&mut self) {
        self.stage = if matches!(self.stage, Stage::Open | Stage::Closing) { Stage::Closing } else { Stage::Over };
    }

    fn close_if_done(&mut self, now: Instant) {
        let is_due = self.finish_at.is_some_and(|at| self.sender.is_done() || at <= now);
        if is_due && self.stage == Stage::Open {
            let fault = (!self.sender.is_done()).then(|| Fault::new(FaultKind::Silent, "what was sent last was not acknowledged"));
            self.end(fault);
            self.close();
        }
    }

    fn fail(&mut self, kind: FaultKind, text: &'static str) {
        self.end(Some(Fault::new(kind, text)));
        self.close();
    }

    fn end(&mut self, fault: Option<Fault>) {
        if !self.marks.is_ended {
            self.order.end();
            self.marks.is_readable |= self.order.take_edge();
            self.marks.is_ended = true;
            self.ending = Some(fault);
        }
    }

    /// What it holds beside itself.
    pub fn memory_bytes(&self) -> usize {
        let proof = self.proof.as_ref().map_or(0, |_| size_of::<Proof>());
        let asked = self.succession.memory_bytes() + self.answers.memory_bytes();
        self.order.memory_bytes() + self.sender.memory_bytes() + self.acks.capacity() * 2 + proof + asked
    }

    /// Frames that were not kept, and packets that were waited for in vain.
    pub fn losses(&self) -> (u64, u64) {
        (self.statistics.frames_not_kept, self.order.missed)
    }

    /// The statistics, with what stands elsewhere.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            packets_refused: self.sender.refused(),
            packets_missing: self.order.missed,
            packets_late: self.order.late,
            frame_bytes: (HEADER_BYTES + PACKET_BYTES_MAX) as u16,
            ..self.statistics
        }
    }
}
