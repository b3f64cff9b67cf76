//! Origins that must not be believed, and such that cut a connection off.

use std::io::Write;

use rcgen::{GeneralSubtree, NameConstraints};
use ringway_tests::certificates::{Authority, Issued, Wanted};
use ringway_tests::tls::server_config;
use ringway_tests::{Io, Origin, each_driver};

use crate::site::{NAME, Site, get};

each_driver! {
    certificates_that_do_not_count_are_502,
    names_are_compared_as_what_they_are,
    constraints_of_authorities_hold,
    revoked_origins_are_502,
    identities_take_the_place_of_names,
    plain_text_before_the_handshake_is_never_forwarded,
    a_body_cut_off_without_close_notify_is_cut_off_for_the_client,
    a_body_ended_by_close_notify_is_whole,
    an_origin_that_never_answers_the_handshake_is_given_up,
}

/// An origin that shows this certificate.
fn origin(issued: &Issued) -> Origin {
    Origin::start_tls(server_config(issued, &[], None), |conn| {
        while conn.request().is_some() {
            conn.reply(200, "ok");
        }
    })
}

/// Status and reason that a client gets, with these lines in the `tls` of the cluster.
fn ask(site: &Site, io: Io, origin: &Origin, more: &str) -> (u16, String) {
    let proxy = site.behind(io, origin, more).start();
    let response = proxy.exchange(get(NAME));
    (response.status, response.field("x-ringway-reason").unwrap_or_default().to_owned())
}

fn certificates_that_do_not_count_are_502(io: Io) {
    let site = Site::new();
    let wanted = || Wanted::server(&[NAME]);
    let stranger = Authority::new("a stranger");
    let below = site.authority.intermediate("below");
    let mut without_chain = below.issue(&wanted());
    without_chain.cert.truncate(without_chain.cert.find("-----END").expect("PEM") + 26);
    for (what, issued, reason) in [
        ("good", site.authority.issue(&wanted()), ""),
        ("good, by way of another", below.issue(&wanted()), ""),
        ("good, RSA", site.authority.issue(&wanted().rsa()), ""),
        ("expired", site.authority.issue(&wanted().expired()), "upstream_tls_untrusted"),
        ("not yet valid", site.authority.issue(&wanted().not_yet_valid()), "upstream_tls_untrusted"),
        ("of a stranger", stranger.issue(&wanted()), "upstream_tls_untrusted"),
        ("an incomplete chain", without_chain, "upstream_tls_untrusted"),
        ("of a client", site.authority.issue(&Wanted::client(NAME)), "upstream_tls_untrusted"),
        ("of another host", site.authority.issue(&Wanted::server(&["other.test"])), "upstream_tls_name"),
    ] {
        let origin = origin(&issued);
        let (status, said) = ask(&site, io, &origin, "");
        let want = if reason.is_empty() { 200 } else { 502 };
        assert_eq!((status, said.as_str()), (want, reason), "{what}");
        if want == 502 {
            origin.assert_saw_nothing();
        }
    }
}

/// Threat row 43: NUL in names, and names of another kind.
fn names_are_compared_as_what_they_are(io: Io) {
    let site = Site::new();
    let with = |names: &[(u8, &[u8])]| Wanted::server(&[]).raw_names(names).common_name(NAME);
    for (what, wanted) in [
        ("NUL behind the name", with(&[(2, b"shop.test\0.evil.test")])),
        ("NUL at the end", with(&[(2, b"shop.test\0")])),
        ("an e-mail address", with(&[(1, b"shop.test")])),
        ("a URI", with(&[(6, b"https://shop.test")])),
        ("an address in place of a name", with(&[(7, &[127, 0, 0, 1])])),
        ("only the common name", Wanted::server(&[]).common_name(NAME)),
        ("a wildcard for everything", with(&[(2, b"*")])),
        ("a wildcard for a top-level domain", with(&[(2, b"*.test")])),
        ("a part of a label", with(&[(2, b"sh*.test")])),
        ("a suffix", with(&[(2, b"test")])),
        ("a dot before it", with(&[(2, b".shop.test")])),
    ] {
        let origin = origin(&site.authority.issue(&wanted));
        assert_eq!(ask(&site, io, &origin, "").0, 502, "{what}");
    }
}

fn constraints_of_authorities_hold(io: Io) {
    let mut site = Site::new();
    let permitted = |names: &[&str]| NameConstraints {
        permitted_subtrees: names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect(),
        excluded_subtrees: Vec::new(),
    };
    let excluding = NameConstraints {
        permitted_subtrees: Vec::new(),
        excluded_subtrees: vec![GeneralSubtree::DnsName("a.wild.test".to_owned())],
    };
    for (constraints, names, status) in [
        (permitted(&["test"]), &[NAME][..], 200),
        (permitted(&["other.test"]), &[NAME], 502),
        // RUSTSEC-2026-0098, -0099: a wildcard must not get around what its authority may not issue.
        (permitted(&["other.test"]), &[NAME, "*.other.test"], 502),
        (excluding, &[NAME, "*.wild.test"], 502),
    ] {
        site.authority = Authority::constrained("of few names", Some(constraints.clone()));
        let origin = origin(&site.authority.issue(&Wanted::server(names)));
        assert_eq!(ask(&site, io, &origin, "").0, status, "{constraints:?} {names:?}");
    }
}

