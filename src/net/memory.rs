//! Streams between a client and a server of one process, without sockets: `inproc://NAME`.
//!
//! # Theory of operation
//! A stream is two pipes of bytes, each a bounded buffer behind a lock, with the manners of a socket: a full one takes
//! no more until its reader has made room, an end that is closed is seen by the other one, what was written before is read
//! before that. So everything above, back-pressure included, is the same as over TCP. It costs the codec on both
//! sides and a copy in and a copy out, and no system call if both ends live on one worker; between two workers one wake-up for
//! each batch that finds the other asleep. Its bytes are not charged to the budget, as those in a socket's buffer are not.
//!
//! Whoever waits is told by an event, once, as an edge-triggered poll does: the reader when there is something after it
//! had read all, the writer when half of the buffer is free after it was full. Each worker has a list of such events beside its
//! poll, and its waker. An event for a place that has a new tenant says nothing wrong: readiness is looked at when the list is read.
//!
//! Names are known to one runtime. A listener has one for as long as it listens; who dials it waits in its queue until it is
//! accepted.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

/// Bytes that wait in one direction.
const PIPE_BYTES_MAX: usize = 256 << 10;
/// An empty pipe keeps room for so many.
const PIPE_BYTES_KEPT: usize = 16 << 10;

/// What one worker is told of its streams.
pub(super) struct Watcher {
    events: Mutex<Vec<u32>>,
    waker: Arc<Waker>,
}

/// A place of a worker.
#[derive(Clone)]
struct Watch {
    watcher: Arc<Watcher>,
    place: u32,
}

/// The names of a runtime.
#[derive(Default)]
pub(super) struct Names(Mutex<HashMap<String, Arc<Meeting>>>);

/// Where a listener and those who dial it meet.
struct Meeting {
    watch: Watch,
    backlog: usize,
    /// `None`: it listens no more.
    waiting: Mutex<Option<VecDeque<End>>>,
}

/// A listener; its name is free again when this is dropped.
pub(super) struct MemoryListener {
    pub name: String,
    names: Arc<Names>,
    meeting: Arc<Meeting>,
}

/// One end of a stream; the other one hears when it is dropped.
pub(super) struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// So many of them, at most.
    bytes_max: usize,
    /// No more will be written.
    is_ended: bool,
    /// Nothing will be read any more.
    is_broken: bool,
    reader: Option<Watch>,
    writer: Option<Watch>,
    /// The reader has seen that it is empty, the writer that it is full: they want to be told.
    reader_waits: bool,
    writer_waits: bool,
}

/// What can be done with an end now.
pub(super) struct Readiness {
    pub readable: bool,
    pub writable: bool,
    pub ended: bool,
}

/// How [`End::drain`] went.
#[cfg(feature = "datagram")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Drained {
    /// Everything is out; it is told when there is more.
    Empty,
    /// Everything is out, and no more will come.
    Ended,
    /// Some was not taken.
    Refused,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watcher {
    pub fn new(waker: Arc<Waker>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), waker })
    }

    /// Something has become of a place of this worker; by itself, before it waits.
    pub fn note(&self, place: u32) {
        lock(&self.events).push(place);
    }

    pub fn has_events(&self) -> bool {
        !lock(&self.events).is_empty()
    }

    /// Takes what there is.
    pub fn take(&self) -> Vec<u32> {
        core::mem::take(&mut lock(&self.events))
    }
}

impl Watch {
    /// `teller`: the worker that says so, which looks at its own list without being woken.
    fn tell(&self, teller: Option<&Arc<Watcher>>) {
        let mut events = lock(&self.watcher.events);
        let is_first = events.is_empty();
        events.push(self.place);
        drop(events);
        let is_own = teller.is_some_and(|teller| Arc::ptr_eq(teller, &self.watcher));
        if is_first && !is_own {
            // It fails only without descriptors, which it has.
            let _ = self.watcher.waker.wake();
        }
    }
}

