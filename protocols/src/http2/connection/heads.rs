//! Header blocks (RFC 9113 4.3, 6.2, 6.10, 8.1): HEADERS and CONTINUATION into requests, responses and trailers.

use super::Connection;
use super::data::closed_error;
use crate::http2::abuse::Abuse;
use crate::http2::config::Role;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::event::Event;
use crate::http2::frame::{FrameHeader, STREAM_ID_MAX, flag};
use crate::http2::head::HeadError;
use crate::http2::stream::{Expect, LENGTH_UNKNOWN, State, Stream, StreamKey, Transition};
use crate::http2::streams::Gone;
use crate::message::{BodyLength, Method, RequestHead, ResponseHead, TargetForm};

use super::IDS_LEFT_MIN;

/// Interim responses that one response may have before it: early hints come in handfuls.
const INTERIMS_MAX: u8 = 32;

/// A header block under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) id: u32,
    end_stream: bool,
    /// A dependency of the stream on itself.
    depends_on_itself: bool,
    continuations: u32,
}

impl Connection {
    pub(super) fn on_headers(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id == 0 {
            return Err(ConnectionError::protocol("HEADERS on stream 0 (RFC 9113 6.2)"));
        }
        let (fragment, depends_on_itself) = fragment(header, payload)?;
        let end_stream = header.has(flag::END_STREAM);
        let block = Block { id: header.id, end_stream, depends_on_itself, continuations: 0 };
        if fragment.len() > self.config.block_bytes_max() {
            return Err(ConnectionError::abuse(Abuse::HeaderBytes));
        }
        if header.has(flag::END_HEADERS) {
            return self.on_block(block, fragment);
        }
        if fragment.is_empty() {
            self.count_empty()?;
        }
        self.block = Some(block);
        self.block_bytes.clear();
        self.block_bytes.extend_from_slice(fragment);
        Ok(None)
    }

    pub(super) fn on_continuation(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        // Another stream's was refused with the frame header.
        let Some(block) = &mut self.block else {
            return Err(ConnectionError::protocol("CONTINUATION without HEADERS (RFC 9113 6.10)"));
        };
        block.continuations = block.continuations.saturating_add(1);
        let block = *block;
        let limit = self.config.abuse.continuations;
        if limit != 0 && block.continuations > limit {
            return Err(ConnectionError::abuse(Abuse::Continuations));
        }
        if self.block_bytes.len() + payload.len() > self.config.block_bytes_max() {
            return Err(ConnectionError::abuse(Abuse::HeaderBytes));
        }
        let is_last = header.has(flag::END_HEADERS);
        if payload.is_empty() && !is_last {
            self.count_empty()?;
        }
        self.block_bytes.extend_from_slice(payload);
        if !is_last {
            return Ok(None);
        }
        self.block = None;
        let mut bytes = std::mem::take(&mut self.block_bytes);
        let event = self.on_block(block, &bytes);
        if bytes.capacity() <= super::BUFFER_BYTES_KEPT {
            bytes.clear();
            self.block_bytes = bytes;
        }
        event
    }

