//! Listeners of TCP that end TLS, and clusters that connections of TCP reach over TLS.

use std::io::{Read, Write};

use ringway_tests::certificates::Wanted;
use ringway_tests::tls::{TlsSocket, server_config};
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

use crate::raw;
use crate::site::{NAME, Site};

each_driver! {
    a_listener_of_tcp_ends_tls,
    a_cluster_is_reached_over_tls,
    names_choose_the_cluster_behind_the_handshake,
    a_client_certificate_is_verified_and_logged,
    an_end_without_close_notify_is_passed_on_as_a_failure,
    no_protocol_is_agreed_on_unless_one_is_named,
}

/// A listener of TCP with TLS; `listener` and `cluster` follow what is there, with their commas.
fn yaml(site: &Site, origin: &Origin, tls: &str, listener: &str, cluster: &str) -> String {
    let (certificates, address) = (site.certificates(), origin.address());
    format!(
        "access_log: {{ target: stdout, format: \"{{protocol}} {{status}} {{tls_version}} {{tls_server_name}} \
         [{{client_cert_subject}}] {{cluster}}\" }}\n\
         listeners:\n  - {{ name: web, bind: \"127.0.0.1:0\", protocol: tcp, tls: {{ {certificates}{tls} }}{listener} }}\n\
         clusters:\n  - {{ name: app, endpoints: [\"{address}\"]{cluster} }}\n"
    )
}

fn start(site: &Site, io: Io, origin: &Origin, tls: &str, cluster: &str) -> Proxy {
    Ringway::to(origin).io(io).config(yaml(site, origin, tls, ", tcp: { to: app }", cluster)).start()
}

/// Answers each line with its length, and ends when the client does.
fn counting(conn: &mut ringway_tests::origin::Conn) {
    while let Ok(line) = conn.wire().line() {
        conn.send(format!("{} bytes\n", line.len()));
    }
    conn.finish_writing();
}

fn connect(proxy: &Proxy, config: std::sync::Arc<rustls::ClientConfig>, name: &str) -> TlsSocket {
    TlsSocket::client(raw::connect(proxy.address()), config, name)
}

/// Sends lines, then an end in good order, and returns all that comes until the other one.
fn converse(client: &mut TlsSocket) -> String {
    client.write_all(b"hello\n").expect("sent");
    client.write_all(b"and more\n").expect("sent");
    client.finish().expect("close_notify");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("all of it, and close_notify");
    said
}

fn a_listener_of_tcp_ends_tls(io: Io) {
    let (site, origin) = (Site::new(), Origin::start(counting));
    let proxy = start(&site, io, &origin, "", "");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut client = connect(&proxy, site.client().version(version).config(), NAME);
        assert_eq!(converse(&mut client), "6 bytes\n9 bytes\n", "{version:?}");
    }
    assert_eq!(origin.received(0), b"hello\nand more\n");
    proxy.wait_for_stdout(&format!("TCP 200 TLSv1.3 {NAME} [-] app"));
}

fn a_cluster_is_reached_over_tls(io: Io) {
    let site = Site::new();
    let issued = site.authority.issue(&Wanted::server(&[NAME]));
    let origin = Origin::start_tls(server_config(&issued, &[], None), counting);
    let cluster = format!(", {}", site.upstream_tls(""));
    let proxy = start(&site, io, &origin, "", &cluster);
    assert_eq!(converse(&mut connect(&proxy, site.client().config(), NAME)), "6 bytes\n9 bytes\n");
    // Plain with the client, TLS with the origin.
    let yaml = yaml(&site, &origin, "", ", tcp: { to: app }", &cluster);
    let plain = yaml.replace(&format!("tls: {{ {} }}, tcp", site.certificates()), "tcp");
    assert_ne!(plain, yaml, "the listener has no TLS");
    let proxy = Ringway::to(&origin).io(io).config(plain).start();
    let mut client = proxy.connect();
    client.send("hello\n").finish_writing();
    assert_eq!(client.until_closed(), b"6 bytes\n");
}

