//! Certificates by ACME, from pebble, the test authority of Let's Encrypt. Its validation is real: it resolves the host, and
//! asks the proxy.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringway_tests::peers::{find, free_address, run};
use ringway_tests::temp::TempDir;
use ringway_tests::wait::{eventually, pause};
use ringway_tests::{Client, Origin, Proxy, Ringway};

use crate::certificates::Authority;

const HOST: &str = "shop.example.com";
/// Of the account that pebble is told about (external account binding).
const KEY_ID: &str = "kid-1";
const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

/// pebble, with a DNS server for which every host is this machine.
struct Pebble {
    children: Vec<Child>,
    address: SocketAddr,
    directory: TempDir,
}

impl Pebble {
    /// `None` after printing that the test is skipped.
    fn start(
        http: SocketAddr,
        tls: SocketAddr,
        lifetime_secs: u32,
        external_account: bool,
    ) -> Option<Pebble> {
        let (pebble, dns_server) = (find("pebble")?, find("pebble-challtestsrv")?);
        let (directory, address) = (TempDir::new(), free_address());
        let (dns, management) = (free_address(), free_address());
        let authority = Authority::new("of the directory");
        let own = authority.issue(&["127.0.0.1"], time::Duration::days(1));
        directory.write("ca.pem", authority.pem());
        directory.write("key.base64url", KEY);
        let cert = directory.write("cert.pem", own.certificate_pem);
        let key = directory.write("key.pem", own.key_pem);
        let (http, tls) = (http.port(), tls.port());
        let config = serde_json::json!({ "pebble": {
            "listenAddress": address.to_string(),
            "certificate": cert, "privateKey": key,
            "httpPort": http, "tlsPort": tls,
            "certificateValidityPeriod": lifetime_secs,
            "externalAccountBindingRequired": external_account,
            "externalAccountMACKeys": { KEY_ID: KEY },
        }});
        let config = directory.write("pebble.json", config.to_string());
        let mut dns_command = Command::new(dns_server);
        dns_command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        dns_command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        dns_command.args(["-dns01", &dns.to_string(), "-management", &management.to_string()]);
        let mut command = Command::new(pebble);
        command.arg("-config").arg(config).args(["-dnsserver", &dns.to_string()]);
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        // Each order is validated, also when the host was before.
        command.env("PEBBLE_AUTHZREUSE", "0");
        let start = |mut command: Command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts")
        };
        let children = vec![start(dns_command), start(command)];
        let pebble = Pebble { children, address, directory };
        for address in [management, address] {
            eventually("pebble to listen", || std::net::TcpStream::connect(address).ok());
        }
        Some(pebble)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The lines of a listener's `tls.acme`.
    fn settings(&self, challenge: &str, external_account: bool) -> String {
        let external = match external_account {
            true => {
                format!(", external: {{ key_id: {KEY_ID}, key: {} }}", self.file("key.base64url").display())
            }
            false => String::new(),
        };
        format!(
            "acme: {{ directory: \"https://{}/dir\", ca: [{}], hosts: [{HOST}], challenge: {challenge}, \
             store: {}, contact: \"mailto:ops@example.com\"{external} }}",
            self.address,
            self.file("ca.pem").display(),
            self.file("store").display(),
        )
    }

