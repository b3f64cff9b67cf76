//! Sessions against rustls' own connections, and against each other.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, ServerConfig, SupportedCipherSuite};

use super::*;

const NAME: &str = "shop.example";

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn configs(suite: SupportedCipherSuite) -> Configs {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|offered| *offered == suite);
    let provider = Arc::new(provider);
    let versions = [suite.version()];
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    Configs { server: Arc::new(server), client: Arc::new(client) }
}

fn suites() -> Vec<SupportedCipherSuite> {
    rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES
        .iter()
        .copied()
        // The key of the tests is ECDSA.
        .filter(|suite| !format!("{:?}", suite.suite()).contains("_RSA_"))
        .collect()
}

fn name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

/// Runs two handshakes against each other, `step` bytes at a time.
fn handshake(configs: &Configs, step: usize) -> (Established, Established) {
    let mut client = Handshake::client(Arc::clone(&configs.client), name()).unwrap();
    let mut server = Handshake::server(Arc::clone(&configs.server)).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    client.advance(&[], &mut to_server).unwrap();
    let (mut client_done, mut server_done) = (false, false);
    while !(client_done && server_done && to_server.is_empty()) {
        for piece in std::mem::take(&mut to_server).chunks(step) {
            server_done = server.advance(piece, &mut to_client).unwrap();
        }
        for piece in std::mem::take(&mut to_client).chunks(step) {
            client_done = client.advance(piece, &mut to_server).unwrap();
        }
    }
    (client.finish().unwrap(), server.finish().unwrap())
}

/// Opens every record of `bytes`: the data in them, and whether the end came.
fn open_all(
    session: &mut Session,
    mut bytes: Vec<u8>,
    output: &mut Vec<u8>,
) -> Result<(Vec<u8>, bool), TlsError> {
    let (mut data, mut closed) = (Vec::new(), false);
    while !bytes.is_empty() {
        let length = record_bytes(&bytes)?.expect("a whole header");
        let mut record: Vec<u8> = bytes.drain(..length).collect();
        match session.open(&mut record, output)? {
            Opened::Data(range) => data.extend_from_slice(&record[range]),
            Opened::Nothing => {}
            Opened::Closed => closed = true,
        }
    }
    Ok((data, closed))
}

fn sealed(session: &mut Session, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    session.seal(pieces.iter().copied(), &mut out).unwrap();
    out
}

#[test]
fn each_suite_carries_data_both_ways_and_then_the_end() {
    let suites = suites();
    assert!(suites.len() >= 6, "both versions and each cipher: {suites:?}");
    for suite in suites {
        for step in [1, 7, 100_000] {
            let (mut client, mut server) = handshake(&configs(suite), step);
            let (client_facts, server_facts) = (&client.facts, &server.facts);
            assert_eq!((client_facts.suite, client_facts.version), (suite, suite.version().version));
            assert_eq!((server_facts.suite, server_facts.resumed), (suite, false));
            assert_eq!(client_facts.certificates.len(), 1);
            let long: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
            let bytes = sealed(&mut client.session, &[b"GET ", b"", b"/", &long]);
            assert_eq!(bytes.len(), client.session.sealed_bytes(long.len() + 5), "{suite:?}");
            let (data, closed) = open_all(&mut server.session, bytes, &mut Vec::new()).unwrap();
            assert_eq!((data, closed), ([&b"GET /"[..], &long].concat(), false));
            let mut bytes = std::mem::take(&mut client.rest);
            bytes.extend(sealed(&mut server.session, &[b"answer"]));
            server.session.close(&mut bytes);
            let (data, closed) = open_all(&mut client.session, bytes, &mut Vec::new()).unwrap();
            assert_eq!((data.as_slice(), closed), (&b"answer"[..], true));
            assert!(client.session.is_closed_by_peer());
            assert!(server.session.seal([&b"more"[..]], &mut Vec::new()).is_err(), "after the end");
        }
    }
}

