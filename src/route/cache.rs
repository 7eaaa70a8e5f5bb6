//! Match results by topic: a device that publishes to its topic once a second is routed once.
//!
//! A table of fixed size, one place for each hash. A result is used while the router's generation is
//! the one it was found in; it is kept when the same hash was missed twice in a row, so that a walk
//! over more topics than there are places costs nothing but the miss. A result that depends on who
//! publishes is never kept. What the table holds is charged, and while memory is short nothing is
//! kept that was not kept before.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::matches::{Hits, Matches};
use super::{Router, Target};
use crate::base::{Budget, Charge};

const PLACES: usize = 256;
/// What all places own together, some 4,000 hits; beyond it the table is emptied.
const KEPT_BYTES_MAX: usize = 160 * 1_024;
/// Longer topics are not kept.
const TOPIC_BYTES_MAX: usize = 256;

/// The results of one shard.
#[derive(Debug)]
pub struct MatchCache {
    budget: Budget,
    charge: Charge,
    /// Empty until the first message comes.
    places: Vec<Place>,
    /// Whoever aims at one place makes it miss, and nothing else: the hash needs no secret.
    hasher: FixedState,
    /// Memory of what the places own.
    kept_bytes: usize,
    /// For what is not in the table.
    matches: Matches,
    /// The place of what was found last; `None`: it is in `matches`.
    found_at: Option<usize>,
}

#[derive(Clone, Default, Debug)]
struct Place {
    /// Of the topic that was missed last.
    missed: u64,
    generation: u64,
    topic: String,
    hits: Hits,
}

impl Place {
    fn own_bytes(&self) -> usize {
        self.topic.capacity() + self.hits.memory_bytes()
    }
}

