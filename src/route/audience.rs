//! Who subscribed to one filter.
//!
//! Most filters have one subscriber, so that one lives inline in 16 bytes. More than one live in
//! vectors of at most [`CHUNK_MAX`], sorted by target: a filter the whole fleet subscribes to is
//! changed by moving at most 4 KiB, and read in order, which is what merging overlapping
//! subscriptions wants.

use super::Target;
use super::share::ShareId;
use crate::codec::{Qos, SubscribeOptions};

/// Subscribers per chunk: 4 KiB.
const CHUNK_MAX: usize = 256;

const NO_LOCAL: u8 = 1;
const RETAIN_AS_PUBLISHED: u8 = 2;

/// All who subscribed to one filter.
#[derive(Default, Debug)]
pub(super) struct Audience {
    pub(super) subscribers: Subscribers,
    /// Shared groups, sorted by group name. Boxed because few filters have any.
    #[allow(clippy::box_collection)]
    pub(super) groups: Option<Box<Vec<ShareId>>>,
}

impl Audience {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_none() && matches!(self.subscribers, Subscribers::None)
    }

    pub(super) fn groups(&self) -> &[ShareId] {
        self.groups.as_ref().map_or(&[], |groups| groups)
    }

    pub(super) fn remove_group(&mut self, position: usize) {
        if let Some(groups) = &mut self.groups {
            groups.remove(position);
            if groups.is_empty() {
                self.groups = None;
            }
        }
    }
}

/// One subscription, packed: a [`Target`] alone would take 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscriber {
    key: u64,
    /// 0: none (§3.8.2.1.2 forbids 0 on the wire).
    pub(super) subscription_id: u32,
    shard: u16,
    pub(super) qos: Qos,
    flags: u8,
}

impl Subscriber {
    pub(super) fn new(target: Target, options: SubscribeOptions, id: Option<u32>) -> Self {
        let no_local = if options.no_local { NO_LOCAL } else { 0 };
        let as_published = if options.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 };
        Self { key: target.key, subscription_id: id.unwrap_or(0), shard: target.shard, qos: options.qos, flags: no_local | as_published }
    }

    pub(super) fn target(&self) -> Target {
        Target { shard: self.shard, key: self.key }
    }

    pub(super) fn no_local(&self) -> bool {
        self.flags & NO_LOCAL != 0
    }

    pub(super) fn retain_as_published(&self) -> bool {
        self.flags & RETAIN_AS_PUBLISHED != 0
    }
}

/// The plain subscribers of a filter, at most one per target.
#[derive(Default, Debug)]
pub(super) enum Subscribers {
    #[default]
    None,
    One(Subscriber),
    /// No chunk is empty, and there are two subscribers or more. Boxed to stay at 16 bytes.
    #[allow(clippy::box_collection)]
    Many(Box<Vec<Vec<Subscriber>>>),
}

impl Subscribers {
    /// Adds or replaces; returns whether the target is new here.
    pub(super) fn insert(&mut self, subscriber: Subscriber) -> bool {
        match self {
            Self::None => {
                *self = Self::One(subscriber);
                true
            }
            Self::One(only) if only.target() == subscriber.target() => {
                *only = subscriber;
                false
            }
            Self::One(only) => {
                let mut chunk = vec![*only, subscriber];
                chunk.sort_unstable_by_key(Subscriber::target);
                *self = Self::Many(Box::new(vec![chunk]));
                true
            }
            Self::Many(chunks) => insert_into(chunks, subscriber),
        }
    }

    /// Returns whether the target was here.
    pub(super) fn remove(&mut self, target: Target) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => {
                let found = only.target() == target;
                if found {
                    *self = Self::None;
                }
                found
            }
            Self::Many(chunks) => {
                let found = remove_from(chunks, target);
                if let [chunk] = &chunks[..] {
                    if let [only] = chunk[..] {
                        *self = Self::One(only);
                    }
                }
                found
            }
        }
    }

    pub(super) fn contains(&self, target: Target) -> bool {
        match self {
            Self::None => false,
            Self::One(only) => only.target() == target,
            Self::Many(chunks) => {
                let chunk = &chunks[chunk_of(chunks, target)];
                chunk.binary_search_by_key(&target, Subscriber::target).is_ok()
            }
        }
    }

    /// In pieces, ascending by target.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[Subscriber]> {
        let (one, many) = match self {
            Self::None => (None, [].iter()),
            Self::One(only) => (Some(std::slice::from_ref(only)), [].iter()),
            Self::Many(chunks) => (None, chunks.iter()),
        };
        one.into_iter().chain(many.map(Vec::as_slice))
    }
}

