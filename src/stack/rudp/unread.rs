//! Bytes that arrived, and wait to be read from the front. Reading is an edge: who found nothing is told once when something is there.

use super::ring::Ring;

#[derive(Debug, Default)]
pub struct Unread {
    ring: Ring,
    bytes: usize,
    wants_data: bool,
}

impl Unread {
    /// How many they are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// More of them. The caller knows the limit.
    pub fn push(&mut self, bytes: &[u8]) {
        self.ring.store(self.bytes, bytes, self.bytes);
        self.bytes += bytes.len();
    }

    /// Copies out what is there. `None`: nothing now.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let count = self.bytes.min(buffer.len());
        if count == 0 {
            self.wants_data = true;
            return None;
        }
        self.bytes -= count;
        self.ring.take(&mut buffer[..count], self.bytes == 0);
        Some(count)
    }

    /// Something can be read, and the reader was told otherwise: once.
    pub fn take_edge(&mut self) -> bool {
        self.bytes > 0 && core::mem::take(&mut self.wants_data)
    }

    /// What it holds.
    pub fn memory_bytes(&self) -> usize {
        self.ring.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_found_nothing_is_told_once_and_nothing_is_held_when_all_is_read() {
        let (mut unread, mut buffer) = (Unread::default(), [0; 4]);
        unread.push(b"early");
        assert!(!unread.take_edge(), "nobody has asked");
        assert_eq!((unread.read(&mut buffer), unread.bytes()), (Some(4), 1));
        assert_eq!((unread.read(&mut buffer), unread.read(&mut buffer)), (Some(1), None));
        assert_eq!((unread.take_edge(), unread.memory_bytes()), (false, 0));
        unread.push(b"late");
        assert_eq!((unread.take_edge(), unread.take_edge()), (true, false));
        assert_eq!((unread.read(&mut buffer), &buffer), (Some(4), b"late"));
    }
}
