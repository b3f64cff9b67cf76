//! The TLS of listeners and clusters: values and files → [`ServerTls`] and [`ClientTls`], every problem at its place.

use std::path::PathBuf;
use std::sync::Arc;

use ringway_policies::spiffe::SpiffePattern;

use super::discovery::DiscoveryConfig;
use super::error::{ConfigError, Findings, Place, quote};
use super::file::{At, FileClientAuth, FileTls};
use super::layer::{Origin, View};
use super::settings::{Id, Setting};
use super::tree::{Mark, SourceFile};
use super::{ClusterConfig, UpstreamProtocol};
use super::{build, grammar, identity};
use crate::tls::{
    self, CertificateFiles, ClientAuthConfig, ClientAuthMode, ClientTls, ClientTlsConfig, Part, ServerTls,
    ServerTlsConfig, TicketConfig, TlsProblem, TlsVersion, UpstreamVerify,
};

/// Where the parts of a listener or cluster were written.
pub(super) struct Where<'a> {
    pub(super) file: &'a SourceFile,
    /// Such as `listeners[0]`.
    pub(super) path: &'a str,
    /// Of the item, where nothing more exact is known.
    pub(super) at: Mark,
}

/// TLS of a listener.
pub(super) fn server(
    read: &FileTls,
    view: &View<'_>,
    at: &Where<'_>,
    findings: &mut Findings,
) -> Option<Arc<ServerTls>> {
    let before = findings.count();
    let auth = listener_auth(view);
    let acme = identity::acme(view, at, findings);
    let workload = identity::workload(view, Id::TlsSpiffe).unwrap_or_else(|(problem, hint)| {
        findings.push(at.error(Id::TlsSpiffe, view, problem).hint(hint));
        None
    });
    let needed = acme.is_none() && workload.is_none() && findings.count() == before;
    let certificates = certificates(read, needed, &auth, at, findings)?;
    let settings = ServerTlsConfig { acme, workload, ..server_settings(view, auth, certificates) };
    useless(&settings, view, at, findings);
    identity::contradictions(&settings, view, at, findings);
    // Files are not read for a listener that has errors of another kind: they would hide these.
    if findings.count() > before {
        return None;
    }
    let mut warnings = Vec::new();
    let tls = match ServerTls::load(settings, &mut warnings) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(problems) => {
            warnings = problems;
            None
        }
    };
    for problem in warnings {
        let finding = at.of_server(&problem, read, view);
        findings.push(finding);
    }
    tls
}

/// What is said and leads nowhere.
fn useless(settings: &ServerTlsConfig, view: &View<'_>, at: &Where<'_>, findings: &mut Findings) {
    let auth = &settings.client_auth;
    let own = || settings.certificates.iter().filter_map(|files| files.client_auth.as_ref());
    let asks = auth.mode != ClientAuthMode::None || own().any(|own| own.mode != ClientAuthMode::None);
    if auth.mode != ClientAuthMode::None && auth.ca.is_empty() && settings.workload.is_none() {
        findings.push(at.error(Id::TlsClientAuth, view, NOBODY_TRUSTED).hint(NOBODY_HINT.to_owned()));
    }
    for id in [Id::TlsHsts, Id::TlsClientForward] {
        if build::speaks_tcp(view) && view.own.get(id).is_some() {
            let problem = "has no effect on a listener of TCP, which reads and writes no headers";
            findings.push(at.error(id, view, problem));
        }
    }
    let given = [
        (Id::TlsClientCa, !auth.ca.is_empty()),
        (Id::TlsClientCrl, !auth.crl.is_empty()),
        (Id::TlsClientIdentity, !auth.identities.is_empty()),
    ];
    for (id, _) in given.iter().filter(|(_, given)| *given && !asks) {
        let problem =
            "has no effect: `client_auth.mode` is `none`, so that clients are asked for no certificate";
        findings.push(at.error(*id, view, problem));
    }
}