fn names_choose_the_cluster_behind_the_handshake(io: Io) {
    let site = Site::new();
    let named = |name: &'static str| {
        Origin::start(move |conn| {
            conn.wire().rest().ok();
            conn.send(name);
        })
    };
    let (shop, wild) = (named("shop"), named("wild"));
    let listener = format!(", tcp: {{ sni: {{ {NAME}: app, \"*.wild.test\": wild }} }}");
    let yaml = yaml(&site, &shop, "", &listener, "")
        + &format!("  - {{ name: wild, endpoints: [\"{}\"] }}\n", wild.address());
    let proxy = Ringway::to(&shop).io(io).config(yaml).start();
    for (name, want) in [(NAME, "shop"), ("a.wild.test", "wild")] {
        assert_eq!(converse(&mut connect(&proxy, site.client().config(), name)), want);
    }
    assert_eq!(wild.received(0), b"hello\nand more\n", "what the client sent, opened");
}

fn a_client_certificate_is_verified_and_logged(io: Io) {
    let (site, origin) = (Site::new(), Origin::start(counting));
    let ca = site.authority.write(&site.directory, "ca");
    let auth = format!(", client_auth: {{ mode: required, ca: {} }}", ca.display());
    let proxy = start(&site, io, &origin, &auth, "");
    let issued = site.authority.issue(&Wanted::client("till 7"));
    let config = site.client().identity(&issued).config();
    assert_eq!(converse(&mut connect(&proxy, config, NAME)), "6 bytes\n9 bytes\n");
    proxy.wait_for_stdout("[CN=till 7]");
    let mut stranger = connect(&proxy, site.client().config(), NAME);
    // TLS 1.3 lets a client write before it is told.
    let _ = stranger.write_all(b"hello\n");
    let mut said = Vec::new();
    assert!(stranger.read_to_end(&mut said).is_err() && said.is_empty(), "{}", said.escape_ascii());
    assert_eq!(origin.connections(), 1);
}

fn an_end_without_close_notify_is_passed_on_as_a_failure(io: Io) {
    let site = Site::new();
    let origin = Origin::start(|conn| {
        conn.wire().line().expect("a line");
        conn.reached("a line");
        conn.until_closed();
    });
    let proxy = start(&site, io, &origin, "", "");
    let mut client = connect(&proxy, site.client().config(), NAME);
    client.write_all(b"half of what\n").expect("sent");
    origin.wait_until_reached("a line");
    client.tcp().shutdown(std::net::Shutdown::Write).expect("an end without words");
    assert_eq!(origin.wait_for_end(0), ringway_tests::origin::End::Reset);
}

fn no_protocol_is_agreed_on_unless_one_is_named(io: Io) {
    let site = Site::new();
    let issued = site.authority.issue(&Wanted::server(&[NAME]));
    let origin = Origin::start_tls(server_config(&issued, &["h2", "http/1.1"], None), |conn| {
        // All of it: closing over unread bytes is a reset.
        conn.wire().rest().ok();
        let agreed = conn.wire().secure().connection().alpn_protocol().map(<[u8]>::to_vec);
        conn.send(agreed.unwrap_or_else(|| b"nothing".to_vec()));
        conn.finish_writing();
    });
    for (tls, of_cluster, downstream, upstream) in
        [("", "", None, "nothing"), (", alpn: [h2]", ", alpn: [h2]", Some(&b"h2"[..]), "h2")]
    {
        let proxy = start(&site, io, &origin, tls, &format!(", {}", site.upstream_tls(of_cluster)));
        let mut client = connect(&proxy, site.client().alpn(&["h2", "http/1.1"]).config(), NAME);
        assert_eq!(converse(&mut client), upstream, "{tls}");
        assert_eq!(client.connection().alpn_protocol(), downstream, "{tls}");
    }
}
