//! As systemd starts it: what it is told, and the sockets that it opens.

use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{DEADLINE, Poller, SiteFolder, TestBox, get, onebox, run};

fn heard(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 1000];
    let size = socket.recv(&mut bytes).expect("systemd is told in time");
    String::from_utf8_lossy(&bytes[..size]).into_owned()
}

/// The next message that is no sign of life.
fn told(socket: &UnixDatagram) -> String {
    std::iter::repeat_with(|| heard(socket)).find(|message| message != "WATCHDOG=1").unwrap()
}

#[test]
fn systemd_is_told_of_readiness_reloads_life_and_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let abstract_name = format!("onebox-blackbox-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
    let sockets = [
        (UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned()),
        (UnixDatagram::bind_addr(&address).unwrap(), format!("@{abstract_name}")),
    ];
    for (socket, name) in sockets {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut appliance = TestBox::start_with(|command| {
            command.env("NOTIFY_SOCKET", &name).env("WATCHDOG_USEC", "200000");
        });
        assert!(told(&socket).starts_with("READY=1\nSTATUS="));
        assert_eq!(std::iter::repeat_with(|| heard(&socket)).next().unwrap(), "WATCHDOG=1");
        appliance.write_config("[releases]\nkeep = 2\n");
        appliance.signal(Signal::HUP);
        let reloading = told(&socket);
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        assert!(told(&socket).starts_with("READY=1\n"));
        appliance.signal(Signal::TERM);
        assert!(told(&socket).starts_with("STOPPING=1\n"));
        assert_eq!(appliance.wait(), 0);
    }
}

#[test]
fn sockets_of_systemd_are_served_and_no_child_learns_of_them() {
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [http.local_addr().unwrap(), admin.local_addr().unwrap()];
    let mut appliance = start_activated(&[(&admin, "admin"), (&http, "http")]);
    assert_eq!((appliance.http, appliance.admin), (addresses[0], Some(addresses[1])));
    let site = SiteFolder::fixture("hello");
    site.write(
        "app.py",
        "import os\n\ndef application(environ, start_response):\n    start_response('200 OK', [])\n    names = [n for n in \
         os.environ if n.startswith(('LISTEN_', 'NOTIFY_', 'WATCHDOG_'))]\n    return [repr(names).encode()]\n",
    );
    appliance.deploy(site.path()).ok();
    assert_eq!(get(appliance.http, "localhost", "/").text(), "[]");

    // What connects between two processes waits for the next one.
    appliance.signal(Signal::TERM);
    assert_eq!(appliance.wait(), 0);
    let waiting = Poller::start(addresses[0], "localhost", "/");
    let state = appliance.state().to_owned();
    let again = start_activated_at(&[(&http, "http")], Some(&state));
    while waiting.answered() == 0 {
        std::thread::yield_now();
    }
    waiting.all_well();
    drop(again);
}

#[test]
fn a_socket_with_another_name_is_refused_with_what_to_write() {
    let http = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut command = activated(&[(&http, "onebox.socket")]);
    command.env("ONEBOX_STATE_DIR", folder.path()).env("ONEBOX_CONFIG_DIR", folder.path());
    let refused = run(command).failed();
    assert!(refused.stderr.contains("FileDescriptorName="), "{}", refused.stderr);
}

fn start_activated(listeners: &[(&TcpListener, &str)]) -> TestBox {
    start_activated_at(listeners, None)
}

fn start_activated_at(
    listeners: &[(&TcpListener, &str)],
    state: Option<&std::path::Path>,
) -> TestBox {
    TestBox::start_as(activated(listeners), state)
}

/// `serve` with these listeners, as systemd does it: the shell's process id, which stays, is `LISTEN_PID`.
fn activated(listeners: &[(&TcpListener, &str)]) -> Command {
    let mut moves = String::new();
    let mut numbers: Vec<RawFd> = Vec::new();
    for (index, (listener, _)) in listeners.iter().enumerate() {
        // Above the numbers that it goes to.
        let copy = rustix::io::fcntl_dupfd_cloexec(listener, 50).unwrap();
        rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty()).unwrap();
        let number = copy.as_raw_fd();
        moves.push_str(&format!(" {}<&{number} {number}<&-", index + 3));
        numbers.push(number);
        // Ended by the shell's own redirection; this process keeps one descriptor more until it ends.
        std::mem::forget(copy);
    }
    let names: Vec<&str> = listeners.iter().map(|(_, name)| *name).collect();
    let mut command = onebox();
    let program = command.get_program().to_owned();
    let environment: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    // Not every sh takes numbers of two digits.
    command = Command::new("bash");
    for (name, value) in environment {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let line =
        format!("LISTEN_PID=$$ exec \"$0\" serve --http 127.0.0.1:0 --admin 127.0.0.1:0{moves}");
    command.arg("-c").arg(line).arg(program);
    command.env("LISTEN_FDS", numbers.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    command.stdin(std::process::Stdio::null());
    command
}
