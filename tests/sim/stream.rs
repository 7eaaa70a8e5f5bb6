//! Byte streams as a kernel makes them: two pipes, each with segments on their way and bytes that
//! have arrived; an end that is dialing, waiting to be accepted, open, reset or closed.

use std::collections::VecDeque;

use nlmqtt::base::Instant;

/// A connection between two hosts. End 0 dialed, end 1 listened; pipe `n` leads to end `n`.
pub struct Stream {
    pub ends: [End; 2],
    pub pipes: [Pipe; 2],
    /// The port that was dialed.
    pub port: u16,
}

/// One side of a connection.
pub struct End {
    pub host: usize,
    /// Which life of the host it belongs to.
    pub boot: u32,
    pub link: u32,
    pub state: EndState,
    /// This side sends no more.
    pub finished: bool,
    /// A write was cut short: tell when there is room.
    pub wants_room: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndState {
    Dialing,
    Refused,
    /// Connected, not accepted yet.
    Waiting,
    Open,
    /// The other side is gone; what has arrived may still be read.
    Reset,
    Closed,
}

/// One direction.
#[derive(Default)]
pub struct Pipe {
    pub on_the_way: VecDeque<Segment>,
    pub arrived: VecDeque<u8>,
    /// The end of the stream has arrived.
    pub ended: bool,
    /// Nothing arrives before what was sent earlier.
    pub last_at: Instant,
}

pub struct Segment {
    pub at: Instant,
    pub bytes: Vec<u8>,
    pub is_last: bool,
}

impl Pipe {
    /// Bytes sent and not read.
    pub fn len(&self) -> usize {
        self.arrived.len() + self.on_the_way.iter().map(|segment| segment.bytes.len()).sum::<usize>()
    }

    /// There is something to be read, if only the end.
    pub fn is_readable(&self) -> bool {
        self.ended || !self.arrived.is_empty()
    }
}

impl Stream {
    /// End 0 dials; end 1 has no link before it is accepted.
    pub fn dialed(host: usize, boot: u32, link: u32, to: usize, port: u16) -> Self {
        let end = |host, boot, link, state| End { host, boot, link, state, finished: false, wants_room: false };
        Self { ends: [end(host, boot, link, EndState::Dialing), end(to, 0, 0, EndState::Closed)], pipes: [Pipe::default(), Pipe::default()], port }
    }
}
