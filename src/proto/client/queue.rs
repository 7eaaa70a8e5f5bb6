//! What waits to be sent: bounded in count and bytes, in order of priority, with a named policy for
//! everything that cannot stay.
//!
//! Of one priority the oldest message is first. A message that says so (`newest_only`) is the only
//! one of its topic: a newer value takes its place, and its turn. A message is given up when its
//! deadline comes, whether there is a connection or not.
//!
//! This type is the seam where a store on disk goes: the machine knows it by the functions below
//! only, looks at nothing but the first message, and never holds a place in it. What is taken out
//! by [`Queue::pop`] is in flight or done; what comes back by [`Queue::push_front`] was in flight in
//! a session that is lost.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{Failure, Token};
use super::options::{Overflow, QueueOptions};
use crate::base::Instant;
use crate::codec::{Message, Qos, Reason};
use crate::proto::Error;

/// A publish from request to completion.
#[derive(Debug)]
pub(super) struct Item {
    /// `None` once it was completed (cancelled on its way).
    pub(super) token: Option<Token>,
    pub(super) message: Arc<Message>,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    /// What PUBREC said.
    pub(super) accepted: Reason,
    /// Higher ones are sent first.
    pub(super) priority: u8,
    /// A newer message of the same topic takes its place.
    pub(super) newest_only: bool,
    /// The limits do not refuse it.
    pub(super) is_admitted: bool,
    /// When it is given up if it still waits.
    pub(super) expires: Option<Instant>,
}

/// Sorted as messages leave.
type Place = (Reverse<u8>, i64);

#[derive(Debug)]
pub(super) struct Queue {
    items: BTreeMap<Place, Item>,
    deadlines: BTreeSet<(Instant, Place)>,
    /// Topics of the messages that can be replaced.
    newest: BTreeMap<Box<str>, Place>,
    bytes: usize,
    /// Serial of the next message at the end, and of the last one in front.
    serial_next: i64,
    serial_first: i64,
    options: QueueOptions,
    is_high: bool,
}

impl Queue {
    pub(super) fn new(options: QueueOptions) -> Self {
        Self { items: BTreeMap::new(), deadlines: BTreeSet::new(), newest: BTreeMap::new(), bytes: 0, serial_next: 0, serial_first: 0, options, is_high: false }
    }

    /// Adds a message; `gone` is called for each one that has to go for it. Refused, it has changed
    /// nothing.
    pub(super) fn push(&mut self, item: Item, mut gone: impl FnMut(Item, Failure)) -> Result<(), Error> {
        let replaced = if item.newest_only { self.newest.get(item.message.topic()).copied() } else { None };
        let pushed_out = self.make_room(&item, replaced)?;
        for place in pushed_out {
            self.take(place).into_iter().for_each(|item| gone(item, Failure::Overflow));
        }
        let mut place = (Reverse(item.priority), self.serial_next);
        if let Some(old) = replaced.and_then(|place| self.take(place)) {
            if old.priority == item.priority {
                place = replaced.unwrap_or(place);
            }
            gone(old, Failure::Replaced);
        }
        self.serial_next += i64::from(place.1 == self.serial_next);
        if item.newest_only {
            self.newest.insert(item.message.topic().into(), place);
        }
        self.insert(place, item);
        Ok(())
    }

    /// Who has to go so that `item` fits, besides the message it replaces.
    fn make_room(&self, item: &Item, replaced: Option<Place>) -> Result<Vec<Place>, Error> {
        let freed = replaced.and_then(|place| self.items.get(&place));
        let mut count = self.items.len() - usize::from(freed.is_some());
        let mut bytes = self.bytes - freed.map_or(0, |item| item.message.len_bytes());
        let new_bytes = item.message.len_bytes();
        let fits = |count: usize, bytes: usize| {
            // One message is always admitted to an empty queue.
            count == 0 || (count < self.options.count_max && bytes + new_bytes <= self.options.bytes_max)
        };
        let mut pushed_out = Vec::new();
        if fits(count, bytes) {
            return Ok(pushed_out);
        }
        if self.options.overflow == Overflow::DropOldest {
            // Never one of higher priority; of the lowest the oldest first.
            let class = |priority| self.items.range((Reverse(priority), i64::MIN)..=(Reverse(priority), i64::MAX));
            for (place, old) in (0..=item.priority).flat_map(class).filter(|(place, _)| Some(**place) != replaced) {
                count -= 1;
                bytes -= old.message.len_bytes();
                pushed_out.push(*place);
                if fits(count, bytes) {
                    return Ok(pushed_out);
                }
            }
        }
        if item.is_admitted { Ok(Vec::new()) } else { Err(Error::QueueFull) }
    }

    fn insert(&mut self, place: Place, item: Item) {
        self.bytes += item.message.len_bytes();
        self.deadlines.extend(item.expires.map(|expires| (expires, place)));
        self.items.insert(place, item);
    }

    fn take(&mut self, place: Place) -> Option<Item> {
        let item = self.items.remove(&place)?;
        self.bytes -= item.message.len_bytes();
        if let Some(expires) = item.expires {
            self.deadlines.remove(&(expires, place));
        }
        if item.newest_only && self.newest.get(item.message.topic()) == Some(&place) {
            self.newest.remove(item.message.topic());
        }
        Some(item)
    }

    /// Puts back in front of its priority what had been sent in a session that is lost, whatever
    /// the limits say: it was admitted once, and in-flight messages have a limit of their own.
    pub(super) fn push_front(&mut self, item: Item) {
        self.serial_first -= 1;
        self.insert((Reverse(item.priority), self.serial_first), item);
    }

    /// Whose turn it is.
    pub(super) fn front(&self) -> Option<&Item> {
        self.items.first_key_value().map(|(_, item)| item)
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let place = *self.items.first_key_value()?.0;
        self.take(place)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Item> {
        let place = *self.items.iter().find(|(_, item)| item.token == Some(token))?.0;
        self.take(place)
    }

    /// Takes out one message whose deadline has come.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Item> {
        let (_, place) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)?;
        self.take(place)
    }

    /// When the next message expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// `Some(high)` when the level has crossed a mark since the last call.
    pub(super) fn level_change(&mut self) -> Option<bool> {
        let part = |fraction: usize, of: usize| of / 10 * fraction + of % 10 * fraction / 10;
        let (count, bytes) = (self.items.len(), self.bytes);
        let above = |fraction| count >= part(fraction, self.options.count_max).max(1) || bytes >= part(fraction, self.options.bytes_max).max(1);
        let is_high = if self.is_high { above(5) } else { above(8) };
        (core::mem::replace(&mut self.is_high, is_high) != is_high).then_some(is_high)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
