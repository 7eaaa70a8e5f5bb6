//! A shard with clients and no sockets: whatever it wants to send is taken at once.

use std::sync::{Arc, RwLock};

use nlmqtt::base::{Budget, Instant, Rng};
use nlmqtt::broker::{ConnKey, Options, Origin, Progress, Shard};
use nlmqtt::route::{self, Router};

pub struct World {
    shard: Shard,
    dirty: Vec<ConnKey>,
    /// What the connection asked about last was sent.
    pub sent: Vec<u8>,
}

impl World {
    pub fn new() -> Self {
        let mut rng = Rng::with_seed(7);
        let router = Arc::new(RwLock::new(Router::new(route::Options::default(), rng.fork())));
        let shard = Shard::new(0, Options::default(), router, Budget::new(1 << 30), rng, None);
        Self { shard, dirty: Vec::new(), sent: Vec::new() }
    }

    /// A connected client of MQTT 3.1.1 that has read its CONNACK.
    pub fn join(&mut self, client_id: &str) -> ConnKey {
        let key = self.shard.open(Instant::START, &Origin { peer: "peer", listener: "listener", ..Origin::default() }).expect("room for a connection");
        let mut body = b"\0\x04MQTT\x04\x02\0\0".to_vec();
        string(&mut body, client_id);
        self.input(key, &packet(0x10, &body));
        self.turn(Some(key));
        assert_eq!(self.sent, [0x20, 2, 0, 0]);
        key
    }

    pub fn subscribe(&mut self, key: ConnKey, filter: &str, qos: u8) {
        let mut body = vec![0, 1];
        string(&mut body, filter);
        body.push(qos);
        self.input(key, &packet(0x82, &body));
        self.turn(Some(key));
        assert_eq!(self.sent, [0x90, 3, 0, 1, qos]);
    }

    /// Bytes from a client, as a worker hands them in.
    pub fn input(&mut self, key: ConnKey, mut bytes: &[u8]) {
        assert!(self.shard.wants_input(Instant::START, key));
        while let Progress::Flush { consumed } = self.shard.handle_input(Instant::START, key, bytes) {
            bytes = &bytes[consumed..];
            self.turn(None);
        }
    }

    /// The end of a turn, as a worker does it; answers how many bytes went out. `look_at`: keeps what
    /// that connection was sent.
    pub fn turn(&mut self, look_at: Option<ConnKey>) -> usize {
        let mut bytes = 0;
        self.sent.clear();
        self.shard.take_dirty(Instant::START, &mut self.dirty);
        for key in self.dirty.drain(..) {
            let out = self.shard.output(key).expect("a connection");
            let count = out.len();
            if look_at == Some(key) {
                out.slices().for_each(|slice| self.sent.extend_from_slice(slice));
            }
            bytes += count;
            self.shard.sent(Instant::START, key, count, false);
        }
        bytes
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push(length as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

/// A PUBLISH to a topic of 12 bytes; with an identifier above QoS 0.
pub fn publish(topic: &str, qos: u8, payload_bytes: usize) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, topic);
    if qos > 0 {
        body.extend([0, 9]);
    }
    body.resize(body.len() + payload_bytes, b'p');
    packet(0x30 | qos << 1, &body)
}

pub fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.as_bytes());
}
