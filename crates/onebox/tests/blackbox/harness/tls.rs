//! Certificates of the tests' own, and clients that speak TLS: curl and openssl.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::{Finished, run};

/// A certificate that vouches for itself, and its key.
pub(crate) struct Pem {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pem {
    /// In a folder, for a host.
    pub(crate) fn new(folder: &Path, host: &str) -> Self {
        let at = |suffix: &str| folder.join(format!("{host}.{suffix}"));
        let pem = Self { certificate: at("pem"), key: at("key") };
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=test", "-addext"]);
        command.arg(format!("subjectAltName=DNS:{host}"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.arg("-keyout").arg(&pem.key).arg("-out").arg(&pem.certificate);
        run(command).ok();
        pem
    }

    /// What an `onebox.toml` says to have it used.
    pub(crate) fn section(&self) -> String {
        let (certificate, key) = (self.certificate.display(), self.key.display());
        format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    }

    /// Puts another one in its place, as a renewal does: files are replaced, not written over.
    pub(crate) fn replace_by(&self, other: &Self) {
        for (from, to) in [(&other.certificate, &self.certificate), (&other.key, &self.key)] {
            let draft = to.with_extension("draft");
            fs::copy(from, &draft).unwrap();
            fs::rename(&draft, to).unwrap();
        }
    }
}

/// curl, which reaches an address by any host's name and believes one root.
pub(crate) struct Https {
    address: SocketAddr,
    root: PathBuf,
}

impl Https {
    pub(crate) fn new(address: SocketAddr, root: &Path) -> Self {
        Self { address, root: root.to_owned() }
    }

    /// A request; what it printed has the heads too.
    pub(crate) fn ask(&self, host: &str, path: &str, arguments: &[&str]) -> Finished {
        let (ip, port) = (self.address.ip(), self.address.port());
        let mut command = Command::new("curl");
        command.args(["-sS", "-i", "--max-time", "60", "--http1.1"]);
        command.arg("--resolve").arg(format!("{host}:{port}:{ip}"));
        command.arg("--cacert").arg(&self.root).args(arguments);
        command.arg(format!("https://{host}:{port}{path}"));
        run(command)
    }

    /// The answer to a `GET` with its head; fails where the certificate is not believed.
    pub(crate) fn get(&self, host: &str, path: &str) -> String {
        self.ask(host, path, &[]).ok().stdout
    }
}

/// A session of TLS that outlives its connection, kept by openssl.
pub(crate) struct Session {
    address: SocketAddr,
    file: PathBuf,
    version: &'static str,
}

impl Session {
    /// `version`: `-tls1_2` or `-tls1_3`.
    pub(crate) fn new(address: SocketAddr, folder: &Path, version: &'static str) -> Self {
        Self { address, file: folder.join(format!("session{version}")), version }
    }

    /// Visits a host; whether the session went on.
    pub(crate) fn goes_on(&self, host: &str) -> bool {
        let mut command = Command::new("sh");
        let request =
            format!("GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n");
        let mut line = format!(
            "printf '{request}' | openssl s_client -connect {} -servername {host} {} -ign_eof -sess_out {}",
            self.address,
            self.version,
            self.file.display()
        );
        if self.file.exists() {
            line.push_str(&format!(" -sess_in {}", self.file.display()));
        }
        command.args(["-c", &line]);
        let said = run(command).ok().stdout;
        assert!(said.contains("HTTP/1.1 200 OK"), "{said}");
        said.contains("\nReused, ")
    }
}
