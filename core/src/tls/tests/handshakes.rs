//! Whom a listener lets in and whom a cluster believes.

use std::sync::Arc;

use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, NamedGroup, ServerConfig, ServerConnection};

use super::super::{
    CertificateFacts, CertificateFiles, ClientAuthMode, ClientTls, ServerTls, ServerTlsConfig,
    UpstreamVerify, VerifyFailure,
};
use super::authority::{Authority, Directory, files, host, uri};
use super::{client_auth, client_settings, patterns, server_settings};

pub(super) fn serve(settings: ServerTlsConfig) -> ServerTls {
    ServerTls::load(settings, &mut Vec::new()).expect("a listener")
}

/// Makes a handshake in memory, with what is sent right after it; the error is that of the side that refused.
pub(super) fn shake(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: &str,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(client, name).expect("a client");
    let mut server = ServerConnection::new(server).expect("a server");
    let mut bytes = Vec::new();
    while client.is_handshaking() || server.is_handshaking() || client.wants_write() || server.wants_write() {
        bytes.clear();
        client.write_tls(&mut bytes).expect("to memory");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("from memory");
            server.process_new_packets()?;
        }
        bytes.clear();
        server.write_tls(&mut bytes).expect("to memory");
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("from memory");
            client.process_new_packets()?;
        }
    }
    Ok((server, client))
}

fn shown(connection: &ClientConnection) -> CertificateFacts {
    let chain = connection.peer_certificates().expect("certificates");
    CertificateFacts::read(&chain[0]).expect("facts")
}

#[test]
fn the_certificate_is_that_of_the_host_exact_before_wildcard_before_the_first() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let roots = vec![ca.file(&directory, "ca.pem")];
    let all = ["first.test", "*.shop.test", "www.shop.test"];
    let pairs = all.map(|name| files(&directory, &name.replace('*', "any"), ca.issue(host(name))));
    let server = serve(server_settings(pairs.to_vec()));
    let mut settings = client_settings(roots);
    settings.verify = UpstreamVerify::NoName;
    let client = ClientTls::load(settings, &mut Vec::new()).expect("a cluster");
    for (name, want) in [
        ("first.test", "first.test"),
        ("www.shop.test", "www.shop.test"),
        ("WWW.Shop.Test", "www.shop.test"),
        ("api.shop.test", "*.shop.test"),
        ("a.b.shop.test", "first.test"),
        ("shop.test", "first.test"),
        ("192.0.2.1", "first.test"),
    ] {
        let (_, client) = shake(server.config_for(Some(name)), client.config(), name).expect(name);
        assert_eq!(shown(&client).dns, [want], "{name}");
    }
    assert!(server.covers("api.shop.test") && !server.covers("other.test"));

    let mut strict = server_settings(pairs.to_vec());
    strict.strict_sni = true;
    let strict = serve(strict);
    assert!(shake(strict.config(), client.config(), "api.shop.test").is_ok());
    assert!(shake(strict.config(), client.config(), "other.test").is_err());
}

#[test]
fn rsa_and_ecdsa_stand_side_by_side_and_the_group_is_post_quantum() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let roots = vec![ca.file(&directory, "ca.pem")];
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let ecdsa = files(&directory, "ecdsa", ca.issue(host("shop.test")));
    let rsa = files(&directory, "rsa", ca.issue_for(&rsa, host("shop.test")));
    let server = serve(server_settings(vec![ecdsa, rsa]));
    let mut settings = client_settings(roots);
    let modern = ClientTls::load(settings.clone(), &mut Vec::new()).expect("a cluster");
    let (_, connection) = shake(server.config(), modern.config(), "shop.test").expect("a handshake");
    assert_eq!(
        connection.negotiated_key_exchange_group().map(|group| group.name()),
        Some(NamedGroup::X25519MLKEM768)
    );
    assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    let bytes = |connection: &ClientConnection| connection.peer_certificates().expect("a chain")[0].len();
    let of_ecdsa = bytes(&connection);
    // A client that knows RSA only, as its suites of TLS 1.2 say.
    settings.cipher_suites = vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()];
    let old = ClientTls::load(settings, &mut Vec::new());
    // The versions are from 1.2 on, and no suite of 1.3 is left: rustls takes what has suites.
    let old = old.expect("a cluster");
    let (_, connection) = shake(server.config(), old.config(), "shop.test").expect("a handshake");
    assert!(bytes(&connection) > of_ecdsa + 100, "the RSA certificate is the longer one");
}

