//! One binary, every CPython of the machine from 3.9 on: embedded and isolated.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{SiteFolder, TestBox, get};

#[test]
fn every_python_of_the_machine_serves_embedded_and_isolated() {
    let pythons = pythons();
    assert!(!pythons.is_empty(), "this test needs a CPython of 3.9 or newer");
    let site = SiteFolder::fixture("where");
    for (minor, python) in &pythons {
        for isolation in ["embedded", "process"] {
            site.write("onebox.toml", &format!("isolation = \"{isolation}\"\n"));
            let served =
                TestBox::run_in_place(site.path(), &["--python", python.to_str().unwrap()]);
            let answer: Value =
                serde_json::from_str(&get(served.http, "localhost", "/").text()).unwrap();
            let seen = format!("3.{minor} {isolation}: {answer}");
            assert_eq!(answer["version"], serde_json::json!([3, minor]), "{seen}");
            let is_embedded = answer["program"] == env!("CARGO_BIN_EXE_onebox");
            assert_eq!(is_embedded, isolation == "embedded", "{seen}");
            assert_eq!(answer["encoding"], "utf-8", "{seen}");
            assert_eq!(answer["multiprocess"], false, "{seen}");
            assert!(answer["executable"].as_str().unwrap().contains("python"), "{seen}");
        }
    }
}

/// One CPython for each minor version: pyenv's, then those on `PATH`.
pub(crate) fn pythons() -> BTreeMap<u64, PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let root = root.or_else(|| std::env::home_dir().map(|home| home.join(".pyenv"))).unwrap();
    let versions = std::fs::read_dir(root.join("versions")).into_iter().flatten().flatten();
    let own = versions.map(|version| version.path().join("bin/python3"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::split_paths(&path)
        .flat_map(|folder| (9..14).map(move |minor| folder.join(format!("python3.{minor}"))));
    let mut found = BTreeMap::new();
    for python in own.chain(named.collect::<Vec<_>>()).filter(|python| python.is_file()) {
        let said = Command::new(&python)
            .args(["-c", "import sys; print(sys.version_info[1])"])
            .output()
            .unwrap();
        // A shim of pyenv for a version that is not chosen says nothing.
        if let Ok(minor @ 9..14) = String::from_utf8_lossy(&said.stdout).trim().parse::<u64>() {
            found.entry(minor).or_insert(python);
        }
    }
    found
}
