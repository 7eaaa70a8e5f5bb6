//! [`Net`] over mio: epoll, edge-triggered, one descriptor for everything.
//!
//! Each socket is registered once, for reading and writing, and never touched again: there is no
//! `epoll_ctl` after accept. Tokens carry an index only (32 bits on armv7); an index freed in a
//! turn is re-used from the next turn on, so an event that was already fetched cannot reach the
//! next tenant. Time is a descriptor inside the poll, so that a foreign loop watches one
//! descriptor and keeps no time-out: see [`MioNet::arm`].

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use bytes::Bytes;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use socket2::Socket;

use super::clock::ClockWatch;
use super::datagram::Datagrams;
use super::journal::{LogSequence, MemoryJournal};
use super::memory::{Names, Readiness, Watcher};
use super::places::{Moving, MovingStream, Slot};
use super::resolver::{Resolve, Resolver};
use super::threads::ThreadOptions;
use super::transport::{read_all, write_all};
use super::unix;
use super::write::write_slices;
#[cfg(feature = "datagram")]
use super::{About, Charge, DatagramLimits, DatagramWatch, DialPlan, MakeDatagrams, UdpPlace};
use super::{CustomStream, DialOptions, Endpoint, LinkId, ListenerId, Net, Peer, Ready, SocketOptions, sockets};
use crate::base::{Budget, Duration, Instant, OutBuffer, UnixTime};

const WAKER: Token = Token(usize::MAX >> 1);
const TIMER: Token = Token((usize::MAX >> 1) - 1);
const CLOCK: Token = Token((usize::MAX >> 1) - 2);
const EVENTS_PER_WAIT: usize = 1_024;
/// So long the end of a worker waits for those to whom something was written last over datagrams.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_secs(1);
const JOURNAL_BYTES_MAX: usize = 1 << 20;

/// The real world.
pub struct MioNet {
    pub(super) poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    timer: OwnedFd,
    pub(super) clock: ClockWatch,
    pub(super) sockets: Vec<Slot>,
    pub(super) free: Vec<u32>,
    /// Freed in this turn.
    pub(super) freed: Vec<u32>,
    /// Custom streams that ended behind what was read.
    again: Vec<u32>,
    resolver: Resolver,
    /// Beside the poll: streams inside this process.
    pub(super) watcher: Arc<Watcher>,
    names: Names,
    /// UDP sockets, and what is on them.
    pub(super) datagrams: Datagrams,
    journal: MemoryJournal,
    pub(super) epoch: std::time::Instant,
}

