//! Clients behind a proxy: whom the broker takes them for, and whose word it takes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use nlmqtt::broker::{Answer, BanKind, ClientInfo, Decision, HookToken, Hooks, Interest};
use nlmqtt::codec::{self, Reason};
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::wire::{PATIENCE, V3, connect};

/// What the connect hook was told: where from, and what the proxy says.
type Told = Arc<Mutex<Vec<String>>>;

struct Noting(Told);

impl Hooks for Noting {
    fn interest(&self) -> Interest {
        Interest { connect: true, ..Interest::default() }
    }

    fn connect(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, _: HookToken) -> Answer {
        let said = client.about.map(|about| about.said_by_proxy()).unwrap_or_default();
        let id = said.unique_id.map(String::from_utf8_lossy);
        self.0.lock().expect("no panic").push(format!("{} {:?} {:?} {:?}", client.peer, said.authority, said.common_name, id.as_deref()));
        Answer::ALLOW
    }
}

struct Broker {
    server: Server,
    address: SocketAddr,
    told: Told,
    _runtime: Runtime,
}

impl Broker {
    fn new(uri: &str, workers: usize) -> Self {
        Self::with(uri, workers, Noting)
    }

    fn guarded(uri: &str, hooks: impl Fn(Told) -> Doorman) -> Self {
        Self::with(uri, 1, hooks)
    }

    fn with<H: Hooks + 'static>(uri: &str, workers: usize, hooks: impl Fn(Told) -> H) -> Self {
        let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
        let mut config = ServerConfig::default();
        config.add_listener_uri(uri).expect("a listener's URI");
        let told = Told::default();
        let server = Server::with_hooks(&runtime, config.options_in_force(), |_| Some(Box::new(hooks(told.clone())) as Box<dyn Hooks>)).expect("a server");
        let address = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open").socket_address().expect("TCP");
        Self { server, address, told, _runtime: runtime }
    }

    /// The first four bytes that come for these, which are written in two pieces; fewer if it is closed.
    fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        let (first, second) = bytes.split_at(bytes.len() / 3);
        socket.write_all(first).expect("written");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let _ = socket.write_all(second);
        let mut answer = Vec::new();
        let mut byte = [0];
        while answer.len() < 4 && matches!(socket.read(&mut byte), Ok(1)) {
            answer.push(byte[0]);
        }
        answer
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().expect("no panic"))
    }
}

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

fn behind(header: &[u8]) -> Vec<u8> {
    [header, &connect(V3, "dev", true, 0, &[])].concat()
}

/// A header of version 2 for 192.0.2.1:50000 with these values.
fn binary(values: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend_from_slice(&(12 + values.len() as u16).to_be_bytes());
    header.extend_from_slice(&[192, 0, 2, 1, 10, 0, 0, 1, 0xc3, 0x50, 0x07, 0x5b]);
    header.extend_from_slice(values);
    header
}

#[test]
fn hooks_see_whom_a_trusted_proxy_names() {
    for workers in [1, 3] {
        let broker = Broker::new("mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.0/8&allow_anonymous=on", workers);
        assert_eq!(broker.answer(&behind(b"PROXY TCP6 2001:db8::7 ::1 50000 1883\r\n")), CONNACK);
        assert_eq!(broker.told(), ["[2001:db8::7]:50000 None None None"]);
        let tls = [&[0x20, 0, 14, 3, 0, 0, 0, 0, 0x22, 0, 6][..], b"device"].concat();
        let values = [&[2, 0, 6][..], b"broker", &[5, 0, 2], b"id", &tls].concat();
        assert_eq!(broker.answer(&behind(&binary(&values))), CONNACK);
        assert_eq!(broker.told(), ["192.0.2.1:50000 Some(\"broker\") Some(\"device\") Some(\"id\")"]);
        assert_eq!(broker.answer(&behind(b"PROXY UNKNOWN\r\n")), CONNACK);
        assert!(broker.told()[0].starts_with("127.0.0.1:"), "the proxy itself");
    }
}

/// Lets nobody in from one address, at once or later.
struct Doorman(Told, Option<Arc<Mutex<Vec<HookToken>>>>);

impl Hooks for Doorman {
    fn interest(&self) -> Interest {
        Interest { accept: true, ..Interest::default() }
    }

    fn accept(&mut self, peer: &str, _: &str, token: HookToken) -> Answer {
        self.0.lock().expect("no panic").push(peer.to_owned());
        match &self.1 {
            Some(tokens) => {
                tokens.lock().expect("no panic").push(token);
                Answer::Pending
            }
            None if peer.starts_with("192.0.2.1:") => Answer::Now(Decision::Deny(Reason::NOT_AUTHORIZED)),
            None => Answer::ALLOW,
        }
    }
}

