//! TLS over real sockets: who is let in, who is not, and what each side is told about why.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use nlmqtt::client::{Cause, Client, ClientParts, Disconnected, Event, StopRequest};
use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::net::{ClientHandler, Runtime, RuntimeOptions};
use nlmqtt::server::{Publication, Server};
use nlmqtt::stack::FaultKind;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use crate::wire::{PATIENCE, V3, V5, connect};

/// An authority, and a folder for what it signs.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let unique = format!("tls-{}-{}-{name}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique);
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let own = params.self_signed(&key).expect("a certificate");
        let authority = Self { issuer: Issuer::new(params, key), folder };
        authority.write("ca.pem", &own.pem());
        authority
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).to_string_lossy().into_owned()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).expect("a file");
    }

    /// A certificate for these names, with NAME.pem and NAME.key.
    pub fn sign(&self, name: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        certificate
    }

    /// Of servers: a good one, which is revoked, one that is over, one that is not valid yet, and another's.
    pub fn sign_flawed(&self) {
        self.sign("good", &["127.0.0.1"], |params| params.serial_number = Some(SerialNumber::from(7)));
        self.sign("old", &["127.0.0.1"], |params| (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)));
        self.sign("young", &["127.0.0.1"], |params| params.not_before = date_time_ymd(2090, 1, 1));
        self.sign("other", &["elsewhere.example"], |_| {});
        self.revoke(7);
    }

    /// A list of revoked certificates.
    pub fn revoke(&self, serial: u64) {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2060, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.write("crl.pem", &list.signed_by(&self.issuer).expect("a list").pem().expect("as text"));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A server that listens at one URI.
pub struct Broker {
    pub server: Server,
    address: SocketAddr,
    config: ServerConfig,
    _runtime: Runtime,
}

impl Broker {
    pub fn new(authority: &Authority, certificate: &str, query: &str) -> Self {
        Self::with(1, authority, certificate, query, |_| {})
    }

    fn with(workers: usize, authority: &Authority, certificate: &str, query: &str, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::default();
        change(&mut config);
        let file = |ending: &str| authority.file(&format!("{certificate}.{ending}"));
        config.add_listener_uri(&format!("mqtts://127.0.0.1:0?cert={}&key={}{query}", file("pem"), file("key"))).expect("a listener");
        let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
        let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
        let address = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open").socket_address().expect("TCP");
        Self { server, address, config, _runtime: runtime }
    }

    fn stat(&self, name: &str) -> u64 {
        let stats = self.server.stats().expect("counters");
        stats.iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    fn wait_for(&self, name: &str, is_right: impl Fn(u64) -> bool) {
        let end = std::time::Instant::now() + PATIENCE;
        while !is_right(self.stat(name)) {
            assert!(std::time::Instant::now() < end, "{name}: {:?}", self.server.stats());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }

    pub fn uri(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.address.port())
    }
}

struct Told(Sender<Event>);

impl ClientHandler for Told {
    fn event(&mut self, _: nlmqtt::base::Instant, event: Event) {
        let _ = self.0.send(event);
    }
}

pub struct Peer {
    pub client: Client,
    pub told: Receiver<Event>,
}

/// A client that was not started.
pub fn client(runtime: &Runtime, config: &ClientConfig, handler: Box<dyn ClientHandler>) -> Client {
    let (options, servers, dial) = config.parts().expect("whole");
    let parts = ClientParts { options, servers, dial, tls: config.tls.clone(), way: config.way.clone(), receive: None };
    Client::new(runtime, parts, handler).expect("a client")
}

/// The configuration of one that tries again soon.
pub fn client_config(uri: &str, keys: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::default();
    config.set("server", uri).expect("a URI");
    config.set("reconnect_delay_min_ms", "20").expect("a key");
    keys.iter().for_each(|(key, value)| config.set(key, value).unwrap_or_else(|error| panic!("{key}: {error}")));
    config
}

impl Peer {
    pub fn new(runtime: &Runtime, uri: &str, keys: &[(&str, &str)]) -> Self {
        Self::with(runtime, &client_config(uri, keys))
    }

    pub fn with(runtime: &Runtime, config: &ClientConfig) -> Self {
        let (sender, told) = channel();
        let client = client(runtime, config, Box::new(Told(sender)));
        client.start();
        Self { client, told }
    }

    /// How the first try ended.
    pub fn outcome(&self) -> Result<(), Box<Disconnected>> {
        loop {
            match self.told.recv_timeout(PATIENCE).expect("something happens") {
                Event::Connected(_) => return Ok(()),
                Event::Disconnected(disconnected) => return Err(disconnected),
                _ => {}
            }
        }
    }

    /// The payload of the next message.
    pub fn message(&self) -> Vec<u8> {
        loop {
            if let Event::Message(incoming) = self.told.recv_timeout(PATIENCE).expect("it comes") {
                return incoming.message.payload().to_vec();
            }
        }
    }

    pub fn fault(&self) -> FaultKind {
        let lost = self.outcome().expect_err("not let in");
        assert_eq!(lost.cause, Cause::Tls, "{lost:?}");
        let fault = lost.fault.expect("a fault");
        assert!(!fault.text.is_empty() && lost.retry_at.is_some(), "{fault:?}: every cause is tried again");
        fault.kind
    }
}

pub fn runtime() -> Runtime {
    Runtime::new(&RuntimeOptions::default()).expect("a runtime")
}

#[test]
fn clients_and_servers_speak_tls_of_both_versions_and_large_messages_arrive_whole() {
    let authority = Authority::new("authority");
    authority.sign("server", &["localhost", "127.0.0.1"], |_| {});
    let ca = authority.file("ca.pem");
    for (minimum, workers) in [("1.2", 1), ("1.3", 3)] {
        let broker = Broker::with(workers, &authority, "server", &format!("&tls_min={minimum}"), |_| {});
        let (sender, received) = channel();
        let subscribe = move |message: &std::sync::Arc<nlmqtt::codec::Message>| sender.send(message.payload().to_vec()).expect("the test listens");
        broker.server.subscribe("big/#", subscribe).expect("a filter");
        let runtime = runtime();
        for number in 0..6 {
            let id = format!("peer{number}");
            let peer = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", &id)]);
            peer.outcome().expect("let in");
            let payload: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
            let publish = nlmqtt::client::Publish { topic: "big/one", payload: &payload, qos: nlmqtt::codec::Qos::AtLeastOnce, ..Default::default() };
            peer.client.publish(publish, None).expect("room");
            assert!(received.recv_timeout(PATIENCE).expect("it comes") == payload);
            let other = Publication { topic: "x", payload: &payload, ..Publication::default() };
            broker.server.publish_to(&id, &other).expect("room");
            assert!(peer.message() == payload);
            peer.client.stop_and_wait(StopRequest::default()).expect("stopped");
        }
        assert_eq!(broker.stat("handshakes"), 6);
        // A session that was resumed or not: what clients leave is nothing.
        broker.wait_for("clients_connected", |count| count == 0);
    }
}

#[test]
fn every_fault_of_a_server_has_a_kind_of_its_own() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    authority.sign_flawed();
    let (ca, foreign, crl) = (authority.file("ca.pem"), stranger.file("ca.pem"), authority.file("crl.pem"));
    let runtime = runtime();
    let young_s = "3786912000"; // 2090
    let rows: [(&str, &[(&str, &str)], Result<(), FaultKind>); 11] = [
        ("good", &[("ca_file", &ca)], Ok(())),
        ("good", &[("ca_file", &foreign)], Err(FaultKind::UnknownIssuer)),
        ("good", &[], Err(FaultKind::UnknownIssuer)),
        ("old", &[("ca_file", &ca)], Err(FaultKind::Expired)),
        ("young", &[("ca_file", &ca)], Err(FaultKind::NotYetValid)),
        ("young", &[("ca_file", &ca), ("tls_clock_floor", young_s)], Ok(())),
        ("other", &[("ca_file", &ca)], Err(FaultKind::WrongName)),
        ("other", &[("ca_file", &ca), ("tls_server_name", "elsewhere.example")], Ok(())),
        ("good", &[("ca_file", &ca), ("crl_file", &crl)], Err(FaultKind::Revoked)),
        ("good", &[("ca_file", &ca), ("tls_pins", &"ab".repeat(32))], Err(FaultKind::PinMismatch)),
        ("old", &[("danger_accept_any_certificate", "true")], Ok(())),
    ];
    for (certificate, keys, expected) in rows {
        // Without any authority in the system there is none to trust, which is said at once.
        if keys.is_empty() && !has_system_roots() {
            continue;
        }
        let broker = Broker::new(&authority, certificate, "");
        let peer = Peer::new(&runtime, &broker.uri(), keys);
        match expected {
            Ok(()) => peer.outcome().unwrap_or_else(|lost| panic!("{certificate} {keys:?}: {lost:?}")),
            Err(kind) => {
                assert_eq!(peer.fault(), kind, "{certificate} {keys:?}");
                broker.wait_for("handshakes_failed", |count| count > 0);
            }
        }
    }
}

fn has_system_roots() -> bool {
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"].iter().any(|file| std::path::Path::new(file).exists())
}

#[test]
fn a_pinned_key_is_let_in() {
    let authority = Authority::new("authority");
    let certificate = authority.sign("server", &["127.0.0.1"], |_| {});
    use x509_cert::der::{Decode, Encode};
    let parsed = x509_cert::Certificate::from_der(certificate.der()).expect("DER");
    let key = parsed.tbs_certificate.subject_public_key_info.to_der().expect("DER");
    let pin: String = ring::digest::digest(&ring::digest::SHA256, &key).as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    let broker = Broker::new(&authority, "server", "");
    let runtime = runtime();
    for keys in [&[("ca_file", authority.file("ca.pem").as_str()), ("tls_pins", &pin)][..], &[("danger_accept_any_certificate", "on"), ("tls_pins", &pin)]] {
        Peer::new(&runtime, &broker.uri(), keys).outcome().expect("let in");
    }
    // A server may send any certificate behind its own.
    authority.sign("other", &["127.0.0.1"], |_| {});
    let own = std::fs::read_to_string(authority.file("other.pem")).expect("written");
    std::fs::write(authority.file("other.pem"), format!("{own}\n{}", certificate.pem())).expect("written");
    let broker = Broker::new(&authority, "other", "");
    let refused = Peer::new(&runtime, &broker.uri(), &[("ca_file", authority.file("ca.pem").as_str()), ("tls_pins", &pin)]).outcome();
    assert_eq!(refused.expect_err("another key").fault.expect("of a layer").kind, FaultKind::PinMismatch);
}

#[test]
fn clients_are_known_by_their_certificates() {
    let (authority, stranger) = (Authority::new("authority"), Authority::new("stranger"));
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("gateway-7", &["gw7.example"], |params| params.serial_number = Some(SerialNumber::from(7)));
    stranger.sign("gateway-8", &[], |_| {});
    authority.revoke(7);
    let ca = authority.file("ca.pem");
    let own = [("ca_file", ca.clone()), ("cert_file", authority.file("gateway-7.pem")), ("key_file", authority.file("gateway-7.key"))];
    let foreign = [("ca_file", ca.clone()), ("cert_file", stranger.file("gateway-8.pem")), ("key_file", stranger.file("gateway-8.key"))];
    let none = [("ca_file", ca.clone())];
    let runtime = runtime();
    let runs: [(&str, &[(&str, String)], Option<&str>); 9] = [
        ("require", &own, None),
        ("require&identity=cn", &own, Some("gateway-7")),
        ("require&identity=san", &own, Some("gw7.example")),
        ("require&identity=fingerprint", &own, Some("")),
        ("request", &none, None),
        ("require", &none, Some("refused")),
        ("require", &foreign, Some("refused")),
        ("request", &foreign, Some("refused")),
        ("require&crl=", &own, Some("refused")),
    ];
    for (version, (query, keys, expected)) in ["1.2", "1.3"].into_iter().flat_map(|version| runs.map(|run| (version, run))) {
        let query = query.replace("crl=", &format!("crl={}", authority.file("crl.pem")));
        let broker = Broker::new(&authority, "server", &format!("&ca={ca}&client_cert={query}"));
        let mut keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        keys.extend([("client_id", "c"), ("username", "someone else"), ("tls_min", version)]);
        let peer = Peer::new(&runtime, &broker.uri(), &keys);
        if expected == Some("refused") {
            assert_eq!(peer.fault(), FaultKind::CertificateRefused, "{query}");
            broker.wait_for("handshakes_failed", |count| count > 0);
            continue;
        }
        peer.outcome().unwrap_or_else(|lost| panic!("{query}: {lost:?}"));
        let client = broker.server.clients().expect("a list").remove(0);
        match expected {
            None => assert_eq!(client.username.as_deref(), Some("someone else"), "{query}"),
            Some("") => assert_eq!(client.username.map(|name| name.len()), Some(64), "{query}"),
            Some(name) => assert_eq!(client.username.as_deref(), Some(name), "{query}"),
        }
    }
}

#[test]
fn no_common_version_is_a_fault_of_its_own() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::new(&authority, "server", "&tls_min=1.3");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).expect("a version");
    let config = config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let mut old = rustls::ClientConnection::new(std::sync::Arc::new(config), name).expect("a client");
    let mut stream = TcpStream::connect(broker.address).expect("there");
    let error = old.complete_io(&mut stream).expect_err("too old").to_string();
    assert!(error.contains("ProtocolVersion"), "{error}");
    broker.wait_for("handshakes_failed", |count| count == 1);
}