impl MioNet {
    /// A poll of its own. Its time begins at `epoch`, the same for all workers of a runtime. Names are looked up by at most
    /// `helper_threads` such threads at a time.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(epoch: std::time::Instant, helper_threads: usize, threads: ThreadOptions) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let wake = {
            let waker = waker.clone();
            move || {
                // It fails only without descriptors, which it has.
                let _ = waker.wake();
            }
        };
        let resolver = Resolver::new(helper_threads, threads, Arc::new(wake.clone()));
        let watcher = Watcher::new(Box::new(wake));
        Ok(Self {
            datagrams: Datagrams::new(poll.registry(), &watcher)?,
            watcher,
            names: Names::new(Budget::new(usize::MAX)),
            poll,
            events: Events::with_capacity(EVENTS_PER_WAIT),
            waker,
            timer,
            clock: ClockWatch::Off,
            sockets: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            again: Vec::new(),
            resolver,
            journal: MemoryJournal::new(JOURNAL_BYTES_MAX),
            epoch,
        })
    }

    /// Knows the same names inside this process as the other workers of its runtime.
    pub(super) fn share_names(&mut self, names: &Names) {
        self.names = names.clone();
        self.datagrams.charge_to(names.budget());
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
        let now = self.now();
        let has_work = self.watcher.has_events() || self.datagrams.has_work() || !self.again.is_empty();
        let deadline = deadline.into_iter().chain(self.datagrams.deadline()).min();
        if has_work || deadline.is_some_and(|deadline| deadline <= now) {
            // A timer that is over at once costs an interrupt.
            return self.waker.wake();
        }
        // None at all: zero.
        let wait = deadline.map_or(Duration::ZERO, |deadline| deadline.since(now));
        let value = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
        let interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::time::timerfd_settime(self.timer.as_fd(), TimerfdTimerFlags::empty(), &Itimerspec { it_interval: interval, it_value: value })?;
        Ok(())
    }

    /// Lets the machines of datagrams do what there is to do.
    fn run_datagrams(&mut self, ready: &mut Vec<Ready>) {
        if self.datagrams.is_empty() {
            return;
        }
        let now = self.now();
        self.datagrams.run(now, ready);
        for place in self.datagrams.take_gone() {
            self.remove(place);
        }
    }

    /// How long to sleep, if nothing happens.
    fn sleep(&self, timeout: Option<Duration>) -> Option<Duration> {
        if !self.again.is_empty() || self.watcher.has_events() || self.datagrams.has_work() {
            return Some(Duration::ZERO);
        }
        let Some(deadline) = self.datagrams.deadline() else { return timeout };
        let until = deadline.since(self.now());
        Some(timeout.map_or(until, |timeout| timeout.min(until)))
    }

    /// What there is to be said of streams inside this process.
    fn report_memory(&mut self, ready: &mut Vec<Ready>) {
        let mut places = self.datagrams.take_noted();
        if places.is_empty() && !self.watcher.has_events() {
            return;
        }
        places.append(&mut self.datagrams.sort_out(self.watcher.take()));
        places.sort_unstable();
        places.dedup();
        for place in places {
            match self.sockets.get(place as usize) {
                Some(Slot::MemoryListener(_)) => ready.push(Ready::Listener(ListenerId(place))),
                Some(Slot::Memory(end)) => {
                    let Readiness { readable, writable, ended } = end.readiness();
                    ready.push(Ready::Link { link: LinkId(place), readable, writable, ended });
                }
                Some(Slot::Datagram(stream)) => {
                    #[cfg(feature = "datagram")]
                    ready.extend(stream.take_move().map(|peer| Ready::Moved { link: LinkId(place), peer }));
                    if let Some(Readiness { readable, writable, ended }) = stream.readiness() {
                        ready.push(Ready::Link { link: LinkId(place), readable, writable, ended });
                    }
                }
                _ => {}
            }
        }
    }
}

impl Net for MioNet {
    type Stream = Moving;

