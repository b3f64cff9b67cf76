//! Waiting for a slot of a `concurrency_limit`, first come, first served over all workers.
//!
//! Slots are atomic numbers; as long as nobody waits nothing else is touched. Who has to wait stands in a queue of the
//! process, of which there is one for each limit that is waited for at the moment.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ringway_policies::concurrency_limit::{Slots, Wanted};

/// Queues by the address of the slots that they wait for, which stay where they are while a queue holds them.
static QUEUES: LazyLock<Mutex<HashMap<usize, VecDeque<Entry>>>> = LazyLock::new(Mutex::default);

struct Entry {
    waiter: Arc<Waiter>,
    wanted: Wanted,
}

struct Waiter {
    /// The slot has been taken for it.
    granted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A slot in use: given back when dropped.
pub(super) struct Slot(Arc<Slots>);

impl Slot {
    /// Takes a slot at once. Who comes while others wait has to wait, too.
    pub(super) fn try_take(wanted: &Wanted) -> Option<Slot> {
        let free = !wanted.slots.is_waited_for() && wanted.slots.try_take(wanted.limit);
        free.then(|| Slot(Arc::clone(&wanted.slots)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.0.give_back() {
            hand_on(&self.0, &mut lock(&QUEUES));
        }
    }
}

/// A place in a queue: given up when dropped.
pub(super) struct Waiting {
    waiter: Arc<Waiter>,
    slots: Arc<Slots>,
    done: bool,
}

impl Waiting {
    /// `None`: the queue is full.
    pub(super) fn begin(wanted: &Wanted) -> Option<Waiting> {
        if !wanted.slots.try_wait(wanted.queue) {
            return None;
        }
        let waiter = Arc::new(Waiter { granted: AtomicBool::new(false), waker: Mutex::new(None) });
        let mut queues = lock(&QUEUES);
        let entry = Entry { waiter: Arc::clone(&waiter), wanted: wanted.clone() };
        queues.entry(key(&wanted.slots)).or_default().push_back(entry);
        // A slot that was given back before `try_wait` was seen has been handed to nobody.
        hand_on(&wanted.slots, &mut queues);
        Some(Waiting { waiter, slots: Arc::clone(&wanted.slots), done: false })
    }

    /// Ready when a slot has been handed over.
    pub(super) fn poll_slot(&mut self, cx: &Context<'_>) -> Poll<Slot> {
        lock(&self.waiter.waker).replace(cx.waker().clone());
        if self.waiter.granted.load(SeqCst) {
            self.done = true;
            return Poll::Ready(Slot(Arc::clone(&self.slots)));
        }
        Poll::Pending
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut queues = lock(&QUEUES);
        if self.waiter.granted.load(SeqCst) {
            // It came too late for this one.
            drop(queues);
            drop(Slot(Arc::clone(&self.slots)));
            return;
        }
        if let Some(queue) = queues.get_mut(&key(&self.slots)) {
            queue.retain(|entry| !Arc::ptr_eq(&entry.waiter, &self.waiter));
            if queue.is_empty() {
                queues.remove(&key(&self.slots));
            }
        }
        self.slots.stop_waiting();
        // Where the limit of this one was smaller than that of the next, the next may go on.
        hand_on(&self.slots, &mut queues);
    }
}

type Queues = HashMap<usize, VecDeque<Entry>>;

/// Hands free slots to those who wait, in their order.
fn hand_on(slots: &Arc<Slots>, queues: &mut Queues) {
    let Some(queue) = queues.get_mut(&key(slots)) else { return };
    while let Some(first) = queue.front() {
        if !slots.try_take(first.wanted.limit) {
            return;
        }
        first.waiter.granted.store(true, SeqCst);
        slots.stop_waiting();
        let waker = lock(&first.waiter.waker).take();
        queue.pop_front();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
    queues.remove(&key(slots));
}

fn key(slots: &Arc<Slots>) -> usize {
    Arc::as_ptr(slots).addr()
}

/// A thread that panics here has at worst forgotten somebody, who then runs into a timeout.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wanted(limit: u64, queue: u64) -> Wanted {
        Wanted { slots: Arc::default(), limit, queue, timeout: Duration::from_secs(1) }
    }

    fn is_ready(waiting: &mut Waiting) -> Option<Slot> {
        match waiting.poll_slot(&Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Some(slot),
            Poll::Pending => None,
        }
    }

    #[test]
    fn slots_go_to_those_who_wait_in_their_order() {
        let wanted = wanted(1, 2);
        let slot = Slot::try_take(&wanted).expect("a slot");
        assert!(Slot::try_take(&wanted).is_none());
        let mut first = Waiting::begin(&wanted).expect("a place");
        let mut second = Waiting::begin(&wanted).expect("a place");
        assert!(Waiting::begin(&wanted).is_none(), "the queue is full");
        assert!(is_ready(&mut first).is_none());
        drop(slot);
        assert!(is_ready(&mut second).is_none());
        let slot = is_ready(&mut first).expect("the slot");
        assert!(Slot::try_take(&wanted).is_none(), "others wait");
        drop((slot, first));
        drop(is_ready(&mut second).expect("the slot"));
        assert!(Slot::try_take(&wanted).is_some());
    }

    #[test]
    fn who_gives_up_leaves_nothing_behind() {
        let wanted = wanted(1, 8);
        let slot = Slot::try_take(&wanted).expect("a slot");
        let first = Waiting::begin(&wanted).expect("a place");
        let mut second = Waiting::begin(&wanted).expect("a place");
        drop(first);
        let third = Waiting::begin(&wanted).expect("a place");
        drop(slot);
        // The slot has been handed to the second, who goes away without having noticed.
        drop(third);
        assert!(wanted.slots.in_use() == 1 && !wanted.slots.is_waited_for());
        drop(is_ready(&mut second));
        assert_eq!(wanted.slots.in_use(), 0);
        let slot = Slot::try_take(&wanted).expect("a slot");
        let unnoticed = Waiting::begin(&wanted).expect("a place");
        drop(slot);
        drop(unnoticed);
        assert_eq!(wanted.slots.in_use(), 0);
        assert!(!lock(&QUEUES).contains_key(&key(&wanted.slots)));
    }

    #[test]
    fn threads_that_wait_all_get_their_turn() {
        let wanted = wanted(2, 64);
        let most = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let slot = Slot::try_take(&wanted).unwrap_or_else(|| {
                            let mut waiting = Waiting::begin(&wanted).expect("a place");
                            loop {
                                match is_ready(&mut waiting) {
                                    Some(slot) => return slot,
                                    None => std::thread::yield_now(),
                                }
                            }
                        });
                        most.fetch_max(wanted.slots.in_use(), SeqCst);
                        drop(slot);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(wanted.slots.in_use(), 0);
    }
}
