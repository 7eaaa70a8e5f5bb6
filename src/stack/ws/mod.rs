//! WebSocket (RFC 6455) as a carrier of MQTT (§6.0 of the MQTT standards), for both roles, sans I/O.
//!
//! A connection begins with one HTTP request and its answer ([`ServerUpgrade`], [`ClientUpgrade`]);
//! from then on a [`WebSocket`] opens and seals frames:
//!
//! ```text
//!   socket ─> open(bytes) ─> the payload of all data frames
//!                 └─> out: pongs, the answer to a Close          ┐
//!   MQTT   ─> seal(bytes) ─> one binary frame                    ├─> socket
//!   end    ─> close(code)                                        ┘
//! ```
//! MQTT is a stream of bytes that may be cut into frames and messages in any way, so nothing is
//! put together here: payload goes on as it comes. A connection that is idle holds no buffer; one
//! control frame of at most 125 bytes is gathered while it comes. Only binary messages carry MQTT:
//! the first text frame closes with 1003.
//!
//! Frames are taken to pieces by `websocket-sans-io`; the rules that the standard sets for them are
//! in `frames`, the codes of a Close in `close`. Keys and masks come from the generator that is
//! handed in: a seed repeats a connection.

mod client_upgrade;
mod close;
mod frames;
mod layer;
mod server_upgrade;

pub use client_upgrade::{ClientUpgrade, Request, UpgradeError};
pub use close::{CloseCode, Violation};
pub use frames::{Closed, Role, WebSocket};
pub use layer::{Accept, Ask};
pub use server_upgrade::{Accepted, Acceptor, Refusal, ServerUpgrade};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The sub-protocol of MQTT 3.1.1 and 5.0 (MQTT-6.0.0-3, MQTT-6.0.0-4), and of this client.
pub const PROTOCOL: &str = "mqtt";

/// The sub-protocol that clients of MQTT 3.1 ask for.
pub const PROTOCOL_31: &str = "mqttv3.1";

/// RFC 6455 §1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
fn accept_of(key: &str) -> String {
    let mut sha1 = sha1_smol::Sha1::new();
    sha1.update(key.as_bytes());
    sha1.update(ACCEPT_GUID.as_bytes());
    BASE64.encode(sha1.digest().bytes())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_the_standard() {
        assert_eq!(super::accept_of("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