    fn now(&self) -> Instant {
        Instant::from_micros(u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    fn unix_time(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        UnixTime(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn watch_clock(&mut self, is_wanted: bool) {
        self.clock.watch(is_wanted, self.poll.registry(), CLOCK);
    }

    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        self.free.append(&mut self.freed);
        self.run_datagrams(ready);
        let timeout = if ready.is_empty() { self.sleep(timeout) } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &self.events {
            let index = match event.token() {
                WAKER | TIMER => continue,
                CLOCK => {
                    if self.clock.was_set() {
                        ready.push(Ready::ClockSet);
                    }
                    continue;
                }
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
                Some(Slot::Udp) => self.datagrams.socket_ready(id, event.is_readable() || event.is_error(), event.is_writable()),
                // What its descriptor says is the application's affair.
                Some(Slot::Custom(_)) => ready.push(Ready::Link { link: LinkId(id), readable: true, writable: true, ended: false }),
                _ => {}
            }
        }
        self.events.clear();
        self.run_datagrams(ready);
        self.report_memory(ready);
        let again = self.again.drain(..).filter(|index| matches!(self.sockets[*index as usize], Slot::Custom(_)));
        ready.extend(again.map(|index| Ready::Link { link: LinkId(index), readable: true, writable: false, ended: false }));
        while let Some((ticket, addresses)) = self.resolver.poll() {
            ready.push(Ready::Resolved { ticket, addresses });
        }
        Ok(())
    }

    fn listen(&mut self, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        let address = match endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => {
                let (socket, file) = unix::listen(path, options)?;
                // Bound by another name, see there.
                let (listener, _) = self.insert_listener(socket, Some(file))?;
                return Ok((listener, endpoint.clone()));
            }
            Endpoint::Memory(name) => {
                let index = self.insert(Slot::Free);
                match self.names.listen(name, options.backlog.into(), &self.watcher, index) {
                    Ok(listener) => self.sockets[index as usize] = Slot::MemoryListener(Box::new(listener)),
                    Err(error) => {
                        self.freed.push(index);
                        return Err(error);
                    }
                }
                return Ok((ListenerId(index), endpoint.clone()));
            }
            #[cfg(feature = "datagram")]
            Endpoint::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.insert_listener(sockets::listen(address, options)?, None)
    }

    fn listen_on(&mut self, socket: OwnedFd, options: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        let socket = sockets::listener_socket(socket, options)?;
        // The file of a Unix socket is whoever's who made it.
        self.insert_listener(socket, None)
    }

    fn adopt(&mut self, socket: OwnedFd) -> io::Result<(LinkId, Peer)> {
        let socket = sockets::stream_socket(socket)?;
        let address = socket.peer_addr()?.as_socket();
        let peer = Peer { address, process: if address.is_none() { sockets::peer_process(&socket) } else { None } };
        // A Unix socket has no such option, and no need of it.
        let _ = socket.set_tcp_nodelay(true);
        Ok((self.insert_stream(socket)?, peer))
    }

    fn unlisten(&mut self, listener: ListenerId) {
        if matches!(self.sockets.get(listener.0 as usize), Some(Slot::Udp)) {
            // Its connections stay, and the socket with them.
            return self.datagrams.unlisten(self.now(), listener.0);
        }
        if let Slot::Listener(listener) = self.remove(listener.0) {
            let _ = self.deregister(&listener.socket);
        }
    }

    fn accept(&mut self, listener: ListenerId) -> io::Result<Option<(LinkId, Peer)>> {
        use rustix::net::SocketFlags;
        let listening = match self.sockets.get(listener.0 as usize) {
            Some(Slot::Listener(listening)) => listening,
            Some(Slot::MemoryListener(listener)) => {
                let Some(end) = listener.accept() else { return Ok(None) };
                return Ok(Some((self.insert_end(end), Peer::default())));
            }
            Some(Slot::Udp) => {
                let Some((stream, peer)) = self.datagrams.accept(listener.0) else { return Ok(None) };
                return Ok(Some((self.insert_datagram(stream), peer)));
            }
            _ => return Ok(None),
        };
        let (stream, address) = match rustix::net::acceptfrom_with(&listening.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok((stream, address)) => (Socket::from(stream), address),
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if listening.is_unix {
            let peer = Peer { address: None, process: sockets::peer_process(&stream) };
            return Ok(Some((self.insert_stream(stream)?, peer)));
        }
        // Without it, small packets wait for the peer's acknowledgement: 25 times fewer messages.
        stream.set_tcp_nodelay(true)?;
        let peer = Peer { address: address.and_then(|address| SocketAddr::try_from(address).ok()), process: None };
        Ok(Some((self.insert_stream(stream)?, peer)))
    }

    fn dial(&mut self, endpoint: &Endpoint, options: &DialOptions) -> io::Result<LinkId> {
        let address = match endpoint {
            Endpoint::Tcp(address) => *address,
            Endpoint::Unix(path) => return self.insert_dialing(unix::dial(path)?),
            Endpoint::Memory(name) => {
                let end = options.names.as_ref().unwrap_or(&self.names).dial(name, &self.watcher)?;
                return Ok(self.insert_end(end));
            }
            #[cfg(feature = "datagram")]
            Endpoint::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
        };
        self.insert_dialing(sockets::dial(address, options)?)
    }

    fn ends(&self, link: LinkId) -> Option<(SocketAddr, SocketAddr)> {
        match self.sockets.get(link.0 as usize)? {
            Slot::Stream(stream) => Some((stream.local_addr().ok()?.as_socket()?, stream.peer_addr().ok()?.as_socket()?)),
            Slot::Datagram(stream) => Some(stream.ends()),
            _ => None,
        }
    }

    fn take(&mut self, stream: Box<dyn CustomStream>) -> io::Result<LinkId> {
        let index = self.insert(Slot::Free);
        let registered = self.poll.registry().register(&mut SourceFd(&stream.descriptor()), Token(index as usize), Interest::READABLE | Interest::WRITABLE);
        if let Err(error) = registered {
            self.freed.push(index);
            return Err(error);
        }
        self.sockets[index as usize] = Slot::Custom(Box::new(stream));
        Ok(LinkId(index))
    }

    fn dialed(&mut self, link: LinkId) -> Option<io::Result<()>> {
        let slot = self.sockets.get_mut(link.0 as usize)?;
        if let Slot::Custom(stream) = slot {
            return stream.opened();
        }
        if let Slot::Datagram(stream) = slot {
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
            Some(Slot::Memory(end)) => end.receive(buffer, &self.watcher),
            Some(Slot::Datagram(stream)) => stream.read(buffer, &self.watcher),
            Some(Slot::Custom(stream)) => {
                let (result, must_read_again) = read_all(&mut ***stream, buffer);
                if must_read_again {
                    self.again.push(link.0);
                }
                result
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn take_payload(&mut self, link: LinkId) -> Option<Bytes> {
        let Some(Slot::Memory(end)) = self.sockets.get(link.0 as usize) else { return None };
        end.receive_payload(&self.watcher)
    }

    /// Not `write_vectored` of std: that raises SIGPIPE, which would end the host process.
    fn write(&mut self, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)> {
        let stream = match self.sockets.get_mut(link.0 as usize) {
            Some(Slot::Stream(stream) | Slot::Dialing(stream)) => stream,
            Some(Slot::Memory(end)) => return end.send(out, &self.watcher),
            Some(Slot::Datagram(stream)) => return stream.write(out, &self.watcher),
            Some(Slot::Custom(stream)) => return write_slices(out, |slices| write_all(&mut ***stream, slices)),
            _ => return Err(io::ErrorKind::NotConnected.into()),
        };
        let flags = rustix::net::SendFlags::NOSIGNAL.bits() as i32;
        write_slices(out, |slices| match slices {
            // The usual one; cheaper in the kernel than a list of one.
            [slice] => stream.send_with_flags(slice, flags),
            _ => stream.send_vectored_with_flags(slices, flags),
        })
    }

    fn shutdown(&mut self, link: LinkId) {
        match self.sockets.get_mut(link.0 as usize) {
            Some(Slot::Memory(end)) => end.shutdown(),
            Some(Slot::Datagram(stream)) => stream.shutdown(),
            Some(Slot::Custom(stream)) => stream.shutdown(),
            Some(Slot::Stream(stream) | Slot::Dialing(stream)) => {
                // It may be gone already.
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            _ => {}
        }
    }

    fn close(&mut self, link: LinkId) {
        match self.remove(link.0) {
            Slot::Stream(stream) | Slot::Dialing(stream) => drop(self.deregister(&stream)),
            Slot::Custom(stream) => drop(self.poll.registry().deregister(&mut SourceFd(&stream.descriptor()))),
            Slot::Free | Slot::Listener(_) | Slot::Memory(_) | Slot::MemoryListener(_) | Slot::Udp | Slot::Datagram(_) => {}
        }
    }

    fn detach(&mut self, link: LinkId) -> io::Result<Moving> {
        match self.remove(link.0) {
            Slot::Stream(stream) => {
                self.deregister(&stream)?;
                Ok(Moving(MovingStream::Socket(stream)))
            }
            Slot::Memory(mut end) => {
                end.unwatch();
                Ok(Moving(MovingStream::Memory(*end)))
            }
            Slot::Datagram(mut stream) => {
                stream.unwatch();
                Ok(Moving(MovingStream::Datagram(*stream)))
            }
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn attach(&mut self, Moving(stream): Moving) -> io::Result<LinkId> {
        match stream {
            MovingStream::Socket(stream) => self.insert_stream(stream),
            MovingStream::Memory(end) => Ok(self.insert_end(end)),
            MovingStream::Datagram(stream) => Ok(self.insert_datagram(stream)),
        }
    }

    fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        self.resolver.resolve(ticket, host, port);
    }

    #[cfg(feature = "datagram")]
    fn listen_datagrams(
        &mut self,
        place: UdpPlace,
        options: &SocketOptions,
        make: &dyn MakeDatagrams,
        of_server: (u64, DatagramLimits, Charge),
    ) -> io::Result<(ListenerId, Endpoint)> {
        self.listen_udp(place, options, make, of_server)
    }

    #[cfg(feature = "datagram")]
    fn keeps_datagrams(&self, address: SocketAddr) -> bool {
        self.datagrams.keeps(address)
    }

    #[cfg(feature = "datagram")]
    fn renew_datagrams(&mut self, listener: ListenerId, make: &dyn MakeDatagrams, limits: DatagramLimits) {
        self.datagrams.renew(listener.0, make, limits);
    }

    #[cfg(feature = "datagram")]
    fn dial_datagrams(&mut self, plan: DialPlan, make: &dyn MakeDatagrams, of_client: (u64, Charge)) -> io::Result<LinkId> {
        self.dial_udp(plan, make, of_client)
    }

    #[cfg(feature = "datagram")]
    fn about(&mut self, link: LinkId) -> Option<Box<About>> {
        self.about_udp(link)
    }

    #[cfg(feature = "datagram")]
    fn watched(&self, link: LinkId) -> Option<Arc<dyn DatagramWatch>> {
        self.watched_udp(link)
    }

    fn append(&mut self, record: &[u8]) -> LogSequence {
        self.journal.append(record)
    }

    fn confirmed(&mut self) -> LogSequence {
        self.journal.confirmed()
    }
}

impl Drop for MioNet {
    /// What the hosts have written last to streams over datagrams is with no kernel that would go on sending it: this does, for a while.
    fn drop(&mut self) {
        let until = self.now() + LAST_WORDS_TIME_MAX;
        while self.datagrams.is_finishing(self.now()) && self.now() < until {
            if self.wait(Some(until.since(self.now())), &mut Vec::new()).is_err() {
                break;
            }
        }
        self.datagrams.end(self.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;

    fn net() -> MioNet {
        MioNet::new(std::time::Instant::now(), 0, ThreadOptions::default()).expect("a poll")
    }

    fn stream(net: &MioNet, link: LinkId) -> &Socket {
        match net.sockets.get(link.0 as usize) {
            Some(Slot::Stream(stream)) => stream,
            _ => panic!("no socket"),
        }
    }

    /// The next connection through a listener.
    fn accepted(net: &mut MioNet, listener: ListenerId) -> (LinkId, Peer) {
        (0..1_000)
            .find_map(|_| {
                net.accept(listener).expect("accepts").or_else(|| {
                    std::thread::sleep(Duration::from_millis(5));
                    None
                })
            })
            .expect("somebody")
    }

    #[test]
    fn connections_inherit_the_socket_options_of_their_listener() {
        let mut net = net();
        let options = SocketOptions { backlog: 7, keepalive_s: 90, user_timeout_ms: 12_000, dscp: 46, ..SocketOptions::default() };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has none to listen at.
            let Ok((listener, bound)) = net.listen(&Endpoint::parse(address).expect("legal"), &options) else { continue };
            let client = TcpStream::connect(bound.socket_address().expect("TCP")).expect("somebody listens");
            let (link, peer) = accepted(&mut net, listener);
            assert_eq!(peer.address, client.local_addr().ok());
            let socket = stream(&net, link);
            assert!(socket.keepalive().expect("an option"));
            assert_eq!(socket.tcp_user_timeout().expect("an option"), Some(Duration::from_secs(12)));
            let class = if address.starts_with('[') { socket.tclass_v6() } else { socket.tos_v4() };
            assert_eq!(class.expect("an option"), 46 << 2);
            assert_eq!(socket.tcp_keepalive_time().expect("an option"), Duration::from_secs(90));
        }
        let (listener, bound) = net.listen(&Endpoint::Tcp(([127, 0, 0, 1], 0).into()), &SocketOptions::default()).expect("a listener");
        let _client = TcpStream::connect(bound.socket_address().expect("TCP")).expect("somebody listens");
        let (link, _) = accepted(&mut net, listener);
        assert!(!stream(&net, link).keepalive().expect("an option"), "nothing unless it is said");
    }

    #[test]
    fn a_unix_socket_says_who_is_there_and_takes_its_file_along() {
        let mut net = net();
        let path = std::env::temp_dir().join(format!("nlmqtt-mio-{}", std::process::id()));
        let endpoint = Endpoint::Unix(path.clone());
        let (listener, bound) = net.listen(&endpoint, &SocketOptions::default()).expect("a listener");
        assert_eq!(bound, endpoint);
        let mut client = UnixStream::connect(&path).expect("somebody listens");
        let (link, peer) = accepted(&mut net, listener);
        assert_eq!(peer.process.map(|process| process.pid), Some(std::process::id() as i32));
        assert_eq!((peer.address, peer.to_string().as_str()), (None, "local"));
        let dialed = net.dial(&endpoint, &DialOptions::default()).expect("somebody listens");
        assert!(matches!(net.dialed(dialed), Some(Ok(()))));
        io::Write::write_all(&mut client, b"hello").expect("written");
        let moved = net.detach(link).expect("a stream");
        let link = net.attach(moved).expect("a stream");
        let mut buffer = [0; 8];
        assert_eq!(net.read(link, &mut buffer).expect("bytes"), 5);
        net.unlisten(listener);
        assert!(!path.exists());
        assert!(net.dial(&endpoint, &DialOptions::default()).is_err());
    }
}
