//! Our client against a server by hand: what it asks for, and what it answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use nlmqtt::client::{Client, ClientParts, Event, State};
use nlmqtt::config::ClientConfig;
use nlmqtt::net::{ClientHandler, Runtime, RuntimeOptions};

use crate::frames::{self, Frame};

const PATIENCE: Duration = Duration::from_secs(60);

struct Nobody;

impl ClientHandler for Nobody {
    fn event(&mut self, _: nlmqtt::base::Instant, _: Event) {}
}

/// Sec-WebSocket-Accept for what was asked (RFC 6455 §4.2.2).
fn accept_of(head: &str) -> String {
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    base64::engine::general_purpose::STANDARD.encode(digest.bytes())
}

fn next_frame(socket: &mut TcpStream, wire: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let mut buffer = [0; 1_024];
    loop {
        if let Some(frame) = frames::take(wire, true) {
            return Some(frame);
        }
        match socket.read(&mut buffer).expect("frames, or the end") {
            0 => return None,
            count => wire.extend_from_slice(&buffer[..count]),
        }
    }
}

fn read_head(socket: &mut TcpStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(socket.read(&mut byte).expect("a request"), 1);
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

#[test]
fn a_client_speaks_the_standard_and_answers_a_close() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
    let mut config = ClientConfig::default();
    config.set("server", &format!("ws://127.0.0.1:{port}/some/path")).expect("a URI");
    config.set("websocket_headers", "X-Unit: 7").expect("fields");
    let (options, servers, dial) = config.parts().expect("whole");
    let parts = ClientParts { options, servers, dial, way: config.way.clone(), ..ClientParts::default() };
    let client = Client::new(&runtime, parts, Box::new(Nobody)).expect("a client");
    client.start();

    let (mut socket, _) = listener.accept().expect("a client");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let head = read_head(&mut socket);
    assert!(head.starts_with("GET /some/path HTTP/1.1\r\n") && head.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{head}");
    assert!(head.contains("\r\nX-Unit: 7\r\n") && head.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n"), "{head}");
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-protocol: mqtt\r\nsec-websocket-accept: {}\r\n\r\n",
        accept_of(&head)
    );
    socket.write_all(answer.as_bytes()).expect("written");
    let mut wire = Vec::new();
    let (opcode, packet) = next_frame(&mut socket, &mut wire).expect("CONNECT");
    assert_eq!((opcode, packet[0]), (frames::BINARY, 0x10));

    let frame = |opcode, is_unfinished, payload: &[u8]| Frame { opcode, is_unfinished, payload: payload.to_vec(), ..Frame::default() }.bytes(false);
    let connack = [frame(frames::BINARY, true, &[0x20, 2]), frame(frames::PING, false, b"there?"), frame(frames::CONTINUATION, false, &[0, 0])];
    socket.write_all(&connack.concat()).expect("written");
    assert_eq!(next_frame(&mut socket, &mut wire), Some((frames::PONG, b"there?".to_vec())));
    let end = std::time::Instant::now() + PATIENCE;
    while client.state() != State::Online {
        assert!(std::time::Instant::now() < end, "{:?}", client.state());
        std::thread::sleep(Duration::from_millis(5));
    }
    socket.write_all(&frame(frames::CLOSE, false, &[0x03, 0xe9])).expect("written");
    assert_eq!(next_frame(&mut socket, &mut wire), Some((frames::CLOSE, vec![0x03, 0xe9])));
    assert_eq!(next_frame(&mut socket, &mut wire), None, "it is closed");
}
