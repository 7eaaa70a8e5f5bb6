//! Level names, each kept once.
//!
//! A trie of a hundred thousand filters says `temperature` a hundred thousand times. Here it is
//! said once and has a number; the trie's edges are pairs of numbers, and a published topic asks
//! for each of its levels once, not once per node. A level nobody has interned can only be
//! matched by a wildcard.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use crate::base::{PeerMap, Rng, peer_map};

/// The longest level name that lives in the table itself: most do, and need no allocation.
const SHORT_BYTES_MAX: usize = 22;

/// The interned levels; a level is dropped with the last edge that carries it.
#[derive(Debug)]
pub(super) struct Levels {
    table: PeerMap<Name, Level>,
    free: Vec<u32>,
    next: u32,
}

#[derive(Debug)]
struct Level {
    id: u32,
    edges: u32,
}

impl Levels {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self { table: peer_map(rng), free: Vec::new(), next: 0 }
    }

    pub(super) fn find(&self, level: &str) -> Option<u32> {
        self.table.get(level.as_bytes()).map(|level| level.id)
    }

    /// The number of `level`, for one more edge.
    pub(super) fn acquire(&mut self, level: &str) -> u32 {
        if let Some(known) = self.table.get_mut(level.as_bytes()) {
            known.edges += 1;
            return known.id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        self.table.insert(Name::new(level.as_bytes()), Level { id, edges: 1 });
        id
    }

    /// An edge with this level is gone.
    pub(super) fn release(&mut self, level: &str) {
        let Some(known) = self.table.get_mut(level.as_bytes()) else {
            debug_assert!(false, "released a level that no edge carries");
            return;
        };
        known.edges -= 1;
        if known.edges > 0 {
            return;
        }
        let id = known.id;
        self.table.remove(level.as_bytes());
        self.free.push(id);
        if self.table.is_empty() {
            self.free = Vec::new();
            self.next = 0;
        }
        if self.table.capacity() > 64 && self.table.len() < self.table.capacity() / 8 {
            self.table.shrink_to(self.table.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Bytes, not `str`: a short name is read back without checking UTF-8 again.
#[derive(Debug)]
enum Name {
    Short(u8, [u8; SHORT_BYTES_MAX]),
    Long(Box<[u8]>),
}

impl Name {
    fn new(bytes: &[u8]) -> Self {
        if bytes.len() > SHORT_BYTES_MAX {
            return Self::Long(bytes.into());
        }
        let mut short = [0; SHORT_BYTES_MAX];
        short[..bytes.len()].copy_from_slice(bytes);
        Self::Short(bytes.len() as u8, short)
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        match self {
            Self::Short(len, bytes) => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<[u8]>::borrow(self).hash(state);
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<[u8]>::borrow(self) == Borrow::<[u8]>::borrow(other)
    }
}

impl Eq for Name {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_keeps_its_number_until_its_last_edge_is_gone() {
        let mut levels = Levels::new(&mut Rng::with_seed(1));
        let long = "x".repeat(SHORT_BYTES_MAX + 1);
        let (empty, short, long_id) = (levels.acquire(""), levels.acquire("temperature"), levels.acquire(&long));
        assert_eq!(levels.acquire("temperature"), short);
        levels.release("temperature");
        assert_eq!(levels.find("temperature"), Some(short));
        levels.release("temperature");
        assert_eq!(levels.find("temperature"), None);
        assert_eq!((levels.find(""), levels.find(&long)), (Some(empty), Some(long_id)));
        assert_eq!(levels.acquire("other"), short, "the number is free again");
    }
}
