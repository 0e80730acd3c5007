//! A proxy on loopback, and a site to have behind it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use onebox_config::site::SiteLog;
use onebox_config::{Clients, Limits, parse_site};
use onebox_metrics::Registry;
use onebox_proxy::{AccessLog, Backend, Https, Proxy, ProxySettings, Site, UpstreamGroup};
use onebox_uwsgi::BufferLimits;

/// A proxy that listens, without sites.
pub(crate) struct Server {
    pub(crate) proxy: Proxy,
    pub(crate) registry: Arc<Registry>,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> Self {
        let registry = Arc::new(Registry::new());
        let (limits, clients) = (Limits::default(), Clients::default());
        let settings = ProxySettings { limits, temp_dir: None, clients, admin_hosts: Vec::new() };
        let proxy = Proxy::new(settings, Arc::clone(&registry), AccessLog::disabled()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        proxy.serve_tcp(listener).unwrap();
        Self { proxy, registry, address }
    }

    /// A site for every host, with neither files nor an application, and with the upstreams of an `onebox.toml`.
    pub(crate) fn site(&self, name: &str, config: &str) -> Site {
        let upstreams = parse_site(config, Path::new("onebox.toml")).unwrap().upstreams.into_iter();
        Site {
            name: name.into(),
            release: "r1".into(),
            domains: Vec::new(),
            path: String::new(),
            catch_all: true,
            statics: Vec::new(),
            sendfile: Vec::new(),
            index: false,
            routing: Arc::default(),
            upstreams: upstreams.map(|group| UpstreamGroup::new(group, "localhost")).collect(),
            cache: None,
            backend: Backend::None,
            harakiri: Duration::from_secs(60),
            reload_mercy: Duration::from_secs(60),
            buffer_size: 65_536,
            post_buffering: 1000,
            max_body: 4 << 20,
            response: BufferLimits::default(),
            https: Https::default(),
            guard: None,
            log: SiteLog::default(),
            metrics: self.registry.site(name),
            traffic: Arc::default(),
        }
    }
}
