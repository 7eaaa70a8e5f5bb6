//! What a connection may make us hold, and is charged with.
//!
//! Of a peer that sends byte by byte with gaps, quinn-proto holds more than its bytes: it bounds that (1,024 pieces, and half as much again or 32 KiB
//! of memory that is not used), and we do not charge it.
//!
//! # Theory of operation
//! What came and was not read, and what was sent and not acknowledged, lies inside quinn-proto, which does not say how much that is. It says
//! how much it may be:
//! * The peer may send up to the limit it was told, of which so much was read. So that this is little for a connection at rest, the window is
//!   small at first, twice as large whenever a full one was read within [`PACE`], and small again after [`REST`] without reading.
//! * What was written is held until it is acknowledged, and no more of it than the window of sending. Whether nothing is held any more is
//!   asked now and then: with a window of one byte, a write of nothing is refused exactly if something is. A stream that is finished takes no
//!   such question, but of that the machine tells.
//! * Of a stream that was read to its end nothing more is kept, and there is no other one: who opens one has it stopped at once.

use quinn_proto::{Connection as Machine, StreamId, VarInt};

use crate::base::{Duration, Instant};

/// What the peer may send at first before the first of it was read: more than a CONNECT packet usually has.
pub(super) const RECEIVE_BYTES_FIRST: u32 = 16 << 10;
/// What that grows to.
pub(super) const RECEIVE_BYTES_MAX: u32 = 128 << 10;
/// What waits to be sent or acknowledged.
pub(super) const SEND_BYTES_MAX: u64 = 128 << 10;
/// A reader that takes a window in so much time is given a larger one.
const PACE: Duration = Duration::from_secs(1);
/// A window that was not used for so long is small again.
const REST: Duration = Duration::from_secs(10);
/// So often at most it is asked whether all is acknowledged ...
const ASK_INTERVAL: Duration = Duration::from_secs(1);
/// ... and not at all for less than this.
const ASKED_BYTES_MIN: u64 = 1 << 10;

pub(super) struct Windows {
    receive: u64,
    /// How much the peer may have sent since the beginning.
    limit: u64,
    read: u64,
    /// What was granted beyond a window that is smaller by now: so much is read without granting more.
    debt: u64,
    /// When the present pace began to be looked at, and what was read by then.
    paced: (Instant, u64),
    read_at: Instant,
    /// Written since nothing was held.
    written: u64,
    asked_at: Instant,
    /// What came was read to its end.
    is_at_end: bool,
}

impl Windows {
    pub fn new(now: Instant) -> Self {
        let receive = RECEIVE_BYTES_FIRST.into();
        Self { receive, limit: receive, read: 0, debt: 0, paced: (now, 0), read_at: now, written: 0, asked_at: now, is_at_end: false }
    }

    /// So much was read.
    pub fn read(&mut self, now: Instant, count: usize, machine: &mut Machine) {
        let count = count as u64;
        self.read += count;
        self.limit += count.saturating_sub(self.debt);
        self.debt = self.debt.saturating_sub(count);
        self.read_at = now;
        let (since, before) = self.paced;
        if now.since(since) > PACE {
            self.paced = (now, self.read);
        } else if self.read - before >= self.receive {
            self.paced = (now, self.read);
            self.set(2 * self.receive, machine);
        }
    }

    fn set(&mut self, receive: u64, machine: &mut Machine) {
        let receive = receive.clamp(RECEIVE_BYTES_FIRST.into(), RECEIVE_BYTES_MAX.into());
        self.limit += receive.saturating_sub(self.receive);
        self.debt += self.receive.saturating_sub(receive);
        if receive != self.receive {
            self.receive = receive;
            machine.set_receive_window(VarInt::from(u32::try_from(receive).expect("no more than the largest")));
        }
    }

    /// So much was written.
    pub fn wrote(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// All that was ever written has arrived.
    pub fn said(&mut self) {
        self.written = 0;
    }

    /// All that will ever come was read.
    pub fn at_end(&mut self) {
        self.is_at_end = true;
    }

    /// Takes back what is not used.
    pub fn settle(&mut self, now: Instant, machine: &mut Machine, stream: Option<StreamId>) {
        if now.since(self.read_at) > REST {
            self.set(RECEIVE_BYTES_FIRST.into(), machine);
        }
        let Some(stream) = stream.filter(|_| self.written >= ASKED_BYTES_MIN && now.since(self.asked_at) >= ASK_INTERVAL) else { return };
        self.asked_at = now;
        machine.set_send_window(1);
        let is_empty = machine.send_stream(stream).write(&[]).is_ok();
        machine.set_send_window(SEND_BYTES_MAX);
        if is_empty {
            self.written = 0;
        }
    }

    /// What the connection may hold now.
    pub fn bytes(&self) -> usize {
        let received = if self.is_at_end { 0 } else { self.limit - self.read };
        let sent = self.written.min(SEND_BYTES_MAX);
        // Whole datagrams are kept, and a list of them.
        usize::try_from(received + received / 8 + sent).unwrap_or(usize::MAX)
    }
}
