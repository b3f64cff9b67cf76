//! Files of certificates, keys, authorities and revocation lists → what rustls takes, or what is wrong in plain words.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as RustlsError, InconsistentKeys};
use zeroize::Zeroizing;

use super::certificate::CertificateFacts;
use super::ocsp::{self, OcspError, OcspStatus};
use super::server::ClientAuthConfig;

/// Size of one file: lists of revoked certificates can be large.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Certificates of one chain.
const CHAIN_MAX: usize = 16;

/// A certificate with its key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The server's own certificate, then those of the authorities that lead to a root.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// An OCSP response (DER) that is sent along.
    pub ocsp: Option<PathBuf>,
    /// Names that it is chosen for; empty: those of the certificate.
    pub hosts: Vec<String>,
    /// What clients of these hosts are asked for, where it is not what the listener asks for.
    pub client_auth: Option<ClientAuthConfig>,
}

impl CertificateFiles {
    /// Its files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key].into_iter().chain(&self.ocsp)
    }
}

/// Which of the configured files something is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Of the certificate at this index.
    Cert(usize),
    Key(usize),
    Ocsp(usize),
    Hosts(usize),
    Ca,
    Crl,
    /// The setting as a whole.
    Settings,
}

/// Something that is wrong with a file, or with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProblem {
    pub part: Part,
    pub text: String,
    pub hint: Option<String>,
    /// Works for now.
    pub warning: bool,
}

/// Problems as they come.
#[derive(Debug, Default)]
pub(super) struct Problems(pub Vec<TlsProblem>);

impl Problems {
    pub(super) fn error(&mut self, part: Part, text: impl Into<String>, hint: impl Into<Option<String>>) {
        self.0.push(TlsProblem { part, text: text.into(), hint: hint.into(), warning: false });
    }

    pub(super) fn warn(&mut self, part: Part, text: impl Into<String>, hint: impl Into<Option<String>>) {
        self.0.push(TlsProblem { part, text: text.into(), hint: hint.into(), warning: true });
    }

    pub(super) fn have_errors(&self) -> bool {
        self.0.iter().any(|problem| !problem.warning)
    }
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// A certificate that was read, with its key and its facts.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub key: Arc<CertifiedKey>,
    pub facts: CertificateFacts,
    pub chain_facts: Vec<CertificateFacts>,
    /// When its OCSP response ends, in seconds since 1970.
    pub stapled_until: Option<i64>,
}

/// Reads a certificate with its key. `at` is its index in the configuration.
pub(super) fn certificate(
    files: &CertificateFiles,
    at: usize,
    provider: &CryptoProvider,
    problems: &mut Problems,
) -> Option<Loaded> {
    let chain = certificates(&files.cert, Part::Cert(at), problems);
    let key = private_key(&files.key, Part::Key(at), problems);
    let response = files.ocsp.as_ref().map(|path| read(path, Part::Ocsp(at), problems));
    let (chain, key) = (chain?, key?);
    let shown = files.cert.display();
    let chain_facts: Vec<_> = chain.iter().filter_map(|der| CertificateFacts::read(der)).collect();
    let facts = match chain_facts.first() {
        Some(facts) if chain_facts.len() == chain.len() => facts.clone(),
        _ => {
            problems.error(Part::Cert(at), format!("{shown} has a certificate that cannot be read"), None);
            return None;
        }
    };
    let key_shown = files.key.display();
    let mut certified = match CertifiedKey::from_der(chain, key, provider) {
        Ok(certified) => certified,
        Err(RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            let text = format!("the key in {key_shown} does not fit the certificate in {shown}");
            let hint = match facts.is_ca {
                true => "the first certificate of the file must be the server's own".to_owned(),
                false => "they must come from one request for a certificate".to_owned(),
            };
            problems.error(Part::Key(at), text, hint);
            return None;
        }
        Err(error) => {
            let text = format!("the key in {key_shown} cannot be used: {error}");
            problems.error(
                Part::Key(at),
                text,
                "RSA from 2048 bits, P-256, P-384, P-521 and Ed25519 can".to_owned(),
            );
            return None;
        }
    };
    let mut stapled_until = None;
    if let (Some(bytes), Some(path)) = (response, &files.ocsp) {
        (certified.ocsp, stapled_until) = staple(&bytes?, path, &facts, Part::Ocsp(at), problems)?;
    }
    Some(Loaded { key: Arc::new(certified), facts, chain_facts, stapled_until })
}

