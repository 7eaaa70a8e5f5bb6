//! The handshake and the frames behind it as a [`Layer`], one for each role.

use core::net::IpAddr;
use std::io::IoSlice;
use std::sync::Arc;

use super::{Acceptor, ClientUpgrade, CloseCode, Closed, Refusal, Request, Role, ServerUpgrade, UpgradeError, WebSocket};
use crate::base::Rng;
use crate::stack::{About, Ends, Fault, FaultKind, Layer, Make, Progress, WebSocketRequest};

/// How TLS begins: a handshake record of version 3.x (RFC 8446 §5.1). It is no beginning of HTTP.
const TLS_HELLO: [u8; 2] = [22, 3];

/// Takes the WebSockets of a listener.
pub struct Accept(pub Arc<Acceptor>);

impl Make for Accept {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let peer = ends.source.map(|source| source.ip());
        let phase = ServerPhase::Upgrade(ServerUpgrade::default());
        Ok(Some(Box::new(ServerLayer { acceptor: self.0.clone(), peer, seed: ends.seed, forwarded_for: None, request: None, phase })))
    }
}

struct ServerLayer {
    acceptor: Arc<Acceptor>,
    peer: Option<IpAddr>,
    seed: u64,
    forwarded_for: Option<IpAddr>,
    /// Until it is told.
    request: Option<Box<WebSocketRequest>>,
    phase: ServerPhase,
}

#[allow(clippy::large_enum_variant)]
enum ServerPhase {
    Upgrade(ServerUpgrade),
    Open(WebSocket),
    Ended,
}

impl Layer for ServerLayer {
    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.phase {
            ServerPhase::Ended => Ok(()),
            ServerPhase::Upgrade(upgrade) => match upgrade.handle_input(&self.acceptor, self.peer, bytes, below) {
                Ok(None) => Ok(()),
                Ok(Some(accepted)) => {
                    self.forwarded_for = accepted.forwarded_for;
                    self.request = Some(Box::new(accepted.request));
                    self.phase = ServerPhase::Open(WebSocket::new(Role::Server, Rng::with_seed(self.seed)));
                    self.open(&bytes[accepted.consumed..], above, below)
                }
                Err(refusal) => {
                    self.phase = ServerPhase::Ended;
                    let text = if bytes.starts_with(&TLS_HELLO) { "TLS on a plain port".to_owned() } else { refusal.to_string() };
                    Err(Fault::new(FaultKind::UpgradeRefused, text))
                }
            },
            ServerPhase::Open(socket) => match socket.open(bytes, above, below) {
                None => Ok(()),
                Some(closed) => {
                    self.phase = ServerPhase::Ended;
                    outcome(closed)
                }
            },
        }
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        if let ServerPhase::Open(socket) = &mut self.phase {
            socket.seal(plain, below);
        }
    }

    fn close(&mut self, below: &mut Vec<u8>) {
        match &mut self.phase {
            ServerPhase::Upgrade(_) => {
                self.phase = ServerPhase::Ended;
                Refusal::SLOW.write(below);
            }
            ServerPhase::Open(socket) => socket.close(CloseCode::NORMAL, "", below),
            ServerPhase::Ended => {}
        }
    }

    fn progress(&self) -> Progress {
        match self.phase {
            ServerPhase::Upgrade(_) => Progress::Handshake,
            ServerPhase::Open(_) => Progress::Open,
            ServerPhase::Ended => Progress::Ended,
        }
    }

    fn tell(&mut self, about: &mut About) {
        // A proxy that only carries bytes has told who sends these: that one's word may not be taken.
        let trusted = &self.acceptor.trusted;
        about.request = self.request.take();
        about.forwarded_for = self.forwarded_for.filter(|_| about.source.is_none_or(|source| trusted.contains(source.ip())));
    }

    fn memory_bytes(&self) -> usize {
        let head = if let ServerPhase::Upgrade(upgrade) = &self.phase { upgrade.memory_bytes() } else { 0 };
        size_of::<Self>() + head
    }
}