const NOBODY_TRUSTED: &str = "client certificates are asked for, and nothing says whom to trust";
const NOBODY_HINT: &str = "name the authorities: `client_auth: { mode: …, ca: [FILE] }`";

fn certificates(
    read: &FileTls,
    needed: bool,
    auth: &ClientAuthConfig,
    at: &Where<'_>,
    findings: &mut Findings,
) -> Option<Vec<CertificateFiles>> {
    if read.certificates.is_empty() && needed {
        let problem = "a listener with TLS needs a certificate";
        let place = at.file.place(Mark { width: 3, ..read.at });
        let error = ConfigError::new(place, format!("{}.tls.certificates", at.path), problem);
        findings.push(error.hint("`certificates: [{ cert: FILE, key: FILE }]`".to_owned()));
        return None;
    }
    let mut all = Vec::new();
    for (index, item) in read.certificates.iter().enumerate() {
        let path = format!("{}.tls.certificates[{index}]", at.path);
        let mut hosts = Vec::new();
        for (number, host) in item.hosts.iter().enumerate() {
            match grammar::host_pattern(&host.value) {
                Ok(host) => hosts.push(host),
                Err(mismatch) => {
                    let key = format!("{path}.hosts[{number}]");
                    let place = at.file.place(host.at);
                    let error = ConfigError::mismatch(place, key, mismatch.expected, quote(&host.value));
                    findings.push(error.hint(mismatch.hint));
                }
            }
        }
        let own = item.client_auth.as_ref();
        let own = own.map(|own| own_auth(own, auth, item.at, &format!("{path}.client_auth"), at, findings));
        let path = |text: &Option<At<String>>| text.as_ref().map(|text| PathBuf::from(&text.value));
        // What is missing is an error already.
        let (Some(cert), Some(key)) = (path(&item.cert), path(&item.key)) else { continue };
        all.push(CertificateFiles { cert, key, ocsp: path(&item.ocsp), hosts, client_auth: own });
    }
    (all.len() == read.certificates.len()).then_some(all)
}

/// What clients of one certificate are asked for.
fn own_auth(
    own: &FileClientAuth,
    listener: &ClientAuthConfig,
    item: Mark,
    path: &str,
    at: &Where<'_>,
    findings: &mut Findings,
) -> ClientAuthConfig {
    let mut auth = listener.clone();
    if let Some(mode) = &own.mode {
        match client_auth_mode(&mode.value) {
            Some(mode) => auth.mode = mode,
            None => {
                let (place, key) = (at.file.place(mode.at), format!("{path}.mode"));
                let expected = "none, optional, required";
                findings.push(ConfigError::mismatch(place, key, expected, quote(&mode.value)));
            }
        }
    }
    let paths = |texts: &[At<String>]| texts.iter().map(|text| PathBuf::from(&text.value)).collect();
    if let Some(ca) = &own.ca {
        auth.ca = paths(ca);
    }
    if let Some(crl) = &own.crl {
        auth.crl = paths(crl);
    }
    if let Some(identity) = &own.identity {
        auth.identities.clear();
        for text in identity {
            match SpiffePattern::parse(&text.value) {
                Ok(pattern) => auth.identities.push(pattern),
                Err(hint) => {
                    let (place, key) = (at.file.place(text.at), format!("{path}.identity"));
                    let expected = Setting::of(Id::TlsClientIdentity).expected();
                    findings.push(ConfigError::mismatch(place, key, expected, quote(&text.value)).hint(hint));
                }
            }
        }
    }
    if auth.mode != ClientAuthMode::None && auth.ca.is_empty() {
        let place = at.file.place(own.mode.as_ref().map_or(Mark { width: 1, ..item }, |mode| mode.at));
        findings.push(ConfigError::new(place, path, NOBODY_TRUSTED).hint(NOBODY_HINT.to_owned()));
    }
    auth
}

