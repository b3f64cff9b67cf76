//! Local replies: what the proxy answers by itself. Text, or JSON where the client asks for it.

use std::io::Write;
use std::time::SystemTime;

use ringway_protocols::http1::reason_phrase;

use crate::access_log::date;
use crate::error::Reason;
use crate::exchange::Failure;

/// A reply of the proxy's own.
pub struct LocalReply<'a> {
    pub failure: Failure,
    /// A gRPC call is answered with a head alone; these are its lines.
    pub grpc: Option<Vec<u8>>,
    /// The `Accept` of the request.
    pub accept: &'a [u8],
    /// The request was HEAD: the length is given, the body is not.
    pub head_only: bool,
    pub keep_alive: bool,
    pub http10: bool,
    /// Whether to send `x-ringway-reason`.
    pub reason_header: bool,
    /// Further lines of the head.
    pub lines: &'a [u8],
}

impl LocalReply<'_> {
    /// Appends the whole reply to `out`; returns the bytes of its body that were written.
    pub fn render(&self, out: &mut Vec<u8>) -> u64 {
        let reason = self.failure.reason;
        if let Some(lines) = &self.grpc {
            out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
            out.extend_from_slice(lines);
            self.render_common(out);
            return 0;
        }
        let json = wants_json(self.accept);
        let mut body = Vec::with_capacity(128);
        // Writing to a vector cannot fail.
        let _ = match (json, self.failure.detail.as_str()) {
            (true, "") => writeln!(
                body,
                r#"{{"status":{},"reason":"{}","message":"{}"}}"#,
                reason.status(),
                reason.code(),
                reason.info().text
            ),
            (true, detail) => writeln!(
                body,
                r#"{{"status":{},"reason":"{}","message":"{}","detail":"{}"}}"#,
                reason.status(),
                reason.code(),
                reason.info().text,
                detail
            ),
            (false, "") => {
                writeln!(
                    body,
                    "{} {}: {}",
                    reason.status(),
                    reason_phrase(reason.status()),
                    reason.info().text
                )
            }
            (false, detail) => {
                writeln!(
                    body,
                    "{} {}: {} ({detail})",
                    reason.status(),
                    reason_phrase(reason.status()),
                    reason.info().text
                )
            }
        };
        self.render_head(out, body.len(), json);
        if self.head_only {
            return 0;
        }
        out.extend_from_slice(&body);
        body.len() as u64
    }

    fn render_head(&self, out: &mut Vec<u8>, body_bytes: usize, json: bool) {
        let reason = self.failure.reason;
        let media = if json { "application/json" } else { "text/plain; charset=utf-8" };
        let _ = write!(
            out,
            "HTTP/1.1 {} {}\r\ncontent-type: {media}\r\ncontent-length: {body_bytes}\r\n",
            reason.status(),
            reason_phrase(reason.status())
        );
        self.render_common(out);
    }

    /// The rest of the head, whatever it is the head of.
    fn render_common(&self, out: &mut Vec<u8>) {
        let reason = self.failure.reason;
        push_date(out);
        if self.reason_header {
            let _ = write!(out, "x-ringway-reason: {}\r\n", reason.code());
        }
        out.extend_from_slice(self.lines);
        match reason {
            // RFC 9110 section 15.5.6: a 405 lists what is allowed. Without CONNECT that is everything else.
            Reason::MethodNotAllowed => {
                out.extend_from_slice(b"allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH, TRACE\r\n");
            }
            // RFC 9110 section 10.2.3.
            Reason::ConnectionLimit
            | Reason::ClientConnectionLimit
            | Reason::UpstreamLimit
            | Reason::ConcurrencyLimit
            | Reason::BreakerConnections
            | Reason::BreakerPending
            | Reason::BreakerRequests
            | Reason::Draining => {
                out.extend_from_slice(b"retry-after: 1\r\n");
            }
            _ => {}
        }
        match (self.keep_alive, self.http10) {
            (false, _) => out.extend_from_slice(b"connection: close\r\n"),
            (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
            (true, false) => {}
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// RFC 9110 section 6.6.1: here Ringway is the origin of the message.
pub fn push_date(out: &mut Vec<u8>) {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut date = String::with_capacity(32);
    date::push_http(&mut date, since_1970.as_secs());
    // Writing to a vector cannot fail.
    let _ = write!(out, "date: {date}\r\n");
}

/// The answer to a connection that is refused before a request was read.
pub fn unread_refusal(reason: Reason, reason_header: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    LocalReply {
        failure: reason.into(),
        grpc: None,
        accept: b"",
        head_only: false,
        keep_alive: false,
        http10: false,
        reason_header,
        lines: b"",
    }
    .render(&mut out);
    out
}

/// Whether JSON is named before any other type (RFC 9110 section 12.5.1, without weighing: errors are for people
/// unless a program says otherwise).
fn wants_json(accept: &[u8]) -> bool {
    let first = accept.split(|b| *b == b',').next().unwrap_or_default();
    let media = first.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    media.eq_ignore_ascii_case(b"application/json")
        || (media.len() > 5 && media[media.len() - 5..].eq_ignore_ascii_case(b"+json"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::REASONS;

    fn render(reason: Reason, accept: &[u8]) -> String {
        let mut out = Vec::new();
        let failure = Failure { reason, detail: String::new() };
        let reply = LocalReply {
            failure,
            grpc: None,
            accept,
            head_only: false,
            keep_alive: true,
            http10: false,
            reason_header: true,
            lines: b"",
        };
        reply.render(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_only_where_the_client_asks_for_it() {
        let check = |accept: &str, json: bool| {
            let text = render(Reason::NoRoute, accept.as_bytes());
            assert_eq!(text.contains("content-type: application/json"), json, "{accept}");
        };
        check("", false);
        check("*/*", false);
        check("text/html,application/json", false);
        check("application/json", true);
        check("Application/JSON;q=0.9, */*", true);
        check("application/problem+json", true);
    }

    #[test]
    fn every_reason_renders_with_its_code_and_a_true_length() {
        for info in REASONS {
            for accept in [&b""[..], b"application/json"] {
                let text = render(info.reason, accept);
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                // Each field with its line end, the last one too.
                let head = format!("{head}\r\n");
                assert!(head.starts_with(&format!("HTTP/1.1 {} ", info.status)), "{head}");
                assert!(head.contains(&format!("x-ringway-reason: {}\r\n", info.code)), "{head}");
                assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
            }
        }
    }
}
