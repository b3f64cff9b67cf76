//! Large bodies from socket to socket through a pipe, by splice(2): the bytes never enter user space.
//!
//! Never `IORING_OP_SPLICE`, which runs on the kernel's worker threads. No call here may block: whether splice(2) waits for a
//! socket depends on the socket's O_NONBLOCK only, so that is set meanwhile. Ring operations on such a socket return EAGAIN
//! where they would wait; the io_uring driver copes (a receive is armed again afterwards, a send polls for room).

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::task::{Poll, Waker};

use super::error::{ended, errno_error};
use super::runtime::Runtime;
use super::slot::flag;
use super::socket::{self, cvt};
use super::{Chunk, Stream};

/// What a pipe is asked to hold: a 128 KiB body goes through in one pass, and 64 pipes stay within the default
/// `pipe-user-pages-soft` of 64 MiB.
const PIPE_BYTES: usize = 256 * 1024;

/// Empty pipes kept for reuse by one worker.
const PIPES_MAX: usize = 16;

/// Bytes moved before other tasks get their turn.
const TURN_BYTES: u64 = 1 << 20;

/// Why a body was not moved whole, by whose fault it is.
#[derive(Debug)]
pub enum SpliceError {
    /// The sending side ended before the body did.
    Truncated,
    /// The sending side failed.
    From(io::Error),
    /// The receiving side failed.
    To(io::Error),
    /// No pipe was to be had; nothing was moved, and the body may be relayed otherwise.
    NoPipe(io::Error),
}

impl fmt::Display for SpliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpliceError::Truncated => f.write_str("the sender ended before its body did"),
            SpliceError::From(error) => write!(f, "the sender failed: {error}"),
            SpliceError::To(error) => write!(f, "the receiver failed: {error}"),
            SpliceError::NoPipe(error) => write!(f, "no pipe for splicing: {error}"),
        }
    }
}

impl std::error::Error for SpliceError {}

/// Moves the next `bytes` bytes of `from` to `to`, behind what was given to `to` before. What `from` had received already goes
/// first; bytes beyond the body stay queued in `from`.
///
/// `moved` grows as `to`'s kernel accepts bytes: the caller watches it for progress, and interrupts by dropping the future
/// (a deadline around it, say). Then, and after an error, both connections are in mid-body and must be closed.
/// Meanwhile nothing else may be sent to `to` nor received from `from`.
///
/// # Errors
/// See [`SpliceError`].
pub async fn splice_body(
    from: &Stream,
    to: &Stream,
    bytes: u64,
    moved: &Cell<u64>,
) -> Result<(), SpliceError> {
    if !from.slot(true, |rt, _| rt.driver.moves_descriptors()) {
        return Err(SpliceError::NoPipe(io::ErrorKind::Unsupported.into()));
    }
    let mut pipe = Pipe::take().map_err(SpliceError::NoPipe)?;
    from.stop_recv().await;
    let mut left = bytes - send_received(from, to, bytes)?;
    to.sent().await.map_err(SpliceError::To)?;
    moved.set(moved.get() + (bytes - left));
    if left > 0 {
        if from.slot(true, |_, slot| slot.has(flag::EOF) || slot.recv_error != 0) {
            return Err(ended_early(from));
        }
        let _restore = Nonblocking::set(from, to)?;
        pump(&mut pipe, from, to, &mut left, moved).await?;
    }
    pipe.give_back();
    Ok(())
}

/// Sends on what `from` had received before its receive ended. Returns how many bytes of the body that was.
fn send_received(from: &Stream, to: &Stream, bytes: u64) -> Result<u64, SpliceError> {
    let mut sent = 0;
    while sent < bytes {
        let Some(mut chunk) = from.slot(None, |_, slot| slot.pop()) else { break };
        let wanted = usize::try_from(bytes - sent).unwrap_or(usize::MAX);
        if chunk.len() > wanted {
            let body: Chunk = chunk.split_to(wanted);
            from.slot((), |_, slot| slot.push_front(std::mem::take(&mut chunk)));
            chunk = body;
        }
        sent += chunk.len() as u64;
        to.send(chunk).map_err(SpliceError::To)?;
    }
    Ok(sent)
}

async fn pump(
    pipe: &mut Pipe,
    from: &Stream,
    to: &Stream,
    left: &mut u64,
    moved: &Cell<u64>,
) -> Result<(), SpliceError> {
    let (source, sink) = (from.fd().map_err(SpliceError::From)?, to.fd().map_err(SpliceError::To)?);
    let mut turn = 0;
    while *left > 0 || pipe.held > 0 {
        let mut filled = 0;
        if *left > 0 && pipe.held < pipe.capacity {
            let room = (pipe.capacity - pipe.held).min(usize::try_from(*left).unwrap_or(usize::MAX));
            match splice(source, pipe.write.as_raw_fd(), room) {
                Ok(0) => return Err(ended_early(from)),
                Ok(n) => filled = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => not_ready(from, flag::READABLE),
                Err(error) => return Err(SpliceError::From(error)),
            }
            pipe.held += filled;
            *left -= filled as u64;
        }
        let mut drained = 0;
        if pipe.held > 0 {
            match splice(pipe.read.as_raw_fd(), sink, pipe.held) {
                Ok(n) => drained = n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => not_ready(to, flag::WRITABLE),
                Err(error) => return Err(SpliceError::To(error)),
            }
            pipe.held -= drained;
            moved.set(moved.get() + drained as u64);
            count(drained);
        }
        turn += drained as u64;
        if turn >= TURN_BYTES {
            turn = 0;
            yield_now().await;
        } else if pipe.held > 0 && drained == 0 {
            // The pipe's own space may be short of pages although not of bytes: then, too, only the sink helps.
            ready(to, libc::POLLOUT as u32).await;
        } else if pipe.held == 0 && filled == 0 && *left > 0 {
            ready(from, (libc::POLLIN | libc::POLLRDHUP) as u32).await;
        }
    }
    Ok(())
}

