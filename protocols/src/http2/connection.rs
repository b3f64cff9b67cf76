//! One HTTP/2 connection, either role, without a socket: bytes in, events out, and bytes to send.
//!
//! | file | question it answers |
//! |---|---|
//! | this one | what a connection holds, how it begins and ends |
//! | `receive.rs` | how input becomes frames, wherever it is cut |
//! | `data.rs` | DATA, and what we let the peer send |
//! | `heads.rs` | HEADERS and CONTINUATION |
//! | `control.rs` | all other frames |
//! | `send.rs` | what we send |

mod control;
mod data;
mod heads;
mod receive;
mod send;

use std::time::Instant;

use self::heads::Block;
use self::receive::Reading;
use super::abuse::{Abuse, Meter};
use super::config::{ConnectionConfig, Role};
use super::encode::HeadEncoder;
use super::error::{ConnectionError, ErrorCode};
use super::event::Event;
use super::flow::{Adaptive, ConnectionWindow};
use super::frame::{self, FRAME_HEADER_BYTES, STREAM_ID_MAX};
use super::head::HeadDecoder;
use super::settings::{self, PeerSettings, WINDOW_BYTES_INITIAL};
use super::stream::StreamKey;
use super::streams::Streams;
use crate::message::{RequestHead, ResponseHead};

/// What a client sends first (RFC 9113 3.4).
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The payload of the PING of [`Connection::drain_begin`]; its `Event::Pong` says that every request sent before the
/// peer knew of the drain has arrived.
pub const DRAIN_PING: [u8; 8] = *b"rw-drain";

/// A server begins to drain when the peer has so few identifiers left (RFC 9113 5.1.1): they suffice for what is under
/// way, and a client that has none left could only wait.
const IDS_LEFT_MIN: u32 = 1000;

/// Capacity that a buffer may keep from one frame to the next.
const BUFFER_BYTES_KEPT: usize = 1024;

/// One HTTP/2 connection, sans-IO. See the documentation of [`http2`](super).
#[derive(Debug)]
pub struct Connection {
    role: Role,
    config: ConnectionConfig,
    reading: Reading,
    /// A frame header of which only a part has come, and how many bytes of it.
    header: [u8; FRAME_HEADER_BYTES],
    header_bytes: u8,
    /// The payload of a frame, other than DATA, of which only a part has come. Bounded by the frame size.
    partial: Vec<u8>,
    /// A header block that CONTINUATION has to go on with.
    block: Option<Block>,
    /// Its bytes so far. Bounded by `ConnectionConfig::block_bytes_max`.
    block_bytes: Vec<u8>,

    decoder: HeadDecoder,
    encoder: HeadEncoder,
    /// What the last event has for `take_request`, `take_response` and `take_trailers`.
    request: RequestHead,
    response: ResponseHead,
    bytes: Vec<u8>,

    streams: Streams,
    /// Server: the last identifier that the peer has used.
    last_peer_id: u32,
    /// Client: the next identifier of ours; above the largest one when they are used up.
    next_id: u32,
    /// Client: the last identifier whose HEADERS were sent.
    last_sent_id: u32,

    send_window: u32,
    receive_window: ConnectionWindow,
    adaptive: Adaptive,
    /// SETTINGS_INITIAL_WINDOW_SIZE of ours as the peer knows it: the RFC's until it acknowledges.
    stream_window: u32,

    peer: PeerSettings,
    settings_received: bool,
    settings_acked: bool,
    goaway_sent: Option<u32>,
    goaway_received: Option<u32>,

    output: Vec<u8>,
    /// Length of the output before the last append.
    output_before: usize,
    /// Control frames within the output.
    queued_control_bytes: u32,
    meter: Meter,
    started: Instant,
    now: Instant,

    /// An event that shares its frame with the last one.
    pending: Option<Event>,
    /// The next place to look at for streams that a GOAWAY has refused.
    sweep: Option<u32>,
    failed: Option<ConnectionError>,
}

impl Connection {
    /// A connection whose SETTINGS (and the client's preface) are in the output already.
    pub fn new(role: Role, config: &ConnectionConfig, now: Instant) -> Connection {
        let config = config.in_range();
        let growth = config.connection_window.max(config.stream_window_max);
        let mut connection = Connection {
            role,
            config,
            reading: if role == Role::Server { Reading::Preface(0) } else { Reading::Header },
            header: [0; FRAME_HEADER_BYTES],
            header_bytes: 0,
            partial: Vec::new(),
            block: None,
            block_bytes: Vec::new(),
            decoder: HeadDecoder::new(config.header_table_bytes),
            encoder: HeadEncoder::default(),
            request: RequestHead::default(),
            response: ResponseHead::default(),
            bytes: Vec::new(),
            streams: Streams::new(),
            last_peer_id: 0,
            next_id: 1,
            last_sent_id: 0,
            send_window: WINDOW_BYTES_INITIAL,
            receive_window: ConnectionWindow::new(config.connection_window),
            adaptive: Adaptive::new(config.stream_window, config.stream_window_max, growth, now),
            stream_window: WINDOW_BYTES_INITIAL,
            peer: PeerSettings::default(),
            settings_received: false,
            settings_acked: false,
            goaway_sent: None,
            goaway_received: None,
            output: Vec::new(),
            output_before: 0,
            queued_control_bytes: 0,
            meter: Meter::new(&config.abuse),
            started: now,
            now,
            pending: None,
            sweep: None,
            failed: None,
        };
        connection.greet();
        connection
    }

