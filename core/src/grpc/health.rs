//! The health protocol of gRPC (grpc.health.v1): endpoints are asked, and a client that asks the proxy is answered.
//!
//! When endpoints are asked, and what follows from the answers, is the matter of [`crate::upstream::health`].

use std::future::poll_fn;

use ringway_protocols::grpc::Status;
use ringway_protocols::http1::{self, HeadLimits, RequestEdits};
use ringway_protocols::message::{FieldKind, RequestHead};

use super::HEALTH_CHECK;
use crate::http2::{BodyPiece, StreamHandle};
use crate::io::Chunk;

/// An answer is seven bytes; more than this is something else.
const ANSWER_BYTES_MAX: usize = 1024;
const QUESTION_LIMITS: HeadLimits =
    HeadLimits { bytes_max: 8 * 1024, fields_max: 16, target_bytes_max: 1024 };

/// `HealthCheckResponse { status: SERVING | NOT_SERVING }` as a message.
pub fn response(serving: bool) -> [u8; 7] {
    [0, 0, 0, 0, 2, 0x08, if serving { 1 } else { 2 }]
}

/// `HealthCheckRequest { service }` as a message.
fn request(service: &str) -> Vec<u8> {
    let mut field = Vec::new();
    if !service.is_empty() {
        field.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(service.as_bytes());
    }
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(&field);
    message
}

/// One question and its answer; `None` where it failed.
pub async fn ask(stream: &StreamHandle, authority: &str, service: &str) -> Option<bool> {
    let host = if authority.starts_with("unix:") { "localhost" } else { authority };
    let body = request(service);
    let mut bytes = b"POST ".to_vec();
    bytes.extend_from_slice(HEALTH_CHECK);
    let fields = format!(
        " HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/grpc\r\nuser-agent: ringway-health\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    bytes.extend_from_slice(fields.as_bytes());
    let mut head = RequestHead::default();
    http1::parse_request(&bytes, &QUESTION_LIMITS, &mut head).ok()?;
    let scheme = if stream.tls().is_some() { "https" } else { "http" };
    let edits = RequestEdits { te_trailers: true, ..RequestEdits::default() };
    stream.send_request(&bytes, &head, &edits, scheme, false).ok()?;
    let mut rest = Chunk::from(body);
    while !rest.is_empty() {
        let room = poll_fn(|cx| stream.poll_capacity(cx, rest.len())).await.ok()?;
        let part = rest.split_to(room.min(rest.len()));
        stream.send_data(part, rest.is_empty()).ok()?;
    }
    read_answer(stream).await
}

async fn read_answer(stream: &StreamHandle) -> Option<bool> {
    let response = loop {
        let (received, end) = poll_fn(|cx| stream.poll_response(cx)).await.ok()?;
        if end {
            // Trailers alone are an error, such as that the service is not known.
            return Some(false);
        }
        if !received.head.is_interim() {
            break received;
        }
    };
    if response.head.status != 200 {
        return Some(false);
    }
    let mut answer = Vec::new();
    loop {
        match poll_fn(|cx| stream.poll_body(cx)).await.ok()? {
            BodyPiece::Data(data, end) => {
                stream.consumed(data.len());
                answer.extend_from_slice(&data);
                if end || answer.len() > ANSWER_BYTES_MAX {
                    return Some(false);
                }
            }
            BodyPiece::Trailers(lines) => {
                return Some(
                    super::status_of_trailers(&lines) == Some(Status::Ok) && answer == self::response(true),
                );
            }
            // A status in the head and none behind the body: no server does so, but it would be one.
            BodyPiece::End => {
                let status = response.head.lookup(FieldKind::GrpcStatus);
                let status = status.map(|span| Status::of_field(span.of(&response.bytes)));
                return Some(status == Some(Status::Ok) && answer == self::response(true));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_messages_of_the_health_protocol() {
        assert_eq!(request(""), [0, 0, 0, 0, 0]);
        assert_eq!(request("a.B"), [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        let long = request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 0x01]);
        assert_eq!(long.len(), 5 + 203);
    }
}
