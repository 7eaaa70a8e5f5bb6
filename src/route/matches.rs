//! The result of a match, and how overlapping subscriptions become one delivery.
//!
//! Every audience is a run sorted by target. The runs are merged pairwise until one is left
//! (n log k for n subscriptions in k runs, whatever overlaps), and then all subscriptions of one
//! target are neighbours. §3.3.4: the message goes out once per target, with the highest QoS
//! and with every subscription identifier.

use super::Target;
use super::audience::{Audience, Subscriber};
use super::share::ShareId;
use super::trie::Frontier;
use crate::codec::Qos;

/// One delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hit {
    /// Who receives.
    pub target: Target,
    /// The highest QoS granted to a matching subscription; the delivery's QoS is the lower one of
    /// this and the message's.
    pub qos: Qos,
    /// Whether the RETAIN flag is forwarded as it was published (§3.8.3.1).
    pub retain_as_published: bool,
    /// The shared group that chose this target; see [`Router::another`](super::Router::another).
    pub share: Option<ShareId>,
    ids: Ids,
}

/// None or one identifier is kept here; more are in [`Matches::ids`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Ids {
    count: u32,
    id_or_start: u32,
}

impl Hit {
    /// A hit of a shared group: one subscription, so at most one identifier.
    pub(super) fn shared(member: &Subscriber, share: ShareId) -> Self {
        let id = member.subscription_id;
        Self {
            target: member.target(),
            qos: member.qos,
            retain_as_published: member.retain_as_published(),
            share: Some(share),
            ids: Ids { count: u32::from(id != 0), id_or_start: id },
        }
    }

    /// The subscription identifier, if there is exactly one: always enough for what
    /// [`Router::another`](super::Router::another) returns. [`Matches::iter`] has all of them.
    pub fn subscription_id(&self) -> Option<u32> {
        (self.ids.count == 1).then_some(self.ids.id_or_start)
    }

    fn ids_in<'a>(&'a self, all: &'a [u32]) -> &'a [u32] {
        match self.ids.count {
            0 => &[],
            1 => std::slice::from_ref(&self.ids.id_or_start),
            count => &all[self.ids.id_or_start as usize..][..count as usize],
        }
    }
}

/// Who receives one message.
#[derive(Clone, Default, Debug)]
pub struct Hits {
    hits: Vec<Hit>,
    ids: Vec<u32>,
}

impl Hits {
    /// The hits with their subscription identifiers (ascending, each once): first plain
    /// subscribers by ascending target, that is shard by shard, then one hit per shared group.
    pub fn iter(&self) -> impl Iterator<Item = (&Hit, &[u32])> {
        self.hits.iter().map(|hit| (hit, hit.ids_in(&self.ids)))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.hits.len()
    }

    /// Nobody receives the message (reason code 0x10).
    pub fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }

    /// Memory taken.
    pub(super) fn memory_bytes(&self) -> usize {
        self.hits.capacity() * size_of::<Hit>() + self.ids.capacity() * size_of::<u32>()
    }
}

/// What [`Router::matching`](super::Router::matching) found. Reused between calls: it keeps its
/// memory.
#[derive(Default, Debug)]
pub struct Matches {
    hits: Hits,
    depends_on_publisher: bool,
    /// Matching subscriptions, in runs sorted by target.
    found: Vec<Subscriber>,
    /// Where each run begins.
    runs: Vec<usize>,
    spare: Vec<Subscriber>,
    pub(super) shares: Vec<ShareId>,
    pub(super) frontier: Frontier,
}

impl Matches {
    /// The result.
    pub fn hits(&self) -> &Hits {
        &self.hits
    }

    /// True if the same topic from another publisher, or once more from this one, may have other
    /// hits: a shared group or a No Local subscription matched. Such a result must not be cached.
    pub fn depends_on_publisher(&self) -> bool {
        self.depends_on_publisher
    }

    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.hits.hits.clear();
        self.hits.ids.clear();
        self.found.clear();
        self.runs.clear();
        self.shares.clear();
        self.depends_on_publisher = false;
    }

    /// Memory taken, which is that of the largest result so far.
    pub(super) fn memory_bytes(&self) -> usize {
        let found = self.found.capacity() + self.spare.capacity();
        self.hits.memory_bytes() + found * size_of::<Subscriber>() + self.runs.capacity() * size_of::<usize>() + self.shares.capacity() * size_of::<ShareId>()
    }

    /// Takes up the audience of one matching filter.
    pub(super) fn gather(&mut self, audience: &Audience, publisher: Option<Target>) {
        let start = self.found.len();
        for chunk in audience.subscribers.chunks() {
            if chunk.iter().any(Subscriber::no_local) {
                self.depends_on_publisher = true;
                self.found.extend(chunk.iter().filter(|one| !(one.no_local() && Some(one.target()) == publisher)));
            } else {
                self.found.extend_from_slice(chunk);
            }
        }
        if self.found.len() > start {
            self.runs.push(start);
        }
        self.shares.extend_from_slice(audience.groups());
        self.depends_on_publisher |= !audience.groups().is_empty();
    }

    /// Makes hits of the plain subscriptions gathered.
    pub(super) fn merge(&mut self) {
        self.merge_runs();
        let Hits { hits, ids } = &mut self.hits;
        let mut rest = &self.found[..];
        while let Some(first) = rest.first() {
            let target = first.target();
            let mut hit = Hit { target, qos: first.qos, retain_as_published: first.retain_as_published(), share: None, ids: Ids { count: 0, id_or_start: 0 } };
            let start = ids.len();
            while let Some(one) = rest.first().filter(|one| one.target() == target) {
                rest = &rest[1..];
                hit.qos = hit.qos.max(one.qos);
                hit.retain_as_published |= one.retain_as_published();
                let id = one.subscription_id;
                if id != 0 && ids[start..].last() != Some(&id) {
                    ids.push(id);
                }
            }
            hit.ids = match ids[start..] {
                [] => Ids { count: 0, id_or_start: 0 },
                [id] => {
                    ids.truncate(start);
                    Ids { count: 1, id_or_start: id }
                }
                // 2^32 identifiers would be 2^32 subscriptions: out of memory long before.
                ref many => Ids { count: many.len() as u32, id_or_start: start as u32 },
            };
            hits.push(hit);
        }
    }

    pub(super) fn push(&mut self, hit: Hit) {
        self.hits.hits.push(hit);
    }

    fn merge_runs(&mut self) {
        while self.runs.len() > 1 {
            self.spare.clear();
            let runs = self.runs.len().div_ceil(2);
            for run in 0..runs {
                let bound = |index| self.runs.get(index).map_or(self.found.len(), |&start| start);
                let (start, middle, end) = (bound(2 * run), bound(2 * run + 1), bound(2 * run + 2));
                merge_two(&self.found[start..middle], &self.found[middle..end], &mut self.spare);
                self.runs[run] = start;
            }
            self.runs.truncate(runs);
            std::mem::swap(&mut self.found, &mut self.spare);
        }
    }
}

/// Identifiers ascend within a target because they are part of the order.
fn merge_two(mut first: &[Subscriber], mut second: &[Subscriber], out: &mut Vec<Subscriber>) {
    let order = |one: &Subscriber| (one.target(), one.subscription_id);
    while let ([one, first_rest @ ..], [other, second_rest @ ..]) = (first, second) {
        if order(one) <= order(other) {
            out.push(*one);
            first = first_rest;
        } else {
            out.push(*other);
            second = second_rest;
        }
    }
    out.extend_from_slice(first);
    out.extend_from_slice(second);
}
