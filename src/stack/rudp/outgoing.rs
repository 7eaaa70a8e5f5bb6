//! What leaves on a connection of generation 2: the bytes of the stream, and a record of each frame until its fate is known.
//!
//! ```text
//!   ring:   acknowledged ....... next  .......  end      limit
//!           on their way, or lost      written           the peer takes no more
//! ```
//! Loss is what RFC 9002 §6.1 calls loss: a frame that nobody names is lost even if another one has brought its bytes. Bytes that another
//! record ([`Records`]) carries, or that arrived, are not sent again.
//!
//! Now and then a number is left out. Whoever acknowledges it guesses.

use super::congestion::Congestion;
use super::frame::AckBlock;
use super::records::{Fate, Leaving, RECORDS_MAX, Record, Records};
use super::ring::Ring;
use super::rtt::Rtt;
use super::serial;
use crate::base::{Duration, Instant, Rng};

/// So many later numbers arrived: it is lost (RFC 9002 §6.1.1).
const LATER_NUMBERS: i32 = 3;
/// So many numbers before the largest have a bit in an ACK block.
const NUMBERS_TOLD: i32 = 64;
/// After so many numbers at least, and twice as many at most, one is left out.
const NUMBERS_PER_GAP: u64 = 128;
/// Losses over so many probe time-outs, with nothing between them that arrived, empty the window (§7.6.1).
const PERSISTENT_TIMEOUTS: u32 = 3;

/// What an ACK block brought.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Acked {
    /// Something arrived that was not known to.
    pub progress: bool,
    /// A round trip, if it can be told.
    pub rtt: Option<Duration>,
    /// A probe of a larger frame arrived; or its bytes did, in other frames.
    pub probe: Option<bool>,
}

/// Frames that were found to be lost.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Lost {
    /// How many.
    pub frames: u32,
    /// One of them was a probe of a larger frame.
    pub probe: bool,
    /// The window was lowered for them.
    pub is_new: bool,
}

/// What the next DATA carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub offset: u32,
    pub length: u16,
    /// All of it was sent before.
    pub is_repeat: bool,
}

/// One direction of a connection, at its sender.
#[derive(Debug)]
pub struct Outgoing {
    ring: Ring,
    acknowledged: u32,
    next: u32,
    end: u32,
    limit: u32,
    room: u32,
    records: Option<Box<Records>>,
    number: u32,
    left_out: u32,
    gap_in: u64,
    in_flight: u32,
    largest_acked: u32,
    /// Bytes that were new in the last frame that had any.
    last_fresh: u32,
    last_sent_at: Option<Instant>,
    /// When the first one that is not lost yet will be, without another ACK.
    loss_at: Option<Instant>,
    wants_room: bool,
    /// Some record may be lost: otherwise nobody looks for one.
    looks_for_lost: bool,
    rng: Rng,
}

impl Outgoing {
    pub fn new(limit: u32, room: u32, mut rng: Rng) -> Self {
        let gap_in = NUMBERS_PER_GAP + rng.below(NUMBERS_PER_GAP);
        Self {
            ring: Ring::default(),
            acknowledged: 0,
            next: 0,
            end: 0,
            limit,
            room,
            records: None,
            number: 1,
            left_out: 0,
            gap_in,
            in_flight: 0,
            largest_acked: 0,
            last_fresh: 0,
            last_sent_at: None,
            loss_at: None,
            wants_room: false,
            looks_for_lost: false,
            rng,
        }
    }

