//! One UDP socket, the machine on it, and the inner ends of its connections.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt::{Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover};
use socket2::{Domain, Protocol, Socket, Type};

use super::stream::{SharedSide, Stream};
use super::{BUFFER_BYTES, BUFFERS, Shared};
use crate::base::{Charge, Duration, IdMap, Instant};
use crate::net::memory::{Drained, End};
use crate::net::{DialOptions, ListenerId, Ready};
use crate::stack::{
    About, ConnectionId, DatagramCounters, DatagramEndpoint, DatagramEvent, DatagramLimits, Fault, FaultKind, MakeDatagrams, Received, Transmit,
};

/// Bytes of one connection that wait in one direction between it and its host: the windows of its machine are besides.
const PIPE_BYTES_MAX: usize = 64 << 10;
/// System calls that receive, in one turn.
const RECEIVES_PER_TURN: usize = 8;
/// Datagrams received in one turn, and those that came together with the last: to a machine, one of 20 bytes may be as much work as
/// a large one, and a system call can bring 256. Others on this worker are not to wait for them.
const DATAGRAMS_PER_TURN: usize = 1_024;
/// System calls that send, in one turn.
const TRANSMITS_PER_TURN: usize = 256;
/// Datagrams sent by one system call, at most.
const SEGMENTS_MAX: usize = 32;
/// Connections that came to nothing, told in one turn; further ones are not told of.
const FAILURES_PER_TURN: usize = 64;
/// A socket that cannot send is replaced so often.
const REBIND_INTERVAL: Duration = Duration::from_secs(1);
/// A machine whose socket takes nothing is looked at so often, at most.
const BLOCKED_INTERVAL: Duration = Duration::from_millis(20);
/// What was done is noted so often, while anything is.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// What the kernel is asked to keep of datagrams that were not received yet; it may allow less.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;

/// A socket that is ready for a machine.
pub struct Bound {
    socket: Socket,
    state: UdpSocketState,
    local: SocketAddr,
    may_fragment: bool,
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

