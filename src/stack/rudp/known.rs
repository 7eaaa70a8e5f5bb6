//! Servers that have spoken generation 2: nobody is to talk a client out of it by an answer of generation 1.
//!
//! One of these is shared by all endpoints that dial, of whatever connection, client and thread; so it is a table of
//! numbers that are read and written alone. An entry is a hash of an address. Two addresses with the same one, of 2^64, would mean that a
//! stock server is not fallen back to; nobody can bring that about who cannot choose whom we dial.

use core::hash::{Hash as _, Hasher as _};
use core::net::SocketAddr;
use std::hash::DefaultHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many are remembered; the next one takes the place of the oldest.
pub(crate) const KNOWN_MAX: usize = 64;

/// Servers that are known to speak generation 2.
#[derive(Debug)]
pub struct KnownServers {
    hashes: [AtomicU64; KNOWN_MAX],
    next: AtomicUsize,
}

impl Default for KnownServers {
    fn default() -> Self {
        Self { hashes: [const { AtomicU64::new(0) }; KNOWN_MAX], next: AtomicUsize::new(0) }
    }
}

impl KnownServers {
    /// Whether this server has spoken generation 2.
    pub fn has(&self, server: SocketAddr) -> bool {
        let hash = hash_of(server);
        self.hashes.iter().any(|known| known.load(Ordering::Relaxed) == hash)
    }

    /// This server speaks generation 2.
    pub fn remember(&self, server: SocketAddr) {
        if !self.has(server) {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % KNOWN_MAX;
            self.hashes[place].store(hash_of(server), Ordering::Relaxed);
        }
    }
}

/// Never 0, which is nobody's.
fn hash_of(server: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    server.hash(&mut hasher);
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn the_oldest_makes_room_for_one_too_many() {
        let known = KnownServers::default();
        let count = KNOWN_MAX as u16;
        for port in 0..count {
            known.remember(server(port));
            known.remember(server(port));
        }
        assert!((0..count).all(|port| known.has(server(port))), "a server that is told twice takes one place");
        assert!(!known.has(server(count)));
        known.remember(server(count));
        assert!(known.has(server(count)) && !known.has(server(0)) && known.has(server(1)));
    }
}
