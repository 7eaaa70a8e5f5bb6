//! Functions of the application that run later, on the thread that runs its callbacks.
//!
//! The table is shared: whoever cancels takes the task out under the lock, so that a task that was
//! cancelled will not run, and one that runs was not cancelled. It is never locked while a task
//! runs or is dropped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::{IdMap, Instant};

/// Tasks that wait at one time, with and without a delay.
pub const TASKS_MAX: usize = 65_536;

/// A function of the application.
pub type Task = Box<dyn FnOnce() + Send>;

/// Names a task of one runtime; never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TaskId(pub u64);

/// What waits.
#[derive(Default)]
pub(super) struct Tasks(Mutex<Table>);

#[derive(Default)]
struct Table {
    /// With the time it is due, if that is not now.
    waiting: IdMap<u64, (Option<Instant>, Task)>,
    /// Those that are not due yet.
    timed: BTreeSet<(Instant, TaskId)>,
    last: u64,
    refused: u64,
}

impl Tasks {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a task in; `None` for `due`: the caller sees to it. `Err`: there are too many, and
    /// the task comes back.
    pub fn insert(&self, due: Option<Instant>, task: Task) -> Result<TaskId, Task> {
        let mut table = self.lock();
        if table.waiting.len() >= TASKS_MAX {
            table.refused += 1;
            return Err(task);
        }
        table.last += 1;
        let id = TaskId(table.last);
        table.waiting.insert(id.0, (due, task));
        if let Some(due) = due {
            table.timed.insert((due, id));
        }
        Ok(id)
    }

    /// Takes a task out: to run it, or to drop it.
    pub fn take(&self, id: TaskId) -> Option<Task> {
        let mut table = self.lock();
        let (due, task) = table.waiting.remove(&id.0)?;
        if let Some(due) = due {
            table.timed.remove(&(due, id));
        }
        Some(task)
    }

    /// Runs a task that was taken in, unless it was cancelled meanwhile.
    pub fn runner(self: &Arc<Self>, id: TaskId) -> Task {
        let tasks = self.clone();
        Box::new(move || {
            if let Some(task) = tasks.take(id) {
                task();
            }
        })
    }

    /// When the next one is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.lock().timed.first().map(|(due, _)| *due)
    }

    /// Names those that are due, in their order, and forgets their times.
    pub fn due(&self, now: Instant) -> Vec<TaskId> {
        let mut table = self.lock();
        let later = table.timed.split_off(&(now, TaskId(u64::MAX)));
        let due = core::mem::replace(&mut table.timed, later);
        due.into_iter().map(|(_, id)| id).collect()
    }

    /// How many wait, and how many were refused because too many did.
    pub fn levels(&self) -> (usize, u64) {
        let table = self.lock();
        (table.waiting.len(), table.refused)
    }

    /// Everything that waits will not run.
    pub fn clear(&self) -> Vec<Task> {
        let mut table = self.lock();
        table.timed.clear();
        core::mem::take(&mut table.waiting).into_values().map(|(_, task)| task).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_in_the_order_of_their_times() {
        let tasks = Tasks::default();
        let at = Instant::from_micros;
        let second = tasks.insert(Some(at(20)), Box::new(|| {})).ok().expect("room");
        let first = tasks.insert(Some(at(10)), Box::new(|| {})).ok().expect("room");
        let third = tasks.insert(Some(at(20)), Box::new(|| {})).ok().expect("room");
        assert_eq!(tasks.deadline(), Some(at(10)));
        assert_eq!(tasks.due(at(9)), []);
        assert_eq!(tasks.due(at(20)), [first, second, third]);
        assert_eq!(tasks.deadline(), None);
        assert!(tasks.take(first).is_some());
        assert!(tasks.take(first).is_none());
    }

    #[test]
    fn a_cancelled_task_is_due_no_more() {
        let tasks = Tasks::default();
        let id = tasks.insert(Some(Instant::from_micros(10)), Box::new(|| {})).ok().expect("room");
        assert!(tasks.take(id).is_some());
        assert_eq!(tasks.deadline(), None);
        assert_eq!(tasks.levels(), (0, 0));
    }

    #[test]
    fn one_task_too_many_comes_back() {
        let tasks = Tasks::default();
        for _ in 0..TASKS_MAX {
            assert!(tasks.insert(None, Box::new(|| {})).is_ok());
        }
        assert!(tasks.insert(None, Box::new(|| {})).is_err());
        assert_eq!(tasks.levels(), (TASKS_MAX, 1));
        assert_eq!(tasks.clear().len(), TASKS_MAX);
    }
}
