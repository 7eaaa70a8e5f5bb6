//! A payload that comes by reference: on a link inside the process the large ones do, behind the head of their packet.
//!
//! It is always allowed to hand it in as bytes instead; what is here saves the copies: the payload becomes that of the message as it is.
//! It is tried only where nothing else waits or is in the way. A packet that a hook parks is kept as bytes, as any other. A message that is
//! to be retained gets a copy: it may stay for ever, and whoever lent the payload wants it back; and it is dropped under the router's lock,
//! under which nothing of the application may be called.

use bytes::Bytes;

use super::connection::ConnKey;
use super::shard::Shard;
use crate::base::Instant;
use crate::codec::{self, Frame, Sender};

impl Shard {
    /// What comes next from a client is this payload. False: it is not just what its unfinished PUBLISH lacks, or it cannot be
    /// taken now; hand it in as bytes.
    pub fn handle_payload(&mut self, now: Instant, key: ConnKey, payload: &Bytes) -> bool {
        if self.flush_wanted || self.is_congested() {
            return false;
        }
        let packet_bytes_max = self.options.max_packet_size;
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.is_open() && connection.goes_on()) else { return false };
        let head = core::mem::take(&mut connection.partial);
        let packet_bytes_max = connection.packet_bytes_max(packet_bytes_max);
        let Some(publish) = codec::decode_apart(connection.version, Sender::Client, &head, payload, packet_bytes_max) else {
            connection.partial = head;
            return false;
        };
        connection.last_input = now;
        self.stats.bytes_received += payload.len() as u64;
        self.charge_rate(now, key, Frame { first: head[0], body: &[] }, head.len() + payload.len());
        self.apart = Some(payload.clone());
        let result = self.on_publish(now, key, &publish, &head, None);
        self.apart = None;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.unfinished_since = None;
            connection.recharge();
        }
        if let Err(fault) = result {
            self.fail(now, key, fault);
        }
        true
    }
}
