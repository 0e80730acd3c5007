//! Builds the runtime library, which the binary carries, in a target folder of its own.
//!
//! To share the outer target folder would dead-lock: the outer cargo holds its lock while it waits for this script.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What the outer build sets for its own crates (clippy, coverage) and must not reach the library.
const OUTER_VARIABLES: [&str; 7] = [
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

fn main() -> ExitCode {
    match build() {
        Ok(library) => {
            println!("cargo::rustc-env=ONEBOX_RUNTIME_LIBRARY={}", library.display());
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let variable = |name: &str| std::env::var_os(name).ok_or(format!("cargo did not set {name}"));
    let crates = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let workspace = crates.join("..");
    for changed in ["runtime/src", "runtime/Cargo.toml", "uwsgi/src", "uwsgi/Cargo.toml"] {
        rerun_if_changed(&crates.join(changed));
    }
    rerun_if_changed(&workspace.join("Cargo.lock"));
    rerun_if_changed(&workspace.join("Cargo.toml"));

    let target_dir = PathBuf::from(variable("OUT_DIR")?).join("runtime");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .args(["build", "--locked", "--quiet", "--lib", "--profile", "runtime"])
        .arg("--manifest-path")
        .arg(crates.join("runtime/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target_dir)
        .env("PYO3_BUILD_EXTENSION_MODULE", "1")
        .env("PYO3_NO_PYTHON", "1");
    for name in OUTER_VARIABLES {
        cargo.env_remove(name);
    }
    let mut folder = target_dir;
    let target = variable("TARGET")?;
    if target != variable("HOST")? {
        cargo.arg("--target").arg(&target);
        folder.push(&target);
    }
    let status = cargo.status().map_err(|error| format!("cargo can't be run: {error}"))?;
    if !status.success() {
        return Err("the runtime library does not build; its errors stand above".into());
    }
    Ok(folder.join("runtime/libonebox_runtime.so"))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
