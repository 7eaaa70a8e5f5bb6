//! How much may come from one source: a table of fixed size, by a keyed hash of the address.
//!
//! Sources share a cell by chance, and nobody can choose with whom. It never grows, whatever the number of sources.

use core::hash::Hasher;
use core::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::base::{Bucket, Instant, Rng};

/// Cells of the table: 10 KiB.
const CELLS: usize = 256;

#[derive(Debug)]
pub struct Throttle {
    key: [u64; 2],
    /// Taken with the first source.
    cells: Vec<Bucket>,
}

impl Throttle {
    pub fn new(rng: &mut Rng) -> Self {
        Self { key: [rng.u64(), rng.u64()], cells: Vec::new() }
    }

    /// One more from `source`. False: it was too much.
    pub fn take(&mut self, now: Instant, source: IpAddr, per_second: u32) -> bool {
        if self.cells.is_empty() {
            self.cells = vec![Bucket::new(now, per_second); CELLS];
        }
        let mut hasher = SipHasher13::new_with_keys(self.key[0], self.key[1]);
        match source {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            // Whoever has a network has all of its addresses.
            IpAddr::V6(ip) => hasher.write(&ip.octets()[..8]),
        }
        let cell = &mut self.cells[hasher.finish() as usize % CELLS];
        let has_room = cell.has_room(now, per_second);
        if has_room {
            cell.take(now, per_second, 1);
        }
        has_room
    }

    pub fn memory_bytes(&self) -> usize {
        self.cells.capacity() * size_of::<Bucket>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_its_rate_and_a_flood_takes_no_memory() {
        let mut throttle = Throttle::new(&mut Rng::with_seed(2));
        let mut count = |source: u32| (0..10).filter(|_| throttle.take(Instant::START, IpAddr::from(source.to_be_bytes()), 5)).count();
        assert_eq!(count(1), 5);
        let all: usize = (2..10_000).map(&mut count).sum();
        assert!(all < CELLS * 5);
        assert_eq!(throttle.memory_bytes(), CELLS * size_of::<Bucket>());
    }
}
