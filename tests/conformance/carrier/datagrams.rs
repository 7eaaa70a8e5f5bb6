//! Connections over datagrams: a UDP socket, and the library's machine on it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant as Clock};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nlmqtt::base::{Budget, Instant};
use nlmqtt::stack::{Birth, ConnectionId, DatagramEndpoint, DatagramEvent, DatagramLimits, Ends, Received, Recipe, Transmit};

use super::line::{Line, WAITING_MAX, Wire, linger};

/// Far more than the client of one row makes.
const LIMITS: DatagramLimits =
    DatagramLimits { connections_max: 64, handshakes_max: 64, handshakes_per_source_max: 64, handshake_timeout: Duration::from_secs(30) };

/// From the judge to the broker, until both have ended.
pub fn carry_out(judge: TcpStream, broker: SocketAddr, recipe: Recipe, seed: u64) -> io::Result<()> {
    let mut carrier = Carrier::new(recipe, None, seed)?;
    let id = carrier.machine.connect(Instant::START, broker, "127.0.0.1").map_err(io::Error::other)?;
    carrier.carry(id, judge, &Ends { host: "127.0.0.1", port: broker.port(), seed, ..Ends::default() })?;
    while !carrier.lines.is_empty() {
        carrier.turn()?;
    }
    carrier.ended.into_iter().try_for_each(|judge| linger(judge, &mut carrier.poll))
}

/// From clients that come to the answered address, to the judge; until the guard is dropped.
pub fn carry_in(recipe: Recipe, judge: SocketAddr) -> io::Result<(SocketAddr, Guard)> {
    let mut carrier = Carrier::new(recipe, Some(LIMITS), judge.port().into())?;
    carrier.judge = Some(judge);
    let (address, is_over) = (carrier.socket.local_addr()?, Arc::<AtomicBool>::default());
    let guard = Guard { is_over: is_over.clone(), waker: Waker::new(carrier.poll.registry(), Token(1))? };
    std::thread::spawn(move || {
        // What fails is the end of all connections, and the judge sees it.
        while !is_over.load(Ordering::Relaxed) && carrier.turn().is_ok() {}
    });
    Ok((address, guard))
}

/// Its end is that of a carrier.
pub struct Guard {
    is_over: Arc<AtomicBool>,
    waker: Waker,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.waker.wake();
    }
}

/// A connection of a machine.
struct Connection<'a> {
    now: Instant,
    id: ConnectionId,
    machine: &'a mut dyn DatagramEndpoint,
}

impl Wire for Connection<'_> {
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.machine.read(self.now, self.id, buffer)
    }

    fn give(&mut self, bytes: &[u8]) -> usize {
        self.machine.write(self.now, self.id, bytes)
    }

    fn finish(&mut self) {
        self.machine.finish(self.now, self.id);
    }
}

/// A socket, the machine on it, and what is carried over its connections.
struct Carrier {
    socket: UdpSocket,
    recipe: Recipe,
    machine: Box<dyn DatagramEndpoint>,
    /// Where those who come in are carried to.
    judge: Option<SocketAddr>,
    lines: BTreeMap<ConnectionId, Line>,
    /// Ended, but not closed: the judge is to see what was sent before.
    ended: Vec<TcpStream>,
    poll: Poll,
    epoch: Clock,
    events: Events,
    buffer: Vec<u8>,
    out: Transmit,
}

impl Carrier {
    fn new(recipe: Recipe, limits: Option<DatagramLimits>, seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let (poll, epoch) = (Poll::new()?, Clock::now());
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE)?;
        let machine = recipe.datagrams().ok_or(ErrorKind::Unsupported)?.make(&Birth { seed, epoch, limits });
        let (lines, ended, events) = (BTreeMap::new(), Vec::new(), Events::with_capacity(8));
        Ok(Self { socket, recipe, machine, judge: None, lines, ended, poll, epoch, events, buffer: vec![0; WAITING_MAX], out: Transmit::default() })
    }

    fn carry(&mut self, id: ConnectionId, judge: TcpStream, ends: &Ends<'_>) -> io::Result<()> {
        judge.set_nodelay(true)?;
        judge.set_nonblocking(true)?;
        // One line or many: all are looked at whenever something happens.
        self.poll.registry().register(&mut SourceFd(&judge.as_raw_fd()), Token(2), Interest::READABLE | Interest::WRITABLE)?;
        let stack = self.recipe.stack(&Budget::new(usize::MAX), ends).map_err(io::Error::other)?;
        self.lines.insert(id, Line::new(judge, stack));
        Ok(())
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    /// Does what there is to do, and waits for more.
    fn turn(&mut self) -> io::Result<()> {
        self.receive();
        let now = self.now();
        let mut over = Vec::new();
        for (id, line) in &mut self.lines {
            if line.turn(&mut Connection { now, id: *id, machine: &mut *self.machine }, &mut self.buffer) {
                over.push(*id);
            }
        }
        for id in over {
            self.machine.close(now, id);
            self.ended.extend(self.lines.remove(&id).map(Line::end));
        }
        while self.machine.transmit(now, 1, &mut self.out) {
            // What is not sent is lost, as anything may be.
            let _ = self.socket.send_to(&self.out.bytes, self.out.to);
        }
        if self.lines.is_empty() && self.judge.is_none() {
            return Ok(());
        }
        let wait = self.machine.deadline().map(|at| at.since(self.now()) + Duration::from_millis(1));
        self.poll.poll(&mut self.events, wait).or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) })
    }

    /// Datagrams, time, and what the machine has to say of them.
    fn receive(&mut self) {
        while let Ok((count, from)) = self.socket.recv_from(&mut self.buffer) {
            let now = self.now();
            self.machine.receive(now, &Received { from, to: None, ecn: 0, bytes: &self.buffer[..count] });
        }
        let now = self.now();
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.machine.expire(now);
        }
        while let Some((id, event)) = self.machine.event() {
            if let DatagramEvent::Accepted { peer, .. } = event {
                let judge = self.judge.map_or_else(|| Err(ErrorKind::Unsupported.into()), TcpStream::connect);
                if judge.and_then(|judge| self.carry(id, judge, &Ends { source: Some(peer), ..Ends::default() })).is_err() {
                    self.machine.close(now, id);
                }
            }
            let Some(line) = self.lines.get_mut(&id) else { continue };
            match event {
                DatagramEvent::Accepted { .. } | DatagramEvent::Opened(_) => line.opened(),
                DatagramEvent::Ended(_) => line.ended(&mut Connection { now, id, machine: &mut *self.machine }, &mut self.buffer),
                _ => {}
            }
        }
    }
}
