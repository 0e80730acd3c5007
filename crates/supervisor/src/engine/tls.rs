//! What an engine needs for TLS: certificates by name, ACME's answers, the keys of tickets.

use onebox_proxy::{Proxy, TicketKey, TlsCertificate, TlsError, TlsTable};
use serde::{Deserialize, Serialize};

/// Everything at once: what an engine had before is forgotten.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TlsData {
    pub(crate) certificates: Vec<CertificateData>,
    pub(crate) names: Vec<NameData>,
    /// Which certificate answers where no host is named.
    pub(crate) fallback: Option<usize>,
    /// Which one answers for a host that nobody has.
    pub(crate) unknown: Option<usize>,
    /// ACME's questions over TLS: a host, and what answers.
    pub(crate) challenges: Vec<(String, CertificateData)>,
    /// ACME's questions over HTTP: a token, and the answer.
    pub(crate) tokens: Vec<(String, String)>,
    /// The newest first.
    pub(crate) ticket_keys: Vec<TicketKey>,
}

/// PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateData {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// A name and the certificate that answers to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameData {
    pub(crate) name: String,
    /// Its place in the list.
    pub(crate) certificate: usize,
    /// Whether the world trusts it.
    pub(crate) is_trusted: bool,
}

impl std::fmt::Debug for TlsData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsData").field("names", &self.names).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CertificateData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateData").finish_non_exhaustive()
    }
}

impl TlsData {
    /// Puts it in force.
    pub(super) fn apply(&self, proxy: &Proxy) {
        let certificates: Vec<_> =
            self.certificates.iter().map(|data| data.read(TlsCertificate::from_pem)).collect();
        let certificate = |place: usize| certificates.get(place).and_then(Option::as_ref);
        let mut table = TlsTable::default();
        for NameData { name, certificate: place, is_trusted } in &self.names {
            if let Some(certificate) = certificate(*place) {
                table.add(name, certificate, *is_trusted);
            }
        }
        if let Some(certificate) = self.fallback.and_then(certificate) {
            table.set_fallback(certificate.clone());
        }
        if let Some(certificate) = self.unknown.and_then(certificate) {
            table.set_unknown(certificate.clone());
        }
        for (host, challenge) in &self.challenges {
            if let Some(challenge) = challenge.read(TlsCertificate::for_challenge) {
                table.add_challenge(host, challenge);
            }
        }
        for (token, answer) in &self.tokens {
            table.add_token(token, answer);
        }
        proxy.set_certificates(table);
        proxy.set_ticket_keys(&self.ticket_keys);
    }
}

impl CertificateData {
    fn read(
        &self,
        from_pem: impl Fn(&[u8], &[u8]) -> Result<TlsCertificate, TlsError>,
    ) -> Option<TlsCertificate> {
        let read = from_pem(self.chain.as_bytes(), self.key.as_bytes());
        // The supervisor has read it before, or made it.
        read.inspect_err(|error| tracing::error!(%error, "a certificate can't be used")).ok()
    }
}
