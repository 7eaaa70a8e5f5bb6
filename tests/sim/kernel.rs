//! What the kernels and the wire between them do with streams: connect, carry, reset, close.
//!
//! Faithful where the code under test relies on it: an edge is reported once; a read takes all that
//! is there up to its buffer; a write that is cut short is followed by an edge when there is room;
//! closing with unread input resets; what arrives for nobody is answered with a reset.

use std::io;
use std::net::SocketAddr;

use nlmqtt::base::Duration;

use crate::stream::{EndState, Segment, Stream};
use crate::trace::trace;
use crate::world::{Happening, NO_LINK, World};

/// As a kernel sends SYN again: after 1, 2, 4 ... seconds.
const KNOCKS_MAX: u32 = 6;
/// What does not arrive is tried again after this time.
const RETRANSMIT: Duration = Duration::from_millis(200);

impl World {
    pub fn dial_from(&mut self, host: usize, worker: usize, address: SocketAddr) -> io::Result<u32> {
        let to = self.hosts.iter().position(|other| other.ip == address.ip()).ok_or(io::ErrorKind::HostUnreachable)?;
        let stream = self.streams.len();
        let link = self.hosts[host].take_index(worker, stream, 0);
        self.streams.push(Stream::dialed(host, self.hosts[host].boot, link, to, address.port()));
        let delay = self.latency();
        self.after(delay, Happening::Knock(stream, 0));
        Ok(link)
    }

    pub(crate) fn knock(&mut self, stream: usize, tries: u32) {
        let (from, to) = (self.streams[stream].ends[0].host, self.streams[stream].ends[1].host);
        if self.streams[stream].ends[0].state != EndState::Dialing {
            return;
        }
        let is_reachable = self.hosts[to].is_up && self.blocked_until(from, to) <= self.now;
        if !is_reachable {
            if tries < KNOCKS_MAX {
                self.after(Duration::from_secs(1 << tries), Happening::Knock(stream, tries + 1));
            }
            return;
        }
        let port = self.streams[stream].port;
        let listener = self.hosts[to].listeners.iter().position(|one| one.as_ref().is_some_and(|one| one.address.port() == port));
        if let Some(listener) = listener {
            let boot = self.hosts[to].boot;
            let end = &mut self.streams[stream].ends[1];
            (end.boot, end.state) = (boot, EndState::Waiting);
            if let Some(listening) = &mut self.hosts[to].listeners[listener] {
                listening.waiting.push_back(stream);
            }
            self.hosts[to].listener_edges.insert(listener as u32);
        }
        let delay = self.latency();
        self.after(delay, Happening::Answered(stream, listener.is_some()));
    }

    pub(crate) fn answered(&mut self, stream: usize, taken: bool) {
        let end = &self.streams[stream].ends[0];
        let (host, link) = (end.host, end.link);
        if end.state != EndState::Dialing {
            // Given up meanwhile.
            if taken {
                self.reset(stream, 1);
            }
            return;
        }
        let blocked = self.blocked_until(self.streams[stream].ends[1].host, host);
        if blocked > self.now {
            return self.at(blocked + RETRANSMIT, Happening::Answered(stream, taken));
        }
        self.streams[stream].ends[0].state = if taken { EndState::Open } else { EndState::Refused };
        self.hosts[host].edge(link, !taken, true);
    }

    pub fn accept_at(&mut self, host: usize, worker: usize, listener: u32) -> Option<(u32, SocketAddr)> {
        loop {
            let stream = self.hosts[host].listeners.get_mut(listener as usize)?.as_mut()?.waiting.pop_front()?;
            if self.streams[stream].ends[1].state != EndState::Waiting {
                continue; // Reset while it waited.
            }
            let link = self.hosts[host].take_index(worker, stream, 1);
            let readable = self.streams[stream].pipes[1].is_readable();
            let end = &mut self.streams[stream].ends[1];
            (end.link, end.state) = (link, EndState::Open);
            self.hosts[host].edge(link, readable, true);
            let from = self.streams[stream].ends[0].host;
            let port = self.hosts[from].next_port();
            return Some((link, SocketAddr::new(self.hosts[from].ip, port)));
        }
    }

