//! The sockets on which sites serve uwsgi for a web server in front: opened once, held over every generation, closed with the
//! site. Engines get duplicates (`engine::sockets`).
//!
//! Must not accept anything.

mod open;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use onebox_config::Paths;
use onebox_config::site::{SocketAddress, UwsgiSockets};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use open::Opened;
pub(crate) use open::SocketError;

use crate::process::take_inherited;
use crate::takeover::Luggage;

/// One socket of one site.
#[derive(Debug)]
pub(crate) struct SiteSocket {
    /// Different for every socket that was ever opened.
    pub(crate) id: u64,
    pub(crate) site: String,
    pub(crate) address: SocketAddress,
    opened: Opened,
}

impl AsFd for SiteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let descriptor: &OwnedFd = &self.opened.descriptor;
        descriptor.as_fd()
    }
}

/// All of them.
#[derive(Debug)]
pub(crate) struct SiteSockets {
    paths: Paths,
    count: AtomicU64,
    held: Mutex<Vec<Arc<SiteSocket>>>,
}

/// A socket that the supervisor before this one held: its descriptor by number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SiteSocketData {
    site: String,
    address: AddressData,
    /// The file of a Unix socket.
    file: Option<PathBuf>,
    descriptor: RawFd,
}

/// [`SocketAddress`] as data.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum AddressData {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Whose sockets, and what its configuration says about them.
#[derive(Debug, Clone)]
pub(crate) struct Wanted<'a> {
    pub(crate) site: &'a str,
    pub(crate) sockets: &'a UwsgiSockets,
    /// Where relative paths count from, if not from the site's shared folder.
    pub(crate) folder: Option<PathBuf>,
}

impl SiteSockets {
    /// None yet.
    pub(crate) fn new(paths: Paths) -> Self {
        Self { paths, count: AtomicU64::new(0), held: Mutex::default() }
    }

    /// Opens what is wanted and not open, and gives all Unix sockets of the site their owner and mode.
    ///
    /// # Errors
    /// [`SocketError`] with the first one that can't be; those before it stay open until [`Self::keep`].
    pub(crate) fn open(&self, wanted: &Wanted<'_>) -> Result<(), SocketError> {
        for address in &wanted.sockets.addresses {
            let is_it =
                |held: &&Arc<SiteSocket>| held.site == wanted.site && held.address == *address;
            let known = self.held.lock().iter().find(is_it).cloned();
            if let Some(known) = known {
                known.opened.dress(wanted.sockets)?;
                continue;
            }
            let place = match address {
                SocketAddress::Unix(path) => SocketAddress::Unix(self.folder(wanted).join(path)),
                tcp @ SocketAddress::Tcp(_) => tcp.clone(),
            };
            let opened = Opened::open(&place, wanted.sockets)?;
            self.held.lock().push(Arc::new(SiteSocket {
                id: self.count.fetch_add(1, Ordering::Relaxed),
                site: wanted.site.to_owned(),
                address: address.clone(),
                opened,
            }));
        }
        Ok(())
    }

    fn folder(&self, wanted: &Wanted<'_>) -> PathBuf {
        wanted.folder.clone().unwrap_or_else(|| self.paths.shared(wanted.site))
    }

