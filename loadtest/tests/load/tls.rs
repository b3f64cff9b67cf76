//! TLS of client and origin: every protocol, versions, client certificates, resumption, and what is refused.

use std::sync::Arc;

use ringway_loadtest::load::codec::Protocol;
use ringway_loadtest::load::origin::OriginConfig;
use ringway_loadtest::load::origin::faults::Faults;
use ringway_loadtest::load::tls::config::server;

use crate::harness::{count, load, tempfile};
use crate::origins::{Origin, config};

/// A certificate authority's files: its certificate, and a chain and a key that it vouches for.
struct Authority {
    ca: String,
    cert: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut ca_params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca_key = rcgen::KeyPair::generate().expect("a key");
        let ca = ca_params.self_signed(&ca_key).expect("a certificate");
        let issuer = rcgen::Issuer::new(ca_params, ca_key);
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let cert = params.signed_by(&key, &issuer).expect("a certificate");
        let file = |text: String| {
            let path = tempfile(".pem");
            std::fs::write(&path, text).expect("a file");
            path
        };
        Authority { ca: file(ca.pem()), cert: file(cert.pem()), key: file(key.serialize_pem()) }
    }

    fn pair(&self) -> String {
        format!("{},{}", self.cert, self.key)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for path in [&self.ca, &self.cert, &self.key] {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn origin(protocol: Protocol, files: &str, client_ca: Option<&str>, faults: Faults) -> Origin {
    let tls = server(files, client_ca.map(std::path::Path::new), protocol).expect("a configuration");
    Origin::start(OriginConfig { tls: Some(Arc::new(tls)), ..config(protocol, faults) })
}

const PROTOCOLS: [(Protocol, &str); 4] = [
    (Protocol::Http1, "https"),
    (Protocol::Http2, "https"),
    (Protocol::Grpc, "grpcs"),
    (Protocol::WebSocket, "wss"),
];

#[test]
fn every_protocol_counts_what_was_served_over_tls() {
    for (protocol, scheme) in PROTOCOLS {
        for version in ["1.2", "1.3"] {
            let origin = origin(protocol, "", None, Faults::default());
            let url = format!("{scheme}://127.0.0.1:{}/a.B/C", origin.port);
            let h2: &[&str] = if protocol == Protocol::Http2 { &["--protocol", "h2"] } else { &[] };
            let flags = ["-n", "500", "-c", "3", "-m", "2", "--insecure", "--tls-version", version];
            let data = "x".repeat(300);
            let data: &[&str] = if protocol == Protocol::WebSocket { &["--data", &data] } else { &[] };
            let (code, document, text) = load(&[&flags[..], h2, data, &[&url]].concat());
            assert_eq!(code, Some(0), "{protocol:?} {version}: {text}");
            assert_eq!(count(&document, "/summary/requests"), 500, "{protocol:?} {version}: {text}");
            let totals = origin.totals();
            assert_eq!(
                (totals.right, totals.handshakes, totals.resumed),
                (500, 3, 0),
                "{protocol:?} {version}"
            );
            assert!(text.contains(if version == "1.2" { "TLSv1_2" } else { "TLSv1_3" }), "{text}");
        }
    }
}

#[test]
fn large_bodies_and_faults_pass_through_tls() {
    let faults = Faults { short: 0.1, ..Faults::default() };
    let tls = server("", None, Protocol::Http1).expect("a configuration");
    let large =
        OriginConfig { body_bytes: 300_000, tls: Some(Arc::new(tls)), ..config(Protocol::Http1, faults) };
    let origin = Origin::start(large);
    let url = format!("https://127.0.0.1:{}/", origin.port);
    let (_, document, text) = load(&["-n", "100", "-c", "4", "--insecure", &url]);
    let totals = origin.totals();
    assert_eq!(count(&document, "/errors/early_close"), totals.short, "{text}");
    assert_eq!(count(&document, "/summary/body_bytes"), totals.right * 300_000, "{text}");
    assert_eq!(totals.right + totals.short, 100, "{text}");
}

#[test]
fn each_new_connection_makes_a_handshake_and_resumes_where_asked_to() {
    for (flags, resumed) in [(&[][..], false), (&["--resume"], true)] {
        let origin = origin(Protocol::Http1, "", None, Faults::default());
        let url = format!("https://127.0.0.1:{}/", origin.port);
        let all =
            [&["-n", "60", "-c", "2", "-t", "1", "--insecure", "--new-connection", &url][..], flags].concat();
        let (code, document, text) = load(&all);
        assert_eq!(code, Some(0), "{text}");
        let totals = origin.totals();
        assert_eq!(totals.handshakes, 60, "{text}");
        assert_eq!(count(&document, "/summary/tls_handshakes"), 60, "{text}");
        assert_eq!(count(&document, "/summary/tls_resumed"), totals.resumed, "{text}");
        assert_eq!(totals.resumed > 30, resumed, "{} resumed: {text}", totals.resumed);
    }
}

#[test]
fn certificates_are_verified_both_ways() {
    let (ours, others) = (Authority::new("localhost"), Authority::new("localhost"));
    let origin = origin(Protocol::Http1, &ours.pair(), Some(&ours.ca), Faults::default());
    let url = format!("https://localhost:{}/", origin.port);
    let client = ["--cert", &ours.cert, "--key", &ours.key];
    let (code, _, text) = load(&[&["-n", "20", "--ca", &ours.ca, &url][..], &client].concat());
    assert_eq!(code, Some(0), "{text}");
    for (flags, expected) in [
        // The server's certificate is of nobody that we trust, or for another name.
        (vec!["--ca", &others.ca, "--cert", &ours.cert, "--key", &ours.key], "invalid peer certificate"),
        (
            vec!["--ca", &ours.ca, "--server-name", "b.test", "--cert", &ours.cert, "--key", &ours.key],
            "not valid for name",
        ),
        // Ours is missing, or of nobody that it trusts.
        (vec!["--ca", &ours.ca], "CertificateRequired"),
        (vec!["--ca", &ours.ca, "--cert", &others.cert, "--key", &others.key], "alert"),
    ] {
        let (code, document, text) = load(&[&["-n", "5", "-c", "1", &url][..], &flags].concat());
        assert_eq!(code, Some(3), "{expected}: {text}");
        assert_eq!(count(&document, "/errors/tls"), 5, "{expected}: {text}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert_eq!(origin.totals().right, 20);
}

#[test]
fn what_cannot_be_secured_is_an_error_of_tls_and_hangs_nothing() {
    let plain = Origin::start(config(Protocol::Http1, Faults::default()));
    let h1 = origin(Protocol::Http1, "", None, Faults::default());
    let to = |port: u16| format!("https://127.0.0.1:{port}/");
    for (url, flags) in [(to(plain.port), &[][..]), (to(h1.port), &["--protocol", "h2"])] {
        for way in [&["-n", "5"][..], &["-n", "5", "-R", "100"], &["-n", "5", "--new-connection"]] {
            if way.contains(&"--new-connection") && !flags.is_empty() {
                continue;
            }
            let all = [&["-c", "2", "--insecure", "--timeout", "2s", &url][..], flags, way].concat();
            let (code, document, text) = load(&all);
            assert_eq!(code, Some(3), "{all:?}: {text}");
            assert_eq!(count(&document, "/errors/tls"), 5, "{all:?}: {text}");
            assert!(text.contains("the first failure"), "{all:?}: {text}");
        }
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = to(silent.local_addr().expect("an address").port());
    let (code, document, text) = load(&["-n", "3", "-c", "1", "--insecure", "--timeout", "200ms", &url]);
    assert_eq!((code, count(&document, "/errors/timeout")), (Some(3), 3), "{text}");
}

#[test]
fn scenarios_and_comparisons_speak_tls_too() {
    let origin = origin(Protocol::Http1, "", None, Faults::default());
    let url = format!("https://127.0.0.1:{}/", origin.port);
    let file = tempfile(".yaml");
    std::fs::write(&file, format!("{{target: '{url}', requests_max: 20, requests: [{{path: /}}]}}"))
        .expect("a file");
    let (code, _, text) = load(&["scenario", "--insecure", &file]);
    assert_eq!(code, Some(0), "{text}");
    let (code, _, text) = load(&["scenario", &file]);
    assert!(code == Some(3) && text.contains("the first failure"), "{text}");
    let added =
        ["added", "-k", "-d", "200ms", "--rounds", "1", "-R", "50", "--proxy", &url, "--direct", &url];
    let (code, _, text) = load(&added);
    assert_eq!(code, Some(0), "{text}");
    let _ = std::fs::remove_file(&file);
}
