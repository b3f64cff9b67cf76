//! Wakers: a task's identity packed into one word, so that a waker is free to clone and sound on any thread.
//!
//! On its own thread a wake-up pushes to the ready queue. From another thread it goes through the executor's
//! [`Remote`]: a bounded list and a notification. Nothing here holds an `Rc`.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::task::{RawWaker, RawWakerVTable, Waker};
use std::{io, ptr};

use super::runtime::Runtime;

/// Wake-ups from other threads that are kept apart; beyond them every task is woken.
const INJECTED_MAX: usize = 4096;

const INDEX_BITS: u32 = 24;
const GENERATION_BITS: u32 = 24;

/// A task of some executor: 16 bits of executor, 24 of generation, 24 of index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Packed(u64);

impl Packed {
    /// Tasks of one executor at a time.
    pub(super) const TASKS_MAX: u32 = 1 << INDEX_BITS;
    pub(super) const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

    pub(super) fn new(executor: u16, generation: u32, index: u32) -> Packed {
        Packed(
            u64::from(executor) << (INDEX_BITS + GENERATION_BITS)
                | u64::from(generation & Self::GENERATION_MASK) << INDEX_BITS
                | u64::from(index),
        )
    }

    pub(super) fn executor(self) -> u16 {
        (self.0 >> (INDEX_BITS + GENERATION_BITS)) as u16
    }

    pub(super) fn generation(self) -> u32 {
        (self.0 >> INDEX_BITS) as u32 & Self::GENERATION_MASK
    }

    pub(super) fn index(self) -> u32 {
        self.0 as u32 & (Self::TASKS_MAX - 1)
    }

    pub(super) fn waker(self) -> Waker {
        // SAFETY: the vtable's functions treat the pointer as the integer that it is and are safe on any thread.
        unsafe { Waker::from_raw(raw(ptr::without_provenance(self.0 as usize))) }
    }

    fn wake(self) {
        let local = Runtime::try_with(|rt| {
            let ours = rt.id == self.executor();
            if ours {
                rt.exec.wake(self);
            }
            ours
        });
        if local != Some(true)
            && let Some(remote) = remote(self.executor())
        {
            remote.wake(self);
        }
    }
}

const _: () = assert!(usize::BITS == 64, "a waker packs 64 bits into its pointer");

static VTABLE: RawWakerVTable = RawWakerVTable::new(raw, wake, wake, |_| ());

fn raw(data: *const ()) -> RawWaker {
    RawWaker::new(data, &VTABLE)
}

fn wake(data: *const ()) {
    Packed(data.addr() as u64).wake();
}

/// The side of an executor that other threads see.
pub(crate) struct Remote {
    id: u16,
    injected: Mutex<Injected>,
    /// Something was injected since the executor last looked: spares it the lock when not.
    pending: AtomicBool,
    /// The executor is about to wait in the kernel, or does: it needs a notification.
    asleep: AtomicBool,
    eventfd: OwnedFd,
    /// The executor's ring, for MSG_RING; -1 when it has none.
    ring: AtomicI32,
    /// Written to in place of the eventfd, where a runtime of others waits.
    bell: OnceLock<OwnedFd>,
}

#[derive(Default)]
struct Injected {
    tasks: Vec<Packed>,
    overflowed: bool,
}

/// What other threads woke.
pub(super) enum Woken {
    Tasks(Vec<Packed>),
    /// More than [`INJECTED_MAX`]: wake them all.
    All,
}

static REMOTES: RwLock<Option<HashMap<u16, Arc<Remote>>>> = RwLock::new(None);

impl Remote {
    /// Registers a new executor under an id of its own.
    pub(super) fn register() -> io::Result<Arc<Remote>> {
        let eventfd = super::socket::eventfd()?;
        let mut remotes = REMOTES.write().unwrap_or_else(PoisonError::into_inner);
        let remotes = remotes.get_or_insert_with(HashMap::new);
        static NEXT: AtomicI32 = AtomicI32::new(1);
        let id = (0..u16::MAX)
            .map(|_| NEXT.fetch_add(1, Ordering::Relaxed) as u16)
            .find(|id| !remotes.contains_key(id))
            .ok_or_else(|| io::Error::other("65,535 runtimes are running already"))?;
        let remote = Arc::new(Remote {
            id,
            injected: Mutex::default(),
            pending: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            eventfd,
            ring: AtomicI32::new(-1),
            bell: OnceLock::new(),
        });
        remotes.insert(id, remote.clone());
        Ok(remote)
    }

    pub(super) fn unregister(&self) {
        let mut remotes = REMOTES.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(remotes) = remotes.as_mut() {
            remotes.remove(&self.id);
        }
    }

    pub(super) fn id(&self) -> u16 {
        self.id
    }

    pub(super) fn eventfd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    pub(super) fn ring(&self) -> RawFd {
        self.ring.load(Ordering::Acquire)
    }

    pub(super) fn set_ring(&self, fd: RawFd) {
        self.ring.store(fd, Ordering::Release);
    }

    #[cfg(any(feature = "monoio", feature = "glommio"))]
    pub(super) fn set_bell(&self, bell: OwnedFd) {
        // It is set once, by the driver that is being built.
        let _ = self.bell.set(bell);
    }

    /// Announces that the executor will wait. False when something was injected meanwhile: it must not.
    ///
    /// Sequentially consistent on both sides: either we see what was injected, or its thread sees that we sleep.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.pending.load(Ordering::SeqCst)
    }

    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Release);
    }

    pub(super) fn take_woken(&self) -> Woken {
        if !self.pending.load(Ordering::Acquire) {
            return Woken::Tasks(Vec::new());
        }
        // Before the list is taken: what is added after that raises it again.
        self.pending.store(false, Ordering::SeqCst);
        let mut injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut injected.overflowed) {
            injected.tasks.clear();
            return Woken::All;
        }
        Woken::Tasks(std::mem::take(&mut injected.tasks))
    }

    /// Rings the eventfd: works from any thread.
    pub(super) fn ring_eventfd(&self) {
        let one = 1u64.to_ne_bytes();
        let fd = self.bell.get().unwrap_or(&self.eventfd);
        // SAFETY: eight readable bytes and a descriptor that we own. A full counter (EAGAIN) has woken it already.
        unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn wake(self: &Arc<Self>, task: Packed) {
        {
            let mut injected = self.injected.lock().unwrap_or_else(PoisonError::into_inner);
            if injected.tasks.len() < INJECTED_MAX {
                injected.tasks.push(task);
            } else {
                injected.overflowed = true;
            }
        }
        self.pending.store(true, Ordering::SeqCst);
        if self.asleep.swap(false, Ordering::SeqCst) {
            let by_ring = Runtime::try_with(|rt| rt.driver.message(self)).unwrap_or(false);
            if !by_ring {
                self.ring_eventfd();
            }
        }
    }
}

fn remote(executor: u16) -> Option<Arc<Remote>> {
    REMOTES.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.get(&executor).cloned()
}
