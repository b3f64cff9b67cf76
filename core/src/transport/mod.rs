//! `Transport`: what the data path reads from and writes to, a socket as it is or with TLS on it.
//!
//! Its methods are those of [`Stream`] and mean the same for the bytes that the peers exchange. What only a bare socket can
//! do, splicing and changing its worker, is asked of [`Transport::as_plain`].

mod handshake;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

pub use handshake::{HandshakeError, TlsFacts};

use self::tls::Tls;
use crate::io::{Address, Chunk, NotIdle, Part, Parts, Stream};

/// A connection to a client or an origin.
pub struct Transport {
    stream: Stream,
    /// Boxed, because an idle connection without TLS is to stay small.
    secure: Option<Box<Secure>>,
}

/// TLS on the socket, and what its handshake agreed on.
struct Secure {
    tls: Tls,
    facts: Rc<TlsFacts>,
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Transport {
        Transport { stream, secure: None }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.secure.is_some() { " with TLS" } else { "" };
        write!(f, "{:?}{tls}", self.stream)
    }
}

impl Transport {
    /// The socket, where the bytes on it are those that the peers exchange.
    #[inline]
    pub fn as_plain(&self) -> Option<&Stream> {
        if self.secure.is_some() { None } else { Some(&self.stream) }
    }

    /// What the TLS handshake agreed on, where there was one.
    pub fn tls(&self) -> Option<&Rc<TlsFacts>> {
        self.secure.as_ref().map(|secure| &secure.facts)
    }

    /// See [`Stream::poll_recv`].
    #[inline]
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        match &self.secure {
            None => self.stream.poll_recv(cx),
            Some(secure) => secure.tls.poll_recv(&self.stream, cx),
        }
    }

    /// See [`Stream::recv`].
    ///
    /// # Errors
    /// Those of recv(2). With TLS `InvalidData` for records that are not the peer's, and `UnexpectedEof` where the peer
    /// did not say that no more will come.
    pub async fn recv(&self) -> io::Result<Chunk> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// See [`Stream::arm`].
    pub fn arm(&self) {
        self.stream.arm();
    }

    /// See [`Stream::poll_reset`].
    pub fn poll_reset(&self, cx: &Context<'_>) -> Poll<io::Error> {
        self.stream.poll_reset(cx)
    }

    /// See [`Stream::is_quiet`].
    pub fn is_quiet(&self) -> bool {
        match &self.secure {
            None => self.stream.is_quiet(),
            Some(secure) => secure.tls.is_quiet(&self.stream),
        }
    }

    /// See [`Stream::send`].
    ///
    /// # Errors
    /// When an earlier send failed, or the write side was shut down.
    #[inline]
    pub fn send(&self, parts: impl Into<Parts>) -> io::Result<()> {
        let Some(secure) = &self.secure else { return self.stream.send(parts) };
        let parts = parts.into();
        let bytes = parts.pieces().map(<[u8]>::len).sum();
        self.stream.send(secure.tls.seal(bytes, parts.pieces())?)
    }

    /// See [`Stream::send_all`].
    ///
    /// # Errors
    /// As [`Transport::send`]; the pieces are dropped.
    #[inline]
    pub fn send_all(&self, parts: &mut VecDeque<Part>) -> io::Result<()> {
        let Some(secure) = &self.secure else { return self.stream.send_all(parts) };
        let bytes = parts.iter().map(|part| part.len()).sum();
        let sealed = secure.tls.seal(bytes, parts.iter().map(|part| &**part));
        parts.clear();
        self.stream.send(sealed?)
    }

    /// See [`Stream::unsent`].
    pub fn unsent(&self) -> usize {
        self.stream.unsent()
    }

    /// See [`Stream::sent`].
    ///
    /// # Errors
    /// That of the failed send.
    pub async fn sent(&self) -> io::Result<()> {
        self.stream.sent().await
    }

    /// See [`Stream::poll_sent`].
    pub fn poll_sent(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_sent(cx)
    }

    /// See [`Stream::poll_room`].
    pub fn poll_room(&self, cx: &Context<'_>, bytes_max: usize) -> Poll<io::Result<()>> {
        self.stream.poll_room(cx, bytes_max)
    }

    /// See [`Stream::outstanding`].
    pub fn outstanding(&self) -> u64 {
        self.stream.outstanding()
    }

    /// See [`Stream::shutdown_write`]. TLS says before that no more will come.
    pub fn shutdown_write(&self) {
        if let Some(secure) = &self.secure {
            // A peer that cannot be told any more sees the connection end.
            let _ = self.stream.send(secure.tls.close());
        }
        self.stream.shutdown_write();
    }

    /// See [`Stream::reset_on_close`].
    pub fn reset_on_close(&self) {
        self.stream.reset_on_close();
    }

    /// See [`Stream::into_fd`].
    ///
    /// # Errors
    /// When the connection is not idle, or is more than a socket.
    pub async fn into_fd(self) -> Result<OwnedFd, NotIdle> {
        if self.secure.is_some() { Err(NotIdle) } else { self.stream.into_fd().await }
    }

    /// # Errors
    /// Those of getpeername(2).
    pub fn peer_addr(&self) -> io::Result<Address> {
        self.stream.peer_addr()
    }

    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<Address> {
        self.stream.local_addr()
    }
}
