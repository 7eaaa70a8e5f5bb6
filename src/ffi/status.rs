//! Status numbers, their names and texts, and this thread's last error.

use std::ffi::c_char;

use super::{Failure, fence_or, with_last_error};
use crate::codec::Reason;
use crate::net;
use crate::proto;
use crate::stack::FaultKind;

/// How a call went: 0 is good, negative numbers are failures by class. A number is never re-used.
/// Reason codes of MQTT are `uint8_t` and another number space.
pub type nlmqtt_status = i32;

/// Done.
pub const NLMQTT_OK: nlmqtt_status = 0;
/// An argument cannot be used; the last error says which and why. Nothing was done.
pub const NLMQTT_INVALID_ARGUMENT: nlmqtt_status = -1;
/// Not now: the object is not started, or stopped.
pub const NLMQTT_INVALID_STATE: nlmqtt_status = -2;
/// There is no such thing.
pub const NLMQTT_NOT_FOUND: nlmqtt_status = -3;
/// There is one already.
pub const NLMQTT_ALREADY_EXISTS: nlmqtt_status = -4;
/// Waiting here would wait for this very thread: the call came from a callback.
pub const NLMQTT_WOULD_DEADLOCK: nlmqtt_status = -5;
/// Begun; a callback will tell when it is done.
pub const NLMQTT_IN_PROGRESS: nlmqtt_status = -6;
/// The object behind the handle has ended.
pub const NLMQTT_GONE: nlmqtt_status = -7;
/// This build or mode has no such thing.
pub const NLMQTT_UNSUPPORTED: nlmqtt_status = -8;
/// The handle was made before a `fork` and cannot be used in the child.
pub const NLMQTT_FORKED: nlmqtt_status = -9;
/// Memory is short.
pub const NLMQTT_NO_MEMORY: nlmqtt_status = -20;
/// A queue is full.
pub const NLMQTT_QUEUE_FULL: nlmqtt_status = -21;
/// A limit with a name is reached; the last error says which.
pub const NLMQTT_LIMIT: nlmqtt_status = -22;
/// It took too long. What was asked for may still happen.
pub const NLMQTT_TIMEOUT: nlmqtt_status = -23;
/// Cancelled or given up before it was done.
pub const NLMQTT_CANCELLED: nlmqtt_status = -24;
/// A newer value of the same topic took its place before it was sent.
pub const NLMQTT_REPLACED: nlmqtt_status = -25;
/// The system refused; the last error has its words.
pub const NLMQTT_IO: nlmqtt_status = -40;
/// The address is in use by another program.
pub const NLMQTT_ADDRESS_IN_USE: nlmqtt_status = -41;
/// The connection was lost or could not be made.
pub const NLMQTT_NETWORK: nlmqtt_status = -42;
/// TLS failed in a way without a number of its own.
pub const NLMQTT_TLS: nlmqtt_status = -60;
/// Nobody who is trusted has signed the certificate of the other side.
pub const NLMQTT_TLS_UNKNOWN_ISSUER: nlmqtt_status = -61;
/// The time of the certificate of the other side is over, or this clock is wrong: a client tries again when the clock is set, as with
/// TLS_NOT_YET_VALID.
pub const NLMQTT_TLS_EXPIRED: nlmqtt_status = -62;
/// The time of the certificate of the other side has not come, or this clock is wrong. A client tries again when somebody sets the clock: at once
/// where the kernel tells of it (Linux), though no sooner than a second after its last try, and after its ordinary pauses in any case.
pub const NLMQTT_TLS_NOT_YET_VALID: nlmqtt_status = -63;
/// The certificate of the other side is for another name.
pub const NLMQTT_TLS_WRONG_NAME: nlmqtt_status = -64;
/// The certificate of the other side was revoked.
pub const NLMQTT_TLS_REVOKED: nlmqtt_status = -65;
/// Both sides have no version of TLS in common that is allowed.
pub const NLMQTT_TLS_WEAK_VERSION: nlmqtt_status = -66;
/// No key of the other side is one of those pinned.
pub const NLMQTT_TLS_PIN_MISMATCH: nlmqtt_status = -67;
/// The other side does not speak TLS at this port.
pub const NLMQTT_TLS_NOT_TLS: nlmqtt_status = -68;
/// The other side speaks TLS at this port, and this one does not.
pub const NLMQTT_TLS_UNEXPECTED: nlmqtt_status = -69;
/// The other side refused the certificate it was shown, or wants one.
pub const NLMQTT_TLS_CERTIFICATE_REFUSED: nlmqtt_status = -70;
/// A WebSocket's handshake or frames break the standard.
pub const NLMQTT_WEBSOCKET: nlmqtt_status = -71;
/// The request for a WebSocket was refused with a status of HTTP; the text says which.
pub const NLMQTT_UPGRADE_REFUSED: nlmqtt_status = -72;
/// A header of the PROXY protocol is missing or malformed.
pub const NLMQTT_PROXY_HEADER: nlmqtt_status = -73;
/// A proxy did not make the way to the server; the text says why.
pub const NLMQTT_PROXY_REFUSED: nlmqtt_status = -74;
/// A proxy wants other credentials.
pub const NLMQTT_PROXY_CREDENTIALS: nlmqtt_status = -75;
/// The other side said no; the reason code says why.
pub const NLMQTT_REFUSED: nlmqtt_status = -80;
/// The other side broke the standard.
pub const NLMQTT_PROTOCOL: nlmqtt_status = -81;
/// The packet is larger than the other side, or an option, allows.
pub const NLMQTT_TOO_LARGE: nlmqtt_status = -82;
/// A configuration key, value or file cannot be used; the last error says where and why.
pub const NLMQTT_CONFIG: nlmqtt_status = -100;
/// A fault of the library itself. The handle is poisoned: it may only be freed.
pub const NLMQTT_INTERNAL: nlmqtt_status = -120;

