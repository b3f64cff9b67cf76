//! What a connection tells its owner.

use std::ops::Range;

use super::error::ErrorCode;
use super::head::{HeadError, Malformed};
use super::stream::StreamKey;

/// The outcome of [`Connection::receive`](super::Connection::receive).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with; the range of an [`Event::Data`] lies within them.
    pub consumed: usize,
    pub event: Option<Event>,
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Server: a request; take it at once with [`Connection::take_request`](super::Connection::take_request).
    Request { key: StreamKey, end: bool },
    /// A head that is too large or asks for what we do not have. Server: to be answered with the status of `error`.
    /// Client: the response cannot be had. What else comes on the stream is dropped here.
    RefusedHead { key: StreamKey, error: HeadError },
    /// Server: a malformed request (RFC 9113 8.1.1); the stream was reset and has no key. For statistics.
    Malformed { id: u32, rule: Malformed },
    /// Client: a response, interim ones too; take it at once with
    /// [`Connection::take_response`](super::Connection::take_response).
    Response { key: StreamKey, end: bool },
    /// Trailers, and with them the end; take them at once with
    /// [`Connection::take_trailers`](super::Connection::take_trailers).
    Trailers { key: StreamKey },
    /// A piece of a body: a range of the input of this call, empty only where `end` is true.
    Data { key: StreamKey, range: Range<usize>, end: bool },
    /// The stream is over before its end; it still has to be released. Behind a complete response, NO_ERROR only says
    /// that the rest of the request is not wanted (RFC 9113 8.1).
    Reset {
        key: StreamKey,
        code: ErrorCode,
        /// The peer sent RST_STREAM or GOAWAY; else we reset it, for a rule that the peer broke.
        by_peer: bool,
        /// False: the peer has not acted on the request, which is safe to send again (RFC 9113 8.7).
        processed: bool,
    },
    /// The stream's window was closed and is open.
    Writable { key: StreamKey },
    /// The connection's window was closed and is open, or the settings have opened windows of streams.
    AllWritable,
    /// The peer goes away: streams of ours after `last` come back as [`Event::Reset`], not processed.
    GoAway { code: ErrorCode, last: u32 },
    /// The answer to [`Connection::ping`](super::Connection::ping), or to the
    /// [`DRAIN_PING`](super::DRAIN_PING).
    Pong([u8; 8]),
    /// The peer's settings were taken and acknowledged.
    SettingsChanged,
}
