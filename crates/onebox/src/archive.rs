//! A site's folder as a tar stream: what a deploy sends.
//!
//! Left out is what is never part of a site: version control, virtual environments (a release gets its own), caches. Files that
//! `.gitignore` names are kept, because built assets are ignored as a rule and served all the same.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces that may wait between the reading thread and the connection.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 64 * 1024;

/// Folders that are left out wherever they are.
const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    ".bzr",
    ".jj",
    ".onebox",
    "__pycache__",
    "node_modules",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".idea",
    ".vscode",
];

/// What an archive is made of.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    /// The site's folder.
    pub(crate) root: PathBuf,
    /// Another file that stands in for `onebox.toml`.
    pub(crate) config: Option<PathBuf>,
}

impl Archive {
    /// Starts a thread that reads the folder; its pieces come through the receiver, an error as the last of them.
    pub(crate) fn stream(self) -> mpsc::Receiver<io::Result<Bytes>> {
        let (sender, receiver) = mpsc::channel(PIECES);
        std::thread::spawn(move || {
            let mut writer = PieceWriter { sender, piece: Vec::with_capacity(PIECE_BYTES) };
            let written = self.write_to(&mut writer).and_then(|()| writer.flush());
            if let Err(error) = written {
                // The receiver is gone when the appliance refused the request: it has said why.
                writer.sender.blocking_send(Err(error)).ok();
            }
        });
        receiver
    }

    /// Writes the whole archive.
    fn write_to(&self, output: &mut impl Write) -> io::Result<()> {
        let mut builder = tar::Builder::new(output);
        builder.follow_symlinks(false);
        if let Some(config) = &self.config {
            append_file(&mut builder, config, Path::new("onebox.toml"), &fs::metadata(config)?)
                .map_err(|error| about(config, &error))?;
        }
        self.append_folder(&mut builder, Path::new(""))?;
        builder.finish()
    }

    fn append_folder(
        &self,
        builder: &mut tar::Builder<impl Write>,
        relative: &Path,
    ) -> io::Result<()> {
        let folder = self.root.join(relative);
        let mut entries = fs::read_dir(&folder)
            .and_then(Iterator::collect::<io::Result<Vec<_>>>)
            .map_err(|error| about(&folder, &error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), relative.join(entry.file_name()));
            let replaced = self.config.is_some() && name == Path::new("onebox.toml");
            if !replaced {
                self.append(builder, &path, &name).map_err(|error| about(&path, &error))?;
            }
        }
        Ok(())
    }

    fn append(
        &self,
        builder: &mut tar::Builder<impl Write>,
        path: &Path,
        name: &Path,
    ) -> io::Result<()> {
        let metadata = fs::symlink_metadata(path)?;
        if metadata.is_dir() {
            if is_left_out(path, name) {
                return Ok(());
            }
            let mut header = header_of(&metadata);
            header.set_size(0);
            builder.append_data(&mut header, name, io::empty())?;
            self.append_folder(builder, name)
        } else if metadata.is_symlink() {
            let mut header = header_of(&metadata);
            header.set_size(0);
            builder.append_link(&mut header, name, fs::read_link(path)?)
        } else if metadata.is_file() && path.extension().is_none_or(|extension| extension != "pyc")
        {
            append_file(builder, path, name, &metadata)
        } else {
            // Sockets, pipes and devices are a running program's, not a site's.
            Ok(())
        }
    }
}

fn is_left_out(path: &Path, name: &Path) -> bool {
    let listed = name
        .file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| LEFT_OUT.contains(&name));
    listed || path.join("pyvenv.cfg").is_file()
}

fn append_file(
    builder: &mut tar::Builder<impl Write>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
) -> io::Result<()> {
    let source = Exactly { file: File::open(path)?, left: metadata.len() };
    builder.append_data(&mut header_of(metadata), name, source)
}

/// Kind, mode, size and time; the owner is the appliance's business.
fn header_of(metadata: &Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_metadata(metadata);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// As many bytes as were announced: a file that is written to meanwhile is cut, one that shrinks is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let read = (&mut self.file).take(self.left).read(buffer)?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "it became shorter while it was read",
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    // Said once, by the file itself and not again by each folder around it.
    if error.get_ref().is_some_and(|inner| inner.is::<Unreadable>()) {
        return io::Error::new(error.kind(), Unreadable(error.to_string()));
    }
    io::Error::new(error.kind(), Unreadable(format!("{}: {error}", path.display())))
}

/// An error that names its file already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreadable(String);

/// Hands what is written on in pieces.
struct PieceWriter {
    sender: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        if piece.is_empty() {
            return Ok(());
        }
        self.sender
            .blocking_send(Ok(Bytes::from(piece)))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;

    fn contents(archive: &Archive) -> BTreeMap<String, String> {
        let mut bytes = Vec::new();
        archive.write_to(&mut bytes).unwrap();
        let mut entries = BTreeMap::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            if let Some(target) = entry.link_name().unwrap() {
                text = format!("-> {}", target.display());
            }
            entries.insert(name, text);
        }
        entries
    }

    fn site() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("app.py", "application = 1"),
            ("onebox.toml", "name = 'a'"),
            (".gitignore", "dist"),
            ("dist/app.js", "built"),
            (".git/config", ""),
            ("env/pyvenv.cfg", ""),
            ("env/lib/x.py", ""),
            ("pkg/__pycache__/x.pyc", ""),
            ("pkg/old.pyc", ""),
            ("web/node_modules/x/index.js", ""),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        symlink("app.py", folder.path().join("wsgi.py")).unwrap();
        folder
    }

    #[test]
    fn venvs_caches_and_version_control_stay_at_home() {
        let folder = site();
        let entries = contents(&Archive { root: folder.path().to_owned(), config: None });
        let names: Vec<_> = entries.keys().map(|name| name.trim_end_matches('/')).collect();
        assert_eq!(
            names,
            [".gitignore", "app.py", "dist", "dist/app.js", "onebox.toml", "pkg", "web", "wsgi.py"]
        );
        assert_eq!(entries["app.py"], "application = 1");
        assert_eq!(entries["wsgi.py"], "-> app.py");
    }

    #[test]
    fn another_configuration_takes_the_place_of_onebox_toml() {
        let folder = site();
        let other = folder.path().join("staging.toml");
        fs::write(&other, "name = 'b'").unwrap();
        let entries = contents(&Archive { root: folder.path().to_owned(), config: Some(other) });
        assert_eq!(entries["onebox.toml"], "name = 'b'");
    }

    #[test]
    fn a_long_path_survives() {
        let folder = tempfile::tempdir().unwrap();
        let deep = ["a-rather-long-folder-name"; 8].join("/");
        fs::create_dir_all(folder.path().join(&deep)).unwrap();
        fs::write(folder.path().join(&deep).join("x.txt"), "deep").unwrap();
        let entries = contents(&Archive { root: folder.path().to_owned(), config: None });
        assert_eq!(entries[&format!("{deep}/x.txt")], "deep");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_once() {
        let missing = Archive { root: PathBuf::from("/nonexistent/site"), config: None };
        let error = missing.write_to(&mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error.matches("/nonexistent/site").count(), 1, "{error}");
    }
}
