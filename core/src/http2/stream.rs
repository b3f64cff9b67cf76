//! What the connection keeps of each stream.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use ringway_protocols::http2::{ErrorCode, StreamKey};

use super::heads::ReceivedResponse;
use super::inbox::Inbox;

/// Response heads that wait for their reader. An origin that sends more interim ones in one go is not going to end.
pub(super) const RESPONSES_MAX: usize = 33;

/// How a stream ended before its messages were complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamError {
    pub code: ErrorCode,
    /// The peer reset it (or ended the connection); else we did.
    pub by_peer: bool,
    /// The peer did nothing with the request: REFUSED_STREAM, or beyond the last stream of a GOAWAY (RFC 9113 8.7).
    pub safe_to_retry: bool,
    /// The whole connection ended.
    pub connection_lost: bool,
    /// Client role: the response's head is larger than we take.
    pub head_refused: bool,
}

impl StreamError {
    /// The stream is not known any more.
    pub(super) const GONE: StreamError = StreamError {
        code: ErrorCode::StreamClosed,
        by_peer: false,
        safe_to_retry: false,
        connection_lost: false,
        head_refused: false,
    };

    /// We gave it up, because the worker held more of what nobody reads than it may.
    pub(super) const MEMORY: StreamError =
        StreamError { code: ErrorCode::EnhanceYourCalm, ..StreamError::GONE };

    /// See [`StreamError::MEMORY`].
    pub fn is_memory_limit(self) -> bool {
        self == StreamError::MEMORY
    }
}

impl std::fmt::Display for StreamError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (who, what) = (
            if self.by_peer { "the peer" } else { "the proxy" },
            if self.connection_lost { "connection" } else { "stream" },
        );
        write!(f, "{who} ended the {what}: {:?}", self.code)
    }
}

impl std::error::Error for StreamError {}

/// One stream. The place is used again by the next stream of the same slot, with its capacity.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    /// 0 while the place is free: stream 0 is the connection (RFC 9113 5.1.1).
    pub(super) id: u32,
    pub(super) key: Option<StreamKey>,
    /// The exchange's task.
    waker: Option<Waker>,
    pub(super) inbox: Inbox,
    /// With whether the message ended with the head.
    pub(super) responses: VecDeque<(ReceivedResponse, bool)>,
    pub(super) error: Option<StreamError>,
    /// We have ended our message.
    pub(super) end_sent: bool,
    /// Listed among those who wait for room in the socket or in the connection's window.
    pub(super) listed: bool,
    /// Room that was set aside when its turn came.
    pub(super) granted: usize,
    /// Waits for its own window to open.
    pub(super) window_closed: bool,
    /// Waited long enough for a window worth a frame: sends what there is.
    pub(super) impatient: bool,
}

impl StreamState {
    /// Makes it that of a new stream.
    pub(super) fn begin(&mut self, key: StreamKey) {
        self.clear();
        self.id = key.id();
        self.key = Some(key);
    }

    /// Lets everything go but capacity.
    pub(super) fn clear(&mut self) {
        self.id = 0;
        self.key = None;
        self.waker = None;
        self.inbox.clear();
        self.responses.clear();
        self.error = None;
        (self.end_sent, self.listed, self.window_closed, self.impatient) = (false, false, false, false);
        self.granted = 0;
    }

    /// The task to wake. A handle is polled by one task, which looks at everything when it is woken.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends it. What came in completely can still be read.
    pub(super) fn fail(&mut self, error: StreamError) {
        if self.error.is_some() {
            return;
        }
        self.error = Some(error);
        if !self.inbox.ended {
            self.inbox.clear();
        }
        self.wake();
    }

    /// Both messages are complete.
    pub(super) fn is_complete(&self) -> bool {
        self.end_sent && self.inbox.ended
    }
}
