//! Hash maps without global randomness.
//!
//! [`IdMap`] is for keys this library invents (packet identifiers, table indices): a fast hash
//! with a fixed seed. [`PeerMap`] is for keys a peer chooses (client ids, topics): SipHash, keyed
//! from the injected generator, so that nobody can aim at one bucket and a seed still replays.

use std::collections::{HashMap, HashSet};

use super::Rng;

/// A map keyed by what this library invents.
pub type IdMap<K, V> = HashMap<K, V, foldhash::fast::FixedState>;
/// A set of what this library invents.
pub type IdSet<K> = HashSet<K, foldhash::fast::FixedState>;
/// A map keyed by what a peer chooses.
pub type PeerMap<K, V> = HashMap<K, V, PeerState>;
/// A set of what a peer chooses.
pub type PeerSet<K> = HashSet<K, PeerState>;

/// The key of one [`PeerMap`].
#[derive(Clone, Copy, Debug)]
pub struct PeerState(u64, u64);

impl PeerState {
    /// A new key.
    pub fn new(rng: &mut Rng) -> Self {
        Self(rng.u64(), rng.u64())
    }
}

impl std::hash::BuildHasher for PeerState {
    type Hasher = siphasher::sip::SipHasher13;
    fn build_hasher(&self) -> Self::Hasher {
        siphasher::sip::SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// An empty map keyed from `rng`.
pub fn peer_map<K, V>(rng: &mut Rng) -> PeerMap<K, V> {
    HashMap::with_hasher(PeerState::new(rng))
}

/// An empty set keyed from `rng`.
pub fn peer_set<K>(rng: &mut Rng) -> PeerSet<K> {
    HashSet::with_hasher(PeerState::new(rng))
}