/// A listener that asks for certificates of clients, and what came of one.
fn client_cert(
    directory: &Directory,
    change: impl FnOnce(&mut ServerTlsConfig),
    certificate: Option<CertificateFiles>,
) -> Result<bool, rustls::Error> {
    let ca = Authority::new("servers");
    let roots = vec![ca.file(directory, "servers.pem")];
    let mut settings = server_settings(vec![files(directory, "server", ca.issue(host("shop.test")))]);
    change(&mut settings);
    let mut client = client_settings(roots);
    client.certificate = certificate;
    let client = ClientTls::load(client, &mut Vec::new()).expect("a cluster");
    let (server, _) = shake(serve(settings).config(), client.config(), "shop.test")?;
    Ok(server.peer_certificates().is_some())
}

#[test]
fn client_certificates_are_none_optional_or_required() {
    let (directory, ca, unknown) = (Directory::new(), Authority::new("clients"), Authority::new("unknown"));
    let path = ca.file(&directory, "clients.pem");
    let good = files(&directory, "good", ca.issue(host("client.test")));
    let bad = files(&directory, "bad", unknown.issue(host("client.test")));
    let expired = ca.issue(|params| params.not_after = date_time_ymd(2021, 1, 1));
    let expired = files(&directory, "expired", expired);
    for (mode, certificate, want) in [
        (ClientAuthMode::None, Some(&good), Some(false)),
        (ClientAuthMode::Optional, None, Some(false)),
        (ClientAuthMode::Optional, Some(&good), Some(true)),
        (ClientAuthMode::Optional, Some(&bad), None),
        (ClientAuthMode::Required, None, None),
        (ClientAuthMode::Required, Some(&good), Some(true)),
        (ClientAuthMode::Required, Some(&bad), None),
        (ClientAuthMode::Required, Some(&expired), None),
    ] {
        let auth = client_auth(mode, vec![path.clone()]);
        let result = client_cert(&directory, |settings| settings.client_auth = auth, certificate.cloned());
        assert_eq!(result.as_ref().ok().copied(), want, "{mode:?} {result:?}");
    }
}

#[test]
fn a_revoked_certificate_and_an_outdated_list_are_refused() {
    let (directory, ca) = (Directory::new(), Authority::new("clients"));
    let path = ca.file(&directory, "clients.pem");
    let client = |serial: u8| {
        let pair = ca.issue(|params| params.serial_number = Some(SerialNumber::from_slice(&[serial])));
        files(&directory, &format!("client-{serial}"), pair)
    };
    let current = directory.write("current.crl", ca.crl(&[7], (4000, 1, 1)));
    let outdated = directory.write("outdated.crl", ca.crl(&[7], (2021, 1, 1)));
    for (list, serial, want) in [(&current, 8, true), (&current, 7, false), (&outdated, 8, false)] {
        let mut auth = client_auth(ClientAuthMode::Required, vec![path.clone()]);
        auth.crl = vec![list.clone()];
        let result = client_cert(&directory, |settings| settings.client_auth = auth, Some(client(serial)));
        assert_eq!(result.is_ok(), want, "{} {serial} {result:?}", list.display());
    }
}

#[test]
fn peers_are_verified_by_spiffe_id_in_both_directions() {
    let (directory, ca) = (Directory::new(), Authority::new("mesh"));
    let path = ca.file(&directory, "mesh.pem");
    for (pattern, id, want) in [
        ("spiffe://shop/sa/payments", "spiffe://shop/sa/payments", true),
        ("spiffe://shop/sa/payments", "spiffe://shop/sa/other", false),
        ("spiffe://shop/sa/*", "spiffe://shop/sa/other", true),
        ("spiffe://shop/**", "spiffe://other/sa/payments", false),
        ("spiffe://shop/**", "https://shop/sa/payments", false),
    ] {
        let peer = files(&directory, "peer", ca.issue(uri(id)));
        // As a client of a listener.
        let mut auth = client_auth(ClientAuthMode::Required, vec![path.clone()]);
        auth.identities = patterns(&[pattern]);
        let result = client_cert(&directory, |settings| settings.client_auth = auth, Some(peer.clone()));
        assert_eq!(result.is_ok(), want, "client {pattern} {id}");
        // As an endpoint of a cluster: its certificate names no host.
        let server = serve(server_settings(vec![peer]));
        let mut settings = client_settings(vec![path.clone()]);
        settings.identities = patterns(&["spiffe://nobody/x", pattern]);
        let client = ClientTls::load(settings, &mut Vec::new()).expect("a cluster");
        let result = shake(server.config(), client.config(), "10.0.0.1").map(|_| ());
        assert_eq!(result.is_ok(), want, "endpoint {pattern} {id}");
        let failure = result.err().and_then(|error| VerifyFailure::of(&error));
        assert_eq!(failure, (!want).then_some(VerifyFailure::Identity));
    }
}