/// The certificates of a file, at least one.
pub(super) fn certificates(
    path: &Path,
    part: Part,
    problems: &mut Problems,
) -> Option<Vec<CertificateDer<'static>>> {
    let bytes = read(path, part, problems)?;
    let sections = sections(path, &bytes, part, problems)?;
    let found: Vec<_> = sections
        .into_iter()
        .filter_map(|(kind, der)| matches!(kind, SectionKind::Certificate).then(|| CertificateDer::from(der)))
        .collect();
    if found.is_empty() {
        problems.error(part, format!("{} has no certificate", path.display()), pem_hint("CERTIFICATE"));
        return None;
    }
    if matches!(part, Part::Cert(_)) && found.len() > CHAIN_MAX {
        let text =
            format!("{} has {} certificates; a chain has at most {CHAIN_MAX}", path.display(), found.len());
        problems.error(part, text, None);
        return None;
    }
    Some(found)
}

fn private_key(path: &Path, part: Part, problems: &mut Problems) -> Option<PrivateKeyDer<'static>> {
    let bytes = read(path, part, problems)?;
    let shown = path.display();
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("ENCRYPTED") {
        let hint = "remove the password: `openssl pkey -in KEY -out PLAIN`, and keep the file readable for Ringway only";
        problems.error(part, format!("the key in {shown} is encrypted"), hint.to_owned());
        return None;
    }
    drop(text);
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes) {
        match section {
            Ok((kind, der)) => keys.extend(<PrivateKeyDer<'static> as PemObject>::from_pem(kind, der)),
            Err(error) => {
                problems.error(part, format!("{shown} is not valid PEM: {}", pem_words(&error)), None);
                return None;
            }
        }
    }
    match keys.len() {
        0 => problems.error(part, format!("{shown} has no private key"), pem_hint("PRIVATE KEY")),
        1 => return keys.pop(),
        several => {
            problems.error(part, format!("{shown} has {several} private keys"), "one is needed".to_owned())
        }
    }
    None
}

/// An OCSP response that is worth sending, and when it ends. The outer `None`: it is an error.
fn staple(
    bytes: &[u8],
    path: &Path,
    facts: &CertificateFacts,
    part: Part,
    problems: &mut Problems,
) -> Option<(Option<Vec<u8>>, Option<i64>)> {
    let shown = path.display();
    let said = match ocsp::read(bytes, &facts.serial) {
        Ok(said) => said,
        Err(OcspError::Unreadable) => {
            let text = format!("{shown} is not a successful OCSP response in DER");
            problems.error(part, text, "`openssl ocsp -respout FILE` writes one".to_owned());
            return None;
        }
        Err(OcspError::OtherCertificate) => {
            // A warning only: a renewed certificate must not wait for its response.
            let text = format!("the OCSP response in {shown} is about another certificate: it is not sent");
            problems.warn(part, text, format!("ask about the one with the serial number {}", facts.serial));
            return Some((None, None));
        }
    };
    let status = match said.status {
        OcspStatus::Good => None,
        OcspStatus::Revoked => Some("has been revoked"),
        OcspStatus::Unknown => Some("is not known to its authority"),
    };
    if let Some(status) = status {
        problems.warn(part, format!("{shown}: the certificate {status}"), None);
    }
    match said.next_update.filter(|end| *end <= unix_now()) {
        Some(end) => {
            let text = format!("the OCSP response in {shown} ended on {}: it is not sent", date(end));
            problems.warn(part, text, "ask the authority for another one".to_owned());
            Some((None, None))
        }
        None => Some((Some(bytes.to_vec()), said.next_update)),
    }
}

