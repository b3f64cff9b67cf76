//! One HTTP/2 connection, either role, without a socket: bytes in, events out, and bytes to send.

use std::ops::Range;
use std::time::Instant;

use super::abuse::AbuseLimits;
use super::error::{ConnectionError, ErrorCode, StreamGone};
use super::head::{HeadError, Malformed};
use super::settings::PeerSettings;
use crate::http1::{HeadLimits, RequestEdits, ResponseEdits, TrailerLimits};
use crate::message::{Method, RequestHead, ResponseHead};

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The payload of the PING of [`Connection::drain_begin`]; its `Event::Pong` says that every request sent before the
/// peer knew of the drain has arrived.
pub const DRAIN_PING: [u8; 8] = *b"rw-drain";

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

/// What a connection announces and allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// Streams at a time. Server: announced. Client: what we open at most, whatever the peer allows.
    pub streams_max: u32,
    /// SETTINGS_INITIAL_WINDOW_SIZE: what a stream may hold back before its reader has to read.
    pub stream_window: u32,
    /// How far a stream's window may grow with the bandwidth-delay product. Not larger than `stream_window`: fixed.
    pub stream_window_max: u32,
    /// The window of the connection. Refilled on receipt: it bounds what is in flight, not what is held.
    pub connection_window: u32,
    /// SETTINGS_MAX_FRAME_SIZE, 16 KiB to 16 MiB - 1.
    pub frame_bytes_max: u32,
    /// SETTINGS_HEADER_TABLE_SIZE: the bound of our decoder's dynamic table.
    pub header_table_bytes: u32,
    /// Announced as SETTINGS_MAX_HEADER_LIST_SIZE.
    pub head_limits: HeadLimits,
    pub trailer_limits: TrailerLimits,
    /// Server: announce and accept extended CONNECT (RFC 8441).
    pub connect_protocol: bool,
    /// Bytes of answers to control frames that may wait in the output.
    pub queued_control_bytes_max: u32,
    pub abuse: AbuseLimits,
}

/// The name of a stream: a place in a dense table and, as places are used again, the stream's identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey {
    slot: u32,
    id: u32,
}

impl StreamKey {
    /// The place in the table: smaller than twice `streams_max`, used again after the release.
    #[inline]
    pub fn slot(self) -> usize {
        self.slot as usize
    }

    /// The stream identifier of the RFC.
    #[inline]
    pub fn id(self) -> u32 {
        self.id
    }
}

/// The outcome of [`Connection::receive`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of the input that are done with; the range of an [`Event::Data`] lies within them.
    pub consumed: usize,
    pub event: Option<Event>,
}

/// What the peer did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Server: a request; take it at once with [`Connection::take_request`].
    Request { key: StreamKey, end: bool },
    /// A head that is too large or asks for what we do not have. Server: to be answered with the status of `error`.
    /// Client: the response cannot be had. What else comes on the stream is dropped here.
    RefusedHead { key: StreamKey, error: HeadError },
    /// Server: a malformed request (RFC 9113 8.1.1); the stream was reset and has no key. For statistics.
    Malformed { id: u32, rule: Malformed },
    /// Client: a response, interim ones too; take it at once with [`Connection::take_response`].
    Response { key: StreamKey, end: bool },
    /// Trailers, and with them the end; take them at once with [`Connection::take_trailers`].
    Trailers { key: StreamKey },
    /// A piece of a body: a range of the input of this call, empty only where `end` is true.
    Data { key: StreamKey, range: Range<usize>, end: bool },
    /// The stream is over before its end; it still has to be released.
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
    /// The answer to [`Connection::ping`], or to the [`DRAIN_PING`].
    Pong([u8; 8]),
    /// The peer's settings were taken and acknowledged.
    SettingsChanged,
}

/// One HTTP/2 connection, sans-IO. See the module's documentation.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: ConnectionConfig,
    output: Vec<u8>,
    peer: PeerSettings,
    request: RequestHead,
    response: ResponseHead,
    bytes: Vec<u8>,
}

impl Connection {
    /// A connection whose SETTINGS (and the client's preface) are in the output already.
    pub fn new(role: Role, config: &ConnectionConfig, _now: Instant) -> Connection {
        Connection {
            role,
            config: *config,
            output: Vec::new(),
            peer: PeerSettings::default(),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            bytes: Vec::new(),
        }
    }

    /// Server: a connection that began with `Upgrade: h2c` (RFC 7540 3.2): stream 1 is the request, already complete,
    /// and `settings` the decoded `HTTP2-Settings`. The client's preface still has to come.
    pub fn upgrade(&mut self, _settings: &[u8]) -> Result<StreamKey, ConnectionError> {
        Err(ConnectionError::protocol("an upgrade that is not there yet"))
    }

    /// Takes from the input up to the next event. Call it until nothing is consumed and there is no event; with an empty
    /// input too, as one frame can have many events. It takes all of the input: nothing has to be kept for it.
    pub fn receive(&mut self, _input: &[u8], _now: Instant) -> Result<Step, ConnectionError> {
        Ok(Step { consumed: 0, event: None })
    }

