//! What can be chosen for the connections of one endpoint. Every number of the specification's table is here.

use core::net::IpAddr;

use super::packet::FIRST_PACKET_BYTES_MAX;
use crate::base::Duration;
use crate::stack::{CongestionControl, Networks};

/// Which generation a client speaks, and a listener takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Generation {
    /// The second, and the first where the other side knows nothing else.
    #[default]
    Auto,
    /// The first only.
    One,
    /// The second only: what a hostile network asks for.
    Two,
    /// Neither: bare packets in datagrams (`udp://`).
    Neither,
}

/// The key of reset tokens. Not shown: who has it can end anybody's connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResetKey(pub [u64; 2]);

impl core::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("...")
    }
}

/// Options of an endpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Which generation.
    pub generation: Generation,
    /// A connection that was dialled fails after so long.
    pub connect_timeout: Duration,
    /// How long a client waits for a better answer than a bare CONNACK.
    pub fallback_hold: Duration,
    /// A connection ends that was silent for so long. The smaller one of both sides counts.
    pub idle_timeout: Duration,
    /// A client shows that it is there when it sent nothing for so long; zero: never.
    pub keep_alive: Duration,
    /// How long MQTT lets a client be silent, one and a half times its keep-alive: so long the idle time is where `keep_alive` is off. Zero: not
    /// known, or without end.
    pub mqtt_silence: Duration,
    /// A peer that has not sent its first packet after so long makes room: what the endpoint's limits say of handshakes.
    pub half_open_timeout: Duration,
    /// Such peers at a time.
    pub half_open_max: usize,
    /// Such peers of one address, or network of 64 bits.
    pub half_open_per_source_max: usize,
    /// Whether the stream is MQTT, so that a first packet can be told; otherwise (TLS) the first bytes count.
    pub is_plain: bool,
    /// An answer waits so long for company.
    pub ack_delay: Duration,
    /// Unacknowledged bytes are waited for, when a connection is finished.
    pub close_timeout: Duration,
    /// Bytes a peer may send before the first of them was read.
    pub window_bytes: u32,
    /// What that grows to while the reader keeps up.
    pub window_bytes_max: u32,
    /// Bytes that wait to be sent, or for their acknowledgement.
    pub send_bytes_max: u32,
    /// The largest frame that is sent without a proof that it gets through, and the largest that is taken.
    pub frame_bytes: u16,
    /// Frames up to this size are tried; no more than `frame_bytes`: none is.
    pub probe_bytes_max: u16,
    /// How the congestion window moves.
    pub congestion: CongestionControl,
    /// Each DATA repeats the small one before it.
    pub redundancy: bool,
    /// The key of reset tokens, stored with the listener and shared with nobody; `None`: one of this start only.
    pub reset_key: Option<ResetKey>,
    /// RESETs a second.
    pub resets_per_second: u32,
    /// A listener takes bare packets in datagrams, too.
    pub bare: bool,
    /// Bare packets: from there addresses are believed, which otherwise get no more bytes than came from them.
    pub bare_trusted: Networks,
    /// Generation 1, and bare packets likewise: peers whose address was not proved.
    pub unproven_max: usize,
    /// Bare packets: a peer that is not believed and has said nothing but CONNECT keeps its place for so long when all are taken.
    pub bare_grace: Duration,
    /// Generation 1 and bare packets: a peer that was silent for so long has gone, if its MQTT keep-alive does not let it be silent longer.
    pub silent_timeout: Duration,
    /// Generation 1: a client waits so long for MQTT's answer to a packet that has arrived.
    pub answer_timeout: Duration,
    /// Generation 1: how long a missing packet is waited for.
    pub gap_timeout: Duration,
    /// Generation 1 and bare packets: bare CONNECTs and first packets a second and (hashed) source.
    pub newcomers_per_source_per_second: u32,
}

impl Options {
    /// Of a listener: clients of generation 1 send what was lost again after up to 8 s, and that may be lost, too. A stock listener never
    /// does, so a client waits less for what will not come.
    pub fn of_listener() -> Self {
        Self { gap_timeout: Duration::from_secs(20), ..Self::default() }
    }

    /// Bytes a peer may send at first: a first packet is looked at before anything is read.
    pub fn opening_window_bytes(&self) -> u32 {
        self.window_bytes.max(FIRST_PACKET_BYTES_MAX as u32)
    }

    /// Whether generation 1 is spoken.
    pub fn has_first(&self) -> bool {
        matches!(self.generation, Generation::Auto | Generation::One)
    }

    /// Whether generation 2 is.
    pub fn has_second(&self) -> bool {
        matches!(self.generation, Generation::Auto | Generation::Two)
    }

    /// Whether bare packets are.
    pub fn has_bare(&self) -> bool {
        self.bare || self.generation == Generation::Neither
    }

    /// Who sends bare packets from there is there: no datagram comes from elsewhere with an address of this host.
    pub fn is_believed(&self, ip: IpAddr) -> bool {
        ip.to_canonical().is_loopback() || self.bare_trusted.contains(ip)
    }

    /// The largest frame that is taken.
    pub fn frame_bytes_taken(&self) -> u16 {
        self.frame_bytes.max(self.probe_bytes_max)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            generation: Generation::Auto,
            connect_timeout: Duration::from_secs(15),
            fallback_hold: Duration::from_millis(500),
            idle_timeout: Duration::from_secs(120),
            keep_alive: Duration::from_secs(20),
            mqtt_silence: Duration::ZERO,
            half_open_timeout: Duration::from_secs(10),
            half_open_max: 256,
            half_open_per_source_max: 32,
            is_plain: true,
            ack_delay: Duration::from_millis(25),
            close_timeout: Duration::from_secs(5),
            window_bytes: 16 << 10,
            window_bytes_max: 128 << 10,
            send_bytes_max: 128 << 10,
            frame_bytes: 1_200,
            probe_bytes_max: 0,
            congestion: CongestionControl::NewReno,
            redundancy: false,
            reset_key: None,
            resets_per_second: 100,
            bare: false,
            bare_trusted: Networks::default(),
            unproven_max: 64,
            bare_grace: Duration::from_secs(10),
            silent_timeout: Duration::from_secs(300),
            answer_timeout: Duration::from_secs(10),
            gap_timeout: Duration::from_secs(5),
            newcomers_per_source_per_second: 50,
        }
    }
}
