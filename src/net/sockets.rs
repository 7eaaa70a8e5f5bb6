//! Sockets as they are made, before anything goes over them: their options, and where they are.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::{DialOptions, Endpoint, SocketOptions};
use crate::base::{Duration, PeerProcess};

/// Probes of TCP keep-alive without an answer.
const KEEPALIVE_PROBES: u32 = 3;

/// Listens at an address of TCP.
pub fn listen(address: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    set_tcp_options(&socket, address.is_ipv6(), options)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog.into())?;
    Ok(socket)
}

/// A descriptor that listens already.
pub fn listener_socket(socket: OwnedFd, options: &SocketOptions) -> io::Result<Socket> {
    let socket = stream_socket(socket)?;
    let domain = socket.domain()?;
    if !socket.is_listener()? || !matches!(domain, Domain::IPV4 | Domain::IPV6 | Domain::UNIX) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening TCP or Unix socket"));
    }
    if domain != Domain::UNIX {
        set_tcp_options(&socket, domain == Domain::IPV6, options)?;
    }
    Ok(socket)
}

/// Begins a connection over TCP.
pub fn dial(address: SocketAddr, options: &DialOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if let Some(device) = &options.device {
        socket.bind_device(Some(device.as_bytes()))?;
    }
    if let Some(mark) = options.mark {
        socket.set_mark(mark)?;
    }
    if let Some(bind) = options.bind {
        socket.bind(&SocketAddr::new(bind, 0).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket)
}

/// A descriptor that came from outside, made ours: non-blocking and closed on exec.
pub fn stream_socket(socket: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(socket);
    if socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(socket)
}

/// Where a socket listens.
///
/// # Errors
/// It is neither of TCP nor a Unix socket with a file.
pub fn local_endpoint(socket: &Socket) -> io::Result<Endpoint> {
    let address = socket.local_addr()?;
    let unix = || Some(Endpoint::Unix(address.as_pathname()?.to_owned()));
    let endpoint = address.as_socket().map(Endpoint::Tcp).or_else(unix);
    endpoint.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "neither TCP nor a Unix socket with a file"))
}

/// What the connections of a listener are to have, which they inherit.
fn set_tcp_options(socket: &Socket, is_ipv6: bool, options: &SocketOptions) -> io::Result<()> {
    if options.keepalive_s != 0 {
        let time = Duration::from_secs(options.keepalive_s.into());
        let interval = (time / KEEPALIVE_PROBES).max(Duration::from_secs(1));
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(KEEPALIVE_PROBES))?;
    }
    if options.user_timeout_ms != 0 {
        socket.set_tcp_user_timeout(Some(Duration::from_millis(options.user_timeout_ms.into())))?;
    }
    if options.dscp != 0 {
        // The two bits below are for congestion (ECN).
        let class = u32::from(options.dscp) << 2;
        if is_ipv6 { socket.set_tclass_v6(class)? } else { socket.set_tos_v4(class)? }
    }
    Ok(())
}

/// Who connected over a Unix socket.
pub fn peer_process(socket: impl AsFd) -> Option<PeerProcess> {
    // rustix's has no place for the process 0, which is what one of another name space is called.
    let credentials = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    Some(PeerProcess { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid() })
}
