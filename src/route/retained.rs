//! Retained messages (§3.3.1.3): the last message of each topic, kept for later subscribers.
//!
//! One ordered set of the messages themselves; the key is borrowed from the message, so an entry
//! costs a pointer and its share of a tree node. The order has `/` before every other byte, so
//! that all topics below `a` follow `a` at once and `a!` comes after them: a subtree is a range.
//!
//! A filter is answered by a walk that skips: every topic looked at either matches or tells the
//! next place that could, which may be a whole subtree away. The walk's whole state is that
//! place, a string in the [`RetainedCursor`]; messages may come and go between two steps, and
//! every topic that was there all the time is seen exactly once.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::{BTreeSet, btree_set};
use std::ops::Bound;
use std::sync::Arc;

use crate::base::{Budget, Charge, Instant};
use crate::codec::Message;

/// Steps towards the place sought before the walk descends from the root of the tree again.
const STEPS_MAX: u32 = 6;

/// What may be retained. An update of a topic that is held is allowed as long as it is not larger
/// than what it replaces, or there is room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedLimits {
    /// Topics.
    pub count_max: usize,
    /// The sum of [`Message::len_bytes`].
    pub bytes_max: usize,
}

impl Default for RetainedLimits {
    fn default() -> Self {
        Self { count_max: 100_000, bytes_max: 64 * 1024 * 1024 }
    }
}

/// What [`Retained::set`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetOutcome {
    /// The topic had no retained message.
    New,
    /// The topic's message was replaced.
    Replaced,
}

/// A new topic, or a larger message of a known one, was refused because of [`RetainedLimits`]
/// (reason code 0x97); nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetainedFull;

impl std::fmt::Display for RetainedFull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no room for another retained topic")
    }
}

impl std::error::Error for RetainedFull {}

/// Where a walk goes on. It remembers a place, not an entry, so that changes do no harm.
#[derive(Clone, Debug)]
pub struct RetainedCursor {
    /// The first topic not looked at yet is this one or the next after it.
    place: Vec<u8>,
    state: CursorState,
    /// Messages with a higher number are passed over.
    published_max: u64,
}

impl Default for RetainedCursor {
    /// Finds everything.
    fn default() -> Self {
        Self { place: Vec::new(), state: CursorState::AtStart, published_max: u64::MAX }
    }
}

