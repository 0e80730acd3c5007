//! A virtual environment with packages of the package index, made once for all tests of a machine, and the clients in it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::run;

/// Has a client of the package index, `fixtures/clients/SCRIPT`, do its work; it checks what it sees, and says so at the end.
pub(crate) fn client_works(script: &str, server: SocketAddr) {
    client_meets(script, server, &[]);
}

/// The same for a client that opens FIFOs of the test to say how far it is.
pub(crate) fn client_meets(script: &str, server: SocketAddr, fifos: &[&Path]) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients");
    let mut client = Command::new(environment_of("frameworks").join("bin/python"));
    client.arg(clients.join(script)).arg(format!("http://localhost:{}", server.port())).args(fifos);
    let finished = run(client).ok();
    assert!(finished.stdout.ends_with("done\n"), "{}", finished.all());
}

/// The virtual environment for a fixture's `requirements.txt`.
pub(crate) fn environment_of(app: &str) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps").join(app);
    let requirements = fixture.join("requirements.txt");
    made_once(app, &fs::read_to_string(&requirements).unwrap(), |environment| {
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(environment);
        run(venv).ok();
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--no-compile"]);
        pip.args(["--disable-pip-version-check", "-r"]).arg(&requirements);
        pip.env("PIP_CACHE_DIR", environment.join("../../package-cache"));
        // What is built from source only has to work.
        pip.env("CFLAGS", "-O0");
        let profile = fixture.join("uwsgi-build.ini");
        if profile.exists() {
            pip.env("UWSGI_PROFILE", profile);
        }
        run(pip).ok();
    })
}

/// A folder with what `make` puts there, unless that was made before as it is `wanted`. Tests are processes of their own: the
/// first one makes it, the others wait.
pub(crate) fn made_once(name: &str, wanted: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    let made = folder.join(name);
    let complete = made.join("complete.txt");
    if fs::read_to_string(&complete).is_ok_and(|before| before == wanted) {
        return made;
    }
    if made.exists() {
        fs::remove_dir_all(&made).unwrap();
    }
    fs::create_dir(&made).unwrap();
    make(&made);
    fs::write(complete, wanted).unwrap();
    made
}
