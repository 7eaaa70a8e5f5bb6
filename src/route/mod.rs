//! Topic routing: who receives a message, and which message a new subscriber finds.
//!
//! ```text
//!   SUBSCRIBE --split_share--> filter --wildcard-free--> exact table: hash of the whole filter
//!                                     --otherwise------> trie: one node per level, `+` and `#`
//!                                                              in slots of their own
//!   both lead to an Audience: plain subscribers, sorted by target, and shared groups
//!
//!   PUBLISH --matching--> exact audience + trie audiences (each a sorted run)
//!           --merge-----> one hit per target, then one hit per shared group
//! ```
//! Nothing here knows what a session is: a [`Target`] is a shard number and a table key. Nothing
//! here locks: the owner wraps the [`Router`] in its read-write lock. [`Router::matching`] and
//! [`Router::another`] take `&self` and run on many threads at once; all they change is the
//! cursor of a shared group, an atomic.
//!
//! Every walk is a loop: a topic of 65,535 empty levels (§4.7.3) costs time in proportion and no
//! stack.

mod arena;
mod audience;
mod cache;
mod level;
mod matches;
mod retained;
mod router;
mod share;
mod trie;

pub use cache::MatchCache;
pub use matches::{Hit, Hits, Matches};
pub use retained::{Retained, RetainedCursor, RetainedFull, RetainedLimits, SetOutcome};
pub use router::{Options, Router, Subscribed};
pub use share::{ShareId, ShareStrategy};

/// Who receives: a session of one shard.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Target {
    /// The shard (worker) that owns the session.
    pub shard: u16,
    /// The session's key in its shard's table, index and generation; never 0.
    pub key: u64,
}
