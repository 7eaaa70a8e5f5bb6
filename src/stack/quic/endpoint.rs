//! All connections of QUIC on one UDP socket: who is who, timers, and whose turn it is to send.

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::{Bytes, BytesMut};
use quinn_proto::{ConnectionHandle, DatagramEvent as Found, EcnCodepoint, Incoming};

use super::connection::{Connection, GOOD_BYE, Phase, Place};
use super::{ClientQuic, ServerQuic, fault};
use crate::base::{Duration, Instant};
use crate::stack::datagram::{BATCH_BYTES_MAX, source_of};
use crate::stack::{Birth, ConnectionId, DatagramCounters, DatagramEndpoint, DatagramEvent, DatagramLimits, DatagramStatistics};
use crate::stack::{Fault, FaultKind, Identity, MakeDatagrams, Received, Transmit};

/// Answers to nobody's connection that wait to be sent; further ones are as good as lost.
const RESPONSES_MAX: usize = 64;
/// Connections that have ended and are still answered for a moment; while there are more, nobody is let in.
const CLOSING_MAX: usize = 1_024;
/// What a connection holds, about, without what waits in it.
const CONNECTION_BYTES: usize = 20 << 10;
/// Nobody's number: of what came to nothing.
const NOBODY: ConnectionId = ConnectionId(u64::MAX);

/// Where it goes, and as whom.
struct Dialler {
    config: quinn_proto::ClientConfig,
    server_name: Option<String>,
}

pub(super) struct Endpoint {
    machine: quinn_proto::Endpoint,
    epoch: std::time::Instant,
    dialler: Option<Dialler>,
    /// `None`: it dials.
    limits: Option<DatagramLimits>,
    /// Nobody is let in; those who are half-made still have no more than their time.
    is_refusing: bool,
    identity: Identity,
    /// By the machine's numbers, which it uses again.
    connections: Vec<Option<Box<Connection>>>,
    serial: u32,
    /// Those that take a place: the host has not written its last to them.
    living: usize,
    /// Those it has, and has not closed: how many it has at one time is its affair, and they are charged.
    leaving: usize,
    /// Half-made ones, the oldest first; some are done.
    shaking: VecDeque<(Instant, ConnectionId)>,
    shaking_count: usize,
    /// How many of them are of one source.
    sources: HashMap<IpAddr, usize>,
    timers: BTreeSet<(Instant, u32)>,
    dirty: VecDeque<u32>,
    responses: VecDeque<Transmit>,
    events: VecDeque<(ConnectionId, DatagramEvent)>,
    /// What came over connections the machine has forgotten, and was not read yet.
    remains: HashMap<ConnectionId, VecDeque<u8>>,
    counters: DatagramCounters,
    /// What the connections may hold.
    held_bytes: usize,
}

impl Endpoint {
    pub fn serving(made: &ServerQuic, birth: &Birth) -> Self {
        let machine = quinn_proto::Endpoint::new(made.endpoint.clone(), Some(made.server.clone()), true, None);
        Self { limits: birth.limits, identity: made.identity, ..Self::new(machine, birth) }
    }

    pub fn dialling(made: &ClientQuic, birth: &Birth) -> Self {
        let machine = quinn_proto::Endpoint::new(made.endpoint.clone(), None, true, None);
        let dialler = Dialler { config: made.client.clone(), server_name: made.server_name.clone() };
        Self { dialler: Some(dialler), ..Self::new(machine, birth) }
    }

    fn new(machine: quinn_proto::Endpoint, birth: &Birth) -> Self {
        Self {
            machine,
            epoch: birth.epoch,
            dialler: None,
            limits: None,
            is_refusing: false,
            identity: Identity::None,
            connections: Vec::new(),
            serial: 0,
            living: 0,
            leaving: 0,
            shaking: VecDeque::new(),
            shaking_count: 0,
            sources: HashMap::new(),
            timers: BTreeSet::new(),
            dirty: VecDeque::new(),
            responses: VecDeque::new(),
            events: VecDeque::new(),
            remains: HashMap::new(),
            counters: DatagramCounters::default(),
            held_bytes: 0,
        }
    }

