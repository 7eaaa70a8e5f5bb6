//! What may be chosen of WebSocket, the PROXY protocol and tunnels, in every build: a build without one of them says so when it
//! is asked for.

/// Whether a header of the PROXY protocol must be in front of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ProxyPolicy {
    /// No header is expected: it would be taken for a packet.
    #[default]
    Off,
    /// It may be there.
    Optional,
    /// Nobody is let in without one.
    Required,
}

/// The two ways of writing a header of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a proxy speaks that makes a way for a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelKind {
    /// HTTP CONNECT, with Basic authentication (RFC 7617).
    Http,
    /// SOCKS version 5, with user name and password (RFC 1929).
    Socks5,
}

/// Fields the WebSocket handshake writes itself.
const OWN_FIELDS: [&str; 8] =
    ["host", "upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions", "content-length"];

/// Whether a field may be added to a request for a WebSocket: its name is a token (RFC 9110 §5.6.2) and not one of the handshake's
/// own, its value has no line break.
pub fn is_field(name: &str, value: &str) -> bool {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_visible = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_visible) && !OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Whether a path can be asked for, or served.
pub fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_break_out_of_their_line() {
        assert!(is_field("Authorization", "Bearer x\ty"));
        for (name, value) in [("X", "a\r\nY: b"), ("X y", "a"), ("", "a"), ("host", "other"), ("Sec-WebSocket-Key", "x"), ("X", "\0")] {
            assert!(!is_field(name, value), "{name}");
        }
    }

    #[test]
    fn paths_have_no_spaces_and_begin_at_the_root() {
        assert!(is_path("/a?b=c") && is_path("/"));
        assert!(!is_path("a") && !is_path("/a b") && !is_path("/a\r\n") && !is_path("") && !is_path("/a#b"));
    }
}
