//! Streams between a client and a server of one process, without sockets: `inproc://NAME`.
//!
//! # Theory of operation
//! A stream is two pipes, each bounded and behind a lock, with the manners of a socket: a full one takes
//! no more until its reader has made room, an end that is closed is seen by the other one, what was written before is read
//! before that. So everything above, back-pressure included, is the same as over TCP, and there is no system call if both ends
//! live on one worker; between two workers one wake-up for each batch that finds the other asleep.
//!
//! What is small is encoded and copied into the pipe. A payload that its message lends to the out-buffer is handed on as it is
//! ([`End::send`], [`End::receive_payload`]) and becomes the payload of the receiver's message: it is never copied. Who needs bytes only,
//! as a driver of datagrams does, reads and writes them ([`End::read`], [`End::write`]). What waits is charged to the budget of
//! whoever listens.
//!
//! Whoever waits is told by an event, once, as an edge-triggered poll does: the reader when there is something after it
//! had read all, the writer when half of the pipe is free after it was full. Each worker has a list of such events beside its
//! poll, and a way to be woken. An event for a place that has a new tenant says nothing wrong: readiness is looked at when the list is read.
//!
//! A runtime has its [`Names`]; whoever is given them dials there from another runtime as well. A listener has its name for as
//! long as it listens; who dials it waits in its queue until it is accepted. Nothing else ties the two sides together: each may be gone
//! before the other.

use std::collections::{HashMap, VecDeque};
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::pipe::{Content, PIPE_BYTES_MAX};
use crate::base::{Budget, Charge, OutBuffer, Piece};

/// What one worker is told of its streams.
pub struct Watcher {
    events: Mutex<Vec<u32>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A place of a worker.
#[derive(Clone)]
struct Watch {
    watcher: Arc<Watcher>,
    place: u32,
}

/// The names of a runtime. Cloning gives another handle to the same names.
#[derive(Clone)]
pub struct Names(Arc<Known>);

struct Known {
    meetings: Mutex<HashMap<String, Arc<Meeting>>>,
    budget: Budget,
}

/// Where a listener and those who dial it meet.
struct Meeting {
    watch: Watch,
    backlog: usize,
    /// `None`: it listens no more.
    waiting: Mutex<Option<VecDeque<End>>>,
}

/// A listener; its name is free again when this is dropped.
pub struct MemoryListener {
    name: String,
    names: Names,
    meeting: Arc<Meeting>,
}

/// One end of a stream; the other one hears when it is dropped.
pub struct End {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

struct Pipe {
    content: Content,
    charge: Charge,
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
pub struct Readiness {
    /// Something is there, if only the end.
    pub readable: bool,
    /// It takes something, or will never.
    pub writable: bool,
    /// The other end sends no more, or reads no more.
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
    /// `wake` ends the wait of its worker, or the next one; from any thread.
    pub fn new(wake: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), wake })
    }

    /// Something has become of a place of this worker; by itself, before it waits.
    pub fn note(&self, place: u32) {
        lock(&self.events).push(place);
    }

    /// There is something to be taken: its worker does not wait.
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
            (self.watcher.wake)();
        }
    }
}

impl Names {
    /// None yet. What waits on the way to and from those who listen is charged to `budget`.
    pub fn new(budget: Budget) -> Self {
        Self(Arc::new(Known { meetings: Mutex::default(), budget }))
    }

