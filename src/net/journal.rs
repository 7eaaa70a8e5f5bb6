//! The durable log's face, with a backend in memory.

use std::collections::VecDeque;

/// Position in the log: the number of records before and including this one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct LogSequence(pub u64);

/// Keeps the newest records in memory and confirms each at once.
#[derive(Debug)]
pub struct MemoryJournal {
    records: VecDeque<Box<[u8]>>,
    bytes: usize,
    bytes_max: usize,
    last: LogSequence,
}

impl MemoryJournal {
    /// A log that forgets its oldest records beyond `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self { records: VecDeque::new(), bytes: 0, bytes_max, last: LogSequence::default() }
    }

    /// Appends a record.
    pub fn append(&mut self, record: &[u8]) -> LogSequence {
        self.last.0 += 1;
        self.bytes += record.len();
        self.records.push_back(record.into());
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.records.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.last
    }

    /// Everything appended is safe: as safe as memory is.
    pub fn confirmed(&self) -> LogSequence {
        self.last
    }

    /// The records still kept, oldest first.
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.iter().map(|record| &record[..])
    }
}
