//! How a connection of QUIC ended, as kinds of faults and words for a log.

use quinn_proto::{ConnectError, ConnectionError, TransportErrorCode};
use rustls::AlertDescription;

use crate::stack::tls::{fault, refusal};
use crate::stack::{Fault, FaultKind};

/// Errors of the handshake are the numbers of TLS's alerts above this (RFC 9001 §4.8).
const ALERTS: u64 = 0x100;

/// `None`: the peer has said good-bye.
pub(super) fn of(error: &ConnectionError, is_client: bool) -> Option<Fault> {
    let peer = if is_client { "server" } else { "client" };
    let refused_here = refusal::take();
    let (kind, text) = match error {
        ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => return None,
        ConnectionError::ConnectionClosed(close) => match (alert(close.error_code), close.error_code) {
            (Some(alert), _) => return Some(fault::of(&rustls::Error::AlertReceived(alert), is_client)),
            (None, TransportErrorCode::NO_ERROR) => return None,
            (None, TransportErrorCode::CONNECTION_REFUSED) => (FaultKind::Refused, format!("the {peer} takes no connection now")),
            (None, _) => (FaultKind::Datagram, format!("QUIC: the {peer} closed: {close}")),
        },
        ConnectionError::TransportError(error) => match (refused_here, alert(error.code)) {
            (Some(why), Some(_)) => return Some(fault::of(&why, is_client)),
            // No check has run: there was nothing to be checked.
            (None, Some(AlertDescription::CertificateRequired)) => return Some(fault::of(&rustls::Error::NoCertificatesPresented, is_client)),
            (None, Some(_)) => (FaultKind::Tls, format!("TLS with the {peer}: {}", error.reason)),
            (_, None) => (FaultKind::Datagram, format!("the {peer} broke QUIC: {error}")),
        },
        ConnectionError::VersionMismatch => (FaultKind::Datagram, format!("the {peer} speaks no version of QUIC that is known here")),
        ConnectionError::TimedOut => (FaultKind::Silent, format!("nothing came from the {peer} for too long")),
        ConnectionError::Reset => (FaultKind::Silent, format!("the {peer} knows nothing of the connection any more")),
        ConnectionError::CidsExhausted => (FaultKind::Refused, "too many connections of QUIC".to_owned()),
    };
    Some(Fault::new(kind, text))
}

fn alert(code: TransportErrorCode) -> Option<AlertDescription> {
    let number = u64::from(code).checked_sub(ALERTS)?;
    u8::try_from(number).ok().map(AlertDescription::from)
}

/// Why a connection cannot even begin.
pub(super) fn of_dial(error: &ConnectError, name: &str) -> Fault {
    match error {
        ConnectError::InvalidServerName(_) => Fault::new(FaultKind::WrongName, format!("'{name}' is no name a certificate can be for")),
        other => Fault::new(FaultKind::Datagram, format!("QUIC: {other}")),
    }
}