    /// A listener of that name, for a place of this worker, in whose queue `backlog` may wait.
    ///
    /// # Errors
    /// `AddrInUse`: the name is taken.
    pub fn listen(&self, name: &str, backlog: usize, watcher: &Arc<Watcher>, place: u32) -> io::Result<MemoryListener> {
        let mut meetings = lock(&self.0.meetings);
        if meetings.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("the name {name} is in use")));
        }
        let watch = Watch { watcher: watcher.clone(), place };
        let meeting = Arc::new(Meeting { watch, backlog, waiting: Mutex::new(Some(VecDeque::new())) });
        meetings.insert(name.to_owned(), meeting.clone());
        Ok(MemoryListener { name: name.to_owned(), names: self.clone(), meeting })
    }

    /// A stream to the listener of that name; `watcher` is of whoever dials.
    ///
    /// # Errors
    /// `ConnectionRefused`: nobody listens there, or its queue is full.
    pub fn dial(&self, name: &str, watcher: &Arc<Watcher>) -> io::Result<End> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let meeting = lock(&self.0.meetings).get(name).cloned().ok_or_else(refused)?;
        let mut waiting = lock(&meeting.waiting);
        let queue = waiting.as_mut().filter(|queue| queue.len() < meeting.backlog).ok_or_else(refused)?;
        let (near, far) = End::pair(&self.0.budget, PIPE_BYTES_MAX);
        queue.push_back(far);
        drop(waiting);
        meeting.watch.tell(Some(watcher));
        Ok(near)
    }
}

impl Names {
    /// The account of the runtime.
    pub(super) fn budget(&self) -> &Budget {
        &self.0.budget
    }
}

impl MemoryListener {
    /// The one who waits for the longest.
    pub fn accept(&self) -> Option<End> {
        lock(&self.meeting.waiting).as_mut()?.pop_front()
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        lock(&self.names.0.meetings).remove(&self.name);
        let waiting = lock(&self.meeting.waiting).take();
        // Outside of the lock: those who wait are told.
        drop(waiting);
    }
}

impl Pipe {
    fn new(budget: &Budget, bytes_max: usize) -> Arc<Mutex<Self>> {
        let pipe = Self {
            content: Content::new(bytes_max),
            charge: budget.charge(size_of::<Self>()),
            is_ended: false,
            is_broken: false,
            reader: None,
            writer: None,
            reader_waits: true,
            writer_waits: false,
        };
        Arc::new(Mutex::new(pipe))
    }

    fn recharge(&mut self) {
        self.charge.resize(size_of::<Self>() + self.content.memory_bytes());
    }

    /// Some was read: who is to be told of it, because there is enough room again.
    fn has_made_room(&mut self) -> Option<Watch> {
        let has_room = self.writer_waits && self.content.is_half_empty();
        self.writer_waits &= !has_room;
        has_room.then(|| self.writer.clone()).flatten()
    }
}

impl End {
    /// The two ends of a stream that nobody watches yet, in which so many bytes wait in one direction; they are charged to `budget`.
    pub fn pair(budget: &Budget, bytes_max: usize) -> (Self, Self) {
        let (to, fro) = (Pipe::new(budget, bytes_max), Pipe::new(budget, bytes_max));
        (Self { incoming: fro.clone(), outgoing: to.clone() }, Self { incoming: to, outgoing: fro })
    }

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

    /// What can be done now.
    pub fn readiness(&self) -> Readiness {
        // One lock after the other: the two ends have them in opposite order.
        let (has_bytes, is_ended) = {
            let pipe = lock(&self.incoming);
            (!pipe.content.is_empty(), pipe.is_ended)
        };
        let (has_room, is_broken) = {
            let pipe = lock(&self.outgoing);
            (!pipe.content.is_full(), pipe.is_broken)
        };
        let ended = is_ended || is_broken;
        Readiness { readable: has_bytes || ended, writable: has_room || is_broken, ended }
    }

    /// Reads bytes, up to the next payload. 0: that comes next, or the other end sends no more. What else is there after a short
    /// read is told again.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there.
    pub fn receive(&self, buffer: &mut [u8], own: &Arc<Watcher>) -> io::Result<usize> {
        let received = self.take(own, |content| {
            let count = content.read(buffer);
            (count, count > 0 && content.is_payload_next())
        });
        received.map(Option::unwrap_or_default)
    }

    /// The payload that comes next.
    pub fn receive_payload(&self, own: &Arc<Watcher>) -> Option<Bytes> {
        self.take(own, |content| (content.take_payload(), false)).ok().flatten().flatten()
    }

    /// Reads bytes, those of payloads, too; 0: the other end sends no more.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there.
    pub fn read(&self, buffer: &mut [u8], own: &Arc<Watcher>) -> io::Result<usize> {
        self.take(own, |content| (content.read_through(buffer), false)).map(Option::unwrap_or_default)
    }