fn client_auth_mode(word: &str) -> Option<ClientAuthMode> {
    match word {
        "none" => Some(ClientAuthMode::None),
        "optional" => Some(ClientAuthMode::Optional),
        "required" => Some(ClientAuthMode::Required),
        _ => None,
    }
}

fn listener_auth(view: &View<'_>) -> ClientAuthConfig {
    ClientAuthConfig {
        mode: view.word(Id::TlsClientAuth).and_then(client_auth_mode).unwrap_or(ClientAuthMode::None),
        ca: paths(view, Id::TlsClientCa),
        crl: paths(view, Id::TlsClientCrl),
        identities: identities(view, Id::TlsClientIdentity),
        forward: view.bool(Id::TlsClientForward),
    }
}

/// The settings of a listener.
fn server_settings(
    view: &View<'_>,
    client_auth: ClientAuthConfig,
    certificates: Vec<CertificateFiles>,
) -> ServerTlsConfig {
    let mut alpn = view.tokens(Id::TlsAlpn);
    // What is spoken over TCP is not known, unless somebody says so.
    if build::speaks_tcp(view) && view.get(Id::TlsAlpn).1 == Origin::Default {
        alpn.clear();
    }
    // Nobody is told of a protocol that is not spoken.
    alpn.retain(|name| name != "h2" || view.bool(Id::Http2));
    ServerTlsConfig {
        certificates,
        acme: None,
        workload: None,
        strict_sni: view.bool(Id::TlsStrictSni),
        min_version: version(view, Id::TlsMinVersion),
        cipher_suites: names(view, Id::TlsCipherSuites, tls::SUITE_NAMES),
        groups: names(view, Id::TlsGroups, tls::GROUPS_DEFAULT),
        alpn,
        client_auth,
        tickets: TicketConfig {
            enabled: view.bool(Id::TlsTickets),
            rotate: view.duration(Id::TlsTicketRotate),
            count: view.number_as(Id::TlsTicketCount),
        },
        handshake_timeout: view.duration(Id::TlsHandshakeTimeout),
        handshakes_max: view.number_as(Id::TlsHandshakes),
        handshakes_per_client_max: view.number_as(Id::TlsHandshakesPerClient),
        hsts: view.duration(Id::TlsHsts),
    }
}

