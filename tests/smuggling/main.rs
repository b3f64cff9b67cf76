//! Attacks on framing: every row of the threat model that concerns HTTP/1.1 is mounted through a running proxy, in
//! front of an origin that records each byte.
//!
//! The rule under all of them: a request that two readers could frame differently is refused, and its bytes never
//! reach an origin; a response that two readers could frame differently never reaches a client, and its connection is
//! never used again.

mod chunks;
mod heads;
mod hosts;
mod http2;
mod http2_origins;
mod lengths;
mod responses;
mod split;

use ringway_tests::{Io, Origin, Proxy, Ringway};

/// What an attacker would like the origin to see as a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: test\r\n\r\n";

/// A proxy in front of an origin, and both watched.
struct Stage {
    origin: Origin,
    proxy: Proxy,
}

impl Stage {
    fn new(io: Io) -> Stage {
        let origin = Origin::ok();
        let proxy = Ringway::to(&origin).io(io).start();
        Stage { origin, proxy }
    }

    /// Panics unless each request is answered with 400 (or another of `statuses`), and the connection is closed.
    fn refuses_with<T: AsRef<[u8]>>(&self, statuses: &[u16], requests: impl IntoIterator<Item = T>) {
        for request in requests {
            let request = request.as_ref();
            let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
            let mut client = self.proxy.connect();
            client.try_send(request);
            let response =
                client.try_response("GET").unwrap_or_else(|broken| panic!("{shown:?}: {broken:?}"));
            assert!(statuses.contains(&response.status), "{shown:?}: {}", response.status);
            assert!(response.says_close(), "{shown:?}: says close");
            assert!(response.reason_code().is_some(), "{shown:?}: says why");
            let rest = client.until_closed();
            assert!(rest.is_empty(), "{shown:?}: then {:?}", String::from_utf8_lossy(&rest));
        }
        self.saw_nothing();
    }

    fn refuses<T: AsRef<[u8]>>(&self, requests: impl IntoIterator<Item = T>) {
        self.refuses_with(&[400], requests);
    }

    /// Panics unless each request is refused, or reaches the origin as one request that can be read in one way only.
    fn refuses_or_forwards_one<T: AsRef<[u8]>>(&self, requests: impl IntoIterator<Item = T>) {
        for request in requests {
            let request = request.as_ref();
            let shown = String::from_utf8_lossy(&request[..request.len().min(300)]).into_owned();
            let before = self.origin.requests().len();
            let mut client = self.proxy.connect();
            client.try_send(request);
            client.finish_writing();
            let answers = client.until_closed();
            let answers = String::from_utf8_lossy(&answers).matches("HTTP/1.1 ").count();
            self.saw_nothing_hidden();
            let forwarded = self.origin.requests().len() - before;
            assert!(forwarded <= 1 && answers <= 1, "{shown:?}: {forwarded} requests, {answers} answers");
        }
    }

    /// Sends one good request and panics when the origin saw anything else.
    fn saw_nothing(&self) {
        let before = self.origin.requests().len();
        assert_eq!(self.proxy.get("/canary").status, 200);
        let requests = self.origin.requests();
        let strangers: Vec<_> = requests.iter().filter(|request| request.target != "/canary").collect();
        assert!(strangers.is_empty(), "{strangers:#?}");
        assert_eq!(requests.len(), before + 1);
        self.origin.assert_unambiguous();
        for connection in 0..self.origin.connections() {
            let bytes = self.origin.received(connection);
            assert!(
                bytes.is_empty() || bytes.starts_with(b"GET /canary "),
                "{}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    fn saw_nothing_hidden(&self) {
        self.origin.assert_unambiguous();
        assert!(self.origin.requests().iter().all(|request| request.target != "/hidden"));
    }
}

/// A POST with these framing fields, and a body that is a request to who reads no body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /attack HTTP/1.1\r\nHost: test\r\n{fields}\r\n{body}")
}
