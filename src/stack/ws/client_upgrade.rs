//! The client's side of the opening handshake (RFC 6455 §4.1).

use core::fmt;

use base64::Engine as _;

use super::{BASE64, PROTOCOL, accept_of};
use crate::base::Rng;
use crate::stack::http::{HEAD_BYTES_MAX, HEADERS_MAX, HeadBuffer, HeadError, names, only};

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Host and, if it is not the scheme's own, port.
    pub authority: String,
    /// Begins with a slash; a query may follow.
    pub path: String,
    /// Sent as they are; see [`crate::stack::is_field`].
    pub fields: Vec<(String, String)>,
}

impl Request {
    /// Memory of its texts.
    pub fn memory_bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(name, value)| name.capacity() + value.capacity()).sum();
        size_of::<Self>() + self.authority.capacity() + self.path.capacity() + fields
    }
}

/// Why there is no connection. All of it is the server's doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpgradeError {
    /// No answer of HTTP.
    Head(HeadError),
    /// It answered with this status instead of 101.
    Status(u16),
    /// It granted something else than was asked for.
    Answer(&'static str),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => write!(f, "WebSocket: bad answer: {error}"),
            Self::Status(status) => write!(f, "WebSocket: the server answered with HTTP status {status}"),
            Self::Answer(what) => write!(f, "WebSocket: bad answer: {what}"),
        }
    }
}

impl From<HeadError> for UpgradeError {
    fn from(error: HeadError) -> Self {
        Self::Head(error)
    }
}

/// The handshake while the answer comes.
#[derive(Debug)]
pub struct ClientUpgrade {
    head: HeadBuffer,
    accept: String,
}

impl ClientUpgrade {
    /// Appends the request to `out`; its key comes from `rng`.
    pub fn new(request: &Request, rng: &mut Rng, out: &mut Vec<u8>) -> Self {
        let mut nonce = [0; 16];
        for half in nonce.chunks_mut(8) {
            half.copy_from_slice(&rng.u64().to_ne_bytes());
        }
        let key = BASE64.encode(nonce);
        let Request { authority, path, fields } = request;
        let mut head = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
        );
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        out.extend_from_slice(head.as_bytes());
        Self { head: HeadBuffer::default(), accept: accept_of(&key) }
    }

    /// Memory of what has come.
    pub fn memory_bytes(&self) -> usize {
        self.head.memory_bytes() + self.accept.capacity()
    }

    /// Takes bytes of the answer. `Some`: it is granted, and so many bytes of `input` were the
    /// answer's; frames follow.
    ///
    /// # Errors
    /// It is not granted.
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Option<usize>, UpgradeError> {
        let Some(consumed) = self.head.take(input, HEAD_BYTES_MAX)? else { return Ok(None) };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        if !response.parse(self.head.bytes()).is_ok_and(|status| status.is_complete()) || response.version != Some(1) {
            return Err(HeadError::NotHttp.into());
        }
        match response.code {
            Some(101) => {}
            status => return Err(UpgradeError::Status(status.unwrap_or_default())),
        }
        let headers = &*response.headers;
        if !names(headers, "upgrade", "websocket") || !names(headers, "connection", "upgrade") {
            return Err(UpgradeError::Answer("it does not upgrade to websocket"));
        }
        if only(headers, "sec-websocket-accept")? != Some(&self.accept) {
            return Err(UpgradeError::Answer("Sec-WebSocket-Accept does not belong to the key"));
        }
        if only(headers, "sec-websocket-extensions")?.is_some_and(|extensions| !extensions.is_empty()) {
            return Err(UpgradeError::Answer("an extension nobody asked for"));
        }
        // MQTT-6.0.0-4. Without it nobody said that MQTT is spoken here.
        if only(headers, "sec-websocket-protocol")? != Some(PROTOCOL) {
            return Err(UpgradeError::Answer("the sub-protocol is not mqtt"));
        }
        Ok(Some(consumed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stack::ws::{Acceptor, ServerUpgrade};

    fn request() -> Request {
        Request { authority: "broker:8083".to_owned(), path: "/mqtt".to_owned(), fields: vec![("X-Token".to_owned(), "a b".to_owned())] }
    }

    /// A client that asked, and what it asked.
    fn asked() -> (ClientUpgrade, Vec<u8>) {
        let mut out = Vec::new();
        (ClientUpgrade::new(&request(), &mut Rng::with_seed(4), &mut out), out)
    }

    #[test]
    fn our_server_grants_what_our_client_asks() {
        let (_, request) = asked();
        let mut answer = Vec::new();
        let accepted = ServerUpgrade::default().handle_input(&Acceptor::default(), None, &request, &mut answer);
        assert_eq!(accepted.expect("granted").expect("whole").request.path, "/mqtt".into());
        assert!(String::from_utf8_lossy(&request).contains("\r\nX-Token: a b\r\n"));
        let end = answer.len();
        answer.extend_from_slice(b"frames");
        for cut in 0..end {
            let mut client = asked().0;
            assert_eq!(client.handle_input(&answer[..cut]), Ok(None));
            assert_eq!(client.handle_input(&answer[cut..]), Ok(Some(end - cut)));
        }
    }

    #[test]
    fn every_wrong_answer_is_refused_by_its_own_name() {
        let (_, request) = asked();
        let mut good = Vec::new();
        ServerUpgrade::default().handle_input(&Acceptor::default(), None, &request, &mut good).expect("granted");
        let good = String::from_utf8(good).expect("text");
        let refused = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            asked().0.handle_input(good.replace(from, to).as_bytes()).expect_err(to)
        };
        assert_eq!(refused("101 Switching Protocols", "401 Unauthorized"), UpgradeError::Status(401));
        assert_eq!(refused("HTTP/1.1 ", "SSH-2.0 "), UpgradeError::Head(HeadError::NotHttp));
        assert_eq!(refused("HTTP/1.1", "HTTP/1.0"), UpgradeError::Head(HeadError::NotHttp));
        assert_eq!(refused("Upgrade: websocket", "Upgrade: h2c"), UpgradeError::Answer("it does not upgrade to websocket"));
        assert_eq!(refused("Accept: ", "Accept: x"), UpgradeError::Answer("Sec-WebSocket-Accept does not belong to the key"));
        assert_eq!(refused("Protocol: mqtt", "Protocol: mqttv3.1"), UpgradeError::Answer("the sub-protocol is not mqtt"));
        assert_eq!(refused("Sec-WebSocket-Protocol: mqtt\r\n", ""), UpgradeError::Answer("the sub-protocol is not mqtt"));
        let extended = "Connection: Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate";
        assert_eq!(refused("Connection: Upgrade", extended), UpgradeError::Answer("an extension nobody asked for"));
        let long = format!("X: {}\r\nConnection: Upgrade", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(refused("Connection: Upgrade", &long), UpgradeError::Head(HeadError::TooLong));
    }
}
