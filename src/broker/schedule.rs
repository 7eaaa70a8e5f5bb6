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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, RwLock};

    use super::*;
    use crate::base::{Budget, Rng};
    use crate::broker::Options;
    use crate::route::{self, Router};

    fn shard(max_scheduled_tasks: usize) -> Shard {
        let mut rng = Rng::with_seed(1);
        let router = Arc::new(RwLock::new(Router::new(route::Options::default(), rng.fork())));
        let options = Options { max_scheduled_tasks, ..Options::default() };
        Shard::new(0, options, router, Budget::new(1 << 20), rng, None)
    }

    fn task(ran: &Arc<Mutex<Vec<u64>>>, id: u64, period_ms: Option<u64>) -> Task {
        let ran = ran.clone();
        Task { period: period_ms.map(Duration::from_millis), run: Box::new(move || ran.lock().expect("no panic").push(id)), cancelled: None }
    }

    #[test]
    fn tasks_run_when_they_are_due_and_again_by_their_period() {
        let (mut shard, ran) = (shard(10), Arc::default());
        let at = |ms| Instant::START + Duration::from_millis(ms);
        assert!(shard.schedule(at(0), 1, Duration::from_millis(30), task(&ran, 1, None)));
        assert!(shard.schedule(at(0), 2, Duration::from_millis(20), task(&ran, 2, Some(10))));
        assert!(shard.schedule(at(0), 3, Duration::from_millis(25), task(&ran, 3, None)));
        assert_eq!(shard.poll_timeout(), Some(at(20)));
        assert!(shard.cancel(3) && !shard.cancel(3));
        for now in [19, 20, 30, 31, 45] {
            shard.handle_timeout(at(now));
        }
        assert_eq!(*ran.lock().expect("no panic"), [2, 1, 2, 2]);
        assert_eq!(shard.stats().scheduled_tasks, 1);
    }

    #[test]
    fn max_scheduled_tasks_refuses_one_more() {
        let (mut shard, ran) = (shard(1), Arc::default());
        assert!(shard.schedule(Instant::START, 1, Duration::from_secs(1), task(&ran, 1, None)));
        assert!(!shard.schedule(Instant::START, 2, Duration::ZERO, task(&ran, 2, None)));
        assert_eq!(shard.stats().scheduled_tasks_refused, 1);
        assert!(shard.cancel(1));
        assert!(shard.schedule(Instant::START, 3, Duration::ZERO, task(&ran, 3, None)));
    }
}
