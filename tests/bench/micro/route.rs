//! Who receives: a topic among many filters.

use nlmqtt::base::Rng;
use nlmqtt::codec::SubscribeOptions;
use nlmqtt::route::{Matches, Options, Router, Target};

const FILTERS: u64 = 10_000;

fn router(filter: impl Fn(u64) -> String) -> Router {
    let mut router = Router::new(Options::default(), Rng::with_seed(1));
    for key in 1..=FILTERS {
        router.subscribe(&filter(key), Target { shard: 0, key }, SubscribeOptions::default(), None);
    }
    router
}

fn run(router: &Router, hits: usize, iterations: u64) {
    let topics: Vec<String> = (1..=64).map(|device| format!("site/{:07}/temperature", device * 100)).collect();
    let mut matches = Matches::default();
    for (_, topic) in (0..iterations).zip(topics.iter().cycle()) {
        router.matching(topic, None, 1, &mut matches);
        assert_eq!(matches.hits().len(), hits);
    }
}

pub fn match_exact(iterations: u64) {
    run(&router(|key| format!("site/{key:07}/temperature")), 1, iterations);
}

/// Three wildcard filters fit each topic.
pub fn match_wildcards(iterations: u64) {
    let mut router = router(|key| format!("site/{key:07}/+"));
    for (key, filter) in [(FILTERS + 1, "site/#"), (FILTERS + 2, "+/+/temperature")] {
        router.subscribe(filter, Target { shard: 0, key }, SubscribeOptions::default(), None);
    }
    run(&router, 3, iterations);
}
