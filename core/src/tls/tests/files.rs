//! What is wrong with files is said in plain words, and nothing of it is taken.

use rcgen::{CustomExtension, IsCa, KeyPair, SanType, date_time_ymd};

use super::super::ocsp::tests::{response, single};
use super::super::{CertificateFacts, ClientAuthMode, ServerTls, TlsProblem};
use super::authority::{Authority, Directory, files, host, short, uri};
use super::{client_auth, server_settings};

/// What loading comes to: errors, then warnings.
fn problems(directory: &Directory, name: &str, pair: (String, String)) -> Vec<String> {
    let settings = server_settings(vec![files(directory, name, pair)]);
    let mut warnings = Vec::new();
    let found = match ServerTls::load(settings, &mut warnings) {
        Ok(_) => warnings,
        Err(problems) => problems,
    };
    said(&found, directory)
}

fn said(found: &[TlsProblem], directory: &Directory) -> Vec<String> {
    let kind = |problem: &TlsProblem| if problem.warning { "warning" } else { "error" };
    found.iter().map(|problem| format!("{}: {}", kind(problem), short(&problem.text, directory))).collect()
}

#[test]
fn a_pair_that_cannot_be_used_is_an_error_that_says_why() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let (cert, key) = ca.issue(host("shop.test"));
    let (_, other) = ca.issue(host("shop.test"));
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let cut = cert.lines().take(4).collect::<Vec<_>>().join("\n");
    for (name, cert, key, want) in [
        ("no-cert", "", &*key, "error: the file no-cert.pem is empty"),
        ("no-key", &*cert, "", "error: the file no-key.key is empty"),
        ("text", "hello\n", &*key, "error: text.pem has no certificate"),
        ("swapped", &*key, &*cert, "error: swapped.pem has no certificate"),
        ("other", &*cert, &*other, "error: the key in other.key does not fit the certificate in other.pem"),
        ("secret", &*cert, &*encrypted, "error: the key in secret.key is encrypted"),
        (
            "cut",
            &*cut,
            &*key,
            "error: cut.pem is not valid PEM: the line `-----END CERTIFICATE-----` is missing",
        ),
        ("two", &*cert, &*format!("{key}{key}"), "error: two.key has 2 private keys"),
    ] {
        let found = problems(&directory, name, (cert.to_owned(), key.to_owned()));
        assert_eq!(found.first().map(String::as_str), Some(want), "{name}: {found:?}");
    }
    let mut missing = files(&directory, "gone", (cert, key));
    missing.cert = directory.path("not-there.pem");
    let errors = ServerTls::load(server_settings(vec![missing]), &mut Vec::new()).expect_err("no file");
    assert_eq!(short(&errors[0].text, &directory), "the file not-there.pem does not exist");
}

#[test]
fn time_order_and_missing_authorities_are_warned_of() {
    let (directory, ca, other) = (Directory::new(), Authority::new("root"), Authority::new("other"));
    let expired = ca.issue(|params| {
        host("shop.test")(params);
        params.not_after = date_time_ymd(2021, 3, 4);
    });
    let early = ca.issue(|params| {
        host("shop.test")(params);
        params.not_before = date_time_ymd(2095, 1, 2);
    });
    // authorityInfoAccess with one caIssuers (RFC 5280, 4.2.2.1): http://ca.test/i
    let access = b"\x30\x1d\x30\x1b\x06\x08\x2b\x06\x01\x05\x05\x07\x30\x02\x86\x0fhttp://ca.tst/i";
    let incomplete = ca.issue(|params| {
        host("shop.test")(params);
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], access.to_vec());
        extension.set_criticality(false);
        params.custom_extensions = vec![extension];
    });
    let (leaf, key) = ca.issue(host("shop.test"));
    let (unrelated, _) = other.issue(|params| params.is_ca = IsCa::NoCa);
    let order = (format!("{leaf}{unrelated}"), key);
    let nameless = ca.issue(|_| {});
    for (name, pair, want) in [
        (
            "expired",
            expired,
            "warning: expired.pem: the certificate CN=leaf has expired on 2021-03-04T00:00:00Z",
        ),
        (
            "early",
            early,
            "warning: early.pem: the certificate CN=leaf is not valid before 2095-01-02T00:00:00Z",
        ),
        (
            "chain",
            incomplete,
            "warning: chain.pem: the chain is incomplete, the certificate of CN=root is missing",
        ),
        ("order", order, "warning: order.pem: certificate 2 did not issue certificate 1"),
        ("nameless", nameless, "warning: nameless.pem: the certificate names no host"),
    ] {
        assert_eq!(problems(&directory, name, pair), [want], "{name}");
    }
}

