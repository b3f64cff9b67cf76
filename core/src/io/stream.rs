//! `Stream`: a TCP or UNIX stream socket of one worker.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};

use super::error::{ended, errno_error};
use super::runtime::Runtime;
use super::slot::{Slot, flag};
use super::socket::{self, SockAddr};
use super::{Address, Chunk, Part, Parts};

/// A connected stream socket. Dropping it cancels what is under way and closes it. Bytes that were not
/// [`sent`](Stream::sent) by then are lost, and the peer sees a reset instead of an end: half a message must not
/// look like a whole one.
pub struct Stream {
    key: u32,
    runtime: u16,
    not_send: PhantomData<*const ()>,
}

/// Why [`Stream::into_fd`] gave no descriptor: something had arrived, or was still to be sent. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotIdle;

impl fmt::Display for NotIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was not idle and is closed")
    }
}

impl std::error::Error for NotIdle {}

impl Stream {
    /// Connects. TCP_NODELAY is set. Dropping the future gives up and closes.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2).
    pub async fn connect(to: &Address) -> io::Result<Stream> {
        let name = SockAddr::new(to)?;
        let stream = Runtime::with(|rt| {
            let fd = socket::stream_socket(name.family(), rt.driver.socket_flags())?;
            if name.family() != libc::AF_UNIX {
                socket::no_delay(fd.as_raw_fd());
            }
            Ok::<_, io::Error>(Stream::adopt(rt, fd))
        })?;
        stream.with(|rt| rt.driver.connect(rt, stream.key, name))??;
        poll_fn(|cx| {
            stream.slot(Poll::Ready(Err(ended())), |_, slot| {
                if slot.has(flag::CONNECTING) {
                    slot.wait_recv(cx);
                    return Poll::Pending;
                }
                match slot.send_error {
                    0 => Poll::Ready(Ok(())),
                    errno => Poll::Ready(Err(errno_error(errno))),
                }
            })
        })
        .await?;
        Ok(stream)
    }