impl RetainedCursor {
    /// Bytes of the place it remembers: as much as the longest topic it has seen.
    pub fn place_bytes(&self) -> usize {
        self.place.capacity()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum CursorState {
    #[default]
    AtStart,
    Walking,
    AtEnd,
}

/// The retained messages, at most one per topic.
#[derive(Debug)]
pub struct Retained {
    set: BTreeSet<Entry>,
    /// What the table itself costs; a message is charged by itself.
    charge: Option<Charge>,
    /// Counts the messages that were published; the last one's number.
    published: u64,
    limits: RetainedLimits,
    bytes: usize,
    /// How many messages have an expiry: without any there is nothing to sweep.
    expiring: usize,
    /// Where the next sweep begins.
    sweep: Vec<u8>,
}

impl Retained {
    /// Empty.
    pub fn new(limits: RetainedLimits) -> Self {
        Self { set: BTreeSet::new(), charge: None, published: 0, limits, bytes: 0, expiring: 0, sweep: Vec::new() }
    }

    /// From now on the table is charged there.
    pub fn charge_to(&mut self, budget: &Budget) {
        self.charge = Some(budget.charge(0));
        self.recharge();
    }

    fn recharge(&mut self) {
        let bytes = self.set.len() * ENTRY_BYTES;
        self.charge.iter_mut().for_each(|charge| charge.resize(bytes));
    }

    /// Keeps `message` as the last one of its topic. An empty payload is the caller's to
    /// [`Retained::clear`] (§3.3.1.3). With `may_not_grow` it must replace one at least as large.
    pub fn set(&mut self, message: Arc<Message>, may_not_grow: bool) -> Result<SetOutcome, RetainedFull> {
        self.published += 1;
        self.put(message, self.published, may_not_grow)
    }

    /// As [`Retained::set`], of a message that nobody gets who subscribed before: cursors made before
    /// find it, too.
    pub fn set_unpublished(&mut self, message: Arc<Message>, may_not_grow: bool) -> Result<SetOutcome, RetainedFull> {
        self.put(message, 0, may_not_grow)
    }

    /// For a subscription made now: passes over what is published later, which reaches it anyway.
    pub fn cursor(&self) -> RetainedCursor {
        RetainedCursor { published_max: self.published, ..RetainedCursor::default() }
    }

    fn put(&mut self, message: Arc<Message>, number: u64, may_not_grow: bool) -> Result<SetOutcome, RetainedFull> {
        let bytes = message.len_bytes();
        let replaced = self.get(message.topic()).map(|old| old.len_bytes());
        let grows = bytes > replaced.unwrap_or(0);
        let is_full = may_not_grow
            || (replaced.is_none() && self.set.len() >= self.limits.count_max)
            || (self.bytes - replaced.unwrap_or(0)).saturating_add(bytes) > self.limits.bytes_max;
        if is_full && grows {
            return Err(RetainedFull);
        }
        self.bytes += bytes;
        self.expiring += usize::from(message.expires().is_some());
        match self.set.replace(Entry(message, number)) {
            None => {
                self.recharge();
                Ok(SetOutcome::New)
            }
            Some(old) => {
                self.uncount(&old);
                Ok(SetOutcome::Replaced)
            }
        }
    }

    /// Forgets the message of `topic`; whether there was one.
    pub fn clear(&mut self, topic: &str) -> bool {
        match self.set.take(&Place(topic.as_bytes()) as &dyn Key) {
            None => false,
            Some(old) => {
                self.uncount(&old);
                self.recharge();
                true
            }
        }
    }

    /// Forgets all.
    pub fn clear_all(&mut self) {
        let charge = self.charge.take();
        *self = Self { charge, published: self.published, ..Self::new(self.limits) };
        self.recharge();
    }

    /// The message of `topic`, which may have expired since the last [`Retained::expire`].
    pub fn get(&self, topic: &str) -> Option<&Arc<Message>> {
        self.set.get(&Place(topic.as_bytes()) as &dyn Key).map(|entry| &entry.0)
    }

    /// Appends what a new subscription to `filter` (valid, without `$share`) finds, looking at no
    /// more than `topics_max` topics; expired messages are passed over. False: that was all. True:
    /// call again with the same cursor and filter.
    pub fn collect(&self, filter: &str, cursor: &mut RetainedCursor, topics_max: usize, now: Instant, out: &mut Vec<Arc<Message>>) -> bool {
        let pattern: Vec<&[u8]> = filter.as_bytes().split(|&byte| byte == b'/').collect();
        match cursor.state {
            CursorState::AtStart => push_literals(&mut cursor.place, &pattern),
            CursorState::Walking => {}
            CursorState::AtEnd => return false,
        }
        cursor.state = CursorState::Walking;
        let mut walk = self.from(&cursor.place);
        let mut steps = 0;
        for _ in 0..topics_max {
            let Some(Entry(message, number)) = walk.next() else {
                cursor.state = CursorState::AtEnd;
                return false;
            };
            let topic = message.topic_bytes();
            if order(topic, &cursor.place) == Ordering::Less {
                // A short way is walked, a long one jumped.
                steps += 1;
                if steps == STEPS_MAX {
                    walk = self.from(&cursor.place);
                    steps = 0;
                }
                continue;
            }
            steps = 0;
            let verdict = judge(&pattern, topic, &mut cursor.place);
            if verdict.is_match && *number <= cursor.published_max && !message.is_expired(now) {
                out.push(Arc::clone(message));
            }
            if verdict.is_last {
                cursor.state = CursorState::AtEnd;
                return false;
            }
        }
        true
    }

    /// Looks at `max` more topics and forgets those that have expired; which those were. Calls go
    /// round and round.
    pub fn expire(&mut self, now: Instant, max: usize) -> Vec<Arc<Message>> {
        if self.expiring == 0 {
            return Vec::new();
        }
        let mut expired = Vec::new();
        let mut looked_at = 0;
        let mut last = None;
        for entry in self.from(&self.sweep).take(max) {
            looked_at += 1;
            last = Some(entry);
            if entry.0.is_expired(now) {
                expired.push(Arc::clone(&entry.0));
            }
        }
        let mut sweep = Vec::new();
        if let Some(last) = last.filter(|_| looked_at == max) {
            set_after(&mut sweep, last.0.topic_bytes());
        }
        self.sweep = sweep;
        for message in &expired {
            self.clear(message.topic());
        }
        expired
    }

    /// Topics with a retained message.
    pub fn count(&self) -> usize {
        self.set.len()
    }

    /// The sum of [`Message::len_bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn from(&self, place: &[u8]) -> btree_set::Range<'_, Entry> {
        let first = &Place(place) as &dyn Key;
        self.set.range::<dyn Key, _>((Bound::Included(first), Bound::Unbounded))
    }

    fn uncount(&mut self, old: &Entry) {
        self.bytes -= old.0.len_bytes();
        self.expiring -= usize::from(old.0.expires().is_some());
    }
}

/// A place in a node of the set: nodes are half full after topics came in order.
const ENTRY_BYTES: usize = 2 * size_of::<Entry>() + 2;

struct Verdict {
    is_match: bool,
    /// No topic after this one can match.
    is_last: bool,
}

/// Holds `topic` against `pattern` and sets `place` to the next place that could match, which is
/// always after `topic`.
fn judge(pattern: &[&[u8]], topic: &[u8], place: &mut Vec<u8>) -> Verdict {
    let skip = Verdict { is_match: false, is_last: false };
    if topic.first() == Some(&b'$') && is_wildcard(pattern[0]) {
        // §4.7.2. All topics with `$` in front are neighbours: go behind them.
        place.clear();
        place.push(b'$' + 1);
        return skip;
    }
    let mut names = topic.split(|&byte| byte == b'/');
    // Where the level now compared begins, and where the last level taken by a `+` ended.
    let mut start = 0;
    let mut plus_end = None;
    let mut is_match = true;
    for (index, &level) in pattern.iter().enumerate() {
        if level == b"#" {
            set_after(place, topic);
            return Verdict { is_match: true, is_last: false };
        }
        let Some(name) = names.next() else {
            // Too short: what could match is among the topics below this one.
            set_after(place, topic);
            push_literals(place, &pattern[index..]);
            return skip;
        };
        if level == b"+" {
            plus_end = Some(start + name.len());
        } else {
            match name.cmp(level) {
                Ordering::Equal => {}
                Ordering::Less => {
                    place.clear();
                    place.extend_from_slice(&topic[..start]);
                    push_literals(place, &pattern[index..]);
                    return skip;
                }
                Ordering::Greater => {
                    is_match = false;
                    break;
                }
            }
        }
        start += name.len() + 1;
    }
    is_match &= names.next().is_none();
    // Nothing further under the name the last `+` took: on to the next name there.
    let Some(end) = plus_end else {
        return Verdict { is_match, is_last: true };
    };
    place.clear();
    place.extend_from_slice(&topic[..end]);
    place.push(1);
    Verdict { is_match, is_last: false }
}

fn is_wildcard(level: &[u8]) -> bool {
    level == b"+" || level == b"#"
}

/// The next place after `topic`: nothing is between it and its empty sublevel.
fn set_after(place: &mut Vec<u8>, topic: &[u8]) {
    place.clear();
    place.extend_from_slice(topic);
    place.push(b'/');
}

/// Appends the levels of `pattern` before its first wildcard.
fn push_literals(place: &mut Vec<u8>, pattern: &[&[u8]]) {
    for (index, level) in pattern.iter().take_while(|level| !is_wildcard(level)).enumerate() {
        if index > 0 {
            place.push(b'/');
        }
        place.extend_from_slice(level);
    }
}

/// The order of the set: by bytes, `/` before all others. (U+0000 is not in topics.)
fn order(one: &[u8], other: &[u8]) -> Ordering {
    const WORD: usize = 8;
    let mut start = 0;
    let shorter = one.len().min(other.len());
    while start + WORD <= shorter && one[start..start + WORD] == other[start..start + WORD] {
        start += WORD;
    }
    let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
    for (&first, &second) in one[start..].iter().zip(&other[start..]) {
        if first != second {
            return rank(first).cmp(&rank(second));
        }
    }
    one.len().cmp(&other.len())
}

/// A message in the order of its topic, and the number [`Retained::cursor`] is about.
#[derive(Debug)]
struct Entry(Arc<Message>, u64);

/// A place in the order that need not be a topic.
struct Place<'a>(&'a [u8]);

