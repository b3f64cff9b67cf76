//! monoio: operations on io_uring that own their buffers.

use std::cell::UnsafeCell;
use std::io;
use std::net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut, IoVecBuf};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use monoio::{IoUringDriver, RuntimeBuilder};

use super::buffers::{Batch, Buffer};
use super::{Host, RuntimeConfig};
use crate::io::{Address, socket};

pub(in crate::io) struct Monoio;

/// One direction of a stream. monoio's own halves shut the write side down when they drop, which would put a FIN before
/// a reset.
pub(in crate::io) struct Half(Rc<UnsafeCell<TcpStream>>);

pub(in crate::io) enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Host for Monoio {
    type Reader = Half;
    type Writer = Half;
    type Listener = Listening;

    fn block_on<T>(config: &RuntimeConfig, future: impl Future<Output = T>) -> io::Result<T> {
        let builder = RuntimeBuilder::<IoUringDriver>::new().with_entries(config.ring_entries.max(256));
        Ok(builder.enable_timer().build()?.block_on(future))
    }

    fn spawn(future: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(future));
    }

    fn sleep(time: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(monoio::time::sleep(time))
    }

    /// Waits for a task behind all that are ready: one that wakes itself goes in front of them in monoio 0.2. The main
    /// future must be a task for this (feature `sync`): otherwise it would be polled before any I/O is looked at.
    async fn yield_now() {
        monoio::spawn(async {}).await;
    }

    /// A UNIX socket goes as a TcpStream, too: the operations are the same.
    fn open(fd: OwnedFd) -> io::Result<(Half, Half)> {
        let stream = Rc::new(UnsafeCell::new(TcpStream::from_std(StdTcpStream::from(fd))?));
        Ok((Half(stream.clone()), Half(stream)))
    }

    async fn connect(to: Address) -> io::Result<(RawFd, Half, Half)> {
        let fd = match to {
            Address::Tcp(to) => TcpStream::connect_addr(to).await?.into_raw_fd(),
            Address::Unix(path) => UnixStream::connect(path).await?.into_raw_fd(),
        };
        // SAFETY: the stream just gave its descriptor up.
        let (reader, writer) = Monoio::open(unsafe { OwnedFd::from_raw_fd(fd) })?;
        Ok((fd, reader, writer))
    }

    fn listen(fd: OwnedFd) -> io::Result<Listening> {
        Ok(match socket::local_address(fd.as_raw_fd())? {
            Address::Tcp(_) => Listening::Tcp(TcpListener::from_std(StdTcpListener::from(fd))?),
            Address::Unix(_) => Listening::Unix(UnixListener::from_std(StdUnixListener::from(fd))?),
        })
    }

    async fn accept(listener: &Listening) -> io::Result<OwnedFd> {
        let fd = match listener {
            Listening::Tcp(listener) => listener.accept().await?.0.into_raw_fd(),
            Listening::Unix(listener) => listener.accept().await?.0.into_raw_fd(),
        };
        // SAFETY: the stream just gave its descriptor up.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    async fn recv(reader: &mut Half, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        // SAFETY: a stream is `Split`: a read and a write may run side by side, and each half does one of them only.
        unsafe { &mut *reader.0.get() }.read(buffer).await
    }

    async fn send(writer: &mut Half, batch: Batch) -> (io::Result<usize>, Batch) {
        // SAFETY: as in `recv`.
        let stream = unsafe { &mut *writer.0.get() };
        if batch.parts().len() == 1 { stream.write(batch).await } else { stream.writev(batch).await }
    }
}

// SAFETY: a buffer's memory belongs to the pool, which the buffer keeps alive, and does not move with the value.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.base()
    }

    fn bytes_total(&mut self) -> usize {
        self.capacity()
    }

    unsafe fn set_init(&mut self, _len: usize) {
        // The length comes with the operation's result.
    }
}

// SAFETY: the first part is owned by the batch, on the heap, and not written to.
unsafe impl IoBuf for Batch {
    fn read_ptr(&self) -> *const u8 {
        self.parts().first().map_or(std::ptr::null(), |part| part.as_ptr())
    }

    fn bytes_init(&self) -> usize {
        self.parts().first().map_or(0, |part| part.len())
    }
}

// SAFETY: the iovecs are on the heap and describe the batch's parts, which it owns.
unsafe impl IoVecBuf for Batch {
    fn read_iovec_ptr(&self) -> *const libc::iovec {
        self.iovecs.as_ptr()
    }

    fn read_iovec_len(&self) -> usize {
        self.iovecs.len()
    }
}
