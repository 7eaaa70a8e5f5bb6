//! A server over datagrams, and what has to go both ways whatever the transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nlmqtt::broker::Hooks;
use nlmqtt::client::{Publish, StopRequest};
use nlmqtt::codec::Qos;
use nlmqtt::config::ServerConfig;
use nlmqtt::net::{Endpoint, Runtime, RuntimeOptions};
use nlmqtt::server::{Publication, Server};

use crate::tls::{Peer, runtime};
use crate::wire::PATIENCE;

/// A server that listens at one URI.
pub struct Broker {
    pub server: Server,
    pub address: SocketAddr,
    pub config: ServerConfig,
    scheme: String,
    _runtime: Runtime,
}

impl Broker {
    pub fn at(workers: usize, uri: &str, keys: &[(&str, &str)]) -> Self {
        Self::with_hooks(workers, uri, keys, |_| None)
    }

    pub fn with_hooks(workers: usize, uri: &str, keys: &[(&str, &str)], hooks: impl FnMut(usize) -> Option<Box<dyn Hooks>>) -> Self {
        let mut config = ServerConfig::default();
        keys.iter().for_each(|(key, value)| config.set(key, value).expect("a key"));
        config.add_listener_uri(uri).expect("a listener");
        let runtime = Runtime::new(&RuntimeOptions { workers, ..RuntimeOptions::default() }).expect("a runtime");
        let server = Server::with_hooks(&runtime, config.options_in_force(), hooks).expect("a server");
        let endpoint = server.add_listener(config.listener_in_force(&config.listeners[0])).expect("open");
        let address = endpoint.socket_address().expect("of UDP");
        let scheme = uri.split("://").next().expect("a scheme").to_owned();
        assert_eq!(endpoint.to_string(), format!("{scheme}://127.0.0.1:{}", address.port()));
        Self { server, address, config, scheme, _runtime: runtime }
    }

    pub fn stat(&self, name: &str) -> u64 {
        let stats = self.server.stats().expect("counters");
        stats.iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    pub fn wait_for(&self, name: &str, is_right: impl Fn(u64) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_right(self.stat(name)) {
            assert!(Instant::now() < end, "{name}: {:?} {:?}", self.server.stats(), self.server.clients());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn uri(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// Where it listens.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&self.uri()).expect("a place")
    }

    /// Every QoS both ways, with payloads of this size, for clients that come one after the other.
    pub fn carries_both_ways(&self, keys: &[(&str, &str)], bytes: u32, clients: usize) {
        let (sender, received) = channel();
        let subscribe = move |message: &Arc<nlmqtt::codec::Message>| sender.send(message.payload().to_vec()).expect("the test listens");
        self.server.subscribe("big/#", subscribe).expect("a filter");
        let runtime = runtime();
        let payload: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        for number in 0..clients {
            let id = format!("peer{number}");
            let peer = Peer::new(&runtime, &self.uri(), &[keys, &[("client_id", &id)]].concat());
            peer.outcome().expect("let in");
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                peer.client.publish(Publish { topic: "big/one", payload: &payload, qos, ..Publish::default() }, None).expect("room");
                assert!(received.recv_timeout(PATIENCE).expect("it comes") == payload, "{id} {qos:?}");
                self.server.publish_to(&id, &Publication { topic: "x", payload: &payload, qos, ..Publication::default() }).expect("room");
                assert!(peer.message() == payload, "{id} {qos:?}");
            }
            peer.client.stop_and_wait(StopRequest::default()).expect("stopped");
        }
        self.wait_for("clients_connected", |count| count == 0);
        assert_eq!(self.stat("protocol_errors"), 0);
    }
}
