//! What is known of each frame of a connection of generation 2, from when it leaves until its fate is known.
//!
//! A record moves one way: in flight, then arrived or lost; a lost one is done with when its bytes left again in another
//! frame. Records are kept in the order of their numbers, and leave at the front. What is done with between others leaves when there is
//! no room.

use heapless::Deque;

use super::frame::DATA_OVERHEAD;
use super::serial;
use crate::base::{Duration, Instant};

/// Frames whose fate is not known.
pub(super) const RECORDS_MAX: usize = 128;
/// No frame has it.
const NO_NUMBER: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    InFlight,
    Arrived,
    /// Its bytes are to be sent again.
    Lost,
    /// They were, or need not be.
    Done,
}

#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub number: u32,
    pub offset: u32,
    /// The low half of the microseconds: records do not get an hour old.
    pub sent_micros: u32,
    pub length: u16,
    pub fate: Fate,
    pub leaving: Leaving,
}

/// What is to be known of a frame when its fate is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// It is larger than any that was proved.
    pub is_size_probe: bool,
    /// The same bytes left just before, and it waited behind them: no round trip is told by it.
    pub is_copy: bool,
    /// The congestion window was full when it left, or nearly.
    pub was_full: bool,
}

impl Record {
    pub fn end(&self) -> u32 {
        self.offset.wrapping_add(self.length.into())
    }

    pub fn sent_at(&self, now: Instant) -> Instant {
        now - Duration::from_micros(u64::from((now.as_micros() as u32).wrapping_sub(self.sent_micros)))
    }

    pub fn bytes(&self) -> u32 {
        u32::from(self.length) + DATA_OVERHEAD as u32
    }

    /// All bytes of `other` are in it.
    fn covers(&self, other: &Self) -> bool {
        serial(self.offset, other.offset) <= 0 && serial(self.end(), other.end()) >= 0
    }
}

/// Those of one direction.
#[derive(Default, Debug)]
pub struct Records(Deque<Record, RECORDS_MAX>);

impl Records {
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Record> {
        self.0.iter_mut()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    pub fn count(&self, fate: Fate) -> usize {
        self.iter().filter(|record| record.fate == fate).count()
    }

    pub fn at(&mut self, index: usize) -> &mut Record {
        let (first, second) = self.0.as_mut_slices();
        if index < first.len() { &mut first[index] } else { &mut second[index - first.len()] }
    }

    /// A frame leaves. There is room for it.
    pub fn push(&mut self, record: Record) {
        let is_kept = self.0.push_back(record).is_ok();
        debug_assert!(is_kept, "there was room for a record");
    }

    /// It is lost; done with if nothing of its bytes has to leave again: they arrived, or another one carries them.
    pub fn lose(&mut self, index: usize, acknowledged: u32) {
        let record = *self.at(index);
        let carries = |other: &Record| other.number != record.number && other.fate != Fate::Done && other.covers(&record);
        let is_needless = record.length == 0 || serial(record.end(), acknowledged) <= 0 || self.iter().any(carries);
        self.at(index).fate = if is_needless { Fate::Done } else { Fate::Lost };
    }

    /// Bytes from `start` to `end` leave again: lost records have so much less to ask for.
    pub fn settle(&mut self, start: u32, end: u32) {
        for record in self.iter_mut().filter(|record| record.fate == Fate::Lost) {
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

    /// Drops what is done with between others, and makes one of lost neighbours: what is told about their numbers is too late.
    /// `gives_up`: drops another one in any case, the first one in flight if there is one, and says how many bytes that was.
    pub fn make_room(&mut self, gives_up: bool) -> u32 {
        let mut given_up = 0;
        for _ in 0..self.len() {
            let Some(record) = self.0.pop_front() else { break };
            let joins = |last: &&mut Record| last.fate == Fate::Lost && last.end() == record.offset && last.length.checked_add(record.length).is_some();
            match record.fate {
                Fate::Arrived | Fate::Done => {}
                Fate::InFlight if gives_up && given_up == 0 => given_up = record.bytes(),
                Fate::Lost => match self.0.back_mut().filter(joins) {
                    Some(last) => (last.number, last.length) = (NO_NUMBER, last.length + record.length),
                    None => self.push(record),
                },
                Fate::InFlight => self.push(record),
            }
        }
        if gives_up && self.is_full() {
            self.0.pop_front();
        }
        given_up
    }

    /// Drops what is done with at the front.
    pub fn forget_done(&mut self) {
        while self.0.front().is_some_and(|record| matches!(record.fate, Fate::Arrived | Fate::Done)) {
            self.0.pop_front();
        }
    }
}
