//! Whom sites run as where that is not the supervisor's own user: the account, and the home that it has.
//!
//! Must not know what is run. Only root can run anything as another user, so that elsewhere there is never one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use onebox_config::site::ProcessProperties;
use onebox_config::{Account, Paths};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Gid, Resource, Uid, getegid, geteuid, getpriority_process, getrlimit};

/// Another user than the supervisor's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunAs {
    pub(crate) account: Account,
    /// `HOME`: the user's own, where it has one, else a folder of the site's.
    pub(crate) home: PathBuf,
}

impl RunAs {
    /// Whom a site runs as; `None`: as the supervisor itself.
    pub(crate) fn of_site(
        properties: &ProcessProperties,
        paths: &Paths,
        site: &str,
    ) -> Option<Self> {
        let account = properties.account.clone()?;
        let is_own = (account.uid, account.gid) == (geteuid().as_raw(), getegid().as_raw());
        if is_own {
            return None;
        }
        let own = account.home.clone().filter(|home| {
            fs::metadata(home).is_ok_and(|home| home.is_dir() && home.uid() == account.uid)
        });
        let home = own.unwrap_or_else(|| paths.home(site));
        Some(Self { account, home })
    }

    /// What tells programs who they are.
    pub(crate) fn variables(&self) -> [(&'static str, PathBuf); 3] {
        let name = PathBuf::from(self.account.shown());
        [("HOME", self.home.clone()), ("USER", name.clone()), ("LOGNAME", name)]
    }

    /// Whether this user may enter a folder, or run a program; else the first on the way that is closed to it.
    ///
    /// # Errors
    /// Where the system can't be asked.
    pub(crate) fn finds_closed(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let (account, path) = (self.account.clone(), path.to_owned());
        // What decides is the thread's own, which it never gets back: it ends with the question.
        let asking = std::thread::Builder::new().name("as-a-user".to_owned()).spawn(move || {
            become_in_this_thread(&account)?;
            let way: Vec<&Path> = path.ancestors().collect();
            let closed = way.into_iter().rev().find(|place| {
                accessat(CWD, *place, Access::EXEC_OK, AtFlags::EACCESS)
                    == Err(rustix::io::Errno::ACCESS)
            });
            Ok(closed.map(Path::to_owned))
        })?;
        asking.join().unwrap_or_else(|_| Err(io::Error::other("the asking thread ended")))
    }
}

/// Gives up the supervisor's rights in the calling thread, as a child does before its program begins.
pub(crate) fn become_in_this_thread(account: &Account) -> io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_gid(Gid::from_raw(account.gid))?;
    Ok(rustix::thread::set_thread_uid(Uid::from_raw(account.uid))?)
}

/// Says what of the properties this supervisor can't give a site.
///
/// # Errors
/// With the sentence for whoever wrote them.
pub(crate) fn check_rights(properties: &ProcessProperties) -> Result<(), String> {
    if geteuid().is_root() {
        return Ok(());
    }
    if let Some(account) = &properties.account
        && (account.uid, account.gid) != (geteuid().as_raw(), getegid().as_raw())
    {
        return Err(format!(
            "`uid`: only root can run a site as another user, {}",
            account.shown()
        ));
    }
    if let Some(nice) = properties.nice
        && getpriority_process(None).is_ok_and(|own| nice < own)
    {
        return Err(format!("`nice = {nice}`: only root can give a site more than it has itself"));
    }
    for (key, resource, wanted) in limits(properties) {
        if let Some(most) = getrlimit(resource).maximum.filter(|most| wanted > *most) {
            return Err(format!(
                "`{key} = {wanted}`: the appliance itself may have {most} at most"
            ));
        }
    }
    Ok(())
}

/// The limits that are set: key, resource, value.
pub(crate) fn limits(properties: &ProcessProperties) -> Vec<(&'static str, Resource, u64)> {
    let all = [
        ("limit-nofile", Resource::Nofile, properties.limit_nofile),
        ("limit-as", Resource::As, properties.limit_as),
        ("limit-nproc", Resource::Nproc, properties.limit_nproc),
    ];
    let set = all.into_iter().filter_map(|(key, resource, value)| Some((key, resource, value?)));
    set.collect()
}
