//! HTTP CONNECT.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::TunnelError;
use crate::stack::http::{HEAD_BYTES_MAX, HEADERS_MAX, HeadBuffer, HeadError};

/// The request, and the answer while it comes.
pub(super) struct Connect {
    request: String,
    head: HeadBuffer,
}

impl Connect {
    pub fn new(host: &str, port: u16, credentials: Option<&(String, String)>) -> Self {
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some((user, password)) = credentials {
            request.push_str(&format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(format!("{user}:{password}"))));
        }
        request.push_str("\r\n");
        Self { request, head: HeadBuffer::default() }
    }

    pub fn ask(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.request.as_bytes());
    }

    /// `Some`: the way is made, and so many bytes were the answer's. What follows a head that grants is
    /// the server's, whatever length it claims to have (RFC 9110 §9.3.6).
    pub fn handle_input(&mut self, input: &[u8]) -> Result<Option<usize>, TunnelError> {
        let Some(consumed) = self.head.take(input, HEAD_BYTES_MAX).map_err(TunnelError::Head)? else { return Ok(None) };
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(self.head.bytes()) {
            Ok(status) if status.is_complete() => {}
            _ => return Err(TunnelError::Head(HeadError::NotHttp)),
        }
        match response.code {
            Some(200..=299) => Ok(Some(consumed)),
            status => Err(TunnelError::Status(status.unwrap_or_default())),
        }
    }

    pub fn memory_bytes(&self) -> usize {
        self.request.capacity() + self.head.memory_bytes()
    }
}