#[test]
fn plain_bytes_and_tls_that_meet_are_told_apart() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::new(&authority, "server", "");
    let mut plain = TcpStream::connect(broker.address).expect("there");
    plain.write_all(&connect(V3, "plain", true, 60, &[])).expect("sent");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).expect("it ends");
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 10], "a fatal alert");
    broker.wait_for("handshakes_failed", |count| count == 1);

    let runtime = runtime();
    let lost = Peer::new(&runtime, &broker.uri().replace("mqtts", "mqtt"), &[]).fault();
    assert_eq!(lost, FaultKind::UnexpectedTls);
    let other = crate::wire::Broker::new(|_| {});
    let uri = format!("mqtts://127.0.0.1:{}", other.address.port());
    let lost = Peer::new(&runtime, &uri, &[("ca_file", &authority.file("ca.pem"))]).fault();
    assert_eq!(lost, FaultKind::NotTls);
    other.wait_for("protocol_errors", |count| count > 0);
}

#[test]
fn a_thousand_silent_sockets_and_half_handshakes_stop_nobody() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::with(1, &authority, "server", "", |config| {
        config.set("max_handshakes", "4").expect("a key");
        config.set("handshake_timeout_ms", "5000").expect("a key");
    });
    let count = crate::descriptors_for(1_000);
    let silent: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(broker.address).expect("there")).collect();
    // These begin and do not go on: they take all seats there are.
    let mut halves: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(broker.address).expect("there")).collect();
    halves.iter_mut().for_each(|half| half.write_all(&[22, 3, 1, 2, 0, 1]).expect("sent"));
    broker.wait_for("handshakes_delayed", |count| count > 0);
    let runtime = runtime();
    let ca = authority.file("ca.pem");
    for number in 0..3 {
        let peer = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", &format!("p{number}"))]);
        peer.outcome().expect("let in, though it may take a moment");
    }
    broker.wait_for("handshakes_shed", |count| count > 0);
    assert_eq!(broker.stat("handshakes"), 3);
    drop((silent, halves));
}

