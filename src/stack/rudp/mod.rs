//! MQTT over reliable UDP, both generations: one ordered stream of bytes in each direction, on one UDP socket for all.
//!
//! # Theory of operation
//! ```text
//!                         ┌ CONNECT ─ `cookie`: no state ─┐
//!   datagram ─ `frame` ─> │ id ──────> `peer`  (gen. 2)   │ <─> bytes of the stream
//!                         │ address ─> `first` (gen. 1)   │
//!                         │            `bare` (no frames) │
//!                         └───────── `endpoint` ──────────┘
//!   peer:  `incoming` numbers, order, limit · `outgoing` records, loss · `rtt` · `congestion` · `pacer` · `mtu` · `path`
//! ```
//! Generation 1 is a datagram with a sequence number and an acknowledgement; stock peers speak it. Generation 2 keeps its
//! first four bytes and its port, and is a transport by the book: RFC 9002 for loss and congestion, 64-bit ids instead of
//! addresses, a cookie before any state. `WIRE.md` beside this file is the document from which somebody else can write a
//! peer; `tests/rudp/vectors` has its vectors.
//!
//! `udp://` is neither: bare packets of MQTT in datagrams, as stock peers send them, too.
//!
//! Everything here is pure: time and randomness are handed in, sockets are the host's. [`Endpoint`] is the
//! [`DatagramEndpoint`](super::DatagramEndpoint).

mod bare;
mod congestion;
mod cookie;
mod cutter;
mod endpoint;
mod first;
pub mod frame;
mod incoming;
mod known;
mod mtu;
mod options;
mod outgoing;
mod pacer;
pub mod packet;
mod path;
mod peer;
mod records;
mod ring;
mod rtt;
mod throttle;
mod unread;

pub use endpoint::{Counters, Endpoint, Maker};
pub use known::KnownServers;
pub use options::{Generation, Options, ResetKey};

use super::{DatagramProtocol, DatagramStatistics, Fault, FaultKind};
use crate::base::{Duration, Rng};

/// Why a connection of generation 2 was closed, as CLOSE says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Reason {
    /// All was said.
    Normal = 0,
    /// The other side was silent.
    TimeOut = 1,
    /// It broke the rules.
    Protocol = 2,
    /// There is no place for it.
    Busy = 3,
    /// The listener goes down.
    GoingDown = 4,
    /// The client is connected elsewhere.
    Replaced = 5,
}

impl Reason {
    /// The reason of this number; one that is not known ends a connection like a broken rule.
    fn of(number: u16) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::TimeOut,
            3 => Self::Busy,
            4 => Self::GoingDown,
            5 => Self::Replaced,
            _ => Self::Protocol,
        }
    }

    /// What the side that is told makes of it.
    fn fault(self) -> Fault {
        match self {
            Self::Normal | Self::TimeOut => Fault::new(FaultKind::Silent, "the other side had heard nothing for too long"),
            Self::Protocol => Fault::new(FaultKind::Datagram, "the other side says that a rule was broken"),
            Self::Busy => Fault::new(FaultKind::Refused, "the other side has no place for another connection"),
            Self::GoingDown => Fault::new(FaultKind::Refused, "the other side goes down"),
            Self::Replaced => Fault::new(FaultKind::Silent, "the other side has another connection instead"),
        }
    }
}

/// What happened on one connection, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Statistics {
    /// 1 or 2; 0: bare packets.
    pub generation: u8,
    /// The smoothed round trip.
    pub rtt: Duration,
    /// The congestion window.
    pub window_bytes: u32,
    /// The largest frame that is sent.
    pub frame_bytes: u16,
    /// Datagrams sent.
    pub frames_sent: u64,
    /// Bytes of UDP payload sent.
    pub bytes_sent: u64,
    /// Frames that came.
    pub frames_received: u64,
    /// Bytes of UDP payload that came.
    pub bytes_received: u64,
    /// Frames that did not arrive, or too late.
    pub frames_lost: u64,
    /// Frames that carried only what had been sent before.
    pub repeats: u64,
    /// Frames that came more than once.
    pub duplicates: u64,
    /// Frames for which there was no place; they were not acknowledged.
    pub frames_not_kept: u64,
    /// Full frames did not get through.
    pub steps_down: u64,
    /// The peer came to be elsewhere, or the listener has asked a client whether it is.
    pub moves: u64,
    /// Generation 1: packets that are larger than a frame, and were not sent.
    pub packets_refused: u64,
    /// Generation 1: packets that were waited for in vain.
    pub packets_missing: u64,
    /// Generation 1: of them, those that came later.
    pub packets_late: u64,
}

impl From<Statistics> for DatagramStatistics {
    fn from(from: Statistics) -> Self {
        Self {
            protocol: match from.generation {
                0 => DatagramProtocol::BareUdp,
                1 => DatagramProtocol::ReliableUdpOne,
                _ => DatagramProtocol::ReliableUdpTwo,
            },
            round_trip: from.rtt,
            window_bytes: from.window_bytes.into(),
            datagram_bytes_max: from.frame_bytes.into(),
            datagrams_sent: from.frames_sent,
            bytes_sent: from.bytes_sent,
            datagrams_received: from.frames_received,
            bytes_received: from.bytes_received,
            datagrams_lost: from.frames_lost,
            retransmissions: from.repeats,
            path_changes: from.moves,
        }
    }
}

/// What the user of a connection has not been told.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Marks {
    is_opened: bool,
    is_readable: bool,
    is_writable: bool,
    is_moved: bool,
    /// It was said, or is about to be, how it ended.
    is_ended: bool,
}

/// How long a client waits before it repeats its CONNECT once more: about 2 s, then 4 s, not everybody at the same time.
fn repeat_wait(repeats: u32, rng: &mut Rng) -> Duration {
    let wait = Duration::from_secs(1 << repeats.min(2));
    wait * 3 / 4 + rng.jitter(wait / 2)
}

/// How far `left` lies behind `right`, modulo 2^32 (RFC 1982).
fn serial(left: u32, right: u32) -> i32 {
    left.wrapping_sub(right) as i32
}
