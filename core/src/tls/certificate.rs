//! The facts of one certificate: who it is for, until when, who issued it.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest;
use ringway_policies::spiffe::SpiffeId;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::FromDer;

/// What a certificate says, read once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The subject in the order of the certificate, such as `C=NZ, O=Shop, CN=checkout`; control characters escaped.
    pub subject: String,
    pub issuer: String,
    /// DNS names among the subject's alternative names, lower case. What is not ASCII, or empty, is left out.
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// URIs among the subject's alternative names.
    pub uris: Vec<String>,
    /// The one URI, where it is a SPIFFE ID. An X.509-SVID has exactly one URI (X509-SVID, 2).
    pub spiffe_id: Option<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    /// Hexadecimal.
    pub serial: String,
    pub is_ca: bool,
    /// Whether subject and issuer are the same.
    pub self_issued: bool,
    /// Where the issuer's certificate can be had (RFC 5280, 4.2.2.1): an authority with intermediates says so.
    pub issuer_url: Option<String>,
    /// DER of the names, to compare.
    pub(crate) subject_der: Vec<u8>,
    pub(crate) issuer_der: Vec<u8>,
}

/// The certificate that a peer has shown and that was verified: parsed once in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    pub facts: CertificateFacts,
    /// SHA-256 of `der`.
    pub fingerprint_sha256: [u8; 32],
    pub der: Vec<u8>,
}

impl CertificateFacts {
    /// Reads a certificate. `None` where it is not one, or has anything behind it.
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let mut facts = CertificateFacts {
            subject: printable(&certificate.subject().to_string()),
            issuer: printable(&certificate.issuer().to_string()),
            dns: Vec::new(),
            ips: Vec::new(),
            uris: Vec::new(),
            spiffe_id: None,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            serial: certificate.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
            is_ca: certificate.is_ca(),
            self_issued: certificate.subject().as_raw() == certificate.issuer().as_raw(),
            issuer_url: issuer_url(&certificate),
            subject_der: certificate.subject().as_raw().to_vec(),
            issuer_der: certificate.issuer().as_raw().to_vec(),
        };
        let names = certificate.subject_alternative_name().ok()?;
        let mut uris_found = 0;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            match name {
                GeneralName::DNSName(name) if is_host(name) => facts.dns.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => facts.ips.extend(ip(bytes)),
                GeneralName::URI(uri) => {
                    uris_found += 1;
                    if uri.bytes().all(|c| c.is_ascii_graphic()) {
                        facts.uris.push((*uri).to_owned());
                    }
                }
                // A URI that is not even text counts: a certificate with it has no single identity.
                GeneralName::Invalid(tag, _) if tag.0 == 6 => uris_found += 1,
                _ => {}
            }
        }
        if let ([uri], 1) = (facts.uris.as_slice(), uris_found) {
            facts.spiffe_id = SpiffeId::parse(uri).map(|_| uri.clone());
        }
        Some(facts)
    }

    /// Whether the other one may have issued this one, going by the names.
    pub fn is_issued_by(&self, other: &CertificateFacts) -> bool {
        self.issuer_der == other.subject_der
    }
}

impl PeerCertificate {
    /// Whether the certificate is past its validity. A handshake that resumes does not look.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        u64::try_from(self.facts.not_after).unwrap_or(0) < now
    }

    /// Reads the first certificate of a peer's chain.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        Some(PeerCertificate {
            facts: CertificateFacts::read(der)?,
            fingerprint_sha256: sha256(der),
            der: der.to_vec(),
        })
    }
}

/// SHA-256 of some bytes.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = digest::digest(&digest::SHA256, bytes);
    out.copy_from_slice(digest.as_ref());
    out
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// A DNS name as it can be compared with one of a request; `good.example\0.evil.example` is none.
fn is_host(name: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-._*".contains(&c);
    (1..=253).contains(&name.len()) && name.bytes().all(allowed)
}

fn issuer_url(certificate: &X509Certificate<'_>) -> Option<String> {
    certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityInfoAccess(access) => {
            access.accessdescs.iter().find_map(|at| match &at.access_location {
                GeneralName::URI(uri) if at.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS => {
                    Some(printable(uri))
                }
                _ => None,
            })
        }
        _ => None,
    })
}

/// A text of a certificate as it may stand in a log line or a header: one line, ASCII.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == ' ' || c.is_ascii_graphic() { out.push(c) } else { out.extend(c.escape_default()) }
    }
    out
}
