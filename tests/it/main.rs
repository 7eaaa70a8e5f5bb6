//! The facades over real sockets, where neither the conformance table nor the foreign clients look.

#[cfg(all(feature = "datagram", feature = "tls"))]
mod datagram_broker;
mod hostile;
mod inproc;
#[cfg(feature = "tls")]
mod known;
mod ladder;
#[cfg(all(feature = "rudp", feature = "tls"))]
mod last_words;
mod listeners;
mod newlife_client;
mod newlife_server;
#[cfg(feature = "proxy")]
mod proxied;
#[cfg(feature = "quic")]
mod quic;
#[cfg(all(feature = "datagram", feature = "tls"))]
mod relay;
#[cfg(all(feature = "rudp", feature = "tls"))]
mod rudp;
#[cfg(all(feature = "rudp", feature = "tls"))]
mod rudp_many;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_client;
mod unix;
mod wire;
mod workers;

/// Raises the limit of open files for `connections` with both ends in this process; how many it
/// allows.
fn descriptors_for(connections: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    let wanted = 2 * connections as u64 + 1_000;
    if soft < wanted {
        setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).expect("up to the hard limit");
    }
    connections.min(hard.saturating_sub(1_000) as usize / 2)
}
