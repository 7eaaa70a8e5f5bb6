//! [`Net`] over mio: epoll, edge-triggered, one descriptor for everything.
//!
//! Each socket is registered once, for reading and writing, and never touched again: there is no
//! `epoll_ctl` after accept. Tokens carry an index only (32 bits on armv7); an index freed in a
//! turn is re-used from the next turn on, so an event that was already fetched cannot reach the
//! next tenant. Time is a descriptor inside the poll, so that a foreign loop watches one
//! descriptor and keeps no time-out: see [`MioNet::arm`].

use std::io::{self, IoSlice, Read};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::journal::{LogSequence, MemoryJournal};
use super::resolver::{Resolve, Resolver};
use super::threads::ThreadOptions;
use super::transport::{read_all, write_all};
use super::{CustomStream, DialOptions, LinkId, ListenerId, Net, Ready};
use crate::base::{Duration, Instant, UnixTime};

const WAKER: Token = Token(usize::MAX >> 1);
const TIMER: Token = Token((usize::MAX >> 1) - 1);
const EVENTS_PER_WAIT: usize = 1_024;
const LISTEN_BACKLOG: i32 = 4_096;
const JOURNAL_BYTES_MAX: usize = 1 << 20;

enum Slot {
    Free,
    Listener(TcpListener),
    Dialing(TcpStream),
    Stream(TcpStream),
    Custom(Box<dyn CustomStream>),
}

/// The real world.
pub struct MioNet {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    timer: OwnedFd,
    sockets: Vec<Slot>,
    free: Vec<u32>,
    /// Freed in this turn.
    freed: Vec<u32>,
    /// Custom streams that ended behind what was read.
    again: Vec<u32>,
    resolver: Resolver,
    journal: MemoryJournal,
    epoch: std::time::Instant,
}

