//! TLS of a client: whom it trusts, who it is itself.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::key_hash;
use super::fault::unusable;
use super::{Clock, State, Tls, WallClock, certificates, fault, private_key, provider, revocation_lists, root_store};
use crate::stack::{Ends, Fault, FaultKind, Identity, Layer, Make, Sign, TlsVersion};

/// Sessions kept to come back without a full handshake.
const SESSIONS_KEPT: usize = 16;

/// Whom a client trusts.
#[derive(Clone, Debug)]
pub enum Roots<'a> {
    /// The authorities of this PEM text.
    Pem(&'a [u8]),
    /// Those of the system, as they were read (DER); some of them may be of no use.
    System(Vec<Vec<u8>>),
    /// Everybody: the connection is encrypted and nobody knows to whom.
    DangerAnybody,
}

/// What the TLS of a client is made of. All texts are PEM.
#[derive(Clone)]
pub struct ClientTlsOptions<'a> {
    /// Whom it trusts.
    pub roots: Roots<'a>,
    /// Its own certificate, and the intermediate ones behind it.
    pub certificates: Option<&'a [u8]>,
    /// The private key for it.
    pub key: Option<&'a [u8]>,
    /// Signs in place of `key`.
    pub sign: Option<Sign>,
    /// The name that has to be in the server's certificate, and is sent to it (SNI); `None`: the host of its URI.
    pub server_name: Option<&'a str>,
    /// SHA-256 of public keys (SubjectPublicKeyInfo): one of the server's certificates has to have one of them.
    pub pins: Vec<[u8; 32]>,
    /// Lists of certificates that were revoked.
    pub revoked: Option<&'a [u8]>,
    /// The oldest version.
    pub version_min: TlsVersion,
    /// Protocols of ALPN (RFC 7301), the dearest first.
    pub alpn: &'a [String],
    /// What time it is.
    pub clock: WallClock,
    /// It is never taken to be before this second since 1970.
    pub clock_floor_s: u64,
}

impl<'a> ClientTlsOptions<'a> {
    /// A client without a certificate of its own.
    pub fn new(roots: Roots<'a>, clock: WallClock) -> Self {
        Self {
            roots,
            certificates: None,
            key: None,
            sign: None,
            server_name: None,
            pins: Vec::new(),
            revoked: None,
            version_min: TlsVersion::V12,
            alpn: &[],
            clock,
            clock_floor_s: 0,
        }
    }
}

/// TLS of a client's connections. Sessions are resumed as long as it lives.
pub struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// From its parts.
    ///
    /// # Errors
    /// A text without what it should have, or a key that does not fit the certificate; in words.
    pub fn new(options: &ClientTlsOptions<'_>) -> Result<Self, String> {
        let server_name = options.server_name.map(|name| server_name(name).ok_or_else(|| format!("'{name}' is neither a name nor an address"))).transpose()?;
        Ok(Self { config: Arc::new(config(options)?), server_name })
    }

    /// As [`ServerTls::in_records_of`](super::ServerTls::in_records_of).
    #[cfg(feature = "rudp")]
    pub fn in_records_of(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.config).max_fragment_size = Some(bytes);
        self
    }
}

/// What handshakes follow, and where sessions are kept.
pub(in crate::stack) fn config(options: &ClientTlsOptions<'_>) -> Result<rustls::ClientConfig, String> {
    let provider = provider();
    let clock = Arc::new(Clock { now: options.clock, floor_s: options.clock_floor_s });
    let verifier = Arc::new(Verifier { inner: verifier(options, &provider)?, pins: options.pins.clone(), provider: provider.clone() });
    let builder = rustls::ClientConfig::builder_with_details(provider.clone(), clock)
        .with_protocol_versions(options.version_min.and_newer())
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match (options.certificates, options.key, &options.sign) {
        (None, None, None) => builder.with_no_client_auth(),
        (Some(chain), Some(key), None) => {
            let (chain, key) = (certificates(chain, "certificate")?, private_key(key, "key")?);
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("certificate and key: {}", unusable(&error)))?
        }
        (Some(chain), None, Some(sign)) => {
            let chain = certificates(chain, "certificate")?;
            let key = super::signer::signing_key(&chain[0], sign.clone())?;
            builder.with_client_cert_resolver(Arc::new(Always(Arc::new(CertifiedKey::new(chain, key)))))
        }
        (Some(_), None, None) => return Err("a certificate needs its private key, or someone who signs".to_owned()),
        (Some(_), Some(_), Some(_)) => return Err("a private key, or someone who signs, not both".to_owned()),
        (None, ..) => return Err("a private key needs its certificate".to_owned()),
    };
    config.alpn_protocols = options.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
    Ok(config)
}

fn server_name(text: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(text.to_owned()).ok()
}

impl Make for ClientTls {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let wrong = || Fault::new(FaultKind::WrongName, format!("'{}' is no name a certificate can be for", ends.host));
        let name = self.server_name.clone().or_else(|| server_name(ends.host)).ok_or_else(wrong)?;
        let connection = rustls::ClientConnection::new(self.config.clone(), name).map_err(|error| fault::of(&error, true))?;
        Ok(Some(Tls::new(State::running(connection.into()), Identity::None)))
    }
}

/// Shows the one certificate there is, whatever the server asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Always {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn verifier(options: &ClientTlsOptions<'_>, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<WebPkiServerVerifier>>, String> {
    let roots = match &options.roots {
        Roots::DangerAnybody => return Ok(None),
        Roots::Pem(pem) => root_store(pem, "ca")?,
        Roots::System(certificates) => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(certificates.iter().map(|der| CertificateDer::from(der.clone())));
            store
        }
    };
    if roots.is_empty() {
        return Err("no authority to trust: the system has none, set ca_file".to_owned());
    }
    let mut builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    if let Some(revoked) = options.revoked {
        builder = builder.with_crls(revocation_lists(revoked)?);
    }
    builder.build().map(Some).map_err(|error| format!("ca: {error}"))
}

/// The usual check, unless it was switched off, and pins.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    pins: Vec<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judge = || {
            if let Some(inner) = &self.inner {
                inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
            }
            let is_pinned = |certificate: &CertificateDer<'_>| key_hash(certificate).is_some_and(|hash| self.pins.contains(&hash));
            // Its own only: behind that, a server may send any certificate it likes.
            match self.pins.is_empty() || is_pinned(end_entity) {
                true => Ok(ServerCertVerified::assertion()),
                false => Err(CertificateError::ApplicationVerificationFailure.into()),
            }
        };
        let judgement = judge();
        #[cfg(feature = "quic")]
        super::refusal::note(judgement.as_ref().err());
        judgement
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
