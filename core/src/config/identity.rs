//! Where identities come from besides files: an authority that speaks ACME, and the SPIFFE Workload API.

use std::path::PathBuf;

use super::error::{Findings, quote};
use super::grammar;
use super::layer::View;
use super::settings::Id;
use super::tls::Where;
use crate::acme::{AcmeChallenge, AcmeConfig, ExternalAccount};
use crate::tls::ServerTlsConfig;
use crate::tls::spiffe::SOCKET_VARIABLE;

/// The names of one certificate: what authorities take in one order.
const HOSTS_MAX: usize = 100;

/// What a listener orders from an authority.
pub(super) fn acme(view: &View<'_>, at: &Where<'_>, findings: &mut Findings) -> Option<AcmeConfig> {
    let directory = view.text(Id::TlsAcmeDirectory)?;
    let before = findings.count();
    let mut wrong = |id: Id, problem: String, hint: &str| {
        findings.push(at.error(id, view, problem).hint(hint.to_owned()));
    };
    if !cfg!(feature = "acme") {
        wrong(Id::TlsAcmeDirectory, "this build has no ACME".to_owned(), "build it with the feature `acme`");
    }
    if !directory.starts_with("https://") {
        let problem = format!("{} is not the URL of a directory", quote(&directory));
        wrong(Id::TlsAcmeDirectory, problem, "`https://acme-v02.api.letsencrypt.org/directory`");
    }
    let mut hosts = view.tokens(Id::TlsAcmeHosts);
    hosts.iter_mut().for_each(|host| host.make_ascii_lowercase());
    if hosts.is_empty() || hosts.len() > HOSTS_MAX {
        let problem = format!("a certificate is for 1 to {HOSTS_MAX} hosts, not {}", hosts.len());
        wrong(Id::TlsAcmeHosts, problem, "`hosts: [shop.example.com]`");
    }
    for host in &hosts {
        if host.contains('*') || !host.contains('.') || grammar::host_pattern(host).is_err() {
            let problem = format!("{} is not the name of one host", quote(host));
            wrong(
                Id::TlsAcmeHosts,
                problem,
                "authorities validate wildcards in the DNS only: name each host",
            );
        }
    }
    let contact = view.text(Id::TlsAcmeContact);
    if contact.as_ref().is_some_and(|contact| !contact.contains(':')) {
        wrong(Id::TlsAcmeContact, "a contact is a URL".to_owned(), "`mailto:ops@example.com`");
    }
    let external_account = match (view.text(Id::TlsAcmeKeyId), view.path(Id::TlsAcmeKey)) {
        (None, None) => None,
        (Some(key_id), Some(key_file)) => Some(ExternalAccount { key_id, key_file }),
        _ => {
            let problem = "an external account has a key and the name of the key".to_owned();
            wrong(Id::TlsAcmeKeyId, problem, "`external: { key_id: NAME, key: FILE }`");
            None
        }
    };
    if findings.count() > before {
        return None;
    }
    let store = view.path(Id::TlsAcmeStore)?;
    Some(AcmeConfig {
        file: AcmeConfig::file_of(&store, &hosts),
        directory,
        ca: match view.word(Id::TlsAcmeCa) {
            Some(_) => None,
            None => Some(view.tokens(Id::TlsAcmeCa).iter().map(PathBuf::from).collect()),
        },
        hosts,
        contact,
        store,
        challenge: match view.word(Id::TlsAcmeChallenge) {
            Some("tls-alpn-01") => AcmeChallenge::TlsAlpn01,
            _ => AcmeChallenge::Http01,
        },
        external_account,
    })
}

/// The socket of the agent that a listener or cluster has its identity from. The error says what is wrong, and what helps.
pub(super) fn workload(view: &View<'_>, id: Id) -> Result<Option<String>, (String, String)> {
    let socket = match view.word(id) {
        Some("off") => return Ok(None),
        Some(_) => match std::env::var(SOCKET_VARIABLE) {
            Ok(socket) => socket,
            Err(_) => {
                let problem = format!("the variable {SOCKET_VARIABLE} is not set");
                return Err((problem, "`socket: unix:///run/spire/agent.sock`".to_owned()));
            }
        },
        None => view.text(id).unwrap_or_default(),
    };
    if !cfg!(feature = "spiffe") {
        let problem = "this build has no SPIFFE Workload API".to_owned();
        return Err((problem, "build it with the feature `spiffe`".to_owned()));
    }
    // Workload Endpoint, 4: a URI with a path, or with an address and a port.
    let path = socket.strip_prefix("unix:").is_some_and(|path| {
        path.starts_with('/') && path.len() > 1 && (!path.starts_with("//") || path.starts_with("///"))
    });
    let address = socket.strip_prefix("tcp:").map(|rest| rest.trim_start_matches('/'));
    let address = address.is_some_and(|rest| rest.parse::<std::net::SocketAddr>().is_ok());
    if path || address {
        return Ok(Some(socket));
    }
    Err((
        format!("{} is not the socket of an agent", quote(&socket)),
        "`unix:///run/spire/agent.sock`, or `tcp://127.0.0.1:8081`".to_owned(),
    ))
}

/// What contradicts itself in where a listener has its certificates from.
pub(super) fn contradictions(
    settings: &ServerTlsConfig,
    view: &View<'_>,
    at: &Where<'_>,
    findings: &mut Findings,
) {
    if settings.workload.is_some() && (settings.acme.is_some() || !settings.certificates.is_empty()) {
        let problem =
            "the identity of the workload would never be shown: the listener has other certificates";
        findings.push(at.error(Id::TlsSpiffe, view, problem).hint("have one or the other".to_owned()));
    }
}
