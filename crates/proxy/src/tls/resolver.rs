//! The certificate for a handshake: by the name that the client asks for, from the table of this moment.

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{ACME_TLS, TlsTable};

/// Asked by every full handshake.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Arc<ArcSwap<TlsTable>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.0.load();
        let name = hello.server_name().map(lower);
        let found = match asks_for_challenge(&hello) {
            true => table.challenge(&name?),
            false => table.certificate(name.as_deref()),
        };
        if found.is_none() {
            tracing::debug!(name = hello.server_name(), "no certificate for this name");
        }
        found.cloned()
    }
}

/// RFC 8737 §3: this protocol and no other.
fn asks_for_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| {
        protocols.next() == Some(ACME_TLS) && protocols.next().is_none()
    })
}

fn lower(name: &str) -> Cow<'_, str> {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}
