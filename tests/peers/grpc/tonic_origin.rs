//! The service `interop.Echo` by tonic. `peer.py` is the same by grpcio.
//!
//! | method | what it does |
//! |---|---|
//! | `Unary` | the same message back; `fail CODE TEXT` is that status; `hang` never answers; `timeout` answers the `grpc-timeout` that came; `cancelled` how many calls were given up |
//! | `Down` | `COUNT SIZE`: that many messages of that size; `endless`: until it is given up |
//! | `Up` | how many messages and bytes came |
//! | `Both` | each message back as it comes |
//!
//! Every `x-…` field of the request comes back in the response's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ringway_tests::plain_codec::Plain;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::metadata::KeyAndValueRef;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::MESSAGE_BYTES_MAX;

/// Runs until it is dropped.
pub(super) struct TonicOrigin {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;
type Given = Arc<AtomicUsize>;

impl TonicOrigin {
    pub(super) fn start() -> TonicOrigin {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let incoming =
            TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port").with_nodelay(Some(true));
        let address = incoming.local_addr().expect("it is bound");
        let given_up = Given::default();
        let service = tower::service_fn(move |request| serve(request, given_up.clone()));
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        drop(_inside);
        TonicOrigin { address, _runtime: runtime }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(request: http::Request<Body>, given_up: Given) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(Plain).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/interop.Echo/Unary" => {
            grpc.unary(tower::service_fn(move |call| unary(call, given_up.clone())), request).await
        }
        "/interop.Echo/Down" => {
            grpc.server_streaming(tower::service_fn(move |call| down(call, given_up.clone())), request).await
        }
        "/interop.Echo/Up" => grpc.client_streaming(tower::service_fn(up), request).await,
        "/interop.Echo/Both" => grpc.streaming(tower::service_fn(both), request).await,
        _ => Status::unimplemented(path).into_http(),
    })
}

async fn unary(request: Request<Bytes>, given_up: Given) -> Result<Response<Bytes>, Status> {
    let message = String::from_utf8_lossy(request.get_ref()).into_owned();
    let answer = match message.split(' ').collect::<Vec<_>>()[..] {
        ["fail", code, ..] => {
            let text = message.splitn(3, ' ').nth(2).unwrap_or_default();
            let mut status = Status::new(Code::from(code.parse::<i32>().unwrap_or(2)), text);
            status.metadata_mut().insert("x-trailer", "with the status".parse().expect("ASCII"));
            return Err(status);
        }
        ["hang"] => {
            let _call = Watched(given_up);
            std::future::pending::<()>().await;
            Bytes::new()
        }
        ["timeout"] => {
            let seen = request.metadata().get("grpc-timeout").map(|value| value.as_bytes().to_vec());
            seen.unwrap_or_default().into()
        }
        ["cancelled"] => given_up.load(Ordering::SeqCst).to_string().into(),
        _ => request.get_ref().clone(),
    };
    Ok(answered(&request, answer))
}

async fn down(request: Request<Bytes>, given_up: Given) -> Result<Response<Messages>, Status> {
    let message = String::from_utf8_lossy(request.get_ref()).into_owned();
    let messages: Messages = match message.split_once(' ') {
        None => {
            let call = Watched(given_up);
            let ticks = tokio::time::interval(Duration::from_millis(5));
            let ticks = tokio_stream::wrappers::IntervalStream::new(ticks);
            Box::pin(ticks.map(move |_| {
                let _until_the_end = &call;
                Ok(Bytes::from_static(b"tick"))
            }))
        }
        Some((count, size)) => {
            let (count, size): (u32, usize) =
                (count.parse().unwrap_or_default(), size.parse().unwrap_or_default());
            Box::pin(tokio_stream::iter((0..count).map(move |n| Ok(super::numbered(n, size)))))
        }
    };
    Ok(answered(&request, messages))
}

async fn up(request: Request<Streaming<Bytes>>) -> Result<Response<Bytes>, Status> {
    let mut messages = request.into_inner();
    let (mut count, mut bytes) = (0_u64, 0);
    while let Some(message) = messages.message().await? {
        count += 1;
        bytes += message.len();
    }
    Ok(Response::new(format!("{count} {bytes}").into()))
}

async fn both(request: Request<Streaming<Bytes>>) -> Result<Response<Messages>, Status> {
    Ok(Response::new(Box::pin(request.into_inner())))
}

fn answered<Q, A>(request: &Request<Q>, answer: A) -> Response<A> {
    let mut response = Response::new(answer);
    for field in request.metadata().iter() {
        match field {
            KeyAndValueRef::Ascii(name, value) if name.as_str().starts_with("x-") => {
                response.metadata_mut().append(name.clone(), value.clone());
            }
            KeyAndValueRef::Binary(name, value) if name.as_str().starts_with("x-") => {
                response.metadata_mut().append_bin(name.clone(), value.clone());
            }
            _ => {}
        }
    }
    response
}

/// A call that only ends by being given up.
struct Watched(Given);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
