//! TLS towards clients: which certificate answers to a name, tickets that outlive an engine, the handshake, the encrypted stream.
//!
//! Must not know where certificates come from: the supervisor says which there are ([`TlsTable`]), and may say so at any moment.
//!
//! Source: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 6066 §3 (SNI), RFC 8737 (ACME's TLS challenge).

mod client;
mod resolver;
mod stream;
mod table;
mod tickets;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use onebox_config::Limits;
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

pub use client::Roots;
pub(crate) use stream::TlsStream;
pub use table::{TlsCertificate, TlsError, TlsTable};
pub use tickets::TicketKey;

use resolver::Resolver;
use tickets::Tickets;

/// The protocol that only ACME's challenge speaks: there is nothing to say after its handshake (RFC 8737 §3).
const ACME_TLS: &[u8] = b"acme-tls/1";
const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The TLS of all listeners of a proxy.
#[derive(Debug)]
pub(crate) struct Tls {
    table: Arc<ArcSwap<TlsTable>>,
    tickets: Arc<Tickets>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// TLS without any certificate: every handshake fails until there is one. HTTP/2 is offered where `limits` have it.
    ///
    /// # Errors
    /// Where the library has no defaults.
    pub(crate) fn new(limits: &Limits) -> Result<Self, TlsError> {
        let table = Arc::new(ArcSwap::from_pointee(TlsTable::default()));
        let tickets = Arc::new(Tickets::default());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Resolver(Arc::clone(&table))));
        let http2 = limits.http2.then_some(HTTP_2);
        let protocols = http2.into_iter().chain([HTTP_1_1, ACME_TLS]);
        config.alpn_protocols = protocols.map(<[u8]>::to_vec).collect();
        // Sessions are in tickets, which the next engine can read too.
        config.ticketer = Arc::clone(&tickets) as _;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { table, tickets, config: Arc::new(config) })
    }

    /// From the next handshake on these are the certificates.
    pub(crate) fn set_table(&self, table: TlsTable) {
        self.table.store(Arc::new(table));
    }

    /// From the next handshake on the first of these keys makes tickets, and all of them read some.
    pub(crate) fn set_ticket_keys(&self, keys: &[TicketKey]) {
        self.tickets.set(keys);
    }

    /// What answers now.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<TlsTable>> {
        self.table.load()
    }

    /// Agrees with the client on keys within `patience`; `None`: that was all it wanted.
    ///
    /// # Errors
    /// The socket's, and where the client and this server can't agree.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        patience: Duration,
    ) -> io::Result<Option<TlsStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let (tcp, session) = timeout(patience, acceptor.accept(stream)).await??.into_inner();
        Ok((!is_challenge(&session)).then(|| TlsStream::new(tcp, session)))
    }
}

fn is_challenge(session: &ServerConnection) -> bool {
    session.alpn_protocol() == Some(ACME_TLS)
}

#[cfg(test)]
mod tests;