/// A good-bye is the end; a broken rule is a fault.
fn outcome(closed: Closed) -> Result<(), Fault> {
    match closed {
        Closed::ByPeer(_) => Ok(()),
        Closed::ByViolation(violation) => Err(Fault::new(FaultKind::WebSocket, violation.to_string())),
    }
}

/// Makes the WebSocket of a client.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The path asked for.
    pub path: String,
    /// Fields of the application, sent as they are.
    pub fields: Vec<(String, String)>,
    /// The port that Host need not name: 80, and 443 above TLS.
    pub default_port: u16,
}

impl Make for Ask {
    fn make(&self, ends: &Ends<'_>) -> Result<Option<Box<dyn Layer>>, Fault> {
        let host = if ends.host.contains(':') { format!("[{}]", ends.host) } else { ends.host.to_owned() };
        let authority = if ends.port == self.default_port { host } else { format!("{host}:{}", ends.port) };
        let request = Request { authority, path: self.path.clone(), fields: self.fields.clone() };
        Ok(Some(Box::new(ClientLayer { rng: Rng::with_seed(ends.seed), phase: ClientPhase::Asking(Box::new(request)) })))
    }
}

struct ClientLayer {
    rng: Rng,
    phase: ClientPhase,
}

#[allow(clippy::large_enum_variant)]
enum ClientPhase {
    Asking(Box<Request>),
    Upgrade(ClientUpgrade),
    Open(WebSocket),
    Ended,
}

impl ClientLayer {
    fn fail(&mut self, error: UpgradeError) -> Result<(), Fault> {
        self.phase = ClientPhase::Ended;
        let kind = if matches!(error, UpgradeError::Status(_)) { FaultKind::UpgradeRefused } else { FaultKind::WebSocket };
        Err(Fault::new(kind, error.to_string()))
    }
}

impl Layer for ClientLayer {
    fn lost(&self) -> Option<Fault> {
        let text = "the server ended the connection without an answer of HTTP: perhaps it speaks no WebSocket at this port";
        matches!(self.phase, ClientPhase::Upgrade(_)).then(|| Fault::new(FaultKind::WebSocket, text))
    }

    fn begin(&mut self, below: &mut Vec<u8>) {
        if let ClientPhase::Asking(request) = &self.phase {
            self.phase = ClientPhase::Upgrade(ClientUpgrade::new(request, &mut self.rng, below));
        }
    }

    fn open(&mut self, bytes: &[u8], above: &mut Vec<u8>, below: &mut Vec<u8>) -> Result<(), Fault> {
        match &mut self.phase {
            // Nothing was asked yet, so nothing can be an answer.
            ClientPhase::Asking(_) if bytes.is_empty() => Ok(()),
            ClientPhase::Asking(_) => self.fail(UpgradeError::Answer("it came before the request")),
            ClientPhase::Ended => Ok(()),
            ClientPhase::Upgrade(upgrade) => match upgrade.handle_input(bytes) {
                Ok(None) => Ok(()),
                Ok(Some(consumed)) => {
                    self.phase = ClientPhase::Open(WebSocket::new(Role::Client, self.rng.fork()));
                    self.open(&bytes[consumed..], above, below)
                }
                Err(error) => self.fail(error),
            },
            ClientPhase::Open(socket) => match socket.open(bytes, above, below) {
                None => Ok(()),
                Some(closed) => {
                    self.phase = ClientPhase::Ended;
                    outcome(closed)
                }
            },
        }
    }

