//! Which crate may use which: the arrows of ARCHITECTURE.md, held against `cargo metadata`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::MetadataCommand;

/// Every crate of the workspace, and the ones it may use.
const ARROWS: [(&str, &[&str]); 8] = [
    ("onebox", &["onebox-supervisor", "onebox-config"]),
    (
        "onebox-supervisor",
        &["onebox-proxy", "onebox-app-server", "onebox-uwsgi", "onebox-config", "onebox-metrics"],
    ),
    ("onebox-proxy", &["onebox-uwsgi", "onebox-config", "onebox-metrics"]),
    ("onebox-app-server", &["onebox-uwsgi", "onebox-config", "onebox-metrics"]),
    ("onebox-runtime", &["onebox-uwsgi"]),
    ("onebox-uwsgi", &[]),
    ("onebox-config", &[]),
    ("onebox-metrics", &[]),
];

/// Packages that one crate alone may use, with everything whose name begins so.
const RESERVED: [(&str, &str); 4] = [
    ("pyo3", "onebox-runtime"),
    ("sqlx", "onebox-supervisor"),
    ("figment", "onebox-config"),
    ("instant-acme", "onebox-supervisor"),
];

/// Every crate of the workspace and what its manifest names, dependencies of builds and tests included.
type Manifests = BTreeMap<String, BTreeSet<String>>;

fn workspace() -> Manifests {
    let metadata = MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .no_deps()
        .exec()
        .unwrap();
    let crates = metadata.workspace_packages().into_iter().map(|package| {
        let named = package.dependencies.iter().map(|dependency| dependency.name.clone());
        (package.name.to_string(), named.collect())
    });
    crates.collect()
}

/// Every dependency that the rules forbid, as a sentence.
fn violations(manifests: &Manifests) -> Vec<String> {
    let ours: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let mut found = Vec::new();
    for (name, dependencies) in manifests {
        let Some(allowed) = ours.get(name.as_str()) else {
            found.push(format!("{name} has no place among the arrows"));
            continue;
        };
        for dependency in dependencies {
            if manifests.contains_key(dependency) && !allowed.contains(&dependency.as_str()) {
                found.push(format!("{name} must not use {dependency}"));
            }
            for (package, owner) in RESERVED {
                if dependency.starts_with(package) && name != owner {
                    found.push(format!("{name} must not use {dependency}: only {owner} may"));
                }
            }
        }
    }
    found
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let manifests = workspace();
    assert_eq!(violations(&manifests), Vec::<String>::new());
    let expected: BTreeSet<_> = ARROWS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(manifests.into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_dependency_against_the_arrows_is_found() {
    let mut manifests = workspace();
    manifests.get_mut("onebox-proxy").unwrap().insert("onebox-app-server".to_owned());
    manifests.get_mut("onebox-uwsgi").unwrap().insert("pyo3-ffi".to_owned());
    manifests.insert("onebox-helpers".to_owned(), BTreeSet::new());
    let expected = [
        "onebox-helpers has no place among the arrows",
        "onebox-proxy must not use onebox-app-server",
        "onebox-uwsgi must not use pyo3-ffi: only onebox-runtime may",
    ];
    assert_eq!(violations(&manifests), expected);
}
