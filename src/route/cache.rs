//! Match results by topic: a device that publishes to its topic once a second is routed once.
//!
//! A table of fixed size, one place for each hash. A result is used while the router's generation is
//! the one it was found in; it is kept when the same hash was missed twice in a row, so that a walk
//! over more topics than there are places costs nothing but the miss. A result that depends on who
//! publishes is never kept.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::matches::{Hits, Matches};
use super::{Router, Target};

const PLACES: usize = 256;
/// Hits in all places together; beyond it the table is emptied.
const HITS_MAX: usize = 4_096;
/// Longer topics are not kept.
const TOPIC_BYTES_MAX: usize = 256;

/// The results of one shard.
#[derive(Default, Debug)]
pub struct MatchCache {
    /// Empty until the first message comes.
    places: Vec<Place>,
    /// Whoever aims at one place makes it miss, and nothing else: the hash needs no secret.
    hasher: FixedState,
    kept_hits: usize,
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

impl MatchCache {
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
        if place.missed == hash && topic.len() <= TOPIC_BYTES_MAX && !self.matches.depends_on_publisher() {
            self.keep(index, topic, router.generation());
        } else {
            place.missed = hash;
        }
    }

    /// What was found last.
    pub fn found(&self) -> &Hits {
        self.found_at.map_or_else(|| self.matches.hits(), |index| &self.places[index].hits)
    }

    /// Forgets what is of another generation than this one, and its memory.
    pub fn forget_stale(&mut self, generation: u64) {
        for place in self.places.iter_mut().filter(|place| place.generation != generation) {
            self.kept_hits -= place.hits.len();
            *place = Place::default();
        }
    }

    fn keep(&mut self, index: usize, topic: &str, generation: u64) {
        let hits = self.matches.hits();
        if hits.len() > HITS_MAX {
            return;
        }
        if self.kept_hits + hits.len() > HITS_MAX {
            self.places.fill(Place::default());
            self.kept_hits = 0;
        }
        let place = &mut self.places[index];
        self.kept_hits -= place.hits.len();
        self.kept_hits += hits.len();
        place.generation = generation;
        place.hits.clone_from(hits);
        place.topic.clear();
        place.topic.push_str(topic);
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
        for seed in 0..20 {
            let mut rng = Rng::with_seed(seed);
            let mut router = Router::new(Options::default(), rng.fork());
            let (mut cache, mut fresh) = (MatchCache::default(), Matches::default());
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
        let mut cache = MatchCache::default();
        for topic in (0..100).map(|number| format!("t/{number}")) {
            for _ in 0..2 {
                cache.matching(&router, &topic, None, 0);
            }
            cache.matches.clear();
            assert_eq!(cache.matching(&router, &topic, None, 0).len(), 1_500);
            assert!(cache.matches.hits().is_empty(), "from memory");
            assert!(cache.kept_hits <= HITS_MAX);
        }
        router.unsubscribe("t/+", Target { shard: 0, key: 1 });
        cache.forget_stale(router.generation());
        assert_eq!(cache.kept_hits, 0);
        assert!(cache.places.iter().all(|place| place.topic.capacity() == 0));
    }

    #[test]
    fn shared_groups_are_never_cached() {
        let mut router = Router::new(Options::default(), Rng::with_seed(1));
        for key in 1..=2 {
            router.subscribe("$share/g/t", Target { shard: 0, key }, SubscribeOptions::default(), None);
        }
        let mut cache = MatchCache::default();
        let chosen: Vec<u64> = (0..6).map(|_| cache.matching(&router, "t", None, 0).iter().next().expect("one").0.target.key).collect();
        assert!(chosen.contains(&1) && chosen.contains(&2), "{chosen:?}");
    }
}
