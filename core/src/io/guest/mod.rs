//! Drivers over runtimes of others (cargo features `monoio` and `glommio`): experimental, for comparison.
//!
//! The foreign runtime owns the thread and the kernel interface. Our executor, with its timers, is its main future, and each
//! stream is two foreign tasks that move bytes between the socket and our slot: one receives, one sends.
//!
//! What they deliberately do not do: give descriptors up (no borrowing between workers), splice, or wake by MSG_RING.
//!
//! **Invariant:** a buffer that the foreign runtime's operation refers to is owned by that operation, which owns it until its
//! last completion. [`Shared::alive`] counts these buffers and the tasks, and the runtime ends when there are none.

mod buffers;
#[cfg(feature = "glommio")]
pub(super) mod glommio;
#[cfg(feature = "monoio")]
pub(super) mod monoio;
mod tasks;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use self::buffers::{Batch, Buffer};
use super::pool::Pool;
use super::runtime::{Entered, Runtime};
use super::slot::{self, Slot, flag};
use super::socket::{self, SockAddr};
use super::waker::Remote;
use super::{Address, RuntimeConfig};

/// How long the end waits for the foreign runtime to let go of our memory; then the memory is leaked.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Both directions of a connected socket of the foreign runtime, which owns the descriptor.
struct Opened<H: Host> {
    reader: H::Reader,
    writer: H::Writer,
}

/// What is asked of a foreign runtime. Dropping a future cancels its operation.
pub(super) trait Host: 'static {
    type Reader: 'static;
    type Writer: 'static;
    type Listener: 'static;

    /// Builds the foreign runtime on this thread and runs `future` on it.
    fn block_on<T>(config: &RuntimeConfig, future: impl Future<Output = T>) -> io::Result<T>;
    fn spawn(future: impl Future<Output = ()> + 'static);
    fn sleep(time: Duration) -> Pin<Box<dyn Future<Output = ()>>>;
    /// Lets the foreign runtime look at its I/O once.
    fn yield_now() -> impl Future<Output = ()>;
    fn open(fd: OwnedFd) -> io::Result<(Self::Reader, Self::Writer)>;
    fn connect(
        to: Address,
    ) -> impl Future<Output = io::Result<(RawFd, Self::Reader, Self::Writer)>> + 'static;
    fn listen(fd: OwnedFd) -> io::Result<Self::Listener>;
    fn accept(listener: &Self::Listener) -> impl Future<Output = io::Result<OwnedFd>>;
    fn recv(reader: &mut Self::Reader, buffer: Buffer) -> impl Future<Output = (io::Result<usize>, Buffer)>;
    fn send(writer: &mut Self::Writer, batch: Batch) -> impl Future<Output = (io::Result<usize>, Batch)>;
}

/// What the foreign tasks of a stream or listener are told.
#[derive(Default)]
pub(super) struct Gate {
    /// The stream is gone: the tasks end.
    closed: Cell<bool>,
    /// The foreign runtime owns the descriptor.
    opened: Cell<bool>,
    receiving: Cell<bool>,
    sending: Cell<bool>,
    receiver: RefCell<Option<Waker>>,
    sender: RefCell<Option<Waker>>,
}

impl Gate {
    fn start_receiving(&self) {
        self.receiving.set(true);
        wake(&self.receiver);
    }

    fn start_sending(&self) {
        self.sending.set(true);
        wake(&self.sender);
    }

    fn close(&self) {
        self.closed.set(true);
        wake(&self.receiver);
        wake(&self.sender);
    }
}

fn wake(waker: &RefCell<Option<Waker>>) {
    let waker = waker.borrow_mut().take();
    waker.into_iter().for_each(Waker::wake);
}

/// What the driver and its tasks share.
struct Shared {
    pool: Rc<Pool>,
    /// Foreign tasks, and buffers that operations may refer to.
    alive: Cell<usize>,
    /// The main future, while it waits.
    main: RefCell<Option<Waker>>,
    /// Another thread wants attention, or what the main future waits for has changed.
    rung: Cell<bool>,
    /// Streams whose receive found no buffer.
    starved: RefCell<Vec<(u32, Rc<Gate>)>>,
    listeners: RefCell<HashMap<u32, Rc<Gate>>>,
    /// Of the task that listens for other threads.
    bell: Rc<Gate>,
}

impl Shared {
    /// Ends the main future's wait if there is something to do for it.
    fn notify(&self, rt: &Runtime) {
        if !rt.exec.is_idle() {
            wake(&self.main);
        }
    }

