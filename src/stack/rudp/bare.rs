//! One connection of bare packets (`udp://`), in both roles: a datagram is an MQTT packet, and nothing else goes over the wire.
//!
//! # Theory of operation
//! Nothing is acknowledged, repeated or put into order. What is lost is lost: QoS 1 and 2 are made up for when the client connects again
//! (MQTT 4.4), and a silent server is found by PINGREQ. A connection is its peer's address. On a listener it begins with a datagram that is
//! a whole MQTT CONNECT, and ends when MQTT ends it, or by silence: there is no good-bye.
//!
//! No packet of MQTT proves where its sender is; whoever can send from an address could have everything sent there. So an address
//! gets no more bytes than came from it, those of the headers of IP and UDP counted with them on both sides, unless its owner is believed
//! ([`Options::is_believed`]). What there is no allowance for waits for what comes.
//!
//! That is no proof, either, and a place is more than bytes. There are a few of them for all who are not believed, and when all are taken a
//! newcomer gets that of whoever has been silent for longest, and too long ([`Bare::gives_way_at`]): so a forger holds as many as he goes on
//! sending for.
//!
//! A second CONNECT is the client's who has begun anew only if it is the very packet this connection began with, and no copy that the network made.
//! Whoever says another one has to wait until the connection that is there has ended.

use core::net::SocketAddr;
use std::sync::Arc;

use super::cutter::Cutter;
use super::options::Options;
use super::packet::{fingerprint, is_connect, is_packet, silence_allowed};
use super::peer::{Role, Way};
use super::unread::Unread;
use super::{Marks, Statistics};
use crate::base::{Duration, Instant};
use crate::stack::{Fault, FaultKind};

/// The largest packet that is sent: what stock peers have room for.
pub(crate) const BARE_PACKET_BYTES_MAX: usize = 8_192;
/// Bytes that wait to be read.
const BYTES_MAX: usize = 128 << 10;
/// The network makes copies; for so long a CONNECT that comes again is one.
const COPY: Duration = Duration::from_secs(2);

/// What became of a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Took {
    /// It is this connection's.
    Taken,
    /// It is no packet.
    Malformed,
    /// There was no room for it, and it is lost.
    NotKept,
    /// Another CONNECT than the one this connection began with.
    Refused,
    /// The client has begun anew.
    Anew,
}

#[derive(Debug)]
pub struct Bare {
    role: Role,
    way: Way,
    is_over: bool,
    /// The user writes no more: it ends when what was written has left.
    is_finishing: bool,
    cutter: Cutter,
    unread: Unread,
    /// Bytes it may be sent; `None`: as many as there are.
    allowance: Option<usize>,
    /// What it began with.
    first_packet: u64,
    opened_at: Instant,
    received_at: Instant,
    /// More than CONNECT came.
    has_spoken: bool,
    /// A listener's side ends after so much silence.
    silence: Duration,
    pub(super) marks: Marks,
    pub(super) ending: Option<Option<Fault>>,
    statistics: Statistics,
}

impl Bare {
    /// A client's side: there is nobody to ask first.
    pub fn calling(now: Instant, way: Way, options: &Arc<Options>) -> Self {
        Self::new(now, Role::Client, way, options, &[])
    }

    /// A listener's side, for a datagram that is an MQTT CONNECT.
    pub fn called(now: Instant, way: Way, packet: &[u8], options: &Arc<Options>) -> Self {
        let mut bare = Self::new(now, Role::Listener, way, options, packet);
        if !options.is_believed(way.remote.ip()) {
            bare.allowance = Some(0);
        }
        bare.earn(packet.len());
        bare.take(packet);
        bare
    }

    fn new(now: Instant, role: Role, way: Way, options: &Options, packet: &[u8]) -> Self {
        Self {
            role,
            way,
            is_over: false,
            is_finishing: false,
            cutter: Cutter::new(options.send_bytes_max as usize, BARE_PACKET_BYTES_MAX),
            unread: Unread::default(),
            allowance: None,
            first_packet: fingerprint(packet),
            opened_at: now,
            received_at: now,
            has_spoken: false,
            silence: silence_allowed(options.silent_timeout, packet),
            marks: Marks { is_opened: true, ..Marks::default() },
            ending: None,
            statistics: Statistics::default(),
        }
    }

    pub fn way(&self) -> Way {
        self.way
    }

    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// It is not known to be where its datagrams come from.
    pub fn is_unproven(&self) -> bool {
        self.allowance.is_some()
    }

