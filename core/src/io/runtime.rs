//! One worker's event loop: tasks, timers, buffers and a driver, reached through a thread-local.
//!
//! **Invariant:** no borrow of a part of the runtime is held while foreign code runs (a future, a waker, a drop),
//! so that such code may call any function of the face.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use super::counters::{Counters, CountersSnapshot};
use super::driver::Backend;
use super::executor::Executor;
#[cfg(any(feature = "monoio", feature = "glommio"))]
use super::guest;
use super::listener::ListenerSlot;
use super::pool::Pool;
use super::slab::Slab;
use super::slot::{RELIEF_INTERVAL, SendState, Slot};
use super::splice::Pipe;
use super::timer::{Clock, Wheel};
use super::waker::{Remote, Woken};
use super::{Driver, RuntimeConfig, socket};

/// Pages of free buffers are given back at most this often.
const TRIM_INTERVAL: Duration = Duration::from_secs(2);

pub(crate) struct Runtime {
    pub(super) id: u16,
    pub(super) exec: Executor,
    pub(super) timers: RefCell<Wheel>,
    pub(super) clock: Clock,
    pub(super) pool: Rc<Pool>,
    pub(super) slots: RefCell<Slab<Slot>>,
    pub(super) listeners: RefCell<Slab<ListenerSlot>>,
    pub(super) vecs: RefCell<Vec<Vec<u8>>>,
    /// Send states without a stream, for reuse.
    #[expect(
        clippy::vec_box,
        reason = "they move between here and the streams; the kernel holds their addresses"
    )]
    pub(super) send_states: RefCell<Vec<Box<SendState>>>,
    /// Empty pipes, for reuse.
    pub(super) pipes: RefCell<Vec<Pipe>>,
    pub(super) counters: Counters,
    pub(super) remote: Arc<Remote>,
    /// What one stream may hold received but undelivered.
    pub(super) connection_bytes_max: u32,
    pub(super) driver: Backend,
    /// Since when receives have waited for a buffer in vain, or when a stream was reset for it.
    pub(super) starved_since: Cell<Option<Instant>>,
    trimmed_at: Cell<Instant>,
    woken: RefCell<Vec<Waker>>,
    /// Who goes on in the next turn.
    next_turn: RefCell<Vec<Waker>>,
}

thread_local! {
    static CURRENT: Cell<*const Runtime> = const { Cell::new(std::ptr::null()) };
}

impl Runtime {
    /// Runs `f` on this thread's runtime.
    ///
    /// # Panics
    /// When there is none.
    #[inline]
    pub(super) fn with<R>(f: impl FnOnce(&Runtime) -> R) -> R {
        Runtime::try_with(f).expect("this is called on a thread that runs core::io::run")
    }

    #[inline]
    pub(super) fn try_with<R>(f: impl FnOnce(&Runtime) -> R) -> Option<R> {
        let current = CURRENT.get();
        // SAFETY: non-null only between `Entered::new` and its drop, during which `run` keeps the runtime alive on this
        // thread's stack; the reference does not leave `f`.
        unsafe { current.as_ref() }.map(f)
    }

    pub(super) fn new(config: &RuntimeConfig) -> io::Result<Runtime> {
        let remote = Remote::register()?;
        let buffers = &config.buffers;
        let pool = Pool::new(buffers.buffer_bytes, buffers.ring_buffers, buffers.worker_bytes_max);
        let driver = Backend::new(config, &pool, &remote).inspect_err(|_| remote.unregister())?;
        let clock = Clock::new();
        Ok(Runtime {
            id: remote.id(),
            exec: Executor::new(remote.id()),
            timers: RefCell::new(Wheel::new()),
            trimmed_at: Cell::new(clock.now()),
            clock,
            pool,
            slots: RefCell::new(Slab::new()),
            listeners: RefCell::new(Slab::new()),
            vecs: RefCell::default(),
            send_states: RefCell::default(),
            pipes: RefCell::default(),
            counters: Counters::default(),
            remote,
            connection_bytes_max: buffers.connection_bytes_max.max(buffers.buffer_bytes),
            driver,
            starved_since: Cell::new(None),
            woken: RefCell::default(),
            next_turn: RefCell::default(),
        })
    }

    /// Turns the loop until `main` is ready.
    fn block_on<F: Future>(&self, main: F) -> F::Output {
        let mut main = pin!(main);
        let mut output = None;
        self.exec.wake(self.exec.main());
        loop {
            let finished = self.exec.run_ready(self, |cx| match main.as_mut().poll(cx) {
                Poll::Ready(value) => {
                    output = Some(value);
                    Poll::Ready(())
                }
                Poll::Pending => Poll::Pending,
            });
            if finished && let Some(output) = output.take() {
                return output;
            }
            self.turn();
        }
    }

