//! SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM and PRIORITY (RFC 9113 6).

use super::{Connection, DRAIN_PING};
use crate::http2::config::Role;
use crate::http2::error::{ConnectionError, ErrorCode};
use crate::http2::event::Event;
use crate::http2::flow::PROBE_PING;
use crate::http2::frame::{self, FRAME_HEADER_BYTES, FrameHeader, STREAM_ID_MAX, flag};
use crate::http2::settings::WINDOW_BYTES_MAX;
use crate::http2::stream::{Expect, StreamKey, Transition};

/// Entries of a SETTINGS frame that count as one frame more: all settings that are registered fit in the first.
const SETTINGS_PER_TOKEN: u32 = 32;

impl Connection {
    pub(super) fn on_settings(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id != 0 {
            return Err(ConnectionError::protocol("SETTINGS on a stream (RFC 9113 6.5)"));
        }
        let now_ns = self.now_ns();
        if header.has(flag::ACK) {
            self.meter.control_frames.take(1, now_ns)?;
            return self.on_settings_ack();
        }
        let entries = payload.len() as u32 / 6;
        self.meter.control_frames.take(1 + entries / SETTINGS_PER_TOKEN, now_ns)?;
        let opened = self.apply_settings(payload)?;
        self.settings_received = true;
        self.count_control(FRAME_HEADER_BYTES);
        frame::write_settings_ack(&mut self.output);
        if opened {
            self.pending = Some(Event::AllWritable);
        }
        Ok(Some(Event::SettingsChanged))
    }

    /// Takes the peer's settings; says whether windows of streams have grown.
    pub(super) fn apply_settings(&mut self, payload: &[u8]) -> Result<bool, ConnectionError> {
        let before = self.peer;
        let changes = self.peer.apply(payload, self.role)?;
        if let Some(smallest) = changes.smallest_table_bytes {
            if smallest != self.peer.header_table_bytes {
                self.encoder.set_table_bytes_max(smallest);
            }
            self.encoder.set_table_bytes_max(self.peer.header_table_bytes);
        }
        // RFC 9113 6.9.2: the difference applies to all streams, and may make their windows negative.
        let difference = i64::from(self.peer.stream_window) - i64::from(before.stream_window);
        if difference != 0 {
            for stream in self.streams.iter_mut() {
                let window = i64::from(stream.send_window) + difference;
                if window > i64::from(WINDOW_BYTES_MAX) {
                    return Err(ConnectionError::new(
                        ErrorCode::FlowControlError,
                        "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large (RFC 9113 6.9.2)",
                    ));
                }
                // Both are at least -(2^31-1), as a window never loses more than it had.
                stream.send_window = window.max(i64::from(i32::MIN)) as i32;
            }
        }
        Ok(difference > 0)
    }

    fn on_settings_ack(&mut self) -> Result<Option<Event>, ConnectionError> {
        if std::mem::replace(&mut self.settings_acked, true) {
            return Err(ConnectionError::protocol("an acknowledgement of SETTINGS that were not sent"));
        }
        self.decoder.settings_acknowledged();
        // The peer has sent all before this with the initial window, and sends all after it with ours.
        let difference = i64::from(self.config.stream_window) - i64::from(self.stream_window);
        self.streams.shift_receive_windows(difference);
        self.stream_window = self.config.stream_window;
        Ok(None)
    }

    pub(super) fn on_ping(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id != 0 {
            return Err(ConnectionError::protocol("PING on a stream (RFC 9113 6.7)"));
        }
        // Its length was checked with the frame header.
        let payload = payload.first_chunk::<8>().copied().unwrap_or_default();
        if header.has(flag::ACK) && payload == PROBE_PING {
            if let Some(target) = self.adaptive.probed(self.now) {
                self.receive_window.grow(target);
            }
            return Ok(None);
        }
        let now_ns = self.now_ns();
        self.meter.control_frames.take(1, now_ns)?;
        if header.has(flag::ACK) {
            return Ok(Some(Event::Pong(payload)));
        }
        self.count_control(FRAME_HEADER_BYTES + 8);
        frame::write_ping(&mut self.output, payload, true);
        Ok(None)
    }

    pub(super) fn on_goaway(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id != 0 {
            return Err(ConnectionError::protocol("GOAWAY on a stream (RFC 9113 6.8)"));
        }
        let now_ns = self.now_ns();
        self.meter.control_frames.take(1, now_ns)?;
        let last = word(payload) & STREAM_ID_MAX;
        let code = ErrorCode::of(word(payload.get(4..).unwrap_or_default()));
        // To a server it only says that no push is wanted any more: the identifier means nothing.
        if self.role == Role::Client {
            if self.goaway_received.is_some_and(|before| last > before) {
                return Err(ConnectionError::protocol("GOAWAY with a higher identifier (RFC 9113 6.8)"));
            }
            self.sweep = Some(0);
        }
        self.goaway_received = Some(last);
        Ok(Some(Event::GoAway { code, last }))
    }

