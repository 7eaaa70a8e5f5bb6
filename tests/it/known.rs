//! Nothing is taken from a client before it is known who it is: by its certificate, or by what proxies say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use nlmqtt::broker::{Answer, BanKind, ClientInfo, HookToken, Hooks, Interest, PublishInfo};
use nlmqtt::codec;
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Runtime, RuntimeOptions};
use nlmqtt::server::Server;

use crate::tls::Authority;
use crate::wire::{Connect, PATIENCE, V3, connect_with, packet, publish};

type Told = Arc<Mutex<Vec<String>>>;

struct Noting(Told);

impl Hooks for Noting {
    fn interest(&self) -> Interest {
        Interest { connect: true, publish: true, ..Interest::default() }
    }

    fn connect(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, _: HookToken) -> Answer {
        let address = client.peer.rsplit_once(':').map_or(client.peer, |(address, _)| address);
        self.0.lock().expect("no panic").push(format!("{} from {address}", client.username.unwrap_or_default()));
        Answer::ALLOW
    }

    fn publish(&mut self, client: ClientInfo<'_>, publish: &PublishInfo<'_>, _: HookToken) -> Answer {
        self.0.lock().expect("no panic").push(format!("{} publishes {}", client.username.unwrap_or_default(), publish.topic));
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
    fn new(uri: &str) -> Self {
        let runtime = Runtime::new(&RuntimeOptions::default()).expect("a runtime");
        let mut config = ServerConfig::default();
        config.add_listener_uri(uri).expect("legal");
        let told = Told::default();
        let hooks = |_| Some(Box::new(Noting(told.clone())) as Box<dyn Hooks>);
        let server = Server::with_hooks(&runtime, config.options_in_force(), hooks).expect("a server");
        let bound = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("free");
        Self { server, address: bound.socket_address().expect("TCP"), told, _runtime: runtime }
    }

    /// What the hooks have heard when this connection has ended.
    fn told(&self, mut socket: TcpStream) -> Vec<String> {
        socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        // It may be closed already, or reset.
        let _ = socket.shutdown(Shutdown::Write);
        let ended = socket.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "it stays");
        std::mem::take(&mut self.told.lock().expect("no panic"))
    }

    /// Sends all of it at once, and ends the connection.
    fn hears(&self, bytes: &[u8]) -> Vec<String> {
        let mut socket = TcpStream::connect(self.address).expect("there");
        // It may be refused before all is sent.
        let _ = socket.write_all(bytes);
        self.told(socket)
    }
}

fn tls_client(authority: &Authority, name: &str) -> rustls::ClientConnection {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file("ca.pem")).expect("PEM")).expect("an authority");
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let chain = vec![CertificateDer::from_pem_file(authority.file(&format!("{name}.pem"))).expect("PEM")];
    let key = PrivateKeyDer::from_pem_file(authority.file(&format!("{name}.key"))).expect("PEM");
    let config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("they fit");
    rustls::ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().expect("an address")).expect("a client")
}

fn wire_of(tls: &mut rustls::ClientConnection) -> Vec<u8> {
    let mut wire = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut wire).expect("into memory");
    }
    wire
}

/// The handshake up to the client's last flight, which waits in the connection.
fn half(address: SocketAddr, tls: &mut rustls::ClientConnection) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("there");
    socket.write_all(&wire_of(tls)).expect("sent");
    while tls.is_handshaking() {
        tls.read_tls(&mut socket).expect("an answer");
        tls.process_new_packets().expect("a good one");
    }
    socket
}

/// CONNECT and a PUBLISH behind it.
fn login(user: &str) -> Vec<u8> {
    let connect = connect_with(4, "dev", &Connect { clean: true, username: Some(user), ..Connect::default() });
    [connect, publish(V3, "admin", 0, true, 0, &[], b"open the door")].concat()
}

#[test]
fn a_broken_record_behind_the_handshake_hides_no_certificate() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("gateway-7", &[], |_| {});
    let file = |name: &str| authority.file(name);
    let rules = format!("cert={}&key={}&ca={}&client_cert=require&identity=cn", file("server.pem"), file("server.key"), file("ca.pem"));
    let broker = Broker::new(&format!("mqtts://127.0.0.1:0?{rules}"));
    for is_broken in [false, true] {
        let mut tls = tls_client(&authority, "gateway-7");
        let mut socket = half(broker.address, &mut tls);
        tls.writer().write_all(&login("root")).expect("into memory");
        let mut wire = wire_of(&mut tls);
        if is_broken {
            tls.writer().write_all(&packet(0xC0, &[]).repeat(2_500)).expect("into memory");
            wire.extend(wire_of(&mut tls));
            wire.extend_from_slice(&[23, 3, 3, 0, 32]);
            wire.extend_from_slice(&[0x55; 32]);
        }
        socket.write_all(&wire).expect("sent");
        if is_broken {
            // It may have come in pieces: then the first of them are heard, under the right name.
            assert!(broker.told(socket).iter().all(|line| line.starts_with("gateway-7 ")), "not root");
        } else {
            assert_eq!(broker.told(socket), ["gateway-7 from 127.0.0.1", "gateway-7 publishes admin"]);
        }
    }
}

