//! One network connection of a client: what ends when the socket ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Charge, Instant, OutBuffer, PeerProcess, Seat, ShortText, Wheel};
use crate::codec::{self, Reason, SubscribeOptions, Version};
use crate::proto::{AliasIn, AliasOut, OWED_BYTES_MAX};
use crate::route::RetainedCursor;
use crate::stack::{About, DatagramWatch};

use super::hooks::Decision;
use super::rate::Entry;
use super::rules::Rules;
use super::session::{SLOT_BYTES, SessionKey};
use super::shard::TimerKey;

slotmap::new_key_type! {
    /// Names a connection of a shard; an old key finds nothing.
    pub struct ConnKey;
}

/// Where a connection is in its life (MQTT 5 §3.1.4, §4.12, §4.13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing but CONNECT may come.
    AwaitConnect,
    /// CONNECT came, of a client that is at home in another shard: about to be handed over.
    Leaving,
    /// CONNECT was taken; AUTH goes back and forth.
    Authenticating,
    /// CONNACK with success was sent.
    Connected,
    /// What is in the out-buffer is sent, then the socket is closed. Input is ignored.
    Closing,
}

/// One client's network connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub state: State,
    pub version: Version,
    pub session: Option<SessionKey>,
    pub flags: Flags,
    /// Bytes waiting to be sent.
    pub out: OutBuffer,
    /// The unfinished packet at the end of the last read, or everything while parked.
    pub partial: Vec<u8>,
    pub peer: ShortText,
    /// 0 = no keep-alive.
    pub keep_alive_s: u16,
    pub last_input: Instant,
    pub opened: Instant,
    /// The earliest timer this connection has in the wheel.
    pub timer: Option<Instant>,
    pub alias_in: AliasIn,
    pub alias_out: AliasOut,
    /// The client's Maximum Packet Size, at most what a packet can be.
    pub packet_bytes_max: u32,
    /// Since when the out-buffer is over its mark.
    pub slow_since: Option<Instant>,
    /// Why it is not read; a parked connection is not paused.
    pub pause: Option<Pause>,
    /// Since when `partial` has an unfinished packet that was not looked after.
    pub unfinished_since: Option<Instant>,
    pub parked: Option<Box<Parked>>,
    /// The CONNECT packet while AUTH goes on, and the method of every later AUTH.
    pub auth: Option<Box<Auth>>,
    pub retained: Option<Box<RetainedJobs>>,
    /// What its listener says of it, if it says anything.
    pub entry: Option<Box<Entry>>,
    /// What its layers have learnt of the client.
    pub about: Option<Arc<About>>,
    /// Of one over datagrams.
    pub watch: Option<Arc<dyn DatagramWatch>>,
    pub charge: Charge,
    /// Its place among all connections of the server.
    pub _seat: Seat,
}

/// Why this server does not read from a client. Keep-alive rests meanwhile: the silence is ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pause {
    /// The budget is exhausted.
    Memory,
    /// Its out-buffer is over its mark, and its socket full.
    Output,
    /// What it sends might be for a worker, or an application, that has no room.
    Congestion,
    /// It has sent more than its listener lets it for now.
    Rate,
}

/// Single bits of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// On the dirty list.
    pub dirty: bool,
    /// The last write found the socket full.
    pub blocked: bool,
    /// On the list of those held back (see `input`).
    pub held: bool,
    /// It has sent more than its listener lets it for now (see `rate`).
    pub throttled: bool,
    /// On the work list (retained delivery).
    pub working: bool,
    /// Request Problem Information was 0: no reason strings (MQTT 5 §3.1.2.11.7).
    pub no_problem_information: bool,
    /// The will was discarded by DISCONNECT, or is not to be sent.
    pub discard_will: bool,
    /// What the listener says of clients without a user name.
    pub allow_anonymous: Option<bool>,
}

/// Enhanced authentication (MQTT 5 §4.12).
#[derive(Debug)]
pub(super) struct Auth {
    pub method: Box<str>,
    pub connect: Vec<u8>,
    /// Re-authentication began and is not finished.
    pub again: bool,
    /// For CONNACK, while the hook `authorize` thinks about the will.
    pub last_data: Option<Vec<u8>>,
}

/// By filter: a client that subscribes again and again has one job for each filter, which begins
/// anew, and one of a hundred thousand jobs is found without looking at the others.
pub(super) type RetainedJobs = BTreeMap<Box<str>, RetainedJob>;

/// Retained messages still to be sent for one subscription.
#[derive(Debug)]
pub(super) struct RetainedJob {
    pub options: SubscribeOptions,
    pub subscription_id: Option<u32>,
    pub cursor: RetainedCursor,
    /// For itself, its filter and its cursor.
    pub charge: Charge,
}

