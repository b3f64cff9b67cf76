//! The simple relay on Ringway's own runtime: the work of the [bare relay](crate::bare_relay), written against
//! `core::io`. What it costs more than the bare relay is the price of the runtime; what a driver costs more than
//! another is the drivers' difference.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use clap::{Parser, ValueEnum};
use ringway_core::config::BufferConfig;
use ringway_core::io::{self as runtime, Address, Driver, Listener, Part, RuntimeConfig, Stream};

use crate::framing::Framing;

/// Where it listens and forwards to, on which driver, with which buffers.
#[derive(Clone, Debug, Parser)]
pub struct RuntimeRelayArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the origin.
    #[arg(long, default_value = "127.0.0.1:9000")]
    origin: SocketAddr,
    /// Driver.
    #[arg(long, value_enum, default_value = "uring")]
    io: Io,
    /// CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    /// Size of one receive buffer.
    #[arg(long, default_value_t = 32768)]
    buffer_bytes: u32,
    /// Receive buffers offered to the kernel at a time.
    #[arg(long, default_value_t = 64)]
    ring_buffers: u16,
    /// Completions to wait for in one turn.
    #[arg(long, default_value_t = 1)]
    wait_nr: u32,
    /// Microseconds to wait for them at most.
    #[arg(long, default_value_t = 0)]
    min_wait_usec: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Io {
    Uring,
    Epoll,
    Monoio,
    Glommio,
}

/// Bytes that one direction may hold unsent before it stops receiving.
const UNSENT_BYTES_MAX: usize = 256 << 10;

/// Runs until the process is ended.
pub fn run(args: &RuntimeRelayArgs) -> io::Result<()> {
    let defaults = RuntimeConfig::default();
    let config = RuntimeConfig {
        driver: driver(args.io)?,
        cpu: args.cpu,
        buffers: BufferConfig {
            buffer_bytes: args.buffer_bytes,
            ring_buffers: args.ring_buffers,
            ..defaults.buffers
        },
        wait_nr: args.wait_nr,
        min_wait_usec: args.min_wait_usec,
        ..defaults
    };
    let listener = runtime::bind(&Address::Tcp(args.listen), false, 4096)?;
    let origin = Address::Tcp(args.origin);
    runtime::run(&config, async move {
        let listener = Listener::from_fd(listener)?;
        loop {
            let (fd, _) = listener.accept().await?;
            let origin = origin.clone();
            runtime::spawn(async move {
                // A connection that fails is over; nobody asks why.
                let _ = connect_and_relay(fd, &origin).await;
            });
        }
    })?
}

fn driver(io: Io) -> io::Result<Driver> {
    match io {
        Io::Uring => Ok(Driver::Uring),
        Io::Epoll => Ok(Driver::Epoll),
        #[cfg(feature = "monoio")]
        Io::Monoio => Ok(Driver::Monoio),
        #[cfg(feature = "glommio")]
        Io::Glommio => Ok(Driver::Glommio),
        #[cfg(not(all(feature = "monoio", feature = "glommio")))]
        _ => {
            let how = "cargo build --release -p ringway-bench --features monoio,glommio";
            Err(io::Error::new(io::ErrorKind::Unsupported, format!("not built with that driver: {how}")))
        }
    }
}

async fn connect_and_relay(fd: OwnedFd, origin: &Address) -> io::Result<()> {
    let downstream = Stream::from_fd(fd)?;
    relay(downstream, Stream::connect(origin).await?).await
}

/// Relays messages until one side ends.
pub async fn relay(downstream: Stream, upstream: Stream) -> io::Result<()> {
    let (mut requests, mut responses) = (Framing::default(), Framing::default());
    // Both directions in one task, as the proxy has them: whichever has bytes goes on.
    std::future::poll_fn(|cx| {
        let there = forward(&downstream, &upstream, &mut requests, true, cx)?;
        let back = forward(&upstream, &downstream, &mut responses, false, cx)?;
        if there || back { std::task::Poll::Ready(Ok(())) } else { std::task::Poll::Pending }
    })
    .await
}

/// Moves what is there; `true` when the direction has ended.
fn forward(
    from: &Stream,
    to: &Stream,
    framing: &mut Framing,
    requests: bool,
    cx: &std::task::Context<'_>,
) -> io::Result<bool> {
    while to.poll_room(cx, UNSENT_BYTES_MAX).is_ready() {
        let std::task::Poll::Ready(chunk) = from.poll_recv(cx) else { return Ok(false) };
        let chunk = chunk?;
        if chunk.is_empty() || !framing.take(&chunk, requests) {
            return Ok(true);
        }
        to.send(Part::Chunk(chunk))?;
    }
    Ok(false)
}
