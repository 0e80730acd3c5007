//! Which certificates there are.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rustls::InconsistentKeys;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or nothing of it in there.
    #[error("{what} can't be read: {reason}")]
    Pem {
        /// The certificate, or the key.
        what: &'static str,
        /// Why.
        reason: pem::Error,
    },
    /// PEM without a certificate.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// They are not a pair.
    #[error("the key does not belong to the certificate")]
    Mismatch,
    /// Of a kind that is not known.
    #[error("certificate and key can't be used: {0}")]
    Unusable(rustls::Error),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Self::Mismatch,
            error => Self::Unusable(error),
        }
    }
}

/// A certificate with the chain to its authority, and its key.
#[derive(Debug, Clone)]
pub struct TlsCertificate(Arc<CertifiedKey>);

impl TlsCertificate {
    /// From PEM: the certificate first, then those that vouch for it.
    ///
    /// # Errors
    /// [`TlsError`] where they can't be read or do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let pair = read(chain, key)?;
        match pair.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Self(Arc::new(pair)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same for an answer to ACME's question over TLS. Whether they belong together is not checked: who checks reads the
    /// certificate, and refuses it for the critical extension that makes it an answer (RFC 8737 §3).
    ///
    /// # Errors
    /// [`TlsError`] where they can't be read.
    pub fn for_challenge(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(read(chain, key)?)))
    }

    /// The certificate itself, in DER.
    ///
    /// # Errors
    /// Never for one that was read: it has a first.
    pub fn end_entity(&self) -> Result<&[u8], TlsError> {
        Ok(self.0.end_entity_cert()?.as_ref())
    }
}

fn read(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|reason| TlsError::Pem { what: "the certificate", reason })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|reason| TlsError::Pem { what: "the key", reason })?;
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(chain, key))
}

/// All certificates, by name. Names are in lower case; `*.example.com` stands for one label in front.
#[derive(Debug, Default)]
pub struct TlsTable {
    by_name: HashMap<String, TlsCertificate>,
    trusted: HashSet<String>,
    challenges: HashMap<String, TlsCertificate>,
    tokens: HashMap<String, String>,
    fallback: Option<TlsCertificate>,
    unknown: Option<TlsCertificate>,
}

impl TlsTable {
    /// `certificate` answers to a name, unless another one does already. Where the world trusts it, HTTP may be redirected there.
    pub fn add(&mut self, name: &str, certificate: &TlsCertificate, is_trusted: bool) {
        if self.by_name.contains_key(name) {
            return;
        }
        self.by_name.insert(name.to_owned(), certificate.clone());
        if is_trusted {
            self.trusted.insert(name.to_owned());
        }
    }

    /// Answers clients that name no host: those that were given an address.
    pub fn set_fallback(&mut self, certificate: TlsCertificate) {
        self.fallback = Some(certificate);
    }

    /// Answers clients that name a host that nobody has.
    pub fn set_unknown(&mut self, certificate: TlsCertificate) {
        self.unknown = Some(certificate);
    }

    /// Answers ACME's question for a name over TLS (RFC 8737).
    pub fn add_challenge(&mut self, name: &str, certificate: TlsCertificate) {
        self.challenges.insert(name.to_owned(), certificate);
    }

    /// Answers ACME's question for a token over HTTP (RFC 8555 §8.3).
    pub fn add_token(&mut self, token: &str, answer: &str) {
        self.tokens.insert(token.to_owned(), answer.to_owned());
    }

    /// What ACME wants to hear.
    pub(crate) fn token(&self, token: &str) -> Option<&str> {
        self.tokens.get(token).map(String::as_str)
    }

    /// Whether the world trusts what answers to a host (lower case).
    pub(crate) fn is_trusted(&self, host: &str) -> bool {
        found(host, |name| self.trusted.get(name)).is_some()
    }

    /// For a name that a client has asked for, or none.
    pub(super) fn certificate(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let certificate = match name {
            Some(name) => found(name, |name| self.by_name.get(name)).or(self.unknown.as_ref()),
            None => self.fallback.as_ref(),
        };
        certificate.map(|certificate| &certificate.0)
    }

    /// For ACME.
    pub(super) fn challenge(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.challenges.get(name).map(|certificate| &certificate.0)
    }
}

/// What stands for the name itself, else for its first label as `*`.
fn found<T>(name: &str, get: impl Fn(&str) -> Option<T>) -> Option<T> {
    get(name).or_else(|| get(&format!("*.{}", name.split_once('.')?.1)))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    #[test]
    fn an_answer_to_acme_may_have_the_extension_that_makes_it_one() {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(&[7; 32])];
        let key = KeyPair::generate().unwrap();
        let (chain, key) = (params.self_signed(&key).unwrap().pem(), key.serialize_pem());
        TlsCertificate::for_challenge(chain.as_bytes(), key.as_bytes()).unwrap();
        TlsCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        TlsCertificate::for_challenge(key.as_bytes(), key.as_bytes()).unwrap_err();
        TlsCertificate::for_challenge(chain.as_bytes(), chain.as_bytes()).unwrap_err();
    }
}
