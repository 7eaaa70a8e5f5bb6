//! Bytes from a client: cut into packets, kept while a packet is unfinished, charged while kept.
//!
//! Whole packets are decoded where they lie in the host's buffer. What remains is kept in
//! `partial`: the unfinished packet at the end, or everything that came behind a parked one. Memory
//! is taken as bytes come, never because a length was announced, and it is charged to the budget
//! when it is taken, so that ten thousand half packets are seen before they hurt:
//!
//! * A client that is not connected yet and whose CONNECT is unfinished and not small is closed when
//!   the budget is exhausted.
//! * A connected one is not read any more (`pause`). If it keeps an unfinished packet for longer than
//!   `memory_pause` it is closed with 0x97: otherwise unfinished packets could hold the memory for
//!   ever that is missing for their ends.
//!
//! While another worker or the application is behind, decoding stops after the present packet. A flush
//! is tried first; what it does not help is held in `partial`, and the client is not read meanwhile.
//!
//! What a client sends beyond its listener's rates is kept until there is room for it (`rate`).
//!
//! A client that does not read what it is owed is, after half a megabyte of that, not read either:
//! the answers to its packets, be they two bytes each, have nowhere to go. The time limit for not
//! reading is `slow_consumer_grace`.

use super::connection::{ConnKey, Connection, Pause, State};
use super::shard::{Fault, Shard};
use crate::base::Instant;
use crate::codec::{self, Reason};

/// What became of the bytes handed to [`Shard::handle_input`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// All were taken (or kept, while the connection is parked).
    Done,
    /// Write the dirty connections, then hand in the bytes after the first `consumed` again.
    Flush {
        /// Bytes taken.
        consumed: usize,
    },
}

impl Shard {
    /// Bytes came from a client.
    pub fn handle_input(&mut self, now: Instant, key: ConnKey, bytes: &[u8]) -> Progress {
        let Some(connection) = self.connections.get_mut(key) else { return Progress::Done };
        self.stats.bytes_received += bytes.len() as u64;
        connection.last_input = now;
        let kept_before = connection.kept_bytes();
        let mut rest = bytes;
        let result = self.take_packets(now, key, &mut rest);
        let result = result.and_then(|()| self.charge_kept(now, key, kept_before));
        if let Err(fault) = result {
            let is_tls = self.connections.get(key).is_some_and(|connection| connection.state == State::AwaitConnect) && bytes.starts_with(&TLS_HELLO);
            let fault = if is_tls { Fault::Reason(Reason::MALFORMED_PACKET, "TLS on a plain port") } else { fault };
            self.fail(now, key, fault);
            return Progress::Done;
        }
        if rest.is_empty() {
            return Progress::Done;
        }
        let consumed = bytes.len() - rest.len();
        self.stats.bytes_received -= rest.len() as u64;
        Progress::Flush { consumed }
    }

