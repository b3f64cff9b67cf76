//! Bodies of responses that are compressed on their way to the client (`compress`).

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use ringway_policies::compress::{self, Encode, Encoder};
use ringway_protocols::message::{BodyLength, FramingRewrite, Method, ResponseHead};

use super::source::Source;
use super::{Cut, Exchange, Passage};
use crate::exchange::add;
use crate::http2::BodyPiece;
use crate::io::{self as rt, Chunk};

impl Exchange<'_> {
    /// Makes the head that of a compressed body. `end`: there is no body. `None`: what follows the head passes as it is.
    pub(super) fn begin_encoding(
        &self,
        response: &mut ResponseHead,
        bytes: &[u8],
        encode: Encode,
        end: bool,
    ) -> Option<Encoder> {
        // Messages of gRPC have a compression of their own; and what is empty would only get longer.
        if self.call.is_some() || end && self.head.method != Method::Head {
            return None;
        }
        let coding = encode.coding;
        // The head that answers HEAD is that of GET (RFC 9110 9.3.2).
        let encoder = if end { None } else { Some(Encoder::new(encode).ok()?) };
        if let Some(policies) = &mut *self.policies.borrow_mut() {
            let headers = &mut policies.response.headers;
            compress::edit_head(headers, coding, response, bytes);
            headers.remove(b"content-length");
        }
        if !end && response.body != BodyLength::Chunked {
            response.body = BodyLength::Chunked;
            response.framing_rewrite = FramingRewrite::Chunked;
        }
        encoder
    }

    /// As `pump_response`, through a compressor. While the origin pauses nothing is held back from the client.
    pub(super) async fn pump_encoded(
        &self,
        source: &mut Source<'_>,
        to_client: &Passage<'_>,
        timeout: Duration,
        mut encoder: Encoder,
    ) -> Result<(), Cut> {
        let mut received = 0;
        loop {
            self.timer.arm(self.until(rt::now() + timeout));
            let piece = poll_fn(|cx| match source.poll_piece(cx) {
                Poll::Ready(piece) => Poll::Ready(piece.map(Some).map_err(Cut::Source)),
                Poll::Pending if encoder.holds_back() => Poll::Ready(Ok(None)),
                Poll::Pending => self.poll_stalled(cx),
            })
            .await?;
            let (end, trailers) = match piece {
                None => {
                    encoder.flush().map_err(|_| Cut::Encoder)?;
                    (false, None)
                }
                Some(BodyPiece::Data(data, end)) => {
                    received += data.len() as u64;
                    self.check_response_bytes(received)?;
                    encoder.write(&data).map_err(|_| Cut::Encoder)?;
                    source.consumed(data.len());
                    (end, None)
                }
                Some(BodyPiece::Trailers(lines)) => (true, Some(BodyPiece::Trailers(lines))),
                Some(BodyPiece::End) => (true, Some(BodyPiece::End)),
            };
            if end {
                let rest = encoder.finish().map_err(|_| Cut::Encoder)?;
                self.pass_encoded(to_client, rest, trailers.is_none()).await?;
                if let Some(last) = trailers {
                    self.pass_on(to_client, None, last, &self.record.wire.to_client).await?;
                }
                return Ok(());
            }
            self.pass_encoded(to_client, encoder.take(), false).await?;
        }
    }

    async fn pass_encoded(&self, to_client: &Passage<'_>, data: Vec<u8>, end: bool) -> Result<(), Cut> {
        if data.is_empty() && !end {
            return Ok(());
        }
        add(&self.record.response_body_bytes, data.len());
        let piece = BodyPiece::Data(Chunk::from(data), end);
        self.pass_on(to_client, None, piece, &self.record.wire.to_client).await.map(drop)
    }
}