    /// The request of the last [`Event::Request`], swapped with what is given.
    pub fn take_request(&mut self, head: &mut RequestHead, bytes: &mut Vec<u8>) {
        std::mem::swap(head, &mut self.request);
        std::mem::swap(bytes, &mut self.bytes);
    }

    /// The response of the last [`Event::Response`], swapped with what is given.
    pub fn take_response(&mut self, head: &mut ResponseHead, bytes: &mut Vec<u8>) {
        std::mem::swap(head, &mut self.response);
        std::mem::swap(bytes, &mut self.bytes);
    }

    /// The lines of the last [`Event::Trailers`], swapped with what is given.
    pub fn take_trailers(&mut self, lines: &mut Vec<u8>) {
        std::mem::swap(lines, &mut self.bytes);
    }

    /// What waits to be sent, in order. Take it only when the socket has room: what the peer does not read has to stay
    /// here, where it is counted against `queued_control_bytes_max`. The count starts anew when it is empty.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Client: a new stream for a request of this method. None: see [`Connection::can_open`].
    pub fn open(&mut self, _method: Method) -> Option<StreamKey> {
        None
    }

    /// Client: whether `open` has a stream. Not so at the peer's or our limit, after GOAWAY, with all ids used.
    pub fn can_open(&self) -> bool {
        false
    }

    /// Sends the head of a request.
    pub fn send_request(
        &mut self,
        _key: StreamKey,
        _bytes: &[u8],
        _head: &RequestHead,
        _edits: &RequestEdits<'_>,
        _scheme: &str,
        _end: bool,
    ) -> Result<(), StreamGone> {
        Err(StreamGone)
    }

    /// Sends the head of a response, an interim one (1xx) too.
    pub fn send_response(
        &mut self,
        _key: StreamKey,
        _bytes: &[u8],
        _head: &ResponseHead,
        _edits: &ResponseEdits<'_>,
        _end: bool,
    ) -> Result<(), StreamGone> {
        Err(StreamGone)
    }

    /// Sends trailers (`name: value\r\n` lines), and with them the end.
    pub fn send_trailers(&mut self, _key: StreamKey, _lines: &[u8]) -> Result<(), StreamGone> {
        Err(StreamGone)
    }

    /// What one DATA frame may carry now: the smallest of the stream's window, the connection's and the peer's frame
    /// size. Where it is 0, [`Event::Writable`] or [`Event::AllWritable`] follows.
    pub fn send_capacity(&self, _key: StreamKey) -> usize {
        0
    }

    /// What the stream's window allows, whatever the connection's does; 0 where it is closed.
    pub fn stream_window(&self, _key: StreamKey) -> usize {
        0
    }

    /// What the connection's window allows to send.
    pub fn connection_window(&self) -> usize {
        0
    }

    /// Appends the header of a DATA frame; the caller sends `len` bytes of payload right behind the output. `len` is at
    /// most [`Connection::send_capacity`]; 0 with `end` always goes.
    pub fn send_data_header(&mut self, _key: StreamKey, _len: usize, _end: bool) -> Result<(), StreamGone> {
        Err(StreamGone)
    }

    /// The reader has passed on so many bytes of the stream's body: opens the stream's window, in batches.
    pub fn consumed(&mut self, _key: StreamKey, _bytes: usize) {}

    /// Sends RST_STREAM, unless the stream has ended. It still has to be released.
    pub fn reset(&mut self, _key: StreamKey, _code: ErrorCode) {}

    /// The owner has let go of the stream; until then it counts as open, whatever the peer did to it.
    pub fn release(&mut self, _key: StreamKey) {}

    /// Sends GOAWAY: nothing new is taken from now on.
    pub fn goaway(&mut self, _code: ErrorCode) {}

    /// First step of a drain (RFC 9113 6.8): GOAWAY with the largest id, and a PING. New requests are still taken.
    pub fn drain_begin(&mut self) {}

    /// Second step of a drain: GOAWAY with the last id taken. What comes after it is dropped.
    pub fn drain_finish(&mut self) {}

    /// Sends PING; its answer is an [`Event::Pong`].
    pub fn ping(&mut self, _payload: [u8; 8]) {}

    /// Streams that are not released.
    pub fn streams_open(&self) -> u32 {
        0
    }

    /// GOAWAY was sent or received, or the ids are used up: no new streams.
    pub fn is_draining(&self) -> bool {
        false
    }

    /// The peer's first SETTINGS have arrived.
    pub fn settings_received(&self) -> bool {
        false
    }

    /// The peer has acknowledged our SETTINGS.
    pub fn settings_acked(&self) -> bool {
        false
    }

    /// A header block has begun and not ended: nothing else can come, so it has to end soon.
    pub fn is_mid_head(&self) -> bool {
        false
    }

    pub fn peer_settings(&self) -> &PeerSettings {
        &self.peer
    }

    /// The last stream of the peer that was taken.
    pub fn last_peer_stream(&self) -> u32 {
        0
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// Gives back the buffers that an idle connection does not need.
    pub fn release_memory(&mut self) {
        let _ = self.config;
    }
}
