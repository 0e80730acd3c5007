//! What systemd is told about this process, and how often it wants a sign of life.
//!
//! Where nobody asked for it everything here does nothing. Must not know what the appliance does.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3); systemd.service(5), `Type=notify` and `WatchdogSec=`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use rustix::time::{ClockId, clock_gettime};

/// The variable that names the socket.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The service manager, if one wants to be told.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddrUnix)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn from_environment() -> Self {
        Self::named(|name| std::env::var_os(name), std::process::id())
    }

    fn named(variable: impl Fn(&str) -> Option<OsString>, own_pid: u32) -> Self {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let socket = variable(NOTIFY_SOCKET).filter(|name| !name.is_empty()).and_then(|name| {
            let opened = address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
            opened.inspect_err(|error| tracing::warn!(%error, "NOTIFY_SOCKET can't be used")).ok()
        });
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(own_pid));
        let watchdog = number("WATCHDOG_USEC").filter(|limit_us| is_ours && *limit_us > 0);
        let watchdog = watchdog.filter(|_| socket.is_some()).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// It serves; also said when a reload is over.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// It begins to take in its configuration, or to change into another version.
    pub(crate) fn reloading(&self, status: &str) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS={status}"));
    }

    /// It begins to end.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Finishing what is in flight");
    }

    /// How often a sign of life is to be given: twice in the time that the manager waits for one.
    pub(crate) fn sign_of_life_interval(&self) -> Option<Duration> {
        self.watchdog.map(|limit| limit / 2)
    }

    /// The sign of life. One that nobody has room for is not waited with: there are others in its queue.
    pub(crate) fn alive(&self) {
        match self.send("WATCHDOG=1", SendFlags::DONTWAIT) {
            Ok(()) | Err(Errno::AGAIN) => {}
            Err(error) => not_told(error),
        }
    }

    fn tell(&self, message: &str) {
        self.send(message, SendFlags::empty()).unwrap_or_else(not_told);
    }

    fn send(&self, message: &str, flags: SendFlags) -> rustix::io::Result<()> {
        let Some((socket, address)) = &self.socket else { return Ok(()) };
        sendto(socket, message.as_bytes(), flags, address).map(drop)
    }
}

fn not_told(error: Errno) {
    tracing::warn!(%error, "the service manager can't be told");
}

/// `/path`, or `@name` in the abstract namespace.
fn address(name: &OsStr) -> io::Result<SocketAddrUnix> {
    match name.as_bytes() {
        [b'@', name @ ..] => Ok(SocketAddrUnix::new_abstract_name(name)?),
        [b'/', ..] => Ok(SocketAddrUnix::new(name)?),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    use super::*;

    fn manager(variables: &[(&str, &str)]) -> ServiceManager {
        let find = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        ServiceManager::named(find, 42)
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 500];
        let size = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..size]).into_owned()
    }

    #[test]
    fn paths_and_abstract_names_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]).ready("Serving");
        assert_eq!(received(&by_path), "READY=1\nSTATUS=Serving");

        let name = format!("onebox-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", &format!("@{name}"))]);
        manager.reloading("Reloading");
        let said = received(&by_name);
        let at = said.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().split('\n').next();
        assert!(at.unwrap().parse::<u64>().unwrap() > 0, "{said}");
        manager.stopping();
        assert!(received(&by_name).starts_with("STOPPING=1"));
    }

    #[test]
    fn a_sign_of_life_is_due_twice_in_the_time_that_is_waited_for_us() {
        let interval = |variables: &[(&str, &str)]| manager(variables).sign_of_life_interval();
        let socket = ("NOTIFY_SOCKET", "/nobody");
        let limit = ("WATCHDOG_USEC", "3000000");
        assert_eq!(interval(&[socket, limit]), Some(Duration::from_millis(1500)));
        assert!(interval(&[socket, limit, ("WATCHDOG_PID", "42")]).is_some());
        assert_eq!(interval(&[socket, limit, ("WATCHDOG_PID", "41")]), None);
        assert_eq!(interval(&[limit]), None);
        for wrong in ["0", "-1", "soon", ""] {
            assert_eq!(interval(&[socket, ("WATCHDOG_USEC", wrong)]), None, "{wrong}");
        }
    }

    #[test]
    fn signs_of_life_do_not_wait_for_who_reads_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager(&[("NOTIFY_SOCKET", path.to_str().unwrap())]);
        let queue = std::fs::read_to_string("/proc/sys/net/unix/max_dgram_qlen").unwrap();
        for _ in 0..2 * queue.trim().parse::<usize>().unwrap() {
            manager.alive();
        }
        assert_eq!(received(&socket), "WATCHDOG=1");
    }

    #[test]
    fn nobody_to_tell_and_a_socket_that_is_none_are_no_errors() {
        manager(&[]).ready("Serving");
        manager(&[("NOTIFY_SOCKET", "/nobody/listens/here")]).ready("Serving");
        manager(&[("NOTIFY_SOCKET", "vsock:2:1234")]).alive();
    }
}
