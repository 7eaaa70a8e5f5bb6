//! Optional layers between a link and what is spoken over it: tunnel, proxy header, TLS, WebSocket.
//!
//! # Theory of operation
//! ```text
//!            bytes of the link ──open──>                        ──> plain bytes, appended to the caller's buffer
//!   link      [ tunnel ] [ proxy ] [ tls ] [ ws ]    what is spoken
//!            wire  <── kept here until written <──seal──        <── plain bytes
//! ```
//! The order of the layers is always the same, and each is there or not. A connection without any has no
//! stack at all: plain TCP pays for none of this. A [`Layer`] is a pure machine of bytes; it has never
//! heard of sockets, of its neighbours, or of MQTT.
//!
//! Layers are made before the first byte. From the lowest up, each may speak first ([`Layer::begin`]) when
//! those below it are open; when the highest is open, the stack is established, tells once what its layers
//! have learnt ([`About`]), and takes plain bytes. What layers have to say themselves (handshakes, pongs,
//! good-byes) goes the same way down and waits with the rest.
//!
//! The host reads, calls [`Stack::open`], hands on what came out, and writes [`Stack::wire`] once a turn. It
//! seals until the wire buffer is at its mark (`WIRE_BYTES_MAX`) and leaves the rest where it is, so that
//! what waits for a slow reader is counted there, in plain bytes. While more than the mark waits it does
//! not read either: a peer that makes us answer has to take the answers.
//!
//! How long a handshake may take is the host's to say: no layer knows the time.
//!
//! A layer that has done its work (a proxy header was read) is taken out.

mod choices;
#[cfg(feature = "datagram")]
mod datagram;
mod datagram_statistics;
mod fault;
#[cfg(any(feature = "websocket", feature = "proxy"))]
mod http;
mod networks;
#[cfg(feature = "proxy")]
pub mod proxy;
#[cfg(feature = "quic")]
pub mod quic;
mod recipe;
#[cfg(feature = "rudp")]
pub mod rudp;
#[cfg(feature = "tls")]
pub mod tls;
mod tls_choices;
#[cfg(feature = "proxy")]
pub mod tunnel;
#[cfg(feature = "websocket")]
pub mod ws;

use core::net::SocketAddr;
use std::io::IoSlice;

pub use choices::{ProxyPolicy, ProxyVersion, TunnelKind, is_field, is_path};
#[cfg(feature = "datagram")]
pub use datagram::{Birth, CongestionControl, ConnectionId, DatagramEndpoint, DatagramLimits, Event as DatagramEvent, MakeDatagrams, Received, Transmit};
pub use datagram_statistics::{DatagramCounters, DatagramProtocol, DatagramStatistics, DatagramWatch};
pub use fault::{Fault, FaultKind};
pub use networks::Networks;
pub use recipe::{Ends, Make, Recipe};
pub use tls_choices::{ClientCertificate, Identity, Sign, TlsVersion};

use crate::base::{Budget, Charge, OutBuffer};

/// Sealing stops while so much waits to be written. One seal may pass it by what it adds to its bytes.
const WIRE_BYTES_MAX: usize = 64 << 10;
/// Slices sealed at once.
const SLICES_MAX: usize = 64;

/// Where a layer lies, from the link up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A way through a proxy (HTTP CONNECT, SOCKS5), made by a client.
    Tunnel,
    /// The PROXY protocol's header.
    Proxy,
    /// TLS.
    Tls,
    /// WebSocket.
    WebSocket,
}

const PLACES: usize = Place::WebSocket as usize + 1;

/// How far a layer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It shakes hands: nothing passes yet.
    Handshake,
    /// Bytes pass.
    Open,
    /// Bytes pass it unchanged from now on: it can be taken out.
    Done,
    /// The peer has said good-bye: nothing more comes.
    Ended,
}

/// One layer: a machine of bytes. What it appends to `below` goes towards the link, to `above` the other way.
pub trait Layer: Send {
    /// Everything below is open: it may speak first.
    fn begin(&mut self, below: &mut Vec<u8>) {
        let _ = below;
    }

    /// Takes all of `bytes`, which came from below. What it appends is good also when it fails: `below` then has its
    /// last word.
    ///
    /// # Errors
    /// The peer broke the rules of this layer, or is not who it should be; nothing more can be taken.
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault>;

