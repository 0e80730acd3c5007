//! What people read when a configuration is wrong: one snapshot for each file in `fixtures/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::path::{Path, PathBuf};

use onebox_config::{BoxFlags, load_box, parse_site};

fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder);
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn snapshot(kind: &str, file: &Path, told: &str) {
    let name = format!("{kind}-{}", file.file_stem().unwrap().display());
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, told);
    });
}

#[test]
fn every_wrong_site_file_is_told_with_all_its_problems() {
    let files = fixtures("invalid");
    assert_eq!(files.len(), 17);
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let error = parse_site(&text, Path::new("onebox.toml")).expect_err("the file is wrong");
        snapshot("site", &file, &error.to_string());
    }
}

#[test]
fn every_wrong_box_file_is_told_with_all_its_problems() {
    let files = fixtures("invalid-box");
    assert_eq!(files.len(), 4);
    for file in files {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(&file, folder.path().join("box.toml")).unwrap();
        let config_dir = Some(folder.path().to_owned());
        let state_dir = Some(folder.path().to_owned());
        let error = load_box(BoxFlags { config_dir, state_dir, ..BoxFlags::default() })
            .expect_err("the file is wrong");
        // The folder has another name each time.
        let shown = error.to_string().replace(&format!("{}/", folder.path().display()), "");
        snapshot("box", &file, &shown);
    }
}
