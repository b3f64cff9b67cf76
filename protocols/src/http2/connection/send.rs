//! What we send: heads, DATA and resets.

use super::Connection;
use super::receive::clamp;
use crate::http1::{RequestEdits, ResponseEdits};
use crate::http2::config::Role;
use crate::http2::encode::HeadEncoder;
use crate::http2::error::{ConnectionError, ErrorCode, StreamGone};
use crate::http2::frame::{self, FRAME_HEADER_BYTES, flag, kind};
use crate::http2::stream::{Expect, State, StreamKey, Transition};
use crate::message::{Method, RequestHead, ResponseHead};

/// WINDOW_UPDATE frames that a DATA frame of ours may cause: one for the stream, one for the connection, and as many
/// again for peers that send them in halves.
const UPDATES_PER_DATA: u32 = 4;

/// PING frames that a DATA frame of ours may cause: gRPC clients measure the bandwidth-delay product with one for each
/// round trip that brings DATA.
const PINGS_PER_DATA: u32 = 1;

/// WINDOW_UPDATE frames that a stream may come with: some clients open each stream's window as they begin it.
const UPDATES_PER_HEAD: u32 = 1;

/// RST_STREAM frames that a request of ours may cause.
const RESETS_PER_REQUEST: u32 = 1;

/// Frames that may be under way when we reset a stream, besides content: a head, an interim one, trailers, a reset.
const FRAMES_PER_RESET: u32 = 4;

impl Connection {
    /// Client: a new stream for a request of this method, CONNECT for an extended one too. None: see
    /// [`Connection::can_open`]. Its request has to be sent before that of the next one, as identifiers ascend.
    pub fn open(&mut self, method: Method) -> Option<StreamKey> {
        if !self.can_open() {
            return None;
        }
        let id = self.next_id;
        self.next_id += 2;
        let stream = self.new_stream(id, method);
        Some(self.streams.insert(stream))
    }

    /// Client: whether `open` has a stream. Not so at the peer's or our limit, after GOAWAY, with all identifiers used.
    pub fn can_open(&self) -> bool {
        let streams_max = self.config.streams_max.min(self.peer.streams_max.unwrap_or(u32::MAX));
        self.role == Role::Client
            && self.failed.is_none()
            && !self.is_draining()
            && self.streams.live() < streams_max
            && self.streams.used() < self.config.streams_max.saturating_mul(2)
    }

    /// Server: a connection that began with `Upgrade: h2c` (RFC 7540 3.2): stream 1 is the request, already complete,
    /// and `settings` the decoded `HTTP2-Settings`. To be called first; the client's preface still has to come.
    pub fn upgrade(&mut self, settings: &[u8]) -> Result<StreamKey, ConnectionError> {
        if self.role != Role::Server || self.last_peer_id != 0 {
            return Err(ConnectionError::protocol("an upgrade of a connection in use"));
        }
        if !settings.len().is_multiple_of(6) {
            return Err(ConnectionError::frame_size("HTTP2-Settings of the wrong length (RFC 7540 3.2.1)"));
        }
        self.apply_settings(settings)?;
        self.last_peer_id = 1;
        self.streams.note_opened(1);
        let mut stream = self.new_stream(1, Method::Get);
        stream.state = State::HalfClosedRemote;
        stream.expect = Expect::Body;
        Ok(self.streams.insert(stream))
    }

    /// Sends the head of a request.
    pub fn send_request(
        &mut self,
        key: StreamKey,
        bytes: &[u8],
        head: &RequestHead,
        edits: &RequestEdits<'_>,
        scheme: &str,
        end: bool,
    ) -> Result<(), StreamGone> {
        let stream = self.streams.get_mut(key).ok_or(StreamGone)?;
        let is_next = stream.state.can_send() && !stream.head_sent && key.id > self.last_sent_id;
        if self.role != Role::Client || !is_next || self.failed.is_some() {
            return Err(StreamGone);
        }
        stream.head_sent = true;
        self.last_sent_id = key.id;
        self.meter.resets.give_back(RESETS_PER_REQUEST);
        self.meter.window_updates.give_back(UPDATES_PER_HEAD);
        self.send_block(key, end, |encoder, out| encoder.request(out, bytes, head, edits, scheme));
        Ok(())
    }