    /// Takes all of `plain`. Called only while it is open. By default it passes unchanged.
    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        plain.iter().for_each(|slice| below.extend_from_slice(slice));
    }

    /// Says good-bye, if this layer has a word for it.
    fn close(&mut self, below: &mut Vec<u8>) {
        let _ = below;
    }

    /// How far it is.
    fn progress(&self) -> Progress;

    /// The link ended without a good-bye: what that may mean, if this layer knows more than that.
    fn lost(&self) -> Option<Fault> {
        None
    }

    /// It is open now: what it has learnt of the peer.
    fn tell(&mut self, about: &mut About) {
        let _ = about;
    }

    /// Memory it holds, about.
    fn memory_bytes(&self) -> usize;
}

/// What the layers have learnt of the peer.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct About {
    /// Where the peer really is, a trusted proxy says.
    pub source: Option<SocketAddr>,
    /// All that proxy says.
    #[cfg(feature = "proxy")]
    pub proxied: Option<Box<proxy::Header>>,
    /// Who it is to a trusted HTTP proxy (X-Forwarded-For).
    pub forwarded_for: Option<core::net::IpAddr>,
    /// Who it is, by its certificate.
    pub identity: Option<String>,
    /// Its certificate (DER).
    pub certificate: Option<Vec<u8>>,
    /// The version of TLS: "1.2" or "1.3".
    pub tls_version: Option<&'static str>,
    /// The largest packet that fits what carries it, if there is such a thing.
    #[cfg(feature = "datagram")]
    pub packet_bytes_max: Option<u32>,
    /// The other side was asked for a newer protocol than this one, and does not know it.
    #[cfg(feature = "datagram")]
    pub is_fallback: bool,
    /// TLS went on with an earlier session: no certificate was shown again.
    pub is_tls_resumed: bool,
    /// What it asked for a WebSocket with.
    pub request: Option<Box<WebSocketRequest>>,
}

/// What a client has asked for a WebSocket with.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct WebSocketRequest {
    /// The path, without its query.
    pub path: Box<str>,
    /// The page that asked, if it was a browser.
    pub origin: Option<Box<str>>,
}

/// What a trusted proxy says in its header of the connection that the client has with it; borrowed.
#[derive(Clone, Copy, Default, Debug)]
pub struct SaidByProxy<'a> {
    /// The name the client asked for.
    pub authority: Option<&'a str>,
    /// The version of TLS.
    pub tls_version: Option<&'a str>,
    /// Its cipher.
    pub tls_cipher: Option<&'a str>,
    /// The common name in a certificate the proxy has verified.
    pub common_name: Option<&'a str>,
    /// The proxy's name for the connection.
    pub unique_id: Option<&'a [u8]>,
    /// The protocol agreed on by ALPN.
    pub alpn: Option<&'a [u8]>,
}

impl About {
    /// Nothing, in a build without the PROXY protocol.
    #[cfg(not(feature = "proxy"))]
    pub fn said_by_proxy(&self) -> SaidByProxy<'_> {
        SaidByProxy::default()
    }

    /// What a trusted proxy says in its header.
    #[cfg(feature = "proxy")]
    pub fn said_by_proxy(&self) -> SaidByProxy<'_> {
        let Some(header) = &self.proxied else { return SaidByProxy::default() };
        let tls = header.tls.as_ref();
        SaidByProxy {
            authority: header.authority.as_deref(),
            tls_version: tls.and_then(|tls| tls.version.as_deref()),
            tls_cipher: tls.and_then(|tls| tls.cipher.as_deref()),
            common_name: tls.filter(|tls| tls.is_verified).and_then(|tls| tls.common_name.as_deref()),
            unique_id: header.unique_id.as_deref(),
            alpn: header.alpn.as_deref(),
        }
    }

    /// Who the peer really is, if a trusted proxy stands between.
    pub fn peer(&self) -> Option<String> {
        #[cfg(feature = "proxy")]
        let proxied = self.proxied.as_ref().and_then(|header| header.source.as_ref()).map(ToString::to_string);
        #[cfg(not(feature = "proxy"))]
        let proxied = None;
        // An HTTP proxy stands behind one that only carries bytes. The client's port is not known.
        self.forwarded_for.map(|address| SocketAddr::new(address, 0).to_string()).or(proxied)
    }

    /// Memory it holds, about.
    pub fn memory_bytes(&self) -> usize {
        #[cfg(feature = "proxy")]
        let proxied = self.proxied.as_ref().map_or(0, |header| header.memory_bytes());
        #[cfg(not(feature = "proxy"))]
        let proxied = 0;
        let asked = |request: &WebSocketRequest| size_of::<WebSocketRequest>() + request.path.len() + request.origin.as_ref().map_or(0, |origin| origin.len());
        size_of::<Self>()
            + proxied
            + self.request.as_deref().map_or(0, asked)
            + self.identity.as_ref().map_or(0, String::len)
            + self.certificate.as_ref().map_or(0, Vec::len)
    }
}

