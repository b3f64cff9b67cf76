//! TLS with a client, before anything else is said.
//!
//! Until its hello is whole a client costs nothing but the bytes of it. Then it waits for one of the listener's places, and for
//! its turn to compute; all of that within one deadline.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringway_protocols::tls::client_hello::{ClientHello, HelloError, HelloReader};
use ringway_protocols::tls::rustls::ProtocolVersion;
use ringway_protocols::tls::{Handshake, TlsError, is_plain_http};

use super::{Downstream, close};
use crate::acme;
use crate::error::Reason;
use crate::handshakes::Side;
use crate::io::{self as rt, Chunk};
use crate::reply;
use crate::tls::ServerTls;
use crate::transport::HandshakeError;
use crate::worker::Worker;

/// How long a client that is refused gets to take the alert that says why.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);
/// A fatal alert, decode_error, in a record of its own (RFC 8446 5.1, 6.2).
const DECODE_ERROR: &[u8] = &[21, 3, 3, 0, 2, 2, 50];
const H2: &[u8] = b"h2";

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreed {
    Http2,
    /// HTTP/1.1; HTTP/2 by its preface, where the client named no protocol.
    Http1,
    /// TLS with somebody else, to whom the connection is passed on. Its hello is in `conn.unread`.
    Passthrough,
}

/// Why a client is not served.
enum Refused {
    /// It went away before it said anything: whoever asks only whether the port is open does that.
    Silent,
    /// An authority has seen the answer to its challenge, and nothing else is said (RFC 8737 3).
    Validated,
    PlainHttp,
    Hello(HelloError),
    Handshake(HandshakeError),
    /// The certificate of a client that resumed a session is past its validity.
    Expired,
    TimedOut,
    Rate,
}

/// Whether the listener speaks TLS.
pub(super) fn is_spoken(conn: &Downstream, worker: &Worker) -> bool {
    conn.listener(&worker.view()).is_some_and(|(_, config)| config.tls.is_some())
}

/// Makes the handshake. `None`: there was none, and the client knows.
pub(super) async fn accept(worker: &Worker, conn: &mut Downstream) -> Option<Agreed> {
    let view = worker.view();
    let tls = conn.listener(&view)?.1.tls.clone()?;
    drop(view);
    let refused = match handshake(worker, conn, &tls).await {
        Ok(agreed) => return Some(agreed),
        Err(refused) => refused,
    };
    refused.count(worker);
    refused.log(worker, conn);
    refused.answer(worker, conn).await;
    None
}

async fn handshake(worker: &Worker, conn: &mut Downstream, tls: &ServerTls) -> Result<Agreed, Refused> {
    let (settings, now) = (tls.settings(), rt::now());
    let rate = settings.handshakes_per_client_max;
    if conn.client().is_some_and(|client| !worker.client_rates.admit(client.ip(), rate, now)) {
        return Err(Refused::Rate);
    }
    let _open = Open::new(worker);
    let within = secure(worker, conn, tls);
    let ended_here =
        rt::timeout_at(now + settings.handshake_timeout, within).await.map_err(|_| Refused::TimedOut)??;
    if !ended_here {
        return Ok(Agreed::Passthrough);
    }
    let facts = conn.stream.tls().ok_or(Refused::Silent)?;
    // A session that is resumed has the certificate of before, at which nobody has looked again.
    if facts.resumed && facts.peer().is_some_and(|peer| peer.has_expired(worker.wall(now))) {
        return Err(Refused::Expired);
    }
    let stats = &worker.stats.tls;
    stats.handshakes.increment();
    if facts.resumed {
        stats.resumed.increment();
    }
    if facts.version == ProtocolVersion::TLSv1_2 {
        stats.version_12.increment();
    }
    match facts.alpn.as_deref() {
        Some(H2) => Ok(Agreed::Http2),
        Some(acme::ALPN) => Err(Refused::Validated),
        _ => Ok(Agreed::Http1),
    }
}

/// Makes the handshake. `false`: the connection is to be passed on, with the hello that is in `conn.unread`.
async fn secure(worker: &Worker, conn: &mut Downstream, tls: &ServerTls) -> Result<bool, Refused> {
    let (first, hello) = receive_hello(conn).await?;
    if is_passed_on(worker, conn, &hello) {
        conn.unread = Some(Chunk::from(first));
        return Ok(false);
    }
    let places = Rc::clone(&conn.owner.open.slot.handshakes);
    let _place = places.take(tls.settings().handshakes_max).await;
    let authority = Some(&hello.alpn).filter(|offered| acme::is_validation(offered));
    let config = authority.and_then(|_| tls.config_for_authority());
    let config = config.unwrap_or_else(|| tls.config_for(hello.server_name.as_deref()));
    let handshake = Handshake::server(config)?;
    let name = hello.server_name.map(String::into_boxed_str);
    let turn = async || worker.turns.take(Side::Downstream).await;
    conn.stream.secure(handshake, &first, name, turn).await?;
    Ok(true)
}

