//! TLS towards servers: whose certificates are believed.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Who is believed.
#[derive(Debug, Clone, Copy)]
pub enum Roots<'a> {
    /// Those that this machine trusts.
    Machine,
    /// Those in a PEM file, nobody else.
    File(&'a Path),
    /// Both.
    MachineAnd(&'a Path),
}

impl Roots<'_> {
    /// A client that believes them. Blocks on the disk.
    ///
    /// # Errors
    /// Where a file can't be read, or nobody is left to be believed.
    pub fn client(self) -> io::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if let Self::Machine | Self::MachineAnd(_) = self {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if let Self::File(path) | Self::MachineAnd(path) = self {
            add_file(&mut roots, path)
                .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
        }
        if roots.is_empty() {
            return Err(io::Error::other(
                "this machine trusts no certificate authority; Debian's package is ca-certificates",
            ));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    let text = std::fs::read(path)?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    match roots.len() > before {
        true => Ok(()),
        false => Err(io::Error::other("there is no certificate in it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_authorities_is_read_or_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let refused = |roots: Roots<'_>| roots.client().unwrap_err().to_string();
        assert!(refused(Roots::File(&path)).contains("ca.pem: No such file"));
        for (text, part) in [
            ("", "no certificate in it"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ca.pem: "),
            ("-----BEGIN CERTIFICATE-----\n", "ca.pem: "),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refused(Roots::File(&path)).contains(part), "{text}");
        }
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        std::fs::write(&path, made.cert.pem()).unwrap();
        Roots::File(&path).client().unwrap();
        Roots::MachineAnd(&path).client().unwrap();
    }
}
