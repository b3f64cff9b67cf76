//! TLS to the endpoints of one cluster.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ringway_policies::spiffe::SpiffePattern;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;

use super::certificate::CertificateFacts;
use super::files::{self, CertificateFiles, Part, Problems, TlsProblem};
use super::provider::{self, TlsVersion};
use super::spiffe::{self, Identity};
use super::verify::{UpstreamVerifier, UpstreamVerify};
use super::watch::{self, Stamp};
use crate::config::EndpointConfig;
use crate::io::Address;

/// Sessions that a cluster keeps, of all its endpoints.
const SESSIONS_MAX: usize = 256;

/// The settings of a cluster's TLS, as the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTlsConfig {
    /// Files of roots; `None`: those of the system.
    pub ca: Option<Vec<PathBuf>>,
    pub crl: Vec<PathBuf>,
    /// What is shown to endpoints that ask for it.
    pub certificate: Option<CertificateFiles>,
    /// The socket of the agent that the certificate comes from and, without `ca`, whom to trust.
    pub workload: Option<String>,
    /// The name that is asked for and verified; `None`: that of the endpoint.
    pub server_name: Option<String>,
    pub alpn: Vec<String>,
    /// The same for connections on which the client decides what is spoken (TCP, CONNECT): none, unless somebody says so.
    pub tunnel_alpn: Vec<String>,
    pub verify: UpstreamVerify,
    /// Where there are any, they are verified instead of the name.
    pub identities: Vec<SpiffePattern>,
    pub min_version: TlsVersion,
    pub cipher_suites: Vec<String>,
    pub groups: Vec<String>,
    pub session_resumption: bool,
}

/// TLS to the endpoints of one cluster: shared by all workers, with its files' content swapped as a whole.
#[derive(Debug)]
pub struct ClientTls {
    settings: ClientTlsConfig,
    current: RwLock<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    rustls: Arc<ClientConfig>,
    /// Offers HTTP/1.1 only.
    http1: Arc<ClientConfig>,
    tunnel: Arc<ClientConfig>,
    certificate: Option<CertificateFacts>,
    /// What the files looked like before they were read.
    stamps: Vec<Stamp>,
}

impl ClientTlsConfig {
    fn files(&self) -> Vec<&Path> {
        let certificate = self.certificate.iter().flat_map(CertificateFiles::paths);
        let trust = self.ca.iter().flatten().chain(&self.crl);
        certificate.chain(trust).map(PathBuf::as_path).collect()
    }
}

impl ClientTls {
    /// Reads the files of a cluster. Warnings are pushed to `found`.
    ///
    /// # Errors
    /// Everything that is wrong, warnings included.
    pub fn load(settings: ClientTlsConfig, found: &mut Vec<TlsProblem>) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Problems::default();
        match read(&settings, &mut problems) {
            Some(current) if !problems.have_errors() => {
                found.append(&mut problems.0);
                Ok(ClientTls { settings, current: RwLock::new(Arc::new(current)) })
            }
            _ => Err(problems.0),
        }
    }

    /// The configuration for a handshake that begins now. It is taken once per handshake.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.current().rustls.clone()
    }

    /// The same, offering HTTP/1.1 only: for requests that need a connection of their own, such as upgrades.
    pub fn config_http1(&self) -> Arc<ClientConfig> {
        self.current().http1.clone()
    }

    /// The same for a connection on which the client decides what is spoken.
    pub fn config_tunnel(&self) -> Arc<ClientConfig> {
        self.current().tunnel.clone()
    }

    /// What the file says.
    pub fn settings(&self) -> &ClientTlsConfig {
        &self.settings
    }

    /// The facts of the certificate that is shown to endpoints.
    pub fn certificate(&self) -> Option<CertificateFacts> {
        self.current().certificate.clone()
    }

    /// The name by which an endpoint is asked for and verified. `None` for a path without `server_name`, which the
    /// configuration does not let through.
    pub fn name_for(&self, endpoint: &EndpointConfig) -> Option<ServerName<'static>> {
        server_name(&self.settings, endpoint)
    }

    /// The files whose change changes what endpoints are shown or whom is trusted.
    pub fn files(&self) -> Vec<&Path> {
        self.settings.files()
    }

    /// What they looked like when they were read.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        self.current().stamps.clone()
    }

    /// Reads the files again. What they say is in force for handshakes from now on; connections stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong. What was in force stays so.
    pub fn reread(&self) -> Result<Vec<TlsProblem>, Vec<TlsProblem>> {
        let mut problems = Problems::default();
        match read(&self.settings, &mut problems) {
            Some(current) if !problems.have_errors() => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(current);
                Ok(problems.0)
            }
            _ => Err(problems.0),
        }
    }

    fn current(&self) -> Arc<Current> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.settings == other.settings
    }
}

