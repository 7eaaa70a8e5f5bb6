//! The link of a client while it is there: layers are opened, bytes read and written, the last word said.

use std::io;

use super::client_host::{ClientHost, ClientKey, Connection};
use super::datagram::fault_of;
use super::last_words::Speaker;
use super::worker::{After, PAYLOADS_PER_READ, Worker};
use super::write::{write_once, write_sealed, write_wire};
use super::{LinkId, Net};
use crate::base::OutBuffer;
use crate::proto::client::{Cause, State};
use crate::stack::{Ends, Fault, FaultKind};

/// How a server that speaks TLS answers one who does not: an alert record of version 3.x (RFC 8446 §5.1).
const TLS_ALERT: [u8; 2] = [21, 3];

impl ClientHost {
    /// The server's first word is next, and is not TLS's.
    fn expects_plain_beginning(&self) -> bool {
        let has_begun = match &self.stack {
            Some(stack) => stack.is_established(),
            None => self.machine.state() != State::Connecting,
        };
        !has_begun && !self.servers[self.server].address.transport.tls
    }
}

impl<N: Net> Worker<N> {
    /// The link to a server is connected: its layers begin, or, without any, the machine does.
    pub(super) fn client_connected(&mut self, client: ClientKey, link: LinkId) {
        #[cfg(feature = "datagram")]
        self.watch_client(client, link);
        let Some(host) = self.clients.get_mut(client) else { return };
        let remote = &host.servers[host.server];
        if remote.recipe.is_empty() {
            host.connection = Connection::Open(link);
            host.machine.handle_dialed(self.now);
            #[cfg(feature = "datagram")]
            if let Some(about) = self.net.about(link) {
                if let Some(bytes) = about.packet_bytes_max {
                    host.machine.limit_packets(bytes as usize);
                }
                if about.is_fallback {
                    host.handler.fell_back(host.server, host.gauge.datagrams().unwrap_or_default().protocol);
                }
            }
            return self.drain_events(client);
        }
        let (source, destination) = self.net.ends(link).unzip();
        let ends = Ends { host: &remote.address.host, port: remote.address.port, source, destination, seed: host.machine.draw_seed() };
        match remote.recipe.stack(host.machine.budget(), &ends) {
            Ok(stack) => {
                host.connection = Connection::Opening(link);
                host.stack = stack;
                let established = host.stack.as_mut().is_none_or(|stack| stack.begin().is_some());
                self.client_layers_went_on(client, link, established);
            }
            Err(fault) => {
                host.connection = Connection::Opening(link);
                self.client_layer_failed(client, fault);
            }
        }
    }

    /// The layers have something to write, and may just have been established.
    fn client_layers_went_on(&mut self, client: ClientKey, link: LinkId, established: bool) {
        let Some(host) = self.clients.get_mut(client) else { return };
        host.dirty = true;
        if established {
            host.stack.take_if(|stack| stack.is_empty());
            host.connection = Connection::Open(link);
            host.machine.handle_dialed(self.now);
            self.drain_events(client);
        }
    }

