//! TLS of one listener.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use ringway_policies::spiffe::SpiffePattern;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;

use super::authority;
use super::certificate::CertificateFacts;
use super::files::{self, CertificateFiles, Part, Problems, TlsProblem};
use super::provider::{self, TlsVersion};
use super::select::HostCertificates;
use super::spiffe::{self, Identity};
use super::tickets::TicketKeys;
use super::verify::DownstreamVerifier;
use super::watch::{self, Stamp};
use crate::acme::{AcmeChallenge, AcmeConfig};

/// The settings of a listener's TLS, as the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTlsConfig {
    /// The first one is for clients that ask for no host, or for one that nothing is for.
    pub certificates: Vec<CertificateFiles>,
    /// One more certificate, once an authority has issued it.
    pub acme: Option<AcmeConfig>,
    /// The socket of the agent that this listener has its certificate from, and, without `ca`, whom to trust.
    pub workload: Option<String>,
    /// Clients that ask for a host without a certificate are turned away.
    pub strict_sni: bool,
    pub min_version: TlsVersion,
    pub cipher_suites: Vec<String>,
    pub groups: Vec<String>,
    pub alpn: Vec<String>,
    pub client_auth: ClientAuthConfig,
    pub tickets: TicketConfig,
    /// From the acceptance of a connection to the end of its handshake.
    pub handshake_timeout: Duration,
    /// Handshakes of this listener that a worker has under way at a time.
    pub handshakes_max: u32,
    /// Handshakes that one client address may begin within a second; 0 is unlimited.
    pub handshakes_per_client_max: u32,
    /// `max-age` of Strict-Transport-Security; zero: not sent.
    pub hsts: Duration,
}

/// Whether clients show certificates, and which are good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthConfig {
    pub mode: ClientAuthMode,
    pub ca: Vec<PathBuf>,
    pub crl: Vec<PathBuf>,
    /// Empty: whoever an authority has issued a certificate to.
    pub identities: Vec<SpiffePattern>,
    /// Whether `x-forwarded-client-cert` tells the origin about the certificate.
    pub forward: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuthMode {
    None,
    Optional,
    Required,
}

/// Session tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TicketConfig {
    pub enabled: bool,
    /// How long one key makes tickets.
    pub rotate: Duration,
    /// Tickets that a TLS 1.3 client gets.
    pub count: usize,
}

/// TLS of one listener: shared by all workers, with its files' content swapped as a whole.
#[derive(Debug)]
pub struct ServerTls {
    settings: ServerTlsConfig,
    /// The field line, or nothing (RFC 6797, 6.1).
    hsts: String,
    current: RwLock<Arc<Current>>,
}

/// What the files of a listener came to.
#[derive(Debug)]
struct Current {
    hosts: Arc<HostCertificates>,
    certificates: Vec<CertificateFacts>,
    /// For the client authentication of the listener, and for those of certificates. They share the certificates and
    /// nothing else: a ticket of one cannot be opened by another.
    auth: Auth,
    own_auths: Vec<Auth>,
    /// For the authority, where it validates by handshakes.
    authority: Option<Arc<ServerConfig>>,
    /// When the first of the OCSP responses ends that are sent, in seconds since 1970.
    stapled_until: Option<i64>,
    /// What the files looked like before they were read.
    stamps: Vec<Stamp>,
}

impl Current {
    /// By the index of [`HostCertificates`].
    fn auth(&self, index: usize) -> &Auth {
        index.checked_sub(1).and_then(|index| self.own_auths.get(index)).unwrap_or(&self.auth)
    }
}

#[derive(Debug)]
struct Auth {
    rustls: Arc<ServerConfig>,
    /// Over whom is trusted: tickets do not outlive a change of it.
    trust: [u8; 32],
    tickets: Option<Arc<TicketKeys>>,
}

