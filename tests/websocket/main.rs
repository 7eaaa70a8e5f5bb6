//! The WebSocket standard's cases (`cases.tsv`), for both roles as machines of bytes.
//!
//! Frames are written and read here by code of the test's own, so that the product does not judge
//! itself.
#![cfg(feature = "websocket")]

mod frames;
mod pure;
mod random;
#[cfg(feature = "server")]
mod socket;
mod table;
