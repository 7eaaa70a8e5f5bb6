//! Topic aliases of MQTT 5 (§3.3.2.3.4), both directions.
//!
//! Aliases belong to one network connection: make new tables for each. A table that was never used
//! owns no memory, and the largest one is bounded by the maximum it was made with.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Error;
use crate::base::IdMap;

/// What the peer's aliases stand for.
#[derive(Debug)]
pub struct AliasIn {
    /// Made with the first alias: few connections have any.
    bound: Option<Box<Bound>>,
    maximum: u16,
}

#[derive(Debug, Default)]
struct Bound {
    topics: IdMap<u16, Arc<str>>,
    /// The sum of the topics' lengths.
    bytes: usize,
}

/// A topic name after its alias was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved<'a> {
    /// It stood in the packet.
    Borrowed(&'a str),
    /// It stood in an earlier packet.
    Shared(Arc<str>),
}

impl core::ops::Deref for Resolved<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(topic) => topic,
            Self::Shared(topic) => topic,
        }
    }
}

impl AliasIn {
    /// `maximum` is the Topic Alias Maximum this side announced, 0 = none allowed.
    pub fn new(maximum: u16) -> Self {
        Self { bound: None, maximum }
    }

    /// The topic of a PUBLISH with this alias and topic name. A topic name with an alias (re)binds
    /// the alias; an empty one asks for what it stands for.
    pub fn resolve<'a>(&mut self, alias: Option<u16>, topic: &'a str) -> Result<Resolved<'a>, Error> {
        let Some(alias) = alias else {
            return match topic {
                "" => Err(Error::Protocol("neither topic name nor alias")),
                _ => Ok(Resolved::Borrowed(topic)),
            };
        };
        if alias == 0 || alias > self.maximum {
            return Err(Error::TopicAliasInvalid);
        }
        if topic.is_empty() {
            let known = self.bound.as_ref().and_then(|bound| bound.topics.get(&alias)).cloned();
            return known.map(Resolved::Shared).ok_or(Error::Protocol("alias without a topic name"));
        }
        let bound = self.bound.get_or_insert_default();
        if bound.topics.get(&alias).is_none_or(|known| **known != *topic) {
            bound.bytes += topic.len();
            let replaced = bound.topics.insert(alias, topic.into());
            bound.bytes -= replaced.map_or(0, |replaced| replaced.len());
        }
        Ok(Resolved::Borrowed(topic))
    }
}

impl AliasIn {
    /// Memory taken for what is bound.
    pub fn bytes(&self) -> usize {
        self.bound.as_ref().map_or(0, |bound| size_of::<Bound>() + bound.topics.capacity() * BOUND_BYTES + bound.bytes)
    }
}

/// A binding in the table, its share of the table's control bytes, and the counters of its `Arc`.
const BOUND_BYTES: usize = size_of::<(u16, Arc<str>)>() + 1 + ARC_BYTES;
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The aliases this side gave out; the one used longest ago is re-used.
#[derive(Debug)]
pub struct AliasOut {
    /// Made with the first alias.
    given: Option<Box<Given>>,
    maximum: u16,
}

#[derive(Debug, Default)]
struct Given {
    /// An ordered map, not a hash map: topics come from peers, and this needs no key.
    aliases: BTreeMap<Arc<str>, u16>,
    /// Index = alias - 1; a ring linked by use.
    slots: Vec<Slot>,
    /// The alias used last; its `older` neighbours follow, round to the one used longest ago.
    newest: u16,
    /// The sum of the topics' lengths.
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    topic: Arc<str>,
    older: u16,
    newer: u16,
}

impl AliasOut {
    /// `maximum` is the smaller of the peer's Topic Alias Maximum and this side's own limit.
    pub fn new(maximum: u16) -> Self {
        Self { given: None, maximum }
    }

    /// Memory taken for what was given out.
    pub fn bytes(&self) -> usize {
        let entry = size_of::<Slot>() + size_of::<(Arc<str>, u16)>() + ARC_BYTES;
        self.given.as_ref().map_or(0, |given| size_of::<Given>() + given.slots.capacity() * entry + given.bytes)
    }

    /// The peer takes aliases at all.
    pub fn is_enabled(&self) -> bool {
        self.maximum > 0
    }

    /// The alias for `topic` and whether the peer knows it already (then the topic name is left
    /// out). `None` if there are no aliases. The packet must be sent then: the peer learns by it.
    #[inline]
    pub fn assign(&mut self, topic: &str) -> Option<(u16, bool)> {
        if !self.is_enabled() {
            return None;
        }
        Some(self.given.get_or_insert_default().assign(topic, self.maximum))
    }
}

