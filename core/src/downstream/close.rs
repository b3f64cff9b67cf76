//! Closing so that the client sees the last answer.

use std::time::Duration;

use crate::io as rt;
use crate::transport::Transport;

/// A connection closed with an error is read for at most this long and this much, so that the client gets to
/// see the answer: closing a socket with unread bytes makes the kernel reset it (RFC 9112 section 9.6).
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Lets what is queued go out, and the end of it, before the connection is closed.
pub(super) async fn finish(stream: &Transport, timeout: Duration) {
    // Without TLS the close itself says that no more will come.
    if stream.tls().is_some() {
        stream.shutdown_write();
    }
    let _ = rt::timeout_at(rt::now() + timeout, stream.sent()).await;
}

/// Closes so that the client sees the answer although it was still sending.
pub async fn linger(stream: &Transport, send_timeout: Duration) {
    if !matches!(rt::timeout_at(rt::now() + send_timeout, stream.sent()).await, Ok(Ok(()))) {
        stream.reset_on_close();
        return;
    }
    stream.shutdown_write();
    let mut discarded = 0;
    let discard = async {
        while discarded < LINGER_BYTES_MAX {
            match stream.recv().await {
                Ok(chunk) if !chunk.is_empty() => discarded += chunk.len(),
                _ => return,
            }
        }
    };
    let _ = rt::timeout_at(rt::now() + LINGER_TIMEOUT, discard).await;
}
