//! What leaves on a connection of generation 2: the bytes of the stream, and a record of each frame until its fate is known.
//!
//! ```text
//!   ring:   acknowledged ....... next  .......  end      limit
//!           on their way, or lost      written           the peer takes no more
//! ```
//! A record moves one way: in flight, then arrived or lost; a lost one is done with when its bytes left again in another
//! frame. Records are kept in the order of their numbers, and leave at the front. Loss is what RFC 9002 §6.1 calls loss.
//! Bytes that another record carries, or that arrived, are not sent again.
//!
//! Now and then a number is left out. Whoever acknowledges it guesses.

use heapless::Deque;

use super::congestion::Congestion;
use super::frame::{AckBlock, DATA_OVERHEAD};
use super::ring::Ring;
use super::rtt::Rtt;
use super::serial;
use crate::base::{Duration, Instant, Rng};

/// Frames whose fate is not known.
const RECORDS_MAX: usize = 128;
/// So many later numbers arrived: it is lost (RFC 9002 §6.1.1).
const LATER_NUMBERS: i32 = 3;
/// After so many numbers at least, and twice as many at most, one is left out.
const NUMBERS_PER_GAP: u64 = 128;
/// Losses over so many probe time-outs, with nothing between them that arrived, empty the window (§7.6.1).
const PERSISTENT_TIMEOUTS: u32 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    InFlight,
    Arrived,
    /// Its bytes are to be sent again.
    Lost,
    /// They were, or need not be.
    Done,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    number: u32,
    offset: u32,
    /// The low half of the microseconds: records do not get an hour old.
    sent_micros: u32,
    length: u16,
    fate: Fate,
    is_probe: bool,
    /// The congestion window was full when it left, or nearly.
    was_full: bool,
}

impl Record {
    fn end(&self) -> u32 {
        self.offset.wrapping_add(self.length.into())
    }

    fn sent_at(&self, now: Instant) -> Instant {
        now - Duration::from_micros(u64::from((now.as_micros() as u32).wrapping_sub(self.sent_micros)))
    }

    fn bytes(&self) -> u32 {
        u32::from(self.length) + DATA_OVERHEAD as u32
    }

    /// All bytes of `other` are in it.
    fn covers(&self, other: &Self) -> bool {
        serial(self.offset, other.offset) <= 0 && serial(self.end(), other.end()) >= 0
    }
}

