//! The connection to an origin: exchanges open streams on it.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ringway_protocols::http2::{ConnectionConfig, ErrorCode, Role};
use ringway_protocols::message::Method;

use super::connection::{Connection, QueueLimits};
use super::driver::{Driver, Ended, TimedOut};
use super::handle::StreamHandle;
use super::stream::StreamError;
use crate::io::{self as rt, Timer};
use crate::stats::WorkerStats;
use crate::transport::Transport;

/// A connection without streams keeps its memory for so long.
const WARM: Duration = Duration::from_millis(50);
/// How long the last bytes of a connection that ends may take.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(1);

/// The times of a connection to an origin.
#[derive(Debug, Clone, Copy)]
pub struct ClientTimes {
    /// For the origin to acknowledge our SETTINGS.
    pub settings_timeout: Duration,
    /// Longest time in which the socket takes nothing of what is queued.
    pub socket_timeout: Duration,
}

/// A connection to an origin, as its users hold it. Dropping it ends the connection when its streams have ended.
pub struct Client {
    connection: Rc<Connection>,
}

/// Starts to speak HTTP/2 on a connected socket: the preface and SETTINGS go out at once, requests may follow without
/// waiting (RFC 9113 3.4).
pub fn connect_client(
    stream: Transport,
    config: &ConnectionConfig,
    times: ClientTimes,
    limits: QueueLimits,
    stats: &Arc<WorkerStats>,
) -> Client {
    let connection = Connection::new(Role::Client, config, limits, stats, &stream);
    let task = Task {
        driver: Driver { connection: Rc::clone(&connection), stream },
        timer: Timer::new(),
        times,
        began: rt::now(),
        idle_since: None,
        shrunk: false,
        stuck: None,
    };
    rt::spawn(task.run());
    Client { connection }
}

impl Client {
    /// A stream for a request; `None` while the origin allows no more, and for ever once the connection is ending.
    pub fn open(&self, method: Method) -> Option<StreamHandle> {
        let mut state = self.connection.state.borrow_mut();
        if state.closed || state.ending {
            return None;
        }
        let key = state.machine.open(method)?;
        state.begin(key);
        drop(state);
        Some(StreamHandle::new(&self.connection, key))
    }

    /// Whether [`Client::open`] would give a stream.
    pub fn can_open(&self) -> bool {
        let state = self.connection.state.borrow();
        !state.closed && !state.ending && state.machine.can_open()
    }

    /// The connection takes no new streams ever again: the origin said GOAWAY, or we did, or it is closed.
    pub fn is_ending(&self) -> bool {
        let state = self.connection.state.borrow();
        state.closed || state.ending || state.goaway.is_some() || state.machine.is_draining()
    }

    /// The connection is over.
    pub fn is_closed(&self) -> bool {
        self.connection.state.borrow().closed
    }

    /// Streams in the hands of exchanges.
    pub fn streams(&self) -> u32 {
        self.connection.state.borrow().handles
    }

    /// The origin has sent its SETTINGS: it does speak HTTP/2.
    pub fn is_confirmed(&self) -> bool {
        self.connection.state.borrow().machine.settings_received()
    }

    /// Whether the origin takes extended CONNECT (RFC 8441 3). Not known before [`Client::is_confirmed`].
    pub fn takes_extended_connect(&self) -> bool {
        self.connection.state.borrow().machine.peer_settings().connect_protocol
    }

    /// When something last came from the origin.
    pub fn received_at(&self) -> Instant {
        self.connection.state.borrow().received_at
    }

    /// PINGs that were answered.
    pub fn pongs(&self) -> u64 {
        self.connection.state.borrow().pongs
    }

    /// Asks whether the origin is there; [`Client::pongs`] rises when it answers.
    pub fn ping(&self) {
        let mut state = self.connection.state.borrow_mut();
        if !state.closed {
            state.machine.ping(*b"ringway!");
            state.wake_task();
        }
    }

    /// Ends the connection once its streams have ended; no new ones are opened.
    pub fn end(&self) {
        let mut state = self.connection.state.borrow_mut();
        state.ending = true;
        state.wake_task();
    }

    /// Closes now: its streams fail.
    pub fn close(&self) {
        let error = StreamError { code: ErrorCode::Cancel, connection_lost: true, ..StreamError::GONE };
        self.connection.fail_streams(error);
        self.end();
    }

