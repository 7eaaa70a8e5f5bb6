//! The filters with wildcards.
//!
//! ```text
//!   node = { plus: node, edges: how many, here: audience, below: audience }      16 bytes
//!   edge = (node, level number) -> node                 one hash table for the whole trie
//! ```
//! `a/+/c` ends at `here` of its last node, `a/#` at `below` of node `a`, because it means `a`
//! too (§4.7.1.2). A match walks the topic once and keeps the list of nodes that fit so far: each
//! level is looked up once, then every node of the list costs one probe of a table of integers.
//! There is no recursion anywhere.

use foldhash::fast::FixedState;

use super::arena::Arena;
use super::audience::Audience;
use super::level::Levels;
use crate::base::{IdMap, Rng};

const ROOT: u32 = 0;
/// No node and no audience: index 0 of the first is the root, of the second a place never used.
const NONE: u32 = 0;

#[derive(Debug)]
pub(super) struct Trie {
    nodes: Arena<Node>,
    audiences: Arena<Audience>,
    edges: IdMap<(u32, u32), u32>,
    levels: Levels,
}

#[derive(Default, Debug)]
struct Node {
    plus: u32,
    edges: u32,
    here: u32,
    below: u32,
}

/// The nodes of one level that fit a topic so far; kept by the caller for its capacity.
#[derive(Default, Debug)]
pub(super) struct Frontier {
    current: Vec<u32>,
    next: Vec<u32>,
}

