//! The second implementation of [`Net`]: a worker's view of the world.
//!
//! Streams between machines are the world's. Those inside the process are the product's own (`net::memory`): a device that has such
//! a one is another runtime of the broker's process, and only its thread may stand still or end by itself.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use nlmqtt::base::{Duration, Instant, OutBuffer, UnixTime};
use nlmqtt::net::{
    Command, CustomStream, DialOptions, Endpoint, Inbox, LinkId, ListenerId, LogSequence, Net, Peer, Ready, SocketOptions, Worker, write_slices,
};

use nlmqtt::net::memory::{End, MemoryListener, Readiness, Watcher};

use crate::stream::EndState;
use crate::world::{Happening, Listener, World};

/// Among the places of a watcher, those of listeners have this bit.
const LISTENER: u32 = 1 << 31;

/// One host's network, clock and log, as one of its workers has them.
pub struct SimNet {
    world: Rc<RefCell<World>>,
    host: usize,
    worker: usize,
    watcher: Arc<Watcher>,
    /// Links and listeners inside the process, by their number.
    ends: BTreeMap<u32, End>,
    memory_listeners: BTreeMap<u32, MemoryListener>,
}

impl SimNet {
    /// A worker on this host.
    pub fn worker(world: &Rc<RefCell<World>>, host: usize, worker: usize) -> Worker<Self> {
        let woken = world.borrow().hosts[host].woken[worker].clone();
        let wake = move || woken.store(true, Ordering::Relaxed);
        let inbox: Inbox<Command<Self>> = Inbox::new(Box::new(wake.clone()));
        let watcher = Watcher::new(Box::new(wake));
        let net = Self { world: world.clone(), host, worker, watcher, ends: BTreeMap::new(), memory_listeners: BTreeMap::new() };
        Worker::new(net, Arc::new(inbox))
    }

    /// Its own streams have something to say: it does not sleep.
    pub fn has_events(&self) -> bool {
        self.watcher.has_events()
    }

    fn insert_end(&mut self, mut end: End) -> LinkId {
        let link = self.world.borrow_mut().hosts[self.host].reserve_link(self.worker);
        end.watch(&self.watcher, link);
        self.ends.insert(link, end);
        LinkId(link)
    }

    fn report_memory(&self, ready: &mut Vec<Ready>) {
        for place in BTreeSet::from_iter(self.watcher.take()) {
            if place & LISTENER != 0 {
                ready.push(Ready::Listener(ListenerId(place & !LISTENER)));
            } else if let Some(end) = self.ends.get(&place) {
                let Readiness { readable, writable, ended } = end.readiness();
                ready.push(Ready::Link { link: LinkId(place), readable, writable, ended });
            }
        }
    }
}

