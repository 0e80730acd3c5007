//! The file mode mask: the supervisor's own, and the one that its children have.
//!
//! As root it makes folders that other users must get through, whatever mask it was started with: it takes from it what forbids
//! reading, and what is private names its mode. What it starts has the mask as it was.

use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{geteuid, umask};

/// What others need of a release.
const READING: Mode = Mode::RGRP.union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// As it was given.
static GIVEN: OnceLock<Mode> = OnceLock::new();

/// Opens the mask of this process, where that is root's.
pub(crate) fn open() {
    if geteuid().is_root() {
        let given = umask(Mode::RWXG | Mode::RWXO);
        umask(given.difference(READING));
        GIVEN.set(given).ok();
    }
}

/// The mask of children; `None`: that of this process.
pub(crate) fn of_children() -> Option<Mode> {
    GIVEN.get().copied()
}

/// Before this process becomes another program, which opens it again.
pub(crate) fn give_back() {
    if let Some(given) = of_children() {
        umask(given);
    }
}
