//! A real nginx in front of an appliance.

use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

use super::command::DEADLINE;

const BINARY: &str = "/usr/sbin/nginx";

/// A running nginx with one server for each location; it ends with the test.
pub(crate) struct Nginx {
    child: Child,
    _folder: tempfile::TempDir,
    /// Where each server listens.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Nginx {
    /// Whether this machine has one; says so where it has not.
    pub(crate) fn is_here() -> bool {
        let here = Path::new(BINARY).exists() && Path::new("/etc/nginx/uwsgi_params").exists();
        if !here {
            eprintln!("skipped: this machine has no {BINARY}");
        }
        here
    }

    /// Starts one; each of `locations` is what stands in `location / { }`.
    pub(crate) fn start(locations: &[String]) -> Self {
        let servers = locations.iter().map(|location| format!("location / {{ {location} }}"));
        Self::serve(&servers.collect::<Vec<_>>())
    }

    /// Starts one; each of `servers` is what stands in `server { }` beside the address.
    pub(crate) fn serve(servers: &[String]) -> Self {
        Self::serve_with("", servers)
    }

    /// The same, with what stands in `http { }` beside the servers.
    pub(crate) fn serve_with(http: &str, servers: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let addresses: Vec<SocketAddr> = servers.iter().map(|_| free_address()).collect();
        let servers = addresses
            .iter()
            .zip(servers)
            .map(|(address, server)| format!("server {{ listen {address}; {server} }}\n"));
        let temporary = ["client_body", "proxy", "uwsgi", "fastcgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};\n"));
        // As root it would give its work to a user who can't open the test's sockets.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "daemon off; worker_processes 1; pid {root}/pid; {user}\n\
             events {{}}\nhttp {{\naccess_log off; client_max_body_size 0;\n{http}\n{}{}}}\n",
            temporary.concat(),
            servers.collect::<String>(),
        );
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(BINARY)
            .args(["-e", "stderr", "-g", "error_log stderr notice;", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = mpsc::channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                sender.send(line).ok();
            }
        });
        let started = Self { child, _folder: folder, addresses };
        // It listens before it starts the process that accepts.
        loop {
            let line = lines.recv_timeout(DEADLINE).expect("nginx says that it started");
            assert!(!line.contains("[emerg]"), "{line}");
            if line.contains("start worker process") {
                return started;
            }
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

/// An address for programs that can't choose one themselves. The system gives none of these ports to a connection or to a
/// listener that asks for any: it stays free until it is used.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        // Other tests choose at the same moment: at random.
        let port = 10_000 + (RandomState::new().hash_one(()) % 20_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
