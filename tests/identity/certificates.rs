//! Authorities and certificates, made when a test runs.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// An authority with a key of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate, with its key.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) certificate_der: Vec<u8>,
    pub(crate) key_der: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these names, which begin with `spiffe://` or are hosts or addresses.
    pub(crate) fn issue(&self, names: &[&str], lives: Duration) -> Made {
        let mut params = CertificateParams::new([]).expect("no names");
        params.subject_alt_names = names
            .iter()
            .map(|name| match (name.starts_with("spiffe:"), name.parse()) {
                (true, _) => SanType::URI((*name).to_owned().try_into().expect("ASCII")),
                (false, Ok(ip)) => SanType::IpAddress(ip),
                (false, Err(_)) => SanType::DnsName((*name).to_owned().try_into().expect("ASCII")),
            })
            .collect();
        let now = OffsetDateTime::now_utc();
        (params.not_before, params.not_after) = (now - Duration::minutes(1), now + lives);
        // X.509-SVID, 4.3: it must be there.
        (params.is_ca, params.key_usages) = (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Made {
            certificate_der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}