/// A socket of another address of this host.
fn from(local: &str, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let local: SocketAddr = format!("{local}:0").parse().expect("an address");
    socket.bind(&local.into()).expect("all of 127.0.0.0/8 is here");
    socket.connect(&to.into()).expect("there");
    socket.into()
}

#[test]
fn an_address_that_begins_and_begins_keeps_nobody_else_from_shaking_hands() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::with(1, &authority, "server", "", |config| {
        config.set("max_handshakes", "8").expect("a key");
        config.set("max_handshakes_per_address", "4").expect("a key");
    });
    let count = crate::descriptors_for(500);
    // Far more than lose their patience in the time of this test.
    let crowd: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut socket = from("127.0.0.2", broker.address);
            socket.write_all(&[22]).expect("sent");
            socket
        })
        .collect();
    broker.wait_for("handshakes_crowded", |waiting| waiting >= count as u64 - 4 - broker.stat("handshakes_shed"));
    assert_eq!(broker.stat("handshakes_delayed"), 0, "there are seats for others");
    let runtime = runtime();
    let ca = authority.file("ca.pem");
    for number in 0..3 {
        let peer = Peer::new(&runtime, &broker.uri(), &[("ca_file", &ca), ("client_id", &format!("p{number}"))]);
        peer.outcome().expect("let in");
    }
    assert_eq!(broker.stat("handshakes_delayed"), 0, "nobody had to wait for one of them");
    // Those behind the crowd at its own address wait, and are let in.
    drop(crowd);
    let mut late = from("127.0.0.2", broker.address);
    tls_hello(&authority).complete_io(&mut late).expect("a handshake");
}

