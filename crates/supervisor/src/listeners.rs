//! The sockets that sites, the dashboard and the supervisor's own children are reached on.
//!
//! The supervisor opens them once and holds them; engines inherit duplicates, so that an engine can be replaced while
//! connections wait in the kernel's backlog. Must not accept anything.

use std::fs::Permissions;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::holders;

/// Connections that may wait while no engine accepts; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that could not be listened on, with what a person can do about it.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {reason}{}", hint(.reason, .holder.as_deref()))]
pub struct ListenError {
    address: String,
    reason: io::Error,
    /// Who has it, where that is known.
    holder: Option<String>,
}

fn hint(reason: &io::Error, holder: Option<&str>) -> String {
    let hint = match reason.kind() {
        io::ErrorKind::AddrInUse => {
            let holder = holder.unwrap_or("another program");
            return format!("; {holder} has this address: stop it, or choose another one");
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        io::ErrorKind::InvalidInput => {
            "; the path of a Unix socket has at most 107 bytes: choose a shorter state directory"
        }
        _ => "",
    };
    hint.to_owned()
}

/// A listening socket, and the address of the configuration that it stands for.
#[derive(Debug)]
pub(crate) struct BoundListener {
    /// `None`: systemd opened it.
    pub(crate) wanted: Option<SocketAddr>,
    pub(crate) socket: TcpListener,
}

/// The listeners for one purpose; a clone has the same ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct ListenerSet {
    listeners: Vec<Arc<BoundListener>>,
}

impl ListenerSet {
    /// Listens on all of `wanted`, in their order; where systemd gave any, on these instead.
    ///
    /// # Errors
    /// [`ListenError`] with the first address that fails.
    pub(crate) fn open(
        given: Vec<TcpListener>,
        wanted: &[SocketAddr],
    ) -> Result<Self, ListenError> {
        if given.is_empty() {
            return Self::default().changed(wanted);
        }
        Ok(given.into_iter().map(|socket| BoundListener { wanted: None, socket }).collect())
    }

    /// What it becomes for another configuration: an address that is still wanted keeps its socket.
    ///
    /// # Errors
    /// [`ListenError`] with the first new address that fails.
    pub(crate) fn changed(&self, wanted: &[SocketAddr]) -> Result<Self, ListenError> {
        if self.is_given() {
            return Ok(self.clone());
        }
        let mut known = self.listeners.clone();
        let mut listeners = Vec::with_capacity(wanted.len());
        for address in wanted {
            let index = known.iter().position(|listener| listener.wanted == Some(*address));
            listeners.push(match index {
                Some(index) => known.remove(index),
                None => {
                    let socket = bind_tcp(*address)?;
                    Arc::new(BoundListener { wanted: Some(*address), socket })
                }
            });
        }
        Ok(Self { listeners })
    }

    /// Whether systemd opened them.
    pub(crate) fn is_given(&self) -> bool {
        self.listeners.iter().any(|listener| listener.wanted.is_none())
    }

    /// All of them, in the configuration's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<BoundListener>> {
        self.listeners.iter()
    }

    /// Those that `other` does not have.
    pub(crate) fn without(&self, other: &Self) -> Vec<Arc<BoundListener>> {
        let is_gone = |listener: &&Arc<BoundListener>| {
            !other.listeners.iter().any(|stays| Arc::ptr_eq(stays, listener))
        };
        self.listeners.iter().filter(is_gone).cloned().collect()
    }

    /// Whether both have the same sockets.
    pub(crate) fn is_same_as(&self, other: &Self) -> bool {
        self.without(other).is_empty() && other.without(self).is_empty()
    }

    /// The addresses as really bound: port 0 became a number.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.socket.local_addr().ok()).collect()
    }
}

impl FromIterator<BoundListener> for ListenerSet {
    fn from_iter<I: IntoIterator<Item = BoundListener>>(listeners: I) -> Self {
        Self { listeners: listeners.into_iter().map(Arc::new).collect() }
    }
}

/// A TCP listener.
///
/// # Errors
/// [`ListenError`] where the address is taken, or not of this machine.
pub(crate) fn bind_tcp(address: SocketAddr) -> Result<TcpListener, ListenError> {
    tcp(address).map_err(|reason| {
        let is_taken = reason.kind() == io::ErrorKind::AddrInUse;
        let holder = is_taken.then(|| holders::of_address(address)).flatten();
        ListenError { address: address.to_string(), reason, holder }
    })
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A Unix listener with mode 0600 at `path`; whatever socket was there is replaced. It is non-blocking.
///
/// # Errors
/// [`ListenError`] where the path is too long or can't be written.
pub(crate) fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    let address = || path.display().to_string();
    unix(path).map_err(|reason| ListenError { address: address(), reason, holder: None })
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let address = SocketAddrUnix::new(path).map_err(|_| io::ErrorKind::InvalidInput)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    // Nobody can connect before `listen`, so that the mode of the first moment does not matter.
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// A socket file that is removed when its owner is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(pub(crate) PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Removes the sockets that an appliance which was killed left in its run folder.
pub(crate) fn remove_stale_sockets(run_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(run_dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "sock") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_zero_becomes_a_number_and_stays_it_for_as_long_as_it_is_wanted() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let one = ListenerSet::open(Vec::new(), &[any]).unwrap();
        assert_ne!(one.addresses()[0].port(), 0);
        let two = one.changed(&[any, any]).unwrap();
        assert_eq!(two.addresses()[0], one.addresses()[0]);
        assert_ne!(two.addresses()[1], one.addresses()[0]);
        assert_eq!((two.without(&one).len(), one.without(&two).len()), (1, 0));
        assert!(two.is_same_as(&two.changed(&[any, any]).unwrap()));
    }

    #[test]
    fn what_systemd_opened_is_not_the_configurations_to_change() {
        let given = TcpListener::bind("127.0.0.1:0").unwrap();
        let set = ListenerSet::open(vec![given], &["127.0.0.1:1".parse().unwrap()]).unwrap();
        assert!(set.is_same_as(&set.changed(&[]).unwrap()));
        assert_ne!(set.addresses()[0].port(), 1);
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let taken = listener.local_addr().unwrap();
        let error = bind_tcp(taken).unwrap_err();
        assert!(error.to_string().contains(&taken.to_string()));
        let this = format!("(pid {})", std::process::id());
        assert!(error.to_string().contains(&this), "{error}");
    }

    #[test]
    fn a_unix_socket_is_private_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(bind_unix(&path).unwrap());
        let _listener = bind_unix(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        remove_stale_sockets(folder.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_path_too_long_is_an_error_with_a_hint() {
        let error = bind_unix(Path::new(&format!("/tmp/{}", "x".repeat(200)))).unwrap_err();
        assert!(error.to_string().contains("shorter state directory"));
    }
}
