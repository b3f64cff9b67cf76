//! Input into frames. It may be cut anywhere: nothing of it has to be kept by the caller.

use std::time::Instant;

use super::{BUFFER_BYTES_KEPT, Connection, PREFACE};
use crate::http2::config::Role;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::event::{Event, Step};
use crate::http2::frame::{FRAME_HEADER_BYTES, FrameHeader, flag, kind};
use crate::http2::stream::{Expect, StreamKey, Transition};

/// What the next byte of the input is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// Within the client's preface, behind so many bytes of it.
    Preface(u8),
    /// The first byte of a frame header, or a later one where `header_bytes` says so.
    Header,
    /// Payload of a frame that is gathered in `partial`.
    Payload(FrameHeader),
    /// The length of the padding of this DATA frame.
    PadLength { key: StreamKey, header: FrameHeader },
    /// Content of DATA, and the padding behind it.
    Data { key: StreamKey, left: u32, padding: u8, end: bool },
    /// Payload that nobody wants.
    Skip(u32),
}

impl Reading {
    /// Within a frame of a header block.
    pub(super) fn is_headers(self) -> bool {
        matches!(self, Reading::Payload(header) if matches!(header.kind, kind::HEADERS | kind::CONTINUATION))
    }
}

impl Connection {
    /// Takes from the input up to the next event. Call it until nothing is consumed and there is no event; with an empty
    /// input too, as one frame can have many events. It takes all of the input: nothing has to be kept for it.
    ///
    /// An error ends the connection: it is returned again from then on.
    pub fn receive(&mut self, input: &[u8], now: Instant) -> Result<Step, ConnectionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.now = now;
        let mut consumed = 0;
        match self.advance(input, &mut consumed) {
            Ok(event) => Ok(Step { consumed, event }),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    fn advance(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, ConnectionError> {
        if let Some(event) = self.next_pending() {
            return Ok(Some(event));
        }
        while *at < input.len() {
            let event = match self.reading {
                Reading::Header => self.read_header(input, at)?,
                Reading::Data { key, left, padding, end } => {
                    self.read_data(input, at, key, left, padding, end)
                }
                Reading::Payload(header) => self.gather(header, input, at)?,
                Reading::PadLength { key, header } => self.read_pad_length(key, header, input, at)?,
                Reading::Skip(left) => {
                    let skipped = left.min(clamp(input.len() - *at));
                    *at += skipped as usize;
                    self.skip(left - skipped);
                    None
                }
                Reading::Preface(matched) => self.read_preface(matched, input, at)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// What is left of the last frame.
    #[inline]
    fn next_pending(&mut self) -> Option<Event> {
        if self.pending.is_some() {
            return self.pending.take();
        }
        let mut slot = self.sweep?;
        let last = self.goaway_received?;
        // RFC 9113 6.8: what is above the last identifier has not been processed.
        while let Some((key, stream)) = self.streams.at(slot) {
            slot += 1;
            if key.id > last && !stream.state.is_closed() {
                // A response shows that it was, whatever GOAWAY says.
                let processed = stream.expect != Expect::Head;
                self.sweep = Some(slot);
                self.streams.transition(key, Transition::ResetReceived);
                return Some(Event::Reset { key, code: ErrorCode::RefusedStream, by_peer: true, processed });
            }
        }
        self.sweep = None;
        None
    }

    fn read_preface(
        &mut self,
        matched: u8,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let expected = PREFACE.get(usize::from(matched)..).unwrap_or_default();
        let rest = input.get(*at..).unwrap_or_default();
        let compared = expected.len().min(rest.len());
        if rest.get(..compared) != expected.get(..compared) {
            return Err(ConnectionError::protocol("not the preface of HTTP/2 (RFC 9113 3.4)"));
        }
        *at += compared;
        self.reading = if compared == expected.len() {
            Reading::Header
        } else {
            Reading::Preface(matched + compared as u8)
        };
        Ok(None)
    }

    #[inline]
    fn read_header(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Event>, ConnectionError> {
        let rest = input.get(*at..).unwrap_or_default();
        if self.header_bytes == 0
            && let Some(bytes) = rest.first_chunk::<FRAME_HEADER_BYTES>()
        {
            *at += FRAME_HEADER_BYTES;
            return self.begin(FrameHeader::parse(bytes), input, at);
        }
        let room = self.header.get_mut(usize::from(self.header_bytes)..).unwrap_or_default();
        let taken = room.len().min(rest.len());
        for (to, from) in room.iter_mut().zip(rest) {
            *to = *from;
        }
        *at += taken;
        self.header_bytes += taken as u8;
        if usize::from(self.header_bytes) < FRAME_HEADER_BYTES {
            return Ok(None);
        }
        self.header_bytes = 0;
        self.begin(FrameHeader::parse(&self.header), input, at)
    }

    /// Acts on a frame header; the payload follows at `at`.
    #[inline]
    fn begin(
        &mut self,
        header: FrameHeader,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        self.check_header(header)?;
        if header.kind == kind::DATA {
            return self.begin_data(header, input, at);
        }
        if !self.is_known(header)? {
            self.skip(header.length);
            return Ok(None);
        }
        let end = *at + header.length as usize;
        if let Some(payload) = input.get(*at..end) {
            *at = end;
            return self.act(header, payload);
        }
        self.partial.clear();
        self.reading = Reading::Payload(header);
        Ok(None)
    }

    /// Rules that hold for every frame.
    #[inline]
    fn check_header(&self, header: FrameHeader) -> Result<(), ConnectionError> {
        if header.length > self.config.frame_bytes_max {
            // RFC 9113 4.2 lets some types end the stream only; a peer that ignores our limit is not worth the care.
            return Err(ConnectionError::frame_size("a frame above SETTINGS_MAX_FRAME_SIZE (RFC 9113 4.2)"));
        }
        if let Some(block) = &self.block
            && (header.kind != kind::CONTINUATION || header.id != block.id)
        {
            return Err(ConnectionError::protocol("a frame within a header block (RFC 9113 6.10)"));
        }
        if !self.settings_received && (header.kind != kind::SETTINGS || header.has(flag::ACK)) {
            return Err(ConnectionError::protocol("the first frame is not SETTINGS (RFC 9113 3.4)"));
        }
        Ok(())
    }

    /// Checks the length that a type has to have, so that a wrong one is not waited for. False: an unknown type.
    fn is_known(&mut self, header: FrameHeader) -> Result<bool, ConnectionError> {
        let length = header.length;
        let fits = match header.kind {
            kind::RST_STREAM | kind::WINDOW_UPDATE => length == 4,
            kind::PING => length == 8,
            kind::GOAWAY => length >= 8,
            kind::SETTINGS if header.has(flag::ACK) => length == 0,
            kind::SETTINGS => length.is_multiple_of(6),
            // A wrong length of PRIORITY ends its stream only (RFC 9113 6.3).
            kind::HEADERS | kind::CONTINUATION | kind::PRIORITY | kind::PRIORITY_UPDATE => true,
            kind::PUSH_PROMISE => {
                return Err(ConnectionError::protocol("PUSH_PROMISE, which is switched off (RFC 9113 8.4)"));
            }
            _ => {
                let now_ns = self.now_ns();
                self.meter.unknown_frames.take(1, now_ns)?;
                return Ok(false);
            }
        };
        if !fits {
            return Err(ConnectionError::frame_size("a frame of the wrong length (RFC 9113 6)"));
        }
        Ok(true)
    }

    /// Gathers a payload that came in parts.
    fn gather(
        &mut self,
        header: FrameHeader,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let missing = (header.length as usize).saturating_sub(self.partial.len());
        let rest = input.get(*at..).unwrap_or_default();
        let part = rest.get(..missing).unwrap_or(rest);
        self.partial.extend_from_slice(part);
        *at += part.len();
        if part.len() < missing {
            return Ok(None);
        }
        self.reading = Reading::Header;
        let mut payload = std::mem::take(&mut self.partial);
        let event = self.act(header, &payload);
        if payload.capacity() <= BUFFER_BYTES_KEPT {
            payload.clear();
            self.partial = payload;
        }
        event
    }

    /// Acts on a whole frame other than DATA.
    fn act(&mut self, header: FrameHeader, payload: &[u8]) -> Result<Option<Event>, ConnectionError> {
        let event = match header.kind {
            kind::HEADERS => self.on_headers(header, payload),
            kind::CONTINUATION => self.on_continuation(header, payload),
            kind::WINDOW_UPDATE => self.on_window_update(header, payload),
            kind::RST_STREAM => self.on_reset(header, payload),
            kind::SETTINGS => self.on_settings(header, payload),
            kind::PING => self.on_ping(header, payload),
            kind::PRIORITY => self.on_priority(header, payload),
            kind::PRIORITY_UPDATE => self.on_priority_update(header, payload),
            kind::GOAWAY => self.on_goaway(header, payload),
            // `is_known` lets nothing else through.
            _ => Ok(None),
        }?;
        self.check_queued_control()?;
        Ok(event)
    }

    /// Passes over so many bytes of payload.
    #[inline]
    pub(super) fn skip(&mut self, bytes: u32) {
        self.reading = if bytes == 0 { Reading::Header } else { Reading::Skip(bytes) };
    }

    /// Whether a stream was never used (RFC 9113 5.1, idle).
    #[inline]
    pub(super) fn is_idle(&self, id: u32) -> bool {
        match self.role {
            Role::Server => id.is_multiple_of(2) || id > self.last_peer_id,
            Role::Client => id.is_multiple_of(2) || id > self.last_sent_id,
        }
    }

    /// Resets a stream for a rule that the peer broke (RFC 9113 5.4.2). Without a key it has no place, and nobody is
    /// told.
    pub(super) fn stream_error(
        &mut self,
        id: u32,
        key: Option<StreamKey>,
        code: ErrorCode,
    ) -> Result<Option<Event>, ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.own_resets.take(1, now_ns)?;
        self.write_reset(id, code);
        self.check_queued_control()?;
        let Some(key) = key else { return Ok(None) };
        // A stream that is closed already was told of.
        let told = self.streams.get(key).is_none_or(|stream| stream.state.is_closed());
        self.streams.transition(key, Transition::ResetSent);
        Ok((!told).then_some(Event::Reset { key, code, by_peer: false, processed: true }))
    }
}

/// A length as the 32 bits that frames count in.
#[inline]
pub(super) fn clamp(bytes: usize) -> u32 {
    bytes.min(u32::MAX as usize) as u32
}