    /// Adopts a connected socket, with TCP_NODELAY where it is TCP.
    ///
    /// # Errors
    /// Those of fcntl(2).
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        socket::no_delay(fd.as_raw_fd());
        Runtime::with(|rt| {
            rt.driver.prepare_fd(fd.as_raw_fd())?;
            Ok(Stream::adopt(rt, fd))
        })
    }

    /// Adopts what a [`super::Listener`] of the same driver accepted on a socket of [`super::bind`], without a system call:
    /// such sockets have their options already.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn from_accepted(fd: OwnedFd) -> Stream {
        Runtime::with(|rt| {
            if !rt.driver.accepts_prepared() {
                // A failure shows with the first operation.
                let _ = rt.driver.prepare_fd(fd.as_raw_fd());
            }
            Stream::adopt(rt, fd)
        })
    }

    /// Received bytes; the empty chunk at the end of the stream, again and again. The first call arms the receive.
    /// An error is delivered after the bytes that came before it.
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        self.with(|rt| {
            let mut slots = rt.slots.borrow_mut();
            let Some(slot) = slots.get_mut(self.key) else { return Poll::Ready(Err(ended())) };
            let chunk = slot.pop();
            if chunk.is_none() {
                if slot.recv_error != 0 {
                    return Poll::Ready(Err(errno_error(slot.recv_error)));
                }
                if slot.has(flag::EOF) {
                    return Poll::Ready(Ok(Chunk::empty()));
                }
                slot.wait_recv(cx);
            }
            if wants_recv(rt, slot) {
                rt.driver.arm_recv(rt, self.key, slot);
                // epoll may have received at once.
                if chunk.is_none()
                    && let Some(chunk) = slot.pop()
                {
                    return Poll::Ready(Ok(chunk));
                }
                if chunk.is_none() && !slot.is_empty() {
                    cx.waker().wake_by_ref();
                }
            }
            chunk.map_or(Poll::Pending, |chunk| Poll::Ready(Ok(chunk)))
        })
        .unwrap_or_else(|error| Poll::Ready(Err(error)))
    }

    /// Arms the receive before anybody waits for it, so that [`Stream::is_quiet`] can say something.
    pub fn arm(&self) {
        self.slot((), |rt, slot| {
            if wants_recv(rt, slot) {
                rt.driver.arm_recv(rt, self.key, slot);
            }
        });
    }

    /// See [`Stream::poll_recv`]. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of recv(2); see also [`super::is_memory_reset`].
    pub async fn recv(&self) -> io::Result<Chunk> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Ready when the receive side has failed (a reset by the peer). Bytes and a FIN do not make it ready. Arms the
    /// receive, which is what notices; what arrives is queued, up to the stream's bound.
    pub fn poll_reset(&self, cx: &Context<'_>) -> Poll<io::Error> {
        self.slot(Poll::Ready(ended()), |rt, slot| {
            if wants_recv(rt, slot) {
                rt.driver.arm_recv(rt, self.key, slot);
            }
            slot.poll_reset(cx)
        })
    }

    /// Whether the connection is open, its receive is armed, nothing has arrived and nothing is being sent:
    /// an idle pooled connection may then be used.
    pub fn is_quiet(&self) -> bool {
        self.slot(false, |_, slot| {
            slot.is_empty()
                && slot.send_error == 0
                && slot.unsent() == 0
                && slot.has(flag::RECV_ARMED)
                && !slot.has(flag::RECV_CANCELLED | flag::SHUT | flag::HANGUP | flag::CONNECTING)
        })
    }

    /// Hands bytes over for sending, in order, without waiting. Several parts go out in one operation, and what is
    /// queued while one is under way is gathered into the next.
    ///
    /// # Errors
    /// When an earlier send failed, or the write side was shut down.
    pub fn send(&self, parts: impl Into<Parts>) -> io::Result<()> {
        let parts = parts.into();
        self.with(|rt| {
            let mut slots = rt.slots.borrow_mut();
            let slot = slots.get_mut(self.key).ok_or_else(ended)?;
            if slot.send_error != 0 {
                return Err(errno_error(slot.send_error));
            }
            if slot.has(flag::SHUT | flag::SHUT_WANTED) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if slot.enqueue(rt, self.key, parts) && !slot.has(flag::SEND_BUSY | flag::SEND_LISTED) {
                let waker = rt.driver.start_send(rt, self.key, slot);
                drop(slots);
                waker.into_iter().for_each(Waker::wake);
            }
            Ok(())
        })?
    }

    /// Like [`Stream::send`], for any number of pieces. The list is empty afterwards.
    ///
    /// # Errors
    /// As [`Stream::send`]; the pieces are dropped.
    pub fn send_all(&self, parts: &mut VecDeque<Part>) -> io::Result<()> {
        let result = self.with(|rt| {
            let mut slots = rt.slots.borrow_mut();
            let slot = slots.get_mut(self.key).ok_or_else(ended)?;
            if slot.send_error != 0 {
                return Err(errno_error(slot.send_error));
            }
            if slot.has(flag::SHUT | flag::SHUT_WANTED) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            if slot.enqueue_all(rt, self.key, parts) && !slot.has(flag::SEND_BUSY | flag::SEND_LISTED) {
                let waker = rt.driver.start_send(rt, self.key, slot);
                drop(slots);
                waker.into_iter().for_each(Waker::wake);
            }
            Ok(())
        });
        // Under no borrow: a piece may be the last reference to its buffer.
        parts.clear();
        result?
    }

    /// Bytes given to [`Stream::send`] that the kernel has not accepted yet.
    pub fn unsent(&self) -> usize {
        self.slot(0, |_, slot| slot.unsent())
    }

    /// Waits until the kernel accepted everything.
    ///
    /// # Errors
    /// That of the failed send.
    pub async fn sent(&self) -> io::Result<()> {
        poll_fn(|cx| self.poll_sent(cx)).await
    }

    /// See [`Stream::sent`].
    pub fn poll_sent(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(cx, 0)
    }

    /// Ready once at most `bytes_max` bytes are unsent. One task waits at a time.
    pub fn poll_room(&self, cx: &Context<'_>, bytes_max: usize) -> Poll<io::Result<()>> {
        self.slot(Poll::Ready(Err(ended())), |_, slot| slot.poll_room(cx, bytes_max))
    }

    /// Bytes that the kernel accepted and the peer has not acknowledged (SIOCOUTQ).
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn outq(&self) -> io::Result<u32> {
        self.fd().and_then(socket::outq)
    }

    /// Bytes given to [`Stream::send`] that the peer has not acknowledged: falls exactly when the reader makes progress.
    pub fn outstanding(&self) -> u64 {
        self.unsent() as u64 + self.outq().map_or(0, u64::from)
    }

    /// Ends the write side (FIN) after everything queued was sent.
    pub fn shutdown_write(&self) {
        self.slot((), |_, slot| {
            if slot.has(flag::SHUT) {
                return;
            }
            slot.set(flag::SHUT_WANTED);
            if slot.unsent() == 0 {
                finish_shutdown(slot);
            }
        });
    }

    /// Makes the close send RST and drop what is unsent (SO_LINGER 0).
    pub fn reset_on_close(&self) {
        if let Ok(fd) = self.fd() {
            socket::linger_zero(fd);
        }
    }

    /// Ends the receive and gives the descriptor up, for another worker to adopt.
    ///
    /// # Errors
    /// When a byte, a FIN or an error had arrived, or something was unsent: the connection is closed.
    pub async fn into_fd(self) -> Result<OwnedFd, NotIdle> {
        if !self.slot(false, |rt, _| rt.driver.moves_descriptors()) {
            return Err(NotIdle);
        }
        self.stop_recv().await;
        self.slot(Err(NotIdle), |rt, slot| {
            if !slot.is_empty() || slot.send_error != 0 || slot.unsent() > 0 || slot.pending > 0 {
                return Err(NotIdle);
            }
            // What came too late to be delivered here is still in the socket.
            if !socket::is_silent(slot.fd) {
                return Err(NotIdle);
            }
            rt.driver.release(slot);
            // SAFETY: the slot owned the descriptor and forgets it here; its drop then has nothing to close.
            Ok(unsafe { OwnedFd::from_raw_fd(std::mem::replace(&mut slot.fd, -1)) })
        })
    }

    /// # Errors
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.fd().and_then(socket::peer_address)
    }

    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<Address> {
        self.fd().and_then(socket::local_address)
    }

    /// Asks the receive to end and waits until it did; what it delivered stays queued. Bytes that have not arrived by
    /// then stay in the socket.
    pub(super) async fn stop_recv(&self) {
        poll_fn(|cx| {
            self.slot(Poll::Ready(()), |rt, slot| {
                slot.clear(flag::RECV_STARVED);
                if !slot.has(flag::RECV_ARMED) || !rt.driver.cancel_recv(self.key, slot) {
                    return Poll::Ready(());
                }
                slot.wait_recv(cx);
                Poll::Pending
            })
        })
        .await;
    }

    fn adopt(rt: &Runtime, fd: OwnedFd) -> Stream {
        let key = rt.slots.borrow_mut().insert(Slot::new(fd.into_raw_fd()));
        Stream { key, runtime: rt.id, not_send: PhantomData }
    }

    pub(super) fn key(&self) -> u32 {
        self.key
    }

    pub(super) fn fd(&self) -> io::Result<RawFd> {
        self.slot(Err(ended()), |_, slot| Ok(slot.fd))
    }

    fn with<R>(&self, f: impl FnOnce(&Runtime) -> R) -> io::Result<R> {
        Runtime::try_with(|rt| (rt.id == self.runtime).then(|| f(rt))).flatten().ok_or_else(ended)
    }

    /// Runs `f` on the slot, or returns `gone` when the runtime has ended.
    pub(super) fn slot<R>(&self, gone: R, f: impl FnOnce(&Runtime, &mut Slot) -> R) -> R {
        self.with(|rt| rt.slots.borrow_mut().get_mut(self.key).map(|slot| f(rt, slot)))
            .ok()
            .flatten()
            .unwrap_or(gone)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.with(|rt| {
            let contents = {
                let mut slots = rt.slots.borrow_mut();
                let Some(slot) = slots.get_mut(self.key) else { return };
                slot.clear(flag::HANDLE);
                if slot.unsent() > 0 {
                    // What was sent would pass for everything.
                    socket::linger_zero(slot.fd);
                }
                let contents = slot.take_contents();
                if rt.driver.close(slot)
                    && let Some(slot) = slots.remove(self.key)
                {
                    drop(slots);
                    retire(rt, slot);
                }
                contents
            };
            drop(contents);
        });
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({})", self.key)
    }
}

