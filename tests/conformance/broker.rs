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

/// Whether somebody else's broker is judged.
pub fn is_external() -> bool {
    std::env::var_os("NLMQTT_TEST_BROKER").is_some()
}

/// The address of a profile's listener, started on first use.
pub fn address(profile: &str) -> Option<SocketAddr> {
    if !is_external() {
        // Who judges a foreign client does not mean our broker.
        return if crate::subject::external().is_some() {
            None
        } else {
            start(profile)
        };
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
    *started
        .entry(profile.to_string())
        .or_insert_with(|| launch(profile))
}

/// Launches the product's server with the profile's settings, to live until
/// the process ends; none while no server is bound to the table.
fn launch(_profile: &str) -> Option<SocketAddr> {
    None
}
