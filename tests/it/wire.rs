//! MQTT as bytes on a socket, written and read by hand, so that the product does not judge itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nlmqtt::broker::{Hooks, Options};
use nlmqtt::net::{ListenerOptions, Runtime, RuntimeOptions};
use nlmqtt::server::Server;

/// How long anything may take on the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const V3: u8 = 4;
pub const V5: u8 = 5;

/// A broker of its own on a free port.
pub struct Broker {
    pub server: Server,
    pub address: SocketAddr,
    pub runtime: Runtime,
}

impl Broker {
    pub fn new(change: impl FnOnce(&mut Options)) -> Self {
        Self::with_hooks(change, None)
    }

    pub fn with_hooks(change: impl FnOnce(&mut Options), hooks: Option<Box<dyn Hooks>>) -> Self {
        let mut hooks = hooks;
        Self::with_workers(1, change, |_| hooks.take())
    }

    /// With so many workers, and hooks for each of them.
    pub fn with_workers(workers: usize, change: impl FnOnce(&mut Options), make_hooks: impl FnMut(usize) -> Option<Box<dyn Hooks>>) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let memory_limit = options.memory_limit;
        let runtime = Runtime::new(&RuntimeOptions { memory_limit, workers, ..RuntimeOptions::default() }).expect("a runtime");
        let server = Server::with_hooks(&runtime, options, make_hooks).expect("a server");
        let address = server.add_listener(ListenerOptions::at(([127, 0, 0, 1], 0).into())).expect("a listener").socket_address().expect("TCP");
        Self { server, address, runtime }
    }

    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.server.stats().expect("counters");
        stats.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// Waits until a counter is what it is to be.
    pub fn wait_for(&self, name: &str, is_right: impl Fn(u64) -> bool) -> u64 {
        let end = Instant::now() + PATIENCE;
        loop {
            let value = self.stat(name);
            if is_right(value) {
                return value;
            }
            assert!(Instant::now() < end, "{name} stays {value}: {:?}", self.server.stats());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everybody has gone, their sessions are ended and what is retained is cleared: nothing may be
    /// charged to the budget.
    pub fn is_left_without_a_byte(&self) {
        self.wait_for("clients_connected", |count| count == 0);
        for client in self.server.clients().expect("a list") {
            self.server.kick(&client.client_id, nlmqtt::codec::Reason::ADMINISTRATIVE_ACTION, true).expect("posted");
        }
        if self.stat("retained_messages") > 0 {
            let mut cleaner = Wire::join(self.address, V3, "cleaner");
            let mut topics = Vec::new();
            cleaner.send(&subscribe(V3, 1, "#", 0));
            let wanted = usize::try_from(self.stat("retained_messages")).expect("few");
            while topics.len() < wanted {
                let packet = cleaner.read().expect("retained messages come");
                if packet.first & 0xF1 == 0x31 {
                    topics.push(packet.topic());
                }
            }
            topics.iter().for_each(|topic| cleaner.send(&publish(V3, topic, 0, true, 0, &[], b"")));
            cleaner.send(&[0xE0, 0]);
            self.wait_for("retained_messages", |count| count == 0);
            self.wait_for("clients_connected", |count| count == 0);
        }
        self.wait_for("sessions_offline", |count| count == 0);
        self.wait_for("memory_bytes", |bytes| bytes == 0);
    }
}

/// A client's socket.
pub struct Wire {
    pub stream: TcpStream,
    level: u8,
    buffer: Vec<u8>,
}

/// A packet as it came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    pub first: u8,
    pub body: Vec<u8>,
}

impl Packet {
    pub fn topic(&self) -> String {
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        String::from_utf8(self.body[2..2 + length].to_vec()).expect("a topic")
    }

    /// Payload of a PUBLISH to a client of this version.
    pub fn payload(&self, level: u8) -> &[u8] {
        let mut at = 2 + self.topic().len() + if self.first & 6 == 0 { 0 } else { 2 };
        if level == V5 {
            at += 1 + usize::from(self.body[at]);
        }
        &self.body[at..]
    }

    /// Identifier of a PUBLISH above QoS 0.
    pub fn packet_id(&self) -> u16 {
        let at = 2 + self.topic().len();
        u16::from_be_bytes([self.body[at], self.body[at + 1]])
    }
}

impl Wire {
    pub fn dial(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener is there");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_write_timeout(Some(PATIENCE)).expect("a time-out");
        stream.set_nodelay(true).expect("no delay");
        Self::of(stream, V3)
    }

    /// The one end of a stream, whichever.
    pub fn of(stream: TcpStream, level: u8) -> Self {
        Self { stream, level, buffer: Vec::new() }
    }

    /// Sends this CONNECT, answers what comes.
    pub fn connect(address: SocketAddr, level: u8, packet: &[u8]) -> (Self, Option<Packet>) {
        let mut wire = Self::dial(address);
        wire.level = level;
        wire.send(packet);
        let answer = wire.read();
        (wire, answer)
    }

