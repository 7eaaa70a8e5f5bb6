//! TLS of a listener: its certificate, whom it trusts, and what it wants to know of its clients.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;

use super::fault::unusable;
use super::{Clock, State, Tls, WallClock, certificates, private_key, provider, revocation_lists, root_store};
use crate::stack::{ClientCertificate, Ends, Fault, Identity, Layer, Make, TlsVersion};

/// What the TLS of a listener is made of. All texts are PEM.
#[derive(Clone, Debug)]
pub struct ServerTlsOptions<'a> {
    /// The server's certificate, and the intermediate ones behind it.
    pub certificates: &'a [u8],
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: &'a [u8],
    /// Who may sign clients' certificates.
    pub ca: Option<&'a [u8]>,
    /// Whether they have to show one.
    pub client_certificate: ClientCertificate,
    /// Lists of certificates that were revoked. With one, each certificate of a client but the root has to be covered by a list.
    pub revoked: Option<&'a [u8]>,
    /// What of it is the user name.
    pub identity: Identity,
    /// The oldest version.
    pub version_min: TlsVersion,
    /// Protocols of ALPN (RFC 7301), the dearest first; none: whatever a client offers is passed over.
    pub alpn: &'a [String],
    /// What time it is.
    pub clock: WallClock,
}

impl<'a> ServerTlsOptions<'a> {
    /// A listener that asks its clients for no certificate.
    pub fn new(certificates: &'a [u8], key: &'a [u8], clock: WallClock) -> Self {
        let (client_certificate, identity) = (ClientCertificate::None, Identity::None);
        Self { certificates, key, ca: None, client_certificate, revoked: None, identity, version_min: TlsVersion::V12, alpn: &[], clock }
    }
}

/// TLS of a listener.
pub struct ServerTls {
    config: Arc<rustls::ServerConfig>,
    identity: Identity,
}

impl ServerTls {
    /// From its parts.
    ///
    /// # Errors
    /// A text without what it should have, or a key that does not fit the certificate; in words.
    pub fn new(options: &ServerTlsOptions<'_>) -> Result<Self, String> {
        let mut config = config(options)?;
        // What a client needs to come back without a full handshake lies with the client.
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| error.to_string())?;
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), identity: options.identity })
    }

    /// In records of so many bytes at most, which fit what carries them.
    #[cfg(feature = "rudp")]
    pub fn in_records_of(mut self, bytes: usize) -> Self {
        Arc::make_mut(&mut self.config).max_fragment_size = Some(bytes);
        self
    }
}

/// What handshakes follow; sessions are not resumed with it as it is.
pub(in crate::stack) fn config(options: &ServerTlsOptions<'_>) -> Result<rustls::ServerConfig, String> {
    let provider = provider();
    let chain = certificates(options.certificates, "cert")?;
    let key = private_key(options.key, "key")?;
    let clock = Arc::new(Clock { now: options.clock, floor_s: 0 });
    let builder = rustls::ServerConfig::builder_with_details(provider.clone(), clock)
        .with_protocol_versions(options.version_min.and_newer())
        .map_err(|error| error.to_string())?;
    let builder = match options.client_certificate {
        ClientCertificate::None => builder.with_no_client_auth(),
        wanted => {
            let ca = options.ca.ok_or("ca: needed to judge the certificates of clients")?;
            let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(root_store(ca, "ca")?), provider);
            if let Some(revoked) = options.revoked {
                verifier = verifier.with_crls(revocation_lists(revoked)?);
            }
            if wanted == ClientCertificate::Request {
                verifier = verifier.allow_unauthenticated();
            }
            let verifier = verifier.build().map_err(|error| format!("ca: {error}"))?;
            #[cfg(feature = "quic")]
            let verifier = Arc::new(super::refusal::Noting(verifier));
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| format!("cert and key: {}", unusable(&error)))?;
    config.alpn_protocols = options.alpn.iter().map(|name| name.clone().into_bytes()).collect();
    Ok(config)
}

impl Make for ServerTls {
    fn make(&self, _: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        Ok(Some(Tls::new(State::Waiting(self.config.clone()), self.identity)))
    }
}
