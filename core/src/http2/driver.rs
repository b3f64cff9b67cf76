//! What the tasks of both roles do in a turn: read, tell the streams, write.

use std::rc::Rc;
use std::task::{Context, Poll};

use ringway_protocols::http2::ConnectionError;

use super::connection::Connection;
use super::dispatch::Opened;
use crate::io as rt;
use crate::transport::Transport;

/// Received pieces that a connection takes in before others have their turn.
const CHUNKS_PER_TURN: u32 = 4;

/// How a connection ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nothing more is to be said; what is queued goes out.
    Finished,
    /// The peer closed or reset it.
    Lost,
    /// The peer broke a rule, or took too much.
    Broken(ConnectionError),
    /// It ran out of some time.
    TimedOut(TimedOut),
}

/// Which time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TimedOut {
    /// A header block was not finished.
    Head,
    /// Our SETTINGS were not acknowledged (RFC 9113 6.5.3).
    Settings,
    /// The peer takes nothing from its socket.
    Socket,
    /// The connection is older than it may be, and its grace is over.
    Age,
}

/// The socket's end of a connection.
pub(super) struct Driver {
    pub(super) connection: Rc<Connection>,
    pub(super) stream: Transport,
}

impl Driver {
    /// Takes in what has come. `true`: the task has to run again in this turn of the loop, to see what readers did not take
    /// of it, and to write.
    pub(super) fn read(&self, cx: &Context<'_>, mut open: impl FnMut(Opened)) -> Result<bool, Ended> {
        self.connection.enter(cx);
        self.connection.copy_stalled();
        let now = rt::now();
        for _ in 0..CHUNKS_PER_TURN {
            let chunk = match self.stream.poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => chunk,
                Poll::Ready(_) => return Err(Ended::Lost),
                Poll::Pending => return Ok(!self.connection.state.borrow().fresh.is_empty()),
            };
            self.connection.receive(&chunk, now, &mut open).map_err(Ended::Broken)?;
        }
        Ok(true)
    }

    /// Writes what is there, unless the task runs again in this turn of the loop anyway.
    pub(super) fn write(&self, cx: &Context<'_>, again: bool) -> Result<(), Ended> {
        if !again {
            self.connection.flush(&self.stream, cx).map_err(|_| Ended::Lost)?;
        }
        self.connection.leave(cx, again);
        Ok(())
    }
}
