//! One connection of QUIC, with its one stream.

use core::net::{IpAddr, SocketAddr};
use std::collections::VecDeque;

use quinn_proto::{Connection as Machine, ConnectionEvent, Dir, Event as Told, ReadError, ReadableError, StreamEvent, StreamId, Transmit, VarInt, WriteError};
use rustls::pki_types::CertificateDer;

use super::fault;
use super::windows::Windows;
use crate::base::{Duration, Instant};
use crate::stack::{About, ConnectionId, DatagramEvent, DatagramProtocol, DatagramStatistics, Fault, FaultKind, Identity};

/// Good-bye, without a reason: MQTT has said it.
pub(super) const GOOD_BYE: VarInt = VarInt::from_u32(0);
/// A stream that is one too many.
const ONE_STREAM: VarInt = VarInt::from_u32(1);

/// How far it is, for the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// The host of a server has not heard of it, that of a client waits.
    Opening,
    Open,
    /// The host has heard of its end, or has closed it.
    Over,
}

/// What it takes of the places there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Taken,
    /// None: the host has written its last, which is on its way.
    Leaving,
    /// None: the host has closed it, or never heard of it.
    Free,
}

pub(super) struct Connection {
    pub id: ConnectionId,
    pub machine: Machine,
    pub phase: Phase,
    pub place: Place,
    /// Where it is; a server knows that it is there.
    pub peer: SocketAddr,
    /// An answer came from a new address, which may be one to what was asked at the old one.
    answered: Option<SocketAddr>,
    /// A new address has answered what it was asked.
    proved: Option<SocketAddr>,
    /// As it is on the list of timers.
    pub due: Option<Instant>,
    /// On the list of those that may have something to send.
    pub is_dirty: bool,
    /// Somebody who wants to come in, and is not in yet: from there.
    pub shaking_from: Option<IpAddr>,
    /// The host has been told of it, and has not closed it.
    pub is_known: bool,
    identity: Identity,
    stream: Option<StreamId>,
    /// How often the path was another one: for a client, how often the server has asked whether it is.
    pub path_changes: u64,
    /// What went as early data, until it is known whether it was taken.
    early: Option<Vec<u8>>,
    /// Of that, what has to go again.
    again: Vec<u8>,
    windows: Windows,
    /// As it is in the sum of its endpoint.
    pub charged_bytes: usize,
}

impl Connection {
    pub fn new(now: Instant, id: ConnectionId, machine: Machine, identity: Identity) -> Self {
        let peer = machine.remote_address();
        Self {
            id,
            machine,
            phase: Phase::Opening,
            place: Place::Taken,
            peer,
            answered: None,
            proved: None,
            due: None,
            is_dirty: false,
            shaking_from: None,
            is_known: false,
            identity,
            stream: None,
            path_changes: 0,
            early: None,
            again: Vec::new(),
            windows: Windows::new(now),
            charged_bytes: 0,
        }
    }

    /// A datagram for it came from there.
    pub fn receive(&mut self, from: SocketAddr, event: ConnectionEvent) {
        // It seems to be there since an earlier datagram, and was asked there. Who can answer has the keys of the connection.
        let is_asked = self.machine.side().is_server() && from != self.peer && from == self.machine.remote_address();
        let answers = |machine: &Machine| machine.stats().frame_rx.path_response;
        let before = is_asked.then(|| answers(&self.machine));
        self.machine.handle_event(event);
        if before.is_some_and(|before| answers(&self.machine) > before) {
            self.answered = Some(from);
        }
    }

    /// What it sends next. Whether an answer was the one that was waited for the machine does not say. But the client is asked at the old
    /// address, too, and whoever sends its answer on from elsewhere must not prove anything by that. So it is looked at what is done: while it waits,
    /// the machine asks with everything that it sends but probes of the path's size.
    pub fn transmit(&mut self, now: std::time::Instant, datagrams_max: usize, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let Some(answered) = self.answered else { return self.machine.poll_transmit(now, datagrams_max, buffer) };
        let counted = |machine: &Machine| (machine.stats().frame_tx.path_challenge, machine.stats().path.sent_plpmtud_probes);
        let (asked, probed) = counted(&self.machine);
        let transmit = self.machine.poll_transmit(now, datagrams_max, buffer);
        if transmit.as_ref().is_some_and(|transmit| transmit.destination == answered) {
            match counted(&self.machine) {
                (asked_now, _) if asked_now != asked => self.answered = None,
                (_, probed_now) if probed_now == probed => self.proved = self.answered.take(),
                _ => {}
            }
        }
        transmit
    }