    /// From now on datagrams that are larger than the path takes are cut, and not dropped.
    ///
    /// # Errors
    /// As the system's.
    pub fn let_fragment(&mut self) -> io::Result<()> {
        self.may_fragment = true;
        match self.local.is_ipv6() {
            true => Ok(set_ipv6_mtu_discover(&self.socket, Ipv6PathMtuDiscovery::WANT)?),
            false => Ok(set_ip_mtu_discover(&self.socket, Ipv4PathMtuDiscovery::WANT)?),
        }
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

enum Role {
    Listening { waiting: VecDeque<(Stream, SocketAddr)>, backlog: usize },
    Dialling(Box<DialPlan>, Option<Instant>),
}

/// The driver's side of one connection.
struct Inner {
    end: End,
    place: u32,
    side: SharedSide,
    /// The host will write no more, and the machine knows.
    is_finished: bool,
    /// The peer will write no more, and the host knows.
    is_ended: bool,
    /// The machine says that it is over; the host hears of it behind what came before.
    over: Option<Option<Fault>>,
}

pub(super) struct Driver {
    place: u32,
    bound: Bound,
    pub machine: Box<dyn DatagramEndpoint>,
    role: Role,
    inners: IdMap<ConnectionId, Inner>,
    out: Transmit,
    /// `out` has what the socket did not take.
    is_pending: bool,
    is_readable: bool,
    pub is_blocked: bool,
    has_more: bool,
    failures: usize,
    /// Something came over this socket: somebody is there, whatever a host on the way says.
    has_heard: bool,
    charge: Charge,
    /// What its connections and it itself have done was noted then, and what the worker was told of the latter.
    noted: (Instant, DatagramCounters),
    /// Something has happened since.
    has_news: bool,
    /// On the list of those that are to be looked at.
    pub is_dirty: bool,
    /// As it is on the list of deadlines.
    pub due: Option<Instant>,
}

impl Driver {
    fn new(place: u32, (bound, charge): (Bound, Charge), machine: Box<dyn DatagramEndpoint>, role: Role) -> Self {
        Self {
            place,
            bound,
            machine,
            role,
            inners: IdMap::default(),
            out: Transmit::default(),
            is_pending: false,
            is_readable: false,
            is_blocked: false,
            has_more: false,
            failures: 0,
            has_heard: false,
            charge,
            noted: (Instant::START, DatagramCounters::default()),
            has_news: true,
            is_dirty: false,
            due: None,
        }
    }

    pub fn listening(place: u32, made: (Bound, Charge), machine: Box<dyn DatagramEndpoint>, backlog: usize) -> Self {
        Self::new(place, made, machine, Role::Listening { waiting: VecDeque::new(), backlog })
    }

    pub fn dialling(
        now: Instant,
        place: u32,
        made: (Bound, Charge),
        mut machine: Box<dyn DatagramEndpoint>,
        plan: DialPlan,
        shared: &mut Shared,
    ) -> io::Result<(Self, Stream)> {
        let id = machine.connect(now, plan.remote, &plan.host).map_err(io::Error::other)?;
        let remote = plan.remote;
        let mut driver = Self::new(place, made, machine, Role::Dialling(Box::new(plan), None));
        let stream = driver.join(id, driver.bound.local, remote, None, shared);
        driver.take_events(now, shared);
        Ok((driver, stream))
    }

    /// The pipe of a connection; the answer is the outer end.
    fn join(&mut self, id: ConnectionId, local: SocketAddr, peer: SocketAddr, about: Option<Box<About>>, shared: &mut Shared) -> Stream {
        let (mut end, outer) = End::pair(&shared.budget, PIPE_BYTES_MAX);
        let place = shared.insert(self.place, id);
        end.watch(&shared.watcher, place);
        let side = SharedSide::new(local, peer, about);
        self.inners.insert(id, Inner { end, place, side: side.clone(), is_finished: false, is_ended: false, over: None });
        Stream { end: outer, side }
    }

    pub fn accept(&mut self) -> Option<(Stream, SocketAddr)> {
        match &mut self.role {
            Role::Listening { waiting, .. } => waiting.pop_front(),
            Role::Dialling(..) => None,
        }
    }

    pub fn unlisten(&mut self, now: Instant, shared: &mut Shared) {
        self.machine.refuse_all();
        if let Role::Listening { waiting, backlog } = &mut self.role {
            *backlog = 0;
            waiting.clear();
        }
        // Those who waited are closed now.
        let waiting: Vec<_> = self.inners.keys().copied().collect();
        waiting.into_iter().for_each(|id| self.pump(now, id, shared));
    }

    /// Takes people in again. False: this is not that address, it listens all the time, or speaks something else.
    pub fn listen_again(&mut self, address: SocketAddr, make: &dyn MakeDatagrams, limits: DatagramLimits, backlog_max: usize) -> bool {
        let Role::Listening { backlog, .. } = &mut self.role else { return false };
        if *backlog > 0 || self.bound.local != address || !self.machine.renew(make, limits) {
            return false;
        }
        *backlog = backlog_max;
        true
    }

    /// A host has written its last, and the peer has not said that this was the end.
    pub fn is_finishing(&self) -> bool {
        self.inners.values().any(|inner| inner.end.readiness().ended && !inner.is_ended)
    }

    /// Nobody is left, and nobody can come.
    pub fn is_over(&self) -> bool {
        let may_come = matches!(self.role, Role::Listening { backlog, .. } if backlog > 0);
        !may_come && self.inners.is_empty() && self.machine.connections() == 0 && !self.is_pending
    }

    /// What it holds counts.
    pub fn recharge(&mut self) {
        self.charge.resize(self.machine.memory_bytes());
    }

    /// A turn's share of all there is to do. True: there is more.
    pub fn work(&mut self, now: Instant, shared: &mut Shared) -> bool {
        self.receive(now, shared);
        // What the hosts did may have ended something: what they wrote cannot be sent, say.
        self.take_events(now, shared);
        self.transmit(now, shared);
        // What has left may have made room, and what the hosts have for it is to be sent.
        self.take_events(now, shared) || self.is_readable || self.has_more
    }

    /// Notes what was done, for who looks at it from elsewhere. Seldom: there may be very many connections.
    pub fn note(&mut self, now: Instant, shared: &mut Shared) {
        if !self.has_news || now.since(self.noted.0) < NOTE_INTERVAL {
            return;
        }
        for (id, inner) in &self.inners {
            if let Some(statistics) = self.machine.statistics(*id) {
                inner.side.lock().statistics = statistics;
            }
        }
        let counters = self.machine.counters();
        let (_, before) = core::mem::replace(&mut self.noted, (now, counters));
        self.has_news = false;
        if matches!(self.role, Role::Listening { .. }) && counters != before {
            shared.told.push(Ready::Counted { listener: ListenerId(self.place), counters: counters.since(&before) });
        }
    }

    /// When it has to be looked at. A socket that takes nothing tells when it does: until then what should have left is overdue
    /// at each look, and is no reason for one.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = self.machine.deadline().map(|due| if self.is_blocked { due.max(now + BLOCKED_INTERVAL) } else { due });
        let note_at = self.has_news.then(|| self.noted.0 + NOTE_INTERVAL);
        due.into_iter().chain(note_at).min()
    }

    pub fn ready(&mut self, readable: bool, writable: bool) {
        self.is_readable |= readable;
        self.is_blocked &= !writable;
    }

    pub fn expire(&mut self, now: Instant, shared: &mut Shared) {
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.machine.expire(now);
        }
        self.take_events(now, shared);
    }

