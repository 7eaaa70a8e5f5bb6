//! What leaves in generation 1: whole packets, one in a frame, each sent again until it is acknowledged.

use std::collections::VecDeque;

use super::super::packet::packet_bytes;
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

/// The stream breaks: it is not MQTT, or has a packet that cannot be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsendable;

#[derive(Debug)]
struct Sent {
    sequence: u16,
    sends: u8,
    next_at: Instant,
    packet: Box<[u8]>,
}

#[derive(Debug)]
pub struct Sender {
    room: usize,
    /// A packet whose end was not written.
    partial: Vec<u8>,
    /// Bytes of a packet that is left out.
    discard: usize,
    waiting: VecDeque<Box<[u8]>>,
    waiting_bytes: usize,
    sent: VecDeque<Sent>,
    sequence: u16,
    highest: u64,
    used_at: [Option<Instant>; PIECES],
    wants_room: bool,
    /// Packets that were left out.
    pub refused: u64,
}

impl Sender {
    pub fn new(room: usize) -> Self {
        Self {
            room: room.max(2 * PACKET_BYTES_MAX),
            partial: Vec::new(),
            discard: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            sent: VecDeque::new(),
            sequence: 1,
            highest: 0,
            used_at: [None; PIECES],
            wants_room: false,
            refused: 0,
        }
    }

    /// Takes bytes of the stream: how many.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Unsendable> {
        let mut rest = bytes;
        while !rest.is_empty() && self.waiting_bytes + self.partial.len() < self.room - PACKET_BYTES_MAX {
            let skipped = self.discard.min(rest.len());
            self.discard -= skipped;
            rest = &rest[skipped..];
            rest = self.cut(rest)?;
        }
        self.wants_room = !rest.is_empty();
        Ok(bytes.len() - rest.len())
    }

    /// Takes at most one packet.
    fn cut<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Unsendable> {
        let mut front = [0; 5];
        let known = self.partial.len().min(5);
        front[..known].copy_from_slice(&self.partial[..known]);
        let more = bytes.len().min(5 - known);
        front[known..known + more].copy_from_slice(&bytes[..more]);
        let Some(length) = packet_bytes(&front[..known + more]).map_err(|()| Unsendable)? else {
            self.partial.extend_from_slice(bytes);
            return Ok(&[]);
        };
        if length > PACKET_BYTES_MAX {
            // A PUBLISH can be done without; what holds the session together cannot.
            if front[0] >> 4 != 3 {
                return Err(Unsendable);
            }
            self.refused += 1;
            let skipped = (length - self.partial.len()).min(bytes.len());
            self.discard = length - self.partial.len() - skipped;
            self.partial = Vec::new();
            return Ok(&bytes[skipped..]);
        }
        let (packet, rest) = bytes.split_at((length - self.partial.len()).min(bytes.len()));
        self.partial.extend_from_slice(packet);
        if self.partial.len() == length {
            self.waiting_bytes += length;
            self.waiting.push_back(core::mem::take(&mut self.partial).into());
        }
        Ok(rest)
    }

    /// There is room again, and the writer was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        self.waiting_bytes + self.partial.len() < self.room - PACKET_BYTES_MAX && core::mem::take(&mut self.wants_room)
    }

    /// All that was written is acknowledged.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty()
    }

    /// When something is to be sent, or given up.
    pub fn next_at(&self, now: Instant) -> Option<Instant> {
        let resend = self.sent.iter().map(|sent| sent.next_at).min();
        let first = if self.waiting.is_empty() || self.sent.len() >= IN_FLIGHT_MAX { None } else { Some(self.free_at().unwrap_or(now)) };
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
        resend.or_else(|| self.waiting.front().filter(|_| is_free).map(|packet| packet.len()))
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
        let packet = self.waiting.pop_front()?;
        self.waiting_bytes -= packet.len();
        let sequence = self.sequence;
        self.used_at[piece_of(sequence)] = Some(now);
        self.sequence = sequence.wrapping_add(1);
        self.highest += 1;
        self.sent.push_back(Sent { sequence, sends: 1, next_at: now + RESEND_FIRST, packet });
        self.sent.back().map(|sent| (sent.sequence, &*sent.packet, false))
    }

    /// Takes an acknowledgement. False: that was never sent.
    pub fn acked(&mut self, sequence: u16) -> bool {
        if let Some(index) = self.sent.iter().position(|sent| sent.sequence == sequence) {
            self.sent.remove(index);
            if self.is_done() {
                (self.sent, self.waiting) = (VecDeque::new(), VecDeque::new());
            }
            return true;
        }
        let age = self.sequence.wrapping_sub(sequence);
        age != 0 && u64::from(age) <= self.highest
    }

    pub fn memory_bytes(&self) -> usize {
        let places = self.sent.capacity() * size_of::<Sent>() + self.waiting.capacity() * size_of::<Box<[u8]>>();
        places + self.partial.capacity() + self.waiting_bytes + self.sent.iter().map(|sent| sent.packet.len()).sum::<usize>()
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
    fn packets_are_cut_out_of_the_stream_however_it_is_written() {
        let mut sender = Sender::new(100_000);
        let stream = [&[0xC0, 0][..], &[0x30, 0x80, 1], &[7; 128], &[0x30, 2, 1, 2]].concat();
        for byte in &stream {
            assert_eq!(sender.write(core::slice::from_ref(byte)), Ok(1));
        }
        assert_eq!(sender.write(&stream), Ok(stream.len()));
        let lengths: Vec<usize> = core::iter::from_fn(|| sender.next(Instant::START).map(|(_, packet, _)| packet.len())).collect();
        assert_eq!(lengths, [2, 131, 4, 2, 131, 4]);
    }

    #[test]
    fn a_larger_publish_is_left_out_and_counted_and_anything_else_ends_it() {
        let mut sender = Sender::new(100_000);
        let mut large = vec![0x30, 0xFD, 0x3F];
        large.resize(3 + 8_189, 0);
        large.extend([0xC0, 0]);
        for piece in large.chunks(1_000) {
            assert_eq!(sender.write(piece), Ok(piece.len()));
        }
        assert_eq!((sender.refused, drain(&mut sender, Instant::START)), (1, vec![1]));
        large[0] = 0x82;
        assert_eq!(sender.write(&large), Err(Unsendable));
        assert_eq!(sender.write(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Unsendable));
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
            sent.iter().for_each(|sequence| assert!(sender.acked(*sequence)));
            sequences.extend(sent);
            now += Duration::from_millis(1);
        }
        assert_eq!((sequences[0], sequences[65_534], sequences[65_535]), (1, 65_535, 0));
        assert!(now.as_micros() > 60_000_000, "{now:?}");
        assert!(!sender.acked(sequences[69_999].wrapping_add(1)) || !sender.waiting.is_empty());
    }

    #[test]
    fn only_what_was_sent_can_be_acknowledged() {
        let mut sender = Sender::new(100_000);
        sender.write(&[0xC0, 0, 0xC0, 0]).expect("packets");
        drain(&mut sender, Instant::START);
        assert!(!sender.acked(0) && !sender.acked(3) && sender.acked(2) && sender.acked(2) && sender.acked(1));
    }
}
