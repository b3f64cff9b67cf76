//! DATA (RFC 9113 6.1), and the windows that we give the peer (6.9).

use super::Connection;
use super::receive::{Reading, clamp};
use crate::http2::config::Role;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::event::Event;
use crate::http2::flow::PROBE_PING;
use crate::http2::frame::{self, FRAME_HEADER_BYTES, FrameHeader, flag};
use crate::http2::stream::{Expect, State, Stream, StreamKey, Transition};
use crate::http2::streams::Gone;

impl Connection {
    /// Acts on the header of a DATA frame. All of the payload counts for flow control, padding too (RFC 9113 6.9.1).
    pub(super) fn begin_data(
        &mut self,
        header: FrameHeader,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id == 0 || self.is_idle(header.id) {
            return Err(ConnectionError::protocol("DATA on stream 0 or an idle one (RFC 9113 6.1, 5.1)"));
        }
        if !self.receive_window.take(header.length) {
            return Err(ConnectionError::new(
                ErrorCode::FlowControlError,
                "DATA beyond the connection's window (RFC 9113 6.9.1)",
            ));
        }
        self.adaptive.received(header.length);
        if let Some(increment) = self.receive_window.refill() {
            self.count_control(FRAME_HEADER_BYTES + 4);
            frame::write_window_update(&mut self.output, 0, increment);
            self.check_queued_control()?;
        }
        let Some(key) = self.streams.find(header.id) else { return self.data_for_gone(header) };
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        if let Some(broken) = broken_by_data(stream, header.length) {
            self.skip(header.length);
            return match broken {
                // Bounded by the window, unless it is nothing.
                Broken::Ignored if header.length > 0 => Ok(None),
                Broken::Ignored => self.count_closed(),
                Broken::Stream(code) => self.stream_error(header.id, Some(key), code),
                Broken::Connection(error) => Err(error),
            };
        }
        stream.receive_window -= header.length as i32;
        if !header.has(flag::PADDED) {
            return self.start_data(key, header, header.length, 0, input, at);
        }
        if header.length == 0 {
            return Err(ConnectionError::frame_size("padding without its length (RFC 9113 6.1)"));
        }
        self.reading = Reading::PadLength { key, header };
        Ok(None)
    }

    pub(super) fn read_pad_length(
        &mut self,
        key: StreamKey,
        header: FrameHeader,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let Some(padding) = input.get(*at).copied() else { return Ok(None) };
        *at += 1;
        // The pad length byte is behind us.
        let Some(length) = header.length.checked_sub(1 + u32::from(padding)) else {
            return Err(ConnectionError::protocol("padding longer than its frame (RFC 9113 6.1)"));
        };
        let event = self.start_data(key, header, length, padding, input, at)?;
        // Nobody reads padding, so nobody will say that it was consumed.
        self.consumed(key, 1 + usize::from(padding));
        Ok(event)
    }

