//! What transports over datagrams count: of a connection, and of a whole endpoint.
//!
//! Here and not beside the machines, because who shows them is compiled without any transport over datagrams, too.

use crate::base::Duration;

/// What carries a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum DatagramProtocol {
    /// Reliable UDP of the first generation.
    ReliableUdpOne,
    /// Reliable UDP of the second generation.
    #[default]
    ReliableUdpTwo,
    /// QUIC (RFC 9000).
    Quic,
    /// Bare packets of MQTT in datagrams.
    BareUdp,
}

impl DatagramProtocol {
    /// Its name, as texts have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReliableUdpOne => "rudp1",
            Self::ReliableUdpTwo => "rudp2",
            Self::Quic => "quic",
            Self::BareUdp => "udp",
        }
    }
}

/// What happened on one connection, and where it stands. Datagrams are counted as they were sent and as they came; bytes are those
/// inside UDP.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DatagramStatistics {
    /// What carries it.
    pub protocol: DatagramProtocol,
    /// The smoothed round trip; zero: it was not measured yet.
    pub round_trip: Duration,
    /// The congestion window.
    pub window_bytes: u64,
    /// The largest datagram that is sent.
    pub datagram_bytes_max: u32,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams sent that were given up as lost.
    pub datagrams_lost: u64,
    /// Datagrams sent that repeated what had been sent before. QUIC does not count them: 0.
    pub retransmissions: u64,
    /// How often it went on over another path.
    pub path_changes: u64,
}

impl DatagramStatistics {
    /// The round trip as a number.
    pub fn round_trip_us(&self) -> u64 {
        u64::try_from(self.round_trip.as_micros()).unwrap_or(u64::MAX)
    }
}

/// What happened at one endpoint, to all and to nobody's connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct DatagramCounters {
    /// Datagrams that came.
    pub received: u64,
    /// Of them, dropped: of a wrong length or type, or with a wrong checksum.
    pub malformed: u64,
    /// Of them, dropped: of no connection that is there.
    pub unknown: u64,
    /// Newcomers that were told to prove their address (a cookie, a Retry), without a place for them.
    pub cookies: u64,
    /// Newcomers turned away.
    pub refused: u64,
    /// Resets sent to who believed in a connection that is not there.
    pub resets: u64,
    /// Answers left out, because too many waited or their rate was reached.
    pub replies_dropped: u64,
    /// Newcomers that were not answered because too many of their address are half-made.
    pub crowded: u64,
    /// The same, because too many of all are.
    pub delayed: u64,
    /// Connections closed by this side whose last bytes were given up: not acknowledged in time, or no place for them.
    pub words_lost: u64,
    /// Datagrams of connections for which there was no place; most come again.
    pub not_kept: u64,
    /// Reliable UDP of the first generation: packets that were waited for in vain.
    pub packets_missing: u64,
    /// Bare packets: connections that were silent for too long when a newcomer wanted their place.
    pub gave_way: u64,
    /// Reliable UDP: connections that came in, and ended because nothing was heard of their peers any more.
    pub silent: u64,
}

impl DatagramCounters {
    /// What was counted since `before`.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received - before.received,
            malformed: self.malformed - before.malformed,
            unknown: self.unknown - before.unknown,
            cookies: self.cookies - before.cookies,
            refused: self.refused - before.refused,
            resets: self.resets - before.resets,
            replies_dropped: self.replies_dropped - before.replies_dropped,
            crowded: self.crowded - before.crowded,
            delayed: self.delayed - before.delayed,
            words_lost: self.words_lost - before.words_lost,
            not_kept: self.not_kept - before.not_kept,
            packets_missing: self.packets_missing - before.packets_missing,
            gave_way: self.gave_way - before.gave_way,
            silent: self.silent - before.silent,
        }
    }
}

/// Looks at a connection over datagrams from elsewhere: at what its driver has noted last.
pub trait DatagramWatch: Send + Sync + core::fmt::Debug {
    /// At most a second old.
    fn statistics(&self) -> DatagramStatistics;

    /// Nothing of what was written is on its way any more: after the last word, all of it has arrived, or never will.
    fn is_said(&self) -> bool;
}
