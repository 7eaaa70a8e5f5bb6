//! What leaves in generation 1: whole packets, one in a frame, each sent again until it is acknowledged.

use std::collections::VecDeque;

use super::super::cutter::{Cutter, Unsendable};
use crate::base::{Duration, Instant};

/// The largest packet stock peers take.
pub(crate) const PACKET_BYTES_MAX: usize = 8_188;
/// Packets that are not acknowledged.
const IN_FLIGHT_MAX: usize = 32;
/// A packet is sent so often.
const SENDS_MAX: u8 = 6;
const RESEND_FIRST: Duration = Duration::from_secs(1);
const RESEND_MAX: Duration = Duration::from_secs(8);
/// Stock peers know a sequence again for so long.
const REUSE: Duration = Duration::from_secs(60);
/// Sequences are looked after in so many pieces.
const PIECES: usize = 16;

#[derive(Debug)]
struct Sent {
    sequence: u16,
    sends: u8,
    next_at: Instant,
    packet: Box<[u8]>,
}

/// What an acknowledgement is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Acked {
    /// This packet, which has arrived.
    Now(Box<[u8]>),
    /// One that is known to have arrived.
    Before,
    /// Nothing that was sent.
    Never,
}

#[derive(Debug)]
pub struct Sender {
    cutter: Cutter,
    sent: VecDeque<Sent>,
    sequence: u16,
    highest: u64,
    used_at: [Option<Instant>; PIECES],
}

impl Sender {
    pub fn new(room: usize) -> Self {
        Self { cutter: Cutter::new(room, PACKET_BYTES_MAX), sent: VecDeque::new(), sequence: 1, highest: 0, used_at: [None; PIECES] }
    }

    /// As [`Cutter::write`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Unsendable> {
        self.cutter.write(bytes)
    }

    /// As [`Cutter::take_edge`].
    pub fn take_edge(&mut self) -> bool {
        self.cutter.take_edge()
    }

    /// Packets that were left out.
    pub fn refused(&self) -> u64 {
        self.cutter.refused
    }

    /// All that was written is acknowledged.
    pub fn is_done(&self) -> bool {
        self.cutter.is_empty() && self.sent.is_empty()
    }

    /// When something is to be sent, or given up.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        let resend = self.sent.iter().map(|sent| sent.next_at).min();
        let first = if self.cutter.is_empty() || self.sent.len() >= IN_FLIGHT_MAX { None } else { Some(self.free_at().unwrap_or(now)) };
        resend.into_iter().chain(first).min()
    }

    /// A packet was sent in vain for the last time.
    pub fn has_failed(&self, now: Instant) -> bool {
        self.sent.iter().any(|sent| sent.sends >= SENDS_MAX && sent.next_at <= now)
    }

    /// How large the next frame's packet is, if one is due.
    pub fn due_bytes(&self, now: Instant) -> Option<usize> {
        let resend = self.sent.iter().find(|sent| sent.next_at <= now && sent.sends < SENDS_MAX).map(|sent| sent.packet.len());
        let is_free = self.sent.len() < IN_FLIGHT_MAX && self.free_at().is_none_or(|at| at <= now);
        resend.or_else(|| self.cutter.front_bytes().filter(|_| is_free))
    }

    /// That packet; it leaves now. The flag: it did before.
    pub fn next(&mut self, now: Instant) -> Option<(u16, &[u8], bool)> {
        self.due_bytes(now)?;
        if let Some(index) = self.sent.iter().position(|sent| sent.next_at <= now && sent.sends < SENDS_MAX) {
            let sent = &mut self.sent[index];
            sent.next_at = now + (RESEND_FIRST * (1 << sent.sends.min(3))).min(RESEND_MAX);
            sent.sends += 1;
            return Some((sent.sequence, &sent.packet, true));
        }
        let packet = self.cutter.pop()?;
        let sequence = self.sequence;
        self.used_at[piece_of(sequence)] = Some(now);
        self.sequence = sequence.wrapping_add(1);
        self.highest += 1;
        self.sent.push_back(Sent { sequence, sends: 1, next_at: now + RESEND_FIRST, packet });
        self.sent.back().map(|sent| (sent.sequence, &*sent.packet, false))
    }

    /// Takes an acknowledgement.
    pub fn acked(&mut self, sequence: u16) -> Acked {
        if let Some(sent) = self.sent.iter().position(|sent| sent.sequence == sequence).and_then(|index| self.sent.remove(index)) {
            if self.is_done() {
                self.sent = VecDeque::new();
            }
            return Acked::Now(sent.packet);
        }
        let age = self.sequence.wrapping_sub(sequence);
        if age != 0 && u64::from(age) <= self.highest { Acked::Before } else { Acked::Never }
    }

    /// The sequence of an empty DATA: none that a packet has soon, because stock peers drop what has a sequence they know.
    pub fn far_sequence(&self) -> u16 {
        self.sequence.wrapping_add(0x8000)
    }

    pub fn memory_bytes(&self) -> usize {
        self.cutter.memory_bytes() + self.sent.capacity() * size_of::<Sent>() + self.sent.iter().map(|sent| sent.packet.len()).sum::<usize>()
    }

    /// When the next sequence may be used again, if it has been used.
    fn free_at(&self) -> Option<Instant> {
        let is_first = usize::from(self.sequence) % (usize::from(u16::MAX) / PIECES + 1) == 0;
        self.used_at[piece_of(self.sequence)].filter(|_| is_first).map(|at| at + REUSE)
    }
}