/// Roots out of files. A file without any is an error: it never means to trust nobody, or everybody.
pub(super) fn roots(paths: &[PathBuf], problems: &mut Problems) -> RootCertStore {
    let mut store = RootCertStore::empty();
    for path in paths {
        for der in certificates(path, Part::Ca, problems).unwrap_or_default() {
            let facts = CertificateFacts::read(&der);
            if let Err(error) = store.add(der) {
                let text = format!("{} has a certificate that cannot be a root: {error}", path.display());
                problems.error(Part::Ca, text, None);
                continue;
            }
            let Some(facts) = facts else { continue };
            if !facts.is_ca {
                let text = format!("{} is not that of an authority: it verifies only itself", facts.subject);
                problems.warn(Part::Ca, format!("{}: the certificate {text}", path.display()), None);
            }
            expiry(&facts, &path.display(), Part::Ca, problems);
        }
    }
    store
}

/// The roots in some files, or those of the system; the error is for a person.
#[cfg_attr(not(feature = "acme"), expect(dead_code, reason = "only authorities are asked with them"))]
pub(crate) fn roots_for(paths: Option<&[PathBuf]>) -> Result<RootCertStore, String> {
    let mut problems = Problems::default();
    let roots = match paths {
        Some(paths) => roots(paths, &mut problems),
        None => system_roots(&mut problems),
    };
    match problems.0.iter().find(|problem| !problem.warning) {
        Some(problem) => Err(problem.to_string()),
        None => Ok(roots),
    }
}

/// The roots of the system.
pub(super) fn system_roots(problems: &mut Problems) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, _) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let hint = "install the package ca-certificates, or name the authorities: `tls: { ca: [FILE] }`";
        problems.error(
            Part::Ca,
            format!("the system has no certificates of authorities{why}"),
            hint.to_owned(),
        );
    }
    store
}

/// Lists of revoked certificates.
pub(super) fn crls(paths: &[PathBuf], problems: &mut Problems) -> Vec<CertificateRevocationListDer<'static>> {
    let mut lists = Vec::new();
    for path in paths {
        let Some(bytes) = read(path, Part::Crl, problems) else { continue };
        let Some(sections) = sections(path, &bytes, Part::Crl, problems) else { continue };
        let before = lists.len();
        lists.extend(sections.into_iter().filter_map(|(kind, der)| {
            matches!(kind, SectionKind::Crl).then(|| CertificateRevocationListDer::from(der))
        }));
        if lists.len() == before {
            let text = format!("{} has no list of revoked certificates", path.display());
            problems.error(Part::Crl, text, pem_hint("X509 CRL"));
        }
    }
    lists
}

/// What may be wrong with a certificate of a listener: time, order of the chain, names.
pub(super) fn doubts(files: &CertificateFiles, at: usize, loaded: &Loaded, problems: &mut Problems) {
    let shown = files.cert.display();
    expiry(&loaded.facts, &shown, Part::Cert(at), problems);
    for (number, pair) in loaded.chain_facts.windows(2).enumerate() {
        let [lower, upper] = pair else { continue };
        if !lower.is_issued_by(upper) {
            let text =
                format!("{shown}: certificate {} did not issue certificate {}", number + 2, number + 1);
            let hint = "the server's own comes first, then the one that issued it, and so on";
            problems.warn(Part::Cert(at), text, hint.to_owned());
        }
    }
    // An authority that says where its certificate is does not expect clients to have it.
    if let ([alone], Some(url)) = (loaded.chain_facts.as_slice(), &loaded.facts.issuer_url)
        && !alone.self_issued
    {
        let text =
            format!("{shown}: the chain is incomplete, the certificate of {} is missing", alone.issuer);
        problems.warn(Part::Cert(at), text, format!("add it to the file; it is at {url}"));
    }
    if files.hosts.is_empty() && loaded.facts.dns.is_empty() && loaded.facts.ips.is_empty() {
        let text = format!("{shown}: the certificate names no host");
        problems.warn(Part::Cert(at), text, "name them: `hosts: [shop.example.com]`".to_owned());
    }
}

