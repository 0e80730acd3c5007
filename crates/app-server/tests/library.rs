//! The file that the binary carries: what it exports and what it needs.
#![allow(missing_docs, clippy::unwrap_used)]

use std::process::Command;

use onebox_app_server::RuntimeLibrary;

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_library_exports_its_two_entry_points_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let library = RuntimeLibrary::install(folder.path()).unwrap();
    let symbols = output("nm", &["-D", "--defined-only", library.path.to_str().unwrap()]);
    let mut names: Vec<&str> =
        symbols.lines().filter_map(|line| line.split_whitespace().last()).collect();
    names.sort_unstable();
    assert_eq!(names, ["PyInit_onebox_runtime", "onebox_runtime_start"]);
}

#[test]
fn the_library_links_no_python() {
    let folder = tempfile::tempdir().unwrap();
    let library = RuntimeLibrary::install(folder.path()).unwrap();
    let dynamic = output("readelf", &["-d", library.path.to_str().unwrap()]);
    assert!(dynamic.contains("NEEDED"), "{dynamic}");
    assert!(!dynamic.contains("libpython"), "{dynamic}");
}