#[test]
fn an_identity_does_not_make_up_for_a_chain_to_nowhere() {
    let (directory, ca, unknown) = (Directory::new(), Authority::new("mesh"), Authority::new("mesh"));
    let id = "spiffe://shop/sa/payments";
    let server = serve(server_settings(vec![files(&directory, "peer", unknown.issue(uri(id)))]));
    for verify in [UpstreamVerify::Full, UpstreamVerify::NoName] {
        let mut settings = client_settings(vec![ca.file(&directory, "mesh.pem")]);
        settings.verify = verify;
        settings.identities = if verify == UpstreamVerify::Full { patterns(&[id]) } else { Vec::new() };
        let client = ClientTls::load(settings, &mut Vec::new()).expect("a cluster");
        let error =
            shake(server.config(), client.config(), "shop.test").map(|_| ()).expect_err("not trusted");
        assert_eq!(VerifyFailure::of(&error), Some(VerifyFailure::Untrusted));
    }
}

#[test]
fn endpoints_are_verified_as_far_as_the_setting_says() {
    let (directory, ca, unknown) = (Directory::new(), Authority::new("root"), Authority::new("unknown"));
    let path = ca.file(&directory, "ca.pem");
    let good = || ca.issue(host("shop.test"));
    let expired = || {
        ca.issue(|params| {
            host("shop.test")(params);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    };
    let nul = || {
        ca.issue(|params| {
            let name = rcgen::SanType::DnsName("shop.test\0.evil.test".try_into().expect("ASCII"));
            params.subject_alt_names = vec![name];
        })
    };
    let mail = || {
        ca.issue(|params| {
            let name = rcgen::SanType::Rfc822Name("shop.test".try_into().expect("ASCII"));
            params.subject_alt_names = vec![name];
        })
    };
    use UpstreamVerify::{Full, NoName, None as Nothing};
    use VerifyFailure::{Name, Untrusted};
    for (what, pair, verify, want) in [
        ("good", good(), Full, None),
        ("wrong name", ca.issue(host("other.test")), Full, Some(Name)),
        ("wrong name", ca.issue(host("other.test")), NoName, None),
        ("unknown", unknown.issue(host("shop.test")), Full, Some(Untrusted)),
        ("unknown", unknown.issue(host("shop.test")), NoName, Some(Untrusted)),
        ("unknown", unknown.issue(host("shop.test")), Nothing, None),
        ("expired", expired(), Full, Some(Untrusted)),
        ("expired", expired(), NoName, Some(Untrusted)),
        ("NUL in the name", nul(), Full, Some(Name)),
        ("a mail address", mail(), Full, Some(Name)),
    ] {
        let server = serve(server_settings(vec![files(&directory, "peer", pair)]));
        let mut settings = client_settings(vec![path.clone()]);
        settings.verify = verify;
        let client = ClientTls::load(settings, &mut Vec::new()).expect("a cluster");
        let result = shake(server.config(), client.config(), "shop.test").map(|_| ());
        let failure = result.err().map(|error| VerifyFailure::of(&error).expect("about the certificate"));
        assert_eq!(failure, want, "{what} {verify:?}");
    }
}

#[test]
fn a_request_is_misdirected_where_its_host_is_for_another_certificate_or_other_clients() {
    let (directory, ca) = (Directory::new(), Authority::new("root"));
    let path = ca.file(&directory, "ca.pem");
    let both = ca.issue(|params| {
        params.subject_alt_names = ["a.test", "b.test"]
            .map(|name| rcgen::SanType::DnsName(name.try_into().expect("ASCII")))
            .to_vec();
    });
    let mut private = files(&directory, "private", ca.issue(host("private.test")));
    private.client_auth = Some(client_auth(ClientAuthMode::Required, vec![path]));
    let pairs =
        vec![files(&directory, "both", both), files(&directory, "c", ca.issue(host("c.test"))), private];
    let tls = serve(server_settings(pairs));
    for (server_name, host, want) in [
        (Some("a.test"), "a.test", false),
        (Some("a.test"), "A.Test", false),
        // One certificate for both: HTTP/2 may share the connection.
        (Some("a.test"), "b.test", false),
        (Some("a.test"), "c.test", true),
        (Some("c.test"), "a.test", true),
        (Some("c.test"), "nobody.test", true),
        (Some("a.test"), "nobody.test", true),
        // Neither has a certificate of its own.
        (Some("nobody.test"), "other.test", false),
        (None, "10.0.0.1", false),
        (None, "a.test", false),
        (None, "c.test", true),
        // Clients of this one have to show a certificate.
        (Some("a.test"), "private.test", true),
        (None, "private.test", true),
        (Some("private.test"), "private.test", false),
        (Some("private.test"), "a.test", true),
        (Some("a.test"), "", false),
    ] {
        assert_eq!(tls.is_misdirected(server_name, host), want, "{server_name:?} {host}");
    }
}