/// The name of an endpoint as its certificate has it.
pub(crate) fn server_name(
    settings: &ClientTlsConfig,
    endpoint: &EndpointConfig,
) -> Option<ServerName<'static>> {
    let of_address = |ip: IpAddr| ServerName::IpAddress(ip.into());
    match (&settings.server_name, endpoint) {
        (Some(name), _) => ServerName::try_from(name.clone()).ok(),
        (None, EndpointConfig::Name { host, .. }) => ServerName::try_from(host.clone()).ok(),
        (None, EndpointConfig::Address(Address::Tcp(address))) => Some(of_address(address.ip())),
        (None, EndpointConfig::Address(Address::Unix(_))) => None,
    }
}

fn read(settings: &ClientTlsConfig, problems: &mut Problems) -> Option<Current> {
    let stamps = watch::stamps(&settings.files());
    let provider = provider::provider(&settings.cipher_suites, &settings.groups);
    let identity = settings.workload.as_deref().and_then(spiffe::current);
    let (chain, by_workload) = verifier(settings, identity.as_deref(), &provider, problems)?;
    let own = settings.certificate.as_ref().map(|files| {
        let loaded = files::certificate(files, 0, &provider, problems)?;
        files::expiry(&loaded.facts, &files.cert.display(), Part::Cert(0), problems);
        Some(loaded)
    });
    if problems.have_errors() {
        return None;
    }
    let versions = provider::versions(settings.min_version);
    let builder = match ClientConfig::builder_with_provider(provider).with_protocol_versions(versions) {
        Ok(builder) => builder.dangerous().with_custom_certificate_verifier(chain),
        Err(error) => {
            problems.error(Part::Settings, format!("versions, suites and groups do not fit: {error}"), None);
            return None;
        }
    };
    let own = own.flatten().map(|loaded| (loaded.key, loaded.facts));
    let own = own.or_else(|| identity.map(|identity| (identity.key.clone(), identity.facts.clone())));
    let (mut config, certificate) = match own {
        None => (builder.with_no_client_auth(), None),
        Some((key, facts)) => {
            let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
            (builder.with_client_cert_resolver(resolver), Some(facts))
        }
    };
    config.alpn_protocols = provider::alpn(&settings.alpn);
    // The records are sealed and opened by our own session, with the keys of the handshake.
    config.enable_secret_extraction = true;
    // Made anew with every change of a file: a session never outlives the trust under which it was made.
    // Nor an identity of a workload, which lives shorter than a session: a resumed one is not verified again.
    config.resumption = match settings.session_resumption && !by_workload {
        true => Resumption::store(Arc::new(ClientSessionMemoryCache::new(SESSIONS_MAX))),
        false => Resumption::disabled(),
    };
    let mut http1 = config.clone();
    http1.alpn_protocols = provider::alpn(&["http/1.1".to_owned()]);
    let mut tunnel = config.clone();
    tunnel.alpn_protocols = provider::alpn(&settings.tunnel_alpn);
    let (rustls, http1, tunnel) = (Arc::new(config), Arc::new(http1), Arc::new(tunnel));
    Some(Current { rustls, http1, tunnel, certificate, stamps })
}

/// Verifies endpoints; with whether it does by the bundles of an identity.
fn verifier(
    settings: &ClientTlsConfig,
    identity: Option<&Identity>,
    provider: &Arc<CryptoProvider>,
    problems: &mut Problems,
) -> Option<(Arc<dyn ServerCertVerifier>, bool)> {
    let crls = files::crls(&settings.crl, problems);
    let by_workload =
        settings.workload.is_some() && settings.ca.is_none() && settings.verify != UpstreamVerify::None;
    let roots = match (&settings.ca, settings.verify) {
        (_, UpstreamVerify::None) => rustls::RootCertStore::empty(),
        (Some(paths), _) => files::roots(paths, problems),
        (None, _) if by_workload => rustls::RootCertStore::empty(),
        (None, _) => files::system_roots(problems),
    };
    if problems.have_errors() {
        return None;
    }
    let (mode, identities) = (settings.verify, settings.identities.clone());
    let verifier = match by_workload {
        true => UpstreamVerifier::by_workload(identity, &crls, identities, provider),
        false => UpstreamVerifier::build(Arc::new(roots), crls, mode, identities, provider),
    };
    match verifier {
        Ok(verifier) => Some((verifier, by_workload)),
        Err(error) => {
            problems.error(Part::Ca, format!("endpoints cannot be verified: {error}"), None);
            None
        }
    }
}
