//! What is read in a peer's certificate (X.509, RFC 5280): names, key, fingerprint.

use core::fmt::Write;

use x509_cert::Certificate;
use x509_cert::der::asn1::{PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::stack::Identity;

/// The common name of a subject (2.5.4.3).
const COMMON_NAME: x509_cert::der::oid::ObjectIdentifier = x509_cert::der::oid::ObjectIdentifier::new_unwrap("2.5.4.3");

impl Identity {
    /// That name in a certificate (DER). `None`: it has none of this kind.
    pub fn of(self, der: &[u8]) -> Option<String> {
        let name = match self {
            Self::None => None,
            Self::CommonName => common_name(&Certificate::from_der(der).ok()?),
            Self::AlternativeName => alternative_name(&Certificate::from_der(der).ok()?),
            Self::Fingerprint => Some(hexadecimal(&sha256(der))),
        };
        name.filter(|name| !name.is_empty())
    }
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let parts = certificate.tbs_certificate.subject.0.iter().flat_map(|relative| relative.0.iter());
    let value = &parts.into_iter().find(|part| part.oid == COMMON_NAME)?.value;
    match value.tag() {
        Tag::Utf8String => value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::PrintableString => value.decode_as::<PrintableStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        Tag::TeletexString => value.decode_as::<TeletexStringRef<'_>>().ok().map(|text| text.as_str().to_owned()),
        _ => None,
    }
}

fn alternative_name(certificate: &Certificate) -> Option<String> {
    let (_, names) = certificate.tbs_certificate.get::<SubjectAltName>().ok()??;
    names.0.iter().find_map(|name| match name {
        GeneralName::DnsName(name) | GeneralName::Rfc822Name(name) | GeneralName::UniformResourceIdentifier(name) => Some(name.as_str().to_owned()),
        _ => None,
    })
}

/// SHA-256 of the public key with its algorithm (SubjectPublicKeyInfo), as RFC 7469 §2.4 pins it.
pub(super) fn key_hash(der: &[u8]) -> Option<[u8; 32]> {
    let certificate = Certificate::from_der(der).ok()?;
    Some(sha256(&certificate.tbs_certificate.subject_public_key_info.to_der().ok()?))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().unwrap_or_default()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
