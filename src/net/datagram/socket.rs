//! UDP sockets: of a listener, and of a dial.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use quinn_udp::UdpSocketState;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use crate::net::DialOptions;

/// What the kernel is asked to keep of datagrams that were not received yet; it may allow less.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A socket that is ready for a machine.
pub struct Bound {
    pub(super) socket: Socket,
    pub(super) state: UdpSocketState,
    pub(super) local: SocketAddr,
    pub(super) may_fragment: bool,
}

/// A UDP socket that is bound.
///
/// # Errors
/// As the system's.
pub fn bind(address: SocketAddr, options: &DialOptions) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    // A small one means losses, and no more.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    socket.bind(&address.into())?;
    let state = UdpSocketState::new((&socket).into())?;
    let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Bound { socket, state, local, may_fragment: false })
}

impl Bound {
    /// Where it is.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Whether datagrams that are larger than the path takes are cut, or dropped, from now on. At first they are dropped.
    ///
    /// # Errors
    /// As the system's; nothing has changed.
    pub fn set_fragment(&mut self, may_fragment: bool) -> io::Result<()> {
        if may_fragment != self.may_fragment {
            match (self.local.is_ipv6(), may_fragment) {
                (true, true) => set_ipv6_mtu_discover(&self.socket, Ipv6PathMtuDiscovery::WANT)?,
                (true, false) => set_ipv6_mtu_discover(&self.socket, Ipv6PathMtuDiscovery::PROBE)?,
                (false, true) => set_ip_mtu_discover(&self.socket, Ipv4PathMtuDiscovery::WANT)?,
                (false, false) => set_ip_mtu_discover(&self.socket, Ipv4PathMtuDiscovery::PROBE)?,
            }
            self.may_fragment = may_fragment;
        }
        Ok(())
    }

    /// For the poll.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }
}

/// Whom a dial goes to.
#[derive(Clone)]
pub struct DialPlan {
    /// Where it is.
    pub remote: SocketAddr,
    /// Its name.
    pub host: String,
    /// Of the socket.
    pub options: DialOptions,
}

impl DialPlan {
    /// A socket that hears nobody else, and is told when nobody is there.
    ///
    /// # Errors
    /// As [`bind`].
    pub fn bind(&self) -> io::Result<Bound> {
        let any = if self.remote.is_ipv6() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { IpAddr::V4(Ipv4Addr::UNSPECIFIED) };
        let mut bound = bind(SocketAddr::new(self.options.bind.unwrap_or(any), 0), &self.options)?;
        bound.socket.connect(&self.remote.into())?;
        bound.local = bound.socket.local_addr()?.as_socket().unwrap_or(bound.local);
        Ok(bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::{ip_mtu_discover, ipv6_mtu_discover};

    #[test]
    fn a_socket_cuts_datagrams_only_where_it_was_told_to() {
        let mut four = bind(([127, 0, 0, 1], 0).into(), &DialOptions::default()).expect("bound");
        assert!(ip_mtu_discover(four.socket()).expect("an option") == Ipv4PathMtuDiscovery::PROBE);
        four.set_fragment(true).expect("an option");
        assert!(ip_mtu_discover(four.socket()).expect("an option") == Ipv4PathMtuDiscovery::WANT);
        four.set_fragment(false).expect("an option");
        assert!(ip_mtu_discover(four.socket()).expect("an option") == Ipv4PathMtuDiscovery::PROBE);
        let mut six = bind((Ipv6Addr::LOCALHOST, 0).into(), &DialOptions::default()).expect("bound");
        let at_first = ipv6_mtu_discover(six.socket()).expect("an option");
        six.set_fragment(true).expect("an option");
        assert!(ipv6_mtu_discover(six.socket()).expect("an option") == Ipv6PathMtuDiscovery::WANT);
        six.set_fragment(false).expect("an option");
        assert!(ipv6_mtu_discover(six.socket()).expect("an option") == at_first);
    }
}
