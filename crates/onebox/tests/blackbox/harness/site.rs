//! A copy of a fixture that a test may change and deploy again.

use std::fs;
use std::path::{Path, PathBuf};

/// A site's folder.
pub(crate) struct SiteFolder {
    _parent: tempfile::TempDir,
    root: PathBuf,
}

impl SiteFolder {
    /// A copy of `fixtures/apps/APP`, in a folder of the same name.
    pub(crate) fn fixture(app: &str) -> Self {
        Self::fixture_as(app, app)
    }

    /// The same in a folder of another name.
    pub(crate) fn fixture_as(app: &str, name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps").join(app);
        Self::copy(&source, name)
    }

    /// A copy of `examples/NAME` of the project.
    pub(crate) fn example(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name);
        Self::copy(&source, name)
    }

    fn copy(source: &Path, name: &str) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let root = parent.path().join(name);
        copy_folder(source, &root);
        Self { _parent: parent, root }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    /// Writes a file of it.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Removes a file of it.
    pub(crate) fn remove(&self, path: &str) {
        fs::remove_file(self.root.join(path)).unwrap();
    }
}

fn copy_folder(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in
        fs::read_dir(source).unwrap_or_else(|error| panic!("{}: {error}", source.display()))
    {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}
