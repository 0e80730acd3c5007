//! Whom the engine and sites run as where that is not the supervisor's own user: the account, and the home that it has.
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

/// What holds for sites that say nothing else.
#[derive(Debug, Clone)]
pub(crate) struct SiteDefaults {
    /// Where they live.
    pub(crate) paths: Paths,
    /// Whom they, and the engine, run as; `None`: as the supervisor itself.
    pub(crate) user: Option<Account>,
}

impl RunAs {
    /// Whom a site runs as; `None`: as the supervisor itself.
    pub(crate) fn of_site(
        properties: &ProcessProperties,
        SiteDefaults { paths, user }: &SiteDefaults,
        site: &str,
    ) -> Option<Self> {
        let account = another(properties.account.as_ref().or(user.as_ref()))?.clone();
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
}

/// An account that is somebody else's than the supervisor's own.
pub(crate) fn another(account: Option<&Account>) -> Option<&Account> {
    let own = (geteuid().as_raw(), getegid().as_raw());
    account.filter(|account| (account.uid, account.gid) != own)
}

/// What keeps a user from entering a folder, or from running a program: the first on the way that is closed to it.
///
/// # Errors
/// Where the system can't be asked.
pub(crate) fn closed_to(account: &Account, path: &Path) -> io::Result<Option<PathBuf>> {
    let path = path.to_owned();
    as_user(account, move || {
        let way: Vec<&Path> = path.ancestors().collect();
        let closed = way.into_iter().rev().find(|place| {
            accessat(CWD, *place, Access::EXEC_OK, AtFlags::EACCESS)
                == Err(rustix::io::Errno::ACCESS)
        });
        Ok(closed.map(Path::to_owned))
    })
}

/// Does something with the rights of a user.
///
/// # Errors
/// What `work` says, or where the system does not let it.
pub(crate) fn as_user<T: Send + 'static>(
    account: &Account,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let account = account.clone();
    // Rights are the thread's own, which never gets them back: it ends with the work.
    let working = std::thread::Builder::new().name("as-a-user".to_owned()).spawn(move || {
        become_in_this_thread(&account)?;
        work()
    })?;
    working.join().unwrap_or_else(|_| Err(io::Error::other("a thread of another user ended")))
}

/// Gives up the supervisor's rights in the calling thread, as a child does before its program begins.
fn become_in_this_thread(account: &Account) -> io::Result<()> {
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
    if let Some(account) = another(properties.account.as_ref()) {
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
