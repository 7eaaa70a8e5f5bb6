//! What is known of a connection over datagrams (QUIC, reliable UDP), as C has it.

use super::client::nlmqtt_client;
use super::{Failure, NLMQTT_NOT_FOUND, check_out, fence_on, nlmqtt_status, sized};
use crate::stack::{DatagramProtocol, DatagramStatistics};

/// Reliable UDP of the first generation.
pub const NLMQTT_DATAGRAMS_RUDP_1: i32 = 1;
/// Reliable UDP of the second generation.
pub const NLMQTT_DATAGRAMS_RUDP_2: i32 = 2;
/// QUIC (RFC 9000).
pub const NLMQTT_DATAGRAMS_QUIC: i32 = 3;
/// Bare packets of MQTT in datagrams (`udp://`).
pub const NLMQTT_DATAGRAMS_UDP: i32 = 4;

/// What happened on one connection over datagrams since it began, and where it stands; at most a second old. Bytes are those inside UDP.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nlmqtt_datagram_statistics {
    /// Bytes of this struct; set by nlmqtt_datagram_statistics_init.
    pub struct_size: usize,
    /// What carries it: one of NLMQTT_DATAGRAMS_*.
    pub protocol: i32,
    /// The largest datagram that is sent, in bytes: what the path is known to take.
    pub datagram_bytes_max: u32,
    /// The smoothed round trip in microseconds; 0: not measured (the first generation and bare packets do not).
    pub round_trip_us: u64,
    /// The congestion window in bytes: so much may be on its way without an acknowledgement. 0: there is none (the first generation, bare packets).
    pub window_bytes: u64,
    /// Datagrams sent, all kinds.
    pub datagrams_sent: u64,
    /// Their bytes.
    pub bytes_sent: u64,
    /// Datagrams that came.
    pub datagrams_received: u64,
    /// Their bytes.
    pub bytes_received: u64,
    /// Datagrams sent that were given up as lost.
    pub datagrams_lost: u64,
    /// Datagrams sent that repeated what had been sent before; QUIC does not count them: 0.
    pub retransmissions: u64,
    /// How often the connection went on over another path; of a client over QUIC: how often the server has asked whether it does.
    pub path_changes: u64,
}

pub(crate) fn number_of(protocol: DatagramProtocol) -> i32 {
    match protocol {
        DatagramProtocol::ReliableUdpOne => NLMQTT_DATAGRAMS_RUDP_1,
        DatagramProtocol::ReliableUdpTwo => NLMQTT_DATAGRAMS_RUDP_2,
        DatagramProtocol::Quic => NLMQTT_DATAGRAMS_QUIC,
        DatagramProtocol::BareUdp => NLMQTT_DATAGRAMS_UDP,
    }
}

const NO_DATAGRAMS: nlmqtt_datagram_statistics = nlmqtt_datagram_statistics {
    struct_size: size_of::<nlmqtt_datagram_statistics>(),
    protocol: 0,
    datagram_bytes_max: 0,
    round_trip_us: 0,
    window_bytes: 0,
    datagrams_sent: 0,
    bytes_sent: 0,
    datagrams_received: 0,
    bytes_received: 0,
    datagrams_lost: 0,
    retransmissions: 0,
    path_changes: 0,
};

impl From<DatagramStatistics> for nlmqtt_datagram_statistics {
    fn from(all: DatagramStatistics) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            protocol: number_of(all.protocol),
            datagram_bytes_max: all.datagram_bytes_max,
            round_trip_us: all.round_trip_us(),
            window_bytes: all.window_bytes,
            datagrams_sent: all.datagrams_sent,
            bytes_sent: all.bytes_sent,
            datagrams_received: all.datagrams_received,
            bytes_received: all.bytes_received,
            datagrams_lost: all.datagrams_lost,
            retransmissions: all.retransmissions,
            path_changes: all.path_changes,
        }
    }
}

/// Zero everywhere. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_datagram_statistics_init(statistics: *mut nlmqtt_datagram_statistics) {
    if let Some(statistics) = unsafe { statistics.as_mut() } {
        *statistics = NO_DATAGRAMS;
    }
}

/// Fills in what happened on the connection a client has. `statistics` must have been made by nlmqtt_datagram_statistics_init. NOT_FOUND:
/// there is no connection now, or it is not one over QUIC or reliable UDP. Never waits. Any thread, callbacks included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_client_datagram_stats(client: *const nlmqtt_client, statistics: *mut nlmqtt_datagram_statistics) -> nlmqtt_status {
    unsafe {
        fence_on(client, "client", |inner| {
            check_out(statistics, "statistics")?;
            let size = sized(statistics.cast_const(), NO_DATAGRAMS, "statistics")?.struct_size;
            let found = inner.client.datagram_statistics();
            let found = found.ok_or_else(|| Failure::new(NLMQTT_NOT_FOUND, "there is no connection over datagrams"))?;
            let all = nlmqtt_datagram_statistics { struct_size: size, ..found.into() };
            let room = size.min(size_of::<nlmqtt_datagram_statistics>());
            core::ptr::copy_nonoverlapping((&raw const all).cast::<u8>(), statistics.cast::<u8>(), room);
            Ok(())
        })
    }
}