type Records = Deque<Record, RECORDS_MAX>;

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
    pub fn acked(&mut self, now: Instant, block: &AckBlock, congestion: &mut Congestion, rtt: &Rtt, frame_bytes: u16) -> Result<Acked, ()> {
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
                if !matches!(record.fate, Fate::InFlight | Fate::Lost) || !(is_named || is_passed) {
                    continue;
                }
                let sent_at = record.sent_at(now);
                if record.fate == Fate::InFlight {
                    self.in_flight -= record.bytes();
                    congestion.acked(now, sent_at, record.bytes(), rtt, frame_bytes, record.was_full);
                }
                if record.number == block.largest {
                    acked.rtt = Some(now.since(sent_at));
                }
                if record.is_probe {
                    acked.probe = Some(is_named);
                }
                record.fate = Fate::Arrived;
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
    pub fn find_lost(&mut self, now: Instant, congestion: &mut Congestion, rtt: &Rtt, frame_bytes: u16) -> Lost {
        self.loss_at = None;
        let mut lost = Lost::default();
        let Some(records) = &mut self.records else { return lost };
        let delay = rtt.loss_delay();
        let (mut first_lost, mut last_lost) = (None, None);
        for index in 0..records.len() {
            let record = *record_at(records, index);
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
            record_at(records, index).fate = if is_needless(records, index, self.acknowledged) { Fate::Done } else { Fate::Lost };
            lost.frames += 1;
            if record.is_probe {
                // It says something about its size, and nothing about the way's load.
                lost.probe = true;
                continue;
            }
            congestion.lost(now, sent_at, frame_bytes);
            first_lost.get_or_insert(sent_at);
            last_lost = Some(sent_at);
        }
        if let (Some(first), Some(last)) = (first_lost, last_lost) {
            if rtt.is_known() && last.since(first) > rtt.probe_timeout(Duration::from_millis(25), 0) * PERSISTENT_TIMEOUTS {
                congestion.collapse(frame_bytes);
            }
        }
        self.forget_done();
        lost
    }

    /// The way is another one: all that is on its way leaves again at once.
    pub fn resend_all(&mut self) {
        let Some(records) = &mut self.records else { return };
        for index in 0..records.len() {
            if record_at(records, index).fate == Fate::InFlight {
                self.in_flight -= record_at(records, index).bytes();
                record_at(records, index).fate = if is_needless(records, index, self.acknowledged) { Fate::Done } else { Fate::Lost };
            }
        }
        self.loss_at = None;
        self.forget_done();
    }

    /// Frames of more than so many bytes do not get through: what they carried leaves again in smaller ones.
    pub fn resend_larger(&mut self, bytes_max: u32) {
        let Some(records) = &mut self.records else { return };
        for index in 0..records.len() {
            let record = *record_at(records, index);
            if record.fate == Fate::InFlight && record.bytes() > bytes_max {
                self.in_flight -= record.bytes();
                record_at(records, index).fate = Fate::Lost;
            }
        }
    }

    /// The largest frame on its way.
    pub fn largest_in_flight(&self) -> u32 {
        let records = self.records.iter().flat_map(|records| records.iter());
        records.filter(|record| record.fate == Fate::InFlight).map(Record::bytes).max().unwrap_or(0)
    }

    /// What the next DATA with room for so many bytes carries: what is lost first, then what is new.
    pub fn next_segment(&self, room: u16, redundancy: bool) -> Option<Segment> {
        if let Some(segment) = self.lost_segment(room) {
            return Some(segment);
        }
        let length = self.fresh_bytes().min(room.into());
        if length == 0 || self.records.as_ref().is_some_and(|records| records.is_full()) {
            return None;
        }
        let before = if redundancy { self.repeatable(u32::from(room) - length) } else { 0 };
        Some(Segment { offset: self.next.wrapping_sub(before), length: (length + before) as u16, is_repeat: false })
    }

    /// For a probe: the oldest bytes that did not arrive, and what follows them.
    pub fn probe_segment(&self, room: u16) -> Segment {
        let fresh_end = self.next.wrapping_add(self.fresh_bytes());
        let length = fresh_end.wrapping_sub(self.acknowledged).min(room.into());
        let is_repeat = serial(self.acknowledged.wrapping_add(length), self.next) <= 0;
        Segment { offset: self.acknowledged, length: length as u16, is_repeat }
    }

    /// There is something for a DATA.
    pub fn has_segment(&self) -> bool {
        self.next_segment(u16::MAX, false).is_some()
    }

    /// Bytes that were never sent and may be.
    pub fn fresh_bytes(&self) -> u32 {
        let end = if serial(self.end, self.limit) < 0 { self.end } else { self.limit };
        serial(end, self.next).max(0) as u32
    }

    /// The bytes of a segment, which leaves now in a frame with this number. `was_full`: the window holds the sender back.
    pub fn take(&mut self, now: Instant, segment: Segment, is_probe: bool, was_full: bool, out: &mut Vec<u8>) {
        let (first, second) = self.ring.pieces(segment.offset.wrapping_sub(self.acknowledged) as usize, segment.length.into());
        out.extend_from_slice(first);
        out.extend_from_slice(second);
        let end = segment.offset.wrapping_add(segment.length.into());
        let records = self.records.get_or_insert_default();
        settle(records, segment.offset, end);
        if records.is_full() {
            self.in_flight -= records.pop_front().filter(|record| record.fate == Fate::InFlight).map_or(0, |record| record.bytes());
        }
        let record = Record {
            number: self.number,
            offset: segment.offset,
            sent_micros: now.as_micros() as u32,
            length: segment.length,
            fate: Fate::InFlight,
            is_probe,
            was_full,
        };
        self.in_flight += record.bytes();
        let is_kept = records.push_back(record).is_ok();
        debug_assert!(is_kept, "there was room for a record");
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
        while records.front().is_some_and(|record| matches!(record.fate, Fate::Arrived | Fate::Done)) {
            records.pop_front();
        }
        if records.is_empty() {
            self.records = None;
        }
    }
}

fn record_at(records: &mut Records, index: usize) -> &mut Record {
    let (first, second) = records.as_mut_slices();
    if index < first.len() { &mut first[index] } else { &mut second[index - first.len()] }
}

/// Nothing of this record's bytes has to leave again: they arrived, or another one carries them.
fn is_needless(records: &mut Records, index: usize, acknowledged: u32) -> bool {
    let record = *record_at(records, index);
    if record.length == 0 || serial(record.end(), acknowledged) <= 0 {
        return true;
    }
    let carries = |other: &Record| other.number != record.number && other.fate != Fate::Done && other.covers(&record);
    records.iter().any(carries)
}

/// Bytes from `start` to `end` leave again: lost records have so much less to ask for.
fn settle(records: &mut Records, start: u32, end: u32) {
    for record in records.iter_mut().filter(|record| record.fate == Fate::Lost) {
        if serial(record.offset, start) >= 0 && serial(record.end(), end) <= 0 {
            record.fate = Fate::Done;
        } else if serial(record.offset, start) >= 0 && serial(record.offset, end) < 0 {
            record.length = serial(record.end(), end) as u16;
            record.offset = end;
        } else if serial(record.offset, start) < 0 && serial(record.end(), start) > 0 {
            // Only its front was acknowledged in the meantime, or it overlaps another one.
            record.length = if serial(record.end(), end) <= 0 { serial(start, record.offset) as u16 } else { record.length };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::rudp::options::CongestionControl;

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
            self.outgoing.take(self.now, segment, false, true, &mut bytes);
            Some((number, segment, bytes))
        }

        fn ack(&mut self, largest: u32, bitmap: u64, next: u32) -> Result<(Acked, Lost), ()> {
            let block = AckBlock { largest, bitmap, next, limit: self.outgoing.limit, delay_ms: 0 };
            let acked = self.outgoing.acked(self.now, &block, &mut self.congestion, &self.rtt, 1_200)?;
            Ok((acked, self.outgoing.find_lost(self.now, &mut self.congestion, &self.rtt, 1_200)))
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
