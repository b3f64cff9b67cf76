//! TLS records, byte by byte: what a client of rustls sends, taken apart and sent otherwise.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ringway_tests::wait::PATIENCE;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

/// A client whose records can be seen and changed on their way.
pub(crate) struct RawClient {
    pub(crate) connection: ClientConnection,
    pub(crate) tcp: TcpStream,
    /// All bytes sent so far.
    pub(crate) sent: Vec<u8>,
}

impl RawClient {
    pub(crate) fn connect(to: SocketAddr, config: Arc<ClientConfig>, name: &str) -> RawClient {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connection = ClientConnection::new(config, name).expect("a configuration");
        RawClient { connection, tcp: connect(to), sent: Vec::new() }
    }

    /// The records that want to be sent.
    pub(crate) fn take_records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records).expect("into memory");
        }
        records
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent.extend_from_slice(bytes);
        self.tcp.write_all(bytes)
    }

    /// One read, and what it comes to.
    pub(crate) fn receive(&mut self) -> io::Result<()> {
        if self.connection.read_tls(&mut self.tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.connection.process_new_packets().map(drop).map_err(io::Error::other)
    }

    /// Makes the handshake; each flight goes through `change` on its way.
    pub(crate) fn handshake(&mut self, change: impl Fn(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
        loop {
            let records = self.take_records();
            if !records.is_empty() {
                self.send(&change(records))?;
            }
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            self.receive()?;
        }
    }

    /// Protects data, without sending it.
    pub(crate) fn seal(&mut self, data: impl AsRef<[u8]>) -> Vec<u8> {
        self.connection.writer().write_all(data.as_ref()).expect("into memory");
        self.take_records()
    }

    /// Reads data until it holds `wanted`.
    pub(crate) fn read_until(&mut self, wanted: &[u8]) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let mut buffer = [0; 16 * 1024];
            match self.connection.reader().read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => data.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.receive()?,
                Err(error) => return Err(error),
            }
            if data.windows(wanted.len()).any(|window| window == wanted) {
                return Ok(data);
            }
        }
    }
}

/// A connection without anything on it.
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect_timeout(&to, PATIENCE).expect("a connection");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_nodelay(true).expect("TCP_NODELAY");
    tcp
}

/// Sends bytes, ends writing, and returns what comes until the end, by FIN or by RST.
pub(crate) fn answer(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut tcp = connect(to);
    let _ = tcp.write_all(bytes);
    until_closed(&mut tcp)
}

/// What comes until the end, by FIN or by RST.
pub(crate) fn until_closed(tcp: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        match tcp.read(&mut buffer) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("still open after {PATIENCE:?}")
            }
            Err(_) => return all,
        }
    }
}

/// The records in `bytes`, each with its header.
pub(crate) fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = bytes {
        let length = 5 + usize::from(u16::from_be_bytes([*high, *low]));
        let (record, rest) = bytes.split_at(length.min(bytes.len()));
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

/// Splits each handshake record in plain text into records of one byte.
pub(crate) fn one_byte_records(bytes: &[u8]) -> Vec<u8> {
    let split = |record: Vec<u8>| match record[0] {
        22 => record[5..].iter().flat_map(|byte| [22, 3, 3, 0, 1, *byte]).collect(),
        _ => record,
    };
    records(bytes).into_iter().flat_map(split).collect()
}

/// The description of an alert in plain text, where one came.
pub(crate) fn alert(bytes: &[u8]) -> Option<u8> {
    let alert = records(bytes).into_iter().find(|record| record[0] == 21 && record.len() == 7)?;
    Some(alert[6])
}
