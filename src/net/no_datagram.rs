//! Stands in for `datagram.rs` in a build without transports over UDP: there are no such sockets, and no such streams.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::Registry;

use super::memory::{Readiness, Watcher};
use super::{Peer, Ready};
use crate::base::{Budget, Instant, OutBuffer};
use crate::stack::{Fault, FaultKind};

/// No error has a fault inside.
pub fn fault_of(_: &io::Error) -> Option<Fault> {
    None
}

/// No fault is one of an address.
pub fn is_of_address(_: FaultKind) -> bool {
    false
}

/// None.
pub enum Stream {}

impl Stream {
    pub fn watch(&mut self, _: &Arc<Watcher>, _: u32) {
        match *self {}
    }

    pub fn unwatch(&mut self) {
        match *self {}
    }

    pub fn readiness(&self) -> Option<Readiness> {
        match *self {}
    }

    pub fn opened(&self) -> Option<io::Result<()>> {
        match *self {}
    }

    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        match *self {}
    }

    pub fn read(&self, _: &mut [u8], _: &Arc<Watcher>) -> io::Result<usize> {
        match *self {}
    }

    pub fn write(&self, _: &OutBuffer, _: &Arc<Watcher>) -> io::Result<(usize, bool)> {
        match *self {}
    }

    pub fn shutdown(&self) {
        match *self {}
    }
}

/// None.
pub struct Datagrams;

impl Datagrams {
    pub fn new(_: &Registry, _: &Arc<Watcher>) -> io::Result<Self> {
        Ok(Self)
    }

    pub fn charge_to(&mut self, _: &Budget) {}

    pub fn is_empty(&self) -> bool {
        true
    }

    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    pub fn has_work(&self) -> bool {
        false
    }

    pub fn accept(&mut self, _: u32) -> Option<(Stream, Peer)> {
        None
    }

    pub fn unlisten(&mut self, _: Instant, _: u32) {}

    pub fn socket_ready(&mut self, _: u32, _: bool, _: bool) {}

    pub fn run(&mut self, _: Instant, _: &mut Vec<Ready>) {}

    pub fn sort_out(&mut self, places: Vec<u32>) -> Vec<u32> {
        places
    }

    pub fn take_noted(&mut self) -> Vec<u32> {
        Vec::new()
    }

    pub fn take_gone(&mut self) -> Vec<u32> {
        Vec::new()
    }

    pub fn is_finishing(&mut self, _: Instant) -> bool {
        false
    }

    pub fn end(&mut self, _: Instant) {}
}
