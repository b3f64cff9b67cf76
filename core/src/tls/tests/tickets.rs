//! Resumption, and what ends it; files that change.

use std::fs;
use std::sync::Arc;

use rcgen::SerialNumber;
use rustls::{ClientConfig, HandshakeKind};

use super::super::{ClientAuthMode, ClientTls, ServerTls};
use super::authority::{Authority, Directory, files, host, uri};
use super::handshakes::{serve, shake};
use super::{client_auth, client_settings, patterns, server_settings};

/// Whether a handshake with this listener resumed a session.
fn resumes(tls: &ServerTls, client: &Arc<ClientConfig>, name: &str) -> bool {
    let (server, _) = shake(tls.config_for(Some(name)), client.clone(), name).expect(name);
    server.handshake_kind() == Some(HandshakeKind::Resumed)
}

fn client(directory: &Directory, ca: &Authority) -> Arc<ClientConfig> {
    let settings = client_settings(vec![ca.file(directory, "ca.pem")]);
    ClientTls::load(settings, &mut Vec::new()).expect("a cluster").config()
}

#[test]
fn a_ticket_resumes_its_session_until_tickets_are_off_or_another_listener_is_asked() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let pair = files(&directory, "shop", ca.issue(host("shop.test")));
    let tls = serve(server_settings(vec![pair.clone()]));
    let client_config = client(&directory, &ca);
    assert!(!resumes(&tls, &client_config, "shop.test"));
    assert!(resumes(&tls, &client_config, "shop.test"));
    // The same certificate elsewhere: its keys are others.
    let other = serve(server_settings(vec![pair.clone()]));
    assert!(!resumes(&other, &client_config, "shop.test"));
    // A reload that changes nothing about whom is trusted.
    let reloaded = serve(server_settings(vec![pair.clone()]));
    assert!(resumes(&other, &client_config, "shop.test"));
    reloaded.continue_from(&other).expect("the files");
    assert!(resumes(&reloaded, &client_config, "shop.test"));

    let mut off = server_settings(vec![pair]);
    off.tickets.enabled = false;
    let (off, fresh) = (serve(off), client(&directory, &ca));
    assert!(!resumes(&off, &fresh, "shop.test"));
    assert!(!resumes(&off, &fresh, "shop.test"));
}

/// A client whose sessions do not depend on the name, as a hostile one's.
#[derive(Debug)]
struct AnyName(Arc<rustls::client::ClientSessionMemoryCache>);

mod any_name {
    use rustls::NamedGroup;
    use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
    use rustls::pki_types::ServerName;

    fn one() -> ServerName<'static> {
        ServerName::try_from("one.test").expect("a name")
    }

    impl ClientSessionStore for super::AnyName {
        fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
            self.0.set_kx_hint(one(), group);
        }
        fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
            self.0.kx_hint(&one())
        }
        fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
            self.0.set_tls12_session(one(), value);
        }
        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            self.0.tls12_session(&one())
        }
        fn remove_tls12_session(&self, _: &ServerName<'static>) {
            self.0.remove_tls12_session(&one());
        }
        fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
            self.0.insert_tls13_ticket(one(), value);
        }
        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            self.0.take_tls13_ticket(&one())
        }
    }
}

/// CVE-2025-23419: a ticket of the host that anybody may ask for must not open the one for clients with certificates.
#[test]
fn a_ticket_of_one_host_does_not_resume_another() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let path = ca.file(&directory, "ca.pem");
    for versions in [&rustls::version::TLS13, &rustls::version::TLS12] {
        for own_auth in [false, true] {
            let mut private = files(&directory, "private", ca.issue(host("private.test")));
            if own_auth {
                private.client_auth = Some(client_auth(ClientAuthMode::Required, vec![path.clone()]));
            }
            let public = files(&directory, "public", ca.issue(host("public.test")));
            let tls = serve(server_settings(vec![public, private]));
            let sessions = Arc::new(rustls::client::ClientSessionMemoryCache::new(8));
            let mut roots = rustls::RootCertStore::empty();
            let pem = fs::read(&path).expect("the file");
            let der =
                <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(
                    &pem,
                );
            roots.add(der.expect("a certificate")).expect("a root");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[versions]);
            let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
            config.resumption = rustls::client::Resumption::store(Arc::new(AnyName(sessions)));
            let config = Arc::new(config);
            assert!(!resumes(&tls, &config, "public.test"));
            assert!(resumes(&tls, &config, "public.test"), "tickets work at all");
            let result = shake(tls.config_for(Some("private.test")), config.clone(), "private.test");
            match result {
                // Without a certificate the client is not let in, ticket or not.
                Err(_) => assert!(own_auth),
                Ok((server, _)) => {
                    assert!(!own_auth && server.handshake_kind() != Some(HandshakeKind::Resumed));
                }
            }
        }
    }
}