    fn theirs(&self, now: Instant) -> std::time::Instant {
        self.epoch + Duration::from_micros(now.as_micros())
    }

    /// Rounded up: at a deadline it is not still to come.
    fn ours(&self, then: std::time::Instant) -> Instant {
        let since = then.saturating_duration_since(self.epoch);
        Instant::from_micros(u64::try_from(since.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX))
    }

    /// The place of a connection that is there.
    fn place(&self, id: ConnectionId) -> Option<usize> {
        let place = (id.0 & u64::from(u32::MAX)) as usize;
        let connection = self.connections.get(place)?.as_ref()?;
        (connection.id == id).then_some(place)
    }

    fn add(&mut self, now: Instant, handle: ConnectionHandle, machine: quinn_proto::Connection) -> usize {
        let place = handle.0;
        if self.connections.len() <= place {
            self.connections.resize_with(place + 1, || None);
        }
        self.serial = self.serial.wrapping_add(1) & (u32::MAX >> 1);
        let id = ConnectionId(u64::from(self.serial) << 32 | place as u64);
        self.connections[place] = Some(Box::new(Connection::new(now, id, machine, self.identity)));
        self.living += 1;
        place
    }

    /// Somebody wants to come in.
    fn come_in(&mut self, now: Instant, incoming: Incoming) {
        let peer = incoming.remote_address();
        let mut buffer = Vec::new();
        let Some(limits) = self.limits.filter(|limits| !self.is_refusing && self.living < limits.connections_max) else {
            self.counters.refused += 1;
            let answer = self.machine.refuse(incoming, &mut buffer);
            self.respond(&answer, buffer);
            return self.failed(peer, FaultKind::Refused, "too many connections");
        };
        // An address that may be anybody's takes half of the places at most: of all, and of those it may have.
        let source = source_of(peer);
        let of_source = self.sources.get(&source).copied().unwrap_or(0);
        let is_half_full = self.shaking_count >= limits.handshakes_max / 2 || of_source >= limits.handshakes_per_source_max / 2;
        let must_prove = is_half_full && !incoming.remote_address_validated();
        if must_prove && incoming.may_retry() {
            self.counters.cookies += 1;
            if let Ok(answer) = self.machine.retry(incoming, &mut buffer) {
                self.respond(&answer, buffer);
            }
            return;
        }
        let closing = self.machine.open_connections().saturating_sub(self.living + self.leaving);
        let has_no_seat = self.shaking_count >= limits.handshakes_max || of_source >= limits.handshakes_per_source_max;
        if must_prove || has_no_seat || closing >= CLOSING_MAX {
            // It comes again.
            self.counters.refused += 1;
            match of_source >= limits.handshakes_per_source_max {
                true => self.counters.crowded += 1,
                false => self.counters.delayed += 1,
            }
            return self.machine.ignore(incoming);
        }
        match self.machine.accept(incoming, self.theirs(now), &mut buffer, None) {
            Ok((handle, machine)) => {
                let place = self.add(now, handle, machine);
                if let Some(connection) = &mut self.connections[place] {
                    connection.shaking_from = Some(source);
                    self.shaking_count += 1;
                    *self.sources.entry(source).or_default() += 1;
                    self.shaking.push_back((now, connection.id));
                }
                // Those that are done are looked for when they are in front, and here before they pile up.
                if self.shaking.len() > 2 * limits.handshakes_max {
                    let mut shaking = core::mem::take(&mut self.shaking);
                    shaking.retain(|(_, id)| self.is_shaking(*id));
                    self.shaking = shaking;
                }
                self.settle(now, place);
                self.mark(place);
            }
            Err(error) => {
                if let Some(answer) = error.response {
                    self.respond(&answer, buffer);
                }
                if let Some(fault) = fault::of(&error.cause, false) {
                    self.events.push_back((NOBODY, DatagramEvent::Failed { peer, fault }));
                }
            }
        }
    }