    fn count_empty(&mut self) -> Result<(), ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.empty_frames.take(1, now_ns)
    }

    /// Acts on a whole header block. Whatever becomes of the stream, the block goes through the decoder, or the tables
    /// of the two ends would differ (RFC 9113 4.3).
    fn on_block(&mut self, block: Block, fragment: &[u8]) -> Result<Option<Event>, ConnectionError> {
        match self.role {
            Role::Server if block.id.is_multiple_of(2) => {
                Err(ConnectionError::protocol("a request on an even stream (RFC 9113 5.1.1)"))
            }
            Role::Server if block.id > self.last_peer_id => self.on_new_request(block, fragment),
            Role::Client if self.is_idle(block.id) => {
                Err(ConnectionError::protocol("HEADERS on an idle stream (RFC 9113 5.1)"))
            }
            _ => self.on_open_stream(block, fragment),
        }
    }

    fn on_new_request(&mut self, block: Block, fragment: &[u8]) -> Result<Option<Event>, ConnectionError> {
        let id = block.id;
        self.last_peer_id = id;
        self.streams.note_opened(id);
        if id > STREAM_ID_MAX - 2 * IDS_LEFT_MIN {
            self.drain_begin();
        }
        if self.goaway_sent.is_some_and(|last| id > last) {
            self.discard(fragment)?;
            return self.count_refused();
        }
        let streams_max = self.config.streams_max;
        if self.streams.live() >= streams_max || self.streams.used() >= streams_max.saturating_mul(2) {
            self.discard(fragment)?;
            self.streams.remember_reset(id, false, self.stream_window as i32);
            self.write_reset(id, ErrorCode::RefusedStream);
            return self.count_refused();
        }
        let (limits, connect) = (&self.config.head_limits, self.config.connect_protocol);
        let (head, bytes) = (&mut self.request, &mut self.bytes);
        let refused = match self.decoder.request(fragment, limits, block.end_stream, connect, head, bytes) {
            Ok(()) => None,
            Err(HeadError::Compression(_)) => return Err(compression_error()),
            Err(HeadError::Malformed(rule)) => {
                self.refuse_malformed(id)?;
                return Ok(Some(Event::Malformed { id, rule }));
            }
            Err(error) => Some(error),
        };
        if block.depends_on_itself {
            // RFC 7540 5.3.1; of RFC 9113 only its frame format is left (5.3.2).
            self.refuse_malformed(id)?;
            return Ok(None);
        }
        let mut stream = self.new_stream(id, Method::Get);
        stream.expect = if refused.is_some() { Expect::Nothing } else { Expect::Body };
        stream.length_left = if refused.is_some() { LENGTH_UNKNOWN } else { request_length(&self.request) };
        if block.end_stream {
            stream.state = State::HalfClosedRemote;
        }
        let key = self.streams.insert(stream);
        match refused {
            Some(error) => {
                self.count_refused()?;
                Ok(Some(Event::RefusedHead { key, error }))
            }
            None => Ok(Some(Event::Request { key, end: block.end_stream })),
        }
    }

    /// HEADERS on a stream that is not idle: a response, trailers, or too late.
    fn on_open_stream(&mut self, block: Block, fragment: &[u8]) -> Result<Option<Event>, ConnectionError> {
        let id = block.id;
        let Some(key) = self.streams.find(id) else { return self.head_for_gone(id, fragment) };
        let Some(stream) = self.streams.get(key) else { return Ok(None) };
        let (state, expect, method) = (stream.state, stream.expect, stream.method);
        match state {
            State::Open | State::HalfClosedLocal => {}
            State::Ended => return Err(closed_error()),
            State::ResetByUs => {
                self.discard(fragment)?;
                return self.count_closed();
            }
            State::HalfClosedRemote | State::ResetByPeer => {
                self.discard(fragment)?;
                return self.stream_error(id, Some(key), ErrorCode::StreamClosed);
            }
        }
        if block.depends_on_itself {
            self.discard(fragment)?;
            return self.stream_error(id, Some(key), ErrorCode::ProtocolError);
        }
        match expect {
            Expect::Head => self.on_response(key, method, block.end_stream, fragment),
            Expect::Body => self.on_trailers(key, block.end_stream, fragment),
            Expect::Nothing => {
                self.discard(fragment)?;
                if block.end_stream {
                    self.streams.transition(key, Transition::EndReceived);
                }
                Ok(None)
            }
        }
    }

    fn on_response(
        &mut self,
        key: StreamKey,
        method: Method,
        end: bool,
        fragment: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let limits = &self.config.head_limits;
        let (head, bytes) = (&mut self.response, &mut self.bytes);
        let event = match self.decoder.response(fragment, limits, end, method, head, bytes) {
            Ok(()) => Event::Response { key, end },
            Err(HeadError::Compression(_)) => return Err(compression_error()),
            Err(HeadError::Malformed(_)) => {
                return self.stream_error(key.id, Some(key), ErrorCode::ProtocolError);
            }
            Err(error) => Event::RefusedHead { key, error },
        };
        let is_refused = matches!(event, Event::RefusedHead { .. });
        let is_interim = !is_refused && self.response.is_interim();
        let length = response_length(&self.response, method);
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if is_interim {
            stream.interims = stream.interims.saturating_add(1);
            if stream.interims > INTERIMS_MAX {
                return self.stream_error(key.id, Some(key), ErrorCode::EnhanceYourCalm);
            }
            return Ok(Some(event));
        }
        (stream.expect, stream.length_left) =
            if is_refused { (Expect::Nothing, LENGTH_UNKNOWN) } else { (Expect::Body, length) };
        if end {
            self.streams.transition(key, Transition::EndReceived);
        }
        Ok(Some(event))
    }

    fn on_trailers(
        &mut self,
        key: StreamKey,
        end: bool,
        fragment: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if !end {
            // RFC 9113 8.1: a second head that does not end the stream is malformed.
            self.discard(fragment)?;
            return self.stream_error(key.id, Some(key), ErrorCode::ProtocolError);
        }
        match self.decoder.trailers(fragment, &self.config.trailer_limits, &mut self.bytes) {
            Ok(()) => {}
            Err(HeadError::Compression(_)) => return Err(compression_error()),
            Err(HeadError::Malformed(_)) => {
                return self.stream_error(key.id, Some(key), ErrorCode::ProtocolError);
            }
            Err(_) => return self.stream_error(key.id, Some(key), ErrorCode::EnhanceYourCalm),
        }
        let is_whole = self.streams.get_mut(key).is_some_and(|stream| stream.take_length(0, true));
        if !is_whole {
            // RFC 9113 8.1.1: the body is shorter than declared, however it ends.
            return self.stream_error(key.id, Some(key), ErrorCode::ProtocolError);
        }
        self.streams.transition(key, Transition::EndReceived);
        Ok(Some(Event::Trailers { key }))
    }

    /// HEADERS for a stream without a place.
    fn head_for_gone(&mut self, id: u32, fragment: &[u8]) -> Result<Option<Event>, ConnectionError> {
        match self.gone(id) {
            Gone::Skipped => {
                Err(ConnectionError::protocol("a stream below the last one that was opened (RFC 9113 5.1.1)"))
            }
            Gone::Ended => Err(closed_error()),
            Gone::ResetByUs => {
                self.discard(fragment)?;
                self.count_closed()
            }
            Gone::ResetByPeer => {
                self.discard(fragment)?;
                self.stream_error(id, None, ErrorCode::StreamClosed)
            }
        }
    }

    fn refuse_malformed(&mut self, id: u32) -> Result<(), ConnectionError> {
        // What comes behind the head is ignored, as far as the window goes.
        self.streams.remember_reset(id, false, self.stream_window as i32);
        self.stream_error(id, None, ErrorCode::ProtocolError).map(|_| ())
    }

    fn count_refused(&mut self) -> Result<Option<Event>, ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.refused_streams.take(1, now_ns)?;
        Ok(None)
    }

    fn discard(&mut self, fragment: &[u8]) -> Result<(), ConnectionError> {
        match self.decoder.discard(fragment) {
            Err(HeadError::Compression(_)) => Err(compression_error()),
            // Nobody is told of the rest: the stream is gone.
            _ => Ok(()),
        }
    }

    /// A stream at its beginning.
    pub(super) fn new_stream(&self, id: u32, method: Method) -> Stream {
        Stream {
            id,
            next_free: 0,
            // Both are at most 2^31-1.
            send_window: self.peer.stream_window as i32,
            receive_window: self.stream_window as i32,
            unannounced: 0,
            grown: 0,
            length_left: LENGTH_UNKNOWN,
            state: State::Open,
            expect: Expect::Head,
            method,
            head_sent: false,
            interims: 0,
        }
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

    /// The `name: value\r\n` lines of the last [`Event::Trailers`], swapped with what is given.
    pub fn take_trailers(&mut self, lines: &mut Vec<u8>) {
        std::mem::swap(lines, &mut self.bytes);
    }
}

