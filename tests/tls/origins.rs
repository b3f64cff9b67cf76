//! Origins that others wrote, over TLS.

use ringway_tests::certificates::Wanted;
use ringway_tests::peers::Server;
use ringway_tests::temp::TempDir;
use ringway_tests::tls::server_config;
use ringway_tests::{Io, Origin, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    openssl_answers,
    nginx_answers_in_http_1_and_2,
    nginx_wants_a_certificate,
    haproxy_answers,
    sessions_with_origins_are_resumed,
    alpn_decides_what_an_origin_speaks,
}

fn openssl_answers(io: Io) {
    let site = Site::new();
    let (cert, key) = site.server.write(&site.directory, "server");
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments = ["-cert", &cert, "-key", &key, "-www", version];
        let Some(server) = Server::openssl(TempDir::new(), &arguments) else { return };
        let proxy = Ringway::to_address(server.address()).io(io).cluster(&site.upstream_tls("")).start();
        let response = proxy.exchange(get(NAME));
        assert_eq!(response.status, 200, "{version}");
        assert!(response.body_text().contains("s_server"), "{version}: {}", response.body_text());
    }
}

/// An nginx that speaks TLS with the site's certificate.
fn nginx(site: &Site, http2: bool, more: &str) -> Option<Server> {
    let (cert, key) = site.server.write(&site.directory, "server");
    let protocol = if http2 { "ssl http2" } else { "ssl" };
    let server = format!(
        "ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {}; ssl_certificate_key {}; {more}\nlocation / {{ return 200 \"$server_protocol \
         $ssl_protocol $ssl_server_name $ssl_client_s_dn $ssl_session_reused\\n\"; }}",
        cert.display(),
        key.display()
    );
    Server::nginx_speaking(protocol, &server)
}

fn nginx_answers_in_http_1_and_2(io: Io) {
    let site = Site::new();
    for (http2, protocol, shown) in [
        (false, "http1", "HTTP/1.1"),
        (true, "http2", "HTTP/2.0"),
        (true, "auto", "HTTP/2.0"),
        (false, "auto", "HTTP/1.1"),
    ] {
        let Some(server) = nginx(&site, http2, "") else { return };
        let proxy = Ringway::to_address(server.address())
            .io(io)
            .cluster(&format!("protocol: {protocol}"))
            .cluster(&site.upstream_tls(""))
            .start();
        for _ in 0..3 {
            let body = proxy.exchange(get(NAME)).body_text();
            assert!(body.starts_with(&format!("{shown} TLSv1.3 {NAME} ")), "{protocol} {http2}: {body}");
        }
    }
}

fn nginx_wants_a_certificate(io: Io) {
    let site = Site::new();
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let Some(server) = nginx(&site, false, &format!("ssl_client_certificate {ca}; ssl_verify_client on;"))
    else {
        return;
    };
    let (cert, key) = site.authority.issue(&Wanted::client("the proxy")).write(&site.directory, "client");
    let identity = format!(", cert: {}, key: {}", cert.display(), key.display());
    for (more, status) in [("", 400), (&identity[..], 200)] {
        let proxy = Ringway::to_address(server.address()).io(io).cluster(&site.upstream_tls(more)).start();
        let response = proxy.exchange(get(NAME));
        assert_eq!(response.status, status, "{}", response.body_text());
        assert_eq!(response.body_text().contains("CN=the proxy"), status == 200);
    }
}

fn haproxy_answers(io: Io) {
    let site = Site::new();
    let combined = site.directory.write("both.pem", format!("{}{}", site.server.cert, site.server.key));
    let lines = "  http-request return status 200 content-type text/plain lf-string \"%[ssl_fc_sni] %[ssl_fc_protocol]\"\n";
    let options = format!("ssl crt {} alpn h2,http/1.1", combined.display());
    let Some(server) = Server::haproxy_binding(&options, lines) else { return };
    for protocol in ["http1", "http2", "auto"] {
        let proxy = Ringway::to_address(server.address())
            .io(io)
            .cluster(&format!("protocol: {protocol}"))
            .cluster(&site.upstream_tls(""))
            .start();
        assert_eq!(proxy.exchange(get(NAME)).body_text(), format!("{NAME} TLSv1.3"), "{protocol}");
    }
}

fn sessions_with_origins_are_resumed(io: Io) {
    let site = Site::new();
    let Some(server) = nginx(&site, false, "ssl_session_cache builtin; keepalive_timeout 0;") else { return };
    for (more, resumed) in [("", "r"), (", session_resumption: false", ".")] {
        let proxy = Ringway::to_address(server.address()).io(io).cluster(&site.upstream_tls(more)).start();
        proxy.exchange(get(NAME));
        let bodies: Vec<String> = (0..4).map(|_| proxy.exchange(get(NAME)).body_text()).collect();
        let last = bodies.last().expect("bodies").trim_end();
        assert!(last.ends_with(resumed), "{more}: {bodies:?}");
    }
}

fn alpn_decides_what_an_origin_speaks(io: Io) {
    let site = Site::new();
    // Offers HTTP/2 in the handshake and nothing else: a cluster of HTTP/1.1 must not end up speaking that.
    let config = server_config(&site.server, &["h2"], None);
    let origin = Origin::start_tls(config, |conn| {
        conn.request();
    });
    let proxy = site.behind(io, &origin, "").start();
    assert_eq!(proxy.exchange(get(NAME)).status, 502);
    origin.assert_saw_nothing();
}