/// Wakes every task of this worker that waits in [`Stream::poll_recv`].
pub fn wake_receivers() {
    let wakers: Vec<Waker> = Runtime::with(|rt| {
        rt.slots.borrow_mut().iter_mut().filter_map(|(_, slot)| slot.recv_waker.take()).collect()
    });
    wakers.into_iter().for_each(Waker::wake);
}

/// Whether a receive is to be armed: it is not, and was never paused, or drained enough since.
#[inline]
fn wants_recv(rt: &Runtime, slot: &mut Slot) -> bool {
    if slot.has(flag::RECV_ARMED | flag::RECV_STARVED)
        || slot.has(flag::EOF | flag::CONNECTING | flag::SPLICING)
        || slot.recv_error != 0
    {
        return false;
    }
    if slot.has(flag::PAUSED) {
        if !slot.is_drained(rt.connection_bytes_max) {
            return false;
        }
        slot.clear(flag::PAUSED);
    }
    true
}

/// Shuts the write side down: everything was sent.
pub(super) fn finish_shutdown(slot: &mut Slot) {
    slot.clear(flag::SHUT_WANTED);
    slot.set(flag::SHUT);
    socket::shutdown(slot.fd, libc::SHUT_WR);
}

/// The end of a slot: its send state goes back for reuse.
pub(super) fn retire(rt: &Runtime, mut slot: Slot) {
    drop(slot.on_send_error(rt, libc::EPIPE));
    drop(slot);
}