    /// What `take` took, which also says whether the reader is to be told of the rest. `None`: nothing is there, and nothing will be.
    fn take<T>(&self, own: &Arc<Watcher>, take: impl FnOnce(&mut Content) -> (T, bool)) -> io::Result<Option<T>> {
        let mut pipe = lock(&self.incoming);
        if pipe.content.is_empty() {
            pipe.reader_waits = true;
            return if pipe.is_ended { Ok(None) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let (taken, must_tell) = take(&mut pipe.content);
        if pipe.content.is_empty() {
            pipe.reader_waits = true;
            pipe.content.release();
        }
        pipe.recharge();
        let reader = must_tell.then(|| pipe.reader.clone()).flatten();
        let writer = pipe.has_made_room();
        drop(pipe);
        reader.iter().chain(&writer).for_each(|watch| watch.tell(Some(own)));
        Ok(Some(taken))
    }

    /// Writes as much as there is room for, payloads by reference: how many bytes, and whether that is less than there is.
    ///
    /// # Errors
    /// `BrokenPipe`: nobody reads any more, or this end has said that it sends no more.
    pub fn send(&self, out: &OutBuffer, own: &Arc<Watcher>) -> io::Result<(usize, bool)> {
        self.put(own, |content| {
            let mut count = 0;
            for piece in out.pieces() {
                let (taken, offered) = match piece {
                    Piece::Bytes(bytes) => (content.write(bytes), bytes.len()),
                    Piece::Payload(payload) => (content.write_payload(payload), payload.len()),
                };
                count += taken;
                if taken < offered {
                    break;
                }
            }
            (count, count < out.len())
        })
    }

    /// Writes as many bytes as there is room for.
    ///
    /// # Errors
    /// `WouldBlock`: there is none; else as [`End::send`].
    pub fn write(&self, slices: &[IoSlice<'_>], own: &Arc<Watcher>) -> io::Result<usize> {
        let (count, is_full) = self.put(own, |content| {
            let count = slices.iter().map(|slice| content.write(slice)).sum();
            (count, count < slices.iter().map(|slice| slice.len()).sum::<usize>())
        })?;
        if count == 0 && is_full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn put(&self, own: &Arc<Watcher>, put: impl FnOnce(&mut Content) -> (usize, bool)) -> io::Result<(usize, bool)> {
        let mut pipe = lock(&self.outgoing);
        if pipe.is_broken || pipe.is_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let (count, is_full) = put(&mut pipe.content);
        pipe.recharge();
        pipe.writer_waits |= is_full;
        if count > 0 && core::mem::take(&mut pipe.reader_waits) {
            let reader = pipe.reader.clone();
            drop(pipe);
            reader.iter().for_each(|reader| reader.tell(Some(own)));
        }
        Ok((count, is_full))
    }

    /// How much can be written now. With none, it is told when there is room again.
    #[cfg(feature = "datagram")]
    pub fn room(&self) -> usize {
        let mut pipe = lock(&self.outgoing);
        let room = pipe.content.room();
        pipe.writer_waits |= room == 0;
        room
    }

    /// Hands over what there is to read, as much as `take` says that it takes; how it went.
    #[cfg(feature = "datagram")]
    pub(super) fn drain(&self, own: &Arc<Watcher>, mut take: impl FnMut(&[u8]) -> usize) -> Drained {
        let mut pipe = lock(&self.incoming);
        let mut is_refused = false;
        while !pipe.content.is_empty() && !is_refused {
            let front = pipe.content.front();
            let (offered, taken) = (front.len(), take(front));
            is_refused = taken < offered;
            pipe.content.consume(taken);
        }
        pipe.content.release();
        pipe.recharge();
        let drained = match (is_refused, pipe.is_ended) {
            (true, _) => Drained::Refused,
            (false, true) => Drained::Ended,
            (false, false) => Drained::Empty,
        };
        pipe.reader_waits = !is_refused;
        let writer = pipe.has_made_room();
        drop(pipe);
        writer.iter().for_each(|writer| writer.tell(Some(own)));
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
        let content = core::mem::replace(&mut pipe.content, Content::new(0));
        pipe.recharge();
        let writer = pipe.writer.clone();
        drop(pipe);
        // Outside of the lock: payloads are given back to whoever lent them.
        drop(content);
        writer.iter().for_each(|writer| writer.tell(None));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Poll, Token, Waker};

    fn watcher() -> (Poll, Arc<Watcher>) {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), Token(0)).expect("a waker");
        (poll, Watcher::new(Box::new(move || waker.wake().expect("woken"))))
    }

    fn names() -> Names {
        Names::new(Budget::new(1 << 30))
    }

    /// A client's end at place 1 and a server's end at place 2 of one worker; nothing is told yet.
    fn pair(watcher: &Arc<Watcher>) -> (End, End, Names, MemoryListener) {
        let names = names();
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
        let names = names();
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
        let (mut host, mut driver) = End::pair(&Budget::new(usize::MAX), 1_000);
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

    /// What an out-buffer has that sends a small packet, and a large payload with its head.
    fn out(payload: &Bytes) -> OutBuffer {
        let mut out = OutBuffer::default();
        out.tail().extend(b"small");
        out.push(payload, Arc::new(()));
        out
    }

    #[test]
    fn a_large_payload_is_handed_on_as_it_is_and_its_reader_is_told_of_it() {
        let (_poll, watcher) = watcher();
        let (client, server, ..) = pair(&watcher);
        let payload = Bytes::from(vec![7; 70_000]);
        let mut out = out(&payload);
        out.tail().extend(b"more");
        assert_eq!(client.send(&out, &watcher).expect("room"), (out.len(), false));
        assert_eq!(watcher.take(), [2]);
        let mut buffer = [0; 16];
        assert_eq!(server.receive(&mut buffer, &watcher).expect("bytes"), 5);
        assert_eq!(watcher.take(), [2], "a short read, and yet there is more");
        assert_eq!(server.receive(&mut buffer, &watcher).expect("no bytes"), 0);
        assert_eq!(server.receive_payload(&watcher).map(|taken| taken.as_ptr()), Some(payload.as_ptr()));
        assert!(server.receive_payload(&watcher).is_none());
        assert_eq!(server.receive(&mut buffer, &watcher).expect("bytes"), 4);
        assert_eq!(server.receive(&mut buffer, &watcher).expect_err("all read").kind(), io::ErrorKind::WouldBlock);
        // Who wants bytes gets bytes.
        client.send(&out, &watcher).expect("room");
        let mut all = vec![0; out.len() + 1];
        assert_eq!(server.read(&mut all, &watcher).expect("bytes"), out.len());
        assert!(all.starts_with(b"small") && all[5..70_005] == payload[..]);
        drop(client);
        assert_eq!(server.receive(&mut buffer, &watcher).expect("the end"), 0);
        assert!(server.receive_payload(&watcher).is_none());
    }

    #[test]
    fn what_waits_is_charged_and_a_full_pipe_takes_no_payload() {
        let (_poll, watcher) = watcher();
        let budget = Budget::new(1 << 30);
        let (client, mut server) = End::pair(&budget, PIPE_BYTES_MAX);
        let idle = budget.used_bytes();
        assert!(idle > 0);
        server.watch(&watcher, 2);
        let payload = Bytes::from(vec![7; PIPE_BYTES_MAX]);
        let out = out(&payload);
        assert_eq!(client.send(&out, &watcher).expect("room"), (out.len(), false));
        assert!(budget.used_bytes() > idle + payload.len());
        assert_eq!(client.send(&out, &watcher).expect("no room"), (0, true));
        let mut all = vec![0; out.len()];
        server.read(&mut all, &watcher).expect("bytes");
        assert!(budget.used_bytes() < idle + 1_000);
        client.send(&out, &watcher).expect("room");
        drop(server);
        assert!(budget.used_bytes() <= idle, "nobody reads it");
        drop(client);
        assert_eq!(budget.used_bytes(), 0);
    }
}