impl Names {
    /// A listener of that name, for a place of this worker.
    pub fn listen(self: &Arc<Self>, name: &str, backlog: usize, watcher: &Arc<Watcher>, place: u32) -> io::Result<MemoryListener> {
        let mut names = lock(&self.0);
        if names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("the name {name} is in use")));
        }
        let watch = Watch { watcher: watcher.clone(), place };
        let meeting = Arc::new(Meeting { watch, backlog, waiting: Mutex::new(Some(VecDeque::new())) });
        names.insert(name.to_owned(), meeting.clone());
        Ok(MemoryListener { name: name.to_owned(), names: self.clone(), meeting })
    }

    /// A stream to the listener of that name.
    pub fn dial(&self, name: &str, watcher: &Arc<Watcher>) -> io::Result<End> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let meeting = lock(&self.0).get(name).cloned().ok_or_else(refused)?;
        let mut waiting = lock(&meeting.waiting);
        let queue = waiting.as_mut().filter(|queue| queue.len() < meeting.backlog).ok_or_else(refused)?;
        let (there, here) = pair(PIPE_BYTES_MAX);
        queue.push_back(there);
        drop(waiting);
        meeting.watch.tell(Some(watcher));
        Ok(here)
    }
}

/// The two ends of a stream, in which so many bytes wait in one direction.
pub(super) fn pair(bytes_max: usize) -> (End, End) {
    let pipe = || Arc::new(Mutex::new(Pipe { reader_waits: true, bytes_max, ..Pipe::default() }));
    let (to, fro) = (pipe(), pipe());
    (End { incoming: to.clone(), outgoing: fro.clone() }, End { incoming: fro, outgoing: to })
}

impl MemoryListener {
    /// The one who waits for the longest.
    pub fn accept(&self) -> Option<End> {
        lock(&self.meeting.waiting).as_mut()?.pop_front()
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        lock(&self.names.0).remove(&self.name);
        let waiting = lock(&self.meeting.waiting).take();
        // Outside of the lock: those who wait are told.
        drop(waiting);
    }
}

impl Pipe {
    fn room(&self) -> usize {
        self.bytes_max.saturating_sub(self.bytes.len())
    }

    /// Some was read: who waits for room is told when there is enough.
    fn make_room(&mut self, own: &Arc<Watcher>) {
        if self.writer_waits && self.bytes.len() <= self.bytes_max / 2 {
            self.writer_waits = false;
            self.writer.iter().for_each(|writer| writer.tell(Some(own)));
        }
    }
}

impl End {
    /// From now on this place is told; what there is already is told now.
    pub fn watch(&mut self, watcher: &Arc<Watcher>, place: u32) {
        let watch = Watch { watcher: watcher.clone(), place };
        lock(&self.incoming).reader = Some(watch.clone());
        lock(&self.outgoing).writer = Some(watch);
        watcher.note(place);
    }

    /// Nobody is told until it is watched again.
    pub fn unwatch(&mut self) {
        lock(&self.incoming).reader = None;
        lock(&self.outgoing).writer = None;
    }

    pub fn readiness(&self) -> Readiness {
        // One lock after the other: the two ends have them in opposite order.
        let (has_bytes, is_ended) = {
            let pipe = lock(&self.incoming);
            (!pipe.bytes.is_empty(), pipe.is_ended)
        };
        let (has_room, is_broken) = {
            let pipe = lock(&self.outgoing);
            (pipe.bytes.len() < pipe.bytes_max, pipe.is_broken)
        };
        let ended = is_ended || is_broken;
        Readiness { readable: has_bytes || ended, writable: has_room || is_broken, ended }
    }

