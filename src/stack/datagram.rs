//! Transports over datagrams: one UDP socket, any number of connections, each an ordered stream of bytes in both directions.
//!
//! # Theory of operation
//! ```text
//!   socket ──receive──>  [ endpoint: connections ]  ──read──>  bytes of a connection
//!          <─transmit──  [   timers, its peers   ]  <──write──
//! ```
//! A [`DatagramEndpoint`] is a pure machine: it has never heard of sockets, of its host's pipes, or of what is spoken. Its host
//! does one thing (`connect`, `receive`, `expire`, `read`, `write`, `finish`, `close`), then drains
//! [`event`](DatagramEndpoint::event) until there is none, and sooner or later [`transmit`](DatagramEndpoint::transmit); then it asks
//! for the [`deadline`](DatagramEndpoint::deadline).
//!
//! The life of a connection:
//! ```text
//!   connect ──> Opened ─┐                      finish: no more is written       read answers Some(0): the peer's finish
//!   receive ─> Accepted ┴─> Readable, Writable, Moved  ──>  Said  ──>  Ended
//!                                                      ──>  close                nothing more is said of it
//! ```
//! * Nothing is said of a connection that comes in before it can be used. What fails before that is [`Event::Failed`], and costs nobody above a place.
//! * Flow control is the host's reading: what is not read fills the window of the connection, and the peer stops.
//! * `Readable` and `Writable` are edges: the first follows when `read` had answered `None`, the second when `write` had taken less
//!   than it was offered. Right after `Accepted` and `Opened` both are to be tried.
//! * After `finish`, `Said` or `Ended` follows when all has arrived: until then `close` may lose some of it.
//! * After `Ended` nothing can be written; what came before it can still be read. The host calls `close` then, too.
//!
//! How many connections, half-made ones, and bytes there may be is the endpoint's to say, from what it was made of.

use core::any::Any;
use core::net::{IpAddr, SocketAddr};

use super::{About, DatagramCounters, DatagramStatistics, Fault};
use crate::base::{Duration, Instant};

/// What leaves for one peer at once is no larger than what one send takes.
pub(super) const BATCH_BYTES_MAX: usize = 60_000;

/// How much may be on its way before some of it is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CongestionControl {
    /// RFC 9002, appendix B.
    NewReno,
    /// RFC 9438.
    Cubic,
}

/// Names a connection of one endpoint; never given to another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// A datagram that came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// To which of our addresses, if that is known.
    pub to: Option<IpAddr>,
    /// The two bits of congestion (ECN, RFC 3168 §5).
    pub ecn: u8,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// One or more datagrams to be sent; the buffer is the host's, and used again.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// From which of our addresses; `None`: as the system likes.
    pub from: Option<IpAddr>,
    /// The two bits of congestion.
    pub ecn: u8,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// `Some`: these are several datagrams of so many bytes each, the last may be shorter.
    pub segment_bytes: Option<usize>,
}

impl Default for Transmit {
    fn default() -> Self {
        Self { to: SocketAddr::from(([0, 0, 0, 0], 0)), from: None, ecn: 0, bytes: Vec::new(), segment_bytes: None }
    }
}

/// What has become of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// Somebody has connected, and can be read and written.
    Accepted {
        /// Who.
        peer: SocketAddr,
        /// At which of our addresses, if that is known.
        local: Option<IpAddr>,
        /// What was learnt of it.
        about: Box<About>,
    },
    /// What was dialled is there, and can be read and written.
    Opened(Box<About>),
    /// There may be something to read again.
    Readable,
    /// Bytes are taken again.
    Writable,
    /// Datagrams go another way from now on: the peer is at this address. Who dialled hears it when the other side has asked whether this
    /// end is where its datagrams come from.
    Moved(SocketAddr),
    /// All that was written before [`finish`](DatagramEndpoint::finish) has arrived. Not told where it is over then, too.
    Said,
    /// It is over. `None`: the peer has said good-bye.
    Ended(Option<Fault>),
    /// Somebody wanted to connect, and it came to nothing. The number belongs to nobody.
    Failed {
        /// Who.
        peer: SocketAddr,
        /// Why.
        fault: Fault,
    },
}

