//! What lies between MQTT and a socket, sans I/O.

#[cfg(any(feature = "websocket", feature = "proxy"))]
mod http;
mod networks;
#[cfg(feature = "websocket")]
pub mod ws;

pub use networks::Networks;
