//! Connections that the application makes: over a modem, through a library of its own, over whatever is a stream of bytes.
//!
//! The worker treats such a stream as a socket. It needs one descriptor that can be polled: an edge on it, in whatever direction,
//! means "try again". Who has no such descriptor makes an eventfd and writes to it when something has changed.

use std::io::{self, IoSlice};
use std::os::fd::RawFd;

/// Opens streams in place of the system's TCP.
pub trait CustomTransport: Send + Sync {
    /// Begins a connection; names are not looked up before. Called on the worker's thread, in every mode; must not block.
    ///
    /// # Errors
    /// It cannot even begin.
    fn open(&self, host: &str, port: u16) -> io::Result<Box<dyn CustomStream>>;
}

/// A stream of bytes that is not a socket of ours; used by one worker's thread, closed when it is dropped. Nothing of it may block.
pub trait CustomStream: Send {
    /// What to poll; constant, open until the stream is dropped, and not ours to close.
    fn descriptor(&self) -> RawFd;

    /// How opening it went; `None`: it goes on.
    fn opened(&mut self) -> Option<io::Result<()>>;

    /// Reads what is there; 0 = the peer sends no more.
    ///
    /// # Errors
    /// `WouldBlock`: nothing there. Others: the stream is dead.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as it takes now.
    ///
    /// # Errors
    /// `WouldBlock`: nothing taken. Others: the stream is dead.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// No more will be sent.
    fn shutdown(&mut self);
}

/// Fills `buffer` as a socket would: until it is full, nothing is there, or the stream has ended. The second value: something came,
/// and it must be read again for what ended it.
pub(super) fn read_all(stream: &mut dyn CustomStream, buffer: &mut [u8]) -> (io::Result<usize>, bool) {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(count) if count > 0 => filled += count.min(buffer.len() - filled),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
            // The end, or a fault.
            ended if filled == 0 => return (ended, false),
            _ => return (Ok(filled), true),
        }
    }
    (Ok(filled), false)
}

/// Writes as a socket would: until all is written or it takes no more.
pub(super) fn write_all(stream: &mut dyn CustomStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut written = 0;
    for slice in slices {
        let mut rest: &[u8] = slice;
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(count) if count > 0 => {
                    let count = count.min(rest.len());
                    rest = &rest[count..];
                    written += count;
                }
                // What went out must be counted first; the fault comes again.
                _ if written > 0 => return Ok(written),
                Ok(_) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Says one thing after the other.
    struct Script {
        reads: VecDeque<io::Result<usize>>,
        room: VecDeque<usize>,
    }

    impl CustomStream for Script {
        fn descriptor(&self) -> RawFd {
            -1
        }

        fn opened(&mut self) -> Option<io::Result<()>> {
            None
        }

        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.reads.pop_front().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
        }

        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.room.pop_front() {
                Some(0) => Err(io::ErrorKind::ConnectionReset.into()),
                room => Ok(room.unwrap_or(0).min(bytes.len())),
            }
        }

        fn shutdown(&mut self) {}
    }

    #[test]
    fn a_stream_that_gives_little_at_a_time_is_read_to_its_end() {
        let read = |reads: Vec<io::Result<usize>>| {
            let mut stream = Script { reads: reads.into(), room: VecDeque::new() };
            let (result, again) = read_all(&mut stream, &mut [0; 10]);
            (result.map_err(|error| error.kind()), again)
        };
        let broken = || Err(io::ErrorKind::ConnectionReset.into());
        assert_eq!(read(vec![Ok(3), Ok(4)]), (Ok(7), false));
        assert_eq!(read(vec![Ok(3), Ok(7), Ok(1)]), (Ok(10), false));
        assert_eq!(read(vec![]), (Err(io::ErrorKind::WouldBlock), false));
        assert_eq!(read(vec![Ok(0)]), (Ok(0), false));
        assert_eq!(read(vec![Ok(3), Ok(0)]), (Ok(3), true));
        assert_eq!(read(vec![Ok(3), broken()]), (Ok(3), true));
        assert_eq!(read(vec![broken()]), (Err(io::ErrorKind::ConnectionReset), false));
        // One that claims more than there was room for.
        assert_eq!(read(vec![Ok(300)]), (Ok(10), false));
    }

    #[test]
    fn a_stream_that_takes_little_at_a_time_is_written_until_it_takes_nothing() {
        let write = |room: Vec<usize>| {
            let mut stream = Script { reads: VecDeque::new(), room: room.into() };
            let slices = [IoSlice::new(&[1; 4]), IoSlice::new(&[]), IoSlice::new(&[2; 6])];
            write_all(&mut stream, &slices).map_err(|error| error.kind())
        };
        assert_eq!(write(vec![4, 6]), Ok(10));
        assert_eq!(write(vec![3, 1, 5]), Ok(9));
        assert_eq!(write(vec![]), Err(io::ErrorKind::WouldBlock));
        assert_eq!(write(vec![3, 0]), Ok(3));
        assert_eq!(write(vec![0]), Err(io::ErrorKind::ConnectionReset));
        assert_eq!(write(vec![400, 600]), Ok(10));
    }
}
