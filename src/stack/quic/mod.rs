//! QUIC v1 (RFC 9000, RFC 9001) as a transport over datagrams, by quinn-proto.
//!
//! # Theory of operation
//! One connection of QUIC has one bidirectional stream, opened by the client, and that is the ordered stream of bytes that
//! everybody above knows. Further streams are refused by the transport parameters (RFC 9000 §18.2). [`ServerQuic`]
//! and [`ClientQuic`] are made once of the same options as TLS over TCP, plus [`QuicOptions`]; each makes the
//! endpoint of a socket ([`Endpoint`](endpoint::Endpoint)), which has all its connections. Time, datagrams and bytes are handed in; randomness is the TLS
//! provider's and quinn-proto's own, because connection identifiers and path challenges must not be foreseen.
//!
//! Half-made connections are bounded: from half of `handshakes_max` on, an address has to be proven by a token (Retry, RFC 9000 §8.1.2), which costs
//! the server nothing; beyond it, an Initial is dropped and comes again after a second. The bit 0x40 is never greased, so that another protocol
//! whose first bytes are below it may share the socket.
//!
//! The peer's path may change. It is told only when the new address has answered a challenge, in a datagram from there (RFC 9000 §9): before, it may be
//! anybody's who has recorded a datagram.
//!
//! What a connection may hold is charged, by its windows (`windows`).
//!
//! # Early data (0-RTT)
//! A client that comes back may send before the handshake is done (RFC 9001 §4.6). What is sent so could be recorded and sent again by somebody
//! else, so a client sends the first thing it is given to write, and no more until the handshake is done: for MQTT that is the CONNECT
//! packet, which is alone until its answer comes. If the server does not take it, it is sent again over the same connection.
//! A server takes early data only with a ticket that is good once, and knows no other (RFC 8446 §8.1): tickets are keys into a bounded
//! table in its memory, and the entry goes when it is used. A copy of a first flight therefore carries no early data, gets an
//! ordinary handshake, and cannot finish it.

mod connection;
mod endpoint;
mod fault;
mod windows;

use core::any::Any;
use core::time::Duration;
use std::sync::Arc;

use quinn_proto::congestion::{CubicConfig, NewRenoConfig};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};

use self::windows::{RECEIVE_BYTES_FIRST, RECEIVE_BYTES_MAX, SEND_BYTES_MAX};
use super::tls::{ClientTlsOptions, ServerTlsOptions, client_config, server_config};
use super::{Birth, CongestionControl, DatagramEndpoint, Identity, MakeDatagrams, TlsVersion};

/// The protocol's name in ALPN, if nobody says otherwise.
const ALPN: &str = "mqtt";
/// The only version there is (RFC 9000 §15).
const VERSION: u32 = 1;
/// Sessions a server remembers, so that their clients come back without a full handshake.
const SESSIONS_KEPT: usize = 1_024;
/// The largest datagram that is tried unless somebody says otherwise: what an Ethernet frame carries over IPv6, with room for a tunnel.
const PROBE_BYTES: u16 = 1_452;
/// The largest datagram that is taken: what UDP carries (RFC 9000 §18.2).
const DATAGRAM_BYTES_MAX: u16 = 65_527;
/// Tickets a client gets: one that was used is gone.
const TICKETS: usize = 2;

/// What QUIC has and TLS over TCP has not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuicOptions {
    /// So long nothing may come before the connection is given up; zero: for ever, or as the peer says.
    pub idle_timeout: Duration,
    /// After so much silence the peer is asked whether it is there; zero: never.
    pub keepalive: Duration,
    /// Early data is sent, or taken.
    pub early_data: bool,
    /// Datagrams up to this size are tried (RFC 8899), those of 1,200 bytes always pass; zero: none are.
    pub probe_bytes_max: u16,
    /// What decides how much is on its way.
    pub congestion: CongestionControl,
}

impl Default for QuicOptions {
    /// Of a client: it notices within a minute that its server is gone, and keeps the ways through translated addresses open.
    fn default() -> Self {
        Self { idle_timeout: Duration::from_secs(60), keepalive: Duration::from_secs(20), ..Self::of_listener() }
    }
}

impl QuicOptions {
    /// Of a listener: how long a client may be silent is MQTT's to say, and the client's.
    pub fn of_listener() -> Self {
        Self { idle_timeout: Duration::ZERO, keepalive: Duration::ZERO, early_data: true, probe_bytes_max: PROBE_BYTES, congestion: CongestionControl::Cubic }
    }

