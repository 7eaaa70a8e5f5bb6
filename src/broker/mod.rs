//! The broker's core: sessions, and the shard that owns them. Pure: bytes and time come in, bytes
//! and events go out.
//!
//! ```text
//!   open ─────────┐                                  ┌─> take_dirty / output / sent / is_finished
//!   handle_input ─┤   Shard                          │   (the host writes, then reports)
//!   handle_timeout┤   connections  sessions  wheel ──┤
//!   complete ─────┤   router (shared)                ├─> poll_timeout, has_work / work
//!   closed ───────┘                                  └─> hooks, called with the shard borrowed
//! ```
//! A shard is one worker's part of a server. A client id lives in one shard for ever, so nothing
//! here is locked but the router; what goes from shard to shard is in `peers`. One input is taken, then its output is drained: the host calls
//! `handle_input`, and at the end of its turn writes each connection of the dirty list once.
//!
//! The way of a PUBLISH: `shard` frames it, `publish` does the QoS bookkeeping and asks the hooks,
//! the router names the receivers, `deliver` encodes into each receiver's out-buffer or queues.

mod accept;
mod admin;
mod apart;
mod ban;
mod client_admin;
mod connect;
mod connection;
mod deliver;
mod directory;
mod ending;
mod hooks;
mod input;
mod layers;
mod mount;
mod options;
mod park;
mod peers;
mod publish;
mod rate;
mod retain;
mod retained_admin;
mod rules;
mod schedule;
mod session;
mod shard;
mod stats;
mod subscribe;
mod tell;
#[cfg(test)]
mod tests;

pub use accept::Origin;
pub use admin::{ClientSummary, LocalKey};
pub use ban::{Ban, BanError, BanKind};
pub use client_admin::SubscriptionSummary;
pub use connection::ConnKey;
pub use hooks::{Access, Answer, ClientInfo, Decision, DropReason, HookToken, Hooks, Interest, NoHooks, PublishInfo, Rewrite, SessionEvent};
pub use input::Progress;
pub use layers::HandshakeLoss;
pub use mount::MountPoint;
pub use options::Options;
pub use peers::{Levels, Post, SHARDS_MAX, Traveller};
pub use rules::{Rules, Versions};
pub use schedule::{Task, TaskId};
pub use session::{Receive, SessionKey};
pub use shard::Shard;
pub use stats::{Stat, Stats};