impl Trie {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            nodes: Arena::new(Node::default()),
            audiences: Arena::new(Audience::default()),
            // Peers choose the order in which numbers are given, so the table has a seed.
            edges: IdMap::with_hasher(FixedState::with_seed(rng.u64())),
            levels: Levels::new(rng),
        }
    }

    /// Filters held.
    pub(super) fn len(&self) -> usize {
        self.audiences.len()
    }

    /// Shows `found` every audience whose filter means `topic`.
    pub(super) fn matching<'a>(&'a self, topic: &str, frontier: &mut Frontier, mut found: impl FnMut(&'a Audience)) {
        let Frontier { current, next } = frontier;
        current.clear();
        current.push(ROOT);
        // §4.7.2: a wildcard in front does not mean topics that begin with `$`.
        let mut wildcards = !topic.starts_with('$');
        for level in topic.split('/') {
            let id = self.levels.find(level);
            next.clear();
            for &index in &*current {
                let node = &self.nodes[index];
                if wildcards && node.below != NONE {
                    found(&self.audiences[node.below]);
                }
                if wildcards && node.plus != NONE {
                    next.push(node.plus);
                }
                if node.edges > 0 {
                    next.extend(id.and_then(|id| self.edges.get(&(index, id))));
                }
            }
            std::mem::swap(current, next);
            wildcards = true;
            if current.is_empty() {
                return;
            }
        }
        for &index in &*current {
            let node = &self.nodes[index];
            for audience in [node.here, node.below] {
                if audience != NONE {
                    found(&self.audiences[audience]);
                }
            }
        }
    }

    pub(super) fn get(&self, filter: &str) -> Option<&Audience> {
        let (node, is_below) = self.walk(filter, |_, _| {})?;
        let audience = self.audience_of(node, is_below);
        (audience != NONE).then(|| &self.audiences[audience])
    }

    pub(super) fn get_mut(&mut self, filter: &str) -> Option<&mut Audience> {
        let (node, is_below) = self.walk(filter, |_, _| {})?;
        let audience = self.audience_of(node, is_below);
        (audience != NONE).then(|| &mut self.audiences[audience])
    }

    /// The audience of `filter`, made if there is none.
    pub(super) fn get_or_insert(&mut self, filter: &str) -> &mut Audience {
        let mut index = ROOT;
        let mut is_below = false;
        for level in filter.split('/') {
            match level {
                "#" => is_below = true,
                "+" => {
                    if self.nodes[index].plus == NONE {
                        self.nodes[index].plus = self.nodes.insert(Node::default());
                    }
                    index = self.nodes[index].plus;
                }
                _ => index = self.child_or_insert(index, level),
            }
        }
        let mut audience = self.audience_of(index, is_below);
        if audience == NONE {
            audience = self.audiences.insert(Audience::default());
            self.set_audience(index, is_below, audience);
        }
        &mut self.audiences[audience]
    }

    /// Takes out `filter`, whose audience has nobody left, and every node that led only there.
    pub(super) fn remove(&mut self, filter: &str) {
        let mut path = Vec::new();
        let Some((mut index, is_below)) = self.walk(filter, |parent, level| path.push((parent, level))) else {
            return;
        };
        let audience = self.audience_of(index, is_below);
        if audience == NONE {
            return;
        }
        debug_assert!(self.audiences[audience].is_empty(), "somebody still listens");
        self.set_audience(index, is_below, NONE);
        self.audiences.remove(audience);
        while let Some((parent, level)) = path.pop() {
            let node = &self.nodes[index];
            if node.edges > 0 || [node.plus, node.here, node.below] != [NONE; 3] {
                return;
            }
            self.nodes.remove(index);
            if level == "+" {
                self.nodes[parent].plus = NONE;
            } else {
                self.remove_edge(parent, level);
            }
            index = parent;
        }
    }

    /// Follows `filter` as it is written, telling `step` each parent and level on the way; the
    /// last node, and whether the filter ends in `#`. None if the path does not exist.
    fn walk<'f>(&self, filter: &'f str, mut step: impl FnMut(u32, &'f str)) -> Option<(u32, bool)> {
        let mut index = ROOT;
        for level in filter.split('/') {
            let child = match level {
                "#" => return Some((index, true)),
                "+" => self.nodes[index].plus,
                _ => *self.edges.get(&(index, self.levels.find(level)?))?,
            };
            if child == NONE {
                return None;
            }
            step(index, level);
            index = child;
        }
        Some((index, false))
    }

    fn audience_of(&self, index: u32, is_below: bool) -> u32 {
        let node = &self.nodes[index];
        if is_below { node.below } else { node.here }
    }

    fn set_audience(&mut self, index: u32, is_below: bool, audience: u32) {
        let node = &mut self.nodes[index];
        if is_below { node.below = audience } else { node.here = audience }
    }

    fn child_or_insert(&mut self, parent: u32, level: &str) -> u32 {
        if let Some(id) = self.levels.find(level) {
            if let Some(&child) = self.edges.get(&(parent, id)) {
                return child;
            }
        }
        let child = self.nodes.insert(Node::default());
        self.edges.insert((parent, self.levels.acquire(level)), child);
        self.nodes[parent].edges += 1;
        child
    }

    fn remove_edge(&mut self, parent: u32, level: &str) {
        let Some(id) = self.levels.find(level) else {
            debug_assert!(false, "an edge has a level");
            return;
        };
        self.edges.remove(&(parent, id));
        self.levels.release(level);
        self.nodes[parent].edges -= 1;
        if self.edges.capacity() > 64 && self.edges.len() < self.edges.capacity() / 8 {
            self.edges.shrink_to(self.edges.len() * 2);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.nodes.len(), self.audiences.len(), self.edges.len(), self.levels.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic;

    fn count(trie: &Trie, name: &str) -> usize {
        let mut count = 0;
        trie.matching(name, &mut Frontier::default(), |_| count += 1);
        count
    }

    #[test]
    fn a_deep_topic_needs_no_stack() {
        let mut trie = Trie::new(&mut Rng::with_seed(1));
        let deep = vec!["+"; 32_768].join("/");
        let slashes = "/".repeat(65_533) + "/#";
        trie.get_or_insert(&deep);
        trie.get_or_insert(&slashes);
        assert_eq!(count(&trie, &vec!["x"; 32_768].join("/")), 1);
        assert_eq!(count(&trie, &"/".repeat(65_535)), 1);
        trie.remove(&deep);
        trie.remove(&slashes);
        assert_eq!(trie.sizes(), [0; 4]);
    }

    #[test]
    fn filters_that_come_and_go_leave_nothing_behind() {
        let mut rng = Rng::with_seed(3);
        let mut trie = Trie::new(&mut rng);
        let words = ["+", "#", "a", "b", "", "$s"];
        let mut filters = Vec::new();
        while filters.len() < 300 {
            let depth = 1 + rng.below(5);
            let levels: Vec<_> = (0..depth).map(|_| words[rng.below(6) as usize]).collect();
            let filter = levels.join("/");
            if topic::is_valid_filter(&filter) && !filters.contains(&filter) {
                trie.get_or_insert(&filter);
                filters.push(filter);
            }
        }
        assert_eq!(trie.len(), 300);
        while !filters.is_empty() {
            let filter = filters.swap_remove(rng.below(filters.len() as u64) as usize);
            trie.remove(&filter);
            assert!(trie.get(&filter).is_none());
            assert!(filters.iter().all(|left| trie.get(left).is_some()));
        }
        assert_eq!(trie.sizes(), [0; 4]);
    }

    #[test]
    fn removing_what_is_not_there_changes_nothing() {
        let mut trie = Trie::new(&mut Rng::with_seed(1));
        trie.get_or_insert("a/+/c");
        for absent in ["a/+", "a/#", "+", "b/+/c", "a/+/c/+"] {
            trie.remove(absent);
        }
        assert_eq!(trie.sizes(), [3, 1, 2, 2]);
        assert!(trie.get("a/+/c").is_some() && trie.get_mut("a/+").is_none());
    }
}
