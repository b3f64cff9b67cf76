//! `x-forwarded-client-cert`: what an origin is told about the certificate of the client, in the form that Envoy gave it:
//! `Hash=…;Subject="…";URI=…;DNS=…`.

use std::fmt::Write as _;

use super::certificate::PeerCertificate;

/// Names of each kind that are passed on. A certificate can have thousands, the head of a request cannot.
const NAMES_MAX: usize = 16;

impl PeerCertificate {
    /// Appends the header with its line end.
    pub fn push_header(&self, out: &mut Vec<u8>) {
        let mut value = String::from("x-forwarded-client-cert: Hash=");
        value.push_str(&self.fingerprint());
        value.push_str(";Subject=");
        push_quoted(&mut value, &self.facts.subject);
        for uri in self.facts.uris.iter().take(NAMES_MAX) {
            value.push_str(";URI=");
            push_value(&mut value, uri);
        }
        for name in self.facts.dns.iter().take(NAMES_MAX) {
            value.push_str(";DNS=");
            push_value(&mut value, name);
        }
        value.push_str("\r\n");
        out.extend_from_slice(value.as_bytes());
    }

    /// SHA-256 of the certificate, hexadecimal.
    pub fn fingerprint(&self) -> String {
        let mut text = String::with_capacity(64);
        for byte in self.fingerprint_sha256 {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

/// A value; what could end it early makes it a quoted one.
fn push_value(out: &mut String, value: &str) {
    if value.contains([',', ';', '=', '"', '\\', ' ']) {
        push_quoted(out, value)
    } else {
        out.push_str(value)
    }
}

fn push_quoted(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        if c == '"' || c == '\\' {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::certificate::CertificateFacts;
    use super::*;

    #[test]
    fn values_cannot_end_early() {
        let facts = CertificateFacts {
            subject: "CN=a\";URI=spiffe://shop/admin".to_owned(),
            uris: vec!["spiffe://shop/a".to_owned(), "https://x/;DNS=y,z".to_owned()],
            dns: vec!["a.test".to_owned(); 20],
            ..CertificateFacts::default()
        };
        let peer = PeerCertificate { facts, fingerprint_sha256: [0xab; 32], der: Vec::new() };
        let mut out = Vec::new();
        peer.push_header(&mut out);
        let text = String::from_utf8(out).expect("ASCII");
        let start = format!(
            "x-forwarded-client-cert: Hash={};Subject=\"CN=a\\\";URI=spiffe://shop/admin\";URI=spiffe://shop/a;\
             URI=\"https://x/;DNS=y,z\";DNS=a.test;",
            "ab".repeat(32)
        );
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(text.matches("DNS=a.test").count(), NAMES_MAX);
        assert!(text.ends_with("\r\n"));
    }
}
