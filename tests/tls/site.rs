//! What the tests here start from: an authority, a certificate for `shop.test` and `*.wild.test`, and a proxy that shows it.

use ringway_tests::certificates::{Authority, Issued, Wanted};
use ringway_tests::temp::TempDir;
use ringway_tests::tls::TlsClient;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway};

pub(crate) const NAME: &str = "shop.test";

pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) authority: Authority,
    pub(crate) server: Issued,
}

impl Site {
    pub(crate) fn new() -> Site {
        let authority = Authority::new("the authority of the site");
        let server = authority.issue(&Wanted::server(&[NAME, "*.wild.test"]));
        Site { directory: TempDir::new(), authority, server }
    }

    /// `certificates: […]` with the site's own.
    pub(crate) fn certificates(&self) -> String {
        format!("certificates: [{}]", self.server.item(&self.directory, "server"))
    }

    /// A proxy that speaks TLS to clients and plain HTTP to the origin; `more` follows the certificates, with its comma.
    pub(crate) fn before(&self, io: Io, origin: &Origin, more: &str) -> Ringway {
        Ringway::to(origin).io(io).listener(&format!("tls: {{ {}{more} }}", self.certificates()))
    }

    /// `tls` of a cluster that trusts the site's authority and knows the origin as `shop.test`.
    pub(crate) fn upstream_tls(&self, more: &str) -> String {
        let ca = self.authority.write(&self.directory, "ca");
        format!("tls: {{ ca: {}, server_name: {NAME}{more} }}", ca.display())
    }

    /// A proxy that speaks plain HTTP to clients and TLS to the origin.
    pub(crate) fn behind(&self, io: Io, origin: &Origin, more: &str) -> Ringway {
        Ringway::to(origin).io(io).cluster(&self.upstream_tls(more))
    }

    /// A client that trusts the site.
    pub(crate) fn client(&self) -> TlsClient {
        TlsClient::trusting(&[&self.authority])
    }

    /// A connection by such a client to `shop.test`.
    pub(crate) fn connect(&self, proxy: &Proxy) -> Client {
        let connected = Client::connect_tls(proxy.address(), self.client().config(), NAME);
        connected.unwrap_or_else(|error| panic!("the handshake: {error}"))
    }
}

/// `GET /` for a host.
pub(crate) fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}
