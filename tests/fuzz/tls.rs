//! TLS from whoever connects: bytes to a server before its handshake, in the midst of it and behind it, cut anywhere. No panic, an
//! end to everything, bounded output, and data only where the peer's key has made it.

use std::sync::{Arc, LazyLock};

use ringway_protocols::tls::client_hello::HelloReader;
use ringway_protocols::tls::rustls::pki_types::{PrivateKeyDer, ServerName};
use ringway_protocols::tls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};
use ringway_protocols::tls::{Handshake, Opened, Session, TlsError, record_bytes};

const NAME: &str = "shop.test";

/// What either side says in a handshake is less than this, whatever it is answered to.
const OUTPUT_BYTES_MAX: usize = 64 << 10;

/// The first byte says when the rest comes, the second how it is cut; see [`run`].
pub(crate) const SEEDS: &[&[u8]] = &[
    // Instead of a hello.
    b"\x00\xffGET / HTTP/1.1\r\n\r\n",
    b"\x00\x00\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"\x00\x03\x15\x03\x03\x00\x02\x01\x00",
    b"\x00\x05\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x03\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x00\x00\x02\x13\x01\x01\x00",
    // Changes of a good hello: where, and by what.
    b"\x01\x00\x00\x00\x01",
    b"\x01\x07\x00\x2b\x80\x00\x4a\xff",
    b"\x01\x01\x00\x05\x02\x00\x09\x01",
    // Behind the server's answer, and instead of the client's last messages.
    b"\x02\x00\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x13aaaaaaaaaaaaaaaaaaa",
    b"\x02\x02\x15\x03\x03\x00\x02\x02\x28",
    // Behind the handshake: records that no key has made, and changes of one that the client's has.
    b"\x03\x00\x17\x03\x03\x00\x20aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    b"\x03\x04\x16\x03\x03\x00\x04\x00\x00\x00\x00",
    b"\x04\x00\x00\x00\x01",
    b"\x04\x02\x00\x0a\x80",
];

pub(crate) const DICTIONARY: &[&[u8]] = &[
    b"\x16\x03\x01",
    b"\x17\x03\x03",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x14\x03\x03\x00\x01\x01",
    b"\x01\x00",
    b"\x00\x00",
    b"\xff\xff",
    b"\x40\x00",
    b"\x03\x04",
    b"\x02\x68\x32",
];

struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

static CONFIGS: LazyLock<Configs> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    // The fastest: thousands of handshakes are made here.
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let provider = Arc::new(provider);
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate with its key");
    server.enable_secret_extraction = true;
    server.send_tls13_tickets = 0;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    client.resumption = rustls::client::Resumption::disabled();
    Configs { server: Arc::new(server), client: Arc::new(client) }
});

pub(crate) fn run(data: &[u8]) {
    let [when, cut, rest @ ..] = data else { return };
    let step = usize::from(*cut) + 1;
    match when % 5 {
        0 => hello(rest, step),
        1 => hello(&changed(hello_of_client().1, rest), step),
        2 => in_the_midst(rest, step),
        3 => behind(rest),
        _ => changed_behind(rest),
    }
}

/// Bytes changed where the data says: a place, then what is xored there.
fn changed(mut bytes: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    for change in changes.chunks_exact(3) {
        let length = bytes.len().max(1);
        let place = usize::from(u16::from_be_bytes([change[0], change[1]])) % length;
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= change[2];
        }
    }
    bytes
}

fn hello_of_client() -> (Handshake, Vec<u8>) {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = Handshake::client(Arc::clone(&CONFIGS.client), name).expect("a client");
    let mut hello = Vec::new();
    assert!(!client.advance(&[], &mut hello).expect("a hello"));
    (client, hello)
}

fn server() -> Handshake {
    Handshake::server(Arc::clone(&CONFIGS.server)).expect("a server")
}

/// Gives bytes to a handshake, a step at a time; an error is the last word.
fn feed(
    handshake: &mut Handshake,
    bytes: &[u8],
    step: usize,
    output: &mut Vec<u8>,
) -> Result<bool, TlsError> {
    let mut done = false;
    for piece in bytes.chunks(step) {
        done = handshake.advance(piece, output)?;
        assert!(output.len() <= OUTPUT_BYTES_MAX, "{} bytes of output", output.len());
        if done {
            break;
        }
    }
    Ok(done)
}

fn hello(bytes: &[u8], step: usize) {
    // The reader of hellos says the same however they are cut, and never sees less than the handshake takes.
    let whole = HelloReader::default().feed(bytes);
    let mut reader = HelloReader::default();
    let pieces = bytes.chunks(step).map(|piece| reader.feed(piece));
    let cut = pieces.into_iter().find(|result| !matches!(result, Ok(None))).unwrap_or(Ok(None));
    assert_eq!(cut, whole, "cut every {step} bytes");
    let mut output = Vec::new();
    let done = feed(&mut server(), bytes, step, &mut output);
    assert_ne!(done, Ok(true), "a hello alone is no handshake");
}

fn in_the_midst(bytes: &[u8], step: usize) {
    let (_, hello) = hello_of_client();
    let (mut server, mut output) = (server(), Vec::new());
    assert_eq!(server.advance(&hello, &mut output), Ok(false));
    let done = feed(&mut server, bytes, step, &mut output);
    assert_ne!(done, Ok(true), "nobody but the client can end its handshake");
}

/// The two sessions of a handshake, the client's first.
fn established() -> (Session, Session) {
    let (mut client, mut to_server) = hello_of_client();
    let (mut server, mut to_client) = (server(), Vec::new());
    let (mut client_done, mut server_done) = (false, false);
    while !(client_done && server_done) {
        server_done = server.advance(&std::mem::take(&mut to_server), &mut to_client).expect("a good client");
        client_done = client.advance(&std::mem::take(&mut to_client), &mut to_server).expect("a good server");
    }
    (client.finish().expect("it is done").session, server.finish().expect("it is done").session)
}

/// Opens whatever whole records there are; the data in them.
fn open(session: &mut Session, mut bytes: Vec<u8>) -> Result<Vec<u8>, TlsError> {
    let (mut data, mut output, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(length) = record_bytes(bytes.get(at..).unwrap_or_default())? {
        let Some(record) = bytes.get_mut(at..at + length) else { break };
        match session.open(record, &mut output)? {
            Opened::Data(range) => data.extend_from_slice(&record[range]),
            Opened::Nothing => {}
            Opened::Closed => break,
        }
        assert!(output.len() <= OUTPUT_BYTES_MAX, "{} bytes of output", output.len());
        at += length;
    }
    Ok(data)
}

fn behind(bytes: &[u8]) {
    let (_, mut server) = established();
    let data = open(&mut server, bytes.to_vec()).unwrap_or_default();
    assert!(data.is_empty(), "data that the client never sent");
}

fn changed_behind(changes: &[u8]) {
    let (mut client, mut server) = established();
    let mut sealed = Vec::new();
    client.seal([&b"one"[..], b"two"], &mut sealed).expect("a good session");
    let sent = changed(sealed.clone(), changes);
    match open(&mut server, sent.clone()) {
        Ok(data) if sent == sealed => assert_eq!(data, b"onetwo"),
        Ok(data) => assert!(data.is_empty(), "changed, and yet taken for the client's"),
        Err(_) => assert_ne!(sent, sealed, "what was not changed is refused"),
    }
}