    /// Bytes came for a client. False: its link is not there any more.
    pub(super) fn take_in_client(&mut self, client: ClientKey, link: LinkId, bytes: &[u8]) -> bool {
        let Some(host) = self.clients.get_mut(client) else { return false };
        if bytes.starts_with(&TLS_ALERT) && host.expects_plain_beginning() {
            let fault = Fault::new(FaultKind::UnexpectedTls, "the server speaks TLS at this port");
            self.client_layer_failed(client, fault);
            return false;
        }
        let Some(stack) = &mut host.stack else {
            host.machine.handle_input(self.now, bytes);
            self.drain_events(client);
            return true;
        };
        let mut plain = core::mem::take(&mut self.plain);
        let result = stack.open(bytes, &mut plain).map(|opened| {
            self.client_layers_went_on(client, link, opened.established.is_some());
            opened.is_ended
        });
        let is_there = |host: &&mut ClientHost| host.connection.link() == Some(link);
        // Not before the layers are open, which a fault in the same bytes may have prevented.
        let is_open = matches!(self.clients.get(client).map(|host| &host.connection), Some(Connection::Open(_)));
        if let Some(host) = self.clients.get_mut(client).filter(is_there).filter(|_| is_open && !plain.is_empty()) {
            host.machine.handle_input(self.now, &plain);
            self.drain_events(client);
        }
        plain.clear();
        self.plain = plain;
        if self.clients.get_mut(client).filter(is_there).is_none() {
            return false;
        }
        match result {
            Ok(false) => return true,
            Ok(true) => {
                if let Some(stack) = self.clients.get_mut(client).and_then(|host| host.stack.as_mut()) {
                    stack.close();
                }
                self.last_word(client);
                self.client_lost(client, Cause::Closed);
            }
            Err(fault) => self.client_layer_failed(client, fault),
        }
        false
    }

    /// The server gets the last word of the layers, as far as the socket takes it at once; the link is given up.
    fn last_word(&mut self, client: ClientKey) {
        let Some(host) = self.clients.get_mut(client) else { return };
        if let (Some(link), Some(mut stack)) = (host.connection.link(), host.stack.take()) {
            host.connection = Connection::None;
            // The link is given up either way.
            let _ = write_wire(&mut self.net, link, &mut stack);
            self.linger(link, Speaker::Client(client));
        }
    }

    /// The server is at fault.
    pub(super) fn client_layer_failed(&mut self, client: ClientKey, fault: Fault) {
        self.last_word(client);
        self.let_go(client);
        if let Some(host) = self.clients.get_mut(client) {
            host.machine.handle_fault(self.now, fault);
            self.drain_events(client);
        }
    }

    /// Reads a link that is there, once.
    pub(super) fn read_link(&mut self, client: ClientKey, link: LinkId) -> After {
        let mut scratch = core::mem::take(&mut self.scratch);
        let read = self.net.read(link, &mut scratch);
        let after = match read {
            Ok(0) => self.read_client_payloads(client, link, &mut scratch),
            Ok(count) if self.take_in_client(client, link, &scratch[..count]) => {
                if count == scratch.len() {
                    After::Again
                } else {
                    After::Drained
                }
            }
            Ok(_) => After::Closed,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => After::Drained,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => After::Again,
            Err(error) => {
                match fault_of(&error) {
                    Some(fault) => self.client_layer_failed(client, fault),
                    None => self.link_ended(client, Cause::Network),
                }
                After::Closed
            }
        };
        self.scratch = scratch;
        after
    }

