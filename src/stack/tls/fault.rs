//! What rustls says, as kinds of faults and words for a log.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::stack::{Fault, FaultKind};

/// What is wrong, seen from the client or from the server.
pub(in crate::stack) fn of(error: &Error, is_client: bool) -> Fault {
    let peer = if is_client { "server" } else { "client" };
    let text = match error {
        Error::InvalidCertificate(certificate) => match kind_of_certificate(certificate) {
            FaultKind::Expired => format!("the {peer}'s certificate has expired"),
            FaultKind::NotYetValid => format!("the {peer}'s certificate is not valid yet, or this clock is wrong"),
            FaultKind::Revoked => format!("the {peer}'s certificate was revoked"),
            FaultKind::WrongName => format!("the {peer}'s certificate is for another name ({certificate})"),
            FaultKind::UnknownIssuer => format!("the {peer}'s certificate is signed by nobody trusted here ({certificate})"),
            _ if is_version_1(certificate) => format!("the {peer}'s certificate is of X.509 version 1, and has to be of version 3"),
            FaultKind::PinMismatch => format!("no key of the {peer}'s certificates is one of those pinned"),
            _ => format!("the {peer}'s certificate cannot be used: {certificate}"),
        },
        Error::NoCertificatesPresented => format!("the {peer} has shown no certificate"),
        Error::AlertReceived(alert) => format!("the {peer} refused: {}", words_of_alert(*alert)),
        Error::InvalidMessage(why) => format!("the {peer} broke TLS: {why:?}"),
        Error::PeerIncompatible(what) if kind(error) == FaultKind::WeakVersion => {
            format!("no version of TLS in common that is allowed: the {peer} offers none ({what:?})")
        }
        other => format!("TLS: {other}"),
    };
    Fault::new(kind(error), text)
}

/// What the peer means (RFC 8446 §6.2), with the standard's name to look for.
fn words_of_alert(alert: AlertDescription) -> String {
    use AlertDescription as Alert;
    let words = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => "it wants a certificate",
        // One alert is for both.
        Alert::CertificateExpired => "the certificate has expired, or is not valid yet",
        Alert::CertificateRevoked => "the certificate was revoked",
        Alert::UnknownCA => "the certificate is signed by nobody it trusts",
        Alert::BadCertificate | Alert::UnsupportedCertificate | Alert::CertificateUnknown => "it cannot use the certificate",
        Alert::ProtocolVersion | Alert::InsufficientSecurity => "no version of TLS in common that is allowed",
        _ => return format!("{alert:?}"),
    };
    format!("{words} ({alert:?})")
}

/// Why a certificate and key of our own cannot be used.
pub(super) fn unusable(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(certificate) if is_version_1(certificate) => {
            "the certificate is of X.509 version 1, and has to be of version 3 (openssl x509: -extfile with subjectAltName)".to_owned()
        }
        Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
        other => other.to_string(),
    }
}

/// What `openssl x509 -req` makes without extensions; webpki's word for it is inside.
fn is_version_1(certificate: &CertificateError) -> bool {
    format!("{certificate:?}").contains("UnsupportedCertVersion")
}

fn kind(error: &Error) -> FaultKind {
    use AlertDescription as Alert;
    match error {
        Error::InvalidCertificate(certificate) => kind_of_certificate(certificate),
        Error::NoCertificatesPresented => FaultKind::CertificateRefused,
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        )
        | Error::AlertReceived(Alert::ProtocolVersion | Alert::InsufficientSecurity) => FaultKind::WeakVersion,
        Error::AlertReceived(
            Alert::CertificateRequired
            | Alert::NoCertificate
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => FaultKind::CertificateRefused,
        _ => FaultKind::Tls,
    }
}

fn kind_of_certificate(error: &CertificateError) -> FaultKind {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => FaultKind::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => FaultKind::NotYetValid,
        CertificateError::Revoked => FaultKind::Revoked,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => FaultKind::WrongName,
        CertificateError::UnknownIssuer | CertificateError::BadSignature => FaultKind::UnknownIssuer,
        // Said by our own check of pins, and by nobody else.
        CertificateError::ApplicationVerificationFailure => FaultKind::PinMismatch,
        // A self-signed certificate that is an authority's is known to webpki as this.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => FaultKind::UnknownIssuer,
        _ => FaultKind::Tls,
    }
}