    /// Sends the head of a response, an interim one (1xx) too.
    pub fn send_response(
        &mut self,
        key: StreamKey,
        bytes: &[u8],
        head: &ResponseHead,
        edits: &ResponseEdits<'_>,
        end: bool,
    ) -> Result<(), StreamGone> {
        let is_interim = head.is_interim();
        let stream = self.streams.get_mut(key).ok_or(StreamGone)?;
        let is_next = stream.state.can_send() && !stream.head_sent && !(is_interim && end);
        if self.role != Role::Server || !is_next {
            return Err(StreamGone);
        }
        stream.head_sent = !is_interim;
        self.meter.window_updates.give_back(UPDATES_PER_HEAD);
        self.send_block(key, end, |encoder, out| encoder.response(out, bytes, head, edits));
        Ok(())
    }

    /// Sends trailers (`name: value\r\n` lines), and with them the end.
    pub fn send_trailers(&mut self, key: StreamKey, lines: &[u8]) -> Result<(), StreamGone> {
        if lines.is_empty() {
            // A block without fields would be legal, and is what some peers choke on.
            return self.send_data_header(key, 0, true);
        }
        let stream = self.streams.get(key).ok_or(StreamGone)?;
        if !stream.state.can_send() || !stream.head_sent {
            return Err(StreamGone);
        }
        self.send_block(key, true, |encoder, out| encoder.trailers(out, lines));
        Ok(())
    }

    fn send_block(&mut self, key: StreamKey, end: bool, encode: impl FnOnce(&mut HeadEncoder, &mut Vec<u8>)) {
        self.note_taken();
        let start = self.output.len();
        self.output.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        encode(&mut self.encoder, &mut self.output);
        frame::frame_block(&mut self.output, start, key.id, end, self.peer.frame_bytes_max);
        if end {
            self.streams.transition(key, Transition::EndSent);
        }
    }

    /// What one DATA frame may carry now: the smallest of the stream's window, the connection's and the peer's frame
    /// size. Where it is 0, [`Event::Writable`](crate::http2::Event::Writable) or
    /// [`Event::AllWritable`](crate::http2::Event::AllWritable) follows.
    #[inline]
    pub fn send_capacity(&self, key: StreamKey) -> usize {
        let Some(stream) = self.streams.get(key).filter(|stream| stream.state.can_send()) else { return 0 };
        let window = stream.send_window.max(0) as u32;
        window.min(self.send_window).min(self.peer.frame_bytes_max) as usize
    }

    /// What the stream's window allows, whatever the connection's does; 0 where it is closed.
    #[inline]
    pub fn stream_window(&self, key: StreamKey) -> usize {
        self.streams.get(key).map_or(0, |stream| stream.send_window.max(0) as usize)
    }

    /// What the connection's window allows to send.
    #[inline]
    pub fn connection_window(&self) -> usize {
        self.send_window as usize
    }

    /// Appends the header of a DATA frame; the caller sends `len` bytes of payload right behind the output. `len` is at
    /// most [`Connection::send_capacity`]; 0 with `end` always goes.
    #[inline]
    pub fn send_data_header(&mut self, key: StreamKey, len: usize, end: bool) -> Result<(), StreamGone> {
        let capacity = self.send_capacity(key);
        let stream = self.streams.get_mut(key).ok_or(StreamGone)?;
        if !stream.state.can_send() || !stream.head_sent {
            return Err(StreamGone);
        }
        debug_assert!(len <= capacity, "{len} bytes do not fit in {capacity}");
        if len > capacity {
            return Err(StreamGone);
        }
        let length = clamp(len);
        // At most the capacity, which is within the windows.
        stream.send_window -= length as i32;
        self.send_window -= length;
        self.meter.window_updates.give_back(UPDATES_PER_DATA);
        self.meter.control_frames.give_back(PINGS_PER_DATA);
        self.note_taken();
        let flags = if end { flag::END_STREAM } else { 0 };
        frame::write_header(&mut self.output, length, kind::DATA, flags, key.id);
        if end {
            self.streams.transition(key, Transition::EndSent);
        }
        Ok(())
    }

    /// Sends RST_STREAM, unless the stream has ended. It still has to be released.
    pub fn reset(&mut self, key: StreamKey, code: ErrorCode) {
        let Some(stream) = self.streams.get(key).filter(|stream| !stream.state.is_closed()) else { return };
        // The peer does not know of a request that was not sent (RFC 9113 6.4: an idle stream cannot be reset).
        let is_known = self.role == Role::Server || stream.head_sent;
        self.streams.transition(key, Transition::ResetSent);
        if is_known {
            self.meter.closed_frames.give_back(FRAMES_PER_RESET);
            self.write_reset(key.id, code);
        }
    }

    pub(super) fn write_reset(&mut self, id: u32, code: ErrorCode) {
        self.count_control(FRAME_HEADER_BYTES + 4);
        frame::write_reset(&mut self.output, id, code);
    }
}