fn revoked_origins_are_502(io: Io) {
    let site = Site::new();
    let (good, bad) =
        (site.authority.issue(&Wanted::server(&[NAME])), site.authority.issue(&Wanted::server(&[NAME])));
    let list = site.directory.write("revoked.pem", site.authority.revoking(&[&bad]));
    let more = format!(", crl: {}", list.display());
    for (issued, want) in [(&good, (200, "")), (&bad, (502, "upstream_tls_untrusted"))] {
        let (status, reason) = ask(&site, io, &origin(issued), &more);
        assert_eq!((status, reason.as_str()), want);
    }
}

fn identities_take_the_place_of_names(io: Io) {
    let site = Site::new();
    let more = ", identity: \"spiffe://shop.test/ns/prod/sa/*\"";
    for (what, wanted, status) in [
        ("the workload", Wanted::workload("spiffe://shop.test/ns/prod/sa/pay"), 200),
        ("another path", Wanted::workload("spiffe://shop.test/ns/dev/sa/pay"), 502),
        ("a longer path", Wanted::workload("spiffe://shop.test/ns/prod/sa/pay/more"), 502),
        ("another trust domain", Wanted::workload("spiffe://evil.test/ns/prod/sa/pay"), 502),
        ("a name only", Wanted::server(&[NAME]), 502),
        // The SPIFFE standard allows a single URI (X.509-SVID 2).
        (
            "two identities",
            Wanted::workload("spiffe://shop.test/ns/prod/sa/pay").uri("spiffe://evil.test/x"),
            502,
        ),
        (
            "NUL in it",
            Wanted::workload("x:y").raw_names(&[(6, b"spiffe://shop.test/ns/prod/sa/pay\0/evil")]),
            502,
        ),
        (
            "an e-mail address",
            Wanted::workload("x:y").raw_names(&[(1, b"spiffe://shop.test/ns/prod/sa/pay")]),
            502,
        ),
        ("a DNS name", Wanted::workload("x:y").raw_names(&[(2, b"spiffe://shop.test/ns/prod/sa/pay")]), 502),
    ] {
        let origin = origin(&site.authority.issue(&wanted));
        let (got, reason) = ask(&site, io, &origin, more);
        assert_eq!(got, status, "{what}: {reason}");
    }
}

/// Threat row 44 (CVE-2026-1642).
fn plain_text_before_the_handshake_is_never_forwarded(io: Io) {
    let site = Site::new();
    for (what, bytes) in [
        ("a response", &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"[..]),
        ("a greeting before STARTTLS", b"220 ready to start TLS\r\n"),
        ("SETTINGS of HTTP/2", b"\0\0\0\x04\0\0\0\0\0"),
        ("data in a record", b"\x17\x03\x03\x00\x04evil"),
    ] {
        let origin = Origin::start(move |conn| {
            conn.send(bytes);
            conn.until_closed();
        });
        let proxy = site.behind(io, &origin, "").start();
        let response = proxy.exchange(get(NAME));
        assert_eq!(response.status, 502, "{what}");
        assert!(!response.body_text().contains("evil"), "{what}");
        assert!(
            !origin.received(0).windows(4).any(|window| window == b"GET "),
            "{what}: the request went out in plain text"
        );
    }
    // And behind a good handshake's first flight, where it would be taken for data that was protected.
    let config = server_config(&site.server, &[], None);
    let origin = Origin::start_tls(config, |conn| {
        let secure = conn.wire().secure();
        let _ = secure.tcp().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
        conn.request();
    });
    let proxy = site.behind(io, &origin, "").start();
    assert_eq!(proxy.exchange(get(NAME)).status, 502);
    assert!(origin.requests().is_empty());
}

fn a_body_cut_off_without_close_notify_is_cut_off_for_the_client(io: Io) {
    let site = Site::new();
    let origin = Origin::start_tls(server_config(&site.server, &[], None), |conn| {
        conn.request();
        // The script ends, and with it the connection, without a close_notify.
        conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nnot all of it");
    });
    let proxy = site.behind(io, &origin, "").start();
    let mut client = proxy.connect();
    client.send(get(NAME));
    let cut = client.try_response("GET");
    assert!(cut.is_err(), "the client takes this for the whole: {cut:?}");
    // The same to a client of HTTP/1.0, for whom the end of the connection is the end of the body.
    let mut client = proxy.connect();
    client.send(format!("GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n"));
    let end = client.wire().rest();
    assert!(end.is_err(), "an end in good order: {end:?}");
}

fn a_body_ended_by_close_notify_is_whole(io: Io) {
    let site = Site::new();
    let origin = Origin::start_tls(server_config(&site.server, &[], None), |conn| {
        conn.request();
        conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
        conn.finish_writing();
    });
    let proxy = site.behind(io, &origin, "").start();
    assert_eq!(proxy.exchange(get(NAME)).body_text(), "all of it");
}

fn an_origin_that_never_answers_the_handshake_is_given_up(io: Io) {
    let site = Site::new();
    let origin = Origin::start(|conn| drop(conn.until_closed()));
    let proxy = site.behind(io, &origin, "").cluster("timeouts: { connect: 100ms }").start();
    let response = proxy.exchange(get(NAME));
    assert!((502..=504).contains(&response.status), "{}", response.status);
}
