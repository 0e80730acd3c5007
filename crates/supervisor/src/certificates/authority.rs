//! The box's own authority: it vouches for names that no other one can, to whoever trusts its root.
//!
//! The root and its key lie in the state directory; what it vouches for is made in memory and lasts as long as the process.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};

use super::pair::{Pair, PairError};

const ROOT: &str = "root.pem";
const KEY: &str = "root.key";
const DAY: Duration = Duration::from_secs(86_400);
/// How long the root lasts.
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a certificate for a site lasts; half of it is over when the next one is made.
const LEAF_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// Its files.
    #[error("the box's own authority can't be kept: {0}")]
    File(#[from] io::Error),
    /// What is in them, or a name that can't stand in a certificate.
    #[error("the box's own authority can't vouch: {0}")]
    Crypto(#[from] rcgen::Error),
    /// What it made.
    #[error(transparent)]
    Pair(#[from] PairError),
}

/// The authority.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The one whose root lies in `folder`; made where there is none. Blocks on the disk.
    ///
    /// # Errors
    /// [`AuthorityError`]
    pub(super) fn open(folder: &Path) -> Result<Self, AuthorityError> {
        let key = match std::fs::read_to_string(folder.join(KEY)) {
            Ok(text) => KeyPair::from_pem(&text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(folder)?,
            Err(error) => return Err(error.into()),
        };
        let root = std::fs::read_to_string(folder.join(ROOT))?;
        Ok(Self { issuer: Issuer::from_ca_cert_pem(&root, key)? })
    }

    /// A certificate for hosts and addresses.
    ///
    /// # Errors
    /// [`AuthorityError::Crypto`] for a name that can't stand in one.
    pub(super) fn vouch(&self, names: &[String]) -> Result<Pair, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names.to_vec())?;
        params.distinguished_name = named(names.first().map_or("onebox", String::as_str));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, LEAF_LIFE);
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Pair::new(certificate.pem(), key.serialize_pem())?)
    }
}

/// Whether it is time to make the next one.
pub(super) fn is_worn(pair: &Pair, now_ms: i64) -> bool {
    let middle = pair.facts.not_before_ms / 2 + pair.facts.not_after_ms / 2;
    now_ms >= middle
}

/// Makes root and key. The key is last: with it the authority exists.
fn create(folder: &Path) -> Result<KeyPair, AuthorityError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    params.distinguished_name = named(&format!("onebox on {host}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, ROOT_LIFE);
    let root = params.self_signed(&key)?;
    write_whole(&folder.join(ROOT), root.pem().as_bytes())?;
    write_whole(&folder.join(KEY), key.serialize_pem().as_bytes())?;
    tracing::info!(
        "the box has an authority of its own now; `onebox trust` makes this machine believe it"
    );
    Ok(key)
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// From a day ago: clocks differ.
fn set_validity(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + life).into();
}

/// Writes a private file, all of it or nothing, in a folder that is made where it is missing.
///
/// # Errors
/// The disk's.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = tempfile::Builder::new().make_in(folder, |draft| {
        File::options().write(true).create_new(true).mode(0o600).open(draft)
    })?;
    draft.as_file().write_all(content)?;
    draft.as_file().sync_all()?;
    draft.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_root_stays_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("authority");
        let first = Authority::open(&folder).unwrap();
        let root = std::fs::read(folder.join(ROOT)).unwrap();
        let again = Authority::open(&folder).unwrap();
        assert_eq!(std::fs::read(folder.join(ROOT)).unwrap(), root);
        let mode = std::fs::metadata(folder.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for authority in [first, again] {
            let pair = authority.vouch(&["blog.localhost".into(), "::1".into()]).unwrap();
            assert_eq!(pair.facts.names, ["blog.localhost", "::1"]);
            assert!(pair.facts.issuer.starts_with("onebox on "), "{}", pair.facts.issuer);
        }
    }

    #[test]
    fn a_certificate_is_worn_when_half_of_its_time_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let pair = Authority::open(folder.path()).unwrap().vouch(&["a.lan".into()]).unwrap();
        let now_ms = crate::clock::now_ms();
        let days = |count: i64| now_ms + count * 86_400_000;
        assert!(!is_worn(&pair, now_ms) && !is_worn(&pair, days(14)));
        assert!(is_worn(&pair, days(15)) && is_worn(&pair, days(31)));
    }

    #[test]
    fn a_key_that_is_none_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY), "nonsense").unwrap();
        Authority::open(folder.path()).unwrap_err();
    }
}
