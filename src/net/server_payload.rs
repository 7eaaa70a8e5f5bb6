//! Payloads that a link inside the process hands on as they are, on their way to a shard.

use std::io;

use bytes::Bytes;

use super::server_host::{ConnKey, ServerKey};
use super::worker::{After, PAYLOADS_PER_READ, Worker};
use super::{LinkId, Net};

impl<N: Net> Worker<N> {
    /// Payloads that are handed on as they are, and what is between them. If none is there, the stream has ended.
    #[cold]
    pub(super) fn read_payloads(&mut self, server: ServerKey, connection: ConnKey, link: LinkId, scratch: &mut [u8]) -> After {
        let mut is_ended = true;
        for _ in 0..PAYLOADS_PER_READ {
            match self.net.take_payload(link) {
                Some(payload) => self.hand_in_payload(server, connection, &payload),
                None if is_ended => {
                    self.connection_lost(server, connection);
                    return After::Closed;
                }
                None => return After::Drained,
            }
            let wants_more = self.servers.get_mut(server).is_some_and(|host| host.shard.wants_input(self.now, connection));
            if !wants_more {
                return After::Again;
            }
            match self.net.read(link, scratch) {
                Ok(count) => {
                    is_ended = count == 0;
                    if !is_ended {
                        self.take_in(server, connection, &scratch[..count]);
                    }
                    if count == scratch.len() {
                        return After::Again;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return After::Drained,
                Err(_) => return After::Again,
            }
        }
        After::Again
    }

    /// One payload; if there is a layer, its bytes.
    fn hand_in_payload(&mut self, server: ServerKey, connection: ConnKey, payload: &Bytes) {
        let Some(host) = self.servers.get_mut(server) else { return };
        if host.links.get(connection).is_some_and(|linked| linked.stack.is_some()) {
            self.take_in(server, connection, payload);
            return;
        }
        if host.shard.wants_flush() {
            self.flush_server(server);
        }
        let Some(host) = self.servers.get_mut(server) else { return };
        if !host.shard.handle_payload(self.now, connection, payload) {
            self.hand_in(server, connection, payload);
        }
    }
}
