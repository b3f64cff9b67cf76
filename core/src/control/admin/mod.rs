//! The admin listeners: a TCP address (loopback unless told otherwise) and a UNIX socket of mode 0600.
//!
//! They run on the control thread beside signals and reloads; a worker is never asked for anything, its numbers are
//! read where they lie. **Invariant:** whoever can reach the TCP address can read; to change something takes the
//! UNIX socket or the token. See [`guard`] for what a web page in the operator's browser must not be able to do.

mod guard;
mod places;
mod routes;
mod socket;
mod weights;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;

use super::lifecycle::{Ask, Control};
use crate::config::ProcessConfig;
use crate::{log_info, log_warning};
use guard::Door;
use places::{Place, Places};
use socket::SocketFile;

/// Connections open at once, of each listener; for one more, the oldest that is not being answered is closed.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of a request head, and fields in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;
/// For a request head, and for the pause between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection is told to close after this, and cut after twice this: one that stopped reading holds its place no
/// longer.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);
/// Pause after a failure to accept (descriptors used up).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bound and not yet served.
pub(super) struct Listeners {
    tcp: Option<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

/// Removes the socket file when dropped.
pub(super) struct Served {
    _socket: Option<SocketFile>,
}

impl Listeners {
    /// Binds what the configuration asks for; the error names the address.
    pub(super) fn bind(process: &ProcessConfig) -> Result<Listeners, String> {
        let tcp = match process.admin {
            None => None,
            Some(address) => {
                let bound = std::net::TcpListener::bind(address).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)
                });
                let listener =
                    bound.map_err(|error| format!("the admin address {address} cannot be bound: {error}"))?;
                if let Ok(bound) = listener.local_addr() {
                    log_info!("admin listens address={bound}");
                }
                Some(listener)
            }
        };
        let unix = match &process.admin_socket {
            None => None,
            Some(path) => Some(bind_unix(path.clone())?),
        };
        Ok(Listeners { tcp, unix })
    }

    /// Where the TCP listener is bound.
    #[cfg(test)]
    pub(super) fn tcp_address(&self) -> Option<std::net::SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Serves on the control thread until the process ends.
    pub(super) fn serve(self, control: Rc<Control>, asks: mpsc::Sender<Ask>) -> Served {
        if let Some(listener) = self.tcp {
            let bound = listener.local_addr().ok().map(|address| address.ip());
            let admin =
                Rc::new(Admin { control: control.clone(), asks: asks.clone(), door: Door::Tcp { bound } });
            tokio::task::spawn_local(async move {
                let places = Rc::new(Places::default());
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => admin.clone().accepted(stream, &places),
                        Err(error) => accept_failed(&error).await,
                    }
                }
            });
        }
        let mut file = None;
        if let Some((listener, socket)) = self.unix {
            file = Some(socket);
            let admin = Rc::new(Admin { control, asks, door: Door::Unix });
            tokio::task::spawn_local(async move {
                // Places of its own: whoever fills those of the TCP address does not lock the operator out.
                let places = Rc::new(Places::default());
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => admin.clone().accepted(stream, &places),
                        Err(error) => accept_failed(&error).await,
                    }
                }
            });
        }
        Served { _socket: file }
    }
}

fn bind_unix(path: PathBuf) -> Result<(UnixListener, SocketFile), String> {
    let shown = path.display().to_string();
    let (listener, file) = SocketFile::bind(path)?;
    let listener = listener.set_nonblocking(true).and_then(|()| UnixListener::from_std(listener));
    let listener = listener.map_err(|error| format!("the admin socket {shown} cannot be used: {error}"))?;
    log_info!("admin listens socket={shown}");
    Ok((listener, file))
}

async fn accept_failed(error: &std::io::Error) {
    log_warning!("an admin connection cannot be accepted error={error}");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// One admin listener.
struct Admin {
    control: Rc<Control>,
    asks: mpsc::Sender<Ask>,
    door: Door,
}

impl Admin {
    fn accepted<S: AsyncRead + AsyncWrite + Unpin + 'static>(self: Rc<Self>, stream: S, places: &Rc<Places>) {
        let (place, put_out) = places.take(CONNECTIONS_MAX);
        if put_out || place.is_none() {
            self.control.stats.process.admin_refused.increment();
        }
        let Some(place) = place else { return };
        let places = places.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = self.serve(stream, place.clone()) => {}
                () = place.put_out() => {}
            }
            places.give_back(&place);
        });
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + 'static>(self: Rc<Self>, stream: S, place: Rc<Place>) {
        let service = service_fn(move |request: Request<Incoming>| {
            let (admin, place) = (self.clone(), place.clone());
            async move {
                place.set_busy(true);
                let response = admin.answer(request).await;
                place.set_busy(false);
                Ok::<Response<Full<Bytes>>, Infallible>(response)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(FIELDS_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        // A peer that breaks the protocol or goes away has lost its own connection: nothing to do about it.
        if tokio::time::timeout(CONNECTION_LIFETIME, connection.as_mut()).await.is_err() {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(CONNECTION_LIFETIME, connection).await;
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        self.control.stats.process.admin_requests.increment();
        let token = self.control.generations.current().config.process.admin_token.clone();
        let (parts, _body) = request.into_parts();
        match guard::check(&self.door, &parts, token.as_deref()) {
            Ok(may_write) => routes::answer(&self.control, &self.asks, &parts, may_write).await,
            Err(refusal) => {
                self.control.stats.process.admin_refused.increment();
                refusal.response()
            }
        }
    }
}
