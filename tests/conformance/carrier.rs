//! The way to a broker that does not listen on TCP: `CONFORMANCE_TRANSPORT=rudp`, `rudps` or `quic`.
//!
//! ```text
//!   judge ──TCP──> carrier: one connection of the transport for each ──UDP──> broker
//! ```
//! The judge knows TCP, and stays as it is. A carrier takes its connections and carries the bytes of each over a connection of the
//! library's own client side (the machine of datagrams, TLS inside), so that what the rows see of the broker has gone through the transport in both
//! directions. The end of one side is the end of the other.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant as Clock};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nlmqtt::base::{Budget, Instant, OutBuffer};
use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::net::{ListenerOptions, Remote, remotes};
use nlmqtt::stack::{Birth, ConnectionId, DatagramEndpoint, DatagramEvent, Ends, Received, Stack, Transmit};
use rcgen::{CertificateParams, KeyPair};

/// Bytes that wait for one side before the other is not read any more.
const WAITING_MAX: usize = 64 << 10;
/// So long a side that has ended may take to close.
const LINGER: Duration = Duration::from_secs(5);

/// What the rows run over; `None`: TCP.
pub fn transport() -> Option<String> {
    std::env::var("CONFORMANCE_TRANSPORT").ok().filter(|name| name != "tcp")
}

/// A certificate for the loopback, signed by itself, in files.
struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let file = |ending: &str, text: &str| {
            let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("carrier-{}.{ending}", std::process::id()));
            std::fs::write(&path, text).expect("a file");
            path.to_string_lossy().into_owned()
        };
        Self { certificate: file("pem", &certificate.pem()), key: file("key", &key.serialize_pem()) }
    }

    fn of_this_run() -> &'static Self {
        static OWN: std::sync::OnceLock<Certificate> = std::sync::OnceLock::new();
        OWN.get_or_init(Self::new)
    }
}

/// A listener of this transport, for the broker.
pub fn listener(transport: &str) -> ListenerOptions {
    let own = Certificate::of_this_run();
    let query = if transport == "rudp" { String::new() } else { format!("?cert={}&key={}", own.certificate, own.key) };
    let mut config = ServerConfig::default();
    config.add_listener_uri(&format!("{transport}://127.0.0.1:0{query}")).expect("a listener");
    config.listeners.remove(0)
}

/// Takes connections of the judge and carries them to the broker at this address, as long as the process lives.
pub fn in_front_of(transport: &str, broker: SocketAddr) -> SocketAddr {
    let mut config = ClientConfig::default();
    config.set("server", &format!("{transport}://{broker}")).expect("a URI");
    config.set("rudp_generation", "2").expect("a key");
    if transport != "rudp" {
        config.set("ca_file", &Certificate::of_this_run().certificate).expect("a key");
    }
    let (_, servers, _) = config.parts().expect("whole");
    let remote = remotes(servers, &config.tls, &config.way).expect("a way").remove(0);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for (number, judge) in listener.incoming().flatten().enumerate() {
            let remote = remote.clone();
            std::thread::spawn(move || {
                // What fails is the end of both connections, and the judge sees it.
                let _ = Carrier::new(judge, broker, &remote, number as u64).and_then(Carrier::run);
            });
        }
    });
    address
}

/// One connection of the judge, and one to the broker.
struct Carrier {
    judge: TcpStream,
    socket: UdpSocket,
    broker: SocketAddr,
    poll: Poll,
    epoch: Clock,
    machine: Box<dyn DatagramEndpoint>,
    id: ConnectionId,
    stack: Option<Box<Stack>>,
    is_open: bool,
    buffer: Vec<u8>,
    /// From the judge to the broker: plain, and as the machine takes it.
    plain: OutBuffer,
    up: Vec<u8>,
    judge_ended: bool,
    is_finished: bool,
    /// To the judge.
    down: Vec<u8>,
    broker_ended: bool,
}