/// A machine of datagrams; see the top of this module.
pub trait DatagramEndpoint: Send {
    /// Begins a connection to `remote`, whose name is `host`; [`Event::Opened`] or [`Event::Ended`] follows. How long it may take is the host's to say.
    ///
    /// # Errors
    /// It cannot even begin.
    fn connect(&mut self, now: Instant, remote: SocketAddr, host: &str) -> Result<ConnectionId, Fault>;

    /// Takes a datagram. Whatever is in it, a wrong one is dropped.
    fn receive(&mut self, now: Instant, datagram: &Received<'_>);

    /// Puts into `out` what is to be sent next, at most `segments_max` datagrams, all for one peer. More than one
    /// of them have at most [`BATCH_BYTES_MAX`] bytes. False: nothing now.
    fn transmit(&mut self, now: Instant, segments_max: usize, out: &mut Transmit) -> bool;

    /// When [`expire`](Self::expire) is due.
    fn deadline(&self) -> Option<Instant>;

    /// The deadline has come.
    fn expire(&mut self, now: Instant);

    /// What has happened, in order; `None`: nothing more.
    fn event(&mut self) -> Option<(ConnectionId, Event)>;

    /// Reads what came. `None`: nothing now; `Some(0)`: the peer writes no more. A connection that is not there has nothing.
    fn read(&mut self, now: Instant, id: ConnectionId, buffer: &mut [u8]) -> Option<usize>;

    /// Takes bytes to be sent; how many. Less than there are: no room now.
    fn write(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> usize;

    /// No more will be written; what was written is still sent. On a listener it takes none of `connections_max` places any more: those to whom
    /// good-bye was said keep nobody out.
    fn finish(&mut self, now: Instant, id: ConnectionId);

    /// Says good-bye and forgets the connection, in whatever state it is; what was not sent is lost.
    fn close(&mut self, now: Instant, id: ConnectionId);

    /// Takes nobody in any more; connections that are there stay.
    fn refuse_all(&mut self);

    /// Takes options for whoever comes from now on, out of a maker of its own kind, and takes in whoever comes, even after
    /// [`refuse_all`](Self::refuse_all). False: it is of another kind, and nothing has changed.
    fn renew(&mut self, make: &dyn MakeDatagrams, limits: DatagramLimits) -> bool;

    /// The socket is another one, or its address is: for an endpoint that dialled.
    fn rebound(&mut self, now: Instant);

    /// Connections it still has to keep in mind, also those that are being closed.
    fn connections(&self) -> usize;

    /// What happened on a connection; `None`: it is not there.
    fn statistics(&self, id: ConnectionId) -> Option<DatagramStatistics>;

    /// What happened to all, and to those who are nobody's connection.
    fn counters(&self) -> DatagramCounters;

    /// Memory it holds, about.
    fn memory_bytes(&self) -> usize;
}

/// Who is one to the limits: an address, or the network of 64 bits that a customer has.
#[cfg(any(feature = "quic", feature = "rudp"))]
pub(super) fn source_of(peer: SocketAddr) -> IpAddr {
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => core::net::Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// What one endpoint lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DatagramLimits {
    /// Connections at one time, half-made ones included, those this side has finished not; who is above that gets a refusal, or no answer.
    pub connections_max: usize,
    /// Half-made ones of them: where proof of an address costs a round trip, it is asked for when many are there.
    pub handshakes_max: usize,
    /// Half-made ones of one address (IPv6: of a network of 64 bits).
    pub handshakes_per_source_max: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
}

/// What an endpoint may need from outside.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// From the injected generator. Not for secrets.
    pub seed: u64,
    /// The moment [`Instant::START`] is, for machines that count otherwise.
    pub epoch: std::time::Instant,
    /// Whom it lets in; `None`: nobody, it dials.
    pub limits: Option<DatagramLimits>,
}

/// Makes the endpoint of each socket of one listener, or of one client.
pub trait MakeDatagrams: Send + Sync {
    /// A new endpoint.
    fn make(&self, birth: &Birth) -> Box<dyn DatagramEndpoint>;

    /// Its datagrams may be larger than what the path takes in one piece, and IP is to cut them (RFC 791 section 3.2): it does not find out by
    /// itself what gets through.
    fn may_fragment(&self) -> bool {
        false
    }

    /// For [`DatagramEndpoint::renew`], which has to know its own kind.
    fn as_any(&self) -> &dyn Any;
}
