//! What is a client's of TLS over real sockets: a key that lies elsewhere, sessions that are resumed, servers of another time.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nlmqtt::broker::{Answer, ClientInfo, HookToken, Hooks, Interest};
use nlmqtt::codec::{self, Reason};
use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::server::Server;
use nlmqtt::stack::FaultKind;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::tls::{Authority, Broker, Peer, runtime};

#[test]
fn a_key_that_lies_elsewhere_signs() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    authority.sign("gateway-7", &[], |_| {});
    let broker = Broker::new(&authority, "server", &format!("&ca={}&client_cert=require&identity=cn", authority.file("ca.pem")));
    for version in ["1.2", "1.3"] {
        let asked = Arc::<AtomicUsize>::default();
        let mut config = ClientConfig::default();
        let (ca, certificate) = (authority.file("ca.pem"), authority.file("gateway-7.pem"));
        for (key, value) in [("server", broker.uri().as_str()), ("ca_file", &ca), ("cert_file", &certificate), ("tls_min", version)] {
            config.set(key, value).expect("a key");
        }
        let key = KeyPair::from_pem(&std::fs::read_to_string(authority.file("gateway-7.key")).expect("written")).expect("a key");
        let count = asked.clone();
        config.tls.sign = Some(Arc::new(move |scheme, message| {
            assert_eq!(scheme, 0x0403, "ECDSA on P-256 with SHA-256 (RFC 8446 section 4.2.3)");
            count.fetch_add(1, Ordering::Relaxed);
            rcgen::SigningKey::sign(&key, message).ok()
        }));
        let peer = Peer::with(&runtime(), &config);
        peer.outcome().unwrap_or_else(|lost| panic!("{lost:?}"));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(broker.server.clients().expect("a list").remove(0).username.as_deref(), Some("gateway-7"));
    }
}

/// Whether each client that came had been there before, to TLS.
struct Noting(Arc<Mutex<Vec<bool>>>);

impl Hooks for Noting {
    fn interest(&self) -> Interest {
        Interest { connect: true, ..Interest::default() }
    }

    fn connect(&mut self, client: ClientInfo<'_>, _: &codec::Connect<'_>, _: HookToken) -> Answer {
        self.0.lock().expect("no panic").push(client.about.expect("TLS").is_tls_resumed);
        Answer::ALLOW
    }
}

#[test]
fn a_client_that_comes_back_goes_on_with_its_session_of_tls() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let (runtime, told) = (runtime(), Arc::<Mutex<Vec<bool>>>::default());
    let mut config = ServerConfig::default();
    config.add_listener_uri(&format!("mqtts://127.0.0.1:0?cert={}&key={}", authority.file("server.pem"), authority.file("server.key"))).expect("a listener");
    let server = Server::with_hooks(&runtime, config.options_in_force(), |_| Some(Box::new(Noting(told.clone())) as Box<dyn Hooks>)).expect("a server");
    let address = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open").socket_address().expect("TCP");
    let peer = Peer::new(&runtime, &format!("mqtts://{address}"), &[("ca_file", &authority.file("ca.pem")), ("client_id", "c")]);
    peer.outcome().expect("let in");
    for _ in 0..2 {
        server.kick("c", Reason::ADMINISTRATIVE_ACTION, false).expect("posted");
        peer.outcome().expect_err("kicked");
        peer.outcome().expect("let in again");
    }
    assert_eq!(*told.lock().expect("no panic"), [false, true, true]);
}

#[test]
fn a_server_that_is_too_old_is_a_fault_of_its_own() {
    let authority = Authority::new("authority");
    authority.sign("server", &["127.0.0.1"], |_| {});
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS12]).expect("a version");
    let chain = vec![CertificateDer::from_pem_file(authority.file("server.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(authority.file("server.key")).expect("a key");
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).expect("they belong together"));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let old = std::thread::spawn(move || {
        let mut stream = listener.accept().expect("somebody comes").0;
        let mut connection = rustls::ServerConnection::new(config).expect("a server");
        connection.complete_io(&mut stream).expect_err("no version in common")
    });
    let peer = Peer::new(&runtime(), &format!("mqtts://{address}"), &[("ca_file", &authority.file("ca.pem")), ("tls_min", "1.3")]);
    assert_eq!(peer.fault(), FaultKind::WeakVersion);
    old.join().expect("no panic");
}
