//! Clients that others wrote, over TLS.

use std::io::Write;
use std::process::{Command, Stdio};

use ringway_tests::certificates::Wanted;
use ringway_tests::grpcio::{self, GrpcioOrigin};
use ringway_tests::peers::{Server, find, run};
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    openssl_agrees_on_every_version_and_suite,
    openssl_is_shown_the_certificate_of_the_name,
    curl_speaks_both_protocols,
    curl_uploads_and_downloads,
    grpcio_asks_everything,
    nginx_proxies_to_it,
    haproxy_proxies_to_it,
}

/// Runs `openssl s_client` with this input until the connection ends, and returns all that it prints.
pub(crate) fn s_client(proxy: &Proxy, arguments: &[&str], input: &str) -> Option<String> {
    run_s_client(proxy, &[&["-ign_eof"], arguments].concat(), input)
}

/// The same with lines that are commands to `s_client` itself.
pub(crate) fn s_client_by_command(proxy: &Proxy, arguments: &[&str], commands: &str) -> Option<String> {
    run_s_client(proxy, arguments, commands)
}

fn run_s_client(proxy: &Proxy, arguments: &[&str], input: &str) -> Option<String> {
    let mut command = Command::new(find("openssl")?);
    command.args(["s_client", "-connect", &proxy.address().to_string()]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("openssl");
    let mut stdin = child.stdin.take().expect("it is piped");
    // It may have ended already.
    let _ = stdin.write_all(input.as_bytes());
    // Its input stays open, so that it is the connection that ends it.
    let output = child.wait_with_output().expect("its output");
    drop(stdin);
    Some(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

const LAST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n";

fn openssl_agrees_on_every_version_and_suite(io: Io) {
    let site = Site::new();
    let rsa = site.authority.issue(&Wanted::server(&[NAME]).rsa());
    let certificates = format!(
        "certificates: [{}, {}]",
        site.server.item(&site.directory, "server"),
        rsa.item(&site.directory, "rsa")
    );
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).listener(&format!("tls: {{ {certificates} }}")).start();
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    for (version, suite, shown) in [
        ("-tls1_3", "TLS_AES_128_GCM_SHA256", "TLSv1.3"),
        ("-tls1_3", "TLS_AES_256_GCM_SHA384", "TLSv1.3"),
        ("-tls1_3", "TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3"),
        ("-tls1_2", "ECDHE-ECDSA-AES128-GCM-SHA256", "TLSv1.2"),
        ("-tls1_2", "ECDHE-ECDSA-AES256-GCM-SHA384", "TLSv1.2"),
        ("-tls1_2", "ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.2"),
        ("-tls1_2", "ECDHE-RSA-AES128-GCM-SHA256", "TLSv1.2"),
        ("-tls1_2", "ECDHE-RSA-AES256-GCM-SHA384", "TLSv1.2"),
        ("-tls1_2", "ECDHE-RSA-CHACHA20-POLY1305", "TLSv1.2"),
    ] {
        let flag = if version == "-tls1_3" { "-ciphersuites" } else { "-cipher" };
        let arguments = [version, flag, suite, "-servername", NAME, "-verify_return_error", "-CAfile", &ca];
        let Some(output) = s_client(&proxy, &arguments, LAST) else { return };
        assert!(output.contains("HTTP/1.1 200 OK"), "{suite}: {output}");
        assert!(output.contains(&format!("{shown}, Cipher is {suite}")), "{suite}: {output}");
    }
}

fn openssl_is_shown_the_certificate_of_the_name(io: Io) {
    let site = Site::new();
    let other = site.authority.issue(&Wanted::server(&["other.test"]).common_name("the other"));
    let certificates = format!(
        "certificates: [{}, {}]",
        site.server.item(&site.directory, "server"),
        other.item(&site.directory, "other")
    );
    let origin = Origin::ok();
    let proxy = Ringway::to(&origin).io(io).listener(&format!("tls: {{ {certificates} }}")).start();
    for (name, subject) in [
        (NAME, "a certificate of tests"),
        ("other.test", "the other"),
        ("OTHER.test", "the other"),
        ("a.wild.test", "a certificate of tests"),
        ("unknown.test", "a certificate of tests"),
    ] {
        let Some(output) = s_client(&proxy, &["-servername", name], LAST) else { return };
        assert!(output.contains(&format!("subject=CN = {subject}")), "{name}: {output}");
    }
}

/// What `curl` is told to trust the site and to reach the proxy by the site's name.
fn curl_options(site: &Site, proxy: &Proxy) -> Vec<String> {
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let port = proxy.address().port();
    let connect = format!("{NAME}:{port}:127.0.0.1:{port}");
    ["-sS", "-m", "20", "--cacert", &ca, "--connect-to", &connect].map(str::to_owned).to_vec()
}

fn curl(site: &Site, proxy: &Proxy, arguments: &[&str]) -> Option<String> {
    let program = find("curl")?;
    let options = curl_options(site, proxy);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let url = format!("https://{NAME}:{}/curl", proxy.address().port());
    let output = run(&program, &[&options[..], arguments, &[&url[..]]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn curl_speaks_both_protocols(io: Io) {
    let site = Site::new();
    let origin = Origin::echo();
    let proxy = site.before(io, &origin, "").start();
    for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let Some(body) = curl(&site, &proxy, &[option, "-w", "%{http_version}"]) else { return };
        assert!(body.ends_with(version), "{option}: {body}");
        let head = body.to_ascii_lowercase();
        assert!(head.contains("x-forwarded-proto: https\r\n"), "{option}: {body}");
    }
    let proxy = site.before(io, &origin, ", alpn: [http/1.1]").start();
    let body = curl(&site, &proxy, &["--http2", "-w", "%{http_version}"]).expect("curl was there");
    assert!(body.ends_with("1.1"), "HTTP/2 was not offered: {body}");
}

fn curl_uploads_and_downloads(io: Io) {
    let site = Site::new();
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.request() {
            conn.reply(200, &request.body);
        }
    });
    let proxy = site.before(io, &origin, "").start();
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let file = site.directory.write("body", &body);
    for option in ["--http1.1", "--http2"] {
        let got = site.directory.path().join("got");
        let (upload, output) = (format!("@{}", file.display()), got.display().to_string());
        if curl(&site, &proxy, &[option, "--data-binary", &upload, "-o", &output]).is_none() {
            return;
        }
        assert!(std::fs::read(&got).expect("a download") == body, "{option}: another body came back");
    }
}

fn grpcio_asks_everything(io: Io) {
    let Some(python) = grpcio::python() else { return };
    let site = Site::new();
    let (cert, key) = site.server.write(&site.directory, "server");
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let origin = GrpcioOrigin::start_tls(&python, &cert, &key);
    let proxy = Ringway::to_address(origin.address())
        .io(io)
        .listener(&format!("tls: {{ {} }}", site.certificates()))
        .cluster("protocol: http2")
        .cluster(&site.upstream_tls(""))
        .start();
    grpcio::ask_everything_tls(&python, proxy.address(), &[&ca, NAME]);
}

fn nginx_proxies_to_it(io: Io) {
    let site = Site::new();
    let origin = Origin::echo();
    let client = site.authority.issue(&Wanted::client("nginx"));
    let (cert, key) = client.write(&site.directory, "client");
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let proxy = site.before(io, &origin, &format!(", client_auth: {{ mode: required, ca: {ca} }}")).start();
    let nginx = Server::nginx(&format!(
        "location / {{ proxy_pass https://{}; proxy_http_version 1.1; proxy_ssl_verify on; proxy_ssl_server_name on; \
         proxy_ssl_name {NAME}; proxy_set_header Host {NAME}; proxy_ssl_trusted_certificate {ca}; \
         proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; }}",
        proxy.address(),
        cert.display(),
        key.display(),
    ));
    let Some(nginx) = nginx else { return };
    for _ in 0..3 {
        let mut client = ringway_tests::Client::connect(nginx.address());
        let response = client.exchange(get("anything"));
        assert_eq!(response.status, 200);
        assert!(response.body_text().to_ascii_lowercase().contains("x-forwarded-proto: https"));
    }
}

fn haproxy_proxies_to_it(io: Io) {
    let site = Site::new();
    let origin = Origin::echo();
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let proxy = site.before(io, &origin, "").listener("proxy_protocol: 127.0.0.1/32").start();
    let haproxy = Server::haproxy(&format!(
        "  default_backend proxy\nbackend proxy\n  server one {} ssl verify required ca-file {ca} sni str({NAME}) \
         verifyhost {NAME} alpn h2,http/1.1 send-proxy-v2\n",
        proxy.address(),
    ));
    let Some(haproxy) = haproxy else { return };
    for _ in 0..3 {
        let response = ringway_tests::Client::connect(haproxy.address()).exchange(get(NAME));
        assert_eq!(response.status, 200);
        assert!(response.body_text().contains("127.0.0.1"), "{}", response.body_text());
    }
}
