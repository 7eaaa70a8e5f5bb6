//! The way of a client's datagrams: who wants to look at its connection from elsewhere, and who hears that it goes another way.

use std::net::SocketAddr;

#[cfg(feature = "datagram")]
use super::client_host::ClientKey;
#[cfg(feature = "datagram")]
use super::worker::Worker;
#[cfg(feature = "datagram")]
use super::{LinkId, Net};
use crate::stack::DatagramStatistics;

/// The datagrams of a connection go another way: this end has another address, or the server has asked whether they come from where it is
/// (the address of a NAT is another one; over QUIC, somebody on the way may also have repeated a datagram from elsewhere). QUIC and reliable UDP of
/// generation 2.
#[derive(Clone, Copy, Debug)]
pub struct PathMoved {
    /// Which server, as in [`ClientHandler::before_connect`].
    pub server: usize,
    /// The address of this end now.
    pub local: Option<SocketAddr>,
    /// What happened on the connection until then.
    pub statistics: DatagramStatistics,
}

#[cfg(feature = "datagram")]
impl<N: Net> Worker<N> {
    /// The link is there.
    pub(super) fn watch_client(&mut self, client: ClientKey, link: LinkId) {
        if let Some(host) = self.clients.get(client) {
            host.gauge.watch(self.net.watched(link));
        }
    }

    /// The datagrams of its link go another way.
    pub(super) fn client_moved(&mut self, client: ClientKey, link: LinkId) {
        let local = self.net.ends(link).map(|(local, _)| local);
        let Some(host) = self.clients.get_mut(client).filter(|host| host.connection.link() == Some(link)) else { return };
        let statistics = host.gauge.datagrams().unwrap_or_default();
        host.handler.path_moved(PathMoved { server: host.server, local, statistics });
    }
}
