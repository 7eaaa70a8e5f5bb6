//! The outer end of a connection over datagrams: the pipe, and what is known beside it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::memory::{End, Readiness, Watcher};
use crate::base::OutBuffer;
use crate::stack::{About, DatagramStatistics, DatagramWatch, Fault};

/// What is known of a connection, at both ends of its pipe.
#[derive(Debug)]
pub(super) struct Side {
    pub local: SocketAddr,
    pub peer: SocketAddr,
    pub is_open: bool,
    /// The peer is at another address than the worker was told.
    pub has_moved: bool,
    pub about: Option<Box<About>>,
    /// How it ended, if not by a good-bye.
    pub fault: Option<Fault>,
    /// Nothing of what was written is on its way any more: all has arrived, or nobody is there to hear it.
    pub is_said: bool,
    /// As the driver has noted it last.
    pub statistics: DatagramStatistics,
}

/// The side as both ends have it.
#[derive(Clone, Debug)]
pub(super) struct SharedSide(Arc<Mutex<Side>>);

impl SharedSide {
    pub fn new(local: SocketAddr, peer: SocketAddr, about: Option<Box<About>>) -> Self {
        let (is_open, statistics) = (about.is_some(), DatagramStatistics::default());
        Self(Arc::new(Mutex::new(Side { local, peer, is_open, has_moved: false, about, fault: None, is_said: false, statistics })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Side> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Option<io::Error> {
        self.lock().fault.clone().map(io::Error::other)
    }
}

impl DatagramWatch for SharedSide {
    fn statistics(&self) -> DatagramStatistics {
        self.lock().statistics
    }

    fn is_said(&self) -> bool {
        self.lock().is_said
    }
}

/// A link of a worker; the other end of its pipe is with a driver.
pub struct Stream {
    pub(super) end: End,
    pub(super) side: SharedSide,
}

impl Stream {
    /// From now on this place is told.
    pub fn watch(&mut self, watcher: &Arc<Watcher>, place: u32) {
        self.end.watch(watcher, place);
    }

    /// Nobody is told until it is watched again.
    pub fn unwatch(&mut self) {
        self.end.unwatch();
    }

    /// What can be done with it; `None`: its dial goes on.
    pub fn readiness(&self) -> Option<Readiness> {
        let side = self.side.lock();
        let is_there = side.is_open || side.fault.is_some();
        drop(side);
        is_there.then(|| self.end.readiness())
    }

    /// How its dial went; `None`: it goes on.
    pub fn opened(&self) -> Option<io::Result<()>> {
        let side = self.side.lock();
        match &side.fault {
            _ if side.is_open => Some(Ok(())),
            Some(fault) => Some(Err(io::Error::other(fault.clone()))),
            None => None,
        }
    }

    /// This end first.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let side = self.side.lock();
        (side.local, side.peer)
    }

    /// Where its peer is now, if that is news.
    pub fn take_move(&self) -> Option<SocketAddr> {
        let mut side = self.side.lock();
        core::mem::take(&mut side.has_moved).then_some(side.peer)
    }

    /// What was learnt of its peer; once.
    pub fn take_about(&self) -> Option<Box<About>> {
        self.side.lock().about.take()
    }

    /// For who wants to look at the connection from elsewhere, and longer than it is there.
    pub fn watched(&self) -> Arc<dyn DatagramWatch> {
        Arc::new(self.side.clone())
    }

    /// As a socket's. An end that was none is an error with its [`Fault`] inside.
    pub fn read(&self, buffer: &mut [u8], own: &Arc<Watcher>) -> io::Result<usize> {
        match self.end.read(buffer, own) {
            Ok(0) => self.side.fault().map_or(Ok(0), Err),
            other => other,
        }
    }

    /// As much as there is room for: how many bytes, and whether that is less than there is.
    pub fn write(&self, out: &OutBuffer, own: &Arc<Watcher>) -> io::Result<(usize, bool)> {
        self.end.send(out, own)
    }

    /// Says that no more will be written.
    pub fn shutdown(&self) {
        self.end.shutdown();
    }
}
