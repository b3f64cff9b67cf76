//! Clients that break rules of TLS, or may not come in.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use ringway_tests::certificates::{Authority, Wanted};
use ringway_tests::tls::TlsClient;
use ringway_tests::wait::pause;
use ringway_tests::{Client, Io, Origin, Proxy, each_driver, process};

use crate::clients::{s_client, s_client_by_command};
use crate::raw::{self, RawClient};
use crate::site::{NAME, Site, get};

each_driver! {
    old_versions_are_refused,
    renegotiation_is_refused,
    a_hello_of_one_byte_records_is_read,
    hellos_without_end_and_without_sense_are_refused,
    records_too_large_end_the_connection,
    records_that_were_changed_end_the_connection,
    a_request_cut_off_in_a_record_is_not_forwarded,
    a_body_cut_off_without_close_notify_is_not_whole,
    close_notify_in_the_handshake_costs_nothing,
    a_flood_of_alerts_and_empty_records_ends,
    a_handshake_that_does_not_come_is_cut_off,
    plain_http_gets_an_answer_in_plain_text,
    certificates_of_clients_are_asked_for_and_verified,
    optional_certificates_are_verified_where_there_are_some,
    a_replayed_connection_is_nothing,
}

fn start(site: &Site, io: Io, origin: &Origin) -> Proxy {
    site.before(io, origin, ", handshake_timeout: 2s").start()
}

/// The proxy still serves others, and nothing of the attack came through.
fn unharmed(site: &Site, proxy: &Proxy, origin: &Origin) {
    let before = origin.requests().len();
    assert_eq!(site.connect(proxy).exchange(get(NAME)).status, 200);
    assert_eq!(origin.requests().len(), before + 1);
    origin.assert_unambiguous();
}

