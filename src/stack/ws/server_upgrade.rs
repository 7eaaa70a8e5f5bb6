//! The server's side of the opening handshake (RFC 6455 §4.2).
//!
//! What is refused gets a status and one line that says why; a page of another origin, a path
//! nobody serves and a client that does not speak MQTT are told so before a frame is read.

use super::{BASE64, PROTOCOL, PROTOCOL_31, accept_of};
use crate::stack::http::{HEADERS_MAX, HeadBuffer, HeadError, elements, names, only};
use base64::Engine as _;
use core::fmt;
use core::net::IpAddr;

use crate::stack::WebSocketRequest;
use crate::stack::networks::Networks;

/// What a listener takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Acceptor {
    /// Paths that are served; empty: all. A query behind a path does not count.
    pub paths: Vec<String>,
    /// Origins whose pages are let in; empty: all. Whoever sends no Origin is no browser, which is
    /// what this is about, and is let in (RFC 6455 §10.2).
    pub origins: Vec<String>,
    /// Proxies whose X-Forwarded-For is believed.
    pub trusted: Networks,
    /// Bytes of the longest request.
    pub head_bytes_max: usize,
}

impl Default for Acceptor {
    fn default() -> Self {
        Self { paths: Vec::new(), origins: Vec::new(), trusted: Networks::default(), head_bytes_max: crate::stack::http::HEAD_BYTES_MAX }
    }
}

/// A request that is not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Status of HTTP.
    pub status: u16,
    reason: &'static str,
    /// Why, in one line.
    pub what: &'static str,
}

impl Refusal {
    /// The request did not come in time.
    pub const SLOW: Self = Self { status: 408, reason: "Request Timeout", what: "the request did not come in time" };

    const fn bad(what: &'static str) -> Self {
        Self { status: 400, reason: "Bad Request", what }
    }

    /// Appends the answer, behind which the stream is closed.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Self { status, reason, what } = self;
        let more = match status {
            405 => "Allow: GET\r\n",
            426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            _ => "",
        };
        let length = what.len() + 1;
        let head = format!("HTTP/1.1 {status} {reason}\r\n{more}Content-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{what}\n");
        out.extend_from_slice(head.as_bytes());
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebSocket request refused with {}: {}", self.status, self.what)
    }
}

impl From<HeadError> for Refusal {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::TooLong => Self { status: 431, reason: "Request Header Fields Too Large", what: "the request is too long" },
            HeadError::NotHttp => Self::bad("this is not HTTP/1.1"),
        }
    }
}

/// A request that was granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Bytes of the last input that belong to the request; frames follow.
    pub consumed: usize,
    /// What was asked for, and by which page.
    pub request: WebSocketRequest,
    /// Who a trusted proxy says the client is.
    pub forwarded_for: Option<IpAddr>,
}

/// The handshake while the request comes.
#[derive(Debug, Default)]
pub struct ServerUpgrade {
    head: HeadBuffer,
}

impl ServerUpgrade {
    /// Memory of what has come.
    pub fn memory_bytes(&self) -> usize {
        self.head.memory_bytes()
    }

    /// Takes bytes of the request, and appends the answer to `out` when it is whole. `peer` is who
    /// is at the other end of the stream.
    ///
    /// # Errors
    /// The request is refused, and `out` says so: send it and close the stream.
    pub fn handle_input(&mut self, acceptor: &Acceptor, peer: Option<IpAddr>, input: &[u8], out: &mut Vec<u8>) -> Result<Option<Accepted>, Refusal> {
        let outcome = match self.head.take(input, acceptor.head_bytes_max) {
            Ok(None) => return Ok(None),
            Ok(Some(consumed)) => judge(acceptor, peer, self.head.bytes(), consumed),
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok((accepted, answer)) => {
                out.extend_from_slice(answer.as_bytes());
                Ok(Some(accepted))
            }
            Err(refusal) => {
                refusal.write(out);
                Err(refusal)
            }
        }
    }
}

