//! Clients that send more than their listener lets them.
//!
//! Each connection has a bucket for PUBLISH packets and one for bytes, if its listener limits them.
//! They are charged for a packet when it is taken. An empty one stops the decoding behind that packet: what
//! was read already is kept in `partial`, at most one read, and the client is not read until there is
//! room again, which is when its timer goes on with what was kept. Keep-alive rests meanwhile, as for
//! every other reason not to read.

use std::sync::Arc;

use super::connection::ConnKey;
use super::rules::Rules;
use super::shard::Shard;
use crate::base::{Bucket, Instant, PeerProcess};
use crate::codec::Frame;

/// What a connection remembers of where it came in, if there is anything to remember.
#[derive(Debug)]
pub(super) struct Entry {
    pub rules: Arc<Rules>,
    pub process: Option<PeerProcess>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// The type of a PUBLISH, in the first byte of a packet (§2.1.2).
const PUBLISH: u8 = 3;

impl Entry {
    pub fn new(now: Instant, rules: Option<&Arc<Rules>>, process: Option<PeerProcess>) -> Self {
        let rules = rules.cloned().unwrap_or_default();
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(now, rate));
        Self { process, messages: bucket(rules.rate_messages), bytes: bucket(rules.rate_bytes), rules }
    }

    /// The buckets that are there, with their rates.
    fn buckets(&mut self) -> impl Iterator<Item = (&mut Bucket, u32)> {
        let messages = self.messages.as_mut().zip(self.rules.rate_messages);
        messages.into_iter().chain(self.bytes.as_mut().zip(self.rules.rate_bytes))
    }

    /// False: one of the buckets is empty now.
    fn charge(&mut self, now: Instant, is_publish: bool, bytes: usize) -> bool {
        let messages = self.messages.as_mut().zip(self.rules.rate_messages).filter(|_| is_publish);
        let messages = messages.is_none_or(|(bucket, rate)| bucket.take(now, rate, 1));
        let bytes = self.bytes.as_mut().zip(self.rules.rate_bytes).is_none_or(|(bucket, rate)| bucket.take(now, rate, bytes));
        messages && bytes
    }

    fn ready_at(&self) -> Option<Instant> {
        let messages = self.messages.zip(self.rules.rate_messages);
        let bytes = self.bytes.zip(self.rules.rate_bytes);
        messages.into_iter().chain(bytes).map(|(bucket, rate)| bucket.ready_at(rate)).max()
    }

    fn has_room(&mut self, now: Instant) -> bool {
        self.buckets().all(|(bucket, rate)| bucket.has_room(now, rate))
    }
}

impl Shard {
    /// A packet of a connected client is taken.
    pub(super) fn charge_rate(&mut self, now: Instant, key: ConnKey, frame: Frame<'_>, bytes: usize) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return };
        let Some(entry) = &mut connection.entry else { return };
        if !entry.charge(now, frame.first >> 4 == PUBLISH, bytes) {
            connection.flags.throttled = true;
            self.arm_connection(key);
        }
    }

    /// When its client may go on.
    pub(super) fn rate_deadline(&self, key: ConnKey) -> Option<Instant> {
        let connection = self.connections.get(key).filter(|connection| connection.flags.throttled)?;
        connection.entry.as_ref()?.ready_at()
    }

    /// Goes on with a client whose buckets have room again. False: it is not that time.
    pub(super) fn end_throttle(&mut self, now: Instant, key: ConnKey) -> bool {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.flags.throttled) else { return false };
        if !connection.entry.as_mut().is_none_or(|entry| entry.has_room(now)) {
            return false;
        }
        connection.flags.throttled = false;
        self.take_rest(now, key);
        self.wants_input(now, key);
        true
    }
}
