//! Certificates for tests, made when they run: authorities, what they issue, and what they revoke.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use crate::temp::TempDir;

/// Serial numbers, each once.
static SERIAL: AtomicU64 = AtomicU64::new(1);

/// An authority that issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
    /// The certificates between it and the root, its own first; empty for a root.
    chain: String,
}

/// A certificate with its key and chain, as files have them.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate and those between it and the root, in PEM.
    pub cert: String,
    pub key: String,
    pub der: Vec<u8>,
    serial: Vec<u8>,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Wanted {
    names: Vec<SanType>,
    /// Content of the extension for subject alternative names, in place of the names.
    raw_names: Option<Vec<u8>>,
    common_name: String,
    not_before: i32,
    not_after: i32,
    usages: Vec<ExtendedKeyUsagePurpose>,
    rsa: bool,
}

impl Wanted {
    /// For a server with these DNS names or addresses.
    pub fn server(names: &[&str]) -> Wanted {
        let mut wanted = Wanted::nobody();
        wanted.names = names.iter().map(|name| subject(name)).collect();
        wanted.usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        wanted
    }

    /// For a client, by its common name.
    pub fn client(common_name: &str) -> Wanted {
        let mut wanted = Wanted::nobody();
        wanted.common_name = common_name.to_owned();
        wanted.usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        wanted
    }

    /// For a workload, which is client and server, by its SPIFFE ID.
    pub fn workload(id: &str) -> Wanted {
        Wanted::nobody().uri(id)
    }

    fn nobody() -> Wanted {
        Wanted {
            names: Vec::new(),
            raw_names: None,
            common_name: "a certificate of tests".to_owned(),
            not_before: 2000,
            not_after: 2999,
            usages: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            rsa: false,
        }
    }

    pub fn uri(mut self, uri: &str) -> Wanted {
        self.names.push(SanType::URI(uri.try_into().expect("ASCII")));
        self
    }

    pub fn dns(mut self, name: &str) -> Wanted {
        self.names.push(subject(name));
        self
    }

    pub fn email(mut self, address: &str) -> Wanted {
        self.names.push(SanType::Rfc822Name(address.try_into().expect("ASCII")));
        self
    }

    /// The GeneralNames themselves, each with its tag: 1 is e-mail, 2 DNS, 6 URI.
    pub fn raw_names(mut self, names: &[(u8, &[u8])]) -> Wanted {
        let each = names.iter().flat_map(|(kind, name)| der(0x80 | kind, name));
        self.raw_names = Some(der(0x30, &each.collect::<Vec<u8>>()));
        self
    }

    pub fn common_name(mut self, name: &str) -> Wanted {
        self.common_name = name.to_owned();
        self
    }

    pub fn expired(mut self) -> Wanted {
        self.not_after = 2001;
        self
    }

    pub fn not_yet_valid(mut self) -> Wanted {
        self.not_before = 2998;
        self
    }

    pub fn rsa(mut self) -> Wanted {
        self.rsa = true;
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(self.not_before, 1, 1);
        params.not_after = date_time_ymd(self.not_after, 1, 1);
        params.distinguished_name.push(DnType::CommonName, self.common_name.clone());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from(SERIAL.fetch_add(1, Relaxed)));
        match &self.raw_names {
            None => params.subject_alt_names.clone_from(&self.names),
            Some(names) => {
                let oid = [2, 5, 29, 17];
                params.custom_extensions.push(CustomExtension::from_oid_content(&oid, names.clone()));
            }
        }
        params
    }
}

impl Authority {
    /// A root.
    pub fn new(name: &str) -> Authority {
        Authority::constrained(name, None)
    }

    /// A root that may issue only certificates within these constraints.
    pub fn constrained(name: &str, constraints: Option<NameConstraints>) -> Authority {
        let (params, key) = authority(name, constraints);
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { issuer: Issuer::new(params, key), certificate, chain: String::new() }
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str) -> Authority {
        let (params, key) = authority(name, None);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = certificate.pem() + &self.chain;
        Authority { issuer: Issuer::new(params, key), certificate, chain }
    }

    pub fn issue(&self, wanted: &Wanted) -> Issued {
        let key = if wanted.rsa {
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        } else {
            KeyPair::generate()
        };
        let (key, params) = (key.expect("a key"), wanted.params());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Issued {
            cert: certificate.pem() + &self.chain,
            key: key.serialize_pem(),
            der: certificate.der().to_vec(),
            serial: params.serial_number.map(|number| number.to_bytes()).unwrap_or_default(),
        }
    }

    /// A list of what this authority has revoked.
    pub fn revoking(&self, revoked: &[&Issued]) -> String {
        let revoked = revoked.iter().map(|issued| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&issued.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2999, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).and_then(|list| list.pem()).expect("a list")
    }

    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// Writes its certificate for whoever trusts it.
    pub fn write(&self, directory: &TempDir, name: &str) -> PathBuf {
        directory.write(&format!("{name}.pem"), self.pem())
    }
}

impl Issued {
    /// The serial number, hexadecimal with two digits for each byte.
    pub fn serial_hex(&self) -> String {
        let leading = self.serial.iter().take_while(|byte| **byte == 0).count();
        self.serial[leading..].iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Writes `NAME.pem` and `NAME.key`.
    pub fn write(&self, directory: &TempDir, name: &str) -> (PathBuf, PathBuf) {
        (
            directory.write(&format!("{name}.pem"), &self.cert),
            directory.write(&format!("{name}.key"), &self.key),
        )
    }

    /// The same as an item of a listener's `tls.certificates`.
    pub fn item(&self, directory: &TempDir, name: &str) -> String {
        let (cert, key) = self.write(directory, name);
        format!("{{ cert: {}, key: {} }}", cert.display(), key.display())
    }
}

fn authority(name: &str, constraints: Option<NameConstraints>) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = constraints;
    params.serial_number = Some(SerialNumber::from(SERIAL.fetch_add(1, Relaxed)));
    (params, KeyPair::generate().expect("a key"))
}

fn subject(name: &str) -> SanType {
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().expect("ASCII")),
    }
}

/// One element in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    match length {
        0..128 => bytes.push(length as u8),
        128..256 => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}