/// The fragment within a HEADERS frame, without padding and priority, and whether the stream depends on itself.
fn fragment(header: FrameHeader, payload: &[u8]) -> Result<(&[u8], bool), ConnectionError> {
    let mut rest = payload;
    if header.has(flag::PADDED) {
        let Some((padding, after)) = rest.split_first() else {
            return Err(ConnectionError::frame_size("HEADERS without its pad length (RFC 9113 6.2)"));
        };
        let Some(content) = after.len().checked_sub(usize::from(*padding)).and_then(|end| after.get(..end))
        else {
            return Err(ConnectionError::protocol("padding longer than its frame (RFC 9113 6.2)"));
        };
        rest = content;
    }
    let mut depends_on_itself = false;
    if header.has(flag::PRIORITY) {
        let Some((priority, after)) = rest.split_first_chunk::<5>() else {
            return Err(ConnectionError::frame_size("HEADERS without its priority (RFC 9113 6.2)"));
        };
        let [a, b, c, d, _weight] = *priority;
        depends_on_itself = u32::from_be_bytes([a, b, c, d]) & STREAM_ID_MAX == header.id;
        rest = after;
    }
    Ok((rest, depends_on_itself))
}

/// How much content a request has to have.
fn request_length(head: &RequestHead) -> u64 {
    match head.body {
        // What follows is a tunnel and not a body (RFC 9113 8.5).
        BodyLength::Empty if head.extended_connect || head.form == TargetForm::Authority => LENGTH_UNKNOWN,
        body => length(body),
    }
}

/// How much content a response has to have.
fn response_length(head: &ResponseHead, method: Method) -> u64 {
    match head.body {
        BodyLength::Empty if method == Method::Connect && (200..300).contains(&head.status) => LENGTH_UNKNOWN,
        body => length(body),
    }
}

fn length(body: BodyLength) -> u64 {
    match body {
        BodyLength::Empty => 0,
        BodyLength::Exact(length) => length,
        BodyLength::Chunked | BodyLength::UntilClose => LENGTH_UNKNOWN,
    }
}

fn compression_error() -> ConnectionError {
    ConnectionError::new(ErrorCode::CompressionError, "a header block that cannot be decoded (RFC 9113 4.3)")
}
