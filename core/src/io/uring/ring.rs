//! The ring itself: set-up, the one entry into the kernel per turn, and the queues.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::{IoUring, cqueue, squeue, types};

use super::ops;

/// Completions copied out of the queue at a time.
pub(super) const BATCH: usize = 64;

/// Tries to submit before the ring counts as broken.
const SUBMIT_ATTEMPTS_MAX: u32 = 100_000;

const IORING_ENTER_GETEVENTS: u32 = 1;
const IORING_ENTER_EXT_ARG: u32 = 1 << 3;
const IORING_ENTER_REGISTERED_RING: u32 = 1 << 4;
const IORING_REGISTER_RING_FDS: u32 = 20;

/// The part of a completion that we use.
#[derive(Clone, Copy, Default)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

pub(super) struct Ring {
    ring: RefCell<IoUring>,
    fd: RawFd,
    /// The ring's index among this thread's registered rings, where that worked: spares a look-up per entry.
    enter_fd: i32,
    enter_flags: u32,
    no_sqarray: bool,
    min_wait: bool,
    sq_full: Cell<u64>,
    /// Completions taken out of turn, to make room.
    stash: RefCell<VecDeque<Completion>>,
}

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_len: u32,
    min_wait_usec: u32,
    timespec: u64,
}

impl Ring {
    /// A ring that only this thread submits to, and whose task work runs only when we enter to wait.
    pub(super) fn new(entries: u32) -> io::Result<Ring> {
        let entries = entries.clamp(8, 4096).next_power_of_two();
        let build = |no_sqarray: bool| {
            let mut builder = IoUring::builder();
            builder
                .dontfork()
                .setup_single_issuer()
                .setup_defer_taskrun()
                .setup_coop_taskrun()
                .setup_submit_all()
                .setup_clamp()
                .setup_cqsize(entries * 4);
            if no_sqarray {
                builder.setup_no_sqarray();
            }
            builder.build(entries)
        };
        // NO_SQARRAY came with 6.6; an older kernel says EINVAL.
        let (ring, no_sqarray) = match build(true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (build(false)?, false),
            result => (result?, true),
        };
        let fd = ring.as_raw_fd();
        let registered = register_ring_fd(fd);
        Ok(Ring {
            fd,
            enter_fd: registered.unwrap_or(fd),
            enter_flags: if registered.is_some() { IORING_ENTER_REGISTERED_RING } else { 0 },
            no_sqarray,
            min_wait: ring.params().is_feature_min_timeout(),
            ring: RefCell::new(ring),
            sq_full: Cell::new(0),
            stash: RefCell::default(),
        })
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    pub(super) fn with<R>(&self, f: impl FnOnce(&IoUring) -> R) -> R {
        f(&self.ring.borrow())
    }

    /// Registers a provided-buffer ring of `len` entries.
    ///
    /// # Safety
    /// The entries stay mapped for as long as the ring lives.
    pub(super) unsafe fn register_buffers(&self, entries: u64, len: u16, group: u16) -> io::Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.ring.borrow().submitter().register_buf_ring_with_flags(entries, len, group, 0) }
    }

    /// Whether a multishot receive may be given a limit: asked with one that cannot start.
    pub(super) fn has_recv_limit(&self) -> bool {
        // SAFETY: the entry points to nothing.
        unsafe { self.push(&ops::recv_up_to(-1, 0, 1)) };
        self.enter_and_wait(Some(Duration::from_secs(1)), 1, 0);
        let mut batch = [Completion::default(); BATCH];
        let n = self.reap(&mut batch);
        // An older kernel looks at the unknown field first and says EINVAL.
        batch[..n].iter().any(|completion| completion.result == -libc::EBADF)
    }

    /// What makes things cheaper and is not there.
    pub(super) fn optional_missing(&self) -> Vec<&'static str> {
        [
            ("IORING_SETUP_NO_SQARRAY (Linux 6.6)", self.no_sqarray),
            ("IORING_REGISTER_RING_FDS (Linux 5.18)", self.enter_flags != 0),
            ("IORING_FEAT_MIN_TIMEOUT (Linux 6.12)", self.min_wait),
            ("limits of multishot receives (Linux 6.17)", self.has_recv_limit()),
        ]
        .into_iter()
        .filter_map(|(name, present)| (!present).then_some(name))
        .collect()
    }

    pub(super) fn sq_full(&self) -> u64 {
        self.sq_full.take()
    }

    /// Queues an operation. When the queue is full, it is submitted first, without waiting.
    ///
    /// # Safety
    /// Everything that the entry points to stays valid until the operation's last completion.
    #[inline]
    pub(super) unsafe fn push(&self, entry: &squeue::Entry) {
        // SAFETY: the caller's promise.
        if unsafe { self.ring.borrow_mut().submission().push(entry) }.is_ok() {
            return;
        }
        for _ in 0..SUBMIT_ATTEMPTS_MAX {
            self.make_room();
            // SAFETY: the caller's promise.
            if unsafe { self.ring.borrow_mut().submission().push(entry) }.is_ok() {
                return;
            }
        }
        // The kernel takes no operations any more: without a ring this worker is dead, and a dead worker ends the process.
        panic!("io_uring_enter refuses to submit");
    }

    /// Submits in mid-turn.
    #[cold]
    fn make_room(&self) {
        self.sq_full.set(self.sq_full.get() + 1);
        let len = self.ring.borrow_mut().submission().len() as u32;
        // SAFETY: `enter` gets no argument.
        let result = unsafe { self.enter(len, 0, 0, std::ptr::null(), 0) };
        if matches!(result, Err(error) if error.raw_os_error() != Some(libc::EINTR)) {
            // EBUSY: completions overflowed, and older kernels want them taken before they submit more.
            let mut batch = [Completion::default(); BATCH];
            loop {
                let n = self.take(&mut batch);
                self.stash.borrow_mut().extend(&batch[..n]);
                if n < BATCH {
                    break;
                }
            }
            // SAFETY: as above.
            let _ = unsafe { self.enter(len, 0, IORING_ENTER_GETEVENTS, std::ptr::null(), 0) };
        }
    }

    /// Submits what is queued, runs the kernel's deferred work and waits for completions, up to `timeout`.
    /// True when the completion queue had overflown.
    pub(super) fn enter_and_wait(&self, timeout: Option<Duration>, wait_nr: u32, min_wait_usec: u32) -> bool {
        let (submit, overflown) = {
            let mut ring = self.ring.borrow_mut();
            let queue = ring.submission();
            (queue.len() as u32, queue.cq_overflow())
        };
        let timespec = types::Timespec::from(timeout.unwrap_or_default());
        let arg = GetEventsArg {
            sigmask: 0,
            sigmask_len: 0,
            min_wait_usec: if self.min_wait && wait_nr > 1 { min_wait_usec } else { 0 },
            timespec: if timeout.is_some() { (&raw const timespec) as u64 } else { 0 },
        };
        let wait = if timeout == Some(Duration::ZERO) || overflown || !self.stash.borrow().is_empty() {
            0
        } else {
            wait_nr.max(1)
        };
        // SAFETY: the argument and the timespec it points to live on this stack until the call returns.
        let result = unsafe {
            self.enter(
                submit,
                wait,
                IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
                (&raw const arg).cast(),
                size_of::<GetEventsArg>(),
            )
        };
        // ETIME: the timeout. EINTR: a signal. EBUSY, EAGAIN: completions must be taken first. All are the loop's next turn.
        let _ = result;
        overflown
    }

    /// Copies completions out. Returns how many; fewer than [`BATCH`] means that there are no more.
    pub(super) fn reap(&self, batch: &mut [Completion; BATCH]) -> usize {
        let mut stash = self.stash.borrow_mut();
        if stash.is_empty() {
            drop(stash);
            return self.take(batch);
        }
        let n = stash.len().min(BATCH);
        batch.iter_mut().zip(stash.drain(..n)).for_each(|(slot, completion)| *slot = completion);
        drop(stash);
        // A batch that is not full would end the caller's loop with the queue unread.
        if n < BATCH { n + self.take(&mut batch[n..]) } else { n }
    }

    fn take(&self, batch: &mut [Completion]) -> usize {
        let mut ring = self.ring.borrow_mut();
        let mut n = 0;
        let mut queue = ring.completion();
        for slot in batch {
            let Some(entry) = queue.next() else { break };
            *slot = Completion { user_data: entry.user_data(), result: entry.result(), flags: entry.flags() };
            n += 1;
        }
        n
    }

    /// # Safety
    /// `arg` is null, or points to what `flags` say for as long as the call takes.
    unsafe fn enter(
        &self,
        submit: u32,
        wait: u32,
        flags: u32,
        arg: *const libc::c_void,
        len: usize,
    ) -> io::Result<u32> {
        // SAFETY: the ring's descriptor (or its registered index) and the caller's promise.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                submit,
                wait,
                flags | self.enter_flags,
                arg,
                len,
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as u32) }
    }
}

pub(super) use cqueue::{buffer_select, more};

fn register_ring_fd(fd: RawFd) -> Option<i32> {
    #[repr(C)]
    struct Update {
        offset: u32,
        resv: u32,
        data: u64,
    }
    let mut update = Update { offset: u32::MAX, resv: 0, data: fd as u64 };
    // SAFETY: one io_uring_rsrc_update, which the kernel reads and writes during the call.
    let result = unsafe {
        libc::syscall(libc::SYS_io_uring_register, fd, IORING_REGISTER_RING_FDS, &raw mut update, 1)
    };
    (result == 1).then_some(update.offset as i32)
}
