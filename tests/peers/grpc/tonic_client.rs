//! tonic as the client: what it asks of `interop.Echo`, and what has to come back.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::uri::PathAndQuery;
use ringway_tests::plain_codec::Plain;
use tokio_stream::StreamExt;
use tonic::client::Grpc;
use tonic::metadata::{MetadataKey, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, numbered};

/// One channel, which is one HTTP/2 connection.
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    grpc: Grpc<Channel>,
}

/// Waiting that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(20);

impl Client {
    pub(super) fn connect(to: SocketAddr) -> Client {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{to}")).expect("a URI");
        let channel = runtime.block_on(endpoint.connect()).expect("connected");
        let grpc = Grpc::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Client { runtime, grpc }
    }

    fn unary(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Status> {
        self.runtime.block_on(async {
            self.grpc.ready().await.expect("the channel is open");
            self.grpc.unary(request, method("Unary"), Plain).await
        })
    }

    fn ask(&mut self, message: impl Into<Bytes>) -> Result<Bytes, Status> {
        self.unary(Request::new(message.into())).map(Response::into_inner)
    }

    pub(super) fn every_kind_of_call(&mut self) {
        for size in [0, 1, 100, 20_000, 300_000] {
            assert_eq!(self.ask(numbered(7, size)).expect("an answer"), numbered(7, size));
        }
        self.runtime.block_on(async {
            self.grpc.ready().await.expect("the channel is open");
            let asked = Request::new(Bytes::from_static(b"300 777"));
            let mut down = self
                .grpc
                .server_streaming(asked, method("Down"), Plain)
                .await
                .expect("a stream")
                .into_inner();
            for number in 0..300 {
                assert_eq!(
                    down.message().await.expect("no error").expect("a message"),
                    numbered(number, 777)
                );
            }
            assert!(down.message().await.expect("OK in the trailers").is_none());

            self.grpc.ready().await.expect("the channel is open");
            let messages = tokio_stream::iter((0..200).map(|number| numbered(number, 999)));
            let up = self
                .grpc
                .client_streaming(Request::new(messages), method("Up"), Plain)
                .await
                .expect("a count");
            assert_eq!(up.into_inner(), "200 199800");
        });
        self.both_ways_in_turn();
    }

    /// Each message is sent only when the one before has come back: nobody on the way may wait for more.
    fn both_ways_in_turn(&mut self) {
        self.runtime.block_on(async {
            let (say, said) = tokio::sync::mpsc::channel(1);
            let said = tokio_stream::wrappers::ReceiverStream::new(said);
            self.grpc.ready().await.expect("the channel is open");
            say.send(numbered(0, 50)).await.expect("room");
            let answer = self.grpc.streaming(Request::new(said), method("Both"), Plain);
            let mut answers = tokio::time::timeout(PATIENCE, answer)
                .await
                .expect("in time")
                .expect("a stream")
                .into_inner();
            for number in 0..50 {
                let next = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
                assert_eq!(next.expect("no error").expect("a message"), numbered(number, 50));
                if number < 49 {
                    say.send(numbered(number + 1, 50)).await.expect("room");
                }
            }
            drop(say);
            assert!(answers.message().await.expect("OK in the trailers").is_none());
        });
    }

    /// Above the 4 MiB that many servers have as a default.
    pub(super) fn large_messages(&mut self) {
        let large = numbered(1, 6 << 20);
        assert!(self.ask(large.clone()).expect("an answer") == large);
        self.runtime.block_on(async {
            self.grpc.ready().await.expect("the channel is open");
            let messages = tokio_stream::iter((0..3).map(|number| numbered(number, 5 << 20)));
            let answers =
                self.grpc.streaming(Request::new(messages), method("Both"), Plain).await.expect("a stream");
            let answers: Vec<_> = answers.into_inner().collect().await;
            assert_eq!(answers.len(), 3);
            for (number, answer) in (0..).zip(answers) {
                assert!(answer.expect("no error") == numbered(number, 5 << 20));
            }
        });
    }

    /// Below the 100 fields that the proxy takes by default.
    pub(super) fn much_metadata(&mut self) {
        let mut request = Request::new(Bytes::from_static(b"m"));
        for number in 0..40 {
            let name = MetadataKey::from_bytes(format!("x-field-{number}").as_bytes()).expect("a name");
            request.metadata_mut().append(name.clone(), format!("value {number}").parse().expect("ASCII"));
            request.metadata_mut().append(name, "second".parse().expect("ASCII"));
        }
        request.metadata_mut().insert_bin("x-bytes-bin", MetadataValue::from_bytes(&[0, 10, 13, 255, 0]));
        request.metadata_mut().insert("x-long", "l".repeat(4_000).parse().expect("ASCII"));
        let response = self.unary(request).expect("an answer");
        let metadata = response.metadata();
        for number in 0..40 {
            let values: Vec<_> = metadata.get_all(format!("x-field-{number}")).iter().collect();
            assert_eq!(values, [format!("value {number}").as_str(), "second"]);
        }
        let bytes = metadata.get_bin("x-bytes-bin").and_then(|value| value.to_bytes().ok());
        assert_eq!(bytes.as_deref(), Some(&[0, 10, 13, 255, 0][..]));
        assert_eq!(metadata.get("x-long").map(|value| value.len()), Some(4_000));
    }

    /// Trailers-only responses, and a message that has to be percent-encoded.
    pub(super) fn statuses_and_messages(&mut self) {
        for code in 1..=16 {
            let status = self.ask(format!("fail {code} weil äöü % 100 %25")).expect_err("a status");
            assert_eq!(status.code(), Code::from(code));
            assert_eq!(status.message(), "weil äöü % 100 %25");
            let trailer = status.metadata().get("x-trailer").and_then(|value| value.to_str().ok());
            assert_eq!(trailer, Some("with the status"));
        }
        assert_eq!(self.ask("still here").expect("the channel goes on"), "still here");
    }

    pub(super) fn deadlines(&mut self) {
        let mut request = Request::new(Bytes::from_static(b"timeout"));
        request.set_timeout(Duration::from_secs(5));
        let seen = self.unary(request).expect("an answer").into_inner();
        let (low, high) = (Duration::from_secs(3), Duration::from_secs(5));
        let left = timeout(&seen).unwrap_or_else(|| panic!("a grpc-timeout, not {seen:?}"));
        assert!(left > low && left <= high, "{left:?} passed on");

        let before = self.given_up();
        let mut request = Request::new(Bytes::from_static(b"hang"));
        request.set_timeout(Duration::from_millis(300));
        let start = Instant::now();
        let status = self.unary(request).expect_err("no answer");
        // tonic's own clock may be first: it calls that cancelled.
        assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status:?}");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        self.wait_until_given_up(before);
    }

