//! Tells cargo when the dashboard that the binary carries (`web-ui/dist`) was built anew.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // A folder that is not there would make cargo build this crate each time. scripts/web-ui touches this file when it has
    // made the folder.
    let dist = Path::new("../../web-ui/dist");
    if dist.exists() {
        println!("cargo::rerun-if-changed={}", dist.display());
    }
}
