//! The inner end of one connection: bytes between its pipe and the machine.
//!
//! A host that closes its end has no more part in it, but what it wrote last (a CONNACK that refuses, a DISCONNECT, a thousand messages and the
//! good-bye of TLS) is still in the pipe and in the machine, and no kernel goes on sending it. So the connection stays here for a
//! while ([`Inner::see_off`]): the pipe is emptied into the machine, the machine is told that this was all, and the connection is closed
//! when all is acknowledged.

use std::io;
use std::sync::Arc;

use super::Shared;
use super::stream::SharedSide;
use crate::base::Instant;
use crate::net::memory::{Drained, End};
use crate::stack::{ConnectionId, DatagramEndpoint, Fault};

/// The driver's side of one connection.
pub(super) struct Inner {
    pub end: End,
    pub place: u32,
    pub side: SharedSide,
    /// The host will write no more, and the machine knows.
    is_finished: bool,
    /// The peer will write no more, and the host knows.
    pub is_ended: bool,
    /// The host has written something.
    has_written: bool,
    /// The machine says that it is over; the host hears of it behind what came before.
    pub over: Option<Option<Fault>>,
    /// The host has closed it; what it wrote last has so much time.
    pub leaves_until: Option<Instant>,
}

impl Inner {
    pub fn new(end: End, place: u32, side: SharedSide) -> Self {
        Self { end, place, side, is_finished: false, is_ended: false, has_written: false, over: None, leaves_until: None }
    }

    /// Nothing of what the host wrote is on its way any more.
    pub fn said(&self, shared: &Shared) {
        self.side.lock().is_said = true;
        self.end.nudge(&shared.watcher);
    }

    /// The host will write no more, and what it wrote has not arrived yet.
    pub fn is_finishing(&self) -> bool {
        self.end.readiness().ended && self.has_words()
    }

    /// Somebody may still hear what the host wrote.
    fn has_words(&self) -> bool {
        let side = self.side.lock();
        self.has_written && self.over.is_none() && side.is_open && !side.is_said
    }

    /// The host has closed it: what it wrote last is still sent. False: that is done.
    pub fn see_off(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &mut Shared) -> bool {
        // Nobody reads what comes, but the peer is not to wait for room before it takes the rest.
        while machine.read(now, id, &mut shared.buffers).is_some_and(|count| count > 0) {}
        self.lower(now, id, machine, shared);
        self.has_words()
    }

    /// What the peer has sent, as far as the pipe has room.
    pub fn lift(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &mut Shared) {
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
            self.said(shared);
        }
    }

    /// What the host has written, as far as the machine takes it.
    pub fn lower(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &Shared) {
        let own: &Arc<_> = &shared.watcher;
        let (is_finished, has_written) = (self.is_finished, &mut self.has_written);
        let drained = self.end.drain(own, |bytes| {
            *has_written = true;
            if is_finished { bytes.len() } else { machine.write(now, id, bytes) }
        });
        if drained == Drained::Ended && !self.is_finished {
            self.is_finished = true;
            machine.finish(now, id);
        }
    }
}
