//! A set of packet identifiers.
//!
//! Most sessions have a handful in flight: a short vector is searched. Beyond
//! [`SMALL_MAX`] identifiers it becomes a bitmap with a summary, so that membership and "the next
//! free one" cost a few instructions with all 65,535 in use. An empty set owns no memory.

use crate::codec::PacketId;

/// Above this many members the vector becomes a bitmap of 8 KiB.
const SMALL_MAX: usize = 64;
const WORDS: usize = 1_024;

/// Packet identifiers in use.
#[derive(Debug)]
pub(crate) enum PacketIds {
    Small(Vec<u16>),
    Large(Box<Bitmap>),
}

#[derive(Debug)]
pub(crate) struct Bitmap {
    words: [u64; WORDS],
    /// Bit n is set when word n has no free identifier.
    full: [u64; WORDS / 64],
    len: u32,
}

impl Default for PacketIds {
    fn default() -> Self {
        Self::Small(Vec::new())
    }
}

impl PacketIds {
    /// Memory taken besides itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::Small(ids) => ids.capacity() * size_of::<u16>(),
            Self::Large(_) => size_of::<Bitmap>(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Small(ids) => ids.len(),
            Self::Large(bitmap) => bitmap.len as usize,
        }
    }

    pub(crate) fn contains(&self, id: PacketId) -> bool {
        match self {
            Self::Small(ids) => ids.contains(&id.get()),
            Self::Large(bitmap) => bitmap.contains(id.get()),
        }
    }

    /// False if it was in already.
    pub(crate) fn insert(&mut self, id: PacketId) -> bool {
        if let Self::Small(ids) = self {
            if ids.contains(&id.get()) {
                return false;
            }
            if ids.len() < SMALL_MAX {
                ids.push(id.get());
                return true;
            }
            let mut bitmap = Bitmap::new();
            for id in ids.iter() {
                bitmap.insert(*id);
            }
            *self = Self::Large(bitmap);
        }
        match self {
            Self::Large(bitmap) => bitmap.insert(id.get()),
            Self::Small(_) => unreachable!("made large above"),
        }
    }

    /// False if it was not in.
    pub(crate) fn remove(&mut self, id: PacketId) -> bool {
        let known = match self {
            Self::Small(ids) => match ids.iter().position(|known| *known == id.get()) {
                Some(index) => {
                    ids.swap_remove(index);
                    true
                }
                None => false,
            },
            Self::Large(bitmap) => bitmap.remove(id.get()),
        };
        if known && self.len() == 0 {
            *self = Self::default();
        }
        known
    }

    /// The first identifier not in the set, from `start` upward and around.
    pub(crate) fn next_free(&self, start: PacketId) -> Option<PacketId> {
        match self {
            Self::Small(_) => {
                let mut id = start;
                while self.contains(id) {
                    id = following(id);
                }
                Some(id)
            }
            Self::Large(bitmap) => bitmap.free_from(start.get()).or_else(|| bitmap.free_from(1)).and_then(PacketId::new),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = PacketId> + '_ {
        let (small, words): (&[u16], &[u64]) = match self {
            Self::Small(ids) => (ids, &[]),
            Self::Large(bitmap) => (&[], &bitmap.words),
        };
        let large = words.iter().enumerate().flat_map(|(word, bits)| (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| (word * 64 + bit) as u16));
        // Identifier 0 is marked as used in the bitmap and is filtered out here.
        small.iter().copied().chain(large).filter_map(PacketId::new)
    }
}

/// The identifier after `id`, around and never 0.
pub(crate) fn following(id: PacketId) -> PacketId {
    id.checked_add(1).unwrap_or(PacketId::MIN)
}

impl Bitmap {
    fn new() -> Box<Self> {
        let mut bitmap = Box::new(Self { words: [0; WORDS], full: [0; WORDS / 64], len: 0 });
        bitmap.words[0] = 1; // identifier 0 is never free
        bitmap
    }

    fn contains(&self, id: u16) -> bool {
        self.words[usize::from(id) / 64] >> (id % 64) & 1 == 1
    }

    fn insert(&mut self, id: u16) -> bool {
        let index = usize::from(id) / 64;
        let fresh = !self.contains(id);
        self.words[index] |= 1 << (id % 64);
        if self.words[index] == u64::MAX {
            self.full[index / 64] |= 1 << (index % 64);
        }
        self.len += u32::from(fresh);
        fresh
    }

    fn remove(&mut self, id: u16) -> bool {
        let index = usize::from(id) / 64;
        let known = self.contains(id);
        self.words[index] &= !(1 << (id % 64));
        self.full[index / 64] &= !(1 << (index % 64));
        self.len -= u32::from(known);
        known
    }

    /// The first free one not below `start`.
    fn free_from(&self, start: u16) -> Option<u16> {
        let index = usize::from(start) / 64;
        let free = !self.words[index] & (u64::MAX << (start % 64));
        if free != 0 {
            return Some((index * 64) as u16 + free.trailing_zeros() as u16);
        }
        let mut group = (index + 1) / 64;
        let mut mask = u64::MAX << ((index + 1) % 64);
        while group < self.full.len() {
            let open = !self.full[group] & mask;
            if open != 0 {
                let index = group * 64 + open.trailing_zeros() as usize;
                return Some((index * 64) as u16 + (!self.words[index]).trailing_zeros() as u16);
            }
            group += 1;
            mask = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn small_and_large_sets_answer_like_a_plain_set() {
        let mut rng = Rng::with_seed(5);
        for span in [10, 100, 65_535] {
            let (mut ids, mut model) = (PacketIds::default(), BTreeSet::new());
            for step in 0..40_000_u32 {
                let id = PacketId::new(1 + rng.below(span) as u16).expect("above 0");
                // Grows first, shrinks in the second half.
                if rng.chance(if step < 20_000 { 800 } else { 200 }) {
                    assert_eq!(ids.insert(id), model.insert(id));
                } else {
                    assert_eq!(ids.remove(id), model.remove(&id));
                }
                assert_eq!(ids.contains(id), model.contains(&id));
                assert_eq!(ids.len(), model.len());
            }
            let listed: BTreeSet<PacketId> = ids.iter().collect();
            assert_eq!(listed, model);
        }
    }

    #[test]
    fn the_one_free_identifier_of_65535_is_found_from_everywhere() {
        let mut ids = PacketIds::default();
        for id in (1..=u16::MAX).filter_map(PacketId::new) {
            assert!(ids.insert(id));
        }
        assert_eq!(ids.next_free(PacketId::MIN), None);
        let mut rng = Rng::with_seed(6);
        for _ in 0..1_000 {
            let free = PacketId::new(1 + rng.below(65_535) as u16).expect("above 0");
            let start = PacketId::new(1 + rng.below(65_535) as u16).expect("above 0");
            ids.remove(free);
            assert_eq!(ids.next_free(start), Some(free));
            ids.insert(free);
        }
    }

    #[test]
    fn an_emptied_set_owns_no_memory() {
        let mut ids = PacketIds::default();
        for id in (1..200).filter_map(PacketId::new) {
            ids.insert(id);
        }
        for id in (1..200).filter_map(PacketId::new) {
            ids.remove(id);
        }
        assert!(matches!(ids, PacketIds::Small(list) if list.capacity() == 0));
    }
}