/// Says what time has done to a certificate, or will do soon.
pub(super) fn expiry(
    facts: &CertificateFacts,
    shown: &dyn fmt::Display,
    part: Part,
    problems: &mut Problems,
) {
    /// A renewal that has not happened by now has probably failed.
    const SOON_SECS: i64 = 14 * 86_400;
    let now = unix_now();
    let subject = if facts.subject.is_empty() { "without a subject" } else { &facts.subject };
    if facts.not_after < now {
        let text = format!("{shown}: the certificate {subject} has expired on {}", date(facts.not_after));
        problems.warn(part, text, "peers refuse it: renew it".to_owned());
    } else if facts.not_before > now {
        let text =
            format!("{shown}: the certificate {subject} is not valid before {}", date(facts.not_before));
        problems.warn(part, text, "is the clock of this machine right?".to_owned());
    } else if facts.not_after - now < SOON_SECS && facts.not_after - facts.not_before > 4 * SOON_SECS {
        let text = format!("{shown}: the certificate {subject} expires on {}", date(facts.not_after));
        problems.warn(part, text, "renew it".to_owned());
    }
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `2026-03-01T12:00:00.000Z`, without what is below the second.
pub(crate) fn date(unix_secs: i64) -> String {
    let mut text = String::new();
    crate::access_log::date::push_iso(&mut text, u64::try_from(unix_secs).unwrap_or(0), 0);
    text.replace(".000Z", "Z")
}

/// The bytes of a file; its memory is cleared afterwards, since it may hold a key.
fn read(path: &Path, part: Part, problems: &mut Problems) -> Option<Zeroizing<Vec<u8>>> {
    let shown = path.display();
    let mut bytes = Zeroizing::new(Vec::new());
    let result = File::open(path).and_then(|file| {
        let length = file.metadata()?.len().min(FILE_BYTES_MAX);
        // Reserved at once: a buffer that grows leaves copies behind. One byte more shows that there is too much.
        bytes.reserve_exact(usize::try_from(length).unwrap_or_default() + 1);
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)
    });
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let directory = std::env::current_dir().unwrap_or_default();
            let hint = path
                .is_relative()
                .then(|| format!("paths begin at the working directory, {}", directory.display()));
            problems.error(part, format!("the file {shown} does not exist"), hint);
        }
        Err(error) => problems.error(part, format!("cannot read {shown}: {error}"), None),
        Ok(0) => problems.error(part, format!("the file {shown} is empty"), None),
        Ok(length) if length as u64 > FILE_BYTES_MAX => {
            problems.error(part, format!("the file {shown} is larger than 64MiB"), None);
        }
        Ok(_) => return Some(bytes),
    }
    None
}

fn sections(
    path: &Path,
    bytes: &[u8],
    part: Part,
    problems: &mut Problems,
) -> Option<Vec<(SectionKind, Vec<u8>)>> {
    match <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes).collect::<Result<Vec<_>, _>>() {
        Ok(sections) => Some(sections),
        Err(error) => {
            let text = format!("{} is not valid PEM: {}", path.display(), pem_words(&error));
            problems.error(part, text, None);
            None
        }
    }
}

fn pem_words(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { end_marker } => {
            format!("the line `-----END {}-----` is missing", String::from_utf8_lossy(end_marker).trim())
        }
        PemError::IllegalSectionStart { .. } => "a line that begins with `-----BEGIN` is broken".to_owned(),
        PemError::Base64Decode(_) => "a section is not base64".to_owned(),
        other => other.to_string(),
    }
}

fn pem_hint(label: &str) -> String {
    format!("PEM is expected: a section that begins with `-----BEGIN {label}-----`")
}