impl Given {
    fn assign(&mut self, topic: &str, maximum: u16) -> (u16, bool) {
        if let Some(&alias) = self.aliases.get(topic) {
            self.touch(alias);
            return (alias, true);
        }
        let topic: Arc<str> = topic.into();
        self.bytes += topic.len();
        let alias = if self.slots.len() < usize::from(maximum) {
            self.slots.push(Slot { topic: Arc::clone(&topic), older: 0, newer: 0 });
            let alias = self.slots.len() as u16;
            self.link(alias);
            alias
        } else {
            let oldest = self.slot(self.newest).newer;
            self.touch(oldest);
            let replaced = core::mem::replace(&mut self.slot(oldest).topic, Arc::clone(&topic));
            self.bytes -= replaced.len();
            self.aliases.remove(&replaced);
            oldest
        };
        self.aliases.insert(topic, alias);
        (alias, false)
    }

    fn slot(&mut self, alias: u16) -> &mut Slot {
        &mut self.slots[usize::from(alias) - 1]
    }

    /// Makes `alias` the newest.
    fn touch(&mut self, alias: u16) {
        if alias == self.newest {
            return;
        }
        let (older, newer) = (self.slot(alias).older, self.slot(alias).newer);
        self.slot(older).newer = newer;
        self.slot(newer).older = older;
        self.link(alias);
    }

    /// Puts `alias`, which is in no ring, in front of the newest.
    fn link(&mut self, alias: u16) {
        if self.newest == 0 {
            (self.slot(alias).older, self.slot(alias).newer) = (alias, alias);
        } else {
            let newest = self.newest;
            let oldest = self.slot(newest).newer;
            (self.slot(alias).older, self.slot(alias).newer) = (newest, oldest);
            self.slot(newest).newer = alias;
            self.slot(oldest).older = alias;
        }
        self.newest = alias;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    #[test]
    fn an_alias_stands_for_the_last_topic_bound_to_it() {
        let mut aliases = AliasIn::new(2);
        let mut resolve = |alias, topic| aliases.resolve(alias, topic).map(|topic| topic.to_string());
        assert_eq!(resolve(None, "plain").as_deref(), Ok("plain"));
        assert_eq!(resolve(Some(2), "a").as_deref(), Ok("a"));
        assert_eq!(resolve(Some(2), "").as_deref(), Ok("a"));
        assert_eq!(resolve(Some(2), "b").as_deref(), Ok("b"));
        assert_eq!(resolve(Some(2), "").as_deref(), Ok("b"));
    }

    #[test]
    fn an_alias_out_of_range_or_unbound_is_an_error_of_its_own() {
        let mut aliases = AliasIn::new(2);
        assert_eq!(aliases.resolve(Some(0), "a"), Err(Error::TopicAliasInvalid));
        assert_eq!(aliases.resolve(Some(3), "a"), Err(Error::TopicAliasInvalid));
        let unbound = aliases.resolve(Some(1), "").map_err(Error::reason);
        assert_eq!(unbound, Err(crate::codec::Reason::PROTOCOL_ERROR));
        assert!(matches!(aliases.resolve(None, ""), Err(Error::Protocol(_))));
    }

    #[test]
    fn without_a_maximum_no_alias_is_given() {
        assert_eq!(AliasOut::new(0).assign("a"), None);
    }

    #[test]
    fn the_alias_used_longest_ago_is_given_to_a_new_topic() {
        let mut aliases = AliasOut::new(2);
        assert_eq!(aliases.assign("a"), Some((1, false)));
        assert_eq!(aliases.assign("b"), Some((2, false)));
        assert_eq!(aliases.assign("a"), Some((1, true)));
        assert_eq!(aliases.assign("c"), Some((2, false)));
        assert_eq!(aliases.assign("a"), Some((1, true)));
        assert_eq!(aliases.assign("b"), Some((2, false)));
    }

    #[test]
    fn what_one_side_assigns_the_other_resolves() {
        let mut rng = Rng::with_seed(8);
        for maximum in [1, 2, 3, 20] {
            let (mut out, mut incoming) = (AliasOut::new(maximum), AliasIn::new(maximum));
            for _ in 0..20_000 {
                let topic = format!("topic/{}", rng.below(30));
                let (alias, known) = out.assign(&topic).expect("maximum above 0");
                let sent = if known { "" } else { topic.as_str() };
                assert_eq!(&*incoming.resolve(Some(alias), sent).expect("legal"), topic);
            }
            assert_eq!(out.given.map(|given| given.aliases.len()), Some(usize::from(maximum)));
        }
    }
}
