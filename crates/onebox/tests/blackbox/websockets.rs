//! Connections that became WebSockets, over what replaces the engine that passes them on: they go on there up to
//! `drain-timeout`, as long downloads do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::process::Signal;

use crate::harness::{
    DEADLINE, Peer, SiteFolder, TestBox, environment_of, free_address, get, uwsgi_can_be_built,
};

const FILE_BYTES: usize = 32 << 20;

fn python(script: &str) -> Command {
    let mut command = Command::new(environment_of("peers").join("bin/python"));
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps/peers");
    command.arg(peers.join(script));
    command
}

/// A server of WebSockets that says everything back.
fn echo() -> (Peer, SocketAddr) {
    let address = free_address();
    let mut command = python("echo_server.py");
    command.arg(address.port().to_string());
    (Peer::start(command, "ready"), address)
}

/// A site with a Python beside the server.
fn fronted(echo: SocketAddr) -> SiteFolder {
    let site = SiteFolder::fixture("fronted");
    let files = "[static]\n'/files' = 'files'\n";
    site.write(
        "onebox.toml",
        &format!("{files}[[upstream]]\npath = '/ws'\nto = 'http://{echo}'\n"),
    );
    site.write("files/large", &"x".repeat(FILE_BYTES));
    site
}

/// A site of nothing but the server.
fn proxied(echo: SocketAddr) -> SiteFolder {
    let site = SiteFolder::fixture("proxied");
    // What it says to a request that wants no WebSocket.
    let health = "[health]\nstatus = [426]\n";
    site.write("onebox.toml", &format!("{health}[[upstream]]\nto = 'http://{echo}'\n"));
    site
}

/// A client with an open connection.
struct Chat {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Chat {
    fn open(appliance: &TestBox) -> Self {
        let mut command = python("chat_client.py");
        command.arg(format!("ws://{}/ws/chat", appliance.http));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let mut chat = Self { child, stdin, stdout: BufReader::new(stdout) };
        chat.works("the first");
        chat
    }

    fn works(&mut self, words: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{words}").unwrap();
        let mut said = String::new();
        self.stdout.read_line(&mut said).unwrap();
        assert_eq!(said.trim_end(), words);
    }

    /// Waits until the connection is ended from the other side.
    fn ends(&mut self) {
        drop(self.stdin.take());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        assert_eq!(said, "ended\n");
    }
}

impl Drop for Chat {
    fn drop(&mut self) {
        // Nothing more is asked of it.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Has another engine take over, whatever the site.
fn renew_engine(appliance: &TestBox) {
    let before = appliance.engine_pid();
    appliance.write_config("[limits]\nmax-target = \"2KB\"\n");
    appliance.signal(Signal::HUP);
    appliance.wait_for_line("the configuration was reloaded");
    assert_ne!(appliance.engine_pid(), before);
}

#[test]
fn a_websocket_goes_on_through_a_redeploy_and_a_new_engine() {
    if !uwsgi_can_be_built() {
        return;
    }
    let (_server, address) = echo();
    for site in [fronted(address), proxied(address)] {
        let appliance = TestBox::start();
        appliance.deploy(site.path()).ok();
        let mut chat = Chat::open(&appliance);
        appliance.deploy(site.path()).ok();
        chat.works("after a redeploy");
        renew_engine(&appliance);
        chat.works("after a new engine");
        Chat::open(&appliance);
    }
}

#[test]
fn drain_timeout_ends_websockets_and_downloads() {
    if !uwsgi_can_be_built() {
        return;
    }
    let (_server, address) = echo();
    let start = || {
        TestBox::start_with(|command| {
            command.env("ONEBOX_LIMITS__DRAIN_TIMEOUT", "1s");
        })
    };
    let (appliance, site) = (start(), fronted(address));
    appliance.deploy(site.path()).ok();
    let mut chat = Chat::open(&appliance);
    let mut download = TcpStream::connect(appliance.http).unwrap();
    download.set_read_timeout(Some(DEADLINE)).unwrap();
    download.write_all(b"GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    download.read_exact(&mut [0; 1000]).unwrap();
    appliance.deploy(site.path()).ok();
    chat.ends();
    appliance.wait_for_line("engine drained generation=2");
    let mut rest = Vec::new();
    // Ended or reset: it is not whole.
    download.read_to_end(&mut rest).ok();
    assert!(rest.len() < FILE_BYTES - 1000, "the download was not cut");
    assert!(get(appliance.http, "localhost", "/python").text().starts_with("GET /python "));

    let (appliance, site) = (start(), proxied(address));
    appliance.deploy(site.path()).ok();
    let mut chat = Chat::open(&appliance);
    renew_engine(&appliance);
    chat.ends();
}
