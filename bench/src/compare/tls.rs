//! The TLS workloads: keep-alive requests, bodies, full and resumed handshakes, and TLS to the origin. All proxies have
//! the same certificate, speak TLS 1.3 with the same suite, and are asked for the same group.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{CertifiedKey, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SignatureAlgorithm};

use super::Workload;
use super::child::Running;

/// Where TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    None,
    /// Between the client and the proxy, with a certificate of this kind.
    Client(KeyKind),
    /// Between other clients and a second listener of the proxy, with a certificate of this kind.
    Beside(KeyKind),
    /// Between the proxy and its origin.
    Origin,
}

impl Tls {
    /// The certificate that is needed.
    pub(super) fn key(self) -> KeyKind {
        match self {
            Tls::Client(kind) | Tls::Beside(kind) => kind,
            Tls::None | Tls::Origin => KeyKind::EcdsaP256,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyKind {
    EcdsaP256,
    Rsa2048,
}

impl Workload {
    pub(super) fn tls(self) -> Tls {
        match self {
            Workload::Tls | Workload::Tls128K | Workload::TlsNew | Workload::TlsNewHybrid => {
                Tls::Client(KeyKind::EcdsaP256)
            }
            Workload::TlsResumed | Workload::TlsIdle => Tls::Client(KeyKind::EcdsaP256),
            Workload::TlsNewRsa => Tls::Client(KeyKind::Rsa2048),
            Workload::TlsFlood => Tls::Beside(KeyKind::Rsa2048),
            Workload::TlsUpstream => Tls::Origin,
            _ => Tls::None,
        }
    }

    /// What the load tester is told about TLS and connections.
    pub(super) fn tls_client_args(self) -> &'static [&'static str] {
        match self {
            Workload::Tls | Workload::Tls128K => &["--insecure", "--groups", "X25519"],
            Workload::TlsNew | Workload::TlsNewRsa => {
                &["--insecure", "--groups", "X25519", "--new-connection"]
            }
            Workload::TlsNewHybrid => &["--insecure", "--groups", "X25519MLKEM768", "--new-connection"],
            Workload::TlsResumed => &["--insecure", "--groups", "X25519", "--new-connection", "--resume"],
            _ => &[],
        }
    }
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Both in one, as HAProxy wants them.
    pub(super) both: PathBuf,
}

impl Certificate {
    /// Makes one for the name that everything here is asked for.
    pub(super) fn make(kind: KeyKind, dir: &Path) -> io::Result<Certificate> {
        let key = match kind {
            KeyKind::EcdsaP256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            KeyKind::Rsa2048 => rsa(&PKCS_RSA_SHA256),
        };
        let key = key.map_err(io::Error::other)?;
        let names = vec!["bench.test".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).and_then(|params| params.self_signed(&key));
        let CertifiedKey { cert, signing_key } =
            CertifiedKey { cert: certificate.map_err(io::Error::other)?, signing_key: key };
        let files = Certificate {
            cert: dir.join(format!("{kind:?}.crt")),
            key: dir.join(format!("{kind:?}.key")),
            both: dir.join(format!("{kind:?}.pem")),
        };
        fs::write(&files.cert, cert.pem())?;
        fs::write(&files.key, signing_key.serialize_pem())?;
        fs::write(&files.both, cert.pem() + &signing_key.serialize_pem())?;
        Ok(files)
    }
}

fn rsa(algorithm: &'static SignatureAlgorithm) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_rsa_for(algorithm, RsaKeySize::_2048)
}

/// Starts an origin that speaks TLS.
pub(super) fn start_origin(
    listen: SocketAddr,
    certificate: &Certificate,
    cpu: usize,
    dir: &Path,
) -> io::Result<Running> {
    let files = format!("{},{}", certificate.cert.display(), certificate.key.display());
    let listen = listen.to_string();
    let args =
        ["load", "origin", "--listen", &listen, "--protocol", "http1", "--body", "64", "--tls", &files];
    let args: Vec<_> = args.into_iter().map(Into::into).collect();
    Running::start(&std::env::current_exe()?, &args, cpu, dir.join("origin.log"))
}