#[test]
fn rustls_understands_a_session_and_a_session_understands_rustls() {
    for suite in suites() {
        let configs = configs(suite);
        let mut peer = rustls::ClientConnection::new(Arc::clone(&configs.client), name()).unwrap();
        let mut server = Handshake::server(Arc::clone(&configs.server)).unwrap();
        let mut done = false;
        while !done || peer.is_handshaking() {
            let mut bytes = Vec::new();
            while peer.wants_write() {
                peer.write_tls(&mut bytes).unwrap();
            }
            let mut answer = Vec::new();
            done = server.advance(&bytes, &mut answer).unwrap();
            peer.read_tls(&mut answer.as_slice()).unwrap();
            peer.process_new_packets().unwrap();
        }
        let mut session = server.finish().unwrap().session;
        let tls13 = suite.version().version == ProtocolVersion::TLSv1_3;
        for round in 0..3 {
            let mut bytes = Vec::new();
            if round == 1 && tls13 {
                peer.refresh_traffic_keys().unwrap();
            }
            peer.writer().write_all(b"request").unwrap();
            peer.write_tls(&mut bytes).unwrap();
            let mut answer = Vec::new();
            let (data, _) = open_all(&mut session, bytes, &mut answer).unwrap();
            assert_eq!(data, b"request", "{suite:?} {round}");
            assert_eq!(!answer.is_empty(), round == 1 && tls13, "a key update is answered");
            session.seal([&b"response"[..]], &mut answer).unwrap();
            peer.read_tls(&mut answer.as_slice()).unwrap();
            peer.process_new_packets().unwrap();
            let mut read = [0; 64];
            let n = peer.reader().read(&mut read).unwrap();
            assert_eq!(&read[..n], b"response");
        }
    }
}

#[test]
fn a_second_connection_resumes_the_session() {
    for suite in suites() {
        let configs = configs(suite);
        let (mut client, _server) = handshake(&configs, 100_000);
        // In TLS 1.3 the tickets come behind the handshake.
        open_all(&mut client.session, client.rest, &mut Vec::new()).unwrap();
        let (client, server) = handshake(&configs, 100_000);
        assert!(client.facts.resumed && server.facts.resumed, "{suite:?}");
        assert_eq!(client.facts.certificates.len(), 1, "known from the first");
    }
}

/// What happens to a list of records on its way.
type Change = fn(&mut Vec<Vec<u8>>);

#[test]
fn a_changed_repeated_or_lost_record_ends_the_connection() {
    for suite in suites() {
        let changes: [(&str, Change); 5] = [
            ("a flipped bit", |records| *records[0].last_mut().unwrap() ^= 1),
            ("another type", |records| records[0][0] = 22),
            ("repeated", |records| {
                let again = records[0].clone();
                records.insert(0, again);
            }),
            ("lost", |records| drop(records.remove(0))),
            ("cut short", |records| {
                let shorter = records[0].len() - 6;
                records[0].truncate(shorter + 5);
                records[0][4] = shorter as u8;
            }),
        ];
        for (what, change) in changes {
            let (mut client, mut server) = handshake(&configs(suite), 100_000);
            let mut records =
                vec![sealed(&mut client.session, &[b"one"]), sealed(&mut client.session, &[b"two"])];
            change(&mut records);
            let mut alert = Vec::new();
            let result = open_all(&mut server.session, records.concat(), &mut alert);
            assert!(result.is_err(), "{suite:?}: {what}");
            let received = [client.rest, alert].concat();
            let told = open_all(&mut client.session, received, &mut Vec::new());
            assert!(matches!(told, Err(TlsError::Alert(10 | 20))), "{suite:?}: {what}: {told:?}");
        }
    }
}

