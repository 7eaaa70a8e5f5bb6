//! Where and how a server listens, and who may come in now.
//!
//! A listener belongs to one worker; its connections go wherever their clients are at home, and each
//! takes a place along, so that they are counted wherever they are. What the listener says of clients
//! is in its rules, which the broker holds them to. A rate of connections is kept by not accepting: who
//! comes waits in the queue of the socket, which is what `backlog` is for.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Endpoint, ListenerId, ListenerTls, ListenerWebSocket, Peer, SocketOptions, Transport};
use crate::base::{Bucket, Instant};
use crate::broker::Rules;
use crate::stack::{Networks, ProxyPolicy, Recipe};

/// Where and how a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// Port 0 takes a free one; see what `add_listener` answers.
    pub endpoint: Endpoint,
    /// Connections through this listener at one time; `None`: only the server's limit.
    pub max_connections: Option<usize>,
    /// Connections accepted in a second; `None`: any number.
    pub rate_connections: Option<u32>,
    /// What MQTT runs over.
    pub transport: Transport,
    /// TLS, if that is part of it.
    pub tls: Option<Box<ListenerTls>>,
    /// WebSocket, if that is part of it.
    pub websocket: ListenerWebSocket,
    /// Whether the header of the PROXY protocol is expected.
    pub proxy: ProxyPolicy,
    /// Whose word is taken about whom they connect: in that header, and in X-Forwarded-For.
    pub proxy_trusted: Networks,
    /// What QUIC has besides TLS.
    #[cfg(feature = "quic")]
    pub quic: crate::stack::quic::QuicOptions,
    /// Connections of QUIC through it at one time, if `max_connections` does not say less: each may hold hundreds of kilobytes.
    #[cfg(feature = "quic")]
    pub quic_max_connections: usize,
    /// Reliable UDP, if that is what it listens to.
    #[cfg(feature = "rudp")]
    pub rudp: crate::stack::rudp::Options,
    /// Of the socket.
    pub socket: SocketOptions,
    /// Of the clients.
    pub rules: Rules,
}

impl ListenerOptions {
    /// Listens there over TCP, with what the server's options say.
    pub fn at(address: SocketAddr) -> Self {
        Self::on(Endpoint::Tcp(address))
    }

    /// Listens there, with what the server's options say.
    pub fn on(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            max_connections: None,
            rate_connections: None,
            transport: Transport::default(),
            tls: None,
            websocket: ListenerWebSocket::default(),
            proxy: ProxyPolicy::Off,
            proxy_trusted: Networks::default(),
            #[cfg(feature = "quic")]
            quic: crate::stack::quic::QuicOptions::of_listener(),
            #[cfg(feature = "quic")]
            quic_max_connections: 1_000,
            #[cfg(feature = "rudp")]
            rudp: crate::stack::rudp::Options::of_listener(),
            socket: SocketOptions::default(),
            rules: Rules::default(),
        }
    }
}

/// An open listener.
pub(super) struct Listener {
    pub id: ListenerId,
    pub bound: Endpoint,
    pub rules: Arc<Rules>,
    /// The layers of its connections.
    pub recipe: Recipe,
    /// Who will say whom they connect: in the header of the PROXY protocol, or in a request for a WebSocket.
    proxies: Networks,
    /// That header is expected, and whoever may open a Unix socket is trusted.
    has_proxy_header: bool,
    max_connections: Option<usize>,
    /// Connections in a second.
    rate: Option<(u32, Bucket)>,
    /// Each of its connections has one more, on whatever worker it is.
    place: Arc<()>,
}

impl Listener {
    pub fn new(now: Instant, id: ListenerId, bound: Endpoint, options: &ListenerOptions, recipe: Recipe) -> Self {
        let mut listener = Self {
            id,
            bound,
            rules: Arc::default(),
            recipe: Recipe::default(),
            proxies: Networks::default(),
            has_proxy_header: false,
            max_connections: None,
            rate: None,
            place: Arc::default(),
        };
        listener.change(now, options, recipe);
        listener
    }

    /// Other rules and layers for whoever comes from now on; the socket stays as it is.
    pub fn change(&mut self, now: Instant, options: &ListenerOptions, recipe: Recipe) {
        self.recipe = recipe;
        if let Some(address) = self.bound.socket_address() {
            self.bound = Endpoint::of(address, options.transport);
        }
        self.has_proxy_header = options.proxy != ProxyPolicy::Off;
        self.proxies = if self.has_proxy_header || options.transport.websocket { options.proxy_trusted.clone() } else { Networks::default() };
        self.rules = Arc::new(options.rules.clone());
        self.max_connections = options.max_connections;
        if self.rate.map(|(rate, _)| rate) != options.rate_connections {
            self.rate = options.rate_connections.map(|rate| (rate, Bucket::new(now, rate)));
        }
    }

    /// It is a trusted proxy, which will say who is behind it.
    pub fn is_proxy(&self, peer: &Peer) -> bool {
        peer.address.map_or(self.has_proxy_header, |address| self.proxies.contains(address.ip()))
    }

    /// Until when nobody may be accepted; `None`: the next one may.
    pub fn rests_until(&mut self, now: Instant) -> Option<Instant> {
        let (rate, bucket) = self.rate.as_mut()?;
        (!bucket.has_room(now, *rate)).then(|| bucket.ready_at(*rate))
    }

    /// Somebody was accepted. `None`: there are too many through this listener.
    pub fn take_place(&mut self, now: Instant) -> Option<Arc<()>> {
        if let Some((rate, bucket)) = &mut self.rate {
            bucket.take(now, *rate, 1);
        }
        let is_full = self.max_connections.is_some_and(|max| Arc::strong_count(&self.place) > max);
        (!is_full).then(|| self.place.clone())
    }
}