    fn ring(&self) {
        self.rung.set(true);
        wake(&self.main);
    }
}

pub(crate) struct Guest<H> {
    shared: Rc<Shared>,
    host: PhantomData<H>,
}

impl<H: Host> Guest<H> {
    /// Inside of the foreign runtime only.
    pub(super) fn new(pool: &Rc<Pool>, remote: &Arc<Remote>) -> io::Result<Self> {
        let shared = Rc::new(Shared {
            pool: pool.clone(),
            alive: Cell::new(0),
            main: RefCell::default(),
            rung: Cell::new(false),
            starved: RefCell::default(),
            listeners: RefCell::default(),
            bell: Rc::default(),
        });
        // Instead of the eventfd: both runtimes can wait for a socket, and not for just any descriptor.
        let (ours, theirs) = UnixStream::pair()?;
        theirs.set_nonblocking(true)?;
        remote.set_bell(theirs.into());
        tasks::listen_for_bell::<H>(&shared, H::open(ours.into())?.0);
        Ok(Guest { shared, host: PhantomData })
    }

    pub(super) fn prepare(&self, rt: &Runtime) {
        if !self.is_starved() || !(rt.pool.has_free() || slot::relieve_memory(rt)) {
            return;
        }
        rt.starved_since.set(None);
        for (key, gate) in self.shared.starved.take() {
            let mut slots = rt.slots.borrow_mut();
            if gate.closed.get() {
                continue;
            }
            if let Some(slot) = slots.get_mut(key).filter(|slot| slot.has(flag::RECV_STARVED)) {
                slot.clear(flag::RECV_STARVED);
                slot.set(flag::RECV_ARMED);
                gate.start_receiving();
            }
        }
    }

    pub(super) fn is_starved(&self) -> bool {
        !self.shared.starved.borrow().is_empty()
    }

    pub(super) fn connect(&self, rt: &Runtime, key: u32, to: &SockAddr) -> io::Result<()> {
        let to = to.address().ok_or(io::ErrorKind::InvalidInput)?;
        let mut slots = rt.slots.borrow_mut();
        let slot = slots.get_mut(key).ok_or(io::ErrorKind::NotConnected)?;
        slot.set(flag::CONNECTING);
        let gate = slot.rare().gate.insert(Rc::default()).clone();
        drop(slots);
        tasks::connect::<H>(&self.shared, key, gate, to);
        Ok(())
    }

    pub(super) fn arm_recv(&self, key: u32, slot: &mut Slot) {
        slot.set(flag::RECV_ARMED);
        match self.gate(key, slot) {
            Ok(gate) => gate.start_receiving(),
            Err(error) => slot.recv_error = tasks::errno(&error),
        }
    }

    pub(super) fn start_send(&self, rt: &Runtime, key: u32, slot: &mut Slot) -> Option<Waker> {
        match self.gate(key, slot) {
            Ok(gate) => {
                slot.set(flag::SEND_BUSY);
                gate.start_sending();
                None
            }
            Err(error) => slot.on_send_error(rt, tasks::errno(&error)),
        }
    }

    pub(super) fn close(&self, slot: &mut Slot) -> bool {
        let gate = slot.rare.as_mut().and_then(|rare| rare.gate.take());
        let fd = std::mem::replace(&mut slot.fd, -1);
        if let Some(gate) = &gate {
            gate.close();
        }
        if fd >= 0 && !gate.is_some_and(|gate| gate.opened.get()) {
            socket::close(fd);
        }
        true
    }

    pub(super) fn arm_accept(&self, rt: &Runtime, key: u32) {
        let mut listeners = rt.listeners.borrow_mut();
        let Some(listener) = listeners.get_mut(key).filter(|listener| !listener.armed) else { return };
        listener.armed = true;
        if let Some(gate) = self.shared.listeners.borrow().get(&key) {
            gate.start_receiving();
            return;
        }
        let fd = listener.fd;
        drop(listeners);
        // A second descriptor: the foreign runtime wants one of its own.
        match socket::duplicate(fd).and_then(H::listen) {
            Ok(listener) => {
                let gate = Rc::new(Gate::default());
                gate.receiving.set(true);
                self.shared.listeners.borrow_mut().insert(key, gate.clone());
                tasks::accept::<H>(&self.shared, key, gate, listener);
            }
            Err(error) => {
                super::listener::on_accept_error(rt, key, tasks::errno(&error));
            }
        }
    }

