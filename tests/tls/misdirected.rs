//! What a connection may be used for: the host of a request and the name of its handshake.

use ringway_tests::certificates::Wanted;
use ringway_tests::peers::{find, run};
use ringway_tests::{Client, Io, Origin, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    a_host_that_the_certificate_does_not_cover_is_421,
    curl_is_told_so_over_http_2,
    an_unknown_name_is_turned_away_where_that_is_asked_for,
}

/// Threat row 40, its second half: the host must not lead to a site whose handshake would have been another.
fn a_host_that_the_certificate_does_not_cover_is_421(io: Io) {
    let site = Site::new();
    let other = site.authority.issue(&Wanted::server(&["other.test"]));
    let certificates = format!(
        "certificates: [{}, {}]",
        site.server.item(&site.directory, "server"),
        other.item(&site.directory, "other")
    );
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).listener(&format!("tls: {{ {certificates} }}")).start();
    for (name, host, status) in [
        (NAME, NAME, 200),
        (NAME, "SHOP.test:443", 200),
        // Covered by the certificate that was shown: coalescing (RFC 9113 9.1.1) stays legal.
        (NAME, "a.wild.test", 200),
        ("a.wild.test", NAME, 200),
        (NAME, "other.test", 421),
        (NAME, "OTHER.test.:443", 421),
        ("other.test", NAME, 421),
        ("other.test", "other.test", 200),
        (NAME, "a.b.wild.test", 421),
        (NAME, "unknown.test", 421),
    ] {
        let config = site.client().config();
        let mut client = Client::connect_tls(proxy.address(), config, name).expect("a handshake");
        let response = client.exchange(get(host));
        assert_eq!(response.status, status, "{name} and {host}");
        if status == 421 {
            assert_eq!(response.field("x-ringway-reason"), Some("misdirected_request"));
        }
    }
    let hosts: Vec<String> =
        origin.requests().iter().filter_map(|it| it.field("host").map(str::to_owned)).collect();
    assert_eq!(hosts.len(), 5, "{hosts:?}");
}

fn curl_is_told_so_over_http_2(io: Io) {
    let Some(program) = find("curl") else { return };
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, "").start();
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let port = proxy.address().port();
    let connect = format!("{NAME}:{port}:127.0.0.1:{port}");
    for (host, status) in [("shop.test", "200"), ("a.wild.test", "200"), ("other.test", "421")] {
        let header = format!("Host: {host}");
        let url = format!("https://{NAME}:{port}/");
        let arguments = ["-sS", "-m", "20", "--http2", "--cacert", &ca, "--connect-to", &connect];
        let format = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"];
        let output = run(&program, &[&arguments[..], &["-H", &header], &format, &[&url]].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("2 {status}"), "{host}");
    }
}

fn an_unknown_name_is_turned_away_where_that_is_asked_for(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, ", strict_sni: true").start();
    assert_eq!(site.connect(&proxy).exchange(get(NAME)).status, 200);
    let refused = Client::connect_tls(proxy.address(), site.client().config(), "unknown.test");
    let error = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(error.contains("UnrecognisedName") || error.contains("alert"), "{error}");
}