/// TLS of a cluster. `https` says whether an endpoint was written with `https://`. `problem` makes a finding of something
/// that is wrong with a setting.
pub(super) fn client(
    cluster: &ClusterConfig,
    https: bool,
    view: &View<'_>,
    finding: &dyn Fn(Id, String) -> ConfigError,
    findings: &mut Findings,
) -> Option<Arc<ClientTls>> {
    let enabled = match view.word(Id::UpstreamTls) {
        Some(_) => https,
        None => view.bool(Id::UpstreamTls),
    };
    if !enabled {
        return None;
    }
    let mut settings = client_settings(view, cluster.protocol);
    let found_by = cluster.discovery.as_ref().and_then(DiscoveryConfig::server_name);
    settings.server_name = settings.server_name.or_else(|| found_by.map(str::to_owned));
    let mut problems = Vec::new();
    let mut wrong = |id: Id, problem: &str, hint: Option<String>| {
        problems.push(finding(id, problem.to_owned()).hint(hint));
    };
    let (cert, key) = (view.path(Id::UpstreamTlsCert), view.path(Id::UpstreamTlsKey));
    match (cert.is_some(), key.is_some()) {
        (true, false) => {
            wrong(Id::UpstreamTlsCert, "a certificate needs its key", Some("`key: FILE`".to_owned()))
        }
        (false, true) => {
            wrong(Id::UpstreamTlsKey, "a key needs its certificate", Some("`cert: FILE`".to_owned()))
        }
        _ => {}
    }
    if settings.verify != UpstreamVerify::Full && !settings.identities.is_empty() {
        let problem = "identities are verified with `verify: full` only";
        wrong(Id::UpstreamTlsIdentity, problem, None);
    }
    if settings.verify == UpstreamVerify::None && (settings.ca.is_some() || !settings.crl.is_empty()) {
        wrong(Id::UpstreamTlsVerify, "`none` verifies nothing, so that `ca` and `crl` have no effect", None);
    }
    let nameless = cluster.endpoints.iter().find(|endpoint| tls::server_name(&settings, endpoint).is_none());
    if let Some(endpoint) = nameless {
        let problem = match &settings.server_name {
            Some(name) => format!("{} is no name of a host", quote(name)),
            None => format!("the endpoint {endpoint:?} has no name to verify"),
        };
        wrong(Id::UpstreamTlsServerName, &problem, Some("`server_name: app.example.com`".to_owned()));
    }
    let workload = identity::workload(view, Id::UpstreamTlsSpiffe).unwrap_or_else(|(problem, hint)| {
        wrong(Id::UpstreamTlsSpiffe, &problem, Some(hint));
        None
    });
    if workload.is_some() && settings.certificate.is_some() {
        let problem =
            "the identity of the workload would never be shown: the cluster has another certificate";
        wrong(Id::UpstreamTlsSpiffe, problem, Some("have one or the other".to_owned()));
    }
    let anyone = settings.verify == UpstreamVerify::Full && settings.identities.is_empty();
    if workload.is_some() && settings.ca.is_none() && anyone {
        let problem = "workloads are verified by their SPIFFE IDs, and none is named";
        let hint = "`identity: [spiffe://shop/payments]`, or `verify: no_name` for every workload that the agent trusts";
        wrong(Id::UpstreamTlsIdentity, problem, Some(hint.to_owned()));
    }
    let settings = ClientTlsConfig { workload, ..settings };
    if !problems.is_empty() {
        problems.into_iter().for_each(|problem| findings.push(problem));
        return None;
    }
    weakened(&settings, finding, findings);
    let mut warnings = Vec::new();
    let tls = match ClientTls::load(settings, &mut warnings) {
        Ok(tls) => Some(Arc::new(tls)),
        Err(problems) => {
            warnings = problems;
            None
        }
    };
    for problem in warnings {
        let id = match problem.part {
            Part::Cert(_) | Part::Ocsp(_) | Part::Hosts(_) => Id::UpstreamTlsCert,
            Part::Key(_) => Id::UpstreamTlsKey,
            Part::Ca => Id::UpstreamTlsCa,
            Part::Crl => Id::UpstreamTlsCrl,
            Part::Settings => Id::UpstreamTlsCipherSuites,
        };
        let error = finding(id, problem.text).hint(problem.hint);
        findings.push(if problem.warning { error.warning() } else { error });
    }
    tls
}

/// Says loudly what is not verified.
fn weakened(
    settings: &ClientTlsConfig,
    finding: &dyn Fn(Id, String) -> ConfigError,
    findings: &mut Findings,
) {
    let text = match settings.verify {
        UpstreamVerify::Full => return,
        UpstreamVerify::NoName => {
            "endpoints are taken for whoever has a certificate of a trusted authority, whatever their name"
        }
        UpstreamVerify::None => "endpoints are NOT VERIFIED: whoever answers sees and can change everything",
    };
    findings.push(finding(Id::UpstreamTlsVerify, text.to_owned()).warning());
}

