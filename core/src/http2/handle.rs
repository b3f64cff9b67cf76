//! One stream in the hands of one exchange.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_protocols::http1::{RequestEdits, ResponseEdits};
use ringway_protocols::http2::{ErrorCode, Role, StreamGone, StreamKey};
use ringway_protocols::message::{RequestHead, ResponseHead};

use super::connection::{Connection, State};
use super::heads::ReceivedResponse;
use super::inbox::BodyPiece;
use super::output::COPY_BYTES_MAX;
use super::stream::StreamError;
use crate::io::Chunk;
use crate::transport::TlsFacts;

/// A stream. All of it is polled by one task, which looks at everything that it waits for whenever it is woken.
///
/// What is sent goes into the connection's output at once and to the socket at the end of the turn. Dropping the handle
/// gives the stream up: if it is not complete it is reset, by a server with INTERNAL_ERROR (with NO_ERROR where only the
/// rest of the request is not wanted, RFC 9113 8.1), by a client with CANCEL.
pub struct StreamHandle {
    connection: Rc<Connection>,
    key: StreamKey,
}

impl StreamHandle {
    /// The stream of `key`, whose place was made by `State::begin`.
    pub(super) fn new(connection: &Rc<Connection>, key: StreamKey) -> StreamHandle {
        StreamHandle { connection: Rc::clone(connection), key }
    }

    /// The stream's identifier.
    pub fn id(&self) -> u32 {
        self.key.id()
    }