/// The sender's end: the driver may have noticed the reset before we did.
fn ended_early(from: &Stream) -> SpliceError {
    match from.slot(0, |_, slot| slot.recv_error) {
        0 => SpliceError::Truncated,
        errno => SpliceError::From(errno_error(errno)),
    }
}

/// Moves up to `len` bytes; one end is a pipe. Never blocks: both sockets and the pipe are non-blocking.
fn splice(from: RawFd, to: RawFd, len: usize) -> io::Result<usize> {
    loop {
        // SAFETY: null offsets, as sockets and pipes want; no other pointers.
        let n = unsafe {
            libc::splice(
                from,
                ptr::null_mut(),
                to,
                ptr::null_mut(),
                len,
                libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
            )
        };
        match usize::try_from(n) {
            Ok(n) => return Ok(n),
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Waits until the socket may be ready; whoever asks tries again.
async fn ready(stream: &Stream, events: u32) {
    let mut asked = false;
    poll_fn(|cx| {
        stream.slot(Poll::Ready(()), |rt, slot| {
            if let Some(result) = slot.rare.as_mut().and_then(|rare| rare.poll_result.take())
                && asked
                && result != -libc::ECANCELED
            {
                return Poll::Ready(());
            }
            // A poll that an interrupted splice left behind ends first.
            if !slot.has(flag::POLLING) {
                asked = true;
                rt.driver.poll_ready(stream.key(), slot, events);
                if slot.rare().poll_result.take().is_some() {
                    return Poll::Ready(());
                }
            }
            slot.rare().poll_waker = Some(cx.waker().clone());
            Poll::Pending
        })
    })
    .await;
}

fn not_ready(stream: &Stream, what: u32) {
    stream.slot((), |_, slot| slot.clear(what));
}

fn count(bytes: usize) {
    Runtime::try_with(|rt| rt.counters.spliced_bytes.add(bytes as u64));
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// While it lives, both sockets are non-blocking.
struct Nonblocking<'a> {
    streams: [&'a Stream; 2],
}

impl<'a> Nonblocking<'a> {
    fn set(from: &'a Stream, to: &'a Stream) -> Result<Self, SpliceError> {
        let guard = Nonblocking { streams: [from, to] };
        from.fd().and_then(|fd| socket::set_nonblocking(fd, true)).map_err(SpliceError::From)?;
        to.fd().and_then(|fd| socket::set_nonblocking(fd, true)).map_err(SpliceError::To)?;
        guard.streams.iter().for_each(|stream| stream.slot((), |_, slot| slot.set(flag::SPLICING)));
        Ok(guard)
    }
}

impl Drop for Nonblocking<'_> {
    fn drop(&mut self) {
        for stream in self.streams {
            let waker: Option<Waker> = stream.slot(None, |rt, slot| {
                slot.clear(flag::SPLICING);
                if rt.driver.prepare_fd(slot.fd).is_err() {
                    slot.recv_error = libc::EIO;
                }
                rt.driver.cancel_poll(stream.key(), slot);
                // A receive that could not be armed meanwhile is armed when its task asks again.
                slot.recv_waker.take()
            });
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

/// A non-blocking pipe. Dropped, it is closed: what it held belonged to a broken connection.
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    capacity: usize,
    held: usize,
}

impl Pipe {
    fn take() -> io::Result<Pipe> {
        let kept = Runtime::try_with(|rt| rt.pipes.borrow_mut().pop()).ok_or_else(ended)?;
        kept.map_or_else(Pipe::new, Ok)
    }

    fn new() -> io::Result<Pipe> {
        let mut ends = [0; 2];
        // SAFETY: two descriptors are written.
        cvt(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        // SAFETY: fresh descriptors that nobody else owns.
        let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // Refused beyond the user's quota of pipe pages: then it is as large as it is.
        // SAFETY: F_SETPIPE_SZ takes an int.
        unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, PIPE_BYTES as libc::c_int) };
        // SAFETY: F_GETPIPE_SZ takes nothing.
        let capacity = cvt(unsafe { libc::fcntl(write.as_raw_fd(), libc::F_GETPIPE_SZ) })? as usize;
        Ok(Pipe { read, write, capacity, held: 0 })
    }

    fn give_back(self) {
        Runtime::try_with(|rt| {
            let mut pipes = rt.pipes.borrow_mut();
            if self.held == 0 && pipes.len() < PIPES_MAX {
                pipes.push(self);
            }
        });
    }
}
