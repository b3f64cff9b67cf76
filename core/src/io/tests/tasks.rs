//! The executor: wakers on other threads, abortion, panics.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use super::*;

#[test]
fn a_waker_works_on_another_thread() {
    each(async || {
        for _ in 0..200 {
            let done = Arc::new(AtomicUsize::new(0));
            let mut started = false;
            poll_fn(|cx| {
                if !started {
                    started = true;
                    let (waker, done) = (cx.waker().clone(), done.clone());
                    std::thread::spawn(move || {
                        done.store(1, Ordering::SeqCst);
                        waker.wake();
                    });
                }
                if done.load(Ordering::SeqCst) == 1 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    });
}

#[test]
fn wake_ups_from_many_threads_are_not_lost() {
    const TASKS: usize = 64;
    const ROUNDS: usize = 2000;
    each(async || {
        let mut random = Random::new();
        let wakers: Arc<Vec<Mutex<Option<Waker>>>> = Arc::new((0..TASKS).map(|_| Mutex::new(None)).collect());
        let counts: Arc<Vec<AtomicUsize>> = Arc::new((0..TASKS).map(|_| AtomicUsize::new(0)).collect());
        let finished = Rc::new(Cell::new(0));
        for i in 0..TASKS {
            let (wakers, counts, finished) = (wakers.clone(), counts.clone(), finished.clone());
            spawn(async move {
                poll_fn(|cx| {
                    *wakers[i].lock().unwrap() = Some(cx.waker().clone());
                    if counts[i].load(Ordering::SeqCst) >= ROUNDS { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                finished.set(finished.get() + 1);
            });
        }
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let (wakers, counts) = (wakers.clone(), counts.clone());
                let mut random = Random(random.next() | 1);
                std::thread::spawn(move || {
                    while counts.iter().any(|count| count.load(Ordering::SeqCst) < ROUNDS) {
                        let i = random.below(TASKS as u64) as usize;
                        counts[i].fetch_add(1, Ordering::SeqCst);
                        if let Some(waker) = wakers[i].lock().unwrap().clone() {
                            waker.wake();
                        }
                    }
                })
            })
            .collect();
        until(|| finished.get() == TASKS).await;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn more_wake_ups_than_are_kept_wake_everyone() {
    each(async || {
        let wakers = Rc::new(RefCell::new(Vec::new()));
        let woken = Rc::new(Cell::new(0));
        const TASKS: usize = 6000;
        for _ in 0..TASKS {
            let (wakers, woken) = (wakers.clone(), woken.clone());
            spawn(async move {
                let mut first = true;
                poll_fn(|cx| {
                    if std::mem::take(&mut first) {
                        wakers.borrow_mut().push(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Poll::Ready(())
                })
                .await;
                woken.set(woken.get() + 1);
            });
        }
        until(|| wakers.borrow().len() == TASKS).await;
        let wakers = wakers.take();
        // Joined at once: all of them arrive while this thread does not turn its loop.
        std::thread::spawn(move || wakers.into_iter().for_each(Waker::wake)).join().unwrap();
        until(|| woken.get() == TASKS).await;
    });
}

/// Tells when it is dropped.
struct Bell(Rc<Cell<u32>>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn an_aborted_task_is_dropped_wherever_it_is() {
    each(async || {
        let rung = Rc::new(Cell::new(0));
        let bell = Bell(rung.clone());
        let waiting = spawn(async move {
            pending::<()>().await;
            drop(bell);
        });
        sleep_until(now()).await;
        abort(waiting);
        assert_eq!(rung.get(), 1);
        abort(waiting);
        let bell = Bell(rung.clone());
        let unpolled = spawn(async move { drop(bell) });
        abort(unpolled);
        assert_eq!(rung.get(), 2);
        let (bell, id) = (Bell(rung.clone()), Rc::new(Cell::new(None)));
        let own = id.clone();
        id.set(Some(spawn(async move {
            abort(own.get().unwrap());
            pending::<()>().await;
            drop(bell);
        })));
        until(|| rung.get() == 3).await;
        // The slot is used again, by a task that the old name does not abort.
        let bell = Bell(rung.clone());
        spawn(async move {
            pending::<()>().await;
            drop(bell);
        });
        abort(waiting);
        abort(id.get().unwrap());
        sleep_until(now()).await;
        assert_eq!(rung.get(), 3);
    });
}

struct PanicOnDrop;

impl Drop for PanicOnDrop {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("expected by a test");
        }
    }
}

#[test]
fn a_panic_ends_its_task_only() {
    each(async || {
        let rung = Rc::new(Cell::new(0));
        let bell = Bell(rung.clone());
        let (a, b) = pair().await;
        spawn(async move {
            let _bell = bell;
            let _stream = a;
            sleep_until(now()).await;
            panic!("expected by a test");
        });
        until(|| rung.get() == 1).await;
        assert_eq!(counters().panics, 1);
        assert!(b.recv().await.unwrap().is_empty(), "the panicked task's stream is closed");
        let on_drop = spawn(async {
            let _bomb = PanicOnDrop;
            pending::<()>().await;
        });
        sleep_until(now()).await;
        abort(on_drop);
        assert_eq!(counters().panics, 2);
        spawn(async { drop(PanicOnDrop) });
        until(|| counters().panics == 3).await;
    });
}

#[test]
fn tasks_spawned_while_the_runtime_ends_are_dropped_too() {
    struct Spawner(Rc<Cell<u32>>);
    impl Drop for Spawner {
        fn drop(&mut self) {
            let bell = Bell(self.0.clone());
            spawn(async move { drop(bell) });
        }
    }
    for driver in DRIVERS {
        let rung = Rc::new(Cell::new(0));
        run(&small(driver), async {
            let spawner = Spawner(rung.clone());
            spawn(async move {
                pending::<()>().await;
                drop(spawner);
            });
        })
        .unwrap();
        assert_eq!(rung.get(), 1);
    }
}

#[test]
fn a_busy_task_does_not_starve_the_kernel() {
    each(async || {
        let stop = Rc::new(Cell::new(false));
        let seen = stop.clone();
        spawn(poll_fn(move |cx| {
            if seen.get() {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let (a, b) = pair().await;
        a.send(&b"through"[..]).unwrap();
        assert_eq!(recv_exact(&b, 7).await, b"through");
        stop.set(true);
    });
}

#[test]
fn one_runtime_per_thread() {
    each(async || {
        assert!(run(&RuntimeConfig::default(), async {}).is_err());
    });
}

#[test]
fn who_waits_for_the_next_turn_goes_on_after_all_that_is_ready() {
    each(async || {
        let seen = Rc::new(RefCell::new(Vec::new()));
        for name in ["first", "second"] {
            let seen = seen.clone();
            spawn(async move {
                seen.borrow_mut().push(name);
                next_turn().await;
                seen.borrow_mut().push("again");
            });
        }
        let before = turn();
        next_turn().await;
        assert_eq!(turn(), before + 1);
        next_turn().await;
        assert_eq!(*seen.borrow(), ["first", "second", "again", "again"]);
    });
}
