//! TLS on a socket: what arrives is opened where the ring put it, what leaves is sealed in the vector that is sent.
//!
//! A record that lies within one received chunk is never copied; one that straddles two is put together once. Nothing that
//! is sent waits here: it is sealed at once, and the queue of the socket is the only one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::task::{Context, Poll, Waker};

use ringway_protocols::tls::{Opened, RECORD_HEADER_BYTES, Session, TlsError, record_bytes};

use crate::io::{Chunk, Stream, take_vec};

/// Answers of TLS itself (new keys) that may wait for a peer which does not read.
const ANSWERS_UNSENT_MAX: usize = 64 << 10;

/// One established TLS connection.
pub(super) struct Tls {
    inner: RefCell<Inner>,
}

struct Inner {
    session: Session,
    /// A record whose end has not arrived, at most as long as a record may be.
    partial: Vec<u8>,
    /// Data that was opened and not read yet: what was in one received chunk.
    ready: VecDeque<Chunk>,
    /// Where the data of one chunk is; empty between the calls.
    ranges: Vec<Range<usize>>,
    failed: Option<TlsError>,
}

impl Tls {
    /// Takes a session over, with what was received behind its handshake.
    pub(super) fn new(session: Session, rest: Vec<u8>, stream: &Stream) -> Tls {
        let inner =
            Inner { session, partial: Vec::new(), ready: VecDeque::new(), ranges: Vec::new(), failed: None };
        let tls = Tls { inner: RefCell::new(inner) };
        if !rest.is_empty() {
            tls.inner.borrow_mut().take(Chunk::from(rest), stream);
        }
        tls
    }

    pub(super) fn poll_recv(&self, stream: &Stream, cx: &Context<'_>) -> Poll<io::Result<Chunk>> {
        let mut inner = self.inner.borrow_mut();
        loop {
            if let Some(chunk) = inner.ready.pop_front() {
                return Poll::Ready(Ok(chunk));
            }
            inner.ready.shrink_to(0);
            if let Some(error) = &inner.failed {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())));
            }
            if inner.session.is_closed_by_peer() {
                return Poll::Ready(Ok(Chunk::empty()));
            }
            match stream.poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if chunk.is_empty() => {
                    // Cut off: nobody knows what was to follow (RFC 8446 6.1).
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(chunk)) => inner.take(chunk, stream),
                other => return other,
            }
        }
    }

    /// Nothing has arrived but what TLS says to itself, tickets for example.
    pub(super) fn is_quiet(&self, stream: &Stream) -> bool {
        let mut inner = self.inner.borrow_mut();
        loop {
            if !inner.is_quiet() {
                return false;
            }
            if stream.is_quiet() {
                return true;
            }
            match stream.poll_recv(&Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => inner.take(chunk, stream),
                Poll::Ready(_) => return false,
                Poll::Pending => return stream.is_quiet(),
            }
        }
    }

    /// The pieces as records, ready to be sent.
    ///
    /// # Errors
    /// After [`Tls::close`], or where the key is used up.
    pub(super) fn seal<'a>(
        &self,
        bytes: usize,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<Vec<u8>> {
        let session = &mut self.inner.borrow_mut().session;
        let mut out = take_vec();
        out.reserve(session.sealed_bytes(bytes));
        session.seal(pieces, &mut out).map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
        Ok(out)
    }

    /// What tells the peer that no more will come.
    pub(super) fn close(&self) -> Vec<u8> {
        let mut out = take_vec();
        self.inner.borrow_mut().session.close(&mut out);
        out
    }
}

impl Inner {
    fn is_quiet(&self) -> bool {
        let over = self.failed.is_some() || self.session.is_closed_by_peer();
        !over && self.ready.is_empty() && self.partial.is_empty()
    }

    /// Opens what `chunk` completes, and sends what TLS itself answers.
    fn take(&mut self, chunk: Chunk, stream: &Stream) {
        let mut answer = Vec::new();
        let result = self.open(chunk, &mut answer);
        if let Err(error) = result {
            self.failed = Some(error);
        }
        if answer.is_empty() {
            return;
        }
        if stream.unsent() > ANSWERS_UNSENT_MAX {
            self.failed.get_or_insert(TlsError::KeyUpdates);
        }
        // Where sending fails, the next receive or send says so.
        let _ = stream.send(answer);
    }

    fn open(&mut self, mut chunk: Chunk, answer: &mut Vec<u8>) -> Result<(), TlsError> {
        while !self.partial.is_empty() && !chunk.is_empty() {
            self.complete(&mut chunk, answer)?;
        }
        if chunk.is_empty() {
            return Ok(());
        }
        if chunk.get_mut().is_none() {
            // Somebody else looks at these bytes, too.
            chunk = Chunk::from(chunk.copy_out());
        }
        let mut opened = 0;
        let result = match chunk.get_mut() {
            Some(bytes) => open_records(&mut self.session, bytes, &mut opened, &mut self.ranges, answer),
            None => Ok(()),
        };
        self.ready.extend(self.ranges.drain(..).map(|range| chunk.slice(range)));
        self.ranges.shrink_to(8);
        result?;
        self.begin(chunk.get(opened..).unwrap_or_default())
    }

    /// Keeps the beginning of a record.
    fn begin(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if let Some(needed) = record_bytes(bytes)? {
            self.partial.reserve_exact(needed);
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// Moves bytes of `chunk` to the record that began before it, and opens that once it is whole.
    fn complete(&mut self, chunk: &mut Chunk, answer: &mut Vec<u8>) -> Result<(), TlsError> {
        let needed = record_bytes(&self.partial)?.unwrap_or(RECORD_HEADER_BYTES);
        let missing = needed.saturating_sub(self.partial.len());
        let moved = chunk.split_to(missing.min(chunk.len()));
        self.partial.reserve_exact(missing);
        self.partial.extend_from_slice(&moved);
        if record_bytes(&self.partial)? != Some(self.partial.len()) {
            return Ok(());
        }
        let mut record = std::mem::take(&mut self.partial);
        if let Opened::Data(range) = self.session.open(&mut record, answer)? {
            self.ready.push_back(Chunk::from(record).slice(range));
        }
        Ok(())
    }
}

/// Opens the records at the beginning of `bytes`: how many bytes they take, and where their data is.
fn open_records(
    session: &mut Session,
    bytes: &mut [u8],
    opened: &mut usize,
    ranges: &mut Vec<Range<usize>>,
    answer: &mut Vec<u8>,
) -> Result<(), TlsError> {
    while let Some(rest) = bytes.get_mut(*opened..)
        && let Some(length) = record_bytes(rest)?
        && let Some(record) = rest.get_mut(..length)
    {
        if let Opened::Data(range) = session.open(record, answer)? {
            ranges.push(*opened + range.start..*opened + range.end);
        }
        *opened += length;
    }
    Ok(())
}
