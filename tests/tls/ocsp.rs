//! OCSP responses from files: who gets which, and what becomes of a new one.

use std::path::{Path, PathBuf};

use ringway_tests::certificates::{Authority, Issued, Wanted};
use ringway_tests::peers::{find, run};
use ringway_tests::wait::eventually;
use ringway_tests::{Io, Origin, Proxy, Ringway, each_driver};

use crate::clients::s_client;
use crate::site::{NAME, Site, get};

each_driver! {
    a_response_is_stapled_for_clients_that_ask_for_one,
    curl_verifies_the_response,
    a_new_response_is_sent_from_the_next_handshake_on,
    a_response_about_another_certificate_is_not_sent,
}

/// A response of an authority about a certificate, by `openssl ocsp`. `None` where there is no such program.
fn response(site: &Site, authority: &Authority, issued: &Issued, status: &str) -> Option<PathBuf> {
    let program = find("openssl")?;
    let ca = authority.write(&site.directory, "issuer").display().to_string();
    let key = site.directory.write("issuer.key", authority.key_pem()).display().to_string();
    let cert = issued.write(&site.directory, "asked").0.display().to_string();
    let revoked = if status == "R" { "200101000000Z,keyCompromise" } else { "" };
    let serial = issued.serial_hex();
    // The database of `openssl ca`: status, expiry, revocation, serial number, file, subject.
    let line = format!("{status}\t491231235959Z\t{revoked}\t{serial}\tunknown\t/CN=asked\n");
    let index = site.directory.write("index.txt", line).display().to_string();
    let path = site.directory.path().join("server.ocsp");
    let fresh = path.with_extension("new").display().to_string();
    let database = ["-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key, "-ndays", "7"];
    let asked = ["-issuer", &ca, "-cert", &cert, "-respout", &fresh];
    let output = run(&program, &[&["ocsp"], &database[..], &asked].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // In one step, so that nobody reads half of it.
    std::fs::rename(&fresh, &path)
        .unwrap_or_else(|error| panic!("openssl ocsp wrote nothing: {error}: {said}"));
    Some(path)
}

/// A proxy with a response for its first certificate and none for the second one, which is for `other.test`.
fn start(site: &Site, issued: &Issued, io: Io, origin: &Origin, ocsp: &Path) -> Proxy {
    let (cert, key) = issued.write(&site.directory, "server");
    let other = site.authority.issue(&Wanted::server(&["other.test"])).item(&site.directory, "other");
    let first = format!("{{ cert: {}, key: {}, ocsp: {} }}", cert.display(), key.display(), ocsp.display());
    Ringway::to(origin).io(io).listener(&format!("tls: {{ certificates: [{first}, {other}] }}")).start()
}

/// What `s_client` says about the response.
fn told(proxy: &Proxy, arguments: &[&str]) -> Option<String> {
    s_client(proxy, arguments, "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n")
}

fn a_response_is_stapled_for_clients_that_ask_for_one(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let Some(ocsp) = response(&site, &site.authority, &site.server, "V") else { return };
    let proxy = start(&site, &site.server, io, &origin, &ocsp);
    let serial = format!("Serial Number: {}", site.server.serial_hex());
    for version in ["-tls1_2", "-tls1_3"] {
        let Some(said) = told(&proxy, &[version, "-status", "-servername", NAME]) else { return };
        for part in ["OCSP Response Status: successful", "Cert Status: good", &serial] {
            assert!(said.contains(part), "{version}: {part}: {said}");
        }
        let Some(said) = told(&proxy, &[version, "-status", "-servername", "other.test"]) else { return };
        assert!(!said.contains("OCSP Response Status"), "{version}: there is none for it: {said}");
        let Some(said) = told(&proxy, &[version, "-servername", NAME]) else { return };
        assert!(!said.contains("OCSP"), "{version}: nobody asked: {said}");
    }
}

/// curl looks at signature, serial number and times of the response, and fails without one.
fn curl_verifies_the_response(io: Io) {
    let Some(program) = find("curl") else { return };
    let (site, origin) = (Site::new(), Origin::ok());
    // It looks for the issuer in the chain that it is sent.
    let issuer = site.authority.intermediate("an issuer");
    let server = issuer.issue(&Wanted::server(&[NAME]));
    let Some(ocsp) = response(&site, &issuer, &server, "V") else { return };
    let proxy = start(&site, &server, io, &origin, &ocsp);
    let ca = site.authority.write(&site.directory, "ca").display().to_string();
    let port = proxy.address().port();
    for (name, good) in [(NAME, true), ("other.test", false)] {
        let (url, connect) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1:{port}"));
        let arguments = ["-sS", "-m", "20", "--cert-status", "--cacert", &ca, "--connect-to", &connect, &url];
        let output = run(&program, &arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), good, "{name}: {said}");
        assert!(good || said.contains("OCSP"), "{name}: {said}");
    }
}

fn a_new_response_is_sent_from_the_next_handshake_on(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let Some(ocsp) = response(&site, &site.authority, &site.server, "V") else { return };
    let proxy = start(&site, &site.server, io, &origin, &ocsp);
    let ask = || told(&proxy, &["-status", "-servername", NAME]).unwrap_or_default();
    assert!(ask().contains("Cert Status: good"));
    let mut open = site.connect(&proxy);
    assert_eq!(open.exchange(get(NAME)).status, 200);
    assert!(response(&site, &site.authority, &site.server, "R").is_some());
    eventually("the new response", || ask().contains("Cert Status: revoked").then_some(()));
    assert_eq!(open.exchange(get(NAME)).status, 200, "the connection went on");
}

fn a_response_about_another_certificate_is_not_sent(io: Io) {
    let (site, origin) = (Site::new(), Origin::ok());
    let before = site.authority.issue(&Wanted::server(&[NAME]));
    let Some(ocsp) = response(&site, &site.authority, &before, "V") else { return };
    let proxy = start(&site, &site.server, io, &origin, &ocsp);
    let said = told(&proxy, &["-status", "-servername", NAME]).unwrap_or_default();
    assert!(said.contains("OCSP response: no response sent"), "{said}");
    assert!(
        proxy.log().iter().any(|line| line.contains("is about another certificate")),
        "{:?}",
        proxy.log()
    );
}