/// Name and text of each status.
const STATUSES: [(nlmqtt_status, &str, &str); 39] = [
    (NLMQTT_OK, "OK\0", "done\0"),
    (NLMQTT_INVALID_ARGUMENT, "INVALID_ARGUMENT\0", "an argument cannot be used\0"),
    (NLMQTT_INVALID_STATE, "INVALID_STATE\0", "not now: not started, or stopped\0"),
    (NLMQTT_NOT_FOUND, "NOT_FOUND\0", "there is no such thing\0"),
    (NLMQTT_ALREADY_EXISTS, "ALREADY_EXISTS\0", "there is one already\0"),
    (NLMQTT_WOULD_DEADLOCK, "WOULD_DEADLOCK\0", "waiting inside a callback would never end\0"),
    (NLMQTT_IN_PROGRESS, "IN_PROGRESS\0", "begun; a callback tells when it is done\0"),
    (NLMQTT_GONE, "GONE\0", "the object has ended\0"),
    (NLMQTT_UNSUPPORTED, "UNSUPPORTED\0", "not in this build or mode\0"),
    (NLMQTT_FORKED, "FORKED\0", "made before a fork\0"),
    (NLMQTT_NO_MEMORY, "NO_MEMORY\0", "memory is short\0"),
    (NLMQTT_QUEUE_FULL, "QUEUE_FULL\0", "a queue is full\0"),
    (NLMQTT_LIMIT, "LIMIT\0", "a limit is reached\0"),
    (NLMQTT_TIMEOUT, "TIMEOUT\0", "it took too long\0"),
    (NLMQTT_CANCELLED, "CANCELLED\0", "cancelled\0"),
    (NLMQTT_REPLACED, "REPLACED\0", "a newer value took its place\0"),
    (NLMQTT_IO, "IO\0", "the system refused\0"),
    (NLMQTT_ADDRESS_IN_USE, "ADDRESS_IN_USE\0", "the address is in use\0"),
    (NLMQTT_NETWORK, "NETWORK\0", "the connection was lost or could not be made\0"),
    (NLMQTT_TLS, "TLS\0", "TLS failed\0"),
    (NLMQTT_TLS_UNKNOWN_ISSUER, "TLS_UNKNOWN_ISSUER\0", "the certificate is signed by nobody trusted\0"),
    (NLMQTT_TLS_EXPIRED, "TLS_EXPIRED\0", "the certificate has expired\0"),
    (NLMQTT_TLS_NOT_YET_VALID, "TLS_NOT_YET_VALID\0", "the certificate is not valid yet, or this clock is wrong\0"),
    (NLMQTT_TLS_WRONG_NAME, "TLS_WRONG_NAME\0", "the certificate is for another name\0"),
    (NLMQTT_TLS_REVOKED, "TLS_REVOKED\0", "the certificate was revoked\0"),
    (NLMQTT_TLS_WEAK_VERSION, "TLS_WEAK_VERSION\0", "no common version of TLS\0"),
    (NLMQTT_TLS_PIN_MISMATCH, "TLS_PIN_MISMATCH\0", "no key is one of those pinned\0"),
    (NLMQTT_TLS_NOT_TLS, "TLS_NOT_TLS\0", "the other side does not speak TLS\0"),
    (NLMQTT_TLS_UNEXPECTED, "TLS_UNEXPECTED\0", "the other side speaks TLS\0"),
    (NLMQTT_TLS_CERTIFICATE_REFUSED, "TLS_CERTIFICATE_REFUSED\0", "the other side refused the certificate, or wants one\0"),
    (NLMQTT_WEBSOCKET, "WEBSOCKET\0", "a WebSocket's handshake or frames break the standard\0"),
    (NLMQTT_UPGRADE_REFUSED, "UPGRADE_REFUSED\0", "the request for a WebSocket was refused\0"),
    (NLMQTT_PROXY_HEADER, "PROXY_HEADER\0", "the PROXY protocol's header is missing or malformed\0"),
    (NLMQTT_PROXY_REFUSED, "PROXY_REFUSED\0", "the proxy made no way to the server\0"),
    (NLMQTT_PROXY_CREDENTIALS, "PROXY_CREDENTIALS\0", "the proxy wants other credentials\0"),
    (NLMQTT_REFUSED, "REFUSED\0", "the other side refused\0"),
    (NLMQTT_PROTOCOL, "PROTOCOL\0", "the other side broke the standard\0"),
    (NLMQTT_TOO_LARGE, "TOO_LARGE\0", "larger than allowed\0"),
    (NLMQTT_CONFIG, "CONFIG\0", "the configuration cannot be used\0"),
];

