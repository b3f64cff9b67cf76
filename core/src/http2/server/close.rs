//! The end of a client's connection.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::http2::ErrorCode;

use super::Server;
use crate::downstream;
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
            Ended::Lost(_) | Ended::TimedOut(TimedOut::Socket) => {
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
                let code = match which {
                    TimedOut::Settings => ErrorCode::SettingsTimeout,
                    TimedOut::Head | TimedOut::Socket => ErrorCode::EnhanceYourCalm,
                    TimedOut::Age => ErrorCode::NoError,
                };
                connection.goaway(code);
                connection.fail_streams(lost(code, which != TimedOut::Age));
                Some(GOAWAY_TIMEOUT)
            }
            Ended::Broken(error) => {
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