    /// What it may hold, beside itself.
    pub fn held_bytes(&mut self, now: Instant) -> usize {
        self.windows.settle(now, &mut self.machine, self.stream.filter(|_| self.phase == Phase::Open));
        self.windows.bytes() + self.early.as_ref().map_or(0, Vec::capacity) + self.again.capacity()
    }

    /// A client that is known may send at once.
    pub fn begin_early(&mut self, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        if self.machine.has_0rtt() {
            self.stream = self.machine.streams().open(Dir::Bi);
            if self.stream.is_some() {
                self.early = Some(Vec::new());
                self.opened(events);
            }
        }
    }

    /// Tells what the machine says, in words of the host.
    pub fn tell(&mut self, told: Told, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        let is_client = self.machine.side().is_client();
        match told {
            Told::Connected if is_client => self.connected(events),
            Told::ConnectionLost { reason } => self.lost(fault::of(&reason, is_client), events),
            Told::Stream(StreamEvent::Opened { dir: Dir::Bi }) => self.accept_stream(events),
            Told::Stream(StreamEvent::Readable { id }) if self.is_open_at(id) => {
                // Once for all the datagrams of a batch.
                if events.back() != Some(&(self.id, DatagramEvent::Readable)) {
                    events.push_back((self.id, DatagramEvent::Readable));
                }
            }
            Told::Stream(StreamEvent::Writable { id }) if self.is_open_at(id) => events.push_back((self.id, DatagramEvent::Writable)),
            Told::Stream(StreamEvent::Finished { id }) if self.is_open_at(id) => {
                self.windows.said();
                events.push_back((self.id, DatagramEvent::Said));
            }
            Told::Stream(StreamEvent::Stopped { id, .. }) if self.is_open_at(id) => self.lost(None, events),
            _ => {}
        }
    }

    /// Its path may be another one now.
    pub fn look_at_path(&mut self, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        // A server has no other reason to ask a client for its path than that it seems to be elsewhere.
        let (peer, changes) = match (self.machine.side().is_client(), self.proved.take()) {
            (true, _) => (self.machine.remote_address(), self.machine.stats().frame_rx.path_challenge),
            (false, Some(proved)) => (proved, self.path_changes + 1),
            (false, None) => return,
        };
        self.peer = peer;
        if core::mem::replace(&mut self.path_changes, changes) != changes && self.phase == Phase::Open {
            events.push_back((self.id, DatagramEvent::Moved(peer)));
        }
    }

    /// What happened on it.
    pub fn statistics(&self) -> DatagramStatistics {
        let all = self.machine.stats();
        DatagramStatistics {
            protocol: DatagramProtocol::Quic,
            round_trip: Duration::from_micros(u64::try_from(all.path.rtt.as_micros()).unwrap_or(u64::MAX)),
            window_bytes: all.path.cwnd,
            datagram_bytes_max: all.path.current_mtu.into(),
            datagrams_sent: all.udp_tx.datagrams,
            bytes_sent: all.udp_tx.bytes,
            datagrams_received: all.udp_rx.datagrams,
            bytes_received: all.udp_rx.bytes,
            datagrams_lost: all.path.lost_packets,
            retransmissions: 0,
            path_changes: self.path_changes,
        }
    }

    fn is_open_at(&self, stream: StreamId) -> bool {
        self.phase == Phase::Open && self.stream == Some(stream)
    }

    /// The handshake of a client is done.
    fn connected(&mut self, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        match self.early.take() {
            None => {
                self.stream = self.machine.streams().open(Dir::Bi);
                match self.stream {
                    Some(_) => self.opened(events),
                    None => self.lost(Some(Fault::new(FaultKind::Datagram, "the server allows no stream")), events),
                }
            }
            Some(early) => {
                if !self.machine.accepted_0rtt() {
                    // All streams are forgotten with what was in them.
                    (self.stream, self.again) = (self.machine.streams().open(Dir::Bi), early);
                    self.send_again();
                }
                events.push_back((self.id, DatagramEvent::Writable));
            }
        }
    }

    fn opened(&mut self, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        self.phase = Phase::Open;
        events.push_back((self.id, DatagramEvent::Opened(Box::new(self.about()))));
    }

