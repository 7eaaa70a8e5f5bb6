//! The broker under test: one address for each profile.
//!
//! | profile | what the rows expect of it |
//! |---|---|
//! | `default` | anonymous clients, every feature on, Maximum Packet Size at least 100,000 |
//! | `ws` | the same over WebSocket, any path |
//! | `password` | user `user` with password `secret`, no anonymous; topics under `forbidden/` may be neither published nor subscribed |
//! | `limited` | Maximum Packet Size 1000, Receive Maximum 2, Topic Alias Maximum 2, Server Keep Alive 1 s whatever the client asks |
//! | `modest` | Maximum QoS 1, retain not available |
//! | `auth` | enhanced authentication with method `CHALLENGE`: any CONNECT with it is answered by AUTH 0x18 with data `question`; data `answer` succeeds, anything else is refused; the same for re-authentication; another method is refused |
//!
//! With `NLMQTT_TEST_BROKER=host:port` in the environment the rows run against
//! that broker instead, other profiles with `NLMQTT_TEST_BROKER_WS`,
//! `_PASSWORD`, `_LIMITED`, `_MODEST`, `_AUTH`; rows of a profile without an address are
//! then left out and counted.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Mutex;

#[cfg(all(feature = "rudp", feature = "tls"))]
use crate::carrier;
use nlmqtt::broker::{Access, Answer, ClientInfo, Decision, HookToken, Hooks, Interest, Options};
use nlmqtt::codec::{Connect, PropertyId, Qos, Reason};
use nlmqtt::net::{ListenerOptions, Runtime, RuntimeOptions};
use nlmqtt::server::Server;

/// Whether somebody else's broker is judged.
pub fn is_external() -> bool {
    std::env::var_os("NLMQTT_TEST_BROKER").is_some()
}

/// The address of a profile's listener, started on first use.
pub fn address(profile: &str) -> Option<SocketAddr> {
    if !is_external() {
        // Who judges a foreign client does not mean our broker.
        return if crate::subject::external().is_some() { None } else { start(profile) };
    }
    let name = match profile {
        "default" => "NLMQTT_TEST_BROKER".to_string(),
        _ => format!("NLMQTT_TEST_BROKER_{}", profile.to_uppercase()),
    };
    std::env::var(name).ok()?.to_socket_addrs().ok()?.next()
}

/// Starts a profile's server once; every row of the run shares it.
fn start(profile: &str) -> Option<SocketAddr> {
    static STARTED: Mutex<BTreeMap<String, Option<SocketAddr>>> = Mutex::new(BTreeMap::new());
    let mut started = STARTED.lock().ok()?;
    *started.entry(profile.to_string()).or_insert_with(|| launch(profile))
}

/// Launches the product's server with the profile's settings on a real socket, to live until the
/// process ends.
fn launch(profile: &str) -> Option<SocketAddr> {
    let mut options = Options::default();
    let mut guard = None;
    match profile {
        "default" | "ws" => {}
        "password" => {
            options.allow_anonymous = false;
            guard = Some(Guard::Password);
        }
        "auth" => guard = Some(Guard::Challenge),
        "limited" => {
            options.max_packet_size = 1000;
            options.receive_maximum = 2;
            options.max_topic_alias = 2;
            options.max_keepalive_s = 1;
        }
        "modest" => {
            options.maximum_qos = Qos::AtLeastOnce;
            options.retain_available = false;
        }
        _ => return None,
    }
    // The judge sees no difference.
    let workers = std::env::var("CONFORMANCE_WORKERS").map_or(1, |text| text.parse().expect("a number of workers"));
    let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
    let hooks = |_| guard.map(|guard| Box::new(guard) as Box<dyn Hooks>);
    let server = Server::with_hooks(&runtime, options, hooks).expect("a server");
    #[cfg(all(feature = "rudp", feature = "tls"))]
    if let Some(transport) = carrier::transport().filter(|_| profile != "ws") {
        let address = server.add_listener(carrier::listener(&transport)).expect("a listener");
        std::mem::forget(server);
        return Some(carrier::in_front_of(&transport, address.socket_address()?));
    }
    let mut loopback = ListenerOptions::at(([127, 0, 0, 1], 0).into());
    loopback.transport.websocket = profile == "ws";
    let address = server.add_listener(loopback).expect("a listener");
    std::mem::forget(server);
    address.socket_address()
}

/// The hooks of the profiles that ask who comes.
#[derive(Clone, Copy)]
enum Guard {
    Password,
    Challenge,
}

impl Hooks for Guard {
    fn interest(&self) -> Interest {
        Interest { authenticate: true, authorize: matches!(self, Self::Password), ..Interest::default() }
    }

    fn authenticate(&mut self, _: ClientInfo<'_>, connect: &Connect<'_>, _: HookToken) -> Answer {
        let method = connect.properties.utf8(PropertyId::AuthenticationMethod);
        Answer::Now(match (self, method) {
            (Self::Password, _) => match (connect.username, connect.password) {
                (Some("user"), Some(b"secret")) => Decision::Allow,
                _ => Decision::Deny(Reason::BAD_USER_NAME_OR_PASSWORD),
            },
            (Self::Challenge, Some("CHALLENGE")) => Decision::Challenge(b"question".to_vec()),
            (Self::Challenge, Some(_)) => Decision::Deny(Reason::BAD_AUTHENTICATION_METHOD),
            (Self::Challenge, None) => Decision::Allow,
        })
    }

    fn auth_exchange(&mut self, _: ClientInfo<'_>, _: &str, data: &[u8], _: HookToken) -> Answer {
        Answer::Now(match data {
            b"answer" => Decision::Allow,
            b"" => Decision::Challenge(b"question".to_vec()),
            _ => Decision::Deny(Reason::NOT_AUTHORIZED),
        })
    }

    fn authorize(&mut self, _: ClientInfo<'_>, _: Access, topic: &str, _: Qos, _: bool, _: HookToken) -> Answer {
        if topic.starts_with("forbidden/") { Answer::Now(Decision::Deny(Reason::NOT_AUTHORIZED)) } else { Answer::ALLOW }
    }
}
