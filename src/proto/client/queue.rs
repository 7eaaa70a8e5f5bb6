//! What waits to be sent: bounded in count and bytes, with a named overflow policy.

use std::collections::VecDeque;
use std::sync::Arc;

use super::event::Token;
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
}

#[derive(Debug)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    options: QueueOptions,
    is_high: bool,
}

impl Queue {
    pub(super) fn new(options: QueueOptions) -> Self {
        Self { items: VecDeque::new(), bytes: 0, options, is_high: false }
    }

    /// Appends; `dropped` is called for each message that has to go for it.
    pub(super) fn push(&mut self, item: Item, mut dropped: impl FnMut(Item)) -> Result<(), Error> {
        let bytes = item.message.len_bytes();
        while !self.items.is_empty() && !self.has_room(bytes) {
            match self.options.overflow {
                Overflow::RefuseNewest => return Err(Error::QueueFull),
                Overflow::DropOldest => self.pop().into_iter().for_each(&mut dropped),
            }
        }
        self.bytes += bytes;
        self.items.push_back(item);
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.items.len() < self.options.count_max && self.bytes + bytes <= self.options.bytes_max
    }

    /// Puts back in front what had been sent in a session that is lost, whatever the limits say:
    /// it was admitted once, and in-flight messages have a limit of their own.
    pub(super) fn push_front(&mut self, item: Item) {
        self.bytes += item.message.len_bytes();
        self.items.push_front(item);
    }

    pub(super) fn front(&self) -> Option<&Item> {
        self.items.front()
    }

    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        self.bytes -= item.message.len_bytes();
        Some(item)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<Item> {
        let index = self.items.iter().position(|item| item.token == Some(token))?;
        let item = self.items.remove(index)?;
        self.bytes -= item.message.len_bytes();
        Some(item)
    }

    /// Takes out what has expired. Called when a connection begins: offline, time may be long.
    pub(super) fn expire(&mut self, now: Instant, mut expired: impl FnMut(Item)) {
        if self.items.iter().all(|item| !item.message.is_expired(now)) {
            return;
        }
        for item in core::mem::take(&mut self.items) {
            if item.message.is_expired(now) {
                self.bytes -= item.message.len_bytes();
                expired(item);
            } else {
                self.items.push_back(item);
            }
        }
    }

    /// `Some(high)` when the level has crossed a mark since the last call.
    pub(super) fn level_change(&mut self) -> Option<bool> {
        let part = |fraction: usize, of: usize| of / 10 * fraction + of % 10 * fraction / 10;
        let (count, bytes) = (self.items.len(), self.bytes);
        let above = |fraction| {
            count >= part(fraction, self.options.count_max).max(1)
                || bytes >= part(fraction, self.options.bytes_max).max(1)
        };
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