    fn greet(&mut self) {
        if self.role == Role::Client {
            self.output.extend_from_slice(PREFACE);
        }
        settings::write_own(&mut self.output, &self.config, self.role);
        if let Some(increment) = self.receive_window.open() {
            frame::write_window_update(&mut self.output, 0, increment);
        }
    }

    /// What waits to be sent, in order. Take it only when the socket has room: what the peer does not read has to stay
    /// here, where it is counted against `queued_control_bytes_max`.
    #[inline]
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// The owner has let go of the stream; until then its place is not used again, and it counts as open unless it has
    /// ended from both ends. A stream that is still open is reset.
    pub fn release(&mut self, key: StreamKey) {
        self.reset(key, ErrorCode::Cancel);
        if let Some(stream) = self.streams.remove(key) {
            self.adaptive.give_back(stream.grown);
        }
    }

    /// Sends GOAWAY: nothing new is taken from now on.
    pub fn goaway(&mut self, code: ErrorCode) {
        let last = self.last_peer_stream();
        self.goaway_sent = Some(last);
        self.count_control(FRAME_HEADER_BYTES + 8);
        frame::write_goaway(&mut self.output, last, code);
    }

    /// First step of a drain (RFC 9113 6.8): GOAWAY with the largest id, and a PING, whose [`Event::Pong`] has the
    /// payload [`DRAIN_PING`]. New requests are still taken. A client needs no second step: nobody opens streams to it.
    pub fn drain_begin(&mut self) {
        if self.goaway_sent.is_some() {
            return;
        }
        if self.role == Role::Client {
            self.goaway(ErrorCode::NoError);
            return;
        }
        self.goaway_sent = Some(STREAM_ID_MAX);
        self.count_control(FRAME_HEADER_BYTES + 8);
        frame::write_goaway(&mut self.output, STREAM_ID_MAX, ErrorCode::NoError);
        self.ping(DRAIN_PING);
    }

    /// Second step of a drain: GOAWAY with the last id taken. What comes after it is dropped.
    pub fn drain_finish(&mut self) {
        if self.goaway_sent != Some(self.last_peer_stream()) {
            self.goaway(ErrorCode::NoError);
        }
    }

    /// Sends PING; its answer is an [`Event::Pong`].
    pub fn ping(&mut self, payload: [u8; 8]) {
        self.count_control(FRAME_HEADER_BYTES + 8);
        frame::write_ping(&mut self.output, payload, false);
    }

    /// Streams that are not released.
    pub fn streams_open(&self) -> u32 {
        self.streams.used()
    }

    /// GOAWAY was sent or received, or the identifiers are used up: no new streams.
    pub fn is_draining(&self) -> bool {
        self.goaway_sent.is_some() || self.goaway_received.is_some() || self.next_id > STREAM_ID_MAX
    }

    /// The peer's first SETTINGS have arrived.
    pub fn settings_received(&self) -> bool {
        self.settings_received
    }

    /// The peer has acknowledged our SETTINGS.
    pub fn settings_acked(&self) -> bool {
        self.settings_acked
    }

    /// A header block has begun and not ended: nothing else can come, so it has to end soon.
    pub fn is_mid_head(&self) -> bool {
        self.block.is_some() || self.reading.is_headers()
    }

    /// What the peer has announced.
    pub fn peer_settings(&self) -> &PeerSettings {
        &self.peer
    }

    /// The last stream of the peer that was taken.
    pub fn last_peer_stream(&self) -> u32 {
        self.goaway_sent.unwrap_or(STREAM_ID_MAX).min(self.last_peer_id)
    }

    /// Which end this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Gives back what an idle connection does not need. To be called when there is nothing to do: what is given back
    /// has to be allocated again.
    pub fn release_memory(&mut self) {
        self.output.shrink_to_fit();
        self.bytes = Vec::new();
        self.request = RequestHead::default();
        self.response = ResponseHead::default();
        self.decoder.release_memory();
        if matches!(self.reading, Reading::Header) {
            self.partial = Vec::new();
        }
        if self.block.is_none() {
            self.block_bytes = Vec::new();
        }
        self.streams.release_memory();
    }

    /// Nanoseconds since the connection began.
    #[inline]
    fn now_ns(&self) -> u64 {
        self.now.saturating_duration_since(self.started).as_nanos() as u64
    }

    /// Counts a control frame that is about to be appended to the output.
    #[inline]
    fn count_control(&mut self, bytes: usize) {
        self.note_taken();
        self.queued_control_bytes = self.queued_control_bytes.saturating_add(bytes as u32);
    }

    /// Before something is appended: notices that the owner has taken output. It has where there is not more than before
    /// the last append.
    #[inline]
    fn note_taken(&mut self) {
        let length = self.output.len();
        if length <= self.output_before {
            self.queued_control_bytes = self.queued_control_bytes.min(length as u32);
        }
        self.output_before = length;
    }

    /// The peer has caused output: it has to read, too (CVE-2019-9517).
    fn check_queued_control(&self) -> Result<(), ConnectionError> {
        if self.queued_control_bytes > self.config.queued_control_bytes_max && !self.output.is_empty() {
            return Err(ConnectionError::abuse(Abuse::QueuedControl));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
