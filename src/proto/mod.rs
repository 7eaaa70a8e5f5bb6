//! MQTT state machines: what a session knows about packets in flight, and a whole client.
//!
//! Nothing here sees a socket, a thread or a clock. Every machine speaks the same verbs
//! (`handle_input`, `handle_timeout`, `poll_transmit`, `poll_event`, `poll_timeout`) as far as it
//! needs them; the invariant is: one input, then drain all output, then the next input.
//!
//! | file | subject | MQTT 5 |
//! |---|---|---|
//! | `sender` | outgoing QoS 1 and 2, quota, resend | §4.3, §4.4, §4.9 |
//! | `receiver` | incoming QoS 1 and 2, duplicates, receive maximum | §4.3, §3.3.4 |
//! | `alias` | topic aliases, both directions | §3.3.2.3.4 |
//! | `keepalive` | pings and silence | §3.1.2.10 |
//! | `client` | a whole client | |
//! | `error` | the one error enum of this floor | §4.13 |

mod alias;
pub mod client;
mod error;
mod ids;
mod keepalive;
mod receiver;
mod sender;

pub use alias::{AliasIn, AliasOut, Resolved};
pub use error::Error;
pub use keepalive::{ClientKeepAlive, KeepAliveAction};
pub use receiver::{Arrival, Receiver};
pub use sender::{PubRecOutcome, Resend, Sender};

/// What is owed for the other side's packets may wait beyond the mark of an out-buffer before that side is not read any more: an
/// acknowledgement for each of the 65,535 packet identifiers. With less, two sides that both have much to write would stop
/// reading, and wait for each other for ever.
pub(crate) const OWED_BYTES_MAX: usize = 512 << 10;
