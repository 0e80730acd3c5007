//! By whom a server over TLS is believed: by this machine, or by a file of the site's.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tls::Roots;

/// What has been read of it.
pub(super) struct Trust {
    /// `ca-file`; `None`: this machine's
    file: Option<PathBuf>,
    of_file: Mutex<Option<TlsConnector>>,
}

impl Trust {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self { file, of_file: Mutex::new(None) }
    }

    /// Agrees with a server on keys.
    ///
    /// # Errors
    /// The socket's, and where its certificate is not believed. A file is read again after that.
    pub(super) async fn handshake(
        &self,
        name: ServerName<'static>,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let outcome = self.connector().await?.connect(name, stream).await;
        if outcome.is_err() {
            *self.of_file.lock() = None;
        }
        outcome
    }

    async fn connector(&self) -> io::Result<TlsConnector> {
        let Some(file) = &self.file else { return of_machine().await };
        if let Some(connector) = &*self.of_file.lock() {
            return Ok(connector.clone());
        }
        let file = file.clone();
        let made = read(move || Roots::File(&file).client()).await?;
        Ok(self.of_file.lock().insert(made).clone())
    }
}

/// Read once, in the background: it is a folder of files.
async fn of_machine() -> io::Result<TlsConnector> {
    static CONNECTOR: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(connector) = CONNECTOR.get() {
        return Ok(connector.clone());
    }
    let made = read(|| Roots::Machine.client()).await?;
    Ok(CONNECTOR.get_or_init(|| made).clone())
}

async fn read(
    roots: impl FnOnce() -> io::Result<rustls::ClientConfig> + Send + 'static,
) -> io::Result<TlsConnector> {
    let mut config = tokio::task::spawn_blocking(roots).await.map_err(io::Error::other)??;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
