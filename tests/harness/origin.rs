//! An origin that does what a test tells it, connection by connection, and records every byte that it gets.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Instant;

use crate::http::Request;
use crate::tls::TlsSocket;
use crate::wait::PATIENCE;
use crate::wire::{Broken, Wire};

/// A running origin; it ends when dropped.
#[derive(Debug)]
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// One connection, in the hands of the script that serves it.
pub struct Conn {
    /// Which connection this is, from 0 in the order of accepting.
    pub index: usize,
    wire: Wire,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    requests: Vec<Request>,
    /// Every byte received, by connection.
    received: Vec<Vec<u8>>,
    /// How each connection ended, as far as it has.
    ended: Vec<Option<End>>,
    /// What a strict reader refused.
    violations: Vec<String>,
    /// Names that scripts gave to the points they reached.
    reached: Vec<String>,
    sockets: Vec<TcpStream>,
    over: bool,
}

/// How a connection ended, seen from the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The proxy sent FIN.
    Closed,
    /// The proxy sent RST.
    Reset,
    /// The script ended it.
    Script,
}

impl Origin {
    /// Serves each connection by `script` on a thread of its own. The connection closes when the script returns.
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        Origin::start_at("127.0.0.1:0".parse().expect("an address"), script)
    }

    /// The same on a given address, for an origin that comes back.
    pub fn start_at(address: SocketAddr, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        Origin::start_with(address, Arc::new(Wire::tcp), script)
    }

    /// The same with TLS. The handshake is made when the script reads or writes; a script that ends without
    /// [`Conn::finish_writing`] leaves out the close_notify.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Origin {
        let wire = move |stream| Wire::tls(TlsSocket::server(stream, Arc::clone(&config)));
        Origin::start_with("127.0.0.1:0".parse().expect("an address"), Arc::new(wire), script)
    }

    fn start_with(
        address: SocketAddr,
        wire: Arc<dyn Fn(TcpStream) -> Wire + Send + Sync>,
        script: impl Fn(&mut Conn) + Send + Sync + 'static,
    ) -> Origin {
        let listener = TcpListener::bind(address).unwrap_or_else(|e| panic!("origin on {address}: {e}"));
        let address = listener.local_addr().expect("the origin's address");
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        std::thread::spawn(move || serve(&listener, &for_thread, &*wire, Arc::new(script)));
        Origin { address, shared }
    }

    /// Answers each request with 200 and the body `ok`.
    pub fn ok() -> Origin {
        Origin::replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// Answers each request with these bytes.
    pub fn replying(reply: impl Into<Vec<u8>>) -> Origin {
        let reply = reply.into();
        Origin::start(move |conn| {
            while conn.request().is_some() {
                conn.send(&reply);
            }
        })
    }

    /// Answers the first request with these bytes and closes.
    pub fn replying_once(reply: impl Into<Vec<u8>>) -> Origin {
        let reply = reply.into();
        Origin::start(move |conn| {
            if conn.request().is_some() {
                conn.send(&reply);
            }
        })
    }

    /// Answers each request with 200 and its own head as the body, as the origin saw it.
    pub fn echo() -> Origin {
        Origin::start(|conn| {
            while let Some(request) = conn.request() {
                conn.reply(200, &request.head);
            }
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, in the order they were complete.
    pub fn requests(&self) -> Vec<Request> {
        self.log().requests.clone()
    }

    /// The only request so far.
    pub fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "exactly one request at the origin, not {requests:#?}");
        requests.remove(0)
    }

    /// Waits until `count` requests have come.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        self.wait_until(&format!("{count} requests at the origin"), |log| log.requests.len() >= count);
        self.requests()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.log().received.len()
    }

    pub fn wait_for_connections(&self, count: usize) {
        self.wait_until(&format!("{count} connections at the origin"), |log| log.received.len() >= count);
    }

    /// Every byte of one connection so far.
    pub fn received(&self, connection: usize) -> Vec<u8> {
        self.log().received.get(connection).cloned().unwrap_or_default()
    }

    /// Waits until connection `index` has ended and returns how.
    pub fn wait_for_end(&self, index: usize) -> End {
        let ended = |log: &Log| log.ended.get(index).copied().flatten();
        let what = format!("the end of connection {index} at the origin");
        self.wait_until(&what, |log| ended(log).is_some());
        ended(&self.log()).expect("it ended")
    }

    /// Connections that have not ended.
    pub fn open_connections(&self) -> usize {
        self.log().ended.iter().filter(|end| end.is_none()).count()
    }

    /// Waits until a script has called [`Conn::reached`] with this name.
    pub fn wait_until_reached(&self, point: &str) {
        self.wait_until(point, |log| log.reached.iter().any(|name| name == point));
    }

    /// Panics unless every byte received was part of a request that can be framed in one way only.
    pub fn assert_unambiguous(&self) {
        let log = self.log();
        assert!(log.violations.is_empty(), "the origin received what it must not: {:#?}", log.violations);
    }

    /// Panics when a single byte was received.
    pub fn assert_saw_nothing(&self) {
        let bytes: Vec<u8> = self.log().received.concat();
        assert!(bytes.is_empty(), "the origin received {:?}", String::from_utf8_lossy(&bytes));
    }

    fn wait_until(&self, what: &str, mut condition: impl FnMut(&Log) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut log = self.log();
        while !condition(&log) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {PATIENCE:?} in vain for: {what}; {:#?}", log.requests);
            log = self.shared.changed.wait_timeout(log, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.shared.lock()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let mut log = self.log();
        log.over = true;
        for socket in log.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(log);
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Conn {
    /// Reads one request strictly and records it. `None` when the proxy closes, resets or says nothing for too long.
    pub fn request(&mut self) -> Option<Request> {
        let result = self.wire.request();
        match result {
            Ok(mut request) => {
                request.connection = self.index;
                self.record(|log| log.requests.push(request.clone()));
                Some(request)
            }
            Err(broken) => {
                self.note(broken);
                None
            }
        }
    }

    /// Reads a request head only; `None` as in [`Conn::request`].
    pub fn request_head(&mut self) -> Option<Vec<u8>> {
        let result = self.wire.head();
        self.note_error(result)
    }

    /// Reads exactly `count` bytes of whatever comes; `None` as in [`Conn::request`].
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let result = self.wire.exactly(count);
        self.note_error(result)
    }

    /// Reads until the proxy closes or resets.
    pub fn until_closed(&mut self) -> Vec<u8> {
        match self.wire.rest() {
            Ok(rest) => {
                self.record(|log| log.ended_by(self.index, End::Closed));
                rest
            }
            Err(broken) => {
                let rest = self.wire.unread().to_vec();
                self.note(broken);
                rest
            }
        }
    }

    /// Sends bytes. A proxy that has gone away already is no error here: the test sees it from the other side.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.wire.write(bytes.as_ref()).is_ok()
    }

    /// Sends a response with a Content-Length.
    pub fn reply(&mut self, status: u16, body: impl AsRef<[u8]>) -> bool {
        let body = body.as_ref();
        let mut reply =
            format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        reply.extend_from_slice(body);
        self.send(reply)
    }

    /// Makes the coming close a RST.
    pub fn reset_on_close(&self) {
        self.wire.reset_on_close();
    }

    /// Sends FIN; reading goes on.
    pub fn finish_writing(&mut self) {
        self.wire.finish_writing();
    }

    /// Names a point of the script for [`Origin::wait_until_reached`].
    pub fn reached(&self, point: &str) {
        let mut log = self.shared.lock();
        log.reached.push(point.to_owned());
        self.shared.changed.notify_all();
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    fn note_error<T>(&mut self, result: Result<T, Broken>) -> Option<T> {
        match result {
            Ok(value) => {
                self.record(|_| ());
                Some(value)
            }
            Err(broken) => {
                self.note(broken);
                None
            }
        }
    }

    /// Records how reading ended. Cut in the middle of a request is no violation: the test judges how it ended.
    fn note(&self, broken: Broken) {
        self.record(|log| match broken {
            Broken::Closed(_) => log.ended_by(self.index, End::Closed),
            Broken::Reset(_) => log.ended_by(self.index, End::Reset),
            Broken::Silent(_) => {}
            Broken::Malformed(what) => log.violations.push(format!("connection {}: {what}", self.index)),
        });
    }

    /// Brings the log up to date with this connection, changes it, and tells who waits.
    fn record(&self, change: impl FnOnce(&mut Log)) {
        let mut log = self.shared.lock();
        if let Some(received) = log.received.get_mut(self.index) {
            received.clear();
            received.extend_from_slice(self.wire.received());
        }
        change(&mut log);
        self.shared.changed.notify_all();
    }
}

impl Log {
    fn ended_by(&mut self, index: usize, end: End) {
        if let Some(slot @ None) = self.ended.get_mut(index) {
            *slot = Some(end);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

type Script = dyn Fn(&mut Conn) + Send + Sync;

fn serve(
    listener: &TcpListener,
    shared: &Arc<Shared>,
    wire: &(dyn Fn(TcpStream) -> Wire + Send + Sync),
    script: Arc<Script>,
) {
    while let Ok((stream, _)) = listener.accept() {
        let mut log = shared.lock();
        if log.over {
            return;
        }
        let index = log.received.len();
        log.received.push(Vec::new());
        log.ended.push(None);
        log.sockets.extend(stream.try_clone());
        drop(log);
        shared.changed.notify_all();
        let mut conn = Conn { index, wire: wire(stream), shared: Arc::clone(shared) };
        let script = Arc::clone(&script);
        std::thread::spawn(move || {
            // A script that panics (an assertion in it) must not pass for one that ended well.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| script(&mut conn)));
            let violation = result.err().map(|_| format!("the script of connection {index} panicked"));
            conn.record(|log| {
                log.violations.extend(violation);
                log.ended_by(index, End::Script);
            });
            // The log keeps a clone of the socket, so closing takes a shutdown. A reset needs the last descriptor gone.
            let mut log = conn.shared.lock();
            let port = conn.wire.peer_port();
            log.sockets.retain(|socket| socket.peer_addr().is_ok_and(|peer| peer.port() != port));
        });
    }
}
