//! The router: filters without wildcards in a hash table, the others in the trie, shared groups
//! in a table of their own, and the retained messages beside them.

use std::hash::BuildHasher;

use slotmap::SlotMap;

use super::Target;
use super::audience::{Audience, Subscriber};
use super::matches::{Hit, Matches};
use super::retained::{Retained, RetainedLimits};
use super::share::{Occasion, ShareGroup, ShareId, ShareStrategy};
use super::trie::Trie;
use crate::base::{PeerMap, Rng, peer_map};
use crate::codec::SubscribeOptions;
use crate::topic;

/// Options of a [`Router`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What may be retained.
    pub retained: RetainedLimits,
    /// How every shared group chooses.
    pub share_strategy: ShareStrategy,
    /// Distinct filters; a shared group counts as one more.
    pub filters_max: usize,
    /// Subscriptions of all sessions together.
    pub subscriptions_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { retained: RetainedLimits::default(), share_strategy: ShareStrategy::default(), filters_max: 1_000_000, subscriptions_max: 10_000_000 }
    }
}

/// What [`Router::subscribe`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subscribed {
    /// The target had no subscription to this filter.
    New,
    /// The target's subscription to this filter was replaced (§3.8.4).
    Replaced,
    /// A limit of [`Options`] is reached (reason code 0x97); nothing changed.
    Full,
}

/// Who subscribed to what, and the retained messages.
#[derive(Debug)]
pub struct Router {
    exact: PeerMap<Box<str>, Audience>,
    trie: Trie,
    groups: SlotMap<ShareId, ShareGroup>,
    retained: Retained,
    options: Options,
    rng: Rng,
    subscriptions: usize,
    shared: usize,
    generation: u64,
}

impl Router {
    /// Empty. `rng` keys the hash tables and seeds the choices of shared groups.
    pub fn new(options: Options, mut rng: Rng) -> Self {
        Self {
            exact: peer_map(&mut rng),
            trie: Trie::new(&mut rng),
            groups: SlotMap::with_key(),
            retained: Retained::new(options.retained),
            options,
            rng,
            subscriptions: 0,
            shared: 0,
            generation: 0,
        }
    }

    /// Adds or replaces the subscription of `target` to `filter`, which must be valid and may be
    /// `$share/GROUP/FILTER`. A new member of a group is online.
    ///
    /// How many levels a filter may have is the caller's to limit: each may cost a node.
    pub fn subscribe(&mut self, filter: &str, target: Target, options: SubscribeOptions, subscription_id: Option<u32>) -> Subscribed {
        debug_assert!(topic::is_valid_filter(filter), "{filter:?}");
        debug_assert!(target.key != 0);
        let subscriber = Subscriber::new(target, options, subscription_id);
        let (group, plain) = split(filter);
        let audience = self.audience(plain);
        let known_group = group.and_then(|name| self.group(audience?, name));
        let is_new = match (group, audience) {
            (None, audience) => !audience.is_some_and(|one| one.subscribers.contains(target)),
            (Some(_), _) => !known_group.is_some_and(|id| self.groups[id].contains(target)),
        };
        let filters = usize::from(audience.is_none()) + usize::from(group.is_some() && known_group.is_none());
        if self.filter_count() + self.groups.len() + filters > self.options.filters_max
            || self.subscriptions + usize::from(is_new) > self.options.subscriptions_max
        {
            return Subscribed::Full;
        }
        match group {
            None => {
                self.audience_or_insert(plain).subscribers.insert(subscriber);
            }
            Some(name) => {
                let id = known_group.unwrap_or_else(|| self.add_group(plain, name));
                self.groups[id].insert(subscriber);
            }
        }
        self.generation = self.generation.wrapping_add(1);
        if !is_new {
            return Subscribed::Replaced;
        }
        self.subscriptions += 1;
        self.shared += usize::from(group.is_some());
        Subscribed::New
    }

