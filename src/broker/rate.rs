//! Clients that send more than their listener lets them.
//!
//! Each connection has a bucket for PUBLISH packets and one for bytes, if its listener limits them.
//! They are charged for a packet when it is taken. An empty one stops the decoding behind that packet: what
//! was read already is kept in `partial`, at most one read, and the client is not read until there is
//! room again, which is when its timer goes on with what was kept. Keep-alive rests meanwhile, as for
//! every other reason not to read.
//!
//! Through layers the bytes of the link are charged instead of those of packets, so that pings of a WebSocket and
//! empty records of TLS have a rate, too: behind what they brought, so that a packet is not late for its own size.
//!
//! A client that has gone meanwhile keeps its place for [`GONE_TIME_MAX`], in which what it sent last may still be taken; then
//! the connection ends like any that is lost.

use std::sync::Arc;

use super::connection::ConnKey;
use super::rules::Rules;
use super::shard::Shard;
use crate::base::{Bucket, Duration, Instant, PeerProcess};
use crate::codec::Frame;

/// What a connection remembers of where it came in, if there is anything to remember.
#[derive(Debug)]
pub(super) struct Entry {
    pub rules: Arc<Rules>,
    pub process: Option<PeerProcess>,
    /// The listener where a trusted proxy came in that has not said yet who is behind it: the accept hook waits for that.
    pub stranger_at: Option<Box<str>>,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Bytes are charged where they are read from the link.
    counts_link: bool,
    /// Since when its link is known to have ended while it was over its rate.
    gone_since: Option<Instant>,
}

/// The type of a PUBLISH, in the first byte of a packet (§2.1.2).
const PUBLISH: u8 = 3;

impl Entry {
    pub fn new(now: Instant, rules: Option<&Arc<Rules>>, process: Option<PeerProcess>) -> Self {
        let rules = rules.cloned().unwrap_or_default();
        let bucket = |rate: Option<u32>| rate.map(|rate| Bucket::new(now, rate));
        Self { process, stranger_at: None, messages: bucket(rules.rate_messages), bytes: bucket(rules.rate_bytes), counts_link: false, gone_since: None, rules }
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

/// So long what a client has sent beyond its rate may wait when the client is gone.
const GONE_TIME_MAX: Duration = Duration::from_secs(5);

impl Shard {
    /// Bytes of this connection are charged where they are read: it has layers.
    pub fn counts_link(&mut self, key: ConnKey) {
        if let Some(entry) = self.connections.get_mut(key).and_then(|connection| connection.entry.as_mut()) {
            entry.counts_link = true;
        }
    }

    /// So many bytes were read from the link of a connection with layers.
    pub fn charge_link(&mut self, now: Instant, key: ConnKey, bytes: usize) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return };
        if connection.entry.as_mut().is_some_and(|entry| !entry.charge(now, false, bytes)) {
            connection.flags.throttled = true;
            self.arm_connection(key);
        }
    }

    /// The link of a client has ended that is not read. True: for too long does it keep its place because of its rate; the host closes it.
    pub fn is_given_up(&mut self, now: Instant, key: ConnKey) -> bool {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.flags.throttled) else { return false };
        let Some(entry) = &mut connection.entry else { return false };
        let since = *entry.gone_since.get_or_insert(now);
        let is_given_up = since + GONE_TIME_MAX <= now;
        if is_given_up {
            self.stats.rate_given_up += 1;
            let peer = &connection.peer;
            self.hooks.log(3, &|| format!("{peer}: gone, and over its rate: what it sent last is not taken"));
        }
        is_given_up
    }

    /// A packet of a connected client is taken.
    pub(super) fn charge_rate(&mut self, now: Instant, key: ConnKey, frame: Frame<'_>, bytes: usize) {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open()) else { return };
        let Some(entry) = &mut connection.entry else { return };
        let bytes = if entry.counts_link { 0 } else { bytes };
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