#[test]
fn authorities_that_cannot_be_read_trust_nobody_and_say_so() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let good = ca.file(&directory, "ca.pem");
    let empty = directory.write("empty.pem", "");
    let text = directory.write("text.pem", "nothing here\n");
    for (path, want) in [
        (directory.path("gone.pem"), "the file gone.pem does not exist"),
        (empty, "the file empty.pem is empty"),
        (text, "text.pem has no certificate"),
    ] {
        let mut settings = server_settings(vec![files(&directory, "leaf", ca.issue(host("a.test")))]);
        // A good file beside the broken one does not make up for it.
        settings.client_auth = client_auth(ClientAuthMode::Required, vec![good.clone(), path]);
        let errors = ServerTls::load(settings, &mut Vec::new()).expect_err(want);
        assert_eq!(short(&errors[0].text, &directory), want);
    }
    let mut settings = server_settings(vec![files(&directory, "leaf", ca.issue(host("a.test")))]);
    settings.client_auth = client_auth(ClientAuthMode::Required, vec![good.clone()]);
    settings.client_auth.crl = vec![good];
    let errors = ServerTls::load(settings, &mut Vec::new()).expect_err("not a list");
    assert_eq!(short(&errors[0].text, &directory), "ca.pem has no list of revoked certificates");
}

fn facts(pem: &str) -> CertificateFacts {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    CertificateFacts::read(&der).expect("facts")
}

#[test]
fn names_of_another_kind_or_with_odd_bytes_are_no_hosts() {
    let ca = Authority::new("root");
    let (pem, _) = ca.issue(|params| {
        params.subject_alt_names = vec![
            SanType::DnsName("Good.test".try_into().expect("ASCII")),
            SanType::DnsName("good.test\0.evil.test".try_into().expect("ASCII")),
            SanType::Rfc822Name("mail.test".try_into().expect("ASCII")),
            SanType::URI("https://uri.test".try_into().expect("ASCII")),
            SanType::IpAddress([192, 0, 2, 1].into()),
        ];
    });
    let facts = facts(&pem);
    assert_eq!(facts.dns, ["good.test"]);
    assert_eq!(facts.ips, [std::net::IpAddr::from([192, 0, 2, 1])]);
    assert_eq!((facts.uris.len(), facts.spiffe_id), (1, None));
}

#[test]
fn a_spiffe_id_is_the_only_uri() {
    let ca = Authority::new("root");
    let id = "spiffe://shop/ns/prod/sa/payments";
    let two = |params: &mut rcgen::CertificateParams| {
        uri(id)(params);
        params.subject_alt_names.push(SanType::URI("spiffe://shop/other".try_into().expect("ASCII")));
    };
    let odd = |params: &mut rcgen::CertificateParams| {
        uri(id)(params);
        params.subject_alt_names.push(SanType::URI("\u{1}".try_into().expect("ASCII")));
    };
    assert_eq!(facts(&ca.issue(uri(id)).0).spiffe_id.as_deref(), Some(id));
    assert_eq!(facts(&ca.issue(two).0).spiffe_id, None);
    assert_eq!(facts(&ca.issue(odd).0).spiffe_id, None);
    assert_eq!(facts(&ca.issue(uri("spiffe://shop/a/../b")).0).spiffe_id, None);
    assert_eq!(facts(&ca.issue(host("shop.test")).0).spiffe_id, None);
}

#[test]
fn a_subject_stays_one_line() {
    let ca = Authority::new("root");
    let key = KeyPair::generate().expect("a key");
    let (pem, _) = ca.issue_for(&key, |params| {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "a\r\nx: \"y\"\u{1b}");
    });
    let subject = facts(&pem).subject;
    assert!(subject.bytes().all(|c| c == b' ' || c.is_ascii_graphic()), "{subject}");
}

#[test]
fn an_ocsp_response_that_no_client_would_take_is_not_sent() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let serial = |params: &mut rcgen::CertificateParams| {
        host("shop.test")(params);
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x2a]));
    };
    let good = |serial: u8, until| response(&[single(&[serial], 0, until)], false);
    for (name, bytes, want, lapses) in [
        ("good", good(0x2a, Some("29990101000000Z")), None, true),
        ("endless", good(0x2a, None), None, false),
        (
            "old",
            good(0x2a, Some("20200101000000Z")),
            Some("warning: the OCSP response in old.ocsp ended on 2020-01-01"),
            false,
        ),
        (
            "other",
            good(7, None),
            Some("warning: the OCSP response in other.ocsp is about another certificate: it is not sent"),
            false,
        ),
        (
            "revoked",
            response(&[single(&[0x2a], 1, None)], true),
            Some("warning: revoked.ocsp: the certificate has been revoked"),
            false,
        ),
        ("text", b"hello".to_vec(), Some("error: text.ocsp is not a successful OCSP response in DER"), false),
    ] {
        let mut of = files(&directory, name, ca.issue(serial));
        of.ocsp = Some(directory.write(&format!("{name}.ocsp"), bytes));
        let mut found = Vec::new();
        let loaded =
            ServerTls::load(server_settings(vec![of]), &mut found).map_err(|errors| found.extend(errors));
        let found = said(&found, &directory);
        let told = found.iter().any(|line| want.is_some_and(|want| line.starts_with(want)));
        assert_eq!((told, found.is_empty()), (want.is_some(), want.is_none()), "{name}: {found:?}");
        assert_eq!(loaded.is_ok_and(|tls| tls.has_lapsed(i64::MAX)), lapses, "{name}");
    }
}
