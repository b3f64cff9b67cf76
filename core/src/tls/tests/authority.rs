//! An authority for tests, and the files of what it issues.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

use super::super::CertificateFiles;

/// A directory that goes away with its test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ringway-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An authority with its own key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// The certificate of the authority as a file.
    pub(super) fn file(&self, directory: &Directory, name: &str) -> PathBuf {
        directory.write(name, &self.pem)
    }

    /// Issues a certificate as `change` makes it, with an ECDSA key: the texts of certificate and key.
    pub(super) fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        self.issue_for(&KeyPair::generate().expect("a key"), change)
    }

    pub(super) fn issue_for(
        &self,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    /// A list with these serial numbers revoked, until a day.
    pub(super) fn crl(&self, serials: &[u8], until: (i32, u8, u8)) -> String {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[*serial]),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(until.0, until.1, until.2),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list").pem().expect("PEM")
    }
}

/// Names of a host.
pub(super) fn host(name: &str) -> impl FnOnce(&mut CertificateParams) {
    let name = SanType::DnsName(name.try_into().expect("a name"));
    move |params| params.subject_alt_names = vec![name]
}

/// One URI.
pub(super) fn uri(text: &str) -> impl FnOnce(&mut CertificateParams) {
    let uri = SanType::URI(text.try_into().expect("ASCII"));
    move |params| params.subject_alt_names = vec![uri]
}

/// Certificate and key as files.
pub(super) fn files(directory: &Directory, name: &str, (cert, key): (String, String)) -> CertificateFiles {
    CertificateFiles {
        cert: directory.write(&format!("{name}.pem"), cert),
        key: directory.write(&format!("{name}.key"), key),
        ocsp: None,
        hosts: Vec::new(),
        client_auth: None,
    }
}

/// The name of a file without its directory.
pub(super) fn short(text: &str, directory: &Directory) -> String {
    text.replace(&format!("{}/", Path::new(&directory.0).display()), "")
}
