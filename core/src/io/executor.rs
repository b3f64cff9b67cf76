//! The tasks of one worker: `!Send` futures, polled in the order in which they were woken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::runtime::Runtime;
use super::slab::Slab;
use super::waker::Packed;

/// Polls of one loop turn before the kernel is asked again, beyond the tasks that were ready at its start.
const EXTRA_POLLS_MAX: usize = 256;

/// The future given to `run`: it lives on `run`'s stack, not among the tasks.
const MAIN: u32 = Packed::TASKS_MAX - 1;

/// Names a task for [`abort`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId(Packed);

type Future_ = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// Absent while it is being polled.
    future: Option<Future_>,
    generation: u32,
    queued: bool,
    aborted: bool,
}

pub(crate) struct Executor {
    id: u16,
    tasks: RefCell<Slab<Task>>,
    generation: Cell<u32>,
    ready: RefCell<VecDeque<Packed>>,
    main_queued: Cell<bool>,
}

/// Starts a task. It is first polled in this turn or the next one, never inside this call.
///
/// # Panics
/// Outside of a runtime.
pub fn spawn(future: impl Future<Output = ()> + 'static) -> TaskId {
    let future = Box::pin(future);
    Runtime::with(|rt| rt.exec.spawn(future))
}

/// Drops a task's future, now or, when it is being polled, right after. An ended task is left alone.
pub fn abort(task: TaskId) {
    let future = Runtime::try_with(|rt| rt.exec.abort(task.0)).flatten();
    drop_future(future);
}

impl Executor {
    pub(super) fn new(id: u16) -> Executor {
        Executor {
            id,
            tasks: RefCell::new(Slab::new()),
            generation: Cell::new(0),
            ready: RefCell::new(VecDeque::new()),
            main_queued: Cell::new(false),
        }
    }

    pub(super) fn main(&self) -> Packed {
        Packed::new(self.id, 0, MAIN)
    }

    pub(super) fn tasks(&self) -> usize {
        self.tasks.borrow().len()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ready.borrow().is_empty()
    }

    pub(super) fn wake(&self, task: Packed) {
        if task.index() == MAIN {
            if !self.main_queued.replace(true) {
                self.ready.borrow_mut().push_back(task);
            }
            return;
        }
        if let Some(entry) = self.tasks.borrow_mut().get_mut(task.index())
            && entry.generation == task.generation()
            && !entry.queued
        {
            entry.queued = true;
            self.ready.borrow_mut().push_back(task);
        }
    }

    pub(super) fn wake_all(&self) {
        let all: Vec<Packed> = self
            .tasks
            .borrow()
            .iter()
            .map(|(key, task)| Packed::new(self.id, task.generation, key))
            .collect();
        all.into_iter().chain([self.main()]).for_each(|task| self.wake(task));
    }

    /// Polls what is ready. `main` is polled in its turn; true when it has finished.
    pub(super) fn run_ready(&self, rt: &Runtime, mut main: impl FnMut(&mut Context<'_>) -> Poll<()>) -> bool {
        let budget = self.ready.borrow().len() + EXTRA_POLLS_MAX;
        for _ in 0..budget {
            let Some(task) = self.ready.borrow_mut().pop_front() else { break };
            if task.index() == MAIN {
                self.main_queued.set(false);
                let waker = task.waker();
                if main(&mut Context::from_waker(&waker)).is_ready() {
                    return true;
                }
            } else {
                self.poll_task(rt, task);
            }
        }
        false
    }

    /// Drops every task, and those that they spawn while being dropped.
    pub(super) fn drop_tasks(&self) {
        loop {
            let keys: Vec<u32> = self.tasks.borrow().keys().collect();
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let task = self.tasks.borrow_mut().remove(key);
                drop_future(task.and_then(|task| task.future));
            }
        }
        self.ready.borrow_mut().clear();
    }

    fn spawn(&self, future: Future_) -> TaskId {
        let generation = self.generation.get().wrapping_add(1) & Packed::GENERATION_MASK;
        self.generation.set(generation);
        let mut tasks = self.tasks.borrow_mut();
        assert!(tasks.len() < MAIN as usize, "a worker has fewer than 2^24 tasks");
        let key = tasks.insert(Task { future: Some(future), generation, queued: true, aborted: false });
        let task = Packed::new(self.id, generation, key);
        self.ready.borrow_mut().push_back(task);
        TaskId(task)
    }

    fn abort(&self, task: Packed) -> Option<Future_> {
        let mut tasks = self.tasks.borrow_mut();
        if task.executor() != self.id {
            return None;
        }
        let entry = tasks.get_mut(task.index()).filter(|entry| entry.generation == task.generation())?;
        if entry.future.is_none() {
            entry.aborted = true;
            return None;
        }
        tasks.remove(task.index()).and_then(|task| task.future)
    }

    fn poll_task(&self, rt: &Runtime, task: Packed) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            let entry = tasks.get_mut(task.index()).filter(|entry| entry.generation == task.generation());
            entry.and_then(|entry| {
                entry.queued = false;
                entry.future.take()
            })
        };
        // It ended or was aborted after it was woken.
        let Some(mut future) = taken else { return };
        let waker = task.waker();
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        if polled.is_err() {
            rt.counters.panics.add(1);
        }
        let mut tasks = self.tasks.borrow_mut();
        match tasks.get_mut(task.index()) {
            Some(entry) if matches!(polled, Ok(Poll::Pending)) && !entry.aborted => {
                entry.future = Some(future)
            }
            _ => {
                tasks.remove(task.index());
                drop(tasks);
                drop_future(Some(future));
            }
        }
    }
}

/// Drops a future; a panic inside is counted and ends there.
fn drop_future(future: Option<Future_>) {
    if future.is_some() && catch_unwind(AssertUnwindSafe(|| drop(future))).is_err() {
        Runtime::try_with(|rt| rt.counters.panics.add(1));
    }
}

#[cfg(test)]
pub(super) const fn task_bytes() -> usize {
    super::slab::entry_bytes::<Task>()
}
