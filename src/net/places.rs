//! The places of sockets and streams in a [`MioNet`]: what is at which index, and how it gets there.
//!
//! An index is what a token of the poll, a [`LinkId`] and a [`ListenerId`] carry. One that is freed in a turn is re-used from the next turn on.

use std::io;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Token};
use socket2::Socket;

use super::datagram::Stream;
use super::memory::{End, MemoryListener};
use super::mio::MioNet;
use super::unix::SocketFile;
use super::{CustomStream, Endpoint, LinkId, ListenerId, sockets};

pub(super) enum Slot {
    Free,
    Listener(Box<Listening>),
    Dialing(Socket),
    Stream(Socket),
    Memory(Box<End>),
    MemoryListener(Box<MemoryListener>),
    /// Of a driver.
    #[cfg_attr(not(feature = "datagram"), allow(dead_code))]
    Udp,
    Datagram(Box<Stream>),
    Custom(Box<Box<dyn CustomStream>>),
}

/// Each connection has one.
const _: () = assert!(size_of::<Slot>() <= 16);

/// A stream on its way to another worker.
pub struct Moving(pub(super) MovingStream);

pub(super) enum MovingStream {
    Socket(Socket),
    Memory(End),
    Datagram(Stream),
}

pub(super) struct Listening {
    pub socket: Socket,
    pub is_unix: bool,
    /// Of a Unix socket that was made here.
    _file: Option<SocketFile>,
}

impl MioNet {
    pub(super) fn insert(&mut self, socket: Slot) -> u32 {
        if let Some(index) = self.free.pop() {
            self.sockets[index as usize] = socket;
            return index;
        }
        self.sockets.push(socket);
        u32::try_from(self.sockets.len() - 1).expect("fewer sockets than descriptors")
    }

    pub(super) fn insert_listener(&mut self, socket: Socket, file: Option<SocketFile>) -> io::Result<(ListenerId, Endpoint)> {
        let bound = sockets::local_endpoint(&socket)?;
        let index = self.register(&socket, Interest::READABLE)?;
        let is_unix = matches!(bound, Endpoint::Unix(_));
        self.sockets[index as usize] = Slot::Listener(Box::new(Listening { socket, is_unix, _file: file }));
        Ok((ListenerId(index), bound))
    }

    pub(super) fn insert_stream(&mut self, stream: Socket) -> io::Result<LinkId> {
        let index = self.register(&stream, Interest::READABLE | Interest::WRITABLE)?;
        self.sockets[index as usize] = Slot::Stream(stream);
        Ok(LinkId(index))
    }

    pub(super) fn insert_dialing(&mut self, stream: Socket) -> io::Result<LinkId> {
        let index = self.register(&stream, Interest::READABLE | Interest::WRITABLE)?;
        self.sockets[index as usize] = Slot::Dialing(stream);
        Ok(LinkId(index))
    }

    pub(super) fn insert_end(&mut self, mut end: End) -> LinkId {
        let index = self.insert(Slot::Free);
        end.watch(&self.watcher, index);
        self.sockets[index as usize] = Slot::Memory(Box::new(end));
        LinkId(index)
    }

    pub(super) fn insert_datagram(&mut self, mut stream: Stream) -> LinkId {
        let index = self.insert(Slot::Free);
        stream.watch(&self.watcher, index);
        self.sockets[index as usize] = Slot::Datagram(Box::new(stream));
        LinkId(index)
    }

    /// A place that is watched for this socket.
    pub(super) fn register(&mut self, socket: &Socket, interest: Interest) -> io::Result<u32> {
        let index = self.insert(Slot::Free);
        if let Err(error) = self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(index as usize), interest) {
            self.freed.push(index);
            return Err(error);
        }
        Ok(index)
    }

    pub(super) fn deregister(&self, socket: &Socket) -> io::Result<()> {
        self.poll.registry().deregister(&mut SourceFd(&socket.as_raw_fd()))
    }

    pub(super) fn remove(&mut self, index: u32) -> Slot {
        let socket = core::mem::replace(&mut self.sockets[index as usize], Slot::Free);
        if !matches!(socket, Slot::Free) {
            self.freed.push(index);
        }
        socket
    }
}
