//! A virtual environment with packages of the package index, made once for all tests of a machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::command::run;

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
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    pip.arg(&requirements).env("PIP_CACHE_DIR", folder.join("../package-cache"));
    run(pip).ok();
    fs::write(complete, wanted).unwrap();
    environment
}
