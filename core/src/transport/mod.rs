//! `Transport`: what the data path reads from and writes to, a socket as it is or with TLS on it.
//!
//! Its methods are those of [`Stream`] and mean the same for the bytes that the peers exchange. What only a bare socket can
//! do, splicing and changing its worker, is asked of [`Transport::as_plain`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use crate::io::{Address, Chunk, NotIdle, Part, Parts, Stream};

/// A connection to a client or an origin.
#[derive(Debug)]
pub struct Transport {
    stream: Stream,
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Transport {
        Transport { stream }
    }
}

impl Transport {
    /// The socket, where the bytes on it are those that the peers exchange.
    #[inline]
    pub fn as_plain(&self) -> Option<&Stream> {
        Some(&self.stream)
    }

    /// See [`Stream::poll_recv`].
    #[inline]
    pub fn poll_recv(&self, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        self.stream.poll_recv(cx)
    }

    /// See [`Stream::recv`].
    ///
    /// # Errors
    /// Those of recv(2).
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
        self.stream.is_quiet()
    }

    /// See [`Stream::send`].
    ///
    /// # Errors
    /// When an earlier send failed, or the write side was shut down.
    #[inline]
    pub fn send(&self, parts: impl Into<Parts>) -> io::Result<()> {
        self.stream.send(parts)
    }

    /// See [`Stream::send_all`].
    ///
    /// # Errors
    /// As [`Transport::send`]; the pieces are dropped.
    #[inline]
    pub fn send_all(&self, parts: &mut VecDeque<Part>) -> io::Result<()> {
        self.stream.send_all(parts)
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

    /// See [`Stream::shutdown_write`].
    pub fn shutdown_write(&self) {
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
        self.stream.into_fd().await
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
