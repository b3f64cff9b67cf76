//! `protocols/src/tls`: records sealed and opened in place, and what a handshake takes of the server.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ringway_protocols::tls::rustls::client::Resumption;
use ringway_protocols::tls::rustls::crypto::aws_lc_rs::{self, cipher_suite};
use ringway_protocols::tls::rustls::pki_types::{PrivateKeyDer, ServerName};
use ringway_protocols::tls::rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedCipherSuite};
use ringway_protocols::tls::{Established, Handshake, Opened, record_bytes};

const NAME: &str = "shop.example.com";

/// A small response, and the most that one record holds.
const SIZES: [usize; 2] = [1 << 10, 16 << 10];

#[derive(Clone)]
struct Configs {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Configs {
    fn new(suite: SupportedCipherSuite, rsa: bool) -> Configs {
        let key = if rsa {
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        } else {
            rcgen::KeyPair::generate()
        };
        let key = key.expect("a key");
        let params = rcgen::CertificateParams::new([NAME.to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate");
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![suite];
        let provider = Arc::new(provider);
        let versions = [suite.version()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate with its key");
        server.enable_secret_extraction = true;
        server.ticketer = aws_lc_rs::Ticketer::new().expect("keys of tickets");
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).expect("a root");
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        Configs { server: Arc::new(server), client: Arc::new(client) }
    }
}

/// The two ends of a handshake, the client's first, and what the server took for it.
fn handshake(configs: &Configs) -> (Established, Established, Duration) {
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = Handshake::client(Arc::clone(&configs.client), name).expect("a client");
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let mut client_done = client.advance(&[], &mut to_server).expect("a hello");
    let began = Instant::now();
    let mut server = Handshake::server(Arc::clone(&configs.server)).expect("a server");
    let mut spent = began.elapsed();
    let mut server_done = false;
    while !(client_done && server_done) {
        let input = std::mem::take(&mut to_server);
        let began = Instant::now();
        server_done = server.advance(&input, &mut to_client).expect("a good client");
        spent += began.elapsed();
        client_done = client.advance(&std::mem::take(&mut to_client), &mut to_server).expect("a good server");
    }
    let began = Instant::now();
    let server = server.finish().expect("it is done");
    spent += began.elapsed();
    (client.finish().expect("it is done"), server, spent)
}

fn suites() -> [(&'static str, SupportedCipherSuite); 4] {
    [
        ("tls13_aes128", cipher_suite::TLS13_AES_128_GCM_SHA256),
        ("tls13_aes256", cipher_suite::TLS13_AES_256_GCM_SHA384),
        ("tls13_chacha20", cipher_suite::TLS13_CHACHA20_POLY1305_SHA256),
        ("tls12_aes128", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ]
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls_seal");
    for (name, suite) in suites() {
        for bytes in SIZES {
            let (mut client, _, _) = handshake(&Configs::new(suite, false));
            let (data, mut out) = (vec![7; bytes], Vec::new());
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(format!("{name}/{bytes}"), |b| {
                b.iter(|| {
                    out.clear();
                    client.session.seal([black_box(&data[..])], &mut out).expect("a good session");
                    black_box(out.len())
                });
            });
        }
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls_open");
    for (name, suite) in suites() {
        for bytes in SIZES {
            let (mut client, mut server, _) = handshake(&Configs::new(suite, false));
            let data = vec![7; bytes];
            group.throughput(Throughput::Bytes(bytes as u64));
            group.bench_function(format!("{name}/{bytes}"), |b| {
                b.iter_batched(
                    || {
                        let mut record = Vec::new();
                        client.session.seal([&data[..]], &mut record).expect("a good session");
                        assert_eq!(record_bytes(&record), Ok(Some(record.len())));
                        record
                    },
                    |mut record| {
                        let opened = server.session.open(&mut record, &mut Vec::new());
                        assert!(matches!(opened, Ok(Opened::Data(_))));
                        record
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn handshakes(c: &mut Criterion) {
    let mut group = c.benchmark_group("tls_handshake_of_the_server");
    let tls13 = cipher_suite::TLS13_AES_128_GCM_SHA256;
    let table = [
        ("tls13_ecdsa", tls13, false, false),
        ("tls13_rsa2048", tls13, true, false),
        ("tls13_resumed", tls13, false, true),
        ("tls12_ecdsa", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, false, false),
    ];
    for (name, suite, rsa, resumes) in table {
        let mut configs = Configs::new(suite, rsa);
        if !resumes {
            let mut client = ClientConfig::clone(&configs.client);
            client.resumption = Resumption::disabled();
            configs.client = Arc::new(client);
        }
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut spent = Duration::ZERO;
                for _ in 0..times {
                    let (mut client, _, of_server) = handshake(&configs);
                    spent += of_server;
                    take_tickets(&mut client);
                }
                spent
            });
        });
        let (mut client, _, _) = handshake(&configs);
        take_tickets(&mut client);
        assert_eq!(handshake(&configs).0.facts.resumed, resumes, "{name}");
    }
    group.finish();
}

/// In TLS 1.3 the tickets come behind the handshake.
fn take_tickets(client: &mut Established) {
    let (mut rest, mut at) = (std::mem::take(&mut client.rest), 0);
    while let Ok(Some(length)) = record_bytes(rest.get(at..).unwrap_or_default()) {
        let Some(record) = rest.get_mut(at..at + length) else { return };
        client.session.open(record, &mut Vec::new()).expect("a ticket");
        at += length;
    }
}

criterion_group!(benches, seal, open, handshakes);
criterion_main!(benches);
