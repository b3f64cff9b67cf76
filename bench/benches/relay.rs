//! `core/src/io`: one request and its response through the simple relay over socket pairs, all on one thread: the
//! cost of the runtime with the least kernel work that sockets can have.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::relay::relay;
use ringway_core::io::{Driver, Part, RuntimeConfig, Stream, run, spawn};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

fn round_trips(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay");
    for driver in [Driver::Uring, Driver::Epoll] {
        for body_bytes in [64, 16 << 10, 128 << 10] {
            let name = format!("{driver}_{body_bytes}_bytes");
            if let Err(error) = exchange(driver, body_bytes, 1) {
                eprintln!("skipping {name}: {error}");
                continue;
            }
            group.throughput(Throughput::Bytes(body_bytes as u64));
            group.bench_function(name, |b| {
                b.iter_custom(|count| exchange(driver, body_bytes, count).expect("it has just worked"));
            });
        }
    }
    group.finish();
}

/// So many requests, one after the other: how long they take.
fn exchange(driver: Driver, body_bytes: usize, count: u64) -> io::Result<Duration> {
    let response =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {body_bytes}\r\n\r\n{}", "x".repeat(body_bytes));
    let response: &'static [u8] = response.into_bytes().leak();
    let (client, downstream) = pair()?;
    let (upstream, origin) = pair()?;
    run(&RuntimeConfig { driver, ..RuntimeConfig::default() }, async move {
        let (downstream, upstream) = (Stream::from_fd(downstream)?, Stream::from_fd(upstream)?);
        spawn(async move {
            // It ends when the client goes.
            let _ = relay(downstream, upstream).await;
        });
        let (client, origin) = (Stream::from_fd(client)?, Stream::from_fd(origin)?);
        let start = Instant::now();
        for _ in 0..count {
            client.send(Part::Static(REQUEST))?;
            receive(&origin, REQUEST.len()).await?;
            origin.send(Part::Static(response))?;
            receive(&client, response.len()).await?;
        }
        Ok(start.elapsed())
    })?
}

async fn receive(stream: &Stream, mut bytes: usize) -> io::Result<()> {
    while bytes > 0 {
        let chunk = stream.recv().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes -= chunk.len();
    }
    Ok(())
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    UnixStream::pair().map(|(a, b)| (a.into(), b.into()))
}

criterion_group!(benches, round_trips);
criterion_main!(benches);