    pub fn read_from(&mut self, host: usize, link: u32, buffer: &mut [u8]) -> io::Result<usize> {
        let (stream, end) = self.link(host, link)?;
        let state = self.streams[stream].ends[end].state;
        let pipe = &mut self.streams[stream].pipes[end];
        let count = pipe.arrived.len().min(buffer.len());
        if count > 0 {
            for (slot, byte) in buffer.iter_mut().zip(pipe.arrived.drain(..count)) {
                *slot = byte;
            }
            let delay = self.latency();
            self.after(delay, Happening::Room(stream, 1 - end));
            return Ok(count);
        }
        match state {
            EndState::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            EndState::Open if pipe.ended => Ok(0),
            EndState::Open | EndState::Waiting => Err(io::ErrorKind::WouldBlock.into()),
            EndState::Dialing | EndState::Refused | EndState::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub fn write_to(&mut self, host: usize, link: u32, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let (stream, end) = self.link(host, link)?;
        let sender = &self.streams[stream].ends[end];
        match sender.state {
            EndState::Open if !sender.finished => {}
            EndState::Dialing => return Err(io::ErrorKind::NotConnected.into()),
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        // What a socket takes is never the same twice.
        let capacity = self.faults.capacity / 2 + self.rng.below(self.faults.capacity as u64 / 2 + 1) as usize + 1;
        let room = capacity.saturating_sub(self.streams[stream].pipes[1 - end].len());
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(room).collect();
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        if bytes.len() < offered {
            self.streams[stream].ends[end].wants_room = true;
        }
        if bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len();
        self.send_segments(stream, end, bytes);
        Ok(count)
    }

    /// Cuts what was written into segments, and gives each its time.
    fn send_segments(&mut self, stream: usize, end: usize, mut bytes: Vec<u8>) {
        while !bytes.is_empty() {
            if self.rng.chance(self.faults.reset) {
                trace!(self.trace, "stream {stream} is reset");
                let side = self.rng.below(2) as usize;
                self.after(Duration::ZERO, Happening::Reset(stream, side));
                let delay = self.latency();
                return self.after(delay, Happening::Reset(stream, 1 - side));
            }
            let count = if self.rng.chance(self.faults.split) { 1 + self.rng.below(bytes.len() as u64) as usize } else { bytes.len() };
            let rest = bytes.split_off(count);
            self.send_segment(stream, end, bytes, false);
            bytes = rest;
        }
    }

    fn send_segment(&mut self, stream: usize, end: usize, bytes: Vec<u8>, is_last: bool) {
        let mut delay = self.latency();
        if self.rng.chance(self.faults.stall) {
            delay += Duration::from_millis(self.rng.below(8_000));
        }
        let pipe = &mut self.streams[stream].pipes[1 - end];
        let at = (self.now + delay).max(pipe.last_at);
        pipe.last_at = at;
        pipe.on_the_way.push_back(Segment { at, bytes, is_last });
        self.at(at, Happening::Arrive(stream, 1 - end));
    }

    pub(crate) fn arrive(&mut self, stream: usize, end: usize) {
        if self.streams[stream].pipes[end].on_the_way.front().is_none_or(|segment| segment.at > self.now) {
            return;
        }
        let (from, to) = (self.streams[stream].ends[1 - end].host, self.streams[stream].ends[end].host);
        let blocked = self.blocked_until(from, to);
        if blocked > self.now {
            return self.at(blocked + RETRANSMIT, Happening::Arrive(stream, end));
        }
        if !self.hosts[to].is_up {
            return self.after(RETRANSMIT, Happening::Arrive(stream, end));
        }
        let receiver = &self.streams[stream].ends[end];
        let is_there = matches!(receiver.state, EndState::Open | EndState::Waiting) && receiver.boot == self.hosts[to].boot;
        if receiver.state == EndState::Dialing {
            return self.after(RETRANSMIT, Happening::Arrive(stream, end)); // Its answer is on the way, too.
        }
        if !is_there {
            self.streams[stream].pipes[end].on_the_way.clear();
            let delay = self.latency();
            return self.after(delay, Happening::Reset(stream, 1 - end));
        }
        let (link, is_open) = (receiver.link, receiver.state == EndState::Open);
        let pipe = &mut self.streams[stream].pipes[end];
        if let Some(segment) = pipe.on_the_way.pop_front() {
            pipe.arrived.extend(segment.bytes);
            pipe.ended |= segment.is_last;
        }
        if is_open {
            self.hosts[to].edge(link, true, false);
        }
    }

    pub(crate) fn room(&mut self, stream: usize, end: usize) {
        let sender = &mut self.streams[stream].ends[end];
        if sender.state == EndState::Open && core::mem::take(&mut sender.wants_room) {
            let (host, link) = (sender.host, sender.link);
            self.hosts[host].edge(link, false, true);
        }
    }

    pub(crate) fn reset(&mut self, stream: usize, end: usize) {
        let other = self.streams[stream].ends[1 - end].host;
        let blocked = self.blocked_until(other, self.streams[stream].ends[end].host);
        if blocked > self.now {
            return self.at(blocked + RETRANSMIT, Happening::Reset(stream, end));
        }
        let (host, link, state) = {
            let side = &self.streams[stream].ends[end];
            (side.host, side.link, side.state)
        };
        // What has arrived may or may not survive.
        let keeps = self.rng.chance(500);
        let pipe = &mut self.streams[stream].pipes[end];
        pipe.on_the_way.clear();
        if !keeps {
            pipe.arrived.clear();
        }
        match state {
            EndState::Open => {
                self.streams[stream].ends[end].state = EndState::Reset;
                self.hosts[host].edge(link, true, true);
            }
            EndState::Dialing => {
                self.streams[stream].ends[end].state = EndState::Refused;
                self.hosts[host].edge(link, true, true);
            }
            EndState::Waiting => self.streams[stream].ends[end].state = EndState::Closed,
            EndState::Refused | EndState::Reset | EndState::Closed => {}
        }
    }

    pub fn shutdown_link(&mut self, host: usize, link: u32) {
        let Ok((stream, end)) = self.link(host, link) else { return };
        let side = &mut self.streams[stream].ends[end];
        if side.state == EndState::Open && !side.finished {
            side.finished = true;
            self.send_segment(stream, end, Vec::new(), true);
        }
    }

    pub fn close_link(&mut self, host: usize, link: u32) {
        let Ok((stream, end)) = self.link(host, link) else { return };
        let has_unread = !self.streams[stream].pipes[end].arrived.is_empty();
        let state = self.streams[stream].ends[end].state;
        if state == EndState::Open && has_unread {
            // The other side's kernel hears at once, and what was under way is gone.
            self.streams[stream].pipes[1 - end].on_the_way.clear();
            let delay = self.latency();
            self.after(delay, Happening::Reset(stream, 1 - end));
        } else {
            self.shutdown_link(host, link);
        }
        self.forget_link(host, link);
    }

    /// No poll watches a stream any more; what happens to it is not reported.
    pub fn unwatch(&mut self, host: usize, link: u32) -> io::Result<(usize, usize)> {
        let (stream, end) = self.link(host, link)?;
        self.hosts[host].free_index(link);
        self.streams[stream].ends[end].link = NO_LINK;
        Ok((stream, end))
    }

    /// A worker's poll watches a stream, and reports what there is.
    pub fn watch(&mut self, host: usize, worker: usize, (stream, end): (usize, usize)) -> u32 {
        let link = self.hosts[host].take_index(worker, stream, end);
        let side = &mut self.streams[stream].ends[end];
        side.link = link;
        let is_readable = side.state != EndState::Open || self.streams[stream].pipes[end].is_readable();
        self.hosts[host].edge(link, is_readable, true);
        link
    }

    /// The link is gone; the other side hears nothing.
    pub fn forget_link(&mut self, host: usize, link: u32) {
        let Ok((stream, end)) = self.link(host, link) else { return };
        self.streams[stream].ends[end].state = EndState::Closed;
        self.streams[stream].pipes[end].arrived.clear();
        self.hosts[host].free_index(link);
    }

    /// Which end of which stream a link is.
    pub fn link(&self, host: usize, link: u32) -> io::Result<(usize, usize)> {
        self.hosts[host].links.get(link as usize).copied().flatten().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}