    pub(super) fn cancellation(&mut self) {
        let before = self.given_up();
        self.runtime.block_on(async {
            self.grpc.ready().await.expect("the channel is open");
            let asked = Request::new(Bytes::from_static(b"endless"));
            let mut down = self
                .grpc
                .server_streaming(asked, method("Down"), Plain)
                .await
                .expect("a stream")
                .into_inner();
            for _ in 0..3 {
                assert_eq!(down.message().await.expect("no error").expect("a message"), "tick");
            }
            drop(down);
        });
        self.wait_until_given_up(before);
        assert_eq!(self.ask("still here").expect("the channel goes on"), "still here");
    }

    fn given_up(&mut self) -> usize {
        let count = self.ask("cancelled").expect("a count");
        String::from_utf8_lossy(&count).parse().expect("a number")
    }

    /// The origin hears of it.
    fn wait_until_given_up(&mut self, before: usize) {
        let end = Instant::now() + PATIENCE;
        while self.given_up() == before {
            assert!(Instant::now() < end, "the origin was not told that the call was given up");
        }
    }
}

fn method(name: &str) -> PathAndQuery {
    PathAndQuery::from_maybe_shared(format!("/interop.Echo/{name}")).expect("a path")
}

/// Reads a `grpc-timeout`: up to eight digits and a unit.
fn timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}
