//! Ids that are cookies, and tokens that are ids under another key: what a listener can tell again without having kept it.

use core::hash::Hasher;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

use crate::base::{Instant, Rng};

/// An id is good in its slice and in the next one: for 30 to 60 s.
const SLICE_MICROS: u64 = 30_000_000;

/// Randomness nobody can foresee, for the three keys of an endpoint.
pub type Secret = [[u64; 2]; 3];

/// The keys of an endpoint.
#[derive(Clone, Copy)]
pub struct Keys {
    ids: [u64; 2],
    tokens: [u64; 2],
    numbers: [u64; 2],
}

impl core::fmt::Debug for Keys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Out of a secret of this start; tokens under a key that may be older.
    pub fn new([ids, own_tokens, numbers]: Secret, tokens: Option<[u64; 2]>) -> Self {
        Self { ids, tokens: tokens.unwrap_or(own_tokens), numbers }
    }

    /// A number that does not follow from others, though the generator's would.
    pub fn number(&self, rng: &mut Rng) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.numbers[0], self.numbers[1]);
        hasher.write(&rng.u64().to_be_bytes());
        hasher.finish()
    }

    /// A generator whose numbers tell nothing of others.
    pub fn fork(&self, rng: &mut Rng) -> Rng {
        Rng::with_seed(self.number(rng))
    }

    /// The id a listener gives to the client at this address that calls itself `client`.
    pub fn id(&self, now: Instant, address: SocketAddr, client: u64) -> u64 {
        self.id_of(now.as_micros() / SLICE_MICROS, address, client)
    }

    /// Whether `id` is one that was given to it lately.
    pub fn is_fresh(&self, now: Instant, address: SocketAddr, client: u64, id: u64) -> bool {
        let slice = now.as_micros() / SLICE_MICROS;
        id == self.id_of(slice, address, client) || slice.checked_sub(1).is_some_and(|slice| id == self.id_of(slice, address, client))
    }

    /// What a RESET for `id` bears.
    pub fn token(&self, id: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.tokens[0], self.tokens[1]);
        hasher.write(&id.to_be_bytes());
        hasher.finish()
    }

    fn id_of(&self, slice: u64, address: SocketAddr, client: u64) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.ids[0], self.ids[1]);
        match address.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write(&address.port().to_be_bytes());
        hasher.write(&client.to_be_bytes());
        hasher.write(&slice.to_be_bytes());
        // 0 stands for an id that is not known.
        hasher.finish().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Duration;

    #[test]
    fn an_id_is_good_for_its_address_and_a_minute_at_most() {
        let keys = Keys::new([[1, 2], [3, 4], [5, 6]], None);
        let (here, there) = (SocketAddr::from(([10, 0, 0, 1], 5)), SocketAddr::from(([10, 0, 0, 1], 6)));
        let at = |seconds| Instant::START + Duration::from_secs(seconds);
        let id = keys.id(at(29), here, 7);
        assert!(keys.is_fresh(at(29), here, 7, id) && keys.is_fresh(at(59), here, 7, id));
        assert!(!keys.is_fresh(at(60), here, 7, id) && !keys.is_fresh(at(29), there, 7, id) && !keys.is_fresh(at(29), here, 8, id));
        assert_ne!(keys.token(id), keys.token(id + 1));
        assert_ne!(keys.number(&mut Rng::with_seed(1)), Rng::with_seed(1).u64());
    }
}