/// The chunk where `target` is, or would be.
fn chunk_of(chunks: &[Vec<Subscriber>], target: Target) -> usize {
    chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.target() < target)).min(chunks.len() - 1)
}

fn insert_into(chunks: &mut Vec<Vec<Subscriber>>, subscriber: Subscriber) -> bool {
    let target = subscriber.target();
    let mut index = chunk_of(chunks, target);
    let mut position = match chunks[index].binary_search_by_key(&target, Subscriber::target) {
        Ok(position) => {
            chunks[index][position] = subscriber;
            return false;
        }
        Err(position) => position,
    };
    if chunks[index].len() == CHUNK_MAX {
        // Targets mostly ascend: a full last chunk stays full instead of being halved.
        let at = if position == CHUNK_MAX { CHUNK_MAX } else { CHUNK_MAX / 2 };
        let tail = chunks[index].split_off(at);
        chunks.insert(index + 1, tail);
        if position >= at {
            index += 1;
            position -= at;
        }
    }
    chunks[index].insert(position, subscriber);
    true
}

fn remove_from(chunks: &mut Vec<Vec<Subscriber>>, target: Target) -> bool {
    let index = chunk_of(chunks, target);
    let chunk = &mut chunks[index];
    let Ok(position) = chunk.binary_search_by_key(&target, Subscriber::target) else {
        return false;
    };
    chunk.remove(position);
    if chunk.capacity() > 8 && chunk.len() < chunk.capacity() / 4 {
        chunk.shrink_to(chunk.len() * 2);
    }
    // Two neighbours that fit into half a chunk become one, so that few chunks are nearly empty.
    let is_empty = chunk.is_empty();
    let first = index.saturating_sub(1);
    if first + 1 < chunks.len() {
        let both = chunks[first].len() + chunks[first + 1].len();
        if is_empty || both <= CHUNK_MAX / 2 {
            let second = chunks.remove(first + 1);
            chunks[first].extend(second);
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;
    use std::collections::BTreeSet;

    fn subscriber(key: u64) -> Subscriber {
        let target = Target { shard: (key % 3) as u16, key };
        Subscriber::new(target, SubscribeOptions::default(), None)
    }

    fn targets(subscribers: &Subscribers) -> Vec<Target> {
        subscribers.chunks().flatten().map(Subscriber::target).collect()
    }

    #[test]
    fn one_subscriber_needs_no_allocation() {
        assert_eq!(size_of::<Subscriber>(), 16);
        assert!(size_of::<Subscribers>() <= 16);
        assert!(size_of::<Audience>() <= 24);
    }

    #[test]
    fn any_sequence_of_changes_leaves_a_sorted_set() {
        for seed in 0..8 {
            let mut rng = Rng::with_seed(seed);
            let mut subscribers = Subscribers::default();
            let mut model = BTreeSet::new();
            for step in 0..6_000 {
                let growing = step < 3_000;
                let one = subscriber(1 + rng.below(if seed < 4 { 2_000 } else { 12 }));
                if rng.chance(if growing { 800 } else { 150 }) {
                    assert_eq!(subscribers.insert(one), model.insert(one.target()));
                } else {
                    assert_eq!(subscribers.remove(one.target()), model.remove(&one.target()));
                }
                assert_eq!(subscribers.contains(one.target()), model.contains(&one.target()));
                if step % 97 == 0 {
                    assert_eq!(targets(&subscribers), Vec::from_iter(model.iter().copied()));
                }
            }
            for target in &model {
                assert!(subscribers.remove(*target));
            }
            assert!(matches!(subscribers, Subscribers::None), "seed {seed}");
        }
    }

    #[test]
    fn ascending_targets_fill_their_chunks() {
        let mut subscribers = Subscribers::default();
        for key in 1..=1024 {
            let target = Target { shard: 0, key };
            subscribers.insert(Subscriber::new(target, SubscribeOptions::default(), None));
        }
        assert_eq!(subscribers.chunks().count(), 1024 / CHUNK_MAX);
    }

    #[test]
    fn no_chunk_stays_empty_beside_a_full_one() {
        let target = |key| Target { shard: 0, key };
        let mut subscribers = Subscribers::default();
        for key in 1..=300 {
            subscribers.insert(Subscriber::new(target(key), SubscribeOptions::default(), None));
        }
        for key in (1..=300).skip(CHUNK_MAX) {
            assert!(subscribers.remove(target(key)));
        }
        let lengths: Vec<_> = subscribers.chunks().map(<[Subscriber]>::len).collect();
        assert_eq!(lengths, [CHUNK_MAX]);
    }
}
