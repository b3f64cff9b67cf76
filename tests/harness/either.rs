//! One request over HTTP/1.1 or HTTP/2, for what has to hold whichever a client speaks.

use crate::client::Client;
use crate::http2::{Frame, Http2Client};
use crate::proxy::Proxy;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
}

pub const EITHER: [Speaks; 2] = [Speaks::Http1, Speaks::Http2];

/// A response, as far as it is the same in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `x-ringway-reason`, or nothing.
    pub reason: String,
    pub body: String,
}

/// Sends a request on a connection of its own.
pub fn ask(
    proxy: &Proxy,
    speaks: Speaks,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    match speaks {
        Speaks::Http1 => {
            let mut request = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
            for (name, value) in fields {
                request += &format!("{name}: {value}\r\n");
            }
            if !body.is_empty() {
                request += &format!("Content-Length: {}\r\n", body.len());
            }
            let mut bytes = (request + "\r\n").into_bytes();
            bytes.extend_from_slice(body);
            let response = Client::connect(proxy.address()).exchange(bytes);
            Answer {
                status: response.status,
                reason: response.reason_code().unwrap_or_default().to_owned(),
                body: response.body_text(),
            }
        }
        Speaks::Http2 => {
            let mut client = Http2Client::connect(proxy.address());
            let pseudo = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path)];
            let fields: Vec<_> = pseudo.iter().chain(fields).copied().collect();
            let id = client.open(&fields, body.is_empty());
            let mut pieces = body.chunks(16 * 1024).peekable();
            while let Some(piece) = pieces.next() {
                client.send(&Frame::data(id, piece, pieces.peek().is_none()));
            }
            let response = client.response(id);
            Answer {
                status: response.status,
                reason: response.field("x-ringway-reason").unwrap_or_default().to_owned(),
                body: String::from_utf8_lossy(&response.body).into_owned(),
            }
        }
    }
}

/// The same without a body.
pub fn get(proxy: &Proxy, speaks: Speaks, path: &str) -> Answer {
    ask(proxy, speaks, "GET", path, &[], b"")
}