/// What came of [`Stack::open`], besides bytes.
#[derive(Default, Debug)]
pub struct Opened {
    /// Just now the stack was established.
    pub established: Option<Box<About>>,
    /// Just now it turned out who is behind a proxy that only carries bytes, or that nobody is, see [`Stack::peer`]; the stack is not
    /// established yet.
    pub is_introduced: bool,
    /// The peer sends no more.
    pub is_ended: bool,
}

/// The layers of one connection.
pub struct Stack {
    layers: [Option<Box<dyn Layer>>; PLACES],
    /// Those below this one are open; it was told to begin if `has_begun`.
    level: usize,
    has_begun: bool,
    is_closed: bool,
    wire: OutBuffer,
    /// What those have told that are done; `None`: nothing yet, or all have told.
    about: Option<Box<About>>,
    charge: Charge,
}

impl Stack {
    /// No layer yet.
    pub fn new(budget: &Budget) -> Box<Self> {
        Box::new(Self {
            layers: Default::default(),
            level: 0,
            has_begun: false,
            is_closed: false,
            wire: OutBuffer::default(),
            about: None,
            charge: budget.charge(size_of::<Self>()),
        })
    }

    /// Puts a layer in, before the first byte.
    pub fn set(&mut self, place: Place, layer: Box<dyn Layer>) {
        debug_assert!(self.level == 0 && !self.has_begun, "layers are put in before anything else");
        self.layers[place as usize] = Some(layer);
    }

