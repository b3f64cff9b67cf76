//! The final response head of an origin, without anybody to pass it on to yet: for requests of which there are several
//! copies. Time is up to the caller.

use std::future::poll_fn;
use std::io;

use ringway_protocols::http1::{self, BodyDecoder, HeadLimits, HeadProgress, Parsed, ResponseError};
use ringway_protocols::message::{BodyLength, Method, ResponseHead};

use super::super::download::INTERIM_MAX;
use super::source::Source;
use crate::config::ClusterConfig;
use crate::head_buffer::{Fed, HeadBuffer, HeadBytes};
use crate::http2::StreamError;
use crate::io::Chunk;
use crate::relay;
use crate::upstream::Origin;

/// A final response head.
pub(super) struct Answer {
    pub response: ResponseHead,
    pub bytes: HeadBytes,
    /// The response ends with it.
    pub end: bool,
    /// What came behind it.
    pub rest: Option<Chunk>,
}

/// Why there is none.
pub(super) enum NoAnswer {
    Closed,
    Io(io::Error),
    Stream(StreamError),
    Invalid(ResponseError),
    /// Interim responses without end, or another protocol, which nobody asked for.
    Unexpected,
}

/// Waits for the final response head of `origin`.
pub(super) async fn final_answer(
    origin: &Origin,
    cluster: &ClusterConfig,
    method: Method,
) -> Result<Answer, NoAnswer> {
    let mut rest = None;
    for _ in 0..INTERIM_MAX {
        let answer = match origin {
            Origin::Http1(upstream) => {
                let (response, bytes, left) =
                    http1_head(&upstream.stream, cluster, method, rest.take()).await?;
                let end = matches!(response.body, BodyLength::Empty | BodyLength::Exact(0));
                Answer { response, bytes, end, rest: left }
            }
            Origin::Http2(origin) => {
                let received = poll_fn(|cx| origin.stream.poll_response(cx)).await;
                let (mut received, end) = received.map_err(NoAnswer::Stream)?;
                let response = std::mem::take(&mut received.head);
                Answer { response, bytes: HeadBytes::Received(received), end, rest: None }
            }
        };
        if answer.response.status == 101 {
            return Err(NoAnswer::Unexpected);
        }
        if !answer.response.is_interim() {
            return Ok(answer);
        }
        rest = answer.rest;
    }
    Err(NoAnswer::Unexpected)
}

async fn http1_head(
    stream: &crate::transport::Transport,
    cluster: &ClusterConfig,
    method: Method,
    mut rest: Option<Chunk>,
) -> Result<(ResponseHead, HeadBytes, Option<Chunk>), NoAnswer> {
    let limits = HeadLimits {
        bytes_max: cluster.response_header_bytes_max,
        fields_max: cluster.response_header_count_max,
        target_bytes_max: 0,
    };
    let (mut buffer, mut progress) = (HeadBuffer::default(), HeadProgress::default());
    let mut response = ResponseHead::default();
    loop {
        let chunk = match rest.take() {
            Some(chunk) => chunk,
            None => poll_fn(|cx| stream.poll_recv(cx)).await.map_err(NoAnswer::Io)?,
        };
        if chunk.is_empty() {
            return Err(NoAnswer::Closed);
        }
        let parse = |bytes: &[u8]| {
            http1::parse_response_resumed(bytes, &limits, method, &mut progress, &mut response)
                .map(|parsed| matches!(parsed, Parsed::Complete).then_some(response.bytes as usize))
        };
        match buffer.feed(chunk, parse) {
            Fed::Complete(bytes, rest) => return Ok((response, bytes, rest)),
            Fed::NeedMore => {}
            Fed::Invalid(error, _) => return Err(NoAnswer::Invalid(error)),
        }
    }
}

/// The body of an answer.
pub(super) fn body_of<'o>(
    origin: &'o Origin,
    cluster: &ClusterConfig,
    body: BodyLength,
    rest: Option<Chunk>,
) -> Source<'o> {
    match origin {
        Origin::Http1(upstream) => {
            let limits = relay::response_trailer_limits(cluster);
            Source::http1(&upstream.stream, BodyDecoder::new(body, &limits), rest)
        }
        Origin::Http2(origin) => Source::Http2(&origin.stream),
    }
}
