//! The cases again, over real sockets against a broker: what the data frames carry is MQTT, and each
//! PINGREQ in it must be answered.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use nlmqtt::broker::Options;
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::frames;
use crate::table::{CONNECT, Case, cases};

const PATIENCE: Duration = Duration::from_secs(60);

/// A broker with one listener on a free port.
pub struct Broker {
    pub server: Server,
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Broker {
    pub fn new(uri: &str) -> Self {
        Self::with_options(uri, |_| {})
    }

    pub fn with_options(uri: &str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
        let mut config = ServerConfig::default();
        config.add_listener_uri(uri).expect("a listener's URI");
        let server = Server::with_hooks(&runtime, options, |_| None).expect("a server");
        let listener = config.listener_in_force(&config.listeners[0]);
        let address = server.add_listener(listener).expect("a listener").socket_address().expect("TCP");
        Self { server, address, _runtime: runtime }
    }

    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.server.stats().expect("counters");
        stats.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no counter {name}")).1
    }

    pub fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.set_nodelay(true).expect("set");
        socket
    }
}

pub const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// Reads up to the end of a head of HTTP, byte by byte: frames may follow.
pub fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).expect("an answer") == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

/// What the broker answers to so many bytes of the stream.
fn answers_to(data_bytes: usize) -> Vec<u8> {
    let mut answers = Vec::new();
    if data_bytes >= CONNECT.len() {
        answers.extend_from_slice(&[0x20, 2, 0, 0]);
        answers.extend([0xd0, 0].repeat((data_bytes - CONNECT.len()) / 2));
    }
    answers
}

fn judge(broker: &Broker, case: &Case) -> Result<(), String> {
    let mut socket = broker.dial();
    socket.write_all(REQUEST.as_bytes()).map_err(|error| error.to_string())?;
    if !read_head(&mut socket).starts_with("HTTP/1.1 101 ") {
        return Err("not granted".to_owned());
    }
    let mut wire: Vec<u8> = case.frames.iter().flat_map(|frame| frame.bytes(true)).collect();
    if case.is_left_open {
        // A last ping shows that it is open; then we close, as everybody else.
        wire.extend(frames::Frame { opcode: frames::PING, payload: b"last".to_vec(), ..frames::Frame::default() }.bytes(true));
    }
    let mut writing = socket.try_clone().map_err(|error| error.to_string())?;
    let pieces = case.pieces.unwrap_or(usize::MAX);
    // The broker may close before all is written.
    let writer = std::thread::spawn(move || wire.chunks(pieces).all(|piece| writing.write_all(piece).is_ok()));
    let expected = answers_to(case.data_bytes);
    let seen = listen(&mut socket, case.is_left_open.then_some(expected.len()));
    let _ = socket.shutdown(Shutdown::Both);
    writer.join().map_err(|_| "the writer")?;
    let (data, controls) = seen?;
    let is_right = if case.is_left_open { data == expected } else { expected.starts_with(&data) };
    if !is_right {
        return Err(format!("{} bytes of MQTT instead of {}, or others", data.len(), expected.len()));
    }
    let mut wanted = case.answers.clone();
    if case.is_left_open {
        wanted.push((frames::PONG, b"last".to_vec()));
    }
    if controls == wanted { Ok(()) } else { Err(format!("{controls:?} instead of {wanted:?}")) }
}

type Seen = (Vec<u8>, Vec<(u8, Vec<u8>)>);

/// Everything up to the end: MQTT, and control frames, of a Close its code. If it stays open, up to
/// the pong that answers the last ping and so many bytes of MQTT: the one may overtake the other.
fn listen(socket: &mut TcpStream, left_open: Option<usize>) -> Result<Seen, String> {
    let is_left_open = left_open.is_some();
    let (mut wire, mut data, mut controls, mut is_last) = (Vec::new(), Vec::new(), Vec::new(), false);
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) if is_left_open => return Err("closed".to_owned()),
            Ok(0) => return Ok((data, controls)),
            Ok(count) => wire.extend_from_slice(&buffer[..count]),
            // What was sent behind a Close resets the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && !is_left_open => return Ok((data, controls)),
            Err(error) => return Err(error.to_string()),
        }
        while let Some((opcode, mut payload)) = frames::take(&mut wire, false) {
            match opcode {
                frames::BINARY => data.extend(payload),
                frames::CLOSE => {
                    payload.truncate(2);
                    controls.push((opcode, payload));
                }
                _ => {
                    is_last |= payload == b"last";
                    controls.push((opcode, payload));
                }
            }
        }
        if is_last && left_open.is_some_and(|bytes| data.len() >= bytes) {
            return Ok((data, controls));
        }
    }
}

#[test]
fn a_broker_stands_every_case() {
    let broker = Broker::new("ws://127.0.0.1:0/mqtt");
    let faults: Vec<String> = cases().filter_map(|case| judge(&broker, &case).err().map(|why| format!("{}: {why}", case.name))).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn a_request_that_is_refused_is_answered_in_http() {
    let broker = Broker::new("ws://127.0.0.1:0/mqtt?origins=https://good.example");
    let status = |request: &str| {
        let mut socket = broker.dial();
        socket.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer, then the end");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        answer[9..12].parse::<u16>().expect("a status")
    };
    assert_eq!(status(&REQUEST.replace("/mqtt", "/other")), 404);
    assert_eq!(status(&REQUEST.replace("Host:", "Origin: https://evil.example\r\nHost:")), 403);
    assert_eq!(status("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 404);
    assert_eq!(status("\u{10}\u{c}\0\u{4}MQTT\u{4}\u{2}"), 400);
    assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n", "x".repeat(8_192))), 431);
    assert_eq!(broker.stat("handshakes_failed"), 5);
    let mut socket = broker.dial();
    socket.write_all(REQUEST.replace("Host:", "Origin: https://good.example\r\nHost:").as_bytes()).expect("written");
    assert!(read_head(&mut socket).starts_with("HTTP/1.1 101 "));
}

#[test]
fn a_slow_request_is_answered_in_http() {
    let broker = Broker::with_options("ws://127.0.0.1:0", |options| options.handshake_timeout = nlmqtt::base::Duration::from_millis(300));
    let mut socket = broker.dial();
    socket.write_all(b"GET /mqtt HTTP/1.1\r\n").expect("written");
    assert!(read_head(&mut socket).starts_with("HTTP/1.1 408 "));
    assert_eq!(broker.stat("handshake_timeouts"), 1);
}