    /// Takes the subscription of `target` to `filter` away; whether there was one.
    pub fn unsubscribe(&mut self, filter: &str, target: Target) -> bool {
        let (group, plain) = split(filter);
        let removed = match group {
            None => self.audience_mut(plain).is_some_and(|audience| audience.subscribers.remove(target)),
            Some(name) => self.remove_member(plain, name, target),
        };
        if !removed {
            return false;
        }
        if self.audience(plain).is_some_and(Audience::is_empty) {
            self.remove_filter(plain);
        }
        self.subscriptions -= 1;
        self.shared -= usize::from(group.is_some());
        self.generation = self.generation.wrapping_add(1);
        true
    }

    /// A member of a shared group went online or offline: an offline member is chosen only when
    /// nobody in its group is online. Does nothing if `target` is no member of `share_filter`.
    pub fn set_available(&mut self, share_filter: &str, target: Target, available: bool) {
        let (Some(name), plain) = split(share_filter) else {
            return;
        };
        let id = self.audience(plain).and_then(|audience| self.group(audience, name));
        if let Some(id) = id {
            self.groups[id].set_available(target, available);
        }
    }

    /// A number for a client id, the same on every shard: what messages call their publisher, so
    /// that it is known again when its session is another (§3.8.3.1, No Local), and what
    /// [`ShareStrategy::HashClientId`] goes by. Peers cannot guess it.
    pub fn publisher_number(&self, client_id: &str) -> u64 {
        self.exact.hasher().hash_one(client_id)
    }

    /// At which of `count` shards a client id is at home; with a mount point in front ([`topic::split_mounted`]) where it is
    /// without: the shard that reads a CONNECT need not know where it came in.
    pub fn home_of(&self, client_id: &str, count: usize) -> usize {
        let bare = topic::split_mounted(client_id).map_or(client_id, |(_, bare)| bare);
        (self.publisher_number(bare) % count as u64) as usize
    }

    /// Everyone who gets a message to `topic` (valid), in place of what `out` held. Overlapping
    /// plain subscriptions of a target are one hit; No Local subscriptions of `publisher` are none
    /// (§3.8.3.1). Every shared group with a matching filter adds one hit.
    ///
    /// `publisher_number`: see [`Router::publisher_number`].
    pub fn matching(&self, topic: &str, publisher: Option<Target>, publisher_number: u64, out: &mut Matches) {
        out.clear();
        if let Some(audience) = self.exact.get(topic) {
            out.gather(audience, publisher);
        }
        if self.trie.len() > 0 {
            let mut frontier = std::mem::take(&mut out.frontier);
            self.trie.matching(topic, &mut frontier, |audience| out.gather(audience, publisher));
            out.frontier = frontier;
        }
        out.merge();
        if out.shares.is_empty() {
            return;
        }
        let occasion = Occasion {
            publisher_shard: publisher.map(|publisher| publisher.shard),
            publisher_hash: publisher_number,
            topic_hash: self.exact.hasher().hash_one(topic),
        };
        for index in 0..out.shares.len() {
            let share = out.shares[index];
            if let Some(member) = self.groups[share].choose(occasion) {
                out.push(Hit::shared(member, share));
            }
        }
    }

    /// The member chosen for `share` is gone, full or does not acknowledge: one that is not in
    /// `tried`, online ones first; or None when all were tried or the group is gone.
    pub fn another(&self, share: ShareId, tried: &[Target]) -> Option<Hit> {
        let member = self.groups.get(share)?.another(tried)?;
        Some(Hit::shared(member, share))
    }

    /// Whether `share` has a member online besides `target`.
    pub fn has_other_online(&self, share: ShareId, target: Target) -> bool {
        self.groups.get(share).is_some_and(|group| group.has_other_online(target))
    }

    /// The retained messages.
    pub fn retained(&self) -> &Retained {
        &self.retained
    }

    /// The retained messages, to be changed.
    pub fn retained_mut(&mut self) -> &mut Retained {
        &mut self.retained
    }

    /// Distinct filters, `$share/GROUP/` not counted as part of one.
    pub fn filter_count(&self) -> usize {
        self.exact.len() + self.trie.len()
    }