    /// Acts on the content of DATA, whose length is known now.
    #[inline]
    fn start_data(
        &mut self,
        key: StreamKey,
        header: FrameHeader,
        length: u32,
        padding: u8,
        input: &[u8],
        at: &mut usize,
    ) -> Result<Option<Event>, ConnectionError> {
        let end = header.has(flag::END_STREAM);
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.state.can_receive()) else {
            // It went between two bytes of the frame.
            self.skip(length + u32::from(padding));
            return Ok(None);
        };
        if stream.expect == Expect::Nothing {
            self.skip(length + u32::from(padding));
            if end {
                self.streams.transition(key, Transition::EndReceived);
            }
            return Ok(None);
        }
        if !stream.take_length(length, end) {
            // Content that does not match the declared length (RFC 9113 8.1.1).
            self.skip(length + u32::from(padding));
            return self.stream_error(key.id, Some(key), ErrorCode::ProtocolError);
        }
        if length > 0 {
            return Ok(self.read_data(input, at, key, length, padding, end));
        }
        self.skip(u32::from(padding));
        if end {
            self.streams.transition(key, Transition::EndReceived);
            return Ok(Some(Event::Data { key, range: *at..*at, end }));
        }
        let now_ns = self.now_ns();
        self.meter.empty_frames.take(1, now_ns)?;
        Ok(None)
    }

    /// Hands out what there is of the content.
    #[inline]
    pub(super) fn read_data(
        &mut self,
        input: &[u8],
        at: &mut usize,
        key: StreamKey,
        left: u32,
        padding: u8,
        end: bool,
    ) -> Option<Event> {
        let start = *at;
        let piece = left.min(clamp(input.len().saturating_sub(start)));
        let is_wanted = self.streams.get(key).is_some_and(|stream| stream.state.can_receive());
        if !is_wanted {
            // It went between two pieces.
            self.skip(left + u32::from(padding));
            return None;
        }
        if piece == 0 {
            self.reading = Reading::Data { key, left, padding, end };
            return None;
        }
        *at += piece as usize;
        let is_last = piece == left;
        if is_last {
            self.skip(u32::from(padding));
            if end {
                self.streams.transition(key, Transition::EndReceived);
            }
        } else {
            self.reading = Reading::Data { key, left: left - piece, padding, end };
        }
        Some(Event::Data { key, range: start..*at, end: end && is_last })
    }

    /// DATA for a stream without a place.
    fn data_for_gone(&mut self, header: FrameHeader) -> Result<Option<Event>, ConnectionError> {
        self.skip(header.length);
        match self.gone(header.id) {
            Gone::Skipped | Gone::Ended => Err(closed_error()),
            Gone::ResetByPeer => self.stream_error(header.id, None, ErrorCode::StreamClosed),
            Gone::ResetByUs => match self.streams.take_reset_window(header.id, header.length) {
                Some(false) => Err(beyond_reset_window()),
                Some(true) if header.length > 0 => Ok(None),
                _ => self.count_closed(),
            },
        }
    }

    /// A frame that was under way when its stream ended. It has to be ignored (RFC 9113 5.1), but not for ever.
    pub(super) fn count_closed(&mut self) -> Result<Option<Event>, ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.closed_frames.take(1, now_ns)?;
        Ok(None)
    }

    /// What is known of a stream that is neither idle nor in the table.
    pub(super) fn gone(&self, id: u32) -> Gone {
        let is_server = self.role == Role::Server;
        if is_server && self.goaway_sent.is_some_and(|last| id > last) {
            // RFC 9113 6.8: ignored like those that were reset.
            return Gone::ResetByUs;
        }
        self.streams.gone(id, is_server)
    }

    /// The reader has passed on so many bytes of the stream's body: opens the stream's window, in batches of half a
    /// window. More than was received is not believed.
    pub fn consumed(&mut self, key: StreamKey, bytes: usize) {
        let initial = self.stream_window;
        let Some(stream) = self.streams.get_mut(key).filter(|stream| stream.state.can_receive()) else {
            return;
        };
        stream.unannounced = stream.unannounced.saturating_add(clamp(bytes));
        let full = stream.full_window(initial);
        if stream.unannounced < full.div_ceil(2) {
            return;
        }
        let held = i64::from(full) - i64::from(stream.receive_window);
        let passed_on = i64::from(stream.unannounced).min(held).max(0) as u32;
        stream.unannounced = 0;
        let growth = if self.settings_acked { self.adaptive.borrow(full) } else { 0 };
        stream.grown += growth;
        let increment = passed_on.saturating_add(growth);
        if increment == 0 {
            return;
        }
        // Not above the full window, which is at most 2^31-1.
        stream.receive_window = stream.receive_window.saturating_add(increment as i32);
        self.count_control(FRAME_HEADER_BYTES + 4);
        frame::write_window_update(&mut self.output, key.id, increment);
        if self.adaptive.wants_probe(self.now) {
            self.ping(PROBE_PING);
        }
    }
}

/// What DATA does wrong.
enum Broken {
    Ignored,
    Stream(ErrorCode),
    Connection(ConnectionError),
}

/// Checks DATA against the state and the window of its stream.
#[inline]
fn broken_by_data(stream: &mut Stream, length: u32) -> Option<Broken> {
    match stream.state {
        State::Open | State::HalfClosedLocal => {}
        State::HalfClosedRemote | State::ResetByPeer => return Some(Broken::Stream(ErrorCode::StreamClosed)),
        State::Ended => return Some(Broken::Connection(closed_error())),
        State::ResetByUs => {
            // An end without content fits into any window, also into one that our settings made negative.
            let fits = i64::from(length) <= i64::from(stream.receive_window).max(0);
            stream.receive_window = stream.receive_window.saturating_sub(length as i32);
            if fits {
                return Some(Broken::Ignored);
            }
            return Some(Broken::Connection(beyond_reset_window()));
        }
    }
    if i64::from(length) > i64::from(stream.receive_window).max(0) {
        return Some(Broken::Stream(ErrorCode::FlowControlError));
    }
    // RFC 9113 8.1: content comes behind a head.
    (stream.expect == Expect::Head).then_some(Broken::Stream(ErrorCode::ProtocolError))
}

/// RFC 9113 5.1: closed, and both ends know it.
pub(super) fn closed_error() -> ConnectionError {
    ConnectionError::new(ErrorCode::StreamClosed, "a frame on a closed stream (RFC 9113 5.1)")
}

fn beyond_reset_window() -> ConnectionError {
    ConnectionError::new(
        ErrorCode::FlowControlError,
        "DATA beyond the window of a stream that was reset (RFC 9113 6.9.1)",
    )
}
