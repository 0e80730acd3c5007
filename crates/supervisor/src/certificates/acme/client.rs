//! The HTTP that ACME is spoken over: one connection for each request, to what this machine trusts and the box's `ca-file`.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use onebox_proxy::Roots;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most that is read of an answer, in bytes.
const MAX_BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A client for one directory.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
}

impl Client {
    /// Blocks on the disk.
    ///
    /// # Errors
    /// Where `ca_file` can't be read, or nothing is trusted.
    pub(super) fn new(ca_file: Option<&Path>) -> io::Result<Self> {
        let roots = ca_file.map_or(Roots::Machine, Roots::MachineAnd);
        let config = roots.client()?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn exchange(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Failure> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("an address without a host")?;
        let port = uri.port_u16().unwrap_or(443);
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((name, port)).await?;
        let stream = self.tls.connect(ServerName::try_from(name.to_owned())?, stream).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let authority = uri.authority().map_or(host, |authority| authority.as_str());
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority)?);
        *request.uri_mut() = uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        let answer = async {
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BYTES).collect().await?.to_bytes();
            Ok(BytesResponse { parts, body: Box::new(body) })
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            // Once it has ended, what it brought is still read.
            _ = &mut connection => answer.await,
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let uri = request.uri().clone();
        let exchange = tokio::time::timeout(PATIENCE, self.clone().exchange(request));
        Box::pin(async move {
            let failed = |what: String| Error::Other(format!("{uri}: {what}").into());
            match exchange.await {
                Ok(answer) => answer.map_err(|error| failed(error.to_string())),
                Err(_) => Err(failed(format!("no answer within {PATIENCE:?}"))),
            }
        })
    }
}