    pub(super) fn on_window_update(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.window_updates.take(1, now_ns)?;
        let increment = word(payload) & WINDOW_BYTES_MAX;
        if header.id == 0 {
            return self.open_connection(increment);
        }
        if self.is_idle(header.id) {
            return Err(ConnectionError::protocol("WINDOW_UPDATE on an idle stream (RFC 9113 5.1)"));
        }
        // Those that were under way when the stream ended are ignored (RFC 9113 5.1).
        let Some(key) = self.open_key(header.id) else { return Ok(None) };
        if increment == 0 {
            return self.stream_error(header.id, Some(key), ErrorCode::ProtocolError);
        }
        let Some(stream) = self.streams.get_mut(key) else { return Ok(None) };
        let before = stream.send_window;
        let window = i64::from(before) + i64::from(increment);
        if window > i64::from(WINDOW_BYTES_MAX) {
            return self.stream_error(header.id, Some(key), ErrorCode::FlowControlError);
        }
        stream.send_window = window as i32;
        let opens = before <= 0 && window > 0 && stream.state.can_send();
        Ok(opens.then_some(Event::Writable { key }))
    }

    fn open_connection(&mut self, increment: u32) -> Result<Option<Event>, ConnectionError> {
        if increment == 0 {
            return Err(ConnectionError::protocol("WINDOW_UPDATE of nothing (RFC 9113 6.9)"));
        }
        let window = self.send_window.saturating_add(increment);
        if window > WINDOW_BYTES_MAX {
            return Err(ConnectionError::new(
                ErrorCode::FlowControlError,
                "the connection's window above 2^31-1 (RFC 9113 6.9.1)",
            ));
        }
        let was_closed = self.send_window == 0;
        self.send_window = window;
        Ok(was_closed.then_some(Event::AllWritable))
    }

    pub(super) fn on_reset(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id == 0 || self.is_idle(header.id) {
            return Err(ConnectionError::protocol("RST_STREAM on stream 0 or an idle one (RFC 9113 6.4)"));
        }
        let now_ns = self.now_ns();
        self.meter.resets.take(1, now_ns)?;
        let code = ErrorCode::of(word(payload));
        let Some(key) = self.open_key(header.id) else { return Ok(None) };
        let Some(stream) = self.streams.get(key) else { return Ok(None) };
        // RFC 9113 8.7, unless there is a response: then it was processed, whatever the code says.
        let refused = code == ErrorCode::RefusedStream && stream.expect == Expect::Head;
        self.streams.transition(key, Transition::ResetReceived);
        Ok(Some(Event::Reset { key, code, by_peer: true, processed: !refused }))
    }

    /// PRIORITY means nothing here (RFC 9113 5.3.2), but its form is checked.
    pub(super) fn on_priority(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        if header.id == 0 {
            return Err(ConnectionError::protocol("PRIORITY on stream 0 (RFC 9113 6.3)"));
        }
        let now_ns = self.now_ns();
        self.meter.priorities.take(1, now_ns)?;
        let code = if payload.len() != 5 {
            ErrorCode::FrameSizeError
        } else if word(payload) & STREAM_ID_MAX == header.id {
            ErrorCode::ProtocolError
        } else {
            return Ok(None);
        };
        if let Some(key) = self.open_key(header.id) {
            return self.stream_error(header.id, Some(key), code);
        }
        if self.is_idle(header.id) {
            // An idle stream cannot be reset (RFC 9113 6.4), so that its error is the connection's.
            return Err(ConnectionError::new(code, "a broken PRIORITY on an idle stream (RFC 9113 6.3)"));
        }
        self.count_closed()
    }

    /// RFC 9218 7.1. What it says is for those who schedule: the origin does.
    pub(super) fn on_priority_update(
        &mut self,
        header: FrameHeader,
        payload: &[u8],
    ) -> Result<Option<Event>, ConnectionError> {
        let now_ns = self.now_ns();
        self.meter.priorities.take(1, now_ns)?;
        if self.role == Role::Client {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE from a server (RFC 9218 7.1)"));
        }
        if header.id != 0 {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE on a stream (RFC 9218 7.1)"));
        }
        if payload.len() < 4 {
            return Err(ConnectionError::frame_size("PRIORITY_UPDATE without a stream (RFC 9218 7.1)"));
        }
        if word(payload) & STREAM_ID_MAX == 0 {
            return Err(ConnectionError::protocol("PRIORITY_UPDATE for stream 0 (RFC 9218 7.1)"));
        }
        Ok(None)
    }

    /// The stream of an identifier, if it has a place and is not closed.
    fn open_key(&self, id: u32) -> Option<StreamKey> {
        let key = self.streams.find(id)?;
        let stream = self.streams.get(key)?;
        (!stream.state.is_closed()).then_some(key)
    }
}

/// The first four bytes, as all of these frames have them.
#[inline]
fn word(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.first_chunk::<4>().copied().unwrap_or_default())
}

const _: () = assert!(!matches!(DRAIN_PING, PROBE_PING), "each answer has to be told from the others");
