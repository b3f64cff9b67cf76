//! TLS for clients and origins of tests: rustls on a blocking socket, and configurations for it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};

use crate::certificates::{Authority, Issued};

/// A socket with TLS on it.
#[derive(Debug)]
pub struct TlsSocket {
    connection: Connection,
    tcp: TcpStream,
}

impl TlsSocket {
    pub fn client(tcp: TcpStream, config: Arc<ClientConfig>, name: &str) -> TlsSocket {
        let name = ServerName::try_from(name.to_owned()).unwrap_or_else(|e| panic!("{name}: {e}"));
        let connection = ClientConnection::new(config, name).expect("a configuration that fits together");
        TlsSocket { connection: connection.into(), tcp }
    }

    pub fn server(tcp: TcpStream, config: Arc<ServerConfig>) -> TlsSocket {
        let connection = ServerConnection::new(config).expect("a configuration that fits together");
        TlsSocket { connection: connection.into(), tcp }
    }

    /// Makes the handshake.
    ///
    /// # Errors
    /// When the peer refuses, or what it says is not accepted here.
    pub fn handshake(&mut self) -> io::Result<()> {
        while self.connection.is_handshaking() {
            self.connection.complete_io(&mut self.tcp)?;
        }
        self.flush()
    }

    /// What was agreed on, and who the peer is.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The socket underneath.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Sends a close_notify.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn finish(&mut self) -> io::Result<()> {
        self.connection.send_close_notify();
        self.flush()
    }
}

impl Read for TlsSocket {
    /// An end without close_notify is an error.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.handshake()?;
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.connection.complete_io(&mut self.tcp)?;
        }
    }
}

impl Write for TlsSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.handshake()?;
        let count = self.connection.writer().write(bytes)?;
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}

/// How a client of a test speaks TLS.
#[derive(Debug, Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    alpn: Vec<Vec<u8>>,
    identity: Option<Issued>,
    resumption: bool,
}

impl TlsClient {
    /// Trusts these authorities and nobody else.
    pub fn trusting(authorities: &[&Authority]) -> TlsClient {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.der()).expect("a certificate of an authority");
        }
        TlsClient {
            roots,
            versions: rustls::ALL_VERSIONS.to_vec(),
            alpn: Vec::new(),
            identity: None,
            resumption: true,
        }
    }

    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> TlsClient {
        self.versions = vec![version];
        self
    }

    pub fn alpn(mut self, protocols: &[&str]) -> TlsClient {
        self.alpn = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Shows this certificate where it is asked for one.
    pub fn identity(mut self, issued: &Issued) -> TlsClient {
        self.identity = Some(issued.clone());
        self
    }

    pub fn without_resumption(mut self) -> TlsClient {
        self.resumption = false;
        self
    }

    /// Sessions are resumed among connections made with one configuration.
    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions)
            .expect("versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(issued) => {
                builder.with_client_auth_cert(chain(issued), key(issued)).expect("a certificate with its key")
            }
        };
        config.alpn_protocols.clone_from(&self.alpn);
        if !self.resumption {
            config.resumption = rustls::client::Resumption::disabled();
        }
        Arc::new(config)
    }
}

/// An origin's side: shows `issued`, and asks for a certificate of `clients` where they are given.
pub fn server_config(issued: &Issued, alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der()).expect("a certificate of an authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config =
        builder.with_single_cert(chain(issued), key(issued)).expect("a certificate with its key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_slice_iter(issued.cert.as_bytes());
    certificates.collect::<Result<_, _>>().expect("certificates in PEM")
}

fn key(issued: &Issued) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).expect("a key in PEM")
}