    /// `streams`: how many the peer may open.
    fn transport(&self, streams: u8) -> Arc<TransportConfig> {
        let mut config = TransportConfig::default();
        // The longest that can be said is above any that can be set.
        let idle = Some(self.idle_timeout).filter(|idle| !idle.is_zero()).and_then(|idle| IdleTimeout::try_from(idle).ok());
        config
            .max_concurrent_bidi_streams(VarInt::from(streams))
            .max_concurrent_uni_streams(VarInt::from(0u8))
            .max_idle_timeout(idle)
            .keep_alive_interval(Some(self.keepalive).filter(|interval| !interval.is_zero()))
            .stream_receive_window(VarInt::from(RECEIVE_BYTES_MAX))
            .receive_window(VarInt::from(RECEIVE_BYTES_FIRST))
            .send_window(SEND_BYTES_MAX)
            .datagram_receive_buffer_size(None);
        config.mtu_discovery_config((self.probe_bytes_max != 0).then(|| {
            let mut probing = MtuDiscoveryConfig::default();
            probing.upper_bound(self.probe_bytes_max);
            probing
        }));
        match self.congestion {
            CongestionControl::NewReno => config.congestion_controller_factory(Arc::new(NewRenoConfig::default())),
            CongestionControl::Cubic => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
        };
        Arc::new(config)
    }
}

/// `alpn` as it was set, or the usual name.
fn alpn_or_usual(alpn: &[String]) -> Vec<String> {
    if alpn.is_empty() { vec![ALPN.to_owned()] } else { alpn.to_vec() }
}

fn endpoint_config() -> Result<Arc<EndpointConfig>, String> {
    let mut secret = [0; 64];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut secret).map_err(|_| "the system has no randomness".to_owned())?;
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret)));
    config.max_udp_payload_size(DATAGRAM_BYTES_MAX).map_err(|error| error.to_string())?;
    config.grease_quic_bit(false).supported_versions(vec![VERSION]);
    Ok(Arc::new(config))
}

/// QUIC of a listener.
pub struct ServerQuic {
    endpoint: Arc<EndpointConfig>,
    server: Arc<quinn_proto::ServerConfig>,
    identity: Identity,
}

impl ServerQuic {
    /// From its parts; the version of TLS is 1.3 whatever they say.
    ///
    /// # Errors
    /// As [`ServerTls::new`](super::tls::ServerTls::new).
    pub fn new(tls: &ServerTlsOptions<'_>, options: &QuicOptions) -> Result<Self, String> {
        let alpn = alpn_or_usual(tls.alpn);
        let mut config = server_config(&ServerTlsOptions { version_min: TlsVersion::V13, alpn: &alpn, ..tls.clone() })?;
        config.session_storage = rustls::server::ServerSessionMemoryCache::new(SESSIONS_KEPT);
        config.send_tls13_tickets = TICKETS;
        // QUIC has its own limit of what may come early (RFC 9001 §4.6.1).
        config.max_early_data_size = if options.early_data { u32::MAX } else { 0 };
        let crypto = QuicServerConfig::try_from(config).map_err(|error| error.to_string())?;
        let mut server = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
        server.transport_config(options.transport(1));
        Ok(Self { endpoint: endpoint_config()?, server: Arc::new(server), identity: tls.identity })
    }
}

impl MakeDatagrams for ServerQuic {
    fn make(&self, birth: &Birth) -> Box<dyn DatagramEndpoint> {
        Box::new(endpoint::Endpoint::serving(self, birth))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// QUIC of a client's connections. Sessions are resumed as long as it lives.
pub struct ClientQuic {
    endpoint: Arc<EndpointConfig>,
    client: quinn_proto::ClientConfig,
    /// In place of the host that is dialled.
    server_name: Option<String>,
}

impl ClientQuic {
    /// From its parts; the version of TLS is 1.3 whatever they say.
    ///
    /// # Errors
    /// As [`ClientTls::new`](super::tls::ClientTls::new).
    pub fn new(tls: &ClientTlsOptions<'_>, options: &QuicOptions) -> Result<Self, String> {
        let alpn = alpn_or_usual(tls.alpn);
        let mut config = client_config(&ClientTlsOptions { version_min: TlsVersion::V13, alpn: &alpn, ..tls.clone() })?;
        config.enable_early_data = options.early_data;
        let crypto = QuicClientConfig::try_from(config).map_err(|error| error.to_string())?;
        let mut client = quinn_proto::ClientConfig::new(Arc::new(crypto));
        client.transport_config(options.transport(0)).version(VERSION);
        Ok(Self { endpoint: endpoint_config()?, client, server_name: tls.server_name.map(str::to_owned) })
    }
}

impl MakeDatagrams for ClientQuic {
    fn make(&self, birth: &Birth) -> Box<dyn DatagramEndpoint> {
        Box::new(endpoint::Endpoint::dialling(self, birth))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests;
