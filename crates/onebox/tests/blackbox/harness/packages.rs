//! A virtual environment with packages of the package index, made once for all tests of a machine, and the clients in it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::run;

/// Has a client of the package index, `fixtures/clients/SCRIPT`, do its work; it checks what it sees, and says so at the end.
pub(crate) fn client_works(script: &str, server: SocketAddr) {
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients");
    let mut client = Command::new(environment_of("frameworks").join("bin/python"));
    client.arg(clients.join(script)).arg(format!("http://localhost:{}", server.port()));
    let finished = run(client).ok();
    assert!(finished.stdout.ends_with("done\n"), "{}", finished.all());
}

/// The virtual environment for a fixture's `requirements.txt`.
pub(crate) fn environment_of(app: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps");
    let requirements = fixtures.join(app).join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("environments");
    fs::create_dir_all(&folder).unwrap();
    // Tests are processes of their own: the first one makes it, the others wait.
    let lock = File::create(folder.join(format!("{app}.lock"))).unwrap();
    lock.lock().unwrap();
    let environment = folder.join(app);
    let complete = environment.join("complete.txt");
    if fs::read_to_string(&complete).is_ok_and(|made| made == wanted) {
        return environment;
    }
    if environment.exists() {
        fs::remove_dir_all(&environment).unwrap();
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv"]).arg(&environment);
    run(venv).ok();
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--disable-pip-version-check",
        "-r",
    ]);
    pip.arg(&requirements).env("PIP_CACHE_DIR", folder.join("../package-cache"));
    // What is built from source only has to work.
    pip.env("CFLAGS", "-O0");
    let profile = fixtures.join(app).join("uwsgi-build.ini");
    if profile.exists() {
        pip.env("UWSGI_PROFILE", profile);
    }
    run(pip).ok();
    fs::write(complete, wanted).unwrap();
    environment
}