fn judge(acceptor: &Acceptor, peer: Option<IpAddr>, head: &[u8], consumed: usize) -> Result<(Accepted, String), Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLong.into()),
        _ => return Err(HeadError::NotHttp.into()),
    }
    let (method, target, headers) = (request.method.unwrap_or_default(), request.path.unwrap_or_default(), &*request.headers);
    if method != "GET" {
        return Err(Refusal { status: 405, reason: "Method Not Allowed", what: "a WebSocket begins with GET" });
    }
    if request.version != Some(1) {
        return Err(Refusal { status: 505, reason: "HTTP Version Not Supported", what: "a WebSocket needs HTTP/1.1" });
    }
    if only(headers, "host")?.is_none() {
        return Err(Refusal::bad("a request needs exactly one Host"));
    }
    if only(headers, "content-length")?.is_some_and(|length| length != "0") || only(headers, "transfer-encoding")?.is_some() {
        return Err(Refusal::bad("a WebSocket request has no body"));
    }
    let path = target.split('?').next().unwrap_or_default();
    if !acceptor.paths.is_empty() && !acceptor.paths.iter().any(|served| served == path) {
        return Err(Refusal { status: 404, reason: "Not Found", what: "nothing is served at this path" });
    }
    let version = only(headers, "sec-websocket-version")?;
    if !names(headers, "upgrade", "websocket") || version.is_some_and(|version| version != "13") {
        return Err(Refusal { status: 426, reason: "Upgrade Required", what: "only WebSocket of version 13 is served here" });
    }
    if !names(headers, "connection", "upgrade") || version.is_none() {
        return Err(Refusal::bad("Connection: Upgrade or Sec-WebSocket-Version is missing"));
    }
    let key = only(headers, "sec-websocket-key")?.filter(|key| BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16));
    let Some(key) = key else { return Err(Refusal::bad("Sec-WebSocket-Key is not 16 bytes in base64")) };
    let origin = only(headers, "origin")?;
    let is_welcome = |origin: &str| acceptor.origins.iter().any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(origin));
    if !acceptor.origins.is_empty() && !origin.is_none_or(is_welcome) {
        return Err(Refusal { status: 403, reason: "Forbidden", what: "pages of this origin are not let in" });
    }
    // The client's order is its preference (RFC 6455 §4.1).
    let offered = elements(headers, "sec-websocket-protocol").find(|offered| [PROTOCOL, PROTOCOL_31].contains(offered));
    let Some(protocol) = offered else { return Err(Refusal::bad("the sub-protocol mqtt or mqttv3.1 must be asked for")) };
    let accept = accept_of(key);
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    let is_trusted = peer.is_some_and(|peer| acceptor.trusted.contains(peer));
    let forwarded_for = if is_trusted { forwarded_for(&acceptor.trusted, elements(headers, "x-forwarded-for")) } else { None };
    let request = WebSocketRequest { path: path.into(), origin: origin.map(Into::into) };
    Ok((Accepted { consumed, request, forwarded_for }, answer))
}