fn is_passed_on(worker: &Worker, conn: &Downstream, hello: &ClientHello) -> bool {
    let view = worker.view();
    let name = hello.server_name.as_deref();
    name.zip(conn.listener(&view)).is_some_and(|(name, (_, config))| config.passes_on(name))
}

/// Receives until the hello is whole: the bytes, and what it says.
async fn receive_hello(conn: &mut Downstream) -> Result<(Vec<u8>, ClientHello), Refused> {
    let mut reader = HelloReader::default();
    let mut bytes = Vec::new();
    loop {
        let chunk = match conn.unread.take() {
            Some(chunk) => chunk,
            None => conn.stream.recv().await?,
        };
        if chunk.is_empty() {
            let silent = bytes.is_empty();
            return Err(if silent { Refused::Silent } else { HandshakeError::Closed.into() });
        }
        bytes.extend_from_slice(&chunk);
        match reader.feed(&chunk) {
            Ok(Some(hello)) => return Ok((bytes, hello)),
            Ok(None) => {}
            Err(HelloError::NotTls) if is_plain_http(&bytes) => return Err(Refused::PlainHttp),
            Err(error) => return Err(Refused::Hello(error)),
        }
    }
}

impl From<HandshakeError> for Refused {
    fn from(error: HandshakeError) -> Self {
        Refused::Handshake(error)
    }
}

impl From<TlsError> for Refused {
    fn from(error: TlsError) -> Self {
        Refused::Handshake(error.into())
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Refused::Handshake(error.into())
    }
}

impl Refused {
    fn reason(&self) -> Option<Reason> {
        match self {
            Refused::Silent | Refused::Validated => None,
            Refused::PlainHttp => Some(Reason::PlainHttpToTls),
            Refused::Hello(_) | Refused::Handshake(_) | Refused::Expired => Some(Reason::TlsHandshake),
            Refused::TimedOut => Some(Reason::TlsHandshakeTimeout),
            Refused::Rate => Some(Reason::TlsHandshakeRate),
        }
    }

    fn count(&self, worker: &Worker) {
        let stats = &worker.stats.tls;
        match self {
            Refused::Silent | Refused::Validated => return,
            Refused::PlainHttp => stats.plain_http.increment(),
            Refused::Hello(_) | Refused::Handshake(_) | Refused::Expired => stats.failures.increment(),
            Refused::TimedOut => stats.timeouts.increment(),
            Refused::Rate => stats.refused.increment(),
        }
        if let Some(reason) = self.reason() {
            worker.stats.refused.count(reason);
        }
    }

    fn log(&self, worker: &Worker, conn: &Downstream) {
        let Some(reason) = self.reason().filter(|_| worker.may_log()) else { return };
        let error = match self {
            Refused::Hello(error) => error.to_string(),
            Refused::Handshake(error) => error.to_string(),
            Refused::Expired => "the client's certificate has expired since its session began".to_owned(),
            _ => reason.info().text.to_owned(),
        };
        let client = conn.client().map_or("-".to_owned(), |client| client.ip().to_string());
        let view = worker.view();
        let listener = conn.listener(&view).map_or("-", |(_, config)| &config.name);
        let reason = reason.code();
        crate::log_warning!(
            "no TLS connection client={client} listener={listener} reason={reason} error={error}"
        );
    }

    /// Tells the client, where it can be told.
    async fn answer(&self, worker: &Worker, conn: &mut Downstream) {
        match self {
            Refused::Silent => return,
            Refused::Rate | Refused::TimedOut | Refused::Expired => return conn.stream.reset_on_close(),
            Refused::PlainHttp => {
                let view = worker.view();
                let header = conn.listener(&view).is_some_and(|(_, config)| config.forwarded.reason_header);
                let _ = conn.stream.send(reply::unread_refusal(Reason::PlainHttpToTls, header));
            }
            Refused::Hello(HelloError::NotTls) => return,
            Refused::Hello(_) => {
                let _ = conn.stream.send(DECODE_ERROR.to_vec());
            }
            // rustls has said why.
            Refused::Validated | Refused::Handshake(_) => {}
        }
        close::linger(&conn.stream, ALERT_TIMEOUT).await;
    }
}

/// Counts a handshake as under way for as long as it is.
struct Open<'a>(&'a Worker);

impl<'a> Open<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.stats.tls.open.increment();
        Open(worker)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.stats.tls.open.decrement();
    }
}