#[test]
fn what_costs_and_brings_nothing_is_bounded() {
    for suite in suites() {
        let (mut client, mut server) = handshake(&configs(suite), 100_000);
        let empty = |session: &mut Session| {
            let mut out = Vec::new();
            session.seal_for_test(23, &[], &mut out);
            out
        };
        let count = (0..1000)
            .position(|_| {
                let bytes = empty(&mut client.session);
                open_all(&mut server.session, bytes, &mut Vec::new()).is_err()
            })
            .expect("empty records end the connection");
        assert_eq!(count, 32, "{suite:?}");
    }
    let tls13 = suites().into_iter().find(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
    let (mut client, mut server) = handshake(&configs(tls13.unwrap()), 100_000);
    let mut answers = Vec::new();
    let count = (0..1000)
        .position(|_| {
            let mut out = Vec::new();
            client.session.update_own_key_for_test(&mut out);
            open_all(&mut server.session, out, &mut answers).is_err()
        })
        .expect("key updates end the connection");
    assert_eq!(count, 32);
}

#[test]
fn what_is_not_tls_is_told_apart() {
    let configs = configs(suites()[0]);
    let table: [(&[u8], Option<TlsError>); 8] = [
        (b"GET / HTTP/1.1\r\n", Some(TlsError::NotTls { http: true })),
        (b"OPTIONS * HTTP/1.1\r\n", Some(TlsError::NotTls { http: true })),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(TlsError::NotTls { http: true })),
        (b"SSH-2.0-OpenSSH", Some(TlsError::NotTls { http: false })),
        (b"\0\0\0", Some(TlsError::NotTls { http: false })),
        (b"\x16\x03\x01\xff\xff", Some(TlsError::OversizedRecord)),
        (b"\x16", None),
        (b"\x16\x03\x01\x02\x00\x01", None),
    ];
    for (bytes, expected) in table {
        let mut server = Handshake::server(Arc::clone(&configs.server)).unwrap();
        let result = server.advance(bytes, &mut Vec::new());
        assert_eq!(result.err(), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_hello_of_one_byte_per_record_is_understood_and_an_endless_one_is_not() {
    let configs = configs(suites()[0]);
    let mut client = Handshake::client(Arc::clone(&configs.client), name()).unwrap();
    let mut hello = Vec::new();
    client.advance(&[], &mut hello).unwrap();
    let split = |bytes: &[u8]| -> Vec<u8> { bytes.iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect() };
    let mut server = Handshake::server(Arc::clone(&configs.server)).unwrap();
    let mut answer = Vec::new();
    assert!(!server.advance(&split(&hello[5..]), &mut answer).unwrap());
    assert!(!answer.is_empty(), "the server's hello");
    let mut server = Handshake::server(Arc::clone(&configs.server)).unwrap();
    let mut answer = Vec::new();
    let endless = [vec![1, 0, 0xff, 0xff], vec![0; 10_000]].concat();
    let result = server.advance(&split(&endless), &mut answer);
    assert_eq!(result, Err(TlsError::HandshakeTooLong));
    assert_eq!(server.advance(&split(&endless), &mut answer), Err(TlsError::HandshakeTooLong), "and again");
}

#[test]
fn a_refusal_of_the_server_reaches_the_client_as_an_alert() {
    let (one, other) = (configs(suites()[0]), configs(suites()[0]));
    let mut client = Handshake::client(Arc::clone(&one.client), name()).unwrap();
    let mut server = Handshake::server(Arc::clone(&other.server)).unwrap();
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    client.advance(&[], &mut to_server).unwrap();
    server.advance(&to_server, &mut to_client).unwrap();
    to_server.clear();
    let refused = client.advance(&to_client, &mut to_server).unwrap_err();
    assert!(matches!(refused, TlsError::Rustls(rustls::Error::InvalidCertificate(_))), "{refused:?}");
    let told = server.advance(&to_server, &mut Vec::new()).unwrap_err();
    assert!(matches!(told, TlsError::Rustls(rustls::Error::AlertReceived(_))), "{told:?}");
    assert_eq!(client.advance(&to_client, &mut to_server), Err(refused), "and again");
}
