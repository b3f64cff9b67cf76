//! Tests of the face, each on every driver.

mod buffers;
mod listeners;
mod mailboxes;
mod memory;
mod refused;
mod splicing;
mod streams;
mod tasks;
mod timers;

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use super::*;

/// Long enough for a loaded machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const DRIVERS: [Driver; 2 + cfg!(feature = "monoio") as usize + cfg!(feature = "glommio") as usize] = [
    Driver::Uring,
    Driver::Epoll,
    #[cfg(feature = "monoio")]
    Driver::Monoio,
    #[cfg(feature = "glommio")]
    Driver::Glommio,
];

/// Small buffers, so that bounds are reached quickly.
fn small(driver: Driver) -> RuntimeConfig {
    RuntimeConfig {
        driver,
        ring_entries: 64,
        buffers: BufferConfig {
            buffer_bytes: 4096,
            ring_buffers: 16,
            worker_bytes_max: 8 << 20,
            connection_bytes_max: 32 * 1024,
        },
        ..RuntimeConfig::default()
    }
}

/// Runs `test` on each driver.
fn on_each(change: impl Fn(&mut RuntimeConfig), test: impl AsyncFn()) {
    for driver in DRIVERS {
        let mut config = small(driver);
        change(&mut config);
        eprintln!("driver: {driver}");
        run(&config, in_time(test())).expect("a runtime");
    }
}

/// Runs `test` on each driver that can give descriptors up.
fn on_each_own(test: impl AsyncFn()) {
    on_each(
        |_| (),
        async || {
            if moves_descriptors() {
                test().await;
            }
        },
    );
}

fn each(test: impl AsyncFn()) {
    on_each(|_| (), test);
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout_at(now() + PATIENCE, future).await.expect("the test ends in time")
}

fn listen() -> (Listener, std::net::SocketAddr) {
    let fd = bind(&"127.0.0.1:0".parse().unwrap(), false, 1024).unwrap();
    let listener = Listener::from_fd(fd).unwrap();
    let Ok(Address::Tcp(address)) = listener.local_addr() else { panic!("a TCP listener") };
    (listener, address)
}

/// Both ends of a connection: of the client, and of the server.
async fn pair() -> (Stream, Stream) {
    let (listener, address) = listen();
    let client = Stream::connect(&address.into()).await.unwrap();
    let (fd, peer) = listener.accept().await.unwrap();
    assert_eq!(Some(client.local_addr().unwrap()), peer.map(Address::Tcp));
    (client, Stream::from_accepted(fd))
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

/// Lets the loop turn until `condition` holds: nothing else may be awaited for it.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        sleep_until(now() + Duration::from_millis(1)).await;
    }
}

fn numbered(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

/// Bytes without a pattern: quick to make, where only their number matters.
fn some(n: u64) -> Vec<u8> {
    vec![7; n as usize]
}

/// Both outputs.
async fn join<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
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

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled", 2016.
struct Random(u64);

impl Random {
    /// Seeded by RINGWAY_SEED or the clock; the seed is printed.
    fn new() -> Random {
        let seed =
            std::env::var("RINGWAY_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
            });
        eprintln!("RINGWAY_SEED={seed}");
        Random(seed | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}