impl MioNet {
    /// A poll of its own. Its time begins at `epoch`, the same for all workers of a runtime. Names are looked up by at most `helper_threads` such threads at a time.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(epoch: std::time::Instant, helper_threads: usize, threads: ThreadOptions) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let wake = waker.clone();
        let resolver = Resolver::new(
            helper_threads,
            threads,
            Arc::new(move || {
                let _ = wake.wake();
            }),
        );
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            waker,
            timer,
            sockets: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            again: Vec::new(),
            resolver,
            journal: MemoryJournal::new(JOURNAL_BYTES_MAX),
            epoch,
        })
    }

    /// From now on the application looks names up.
    pub fn resolve_with(&mut self, resolve: Resolve) {
        self.resolver.resolve_with(resolve);
    }

    /// Counts look-ups that failed because too many waited.
    pub fn lookups_refused(&self) -> Arc<AtomicU64> {
        self.resolver.refused()
    }

    /// Ends a wait; from any thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// The one descriptor of this runtime: readable when a turn has something to do.
    pub fn poll_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }

    /// Makes the descriptor readable at `deadline` (at once if that is past; never for `None`),
    /// for a loop that is not ours.
    ///
    /// # Errors
    /// As the system call's.
    pub fn arm(&self, deadline: Option<Instant>) -> io::Result<()> {
        let wait = deadline.map(|deadline| deadline.since(self.now()).max(Duration::from_nanos(1)));
        let wait = wait.unwrap_or(Duration::ZERO);
        let value = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval: interval, it_value: value })?;
        Ok(())
    }

    fn insert(&mut self, socket: Slot) -> u32 {
        if let Some(index) = self.free.pop() {
            self.sockets[index as usize] = socket;
            return index;
        }
        self.sockets.push(socket);
        u32::try_from(self.sockets.len() - 1).expect("fewer sockets than descriptors")
    }

    fn insert_listener(&mut self, socket: Socket) -> io::Result<(ListenerId, SocketAddr)> {
        let listener = StdListener::from(socket);
        let bound = listener.local_addr()?;
        let mut listener = TcpListener::from_std(listener);
        let index = self.insert(Slot::Free);
        if let Err(error) = self.poll.registry().register(&mut listener, Token(index as usize), Interest::READABLE) {
            self.freed.push(index);
            return Err(error);
        }
        self.sockets[index as usize] = Slot::Listener(listener);
        Ok((ListenerId(index), bound))
    }

    fn insert_stream(&mut self, mut stream: TcpStream) -> io::Result<LinkId> {
        let index = self.insert(Slot::Free);
        if let Err(error) = self.poll.registry().register(&mut stream, Token(index as usize), Interest::READABLE | Interest::WRITABLE) {
            self.freed.push(index);
            return Err(error);
        }
        self.sockets[index as usize] = Slot::Stream(stream);
        Ok(LinkId(index))
    }

    fn remove(&mut self, index: u32) -> Slot {
        let socket = core::mem::replace(&mut self.sockets[index as usize], Slot::Free);
        if !matches!(socket, Slot::Free) {
            self.freed.push(index);
        }
        socket
    }

    fn stream(&mut self, link: LinkId) -> io::Result<&mut TcpStream> {
        match self.sockets.get_mut(link.0 as usize) {
            Some(Slot::Stream(stream) | Slot::Dialing(stream)) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// A descriptor that came from outside, made ours: non-blocking and closed on exec.
fn stream_socket(socket: OwnedFd) -> io::Result<Socket> {
    let socket = Socket::from(socket);
    if socket.r#type()? != Type::STREAM {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
    }
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(socket)
}

impl Net for MioNet {
    type Stream = TcpStream;

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn unix_time(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.free.append(&mut self.freed);
        let timeout = if self.again.is_empty() { timeout } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let index = match event.token() {
                WAKER | TIMER => continue,
                Token(index) => index,
            };
            let id = index as u32;
            match self.sockets.get(index) {
                Some(Slot::Listener(_)) => ready.push(Ready::Listener(ListenerId(id))),
                Some(Slot::Stream(_) | Slot::Dialing(_)) => ready.push(Ready::Link {
                    link: LinkId(id),
                    readable: event.is_readable() || event.is_error() || event.is_read_closed(),
                    writable: event.is_writable() || event.is_error(),
                    ended: event.is_read_closed() || event.is_error(),
                }),
                // What its descriptor says is the application's affair.
                Some(Slot::Custom(_)) => ready.push(Ready::Link { link: LinkId(id), readable: true, writable: true, ended: false }),
                _ => {}
            }
        }
        self.events.clear();
        let again = self.again.drain(..).filter(|index| matches!(self.sockets[*index as usize], Slot::Custom(_)));
        ready.extend(again.map(|index| Ready::Link { link: LinkId(index), readable: true, writable: false, ended: false }));
        while let Some((ticket, addresses)) = self.resolver.poll() {
            ready.push(Ready::Resolved { ticket, addresses });
        }
        Ok(())
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<(ListenerId, SocketAddr)> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        self.insert_listener(socket)
    }

    fn listen_on(&mut self, socket: OwnedFd) -> io::Result<(ListenerId, SocketAddr)> {
        let socket = stream_socket(socket)?;
        if !socket.is_listener()? || !matches!(socket.domain()?, Domain::IPV4 | Domain::IPV6) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a listening TCP socket"));
        }
        self.insert_listener(socket)
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(LinkId, String)> {
        let socket = stream_socket(socket)?;
        let peer = socket.peer_addr()?;
        let peer = peer.as_socket().map_or_else(|| "local".to_owned(), |address| address.to_string());
        // A Unix socket has no such option, and no need of it.
        let _ = socket.set_tcp_nodelay(true);
        let link = self.insert_stream(TcpStream::from_std(StdStream::from(socket)))?;
        Ok((link, peer))
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if let Slot::Listener(mut listener) = self.remove(listener.0) {
            let _ = self.poll.registry().deregister(&mut listener);
        }
    }

    fn accept(&mut self, listener: ListenerId) -> io::Result<Option<(LinkId, SocketAddr)>> {
        let Some(Slot::Listener(socket)) = self.sockets.get(listener.0 as usize) else { return Ok(None) };
        let (stream, peer) = match socket.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        // Without it, small packets wait for the peer's acknowledgement: 25 times fewer messages.
        stream.set_nodelay(true)?;
        Ok(Some((self.insert_stream(stream)?, peer)))
    }

    fn dial(&mut self, address: SocketAddr, options: &DialOptions) -> io::Result<LinkId> {
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
        let mut stream = TcpStream::from_std(StdStream::from(socket));
        let index = self.insert(Slot::Free);
        if let Err(error) = self.poll.registry().register(&mut stream, Token(index as usize), Interest::READABLE | Interest::WRITABLE) {
            self.freed.push(index);
            return Err(error);
        }
        self.sockets[index as usize] = Slot::Dialing(stream);
        Ok(LinkId(index))
    }

    fn ends(&self, link: LinkId) -> Option<(SocketAddr, SocketAddr)> {
        let Some(Slot::Stream(stream)) = self.sockets.get(link.0 as usize) else { return None };
        Some((stream.local_addr().ok()?, stream.peer_addr().ok()?))
    }

    fn take(&mut self, stream: Box<dyn CustomStream>) -> io::Result<LinkId> {
        let index = self.insert(Slot::Free);
        let registered = self.poll.registry().register(&mut SourceFd(&stream.descriptor()), Token(index as usize), Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = registered {
            self.freed.push(index);
            return Err(error);
        }
        self.sockets[index as usize] = Slot::Custom(stream);
        Ok(LinkId(index))
    }

    fn dialed(&mut self, link: LinkId) -> Option<io::Result<()>> {
        let slot = self.sockets.get_mut(link.0 as usize)?;
        if let Slot::Custom(stream) = slot {
            return stream.opened();
        }
        let Slot::Dialing(stream) = slot else { return Some(Ok(())) };
        match stream.take_error() {
            Ok(Some(error)) | Err(error) => return Some(Err(error)),
            Ok(None) => {}
        }
        if let Err(error) = stream.peer_addr() {
            return match error.kind() {
                io::ErrorKind::NotConnected => None,
                _ => Some(Err(error)),
            };
        }
        if let Slot::Dialing(stream) = core::mem::replace(slot, Slot::Free) {
            *slot = Slot::Stream(stream);
        }
        Some(Ok(()))
    }

    fn read(&mut self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        match self.sockets.get_mut(link.0 as usize) {
            Some(Slot::Stream(stream) | Slot::Dialing(stream)) => stream.read(buffer),
            Some(Slot::Custom(stream)) => {
                let (result, must_read_again) = read_all(&mut **stream, buffer);
                if must_read_again {
                    self.again.push(link.0);
                }
                result
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Not `write_vectored` of std: that raises SIGPIPE, which would end the host process.
    fn write(&mut self, link: LinkId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let stream = match self.sockets.get_mut(link.0 as usize) {
            Some(Slot::Stream(stream) | Slot::Dialing(stream)) => stream,
            Some(Slot::Custom(stream)) => return write_all(&mut **stream, slices),
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        let flags = rustix::net::SendFlags::NOSIGNAL.bits() as i32;
        match slices {
            // The usual one; cheaper in the kernel than a list of one.
            [slice] => SockRef::from(&*stream).send_with_flags(slice, flags),
            _ => SockRef::from(&*stream).send_vectored_with_flags(slices, flags),
        }
    }

    fn shutdown(&mut self, link: LinkId) {
        if let Some(Slot::Custom(stream)) = self.sockets.get_mut(link.0 as usize) {
            stream.shutdown();
        } else if let Ok(stream) = self.stream(link) {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    }

    fn close(&mut self, link: LinkId) {
        match self.remove(link.0) {
            Slot::Stream(mut stream) | Slot::Dialing(mut stream) => drop(self.poll.registry().deregister(&mut stream)),
            Slot::Custom(stream) => drop(self.poll.registry().deregister(&mut SourceFd(&stream.descriptor()))),
            Slot::Free | Slot::Listener(_) => {}
        }
    }

    fn detach(&mut self, link: LinkId) -> io::Result<TcpStream> {
        let Slot::Stream(mut stream) = self.remove(link.0) else { return Err(io::ErrorKind::NotConnected.into()) };
        self.poll.registry().deregister(&mut stream)?;
        Ok(stream)
    }

    fn attach(&mut self, stream: TcpStream) -> io::Result<LinkId> {
        self.insert_stream(stream)
    }

    fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        self.resolver.resolve(ticket, host, port);
    }

    fn append(&mut self, record: &[u8]) -> LogSequence {
        self.journal.append(record)
    }

    fn confirmed(&mut self) -> LogSequence {
        self.journal.confirmed()
    }
}
