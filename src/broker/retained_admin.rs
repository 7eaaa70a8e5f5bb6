//! What the owner does with retained messages: get, list, set, clear; past hooks that decide.

use std::sync::Arc;

use crate::base::Instant;
use crate::codec::{Message, Reason};
use crate::route::RetainedCursor;

use super::shard::Shard;

/// Topics looked at under one lock.
const TOPICS_PER_LOCK: usize = 1_024;

impl Shard {
    /// The retained message of a topic.
    pub fn retained(&self, now: Instant, topic: &str) -> Option<Arc<Message>> {
        let router = self.router.read().expect("router lock");
        router.retained().get(topic).filter(|message| !message.is_expired(now)).cloned()
    }

    /// Appends retained messages that meet `filter` (valid, not shared) to `out` until it holds
    /// `count_max` or more. False: that was all; true: call again with the same cursor.
    pub fn retained_page(&self, now: Instant, filter: &str, cursor: &mut RetainedCursor, count_max: usize, out: &mut Vec<Arc<Message>>) -> bool {
        while out.len() < count_max {
            let router = self.router.read().expect("router lock");
            if !router.retained().collect(filter, cursor, TOPICS_PER_LOCK.min(count_max - out.len()), now, out) {
                return false;
            }
        }
        true
    }

    /// Keeps a message as the retained one of its topic; one without payload clears it. Nobody is
    /// sent anything.
    ///
    /// # Errors
    /// 0x97: there is no room.
    pub fn set_retained(&mut self, message: &Arc<Message>) -> Result<(), Reason> {
        if self.retain(message, false, |_| {}) { Ok(()) } else { Err(Reason::QUOTA_EXCEEDED) }
    }

    /// Forgets the retained messages of all topics that meet `filter`; how many those were.
    pub fn clear_retained(&mut self, now: Instant, filter: &str) -> usize {
        let mut cursor = RetainedCursor::default();
        let mut cleared = 0;
        loop {
            let mut found = Vec::new();
            let more = self.retained_page(now, filter, &mut cursor, TOPICS_PER_LOCK, &mut found);
            for message in &found {
                let was_there = self.router.write().expect("router lock").retained_mut().clear(message.topic());
                if was_there && self.interest.retained {
                    self.hooks.retained_cleared(message.topic());
                }
                cleared += usize::from(was_there);
            }
            if !more {
                return cleared;
            }
        }
    }
}
