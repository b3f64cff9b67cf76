//! Certificates are made when the tests run, handshakes are made in memory.

mod authority;
mod files;
mod handshakes;
mod tickets;

use std::path::PathBuf;
use std::time::Duration;

use ringway_policies::spiffe::SpiffePattern;

use super::{
    CertificateFiles, ClientAuthConfig, ClientAuthMode, ClientTlsConfig, GROUPS_DEFAULT, SUITE_NAMES,
    ServerTlsConfig, TicketConfig, TlsVersion, UpstreamVerify,
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn patterns(texts: &[&str]) -> Vec<SpiffePattern> {
    texts.iter().map(|text| SpiffePattern::parse(text).expect(text)).collect()
}

/// Settings of a listener with these certificates, everything else at its default.
fn server_settings(certificates: Vec<CertificateFiles>) -> ServerTlsConfig {
    ServerTlsConfig {
        certificates,
        acme: None,
        workload: None,
        strict_sni: false,
        min_version: TlsVersion::Tls12,
        cipher_suites: names(SUITE_NAMES),
        groups: names(GROUPS_DEFAULT),
        alpn: names(&["h2", "http/1.1"]),
        client_auth: client_auth(ClientAuthMode::None, Vec::new()),
        tickets: TicketConfig { enabled: true, rotate: Duration::from_secs(3_600), count: 2 },
        handshake_timeout: Duration::from_secs(10),
        handshakes_max: 100,
        handshakes_per_client_max: 0,
        hsts: Duration::ZERO,
    }
}

fn client_auth(mode: ClientAuthMode, ca: Vec<PathBuf>) -> ClientAuthConfig {
    ClientAuthConfig { mode, ca, crl: Vec::new(), identities: Vec::new(), forward: false }
}

/// Settings of a cluster that trusts these authorities.
fn client_settings(ca: Vec<PathBuf>) -> ClientTlsConfig {
    ClientTlsConfig {
        ca: Some(ca),
        crl: Vec::new(),
        certificate: None,
        workload: None,
        server_name: None,
        alpn: names(&["h2"]),
        tunnel_alpn: Vec::new(),
        verify: UpstreamVerify::Full,
        identities: Vec::new(),
        min_version: TlsVersion::Tls12,
        cipher_suites: names(SUITE_NAMES),
        groups: names(GROUPS_DEFAULT),
        session_resumption: true,
    }
}