impl ServerTls {
    /// Reads the files of a listener. Warnings are pushed to `found`.
    ///
    /// # Errors
    /// Everything that is wrong, warnings included.
    pub fn load(settings: ServerTlsConfig, found: &mut Vec<TlsProblem>) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Problems::default();
        let current = read(&settings, None, &mut problems);
        match current {
            Some(current) if !problems.have_errors() => {
                found.append(&mut problems.0);
                Ok(ServerTls::new(settings, current))
            }
            _ => Err(problems.0),
        }
    }

    /// With certificates that are in memory, everything else as `settings` say: for tests, and for embedding.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn in_memory(
        settings: ServerTlsConfig,
        certificates: &[(Arc<CertifiedKey>, Vec<String>)],
    ) -> Result<Self, Vec<TlsProblem>> {
        let mut problems = Problems::default();
        let mut hosts = HostCertificates::new(settings.strict_sni);
        for (key, names) in certificates {
            // All have the listener's client authentication, so that none contradicts another.
            let _ = hosts.add(names, key, 0);
        }
        let facts =
            certificates.iter().filter_map(|(key, _)| CertificateFacts::read(key.cert.first()?)).collect();
        let provider = provider::provider(&settings.cipher_suites, &settings.groups);
        match build(&settings, &provider, hosts, facts, None, &mut problems) {
            Some(current) if !problems.have_errors() => Ok(ServerTls::new(settings, current)),
            _ => Err(problems.0),
        }
    }

    fn new(settings: ServerTlsConfig, current: Current) -> Self {
        let hsts = match settings.hsts.as_secs() {
            0 => String::new(),
            seconds => format!("strict-transport-security: max-age={seconds}\r\n"),
        };
        ServerTls { settings, hsts, current: RwLock::new(Arc::new(current)) }
    }

    /// The field line of Strict-Transport-Security for every response, or nothing.
    pub fn hsts_line(&self) -> &str {
        &self.hsts
    }

    /// The configuration for a handshake that begins now, with a client that names no host.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config_for(None)
    }

    /// The configuration for a handshake that begins now, with a client that asks for a host (lower case). It is taken
    /// once per handshake.
    pub fn config_for(&self, server_name: Option<&str>) -> Arc<ServerConfig> {
        let current = self.current();
        current.auth(current.hosts.select(server_name).auth).rustls.clone()
    }

    /// The configuration for the handshake of an authority that validates a host (TLS-ALPN-01), where that is expected.
    pub fn config_for_authority(&self) -> Option<Arc<ServerConfig>> {
        self.current().authority.clone()
    }

    /// Whether a request for `host` (no port) must not be answered on a connection that was made for `server_name`: its
    /// client would have been asked for another certificate, or the one that it was shown is not for that host. Other
    /// hosts of the certificate may share the connection (RFC 9110, 7.4 and RFC 9113, 9.1.1).
    pub fn is_misdirected(&self, server_name: Option<&str>, host: &str) -> bool {
        if host.is_empty() || server_name.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
            return false;
        }
        let host = host.to_ascii_lowercase();
        let current = self.current();
        let (shown, wanted) = (current.hosts.select(server_name), current.hosts.select(Some(&host)));
        let covered = current.hosts.covers(&host);
        // A client that was shown what is for its name did not mean a host that nothing here is for.
        let strays = !covered && server_name.is_some_and(|name| current.hosts.covers(name));
        strays || !(shown.is_same(wanted) || covered && shown.shares_with(wanted))
    }

    /// What the file says.
    pub fn settings(&self) -> &ServerTlsConfig {
        &self.settings
    }

    /// The facts of the certificates, in the order of the file.
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.current().certificates.clone()
    }

    /// The files of certificates, each with the facts of what is in force of it: those of the configuration, and the one of
    /// an authority once it was issued.
    pub fn certificate_files(&self) -> Vec<(&Path, CertificateFacts)> {
        let given = self.settings.certificates.iter().map(|files| &files.cert);
        let issued = self.settings.acme.iter().map(|acme| &acme.file);
        given.chain(issued).map(PathBuf::as_path).zip(self.certificates()).collect()
    }

    /// Whether a certificate of the listener is for this host (lower case, without a port).
    pub fn covers(&self, host: &str) -> bool {
        self.current().hosts.covers(host)
    }

    /// How much of a host (lower case, without a port) the name in a certificate says that is for it, in bytes from the
    /// right; `None` where no certificate is for it. One that is still to be issued counts, so that it can be.
    pub fn exactness(&self, host: &str) -> Option<usize> {
        let ordered =
            self.settings.acme.as_ref().is_some_and(|acme| acme.hosts.iter().any(|name| name == host));
        if ordered { Some(host.len()) } else { self.current().hosts.exactness(host) }
    }

    /// Whether clients of a host, or of the hosts that `*.` stands for, may be shown a certificate of theirs.
    pub fn may_cover(&self, pattern: &str) -> bool {
        let ordered = self.settings.acme.iter().flat_map(|acme| &acme.hosts);
        let (current, mut ordered) = (self.current(), ordered.map(String::as_str));
        match pattern.strip_prefix("*.") {
            None => current.hosts.covers(pattern) || ordered.any(|host| host == pattern),
            Some(domain) => {
                let below = |host: &str| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
                current.hosts.covers(&format!("any.{domain}"))
                    || current.hosts.has_below(domain)
                    || ordered.any(below)
            }
        }
    }

    /// The files whose change changes what clients are shown or whom is trusted.
    pub fn files(&self) -> Vec<&Path> {
        self.settings.files()
    }

    /// What they looked like when they were read.
    pub(super) fn stamps(&self) -> Vec<Stamp> {
        self.current().stamps.clone()
    }

    /// Whether an OCSP response that is sent has ended. `now` is in seconds since 1970.
    pub(super) fn has_lapsed(&self, now: i64) -> bool {
        self.current().stapled_until.is_some_and(|end| end <= now)
    }

    /// Reads the files again, with the ticket keys of what was in force before a reload.
    ///
    /// # Errors
    /// Everything that is wrong. What was in force stays so.
    pub fn continue_from(&self, old: &ServerTls) -> Result<Vec<TlsProblem>, Vec<TlsProblem>> {
        self.reread_after(&old.current())
    }

    /// Reads the files again. What they say is in force for handshakes from now on; connections stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong. What was in force stays so.
    pub fn reread(&self) -> Result<Vec<TlsProblem>, Vec<TlsProblem>> {
        self.reread_after(&self.current())
    }

    fn reread_after(&self, before: &Current) -> Result<Vec<TlsProblem>, Vec<TlsProblem>> {
        let mut problems = Problems::default();
        match read(&self.settings, Some(before), &mut problems) {
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

impl ServerTlsConfig {
    fn files(&self) -> Vec<&Path> {
        let certificates = self.certificates.iter().flat_map(CertificateFiles::paths);
        let auths = std::iter::once(&self.client_auth).chain(self.own_auths());
        let issued = self.acme.iter().map(|acme| &acme.file);
        certificates
            .chain(auths.flat_map(|auth| auth.ca.iter().chain(&auth.crl)))
            .chain(issued)
            .map(PathBuf::as_path)
            .collect()
    }

    /// The client authentications that certificates have of their own.
    fn own_auths(&self) -> impl Iterator<Item = &ClientAuthConfig> {
        self.certificates.iter().filter_map(|files| files.client_auth.as_ref())
    }
}

/// Reads everything anew. Ticket keys of `before` are kept where whom to trust is the same.
fn read(settings: &ServerTlsConfig, before: Option<&Current>, problems: &mut Problems) -> Option<Current> {
    let stamps = watch::stamps(&settings.files());
    let provider = provider::provider(&settings.cipher_suites, &settings.groups);
    let mut hosts = HostCertificates::new(settings.strict_sni);
    let (mut facts, mut auths, mut stapled_until) = (Vec::new(), 0, None);
    for (at, files) in settings.certificates.iter().enumerate() {
        auths += usize::from(files.client_auth.is_some());
        let auth = if files.client_auth.is_some() { auths } else { 0 };
        let Some(loaded) = files::certificate(files, at, &provider, problems) else { continue };
        let names = if files.hosts.is_empty() { &loaded.facts.dns } else { &files.hosts };
        files::doubts(files, at, &loaded, problems);
        if let Err(host) = hosts.add(names, &loaded.key, auth) {
            let text = format!("another certificate is for {host} too, with another `client_auth`");
            problems.error(Part::Cert(at), text, None);
        }
        facts.push(loaded.facts);
        stapled_until = [stapled_until, loaded.stapled_until].into_iter().flatten().min();
    }
    if let Some(loaded) = settings.acme.as_ref().and_then(|acme| issued(acme, &provider)) {
        // A certificate of the file that is for the same host comes first.
        let _ = hosts.add(&loaded.facts.dns, &loaded.key, 0);
        facts.push(loaded.facts);
    }
    if let Some(identity) = settings.workload.as_deref().and_then(spiffe::current) {
        // It is for no host, so that it is what every client is shown for which there is nothing else.
        let _ = hosts.add(&[], &identity.key, 0);
        facts.push(identity.facts.clone());
    }
    let current = build(settings, &provider, hosts, facts, before, problems)?;
    Some(Current { stamps, stapled_until, ..current })
}

/// What an authority has issued. Not yet, or nothing that can be used: it will be ordered anew.
fn issued(acme: &AcmeConfig, provider: &CryptoProvider) -> Option<files::Loaded> {
    let (cert, key) = (acme.file.clone(), acme.file.clone());
    let files = CertificateFiles { cert, key, ocsp: None, hosts: vec![], client_auth: None };
    files::certificate(&files, 0, provider, &mut Problems::default())
}

/// The facts of what an authority has issued.
#[cfg(feature = "acme")]
pub(crate) fn acme_certificate(acme: &AcmeConfig) -> Option<CertificateFacts> {
    issued(acme, &rustls::crypto::aws_lc_rs::default_provider()).map(|loaded| loaded.facts)
}

fn build(
    settings: &ServerTlsConfig,
    provider: &Arc<CryptoProvider>,
    hosts: HostCertificates,
    certificates: Vec<CertificateFacts>,
    before: Option<&Current>,
    problems: &mut Problems,
) -> Option<Current> {
    let hosts = Arc::new(hosts);
    let listener = &settings.client_auth;
    let auth = build_auth(settings, provider, &hosts, listener, before.map(|before| &before.auth), problems);
    let mut own_auths = Vec::new();
    for (at, auth) in settings.own_auths().enumerate() {
        let before = before.and_then(|before| before.own_auths.get(at));
        own_auths.extend(build_auth(settings, provider, &hosts, auth, before, problems));
    }
    let whole = own_auths.len() == settings.own_auths().count();
    let validated = settings.acme.as_ref().is_some_and(|acme| acme.challenge == AcmeChallenge::TlsAlpn01);
    let authority = if validated { authority::config(provider, problems) } else { None };
    auth.filter(|_| whole).map(|auth| Current {
        hosts,
        certificates,
        auth,
        own_auths,
        authority,
        stapled_until: None,
        stamps: Vec::new(),
    })
}

fn build_auth(
    settings: &ServerTlsConfig,
    provider: &Arc<CryptoProvider>,
    hosts: &Arc<HostCertificates>,
    auth: &ClientAuthConfig,
    before: Option<&Auth>,
    problems: &mut Problems,
) -> Option<Auth> {
    let identity = settings.workload.as_deref().and_then(spiffe::current);
    let by_workload = settings.workload.is_some() && auth.ca.is_empty() && auth.mode != ClientAuthMode::None;
    let (verifier, trust) = if by_workload {
        workload_verifier(auth, identity.as_deref(), provider, problems)?
    } else {
        verifier(auth, provider, problems)?
    };
    let versions = provider::versions(settings.min_version);
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = match builder {
        Ok(builder) => builder,
        Err(error) => {
            problems.error(Part::Settings, format!("versions, suites and groups do not fit: {error}"), None);
            return None;
        }
    };
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(hosts.clone());
    config.alpn_protocols = provider::alpn(&settings.alpn);
    // The records are sealed and opened by our own session, with the keys of the handshake.
    config.enable_secret_extraction = true;
    // Sessions are kept by the clients, in tickets that every worker can open, never here.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A session that is resumed is not verified again, and identities of workloads live shorter than tickets.
    let tickets = (settings.tickets.enabled && !by_workload).then(|| {
        let kept = before.filter(|before| before.trust == trust).and_then(|before| before.tickets.clone());
        let kept = kept.filter(|keys| keys.rotate_secs() == settings.tickets.rotate.as_secs());
        kept.unwrap_or_else(|| Arc::new(TicketKeys::new(settings.tickets.rotate.as_secs())))
    });
    match &tickets {
        Some(keys) => {
            config.ticketer = Arc::clone(keys) as Arc<dyn ProducesTickets>;
            config.send_tls13_tickets = settings.tickets.count;
        }
        None => config.send_tls13_tickets = 0,
    }
    Some(Auth { rustls: Arc::new(config), trust, tickets })
}

/// The verifier of clients by the bundles of an identity, with a digest over whom it trusts.
fn workload_verifier(
    auth: &ClientAuthConfig,
    identity: Option<&Identity>,
    provider: &Arc<CryptoProvider>,
    problems: &mut Problems,
) -> Option<(Arc<dyn ClientCertVerifier>, [u8; 32])> {
    let crls = files::crls(&auth.crl, problems);
    if problems.have_errors() {
        return None;
    }
    let required = auth.mode == ClientAuthMode::Required;
    let trust = identity.map_or([0; 32], |identity| identity.trust);
    match DownstreamVerifier::by_workload(identity, &crls, required, auth.identities.clone(), provider) {
        Ok(verifier) => Some((verifier, trust)),
        Err(error) => {
            problems.error(Part::Ca, format!("clients cannot be verified: {error}"), None);
            None
        }
    }
}

/// The verifier of clients, with a digest over whom it trusts.
fn verifier(
    auth: &ClientAuthConfig,
    provider: &Arc<CryptoProvider>,
    problems: &mut Problems,
) -> Option<(Arc<dyn ClientCertVerifier>, [u8; 32])> {
    let required = match auth.mode {
        ClientAuthMode::None => return Some((WebPkiClientVerifier::no_client_auth(), [0; 32])),
        ClientAuthMode::Optional => false,
        ClientAuthMode::Required => true,
    };
    let mut of_files = Problems::default();
    let (roots, crls) = (files::roots(&auth.ca, &mut of_files), files::crls(&auth.crl, &mut of_files));
    let broken = of_files.have_errors();
    problems.0.append(&mut of_files.0);
    if broken {
        return None;
    }
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&[u8::from(required)]);
    for root in &roots.roots {
        context.update(&root.subject);
        context.update(&root.subject_public_key_info);
    }
    crls.iter().for_each(|crl| context.update(crl));
    auth.identities.iter().for_each(|pattern| context.update(pattern.to_string().as_bytes()));
    let mut trust = [0; 32];
    trust.copy_from_slice(context.finish().as_ref());
    match DownstreamVerifier::build(Arc::new(roots), crls, required, auth.identities.clone(), provider) {
        Ok(verifier) => Some((verifier, trust)),
        Err(error) => {
            problems.error(Part::Ca, format!("clients cannot be verified: {error}"), None);
            None
        }
    }
}