    /// Subscriptions, shared ones included.
    pub fn subscription_count(&self) -> usize {
        self.subscriptions
    }

    /// Shared subscriptions: members of all groups.
    pub fn shared_count(&self) -> usize {
        self.shared
    }

    /// Changes with every subscribe and unsubscribe: a match result of another generation is
    /// stale. See also [`Matches::depends_on_publisher`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    fn audience(&self, plain: &str) -> Option<&Audience> {
        if topic::has_wildcard(plain) { self.trie.get(plain) } else { self.exact.get(plain) }
    }

    fn audience_mut(&mut self, plain: &str) -> Option<&mut Audience> {
        if topic::has_wildcard(plain) { self.trie.get_mut(plain) } else { self.exact.get_mut(plain) }
    }

    fn audience_or_insert(&mut self, plain: &str) -> &mut Audience {
        if topic::has_wildcard(plain) { self.trie.get_or_insert(plain) } else { self.exact.entry(plain.into()).or_default() }
    }

    fn remove_filter(&mut self, plain: &str) {
        if topic::has_wildcard(plain) {
            self.trie.remove(plain);
            return;
        }
        self.exact.remove(plain);
        if self.exact.capacity() > 64 && self.exact.len() < self.exact.capacity() / 8 {
            self.exact.shrink_to(self.exact.len() * 2);
        }
    }

    /// Groups of one filter are sorted by name: a peer that makes thousands gains nothing.
    fn search_group(&self, audience: &Audience, name: &str) -> Result<usize, usize> {
        audience.groups().binary_search_by(|&id| (*self.groups[id].name).cmp(name))
    }

    fn group(&self, audience: &Audience, name: &str) -> Option<ShareId> {
        let position = self.search_group(audience, name).ok()?;
        Some(audience.groups()[position])
    }

    fn add_group(&mut self, plain: &str, name: &str) -> ShareId {
        let position = self.audience(plain).and_then(|audience| self.search_group(audience, name).err()).unwrap_or(0);
        let seed = self.rng.u64();
        let id = self.groups.insert(ShareGroup::new(name, self.options.share_strategy, seed));
        self.audience_or_insert(plain).groups.get_or_insert_default().insert(position, id);
        id
    }

    /// Takes a member out of its group, and the group out of its filter if nobody is left.
    fn remove_member(&mut self, plain: &str, name: &str, target: Target) -> bool {
        let Some(audience) = self.audience(plain) else {
            return false;
        };
        let Ok(position) = self.search_group(audience, name) else {
            return false;
        };
        let id = audience.groups()[position];
        if !self.groups[id].remove(target) {
            return false;
        }
        if self.groups[id].len() == 0 {
            self.groups.remove(id);
            if let Some(audience) = self.audience_mut(plain) {
                audience.remove_group(position);
            }
        }
        true
    }
}