    fn leave_source(&mut self, source: IpAddr) {
        if let Some(count) = self.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.sources.remove(&source);
            }
        }
    }

    fn failed(&mut self, peer: SocketAddr, kind: FaultKind, text: &'static str) {
        self.events.push_back((NOBODY, DatagramEvent::Failed { peer, fault: Fault::new(kind, text) }));
    }

    fn respond(&mut self, answer: &quinn_proto::Transmit, mut bytes: Vec<u8>) {
        if self.responses.len() < RESPONSES_MAX {
            let mut out = Transmit::default();
            bytes.truncate(answer.size);
            out.bytes = bytes;
            fill(&mut out, answer);
            self.responses.push_back(out);
        } else {
            self.counters.replies_dropped += 1;
        }
    }

    /// It may have something to send.
    fn mark(&mut self, place: usize) {
        if let Some(connection) = &mut self.connections[place] {
            if !core::mem::replace(&mut connection.is_dirty, true) {
                self.dirty.push_back(place as u32);
            }
        }
    }

    /// Takes what the machine of a connection has to say, and looks at its timer. False: it had nothing to say.
    fn settle(&mut self, now: Instant, place: usize) -> bool {
        let Some(mut connection) = self.connections[place].take() else { return false };
        let (mut has_told, mut is_drained) = (false, false);
        loop {
            if let Some(event) = connection.machine.poll_endpoint_events() {
                is_drained |= event.is_drained();
                if let Some(answer) = self.machine.handle_event(ConnectionHandle(place), event) {
                    connection.machine.handle_event(answer);
                }
            } else if let Some(told) = connection.machine.poll() {
                connection.tell(told, &mut self.events);
            } else {
                break;
            }
            has_told = true;
        }
        connection.look_at_path(&mut self.events);
        if let Some(source) = connection.shaking_from.take_if(|_| connection.phase != Phase::Opening) {
            self.shaking_count -= 1;
            self.leave_source(source);
            if connection.phase == Phase::Over && !connection.is_known {
                // The host will never hear of it, and not close it.
                self.make_place(&mut connection, Place::Free);
                connection.machine.close(self.theirs(now), GOOD_BYE, Bytes::new());
            }
        }
        if is_drained {
            self.forget(now, connection);
            return true;
        }
        let due = connection.machine.poll_timeout().map(|then| self.ours(then));
        if connection.due != due {
            if let Some(before) = core::mem::replace(&mut connection.due, due) {
                self.timers.remove(&(before, place as u32));
            }
            self.timers.extend(due.map(|due| (due, place as u32)));
        }
        let held_bytes = connection.held_bytes(now);
        self.held_bytes = self.held_bytes + held_bytes - core::mem::replace(&mut connection.charged_bytes, held_bytes);
        self.connections[place] = Some(connection);
        has_told
    }

    /// It takes less of what there is from now on.
    fn make_place(&mut self, connection: &mut Connection, place: Place) {
        match core::mem::replace(&mut connection.place, place) {
            Place::Taken => self.living -= 1,
            Place::Leaving => self.leaving -= 1,
            Place::Free => connection.place = Place::Free,
        }
        if connection.place == Place::Leaving {
            self.leaving += 1;
        }
    }

    fn leave(&mut self, id: ConnectionId, place: Place) {
        let Some(mut connection) = self.place(id).and_then(|place| self.connections[place].take()) else { return };
        self.make_place(&mut connection, place);
        let index = (id.0 & u64::from(u32::MAX)) as usize;
        self.connections[index] = Some(connection);
    }

    /// The machine has forgotten a connection, and may use its number again. What the host has not read yet stays.
    fn forget(&mut self, now: Instant, mut connection: Box<Connection>) {
        let id = connection.id;
        self.held_bytes -= connection.charged_bytes;
        if let Some(due) = connection.due {
            self.timers.remove(&(due, id.0 as u32));
        }
        let mut rest = VecDeque::new();
        let mut buffer = [0; 4_096];
        while let Some(count) = connection.read(now, &mut buffer, &mut VecDeque::new()).filter(|count| *count > 0) {
            rest.extend(&buffer[..count]);
        }
        self.make_place(&mut connection, Place::Free);
        if connection.is_known {
            self.remains.insert(id, rest);
        }
    }

    /// Does something with a connection that is there.
    fn with<R>(&mut self, now: Instant, id: ConnectionId, act: impl FnOnce(&mut Connection, &mut VecDeque<(ConnectionId, DatagramEvent)>) -> R) -> Option<R> {
        let place = self.place(id)?;
        let connection = self.connections[place].as_mut()?;
        let result = act(connection, &mut self.events);
        self.settle(now, place);
        self.mark(place);
        Some(result)
    }

    fn is_shaking(&self, id: ConnectionId) -> bool {
        self.place(id).and_then(|place| self.connections[place].as_ref()).is_some_and(|connection| connection.shaking_from.is_some())
    }

    /// The oldest half-made connection.
    fn oldest(&mut self) -> Option<(Instant, ConnectionId)> {
        while let Some(&(since, id)) = self.shaking.front() {
            if self.is_shaking(id) {
                return Some((since, id));
            }
            self.shaking.pop_front();
        }
        None
    }

    fn end_stale(&mut self, now: Instant) {
        let Some(timeout) = self.limits.map(|limits| limits.handshake_timeout) else { return };
        while let Some((_, id)) = self.oldest().filter(|(since, _)| *since + timeout <= now) {
            self.with(now, id, |connection, events| {
                connection.lost(Some(Fault::new(FaultKind::Timeout, "the handshake was not done in time")), events);
            });
        }
    }
}