fn client_settings(view: &View<'_>, protocol: UpstreamProtocol) -> ClientTlsConfig {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ClientTlsConfig {
        ca: match view.word(Id::UpstreamTlsCa) {
            Some(_) => None,
            None => Some(paths(view, Id::UpstreamTlsCa)),
        },
        crl: paths(view, Id::UpstreamTlsCrl),
        certificate: match (view.path(Id::UpstreamTlsCert), view.path(Id::UpstreamTlsKey)) {
            (Some(cert), Some(key)) => {
                Some(CertificateFiles { cert, key, ocsp: None, hosts: Vec::new(), client_auth: None })
            }
            _ => None,
        },
        workload: None,
        server_name: view.text(Id::UpstreamTlsServerName),
        alpn: match (view.word(Id::UpstreamTlsAlpn), protocol) {
            (None, _) => view.tokens(Id::UpstreamTlsAlpn),
            (_, UpstreamProtocol::Http1) => own(&["http/1.1"]),
            (_, UpstreamProtocol::Http2) => own(&["h2"]),
            (_, UpstreamProtocol::Auto) => own(&["h2", "http/1.1"]),
        },
        tunnel_alpn: view.tokens(Id::UpstreamTlsAlpn),
        verify: match view.word(Id::UpstreamTlsVerify) {
            Some("none") => UpstreamVerify::None,
            Some("no_name") => UpstreamVerify::NoName,
            _ => UpstreamVerify::Full,
        },
        identities: identities(view, Id::UpstreamTlsIdentity),
        min_version: version(view, Id::UpstreamTlsMinVersion),
        cipher_suites: names(view, Id::UpstreamTlsCipherSuites, tls::SUITE_NAMES),
        groups: names(view, Id::UpstreamTlsGroups, tls::GROUPS_DEFAULT),
        session_resumption: view.bool(Id::UpstreamTlsResumption),
    }
}

fn version(view: &View<'_>, id: Id) -> TlsVersion {
    if view.word(id) == Some("1.3") { TlsVersion::Tls13 } else { TlsVersion::Tls12 }
}

fn names(view: &View<'_>, id: Id, default: &[&str]) -> Vec<String> {
    match view.word(id) {
        Some(_) => default.iter().map(|name| (*name).to_owned()).collect(),
        None => view.tokens(id),
    }
}

fn paths(view: &View<'_>, id: Id) -> Vec<PathBuf> {
    view.tokens(id).iter().map(PathBuf::from).collect()
}

fn identities(view: &View<'_>, id: Id) -> Vec<SpiffePattern> {
    view.tokens(id).iter().filter_map(|text| SpiffePattern::parse(text).ok()).collect()
}

impl Where<'_> {
    /// Where a setting of the item was written, or the item where the value is a default.
    fn place(&self, id: Id, view: &View<'_>) -> Place {
        self.file.place(view.own.mark(id).unwrap_or(Mark { width: 1, ..self.at }))
    }

    /// An error about a setting of the item.
    pub(super) fn error(&self, id: Id, view: &View<'_>, problem: impl Into<String>) -> ConfigError {
        ConfigError::new(self.place(id, view), format!("{}.{}", self.path, Setting::of(id).key), problem)
    }

    fn of_server(&self, problem: &TlsProblem, read: &FileTls, view: &View<'_>) -> ConfigError {
        let item = |index: usize, key: &str| {
            let item = read.certificates.get(index);
            let text = item.and_then(|item| match key {
                "cert" => item.cert.as_ref(),
                "key" => item.key.as_ref(),
                "ocsp" => item.ocsp.as_ref(),
                _ => item.hosts.first(),
            });
            let at = text.map(|text| text.at).or(item.map(|item| item.at)).unwrap_or(read.at);
            let path = format!("{}.tls.certificates[{index}].{key}", self.path);
            ConfigError::new(self.file.place(at), path, problem.text.clone())
        };
        let error = match problem.part {
            Part::Cert(index) => item(index, "cert"),
            Part::Key(index) => item(index, "key"),
            Part::Ocsp(index) => item(index, "ocsp"),
            Part::Hosts(index) => item(index, "hosts"),
            Part::Ca => self.error(Id::TlsClientCa, view, problem.text.clone()),
            Part::Crl => self.error(Id::TlsClientCrl, view, problem.text.clone()),
            Part::Settings => self.error(Id::TlsCipherSuites, view, problem.text.clone()),
        };
        let error = error.hint(problem.hint.clone());
        if problem.warning { error.warning() } else { error }
    }
}
