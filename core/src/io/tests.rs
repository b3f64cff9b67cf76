//! Tests of the face, each on every driver.

use std::time::Duration;

use super::*;

/// Runs `test` on each driver.
fn on_each(mut change: impl FnMut(&mut RuntimeConfig), test: impl AsyncFn()) {
    for driver in [Driver::Uring, Driver::Epoll] {
        let mut config = RuntimeConfig { driver, ring_entries: 64, ..RuntimeConfig::default() };
        change(&mut config);
        eprintln!("driver: {driver}");
        run(&config, async {
            timeout_at(now() + Duration::from_secs(20), test()).await.expect("the test ends in time");
        })
        .expect("a runtime");
    }
}

fn each(test: impl AsyncFn()) {
    on_each(|_| (), test);
}

fn listen() -> (Listener, std::net::SocketAddr) {
    let fd = bind(&"127.0.0.1:0".parse().unwrap(), false, 128).unwrap();
    let listener = Listener::from_fd(fd).unwrap();
    let Ok(Address::Tcp(address)) = listener.local_addr() else { panic!("a TCP listener") };
    (listener, address)
}

/// Both ends of a connection.
async fn pair() -> (Stream, Stream) {
    let (listener, address) = listen();
    let client = Stream::connect(&address.into()).await.unwrap();
    let (fd, peer) = listener.accept().await.unwrap();
    assert_eq!(Some(client.local_addr().unwrap()), peer.map(Address::Tcp));
    (client, Stream::from_fd(fd).unwrap())
}

async fn recv_exact(stream: &Stream, n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < n {
        let chunk = stream.recv().await.unwrap();
        assert!(!chunk.is_empty(), "{} of {n} bytes, then the end", bytes.len());
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len(), n);
    bytes
}

#[test]
fn bytes_arrive_in_order_and_then_the_end() {
    each(async || {
        let (a, b) = pair().await;
        a.send(&b"hello "[..]).unwrap();
        a.send(Parts::from(b"wor".to_vec()).and(&b"ld"[..])).unwrap();
        assert_eq!(recv_exact(&b, 11).await, b"hello world");
        let big: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
        b.send(big.clone()).unwrap();
        assert_eq!(recv_exact(&a, big.len()).await, big);
        b.sent().await.unwrap();
        assert_eq!((a.unsent(), b.unsent()), (0, 0));
        a.shutdown_write();
        assert!(b.recv().await.unwrap().is_empty());
        assert!(b.recv().await.unwrap().is_empty(), "again and again");
        b.send(&b"still open"[..]).unwrap();
        assert_eq!(recv_exact(&a, 10).await, b"still open");
    });
}