#[cfg(feature = "proxy")]
#[test]
fn behind_a_proxy_the_address_it_names_has_the_seats() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let rules = "&proxy=required&proxy_trusted=127.0.0.1";
    let broker = Broker::with(1, &authority, "server", rules, |config| config.set("max_handshakes_per_address", "2").expect("a key"));
    let named = |address: &str| {
        let mut socket = TcpStream::connect(broker.address).expect("there");
        socket.write_all(format!("PROXY TCP4 {address} 10.0.0.1 1 2\r\n").as_bytes()).expect("sent");
        socket
    };
    let halves: Vec<TcpStream> = (0..6)
        .map(|_| {
            let mut half = named("192.0.2.1");
            half.write_all(&[22]).expect("sent");
            half
        })
        .collect();
    broker.wait_for("handshakes_crowded", |count| count >= 4);
    assert_eq!(broker.stat("handshakes_delayed"), 0, "the proxy itself is not counted");
    tls_hello(&authority).complete_io(&mut named("192.0.2.2")).expect("a handshake");
    broker.wait_for("handshakes", |count| count == 1);
    // Those that stand still make room for the others of their address.
    let mut late = named("192.0.2.1");
    tls_hello(&authority).complete_io(&mut late).expect("a handshake");
    broker.wait_for("handshakes", |count| count == 2);
    assert!(broker.stat("handshakes_shed") > 0);
    drop(halves);
}

