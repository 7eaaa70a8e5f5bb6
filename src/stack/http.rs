//! Heads of HTTP/1.1 (RFC 9112): as much of it as the WebSocket handshake and CONNECT need.
//!
//! [`HeadBuffer`] gathers bytes up to the empty line, however they are cut, and takes no more than
//! its limit. The bytes behind the head are left to the caller. Whoever speaks another protocol is
//! found at its first control character: a CONNECT of MQTT and a TLS hello do not wait for a
//! time-out. `httparse` then takes the head to pieces.

use core::fmt;

/// Default of the longest head, in bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8_192;

/// Header fields of one head; more are refused.
pub(super) const HEADERS_MAX: usize = 64;

/// Why a head is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadError {
    /// Longer than the limit.
    TooLong,
    /// Not HTTP/1.1.
    NotHttp,
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the head is longer than the limit",
            Self::NotHttp => "this is not HTTP/1.1",
        })
    }
}

/// A head while it comes.
#[derive(Debug, Default)]
pub(super) struct HeadBuffer {
    bytes: Vec<u8>,
}

impl HeadBuffer {
    /// Takes bytes up to the end of the head. `Some`: it is whole; so many bytes of `input` were its.
    /// `None`: all of them were, and more are needed.
    pub fn take(&mut self, input: &[u8], bytes_max: usize) -> Result<Option<usize>, HeadError> {
        for (index, &byte) in input.iter().enumerate() {
            if byte < b' ' && !matches!(byte, b'\r' | b'\n' | b'\t') || byte == 0x7f {
                return Err(HeadError::NotHttp);
            }
            if self.bytes.len() == bytes_max {
                return Err(HeadError::TooLong);
            }
            self.bytes.push(byte);
            if byte == b'\n' && self.bytes.ends_with(b"\r\n\r\n") {
                return Ok(Some(index + 1));
            }
        }
        Ok(None)
    }

    /// Memory it holds.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// The head, with its empty line.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The only value of a field; `Err` if it is there more than once.
#[cfg(feature = "websocket")]
pub(super) fn only<'a>(headers: &[httparse::Header<'a>], name: &str) -> Result<Option<&'a str>, HeadError> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let first = values.next();
    if values.next().is_some() {
        return Err(HeadError::NotHttp);
    }
    first.map(|header| core::str::from_utf8(header.value).map(str::trim).map_err(|_| HeadError::NotHttp)).transpose()
}

/// The elements of a list field (RFC 9110 §5.6.1), over all its lines.
#[cfg(feature = "websocket")]
pub(super) fn elements<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl DoubleEndedIterator<Item = &'a str> {
    let lines = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    // What is no text hides nothing of what stands beside it.
    let texts = lines.flat_map(|header| header.value.split(|byte| *byte == b',')).map(|text| core::str::from_utf8(text).unwrap_or("\u{fffd}"));
    texts.map(str::trim).filter(|element| !element.is_empty())
}

/// Whether a list field names `token`, in any case.
#[cfg(feature = "websocket")]
pub(super) fn names(headers: &[httparse::Header<'_>], field: &str, token: &str) -> bool {
    elements(headers, field).any(|element| element.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        let text = b"GET / HTTP/1.1\r\nHost: x\r\n\r\nbehind";
        for cut in 1..text.len() {
            let (mut head, mut taken) = (HeadBuffer::default(), 0);
            for piece in text.chunks(cut) {
                let end = head.take(piece, 100).expect("HTTP");
                taken += end.unwrap_or(piece.len());
                if end.is_some() {
                    break;
                }
            }
            assert_eq!((taken, head.bytes()), (27, &text[..27]), "{cut}");
        }
    }

    #[test]
    fn the_limit_is_the_last_byte_that_fits() {
        let text = b"GET / HTTP/1.1\r\n\r\n";
        assert_eq!(HeadBuffer::default().take(text, text.len()), Ok(Some(text.len())));
        assert_eq!(HeadBuffer::default().take(text, text.len() - 1), Err(HeadError::TooLong));
    }

    #[test]
    fn other_protocols_are_found_at_once() {
        for other in [&b"\x10\x0c\0\x04MQTT"[..], b"\x16\x03\x01", b"GET /\0"] {
            assert_eq!(HeadBuffer::default().take(other, 100), Err(HeadError::NotHttp));
        }
    }

    #[cfg(feature = "websocket")]
    #[test]
    fn fields_are_found_in_any_case_and_over_several_lines() {
        let header = |name, value: &'static str| httparse::Header { name, value: value.as_bytes() };
        let headers = [header("Connection", "keep-alive, Upgrade"), header("connection", " close"), header("Host", "x")];
        assert!(names(&headers, "CONNECTION", "upgrade") && names(&headers, "connection", "Close"));
        assert_eq!(elements(&headers, "connection").collect::<Vec<_>>(), ["keep-alive", "Upgrade", "close"]);
        assert_eq!((only(&headers, "host"), only(&headers, "connection")), (Ok(Some("x")), Err(HeadError::NotHttp)));
    }
}
