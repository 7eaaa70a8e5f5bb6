//! Shared subscriptions (§4.8.2): of a group's members, one receives each message.
//!
//! Members that are online and those that are not are kept apart, both sorted by target. A
//! choice is then a position: nothing is searched, however many members sleep.
//!
//! The cursor is the one thing that changes under the router's read lock. It is an atomic, and
//! relaxed: two workers that publish at the same time may take turns in any order.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Target;
use super::audience::Subscriber;

slotmap::new_key_type! {
    /// A shared group on one filter. An id outlives its group harmlessly: it then finds nothing.
    pub struct ShareId;
}

/// How a group chooses among its members.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ShareStrategy {
    /// In turn.
    #[default]
    RoundRobin,
    /// Any member.
    Random,
    /// The same member until it leaves, goes offline or does not acknowledge.
    Sticky,
    /// The same member for all messages of one publisher, while the members stay the same.
    HashClientId,
    /// The same member for all messages to one topic, while the members stay the same.
    HashTopic,
    /// In turn among the members on the publisher's shard; among all if none is there.
    LocalFirst,
}

/// What a choice may depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Occasion {
    pub(super) publisher_shard: Option<u16>,
    pub(super) publisher_hash: u64,
    pub(super) topic_hash: u64,
}

/// One group on one filter.
#[derive(Debug)]
pub(super) struct ShareGroup {
    pub(super) name: Box<str>,
    online: Vec<Subscriber>,
    offline: Vec<Subscriber>,
    /// Turns taken; for [`ShareStrategy::Sticky`] the position of the member in favour.
    cursor: AtomicU32,
    seed: u64,
    strategy: ShareStrategy,
}

impl ShareGroup {
    pub(super) fn new(name: &str, strategy: ShareStrategy, seed: u64) -> Self {
        Self { name: name.into(), online: Vec::new(), offline: Vec::new(), cursor: AtomicU32::new(0), seed, strategy }
    }

    pub(super) fn len(&self) -> usize {
        self.online.len() + self.offline.len()
    }

    pub(super) fn contains(&self, target: Target) -> bool {
        [&self.online, &self.offline].iter().any(|members| members.binary_search_by_key(&target, Subscriber::target).is_ok())
    }

    /// Adds or replaces a member, which is online now; returns whether it is new.
    pub(super) fn insert(&mut self, member: Subscriber) -> bool {
        self.keeping_favourite(|group| {
            let was_offline = take(&mut group.offline, member.target()).is_some();
            put(&mut group.online, member) && !was_offline
        })
    }

    /// Returns whether the target was a member.
    pub(super) fn remove(&mut self, target: Target) -> bool {
        self.keeping_favourite(|group| take(&mut group.online, target).or_else(|| take(&mut group.offline, target)).is_some())
    }

    pub(super) fn set_available(&mut self, target: Target, available: bool) {
        self.keeping_favourite(|group| {
            let (from, to) = if available { (&mut group.offline, &mut group.online) } else { (&mut group.online, &mut group.offline) };
            if let Some(member) = take(from, target) {
                put(to, member);
            }
        });
    }

    pub(super) fn choose(&self, occasion: Occasion) -> Option<&Subscriber> {
        let members = self.candidates();
        let pick = |number: u64| members.get(below(number, members.len()));
        match self.strategy {
            ShareStrategy::RoundRobin => pick(self.turn()),
            ShareStrategy::Random => pick(mix(self.seed ^ self.turn())),
            ShareStrategy::Sticky => pick(self.cursor.load(Ordering::Relaxed).into()),
            ShareStrategy::HashClientId => pick(mix(occasion.publisher_hash)),
            ShareStrategy::HashTopic => pick(mix(occasion.topic_hash)),
            ShareStrategy::LocalFirst => {
                let shard = occasion.publisher_shard;
                let start = members.partition_point(|one| Some(one.target().shard) < shard);
                let end = members.partition_point(|one| Some(one.target().shard) <= shard);
                let local = &members[start..end];
                if local.is_empty() {
                    return pick(self.turn());
                }
                local.get(below(self.turn(), local.len()))
            }
        }
    }

