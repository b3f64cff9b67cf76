//! A client that sends exactly the bytes it is told to and reads strictly what comes back.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::http::Response;
use crate::tls::TlsSocket;
use crate::wait::PATIENCE;
use crate::wire::{Broken, Wire};

/// One connection to whatever is under test. Every method panics with what it saw when the connection does not do
/// what the test expects of it.
#[derive(Debug)]
pub struct Client(Wire);

impl Client {
    pub fn connect(to: SocketAddr) -> Client {
        let stream =
            TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|e| panic!("connect to {to}: {e}"));
        Client(Wire::tcp(stream))
    }

    /// Connects with TLS and makes the handshake.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn connect_tls(
        to: SocketAddr,
        config: std::sync::Arc<rustls::ClientConfig>,
        name: &str,
    ) -> std::io::Result<Client> {
        let stream =
            TcpStream::connect_timeout(&to, PATIENCE).unwrap_or_else(|e| panic!("connect to {to}: {e}"));
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut socket = TlsSocket::client(stream, config, name);
        socket.handshake()?;
        Ok(Client::over(socket))
    }

    /// Over a connection that speaks TLS already.
    pub fn over(socket: TlsSocket) -> Client {
        Client(Wire::tls(socket))
    }

    pub fn connect_unix(path: &Path) -> Client {
        let stream =
            UnixStream::connect(path).unwrap_or_else(|e| panic!("connect to {}: {e}", path.display()));
        Client(Wire::unix(stream))
    }

    /// Connects from a given address of this machine, such as 127.0.0.2.
    pub fn connect_from(from: IpAddr, to: SocketAddr) -> Client {
        Client::connect_with(Some(from), None, to)
    }

    /// Connects with a receive buffer of about `bytes`, so that not reading is felt soon.
    pub fn connect_with_buffer(bytes: usize, to: SocketAddr) -> Client {
        Client::connect_with(None, Some(bytes), to)
    }

    fn connect_with(from: Option<IpAddr>, buffer_bytes: Option<usize>, to: SocketAddr) -> Client {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
        if let Some(bytes) = buffer_bytes {
            sockopt::set_socket_recv_buffer_size(&socket, bytes).expect("a receive buffer size");
        }
        if let Some(from) = from {
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))
                .unwrap_or_else(|e| panic!("bind to {from}: {e}"));
        }
        rustix::net::connect(&socket, &to).unwrap_or_else(|e| panic!("connect to {to}: {e}"));
        Client(Wire::tcp(TcpStream::from(socket)))
    }

    /// Sends bytes in one write.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Client {
        self.0.write(bytes.as_ref()).unwrap_or_else(|e| panic!("send {} bytes: {e}", bytes.as_ref().len()));
        self
    }

    /// Sends bytes to a peer that may have closed already; whether it took them.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write(bytes.as_ref()).is_ok()
    }

    /// Reads one final response to a request of any method but HEAD and CONNECT; interim ones are skipped.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    /// Reads one final response to a request with `method`; interim ones are skipped.
    pub fn response_to(&mut self, method: &str) -> Response {
        loop {
            let response = self.any_response(method);
            if response.status >= 200 || response.status == 101 {
                return response;
            }
        }
    }

    /// Reads one response, an interim one included.
    pub fn any_response(&mut self, method: &str) -> Response {
        self.try_response(method).unwrap_or_else(|broken| panic!("instead of a response: {}", show(&broken)))
    }

    pub fn try_response(&mut self, method: &str) -> Result<Response, Broken> {
        self.0.response(method)
    }

    /// Sends a request and reads its response.
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> Response {
        self.send(request).response()
    }

    /// `GET path` with a Host and nothing else.
    pub fn get(&mut self, path: &str) -> Response {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
    }

    /// Waits for the end of the connection and panics when anything comes before it.
    pub fn expect_closed(&mut self) {
        match self.0.rest() {
            Ok(rest) if rest.is_empty() => {}
            Ok(rest) => panic!("before the close: {:?}", String::from_utf8_lossy(&rest)),
            Err(Broken::Reset(rest)) if rest.is_empty() => {}
            Err(broken) => panic!("instead of a close: {}", show(&broken)),
        }
    }

    /// Waits until the connection ends, by FIN or by RST, and returns what came before.
    pub fn until_closed(&mut self) -> Vec<u8> {
        match self.0.rest() {
            Ok(rest) | Err(Broken::Reset(rest)) => rest,
            Err(broken) => panic!("instead of a close: {}", show(&broken)),
        }
    }

    /// Whether nothing comes, neither a byte nor the end, for this long.
    pub fn stays_silent(&mut self, time: Duration) -> bool {
        self.0.set_patience(time);
        let result = self.0.fill(1);
        self.0.set_patience(PATIENCE);
        matches!(result, Err(Broken::Silent(_)))
    }

    /// Sends FIN; reading goes on.
    pub fn finish_writing(&mut self) -> &mut Client {
        self.0.finish_writing();
        self
    }

    /// Closes with a RST.
    pub fn reset(self) {
        self.0.reset_on_close();
    }

    pub fn local_port(&self) -> u16 {
        self.0.local_port()
    }

    /// The bytes underneath.
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.0
    }
}

fn show(broken: &Broken) -> String {
    let text = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]));
    match broken {
        Broken::Closed(bytes) => format!("closed after {}", text(bytes)),
        Broken::Reset(bytes) => format!("reset after {}", text(bytes)),
        Broken::Silent(bytes) => format!("silence after {}", text(bytes)),
        Broken::Malformed(what) => format!("malformed: {what}"),
    }
}
