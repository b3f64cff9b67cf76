//! Session tickets: resumed where that is meant, and nowhere else (threat row 40, CVE-2025-23419).

use ringway_tests::certificates::Wanted;
use ringway_tests::{Client, Io, Origin, Proxy, Ringway, each_driver};
use rustls::HandshakeKind;

use crate::clients::s_client;
use crate::raw::RawClient;
use crate::site::{NAME, Site, get};

each_driver! {
    sessions_are_resumed_on_every_worker,
    no_tickets_where_they_are_switched_off,
    a_ticket_does_not_get_past_the_certificate_that_another_listener_wants,
    a_ticket_for_one_name_is_nothing_for_another,
    a_resumed_client_is_still_known_by_its_certificate,
}

/// Connects, asks once, and says how the handshake went.
fn ask(
    proxy: &Proxy,
    listener: &str,
    config: &std::sync::Arc<rustls::ClientConfig>,
) -> Option<HandshakeKind> {
    let mut client = RawClient::connect(proxy.address_of(listener), config.clone(), NAME);
    client.handshake(|records| records).ok()?;
    let request = client.seal(get(NAME));
    client.send(&request).ok()?;
    client.read_until(b"200 OK").ok()?;
    client.connection.handshake_kind()
}

fn sessions_are_resumed_on_every_worker(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").workers(2).start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = site.client().version(version).config();
        assert_eq!(ask(&proxy, "web", &config), Some(HandshakeKind::Full));
        for _ in 0..8 {
            assert_eq!(ask(&proxy, "web", &config), Some(HandshakeKind::Resumed), "{version:?}");
        }
    }
}

fn no_tickets_where_they_are_switched_off(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, ", tickets: { enabled: false }").start();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = site.client().version(version).config();
        for _ in 0..3 {
            assert_eq!(ask(&proxy, "web", &config), Some(HandshakeKind::Full), "{version:?}");
        }
    }
}

/// Two listeners with the same certificate; one wants certificates of clients.
fn open_and_closed(site: &Site, io: Io, origin: &Origin) -> Proxy {
    let ca = site.authority.write(&site.directory, "ca");
    let certificates = site.certificates();
    Ringway::to(origin)
        .io(io)
        .config(format!(
            "listeners:\n  - {{ name: open, bind: \"127.0.0.1:0\", tls: {{ {certificates} }} }}\n  \
             - {{ name: closed, bind: \"127.0.0.1:0\", tls: {{ {certificates}, client_auth: {{ mode: required, ca: {} }} }} }}\n\
             clusters: [{{ name: origin, endpoints: [\"{}\"] }}]\nroutes: [{{ name: all, to: origin }}]\n",
            ca.display(),
            origin.address()
        ))
        .start()
}

fn a_ticket_does_not_get_past_the_certificate_that_another_listener_wants(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = open_and_closed(&site, io, &origin);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let stranger = site.client().version(version).config();
        assert_eq!(ask(&proxy, "open", &stranger), Some(HandshakeKind::Full));
        assert_eq!(ask(&proxy, "open", &stranger), Some(HandshakeKind::Resumed));
        let before = origin.requests().len();
        assert_eq!(ask(&proxy, "closed", &stranger), None, "{version:?}: in without a certificate");
        assert_eq!(origin.requests().len(), before);
        // With one, from the open door to the closed one: not resumed, but let in.
        let known = site.authority.issue(&Wanted::client("known"));
        let known = site.client().version(version).identity(&known).config();
        assert_eq!(ask(&proxy, "open", &known), Some(HandshakeKind::Full));
        assert_eq!(ask(&proxy, "closed", &known), Some(HandshakeKind::Full), "{version:?}");
    }
}

fn a_ticket_for_one_name_is_nothing_for_another(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").start();
    for version in ["-tls1_2", "-tls1_3"] {
        let file = site.directory.path().join(format!("session{version}"));
        let file = file.display().to_string();
        let last = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";
        let Some(output) = s_client(&proxy, &[version, "-servername", NAME, "-sess_out", &file], last) else {
            return;
        };
        assert!(output.contains("New, TLSv1"), "{output}");
        for (name, shown) in [("a.wild.test", "New, TLSv1"), (NAME, "Reused, TLSv1")] {
            let output = s_client(&proxy, &[version, "-servername", name, "-sess_in", &file], last);
            let output = output.expect("openssl was there");
            assert!(output.contains(shown), "{version} {name}: {output}");
        }
    }
}

fn a_resumed_client_is_still_known_by_its_certificate(io: Io) {
    let site = Site::new();
    let origin = Origin::echo();
    let ca = site.authority.write(&site.directory, "ca");
    let more = format!(", client_auth: {{ mode: required, forward: true, ca: {} }}", ca.display());
    let proxy = site.before(io, &origin, &more).start();
    let known = site.authority.issue(&Wanted::client("known").uri("spiffe://shop.test/known"));
    let config = site.client().identity(&known).config();
    for _ in 0..3 {
        let mut client = Client::connect_tls(proxy.address(), config.clone(), NAME).expect("a handshake");
        let head = client.exchange(get(NAME)).body_text();
        assert!(head.contains("spiffe://shop.test/known"), "{head}");
    }
}
