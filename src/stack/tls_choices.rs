//! Choices about TLS, as options have them in every build.

use std::sync::Arc;

/// Signs in place of a private key that this process does not have: by this scheme (RFC 8446 §4.2.3), this message.
/// `None`: it cannot.
pub type Sign = Arc<dyn Fn(u16, &[u8]) -> Option<Vec<u8>> + Send + Sync>;

/// The oldest version that is spoken.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum TlsVersion {
    /// TLS 1.2.
    #[default]
    V12,
    /// TLS 1.3.
    V13,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ClientCertificate {
    /// They are not asked.
    #[default]
    None,
    /// They are asked; one without is let in, one with a wrong one is not.
    Request,
    /// One without is not let in.
    Require,
}

/// What of a client's certificate says who it is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Identity {
    /// Nothing: user name and password do.
    #[default]
    None,
    /// The common name of the subject.
    CommonName,
    /// The first alternative name: DNS, e-mail or URI.
    AlternativeName,
    /// SHA-256 of the whole certificate, as 64 hexadecimal digits.
    Fingerprint,
}
