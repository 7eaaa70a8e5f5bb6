//! The PROXY protocol (haproxy's proxy-protocol.txt), versions 1 and 2: what a proxy says in front of
//! a connection about who is behind it.
//!
//! [`Receiver`] gathers a header, however it is cut, and hands on what comes behind it; [`Send`] is
//! the other side. Lengths are bounded before anything is kept. A header is believed only from
//! sources the listener trusts: to whoever is not one of them the protocol is not spoken, and with
//! [`ProxyPolicy::Required`](crate::stack::ProxyPolicy::Required) they are not let in at all. `ppp` takes whole headers to pieces and writes
//! them; what it lets pass and the standard does not is refused here.

mod header;
mod receive;
mod send;

pub use header::{Header, Peer, Tls};
pub use receive::{Receive, Received, Receiver};
pub use send::Send;