    /// Charges what is kept of the input. `Err`: memory is short, and there is only half a CONNECT.
    fn charge_kept(&mut self, now: Instant, key: ConnKey, kept_before: usize) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(key) else { return Ok(()) };
        let was_whole = connection.unfinished_since.is_none();
        if connection.partial.is_empty() {
            connection.unfinished_since = None;
        } else if was_whole {
            connection.unfinished_since = Some(now);
        }
        if connection.kept_bytes() != kept_before {
            connection.recharge();
        }
        let is_half = matches!(connection.state, State::AwaitConnect | State::Leaving | State::Authenticating)
            && connection.partial.len() >= SMALL_BYTES_MAX
            && connection.parked.is_none();
        if was_whole && connection.unfinished_since.is_some() {
            self.arm_connection(key);
        }
        match is_half && self.budget.is_exhausted() {
            true => Err(Fault::Reason(Reason::SERVER_BUSY, "no memory for the rest of a CONNECT")),
            false => Ok(()),
        }
    }

    /// Goes on with what was kept while the connection was parked.
    pub(super) fn take_rest(&mut self, now: Instant, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.partial.is_empty() {
            return connection.recharge();
        }
        let mut nothing: &[u8] = &[];
        let result = self.take_packets(now, key, &mut nothing).and_then(|()| self.charge_kept(now, key, usize::MAX));
        if let Err(fault) = result {
            self.fail(now, key, fault);
        }
    }

    /// Other shards or the application are behind: what one packet makes for them is bounded by its
    /// receivers, what a whole read makes would not be.
    pub fn is_congested(&self) -> bool {
        self.outbox_full || self.hooks.is_full()
    }

    /// Keeps bytes for which a flush has made no room, until [`Shard::go_on`].
    pub fn hold(&mut self, now: Instant, key: ConnKey, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.partial.extend_from_slice(bytes);
        self.hold_back(now, key);
        if let Err(fault) = self.charge_kept(now, key, usize::MAX) {
            self.fail(now, key, fault);
        }
    }

    fn hold_back(&mut self, now: Instant, key: ConnKey) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !core::mem::replace(&mut connection.flags.held, true) {
            self.held.push(key);
            self.wants_input(now, key);
        }
    }

    /// Takes what was held back, the oldest first, as far as there is room now.
    pub fn go_on(&mut self, now: Instant) {
        if self.is_congested() {
            return;
        }
        for key in core::mem::take(&mut self.held) {
            if let Some(connection) = self.connections.get_mut(key) {
                connection.flags.held = false;
                self.take_rest(now, key);
                self.wants_input(now, key);
            }
        }
    }

    /// Takes packets off `rest` until it is empty or a flush is wanted.
    fn take_packets(&mut self, now: Instant, key: ConnKey, rest: &mut &[u8]) -> Result<(), Fault> {
        while let Some(connection) = self.connections.get_mut(key) {
            let packet_max = connection.packet_bytes_max(self.options.max_packet_size);
            let is_limited = connection.entry.is_some();
            if connection.state == State::Closing {
                *rest = &[];
                return Ok(());
            }
            if connection.parked.is_some() || connection.state == State::Leaving {
                self.keep(key, rest);
                return Ok(());
            }
            if connection.flags.throttled {
                self.wants_input(now, key);
                self.keep(key, rest);
                return Ok(());
            }
            if self.flush_wanted && !rest.is_empty() {
                return Ok(());
            }
            if self.outbox_full || self.hooks.is_full() {
                if !connection.partial.is_empty() {
                    self.hold_back(now, key);
                }
                return Ok(());
            }
            if !connection.partial.is_empty() {
                if !complete_partial(&mut connection.partial, rest, packet_max)? {
                    return Ok(());
                }
                self.take_kept_packets(now, key)?;
                continue;
            }
            match codec::split(rest, packet_max)? {
                Some((frame, length)) => {
                    let whole = &rest[..length];
                    *rest = &rest[length..];
                    if is_limited {
                        self.charge_rate(now, key, frame, length);
                    }
                    self.handle_frame(now, key, frame, whole, None)?;
                    if let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.state == State::Leaving) {
                        connection.partial.extend_from_slice(whole);
                    }
                }
                None => {
                    connection.partial.extend_from_slice(rest);
                    *rest = &[];
                    return Ok(());
                }
            }
        }
        *rest = &[];
        Ok(())
    }

    /// Keeps what is not to be taken now.
    fn keep(&mut self, key: ConnKey, rest: &mut &[u8]) {
        if let Some(connection) = self.connections.get_mut(key) {
            connection.partial.extend_from_slice(rest);
        }
        *rest = &[];
    }

    /// Takes the whole packets at the front of what was kept: one that came in pieces, or all that
    /// waited behind a parked one.
    fn take_kept_packets(&mut self, now: Instant, key: ConnKey) -> Result<(), Fault> {
        let mut kept = core::mem::take(&mut self.connections[key].partial);
        let mut taken = 0;
        let packet_max = self.connections[key].packet_bytes_max(self.options.max_packet_size);
        while let Some((frame, length)) = codec::split(&kept[taken..], packet_max)? {
            let whole = &kept[taken..taken + length];
            taken += length;
            self.charge_rate(now, key, frame, length);
            self.handle_frame(now, key, frame, whole, None)?;
            match self.connections.get(key) {
                Some(connection) if connection.state == State::Leaving => {
                    // It goes along, to be taken there.
                    taken -= length;
                    break;
                }
                Some(connection) if connection.goes_on() && !self.is_congested() => {}
                _ => break,
            }
        }
        kept.drain(..taken);
        if let Some(connection) = self.connections.get_mut(key).filter(|_| !kept.is_empty()) {
            if connection.state != State::Closing {
                // A large packet is gone: the begin of the next one does not keep its memory.
                if kept.capacity() > 2 * kept.len() {
                    kept.shrink_to_fit();
                }
                connection.partial = kept;
            }
        }
        Ok(())
    }

    /// More bytes from this client are welcome: it is not parked, not closing, reads what it is sent,
    /// memory is left, and nobody else is behind.
    pub fn wants_input(&mut self, now: Instant, key: ConnKey) -> bool {
        let Some(connection) = self.connections.get(key) else { return false };
        if connection.parked.is_some() || connection.state == State::Leaving || connection.state == State::Closing {
            return false;
        }
        let pause = self.reason_to_pause(connection);
        let connection = &mut self.connections[key];
        match (pause, connection.pause) {
            (None, None) => return true,
            (Some(pause), Some(before)) if pause == before => return false,
            _ => {}
        }
        connection.pause = pause;
        match pause {
            None => connection.last_input = now,
            Some(Pause::Memory) => self.stats.budget_pauses += 1,
            Some(Pause::Output) => self.stats.output_pauses += 1,
            Some(Pause::Congestion) => self.stats.congestion_pauses += 1,
            Some(Pause::Rate) => self.stats.rate_pauses += 1,
        }
        self.arm_connection(key);
        pause.is_none()
    }

    fn reason_to_pause(&self, connection: &Connection) -> Option<Pause> {
        if !connection.is_open() {
            return None;
        }
        if connection.is_owed_too_much(self.options.max_output_bytes) {
            return Some(Pause::Output);
        }
        if connection.flags.held || self.is_congested() {
            return Some(Pause::Congestion);
        }
        if connection.flags.throttled {
            return Some(Pause::Rate);
        }
        if !self.budget.is_exhausted() {
            return None;
        }
        // Acknowledgements make room, so who owes some is read on; they are small.
        let owes = connection.session.is_some_and(|session| self.sessions[session].sender.in_flight() > 0);
        let is_free = owes && connection.partial.len() < SMALL_BYTES_MAX;
        (!is_free).then_some(Pause::Memory)
    }

    /// When to look whether an unfinished packet may be kept on.
    pub(super) fn unfinished_deadline(&self, connection: &Connection) -> Option<Instant> {
        let since = connection.unfinished_since.filter(|_| connection.is_open() && connection.parked.is_none() && !connection.flags.throttled)?;
        Some(since + self.options.memory_pause)
    }

    /// Closes a client that keeps an unfinished packet while memory is short.
    pub(super) fn unfinished_timeout(&mut self, now: Instant, key: ConnKey) {
        if self.budget.is_exhausted() {
            self.stats.unfinished_packets_closed += 1;
            return self.disconnect(now, key, Reason::QUOTA_EXCEEDED, Some("no memory for the rest of a packet"));
        }
        self.connections[key].unfinished_since = Some(now);
        self.arm_connection(key);
    }
}

/// While memory is short, this much of an unfinished packet may be kept: the acknowledgement that is
/// waited for, or a CONNECT in two pieces that gets its answer.
const SMALL_BYTES_MAX: usize = 1_024;

/// How TLS begins: a handshake record of version 3.x (RFC 8446 §5.1). As MQTT it is a CONNECT with impossible flags.
const TLS_HELLO: [u8; 2] = [22, 3];

/// Copies just enough of `rest` behind `partial` to make one whole packet; false: not enough yet.
fn complete_partial(partial: &mut Vec<u8>, rest: &mut &[u8], packet_max: usize) -> Result<bool, Fault> {
    loop {
        if codec::split(partial, packet_max)?.is_some() {
            return Ok(true);
        }
        if rest.is_empty() {
            return Ok(false);
        }
        let wanted = codec::packet_len(partial).map_or(1, |length| length - partial.len());
        let (head, tail) = rest.split_at(wanted.min(rest.len()));
        partial.extend_from_slice(head);
        *rest = tail;
    }
}