    pub(super) fn close_listener(&self, key: u32) -> bool {
        if let Some(gate) = self.shared.listeners.borrow_mut().remove(&key) {
            gate.close();
        }
        true
    }

    /// Closes everything that is left; see [`run`] for what follows.
    pub(super) fn shut_down(&self, rt: &Runtime) {
        for (_, slot) in rt.slots.borrow_mut().iter_mut() {
            self.close(slot);
        }
        for (_, gate) in self.shared.listeners.take() {
            gate.close();
        }
        self.shared.bell.close();
    }

    /// The stream's gate; the first call gives its descriptor to the foreign runtime.
    fn gate(&self, key: u32, slot: &mut Slot) -> io::Result<Rc<Gate>> {
        if let Some(gate) = slot.rare.as_ref().and_then(|rare| rare.gate.clone()) {
            return Ok(gate);
        }
        // SAFETY: the slot owned the descriptor; the gate, opened, says that it no longer does.
        let fd = unsafe { OwnedFd::from_raw_fd(slot.fd) };
        let (reader, writer) = H::open(fd).inspect_err(|_| slot.fd = -1)?;
        let gate = slot.rare().gate.insert(Rc::default()).clone();
        tasks::serve::<H>(&self.shared, key, &gate, Opened { reader, writer });
        Ok(gate)
    }

    /// Turns the loop until `main` is ready or panics.
    async fn block_on<F: Future>(&self, rt: &Runtime, main: F) -> std::thread::Result<F::Output> {
        let mut main = pin!(main);
        let mut output = None;
        let mut sleep = None;
        rt.exec.wake(rt.exec.main());
        loop {
            let finished = rt.exec.run_ready(rt, |cx| {
                // The foreign runtime would not drop what panicked, our runtime with it.
                match catch_unwind(AssertUnwindSafe(|| main.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => return Poll::Pending,
                    Ok(Poll::Ready(value)) => output = Some(Ok(value)),
                    Err(panic) => output = Some(Err(panic)),
                }
                Poll::Ready(())
            });
            if finished && let Some(output) = output.take() {
                return output;
            }
            self.prepare(rt);
            match rt.time_to_wait() {
                Some(Duration::ZERO) => H::yield_now().await,
                time => self.wait(rt, time, &mut sleep).await,
            }
            rt.after_turn();
        }
    }

    /// Waits until our executor has something to do, up to `time`. `sleep` is kept from one wait to the next: a turn
    /// that does not bring an earlier deadline asks the foreign runtime for no timer.
    async fn wait(&self, rt: &Runtime, time: Option<Duration>, sleep: &mut Option<Sleep>) {
        if let Some(time) = time {
            let at = Instant::now() + time;
            if sleep.as_ref().is_none_or(|sleep| sleep.at > at) {
                *sleep = Some(Sleep { at, future: H::sleep(time) });
            }
        }
        poll_fn(|cx| {
            if !rt.exec.is_idle() || self.shared.rung.replace(false) {
                return Poll::Ready(());
            }
            if sleep.as_mut().is_some_and(|sleep| sleep.future.as_mut().poll(cx).is_ready()) {
                *sleep = None;
                return Poll::Ready(());
            }
            self.shared.main.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
        self.shared.main.take();
    }

    /// Waits until no operation of the foreign runtime refers to memory of ours.
    async fn drain(&self) {
        let started = Instant::now();
        while self.shared.alive.get() > 0 {
            if started.elapsed() > DRAIN_MAX {
                std::mem::forget(Rc::clone(&self.shared.pool));
                return;
            }
            H::sleep(Duration::from_millis(1)).await;
        }
    }
}

struct Sleep {
    at: Instant,
    future: Pin<Box<dyn Future<Output = ()>>>,
}

/// [`super::run`] on a foreign runtime; `guest` finds the driver in the runtime.
pub(super) fn run<H: Host, F: Future>(
    config: &RuntimeConfig,
    main: F,
    guest: fn(&Runtime) -> Option<&Guest<H>>,
) -> io::Result<F::Output> {
    let output = H::block_on(config, async {
        let runtime = Runtime::new(config)?;
        let entered = Entered::new(&runtime);
        let Some(guest) = guest(&runtime) else { return Err(io::Error::from(io::ErrorKind::Unsupported)) };
        let output = guest.block_on(&runtime, main).await;
        runtime.exec.drop_tasks();
        guest.shut_down(&runtime);
        guest.drain().await;
        drop(entered);
        Ok(output)
    })??;
    output.or_else(|panic| std::panic::resume_unwind(panic))
}