#[test]
fn a_handshake_has_a_time_limit() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::with(1, &authority, "server", "", |config| config.set("handshake_timeout_ms", "50").expect("a key"));
    let mut half = TcpStream::connect(broker.address).expect("there");
    half.write_all(&[22, 3, 1]).expect("sent");
    broker.wait_for("handshake_timeouts", |count| count == 1);
    let mut rest = Vec::new();
    half.read_to_end(&mut rest).expect("it is closed");
    assert!(rest.len() < 20 && rest.first().is_none_or(|first| *first == 21), "an alert at most: {rest:?}");
}

#[test]
fn certificates_are_changed_while_connections_stay() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    first.sign("server", &["127.0.0.1"], |_| {});
    second.sign("server", &["127.0.0.1"], |_| {});
    let mut broker = Broker::new(&first, "server", "");
    let runtime = runtime();
    let old = Peer::new(&runtime, &broker.uri(), &[("ca_file", &first.file("ca.pem")), ("client_id", "old")]);
    old.outcome().expect("let in");
    for ending in ["pem", "key"] {
        std::fs::copy(second.file(&format!("server.{ending}")), first.file(&format!("server.{ending}"))).expect("a new file");
    }
    let (mut config, new) = (broker.config.clone(), broker.config.clone());
    let mut listening = vec![(broker.config.listeners[0].clone(), broker.address.into())];
    broker.server.take_config(&mut config, &mut listening, &new).expect("reloaded");
    assert_eq!(Peer::new(&runtime, &broker.uri(), &[("ca_file", &first.file("ca.pem"))]).fault(), FaultKind::UnknownIssuer);
    Peer::new(&runtime, &broker.uri(), &[("ca_file", &second.file("ca.pem"))]).outcome().expect("let in by the new certificate");
    assert_eq!(broker.stat("clients_connected"), 2, "the first is still there");
    // A file that cannot be used changes nothing, and is reported.
    std::fs::write(first.file("server.key"), "no key").expect("a file");
    broker.config = config.clone();
    let changes = broker.server.take_config(&mut config, &mut listening, &new).expect("answered");
    assert!(format!("{changes:?}").contains("no private key"), "{changes:?}");
    Peer::new(&runtime, &broker.uri(), &[("ca_file", &second.file("ca.pem"))]).outcome().expect("still let in");
}

