//! `[tls]`: a certificate of the site's own, and what clients without TLS are told.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Problem;
use crate::section::{NONE, Section};
use crate::types::{Invalid, duration, site_path, text, truth};

const DAY: Duration = Duration::from_secs(86_400);

/// `[tls]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SiteTls {
    /// `certificate` and `key`; `None`: by ACME, or from the box's own authority
    pub own: Option<OwnCertificate>,
    /// `redirect`; `None`: where the world trusts the certificate
    pub redirect: Option<bool>,
    /// `hsts`; `None`: browsers are told nothing
    pub hsts: Option<Duration>,
}

/// A certificate in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCertificate {
    /// `certificate`: PEM, with those that vouch for it
    pub certificate: PathBuf,
    /// `key`: PEM
    pub key: PathBuf,
}

impl OwnCertificate {
    /// The same with paths that count from nowhere.
    #[must_use]
    pub fn resolved(self, root: &Path) -> Self {
        Self { certificate: root.join(self.certificate), key: root.join(self.key) }
    }
}

/// Reads the section.
pub(super) fn read(mut section: Section, problems: &mut Vec<Problem>) -> SiteTls {
    let origins = [section.origin_of("certificate"), section.origin_of("key")];
    let certificate = section.read("certificate", text(file));
    let key = section.read("key", text(file));
    for (missing, [one, other]) in [
        ("key", origins.clone()),
        ("certificate", {
            let [one, other] = origins;
            [other, one]
        }),
    ] {
        if let (Some(origin), None) = (one, other) {
            let invalid = Invalid::new("is missing: a certificate and its key come together");
            section.refuse(missing, origin, invalid.hint("name both files, or none"));
        }
    }
    let tls = SiteTls {
        own: certificate.zip(key).map(|(certificate, key)| OwnCertificate { certificate, key }),
        redirect: section.read("redirect", truth),
        hsts: section.read("hsts", duration(Duration::ZERO..=3650 * DAY)),
    };
    section.finish(NONE, problems);
    tls
}

/// An absolute path, or one below the site's root.
pub(super) fn file(text: &str) -> Result<PathBuf, Invalid> {
    match Path::new(text).is_absolute() && !text.contains('\0') {
        true => Ok(PathBuf::from(text)),
        false => site_path(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<SiteTls, String> {
        crate::parse_site(text, Path::new("onebox.toml"))
            .map(|config| config.tls)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn files_count_from_the_root_unless_they_are_absolute() {
        let own =
            parsed("[tls]\ncertificate = './a.pem'\nkey = '/etc/b.pem'").unwrap().own.unwrap();
        let resolved = own.resolved(Path::new("/site"));
        assert_eq!(resolved.certificate, Path::new("/site/a.pem"));
        assert_eq!(resolved.key, Path::new("/etc/b.pem"));
    }

    #[test]
    fn one_file_without_the_other_and_one_outside_are_refused() {
        for (text, told) in [
            ("certificate = 'a.pem'", "tls.key"),
            ("key = 'a.pem'", "tls.certificate"),
            ("certificate = '../a.pem'\nkey = 'a.pem'", "leads out"),
            ("hsts = '1'", "tls.hsts"),
            ("redirect = 'yes'", "true or false"),
            ("hsst = '1d'", "did you mean `hsts`?"),
        ] {
            let error = parsed(&format!("[tls]\n{text}")).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }
}
