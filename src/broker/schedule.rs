//! Tasks of the owner on the shard's thread: once after a time, or again and again.
//!
//! Not in the wheel, which knows no cancellation: a task that is cancelled is gone at once. A task
//! runs with the shard borrowed, like a hook; what it does to the server is a post.

use std::collections::BTreeMap;

use crate::base::{Duration, IdMap, Instant};

use super::shard::Shard;

/// Names a task of one server; given by its owner.
pub type TaskId = u64;

/// Something to do later.
pub struct Task {
    /// From one run to the next; `None`: it runs once.
    pub period: Option<Duration>,
    /// What to do.
    pub run: Box<dyn FnMut() + Send>,
    /// Hears that the task was cancelled before it ended.
    pub cancelled: Option<Box<dyn FnOnce() + Send>>,
}

/// The tasks by their time, and their times by their names.
#[derive(Default)]
pub(super) struct Tasks {
    waiting: BTreeMap<(Instant, TaskId), Task>,
    due: IdMap<TaskId, Instant>,
}

impl Tasks {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    fn insert(&mut self, due: Instant, id: TaskId, task: Task) {
        self.due.insert(id, due);
        self.waiting.insert((due, id), task);
    }

    fn take(&mut self, id: TaskId) -> Option<Task> {
        let due = self.due.remove(&id)?;
        self.waiting.remove(&(due, id))
    }
}

impl Shard {
    /// Runs a task after `delay`. False: too many wait, it is dropped and counted.
    pub fn schedule(&mut self, now: Instant, id: TaskId, delay: Duration, task: Task) -> bool {
        if self.tasks.len() >= self.options.max_scheduled_tasks {
            self.stats.scheduled_tasks_refused += 1;
            self.tell_quota("max_scheduled_tasks");
            return false;
        }
        self.tasks.insert(now + delay, id, task);
        true
    }

    /// A task is not run any more. False: it has ended.
    pub fn cancel(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.take(id) else { return false };
        if let Some(cancelled) = task.cancelled {
            cancelled();
        }
        true
    }

    /// Runs what is due, each task once: one without a delay cannot hold the shard.
    pub(super) fn run_tasks(&mut self, now: Instant) {
        let due: Vec<TaskId> = self.tasks.waiting.range(..=(now, TaskId::MAX)).map(|((_, id), _)| *id).collect();
        for id in due {
            let Some(mut task) = self.tasks.take(id) else { continue };
            (task.run)();
            if let Some(period) = task.period {
                // From now on, not from when it was due: a late run is not made up for by many.
                self.tasks.insert(now + period, id, task);
            }
        }
    }
}
