//! From the machine's events to the streams.

use std::rc::Rc;
use std::time::Instant;

use ringway_protocols::http2::{ConnectionError, ErrorCode, Event, HeadError, Role, StreamKey};

use super::connection::{Connection, State};
use super::handle::StreamHandle;
use super::heads::{ReceivedRequest, ReceivedResponse};
use super::stream::{RESPONSES_MAX, StreamError};
use crate::io::{self as rt, Chunk};

/// A stream that the peer opened.
pub(super) struct Opened {
    pub(super) stream: StreamHandle,
    pub(super) request: ReceivedRequest,
    /// The head cannot be taken, but can be answered.
    pub(super) refused: Option<HeadError>,
}

impl Connection {
    /// Feeds received bytes to the machine and tells the streams; each request goes to `open`.
    pub(super) fn receive(
        self: &Rc<Self>,
        chunk: &Chunk,
        now: Instant,
        mut open: impl FnMut(Opened),
    ) -> Result<(), ConnectionError> {
        let mut at = 0;
        self.state.borrow_mut().received_at = now;
        loop {
            let mut guard = self.state.borrow_mut();
            let state = &mut *guard;
            let step = state.machine.receive(chunk.get(at..).unwrap_or_default(), now)?;
            let base = at;
            at += step.consumed;
            let opened = match step.event {
                Some(Event::Request { key, end }) => {
                    let mut request = ReceivedRequest::take();
                    let received = &mut *request;
                    state.machine.take_request(&mut received.head, &mut received.bytes);
                    state.begin(key).inbox.ended = end;
                    Some((key, request, None))
                }
                Some(Event::RefusedHead { key, error }) if self.role == Role::Server => {
                    state.begin(key);
                    Some((key, ReceivedRequest::take(), Some(error)))
                }
                Some(event) => {
                    state.dispatch(event, |range| chunk.slice(base + range.start..base + range.end));
                    None
                }
                None if step.consumed == 0 => return Ok(()),
                None => None,
            };
            drop(guard);
            if let Some((key, request, refused)) = opened {
                open(Opened { stream: StreamHandle::new(self, key), request, refused });
            }
        }
    }
}

impl State {
    fn dispatch(&mut self, event: Event, slice: impl FnOnce(std::ops::Range<usize>) -> Chunk) {
        match event {
            // The caller's.
            Event::Request { .. } => {}
            Event::RefusedHead { key, .. } => {
                if let Some(stream) = self.stream(key) {
                    stream.fail(StreamError { head_refused: true, ..StreamError::GONE });
                }
            }
            Event::Malformed { .. } => self.counts.malformed(),
            Event::Response { key, end } => self.on_response(key, end),
            Event::Trailers { key } => {
                let mut lines = rt::take_vec();
                self.machine.take_trailers(&mut lines);
                if let Some(stream) = self.stream(key) {
                    stream.inbox.push_trailers(lines);
                    stream.wake();
                }
            }
            Event::Data { key, range, end } => {
                let fresh = !range.is_empty();
                if let Some(stream) = self.stream(key) {
                    let first = fresh && !stream.inbox.holds_buffers();
                    stream.inbox.push(slice(range), end);
                    stream.wake();
                    if first {
                        self.fresh.push(key.slot());
                    }
                }
            }
            Event::Reset { key, code, by_peer, processed } => {
                let count = if by_peer { self.counts.resets_in() } else { self.counts.resets_out() };
                count.increment();
                if let Some(stream) = self.stream(key) {
                    let safe_to_retry = !processed;
                    stream.fail(StreamError { code, by_peer, safe_to_retry, ..StreamError::GONE });
                }
            }
            Event::Writable { key } => {
                if let Some(stream) = self.stream(key) {
                    stream.wake();
                }
            }
            // Those who wait for the connection's window get their turns when the task writes; those who wait for their own
            // may have got a larger one by new settings.
            Event::AllWritable => self.wake_window_closed(),
            Event::SettingsChanged => {
                self.wake_window_closed();
                self.changed();
            }
            Event::GoAway { code, .. } => {
                self.counts.goaways_in().increment();
                self.goaway = Some(code);
                self.changed();
            }
            Event::Pong(_) => {
                self.pongs += 1;
                self.changed();
            }
        }
    }

    fn on_response(&mut self, key: StreamKey, end: bool) {
        let mut response = ReceivedResponse::take();
        let received = &mut *response;
        self.machine.take_response(&mut received.head, &mut received.bytes);
        let Some(stream) = self.stream(key) else { return };
        if stream.responses.len() >= RESPONSES_MAX {
            stream.fail(StreamError { code: ErrorCode::EnhanceYourCalm, ..StreamError::GONE });
            self.reset(key, ErrorCode::EnhanceYourCalm);
            return;
        }
        stream.responses.push_back((response, end));
        stream.inbox.ended |= end;
        stream.wake();
    }

    fn wake_window_closed(&mut self) {
        for stream in self.streams.iter_mut().filter(|stream| stream.id != 0 && stream.window_closed) {
            stream.wake();
        }
    }
}
