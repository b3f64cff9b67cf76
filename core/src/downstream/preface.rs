//! Telling HTTP/2 by prior knowledge from HTTP/1.1 (RFC 9113 3.4).

use std::time::Instant;

use ringway_protocols::http2::PREFACE;

use super::{Downstream, receive_until_timeout};
use crate::http2;
use crate::io::{self as rt, Chunk};
use crate::worker::Worker;

/// What a connection speaks.
pub(super) enum Told {
    Http2,
    /// With when its first byte came.
    Http1 {
        since: Instant,
    },
    /// The client went away first.
    Closed,
}

/// Whether what has come may be the start of the preface, and the listener speaks HTTP/2.
pub(super) fn may_follow(worker: &Worker, conn: &Downstream) -> bool {
    // Who agreed on a protocol in TLS speaks that one (RFC 9113 3.2).
    conn.stream.tls().is_none_or(|facts| facts.alpn.is_none())
        && conn.unread.as_ref().is_some_and(|chunk| begins(chunk).is_some())
        && conn.listener(&worker.view()).is_some_and(|(_, config)| http2::settings::of(config).enabled)
}

/// Receives until it is told. All that came is in `conn.unread` then.
///
/// Whoever takes longer than a request head may take is told to speak HTTP/1.1, whose reader finds the time passed.
pub(super) async fn receive(worker: &Worker, conn: &mut Downstream) -> Told {
    let since = rt::now();
    let Some(limits) = conn.limits(worker) else { return Told::Closed };
    conn.timer.arm(since + limits.header_timeout);
    let mut bytes = Vec::new();
    loop {
        if let Some(chunk) = conn.unread.take() {
            // The usual preface comes whole, and goes on as it is.
            if bytes.is_empty() && begins(&chunk) == Some(true) {
                conn.unread = Some(chunk);
                return Told::Http2;
            }
            bytes.extend_from_slice(&chunk);
        }
        let told = match begins(&bytes) {
            Some(false) => match receive_until_timeout(conn).await {
                Some(Ok(chunk)) if !chunk.is_empty() => {
                    conn.unread = Some(chunk);
                    continue;
                }
                Some(_) => return Told::Closed,
                None => Told::Http1 { since },
            },
            Some(true) => Told::Http2,
            None => Told::Http1 { since },
        };
        conn.timer.disarm();
        conn.unread = Some(Chunk::from(bytes));
        return told;
    }
}

/// Whether bytes begin with the preface: `Some(false)` as long as they are only a part of it.
fn begins(bytes: &[u8]) -> Option<bool> {
    let known = bytes.len().min(PREFACE.len());
    let (bytes, preface) = (bytes.get(..known)?, PREFACE.get(..known)?);
    (bytes == preface).then_some(known == PREFACE.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_preface_leaves_it_open_and_any_other_byte_ends_it() {
        for length in 0..PREFACE.len() {
            assert_eq!(begins(&PREFACE[..length]), Some(false), "{length}");
            let mut other = PREFACE[..=length].to_vec();
            other[length] ^= 0x20;
            assert_eq!(begins(&other), None, "{length}");
        }
        assert_eq!(begins(PREFACE), Some(true));
        assert_eq!(begins(&[&PREFACE[..], b"more"].concat()), Some(true));
        for method in ["GET / ", "POST / HTTP/1.1\r\n", "PRI / HTTP/1.1\r\n", "PROPFIND /"] {
            assert_eq!(begins(method.as_bytes()), None, "{method}");
        }
    }
}
