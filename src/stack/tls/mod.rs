//! TLS 1.2 and 1.3 as a layer (RFC 5246, RFC 8446), by rustls.
//!
//! [`ServerTls`] and [`ClientTls`] are made once of certificates, keys and rules, all of them bytes: who reads files
//! is above. Each makes the layer of a connection. A server's layer takes no memory for TLS before its client has said
//! something. Randomness is rustls's own; the wall clock is handed in ([`WallClock`]), and is never taken to be before
//! the clock floor: a board without a battery boots in 1970.
//!
//! What the peer does wrong becomes a [`Fault`] with a kind of its own (`fault`); rustls has then put its alert into
//! what is still to be written.

mod certificate;
mod client;
pub(super) mod fault;
#[cfg(feature = "quic")]
pub(super) mod refusal;
mod server;
mod signer;

use std::io::{IoSlice, Read, Write};
use std::sync::Arc;

use rustls::Connection;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;

#[cfg(feature = "quic")]
pub(super) use client::config as client_config;
pub use client::{ClientTls, ClientTlsOptions, Roots};
#[cfg(feature = "quic")]
pub(super) use server::config as server_config;
pub use server::{ServerTls, ServerTlsOptions};

use super::{About, Fault, FaultKind, Identity, Layer, Progress, TlsVersion};

/// What a connection holds, in its handshake and idle; tests/memory.rs measures it.
const CONNECTION_BYTES: usize = 7_600;

/// What rustls holds of a message that is not whole, at most.
const UNFINISHED_BYTES_MAX: usize = 64 << 10;

/// The first byte of a TLS connection: a handshake record, or an alert (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
const ALERT: u8 = 21;
/// A fatal alert "unexpected_message" for one who does not speak TLS, as a record (RFC 8446 §6).
const NOT_TLS: [u8; 7] = [ALERT, 3, 3, 0, 2, 2, 10];

static TLS13_ONLY: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

impl TlsVersion {
    fn and_newer(self) -> &'static [&'static rustls::SupportedProtocolVersion] {
        match self {
            Self::V12 => rustls::ALL_VERSIONS,
            Self::V13 => TLS13_ONLY,
        }
    }
}

/// Says what time it is, in seconds since 1970.
pub type WallClock = fn() -> u64;

/// The wall clock, and the second it is never before.
#[derive(Clone, Copy, Debug)]
struct Clock {
    now: WallClock,
    floor_s: u64,
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(core::time::Duration::from_secs((self.now)().max(self.floor_s))))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates of a PEM text. `what` is for the error.
fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| format!("{what}: {error}"))?;
    if all.is_empty() { Err(format!("{what}: no certificate in it")) } else { Ok(all) }
}

fn private_key(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("{what}: no private key in it ({error})"))
}

fn revocation_lists(pem: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|error| format!("revocation list: {error}"))
}

fn root_store(pem: &[u8], what: &str) -> Result<rustls::RootCertStore, String> {
    let mut store = rustls::RootCertStore::empty();
    for certificate in certificates(pem, what)? {
        store.add(certificate).map_err(|error| format!("{what}: {error}"))?;
    }
    Ok(store)
}

/// TLS of one connection.
struct Tls {
    state: State,
    /// Which name of the peer's certificate says who it is.
    identity: Identity,
    name: Option<String>,
    has_heard: bool,
    /// Bytes taken since the last plain ones came: half a record, or a long handshake.
    unfinished_bytes: usize,
    is_open: bool,
    is_ended: bool,
}

enum State {
    /// A server whose client has said nothing yet.
    Waiting(Arc<rustls::ServerConfig>),
    Running(Box<Connection>),
}

impl State {
    fn running(mut connection: Connection) -> Self {
        // The stack bounds what is sealed; what it hands over is taken, whatever the layers above have added to it.
        connection.set_buffer_limit(None);
        Self::Running(Box::new(connection))
    }
}

impl Tls {
    fn new(state: State, identity: Identity) -> Box<dyn Layer> {
        Box::new(Self { state, identity, name: None, has_heard: false, unfinished_bytes: 0, is_open: false, is_ended: false })
    }

    fn is_client(&self) -> bool {
        matches!(&self.state, State::Running(connection) if matches!(**connection, Connection::Client(_)))
    }

    /// Looks at the first byte: a peer that does not speak TLS at all is told apart from one that does it badly.
    fn hear(&mut self, first: u8, below: &mut Vec<u8>) -> Result<(), Fault> {
        self.has_heard = true;
        if first == HANDSHAKE || (first == ALERT && self.is_client()) {
            return Ok(());
        }
        if self.is_client() {
            return Err(Fault::new(FaultKind::NotTls, "the server does not speak TLS at this port"));
        }
        below.extend_from_slice(&NOT_TLS);
        Err(Fault::new(FaultKind::NotTls, "plain bytes on a TLS port"))
    }