    /// Takes bytes to be sent: how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let held = self.end.wrapping_sub(self.acknowledged);
        let count = bytes.len().min(self.room.saturating_sub(held) as usize);
        self.wants_room = count < bytes.len();
        if count > 0 {
            self.ring.store(held as usize, &bytes[..count], held as usize);
            self.end = self.end.wrapping_add(count as u32);
        }
        count
    }

    /// There is room again, and the writer was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        let held = self.end.wrapping_sub(self.acknowledged);
        held < self.room && core::mem::take(&mut self.wants_room)
    }

    /// Where the stream ends.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// All that was written has arrived.
    pub fn is_done(&self) -> bool {
        self.acknowledged == self.end
    }

    /// Bytes on their way.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Something is to be sent, and the peer would take no more of it.
    pub fn is_blocked(&self) -> bool {
        self.end != self.next && self.next == self.limit
    }

    /// Something is not known to have arrived, and time may tell.
    pub fn waits(&self) -> bool {
        self.in_flight > 0 || self.acknowledged != self.next
    }

    pub fn last_sent_at(&self) -> Option<Instant> {
        self.last_sent_at
    }

    pub fn loss_at(&self) -> Option<Instant> {
        self.loss_at
    }

    pub fn set_limit(&mut self, limit: u32) {
        if serial(limit, self.limit) > 0 {
            self.limit = limit;
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.ring.memory_bytes() + self.records.as_ref().map_or(0, |_| size_of::<Records>())
    }

    /// Takes an ACK block.
    ///
    /// # Errors
    /// It acknowledges what was never sent: the peer guesses, or somebody in its place.
    pub fn acked(&mut self, now: Instant, block: &AckBlock, congestion: &mut Congestion, rtt: &Rtt) -> Result<Acked, ()> {
        let is_known = block.largest == 0 || serial(block.largest, self.number) < 0;
        if !is_known || serial(block.next, self.next) > 0 || (self.left_out != 0 && block.has(self.left_out)) {
            return Err(());
        }
        self.set_limit(block.limit);
        if block.largest != 0 && serial(block.largest, self.largest_acked) > 0 {
            self.largest_acked = block.largest;
        }
        let mut acked = Acked::default();
        if let Some(records) = &mut self.records {
            for record in records.iter_mut() {
                let is_named = block.has(record.number);
                let is_passed = record.length > 0 && serial(record.end(), block.next) <= 0;
                // The bitmap ends before it: its bytes arrived, whichever frame brought them.
                let is_untold = is_passed && serial(block.largest, record.number) > NUMBERS_TOLD;
                match record.fate {
                    Fate::InFlight if is_named || is_untold => {
                        self.in_flight -= record.bytes();
                        if is_named {
                            congestion.acked(now, record.number, record.bytes(), rtt, record.leaving.was_full);
                        }
                    }
                    Fate::Lost if is_named || is_passed => {}
                    _ => continue,
                }
                if record.number == block.largest && !record.leaving.is_copy {
                    acked.rtt = Some(now.since(record.sent_at(now)));
                }
                if record.leaving.is_size_probe && record.fate == Fate::InFlight {
                    acked.probe = Some(is_named);
                }
                record.fate = if is_named { Fate::Arrived } else { Fate::Done };
                acked.progress = true;
            }
        }
        let arrived = serial(block.next, self.acknowledged);
        if arrived > 0 {
            self.acknowledged = block.next;
            self.ring.advance(arrived as usize, self.acknowledged == self.end);
            acked.progress = true;
        }
        Ok(acked)
    }

    /// Finds what is lost by now.
    pub fn find_lost(&mut self, now: Instant, congestion: &mut Congestion, rtt: &Rtt) -> Lost {
        self.loss_at = None;
        let mut lost = Lost::default();
        let Some(records) = &mut self.records else { return lost };
        let delay = rtt.loss_delay();
        let (mut first_lost, mut last_lost) = (None, None);
        for index in 0..records.len() {
            let record = *records.at(index);
            match record.fate {
                Fate::InFlight => {}
                Fate::Arrived => {
                    (first_lost, last_lost) = (None, None);
                    continue;
                }
                Fate::Lost | Fate::Done => continue,
            }
            let later = serial(self.largest_acked, record.number);
            if self.largest_acked == 0 || later <= 0 {
                break;
            }
            let (sent_at, due) = (record.sent_at(now), record.sent_at(now) + delay);
            if later < LATER_NUMBERS && due > now {
                self.loss_at = Some(self.loss_at.map_or(due, |at| at.min(due)));
                continue;
            }
            self.in_flight -= record.bytes();
            records.lose(index, self.acknowledged);
            (lost.frames, self.looks_for_lost) = (lost.frames + 1, true);
            if record.leaving.is_size_probe {
                // It says something about its size, and nothing about the way's load.
                lost.probe = true;
                continue;
            }
            lost.is_new |= congestion.lost(record.number, self.number);
            first_lost.get_or_insert(sent_at);
            last_lost = Some(sent_at);
        }
        if let (Some(first), Some(last)) = (first_lost, last_lost) {
            if rtt.is_known() && last.since(first) > rtt.probe_timeout(Duration::from_millis(25), 0) * PERSISTENT_TIMEOUTS {
                congestion.collapse();
            }
        }
        self.forget_done();
        lost
    }

    /// The way is another one: all that is on its way leaves again at once.
    pub fn resend_all(&mut self) {
        let Some(records) = &mut self.records else { return };
        for index in 0..records.len() {
            if records.at(index).fate == Fate::InFlight {
                self.in_flight -= records.at(index).bytes();
                records.lose(index, self.acknowledged);
            }
        }
        (self.loss_at, self.looks_for_lost) = (None, true);
        self.forget_done();
    }

    /// Frames of more than so many bytes do not get through: what they carried leaves again in smaller ones.
    pub fn resend_larger(&mut self, bytes_max: u32) {
        let Some(records) = &mut self.records else { return };
        for index in 0..records.len() {
            let record = *records.at(index);
            if record.fate == Fate::InFlight && record.bytes() > bytes_max {
                self.in_flight -= record.bytes();
                records.lose(index, self.acknowledged);
            }
        }
        self.looks_for_lost = true;
        self.forget_done();
    }

    /// The largest frame on its way.
    pub fn largest_in_flight(&self) -> u32 {
        let records = self.records.iter().flat_map(|records| records.iter());
        records.filter(|record| record.fate == Fate::InFlight).map(Record::bytes).max().unwrap_or(0)
    }

    /// What the next DATA with room for so many bytes carries: what is lost first, then what is new.
    pub fn next_segment(&self, room: u16, redundancy: bool) -> Option<Segment> {
        let is_full = self.records.as_ref().is_some_and(|records| records.is_full());
        // Lost ones become fewer by being sent again, or [`Records::make_room`] makes one of several.
        if is_full && self.count(Fate::InFlight) > RECORDS_MAX / 2 {
            return None;
        }
        if let Some(segment) = self.lost_segment(room) {
            return Some(segment);
        }
        let length = self.fresh_bytes().min(room.into());
        if length == 0 || is_full {
            return None;
        }
        let before = if redundancy { self.repeatable(u32::from(room) - length) } else { 0 };
        Some(Segment { offset: self.next.wrapping_sub(before), length: (length + before) as u16, is_repeat: false })
    }

    /// For a probe: the oldest bytes that did not arrive; behind `from`, if that is farther, the oldest of those that are on their way,
    /// or new ones. There are none: the oldest of all. And what follows them.
    pub fn probe_segment(&self, from: u32, room: u16) -> Segment {
        let offset = if serial(from, self.acknowledged) <= 0 { self.acknowledged } else { self.open_behind(from).unwrap_or(self.acknowledged) };
        let fresh_end = self.next.wrapping_add(self.fresh_bytes());
        let length = fresh_end.wrapping_sub(offset).min(room.into());
        let is_repeat = serial(offset.wrapping_add(length), self.next) <= 0;
        Segment { offset, length: length as u16, is_repeat }
    }

    fn open_behind(&self, from: u32) -> Option<u32> {
        let is_open = |record: &&Record| matches!(record.fate, Fate::InFlight | Fate::Lost) && serial(record.end(), from) > 0;
        let open = self.records.iter().flat_map(|records| records.iter()).filter(is_open);
        let starts = open.map(|record| if serial(record.offset, from) > 0 { record.offset } else { from });
        starts.min_by(|left, right| serial(*left, *right).cmp(&0)).or_else(|| (self.fresh_bytes() > 0).then_some(self.next))
    }

    /// The first byte that is not known to have arrived.
    pub fn acknowledged(&self) -> u32 {
        self.acknowledged
    }

    /// Lost bytes wait to be sent again.
    pub fn has_lost(&self) -> bool {
        self.looks_for_lost && self.count(Fate::Lost) > 0
    }

    fn count(&self, fate: Fate) -> usize {
        self.records.as_ref().map_or(0, |records| records.count(fate))
    }

    /// Bytes that were never sent and may be.
    pub fn fresh_bytes(&self) -> u32 {
        let end = if serial(self.end, self.limit) < 0 { self.end } else { self.limit };
        serial(end, self.next).max(0) as u32
    }

    /// The bytes of a segment, which leaves now in a frame with this number.
    pub fn take(&mut self, now: Instant, segment: Segment, leaving: Leaving, out: &mut Vec<u8>) {
        let (first, second) = self.ring.pieces(segment.offset.wrapping_sub(self.acknowledged) as usize, segment.length.into());
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        let end = segment.offset.wrapping_add(segment.length.into());
        let records = self.records.get_or_insert_default();
        if self.looks_for_lost {
            records.settle(segment.offset, end);
            self.looks_for_lost = records.iter().any(|record| record.fate == Fate::Lost);
        }
        if records.is_full() {
            records.make_room(false);
        }
        if records.is_full() {
            // A probe, which has to leave: others will come to the bytes of what is given up.
            self.in_flight -= records.make_room(true);
        }
        let record =
            Record { number: self.number, offset: segment.offset, sent_micros: now.as_micros() as u32, length: segment.length, fate: Fate::InFlight, leaving };
        self.in_flight += record.bytes();
        records.push(record);
        let fresh = serial(end, self.next);
        if fresh > 0 {
            (self.next, self.last_fresh) = (end, fresh as u32);
        }
        self.last_sent_at = Some(now);
        self.advance_number();
        self.forget_done();
    }

    /// The number the next DATA bears.
    pub fn number(&self) -> u32 {
        self.number
    }

    fn advance_number(&mut self) {
        let following = |number: u32| if number == u32::MAX { 1 } else { number + 1 };
        self.number = following(self.number);
        self.gap_in -= 1;
        if self.gap_in == 0 {
            self.gap_in = NUMBERS_PER_GAP + self.rng.below(NUMBERS_PER_GAP);
            self.left_out = self.number;
            self.number = following(self.number);
        }
    }

    /// The first lost bytes, and lost or new ones right behind them.
    fn lost_segment(&self, room: u16) -> Option<Segment> {
        if !self.looks_for_lost {
            return None;
        }
        let mut found: Option<(u32, u32)> = None;
        for record in self.records.iter().flat_map(|records| records.iter()).filter(|record| record.fate == Fate::Lost) {
            let start = if serial(record.offset, self.acknowledged) < 0 { self.acknowledged } else { record.offset };
            match &mut found {
                None => found = Some((start, record.end())),
                Some((first, end)) if serial(start, *end) <= 0 && serial(start, *first) >= 0 => {
                    *end = if serial(record.end(), *end) > 0 { record.end() } else { *end };
                }
                Some(_) => {}
            }
        }
        let (offset, mut end) = found?;
        let is_repeat = end != self.next;
        if !is_repeat {
            end = end.wrapping_add(self.fresh_bytes());
        }
        let length = (serial(end, offset).max(0) as u32).min(room.into());
        let is_repeat = serial(offset.wrapping_add(length), self.next) <= 0;
        Some(Segment { offset, length: length as u16, is_repeat })
    }

    /// What was new in the frame before, if it is on its way, and there is room for both.
    fn repeatable(&self, room: u32) -> u32 {
        let is_on_its_way = self.last_fresh <= self.next.wrapping_sub(self.acknowledged);
        if is_on_its_way && self.last_fresh <= room / 2 { self.last_fresh } else { 0 }
    }

    fn forget_done(&mut self) {
        let Some(records) = &mut self.records else { return };
        records.forget_done();
        if records.is_empty() {
            self.records = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::CongestionControl;

    struct Side {
        outgoing: Outgoing,
        congestion: Congestion,
        rtt: Rtt,
        now: Instant,
    }

    impl Side {
        fn new(limit: u32) -> Self {
            let mut rtt = Rtt::default();
            rtt.sample(Duration::from_millis(50), Duration::ZERO);
            let outgoing = Outgoing::new(limit, 128 << 10, Rng::with_seed(1));
            Self { outgoing, congestion: Congestion::new(CongestionControl::NewReno, 1_200), rtt, now: Instant::START }
        }

        fn send(&mut self, room: u16) -> Option<(u32, Segment, Vec<u8>)> {
            let segment = self.outgoing.next_segment(room, false)?;
            let (number, mut bytes) = (self.outgoing.number(), Vec::new());
            self.outgoing.take(self.now, segment, Leaving { was_full: true, ..Leaving::default() }, &mut bytes);
            Some((number, segment, bytes))
        }

        fn ack(&mut self, largest: u32, bitmap: u64, next: u32) -> Result<(Acked, Lost), ()> {
            let block = AckBlock { largest, bitmap, next, limit: self.outgoing.limit, delay_ms: 0 };
            let acked = self.outgoing.acked(self.now, &block, &mut self.congestion, &self.rtt)?;
            Ok((acked, self.outgoing.find_lost(self.now, &mut self.congestion, &self.rtt)))
        }
    }

    #[test]
    fn what_is_lost_leaves_again_under_a_new_number_and_smaller_if_need_be() {
        let mut side = Side::new(1 << 16);
        side.outgoing.write(&(0..=255).cycle().take(5_000).collect::<Vec<u8>>());
        let sent: Vec<_> = (0..5).map(|_| side.send(1_000).expect("bytes")).collect();
        assert_eq!(sent[4].0, 5);
        let (acked, lost) = side.ack(5, 0b0111, 0).expect("legal");
        assert!(acked.progress && lost.frames == 1);
        assert_eq!(side.congestion.window(), (12_000 + 4 * 1_022) / 2);
        let again = side.send(600).expect("the front");
        assert_eq!((again.0, again.1.offset, again.1.length, again.1.is_repeat), (6, 0, 600, true));
        assert_eq!(again.2, sent[0].2[..600]);
        let rest = side.send(600).expect("the rest");
        assert_eq!((rest.1.offset, rest.1.length), (600, 400));
        assert!(side.send(600).is_none());
        assert_eq!(side.ack(7, 0b1111_01, 5_000).expect("legal").0.progress, true);
        assert!(side.outgoing.is_done());
        assert_eq!((side.outgoing.in_flight(), side.outgoing.memory_bytes()), (0, 0));
    }

    #[test]
    fn whoever_acknowledges_what_was_never_sent_is_found_out() {
        let mut side = Side::new(1 << 16);
        side.outgoing.write(&[0; 100]);
        side.send(1_000).expect("bytes");
        assert!(side.ack(2, 0, 0).is_err());
        assert!(side.ack(1, 0, 101).is_err());
        assert!(side.ack(1, 0, 100).is_ok());
        let mut seen = Vec::new();
        for _ in 0..600 {
            side.outgoing.write(&[0; 10]);
            let (number, segment, _) = side.send(1_000).expect("bytes");
            seen.push(number);
            assert!(side.ack(number, 0, segment.offset + 10).is_ok());
        }
        let left_out: Vec<u32> = seen.windows(2).filter(|pair| pair[1] - pair[0] == 2).map(|pair| pair[0] + 1).collect();
        assert!((2..=4).contains(&left_out.len()), "{left_out:?}");
        let last = *left_out.last().expect("one");
        assert!(side.ack(last + 1, 1, side.outgoing.next).is_err());
    }

    #[test]
    fn records_max_is_a_limit() {
        let mut side = Side::new(1 << 16);
        side.outgoing.write(&[0; 2_000]);
        assert_eq!((0..).take_while(|_| side.send(10).is_some()).count(), RECORDS_MAX);
        assert_eq!(side.outgoing.in_flight(), 32 * RECORDS_MAX as u32);
        side.outgoing.resend_all();
        assert_eq!((side.outgoing.in_flight(), side.send(1_000).expect("again").1.length), (0, 1_000));
    }

    #[test]
    fn whatever_is_lost_leaves_again_however_many_frames_it_takes() {
        let mut side = Side::new(1 << 20);
        side.outgoing.write(&vec![1; RECORDS_MAX * 1_000]);
        assert_eq!((0..).take_while(|_| side.send(1_000).is_some()).count(), RECORDS_MAX);
        side.outgoing.resend_all();
        let mut next = 0;
        while next < RECORDS_MAX as u32 * 1_000 {
            let sent: Vec<_> = core::iter::from_fn(|| side.send(300)).collect();
            assert!(!sent.is_empty(), "nothing leaves behind {next}");
            for (number, segment, _) in sent {
                assert_eq!(segment.offset, next, "in order, and nothing is left out");
                next += u32::from(segment.length);
                side.ack(number, 0, next).expect("legal");
            }
        }
        assert!(side.outgoing.is_done());
        assert_eq!(side.outgoing.in_flight(), 0);
    }

    #[test]
    fn a_loss_is_a_loss_even_if_other_frames_brought_the_bytes() {
        let mut side = Side::new(1 << 16);
        side.outgoing.write(&[0; 3_000]);
        (0..3).for_each(|_| _ = side.send(1_000));
        let leaving = Leaving { was_full: true, ..Leaving::default() };
        for from in [0, 1_000] {
            let segment = side.outgoing.probe_segment(from, 1_000);
            assert_eq!((segment.offset, segment.length), (from, 1_000), "a second probe carries what is behind the first");
            side.outgoing.take(side.now, segment, leaving, &mut Vec::new());
        }
        let before = side.congestion.window();
        let (acked, lost) = side.ack(5, 0b0011, 3_000).expect("legal");
        assert!(acked.progress && lost.is_new && lost.frames == 2, "{lost:?}");
        assert!(side.congestion.window() < before && side.outgoing.is_done() && !side.outgoing.has_lost());
        assert_eq!(side.outgoing.in_flight(), 0);
    }

    #[test]
    fn what_arrived_in_another_frame_does_not_leave_again_in_smaller_ones() {
        let mut side = Side::new(1 << 16);
        side.outgoing.write(&[0; 1_000]);
        side.send(1_000).expect("bytes");
        let copy = side.outgoing.probe_segment(0, 1_000);
        side.outgoing.take(side.now, copy, Leaving { is_copy: true, ..Leaving::default() }, &mut Vec::new());
        side.ack(1, 0, 1_000).expect("legal");
        assert!(side.outgoing.is_done() && side.outgoing.largest_in_flight() == 1_022, "nobody has named the copy");
        side.outgoing.resend_larger(576);
        assert_eq!(side.send(600), None, "there is nothing to be sent");
        assert_eq!((side.outgoing.in_flight(), side.outgoing.memory_bytes()), (0, 0));
    }

    #[test]
    fn the_room_of_the_writer_is_a_limit_and_the_edge_is_told_once() {
        let mut side = Side::new(1 << 20);
        assert_eq!(side.outgoing.write(&vec![1; 200_000]), 128 << 10);
        assert!(!side.outgoing.take_edge());
        side.send(1_000).expect("bytes");
        side.ack(1, 0, 1_000).expect("legal");
        assert!(side.outgoing.take_edge() && !side.outgoing.take_edge());
        assert_eq!(side.outgoing.write(&[1; 2_000]), 1_000);
    }
}
