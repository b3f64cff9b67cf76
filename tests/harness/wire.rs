//! One socket with deadlines, which keeps every byte it received.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http::{self, Request, Response};
use crate::tls::TlsSocket;
use crate::wait::PATIENCE;

/// Why a message could not be read.
#[derive(Debug)]
pub enum Broken {
    /// End of the stream; what came of the message until then.
    Closed(Vec<u8>),
    /// The peer reset the connection; what came of the message until then.
    Reset(Vec<u8>),
    /// Nothing for longer than the deadline; what came of the message until then.
    Silent(Vec<u8>),
    /// A strict reader refuses it, and why.
    Malformed(String),
}

/// A connected socket and all that came over it.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    received: Vec<u8>,
    /// How much of `received` has been read as messages.
    taken: usize,
    patience: Duration,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsSocket>),
}

impl Wire {
    pub fn tcp(stream: TcpStream) -> Wire {
        // Each `write` of a test is a segment of its own.
        let _ = stream.set_nodelay(true);
        Wire { socket: Socket::Tcp(stream), received: Vec::new(), taken: 0, patience: PATIENCE }
    }

    pub fn unix(stream: UnixStream) -> Wire {
        Wire { socket: Socket::Unix(stream), received: Vec::new(), taken: 0, patience: PATIENCE }
    }

    /// A connection on which a handshake is made with the first byte that is read or written.
    pub fn tls(socket: TlsSocket) -> Wire {
        Wire { socket: Socket::Tls(Box::new(socket)), received: Vec::new(), taken: 0, patience: PATIENCE }
    }

    /// Speaks TLS from here on, as a server. Everything that came before has to have been read.
    pub fn start_tls(&mut self, config: Arc<rustls::ServerConfig>) {
        assert!(self.unread().is_empty(), "received and not read: {:?}", self.unread());
        let stream = self.tcp_socket().expect("a TCP socket").try_clone().expect("another handle");
        self.socket = Socket::Tls(Box::new(TlsSocket::server(stream, config)));
    }

    /// The TLS of the connection.
    pub fn secure(&mut self) -> &mut TlsSocket {
        match &mut self.socket {
            Socket::Tls(socket) => socket,
            _ => panic!("the connection does not speak TLS"),
        }
    }

    /// How long a read may stay without a byte.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Everything that ever came in.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// What came in and was not read as part of a message.
    pub fn unread(&self) -> &[u8] {
        &self.received[self.taken..]
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Tcp(stream) => stream.set_write_timeout(Some(self.patience)).and(stream.write_all(bytes)),
            Socket::Unix(stream) => {
                stream.set_write_timeout(Some(self.patience)).and(stream.write_all(bytes))
            }
            Socket::Tls(socket) => {
                socket.tcp().set_write_timeout(Some(self.patience)).and_then(|()| socket.write_all(bytes))
            }
        }
    }

    /// Writes what the kernel takes before `patience` ends; for peers that stop reading.
    pub fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.socket {
            Socket::Tcp(stream) => {
                stream.set_write_timeout(Some(self.patience)).and_then(|()| stream.write(bytes))
            }
            Socket::Unix(stream) => {
                stream.set_write_timeout(Some(self.patience)).and_then(|()| stream.write(bytes))
            }
            Socket::Tls(socket) => {
                socket.tcp().set_write_timeout(Some(self.patience)).and_then(|()| socket.write(bytes))
            }
        }
    }

    /// One read of at most `max` bytes; 0 is the end of the stream.
    pub fn fill(&mut self, max: usize) -> Result<usize, Broken> {
        let deadline = Instant::now() + self.patience;
        let mut buffer = [0; 16 * 1024];
        let max = max.min(buffer.len());
        let buffer = &mut buffer[..max];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let result = match &mut self.socket {
                Socket::Tcp(stream) => stream.set_read_timeout(Some(left)).and_then(|()| stream.read(buffer)),
                Socket::Unix(stream) => {
                    stream.set_read_timeout(Some(left)).and_then(|()| stream.read(buffer))
                }
                Socket::Tls(socket) => {
                    socket.tcp().set_read_timeout(Some(left)).and_then(|()| socket.read(buffer))
                }
            };
            match result {
                Ok(count) => {
                    self.received.extend_from_slice(&buffer[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(Broken::Silent(self.unread().to_vec()));
                }
                Err(_) => return Err(Broken::Reset(self.unread().to_vec())),
            }
        }
    }

    /// Takes exactly `count` bytes.
    pub fn exactly(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.unread().len() < count {
            self.fill_or_closed()?;
        }
        Ok(self.take(count))
    }

    /// Takes all up to the end of the stream.
    pub fn rest(&mut self) -> Result<Vec<u8>, Broken> {
        while self.fill(usize::MAX)? > 0 {}
        Ok(self.take(self.unread().len()))
    }

    /// Takes a line with its LF.
    pub fn line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.unread().iter().position(|byte| *byte == b'\n') {
                return Ok(self.take(end + 1));
            }
            self.fill_or_closed()?;
        }
    }

    /// The same without receiving a byte beyond it.
    pub fn line_alone(&mut self) -> Result<Vec<u8>, Broken> {
        while !self.unread().ends_with(b"\n") {
            if self.fill(1)? == 0 {
                return Err(Broken::Closed(self.unread().to_vec()));
            }
        }
        self.line()
    }

    /// Takes a message head with its empty line.
    pub fn head(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(end) = self.unread().windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(self.take(end + 4));
            }
            self.fill_or_closed()?;
        }
    }

    /// Reads one request strictly, body and trailers included.
    pub fn request(&mut self) -> Result<Request, Broken> {
        http::read_request(self)
    }

    /// Reads one response to a request with `method`, an interim one (1xx) included.
    pub fn response(&mut self, method: &str) -> Result<Response, Broken> {
        http::read_response(self, method)
    }

    /// Sends FIN, over TLS a close_notify before it; reading goes on.
    pub fn finish_writing(&mut self) {
        let _ = match &mut self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            Socket::Tls(socket) => socket.finish().and_then(|()| socket.tcp().shutdown(Shutdown::Write)),
        };
    }

    /// Makes the coming close a RST.
    pub fn reset_on_close(&self) {
        if let Some(stream) = self.tcp_socket() {
            let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
        }
    }

    pub fn local_port(&self) -> u16 {
        self.tcp_socket().and_then(|stream| stream.local_addr().ok()).map_or(0, |address| address.port())
    }

    pub fn peer_port(&self) -> u16 {
        self.tcp_socket().and_then(|stream| stream.peer_addr().ok()).map_or(0, |address| address.port())
    }

    fn tcp_socket(&self) -> Option<&TcpStream> {
        match &self.socket {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(_) => None,
            Socket::Tls(socket) => Some(socket.tcp()),
        }
    }

    /// Whether the peer closed or reset, without waiting for it.
    pub fn is_closed_now(&mut self) -> bool {
        let patience = std::mem::replace(&mut self.patience, Duration::from_millis(1));
        let result = self.fill(usize::MAX);
        self.patience = patience;
        matches!(result, Ok(0) | Err(Broken::Reset(_)))
    }

    fn fill_or_closed(&mut self) -> Result<(), Broken> {
        match self.fill(usize::MAX)? {
            0 => Err(Broken::Closed(self.unread().to_vec())),
            _ => Ok(()),
        }
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let taken = self.received[self.taken..self.taken + count].to_vec();
        self.taken += count;
        taken
    }
}
