//! The header in front of a connection that comes in.

use core::net::SocketAddr;

use super::header::{Header, Peer};
use crate::stack::ProxyPolicy as Policy;
use crate::stack::{About, Ends, Fault, FaultKind, Layer, Make, Networks, Progress};

/// Bytes of the longest header of version 2; proxies write a few hundred.
pub(super) const HEADER_BYTES_MAX: usize = 4_096;

/// Bytes of the longest header of version 1, with its end (§2.1).
const LINE_BYTES_MAX: usize = 107;

/// Bytes of a binary header before its addresses.
const FIXED_BYTES: usize = 16;

/// How the lines of version 1 begin.
const LINE_START: &[u8] = b"PROXY ";

/// Takes headers at a listener.
#[derive(Clone, Debug)]
pub struct Receive {
    /// [`Policy::Off`] makes no layer.
    pub policy: Policy,
    /// Whose headers are believed. A Unix socket has no address; who may open it is trusted.
    pub trusted: Networks,
}

impl Make for Receive {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let is_trusted = ends.source.is_none_or(|source| self.trusted.contains(source.ip()));
        match self.policy {
            Policy::Off => Ok(None),
            Policy::Optional if !is_trusted => Ok(None),
            Policy::Required if !is_trusted => Err(fault("this listener is for trusted proxies only")),
            policy => Ok(Some(Box::new(ReceiveLayer { receiver: Some(Receiver::new(policy)), header: None }))),
        }
    }
}

fn fault(what: &str) -> Fault {
    Fault::new(FaultKind::ProxyHeader, format!("PROXY protocol: {what}"))
}

/// A header, or that there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// `None`: what came is no header.
    pub header: Option<Header>,
    /// Bytes that came before and belong to what follows: without a header, all of them.
    pub held: Vec<u8>,
    /// Bytes of the last input that are the header's or in `held`.
    pub consumed: usize,
}

/// A header while it comes.
#[derive(Debug)]
pub struct Receiver {
    policy: Policy,
    bytes: Vec<u8>,
}

/// What the bytes so far are.
enum Found {
    Unfinished,
    Line,
    Binary,
    Nothing,
}

impl Receiver {
    /// Nothing has come yet.
    pub fn new(policy: Policy) -> Self {
        Self { policy, bytes: Vec::new() }
    }

    /// Takes bytes up to the end of the header. `None`: more are needed.
    ///
    /// # Errors
    /// The header is malformed, longer than its limit, or missing where it is required; the text
    /// says what.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Option<Received>, &'static str> {
        for (index, &byte) in input.iter().enumerate() {
            self.bytes.push(byte);
            let header = match self.look()? {
                Found::Unfinished => continue,
                Found::Line => Some(Header::of_version_1(&self.bytes)?),
                Found::Binary => Some(Header::of_version_2(&self.bytes)?),
                Found::Nothing if self.policy == Policy::Required => return Err("the header is missing"),
                Found::Nothing => None,
            };
            let held = if header.is_none() { core::mem::take(&mut self.bytes) } else { Vec::new() };
            return Ok(Some(Received { header, held, consumed: index + 1 }));
        }
        Ok(None)
    }

    fn look(&self) -> Result<Found, &'static str> {
        let bytes = &self.bytes[..];
        let begins = |start: &[u8]| bytes.starts_with(start) || start.starts_with(bytes);
        if begins(ppp::v2::PROTOCOL_PREFIX) {
            let Some(length) = bytes.get(14..FIXED_BYTES) else { return Ok(Found::Unfinished) };
            let whole = FIXED_BYTES + usize::from(u16::from_be_bytes([length[0], length[1]]));
            return match whole {
                _ if whole > HEADER_BYTES_MAX => Err("the header is longer than the limit"),
                _ if whole == bytes.len() => Ok(Found::Binary),
                _ => Ok(Found::Unfinished),
            };
        }
        match begins(LINE_START) {
            true if bytes.ends_with(b"\r\n") => Ok(Found::Line),
            true if bytes.len() >= LINE_BYTES_MAX => Err("the line is longer than the limit"),
            true => Ok(Found::Unfinished),
            false => Ok(Found::Nothing),
        }
    }
}

struct ReceiveLayer {
    /// `None`: the header is there, or there is none.
    receiver: Option<Receiver>,
    header: Option<Header>,
}

impl Layer for ReceiveLayer {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, _: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(receiver) = &mut self.receiver else {
            above.extend_from_slice(bytes);
            return Ok(());
        };
        let Some(received) = receiver.handle_input(bytes).map_err(fault)? else { return Ok(()) };
        above.extend_from_slice(&received.held);
        above.extend_from_slice(&bytes[received.consumed..]);
        self.header = received.header;
        self.receiver = None;
        Ok(())
    }

    fn progress(&self) -> Progress {
        if self.receiver.is_some() { Progress::Handshake } else { Progress::Done }
    }

    fn tell(&mut self, about: &mut About) {
        about.proxied = self.header.take().map(Box::new);
        about.source = about.proxied.as_ref().and_then(|header| socket_address(header.source.as_ref()?));
    }

    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.receiver.as_ref().map_or(0, |receiver| receiver.bytes.capacity())
    }
}

fn socket_address(peer: &Peer) -> Option<SocketAddr> {
    if let Peer::Tcp(address) = peer { Some(*address) } else { None }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
