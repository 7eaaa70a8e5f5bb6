//! Transports over UDP: the sockets, the machines on them, and the streams their connections are to everybody else.
//!
//! # Theory of operation
//! ```text
//!   UDP socket ─> Driver { DatagramEndpoint } ─> inner end ═ pipe ═ outer end (Stream) ─> a link like any other
//! ```
//! A [`Driver`] is one UDP socket and the machine on it, and belongs to one worker: a listener has one for all its
//! connections, each dial has one of its own. Every connection is a stream in memory (`net/memory`): the driver has the inner end, and the
//! outer one is a link of whatever worker the connection lives on. So limits, hooks, back-pressure, layers and the way to
//! another worker are what they are for TCP, and the machine knows none of it. The room of the pipe is the flow control:
//! what the host does not read stays in the machine, whose window then closes.
//!
//! All drivers of a worker are looked after twice in each wait: before it sleeps, when the hosts have written, and after it,
//! when datagrams came. Between the two they have nothing to do. Inner ends are told of as places with the bit [`INSIDE`].
//!
//! A host that closes a link is done with it; its driver goes on until what was written before that has arrived, for a while (`inner`).
//!
//! What a pipe cannot say is beside it in [`Side`](stream::Side): whether it is open yet, who is at the other end, and with which fault it ended.

mod driver;
mod host;
mod inner;
mod socket;
mod stream;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::Registry;

use self::driver::Driver;
use self::socket::Bound;
pub use self::socket::DialPlan;
use self::socket::bind;
pub use self::stream::Stream;
use super::memory::Watcher;
use super::{Peer, Ready};
use crate::base::{Budget, Charge, IdMap, Instant};
use crate::stack::{ConnectionId, DatagramEndpoint, DatagramLimits, Fault, FaultKind, MakeDatagrams};

/// Places of inner ends have this bit; links never do.
const INSIDE: u32 = 1 << 31;
/// A datagram, or several that the kernel has put together, is not longer.
const BUFFER_BYTES: usize = 64 << 10;
/// Buffers filled by one system call.
const BUFFERS: usize = 4;

/// The fault that is inside an error of a stream.
pub fn fault_of(error: &io::Error) -> Option<Fault> {
    error.get_ref()?.downcast_ref::<Fault>().cloned()
}

/// Another address of the same server may do better.
pub fn is_of_address(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::Unreachable | FaultKind::Refused | FaultKind::Silent)
}

/// What all drivers of a worker use.
struct Shared {
    watcher: Arc<Watcher>,
    registry: Registry,
    /// What waits in pipes is charged to it.
    budget: Budget,
    /// Which connection of which driver has an inner end at this place.
    insides: Vec<Option<(u32, ConnectionId)>>,
    free: Vec<u32>,
    /// Datagrams that came; there only while there are drivers.
    buffers: Vec<u8>,
    /// What the worker is to hear.
    told: Vec<Ready>,
}

impl Shared {
    fn insert(&mut self, driver: u32, id: ConnectionId) -> u32 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.insides.push(None);
            u32::try_from(self.insides.len() - 1).expect("fewer connections than ports")
        });
        self.insides[index as usize] = Some((driver, id));
        index | INSIDE
    }

    fn remove(&mut self, place: u32) {
        let index = place & !INSIDE;
        if self.insides[index as usize].take().is_some() {
            self.free.push(index);
        }
    }
}

/// The drivers of a worker.
pub struct Datagrams {
    shared: Shared,
    /// By the place of their sockets.
    drivers: IdMap<u32, Driver>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// They may have something to send, or to receive.
    dirty: Vec<u32>,
    /// Drivers that are gone: their places are free.
    gone: Vec<u32>,
    /// What the watcher has told of other places.
    noted: Vec<u32>,
    /// What it has told of inner ends while nobody looked.
    kept: Vec<u32>,
}