    /// Ready once something has changed since `seen`, which then is the present: settings, GOAWAY, a PING's answer, a stream
    /// that was given back, the end of the connection. Start with 0. One task waits at a time.
    pub fn poll_change(&self, cx: &Context<'_>, seen: &mut u64) -> Poll<()> {
        let mut state = self.connection.state.borrow_mut();
        if state.changes != *seen {
            *seen = state.changes;
            return Poll::Ready(());
        }
        state.watch(cx);
        Poll::Pending
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.end();
    }
}

struct Task {
    driver: Driver,
    timer: Timer,
    times: ClientTimes,
    began: Instant,
    idle_since: Option<Instant>,
    shrunk: bool,
    /// Bytes that the origin had not taken then.
    stuck: Option<(u64, Instant)>,
}

impl Task {
    async fn run(mut self) {
        let ended = poll_fn(|cx| match self.turn(cx) {
            Ok(()) => Poll::Pending,
            Err(ended) => Poll::Ready(ended),
        })
        .await;
        let Driver { connection, stream } = self.driver;
        let (code, by_peer) = match &ended {
            Ended::Finished => (ErrorCode::NoError, false),
            Ended::Lost => (ErrorCode::Cancel, true),
            Ended::Broken(error) => (error.code, false),
            Ended::TimedOut(TimedOut::Settings) => (ErrorCode::SettingsTimeout, false),
            Ended::TimedOut(_) => (ErrorCode::Cancel, false),
        };
        connection.fail_streams(StreamError { code, by_peer, connection_lost: true, ..StreamError::GONE });
        if matches!(ended, Ended::Broken(_)) {
            connection.state.borrow().counts.errors().increment();
        }
        if !matches!(ended, Ended::Lost) {
            connection.goaway(code);
            connection.write_rest(&stream);
            if stream.tls().is_some() {
                stream.shutdown_write();
            }
            let _ = rt::timeout_at(rt::now() + LAST_BYTES_TIMEOUT, stream.sent()).await;
        }
    }

    fn turn(&mut self, cx: &Context<'_>) -> Result<(), Ended> {
        // An origin opens no streams: the machine refuses push (RFC 9113 8.4).
        let again = self.driver.read(cx, |_| ())?;
        self.advance(rt::now())?;
        self.driver.write(cx, again)?;
        if let Some(next) = self.next() {
            self.timer.arm(next);
            if self.timer.poll_expired(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Ok(())
    }

    fn advance(&mut self, now: Instant) -> Result<(), Ended> {
        let Driver { connection, stream } = &self.driver;
        let (idle, over, acknowledged) = {
            let state = connection.state.borrow();
            let ending = state.ending || state.goaway.is_some();
            (
                state.handles == 0,
                state.closed || (ending && state.handles == 0),
                state.machine.settings_acked(),
            )
        };
        if over {
            return Err(Ended::Finished);
        }
        self.idle_since = idle.then(|| self.idle_since.unwrap_or(now));
        self.shrunk &= idle;
        if !self.shrunk && self.idle_since.is_some_and(|since| now >= since + WARM) {
            connection.shrink();
            self.shrunk = true;
        }
        connection.end_patience(now);
        if !acknowledged && now >= self.began + self.times.settings_timeout {
            return Err(Ended::TimedOut(TimedOut::Settings));
        }
        if stream.unsent() == 0 {
            self.stuck = None;
        } else {
            let (left, since) = *self.stuck.get_or_insert((u64::MAX, now));
            if now >= since + self.times.socket_timeout {
                let now_left = stream.outstanding();
                if now_left >= left {
                    return Err(Ended::TimedOut(TimedOut::Socket));
                }
                self.stuck = Some((now_left, now));
            }
        }
        Ok(())
    }

    /// The next moment that matters.
    fn next(&self) -> Option<Instant> {
        let state = self.driver.connection.state.borrow();
        [
            (!state.machine.settings_acked()).then(|| self.began + self.times.settings_timeout),
            self.idle_since.filter(|_| !self.shrunk).map(|since| since + WARM),
            self.stuck.map(|(_, since)| since + self.times.socket_timeout),
            state.patience_ends,
        ]
        .into_iter()
        .flatten()
        .min()
    }
}
