//! The search for interpreters among those of this machine.
#![allow(missing_docs, clippy::unwrap_used)]

mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use onebox_app_server::Interpreter;
use onebox_config::site::PythonChoice;

#[test]
fn every_version_is_found_by_its_number_and_by_a_version_file() {
    let pythons = harness::pythons();
    for python in &pythons {
        let (major, minor, _) = python.version;
        let by_minor = PythonChoice::Version(format!("{major}.{minor}"));
        let found = Interpreter::find(Some(&by_minor), Path::new("/"), None).unwrap();
        assert_eq!((found.version.0, found.version.1), (major, minor));
        let site = tempfile::tempdir().unwrap();
        fs::write(site.path().join(".python-version"), python.version_text()).unwrap();
        let found = Interpreter::find(None, site.path(), None).unwrap();
        assert_eq!(found.version, python.version);
    }
}

#[test]
fn a_program_that_is_no_python_is_named_with_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("python");
    fs::write(&program, "#!/bin/sh\necho 'pyenv: python: command not found' >&2\nexit 127\n")
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Interpreter::inspect(&program, None).unwrap_err().to_string();
    assert!(error.ends_with("is no usable Python: pyenv: python: command not found"), "{error}");
}

#[test]
fn an_old_python_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("python");
    let answer = r#"{"executable":"/x","implementation":"CPython","version":[3,8,18],"prefix":"/x","base_prefix":"/x","free_threaded":false,"library_dir":null,"library_names":[],"multiarch":null}"#;
    fs::write(&program, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let error = Interpreter::inspect(&program, None).unwrap_err().to_string();
    assert!(error.ends_with("is Python 3.8.18; onebox needs Python 3.9 or newer"), "{error}");
}
