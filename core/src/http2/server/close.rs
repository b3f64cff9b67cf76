//! The end of a client's connection.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::http2::{Abuse, ConnectionError, ErrorCode};

use super::{Server, Service};
use crate::downstream;
use crate::error::Reason;
use crate::http2::driver::{Ended, TimedOut};
use crate::http2::stream::StreamError;
use crate::io as rt;

/// How long a peer that broke a rule gets to take the GOAWAY that says so.
const GOAWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long exchanges get to see that their connection is gone. They notice in the same turn of the loop; this is for one
/// that hangs, so that the connection's count does not.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(5);

impl Server {
    /// Says what there is to say, closes the socket, and waits for the exchanges to end.
    pub(super) async fn close(self, ended: Ended) {
        let Server { driver, service, deadlines, timer, unread: _ } = self;
        drop(timer);
        let connection = driver.connection;
        let lost = |code, by_peer| StreamError { code, by_peer, connection_lost: true, ..StreamError::GONE };
        let timeout = match ended {
            Ended::Lost | Ended::TimedOut(TimedOut::Socket) => {
                connection.fail_streams(lost(ErrorCode::Cancel, true));
                driver.stream.reset_on_close();
                None
            }
            Ended::Finished => {
                connection.goaway(ErrorCode::NoError);
                connection.fail_streams(lost(ErrorCode::NoError, false));
                Some(deadlines.socket_timeout)
            }
            Ended::TimedOut(which) => {
                let (code, reason) = match which {
                    TimedOut::Settings => (ErrorCode::SettingsTimeout, Some(Reason::Http2SettingsTimeout)),
                    TimedOut::Head | TimedOut::Socket => {
                        (ErrorCode::EnhanceYourCalm, Some(Reason::HeaderTimeout))
                    }
                    TimedOut::Age => (ErrorCode::NoError, None),
                };
                if let Some(reason) = reason {
                    service.worker.stats.refused.count(reason);
                }
                connection.goaway(code);
                connection.fail_streams(lost(code, reason.is_some()));
                Some(GOAWAY_TIMEOUT)
            }
            Ended::Broken(error) => {
                service.blame(&error);
                connection.goaway(error.code);
                connection.fail_streams(lost(error.code, true));
                Some(GOAWAY_TIMEOUT)
            }
        };
        if let Some(timeout) = timeout {
            connection.write_rest(&driver.stream);
            downstream::linger(&driver.stream, timeout).await;
        }
        drop(driver.stream);
        let gone = poll_fn(|cx| {
            connection.enter(cx);
            let left = connection.state.borrow().handles;
            connection.leave(cx, false);
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = rt::timeout_at(rt::now() + STREAMS_TIMEOUT, gone).await;
        drop(service);
    }
}

impl Service {
    /// Counts and logs why a client's connection is ended.
    fn blame(&self, error: &ConnectionError) {
        let (stats, reason) = (&self.worker.stats, reason_of(error));
        stats.http2.errors.increment();
        stats.refused.count(reason);
        // A crowd of such clients must not fill the log, nor wait for it.
        if self.worker.may_log() {
            let client = self.owner.client().map_or("-".to_owned(), |client| client.ip().to_string());
            crate::log_warning!("connection ended client={client} reason={} error={error}", reason.code());
        }
    }
}

fn reason_of(error: &ConnectionError) -> Reason {
    match error.abuse {
        None => Reason::Http2ProtocolError,
        Some(Abuse::Resets) => Reason::Http2RapidReset,
        Some(Abuse::OwnResets) => Reason::Http2OwnResets,
        Some(Abuse::Continuations) => Reason::Http2ContinuationFlood,
        Some(Abuse::HeaderBytes) => Reason::Http2HeaderFlood,
        Some(Abuse::EmptyFrames) => Reason::Http2EmptyFrames,
        Some(Abuse::ControlFrames) => Reason::Http2ControlFlood,
        Some(Abuse::Priorities) => Reason::Http2PriorityFlood,
        Some(Abuse::WindowUpdates) => Reason::Http2WindowFlood,
        Some(Abuse::QueuedControl) => Reason::Http2QueuedControl,
        Some(Abuse::RefusedStreams) => Reason::Http2RefusedStreams,
        Some(Abuse::UnknownFrames) => Reason::Http2UnknownFrames,
        Some(Abuse::ClosedFrames) => Reason::Http2ClosedFrames,
    }
}