    /// Lets go of what none of these sites wants and returns it: dropped, it is closed, and the files of Unix sockets go with it.
    pub(crate) fn keep<'a>(
        &self,
        wanted: impl Iterator<Item = Wanted<'a>>,
    ) -> Vec<Arc<SiteSocket>> {
        let wanted: Vec<Wanted<'_>> = wanted.collect();
        let is_wanted = |held: &mut Arc<SiteSocket>| {
            wanted.iter().any(|wanted| {
                wanted.site == held.site && wanted.sockets.addresses.contains(&held.address)
            })
        };
        self.held.lock().extract_if(.., |held| !is_wanted(held)).collect()
    }

    /// Takes over what the supervisor before this one held.
    ///
    /// # Errors
    /// Where a descriptor is not there.
    pub(crate) fn adopt(&self, sockets: &[SiteSocketData]) -> io::Result<()> {
        for data in sockets {
            let address = match data.address.clone() {
                AddressData::Unix(path) => SocketAddress::Unix(path),
                AddressData::Tcp(address) => SocketAddress::Tcp(address),
            };
            let opened = Opened::adopt(take_inherited(data.descriptor)?, data.file.clone());
            let id = self.count.fetch_add(1, Ordering::Relaxed);
            let site = data.site.clone();
            self.held.lock().push(Arc::new(SiteSocket { id, site, address, opened }));
        }
        Ok(())
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<Vec<SiteSocketData>> {
        let pack = |socket: Arc<SiteSocket>| -> io::Result<SiteSocketData> {
            Ok(SiteSocketData {
                site: socket.site.clone(),
                address: match &socket.address {
                    SocketAddress::Unix(path) => AddressData::Unix(path.clone()),
                    SocketAddress::Tcp(address) => AddressData::Tcp(*address),
                },
                file: socket.opened.file().map(Path::to_owned),
                descriptor: luggage.pack(&socket)?,
            })
        };
        self.all().into_iter().map(pack).collect()
    }

    /// Those that are open.
    pub(crate) fn all(&self) -> Vec<Arc<SiteSocket>> {
        self.held.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    use super::*;

    fn unix(path: &Path) -> UwsgiSockets {
        let addresses = vec![SocketAddress::Unix(path.to_owned())];
        UwsgiSockets { addresses, ..UwsgiSockets::default() }
    }

    fn wanted(sockets: &UwsgiSockets) -> Wanted<'_> {
        Wanted { site: "blog", sockets, folder: None }
    }

    #[test]
    fn a_relative_path_lies_in_the_shared_folder_and_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path());
        let sockets = SiteSockets::new(paths.clone());
        let config = unix(Path::new("run/blog.sock"));
        sockets.open(&wanted(&config)).unwrap();
        let file = paths.shared("blog").join("run/blog.sock");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o660);
        let wider = UwsgiSockets { mode: 0o666, ..config.clone() };
        let first = sockets.all()[0].id;
        sockets.open(&wanted(&wider)).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
        assert_eq!(sockets.all()[0].id, first, "it is held, not opened again");
        sockets.keep(std::iter::empty());
        assert!(!file.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let config = unix(&path);
        let sockets = SiteSockets::new(Paths::new(folder.path()));
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = sockets.open(&wanted(&config)).unwrap_err();
        assert!(error.to_string().contains("another program"), "{error}");
        drop(other);
        sockets.open(&wanted(&config)).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "precious").unwrap();
        let sockets = SiteSockets::new(Paths::new(folder.path()));
        let error = sockets.open(&wanted(&unix(&path))).unwrap_err();
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn the_file_belongs_to_the_user_and_the_group_that_are_named() {
        // Only root gives files to others.
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let (user, group) = if own.0 == 0 { (4711, 4712) } else { own };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/deep/a.sock");
        let sockets = SiteSockets::new(Paths::new(folder.path()));
        let owner = |user: Option<u32>, group: Option<u32>| {
            let name = |number: u32| number.to_string();
            onebox_config::site::SocketOwner { user: user.map(name), group: group.map(name) }
        };
        let both = UwsgiSockets { owner: Some(owner(Some(user), Some(group))), ..unix(&path) };
        sockets.open(&wanted(&both)).unwrap();
        let seen = std::fs::metadata(&path).unwrap();
        assert_eq!((seen.uid(), seen.gid(), seen.mode() & 0o777), (user, group, 0o660));
        // Only the group: the user stays.
        sockets.keep(std::iter::empty());
        let group_alone = UwsgiSockets { owner: Some(owner(None, Some(group))), ..unix(&path) };
        sockets.open(&wanted(&group_alone)).unwrap();
        let seen = std::fs::metadata(&path).unwrap();
        assert_eq!((seen.uid(), seen.gid()), (own.0, group));
    }

    #[test]
    fn an_owner_that_nobody_is_refuses_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let owner = onebox_config::site::SocketOwner {
            user: Some("nobody-has-this-name".to_owned()),
            group: None,
        };
        let config = UwsgiSockets { owner: Some(owner), ..unix(&path) };
        let sockets = SiteSockets::new(Paths::new(folder.path()));
        let error = sockets.open(&wanted(&config)).unwrap_err();
        assert!(error.to_string().contains("nobody-has-this-name"), "{error}");
        assert!(!path.exists() && sockets.all().is_empty());
    }
}
