//! A certificate with its key, as PEM, and what it says about itself.

use onebox_proxy::{TlsCertificate, TlsError};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate with its chain, its key, and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    /// PEM: the certificate, then those that vouch for it.
    pub(crate) chain: String,
    /// PEM.
    pub(crate) key: String,
    pub(crate) facts: Facts,
}

/// What a certificate says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Hosts, in lower case, and addresses.
    pub(crate) names: Vec<String>,
    /// Who vouches for it, as that calls itself.
    pub(crate) issuer: String,
    pub(crate) not_before_ms: i64,
    pub(crate) not_after_ms: i64,
    /// Its number at its authority, as it stands in DER.
    pub(crate) serial: Vec<u8>,
    /// The identifier of its authority's key.
    pub(crate) authority_key: Option<Vec<u8>>,
}

/// Why a certificate and a key are of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PairError {
    /// Not readable, or no pair.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Readable as PEM only.
    #[error("the certificate is not an X.509 certificate: {0}")]
    Malformed(String),
}

impl Pair {
    /// Checks that the two belong together.
    ///
    /// # Errors
    /// [`PairError`]
    pub(crate) fn new(chain: String, key: String) -> Result<Self, PairError> {
        let certificate = TlsCertificate::from_pem(chain.as_bytes(), key.as_bytes())?;
        let facts = Facts::of(certificate.end_entity()?)?;
        Ok(Self { chain, key, facts })
    }
}

impl Facts {
    fn of(der: &[u8]) -> Result<Self, PairError> {
        let malformed = |error: &dyn ToString| PairError::Malformed(error.to_string());
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| malformed(&error))?;
        let alternatives =
            certificate.subject_alternative_name().map_err(|error| malformed(&error))?;
        let names = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let issuer = certificate.issuer();
        let common = issuer.iter_common_name().find_map(|name| name.as_str().ok());
        Ok(Self {
            names: names.filter_map(shown).collect(),
            issuer: common.map_or_else(|| issuer.to_string(), str::to_owned),
            not_before_ms: certificate.validity().not_before.timestamp().saturating_mul(1000),
            not_after_ms: certificate.validity().not_after.timestamp().saturating_mul(1000),
            serial: certificate.raw_serial().to_vec(),
            authority_key: authority_key(&certificate),
        })
    }

    /// How long it is valid in all.
    pub(crate) fn life_ms(&self) -> i64 {
        self.not_after_ms.saturating_sub(self.not_before_ms)
    }

    /// Whether it is for a host (lower case).
    pub(crate) fn covers(&self, host: &str) -> bool {
        let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        self.names.iter().any(|name| name == host || Some(name) == wildcard.as_ref())
    }
}

fn authority_key(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(key) => {
            Some(key.key_identifier.as_ref()?.0.to_vec())
        }
        _ => None,
    })
}

fn shown(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::IPAddress(octets) => {
            match (<[u8; 4]>::try_from(*octets), <[u8; 16]>::try_from(*octets)) {
                (Ok(octets), _) => Some(std::net::Ipv4Addr::from(octets).to_string()),
                (_, Ok(octets)) => Some(std::net::Ipv6Addr::from(octets).to_string()),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A certificate that vouches for itself.
    pub(in super::super) fn self_signed(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_certificate_tells_its_names_and_its_time() {
        let (chain, key) = self_signed(&["A.example", "*.b.example", "192.0.2.1", "::1"]);
        let facts = Pair::new(chain, key).unwrap().facts;
        assert_eq!(facts.names, ["a.example", "*.b.example", "192.0.2.1", "::1"]);
        assert!(facts.not_before_ms < facts.not_after_ms);
        for (host, covered) in [
            ("a.example", true),
            ("x.b.example", true),
            ("b.example", false),
            ("x.y.b.example", false),
        ] {
            assert_eq!(facts.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn another_certificates_key_is_refused() {
        let (one, other) = (self_signed(&["a.example"]), self_signed(&["a.example"]));
        let error = Pair::new(one.0, other.1).unwrap_err().to_string();
        assert!(error.contains("does not belong to the certificate"), "{error}");
    }
}
