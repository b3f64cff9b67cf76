//! glommio: non-blocking calls, and its ring tells when they are worth trying.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use glommio::{GlommioError, LocalExecutorBuilder, Placement};

use super::buffers::{Batch, Buffer};
use super::{Host, RuntimeConfig};
use crate::io::runtime::Runtime;
use crate::io::socket::SockAddr;
use crate::io::{Address, socket};

/// Locked memory for buffers of file I/O, of which there is none; the default of 10 MiB is more than the usual limit of
/// 8 MiB on locked memory.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// Several parts up to this size are copied together: glommio sends one slice at a time.
const COPY_BYTES_MAX: usize = 64 << 10;

pub(in crate::io) struct Glommio;

/// Borrowed for the time of a poll only.
type Shared = Rc<RefCell<TcpStream>>;

pub(in crate::io) struct Writer {
    stream: Shared,
    copy: Vec<u8>,
}

impl Host for Glommio {
    type Reader = Shared;
    type Writer = Writer;
    type Listener = TcpListener;

    fn block_on<T>(config: &RuntimeConfig, future: impl Future<Output = T>) -> io::Result<T> {
        // The thread is bound to its CPU already.
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(config.ring_entries.max(128) as usize)
            .make()
            .map_err(io_error)?;
        Ok(executor.run(future))
    }

    fn spawn(future: impl Future<Output = ()> + 'static) {
        drop(glommio::spawn_local(future).detach());
    }

    fn sleep(time: Duration) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(glommio::timer::sleep(time))
    }

    async fn yield_now() {
        glommio::executor().yield_task_queue_now().await;
    }

    /// A UNIX socket goes as a TcpStream, too: the calls are the same.
    fn open(fd: OwnedFd) -> io::Result<(Shared, Writer)> {
        // SAFETY: the descriptor is given up to the stream.
        let stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
        Ok(halves(stream))
    }

    async fn connect(to: Address) -> io::Result<(RawFd, Shared, Writer)> {
        let stream = match to {
            Address::Tcp(to) => TcpStream::connect(to).await.map_err(io_error)?,
            Address::Unix(_) => {
                let name = SockAddr::new(&to)?;
                // glommio's UnixStream hides its descriptor; this call does not wait: it succeeds or fails at once.
                let fd = socket::stream_socket(libc::AF_UNIX, libc::SOCK_NONBLOCK)?;
                // SAFETY: the name points to `len` initialised bytes.
                socket::cvt(unsafe { libc::connect(fd.as_raw_fd(), name.as_ptr(), name.len) })?;
                // SAFETY: the descriptor is given up to the stream.
                unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) }
            }
        };
        let fd = stream.as_raw_fd();
        let (reader, writer) = halves(stream);
        Ok((fd, reader, writer))
    }

    fn listen(fd: OwnedFd) -> io::Result<TcpListener> {
        // SAFETY: the descriptor is given up to the listener.
        Ok(unsafe { TcpListener::from_raw_fd(fd.into_raw_fd()) })
    }

    async fn accept(listener: &TcpListener) -> io::Result<OwnedFd> {
        let stream = listener.shared_accept().await.map_err(io_error)?.bind_to_executor();
        // A stream of glommio's does not give its descriptor up. Without a second one its drop refuses the connection.
        socket::duplicate(stream.as_raw_fd()).inspect_err(|_| {
            Runtime::try_with(|rt| rt.counters.accept_refused.add(1));
        })
    }

    async fn recv(reader: &mut Shared, buffer: Buffer) -> (io::Result<usize>, Buffer) {
        // SAFETY: the buffer is ours alone; its memory was mapped zeroed, so all of it is initialised.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.base(), buffer.capacity()) };
        let result = poll_fn(|cx| Pin::new(&mut *reader.borrow_mut()).poll_read(cx, bytes)).await;
        (result, buffer)
    }

    async fn send(writer: &mut Writer, batch: Batch) -> (io::Result<usize>, Batch) {
        let copied = batch.parts().len() > 1 && batch.bytes() <= COPY_BYTES_MAX;
        if copied {
            writer.copy.clear();
            batch.parts().iter().for_each(|part| writer.copy.extend_from_slice(part));
        }
        let result = poll_fn(|cx| {
            let bytes: &[u8] =
                if copied { &writer.copy } else { batch.parts().first().map_or(&[], |part| part) };
            Pin::new(&mut *writer.stream.borrow_mut()).poll_write(cx, bytes)
        })
        .await;
        (result, batch)
    }
}

fn halves(stream: TcpStream) -> (Shared, Writer) {
    let stream = Rc::new(RefCell::new(stream));
    (stream.clone(), Writer { stream, copy: Vec::new() })
}

/// Keeps the errno, which glommio's own conversion turns into text.
fn io_error<T>(error: GlommioError<T>) -> io::Error {
    match error {
        GlommioError::IoError(error) | GlommioError::EnhancedIoError { source: error, .. } => error,
        other => io::Error::other(other.to_string()),
    }
}