#[test]
fn a_certificate_without_the_name_that_is_asked_for_lets_nothing_in() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("nameless", &[], |_| {});
    let file = |name: &str| authority.file(name);
    let rules = format!("cert={}&key={}&ca={}&client_cert=require&identity=san", file("server.pem"), file("server.key"), file("ca.pem"));
    let broker = Broker::new(&format!("mqtts://127.0.0.1:0?{rules}"));
    let mut tls = tls_client(&authority, "nameless");
    let mut socket = half(broker.address, &mut tls);
    tls.writer().write_all(&login("root")).expect("into memory");
    socket.write_all(&wire_of(&mut tls)).expect("sent");
    assert_eq!(broker.told(socket), [""; 0]);
}

#[cfg(all(feature = "websocket", feature = "proxy"))]
#[test]
fn a_ban_holds_whatever_a_client_says_of_proxies() {
    let head = |fields: &[u8]| {
        let start = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n";
        [&start[..], fields, b"\r\n"].concat()
    };
    let frame = |packets: &[u8]| [&[0x82, 0x80 | packets.len() as u8, 0, 0, 0, 0][..], packets].concat();
    let banned = |uri: &str| {
        let broker = Broker::new(uri);
        broker.server.ban(BanKind::Address, "203.0.113.9", None).expect("it runs").expect("a ban");
        broker
    };
    // Behind one that carries bytes.
    let broker = banned("ws://127.0.0.1:0/mqtt?proxy=required&proxy_trusted=127.0.0.1");
    let proxy = b"PROXY TCP4 203.0.113.9 10.0.0.1 5000 80\r\n";
    let hears = |broker: &Broker, pieces: &[&[u8]]| broker.hears(&pieces.concat());
    assert_eq!(hears(&broker, &[proxy, &head(b""), &frame(&login("x"))]), [""; 0]);
    assert_eq!(hears(&broker, &[proxy, &head(b"X-Forwarded-For: 6.6.6.6\r\n"), &frame(&login("x"))]), [""; 0], "it says so itself");
    assert_eq!(hears(&broker, &[proxy, &head(b""), &frame(&login("x")), &[0x83, 0x80, 0, 0, 0, 0]]), [""; 0], "a bad frame behind");
    let other = b"PROXY TCP4 203.0.113.8 10.0.0.1 5000 80\r\n";
    assert_eq!(hears(&broker, &[other, &head(b"X-Forwarded-For: 6.6.6.6\r\n"), &frame(&login("x"))]), ["x from 203.0.113.8", "x publishes admin"]);
    // Behind one that speaks HTTP.
    let broker = banned("ws://127.0.0.1:0/mqtt?proxy_trusted=127.0.0.1");
    assert_eq!(hears(&broker, &[&head(b"X-Forwarded-For: \xff, 203.0.113.9\r\n"), &frame(&login("x"))]), [""; 0], "what is no text hides nothing");
    assert_eq!(hears(&broker, &[&head(b"X-Forwarded-For: \xff, 203.0.113.8\r\n"), &frame(&login("x"))]), ["x from 203.0.113.8", "x publishes admin"]);
}

#[test]
fn what_waits_when_the_layers_say_good_bye_is_taken_all_the_same() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("c", &[], |_| {});
    let rules = format!("rate_messages=5&cert={}&key={}", authority.file("server.pem"), authority.file("server.key"));
    let broker = Broker::new(&format!("mqtts://127.0.0.1:0?{rules}"));
    let mut tls = tls_client(&authority, "c");
    let mut socket = half(broker.address, &mut tls);
    let mut bytes = connect_with(4, "p", &Connect { clean: true, username: Some("p"), will: Some(("will", "dead", &[])), ..Connect::default() });
    (0..8).for_each(|_| bytes.extend(publish(V3, "a", 0, false, 0, &[], b"")));
    bytes.extend(packet(0xE0, &[]));
    tls.writer().write_all(&bytes).expect("into memory");
    tls.send_close_notify();
    socket.write_all(&wire_of(&mut tls)).expect("sent");
    let told = broker.told(socket);
    assert_eq!(told.iter().filter(|line| *line == "p publishes a").count(), 8, "{told:?}");
    assert_eq!(broker.server.stats().expect("statistics").wills_published, 0, "DISCONNECT was sent");
}

#[cfg(feature = "websocket")]
#[test]
fn pings_of_a_websocket_have_a_rate() {
    let broker = Broker::new("ws://127.0.0.1:0/mqtt?rate_bytes=1000");
    let packet = login("p");
    let mut socket = TcpStream::connect(broker.address).expect("there");
    let head = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let frame = [&[0x82, 0x80 | packet.len() as u8, 0, 0, 0, 0][..], &packet].concat();
    socket.write_all(&[&head[..], &frame].concat()).expect("sent");
    let end = std::time::Instant::now() + PATIENCE;
    while broker.server.stats().expect("statistics").publish_received == 0 {
        assert!(std::time::Instant::now() < end, "{:?}", broker.server.stats());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    // Far more than buffers of the kernel hold: it is not read, so this does not go on.
    socket.set_write_timeout(Some(std::time::Duration::from_millis(500))).expect("a time-out");
    let pings = [0x89, 0x80, 0, 0, 0, 0].repeat(10_000);
    let is_stopped = (0..2_000).any(|_| socket.write_all(&pings).is_err());
    assert!(is_stopped, "120 MB of pings in no time");
    assert!(broker.server.stats().expect("statistics").rate_pauses > 0);
}