    /// What the socket has, at most a turn's share.
    fn receive(&mut self, now: Instant, shared: &mut Shared) {
        self.failures = 0;
        let mut datagrams = 0;
        for _ in 0..RECEIVES_PER_TURN {
            if !self.is_readable || datagrams >= DATAGRAMS_PER_TURN {
                return;
            }
            let mut metas = [RecvMeta::default(); BUFFERS];
            let mut slices: Vec<IoSliceMut<'_>> = shared.buffers.chunks_mut(BUFFER_BYTES).map(IoSliceMut::new).collect();
            match self.bound.state.recv((&self.bound.socket).into(), &mut slices, &mut metas) {
                Ok(count) => {
                    (self.has_heard, self.has_news) = (true, true);
                    for (meta, buffer) in metas.iter().zip(&slices).take(count) {
                        for bytes in buffer[..meta.len].chunks(meta.stride.max(1)) {
                            datagrams += 1;
                            let ecn = meta.ecn.map_or(0, |bits| bits as u8);
                            self.machine.receive(now, &Received { from: meta.addr, to: meta.dst_ip, ecn, bytes });
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_readable = false,
                Err(error) => self.socket_failed(now, &error, shared),
            }
            self.take_events(now, shared);
        }
    }

    /// What the machine has to send, at most a turn's share.
    pub fn transmit(&mut self, now: Instant, shared: &mut Shared) {
        self.has_more = false;
        for _ in 0..TRANSMITS_PER_TURN {
            if self.is_blocked {
                return;
            }
            let segments_max = self.bound.state.max_gso_segments().min(SEGMENTS_MAX);
            if !self.is_pending && !self.machine.transmit(now, segments_max, &mut self.out) {
                return;
            }
            let out = &self.out;
            let transmit = quinn_udp::Transmit {
                destination: out.to,
                ecn: EcnCodepoint::from_bits(out.ecn),
                contents: &out.bytes,
                segment_size: out.segment_bytes,
                src_ip: out.from,
            };
            let sent = self.bound.state.try_send((&self.bound.socket).into(), &transmit);
            (self.is_pending, self.has_news) = (false, true);
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (self.is_pending, self.is_blocked) = (true, true),
                // As good as lost on the way.
                Err(error) => self.socket_failed(now, &error, shared),
            }
        }
        self.has_more = true;
    }

    /// The network has told something. Of what is lost the machine takes care.
    fn socket_failed(&mut self, now: Instant, error: &io::Error, shared: &mut Shared) {
        let Role::Dialling(plan, rebound_at) = &mut self.role else { return };
        let errno = Errno::from_io_error(error);
        if errno == Some(Errno::CONNREFUSED) {
            return self.nobody_is_there(now, shared);
        }
        // The address this end had is not there any more, or leads nowhere: another one may.
        let has_no_way = matches!(errno, Some(Errno::ADDRNOTAVAIL | Errno::NETUNREACH | Errno::NETDOWN | Errno::HOSTUNREACH));
        let is_invalid = errno == Some(Errno::INVAL) && self.out.segment_bytes.is_none();
        if !(has_no_way || is_invalid) || rebound_at.is_some_and(|at| now.since(at) < REBIND_INTERVAL) {
            return;
        }
        *rebound_at = Some(now);
        if let Ok(bound) = plan.bind() {
            self.rebind(now, bound, shared);
        }
    }

    /// Goes on over another socket.
    pub fn rebind(&mut self, now: Instant, mut bound: Bound, shared: &Shared) {
        if self.bound.may_fragment && bound.let_fragment().is_err() {
            return;
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        if shared.registry.register(&mut SourceFd(&bound.socket.as_raw_fd()), Token(self.place as usize), interest).is_err() {
            return;
        }
        self.deregister(shared);
        self.inners.values().for_each(|inner| inner.side.lock().local = bound.local);
        (self.bound, self.is_blocked, self.is_readable) = (bound, false, true);
        self.machine.rebound(now);
    }

    pub fn deregister(&self, shared: &Shared) {
        // The kernel forgets it with its last descriptor in any case.
        let _ = shared.registry.deregister(&mut SourceFd(&self.bound.socket.as_raw_fd()));
    }

    /// A host has said that nobody listens there. Only who has not heard of the peer yet believes it: anybody can say so.
    fn nobody_is_there(&mut self, now: Instant, shared: &mut Shared) {
        let all: Vec<_> = self.inners.keys().copied().filter(|_| !self.has_heard).collect();
        for id in all {
            self.machine.close(now, id);
            self.ended(now, id, Some(Fault::new(FaultKind::Unreachable, "nobody listens at this UDP port")), shared);
        }
    }

    /// What the machine has to say. True: that was something.
    fn take_events(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let mut has_told = false;
        while let Some((id, event)) = self.machine.event() {
            has_told = true;
            match event {
                DatagramEvent::Accepted { peer, local, about } => self.accepted(now, id, (peer, local), about, shared),
                DatagramEvent::Opened(about) => {
                    if let Some(inner) = self.inners.get(&id) {
                        let mut side = inner.side.lock();
                        (side.is_open, side.about) = (true, Some(about));
                        side.statistics = self.machine.statistics(id).unwrap_or_default();
                        drop(side);
                        inner.end.nudge(&shared.watcher);
                    }
                    self.pump(now, id, shared);
                }
                DatagramEvent::Readable | DatagramEvent::Writable => self.pump(now, id, shared),
                DatagramEvent::Moved(peer) => {
                    let Some(inner) = self.inners.get(&id) else { continue };
                    let mut side = inner.side.lock();
                    (side.peer, side.has_moved) = (peer, true);
                    side.statistics = self.machine.statistics(id).unwrap_or_default();
                    drop(side);
                    inner.end.nudge(&shared.watcher);
                }
                DatagramEvent::Ended(fault) => self.ended(now, id, fault, shared),
                DatagramEvent::Failed { peer, fault } => {
                    self.failures += 1;
                    if self.failures <= FAILURES_PER_TURN {
                        shared.told.push(Ready::Failed { listener: ListenerId(self.place), peer, fault });
                    }
                }
            }
        }
        has_told
    }

    fn accepted(&mut self, now: Instant, id: ConnectionId, (peer, local): (SocketAddr, Option<IpAddr>), about: Box<About>, shared: &mut Shared) {
        let has_room = matches!(&self.role, Role::Listening { waiting, backlog } if waiting.len() < *backlog);
        if !has_room {
            self.machine.close(now, id);
            let fault = Fault::new(FaultKind::Refused, "too many connections wait to be accepted");
            return shared.told.push(Ready::Failed { listener: ListenerId(self.place), peer, fault });
        }
        let local = SocketAddr::new(local.unwrap_or(self.bound.local.ip()), self.bound.local.port());
        let stream = self.join(id, local, peer, Some(about), shared);
        stream.side.lock().statistics = self.machine.statistics(id).unwrap_or_default();
        if let Role::Listening { waiting, .. } = &mut self.role {
            waiting.push_back((stream, peer));
        }
        shared.told.push(Ready::Listener(ListenerId(self.place)));
        self.pump(now, id, shared);
    }

    fn ended(&mut self, now: Instant, id: ConnectionId, fault: Option<Fault>, shared: &mut Shared) {
        if let Some(inner) = self.inners.get_mut(&id) {
            inner.over = Some(fault);
            self.pump(now, id, shared);
        }
    }

    /// Moves bytes between a pipe and the machine, both ways, as far as they go.
    pub fn pump(&mut self, now: Instant, id: ConnectionId, shared: &mut Shared) {
        let Some(inner) = self.inners.get_mut(&id) else { return };
        if !inner.end.is_abandoned() {
            inner.lift(now, id, &mut *self.machine, shared);
            return inner.lower(now, id, &mut *self.machine, shared);
        }
        // The host has closed it. What it wrote last goes with the next datagrams, or not at all.
        shared.remove(inner.place);
        self.inners.remove(&id);
        self.machine.close(now, id);
    }

    /// Everybody is told that this is the end.
    pub fn end(&mut self, now: Instant) {
        let all: Vec<_> = self.inners.keys().copied().collect();
        all.into_iter().for_each(|id| self.machine.close(now, id));
    }
}

impl Inner {
    /// What the peer has sent, as far as the pipe has room.
    fn lift(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &mut Shared) {
        while !self.is_ended {
            let room = self.end.room().min(shared.buffers.len());
            if room == 0 {
                return;
            }
            match machine.read(now, id, &mut shared.buffers[..room]) {
                Some(count) if count > 0 => {
                    // Nobody else writes there, so there still is room; who does not read any more needs none.
                    let _ = self.end.write(&[io::IoSlice::new(&shared.buffers[..count])], &shared.watcher);
                }
                None if self.over.is_none() => return,
                _ => {
                    self.is_ended = true;
                    if self.over.is_none() {
                        self.end.shutdown();
                    }
                }
            }
        }
        if let Some(fault) = self.over.take() {
            self.side.lock().fault = fault;
            machine.close(now, id);
            self.is_finished = true;
            self.end.shutdown();
            self.end.nudge(&shared.watcher);
        }
    }

    /// What the host has written, as far as the machine takes it.
    fn lower(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &Shared) {
        let own: &Arc<_> = &shared.watcher;
        let is_finished = self.is_finished;
        let drained = self.end.drain(own, |bytes| if is_finished { bytes.len() } else { machine.write(now, id, bytes) });
        if drained == Drained::Ended && !self.is_finished {
            self.is_finished = true;
            machine.finish(now, id);
        }
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
        four.let_fragment().expect("an option");
        assert!(ip_mtu_discover(four.socket()).expect("an option") == Ipv4PathMtuDiscovery::WANT);
        let mut six = bind((Ipv6Addr::LOCALHOST, 0).into(), &DialOptions::default()).expect("bound");
        six.let_fragment().expect("an option");
        assert!(ipv6_mtu_discover(six.socket()).expect("an option") == Ipv6PathMtuDiscovery::WANT);
    }
}