fn fill(out: &mut Transmit, from: &quinn_proto::Transmit) {
    out.to = from.destination;
    out.from = from.src_ip;
    out.ecn = from.ecn.map_or(0, |bits| bits as u8);
    out.segment_bytes = from.segment_size;
    out.bytes.truncate(from.size);
}

impl DatagramEndpoint for Endpoint {
    fn connect(&mut self, now: Instant, remote: SocketAddr, host: &str) -> Result<ConnectionId, Fault> {
        let then = self.theirs(now);
        let Some(dialler) = &self.dialler else { return Err(Fault::new(FaultKind::Datagram, "this end listens")) };
        let name = dialler.server_name.as_deref().unwrap_or(host);
        let made = self.machine.connect(then, dialler.config.clone(), remote, name);
        let (handle, machine) = made.map_err(|error| fault::of_dial(&error, name))?;
        let place = self.add(now, handle, machine);
        let Some(connection) = self.connections[place].as_mut() else { unreachable!("added above") };
        connection.is_known = true;
        let id = connection.id;
        connection.begin_early(&mut self.events);
        self.settle(now, place);
        self.mark(place);
        Ok(id)
    }

    fn receive(&mut self, now: Instant, datagram: &Received<'_>) {
        let mut buffer = Vec::new();
        self.counters.received += 1;
        let ecn = EcnCodepoint::from_bits(datagram.ecn);
        match self.machine.handle(self.theirs(now), datagram.from, datagram.to, ecn, BytesMut::from(datagram.bytes), &mut buffer) {
            Some(Found::ConnectionEvent(handle, event)) => {
                if let Some(Some(connection)) = self.connections.get_mut(handle.0) {
                    connection.receive(datagram.from, event);
                    self.settle(now, handle.0);
                    self.mark(handle.0);
                }
            }
            Some(Found::NewConnection(incoming)) => self.come_in(now, incoming),
            Some(Found::Response(answer)) => {
                self.counters.unknown += 1;
                self.respond(&answer, buffer);
            }
            // The machine does not say which of the two it was.
            None => self.counters.malformed += 1,
        }
    }

