//! A place where a test and an application wait for each other: opening a FIFO blocks until its other end is opened.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;

use super::command::DEADLINE;

/// A FIFO in a folder of its own.
pub(crate) struct Fifo {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Fifo {
    /// Makes one.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        Self { path, _folder: folder }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the application opens it for writing.
    pub(crate) fn wait_for_writer(&self) {
        self.meet(OpenOptions::new().read(true).to_owned());
    }

    /// Lets an application go on that opens it for reading.
    pub(crate) fn release_reader(&self) {
        self.meet(OpenOptions::new().write(true).to_owned());
    }

    fn meet(&self, options: OpenOptions) {
        let (sender, met) = mpsc::channel();
        let path = self.path.clone();
        std::thread::spawn(move || sender.send(options.open(path).map(drop)));
        met.recv_timeout(DEADLINE).expect("the application comes to the FIFO").unwrap();
    }
}
