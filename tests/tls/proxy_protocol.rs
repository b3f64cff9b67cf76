//! The PROXY protocol together with TLS: its header comes before the handshake, on both sides.

use std::net::TcpStream;
use std::sync::Arc;

use ringway_tests::certificates::Wanted;
use ringway_tests::peers::Server;
use ringway_tests::tls::{TlsSocket, server_config};
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};
use rustls::ClientConfig;

use crate::raw;
use crate::site::{NAME, Site, get};

each_driver! {
    a_client_that_is_named_before_tls_is_named_before_tls,
    connections_that_are_passed_on_name_the_client_too,
    haproxy_in_front_names_the_client,
    haproxy_behind_reads_whom_we_name,
}

const HEADER: &[u8] = b"PROXY TCP4 10.1.2.3 10.9.9.9 4000 443\r\n";

/// An origin that wants a header and then TLS, and answers with the header.
fn origin(site: &Site, names: &[&str]) -> Origin {
    let config = server_config(&site.authority.issue(&Wanted::server(names)), &[], None);
    Origin::start(move |conn| {
        let line = conn.wire().line_alone().expect("a header");
        conn.wire().start_tls(Arc::clone(&config));
        while conn.request().is_some() {
            conn.reply(200, String::from_utf8_lossy(&line).trim_end());
        }
    })
}

/// A connection that begins with the header of somebody else, then TLS.
fn connect(proxy: &Proxy, config: Arc<ClientConfig>, name: &str) -> Client {
    let mut tcp: TcpStream = raw::connect(proxy.address());
    std::io::Write::write_all(&mut tcp, HEADER).expect("the header");
    let mut socket = TlsSocket::client(tcp, config, name);
    socket.handshake().expect("a handshake");
    Client::over(socket)
}

fn a_client_that_is_named_before_tls_is_named_before_tls(io: Io) {
    let site = Site::new();
    let origin = origin(&site, &[NAME]);
    let proxy = site
        .before(io, &origin, "")
        .set("proxy-protocol", "127.0.0.1/32")
        .cluster(&site.upstream_tls(""))
        .cluster("send_proxy_protocol: v1")
        .start();
    let want = format!("PROXY TCP4 10.1.2.3 127.0.0.1 4000 {}", proxy.address().port());
    let mut client = connect(&proxy, site.client().config(), NAME);
    for _ in 0..2 {
        assert_eq!(client.exchange(get(NAME)).body_text(), want);
    }
    let request = origin.requests().pop().expect("a request");
    assert_eq!(request.fields_named("x-forwarded-for").join(", "), "10.1.2.3");
    assert_eq!(request.fields_named("x-forwarded-proto").join(", "), "https");
    // A peer that owes the header and begins with TLS gets nowhere.
    assert!(Client::connect_tls(proxy.address(), site.client().config(), NAME).is_err());
}

fn connections_that_are_passed_on_name_the_client_too(io: Io) {
    let site = Site::new();
    let far = origin(&site, &["far.test"]);
    let yaml = format!(
        "access_log: stdout\nlisteners:\n  - {{ name: web, bind: \"127.0.0.1:0\", proxy_protocol: 127.0.0.1/32, \
         tls: {{ {}, passthrough: {{ far.test: far }} }} }}\n\
         clusters: [{{ name: far, endpoints: [\"{}\"], send_proxy_protocol: v1 }}]\n\
         routes: [{{ name: all, to: far }}]\n",
        site.certificates(),
        far.address()
    );
    let proxy = Ringway::to(&far).io(io).config(yaml).start();
    let want = format!("PROXY TCP4 10.1.2.3 127.0.0.1 4000 {}", proxy.address().port());
    let mut client = connect(&proxy, site.client().config(), "far.test");
    assert_eq!(client.exchange(get("far.test")).body_text(), want);
    drop(client);
    assert!(proxy.wait_for_stdout("far.test").starts_with("10.1.2.3 "));
}

fn haproxy_in_front_names_the_client(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let proxy = site.before(io, &origin, "").set("proxy-protocol", "127.0.0.1/32").start();
    for version in ["send-proxy", "send-proxy-v2"] {
        let server = format!("ssl verify none sni str({NAME}) {version}");
        let section =
            format!("  default_backend back\nbackend back\n  server back {} {server}", proxy.address());
        let Some(front) = Server::haproxy(&section) else { return };
        let mut client = Client::connect_from([127, 0, 0, 9].into(), front.address());
        assert_eq!(client.exchange(get(NAME)).status, 200, "{version}");
        let request = origin.requests().pop().expect("a request");
        assert_eq!(request.fields_named("x-forwarded-for").join(", "), "127.0.0.9", "{version}");
    }
}

fn haproxy_behind_reads_whom_we_name(io: Io) {
    let site = Site::new();
    let issued = site.authority.issue(&Wanted::server(&[NAME]));
    let both = site.directory.write("both.pem", format!("{}{}", issued.cert, issued.key));
    let options = format!("accept-proxy ssl crt {}", both.display());
    let section = "  http-request return status 200 content-type text/plain lf-string \"%[src]\"";
    let Some(back) = Server::haproxy_binding(&options, section) else { return };
    for version in ["v1", "v2"] {
        let proxy = Ringway::to_address(back.address())
            .io(io)
            .cluster(&site.upstream_tls(""))
            .cluster(&format!("send_proxy_protocol: {version}"))
            .start();
        let mut client = Client::connect_from([127, 0, 0, 9].into(), proxy.address());
        assert_eq!(client.exchange(get(NAME)).body_text(), "127.0.0.9", "{version}");
    }
}
