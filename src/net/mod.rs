//! The only floor that does I/O: poll, sockets, names, threads, clock.
//!
//! A [`Worker`] is one thread's loop. It is generic over [`Net`], which has two implementations and
//! no mocks: [`MioNet`] (epoll, edge-triggered) and the simulator of the tests. One turn:
//!
//! ```text
//!   inbox ─> wait (not at all while work is left) ─> messages of other workers
//!         ─> read each ready socket once, 64 KiB at most ─> timers ─> retained deliveries
//!         ─> messages for other workers ─> ONE write per dirty connection ─> done
//! ```
//! What a turn produces for one socket leaves in one system call at its end, or earlier when an
//! out-buffer passes its mark meanwhile. A socket that was not read to its end goes on the `again` list and
//! the next wait does not sleep; one that must not be read now (its client waits for a hook,
//! does not read itself, memory is short, another worker or the application is behind) goes on the `paused` list and costs nothing.

mod answer;
mod client_gauge;
mod client_host;
mod client_link;
mod client_path;
mod clock;
#[cfg_attr(not(feature = "datagram"), path = "no_datagram.rs")]
mod datagram;
mod dispatch;
mod endpoint;
mod error;
#[cfg(feature = "server")]
mod handshakes;
mod inbox;
mod journal;
mod last_words;
mod layers;
mod layers_above;
mod layers_below;
mod layers_quic;
mod layers_rudp;
#[cfg(feature = "server")]
mod listener;
mod log;
pub mod memory;
mod mio;
mod options;
#[cfg(feature = "server")]
mod peers;
mod pipe;
mod places;
mod resolver;
mod runtime;
#[cfg_attr(not(feature = "server"), path = "no_server.rs")]
mod server_host;
#[cfg(feature = "server")]
mod server_payload;
#[cfg(feature = "server")]
mod server_stack;
mod sockets;
mod tasks;
mod threads;
mod transport;
mod turning;
mod unix;
mod worker;
mod write;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(feature = "datagram")]
use crate::base::Charge;
use crate::base::{Duration, Instant, OutBuffer, UnixTime};
#[cfg(feature = "datagram")]
use crate::stack::{About, DatagramCounters, DatagramLimits, DatagramWatch, Fault, MakeDatagrams};

pub use answer::{Answerer, Asker, Waited, ask};
pub use client_gauge::ClientGauge;
pub use client_host::{ClientHandler, ClientKey, Credentials, MessageCallback, MessageIntake, Remote, ServerAddress};
pub use client_path::PathMoved;
#[cfg(feature = "datagram")]
pub use datagram::DialPlan;
pub use dispatch::{EVENTS_MAX, EventStatistics};
pub use endpoint::{Endpoint, Peer, SocketOptions};
#[cfg(feature = "datagram")]
pub use endpoint::{UdpPlace, UdpScheme};
pub use error::Error;
pub use inbox::Inbox;
pub use journal::{LogSequence, MemoryJournal};
#[cfg(feature = "server")]
pub use layers::listener_recipe;
pub use layers::{ClientTlsSettings, ListenerTls, ListenerWebSocket, Transport, TunnelProxy, Underlay, WaySettings, remotes};
#[cfg(feature = "server")]
pub use listener::ListenerOptions;
pub use log::{Log, route_facade};
pub use mio::MioNet;
pub use options::{Mode, RuntimeOptions, WORKERS_MAX};
#[cfg(feature = "server")]
pub use peers::Peers;
pub use resolver::{HELPER_THREADS, Resolve};
pub use runtime::{Runtime, RuntimeStatistics};
pub use server_host::ServerKey;
pub use sockets::local_endpoint;
pub use tasks::{TASKS_MAX, Task, TaskId};
pub use threads::{Scheduling, ThreadHooks, ThreadOptions};
pub use transport::{CustomStream, CustomTransport};
pub use turning::is_turning_any;
pub use worker::{Command, Worker};
pub use write::write_slices;

/// Names a stream socket of one [`Net`]: an index, re-used from the next turn on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkId(pub u32);

/// Names a listening socket of one [`Net`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId(pub u32);