    pub fn read(&self, buffer: &mut [u8], own: &Arc<Watcher>) -> io::Result<usize> {
        let mut pipe = lock(&self.incoming);
        if pipe.bytes.is_empty() {
            pipe.reader_waits = true;
            return if pipe.is_ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let count = pipe.bytes.read(buffer)?;
        // The bytes may lie in two pieces: a short read means that there is no more.
        let count = count + if count < buffer.len() { pipe.bytes.read(&mut buffer[count..])? } else { 0 };
        if pipe.bytes.is_empty() {
            pipe.reader_waits = true;
            pipe.bytes.shrink_to(PIPE_BYTES_KEPT);
        }
        pipe.make_room(own);
        Ok(count)
    }

    pub fn write(&self, slices: &[IoSlice<'_>], own: &Arc<Watcher>) -> io::Result<usize> {
        let mut pipe = lock(&self.outgoing);
        if pipe.is_broken || pipe.is_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let room = pipe.room();
        let mut left = room;
        for slice in slices {
            let taken = slice.len().min(left);
            pipe.bytes.extend(&slice[..taken]);
            left -= taken;
        }
        let count = room - left;
        pipe.writer_waits |= count < offered;
        if count > 0 && core::mem::take(&mut pipe.reader_waits) {
            let reader = pipe.reader.clone();
            drop(pipe);
            reader.iter().for_each(|reader| reader.tell(Some(own)));
        }
        if count == 0 && offered > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    /// How much can be written now. With none, it is told when there is room again.
    #[cfg(feature = "datagram")]
    pub fn room(&self) -> usize {
        let mut pipe = lock(&self.outgoing);
        let room = pipe.room();
        pipe.writer_waits |= room == 0;
        room
    }

    /// Hands over what there is to read, as much as `take` says that it takes; how it went.
    #[cfg(feature = "datagram")]
    pub fn drain(&self, own: &Arc<Watcher>, mut take: impl FnMut(&[u8]) -> usize) -> Drained {
        let mut pipe = lock(&self.incoming);
        let mut is_refused = false;
        while !pipe.bytes.is_empty() && !is_refused {
            let front = pipe.bytes.as_slices().0;
            let (offered, taken) = (front.len(), take(front));
            is_refused = taken < offered;
            pipe.bytes.drain(..taken);
        }
        if pipe.bytes.is_empty() {
            pipe.bytes.shrink_to(PIPE_BYTES_KEPT);
        }
        let drained = match (is_refused, pipe.is_ended) {
            (true, _) => Drained::Refused,
            (false, true) => Drained::Ended,
            (false, false) => Drained::Empty,
        };
        pipe.reader_waits = !is_refused;
        pipe.make_room(own);
        drained
    }

    /// Nobody reads at the other end any more.
    #[cfg(feature = "datagram")]
    pub fn is_abandoned(&self) -> bool {
        lock(&self.outgoing).is_broken
    }

    /// Has the other end look at what it knows.
    #[cfg(feature = "datagram")]
    pub fn nudge(&self, own: &Arc<Watcher>) {
        let reader = lock(&self.outgoing).reader.clone();
        reader.iter().for_each(|reader| reader.tell(Some(own)));
    }

    /// Says that no more will be written.
    pub fn shutdown(&self) {
        let mut pipe = lock(&self.outgoing);
        pipe.is_ended = true;
        let reader = pipe.reader.clone();
        drop(pipe);
        reader.iter().for_each(|reader| reader.tell(None));
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.unwatch();
        self.shutdown();
        let mut pipe = lock(&self.incoming);
        pipe.is_broken = true;
        pipe.bytes = VecDeque::new();
        let writer = pipe.writer.clone();
        drop(pipe);
        writer.iter().for_each(|writer| writer.tell(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token};

    fn watcher() -> (Poll, Arc<Watcher>) {
        let poll = Poll::new().expect("a poll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).expect("a waker"));
        (poll, Watcher::new(waker))
    }

    /// A client's end at place 1 and a server's end at place 2 of one worker; nothing is told yet.
    fn pair(watcher: &Arc<Watcher>) -> (End, End, Arc<Names>, MemoryListener) {
        let names = Arc::new(Names::default());
        let listener = names.listen("broker", 4, watcher, 0).expect("free");
        let mut client = names.dial("broker", watcher).expect("it listens");
        assert_eq!(watcher.take(), [0], "somebody waits at the listener");
        let mut server = listener.accept().expect("somebody");
        client.watch(watcher, 1);
        server.watch(watcher, 2);
        assert_eq!(watcher.take(), [1, 2]);
        (client, server, names, listener)
    }

    fn write(end: &End, watcher: &Arc<Watcher>, bytes: &[u8]) -> io::Result<usize> {
        end.write(&[IoSlice::new(bytes)], watcher)
    }

    #[test]
    fn bytes_arrive_in_order_and_who_waits_is_told_once() {
        let (_poll, watcher) = watcher();
        let (client, server, ..) = pair(&watcher);
        let mut buffer = [0; 16];
        assert_eq!(server.read(&mut buffer, &watcher).expect_err("nothing yet").kind(), io::ErrorKind::WouldBlock);
        assert_eq!(client.write(&[IoSlice::new(b"he"), IoSlice::new(b"llo")], &watcher).expect("room"), 5);
        assert_eq!(write(&client, &watcher, b"!").expect("room"), 1);
        assert_eq!(watcher.take(), [2], "once, until it was read");
        assert_eq!(server.read(&mut buffer, &watcher).expect("bytes"), 6);
        assert_eq!(&buffer[..6], b"hello!");
        write(&client, &watcher, b"x").expect("room");
        assert_eq!(watcher.take(), [2]);
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_half_of_it_is_read() {
        let (_poll, watcher) = watcher();
        let (client, server, ..) = pair(&watcher);
        let much = vec![7; PIPE_BYTES_MAX + 1];
        assert_eq!(write(&client, &watcher, &much).expect("room"), PIPE_BYTES_MAX);
        assert_eq!(write(&client, &watcher, b"x").expect_err("full").kind(), io::ErrorKind::WouldBlock);
        assert!(!client.readiness().writable);
        watcher.take();
        let mut buffer = vec![0; PIPE_BYTES_MAX / 2 - 1];
        server.read(&mut buffer, &watcher).expect("bytes");
        assert!(watcher.take().is_empty(), "not for every byte");
        server.read(&mut buffer[..1], &watcher).expect("bytes");
        assert_eq!(watcher.take(), [1]);
        assert_eq!(write(&client, &watcher, &much).expect("room"), PIPE_BYTES_MAX / 2);
    }

    #[test]
    fn an_end_is_seen_behind_what_was_written_before() {
        let (_poll, watcher) = watcher();
        let (client, server, ..) = pair(&watcher);
        write(&client, &watcher, b"bye").expect("room");
        drop(client);
        let mut buffer = [0; 2];
        assert_eq!(server.read(&mut buffer, &watcher).expect("bytes"), 2);
        assert_eq!(server.read(&mut buffer, &watcher).expect("bytes"), 1);
        assert_eq!(server.read(&mut buffer, &watcher).expect("the end"), 0);
        assert!(server.readiness().ended);
        assert_eq!(write(&server, &watcher, b"x").expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_name_is_taken_once_and_free_again_when_its_listener_goes() {
        let (_poll, watcher) = watcher();
        let names = Arc::new(Names::default());
        assert_eq!(names.dial("b", &watcher).err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
        let listener = names.listen("b", 1, &watcher, 0).expect("free");
        assert_eq!(names.listen("b", 1, &watcher, 3).err().map(|error| error.kind()), Some(io::ErrorKind::AddrInUse));
        let waiting = names.dial("b", &watcher).expect("room in its queue");
        assert!(names.dial("b", &watcher).is_err(), "its queue is full");
        drop(listener);
        assert!(waiting.readiness().ended, "who waited is told");
        names.listen("b", 1, &watcher, 0).expect("free again");
    }

    #[cfg(feature = "datagram")]
    #[test]
    fn who_hands_bytes_on_takes_as_many_as_he_can_and_is_told_of_room() {
        let (_poll, watcher) = watcher();
        let (mut host, mut driver) = super::pair(1_000);
        host.watch(&watcher, 1);
        driver.watch(&watcher, 2);
        watcher.take();
        assert_eq!(write(&host, &watcher, &[7; 1_500]).expect("room"), 1_000);
        assert_eq!(watcher.take(), [2]);
        let mut left = 600;
        let mut take = |bytes: &[u8]| {
            let taken = bytes.len().min(left);
            left -= taken;
            taken
        };
        assert_eq!(driver.drain(&watcher, &mut take), Drained::Refused);
        assert_eq!(watcher.take(), [1], "half of it is free");
        write(&host, &watcher, b"more").expect("room");
        assert!(watcher.take().is_empty(), "who had to stop comes by himself");
        assert_eq!(driver.drain(&watcher, |bytes| bytes.len()), Drained::Empty);
        write(&host, &watcher, b"again").expect("room");
        assert_eq!(watcher.take(), [2]);
        host.shutdown();
        assert_eq!(driver.drain(&watcher, |bytes| bytes.len()), Drained::Ended);
        write(&driver, &watcher, &vec![1; driver.room()]).expect("room");
        assert_eq!(driver.room(), 0);
        watcher.take();
        host.read(&mut [0; 999], &watcher).expect("bytes");
        assert_eq!(watcher.take(), [2]);
        assert!(!driver.is_abandoned());
        drop(host);
        assert!(driver.is_abandoned());
    }

    #[test]
    fn another_worker_is_woken_and_this_one_is_not() {
        let ((mut poll, watcher), (_other_poll, other)) = (watcher(), watcher());
        let (client, mut server, ..) = pair(&watcher);
        let mut events = mio::Events::with_capacity(4);
        let mut is_woken = || {
            poll.poll(&mut events, Some(core::time::Duration::ZERO)).expect("polled");
            !events.is_empty()
        };
        write(&client, &watcher, b"x").expect("room");
        assert!(watcher.has_events() && !is_woken());
        server.unwatch();
        server.watch(&other, 9);
        assert_eq!(other.take(), [9], "what there is already");
        let mut buffer = [0; 4];
        server.read(&mut buffer, &other).expect("bytes");
        watcher.take();
        write(&server, &other, b"y").expect("room");
        assert!(watcher.take() == [1] && is_woken());
    }
}