    /// No layer is left: the connection needs no stack any more, once its wire buffer is empty.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty() && self.layers.iter().all(Option::is_none)
    }

    /// The link is there: the lowest layer may speak. Established at once if no layer shakes hands.
    pub fn begin(&mut self) -> Option<Box<About>> {
        let about = self.proceed();
        self.recharge();
        about
    }

    /// Bytes came from the link; plain ones are appended to `plain`, at once in front of any fault.
    ///
    /// # Errors
    /// The peer is at fault. What the wire buffer has is still to be written.
    pub fn open(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Opened, Fault> {
        let opened = self.pass_up(bytes, plain);
        self.recharge();
        opened
    }

    fn pass_up(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Opened, Fault> {
        let mut below = Vec::new();
        let mut from_below: Option<Vec<u8>> = None;
        for index in 0..PLACES {
            let is_top = self.layers[index + 1..].iter().all(Option::is_none);
            let (lower, rest) = self.layers.split_at_mut(index);
            let Some(layer) = &mut rest[0] else { continue };
            let mut above = Vec::new();
            let input = from_below.as_deref().unwrap_or(bytes);
            let result = layer.open(input, if is_top { plain } else { &mut above }, &mut below);
            pass_down(lower, &mut below, &mut self.wire);
            result?;
            from_below = Some(above);
        }
        if self.layers.iter().all(Option::is_none) {
            plain.extend_from_slice(bytes);
        }
        let had_proxy = self.layers[Place::Proxy as usize].is_some();
        let established = self.proceed();
        // An HTTP proxy behind may name somebody else: then nothing is known before its request came.
        let is_introduced =
            established.is_none() && had_proxy && self.layers[Place::Proxy as usize].is_none() && self.layers[Place::WebSocket as usize].is_none();
        Ok(Opened { established, is_introduced, is_ended: self.is_ended() })
    }

    /// Lets each layer begin when those below are open. `Some`: now all are.
    fn proceed(&mut self) -> Option<Box<About>> {
        if self.is_established() {
            return None;
        }
        while self.level < PLACES {
            let (lower, rest) = self.layers.split_at_mut(self.level);
            if let Some(layer) = &mut rest[0] {
                if !core::mem::replace(&mut self.has_begun, true) {
                    let mut below = Vec::new();
                    layer.begin(&mut below);
                    pass_down(lower, &mut below, &mut self.wire);
                }
                match layer.progress() {
                    Progress::Handshake => return None,
                    Progress::Done => {
                        layer.tell(self.about.get_or_insert_default());
                        rest[0] = None;
                    }
                    Progress::Open | Progress::Ended => {}
                }
            }
            self.level += 1;
            self.has_begun = false;
        }
        let mut about = self.about.take().unwrap_or_default();
        self.layers.iter_mut().flatten().for_each(|layer| layer.tell(&mut about));
        Some(about)
    }

    /// Who the peer really is, a trusted proxy says; known before it is established. `None`: nobody has said anything.
    pub fn peer(&self) -> Option<String> {
        self.about.as_ref()?.peer()
    }

    /// Takes plain bytes off the front of `plain` as long as the wire buffer is below its mark: how many. The caller
    /// advances it.
    pub fn seal(&mut self, plain: &OutBuffer) -> usize {
        if !self.is_established() || self.is_closed {
            return 0;
        }
        let mut room = WIRE_BYTES_MAX.saturating_sub(self.wire.len());
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let (mut filled, mut taken) = (0, 0);
        for (slot, slice) in slices.iter_mut().zip(plain.slices()) {
            let slice = &slice[..slice.len().min(room)];
            if slice.is_empty() {
                break;
            }
            *slot = IoSlice::new(slice);
            filled += 1;
            taken += slice.len();
            room -= slice.len();
        }
        if taken > 0 {
            seal_through(&mut self.layers, &slices[..filled], &mut self.wire);
            self.recharge();
        }
        taken
    }

    /// Says good-bye, from the highest layer down; nothing is sealed afterwards.
    pub fn close(&mut self) {
        if core::mem::replace(&mut self.is_closed, true) {
            return;
        }
        for index in (0..PLACES).rev() {
            let (lower, rest) = self.layers.split_at_mut(index);
            if let Some(layer) = &mut rest[0] {
                let mut below = Vec::new();
                layer.close(&mut below);
                pass_down(lower, &mut below, &mut self.wire);
            }
        }
        self.recharge();
    }

    /// The link ended without a good-bye: what a layer can say about that.
    pub fn lost(&self) -> Option<Fault> {
        self.layers.iter().flatten().find_map(|layer| layer.lost())
    }

    /// What waits to be written to the link.
    pub fn wire(&self) -> &OutBuffer {
        &self.wire
    }

    /// `count` bytes of the wire buffer were written.
    pub fn wrote(&mut self, count: usize) {
        self.wire.advance(count);
        self.wire.release();
        self.recharge();
    }

    /// More waits to be written than the mark: it should not be read.
    pub fn is_wire_full(&self) -> bool {
        self.wire.len() > WIRE_BYTES_MAX
    }

    /// Plain bytes pass.
    pub fn is_established(&self) -> bool {
        self.level == PLACES
    }

    /// The peer has said good-bye: nothing more comes.
    pub fn is_ended(&self) -> bool {
        self.layers.iter().flatten().any(|layer| layer.progress() == Progress::Ended)
    }

    /// Memory it holds, about.
    pub fn memory_bytes(&self) -> usize {
        let layers: usize = self.layers.iter().flatten().map(|layer| layer.memory_bytes()).sum();
        size_of::<Self>() + self.wire.memory_bytes() + layers + self.about.as_ref().map_or(0, |about| about.memory_bytes())
    }

    fn recharge(&mut self) {
        self.charge.resize(self.memory_bytes());
    }
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").field("level", &self.level).field("wire", &self.wire.len()).finish_non_exhaustive()
    }
}

/// What a layer says itself goes through those below it. Empties `bytes`.
fn pass_down(lower: &mut [Option<Box<dyn Layer>>], bytes: &mut Vec<u8>, wire: &mut OutBuffer) {
    if !bytes.is_empty() {
        seal_through(lower, &[IoSlice::new(bytes)], wire);
        bytes.clear();
    }
}

fn seal_through(layers: &mut [Option<Box<dyn Layer>>], plain: &[IoSlice<'_>], wire: &mut OutBuffer) {
    let mut highest_first = layers.iter_mut().rev().flatten().peekable();
    let Some(highest) = highest_first.next() else {
        plain.iter().for_each(|slice| wire.tail().extend_from_slice(slice));
        return;
    };
    if highest_first.peek().is_none() {
        return highest.seal(plain, wire.tail());
    }
    let mut sealed = Vec::new();
    highest.seal(plain, &mut sealed);
    while let Some(layer) = highest_first.next() {
        let below = core::mem::take(&mut sealed);
        match highest_first.peek() {
            Some(_) => layer.seal(&[IoSlice::new(&below)], &mut sealed),
            None => layer.seal(&[IoSlice::new(&below)], wire.tail()),
        }
    }
}

#[cfg(test)]
mod tests;