    /// Asks the kernel once, waiting until something happens, and wakes whom it concerns.
    fn turn(&self) {
        self.driver.prepare(self);
        let timeout = self.time_to_wait();
        self.driver.turn(self, timeout);
        self.after_turn();
    }

    /// How long the driver may wait for something to happen (`None`: as long as it takes).
    pub(super) fn time_to_wait(&self) -> Option<Duration> {
        let busy = !self.exec.is_idle() || !self.next_turn.borrow().is_empty();
        let mut timeout = if !busy && self.remote.fall_asleep() {
            let next = self.timers.borrow().next();
            next.map(|tick| self.clock.until(tick))
        } else {
            Some(Duration::ZERO)
        };
        if self.driver.is_starved() {
            timeout = Some(timeout.unwrap_or(RELIEF_INTERVAL).min(RELIEF_INTERVAL));
        }
        if self.pool.is_bloated() {
            timeout = Some(timeout.unwrap_or(TRIM_INTERVAL).min(TRIM_INTERVAL));
        }
        timeout
    }

    /// Wakes whom the turn's time and other threads concern.
    pub(super) fn after_turn(&self) {
        self.remote.wake_up();
        self.clock.update();
        self.counters.turns.add(1);
        self.expire_timers();
        self.begin_turn();
        match self.remote.take_woken() {
            Woken::Tasks(tasks) => tasks.into_iter().for_each(|task| self.exec.wake(task)),
            Woken::All => self.exec.wake_all(),
        }
        if self.clock.now().duration_since(self.trimmed_at.get()) > TRIM_INTERVAL && self.pool.is_bloated() {
            self.trimmed_at.set(self.clock.now());
            self.pool.trim();
        }
    }

    fn begin_turn(&self) {
        if !self.next_turn.borrow().is_empty() {
            let waiting = self.next_turn.take();
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn expire_timers(&self) {
        let mut woken = self.woken.take();
        self.timers.borrow_mut().expire(self.clock.tick(), &mut woken);
        woken.drain(..).for_each(Waker::wake);
        self.woken.replace(woken);
    }

    pub(super) fn snapshot(&self) -> CountersSnapshot {
        let mut snapshot = self.counters.snapshot();
        snapshot.tasks = self.exec.tasks() as u64;
        snapshot.streams = self.slots.borrow().len() as u64;
        snapshot.buffers_in_use = u64::from(self.pool.in_use());
        snapshot.buffers_in_use_peak = u64::from(self.pool.in_use_peak());
        snapshot
    }
}

/// Which turn of this thread's loop it is.
///
/// # Panics
/// Outside of a runtime.
pub fn turn() -> u64 {
    Runtime::with(|rt| rt.counters.turns.get())
}

/// Waits until the loop has asked the kernel once more and everything else that is ready had its turn.
pub async fn next_turn() {
    let now = turn();
    poll_fn(|cx| {
        if turn() != now {
            return Poll::Ready(());
        }
        Runtime::with(|rt| rt.next_turn.borrow_mut().push(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}

/// Builds the runtime on this thread and runs it until `main` is ready. Then every task is dropped, every operation
/// is cancelled, and the driver is drained before memory is freed.
///
/// # Errors
/// When the driver cannot be set up, or the thread runs a runtime already.
pub fn run<F: Future>(config: &RuntimeConfig, main: F) -> io::Result<F::Output> {
    if !CURRENT.get().is_null() {
        return Err(io::Error::other("this thread runs a runtime already"));
    }
    if let Some(cpu) = config.cpu {
        socket::pin_thread(cpu)?;
    }
    match config.driver {
        #[cfg(feature = "monoio")]
        Driver::Monoio => return guest::run(config, main, Backend::monoio),
        #[cfg(feature = "glommio")]
        Driver::Glommio => return guest::run(config, main, Backend::glommio),
        Driver::Uring | Driver::Epoll => {}
    }
    let runtime = Runtime::new(config)?;
    let entered = Entered::new(&runtime);
    // The future is dropped inside `block_on`, while the runtime is still entered.
    let output = runtime.block_on(main);
    drop(entered);
    Ok(output)
}

/// While it lives, the thread has a current runtime. Its drop shuts the runtime down, also when `main` panics.
pub(super) struct Entered<'a>(&'a Runtime);

impl<'a> Entered<'a> {
    pub(super) fn new(runtime: &'a Runtime) -> Self {
        CURRENT.set(runtime);
        Entered(runtime)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let rt = self.0;
        rt.exec.drop_tasks();
        rt.driver.shut_down(rt);
        // Wakers and parts may run foreign code when dropped: while the runtime is still entered.
        let slots = rt.slots.take();
        let listeners = rt.listeners.take();
        drop((slots, listeners, rt.vecs.take(), rt.send_states.take()));
        rt.remote.unregister();
        CURRENT.set(std::ptr::null());
    }
}
