//! What a peer did wrong below the plain bytes.

use core::fmt;
use std::borrow::Cow;

/// A fault of the peer, or of what it showed. The connection ends; nothing else changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Of what kind.
    pub kind: FaultKind,
    /// In words, for a log.
    pub text: Cow<'static, str>,
}

/// Kinds of faults, each a status of its own towards the application.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FaultKind {
    /// TLS failed in a way without a kind of its own.
    Tls,
    /// Nobody we trust has signed the certificate.
    UnknownIssuer,
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not come; or this clock is wrong.
    NotYetValid,
    /// The certificate is for another name.
    WrongName,
    /// The certificate was revoked.
    Revoked,
    /// No version of TLS is common to both.
    WeakVersion,
    /// No key of the chain is one of those pinned.
    PinMismatch,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer speaks TLS, and we do not.
    UnexpectedTls,
    /// The peer refused our certificate, or wants one.
    CertificateRefused,
    /// A WebSocket's handshake or frames break the standard.
    WebSocket,
    /// The request for a WebSocket was refused, by an answer of HTTP.
    UpgradeRefused,
    /// The header of the PROXY protocol is missing or malformed.
    ProxyHeader,
    /// A proxy did not make the way to the server.
    TunnelRefused,
    /// A proxy wants other credentials.
    TunnelCredentials,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}