fn entry(status: nlmqtt_status) -> (&'static str, &'static str) {
    let found = STATUSES.iter().find(|(number, _, _)| *number == status);
    let unknown = if status == NLMQTT_INTERNAL { ("INTERNAL\0", "a fault of the library\0") } else { ("UNKNOWN\0", "unknown status\0") };
    found.map_or(unknown, |(_, name, text)| (name, text))
}

/// The name of a status without its prefix, such as "INVALID_ARGUMENT"; "UNKNOWN" for a number
/// that is none. Never NULL; the string lives as long as the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_status_name(status: nlmqtt_status) -> *const c_char {
    entry(status).0.as_ptr().cast()
}

/// A short text for a status. Never NULL; the string lives as long as the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_status_text(status: nlmqtt_status) -> *const c_char {
    entry(status).1.as_ptr().cast()
}

/// True if the same call may succeed later without any change of its arguments. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_status_is_transient(status: nlmqtt_status) -> bool {
    matches!(
        status,
        NLMQTT_NO_MEMORY | NLMQTT_QUEUE_FULL | NLMQTT_LIMIT | NLMQTT_TIMEOUT | NLMQTT_IO | NLMQTT_ADDRESS_IN_USE | NLMQTT_NETWORK | NLMQTT_TLS_NOT_YET_VALID
    )
}

/// The name the standard gives a reason code (MQTT 5 section 2.4), such as "Not authorized". Never NULL;
/// the string lives as long as the library. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn nlmqtt_reason_text(reason: u8) -> *const c_char {
    use std::sync::OnceLock;
    static TEXTS: OnceLock<Vec<std::ffi::CString>> = OnceLock::new();
    fence_or(c"".as_ptr(), || {
        let make = |code| std::ffi::CString::new(Reason(code).text()).unwrap_or_default();
        let texts = TEXTS.get_or_init(|| (0..=u8::MAX).map(make).collect());
        Ok(texts[usize::from(reason)].as_ptr())
    })
}

/// Copies the text of this thread's last failure into `buf`, cut to `cap` bytes with the NUL, and
/// returns the length the whole text has without the NUL. `buf` may be NULL if `cap` is 0. The text
/// stays as it is until another call fails on this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nlmqtt_last_error(buf: *mut c_char, cap: usize) -> usize {
    with_last_error(|text| {
        if !buf.is_null() && cap > 0 {
            let mut len = text.len().min(cap - 1);
            while !text.is_char_boundary(len) {
                len -= 1;
            }
            unsafe {
                core::ptr::copy_nonoverlapping(text.as_ptr(), buf.cast(), len);
                *buf.add(len) = 0;
            }
        }
        text.len()
    })
}

