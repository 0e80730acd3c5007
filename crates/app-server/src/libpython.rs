//! Finding an interpreter's shared library.
//!
//! What the build says of itself (`Py_ENABLE_SHARED`, LIBDIR) may be wrong: a distribution builds the program without the
//! library and ships it all the same, and a relocated build names folders of another machine. So the file decides.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::inspect::Answer;

/// The shared library of the interpreter that gave `answer`.
pub(crate) fn find(answer: &Answer) -> Option<PathBuf> {
    let names = names(answer);
    folders(answer)
        .iter()
        .flat_map(|folder| names.iter().map(|name| folder.join(name)))
        .find(|path| is_shared_object(path))
}

/// Only names with the minor version: `libpython3.so` is no more than a forwarder.
fn names(answer: &Answer) -> Vec<String> {
    let minor = answer.minor_text();
    let stem = format!("libpython{minor}.so");
    let mut names: Vec<String> =
        answer.library_names.iter().filter(|name| name.starts_with(&stem)).cloned().collect();
    names.extend([format!("{stem}.1.0"), format!("{stem}.1"), stem]);
    names
}

/// The installation's own folders first. The system's are asked only for the system's Python: another one of the same
/// minor version there would be a different build.
fn folders(answer: &Answer) -> Vec<PathBuf> {
    let mut folders = vec![answer.base_prefix.join("lib"), answer.base_prefix.join("lib64")];
    let within = |folder: &PathBuf| folder.starts_with(&answer.base_prefix);
    folders.extend(answer.library_dir.clone().filter(within));
    if let Some(multiarch) = &answer.multiarch {
        folders.push(answer.base_prefix.join("lib").join(multiarch));
    }
    folders
}

/// Whether `path` is a shared object for this machine (ELF header: class, type ET_DYN, machine).
fn is_shared_object(path: &Path) -> bool {
    let mut header = [0; 20];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let [0x7f, b'E', b'L', b'F', class, _, _, _, _, _, _, _, _, _, _, _, kind, 0, machine, 0] =
        header
    else {
        return false;
    };
    let ours = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
    read.is_ok() && class == 2 && kind == 3 && machine == ours
}
