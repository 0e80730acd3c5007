//! The proxy: listeners, HTTP, routes, static files and upstreams.
//!
//! Bytes come in through a listener and a connection loop (`http1`, `http2`), pass the pipeline (`service`), and leave as an
//! answer. Must not know Python, releases or the database: the supervisor tells it which sites there are.

mod acceptor;
mod access_log;
mod cache;
mod clients;
mod compress;
mod conditions;
mod drops;
mod error;
mod error_page;
mod exchange;
mod file_blocks;
mod http1;
mod http2;
mod lifecycle;
mod listener;
mod memory;
mod message;
mod path;
mod path_pattern;
mod range;
mod request_body;
mod request_id;
mod room;
mod route;
mod rules;
mod secure;
mod server_method;
mod service;
mod spool;
mod static_files;
mod tls;
mod upstream;
mod uwsgi_server;
mod vars;
mod weight;

#[cfg(test)]
mod testing;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onebox_metrics::Registry;

pub use access_log::{AccessLog, RequestRecord};
pub use cache::{Cache, Clearing, Purge};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use http1::fuzzing::parse_request_head;
pub use lifecycle::Heir;
pub use listener::let_nobody_in;
pub use path::{decode_path, is_read_alike};
pub use route::{Backend, Https, Redirect, RouteTable, Site, StaticMount};
pub use rules::Guard;
pub use tls::{Roots, TicketKey, TlsCertificate, TlsError, TlsTable};
pub use upstream::{ServerHealth, ServerState, UpstreamGroup, WorkerAddress, WorkerGroup};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use uwsgi_server::fuzzing::take_uwsgi_request;
pub use uwsgi_server::{UwsgiListener, UwsgiListening};

use acceptor::Acceptor;
use lifecycle::Lifecycle;
use listener::Listener;
use message::Entrance;
use service::Service;
use tls::Tls;
use uwsgi_server::Door;

/// The proxy of a process; a clone is the same one.
#[derive(Clone)]
pub struct Proxy {
    service: Arc<Service>,
    acceptor: Arc<Acceptor<Service>>,
    tls: Arc<Tls>,
}

/// What a proxy needs to know from the start.
pub struct ProxySettings {
    /// Limits and timeouts of connections.
    pub limits: onebox_config::Limits,
    /// Which proxies in front are believed.
    pub clients: onebox_config::Clients,
    /// Under which names a site leads to the dashboard: no other server gets its cookie.
    pub admin_hosts: Vec<String>,
    /// Where large request bodies are spooled; `None`: the system's folder for temporary files.
    pub temp_dir: Option<PathBuf>,
}

impl Proxy {
    /// A proxy without sites, certificates or listeners.
    ///
    /// # Errors
    /// Where there is no TLS.
    pub fn new(
        settings: ProxySettings,
        metrics: Arc<Registry>,
        access_log: AccessLog,
    ) -> Result<Self, TlsError> {
        let lifecycle = Arc::<Lifecycle>::default();
        let tls = Arc::new(Tls::new(&settings.limits)?);
        let shared = (Arc::clone(&lifecycle), Arc::clone(&tls));
        let service = Service::shared(settings, metrics, access_log, shared);
        let acceptor = Arc::new(Acceptor::new(Arc::clone(&service), lifecycle));
        Ok(Self { service, acceptor, tls })
    }

    /// From the next request on these are the sites.
    pub fn set_routes(&self, table: RouteTable) {
        self.service.set_routes(table);
    }

    /// The sites behind the probe entrance, where release candidates stand before live sites. Until they are set it has
    /// the public ones.
    pub fn set_probe_routes(&self, table: RouteTable) {
        self.service.set_probe_routes(table);
    }

    /// Accepts on a public listener until the proxy drains. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub fn serve_tcp(&self, listener: TcpListener) -> io::Result<()> {
        self.acceptor.listen(Listener::from_tcp(listener)?, Entrance::Public);
        Ok(())
    }

    /// Accepts on a public listener that speaks TLS until the proxy drains. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub fn serve_tls(&self, listener: TcpListener) -> io::Result<()> {
        if let Ok(address) = listener.local_addr() {
            self.service.set_https_port(address.port());
        }
        self.acceptor.listen_tls(Listener::from_tcp(listener)?, Arc::clone(&self.tls));
        Ok(())
    }

    /// From the next handshake on these are the certificates.
    pub fn set_certificates(&self, table: TlsTable) {
        self.tls.set_table(table);
    }

    /// From the next handshake on the first of these keys makes session tickets, and all of them read some.
    pub fn set_ticket_keys(&self, keys: &[TicketKey]) {
        self.tls.set_ticket_keys(keys);
    }

    /// Accepts on the supervisor's private listener, the probe entrance, until the proxy drains. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub fn serve_unix(&self, listener: UnixListener) -> io::Result<()> {
        self.acceptor.listen(Listener::from_unix(listener)?, Entrance::Probe);
        Ok(())
    }

    /// Accepts uwsgi for one site until the proxy drains or what this returns is dropped; connections that are open then
    /// are served to their ends. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Where the socket can't be used.
    pub fn serve_uwsgi(&self, listener: UwsgiListener, site: &str) -> io::Result<UwsgiListening> {
        let (listener, door) = Door::new(listener, site, Arc::clone(&self.service))?;
        let (listening, closed) = UwsgiListening::new();
        self.acceptor.listen_uwsgi(listener, Arc::new(door), closed);
        Ok(listening)
    }

    /// Stops accepting. Open connections stay, and close after their next answer; requests that have no answer yet have their
    /// site's mercy, and everything has `limit`. Called again, the end can only come sooner.
    pub fn drain(&self, limit: Duration, heir: Heir) {
        self.acceptor.drain(limit, heir);
    }

    /// After [`Proxy::drain`]: resolves when no connection will be accepted any more.
    pub async fn stopped_accepting(&self) {
        self.acceptor.stopped_accepting().await;
    }

    /// After [`Proxy::drain`]: resolves when no connection is open any more, at the latest when the limit is over and what is
    /// left was cut.
    pub async fn drained(&self) {
        self.acceptor.drained().await;
    }

    /// What was counted.
    pub fn metrics(&self) -> &Registry {
        self.service.metrics()
    }
}