    /// A member that is not in `tried`, online ones first. At most one more than `tried` are
    /// looked at in each of the two lists.
    pub(super) fn another(&self, tried: &[Target]) -> Option<&Subscriber> {
        let is_sticky = self.strategy == ShareStrategy::Sticky;
        let turn = if is_sticky { u64::from(self.cursor.load(Ordering::Relaxed)) } else { self.turn() };
        for members in [&self.online, &self.offline] {
            let start = below(turn, members.len());
            for offset in 0..members.len() {
                let position = (start + offset) % members.len();
                let member = &members[position];
                if tried.contains(&member.target()) {
                    continue;
                }
                if is_sticky && std::ptr::eq(members, self.candidates()) {
                    self.cursor.store(position as u32, Ordering::Relaxed);
                }
                return Some(member);
            }
        }
        None
    }

    pub(super) fn has_other_online(&self, target: Target) -> bool {
        self.online.iter().any(|member| member.target() != target)
    }

    /// Offline members are chosen only when no member is online: their sessions keep the message.
    fn candidates(&self) -> &Vec<Subscriber> {
        if self.online.is_empty() { &self.offline } else { &self.online }
    }

    fn turn(&self) -> u64 {
        self.cursor.fetch_add(1, Ordering::Relaxed).into()
    }

    /// Runs a change of the members and moves the cursor with the member it stood on, so that a
    /// sticky choice survives others coming and going.
    fn keeping_favourite<R>(&mut self, change: impl FnOnce(&mut Self) -> R) -> R {
        if self.strategy != ShareStrategy::Sticky {
            return change(self);
        }
        let cursor = u64::from(*self.cursor.get_mut());
        let members = self.candidates();
        let favourite = members.get(below(cursor, members.len())).map(Subscriber::target);
        let result = change(self);
        self.seed = mix(self.seed);
        let members = self.candidates();
        let kept = favourite.and_then(|target| members.binary_search_by_key(&target, Subscriber::target).ok());
        // Gone: any other, so that the first member does not inherit every group.
        let position = kept.unwrap_or_else(|| below(self.seed, members.len()));
        *self.cursor.get_mut() = position as u32;
        result
    }
}

fn put(members: &mut Vec<Subscriber>, member: Subscriber) -> bool {
    match members.binary_search_by_key(&member.target(), Subscriber::target) {
        Ok(position) => {
            members[position] = member;
            false
        }
        Err(position) => {
            members.insert(position, member);
            true
        }
    }
}

fn take(members: &mut Vec<Subscriber>, target: Target) -> Option<Subscriber> {
    let position = members.binary_search_by_key(&target, Subscriber::target).ok()?;
    let member = members.remove(position);
    if members.capacity() > 8 && members.len() < members.capacity() / 4 {
        members.shrink_to(members.len() * 2);
    }
    Some(member)
}

/// `number` modulo `len`, 0 for an empty list.
fn below(number: u64, len: usize) -> usize {
    (number % (len.max(1) as u64)) as usize
}