    fn certificate(&self) -> PathBuf {
        self.file("store").join(format!("{HOST}.pem"))
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A listener without TLS that sends everybody to the one with it, and an origin that is not there.
fn ringway(http: SocketAddr, tls: SocketAddr, acme: &str) -> Proxy {
    Ringway::to_endpoints([])
        .config(format!(
            "listeners:\n  - name: plain\n    bind: \"{http}\"\n    redirect_to_https: true\n  - name: web\n    bind: \"{tls}\"\n    tls:\n      \
             {acme}\nclusters:\n  - name: origin\n    endpoints: [\"127.0.0.1:1\"]\nroutes:\n  - name: all\n    to: origin\n"
        ))
        .start()
}

fn issued(proxy: &Proxy) -> f64 {
    proxy.stats().sum("ringway_acme_certificates_issued_total")
}

#[test]
fn a_certificate_is_ordered_by_http_01_kept_and_not_ordered_again() {
    let (http, tls) = (free_address(), free_address());
    let Some(pebble) = Pebble::start(http, tls, 86_400, true) else { return };
    let acme = pebble.settings("http-01", true);
    let proxy = ringway(http, tls, &acme);
    eventually("a certificate", || (issued(&proxy) == 1.0).then_some(()));
    let expiry = || proxy.stats().sum("ringway_certificate_expiry_timestamp_seconds");
    eventually("its expiry among the metrics", || (expiry() > 0.0).then_some(()));
    let mode = |path: PathBuf| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(pebble.certificate()), 0o600);
    let files: Vec<_> = std::fs::read_dir(pebble.file("store")).expect("a store").flatten().collect();
    assert_eq!(files.len(), 2, "the certificate and the account: {files:?}");
    assert!(files.iter().all(|file| mode(file.path()) == 0o600));
    let text = std::fs::read_to_string(pebble.certificate()).expect("a file");
    assert!(
        text.contains("PRIVATE KEY") && text.matches("BEGIN CERTIFICATE").count() >= 2,
        "a key and a chain"
    );
    // What is no challenge of ours goes its way, as everything else.
    assert_eq!(Client::connect(http).get("/.well-known/acme-challenge/other").status, 308);
    drop(proxy);
    let proxy = ringway(http, tls, &acme);
    // A second look at what is on disk comes before the process is ready.
    pause(Duration::from_millis(500));
    let stats = proxy.stats();
    assert_eq!(stats.sum("ringway_acme_certificates_issued_total"), 0.0, "{:?}", proxy.log());
    assert_eq!(stats.sum("ringway_acme_failures_total"), 0.0, "{:?}", proxy.log());
    assert_eq!(std::fs::read_to_string(pebble.certificate()).expect("a file"), text);
}

#[test]
fn a_certificate_is_renewed_before_it_expires() {
    let (http, tls) = (free_address(), free_address());
    let Some(pebble) = Pebble::start(http, tls, 30, false) else { return };
    let proxy = ringway(http, tls, &pebble.settings("http-01", false));
    eventually("a certificate", || (issued(&proxy) >= 1.0).then_some(()));
    let first = std::fs::read_to_string(pebble.certificate()).expect("a file");
    // Two thirds of its lifetime are 20 s.
    let limit = Instant::now() + Duration::from_secs(120);
    while issued(&proxy) < 2.0 {
        assert!(Instant::now() < limit, "it was not renewed");
        pause(Duration::from_millis(100));
    }
    let second = std::fs::read_to_string(pebble.certificate()).expect("a file");
    assert_ne!(first, second);
    assert_eq!(proxy.stats().sum("ringway_acme_failures_total"), 0.0, "{:?}", proxy.log());
}

#[test]
fn an_order_that_fails_says_why_and_the_proxy_serves_on() {
    let (http, tls, nobody) = (free_address(), free_address(), free_address());
    // The authority looks where nobody answers.
    let Some(pebble) = Pebble::start(nobody, nobody, 86_400, false) else { return };
    let proxy = ringway(http, tls, &pebble.settings("http-01", false));
    let line = proxy.wait_for_log("a certificate could not be had");
    assert!(line.contains(HOST) && line.contains("retry_s=") && line.contains("acme-challenge"), "{line}");
    assert!(!pebble.certificate().exists());
    assert_eq!(Client::connect(http).get("/").status, 308, "it serves");
    assert_eq!(proxy.stats().sum("ringway_acme_failures_total"), 1.0);
}

/// What the listener shows to a client that asks for the host: the answer to a request over TLS, by a verifying client.
fn over_tls(proxy: &Proxy, authority: &Path) -> Option<String> {
    let curl = find("curl")?;
    let address = proxy.address();
    let (resolve, url) =
        (format!("{HOST}:{}:127.0.0.1", address.port()), format!("https://{HOST}:{}/", address.port()));
    let ca = authority.display().to_string();
    let arguments = [
        "--silent",
        "--max-time",
        "10",
        "--cacert",
        &ca,
        "--resolve",
        &resolve,
        "--write-out",
        "%{http_code}",
    ];
    let output = run(&curl, &[&arguments[..], &["--output", "/dev/null", &url]].concat());
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_certificate_is_ordered_by_tls_alpn_01_and_shown_to_clients() {
    let (http, tls) = (free_address(), free_address());
    let Some(pebble) = Pebble::start(http, tls, 86_400, false) else { return };
    // The authority has no certificate to show, and needs none.
    let more = format!(
        "client_auth: {{ mode: optional, ca: [{}] }}\n      {}",
        pebble.file("ca.pem").display(),
        pebble.settings("tls-alpn-01", false)
    );
    let proxy = ringway(http, tls, &more);
    eventually("a certificate", || (issued(&proxy) == 1.0).then_some(()));
    // The chain leads to an authority that pebble has made when it started; the last of the file is as near as clients get.
    let text = std::fs::read_to_string(pebble.certificate()).expect("a file");
    let last = text.rfind("-----BEGIN CERTIFICATE").expect("a chain");
    let intermediate = pebble.file("intermediate.pem");
    std::fs::write(&intermediate, &text[last..]).expect("a file");
    if find("curl").is_some() {
        // 502: the origin is away, and the certificate was good.
        eventually("the certificate to be shown", || {
            (over_tls(&proxy, &intermediate)? == "502").then_some(())
        });
    }
}

#[test]
fn nobody_is_served_on_a_connection_of_an_authority() {
    let (Some(openssl), http, tls) = (find("openssl"), free_address(), free_address()) else { return };
    // The authority looks at somebody who says nothing, so that the answer to its challenge is offered meanwhile.
    let silent = Origin::start(|conn| drop(conn.until_closed()));
    let Some(pebble) = Pebble::start(http, silent.address(), 86_400, false) else { return };
    let proxy = ringway(http, tls, &pebble.settings("tls-alpn-01", false));
    let request = pebble
        .directory
        .write("request", format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"));
    let address = proxy.address().to_string();
    let connect = |protocol: &str| {
        let mut command = Command::new(&openssl);
        command.args(["s_client", "-connect", &address, "-servername", HOST, "-alpn", protocol, "-ign_eof"]);
        command.stdin(File::open(&request).expect("it was written"));
        String::from_utf8_lossy(&command.output().expect("openssl runs").stdout).into_owned()
    };
    silent.wait_for_connections(1);
    let shown = connect("acme-tls/1");
    assert!(shown.contains("ALPN protocol: acme-tls/1") && shown.contains("BEGIN CERTIFICATE"), "{shown}");
    assert!(!shown.contains("HTTP/1.1 "), "{shown}");
    // Who offers anything else is a client, and there is no certificate for clients yet.
    for protocols in ["http/1.1", "acme-tls/1,http/1.1"] {
        let shown = connect(protocols);
        assert!(shown.contains("no peer certificate available"), "{protocols}: {shown}");
    }
}
