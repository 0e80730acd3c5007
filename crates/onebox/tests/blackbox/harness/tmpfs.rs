//! A small file system of its own, to fill and to take rights from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted for as long as it lives.
pub(crate) struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    /// Mounts one; says so where this user may not.
    pub(crate) fn mount(megabytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = format!("size={megabytes}m,mode=0755");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], folder.path());
        if !mounted {
            eprintln!("SKIPPED: this user may not mount a file system");
        }
        mounted.then_some(Self { folder })
    }

    /// A folder in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Nothing can be written any more, or again.
    pub(crate) fn remount(&self, option: &str) {
        assert!(mount(&["-o", &format!("remount,{option}")], self.folder.path()));
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut size = 1 << 20;
        let mut number = 0;
        while size >= 1024 {
            number += 1;
            let written = fs::write(self.join(&format!("filler-{number}")), vec![0; size]);
            if written.is_err() {
                size /= 2;
            }
        }
    }

    /// Gives it back.
    pub(crate) fn empty(&self) {
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name().to_string_lossy().starts_with("filler") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process that is being killed may still stand in it.
        Command::new("umount").arg("-l").arg(self.folder.path()).status().ok();
    }
}

fn mount(arguments: &[&str], place: &Path) -> bool {
    Command::new("mount")
        .args(arguments)
        .arg(place)
        .output()
        .is_ok_and(|done| done.status.success())
}
