//! A connection, whichever way it speaks.

use crate::base::Instant;
use crate::stack::Fault;
use crate::stack::rudp::bare::{BARE_PACKET_BYTES_MAX, Bare};
use crate::stack::rudp::first::{First, PACKET_BYTES_MAX};
use crate::stack::rudp::peer::{Peer, Way};
use crate::stack::rudp::{Marks, Reason, Statistics};

#[derive(Debug)]
pub(super) enum Kind {
    First(Box<First>),
    Second(Box<Peer>),
    Bare(Box<Bare>),
}

/// What got lost of a connection.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Losses {
    pub not_kept: u64,
    pub packets_missing: u64,
}

impl Kind {
    pub fn way(&self) -> Way {
        match self {
            Self::First(first) => first.way(),
            Self::Second(peer) => peer.way(),
            Self::Bare(bare) => bare.way(),
        }
    }

    /// By which generation 2 finds it.
    pub fn own_id(&self) -> Option<u64> {
        if let Self::Second(peer) = self { Some(peer.own_id()) } else { None }
    }

    pub fn is_over(&self) -> bool {
        match self {
            Self::First(first) => first.is_over(),
            Self::Second(peer) => peer.is_over(),
            Self::Bare(bare) => bare.is_over(),
        }
    }

    /// Its first packet is not there.
    pub fn is_half_open(&self) -> bool {
        matches!(self, Self::Second(peer) if peer.is_half_open())
    }

    /// Its address is not proved.
    pub fn is_unproven(&self) -> bool {
        match self {
            Self::First(first) => first.is_unproven(),
            Self::Second(_) => false,
            Self::Bare(bare) => bare.is_unproven(),
        }
    }

    /// The largest packet of MQTT it carries, if there is such a thing.
    pub fn packet_bytes_max(&self) -> Option<u32> {
        match self {
            Self::First(_) => Some(PACKET_BYTES_MAX as u32),
            Self::Second(_) => None,
            Self::Bare(_) => Some(BARE_PACKET_BYTES_MAX as u32),
        }
    }

    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::First(first) => first.deadline(now),
            Self::Second(peer) => peer.deadline(now),
            Self::Bare(bare) => bare.deadline(),
        }
    }

    pub fn expire(&mut self, now: Instant) {
        match self {
            Self::First(first) => first.expire(now),
            Self::Second(peer) => peer.expire(now),
            Self::Bare(bare) => bare.expire(now),
        }
    }

    pub fn read(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        match self {
            Self::First(first) => first.read(buffer),
            Self::Second(peer) => peer.read(now, buffer),
            Self::Bare(bare) => bare.read(buffer),
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::First(first) => first.write(bytes),
            Self::Second(peer) => peer.write(bytes),
            Self::Bare(bare) => bare.write(bytes),
        }
    }

    pub fn finish(&mut self, now: Instant) {
        match self {
            Self::First(first) => first.finish(now),
            Self::Second(peer) => peer.finish(now),
            Self::Bare(bare) => bare.finish(),
        }
    }

    pub fn close(&mut self, now: Instant) {
        match self {
            Self::First(first) => first.close(),
            Self::Second(peer) => peer.close(now, Reason::Normal),
            Self::Bare(bare) => bare.finish(),
        }
    }

    /// Appends one datagram: where to. `None`: nothing now. `token`: what a RESET for it would bear.
    pub fn transmit(&mut self, now: Instant, token: u64, out: &mut Vec<u8>) -> Option<Way> {
        match self {
            Self::First(first) => first.transmit(now, out).then(|| first.way()),
            Self::Second(peer) => peer.transmit(now, token, out),
            Self::Bare(bare) => bare.transmit(out).then(|| bare.way()),
        }
    }

    /// What its user has to hear.
    pub fn said(&mut self) -> (&mut Marks, &mut Option<Option<Fault>>) {
        match self {
            Self::First(first) => (&mut first.marks, &mut first.ending),
            Self::Second(peer) => (&mut peer.marks, &mut peer.ending),
            Self::Bare(bare) => (&mut bare.marks, &mut bare.ending),
        }
    }

    /// What it has counted that is counted for all connections, too, since it was made.
    pub fn losses(&self) -> Losses {
        let (not_kept, packets_missing) = match self {
            Self::First(first) => first.losses(),
            Self::Second(peer) => (peer.statistics.frames_not_kept, 0),
            Self::Bare(bare) => (bare.statistics().frames_not_kept, 0),
        };
        Losses { not_kept, packets_missing }
    }

    /// Those who wanted its place, and were turned away since this was asked last.
    pub fn take_refused(&mut self) -> u64 {
        if let Self::First(first) = self { first.take_refused() } else { 0 }
    }

    pub fn statistics(&self) -> Statistics {
        match self {
            Self::First(first) => first.statistics(),
            Self::Second(peer) => Statistics { generation: 2, ..peer.statistics() },
            Self::Bare(bare) => bare.statistics(),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        match self {
            Self::First(first) => size_of::<First>() + first.memory_bytes(),
            Self::Second(peer) => size_of::<Peer>() + peer.memory_bytes(),
            Self::Bare(bare) => size_of::<Bare>() + bare.memory_bytes(),
        }
    }
}