impl Datagrams {
    pub fn new(registry: &Registry, watcher: &Arc<Watcher>) -> io::Result<Self> {
        let (watcher, registry) = (watcher.clone(), registry.try_clone()?);
        let budget = Budget::new(usize::MAX);
        let shared = Shared { watcher, registry, budget, insides: Vec::new(), free: Vec::new(), buffers: Vec::new(), told: Vec::new() };
        Ok(Self { shared, drivers: IdMap::default(), deadlines: BTreeSet::new(), dirty: Vec::new(), gone: Vec::new(), noted: Vec::new(), kept: Vec::new() })
    }

    /// From now on what waits is charged to this one.
    pub fn charge_to(&mut self, budget: &Budget) {
        self.shared.budget = budget.clone();
    }

    /// There is no UDP socket.
    pub fn is_empty(&self) -> bool {
        self.drivers.is_empty()
    }

    /// When the next driver has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(due, _)| *due)
    }

    /// There is something to do at once.
    pub fn has_work(&self) -> bool {
        !self.dirty.is_empty() || !self.noted.is_empty() || !self.kept.is_empty()
    }

    /// A machine listens on a socket that is bound and polled at this place.
    pub fn listen(&mut self, place: u32, made: (Bound, Charge), machine: Box<dyn DatagramEndpoint>, backlog: u16) {
        let driver = Driver::listening(place, made, machine, backlog.into());
        self.add(place, driver);
    }

    /// A machine begins a connection on such a socket.
    pub fn dial(&mut self, now: Instant, place: u32, made: (Bound, Charge), machine: Box<dyn DatagramEndpoint>, plan: DialPlan) -> io::Result<Stream> {
        let (driver, stream) = Driver::dialling(now, place, made, machine, plan, &mut self.shared)?;
        self.add(place, driver);
        Ok(stream)
    }

    fn add(&mut self, place: u32, driver: Driver) {
        self.shared.buffers.resize(BUFFERS * BUFFER_BYTES, 0);
        self.drivers.insert(place, driver);
        self.dirty(place);
    }

    /// Listens again at the address of a listener that listens no more, and whose socket is still there for those who stayed: at which place.
    /// `None`: there is none, or it speaks something else.
    pub fn listen_again(&mut self, address: SocketAddr, make: &dyn MakeDatagrams, limits: DatagramLimits, backlog: u16) -> Option<u32> {
        let mut drivers = self.drivers.iter_mut();
        drivers.find_map(|(place, driver)| driver.listen_again(address, make, limits, backlog.into()).then_some(*place))
    }

    /// There is a socket at this address whose listener was closed.
    pub fn keeps(&self, address: SocketAddr) -> bool {
        self.drivers.values().any(|driver| driver.is_kept_at(address))
    }

    /// Other options for whoever comes from now on.
    pub fn renew(&mut self, place: u32, make: &dyn MakeDatagrams, limits: DatagramLimits) {
        if let Some(driver) = self.drivers.get_mut(&place) {
            driver.renew(make, limits);
        }
    }

    /// The next connection that came in through a listener.
    pub fn accept(&mut self, place: u32) -> Option<(Stream, Peer)> {
        let (stream, peer) = self.drivers.get_mut(&place)?.accept()?;
        Some((stream, Peer { address: Some(peer), process: None }))
    }

    /// Nobody is taken in any more; the socket stays until the connections over it have ended.
    pub fn unlisten(&mut self, now: Instant, place: u32) {
        if let Some(driver) = self.drivers.get_mut(&place) {
            driver.unlisten(now, &mut self.shared);
            self.dirty(place);
        }
    }

    /// What the poll says of the socket at this place.
    pub fn socket_ready(&mut self, place: u32, readable: bool, writable: bool) {
        if let Some(driver) = self.drivers.get_mut(&place) {
            driver.ready(readable, writable);
            self.dirty(place);
        }
    }

    fn dirty(&mut self, place: u32) {
        let Some(driver) = self.drivers.get_mut(&place) else { return };
        if !core::mem::replace(&mut driver.is_dirty, true) {
            self.dirty.push(place);
        }
    }

    /// Does all there is to do now; what the worker is to hear of it is appended.
    pub fn run(&mut self, now: Instant, ready: &mut Vec<Ready>) {
        self.pump(now);
        while let Some(&(due, place)) = self.deadlines.first().filter(|(due, _)| *due <= now) {
            self.deadlines.remove(&(due, place));
            if let Some(driver) = self.drivers.get_mut(&place) {
                driver.due = None;
                driver.expire(now, &mut self.shared);
            }
            self.dirty(place);
        }
        for place in core::mem::take(&mut self.dirty) {
            self.work(now, place);
        }
        ready.append(&mut self.shared.told);
    }

    /// What the hosts have written or taken, or closed.
    fn pump(&mut self, now: Instant) {
        let mut places = core::mem::take(&mut self.kept);
        if self.shared.watcher.has_events() {
            places.append(&mut self.shared.watcher.take());
        }
        for place in places {
            if place & INSIDE == 0 {
                self.noted.push(place);
                continue;
            }
            let inside = self.shared.insides.get((place & !INSIDE) as usize).copied().flatten();
            let Some((driver, id)) = inside else { continue };
            if let Some(entry) = self.drivers.get_mut(&driver) {
                entry.pump(now, id, &mut self.shared);
            }
            self.dirty(driver);
        }
    }

    /// Of what the watcher has told now, keeps what is of inner ends: another worker may have moved one meanwhile.
    pub fn sort_out(&mut self, places: Vec<u32>) -> Vec<u32> {
        let (inside, links) = places.into_iter().partition(|place| place & INSIDE != 0);
        if !self.drivers.is_empty() {
            self.kept = inside;
        }
        links
    }

    /// Places of links that the watcher has told of.
    pub fn take_noted(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.noted)
    }

    /// Receives and sends for one driver.
    fn work(&mut self, now: Instant, place: u32) {
        let Some(driver) = self.drivers.get_mut(&place) else { return };
        driver.is_dirty = false;
        let wants_more = driver.work(now, &mut self.shared);
        if driver.is_over() {
            driver.note_now(now, &mut self.shared);
            return self.remove(place);
        }
        driver.recharge();
        driver.note(now, &mut self.shared);
        let due = driver.deadline(now);
        if driver.due != due {
            if let Some(before) = core::mem::replace(&mut driver.due, due) {
                self.deadlines.remove(&(before, place));
            }
            self.deadlines.extend(due.map(|due| (due, place)));
        }
        if wants_more {
            self.dirty(place);
        }
    }

    fn remove(&mut self, place: u32) {
        let Some(driver) = self.drivers.remove(&place) else { return };
        if let Some(due) = driver.due {
            self.deadlines.remove(&(due, place));
        }
        driver.deregister(&self.shared);
        self.gone.push(place);
        if self.drivers.is_empty() {
            (self.shared.buffers, self.kept, self.dirty) = (Vec::new(), Vec::new(), Vec::new());
        }
    }

    /// Places of sockets that are closed.
    pub fn take_gone(&mut self) -> Vec<u32> {
        core::mem::take(&mut self.gone)
    }

    /// What a host has written last to somebody has not arrived yet.
    pub fn is_finishing(&mut self, now: Instant) -> bool {
        self.pump(now);
        self.drivers.values().any(Driver::is_finishing)
    }

    /// The last turn was: what the hosts have written goes out as far as the sockets take it at once, with a good-bye.
    pub fn end(&mut self, now: Instant) {
        self.pump(now);
        for driver in self.drivers.values_mut() {
            driver.transmit(now, &mut self.shared);
            driver.end(now);
            driver.transmit(now, &mut self.shared);
        }
    }
}

#[cfg(all(test, feature = "quic"))]
mod tests;
