//! A private key that lies elsewhere: a TPM or a secure element signs for it.

use core::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::stack::Sign;

/// The algorithm of public keys: RSA (RFC 3279), elliptic curves (RFC 5480) with their curve, Ed25519 (RFC 8410).
const RSA: &str = "1.2.840.113549.1.1.1";
const EC: &str = "1.2.840.10045.2.1";
const ED25519: &str = "1.3.101.112";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";

/// The key of a certificate, which `sign` has.
pub(super) fn signing_key(certificate: &CertificateDer<'_>, sign: Sign) -> Result<Arc<dyn SigningKey>, String> {
    let certificate = Certificate::from_der(certificate).map_err(|error| format!("certificate: {error}"))?;
    let algorithm = &certificate.tbs_certificate.subject_public_key_info.algorithm;
    let curve = || algorithm.parameters.as_ref().and_then(|any| any.decode_as::<x509_cert::der::oid::ObjectIdentifier>().ok()).map(|curve| curve.to_string());
    use SignatureScheme as Scheme;
    let (algorithm, schemes) = match algorithm.oid.to_string().as_str() {
        RSA => (SignatureAlgorithm::RSA, vec![Scheme::RSA_PSS_SHA256, Scheme::RSA_PSS_SHA384, Scheme::RSA_PSS_SHA512, Scheme::RSA_PKCS1_SHA256]),
        EC => match curve().as_deref() {
            Some(P256) => (SignatureAlgorithm::ECDSA, vec![Scheme::ECDSA_NISTP256_SHA256]),
            Some(P384) => (SignatureAlgorithm::ECDSA, vec![Scheme::ECDSA_NISTP384_SHA384]),
            _ => return Err("certificate: this elliptic curve is not known".to_owned()),
        },
        ED25519 => (SignatureAlgorithm::ED25519, vec![Scheme::ED25519]),
        other => return Err(format!("certificate: keys of the algorithm {other} are not known")),
    };
    Ok(Arc::new(Elsewhere { algorithm, schemes, sign }))
}

struct Elsewhere {
    algorithm: SignatureAlgorithm,
    schemes: Vec<SignatureScheme>,
    sign: Sign,
}

struct One {
    scheme: SignatureScheme,
    sign: Sign,
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elsewhere").field("schemes", &self.schemes).finish_non_exhaustive()
    }
}

impl fmt::Debug for One {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("One").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl SigningKey for Elsewhere {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = *self.schemes.iter().find(|scheme| offered.contains(scheme))?;
        Some(Box::new(One { scheme, sign: self.sign.clone() }))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }
}

impl Signer for One {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        (self.sign)(u16::from(self.scheme), message).ok_or_else(|| Error::General("the key did not sign".to_owned()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}