    /// Payloads that are handed on as they are, and what is between them. If none is there, the stream has ended.
    #[cold]
    fn read_client_payloads(&mut self, client: ClientKey, link: LinkId, scratch: &mut [u8]) -> After {
        let mut is_ended = true;
        for _ in 0..PAYLOADS_PER_READ {
            let Some(payload) = self.net.take_payload(link) else {
                if !is_ended {
                    return After::Drained;
                }
                self.link_ended(client, Cause::Closed);
                return After::Closed;
            };
            let Some(host) = self.clients.get_mut(client) else { return After::Closed };
            if host.stack.is_none() && host.machine.handle_payload(self.now, &payload) {
                self.drain_events(client);
            } else if !self.take_in_client(client, link, &payload) {
                return After::Closed;
            }
            let Some(host) = self.clients.get(client).filter(|host| host.connection.link() == Some(link)) else { return After::Closed };
            if !host.machine.wants_input() || self.must_rest() {
                return After::Again;
            }
            match self.net.read(link, scratch) {
                Ok(count) => {
                    is_ended = count == 0;
                    if count > 0 && !self.take_in_client(client, link, &scratch[..count]) {
                        return After::Closed;
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

    /// The link ended by itself; a layer may know more than that.
    fn link_ended(&mut self, client: ClientKey, cause: Cause) {
        match self.clients.get(client).and_then(|host| host.stack.as_ref()).and_then(|stack| stack.lost()) {
            Some(fault) => self.client_layer_failed(client, fault),
            None => self.client_lost(client, cause),
        }
    }

    /// One write of what the machine and its layers have to send. False: there was nothing.
    pub(super) fn flush_client(&mut self, client: ClientKey) -> bool {
        if self.must_rest() {
            return false;
        }
        let Some(host) = self.clients.get_mut(client) else { return false };
        let Some(link) = host.connection.link().filter(|_| !host.blocked && host.dirty) else { return false };
        // Its good-bye comes behind what the layers still have.
        let must_wait = host.machine.state() == State::Stopping && host.stack.as_ref().is_some_and(|stack| !stack.wire().is_empty());
        let out = match host.connection {
            Connection::Open(_) if !must_wait && host.machine.poll_transmit(self.now).is_some() => {
                // Before anybody can see that it was sent: the next publish is not to be refused for its sake.
                host.note_queued();
                Some(host.machine.output())
            }
            _ => None,
        };
        let (written, out) = match (&mut host.stack, out) {
            (None, Some(out)) => (write_once(&mut self.net, link, out), Some(out)),
            (Some(stack), out) if out.is_some() || !stack.wire().is_empty() => {
                let nothing = OutBuffer::default();
                let written = write_sealed(&mut self.net, link, stack, out.as_deref().unwrap_or(&nothing), false);
                (written, out)
            }
            _ => {
                host.dirty = false;
                // Asking may have ended things: an expired message, the end of a drain.
                self.drain_quietly(client);
                return false;
            }
        };
        match written {
            Ok((count, blocked)) => {
                out.into_iter().for_each(|out| out.advance(count));
                host.blocked = blocked;
                self.drain_events(client);
            }
            Err(_) => self.client_lost(client, Cause::Network),
        }
        true
    }

    /// The machine ends the connection: what it still has to say goes out first, as far as the
    /// socket takes it at once. Its events are not looked at here: the next may be a new dial.
    pub(super) fn hang_up(&mut self, client: ClientKey) {
        let now = self.now;
        let Some(host) = self.clients.get_mut(client) else { return };
        let Some(link) = host.connection.link() else { return self.let_go(client) };
        host.gauge.watch(None);
        let was_open = matches!(core::mem::replace(&mut host.connection, Connection::None), Connection::Open(_));
        let out = if was_open { host.machine.poll_transmit(now) } else { None };
        // The link is given up whatever becomes of it.
        let _ = match (host.stack.take(), out) {
            _ if host.blocked => Ok((0, true)),
            (None, Some(out)) => write_once(&mut self.net, link, out),
            (None, None) => Ok((0, false)),
            (Some(mut stack), out) => {
                let nothing = OutBuffer::default();
                write_sealed(&mut self.net, link, &mut stack, out.as_deref().unwrap_or(&nothing), true)
            }
        };
        self.linger(link, Speaker::Client(client));
        self.begin_parting(client);
    }

    /// A client that stops is not stopped before its good-bye has arrived, or its drain is over. Over sockets that is the kernel's affair.
    fn begin_parting(&mut self, client: ClientKey) {
        let Some(host) = self.clients.get_mut(client) else { return };
        host.is_parting = true;
        self.goes_on_parting(client);
    }

    /// It waits for that. Afterwards its events go on.
    pub(super) fn goes_on_parting(&mut self, client: ClientKey) -> bool {
        let Some(host) = self.clients.get_mut(client) else { return false };
        let may_wait = host.is_parting && host.machine.state() == State::Stopped && host.machine.stop_until().is_some_and(|until| until > self.now);
        host.is_parting = may_wait && self.last_words.has(Speaker::Client(client));
        host.is_parting
    }
}