#[test]
fn what_is_wrong_with_files_is_said_before_anything_listens() {
    let authority = Authority::new("authority");
    authority.sign("a", &["127.0.0.1"], |_| {});
    authority.sign("b", &["127.0.0.1"], |_| {});
    let runtime = runtime();
    for (query, word) in [
        (format!("cert={}&key={}", authority.file("none.pem"), authority.file("a.key")), "none.pem"),
        (format!("cert={}&key={}", authority.file("a.key"), authority.file("a.key")), "no certificate"),
        (format!("cert={}&key={}", authority.file("a.pem"), authority.file("a.pem")), "no private key"),
        (format!("cert={}&key={}", authority.file("a.pem"), authority.file("b.key")), "cert and key"),
    ] {
        let mut config = ServerConfig::default();
        config.add_listener_uri(&format!("mqtts://127.0.0.1:0?{query}")).expect("a URI");
        let server = Server::new(&runtime, config.options_in_force(), None).expect("a server");
        let error = server.add_listener(config.listeners[0].clone()).expect_err("it cannot listen").to_string();
        assert!(error.contains(word), "{error}");
    }
    for query in ["", "?cert=x", "?cert=x&key=y&client_cert=require", "?cert=x&key=y&identity=cn", "?cert=x&key=y&tls_min=1.1", "?cert=x&key=y&ca=z"] {
        assert!(ServerConfig::default().add_listener_uri(&format!("mqtts://127.0.0.1:0{query}")).is_err(), "{query}");
    }
    assert!(ServerConfig::default().add_listener_uri("mqtt://127.0.0.1:0?cert=x&key=y").is_err(), "TLS on mqtt://");
}

/// A client of rustls' own.
fn tls_hello(authority: &Authority) -> rustls::ClientConnection {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.file("ca.pem")).expect("PEM")).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    rustls::ClientConnection::new(std::sync::Arc::new(config), "127.0.0.1".try_into().expect("a name")).expect("a client")
}

/// One that has sent these bytes.
fn foreign(broker: &Broker, authority: &Authority, bytes: &[u8]) -> (rustls::ClientConnection, TcpStream) {
    let mut client = tls_hello(authority);
    let mut stream = TcpStream::connect(broker.address).expect("there");
    client.complete_io(&mut stream).expect("a handshake");
    client.writer().write_all(bytes).expect("sent");
    while client.wants_write() {
        client.write_tls(&mut stream).expect("sent");
    }
    (client, stream)
}

#[test]
fn a_client_that_does_not_read_is_bounded_and_closed_like_any_other() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::with(1, &authority, "server", "", |config| config.set("slow_consumer_grace_ms", "300").expect("a key"));
    let reader = foreign(&broker, &authority, &connect(V3, "reader", true, 60, &[]));
    broker.wait_for("clients_connected", |count| count == 1);
    let payload = vec![7; 100_000];
    let publication = Publication { topic: "t", payload: &payload, ..Publication::default() };
    let end = std::time::Instant::now() + PATIENCE;
    while broker.stat("slow_consumers_closed") == 0 {
        // One that finds no room to be posted is tried again.
        let _ = broker.server.publish_to("reader", &publication);
        assert!(std::time::Instant::now() < end, "{:?}", broker.server.stats());
        assert!(broker.stat("memory_bytes") < 64 << 20);
    }
    assert!(broker.stat("dropped_output_full") > 0);
    drop(reader);
    broker.wait_for("memory_bytes", |bytes| bytes == 0);
}

#[test]
fn the_last_word_of_a_server_comes_before_its_good_bye() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let broker = Broker::new(&authority, "server", "");
    let (mut client, mut stream) = foreign(&broker, &authority, &connect(V5, "c", true, 60, &[]));
    broker.wait_for("clients_connected", |count| count == 1);
    broker.server.kick("c", nlmqtt::codec::Reason::ADMINISTRATIVE_ACTION, true).expect("admitted");
    let mut plain = Vec::new();
    // rustls answers an end without a good-bye with an error here.
    rustls::Stream::new(&mut client, &mut stream).read_to_end(&mut plain).expect("close_notify");
    assert_eq!(plain[0], 0x20, "CONNACK");
    let disconnect = plain.windows(3).any(|window| window[0] == 0xE0 && window[2] == 0x98);
    assert!(disconnect, "{plain:02X?}");
}
