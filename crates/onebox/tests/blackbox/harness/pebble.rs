//! Pebble, an authority for tests that speaks ACME, and the name server that it asks.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::command::{DEADLINE, run};
use super::nginx::free_address;
use super::tls::Pem;

/// An authority that can be started again and again at the same address; it forgets everything meanwhile.
pub(crate) struct Pebble {
    folder: tempfile::TempDir,
    certificate: Pem,
    api: SocketAddr,
    management: SocketAddr,
    names: SocketAddr,
    children: Vec<Child>,
}

impl Pebble {
    /// One that does not run yet; `None`, and a word about it, where the machine has none.
    pub(crate) fn new() -> Option<Self> {
        if Command::new("pebble").arg("-h").stderr(Stdio::null()).status().is_err() {
            eprintln!("SKIPPED: there is no pebble on this machine (Debian's package pebble)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let certificate = Pem::new(folder.path(), "localhost");
        let [api, management, names] = [(); 3].map(|()| free_address());
        Some(Self { folder, certificate, api, management, names, children: Vec::new() })
    }

    /// What a `box.toml` says to have it asked.
    pub(crate) fn section(&self) -> String {
        self.section_for(&self.directory())
    }

    /// The same where its directory is at another place, with the same certificate.
    pub(crate) fn section_for(&self, directory: &str) -> String {
        let file = self.certificate.certificate.display();
        format!("[acme]\ndirectory = \"{directory}\"\nca-file = \"{file}\"\nretry = \"1s\"\n")
    }

    /// What it shows itself with: for `localhost`.
    pub(crate) fn certificate(&self) -> &Pem {
        &self.certificate
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.api.port())
    }

    /// Runs it; it asks at these ports, whatever the name.
    pub(crate) fn start(&mut self, http: SocketAddr, https: SocketAddr) {
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "{}", "managementListenAddress": "{}", "certificate": "{}", "privateKey": "{}", "httpPort": {}, "tlsPort": {}, "ocspResponderURL": "", "externalAccountBindingRequired": false}}}}"#,
            self.api,
            self.management,
            self.certificate.certificate.display(),
            self.certificate.key.display(),
            http.port(),
            https.port()
        );
        let file = self.folder.path().join("pebble.json");
        std::fs::write(&file, config).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv6", ""]);
        names.args(["-management", "", "-dns01", &self.names.to_string()]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(file).arg("-dnsserver").arg(self.names.to_string());
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_VA_ALWAYS_VALID", "0");
        pebble.env("PEBBLE_WFE_NONCEREJECT", "20");
        for mut command in [names, pebble] {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            self.children.push(command.spawn().unwrap());
        }
        let begun = std::time::Instant::now();
        while [self.api, self.names].iter().any(|address| TcpStream::connect(address).is_err()) {
            assert!(begun.elapsed() < DEADLINE, "pebble never listens");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) {
        for mut child in self.children.drain(..) {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Whom to trust to believe its certificates.
    pub(crate) fn root(&self) -> PathBuf {
        let file = self.folder.path().join("root.pem");
        std::fs::write(&file, fetch(&format!("https://{}/roots/0", self.management))).unwrap();
        file
    }

    /// Its directory, as JSON.
    pub(crate) fn directory_text(&self) -> String {
        fetch(&self.directory())
    }
}

fn fetch(url: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["-sSk", "--max-time", "60", url]);
    run(command).ok().stdout
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}