    fn transmit(&mut self, now: Instant, segments_max: usize, out: &mut Transmit) -> bool {
        if let Some(response) = self.responses.pop_front() {
            *out = response;
            return true;
        }
        let then = self.theirs(now);
        while let Some(place) = self.dirty.pop_front() {
            let Some(Some(connection)) = self.connections.get_mut(place as usize) else { continue };
            out.bytes.clear();
            connection.is_dirty = false;
            let room = segments_max.min(BATCH_BYTES_MAX / usize::from(connection.machine.current_mtu())).max(1);
            let transmit = connection.transmit(then, room, &mut out.bytes);
            let has_told = self.settle(now, place as usize);
            if transmit.is_some() || has_told {
                // Behind the others, if it has more.
                self.mark(place as usize);
            }
            if let Some(transmit) = transmit {
                fill(out, &transmit);
                return true;
            }
        }
        false
    }

    fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(due, _)| *due);
        let timeout = self.limits.map(|limits| limits.handshake_timeout);
        let stale = self.shaking.front().zip(timeout).map(|((since, _), timeout)| *since + timeout);
        timer.into_iter().chain(stale).min()
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(due, place)) = self.timers.first().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, place));
            let then = self.theirs(now);
            if let Some(Some(connection)) = self.connections.get_mut(place as usize) {
                connection.due = None;
                connection.machine.handle_timeout(then);
                self.settle(now, place as usize);
                self.mark(place as usize);
            }
        }
        self.end_stale(now);
    }

    fn event(&mut self) -> Option<(ConnectionId, DatagramEvent)> {
        self.events.pop_front()
    }

    fn read(&mut self, now: Instant, id: ConnectionId, buffer: &mut [u8]) -> Option<usize> {
        if let Some(rest) = self.remains.get_mut(&id) {
            let count = std::io::Read::read(rest, buffer).unwrap_or(0);
            return Some(count).filter(|count| *count > 0);
        }
        self.with(now, id, |connection, events| connection.read(now, buffer, events)).flatten()
    }

    fn write(&mut self, now: Instant, id: ConnectionId, bytes: &[u8]) -> usize {
        self.with(now, id, |connection, _| connection.write(bytes)).unwrap_or(0)
    }

    fn finish(&mut self, now: Instant, id: ConnectionId) {
        self.with(now, id, |connection, _| connection.finish());
        self.leave(id, Place::Leaving);
    }

    fn close(&mut self, now: Instant, id: ConnectionId) {
        self.remains.remove(&id);
        let then = self.theirs(now);
        self.leave(id, Place::Free);
        self.with(now, id, |connection, _| {
            (connection.phase, connection.is_known) = (Phase::Over, false);
            connection.machine.close(then, GOOD_BYE, Bytes::new());
        });
    }

    fn refuse_all(&mut self) {
        self.is_refusing = true;
    }

    fn renew(&mut self, make: &dyn MakeDatagrams, limits: DatagramLimits) -> bool {
        let Some(made) = make.as_any().downcast_ref::<ServerQuic>() else { return false };
        self.machine.set_server_config(Some(made.server.clone()));
        (self.identity, self.limits, self.is_refusing) = (made.identity, Some(limits), false);
        true
    }

    fn rebound(&mut self, now: Instant) {
        for place in 0..self.connections.len() {
            if let Some(connection) = &mut self.connections[place] {
                connection.machine.local_address_changed();
                self.settle(now, place);
                self.mark(place);
            }
        }
    }

    fn connections(&self) -> usize {
        self.machine.open_connections()
    }

    fn statistics(&self, id: ConnectionId) -> Option<DatagramStatistics> {
        self.place(id).and_then(|place| self.connections[place].as_ref()).map(|connection| connection.statistics())
    }

    fn counters(&self) -> DatagramCounters {
        self.counters
    }

    fn memory_bytes(&self) -> usize {
        let remains: usize = self.remains.values().map(VecDeque::len).sum();
        self.machine.open_connections() * CONNECTION_BYTES + self.held_bytes + remains
    }
}