    /// Takes a datagram from its address.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Took {
        if !is_packet(bytes) {
            return Took::Malformed;
        }
        if self.role == Role::Listener && is_connect(bytes) {
            if fingerprint(bytes) != self.first_packet {
                return Took::Refused;
            }
            self.statistics.duplicates += 1;
            return if now.since(self.opened_at) < COPY { Took::Taken } else { Took::Anew };
        }
        (self.received_at, self.has_spoken) = (now, true);
        self.earn(bytes.len());
        if self.take(bytes) { Took::Taken } else { Took::NotKept }
    }

    fn take(&mut self, packet: &[u8]) -> bool {
        self.statistics.frames_received += 1;
        self.statistics.bytes_received += packet.len() as u64;
        if self.unread.bytes() + packet.len() > BYTES_MAX {
            self.statistics.frames_not_kept += 1;
            return false;
        }
        self.unread.push(packet);
        self.marks.is_readable |= self.unread.take_edge();
        true
    }

    fn earn(&mut self, bytes: usize) {
        if let Some(allowance) = &mut self.allowance {
            *allowance = allowance.saturating_add(headers_of(self.way.remote) + bytes);
        }
    }

    /// Appends one datagram to `out`. False: nothing now.
    pub fn transmit(&mut self, out: &mut Vec<u8>) -> bool {
        if self.is_over {
            return false;
        }
        let cost = self.cutter.front_bytes().map(|bytes| headers_of(self.way.remote) + bytes);
        let Some(cost) = cost.filter(|cost| self.allowance.is_none_or(|allowance| *cost <= allowance)) else {
            self.rest();
            return false;
        };
        let Some(packet) = self.cutter.pop() else { return false };
        if let Some(allowance) = &mut self.allowance {
            *allowance -= cost;
        }
        out.extend_from_slice(&packet);
        self.statistics.frames_sent += 1;
        self.statistics.bytes_sent += packet.len() as u64;
        self.marks.is_writable |= self.cutter.take_edge();
        true
    }

    /// Nothing more leaves now. Who has written his last hears how that went.
    fn rest(&mut self) {
        if self.is_finishing {
            let is_whole = self.cutter.is_empty();
            self.end((!is_whole).then(|| Fault::new(FaultKind::Silent, "what was written last may not be sent to this address without a proof")));
            self.is_over = true;
        }
    }

    /// When it has something to do; `None`: nothing by itself.
    pub fn deadline(&self) -> Option<Instant> {
        (self.role == Role::Listener && !self.is_over).then(|| self.received_at + self.silence)
    }

    /// The time has come for something.
    pub fn expire(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            self.end(Some(Fault::new(FaultKind::Silent, "nothing was heard for too long")));
            self.is_over = true;
        }
    }

    /// Another connection has taken its place.
    pub fn replaced(&mut self) {
        self.end(Some(Fault::new(FaultKind::Silent, "the other side has begun anew")));
        self.is_over = true;
    }

    /// From then on it has to give way when somebody wants its place: who has only said CONNECT, for want of more; who has said more, for want of
    /// anything since. What a keep-alive allows is no matter here: it stands in the CONNECT, and may be that of a forger who is never heard of again.
    pub fn gives_way_at(&self, options: &Options) -> Instant {
        if self.has_spoken { self.received_at + options.silent_timeout } else { self.opened_at + options.bare_grace }
    }

    /// A newcomer has its place.
    pub fn give_way(&mut self) {
        self.end(Some(Fault::new(FaultKind::Silent, "it was silent, and somebody else wanted its place")));
        self.is_over = true;
    }

    /// As [`crate::stack::DatagramEndpoint::read`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.unread.read(buffer)
    }

    /// As [`crate::stack::DatagramEndpoint::write`].
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        if self.is_over || self.is_finishing {
            return 0;
        }
        self.cutter.write(bytes).unwrap_or_else(|_| {
            self.end(Some(Fault::new(FaultKind::Datagram, "what was to be sent does not fit a datagram")));
            self.is_over = true;
            0
        })
    }

    /// No more is written; or (`close`) nobody reads any more, either. What was written leaves, as far as it may.
    pub fn finish(&mut self) {
        self.is_finishing = true;
    }

    fn end(&mut self, fault: Option<Fault>) {
        if !self.marks.is_ended {
            self.marks.is_ended = true;
            self.ending = Some(fault);
        }
    }

    /// What it holds beside itself.
    pub fn memory_bytes(&self) -> usize {
        self.unread.memory_bytes() + self.cutter.memory_bytes()
    }

    /// The statistics, with what stands elsewhere.
    pub fn statistics(&self) -> Statistics {
        Statistics { packets_refused: self.cutter.refused, frame_bytes: BARE_PACKET_BYTES_MAX as u16, ..self.statistics }
    }
}

/// What IP and UDP put before each datagram.
fn headers_of(address: SocketAddr) -> usize {
    if address.ip().to_canonical().is_ipv4() { 28 } else { 48 }
}