/// An end of a stream between two workers.
pub enum Moving {
    Socket(usize, usize),
    Memory(End),
}

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
        self.report_memory(ready);
        // A poll promises no order.
        for last in (first + 1..ready.len()).rev() {
            let other = first + world.rng.below((last - first + 1) as u64) as usize;
            ready.swap(last, other);
        }
        Ok(())
    }

    fn listen(&mut self, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        let mut world = self.world.borrow_mut();
        let names = world.names.clone();
        let listeners = &mut world.hosts[self.host].listeners;
        let id = listeners.len() as u32;
        match endpoint {
            Endpoint::Tcp(address) => listeners.push(Some(Listener { address: *address, worker: self.worker, waiting: Default::default() })),
            Endpoint::Memory(name) => {
                let listener = names.listen(name, options.backlog.into(), &self.watcher, id | LISTENER)?;
                self.memory_listeners.insert(id, listener);
                listeners.push(None);
            }
            // Neither files nor datagrams.
            _ => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok((ListenerId(id), endpoint.clone()))
    }

    /// This world has no descriptors.
    fn listen_on(&mut self, _: OwnedFd, _: &SocketOptions) -> io::Result<(ListenerId, Endpoint)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn adopt(&mut self, _: OwnedFd) -> io::Result<(LinkId, Peer)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn unlisten(&mut self, listener: ListenerId) {
        self.memory_listeners.remove(&listener.0);
        let mut world = self.world.borrow_mut();
        let closed = world.hosts[self.host].listeners[listener.0 as usize].take();
        for stream in closed.into_iter().flat_map(|closed| closed.waiting) {
            world.streams[stream].ends[1].state = EndState::Closed;
            let delay = world.latency();
            world.after(delay, Happening::Reset(stream, 0));
        }
    }

    fn accept(&mut self, listener: ListenerId) -> io::Result<Option<(LinkId, Peer)>> {
        if let Some(listener) = self.memory_listeners.get(&listener.0) {
            let Some(end) = listener.accept() else { return Ok(None) };
            // The model tells connections from each other by where they come from.
            let port = self.world.borrow_mut().hosts[self.host].next_port();
            let peer = Peer { address: Some(SocketAddr::from(([127, 0, 0, 1], port))), process: None };
            return Ok(Some((self.insert_end(end), peer)));
        }
        let accepted = self.world.borrow_mut().accept_at(self.host, self.worker, listener.0);
        Ok(accepted.map(|(link, address)| (LinkId(link), Peer { address: Some(address), process: None })))
    }

    fn dial(&mut self, endpoint: &Endpoint, options: &DialOptions) -> io::Result<LinkId> {
        match (endpoint, &options.names) {
            (Endpoint::Tcp(address), _) => self.world.borrow_mut().dial_from(self.host, self.worker, *address).map(LinkId),
            (Endpoint::Memory(name), Some(names)) => {
                let end = names.dial(name, &self.watcher)?;
                Ok(self.insert_end(end))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn take(&mut self, _: Box<dyn CustomStream>) -> io::Result<LinkId> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn dialed(&mut self, link: LinkId) -> Option<io::Result<()>> {
        if self.ends.contains_key(&link.0) {
            return Some(Ok(()));
        }
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
        match self.ends.get(&link.0) {
            Some(end) => end.receive(buffer, &self.watcher),
            None => self.world.borrow_mut().read_from(self.host, link.0, buffer),
        }
    }

    fn take_payload(&mut self, link: LinkId) -> Option<Bytes> {
        let payload = self.ends.get(&link.0)?.receive_payload(&self.watcher)?;
        self.world.borrow_mut().payloads += 1;
        Some(payload)
    }

    fn write(&mut self, link: LinkId, out: &OutBuffer) -> io::Result<(usize, bool)> {
        match self.ends.get(&link.0) {
            Some(end) => end.send(out, &self.watcher),
            None => write_slices(out, |slices| self.world.borrow_mut().write_to(self.host, link.0, slices)),
        }
    }

    fn shutdown(&mut self, link: LinkId) {
        match self.ends.get(&link.0) {
            Some(end) => end.shutdown(),
            None => self.world.borrow_mut().shutdown_link(self.host, link.0),
        }
    }

    fn close(&mut self, link: LinkId) {
        match self.ends.remove(&link.0) {
            Some(_) => self.world.borrow_mut().hosts[self.host].release_link(link.0),
            None => self.world.borrow_mut().close_link(self.host, link.0),
        }
    }

    fn detach(&mut self, link: LinkId) -> io::Result<Moving> {
        if let Some(mut end) = self.ends.remove(&link.0) {
            end.unwatch();
            self.world.borrow_mut().hosts[self.host].release_link(link.0);
            return Ok(Moving::Memory(end));
        }
        self.world.borrow_mut().unwatch(self.host, link.0).map(|(stream, end)| Moving::Socket(stream, end))
    }

    fn attach(&mut self, moving: Moving) -> io::Result<LinkId> {
        match moving {
            Moving::Socket(stream, end) => Ok(LinkId(self.world.borrow_mut().watch(self.host, self.worker, (stream, end)))),
            Moving::Memory(end) => Ok(self.insert_end(end)),
        }
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