    fn seal(&mut self, plain: &[IoSlice<'_>], below: &mut Vec<u8>) {
        if let ClientPhase::Open(socket) = &mut self.phase {
            socket.seal(plain, below);
        }
    }

    fn close(&mut self, below: &mut Vec<u8>) {
        if let ClientPhase::Open(socket) = &mut self.phase {
            socket.close(CloseCode::NORMAL, "", below);
        }
    }

    fn progress(&self) -> Progress {
        match self.phase {
            ClientPhase::Asking(_) | ClientPhase::Upgrade(_) => Progress::Handshake,
            ClientPhase::Open(_) => Progress::Open,
            ClientPhase::Ended => Progress::Ended,
        }
    }

    fn memory_bytes(&self) -> usize {
        let held = match &self.phase {
            ClientPhase::Asking(request) => request.memory_bytes(),
            ClientPhase::Upgrade(upgrade) => upgrade.memory_bytes(),
            _ => 0,
        };
        size_of::<Self>() + held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Budget, OutBuffer};
    use crate::stack::{Place, Recipe, Stack};
    use bytes::Bytes;

    fn stack(make: impl Make + 'static) -> Box<Stack> {
        let ends = Ends { host: "::1", port: 8083, seed: 9, ..Ends::default() };
        let recipe = Recipe::default().with(Place::WebSocket, Arc::new(make));
        recipe.stack(&Budget::new(1 << 20), &ends).expect("no fault").expect("a layer")
    }

    fn client() -> Box<Stack> {
        stack(Ask { path: "/mqtt".to_owned(), fields: Vec::new(), default_port: 80 })
    }

    fn written(stack: &mut Stack) -> Vec<u8> {
        let bytes: Vec<u8> = stack.wire().slices().flatten().copied().collect();
        stack.wrote(bytes.len());
        bytes
    }

    /// What is sealed by one comes out of the other, however the bytes between them are cut.
    #[test]
    fn two_ends_speak_through_any_cut() {
        for cut in [1, 2, 7, 50, 1_000_000] {
            let (mut client, mut server) = (client(), stack(Accept(Arc::default())));
            assert!(client.begin().is_none() && server.begin().is_none());
            let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
            let (mut from_client, mut from_server) = (OutBuffer::default(), OutBuffer::default());
            from_client.push(&Bytes::from_static(b"from the client"), std::sync::Arc::new(()));
            from_server.push(&Bytes::from(vec![7; 70_000]), std::sync::Arc::new(()));
            for _ in 0..20 {
                let (client_took, server_took) = (client.seal(&from_client), server.seal(&from_server));
                from_client.advance(client_took);
                from_server.advance(server_took);
                for piece in written(&mut client).chunks(cut) {
                    server.open(piece, &mut to_server).expect("no fault");
                }
                for piece in written(&mut server).chunks(cut) {
                    client.open(piece, &mut to_client).expect("no fault");
                }
            }
            assert_eq!((to_server.as_slice(), to_client.len()), (&b"from the client"[..], 70_000), "{cut}");
            client.close();
            assert!(server.open(&written(&mut client), &mut to_server).expect("no fault").is_ended);
            assert!(client.open(&written(&mut server), &mut to_client).expect("no fault").is_ended);
        }
    }

    #[test]
    fn whoever_closes_before_the_request_says_so_in_http() {
        let mut server = stack(Accept(Arc::default()));
        assert!(server.begin().is_none());
        server.open(b"GET /", &mut Vec::new()).expect("no fault");
        server.close();
        assert!(written(&mut server).starts_with(b"HTTP/1.1 408 "));
    }

    #[test]
    fn a_refused_request_is_a_fault_with_an_answer() {
        let mut server = stack(Accept(Arc::default()));
        assert!(server.begin().is_none());
        let fault = server.open(b"\x10\x0c\0\x04MQTT", &mut Vec::new()).expect_err("not HTTP");
        assert_eq!(fault.kind, FaultKind::UpgradeRefused);
        let answer = written(&mut server);
        assert!(answer.starts_with(b"HTTP/1.1 400 "));
        let mut client = client();
        assert!(client.begin().is_none());
        assert_eq!(client.open(&answer, &mut Vec::new()).expect_err("refused").kind, FaultKind::UpgradeRefused);
    }

    #[test]
    fn an_open_layer_is_small() {
        assert!(size_of::<ServerLayer>() <= 256 && size_of::<ClientLayer>() <= 256);
    }
}