    /// Our end of the connection, where it has an IP address.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.connection.local_address
    }

    /// What the peers agreed on in TLS, where that is spoken.
    pub fn tls(&self) -> Option<&Rc<TlsFacts>> {
        self.connection.tls.as_ref()
    }

    /// Client role: the next response head, interim ones too (look at the status). `true`: the message ends with it.
    pub fn poll_response(&self, cx: &Context<'_>) -> Poll<Result<(ReceivedResponse, bool), StreamError>> {
        self.poll(cx, |state, key| state.stream(key)?.responses.pop_front())
    }

    /// The next part of the peer's message. Say [`StreamHandle::consumed`] when the data has been passed on.
    pub fn poll_body(&self, cx: &Context<'_>) -> Poll<Result<BodyPiece, StreamError>> {
        self.poll(cx, |state, key| state.stream(key)?.inbox.pop())
    }

    /// Whether the peer's message has ended, as far as it was received.
    pub fn is_ended(&self) -> bool {
        self.with(false, |state, key| state.stream(key).is_none_or(|stream| stream.inbox.ended))
    }

    /// `bytes` of data were passed on: the peer may send as many more.
    pub fn consumed(&self, bytes: usize) {
        self.with((), |state, key| {
            let before = state.machine.output().len();
            state.machine.consumed(key, bytes);
            if state.machine.output().len() > before {
                state.wake_task();
            }
        });
    }

    /// Client role: sends the head of the request; `end` when nothing follows.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send_request(
        &self,
        bytes: &[u8],
        head: &RequestHead,
        edits: &RequestEdits<'_>,
        scheme: &str,
        end: bool,
    ) -> Result<(), StreamError> {
        self.send(end, |state, key| state.machine.send_request(key, bytes, head, edits, scheme, end))
    }

    /// Server role: sends the head of a response, an interim one too; `end` when nothing follows.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send_response(
        &self,
        bytes: &[u8],
        head: &ResponseHead,
        edits: &ResponseEdits<'_>,
        end: bool,
    ) -> Result<(), StreamError> {
        self.send(end, |state, key| state.machine.send_response(key, bytes, head, edits, end))
    }

    /// Sends trailers, given as `name: value\r\n` lines, and ends the message.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send_trailers(&self, lines: &[u8]) -> Result<(), StreamError> {
        self.send(true, |state, key| state.machine.send_trailers(key, lines))
    }

    /// How much data may be sent now, of `wanted` bytes: at least 1. Waits for the windows, and for its turn at the socket,
    /// whose queue is bounded.
    pub fn poll_capacity(&self, cx: &Context<'_>, wanted: usize) -> Poll<Result<usize, StreamError>> {
        let window = self.connection.window();
        self.connection.state.borrow_mut().poll_capacity(self.key, cx, wanted, window)
    }

    /// Sends data, at most as much as [`StreamHandle::poll_capacity`] allowed; `end` ends the message. The empty chunk with
    /// `end` may be sent at any time.
    ///
    /// # Errors
    /// When the stream has ended.
    pub fn send_data(&self, chunk: Chunk, end: bool) -> Result<(), StreamError> {
        self.send(end, |state, key| {
            if let Some(stream) = state.stream(key) {
                let granted = std::mem::take(&mut stream.granted);
                state.give_back(granted);
            }
            state.machine.send_data_header(key, chunk.len(), end)?;
            let written = state.machine.output();
            if chunk.len() <= COPY_BYTES_MAX {
                written.extend_from_slice(&chunk);
            } else {
                state.output.push(written, chunk);
            }
            Ok(())
        })
    }

    /// Resets the stream.
    pub fn reset(&self, code: ErrorCode) {
        self.with((), |state, key| {
            let Some(stream) = state.stream(key) else { return };
            if stream.error.is_none() {
                stream.fail(StreamError { code, ..StreamError::GONE });
                state.reset(key, code);
                state.wake_task();
            }
        });
    }

    /// Ready when the stream has been reset, or the connection has ended.
    pub fn poll_reset(&self, cx: &Context<'_>) -> Poll<StreamError> {
        self.with(Poll::Ready(StreamError::GONE), |state, key| match state.stream(key) {
            None => Poll::Ready(StreamError::GONE),
            Some(stream) => match stream.error {
                Some(error) => Poll::Ready(error),
                None => {
                    stream.wait(cx);
                    Poll::Pending
                }
            },
        })
    }

    /// Waits for what `next` gives, or for the end of the stream.
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        next: impl FnOnce(&mut State, StreamKey) -> Option<T>,
    ) -> Poll<Result<T, StreamError>> {
        let mut state = self.connection.state.borrow_mut();
        if let Some(next) = next(&mut state, self.key) {
            return Poll::Ready(Ok(next));
        }
        let Some(stream) = state.stream(self.key) else { return Poll::Ready(Err(StreamError::GONE)) };
        match stream.error {
            Some(error) => Poll::Ready(Err(error)),
            None => {
                stream.wait(cx);
                Poll::Pending
            }
        }
    }

    fn send(
        &self,
        end: bool,
        write: impl FnOnce(&mut State, StreamKey) -> Result<(), StreamGone>,
    ) -> Result<(), StreamError> {
        let mut state = self.connection.state.borrow_mut();
        let Some(stream) = state.stream(self.key) else { return Err(StreamError::GONE) };
        if let Some(error) = stream.error {
            return Err(error);
        }
        stream.end_sent |= end;
        if end {
            // Whatever room it was promised, it needs no more.
            let granted = std::mem::take(&mut stream.granted);
            state.give_back(granted);
        }
        write(&mut state, self.key).map_err(|StreamGone| StreamError::GONE)?;
        state.wake_task();
        Ok(())
    }

    fn with<R>(&self, _gone: R, f: impl FnOnce(&mut State, StreamKey) -> R) -> R {
        f(&mut self.connection.state.borrow_mut(), self.key)
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        let mut state = self.connection.state.borrow_mut();
        state.handles -= 1;
        state.counts.streams_open().decrement();
        let Some(stream) = state.stream(self.key) else { return };
        let unfinished = stream.error.is_none() && !stream.is_complete();
        let (end_sent, granted) = (stream.end_sent, stream.granted);
        stream.clear();
        state.give_back(granted);
        if unfinished {
            let code = match self.connection.role {
                Role::Server if end_sent => ErrorCode::NoError,
                Role::Server => ErrorCode::InternalError,
                Role::Client => ErrorCode::Cancel,
            };
            state.reset(self.key, code);
        }
        state.machine.release(self.key);
        state.changed();
        if state.handles == 0 || unfinished {
            state.wake_task();
        }
    }
}
