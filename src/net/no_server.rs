//! In place of `server_host` in a build without the feature `server`: the same face, and never a server behind it.

use super::worker::{After, Worker};
use super::{LinkId, ListenerId, Net, Peer};
use crate::base::Instant;

slotmap::new_key_type! {
    /// Names a server of a worker.
    pub struct ServerKey;
    /// Names a connection of a server.
    pub struct ConnKey;
}

/// There is none.
pub(super) enum ServerHost<N: Net> {
    #[allow(dead_code)]
    Never(core::convert::Infallible, core::marker::PhantomData<N>),
}

impl<N: Net> ServerHost<N> {
    pub fn deadline(&self) -> Option<Instant> {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }

    pub fn is_parting(&self) -> bool {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }

    pub fn writable(&mut self, _: ConnKey) {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }

    pub fn go_on(&mut self, _: Instant) {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }

    pub fn work(&mut self, _: Instant) {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }

    pub fn has_work(&self) -> bool {
        match *self {
            Self::Never(never, _) => match never {},
        }
    }
}

impl<N: Net> Worker<N> {
    pub(super) fn listener_rests(&mut self, _: ServerKey, _: ListenerId) -> Option<Instant> {
        None
    }

    pub(super) fn accepted(&mut self, _: ServerKey, _: ListenerId, link: LinkId, _: Peer) -> bool {
        self.net.close(link);
        false
    }

    pub(super) fn read_connection(&mut self, _: ServerKey, _: ConnKey, _: LinkId) -> After {
        After::Closed
    }

    pub(super) fn flush_server(&mut self, _: ServerKey) -> bool {
        false
    }

    pub(super) fn take_posts(&mut self, _: ServerKey) {}

    pub(super) fn hand_over(&mut self, _: ServerKey) {}

    pub(super) fn await_report(&mut self, _: ServerKey) {}

    pub(super) fn welcome(&mut self, _: ServerKey) {}

    pub(super) fn see_off(&mut self, _: ServerKey) {}

    pub(super) fn server_timeout(&mut self, _: ServerKey) {}

    #[cfg(feature = "datagram")]
    pub(super) fn moved(&mut self, _: LinkId, _: std::net::SocketAddr) {}

    #[cfg(feature = "datagram")]
    pub(super) fn counted(&mut self, _: ServerKey, _: ListenerId, _: &crate::stack::DatagramCounters) {}

    #[cfg(feature = "datagram")]
    pub(super) fn came_to_nothing(&mut self, _: ServerKey, _: std::net::SocketAddr, _: &crate::stack::Fault) {}
}
