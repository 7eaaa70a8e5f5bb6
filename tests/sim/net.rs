//! The second implementation of [`Net`]: a worker's view of the world.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nlmqtt::base::{Duration, Instant, OutBuffer, UnixTime};
use nlmqtt::net::{
    Command, CustomStream, DialOptions, Endpoint, Inbox, LinkId, ListenerId, LogSequence, Net, Peer, Ready, SocketOptions, Worker, write_slices,
};

use crate::stream::EndState;
use crate::world::{Happening, Listener, World};

/// One host's network, clock and log, as one of its workers has them.
pub struct SimNet {
    world: Rc<RefCell<World>>,
    host: usize,
    worker: usize,
}

impl SimNet {
    /// A worker on this host.
    pub fn worker(world: &Rc<RefCell<World>>, host: usize, worker: usize) -> Worker<Self> {
        let woken = world.borrow().hosts[host].woken[worker].clone();
        let inbox: Inbox<Command<Self>> = Inbox::new(Box::new(move || woken.store(true, Ordering::Relaxed)));
        Worker::new(Self { world: world.clone(), host, worker }, Arc::new(inbox))
    }
}

/// An end of a stream between two workers.
pub struct Moving((usize, usize));

impl Net for SimNet {
    type Stream = Moving;

    fn now(&self) -> Instant {
        self.world.borrow().now
    }

    fn unix_time(&self) -> UnixTime {
        let world = self.world.borrow();
        UnixTime(world.now.as_micros() / 1_000 + world.wall_offset_ms)
    }

    /// Never sleeps: the scheduler gives a turn when there is something.
    fn wait(&mut self, _: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let world = &mut *world;
        let host = &mut world.hosts[self.host];
        host.begin_turn();
        host.woken[self.worker].store(false, Ordering::Relaxed);
        let first = ready.len();
        let (edges, others) = core::mem::take(&mut host.edges).into_iter().partition(|(link, _)| host.watcher(*link) == self.worker);
        let edges: BTreeMap<_, _> = edges;
        host.edges = others;
        ready.extend(edges.into_iter().map(|(link, (readable, writable))| {
            let side = host.links[link as usize].map(|(stream, end)| (&world.streams[stream].pipes[end], world.streams[stream].ends[end].state));
            let ended = side.is_some_and(|(pipe, state)| pipe.ended || state == EndState::Reset);
            Ready::Link { link: LinkId(link), readable, writable, ended }
        }));
        let (listeners, others) = core::mem::take(&mut host.listener_edges).into_iter().partition(|listener| host.accepts(*listener, self.worker));
        let listeners: BTreeSet<_> = listeners;
        host.listener_edges = others;
        ready.extend(listeners.into_iter().map(|listener| Ready::Listener(ListenerId(listener))));
        let resolved = if self.worker == 0 { core::mem::take(&mut host.resolved) } else { Vec::new() };
        ready.extend(resolved.into_iter().map(|(ticket, addresses)| Ready::Resolved { ticket, addresses }));
        // A poll promises no order.
        for last in (first + 1..ready.len()).rev() {
            let other = first + world.rng.below((last - first + 1) as u64) as usize;
            ready.swap(last, other);
        }
        Ok(())
    }

    fn listen(&mut self, endpoint: &Endpoint, _: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        let Endpoint::Tcp(address) = *endpoint else { return Err(io::ErrorKind::Unsupported.into()) };
        let mut world = self.world.borrow_mut();
        let listeners = &mut world.hosts[self.host].listeners;
        listeners.push(Some(Listener { address, worker: self.worker, waiting: Default::default() }));
        Ok((ListenerId(listeners.len() as u32 - 1), address.into()))
    }

    /// This world has no descriptors.
    fn listen_on(&mut self, _: OwnedFd, _: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _: OwnedFd) -> io::Result<(LinkId, Peer)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlisten(&mut self, listener: ListenerId) {
        let mut world = self.world.borrow_mut();
        let closed = world.hosts[self.host].listeners[listener.0 as usize].take();
        for stream in closed.into_iter().flat_map(|closed| closed.waiting) {
            world.streams[stream].ends[1].state = EndState::Closed;
            let delay = world.latency();
            world.after(delay, Happening::Reset(stream, 0));
        }
    }

    fn accept(&mut self, listener: ListenerId) -> io::Result<Option<(LinkId, Peer)>> {
        let accepted = self.world.borrow_mut().accept_at(self.host, self.worker, listener.0);
        Ok(accepted.map(|(link, address)| (LinkId(link), Peer { address: Some(address), process: None })))
    }

    fn dial(&mut self, endpoint: &Endpoint, _: &DialOptions) -> io::Result<LinkId> {
        let Endpoint::Tcp(address) = *endpoint else { return Err(io::ErrorKind::Unsupported.into()) };
        self.world.borrow_mut().dial_from(self.host, self.worker, address).map(LinkId)
    }

    fn take(&mut self, _: Box<dyn CustomStream>) -> io::Result<LinkId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn dialed(&mut self, link: LinkId) -> Option<io::Result<()>> {
        let world = self.world.borrow();
        let (stream, end) = world.link(self.host, link.0).ok()?;
        match world.streams[stream].ends[end].state {
            EndState::Dialing => None,
            EndState::Open | EndState::Waiting => Some(Ok(())),
            EndState::Refused => Some(Err(io::ErrorKind::ConnectionRefused.into())),
            EndState::Reset | EndState::Closed => Some(Err(io::ErrorKind::ConnectionReset.into())),
        }
    }

    fn read(&mut self, link: LinkId, buffer: &mut [u8]) -> io::Result<usize> {
        self.world.borrow_mut().read_from(self.host, link.0, buffer)
    }

    fn write(&mut self, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)> {
        write_slices(out, |slices| self.world.borrow_mut().write_to(self.host, link.0, slices))
    }

    fn shutdown(&mut self, link: LinkId) {
        self.world.borrow_mut().shutdown_link(self.host, link.0);
    }

    fn close(&mut self, link: LinkId) {
        self.world.borrow_mut().close_link(self.host, link.0);
    }

    fn detach(&mut self, link: LinkId) -> io::Result<Moving> {
        self.world.borrow_mut().unwatch(self.host, link.0).map(Moving)
    }

    fn attach(&mut self, Moving(end): Moving) -> io::Result<LinkId> {
        Ok(LinkId(self.world.borrow_mut().watch(self.host, self.worker, end)))
    }

    fn resolve(&mut self, ticket: u64, host: &str, port: u16) {
        let mut world = self.world.borrow_mut();
        world.hosts[self.host].lookups.insert(ticket, (host.to_owned(), port));
        let (delay, boot) = (world.latency() * 2, world.hosts[self.host].boot);
        world.after(delay, Happening::Resolved(self.host, boot, ticket));
    }

    fn append(&mut self, record: &[u8]) -> LogSequence {
        self.world.borrow_mut().hosts[self.host].journal.append(record)
    }

    fn confirmed(&mut self) -> LogSequence {
        self.world.borrow_mut().hosts[self.host].journal.confirmed()
    }
}
