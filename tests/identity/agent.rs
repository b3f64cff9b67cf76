//! An agent of the SPIFFE Workload API, from its published protocol (`workload.proto`): the one call that X.509 needs.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ringway_tests::plain_codec::Plain;
use ringway_tests::temp::TempDir;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::certificates::Made;

/// What the agent says of a workload.
#[derive(Clone)]
pub(crate) struct Svid {
    pub(crate) id: String,
    pub(crate) made: Made,
    /// The authorities of its trust domain, one behind the other.
    pub(crate) bundle: Vec<u8>,
    /// Those of others, by their SPIFFE IDs.
    pub(crate) federated: Vec<(String, Vec<u8>)>,
}

impl Svid {
    /// `X509SVIDResponse`.
    fn encode(&self) -> Bytes {
        let mut svid = Vec::new();
        field(&mut svid, 1, self.id.as_bytes());
        field(&mut svid, 2, &self.made.certificate_der);
        field(&mut svid, 3, &self.made.key_der);
        field(&mut svid, 4, &self.bundle);
        let mut response = Vec::new();
        field(&mut response, 1, &svid);
        for (domain, bundle) in &self.federated {
            let mut entry = Vec::new();
            field(&mut entry, 1, domain.as_bytes());
            field(&mut entry, 2, bundle);
            field(&mut response, 3, &entry);
        }
        response.into()
    }
}

/// A field with a length (Protocol Buffers, wire type 2).
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 & 0x7f | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// A running agent, gone when dropped. Its socket can be taken over by another one.
pub(crate) struct Agent {
    news: watch::Sender<Svid>,
    calls: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

/// Where agents listen.
pub(crate) struct Socket(TempDir);

impl Socket {
    pub(crate) fn new() -> Socket {
        Socket(TempDir::new())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("agent")
    }

    pub(crate) fn uri(&self) -> String {
        format!("unix://{}", self.path().display())
    }
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl Agent {
    pub(crate) fn start(socket: &Socket, first: Svid) -> Agent {
        // One that was killed leaves its socket behind.
        let _ = std::fs::remove_file(socket.path());
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let listener = UnixListener::bind(socket.path()).expect("the socket is free");
        let (news, svids) = watch::channel(first);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let service = tower::service_fn(move |request| serve(request, svids.clone(), counted.clone()));
        let incoming = UnixListenerStream::new(listener);
        runtime.spawn(Server::builder().serve_with_incoming(service, incoming));
        drop(_inside);
        Agent { news, calls, _runtime: runtime }
    }

    /// Sends another identity to whoever listens.
    pub(crate) fn rotate(&self, next: Svid) {
        self.news.send_replace(next);
    }

    /// Streams that were asked for.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn serve(
    request: http::Request<Body>,
    svids: watch::Receiver<Svid>,
    calls: Arc<AtomicUsize>,
) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(Plain);
    Ok(match request.uri().path() {
        "/SpiffeWorkloadAPI/FetchX509SVID" => {
            let call = move |call| fetch(call, svids.clone(), calls.clone());
            grpc.server_streaming(tower::service_fn(call), request).await
        }
        path => Status::unimplemented(path).into_http(),
    })
}

async fn fetch(
    request: Request<Bytes>,
    svids: watch::Receiver<Svid>,
    calls: Arc<AtomicUsize>,
) -> Result<Response<Messages>, Status> {
    // Workload Endpoint, 6.1: the field by which an agent knows that the call is not forged by a page in a browser.
    if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
        return Err(Status::invalid_argument("security header missing"));
    }
    calls.fetch_add(1, Ordering::SeqCst);
    let messages: Messages = Box::pin(WatchStream::new(svids).map(|svid| Ok(svid.encode())));
    Ok(Response::new(messages))
}