/// Each proxy appends whom it heard from: the last one that is not a proxy of ours is the client.
/// What stands before it anybody may have written.
fn forwarded_for<'a>(trusted: &Networks, chain: impl DoubleEndedIterator<Item = &'a str>) -> Option<IpAddr> {
    let mut client = None;
    for element in chain.rev() {
        let Some(address) = address_of(element) else { break };
        client = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

/// An address, with or without brackets and port.
fn address_of(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<core::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt?x=1 HTTP/1.1\r\nHost: broker\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, mqtt\r\n";

    fn ask(acceptor: &Acceptor, text: &str) -> (Result<Option<Accepted>, Refusal>, String) {
        let mut out = Vec::new();
        let peer = Some("127.0.0.1".parse().expect("an address"));
        let outcome = ServerUpgrade::default().handle_input(acceptor, peer, text.as_bytes(), &mut out);
        (outcome, String::from_utf8(out).expect("text"))
    }

    fn status(acceptor: &Acceptor, text: &str) -> u16 {
        let (outcome, answer) = ask(acceptor, text);
        let status = outcome.map_or_else(|refusal| refusal.status, |accepted| accepted.map_or(0, |_| 101));
        assert!(status == 0 || answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        status
    }

    #[test]
    fn a_good_request_is_granted_wherever_it_is_cut() {
        let text = format!("{GOOD}\r\nframes");
        let (whole, answer) = ask(&Acceptor::default(), &text);
        let accepted = whole.expect("granted").expect("whole");
        assert_eq!((&*accepted.request.path, accepted.consumed), ("/mqtt", text.len() - 6));
        assert!(answer.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        for cut in 1..accepted.consumed {
            let (mut upgrade, mut out) = (ServerUpgrade::default(), Vec::new());
            let first = upgrade.handle_input(&Acceptor::default(), None, &text.as_bytes()[..cut], &mut out);
            assert_eq!((first, out.len()), (Ok(None), 0));
            let second = upgrade.handle_input(&Acceptor::default(), None, &text.as_bytes()[cut..], &mut out).expect("granted");
            assert_eq!(second, Some(Accepted { consumed: accepted.consumed - cut, ..accepted.clone() }));
            assert_eq!(out, answer.as_bytes());
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_status() {
        let acceptor = Acceptor { paths: vec!["/mqtt".to_owned()], origins: vec!["https://good.example".to_owned()], ..Acceptor::default() };
        let with = |from: &str, to: &str| {
            assert!(GOOD.contains(from));
            format!("{}\r\n", GOOD.replace(from, to))
        };
        for (text, expected) in [
            (with("/mqtt", "/mqtt"), 101),
            (with("GET", "POST"), 405),
            (with("HTTP/1.1", "HTTP/1.0"), 505),
            (with("HTTP/1.1", "HTTP/9.9"), 400),
            (with("/mqtt", "/other"), 404),
            (with("/mqtt?x=1", "/mqtt/"), 404),
            (with("Host: broker\r\n", ""), 400),
            (with("Host: broker\r\n", "Host: a\r\nHost: b\r\n"), 400),
            (with("Host: broker\r\n", "Host: broker\r\nContent-Length: 3\r\n"), 400),
            (with("Host: broker\r\n", "Host: broker\r\nTransfer-Encoding: chunked\r\n"), 400),
            (with("Upgrade: WebSocket", "Upgrade: h2c"), 426),
            (with("Version: 13", "Version: 8"), 426),
            (with("keep-alive, Upgrade", "keep-alive"), 400),
            (with("Sec-WebSocket-Version: 13\r\n", ""), 400),
            (with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ"), 400),
            (with("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ="), 400),
            (with("other, mqtt", "other"), 400),
            (with("other, mqtt", "mqttv3.1, mqtt"), 101),
            (with("Host: broker\r\n", "Host: broker\r\nOrigin: https://GOOD.example\r\n"), 101),
            (with("Host: broker\r\n", "Host: broker\r\nOrigin: https://evil.example\r\n"), 403),
            (with("Host: broker\r\n", &format!("Host: broker\r\nX: {}\r\n", "x".repeat(9_000))), 431),
            (with("Host: broker\r\n", &format!("Host: broker\r\n{}", "X: y\r\n".repeat(100))), 431),
            ("\u{10}\u{c}\0\u{4}MQTT".to_owned(), 400),
            (format!("{GOOD}half"), 0),
        ] {
            assert_eq!(status(&acceptor, &text), expected, "{text}");
        }
    }

    #[test]
    fn the_limit_of_a_request_is_reached() {
        let text = format!("{GOOD}\r\n");
        let limit = |head_bytes_max| Acceptor { head_bytes_max, ..Acceptor::default() };
        assert_eq!(status(&limit(text.len()), &text), 101);
        assert_eq!(status(&limit(text.len() - 1), &text), 431);
    }

    #[test]
    fn the_last_address_that_is_no_proxy_of_ours_is_the_client() {
        let acceptor = |trusted: &str| Acceptor { trusted: trusted.parse().expect("networks"), ..Acceptor::default() };
        for (trusted, fields, expected) in [
            ("127.0.0.1,10.0.0.0/8", "X-Forwarded-For: 6.6.6.6, 192.0.2.9, 10.1.1.1\r\n", Some("192.0.2.9")),
            ("127.0.0.1,10.0.0.0/8", "X-Forwarded-For: 192.0.2.9\r\nx-forwarded-for: 10.1.1.1\r\n", Some("192.0.2.9")),
            ("127.0.0.1", "X-Forwarded-For: [2001:db8::1]:99\r\n", Some("2001:db8::1")),
            ("127.0.0.1", "X-Forwarded-For: 192.0.2.9:99\r\n", Some("192.0.2.9")),
            ("127.0.0.1,10.0.0.0/8", "X-Forwarded-For: rubbish, 10.1.1.1\r\n", Some("10.1.1.1")),
            ("127.0.0.1", "X-Forwarded-For: rubbish\r\n", None),
            ("127.0.0.1", "", None),
            ("192.0.2.0/24", "X-Forwarded-For: 6.6.6.6\r\n", None),
            ("127.0.0.1", "X-Forwarded-For: \u{ff}, 10.1.1.1\r\n", Some("10.1.1.1")),
        ] {
            let accepted = ask(&acceptor(trusted), &format!("{GOOD}{fields}\r\n")).0.expect("granted").expect("whole");
            assert_eq!(accepted.forwarded_for, expected.map(|text| text.parse().expect("an address")), "{trusted} {fields}");
        }
    }
}