/// A ClientHello of TLS 1.1 (RFC 4346), without extensions.
fn hello_of_version(minor: u8) -> Vec<u8> {
    let body = [&[3, minor][..], &[7; 32], &[0, 0, 4, 0xc0, 0x13, 0, 0x2f, 1, 0]].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

fn old_versions_are_refused(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for minor in [0, 1, 2] {
        let answer = raw::answer(proxy.address(), &hello_of_version(minor));
        // protocol_version (70), or handshake_failure (40) by who looks at the suites first.
        assert!(matches!(raw::alert(&answer), Some(70 | 40)), "3.{minor}: {answer:?}");
    }
    let old = ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-servername", NAME];
    if let Some(output) = s_client(&proxy, &old, &get(NAME)) {
        assert!(output.contains("SSL alert number") && output.contains("Cipher is (NONE)"), "{output}");
    }
    let modern = site.before(io, &origin, ", min_version: \"1.3\"").start();
    if let Some(output) = s_client(&modern, &["-tls1_2", "-servername", NAME], &get(NAME)) {
        assert!(output.contains("alert protocol version"), "{output}");
    }
    unharmed(&site, &proxy, &origin);
}

fn renegotiation_is_refused(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    // `R` alone on a line makes s_client begin another handshake.
    let arguments = ["-tls1_2", "-servername", NAME];
    let Some(output) = s_client_by_command(&proxy, &arguments, "R\n") else { return };
    assert!(output.contains("RENEGOTIATING"), "{output}");
    assert!(!output.contains("200 OK"), "{output}");
    assert!(
        output.contains("no renegotiation") || output.contains("alert") || output.contains("error"),
        "{output}"
    );
    unharmed(&site, &proxy, &origin);
}

/// Threat row 48 (CVE-2024-11738).
fn a_hello_of_one_byte_records_is_read(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    let mut client = RawClient::connect(proxy.address(), site.client().config(), NAME);
    // Only the hello is in plain text, so only it is split.
    client.handshake(|records| raw::one_byte_records(&records)).expect("a handshake");
    let request = client.seal(get(NAME));
    client.send(&request).expect("sent");
    client.read_until(b"ok").expect("a response");
    unharmed(&site, &proxy, &origin);
}

fn hellos_without_end_and_without_sense_are_refused(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    let endless: Vec<u8> = [
        [22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff].to_vec(),
        vec![0; 16_379],
        (0..8).flat_map(|_| [&[22, 3, 1, 0x40, 0][..], &[0; 16_384]].concat()).collect(),
    ]
    .concat();
    let empty: Vec<u8> = [22, 3, 1, 0, 0].repeat(10_000);
    for (what, bytes) in [
        ("a message without end", endless),
        ("empty records", empty),
        ("another message", [22, 3, 1, 0, 4, 2, 0, 0, 0].to_vec()),
        ("data first", [23, 3, 3, 0, 4, 1, 2, 3, 4].to_vec()),
        ("nonsense", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec()),
        ("SSL 2", b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10\x01\x00\x80\x03\x00\x80".to_vec()),
    ] {
        let answer = raw::answer(proxy.address(), &bytes);
        assert!(raw::records(&answer).iter().all(|record| record[0] != 22), "{what}: {answer:?}");
    }
    unharmed(&site, &proxy, &origin);
}

/// A connection whose handshake is over.
fn established(site: &Site, proxy: &Proxy, version: &'static rustls::SupportedProtocolVersion) -> RawClient {
    let mut client = RawClient::connect(proxy.address(), site.client().version(version).config(), NAME);
    client.handshake(|records| records).expect("a handshake");
    client
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

fn records_too_large_end_the_connection(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for version in VERSIONS {
        for length in [0x4801_u16, 0x7fff, 0xffff] {
            let mut client = established(&site, &proxy, version);
            let [high, low] = length.to_be_bytes();
            let _ = client.send(&[&[23, 3, 3, high, low][..], &vec![0; usize::from(length)]].concat());
            let end = client.read_until(b"HTTP/1.1");
            assert!(end.is_err(), "{length}: {end:?}");
        }
    }
    let answer = raw::answer(proxy.address(), &[&[22, 3, 1, 0x48, 1][..], &[1; 0x4801]].concat());
    assert!(raw::records(&answer).iter().all(|record| record[0] != 22), "{answer:?}");
    unharmed(&site, &proxy, &origin);
}

fn records_that_were_changed_end_the_connection(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for version in VERSIONS {
        for (what, change) in [
            ("a bit of the content", (|record| record[10] ^= 1) as fn(&mut Vec<u8>)),
            ("the last byte", |record| *record.last_mut().expect("bytes") ^= 0x80),
            ("the type", |record| record[0] = 22),
            ("a shorter length", |record| record[4] -= 1),
            ("shorter than any protection", |record| *record = vec![23, 3, 3, 0, 1, 0]),
            ("empty", |record| *record = vec![23, 3, 3, 0, 0]),
        ] {
            let mut client = established(&site, &proxy, version);
            let mut record = client.seal(get(NAME));
            change(&mut record);
            let _ = client.send(&record);
            let end = client.read_until(b"HTTP/1.1");
            assert!(end.is_err(), "{version:?}, {what}: {end:?}");
        }
        // The same record twice.
        let mut client = established(&site, &proxy, version);
        let record = client.seal(get(NAME));
        client.send(&record).expect("sent");
        client.read_until(b"ok").expect("a response");
        let before = origin.requests().len();
        let _ = client.send(&record);
        assert!(client.read_until(b"HTTP/1.1").is_err(), "{version:?}: a record counted twice");
        assert_eq!(origin.requests().len(), before);
    }
    unharmed(&site, &proxy, &origin);
}

fn a_request_cut_off_in_a_record_is_not_forwarded(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for version in VERSIONS {
        let mut client = established(&site, &proxy, version);
        let record = client.seal(get(NAME));
        client.send(&record[..record.len() - 1]).expect("sent");
        client.tcp.shutdown(Shutdown::Write).expect("an end");
        raw::until_closed(&mut client.tcp);
        origin.assert_saw_nothing();
    }
    unharmed(&site, &proxy, &origin);
}

fn a_body_cut_off_without_close_notify_is_not_whole(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = established(&site, &proxy, &rustls::version::TLS13);
        let records =
            client.seal(format!("POST / HTTP/1.1\r\nHost: {NAME}\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
        client.send(&records).expect("sent");
        client.tcp.shutdown(Shutdown::Write).expect("an end");
        raw::until_closed(&mut client.tcp);
    }
    assert!(origin.requests().is_empty(), "{:?}", origin.requests());
    unharmed(&site, &proxy, &origin);
}

/// Threat row 48 (CVE-2024-32650).
fn close_notify_in_the_handshake_costs_nothing(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    let mut kept = Vec::new();
    for with_hello in [false, true] {
        let mut client = RawClient::connect(proxy.address(), site.client().config(), NAME);
        if with_hello {
            let hello = client.take_records();
            client.send(&hello).expect("sent");
        }
        let _ = client.send(&close_notify);
        kept.push(client);
    }
    let before = process::cpu_time(proxy.pid());
    pause(Duration::from_millis(300));
    let spent = process::cpu_time(proxy.pid()) - before;
    assert!(spent < Duration::from_millis(150), "{spent:?} of computing for two idle connections");
    for client in &mut kept {
        raw::until_closed(&mut client.tcp);
    }
    unharmed(&site, &proxy, &origin);
}

fn a_flood_of_alerts_and_empty_records_ends(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    // Empty records are allowed to be sent (RFC 8446 5.4), as many as one likes they are not.
    let mut client = established(&site, &proxy, &rustls::version::TLS12);
    let warning = [21, 3, 3, 0, 2, 1, 90];
    for _ in 0..10_000 {
        if client.send(&warning).is_err() {
            break;
        }
    }
    client.tcp.shutdown(Shutdown::Write).ok();
    raw::until_closed(&mut client.tcp);
    let changes: Vec<u8> = [20, 3, 3, 0, 1, 1].repeat(10_000);
    raw::answer(proxy.address(), &changes);
    unharmed(&site, &proxy, &origin);
}

fn a_handshake_that_does_not_come_is_cut_off(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = site.before(io, &origin, ", handshake_timeout: 200ms").start();
    let hello = RawClient::connect(proxy.address(), site.client().config(), NAME).take_records();
    for part in [&hello[..0], &hello[..1], &hello[..30], &hello[..]] {
        let mut tcp = raw::connect(proxy.address());
        tcp.write_all(part).expect("sent");
        // The end comes by itself.
        raw::until_closed(&mut tcp);
    }
    origin.assert_saw_nothing();
}

fn plain_http_gets_an_answer_in_plain_text(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    let response = proxy.exchange(get(NAME));
    assert_eq!((response.status, response.field("x-ringway-reason")), (400, Some("plain_http_to_tls")));
    origin.assert_saw_nothing();
    unharmed(&site, &proxy, &origin);
}

/// Asks once with this identity: the response's status, or why there is none. A client of TLS 1.3 learns that it was refused
/// only when it reads.
fn ask(proxy: &Proxy, client: &TlsClient) -> Result<u16, String> {
    let mut client =
        Client::connect_tls(proxy.address(), client.config(), NAME).map_err(|e| e.to_string())?;
    client.try_send(get(NAME));
    client.try_response("GET").map(|response| response.status).map_err(|broken| format!("{broken:?}"))
}

fn certificates_of_clients_are_asked_for_and_verified(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let stranger = Authority::new("a stranger");
    let second = Authority::new("a second authority");
    let wanted = || Wanted::client("a client");
    let (good, revoked) = (site.authority.issue(&wanted()), site.authority.issue(&wanted()));
    let lists = [
        site.directory.write("first-crl.pem", site.authority.revoking(&[&revoked])),
        site.directory.write("second-crl.pem", second.revoking(&[])),
    ];
    let (ca, other) = (site.authority.write(&site.directory, "ca"), second.write(&site.directory, "second"));
    let more = format!(
        ", client_auth: {{ mode: required, ca: [{}, {}], crl: [{}, {}] }}",
        ca.display(),
        other.display(),
        lists[0].display(),
        lists[1].display()
    );
    let proxy = site.before(io, &origin, &more).start();
    let mut served = 0;
    for (what, issued, welcome) in [
        ("none", None, false),
        ("good", Some(good), true),
        ("good, of the second authority", Some(second.issue(&wanted())), true),
        ("RSA", Some(site.authority.issue(&wanted().rsa())), true),
        ("expired", Some(site.authority.issue(&wanted().expired())), false),
        ("not yet valid", Some(site.authority.issue(&wanted().not_yet_valid())), false),
        ("of a stranger", Some(stranger.issue(&wanted())), false),
        ("revoked", Some(revoked), false),
        ("of a server", Some(site.authority.issue(&Wanted::server(&[NAME]))), false),
    ] {
        for version in VERSIONS {
            let mut client = site.client().version(version);
            if let Some(issued) = &issued {
                client = client.identity(issued);
            }
            let asked = ask(&proxy, &client);
            assert_eq!(asked == Ok(200), welcome, "{what}, {version:?}: {asked:?}");
            served += usize::from(welcome);
        }
    }
    assert_eq!(origin.requests().len(), served);
}

fn optional_certificates_are_verified_where_there_are_some(io: Io) {
    let site = Site::new();
    let origin = Origin::echo();
    let ca = site.authority.write(&site.directory, "ca");
    let more = format!(", client_auth: {{ mode: optional, forward: true, ca: {} }}", ca.display());
    let proxy = site.before(io, &origin, &more).start();
    assert_eq!(ask(&proxy, &site.client()), Ok(200));
    let stranger = Authority::new("a stranger").issue(&Wanted::client("x"));
    assert!(ask(&proxy, &site.client().identity(&stranger)).is_err());
    // What the origin is told is the proxy's word: a client's own is removed.
    let good = site.authority.issue(&Wanted::client("me").uri("spiffe://shop.test/me"));
    for (client, told) in [(site.client(), false), (site.client().identity(&good), true)] {
        let mut client = Client::connect_tls(proxy.address(), client.config(), NAME).expect("a handshake");
        let forged = format!(
            "GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Forwarded-Client-Cert: URI=spiffe://shop.test/forged\r\n\r\n"
        );
        let head = client.exchange(forged).body_text();
        assert!(!head.contains("forged"), "{head}");
        assert_eq!(head.to_ascii_lowercase().contains("x-forwarded-client-cert:"), told, "{head}");
        assert_eq!(head.contains("spiffe://shop.test/me"), told, "{head}");
    }
}

/// All that a client sent, sent again by somebody who listened: with a ticket it must not count either (no early data).
fn a_replayed_connection_is_nothing(io: Io) {
    let site = Site::new();
    let origin = Origin::ok();
    let proxy = start(&site, io, &origin);
    for version in VERSIONS {
        let config = site.client().version(version).config();
        for resumed in [false, true] {
            let mut client = RawClient::connect(proxy.address(), config.clone(), NAME);
            client.handshake(|records| records).expect("a handshake");
            let request = client.seal(get(NAME));
            client.send(&request).expect("sent");
            client.read_until(b"ok").expect("a response");
            let kind = client.connection.handshake_kind();
            assert_eq!(kind == Some(rustls::HandshakeKind::Resumed), resumed, "{version:?}: {kind:?}");
            let before = origin.requests().len();
            raw::answer(proxy.address(), &client.sent);
            assert_eq!(origin.requests().len(), before, "{version:?}, resumed: {resumed}");
        }
    }
    unharmed(&site, &proxy, &origin);
}
