//! box.toml, watched: what it says of addresses holds within a second, without a signal.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use onebox_config::BOX_FILE;

/// How often the file is looked at. A change counts when it was seen twice: an editor may write in several steps.
const LOOKS: Duration = Duration::from_millis(300);

/// What tells one content of a file from another; `None`: there is no file.
type Sight = Option<(SystemTime, u64)>;

/// The file, and how it was last read.
#[derive(Debug)]
pub(super) struct BoxFile {
    path: PathBuf,
    read: Sight,
    seen: Sight,
}

impl BoxFile {
    /// As it is now.
    pub(super) fn new(config_dir: &Path) -> Self {
        let path = config_dir.join(BOX_FILE);
        let read = sight(&path);
        Self { path, read, seen: read }
    }

    /// Waits until it is another one.
    pub(super) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(LOOKS).await;
            let now = sight(&self.path);
            let is_steady = std::mem::replace(&mut self.seen, now) == now;
            if is_steady && now != self.read {
                self.read = now;
                return;
            }
        }
    }
}

fn sight(path: &Path) -> Sight {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_change_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(BOX_FILE);
        let mut file = BoxFile::new(folder.path());
        for text in ["[access]", "[access]\ndeny = []"] {
            std::fs::write(&path, text).unwrap();
            file.changed().await;
        }
        let nothing = tokio::time::timeout(4 * LOOKS, file.changed()).await;
        assert!(nothing.is_err());
        std::fs::remove_file(&path).unwrap();
        file.changed().await;
    }
}