/// A packet that waits for a hook's answer.
#[derive(Debug)]
pub(super) struct Parked {
    pub serial: u32,
    pub stage: Stage,
    /// The whole packet.
    pub packet: Vec<u8>,
    pub deadline: Instant,
    /// SUBSCRIBE: what was decided for the filters before the one that waits.
    pub verdicts: Vec<Reason>,
}

/// Which question was asked; in the order in which one packet asks them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Stage {
    Accept,
    Connect,
    Authenticate,
    AuthExchange,
    Authorize,
    Act,
}

/// A packet that goes on after its answer came.
#[derive(Debug)]
pub(super) struct Resumed {
    pub stage: Stage,
    pub decision: Decision,
    pub verdicts: Vec<Reason>,
}

impl Connection {
    pub fn new(now: Instant, peer: &str, charge: Charge, seat: Seat) -> Self {
        Self {
            state: State::AwaitConnect,
            version: Version::V311,
            session: None,
            flags: Flags::default(),
            out: OutBuffer::default(),
            partial: Vec::new(),
            peer: peer.into(),
            keep_alive_s: 0,
            last_input: now,
            opened: now,
            timer: None,
            alias_in: AliasIn::new(0),
            alias_out: AliasOut::new(0),
            packet_bytes_max: PACKET_BYTES_MAX,
            slow_since: None,
            pause: None,
            unfinished_since: None,
            parked: None,
            auth: None,
            retained: None,
            entry: None,
            about: None,
            watch: None,
            charge,
            _seat: seat,
        }
    }

    /// Puts it, whose key is `key`, on the list of those with something to send.
    pub fn mark_dirty(&mut self, key: ConnKey, dirty: &mut Vec<ConnKey>) {
        if !self.flags.dirty {
            self.flags.dirty = true;
            dirty.push(key);
        }
    }

    /// Bytes kept of what the client sent: unfinished and parked packets, the CONNECT that waits for
    /// AUTH, topics behind aliases.
    pub fn kept_bytes(&self) -> usize {
        let parked = self.parked.as_ref().map_or(0, |parked| parked.packet.capacity());
        let auth = self.auth.as_ref().map_or(0, |auth| auth.connect.capacity() + auth.method.len() + auth.last_data.as_ref().map_or(0, Vec::capacity));
        self.partial.capacity() + parked + auth + self.alias_in.bytes() + self.about.as_ref().map_or(0, |about| about.memory_bytes())
    }

    /// What every connection costs.
    pub fn own_bytes() -> usize {
        size_of::<Self>() + SLOT_BYTES + Wheel::<TimerKey>::entry_bytes()
    }

    /// The rules of its listener, if there are any.
    pub fn rules(&self) -> Option<&Rules> {
        self.entry.as_ref().map(|entry| &*entry.rules)
    }

    /// In front of every topic of its client.
    pub fn mount_point(&self) -> Option<&str> {
        self.rules()?.mount_point.as_ref().map(|mount| mount.as_str())
    }

    /// Charges what it keeps and what waits to be sent, as it is now.
    pub fn recharge(&mut self) {
        let entry = if self.entry.is_some() { size_of::<Entry>() } else { 0 };
        let kept = self.peer.heap_bytes() + self.kept_bytes() + self.alias_out.bytes() + self.out.memory_bytes();
        self.charge.resize(Self::own_bytes() + entry + kept);
    }

    /// The socket takes nothing, and more than `bytes_max` wait for it.
    pub fn is_output_stuck(&self, bytes_max: usize) -> bool {
        self.flags.blocked && self.out.len() > bytes_max
    }

    /// It is owed so much for what it sent, and takes none of it, that it is not read any more.
    pub fn is_owed_too_much(&self, bytes_max: usize) -> bool {
        self.flags.blocked && self.out.len() > bytes_max + OWED_BYTES_MAX
    }

    /// Who is behind a Unix socket.
    pub fn process(&self) -> Option<PeerProcess> {
        self.entry.as_ref().and_then(|entry| entry.process)
    }

    /// The largest packet that what carries it takes.
    pub fn link_packet_bytes_max(&self) -> u32 {
        #[cfg(feature = "datagram")]
        let bytes = self.about.as_ref().and_then(|about| about.packet_bytes_max);
        #[cfg(not(feature = "datagram"))]
        let bytes = None;
        bytes.unwrap_or(u32::MAX)
    }

    /// The largest packet its client may send; the server's limit is `server_max`.
    pub fn packet_bytes_max(&self, server_max: usize) -> usize {
        self.rules().and_then(|rules| rules.max_packet_size).map_or(server_max, |own| own.min(server_max))
    }

    /// Behind the packet that was taken the next one may be.
    pub fn goes_on(&self) -> bool {
        self.parked.is_none() && self.state != State::Closing && !self.flags.throttled
    }

    /// Messages may be written to it.
    pub fn is_open(&self) -> bool {
        self.state == State::Connected
    }
}

/// What goes to a client that names no maximum of its own.
pub(super) const PACKET_BYTES_MAX: u32 = codec::PACKET_BYTES_MAX as u32;
