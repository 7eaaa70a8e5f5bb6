//! Why a certificate was refused, for one who hears of it by an alert's number only.
//!
//! quinn-proto hands on what rustls says as the number of an alert and a text, and one number is the answer to several
//! faults that are a status each here. The check runs inside the call that hands a datagram to the machine, on the same thread, so
//! what it found is noted on the side, and taken when that call has ended.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
}

/// The last check on this thread came to this.
pub(super) fn note(error: Option<&Error>) {
    // A thread that is ending hears of nothing any more.
    let _ = LAST.try_with(|last| last.replace(error.cloned()));
}

/// Takes what the last check came to, if it was a refusal.
pub(in crate::stack) fn take() -> Option<Error> {
    LAST.try_with(|last| last.take()).ok().flatten()
}

/// The check of a client's certificate, noted.
#[derive(Debug)]
pub(super) struct Noting(pub(super) Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Noting {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> Result<ClientCertVerified, Error> {
        let judgement = self.0.verify_client_cert(end_entity, intermediates, now);
        note(judgement.as_ref().err());
        judgement
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
