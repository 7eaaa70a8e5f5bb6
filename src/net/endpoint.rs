//! Places where somebody listens, and what can be said of a socket before anything goes over it.

use core::fmt;
#[cfg(feature = "datagram")]
use core::hash::{Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::layers::Transport;
#[cfg(feature = "datagram")]
use super::layers::Underlay;
use crate::base::PeerProcess;

/// Where a listener is, or where a client goes to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// The file of a Unix socket.
    Unix(PathBuf),
    /// A name inside this process, see [`Names`](super::memory::Names).
    Memory(String),
    /// UDP, with a machine of datagrams on it.
    #[cfg(feature = "datagram")]
    Udp(UdpPlace),
}

/// A UDP port, and what goes over it. The port is the place: with another scheme it is the same one.
#[cfg(feature = "datagram")]
#[derive(Clone, Copy, Debug)]
pub struct UdpPlace {
    /// Its address.
    pub address: SocketAddr,
    /// What goes over it; to be told.
    pub scheme: UdpScheme,
}

#[cfg(feature = "datagram")]
impl PartialEq for UdpPlace {
    fn eq(&self, other: &Self) -> bool {
        self.address == other.address
    }
}

#[cfg(feature = "datagram")]
impl Eq for UdpPlace {}

#[cfg(feature = "datagram")]
impl Hash for UdpPlace {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
    }
}

#[cfg(feature = "datagram")]
impl fmt::Display for UdpPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.address)
    }
}

/// What can go over UDP, by the scheme of its URI.
#[cfg(feature = "datagram")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum UdpScheme {
    Quic,
    Rudp,
    Rudps,
    Udp,
}

#[cfg(feature = "datagram")]
impl UdpScheme {
    const ALL: [Self; 4] = [Self::Quic, Self::Rudp, Self::Rudps, Self::Udp];

    /// That of a transport; `None`: it does not go over UDP.
    fn of(transport: Transport) -> Option<Self> {
        match transport.underlay {
            Underlay::Quic => Some(Self::Quic),
            Underlay::Rudp if transport.tls => Some(Self::Rudps),
            Underlay::Rudp => Some(Self::Rudp),
            Underlay::Udp => Some(Self::Udp),
            Underlay::Tcp | Underlay::Unix | Underlay::InProcess => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Rudp => "rudp",
            Self::Rudps => "rudps",
            Self::Udp => "udp",
        }
    }

    /// The place a text names as `Display` writes it.
    fn place(text: &str) -> Option<UdpPlace> {
        let (name, address) = text.split_once("://")?;
        let scheme = Self::ALL.into_iter().find(|scheme| scheme.name() == name)?;
        Some(UdpPlace { address: address.parse().ok()?, scheme })
    }
}

impl Endpoint {
    /// An address, for this transport over TCP or UDP.
    pub fn of(address: SocketAddr, transport: Transport) -> Self {
        #[cfg(feature = "datagram")]
        if let Some(scheme) = UdpScheme::of(transport) {
            return Self::Udp(UdpPlace { address, scheme });
        }
        let _ = transport;
        Self::Tcp(address)
    }

    /// Its address, if it is one of TCP or UDP.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            #[cfg(feature = "datagram")]
            Self::Udp(place) => Some(place.address),
            Self::Unix(_) | Self::Memory(_) => None,
        }
    }

    /// Its port; 0 without one.
    pub fn port(&self) -> u16 {
        self.socket_address().map_or(0, |address| address.port())
    }

    /// Only this host gets there.
    pub fn is_local(&self) -> bool {
        self.socket_address().is_none_or(|address| address.ip().is_loopback())
    }

    /// The place a text names as `Display` writes it.
    pub fn parse(text: &str) -> Option<Self> {
        #[cfg(feature = "datagram")]
        if let Some(place) = UdpScheme::place(text) {
            return Some(Self::Udp(place));
        }
        match (text.strip_prefix(UNIX), text.strip_prefix(MEMORY)) {
            (Some(path), _) => path.starts_with('/').then(|| Self::Unix(path.into())),
            (_, Some(name)) => (!name.is_empty()).then(|| Self::Memory(name.to_owned())),
            _ => text.parse().ok().map(Self::Tcp),
        }
    }
}

const UNIX: &str = "unix://";
const MEMORY: &str = "inproc://";

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

/// `127.0.0.1:1883`, `[::1]:1883`, `rudp://127.0.0.1:14567`, `unix:///run/mqtt.sock`, `inproc://broker`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
            Self::Memory(name) => write!(f, "{MEMORY}{name}"),
            #[cfg(feature = "datagram")]
            Self::Udp(place) => place.fmt(f),
        }
    }
}

/// Who is at the other end of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Peer {
    /// Of TCP.
    pub address: Option<SocketAddr>,
    /// Of a Unix socket.
    pub process: Option<PeerProcess>,
}

/// The address, or `local`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}

/// Options of a listening socket, and of the connections that come through it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SocketOptions {
    /// Connections that wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
    pub backlog: u16,
    /// TCP keep-alive: silence in seconds before the first probe; 0: none.
    pub keepalive_s: u16,
    /// How long sent bytes may go unacknowledged (TCP_USER_TIMEOUT), in milliseconds; 0: as the kernel says.
    pub user_timeout_ms: u32,
    /// Class of the packets (DSCP), 0 to 63.
    pub dscp: u8,
    /// Permission bits of the file of a Unix socket; `None`: as the process's mask says.
    pub mode: Option<u16>,
    /// `USER`, `USER:GROUP` or `:GROUP` who is to own that file, by name or number; empty: whoever makes it.
    pub owner: String,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self { backlog: 4_096, keepalive_s: 0, user_timeout_ms: 0, dscp: 0, mode: None, owner: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_what_they_print() {
        for (text, port, is_local) in [("127.0.0.1:5", 5, true), ("[::]:0", 0, false), ("unix:///run/a b", 0, true), ("inproc://b", 0, true)] {
            let endpoint = Endpoint::parse(text).expect("legal");
            assert_eq!((endpoint.to_string().as_str(), endpoint.port(), endpoint.is_local()), (text, port, is_local));
        }
        #[cfg(feature = "datagram")]
        for scheme in UdpScheme::ALL {
            let text = format!("{}://[::1]:7", scheme.name());
            let endpoint = Endpoint::parse(&text).expect("legal");
            assert_eq!((endpoint.to_string(), endpoint.port(), endpoint.is_local()), (text, 7, true));
            assert_eq!(Some(endpoint), Endpoint::parse("udp://[::1]:7"), "the port is the place");
        }
        assert!(["", "unix://", "unix://x", "inproc://", "host:1", "127.0.0.1"].iter().all(|text| Endpoint::parse(text).is_none()));
        assert_eq!(Peer::default().to_string(), "local");
    }
}