/// rustls does not verify a client again when it resumes: what was trusted then must still be trusted.
#[test]
fn tickets_end_when_authorities_lists_or_identities_change() {
    let (directory, servers, clients) =
        (Directory::new(), Authority::new("servers"), Authority::new("clients"));
    let ca = clients.file(&directory, "clients.pem");
    let crl = directory.write("clients.crl", clients.crl(&[], (4000, 1, 1)));
    let mut settings = server_settings(vec![files(&directory, "server", servers.issue(host("shop.test")))]);
    settings.client_auth = client_auth(ClientAuthMode::Required, vec![ca]);
    settings.client_auth.crl = vec![crl];
    settings.client_auth.identities = patterns(&["spiffe://shop/**"]);
    let tls = serve(settings.clone());
    let mut client = client_settings(vec![servers.file(&directory, "servers.pem")]);
    let pair = clients.issue(|params| {
        uri("spiffe://shop/a")(params);
        params.serial_number = Some(SerialNumber::from_slice(&[7]));
    });
    client.certificate = Some(files(&directory, "client", pair));
    let client = ClientTls::load(client, &mut Vec::new()).expect("a cluster").config();
    assert!(!resumes(&tls, &client, "shop.test"));
    assert!(resumes(&tls, &client, "shop.test"));
    // The certificate of the server is renewed: whom it trusts is the same.
    files(&directory, "server", servers.issue(host("shop.test")));
    tls.reread().expect("the files");
    assert!(resumes(&tls, &client, "shop.test"));
    // Another identity is let in besides.
    settings.client_auth.identities = patterns(&["spiffe://shop/**", "spiffe://other/b"]);
    let reloaded = serve(settings);
    reloaded.continue_from(&tls).expect("the files");
    assert!(!resumes(&reloaded, &client, "shop.test"));
    assert!(resumes(&reloaded, &client, "shop.test"));
    // The client is revoked: its ticket is worth nothing, and neither is its certificate.
    directory.write("clients.crl", clients.crl(&[7], (4000, 1, 1)));
    reloaded.reread().expect("the files");
    assert!(shake(reloaded.config(), client.clone(), "shop.test").is_err());
}

#[test]
fn a_broken_file_keeps_what_was_in_force_and_a_good_one_replaces_it() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let path = ca.file(&directory, "ca.pem");
    let pair = files(&directory, "shop", ca.issue(host("shop.test")));
    let mut settings = server_settings(vec![pair.clone()]);
    settings.client_auth = client_auth(ClientAuthMode::Optional, vec![path.clone()]);
    let tls = serve(settings);
    let client = ClientTls::load(client_settings(vec![path.clone()]), &mut Vec::new()).expect("a cluster");
    let before = tls.certificates();
    for (broken, content) in [(&pair.cert, ""), (&pair.key, "x"), (&path, "-----BEGIN CERTIFICATE-----\n")] {
        let good = fs::read(broken).expect("the file");
        fs::write(broken, content).expect("a file");
        tls.reread().expect_err("a broken file");
        if broken == &path {
            client.reread().expect_err("a broken file");
        }
        assert_eq!(tls.certificates(), before);
        assert!(shake(tls.config(), client.config(), "shop.test").is_ok());
        fs::write(broken, good).expect("a file");
    }
    files(&directory, "shop", ca.issue(host("shop.test")));
    let connection = shake(tls.config(), client.config(), "shop.test").expect("a handshake");
    tls.reread().expect("good files");
    assert_ne!(tls.certificates(), before);
    assert!(shake(tls.config(), client.config(), "shop.test").is_ok());
    // Connections of before go on.
    assert!(!connection.0.is_handshaking());
}
