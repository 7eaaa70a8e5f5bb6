//! The inner end of one connection: bytes between its pipe and the machine.

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
    /// The machine says that it is over; the host hears of it behind what came before.
    pub over: Option<Option<Fault>>,
}

impl Inner {
    pub fn new(end: End, place: u32, side: SharedSide) -> Self {
        Self { end, place, side, is_finished: false, is_ended: false, over: None }
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
            self.end.nudge(&shared.watcher);
        }
    }

    /// What the host has written, as far as the machine takes it.
    pub fn lower(&mut self, now: Instant, id: ConnectionId, machine: &mut dyn DatagramEndpoint, shared: &Shared) {
        let own: &Arc<_> = &shared.watcher;
        let is_finished = self.is_finished;
        let drained = self.end.drain(own, |bytes| if is_finished { bytes.len() } else { machine.write(now, id, bytes) });
        if drained == Drained::Ended && !self.is_finished {
            self.is_finished = true;
            machine.finish(now, id);
        }
    }
}