#[test]
fn the_accept_hook_is_asked_about_who_is_behind_the_proxy() {
    let named = behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n");
    let uri = "mqtt://127.0.0.1:0?proxy=optional&proxy_trusted=127.0.0.1&allow_anonymous=on";
    let broker = Broker::guarded(uri, |told| Doorman(told, None));
    assert!(broker.answer(&behind(&binary(&[]))).is_empty());
    assert_eq!(broker.told(), ["192.0.2.1:50000"], "asked once, about the client");
    assert_eq!(broker.answer(&named), CONNACK);
    assert_eq!(broker.told(), ["198.51.100.1:1"]);
    assert_eq!(broker.answer(&behind(b"")), CONNACK);
    assert!(broker.told()[0].starts_with("127.0.0.1:"), "nobody is behind");
    let tokens = Arc::<Mutex<Vec<HookToken>>>::default();
    let broker = Broker::guarded(uri, |told| Doorman(told, Some(tokens.clone())));
    for (decision, expected) in [(Decision::Allow, &CONNACK[..]), (Decision::Deny(Reason::NOT_AUTHORIZED), &[])] {
        let answer = std::thread::scope(|scope| {
            let client = scope.spawn(|| broker.answer(&named));
            let end = std::time::Instant::now() + PATIENCE;
            let token = loop {
                if let Some(token) = tokens.lock().expect("no panic").pop() {
                    break token;
                }
                assert!(std::time::Instant::now() < end, "the hook is asked");
                std::thread::sleep(std::time::Duration::from_millis(5));
            };
            broker.server.complete(token, decision).expect("it runs");
            client.join().expect("no panic")
        });
        assert_eq!((answer.as_slice(), broker.told()), (expected, vec!["198.51.100.1:1".to_owned()]));
    }
}

#[test]
fn without_a_header_or_with_a_bad_one_nobody_is_let_in() {
    let broker = Broker::new("mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=on", 1);
    assert!(broker.answer(&behind(b"")).is_empty());
    assert!(broker.answer(&behind(b"PROXY TCP4 192.0.2.1 10.0.0.1 1 x\r\n")).is_empty());
    assert!(broker.answer(&behind(&binary(&[2, 0, 9]))).is_empty());
    let stats = broker.server.stats().expect("counters");
    assert_eq!(stats.iter().find(|(name, _)| *name == "handshakes_failed").expect("a counter").1, 3);
    assert!(broker.told().is_empty());
}

#[test]
fn only_trusted_proxies_are_believed() {
    let required = Broker::new("mqtt://127.0.0.1:0?proxy=required&proxy_trusted=192.0.2.0/24&allow_anonymous=on", 1);
    assert!(required.answer(&behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")).is_empty());
    let optional = Broker::new("mqtt://127.0.0.1:0?proxy=optional&proxy_trusted=192.0.2.0/24&allow_anonymous=on", 1);
    let as_packet = [behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n"), vec![0; 100]].concat();
    assert!(optional.answer(&as_packet).is_empty(), "it is no CONNECT");
    assert_eq!(optional.answer(&behind(b"")), CONNACK);
    let trusted = Broker::new("mqtt://127.0.0.1:0?proxy=optional&proxy_trusted=127.0.0.1&allow_anonymous=on", 1);
    assert_eq!(trusted.answer(&behind(b"")), CONNACK);
    assert_eq!(trusted.answer(&behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")), CONNACK);
    let told = trusted.told();
    assert!(told[0].starts_with("127.0.0.1:") && told[1].starts_with("198.51.100.1:1 "), "{told:?}");
}

#[test]
fn a_ban_is_for_who_is_behind_the_proxy() {
    let broker = Broker::new("mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=on", 1);
    broker.server.ban(BanKind::Address, "192.0.2.1", None).expect("asked").expect("an address");
    let refused = broker.answer(&behind(&binary(&[])));
    assert_ne!(refused, CONNACK, "{refused:?}");
    assert_eq!(broker.answer(&behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")), CONNACK);
}

#[test]
fn a_listener_denies_who_is_behind_the_proxy_and_the_proxy_itself() {
    let at = |deny: &str| Broker::new(&format!("mqtt://127.0.0.1:0?proxy=required&proxy_trusted=127.0.0.1&allow_anonymous=on&deny={deny}"), 1);
    let broker = at("192.0.2.0/24");
    assert_eq!(broker.answer(&behind(&binary(&[]))), [0x20, 2, 0, 5], "not authorized");
    assert_eq!(broker.answer(&behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")), CONNACK);
    let broker = at("127.0.0.1");
    assert!(broker.answer(&behind(b"PROXY TCP4 198.51.100.1 10.0.0.1 1 2\r\n")).is_empty(), "before it says a word");
}

#[cfg(feature = "websocket")]
#[test]
fn x_forwarded_for_counts_from_trusted_proxies_only() {
    let request = |forwarded: &str| {
        let head = format!(
            "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nX-Forwarded-For: {forwarded}\r\n\r\n"
        );
        let packet = connect(V3, "dev", true, 0, &[]);
        let frame = [&[0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0][..], &packet].concat();
        [head.as_bytes(), &frame].concat()
    };
    for (trusted, expected) in [("127.0.0.1", "192.0.2.9:0 "), ("10.0.0.1", "127.0.0.1:")] {
        let broker = Broker::new(&format!("ws://127.0.0.1:0/mqtt?proxy_trusted={trusted}&allow_anonymous=on"), 1);
        assert_eq!(broker.answer(&request("6.6.6.6, 192.0.2.9")), b"HTTP");
        let end = std::time::Instant::now() + PATIENCE;
        let mut told = broker.told();
        while told.is_empty() {
            assert!(std::time::Instant::now() < end, "the hook is asked");
            std::thread::sleep(std::time::Duration::from_millis(5));
            told = broker.told();
        }
        assert!(told[0].starts_with(expected), "{told:?}");
    }
}
