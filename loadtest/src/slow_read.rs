//! Memory of a proxy while a large body flows to a client that reads slowly.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::process;
use crate::socket::{self, RawAddress};

/// How slowly, and for how long.
#[derive(Clone, Debug)]
pub struct SlowReadConfig {
    pub target: SocketAddr,
    pub bytes_per_second: u64,
    /// Reading stops then, however much is left.
    pub duration: Duration,
    pub pids: Vec<u32>,
}

/// What was read, and how the memory of the process moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SlowReadReport {
    pub bytes_read: u64,
    pub seconds: f64,
    /// Resident memory before the request.
    pub before_bytes: u64,
    /// Lowest and highest from one second after the request on.
    pub lowest_bytes: u64,
    pub highest_bytes: u64,
}

/// Reads in steps of this length.
const STEP: Duration = Duration::from_millis(20);

/// Asks for one body and reads it slowly.
pub fn run(config: &SlowReadConfig) -> io::Result<SlowReadReport> {
    let resident = || process::memory(&config.pids).map(|memory| memory.rss_bytes);
    let before_bytes = resident()?;
    let mut stream = connect(config.target)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: slow.test\r\n\r\n")?;
    let start = Instant::now();
    let mut report = SlowReadReport {
        bytes_read: 0,
        seconds: 0.0,
        before_bytes,
        lowest_bytes: u64::MAX,
        highest_bytes: 0,
    };
    let mut buffer = vec![0; (config.bytes_per_second / 50).max(1) as usize];
    let mut steps = 0u32;
    while start.elapsed() < config.duration {
        let wanted = (config.bytes_per_second as f64 * start.elapsed().as_secs_f64()) as u64;
        while report.bytes_read < wanted {
            let most = buffer.len().min((wanted - report.bytes_read) as usize);
            let count = stream.read(&mut buffer[..most])?;
            if count == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the body ended early: ask for a larger one",
                ));
            }
            report.bytes_read += count as u64;
        }
        if start.elapsed() > Duration::from_secs(1) {
            let now = resident()?;
            report.lowest_bytes = report.lowest_bytes.min(now);
            report.highest_bytes = report.highest_bytes.max(now);
        }
        steps += 1;
        std::thread::sleep((start + STEP * steps).saturating_duration_since(Instant::now()));
    }
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// With a small receive buffer, so that what the client does not read stays with the proxy.
fn connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket::tcp(target)?;
    socket::set_receive_buffer(&socket, 64 << 10);
    let raw = RawAddress::new(target);
    // SAFETY: `raw` is a valid address of `len` bytes.
    if unsafe { libc::connect(socket.as_raw_fd(), raw.as_ptr(), raw.len()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpStream::from(socket))
}