/// Every bit of the result depends on every bit of `number` (the finalizer of splitmix64), so
/// that a poor hash or a counter still spreads over few members.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::SubscribeOptions;

    fn target(shard: u16, key: u64) -> Target {
        Target { shard, key }
    }

    fn group(strategy: ShareStrategy, members: &[Target]) -> ShareGroup {
        let mut group = ShareGroup::new("g", strategy, 7);
        for &member in members {
            assert!(group.insert(Subscriber::new(member, SubscribeOptions::default(), None)));
        }
        group
    }

    fn choices(group: &ShareGroup, count: u64, hash: impl Fn(u64) -> u64) -> Vec<Target> {
        let occasion = |n| Occasion { publisher_shard: Some(1), publisher_hash: hash(n), topic_hash: hash(n).rotate_left(32) };
        (0..count).map(|n| group.choose(occasion(n)).expect("not empty").target()).collect()
    }

    const ALL: [Target; 4] = [Target { shard: 0, key: 1 }, Target { shard: 1, key: 1 }, Target { shard: 1, key: 2 }, Target { shard: 2, key: 1 }];

    #[test]
    fn round_robin_takes_turns() {
        let group = group(ShareStrategy::RoundRobin, &ALL);
        assert_eq!(choices(&group, 8, |_| 0), [ALL, ALL].concat());
    }

    #[test]
    fn random_reaches_everyone_about_equally() {
        let group = group(ShareStrategy::Random, &ALL);
        let chosen = choices(&group, 4_000, |_| 0);
        for member in ALL {
            let count = chosen.iter().filter(|one| **one == member).count();
            assert!((850..1_150).contains(&count), "{member:?} {count}");
        }
        assert_ne!(chosen[..4], chosen[4..8]);
    }

    #[test]
    fn sticky_stays_while_others_come_and_go_and_moves_when_its_member_fails() {
        let mut group = group(ShareStrategy::Sticky, &ALL[1..]);
        let favourite = choices(&group, 1, |_| 0)[0];
        group.insert(Subscriber::new(ALL[0], SubscribeOptions::default(), None));
        assert_eq!(choices(&group, 3, |n| n), [favourite; 3]);
        let next = group.another(&[favourite]).expect("three others").target();
        assert_eq!(choices(&group, 3, |n| n), [next; 3], "a failed member is no favourite");
        group.set_available(next, false);
        let third = choices(&group, 1, |_| 0)[0];
        assert_ne!(third, next);
        group.set_available(next, true);
        assert_eq!(choices(&group, 3, |n| n), [third; 3]);
        group.remove(third);
        assert_ne!(choices(&group, 1, |_| 0)[0], third);
    }

    #[test]
    fn hash_strategies_keep_to_one_member_per_key_and_use_all() {
        for strategy in [ShareStrategy::HashClientId, ShareStrategy::HashTopic] {
            let group = group(strategy, &ALL);
            let chosen = choices(&group, 200, |n| n);
            assert_eq!(chosen, choices(&group, 200, |n| n));
            assert!(ALL.iter().all(|member| chosen.contains(member)), "{strategy:?}");
        }
    }

    #[test]
    fn local_first_leaves_the_shard_only_when_nobody_is_there() {
        let mut group = group(ShareStrategy::LocalFirst, &ALL);
        assert_eq!(choices(&group, 4, |_| 0), [ALL[1], ALL[2], ALL[1], ALL[2]]);
        group.set_available(ALL[1], false);
        group.set_available(ALL[2], false);
        let chosen = choices(&group, 2, |_| 0);
        assert!(chosen.contains(&ALL[0]) && chosen.contains(&ALL[3]));
    }

    #[test]
    fn offline_members_are_chosen_only_when_nobody_is_online() {
        let mut group = group(ShareStrategy::RoundRobin, &ALL);
        for member in &ALL[..3] {
            group.set_available(*member, false);
        }
        assert_eq!(choices(&group, 3, |_| 0), [ALL[3]; 3]);
        group.set_available(ALL[3], false);
        assert!(ALL.iter().all(|member| choices(&group, 4, |_| 0).contains(member)));
        group.set_available(target(9, 9), true);
        assert_eq!(group.len(), 4, "a stranger does not become a member");
        let again = Subscriber::new(ALL[1], SubscribeOptions::default(), Some(5));
        assert!(!group.insert(again), "it was a member, offline");
        assert_eq!((group.len(), choices(&group, 2, |_| 0)), (4, vec![ALL[1]; 2]));
    }

    #[test]
    fn another_tries_everyone_once_and_online_members_first() {
        for strategy in [ShareStrategy::RoundRobin, ShareStrategy::Random, ShareStrategy::Sticky] {
            let mut group = group(strategy, &ALL);
            group.set_available(ALL[2], false);
            let mut tried = choices(&group, 1, |_| 0);
            while let Some(next) = group.another(&tried) {
                tried.push(next.target());
            }
            assert_eq!(tried.len(), 4, "{strategy:?}");
            assert_eq!(tried[3], ALL[2], "the offline one comes last");
            tried.sort_unstable();
            assert_eq!(tried, ALL);
        }
    }

    #[test]
    fn an_empty_group_chooses_nobody() {
        let mut group = group(ShareStrategy::Sticky, &ALL[..1]);
        assert!(group.remove(ALL[0]) && !group.remove(ALL[0]));
        let occasion = Occasion { publisher_shard: None, publisher_hash: 0, topic_hash: 0 };
        assert!(group.choose(occasion).is_none() && group.another(&[]).is_none());
    }
}