/// What [`Entry`] and [`Place`] have in common, so that one can be sought among the others
/// without making a message.
trait Key {
    fn bytes(&self) -> &[u8];
}

impl Key for Entry {
    fn bytes(&self) -> &[u8] {
        self.0.topic_bytes()
    }
}

impl Key for Place<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl<'a> Borrow<dyn Key + 'a> for Entry {
    fn borrow(&self) -> &(dyn Key + 'a) {
        self
    }
}

impl Ord for dyn Key + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.bytes(), other.bytes())
    }
}

impl PartialOrd for dyn Key + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Key + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for dyn Key + '_ {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.bytes(), other.bytes())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Entry {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Budget, Duration, Rng};
    use crate::codec::{Properties, Qos};
    use crate::topic;
    use std::collections::BTreeMap;

    const NO_LIMITS: RetainedLimits = RetainedLimits { count_max: usize::MAX, bytes_max: usize::MAX };

    fn message(topic: &str, payload: &str, expires_s: Option<u64>) -> Arc<Message> {
        Message::new(&Budget::new(usize::MAX), topic, payload.as_bytes(), Qos::AtMostOnce, true, Properties::EMPTY, expires_s.map(at), 0, Instant::START)
    }

    fn at(seconds: u64) -> Instant {
        Instant::START + Duration::from_secs(seconds)
    }

    fn random_topic(rng: &mut Rng) -> String {
        let words = ["a", "b", "ab", "a!", "", "$s", "\u{1}", "0", "a0"];
        let depth = 1 + rng.below(4);
        loop {
            let levels: Vec<_> = (0..depth).map(|_| words[rng.below(words.len() as u64) as usize]).collect();
            let topic = levels.join("/");
            if topic::is_valid_name(&topic) {
                return topic;
            }
        }
    }

    fn random_filter(rng: &mut Rng) -> String {
        loop {
            let topic = random_topic(rng);
            let mut levels: Vec<_> = topic.split('/').collect();
            for level in &mut levels {
                if rng.chance(350) {
                    *level = "+";
                }
            }
            if rng.chance(300) {
                levels.push("#");
            }
            if rng.chance(100) {
                levels = vec!["#"];
            }
            let filter = levels.join("/");
            if topic::is_valid_filter(&filter) {
                return filter;
            }
        }
    }

    fn all(retained: &Retained, filter: &str, topics_max: usize, now: Instant) -> Vec<String> {
        let (mut cursor, mut out) = (RetainedCursor::default(), Vec::new());
        while retained.collect(filter, &mut cursor, topics_max, now, &mut out) {}
        assert!(!retained.collect(filter, &mut cursor, topics_max, now, &mut out));
        out.iter().map(|message| message.topic().to_owned()).collect()
    }

    #[test]
    fn every_filter_finds_what_a_linear_search_finds() {
        for seed in 0..6 {
            let mut rng = Rng::with_seed(seed);
            let mut retained = Retained::new(NO_LIMITS);
            let mut model = BTreeMap::new();
            for _ in 0..[5, 40, 200, 600, 1_200, 2_000][seed as usize] {
                let topic = random_topic(&mut rng);
                if rng.chance(150) {
                    assert_eq!(retained.clear(&topic), model.remove(&topic).is_some());
                    continue;
                }
                let expires = rng.chance(300).then(|| 1 + rng.below(20));
                let outcome = retained.set(message(&topic, "x", expires), false);
                let was_there = model.insert(topic, expires).is_some();
                let expected = if was_there { SetOutcome::Replaced } else { SetOutcome::New };
                assert_eq!(outcome, Ok(expected));
            }
            assert_eq!(retained.count(), model.len());
            for _ in 0..400 {
                let filter = random_filter(&mut rng);
                let now = at(rng.below(22));
                let mut found = all(&retained, &filter, 1 + rng.below(5) as usize, now);
                found.sort_unstable();
                let expected: Vec<_> = model
                    .iter()
                    .filter(|(topic, _)| topic::matches(&filter, topic))
                    .filter(|(_, expires)| expires.is_none_or(|expires| at(expires) > now))
                    .map(|(topic, _)| topic.clone())
                    .collect();
                assert_eq!(found, expected, "seed {seed} filter {filter:?}");
            }
        }
    }

    #[test]
    fn writes_between_two_steps_neither_hide_nor_repeat_what_stays() {
        for seed in 0..300 {
            let mut rng = Rng::with_seed(seed);
            let mut retained = Retained::new(NO_LIMITS);
            let mut stays = BTreeMap::new();
            for _ in 0..60 {
                let topic = random_topic(&mut rng);
                let stable = rng.chance(500);
                *stays.entry(topic.clone()).or_insert(stable) |= stable;
                let _ = retained.set(message(&topic, "x", None), false);
            }
            let filter = random_filter(&mut rng);
            let (mut cursor, mut out) = (RetainedCursor::default(), Vec::new());
            while retained.collect(&filter, &mut cursor, 1 + rng.below(4) as usize, at(0), &mut out) {
                for _ in 0..6 {
                    let topic = random_topic(&mut rng);
                    if rng.chance(500) {
                        let _ = retained.set(message(&topic, "later", None), false);
                    } else if stays.get(&topic) != Some(&true) {
                        retained.clear(&topic);
                    }
                }
            }
            let mut found: Vec<_> = out.iter().map(|message| message.topic()).collect();
            found.sort_unstable();
            let length = found.len();
            found.dedup();
            assert_eq!(found.len(), length, "seed {seed}: a topic came twice");
            for (topic, _) in stays.iter().filter(|(topic, stable)| **stable && topic::matches(&filter, topic)) {
                assert!(found.contains(&topic.as_str()), "seed {seed} {filter:?} missed {topic:?}");
            }
            assert!(found.iter().all(|topic| topic::matches(&filter, topic)));
        }
    }

    #[test]
    fn a_walk_skips_subtrees_instead_of_reading_them() {
        let mut retained = Retained::new(NO_LIMITS);
        for device in 0..50 {
            for sensor in 0..100 {
                let _ = retained.set(message(&format!("d/{device}/s/{sensor:03}"), "x", None), false);
            }
            let _ = retained.set(message(&format!("d/{device}/status"), "x", None), false);
        }
        let (mut cursor, mut out) = (RetainedCursor::default(), Vec::new());
        let mut steps = 1;
        while retained.collect("d/+/status", &mut cursor, 1, at(0), &mut out) {
            steps += 1;
        }
        assert_eq!(out.len(), 50);
        assert!(steps < 50 * 20, "{steps} of 5,050 topics were looked at");
        out.clear();
        let mut cursor = RetainedCursor::default();
        assert!(!retained.collect("d/7/status", &mut cursor, 2, at(0), &mut out));
        assert_eq!(out.len(), 1, "a plain topic is one look-up");
    }

    #[test]
    fn new_topics_are_refused_at_either_limit_and_updates_that_do_not_grow_never() {
        let size = message("t/0", "1234", None).len_bytes();
        for limits in [RetainedLimits { count_max: 3, bytes_max: usize::MAX }, RetainedLimits { count_max: usize::MAX, bytes_max: 3 * size }] {
            let mut retained = Retained::new(limits);
            for topic in ["t/0", "t/1", "t/2"] {
                assert_eq!(retained.set(message(topic, "1234", None), false), Ok(SetOutcome::New));
            }
            assert_eq!(retained.set(message("t/3", "1234", None), false), Err(RetainedFull));
            assert_eq!((retained.count(), retained.bytes()), (3, 3 * size));
            assert_eq!(retained.set(message("t/1", "5678", None), true), Ok(SetOutcome::Replaced));
            let longer = message("t/1", &"x".repeat(100), None);
            assert_eq!(retained.set(Arc::clone(&longer), true), Err(RetainedFull), "may not grow");
            let has_room = limits.bytes_max == usize::MAX;
            assert_eq!(retained.set(longer, false).is_ok(), has_room, "not beyond the limit in bytes");
            let expected = if has_room { 100 } else { 4 };
            assert_eq!(retained.get("t/1").map(|message| message.payload().len()), Some(expected));
            assert!(retained.clear("t/1") && !retained.clear("t/1"));
            assert_eq!(retained.set(message("t/3", "1234", None), false), Ok(SetOutcome::New));
            assert_eq!(retained.bytes(), 3 * size);
        }
    }

    #[test]
    fn the_sweep_forgets_every_expired_message_and_no_other() {
        let mut retained = Retained::new(NO_LIMITS);
        for n in 0..100 {
            let expires = (n % 3 == 0).then_some(10);
            let _ = retained.set(message(&format!("t/{n}"), "x", expires), false);
        }
        let sweep = |retained: &mut Retained, now| (0..16).map(|_| retained.expire(now, 7).len()).sum::<usize>();
        assert_eq!(sweep(&mut retained, at(9)), 0);
        assert_eq!(sweep(&mut retained, at(10)), 34);
        assert_eq!((retained.count(), retained.expiring), (66, 0));
        for n in 0..100 {
            assert!(n % 3 == 0 || retained.clear(&format!("t/{n}")));
        }
        assert_eq!((retained.count(), retained.bytes()), (0, 0));
    }
}
