//! What both ends of TLS are configured with: files, and a certificate of our own for an origin that has none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use ringway_protocols::tls::rustls::client::Resumption;
use ringway_protocols::tls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use ringway_protocols::tls::rustls::pki_types::pem::PemObject;
use ringway_protocols::tls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use ringway_protocols::tls::rustls::server::WebPkiClientVerifier;
use ringway_protocols::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use ringway_protocols::tls::{self, AnyServer};

use crate::load::args::invalid;
use crate::load::codec::Protocol;

/// The client's flags, named as in curl.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// TLS: does not verify the server's certificate.
    #[arg(long, short = 'k')]
    pub insecure: bool,
    /// TLS: certificates (PEM) to trust instead of the system's. May be repeated.
    #[arg(long, visible_alias = "cacert", value_name = "FILE", conflicts_with = "insecure")]
    pub ca: Vec<PathBuf>,
    /// TLS: the client's certificate chain (PEM).
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// TLS: the key of --cert (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// TLS: the name to ask for and to verify instead of the URL's.
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// TLS: new connections resume a session where the server gave a ticket. Default: every handshake is a full one.
    #[arg(long)]
    pub resume: bool,
    /// TLS: the one version to speak.
    #[arg(long, value_name = "VERSION", value_parser = ["1.2", "1.3"])]
    pub tls_version: Option<String>,
    /// TLS: key exchange groups, first asked first: X25519MLKEM768, X25519, secp256r1, secp384r1.
    #[arg(long, value_name = "GROUP,…", value_delimiter = ',')]
    pub groups: Vec<String>,
}

/// Sessions that one worker remembers of one server.
const SESSIONS_MAX: usize = 256;

impl TlsArgs {
    /// A worker's configuration. Each has its own, and so its own sessions.
    pub fn client(&self, protocol: Protocol) -> io::Result<ClientConfig> {
        let provider = Arc::new(self.provider()?);
        let versions: &[&SupportedProtocolVersion] = match self.tls_version.as_deref() {
            Some("1.2") => &[&tls::rustls::version::TLS12],
            Some(_) => &[&tls::rustls::version::TLS13],
            None => tls::rustls::ALL_VERSIONS,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| invalid(format!("TLS: {error}")))?;
        let builder = if self.insecure {
            // Any certificate will do, but its owner must have the key.
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer::new(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(chain("--cert", cert)?, private_key("--key", key)?)
                .map_err(|error| invalid(format!("--cert {}: {error}", cert.display())))?,
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn(protocol).to_vec()];
        config.resumption =
            if self.resume { Resumption::in_memory_sessions(SESSIONS_MAX) } else { Resumption::disabled() };
        // The records are protected by our own codec, with rustls' keys.
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn provider(&self) -> io::Result<CryptoProvider> {
        let mut provider = aws_lc_rs::default_provider();
        if self.groups.is_empty() {
            return Ok(provider);
        }
        let all = aws_lc_rs::ALL_KX_GROUPS;
        let wanted = self.groups.iter().map(|name| {
            let group = all.iter().find(|group| format!("{:?}", group.name()).eq_ignore_ascii_case(name));
            group.copied().ok_or_else(|| {
                let names: Vec<String> = all.iter().map(|group| format!("{:?}", group.name())).collect();
                invalid(format!("--groups {name}: expected some of {}", names.join(", ")))
            })
        });
        provider.kx_groups = wanted.collect::<io::Result<_>>()?;
        Ok(provider)
    }

    fn roots(&self) -> io::Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for file in &self.ca {
            for certificate in chain("--ca", file)? {
                roots
                    .add(certificate)
                    .map_err(|error| invalid(format!("--ca {}: {error}", file.display())))?;
            }
        }
        if self.ca.is_empty() {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err(invalid(
                    "the system has no certificates to trust: give --ca FILE, or --insecure".into(),
                ));
            }
        }
        Ok(roots)
    }

    /// The name of a server: that of the flag, or the host of its authority.
    pub fn server_name(&self, authority: &str) -> io::Result<ServerName<'static>> {
        let bare = match (authority.strip_prefix('['), authority.rsplit_once(':')) {
            (Some(rest), _) => rest.split(']').next().unwrap_or_default(),
            (None, Some((host, _port))) => host,
            (None, None) => authority,
        };
        let host = self.server_name.as_deref().unwrap_or(bare);
        ServerName::try_from(host.to_owned())
            .map_err(|error| invalid(format!("{host}: not a name that TLS can ask for: {error}")))
    }
}

/// What is offered by ALPN (RFC 7301).
pub fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 | Protocol::WebSocket => b"http/1.1",
        Protocol::Http2 | Protocol::Grpc => b"h2",
    }
}

/// An origin's configuration: from `CERT,KEY` (PEM), or with an empty text a certificate of its own for `localhost` and
/// 127.0.0.1. With `client_ca`, clients must show a certificate.
pub fn server(files: &str, client_ca: Option<&Path>, protocol: Protocol) -> io::Result<ServerConfig> {
    let (chain_of, key) = if files.is_empty() {
        self_made()?
    } else {
        let (cert, key) = files
            .split_once(',')
            .ok_or_else(|| invalid(format!("--tls {files}: expected CERT,KEY, two files, or nothing")))?;
        (chain("--tls", Path::new(cert))?, private_key("--tls", Path::new(key))?)
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls::rustls::ALL_VERSIONS)
        .map_err(|error| invalid(format!("TLS: {error}")))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            let wrong = |error: String| invalid(format!("--client-ca {}: {error}", file.display()));
            for certificate in chain("--client-ca", file)? {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| wrong(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config =
        builder.with_single_cert(chain_of, key).map_err(|error| invalid(format!("--tls: {error}")))?;
    config.alpn_protocols = vec![alpn(protocol).to_vec()];
    // Whoever connects, the suite is the same.
    config.ignore_client_order = true;
    config.ticketer =
        aws_lc_rs::Ticketer::new().map_err(|error| invalid(format!("--tls: no tickets: {error}")))?;
    config.enable_secret_extraction = true;
    Ok(config)
}

fn self_made() -> io::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let made = rcgen::generate_simple_self_signed(names)
        .map_err(|error| io::Error::other(format!("--tls: no certificate could be made: {error}")))?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok((vec![made.cert.der().clone()], key.into()))
}

fn chain(flag: &str, file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let wrong = |error: String| invalid(format!("{flag} {}: {error}", file.display()));
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("expected certificates (PEM), found none".into())) } else { Ok(found) }
}

fn private_key(flag: &str, file: &Path) -> io::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|error| invalid(format!("{flag} {}: no private key (PEM): {error}", file.display())))
}
