//! TLS over real sockets, on each driver.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ringway_protocols::tls::Handshake;
use ringway_protocols::tls::rustls::pki_types::{PrivateKeyDer, ServerName};
use ringway_protocols::tls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

use super::*;
use crate::config::BufferConfig;
use crate::io::{self as rt, Driver, Listener, RuntimeConfig};

const NAME: &str = "shop.example";

fn configs() -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    server.enable_secret_extraction = true;
    server.alpn_protocols = vec![b"h2".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.enable_secret_extraction = true;
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(server), Arc::new(client))
}

/// Runs `test` on each driver, with small buffers so that records straddle them.
fn on_each(test: impl AsyncFn()) {
    for driver in [Driver::Uring, Driver::Epoll] {
        let config = RuntimeConfig {
            driver,
            ring_entries: 64,
            buffers: BufferConfig {
                buffer_bytes: 4096,
                ring_buffers: 16,
                worker_bytes_max: 8 << 20,
                connection_bytes_max: 32 * 1024,
            },
            ..RuntimeConfig::default()
        };
        eprintln!("driver: {driver}");
        rt::run(&config, async {
            rt::timeout_at(rt::now() + Duration::from_secs(60), test()).await.expect("the test ends in time");
        })
        .expect("a runtime");
    }
}

async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(cx)
        {
            first = Some(output);
        }
        if second.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(cx)
        {
            second = Some(output);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    (first.unwrap(), second.unwrap())
}

async fn sockets() -> (Transport, Transport) {
    let fd = rt::bind(&"127.0.0.1:0".parse().unwrap(), false, 16).unwrap();
    let listener = Listener::from_fd(fd).unwrap();
    let Ok(Address::Tcp(address)) = listener.local_addr() else { panic!("a TCP listener") };
    let client = Stream::connect(&address.into()).await.unwrap();
    let (fd, _) = listener.accept().await.unwrap();
    (client.into(), Stream::from_accepted(fd).into())
}

/// A client and a server with TLS between them.
async fn pair() -> (Transport, Transport) {
    let (server_config, client_config) = configs();
    let (mut client, mut server) = sockets().await;
    let name = ServerName::try_from(NAME).unwrap();
    let (one, other) = both(
        async {
            let handshake = Handshake::client(client_config, name).unwrap();
            client.secure(handshake, &[], None, async || ()).await.map(Rc::clone)
        },
        async {
            let handshake = Handshake::server(server_config).unwrap();
            let first = server.recv().await.unwrap();
            server.secure(handshake, &first, Some(NAME.into()), async || ()).await.map(Rc::clone)
        },
    )
    .await;
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!((one.alpn.as_deref(), other.alpn.as_deref()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
    assert_eq!((one.certificates.len(), other.server_name.as_deref()), (1, Some(NAME)));
    assert!(client.as_plain().is_none() && client.tls().is_some());
    (client, server)
}

async fn recv_exact(from: &Transport, n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < n {
        let chunk = from.recv().await.unwrap();
        assert!(!chunk.is_empty(), "{} of {n} bytes, then the end", bytes.len());
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

#[test]
fn bytes_of_any_length_arrive_and_then_the_end() {
    on_each(async || {
        let (client, server) = pair().await;
        let mut expected = Vec::new();
        let long: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 3) as u8).collect();
        let sending = async {
            for bytes in [1, 2, 100, 4000, 4096, 16_384, 16_385, 100_000, long.len()] {
                client.send(Parts::from(&b"head "[..]).and(long[..bytes].to_vec())).unwrap();
                expected.extend_from_slice(b"head ");
                expected.extend_from_slice(&long[..bytes]);
            }
            let mut list: VecDeque<Part> = (0..50).map(|n| Part::from(vec![n; 700])).collect();
            expected.extend(list.iter().flat_map(|part| part.to_vec()));
            client.send_all(&mut list).unwrap();
            client.sent().await.unwrap();
            client.shutdown_write();
            assert!(client.send(&b"more"[..]).is_err());
        };
        let total = (9 * 5 + 1 + 2 + 100 + 4000 + 4096 + 16_384 + 16_385 + 100_000) + 3_000_000 + 50 * 700;
        let ((), received) = both(sending, recv_exact(&server, total)).await;
        assert!(received == expected);
        assert!(server.recv().await.unwrap().is_empty(), "the end");
        assert!(server.recv().await.unwrap().is_empty(), "and again");
        server.send(&b"answer"[..]).unwrap();
        assert_eq!(recv_exact(&client, 6).await, b"answer", "after the half-close");
    });
}

#[test]
fn an_end_without_close_notify_is_no_end() {
    on_each(async || {
        let (client, server) = pair().await;
        client.send(&b"half"[..]).unwrap();
        client.sent().await.unwrap();
        client.stream.shutdown_write();
        assert_eq!(recv_exact(&server, 4).await, b"half");
        assert_eq!(server.recv().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn bytes_that_are_not_the_peers_end_the_connection() {
    on_each(async || {
        let (client, server) = pair().await;
        client.send(&b"good"[..]).unwrap();
        client.stream.send(&b"\x17\x03\x03\x00\x20forged forged forged forged forg"[..]).unwrap();
        assert_eq!(recv_exact(&server, 4).await, b"good");
        assert_eq!(server.recv().await.unwrap_err().kind(), ErrorKind::InvalidData);
        assert!(server.send(&b"more"[..]).is_err(), "the alert was the last");
        assert_eq!(client.recv().await.unwrap_err().kind(), ErrorKind::InvalidData, "the alert");
    });
}

#[test]
fn tickets_leave_a_connection_quiet_and_data_does_not() {
    on_each(async || {
        let (client, server) = pair().await;
        client.arm();
        // The tickets of TLS 1.3 are on their way to the client.
        server.send(&b"x"[..]).unwrap();
        assert_eq!(recv_exact(&client, 1).await, b"x");
        assert!(client.is_quiet());
        server.send(&b"y"[..]).unwrap();
        while client.is_quiet() {
            rt::sleep_until(rt::now() + Duration::from_millis(1)).await;
        }
        assert_eq!(recv_exact(&client, 1).await, b"y");
        assert!(client.into_fd().await.is_err(), "keys cannot change their worker");
    });
}
