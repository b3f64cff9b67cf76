//! Memory of a proxy per idle connection: opens many, asks once on each, and looks at the process.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway_protocols::tls::rustls::pki_types::ServerName;
use ringway_protocols::tls::rustls::{self, ClientConfig, ClientConnection};

use serde::{Deserialize, Serialize};

use crate::head;
use crate::http2;
use crate::load::codec::Protocol;
use crate::load::tls::config::TlsArgs;
use crate::process::{self, Memory};
use crate::socket::{self, RawAddress};

/// What to open.
#[derive(Clone, Debug)]
pub struct IdleConfig {
    pub target: SocketAddr,
    pub connections: u32,
    /// Whether each connection carries one request first, and so is idle between requests.
    pub request: bool,
    /// Whether they speak HTTP/2, with prior knowledge.
    pub http2: bool,
    /// Whether they speak TLS. Certificates are not verified: it is the memory that is looked at.
    pub tls: bool,
    /// The local address; without it, others of 127.0.0.0/8 where those of the first are used up.
    pub source: Option<IpAddr>,
    pub pids: Vec<u32>,
    /// How long the memory is given to settle.
    pub settle: Duration,
}

/// What idle connections cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleReport {
    pub connections: u32,
    pub before: Memory,
    pub after: Memory,
    /// Growth of anonymous memory over the connections.
    pub bytes_per_connection: f64,
    /// Connections that were still open when the memory was read.
    pub still_open: u32,
}

/// An answer that takes longer is none.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// Connections per source address: below the 28,000 ephemeral ports of the default range.
const PER_SOURCE_MAX: u32 = 20_000;
/// Requests before the first reading, so that pools and buffers have their working size.
const WARM_UP_CONNECTIONS: u32 = 200;

/// Opens the connections, reads the memory, closes them.
pub fn run(config: &IdleConfig) -> io::Result<IdleReport> {
    warm_up(config)?;
    let before = process::memory(&config.pids)?;
    let mut open = open_many(config, config.connections)?;
    wait_settled(config)?;
    let after = process::memory(&config.pids)?;
    let still_open = open.iter_mut().map(is_open).filter(|&open| open).count() as u32;
    let grown = after.anonymous_bytes.saturating_sub(before.anonymous_bytes);
    let bytes_per_connection = grown as f64 / f64::from(config.connections.max(1));
    Ok(IdleReport { connections: config.connections, before, after, bytes_per_connection, still_open })
}

/// Opens some connections and closes them, so that pools and buffers have their working size.
pub(crate) fn warm_up(config: &IdleConfig) -> io::Result<()> {
    drop(open_many(config, WARM_UP_CONNECTIONS)?);
    wait_settled(config)
}

pub(crate) fn open_many(config: &IdleConfig, connections: u32) -> io::Result<Vec<TcpStream>> {
    let mut open = Vec::with_capacity(connections as usize);
    let tls = if config.tls { Some(TlsAsker::new(config.http2)?) } else { None };
    for number in 0..connections {
        let mut stream = open_patiently(config, number / PER_SOURCE_MAX)
            .map_err(|error| io::Error::new(error.kind(), format!("connection {number}: {error}")))?;
        if config.request || config.tls {
            stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
            let asked = match &tls {
                Some(tls) => tls.ask(&mut stream),
                None if config.http2 => http2::ask(&mut stream),
                None => ask(&mut stream),
            };
            asked.map_err(|error| {
                io::Error::new(error.kind(), format!("request on connection {number}: {error}"))
            })?;
        }
        open.push(stream);
    }
    Ok(open)
}

/// A connect that a signal interrupts goes on without us: another socket is simpler than waiting for it.
fn open_patiently(config: &IdleConfig, source: u32) -> io::Result<TcpStream> {
    loop {
        match open_one(config, source) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn open_one(config: &IdleConfig, source: u32) -> io::Result<TcpStream> {
    let target = config.target;
    let socket = socket::tcp(target)?;
    if let Some(source) = config.source {
        socket::bind_source(&socket, source)?;
    } else if target.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) && source > 0 {
        socket::bind_source(&socket, Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + source))?;
    }
    let raw = RawAddress::new(target);
    // SAFETY: `raw` is a valid address of `len` bytes.
    let result = unsafe { libc::connect(std::os::fd::AsRawFd::as_raw_fd(&socket), raw.as_ptr(), raw.len()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(TcpStream::from(socket))
}

/// Asks over TLS, and forgets what it knows of the connection afterwards: only the other side keeps it.
struct TlsAsker {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    http2: bool,
}

impl TlsAsker {
    fn new(http2: bool) -> io::Result<TlsAsker> {
        let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
        let args = TlsArgs { insecure: true, ..TlsArgs::default() };
        let name = ServerName::try_from("idle.test").map_err(io::Error::other)?;
        Ok(TlsAsker { config: Arc::new(args.client(protocol)?), name, http2 })
    }

    fn ask(&self, stream: &mut TcpStream) -> io::Result<()> {
        let mut session =
            ClientConnection::new(Arc::clone(&self.config), self.name.clone()).map_err(io::Error::other)?;
        let mut stream = rustls::Stream::new(&mut session, stream);
        if self.http2 { http2::ask(&mut stream) } else { ask(&mut stream) }
    }
}

fn ask(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n")?;
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            result => result?,
        };
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the response"));
        }
        bytes.extend_from_slice(&buffer[..count]);
        let head = head::parse_response(&bytes)
            .map_err(|head::Malformed| io::Error::other("not an HTTP response"))?;
        if let Some(head) = head
            && bytes.len() as u64 >= head.bytes as u64 + head.content_length.unwrap_or(0)
        {
            return if head.status == 200 {
                Ok(())
            } else {
                Err(io::Error::other(format!("status {}", head.status)))
            };
        }
    }
}

/// Waits until the memory has not changed for a quarter of the settling time, at most for all of it.
pub(crate) fn wait_settled(config: &IdleConfig) -> io::Result<()> {
    let end = Instant::now() + config.settle;
    let (mut last, mut since) = (process::memory(&config.pids)?, Instant::now());
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(50));
        let now = process::memory(&config.pids)?;
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > config.settle / 4 {
            break;
        }
    }
    Ok(())
}

pub(crate) fn is_open(stream: &mut TcpStream) -> bool {
    let blocked = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
    stream.set_nonblocking(true).is_ok() && stream.read(&mut [0; 1]).is_err_and(|error| blocked(&error))
}