/// What [`Net::wait`] reports.
#[derive(Debug)]
pub enum Ready {
    /// Connections wait to be accepted.
    Listener(ListenerId),
    /// A stream can be read or written, or a dial ended.
    Link {
        /// Which.
        link: LinkId,
        /// Bytes, an end or an error wait to be read.
        readable: bool,
        /// The stream takes bytes again, or is connected.
        writable: bool,
        /// The peer sends no more: behind what can be read now comes the end, and no other report.
        ended: bool,
    },
    /// The datagrams of a stream go another way: the peer of one that came in has another address; one that was dialled is elsewhere for
    /// its peer.
    #[cfg(feature = "datagram")]
    Moved {
        /// Which.
        link: LinkId,
        /// Where it is now.
        peer: SocketAddr,
    },
    /// A listener over datagrams has counted.
    #[cfg(feature = "datagram")]
    Counted {
        /// Which.
        listener: ListenerId,
        /// What came to be since it was told last.
        counters: DatagramCounters,
    },
    /// Somebody wanted to come in, and there is no stream to tell of.
    #[cfg(feature = "datagram")]
    Failed {
        /// Where.
        listener: ListenerId,
        /// Who.
        peer: SocketAddr,
        /// Why.
        fault: Fault,
    },
    /// The wall clock was set: see [`Net::watch_clock`].
    ClockSet,
    /// A name was looked up.
    Resolved {
        /// What [`Net::resolve`] was given.
        ticket: u64,
        /// In the order to try.
        addresses: io::Result<Vec<SocketAddr>>,
    },
}

/// Options of an outgoing connection.
#[derive(Clone, Default)]
pub struct DialOptions {
    /// Opens it in place of the system; the other options are of no use then.
    pub transport: Option<Arc<dyn CustomTransport>>,
    /// Where a name inside this process is looked for; `None`: in the runtime of whoever dials.
    pub names: Option<memory::Names>,
    /// Local address to bind to.
    pub bind: Option<std::net::IpAddr>,
    /// Network device to use, by name (SO_BINDTODEVICE); needs a privilege on older kernels.
    pub device: Option<String>,
    /// Mark of every packet (SO_MARK), for routing and firewall; needs a privilege.
    pub mark: Option<u32>,
}

