//! One UDP socket, the machine on it, and the inner ends of its connections.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use quinn_udp::{EcnCodepoint, RecvMeta};
use rustix::io::Errno;

use super::inner::Inner;
use super::socket::{Bound, DialPlan};
use super::stream::{SharedSide, Stream};
use super::{BUFFER_BYTES, BUFFERS, Shared};
use crate::base::{Charge, Duration, IdMap, Instant};
use crate::net::memory::End;
use crate::net::{ListenerId, Ready};
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
/// What a host wrote last has so much time after it closed the connection...
const LEAVE_TIME_MAX: Duration = Duration::from_secs(5);
/// ... for so many connections at one time; the oldest is closed when there are more.
const LEAVING_MAX: usize = 1_024;
/// What was done is noted so often, while anything is.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

enum Role {
    Listening { waiting: VecDeque<(Stream, SocketAddr)>, backlog: usize },
    Dialling(Box<DialPlan>, Option<Instant>),
}

pub(super) struct Driver {
    place: u32,
    bound: Bound,
    pub machine: Box<dyn DatagramEndpoint>,
    role: Role,
    inners: IdMap<ConnectionId, Inner>,
    /// Those that their hosts have closed, and what these wrote last is still on its way; by the time they have.
    leaving: BTreeSet<(Instant, ConnectionId)>,
    pub leaving_max: usize,
    words_lost: u64,
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
            leaving: BTreeSet::new(),
            leaving_max: LEAVING_MAX,
            words_lost: 0,
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
        self.inners.insert(id, Inner::new(end, place, side.clone()));
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

    /// It was a listener at this address.
    pub fn is_kept_at(&self, address: SocketAddr) -> bool {
        matches!(self.role, Role::Listening { backlog: 0, .. }) && self.bound.local == address
    }

    /// Takes people in again. False: this is not that address, it listens all the time, or speaks something else.
    pub fn listen_again(&mut self, address: SocketAddr, make: &dyn MakeDatagrams, limits: DatagramLimits, backlog_max: usize) -> bool {
        if !self.is_kept_at(address) || !self.renew(make, limits) {
            return false;
        }
        if let Role::Listening { backlog, .. } = &mut self.role {
            *backlog = backlog_max;
        }
        true
    }

    /// Other options for whoever comes from now on. The socket is one, so whether its datagrams may be cut is from now on the same for those
    /// who are there.
    pub fn renew(&mut self, make: &dyn MakeDatagrams, limits: DatagramLimits) -> bool {
        let is_renewed = self.machine.renew(make, limits);
        if is_renewed {
            // No kernel that took it when the socket was made refuses it now.
            let _ = self.bound.set_fragment(make.may_fragment());
        }
        is_renewed
    }

    /// A host has written its last, and it has not arrived yet.
    pub fn is_finishing(&self) -> bool {
        self.inners.values().any(Inner::is_finishing)
    }

    #[cfg(all(test, feature = "quic", feature = "rudp"))]
    pub fn socket(&self) -> &socket2::Socket {
        self.bound.socket()
    }

    /// There is no connection whose host, or what that wrote last, is still there.
    #[cfg(all(test, feature = "quic"))]
    pub fn has_nobody(&self) -> bool {
        self.inners.is_empty()
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
        if self.has_news && now.since(self.noted.0) >= NOTE_INTERVAL {
            self.note_now(now, shared);
        }
    }

    /// Of a driver that goes, this is the last that anybody hears.
    pub fn note_now(&mut self, now: Instant, shared: &mut Shared) {
        for (id, inner) in &self.inners {
            if let Some(statistics) = self.machine.statistics(*id) {
                inner.side.lock().statistics = statistics;
            }
        }
        let counters = DatagramCounters { words_lost: self.words_lost, ..self.machine.counters() };
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
        let leaving = self.leaving.first().map(|(until, _)| *until);
        due.into_iter().chain(note_at).chain(leaving).min()
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
        while let Some(&(_, id)) = self.leaving.first().filter(|(until, _)| *until <= now) {
            self.lose(now, id, shared);
        }
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
        if bound.set_fragment(self.bound.may_fragment).is_err() {
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
                DatagramEvent::Said => {
                    if let Some(inner) = self.inners.get(&id) {
                        inner.said(shared);
                    }
                    self.pump(now, id, shared);
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
            if fault.is_some() && inner.leaves_until.is_some() {
                return self.lose(now, id, shared);
            }
            // The host has written its last, and reads on: what becomes of it afterwards is nothing new.
            if fault.is_some() && inner.is_finishing() {
                (self.words_lost, self.has_news) = (self.words_lost + 1, true);
            }
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
        if !inner.see_off(now, id, &mut *self.machine, shared) {
            return self.part(now, id, shared);
        }
        if inner.leaves_until.is_none() {
            let until = now + LEAVE_TIME_MAX;
            inner.leaves_until = Some(until);
            self.leaving.insert((until, id));
        }
        while let Some(&(_, oldest)) = self.leaving.first().filter(|_| self.leaving.len() > self.leaving_max || shared.budget.is_exhausted()) {
            self.lose(now, oldest, shared);
        }
    }

    /// What a host wrote last is given up.
    fn lose(&mut self, now: Instant, id: ConnectionId, shared: &mut Shared) {
        (self.words_lost, self.has_news) = (self.words_lost + 1, true);
        self.part(now, id, shared);
    }

    /// The end of a connection that its host has closed.
    fn part(&mut self, now: Instant, id: ConnectionId, shared: &mut Shared) {
        let Some(inner) = self.inners.remove(&id) else { return };
        if let Some(until) = inner.leaves_until {
            self.leaving.remove(&(until, id));
        }
        inner.said(shared);
        shared.remove(inner.place);
        self.machine.close(now, id);
    }

    /// Everybody is told that this is the end.
    pub fn end(&mut self, now: Instant) {
        let all: Vec<_> = self.inners.keys().copied().collect();
        all.into_iter().for_each(|id| self.machine.close(now, id));
    }
}