impl Carrier {
    fn new(judge: TcpStream, broker: SocketAddr, remote: &Remote, seed: u64) -> io::Result<Self> {
        judge.set_nodelay(true)?;
        judge.set_nonblocking(true)?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(broker)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&judge.as_raw_fd()), Token(0), Interest::READABLE | Interest::WRITABLE)?;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(1), Interest::READABLE)?;
        let epoch = Clock::now();
        let make = remote.recipe.datagrams().ok_or(ErrorKind::Unsupported)?;
        let mut machine = make.make(&Birth { seed, epoch, limits: None });
        let id = machine.connect(Instant::START, broker, "127.0.0.1").map_err(io::Error::other)?;
        let ends = Ends { host: "127.0.0.1", port: broker.port(), seed, ..Ends::default() };
        let stack = remote.recipe.stack(&Budget::new(usize::MAX), &ends).map_err(io::Error::other)?;
        let (plain, up, down, buffer) = (OutBuffer::default(), Vec::new(), Vec::new(), vec![0; WAITING_MAX]);
        let (is_open, judge_ended, is_finished, broker_ended) = (false, false, false, false);
        Ok(Self { judge, socket, broker, poll, epoch, machine, id, stack, is_open, buffer, plain, up, judge_ended, is_finished, down, broker_ended })
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    fn run(mut self) -> io::Result<()> {
        let (mut events, mut out) = (Events::with_capacity(8), Transmit::default());
        loop {
            self.receive();
            self.read_judge();
            self.lower();
            self.lift();
            self.write_judge();
            let is_over = self.broker_ended && self.down.is_empty();
            if is_over {
                let now = self.now();
                self.machine.close(now, self.id);
            }
            let now = self.now();
            while self.machine.transmit(now, 1, &mut out) {
                // What is not sent is lost, as anything may be.
                let _ = self.socket.send(&out.bytes);
            }
            if is_over {
                return self.end();
            }
            let wait = self.machine.deadline().map(|at| at.since(self.now()) + Duration::from_millis(1));
            self.poll.poll(&mut events, wait).or_else(|error| if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) })?;
        }
    }

    /// Datagrams, time, and what the machine has to say of them.
    fn receive(&mut self) {
        while let Ok(count) = self.socket.recv(&mut self.buffer) {
            let received = Received { from: self.broker, to: None, ecn: 0, bytes: &self.buffer[..count] };
            self.machine.receive(Instant::from_micros(self.epoch.elapsed().as_micros() as u64), &received);
        }
        let now = self.now();
        if self.machine.deadline().is_some_and(|at| at <= now) {
            self.machine.expire(now);
        }
        while let Some((_, event)) = self.machine.event() {
            match event {
                DatagramEvent::Opened(_) => {
                    self.is_open = true;
                    self.stack.iter_mut().for_each(|stack| drop(stack.begin()));
                }
                DatagramEvent::Ended(_) => {
                    self.lift();
                    self.broker_ended = true;
                }
                _ => {}
            }
        }
    }

    fn read_judge(&mut self) {
        while !self.judge_ended && self.plain.len() < WAITING_MAX {
            match self.judge.read(&mut self.buffer) {
                Ok(count) if count > 0 => self.plain.tail().extend_from_slice(&self.buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => self.judge_ended = true,
            }
        }
    }

    /// Towards the broker.
    fn lower(&mut self) {
        if !self.is_open {
            return;
        }
        if self.up.len() < WAITING_MAX {
            match &mut self.stack {
                Some(stack) => {
                    let sealed = stack.seal(&self.plain);
                    self.plain.advance(sealed);
                    if self.judge_ended && self.plain.is_empty() {
                        stack.close();
                    }
                    let wire: Vec<u8> = stack.wire().slices().flatten().copied().collect();
                    stack.wrote(wire.len());
                    self.up.extend(wire);
                }
                None => {
                    let taken: Vec<u8> = self.plain.slices().flatten().copied().collect();
                    self.plain.advance(taken.len());
                    self.up.extend(taken);
                }
            }
        }
        let now = self.now();
        let written = self.machine.write(now, self.id, &self.up);
        self.up.drain(..written);
        if self.judge_ended && self.up.is_empty() && self.plain.is_empty() && !self.is_finished {
            self.is_finished = true;
            self.machine.finish(now, self.id);
        }
    }

    /// Towards the judge.
    fn lift(&mut self) {
        while !self.broker_ended && self.down.len() < WAITING_MAX {
            let now = self.now();
            let Some(count) = self.machine.read(now, self.id, &mut self.buffer) else { return };
            if count == 0 {
                self.broker_ended = true;
                return;
            }
            let bytes = &self.buffer[..count];
            match &mut self.stack {
                None => self.down.extend(bytes),
                Some(stack) => match stack.open(bytes, &mut self.down) {
                    Ok(opened) => self.broker_ended |= opened.is_ended,
                    Err(_) => self.broker_ended = true,
                },
            }
        }
    }

    fn write_judge(&mut self) {
        while !self.down.is_empty() {
            match self.judge.write(&self.down) {
                Ok(count) => drop(self.down.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    (self.judge_ended, self.broker_ended) = (true, true);
                    self.down.clear();
                }
            }
        }
    }

    /// The judge sees the end behind the last byte, and has time to look at it.
    fn end(mut self) -> io::Result<()> {
        self.judge.shutdown(std::net::Shutdown::Write)?;
        let end = Clock::now() + LINGER;
        let mut events = Events::with_capacity(8);
        while Clock::now() < end {
            match self.judge.read(&mut self.buffer) {
                Ok(0) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                Ok(_) => {}
                Err(_) => self.poll.poll(&mut events, Some(LINGER))?,
            }
        }
        Ok(())
    }
}