    fn connection(&mut self) -> Result<&mut Connection, Fault> {
        if let State::Waiting(config) = &self.state {
            let connection = rustls::ServerConnection::new(config.clone()).map_err(|error| fault::of(&error, false))?;
            self.state = State::running(connection.into());
        }
        match &mut self.state {
            State::Running(connection) => Ok(connection),
            State::Waiting(_) => unreachable!("made above"),
        }
    }

    /// The handshake is done: who is it?
    fn opened(&mut self) -> Result<(), Fault> {
        self.is_open = true;
        if let (Some(certificate), false) = (self.certificate(), self.identity == Identity::None) {
            self.name = self.identity.of(certificate);
            if self.name.is_none() {
                return Err(Fault::new(FaultKind::CertificateRefused, "the certificate has no name of the kind that is asked for"));
            }
        }
        Ok(())
    }

    fn certificate(&self) -> Option<&[u8]> {
        let State::Running(connection) = &self.state else { return None };
        connection.peer_certificates().and_then(|chain| chain.first()).map(|certificate| &certificate[..])
    }
}

/// Everything rustls has to send.
fn drain(connection: &mut Connection, below: &mut Vec<u8>) {
    while connection.wants_write() {
        // A vector takes everything.
        if connection.write_tls(below).is_err() {
            return;
        }
    }
}

/// Takes `rest`; whether the peer has ended its side.
fn take(connection: &mut Connection, mut rest: &[u8], above: &mut Vec<u8>) -> Result<bool, Fault> {
    let is_client = matches!(connection, Connection::Client(_));
    while !rest.is_empty() {
        match connection.read_tls(&mut rest) {
            Ok(0) => return Ok(true), // Behind its good-bye: nobody's.
            Ok(_) => {}
            Err(error) => return Err(Fault::new(FaultKind::Tls, format!("TLS: {error}"))),
        }
        let state = connection.process_new_packets().map_err(|error| {
            // Here the error itself says it; what was noted is nobody's.
            #[cfg(feature = "quic")]
            refusal::take();
            fault::of(&error, is_client)
        })?;
        let start = above.len();
        above.resize(start + state.plaintext_bytes_to_read(), 0);
        connection.reader().read_exact(&mut above[start..]).map_err(|error| Fault::new(FaultKind::Tls, format!("TLS: {error}")))?;
        if state.peer_has_closed() {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Layer for Tls {
    fn begin(&mut self, below: &mut Vec<u8>) {
        if let State::Running(connection) = &mut self.state {
            drain(connection, below);
        }
    }

    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(&first) = bytes.first() else { return Ok(()) };
        if !self.has_heard {
            self.hear(first, below)?;
        }
        let was_open = self.is_open;
        let connection = self.connection()?;
        let before = above.len();
        let taken = take(connection, bytes, above);
        drain(connection, below);
        let is_done = !connection.is_handshaking();
        let has_plain = above.len() > before;
        self.unfinished_bytes = if has_plain || is_done != was_open { 0 } else { (self.unfinished_bytes + bytes.len()).min(UNFINISHED_BYTES_MAX) };
        self.is_ended |= taken?;
        if is_done && !was_open {
            self.opened()?;
        }
        Ok(())
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        let State::Running(connection) = &mut self.state else { return };
        let whole: usize = plain.iter().map(|slice| slice.len()).sum();
        // All slices in as few records as hold them.
        let taken = connection.writer().write_vectored(plain).unwrap_or_default();
        debug_assert_eq!(taken, whole, "an open connection takes everything");
        drain(connection, below);
    }

    fn close(&mut self, below: &mut Vec<u8>) {
        if let State::Running(connection) = &mut self.state {
            connection.send_close_notify();
            drain(connection, below);
        }
    }

    fn progress(&self) -> Progress {
        match (self.is_open, self.is_ended) {
            (_, true) => Progress::Ended,
            (true, _) => Progress::Open,
            _ => Progress::Handshake,
        }
    }

    fn lost(&self) -> Option<Fault> {
        let text = "the server ended the connection without a word of TLS: perhaps it does not speak it at this port";
        (!self.is_open && self.is_client() && !self.has_heard).then(|| Fault::new(FaultKind::NotTls, text))
    }

    fn tell(&mut self, about: &mut About) {
        about.identity = self.name.take();
        about.certificate = self.certificate().map(<[u8]>::to_vec);
        if let State::Running(connection) = &self.state {
            about.is_tls_resumed = connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
            about.tls_version = connection.protocol_version().map(|version| if version == rustls::ProtocolVersion::TLSv1_3 { "1.3" } else { "1.2" });
        }
    }

    fn memory_bytes(&self) -> usize {
        match &self.state {
            State::Waiting(_) => size_of::<Self>(),
            State::Running(_) => CONNECTION_BYTES + self.unfinished_bytes,
        }
    }
}

#[cfg(test)]
mod tests;