impl From<net::Error> for Failure {
    fn from(error: net::Error) -> Self {
        use std::io::ErrorKind;
        let status = match &error {
            net::Error::WouldDeadlock => NLMQTT_WOULD_DEADLOCK,
            net::Error::Timeout => NLMQTT_TIMEOUT,
            net::Error::Gone => NLMQTT_GONE,
            net::Error::Internal => NLMQTT_INTERNAL,
            net::Error::Invalid(_) => NLMQTT_INVALID_ARGUMENT,
            net::Error::Unsupported(_) => NLMQTT_UNSUPPORTED,
            net::Error::Io(error) => match error.kind() {
                ErrorKind::AddrInUse => NLMQTT_ADDRESS_IN_USE,
                ErrorKind::OutOfMemory => NLMQTT_NO_MEMORY,
                ErrorKind::NotFound => NLMQTT_GONE,
                _ => NLMQTT_IO,
            },
            net::Error::Client(error) => of_client(error),
            net::Error::Server(_) => NLMQTT_REFUSED,
        };
        Self::new(status, error.to_string())
    }
}

/// The status of what was wrong below MQTT.
pub(crate) fn of_fault(kind: FaultKind) -> nlmqtt_status {
    match kind {
        #[cfg(feature = "datagram")]
        FaultKind::Timeout => NLMQTT_TIMEOUT,
        FaultKind::Tls => NLMQTT_TLS,
        FaultKind::UnknownIssuer => NLMQTT_TLS_UNKNOWN_ISSUER,
        FaultKind::Expired => NLMQTT_TLS_EXPIRED,
        FaultKind::NotYetValid => NLMQTT_TLS_NOT_YET_VALID,
        FaultKind::WrongName => NLMQTT_TLS_WRONG_NAME,
        FaultKind::Revoked => NLMQTT_TLS_REVOKED,
        FaultKind::WeakVersion => NLMQTT_TLS_WEAK_VERSION,
        FaultKind::PinMismatch => NLMQTT_TLS_PIN_MISMATCH,
        FaultKind::NotTls => NLMQTT_TLS_NOT_TLS,
        FaultKind::UnexpectedTls => NLMQTT_TLS_UNEXPECTED,
        FaultKind::CertificateRefused => NLMQTT_TLS_CERTIFICATE_REFUSED,
        FaultKind::WebSocket => NLMQTT_WEBSOCKET,
        FaultKind::UpgradeRefused => NLMQTT_UPGRADE_REFUSED,
        FaultKind::ProxyHeader => NLMQTT_PROXY_HEADER,
        FaultKind::TunnelRefused => NLMQTT_PROXY_REFUSED,
        FaultKind::TunnelCredentials => NLMQTT_PROXY_CREDENTIALS,
        #[cfg(feature = "datagram")]
        FaultKind::Unreachable | FaultKind::Silent => NLMQTT_NETWORK,
        #[cfg(feature = "datagram")]
        FaultKind::Refused => NLMQTT_REFUSED,
        #[cfg(feature = "datagram")]
        FaultKind::Datagram => NLMQTT_PROTOCOL,
    }
}

/// The status of what a client machine says.
pub(crate) fn of_client(error: &proto::Error) -> nlmqtt_status {
    use proto::Error as E;
    match error {
        E::Codec(_) | E::Protocol(_) | E::ReceiveMaximumExceeded | E::TopicAliasInvalid => NLMQTT_PROTOCOL,
        E::NotRunning | E::Busy => NLMQTT_INVALID_STATE,
        E::NotConnected => NLMQTT_NETWORK,
        E::TopicInvalid | E::FilterInvalid | E::OptionInvalid(_) => NLMQTT_INVALID_ARGUMENT,
        E::QueueFull => NLMQTT_QUEUE_FULL,
        E::TooLarge => NLMQTT_TOO_LARGE,
        E::NotSupported(_) => NLMQTT_UNSUPPORTED,
        E::Unknown => NLMQTT_NOT_FOUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn every_status_has_a_name_of_its_own() {
        let mut names: Vec<_> = STATUSES.iter().map(|(status, _, _)| unsafe { CStr::from_ptr(nlmqtt_status_name(*status)) }).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), STATUSES.len());
        assert_eq!(unsafe { CStr::from_ptr(nlmqtt_status_name(NLMQTT_INTERNAL)) }, c"INTERNAL");
        assert_eq!(unsafe { CStr::from_ptr(nlmqtt_status_name(4_711)) }, c"UNKNOWN");
    }

    #[test]
    fn the_last_error_is_cut_between_characters_and_tells_its_length() {
        super::super::set_last_error("größer");
        let mut buffer = [b'x' as c_char; 4];
        assert_eq!(unsafe { nlmqtt_last_error(buffer.as_mut_ptr(), 4) }, 8);
        assert_eq!(unsafe { CStr::from_ptr(buffer.as_ptr()) }, c"gr");
        assert_eq!(unsafe { nlmqtt_last_error(core::ptr::null_mut(), 0) }, 8);
    }
}