    /// A client has opened a stream: with the first one it is there.
    fn accept_stream(&mut self, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        while let Some(stream) = self.machine.streams().accept(Dir::Bi) {
            if self.stream.is_some() || self.phase != Phase::Opening {
                // The peer was told that there is one. What cannot be reset is closed already.
                let _ = self.machine.recv_stream(stream).stop(ONE_STREAM);
                let _ = self.machine.send_stream(stream).reset(ONE_STREAM);
                continue;
            }
            self.stream = Some(stream);
            let about = self.about();
            if about.identity.is_none() && about.certificate.is_some() && self.identity != Identity::None {
                let fault = Fault::new(FaultKind::CertificateRefused, "the certificate has no name of the kind that is asked for");
                return self.lost(Some(fault), events);
            }
            // From now on the host closes it, even if it ends before the host has looked.
            (self.phase, self.is_known) = (Phase::Open, true);
            let (peer, local) = (self.peer, self.machine.local_ip());
            events.push_back((self.id, DatagramEvent::Accepted { peer, local, about: Box::new(about) }));
        }
    }

    fn about(&self) -> About {
        let chain = self.machine.crypto_session().peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
        let certificate = chain.and_then(|chain| chain.first().map(|certificate| certificate.to_vec()));
        let identity = certificate.as_deref().and_then(|der| self.identity.of(der));
        About { identity, certificate, tls_version: Some("1.3"), is_tls_resumed: self.machine.has_0rtt(), ..About::default() }
    }

    /// It is over; who has not heard of it hears of a failure.
    pub fn lost(&mut self, fault: Option<Fault>, events: &mut VecDeque<(ConnectionId, DatagramEvent)>) {
        let is_unknown = self.phase == Phase::Opening && self.machine.side().is_server();
        if core::mem::replace(&mut self.phase, Phase::Over) == Phase::Over {
            return;
        }
        let event = match (is_unknown, fault) {
            (false, fault) => DatagramEvent::Ended(fault),
            (true, Some(fault)) => DatagramEvent::Failed { peer: self.peer, fault },
            // Good-bye before anything was said.
            (true, None) => return,
        };
        events.push_back((self.id, event));
    }

    /// What came; as [`DatagramEndpoint::read`](crate::stack::DatagramEndpoint::read).
    pub fn read(&mut self, now: Instant, buffer: &mut [u8], events: &mut VecDeque<(ConnectionId, DatagramEvent)>) -> Option<usize> {
        let mut stream = self.machine.recv_stream(self.stream?);
        let mut chunks = match stream.read(true) {
            Ok(chunks) => chunks,
            // Read to its end before.
            Err(ReadableError::ClosedStream | ReadableError::IllegalOrderedRead) => return Some(0),
        };
        let (mut count, mut end) = (0, None);
        while count < buffer.len() && end.is_none() {
            match chunks.next(buffer.len() - count) {
                Ok(Some(chunk)) => {
                    buffer[count..count + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                    count += chunk.bytes.len();
                }
                Ok(None) => end = Some(Ok(())),
                Err(ReadError::Blocked) => break,
                Err(ReadError::Reset(code)) => end = Some(Err(code)),
            }
        }
        // The endpoint asks for what there is to be sent in any case.
        let _ = chunks.finalize();
        self.windows.read(now, count, &mut self.machine);
        if end.is_some() {
            self.windows.at_end();
        }
        match end {
            _ if count > 0 => Some(count),
            Some(Ok(())) => Some(0),
            Some(Err(code)) => {
                self.lost(Some(Fault::new(FaultKind::Datagram, format!("the peer broke off its stream ({code})"))), events);
                None
            }
            None => None,
        }
    }

    fn send_again(&mut self) {
        let Some(stream) = self.stream else { return };
        while !self.again.is_empty() {
            let Ok(taken) = self.machine.send_stream(stream).write(&self.again) else { return };
            self.windows.wrote(taken);
            self.again.drain(..taken);
        }
    }

    /// Takes bytes to be sent; how many.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let Some(stream) = self.stream.filter(|_| self.phase == Phase::Open) else { return 0 };
        self.send_again();
        let is_held = self.early.as_ref().is_some_and(|early| !early.is_empty());
        if is_held || !self.again.is_empty() {
            return 0;
        }
        // Until it says that it takes no more: only then does it tell when it does again.
        let mut taken = 0;
        while taken < bytes.len() {
            match self.machine.send_stream(stream).write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => break,
            }
        }
        self.windows.wrote(taken);
        if let Some(early) = &mut self.early {
            early.extend_from_slice(&bytes[..taken]);
        }
        taken
    }

    /// No more will be written.
    pub fn finish(&mut self) {
        if let Some(stream) = self.stream {
            // What is left of early data that was refused does not wait any longer; a stream that is closed needs no end.
            let _ = self.machine.send_stream(stream).finish();
        }
    }
}
