//! nlmqtt: MQTT 3.1, 3.1.1 and 5.0, client and broker, for C and C++ firmware.
//!
//! | floor | rooms | what lives there |
//! |---|---|---|
//! | 9 | `ffi` | the C ABI: fence, check, call, convert |
//! | 7 | [`client`] `server` | facades: what a Rust caller sees |
//! | 6 | [`config`] | keys, files, connection string to option structs |
//! | 5 | [`net`] | the only I/O: poll, sockets, names, threads, clock |
//! | 4 | `service` | the broker's statistics and administration as text (pure) |
//! | 3 | `broker` | sessions and the shard core (pure) |
//! | 2 | [`proto`] \| `route` | MQTT state machines \| topic routing (pure) |
//! | 1 | [`codec`] \| [`stack`] | MQTT bytes \| optional layers between a link and what is spoken over it (pure) |
//! | 0 | [`base`] \| [`topic`] | time, timers, budget, random numbers \| topic strings (pure) |
//!
//! A file uses only lower floors; `tests/tidy.rs` holds that. The C header `include/nlmqtt.h` is
//! the product; the Rust modules below floor 6 are visible for the tests only and promise nothing.
//!
#![doc = include_str!("ARCHITECTURE.md")]
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod base;
#[cfg(feature = "server")]
pub mod broker;
pub mod client;
pub mod codec;
pub mod config;
#[allow(unsafe_code)]
pub mod ffi;
pub mod net;
pub mod proto;
#[cfg(feature = "server")]
pub mod route;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service;
pub mod stack;
pub mod topic;
