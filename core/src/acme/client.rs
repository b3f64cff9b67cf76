//! HTTP to the authority: a connection per request, over TLS, bounded in time and size.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// One request, from the look-up of the name to the end of the response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// A response's body: a chain of certificates at most.
const BODY_BYTES_MAX: usize = 1 << 20;

type AnyError = Box<dyn StdError + Send + Sync>;

/// The client for one authority.
pub(super) struct Client {
    connector: TlsConnector,
}

impl Client {
    pub(super) fn new(roots: RootCertStore) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Client { connector: TlsConnector::from(Arc::new(config)) })
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let connector = self.connector.clone();
        Box::pin(async move {
            let uri = request.uri().clone();
            let response = tokio::time::timeout(REQUEST_TIMEOUT, send(connector, request))
                .await
                .unwrap_or_else(|_| Err("no answer in time".into()));
            response.map(BytesResponse::from).map_err(|error| Error::Other(format!("{uri}: {error}").into()))
        })
    }
}

async fn send(
    connector: TlsConnector,
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, AnyError> {
    let uri = request.uri().clone();
    let host = uri.host().ok_or("a URL without a host")?.trim_start_matches('[').trim_end_matches(']');
    // RFC 8555 section 6.1: nothing is asked without TLS, whatever the directory says.
    if uri.scheme_str() != Some("https") {
        return Err("not an https URL".into());
    }
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    let name = ServerName::try_from(host.to_owned())?;
    let stream = connector.connect(name, stream).await?;
    let authority = uri.authority().ok_or("a URL without a host")?.as_str().parse()?;
    request.headers_mut().insert(HOST, authority);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse::<Uri>()?;
    exchange(stream, request).await
}

async fn exchange<S, B>(stream: S, request: Request<B>) -> Result<Response<Full<Bytes>>, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<AnyError>,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Driven beside the request, and gone with it.
    let request = async {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(parts, Full::new(body)))
    };
    tokio::pin!(connection, request);
    tokio::select! {
        result = &mut request => result,
        ended = &mut connection => {
            ended?;
            // The connection may end with the last byte of the response.
            request.await
        }
    }
}