fn piece_of(sequence: u16) -> usize {
    usize::from(sequence) / (usize::from(u16::MAX) / PIECES + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(sender: &mut Sender, now: Instant) -> Vec<u16> {
        let mut sequences = Vec::new();
        while let Some((sequence, ..)) = sender.next(now) {
            sequences.push(sequence);
        }
        sequences
    }

    #[test]
    fn a_packet_is_sent_six_times_and_then_it_has_failed() {
        let mut sender = Sender::new(100_000);
        sender.write(&[0xC0, 0]).expect("a packet");
        let mut times = Vec::new();
        for millis in 0..60_000 {
            let now = Instant::START + Duration::from_millis(millis);
            times.extend(drain(&mut sender, now).iter().map(|_| millis));
            if sender.has_failed(now) {
                times.push(millis);
                break;
            }
        }
        assert_eq!(times, [0, 1_000, 3_000, 7_000, 15_000, 23_000, 31_000]);
    }

    #[test]
    fn in_flight_max_is_a_limit_and_a_sequence_rests_for_a_minute() {
        let mut sender = Sender::new(1 << 20);
        let mut now = Instant::START;
        let mut sequences = Vec::new();
        while sequences.len() < 70_000 {
            sender.write(&[0xC0, 0].repeat(64)).expect("packets");
            let sent = drain(&mut sender, now);
            assert!(sent.len() <= IN_FLIGHT_MAX);
            sent.iter().for_each(|sequence| assert!(matches!(sender.acked(*sequence), Acked::Now(_))));
            sequences.extend(sent);
            now += Duration::from_millis(1);
        }
        assert_eq!((sequences[0], sequences[65_534], sequences[65_535]), (1, 65_535, 0));
        assert!(now.as_micros() > 60_000_000, "{now:?}");
        assert!(sender.acked(sequences[69_999].wrapping_add(1)) == Acked::Never || !sender.cutter.is_empty());
    }

    #[test]
    fn only_what_was_sent_can_be_acknowledged() {
        let mut sender = Sender::new(100_000);
        sender.write(&[0xC0, 0, 0xC0, 0]).expect("packets");
        drain(&mut sender, Instant::START);
        let packet: Box<[u8]> = Box::new([0xC0, 0]);
        let acked = [0, 3, 2, 2, 1].map(|sequence| sender.acked(sequence));
        assert_eq!(acked, [Acked::Never, Acked::Never, Acked::Now(packet.clone()), Acked::Before, Acked::Now(packet)]);
    }
}