/// The world outside. Everything is non-blocking but [`Net::wait`].
pub trait Net: 'static {
    /// A stream between two workers.
    type Stream: Send + 'static;

    /// Monotonic time since the runtime began.
    fn now(&self) -> Instant;

    /// Wall time, for stamps only.
    fn unix_time(&self) -> UnixTime;

    /// From now on it is told when the wall clock is set ([`Ready::ClockSet`]), or not any more. A world that cannot, or whose clock is
    /// never set, does not tell; then whoever waits for it has only the end of an ordinary pause.
    fn watch_clock(&mut self, is_wanted: bool) {
        let _ = is_wanted;
    }

    /// Sleeps until something is ready, the inbox is woken, or `timeout` is over (`None`: no
    /// limit); appends what is ready.
    ///
    /// # Errors
    /// The poll itself failed; the runtime cannot go on.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Opens a listening socket; answers where it really listens.
    ///
    /// # Errors
    /// The address is taken or not allowed.
    fn listen(&mut self, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<(ListenerId, Endpoint)>;

    /// Opens a UDP socket with an endpoint of `make` on it, which draws on the seed, and charges what it holds; its connections
    /// are accepted as others.
    ///
    /// # Errors
    /// As [`Net::listen`]; `Unsupported`: this world has no datagrams.
    #[cfg(feature = "datagram")]
    fn listen_datagrams(
        &mut self,
        place: UdpPlace,
        options: &SocketOptions,
        make: &dyn MakeDatagrams,
        of_server: (u64, DatagramLimits, Charge),
    ) -> io::Result<(ListenerId, Endpoint)> {
        let _ = (place, options, make, of_server);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Other options for whoever comes from now on.
    #[cfg(feature = "datagram")]
    fn renew_datagrams(&mut self, listener: ListenerId, make: &dyn MakeDatagrams, limits: DatagramLimits) {
        let _ = (listener, make, limits);
    }

    /// A listener for datagrams was closed at this address, and its socket is still there for the connections over it.
    #[cfg(feature = "datagram")]
    fn keeps_datagrams(&self, address: SocketAddr) -> bool {
        let _ = address;
        false
    }

    /// Begins a connection over datagrams, as [`Net::dial`] does. A fault of the transport is an error with a
    /// [`Fault`] inside, here, from [`Net::dialed`] and from [`Net::read`].
    ///
    /// # Errors
    /// It cannot even begin.
    #[cfg(feature = "datagram")]
    fn dial_datagrams(&mut self, plan: DialPlan, make: &dyn MakeDatagrams, of_client: (u64, Charge)) -> io::Result<LinkId> {
        let _ = (plan, make, of_client);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What the transport has learnt of the peer of a stream that is there; once.
    #[cfg(feature = "datagram")]
    fn about(&mut self, link: LinkId) -> Option<Box<About>> {
        let _ = link;
        None
    }

    /// For who wants to look at a connection over datagrams from elsewhere.
    #[cfg(feature = "datagram")]
    fn watched(&self, link: LinkId) -> Option<Arc<dyn DatagramWatch>> {
        let _ = link;
        None
    }

    /// Takes over a socket that listens already; answers where.
    ///
    /// # Errors
    /// It is not a listening TCP or Unix socket.
    fn listen_on(&mut self, socket: OwnedFd, options: &SocketOptions) -> io::Result<(ListenerId, Endpoint)>;

    /// Takes over a connected stream; answers who is at the other end.
    ///
    /// # Errors
    /// It is not a connected stream.
    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(LinkId, Peer)>;

    /// Closes a listening socket.
    fn unlisten(&mut self, listener: ListenerId);

    /// Takes one waiting connection; `None`: none waits.
    ///
    /// # Errors
    /// Descriptors or memory ran out; try again later.
    fn accept(&mut self, listener: ListenerId) -> io::Result<Option<(LinkId, Peer)>>;

    /// Begins a connection; it is writable when it is there, see [`Net::dialed`].
    ///
    /// # Errors
    /// It cannot even begin.
    fn dial(&mut self, endpoint: &Endpoint, options: &DialOptions) -> io::Result<LinkId>;

    /// Takes over a stream that the application opens; goes on as after [`Net::dial`].
    ///
    /// # Errors
    /// Its descriptor cannot be polled.
    fn take(&mut self, stream: Box<dyn CustomStream>) -> io::Result<LinkId>;

    /// How a dial went; `None`: it goes on.
    fn dialed(&mut self, link: LinkId) -> Option<io::Result<()>>;

    /// The addresses of a connected stream, this end first; `None`: it has none.
    fn ends(&self, link: LinkId) -> Option<(SocketAddr, SocketAddr)> {
        let _ = link;
        None
    }

    /// Reads what is there; 0 = the peer sends no more, or what comes next is a payload ([`Net::take_payload`]).
    ///
    /// # Errors
    /// `WouldBlock`: nothing there. Others: the stream is dead.
    fn read(&mut self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize>;

    /// The payload that comes next on a link inside this process, as it is. Nothing else has any.
    fn take_payload(&mut self, link: LinkId) -> Option<Bytes> {
        let _ = link;
        None
    }

    /// Writes as much of what waits as the stream takes at once: how many bytes, and whether that is less than it was offered.
    ///
    /// # Errors
    /// `WouldBlock`: nothing taken. Others: the stream is dead.
    fn write(&mut self, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)>;

    /// Says that no more will be sent (FIN); the stream can still be read.
    fn shutdown(&mut self, link: LinkId);

    /// Closes a stream.
    fn close(&mut self, link: LinkId);

    /// Gives up a connected stream, for another worker's [`Net::attach`]; the link is free then.
    ///
    /// # Errors
    /// There is no such stream, or it cannot be taken out of the poll; it is closed.
    fn detach(&mut self, link: LinkId) -> io::Result<Self::Stream>;

    /// Takes over a stream of another worker. What there is to be read of it is reported as if it
    /// had just come.
    ///
    /// # Errors
    /// Memory ran out; the stream is closed.
    fn attach(&mut self, stream: Self::Stream) -> io::Result<LinkId>;

    /// Looks a name up; answers with [`Ready::Resolved`].
    fn resolve(&mut self, ticket: u64, host: &str, port: u16);

    /// Appends a record to the durable log.
    fn append(&mut self, record: &[u8]) -> LogSequence;

    /// Up to which record the log is safe.
    fn confirmed(&mut self) -> LogSequence;
}