impl MatchCache {
    /// Empty; what it will hold is charged to `budget`.
    pub fn new(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            charge: budget.charge(size_of::<Self>()),
            places: Vec::new(),
            hasher: FixedState::default(),
            kept_bytes: 0,
            matches: Matches::default(),
            found_at: None,
        }
    }

    /// As [`Router::matching`], from memory if it can; [`MatchCache::found`] tells what was found.
    pub fn find(&mut self, router: &Router, topic: &str, publisher: Option<Target>, publisher_number: u64) {
        if self.places.is_empty() {
            self.places.resize(PLACES, Place::default());
        }
        let hash = self.hasher.hash_one(topic.as_bytes());
        let index = hash as usize % PLACES;
        let place = &mut self.places[index];
        // No topic is empty, so an empty place is none's.
        if place.topic == topic && place.generation == router.generation() {
            self.found_at = Some(index);
            return;
        }
        self.found_at = None;
        router.matching(topic, publisher, publisher_number, &mut self.matches);
        let is_kept = place.missed == hash && topic.len() <= TOPIC_BYTES_MAX && !self.matches.depends_on_publisher();
        if is_kept && !self.budget.is_tight() {
            self.keep(index, topic, router.generation());
        } else {
            place.missed = hash;
        }
        self.recharge();
    }

    /// What was found last.
    pub fn found(&self) -> &Hits {
        self.found_at.map_or_else(|| self.matches.hits(), |index| &self.places[index].hits)
    }

    /// Forgets what is of another generation than this one, and its memory.
    pub fn forget_stale(&mut self, generation: u64) {
        for place in self.places.iter_mut().filter(|place| place.generation != generation) {
            self.kept_bytes -= place.own_bytes();
            *place = Place::default();
        }
        self.recharge();
    }

    fn recharge(&mut self) {
        let table = self.places.capacity() * size_of::<Place>();
        self.charge.resize(size_of::<Self>() + table + self.kept_bytes + self.matches.memory_bytes());
    }

    fn keep(&mut self, index: usize, topic: &str, generation: u64) {
        // Copies are as large as what is in them: nobody is left with the room of a larger audience.
        let (topic, hits) = (topic.to_owned(), self.matches.hits().clone());
        let own_bytes = topic.capacity() + hits.memory_bytes();
        if own_bytes > KEPT_BYTES_MAX {
            return;
        }
        self.kept_bytes -= self.places[index].own_bytes();
        if self.kept_bytes + own_bytes > KEPT_BYTES_MAX {
            self.places.fill(Place::default());
            self.kept_bytes = 0;
        }
        self.kept_bytes += own_bytes;
        let place = &mut self.places[index];
        (place.generation, place.topic, place.hits) = (generation, topic, hits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use crate::codec::{Qos, SubscribeOptions};
    use crate::route::Options;

    impl MatchCache {
        fn matching(&mut self, router: &Router, topic: &str, publisher: Option<Target>, publisher_number: u64) -> &Hits {
            self.find(router, topic, publisher, publisher_number);
            self.found()
        }
    }

    fn targets(hits: &Hits) -> Vec<(Target, Qos, Vec<u32>)> {
        hits.iter().map(|(hit, ids)| (hit.target, hit.qos, ids.to_vec())).collect()
    }

    #[test]
    fn a_cached_result_is_never_another_than_a_fresh_one() {
        let words = ["a", "b", "+", "#", "c"];
        let budget = Budget::new(1 << 30);
        for seed in 0..20 {
            let mut rng = Rng::with_seed(seed);
            let mut router = Router::new(Options::default(), rng.fork());
            let (mut cache, mut fresh) = (MatchCache::new(&budget), Matches::default());
            for _ in 0..3_000 {
                let topic = format!("{}/{}", words[rng.below(2) as usize], rng.below(400));
                let publisher = Some(Target { shard: 0, key: 1 + rng.below(5) });
                if rng.chance(30) {
                    let first = words[rng.below(5) as usize];
                    let second = if rng.chance(500) { "+".to_owned() } else { rng.below(400).to_string() };
                    let filter = if first == "#" { first.to_owned() } else { format!("{first}/{second}") };
                    let target = Target { shard: 0, key: 1 + rng.below(5) };
                    let options = SubscribeOptions { no_local: rng.chance(100), qos: Qos::AtLeastOnce, ..SubscribeOptions::default() };
                    if rng.chance(600) {
                        router.subscribe(&filter, target, options, Some(1 + rng.below(9) as u32));
                    } else {
                        router.unsubscribe(&filter, target);
                    }
                }
                for _ in 0..3 {
                    router.matching(&topic, publisher, 0, &mut fresh);
                    assert_eq!(targets(cache.matching(&router, &topic, publisher, 0)), targets(fresh.hits()), "seed {seed} {topic}");
                }
            }
        }
    }

    #[test]
    fn the_third_message_of_a_topic_is_found_and_large_audiences_do_not_pile_up() {
        let mut router = Router::new(Options::default(), Rng::with_seed(1));
        for key in 1..=1_500 {
            router.subscribe("t/+", Target { shard: 0, key }, SubscribeOptions::default(), None);
        }
        let mut cache = MatchCache::new(&Budget::new(1 << 30));
        for topic in (0..100).map(|number| format!("t/{number}")) {
            for _ in 0..2 {
                cache.matching(&router, &topic, None, 0);
            }
            cache.matches.clear();
            assert_eq!(cache.matching(&router, &topic, None, 0).len(), 1_500);
            assert!(cache.matches.hits().is_empty(), "from memory");
            assert!(cache.kept_bytes <= KEPT_BYTES_MAX);
        }
        router.unsubscribe("t/+", Target { shard: 0, key: 1 });
        cache.forget_stale(router.generation());
        assert_eq!(cache.kept_bytes, 0);
        assert!(cache.places.iter().all(|place| place.own_bytes() == 0));
    }

    #[test]
    fn a_place_that_has_had_a_large_audience_does_not_keep_its_room() {
        let mut router = Router::new(Options::default(), Rng::with_seed(1));
        let budget = Budget::new(1 << 30);
        let mut cache = MatchCache::new(&budget);
        for topic in (0..100).map(|number| format!("t/{number}")) {
            for key in 1..=3_000 {
                router.subscribe(&topic, Target { shard: 0, key }, SubscribeOptions::default(), Some(1));
            }
            (0..2).for_each(|_| cache.find(&router, &topic, None, 0));
            for key in 1..=3_000 {
                router.unsubscribe(&topic, Target { shard: 0, key });
            }
            (0..2).for_each(|_| cache.find(&router, &topic, None, 0));
            assert_eq!(cache.kept_bytes, cache.places.iter().map(Place::own_bytes).sum::<usize>());
            assert!(cache.kept_bytes <= KEPT_BYTES_MAX, "{}", cache.kept_bytes);
        }
    }

    #[test]
    fn what_is_kept_is_charged_and_nothing_is_kept_while_memory_is_short() {
        let mut router = Router::new(Options::default(), Rng::with_seed(1));
        for key in 1..=100 {
            router.subscribe("t/+", Target { shard: 0, key }, SubscribeOptions::default(), None);
        }
        let budget = Budget::new(1 << 20);
        let mut cache = MatchCache::new(&budget);
        cache.matching(&router, "t/first", None, 0);
        let empty = budget.used_bytes();
        assert!(empty >= PLACES * size_of::<Place>() + 100 * size_of::<super::super::Hit>());
        let held = budget.charge(1 << 20);
        for topic in ["t/one", "t/two", "t/one", "t/two", "t/one", "t/two"] {
            cache.matching(&router, topic, None, 0);
        }
        assert_eq!((cache.kept_bytes, budget.used_bytes()), (0, empty + (1 << 20)));
        drop(held);
        for topic in ["t/one", "t/one", "t/two", "t/two"] {
            cache.matching(&router, topic, None, 0);
        }
        let kept = cache.places.iter().map(Place::own_bytes).sum::<usize>();
        assert_eq!(budget.used_bytes(), empty + kept);
        assert!(kept >= 200 * size_of::<super::super::Hit>() + 10);
        router.unsubscribe("t/+", Target { shard: 0, key: 1 });
        cache.forget_stale(router.generation());
        assert_eq!(budget.used_bytes(), empty);
        drop(cache);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn shared_groups_are_never_cached() {
        let mut router = Router::new(Options::default(), Rng::with_seed(1));
        for key in 1..=2 {
            router.subscribe("$share/g/t", Target { shard: 0, key }, SubscribeOptions::default(), None);
        }
        let mut cache = MatchCache::new(&Budget::new(1 << 30));
        let chosen: Vec<u64> = (0..6).map(|_| cache.matching(&router, "t", None, 0).iter().next().expect("one").0.target.key).collect();
        assert!(chosen.contains(&1) && chosen.contains(&2), "{chosen:?}");
    }
}
