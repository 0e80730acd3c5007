//! Opening one socket of a site.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use onebox_config::site::{SocketAddress, SocketOwner, UwsgiSockets};
use onebox_config::{group_number, user_number};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::listeners::{ListenError, SocketFile, bind_tcp, bind_unix};

/// A socket that can't be opened as its site's configuration says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The address is taken, or not of this machine.
    #[error("`socket`: {0}")]
    Listen(#[from] ListenError),
    /// Something that is no socket has its name.
    #[error("`socket`: {0} is there and is no socket; choose another path, or remove it")]
    NoSocket(String),
    /// Another program answers there.
    #[error("`socket`: another program listens on {0}; stop it, or choose another path")]
    Taken(String),
    /// A folder, the owner or the mode.
    #[error("`socket`: {path}: {reason}")]
    File {
        /// The socket's path.
        path: String,
        /// Why.
        reason: io::Error,
    },
    /// No such user or group.
    #[error("`chown-socket`: there is no user or group \"{0}\" on this machine")]
    NoOwner(String),
    /// Only root gives files away.
    #[error("`chown-socket`: {path} can't be given to it: {reason}")]
    Owner {
        /// The socket's path.
        path: String,
        /// Why.
        reason: io::Error,
    },
}

impl SocketError {
    /// Whether waiting may help: an engine of an appliance that was killed ends a moment later.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Listen(_))
    }
}

/// A listening socket, and its file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) descriptor: OwnedFd,
    file: Option<SocketFile>,
}

impl Opened {
    /// One that was opened before; its file is ours to remove.
    pub(super) fn adopt(descriptor: OwnedFd, file: Option<PathBuf>) -> Self {
        Self { descriptor, file: file.map(SocketFile) }
    }

    /// The file of a Unix socket.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|SocketFile(path)| path.as_path())
    }

    pub(super) fn open(
        address: &SocketAddress,
        config: &UwsgiSockets,
    ) -> Result<Self, SocketError> {
        match address {
            SocketAddress::Tcp(address) => {
                Ok(Self { descriptor: bind_tcp(*address)?.into(), file: None })
            }
            SocketAddress::Unix(path) => {
                make_room(path)?;
                let listener = bind_unix(path)?;
                let file = Some(SocketFile(path.clone()));
                let opened = Self { descriptor: listener.into(), file };
                opened.dress(config)?;
                Ok(opened)
            }
        }
    }

    /// Gives a Unix socket its owner and mode.
    pub(super) fn dress(&self, config: &UwsgiSockets) -> Result<(), SocketError> {
        let Some(SocketFile(path)) = &self.file else { return Ok(()) };
        let shown = || path.display().to_string();
        if let Some(SocketOwner { user, group }) = &config.owner {
            let number = |name: &Option<String>, find: fn(&str) -> Option<u32>| match name {
                None => Ok(None),
                Some(name) => {
                    find(name).map(Some).ok_or_else(|| SocketError::NoOwner(name.clone()))
                }
            };
            let (user, group) = (number(user, user_number)?, number(group, group_number)?);
            std::os::unix::fs::chown(path, user, group)
                .map_err(|reason| SocketError::Owner { path: shown(), reason })?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(config.mode))
            .map_err(|reason| SocketError::File { path: shown(), reason })
    }
}

/// Makes the folders on the way, and removes a socket on which nobody listens any more.
fn make_room(path: &Path) -> Result<(), SocketError> {
    let shown = || path.display().to_string();
    let failed = |reason| SocketError::File { path: shown(), reason };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(there) if !there.file_type().is_socket() => Err(SocketError::NoSocket(shown())),
        Ok(_) if is_listened_on(path) => Err(SocketError::Taken(shown())),
        Ok(_) => std::fs::remove_file(path).map_err(failed),
    }
}

/// Whether somebody listens there; a full queue is somebody too.
fn is_listened_on(path: &Path) -> bool {
    let Ok(address) = SocketAddrUnix::new(path) else { return false };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let refused = rustix::io::Errno::CONNREFUSED;
    socket.is_ok_and(|socket| rustix::net::connect(&socket, &address) != Err(refused))
}
