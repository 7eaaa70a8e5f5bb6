//! The way to a product that is not reached over TCP alone: `CONFORMANCE_TRANSPORT=rudp`, `rudps`, `quic`, `mqtts`, `ws` or `wss`.
//!
//! ```text
//!   judge ──TCP──> carrier: one connection of the transport for each ──transport──> broker
//!   judge <──TCP── carrier: one connection of TCP for each           <──transport── client
//! ```
//! The judge knows TCP, and stays as it is. A carrier takes its connections and carries the bytes of each over a connection of the
//! library's own other side (layers over TCP, or over the machine of datagrams), so that what the rows see of the product has gone through the
//! transport in both directions. The end of one side is the end of the other.

mod datagrams;
mod line;
mod streams;

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use nlmqtt::config::{ClientConfig, ServerConfig};
use nlmqtt::net::{ListenerOptions, listener_recipe, remotes};
use rcgen::{CertificateParams, KeyPair};

/// So long a new connection waits at most for what older ones have to say first.
const ORDER_WAIT: Duration = Duration::from_secs(2);

/// What the rows run over; `None`: TCP.
pub fn transport() -> Option<String> {
    std::env::var("CONFORMANCE_TRANSPORT").ok().filter(|name| name != "tcp")
}

fn has_tls(transport: &str) -> bool {
    !matches!(transport, "rudp" | "ws")
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
    let query = if has_tls(transport) { format!("?cert={}&key={}", own.certificate, own.key) } else { String::new() };
    let mut config = ServerConfig::default();
    config.add_listener_uri(&format!("{transport}://127.0.0.1:0{query}")).expect("a listener");
    config.listeners.remove(0)
}

/// What a client needs to know to come over this transport, besides the address.
pub fn configure(config: &mut ClientConfig, transport: &str) {
    config.set("rudp_generation", "2").expect("a key");
    if has_tls(transport) {
        config.set("ca_file", &Certificate::of_this_run().certificate).expect("a key");
    }
}

/// Takes connections of the judge and carries them to the broker at this address, as long as the process lives.
pub fn in_front_of(transport: &str, broker: SocketAddr) -> SocketAddr {
    let mut config = ClientConfig::default();
    config.set("server", &format!("{transport}://{broker}")).expect("a URI");
    configure(&mut config, transport);
    let (_, servers, _) = config.parts().expect("whole");
    let recipe = remotes(servers, &config.tls, &config.way).expect("a way").remove(0).recipe;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        let mut earlier = Vec::new();
        for (number, judge) in listener.incoming().flatten().enumerate() {
            wait_for_earlier(&mut earlier);
            let Ok(watched) = judge.set_nonblocking(true).and_then(|()| judge.try_clone()).map(Arc::new) else { continue };
            earlier.push(Arc::downgrade(&watched));
            let recipe = recipe.clone();
            // What fails is the end of both connections, and the judge sees it.
            std::thread::spawn(move || {
                let _ = match recipe.datagrams() {
                    Some(_) => datagrams::carry_out(judge, broker, recipe, number as u64),
                    None => streams::carry_out(judge, broker, &recipe, number as u64),
                };
                drop(watched);
            });
        }
    });
    address
}

/// What the judge has written to older connections, and that it has closed them, is there before a new connection is, as it is over TCP.
fn wait_for_earlier(earlier: &mut Vec<Weak<TcpStream>>) {
    let end = Instant::now() + ORDER_WAIT;
    let is_drained = |judge: &TcpStream| judge.peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
    earlier.retain(|watched| {
        while watched.upgrade().is_some_and(|judge| !is_drained(&judge)) && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        watched.strong_count() > 0
    });
}

/// Takes connections of the client under test and carries them to the judge, until it is dropped.
pub struct Behind {
    /// Where the client is to connect.
    pub address: SocketAddr,
    _guard: Box<dyn std::any::Any>,
}

impl Behind {
    /// The judge listens at this address.
    pub fn new(transport: &str, judge: SocketAddr) -> io::Result<Self> {
        let recipe = listener_recipe(&listener(transport)).map_err(io::Error::other)?;
        if recipe.datagrams().is_some() {
            let (address, guard) = datagrams::carry_in(recipe, judge)?;
            return Ok(Self { address, _guard: Box::new(guard) });
        }
        Ok(Self { address: streams::carry_in(recipe, judge)?, _guard: Box::new(()) })
    }
}
