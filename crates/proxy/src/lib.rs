//! The proxy: listeners, HTTP, routes, static files and upstreams.
//!
//! Bytes come in through a listener and the connection loop (`http1`), pass the pipeline (`service`), and leave as an
//! answer. Must not know Python, releases or the database: the supervisor tells it which sites there are.

#![allow(dead_code, reason = "the connection loop and the pipeline are joined in the next commits")]

mod access_log;
mod compress;
mod error;
mod error_page;
mod exchange;
mod http1;
mod message;
mod path;
mod request_id;
mod route;
mod service;
mod spool;
mod static_files;
mod upstream;
mod vars;

#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::sync::Arc;

use onebox_metrics::Registry;

pub use access_log::AccessLog;
pub use route::{Backend, RouteTable, Site, StaticMount};
pub use upstream::{WorkerAddress, WorkerGroup};

use service::Service;

/// The proxy of a process; a clone is the same one.
#[derive(Clone)]
pub struct Proxy {
    service: Arc<Service>,
}

/// What a proxy needs to know from the start.
pub struct ProxySettings {
    /// Limits and timeouts of connections.
    pub limits: onebox_config::Limits,
    /// Where large request bodies are spooled; `None`: the system's folder for temporary files.
    pub temp_dir: Option<PathBuf>,
}

impl Proxy {
    /// A proxy without sites or listeners.
    pub fn new(settings: ProxySettings, metrics: Arc<Registry>, access_log: AccessLog) -> Self {
        let service = Service::new(settings.limits, settings.temp_dir, metrics, access_log);
        Self { service: Arc::new(service) }
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
}
