//! Whole packets out of the stream that a connection's user writes, for what carries one packet in a datagram.

use std::collections::VecDeque;

use super::packet::packet_bytes;

/// The stream breaks: it is not MQTT, or has a packet that cannot be left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsendable;

/// A packet's place in the list of those that wait.
const PLACE_BYTES: usize = size_of::<Box<[u8]>>();

#[derive(Debug)]
pub struct Cutter {
    room: usize,
    packet_bytes_max: usize,
    /// A packet whose end was not written.
    partial: Vec<u8>,
    /// Bytes of a packet that is left out.
    discard: usize,
    waiting: VecDeque<Box<[u8]>>,
    /// With what the list of them takes, which is most of it if they are small.
    waiting_bytes: usize,
    wants_room: bool,
    /// Packets that were left out.
    pub refused: u64,
}

impl Cutter {
    /// Keeps about `room` bytes, and packets up to this size.
    pub fn new(room: usize, packet_bytes_max: usize) -> Self {
        Self {
            room: room.max(2 * packet_bytes_max),
            packet_bytes_max,
            partial: Vec::new(),
            discard: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            wants_room: false,
            refused: 0,
        }
    }

    /// Takes bytes of the stream: how many.
    ///
    /// # Errors
    /// They cannot be sent.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Unsendable> {
        let mut rest = bytes;
        while !rest.is_empty() && self.has_room() {
            let skipped = self.discard.min(rest.len());
            self.discard -= skipped;
            rest = &rest[skipped..];
            rest = self.cut(rest)?;
        }
        self.wants_room = !rest.is_empty();
        Ok(bytes.len() - rest.len())
    }

    /// Takes at most one packet.
    fn cut<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Unsendable> {
        let mut front = [0; 5];
        let known = self.partial.len().min(5);
        front[..known].copy_from_slice(&self.partial[..known]);
        let more = bytes.len().min(5 - known);
        front[known..known + more].copy_from_slice(&bytes[..more]);
        let Some(length) = packet_bytes(&front[..known + more]).map_err(|()| Unsendable)? else {
            self.partial.extend_from_slice(bytes);
            return Ok(&[]);
        };
        if length > self.packet_bytes_max {
            // A PUBLISH can be done without; what holds the session together cannot.
            if front[0] >> 4 != 3 {
                return Err(Unsendable);
            }
            self.refused += 1;
            let skipped = (length - self.partial.len()).min(bytes.len());
            self.discard = length - self.partial.len() - skipped;
            self.partial = Vec::new();
            return Ok(&bytes[skipped..]);
        }
        let (packet, rest) = bytes.split_at((length - self.partial.len()).min(bytes.len()));
        self.partial.extend_from_slice(packet);
        if self.partial.len() == length {
            self.waiting_bytes += PLACE_BYTES + length;
            self.waiting.push_back(core::mem::take(&mut self.partial).into());
        }
        Ok(rest)
    }

    fn has_room(&self) -> bool {
        self.waiting_bytes + self.partial.len() < self.room - self.packet_bytes_max
    }

    /// There is room again, and the writer was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        self.has_room() && core::mem::take(&mut self.wants_room)
    }

    /// No whole packet waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How large the next packet is.
    pub fn front_bytes(&self) -> Option<usize> {
        self.waiting.front().map(|packet| packet.len())
    }

    /// The next packet.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let packet = self.waiting.pop_front()?;
        self.waiting_bytes -= PLACE_BYTES + packet.len();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        Some(packet)
    }

    /// What it holds beside itself.
    pub fn memory_bytes(&self) -> usize {
        let unused = (self.waiting.capacity() - self.waiting.len()) * PLACE_BYTES;
        unused + self.partial.capacity() + self.waiting_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(cutter: &mut Cutter) -> Vec<usize> {
        core::iter::from_fn(|| cutter.pop().map(|packet| packet.len())).collect()
    }

    #[test]
    fn packets_are_cut_out_of_the_stream_however_it_is_written() {
        let mut cutter = Cutter::new(100_000, 8_188);
        let stream = [&[0xC0, 0][..], &[0x30, 0x80, 1], &[7; 128], &[0x30, 2, 1, 2]].concat();
        for byte in &stream {
            assert_eq!(cutter.write(core::slice::from_ref(byte)), Ok(1));
        }
        assert_eq!(cutter.write(&stream), Ok(stream.len()));
        assert_eq!(cutter.front_bytes(), Some(2));
        assert_eq!(lengths(&mut cutter), [2, 131, 4, 2, 131, 4]);
        assert!(cutter.is_empty());
        assert_eq!(cutter.memory_bytes(), 0);
    }

    #[test]
    fn a_larger_publish_is_left_out_and_counted_and_anything_else_ends_it() {
        let mut cutter = Cutter::new(100_000, 8_188);
        let mut large = vec![0x30, 0xFD, 0x3F];
        large.resize(3 + 8_189, 0);
        large.extend([0xC0, 0]);
        for piece in large.chunks(1_000) {
            assert_eq!(cutter.write(piece), Ok(piece.len()));
        }
        assert_eq!((cutter.refused, lengths(&mut cutter)), (1, vec![2]));
        large[0] = 0x82;
        assert_eq!(cutter.write(&large), Err(Unsendable));
        assert_eq!(cutter.write(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Unsendable));
    }

    #[test]
    fn the_smallest_packets_take_no_more_memory_than_large_ones() {
        let mut cutter = Cutter::new(128 << 10, 8_188);
        let taken = cutter.write(&[0xC0, 0].repeat(100_000)).expect("packets");
        assert!(taken > 10_000 && cutter.memory_bytes() < 256 << 10, "{taken} {}", cutter.memory_bytes());
        while cutter.pop().is_some() {}
        assert_eq!(cutter.memory_bytes(), 0);
    }

    #[test]
    fn what_has_no_room_is_not_taken_and_its_writer_is_told_once_when_there_is() {
        let mut cutter = Cutter::new(0, 100);
        let packet = [&[0x30, 48][..], &[0; 48]].concat();
        assert_eq!(cutter.write(&packet.repeat(3)), Ok(100));
        assert!(!cutter.take_edge());
        cutter.pop();
        assert!(cutter.take_edge() && !cutter.take_edge());
    }
}
