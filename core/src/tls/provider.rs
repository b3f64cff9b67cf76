//! Cipher suites, groups and versions: their names in the configuration, and what rustls is given for them.

use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::SupportedProtocolVersion;
use rustls::crypto::aws_lc_rs::{self, cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

/// The lowest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// Names that `alpn` takes.
pub const ALPN_NAMES: &[&str] = &["h2", "http/1.1"];

/// Cipher suites by the names of IANA's registry, in the order of preference.
pub const SUITE_NAMES: &[&str] = &[
    "TLS_AES_256_GCM_SHA384",
    "TLS_AES_128_GCM_SHA256",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// Groups of the key exchange by the names of IANA's registry, in the order of preference.
pub const GROUP_NAMES: &[&str] = &["X25519MLKEM768", "SecP256r1MLKEM768", "x25519", "secp256r1", "secp384r1"];

/// The groups where the file says nothing. P-256 with ML-KEM is left to those who must have it.
pub const GROUPS_DEFAULT: &[&str] = &["X25519MLKEM768", "x25519", "secp256r1", "secp384r1"];

fn suite(name: &str) -> Option<SupportedCipherSuite> {
    Some(match name {
        "TLS_AES_256_GCM_SHA384" => cipher_suite::TLS13_AES_256_GCM_SHA384,
        "TLS_AES_128_GCM_SHA256" => cipher_suite::TLS13_AES_128_GCM_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256" => cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
            cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        }
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
            cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        }
        _ => return None,
    })
}

fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    Some(match name {
        "X25519MLKEM768" => kx_group::X25519MLKEM768,
        "SecP256r1MLKEM768" => kx_group::SECP256R1MLKEM768,
        "x25519" => kx_group::X25519,
        "secp256r1" => kx_group::SECP256R1,
        "secp384r1" => kx_group::SECP384R1,
        _ => return None,
    })
}

/// The cryptography that rustls is given. Lists are in the order of preference; names are those of this module.
pub(super) fn provider(suites: &[String], groups: &[String]) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.iter().filter_map(|name| suite(name)).collect(),
        kx_groups: groups.iter().filter_map(|name| group(name)).collect(),
        ..aws_lc_rs::default_provider()
    })
}

/// The versions from the lowest on, the highest first.
pub(super) fn versions(min: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match min {
        TlsVersion::Tls12 => &FROM_12,
        TlsVersion::Tls13 => &FROM_12[..1],
    }
}

/// The protocols as rustls wants them.
pub(super) fn alpn(names: &[String]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_to_rustls() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let provider = provider(&names(SUITE_NAMES), &names(GROUP_NAMES));
        assert_eq!(provider.cipher_suites.len(), SUITE_NAMES.len());
        assert_eq!(provider.kx_groups.len(), GROUP_NAMES.len());
        for (suite, name) in provider.cipher_suites.iter().zip(SUITE_NAMES) {
            let theirs = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
            assert_eq!(theirs, *name);
        }
        for (group, name) in provider.kx_groups.iter().zip(GROUP_NAMES) {
            assert_eq!(format!("{:?}", group.name()).to_lowercase(), name.to_lowercase());
        }
    }
}
