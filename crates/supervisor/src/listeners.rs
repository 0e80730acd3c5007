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

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

/// Connections that may wait while no engine accepts; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// An address that could not be listened on, with what a person can do about it.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: {reason}{}", hint(.reason))]
pub struct ListenError {
    address: String,
    reason: io::Error,
}

fn hint(reason: &io::Error) -> &'static str {
    match reason.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program has this address: stop it, or choose another one"
        }
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher one"
        }
        io::ErrorKind::AddrNotAvailable => "; no interface of this machine has this address",
        io::ErrorKind::InvalidInput => {
            "; the path of a Unix socket has at most 107 bytes: choose a shorter state directory"
        }
        _ => "",
    }
}

/// TCP listeners on all of `addresses`, in their order.
///
/// # Errors
/// [`ListenError`] with the first address that fails.
pub(crate) fn bind_tcp(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    addresses
        .iter()
        .map(|address| {
            tcp(*address).map_err(|reason| ListenError { address: address.to_string(), reason })
        })
        .collect()
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

/// The addresses as really bound: port 0 became a number.
pub(crate) fn bound_addresses(listeners: &[TcpListener]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
}

/// A Unix listener with mode 0600 at `path`; whatever socket was there is replaced. It is non-blocking.
///
/// # Errors
/// [`ListenError`] where the path is too long or can't be written.
pub(crate) fn bind_unix(path: &Path) -> Result<UnixListener, ListenError> {
    unix(path).map_err(|reason| ListenError { address: path.display().to_string(), reason })
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
    fn port_zero_becomes_a_number() {
        let listeners = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        assert_ne!(bound_addresses(&listeners)[0].port(), 0);
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let taken = bind_tcp(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let error = bind_tcp(&bound_addresses(&taken)).unwrap_err();
        assert!(error.to_string().contains(&bound_addresses(&taken)[0].to_string()));
        assert!(error.to_string().contains("another program"));
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