    /// A connected client, clean, without keep-alive.
    pub fn join(address: SocketAddr, level: u8, client_id: &str) -> Self {
        let (wire, answer) = Self::connect(address, level, &connect(level, client_id, true, 0, &[]));
        let answer = answer.expect("CONNACK");
        assert_eq!((answer.first, &answer.body[..2]), (0x20, &[0, 0][..]), "{client_id}");
        wire
    }

    /// Bytes to the server; that it may have closed already shows when it is read.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next packet; `None`: the server closed.
    pub fn read(&mut self) -> Option<Packet> {
        loop {
            if let Some((head, length)) = header(&self.buffer) {
                if self.buffer.len() >= head + length {
                    let packet = Packet { first: self.buffer[0], body: self.buffer[head..head + length].to_vec() };
                    self.buffer.drain(..head + length);
                    return Some(packet);
                }
            }
            let mut chunk = [0; 16_384];
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    assert!(self.buffer.is_empty(), "half a packet came: {:?}", self.buffer);
                    return None;
                }
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    panic!("nothing came within {PATIENCE:?}")
                }
                Err(_) => return None,
            }
        }
    }

    pub fn expect(&mut self, first: u8, body: &[u8]) {
        assert_eq!(self.read(), Some(Packet { first, body: body.to_vec() }));
    }

    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        self.send(&subscribe(self.level, 1, filter, qos));
        let suback = self.read().expect("SUBACK");
        assert_eq!((suback.first, suback.body.last()), (0x90, Some(&qos)), "{filter}");
    }

    /// Everything sent before was dealt with; what comes meanwhile is answered.
    pub fn ping(&mut self) -> Vec<Packet> {
        self.send(&[0xC0, 0]);
        let mut packets = Vec::new();
        loop {
            let packet = self.read().expect("PINGRESP");
            if packet.first == 0xD0 {
                return packets;
            }
            packets.push(packet);
        }
    }

    /// The server closes, without another packet.
    pub fn expect_closed(&mut self) {
        assert_eq!(self.read(), None, "to be closed");
    }

    /// MQTT 5: DISCONNECT with this reason, then the end.
    pub fn expect_disconnect(&mut self, reason: u8) {
        let packet = self.read().unwrap_or_else(|| panic!("closed without DISCONNECT {reason:02x}"));
        assert_eq!((packet.first, packet.body.first()), (0xE0, Some(&reason)));
        self.expect_closed();
    }
}

/// Length of the fixed header and of what follows; `None`: not whole yet.
pub fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 127) << (7 * index);
        if byte & 128 == 0 {
            return Some((2 + index, length));
        }
    }
    None
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length & 127) as u8;
        length >>= 7;
        bytes.push(if length > 0 { byte | 128 } else { byte });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn put_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).expect("short").to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn put_properties(level: u8, body: &mut Vec<u8>, properties: &[u8]) {
    if level == V5 {
        assert!(properties.len() < 128, "one byte of length");
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
}

/// What is in a CONNECT besides client id and version.
#[derive(Clone, Copy, Default)]
pub struct Connect<'a> {
    pub clean: bool,
    pub keep_alive_s: u16,
    pub properties: &'a [u8],
    /// Topic, payload, properties.
    pub will: Option<(&'a str, &'a str, &'a [u8])>,
    pub username: Option<&'a str>,
}

pub fn connect_with(level: u8, client_id: &str, what: &Connect<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, if level == 3 { "MQIsdp" } else { "MQTT" });
    let flags = u8::from(what.clean) << 1 | u8::from(what.will.is_some()) << 2 | u8::from(what.username.is_some()) << 7;
    body.extend_from_slice(&[level, flags]);
    body.extend_from_slice(&what.keep_alive_s.to_be_bytes());
    put_properties(level, &mut body, what.properties);
    put_text(&mut body, client_id);
    if let Some((topic, payload, properties)) = what.will {
        put_properties(level, &mut body, properties);
        put_text(&mut body, topic);
        put_text(&mut body, payload);
    }
    what.username.iter().for_each(|name| put_text(&mut body, name));
    packet(0x10, &body)
}

pub fn connect(level: u8, client_id: &str, clean: bool, keep_alive_s: u16, properties: &[u8]) -> Vec<u8> {
    connect_with(level, client_id, &Connect { clean, keep_alive_s, properties, ..Connect::default() })
}

pub fn subscribe(level: u8, packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_properties(level, &mut body, &[]);
    put_text(&mut body, filter);
    body.push(options);
    packet(0x82, &body)
}

pub fn unsubscribe(level: u8, packet_id: u16, filter: &str) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    put_properties(level, &mut body, &[]);
    put_text(&mut body, filter);
    packet(0xA2, &body)
}

pub fn publish(level: u8, topic: &str, qos: u8, retain: bool, packet_id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_text(&mut body, topic);
    if qos > 0 {
        body.extend_from_slice(&packet_id.to_be_bytes());
    }
    put_properties(level, &mut body, properties);
    body.extend_from_slice(payload);
    packet(0x30 | qos << 1 | u8::from(retain), &body)
}

pub fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    let [high, low] = packet_id.to_be_bytes();
    vec![first, 2, high, low]
}
