//! What came from nobody's connection, until those who are there have had their turn.
//!
//! A host hands in datagrams as the kernel gives them, many in a turn, and then asks what is to be sent. So whatever a flood of newcomers costs
//! is done in between: behind the frames of connections, and no more of it than has a place here. Generation 2 has more of them and comes
//! first, because its newcomers have shown by a cookie who they are, or cost nothing yet.

use std::collections::VecDeque;

use crate::stack::rudp::frame::Frame;
use crate::stack::rudp::peer::Way;

/// Datagrams of generation 2 that wait.
const SECOND_MAX: usize = 1_024;
/// Those of generation 1, and bare packets.
const FIRST_MAX: usize = 128;
/// Bytes of either.
const BYTES_MAX: usize = 512 << 10;

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<(Way, Box<[u8]>)>,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Strangers {
    second: Queue,
    first: Queue,
}

impl Strangers {
    /// Keeps a datagram. False: there is no place for it.
    pub fn keep(&mut self, way: Way, datagram: &[u8], is_second: bool) -> bool {
        let (queue, count_max) = if is_second { (&mut self.second, SECOND_MAX) } else { (&mut self.first, FIRST_MAX) };
        if queue.datagrams.len() >= count_max || queue.bytes + datagram.len() > BYTES_MAX {
            return false;
        }
        queue.bytes += datagram.len();
        queue.datagrams.push_back((way, datagram.into()));
        true
    }

    /// All of them, in the order they came, those of generation 2 first. Nothing is kept for the next ones, not even memory.
    pub fn take(&mut self) -> impl Iterator<Item = (Way, Box<[u8]>)> + use<> {
        let Self { second, first } = core::mem::take(self);
        second.datagrams.into_iter().chain(first.datagrams)
    }

    pub fn is_empty(&self) -> bool {
        self.second.datagrams.is_empty() && self.first.datagrams.is_empty()
    }

    pub fn memory_bytes(&self) -> usize {
        let places = self.second.datagrams.capacity() + self.first.datagrams.capacity();
        places * size_of::<(Way, Box<[u8]>)>() + self.second.bytes + self.first.bytes
    }
}

/// Whose a frame of generation 2 is: the id it bears.
pub(super) fn receiver_of(frame: &Frame<'_>) -> Option<u64> {
    match frame {
        Frame::One(_) => None,
        Frame::Connect(hello) | Frame::Connack { hello, .. } => Some(hello.receiver),
        Frame::Data(data) => Some(data.id),
        Frame::Ack { id, .. } | Frame::Ping { id, .. } | Frame::Reset { id, .. } => Some(*id),
        Frame::Close(close) => Some(close.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(port: u16) -> Way {
        Way { remote: ([192, 0, 2, 1], port).into(), local: None }
    }

    #[test]
    fn places_and_bytes_are_limited_and_generation_2_has_its_own() {
        let mut strangers = Strangers::default();
        let kept =
            |strangers: &mut Strangers, is_second, bytes: usize| (0..2_000).filter(|port| strangers.keep(way(*port), &vec![0; bytes], is_second)).count();
        assert_eq!((kept(&mut strangers, false, 4), kept(&mut strangers, true, 44)), (FIRST_MAX, SECOND_MAX));
        let ports: Vec<u16> = strangers.take().map(|(way, _)| way.remote.port()).collect();
        assert_eq!((ports.len(), ports[0], ports[SECOND_MAX - 1], ports[SECOND_MAX]), (FIRST_MAX + SECOND_MAX, 0, SECOND_MAX as u16 - 1, 0));
        assert!(strangers.is_empty());
        assert_eq!(strangers.memory_bytes(), 0);
        assert_eq!(kept(&mut strangers, false, 8_192), BYTES_MAX / 8_192);
    }
}