/// Group, if any, and the filter itself.
fn split(filter: &str) -> (Option<&str>, &str) {
    topic::split_share(filter).map_or((None, filter), |(group, plain)| (Some(group), plain))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::codec::Qos;

    fn router(share_strategy: ShareStrategy) -> Router {
        Router::new(Options { share_strategy, ..Options::default() }, Rng::with_seed(11))
    }

    fn target(key: u64) -> Target {
        Target { shard: (key % 2) as u16, key }
    }

    fn options(qos: Qos) -> SubscribeOptions {
        SubscribeOptions { qos, ..SubscribeOptions::default() }
    }

    fn matching(router: &Router, topic: &str, publisher: Option<Target>) -> Vec<(Hit, Vec<u32>)> {
        let mut matches = Matches::default();
        router.matching(topic, publisher, 0, &mut matches);
        assert_eq!(matches.hits().iter().count(), matches.hits().len());
        matches.hits().iter().map(|(hit, ids)| (hit.clone(), ids.to_vec())).collect()
    }

    type Subscription = (SubscribeOptions, Option<u32>);

    /// A list of subscriptions, searched from one end to the other.
    #[derive(Default)]
    struct Model(BTreeMap<(String, Target), Subscription>);

    type Merged = (Qos, bool, BTreeSet<u32>);

    impl Model {
        fn plain(&self, topic: &str, publisher: Option<Target>) -> BTreeMap<Target, Merged> {
            let mut hits = BTreeMap::<Target, Merged>::new();
            for ((filter, target), (options, id)) in &self.0 {
                let is_echo = options.no_local && Some(*target) == publisher;
                if topic::split_share(filter).is_some() || !topic::matches(filter, topic) || is_echo {
                    continue;
                }
                let hit = hits.entry(*target).or_default();
                hit.0 = hit.0.max(options.qos);
                hit.1 |= options.retain_as_published;
                hit.2.extend(*id);
            }
            hits
        }

        /// Per matching group and filter, who may be chosen.
        fn shared(&self, topic: &str) -> BTreeMap<&str, BTreeSet<Target>> {
            let mut groups = BTreeMap::<&str, BTreeSet<Target>>::new();
            for (filter, target) in self.0.keys() {
                if topic::split_share(filter).is_some_and(|(_, plain)| topic::matches(plain, topic)) {
                    groups.entry(filter).or_default().insert(*target);
                }
            }
            groups
        }

        fn filters(&self) -> usize {
            self.0.keys().map(|(filter, _)| split(filter).1).collect::<BTreeSet<_>>().len()
        }
    }

    fn random_filter(rng: &mut Rng, topic: bool) -> String {
        let words = ["a", "b", "", "$s", "longer than twenty-two bytes", "+", "#"];
        loop {
            let depth = 1 + rng.below(4);
            let levels: Vec<_> = (0..depth).map(|_| words[rng.below(if topic { 5 } else { 7 }) as usize]).collect();
            let mut filter = levels.join("/");
            if topic && topic::is_valid_name(&filter) {
                return filter;
            }
            if rng.chance(250) {
                filter = format!("$share/g{}/{filter}", rng.below(3));
            }
            if !topic && topic::is_valid_filter(&filter) {
                return filter;
            }
        }
    }

    fn random_subscription(rng: &mut Rng) -> Subscription {
        let options = SubscribeOptions {
            qos: Qos::try_from(rng.below(3) as u8).expect("0 to 2"),
            no_local: rng.chance(300),
            retain_as_published: rng.chance(300),
            ..SubscribeOptions::default()
        };
        (options, rng.chance(500).then(|| 1 + rng.below(5) as u32))
    }

    fn compare(router: &Router, model: &Model, topic: &str, publisher: Option<Target>) -> usize {
        let hits = matching(router, topic, publisher);
        let mut expected = model.plain(topic, publisher);
        let mut groups: Vec<_> = model.shared(topic).into_values().collect();
        let mut shares = BTreeSet::new();
        let mut last = None;
        for (hit, ids) in &hits {
            match hit.share {
                None => {
                    let merged = expected.remove(&hit.target).expect("one hit per matching target");
                    let sorted: Vec<u32> = merged.2.into_iter().collect();
                    assert_eq!((hit.qos, hit.retain_as_published, ids), (merged.0, merged.1, &sorted));
                    assert!(shares.is_empty() && last < Some(hit.target), "plain hits first, in order");
                    last = Some(hit.target);
                }
                Some(share) => assert!(shares.insert(share), "one hit per group"),
            }
        }
        assert!(expected.is_empty(), "{topic:?}: missed {expected:?}");
        assert_eq!(shares.len(), groups.len());
        // Each hit can be given to a group of its own.
        let mut members: Vec<_> = hits.iter().filter(|(hit, _)| hit.share.is_some()).map(|(hit, _)| hit.target).collect();
        groups.sort_by_key(BTreeSet::len);
        members.retain(|member| !groups.iter().any(|group| group.contains(member)));
        assert!(members.is_empty(), "{topic:?}: {members:?} are in no matching group");
        hits.len()
    }

    #[test]
    fn many_threads_may_match_at_once() {
        fn shareable<T: Send + Sync>(_: &T) {}
        let mut router = router(ShareStrategy::RoundRobin);
        for key in 1..=4 {
            router.subscribe("$share/g/t", target(key), options(Qos::AtMostOnce), None);
        }
        shareable(&router);
        let chosen: Vec<_> = (0..8).map(|_| matching(&router, "t", None)[0].0.target.key).collect();
        assert_eq!(BTreeSet::from_iter(chosen).len(), 4, "the cursor moves behind a shared reference");
    }

    #[test]
    fn matching_agrees_with_a_linear_search() {
        for seed in 0..12 {
            let mut rng = Rng::with_seed(seed);
            let mut router = Router::new(Options::default(), rng.fork());
            let mut model = Model::default();
            let mut hits = 0;
            for step in 0..1_500 {
                let key = (random_filter(&mut rng, false), target(1 + rng.below(9)));
                let generation = router.generation();
                if rng.chance(if step < 900 { 700 } else { 300 }) {
                    let subscription = random_subscription(&mut rng);
                    let outcome = router.subscribe(&key.0, key.1, subscription.0, subscription.1);
                    let was_there = model.0.insert(key, subscription).is_some();
                    assert_eq!(outcome, if was_there { Subscribed::Replaced } else { Subscribed::New });
                    assert_ne!(router.generation(), generation);
                } else {
                    let was_there = model.0.remove(&key).is_some();
                    assert_eq!(router.unsubscribe(&key.0, key.1), was_there, "seed {seed} {key:?}");
                    assert_eq!(router.generation() != generation, was_there);
                }
                let publisher = rng.chance(700).then(|| target(1 + rng.below(9)));
                hits += compare(&router, &model, &random_filter(&mut rng, true), publisher);
                let shared = model.0.keys().filter(|key| topic::split_share(&key.0).is_some()).count();
                assert_eq!([router.filter_count(), router.subscription_count(), router.shared_count()], [model.filters(), model.0.len(), shared]);
            }
            assert!(hits > 2_000, "seed {seed}: the test must see hits, saw {hits}");
            for (filter, target) in model.0.keys() {
                assert!(router.unsubscribe(filter, *target));
            }
            assert_eq!((router.exact.len(), router.trie.sizes(), router.groups.len()), (0, [0; 4], 0));
        }
    }

    #[test]
    fn ten_thousand_overlapping_subscriptions_merge_without_quadratic_work() {
        let mut router = router(ShareStrategy::RoundRobin);
        // All 2^13 combinations of a level and `+`: one target has every one of them.
        for bits in 0..8_192u32 {
            let levels: Vec<_> = (0..13).map(|bit| if bits & (1 << bit) == 0 { "+" } else { "a" }).collect();
            let filter = levels.join("/");
            router.subscribe(&filter, target(1), options(Qos::AtMostOnce), Some(1 + bits));
            router.subscribe(&filter, target(2 + u64::from(bits)), options(Qos::AtLeastOnce), None);
        }
        let topic = ["a"; 13].join("/");
        let hits = matching(&router, &topic, None);
        assert_eq!(hits.len(), 8_193);
        let merged = hits.iter().find(|(hit, _)| hit.target == target(1)).expect("hit");
        assert_eq!(merged.1, Vec::from_iter(1..=8_192));
    }

    #[test]
    fn a_shared_group_sends_one_copy_and_plain_subscriptions_their_own() {
        let mut router = router(ShareStrategy::RoundRobin);
        for key in [1, 2] {
            router.subscribe("$share/g/t/+", target(key), options(Qos::AtLeastOnce), Some(7));
        }
        router.subscribe("$share/g/t/#", target(1), options(Qos::AtMostOnce), None);
        router.subscribe("$share/h/t/1", target(1), options(Qos::AtMostOnce), None);
        router.subscribe("t/1", target(1), options(Qos::ExactlyOnce), Some(3));
        let hits = matching(&router, "t/1", None);
        assert_eq!(hits.iter().filter(|(hit, _)| hit.share.is_none()).count(), 1);
        assert_eq!(hits.len(), 4, "one plain, three groups");
        let ids: BTreeSet<_> = hits.iter().map(|(hit, ids)| (hit.subscription_id(), ids.len())).collect();
        assert_eq!(ids, BTreeSet::from([(None, 0), (Some(3), 1), (Some(7), 1)]));
        assert_eq!(matching(&router, "t/1/2", None).len(), 1);
        assert_eq!((router.filter_count(), router.shared_count()), (3, 4));
    }

    #[test]
    fn a_failed_member_is_replaced_by_the_others_until_all_were_tried() {
        let mut router = router(ShareStrategy::RoundRobin);
        for key in 1..=3 {
            router.subscribe("$share/g/t", target(key), options(Qos::AtLeastOnce), Some(key as u32));
        }
        router.set_available("$share/g/t", target(2), false);
        let (hit, _) = matching(&router, "t", None).remove(0);
        let share = hit.share.expect("shared");
        let mut tried = vec![hit.target];
        while let Some(hit) = router.another(share, &tried) {
            assert_eq!(hit.subscription_id(), Some(hit.target.key as u32));
            tried.push(hit.target);
        }
        assert_eq!((tried.len(), tried[2]), (3, target(2)));
        for key in 1..=3 {
            assert!(router.unsubscribe("$share/g/t", target(key)));
        }
        assert_eq!(router.another(share, &[]), None, "the id outlives its group harmlessly");
        router.subscribe("$share/g/t", target(4), options(Qos::AtMostOnce), None);
        assert_eq!(router.another(share, &[]), None, "and does not mean the next one");
        router.set_available("$share/x/t", target(4), false);
        router.set_available("t", target(4), false);
    }

    #[test]
    fn a_full_router_refuses_new_filters_and_accepts_updates() {
        let limits = Options { filters_max: 3, ..Options::default() };
        let mut router = Router::new(limits, Rng::with_seed(1));
        let mut subscribe = |filter, key| router.subscribe(filter, target(key), options(Qos::AtMostOnce), None);
        assert_eq!(subscribe("a/+", 1), Subscribed::New);
        assert_eq!(subscribe("$share/g/b", 1), Subscribed::New, "counts twice");
        assert_eq!(subscribe("c", 1), Subscribed::Full);
        assert_eq!(subscribe("$share/h/b", 1), Subscribed::Full);
        assert_eq!(subscribe("a/+", 2), Subscribed::New);
        assert_eq!(subscribe("$share/g/b", 2), Subscribed::New);
        assert_eq!(subscribe("a/+", 1), Subscribed::Replaced);
        assert!(router.unsubscribe("a/+", target(1)) && router.unsubscribe("a/+", target(2)));
        assert_eq!(router.subscribe("c", target(1), options(Qos::AtMostOnce), None), Subscribed::New);

        let limits = Options { subscriptions_max: 2, ..Options::default() };
        let mut router = Router::new(limits, Rng::with_seed(1));
        let mut subscribe = |filter, key| router.subscribe(filter, target(key), options(Qos::AtMostOnce), None);
        assert_eq!([subscribe("a", 1), subscribe("a", 2)], [Subscribed::New; 2]);
        assert_eq!([subscribe("a", 3), subscribe("a", 2)], [Subscribed::Full, Subscribed::Replaced]);
        assert_eq!(router.filter_count(), 1);
    }

    #[test]
    fn only_results_that_do_not_depend_on_the_publisher_say_so() {
        let mut router = router(ShareStrategy::RoundRobin);
        let no_local = SubscribeOptions { no_local: true, ..SubscribeOptions::default() };
        router.subscribe("a", target(1), SubscribeOptions::default(), None);
        router.subscribe("a/+", target(1), no_local, None);
        router.subscribe("$share/g/a/b/c", target(1), SubscribeOptions::default(), None);
        let mut matches = Matches::default();
        for (topic, depends) in [("a/b", true), ("a", false), ("a/b/c", true), ("x", false)] {
            router.matching(topic, Some(target(1)), 0, &mut matches);
            assert_eq!(matches.depends_on_publisher(), depends, "{topic}");
        }
    }
}
