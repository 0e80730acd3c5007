//! A copy of the database beside it, made anew after each change of what is worth it: a disk or a hand that damages the database
//! costs nothing then.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::Row;

use super::{Store, StoreError};
use crate::clock::now_ms;

impl Store {
    /// Waits until something changed that the copy must have: sites, releases, variables, users.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Remembers that the copy is not what it should be.
    pub(super) fn note_change(&self) {
        self.changed.notify_one();
    }

    /// Writes everything back into the file itself, so that whoever copies only that has it all, and makes our own copy of it.
    ///
    /// # Errors
    /// Where that fails; the copy is the one before then.
    pub(crate) async fn copy(&self) -> Result<(), StoreError> {
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&self.pool).await?;
        let place = copy_of(&self.path);
        let folder = place.parent().unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(HALF_MADE).tempfile_in(folder)?;
        sqlx::query("VACUUM INTO ?1")
            .bind(file.path().to_string_lossy().into_owned())
            .execute(&self.pool)
            .await?;
        let kept = tokio::task::spawn_blocking(move || {
            file.as_file().sync_all()?;
            file.persist(place).map_err(|error| error.error)
        });
        kept.await.map_err(std::io::Error::other)??;
        Ok(())
    }

    /// Reads the whole database once, and waits until it can be written.
    pub(super) async fn check(&self) -> Result<(), StoreError> {
        let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(&self.pool).await?;
        let verdict: String = row.try_get(0)?;
        if verdict != "ok" {
            return Err(StoreError::Damaged { reason: verdict });
        }
        // Whoever can read may not be able to write.
        Ok(self.pool.begin_with("BEGIN IMMEDIATE").await?.rollback().await?)
    }
}

const HALF_MADE: &str = ".state-copy";

fn copy_of(database: &Path) -> PathBuf {
    database.with_file_name("state-copy.db")
}

/// Whether the copy has what the database, which is not there or has not one byte, should have.
pub(super) fn is_lost(database: &Path) -> bool {
    let has_bytes = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    !has_bytes(database) && has_bytes(&copy_of(database))
}

/// Puts the damaged database aside and the copy in its place; returns where the damaged one is now.
///
/// # Errors
/// Where there is no copy, or a file can't be moved.
pub(super) fn restore(database: &Path) -> std::io::Result<PathBuf> {
    let copy = copy_of(database);
    fs::metadata(&copy)?;
    let folder = database.parent().unwrap_or(Path::new("."));
    let mut fresh = tempfile::Builder::new().prefix(HALF_MADE).tempfile_in(folder)?;
    std::io::copy(&mut fs::File::open(&copy)?, fresh.as_file_mut())?;
    fresh.as_file().sync_all()?;
    // A clock that went back must not have one take the place of another.
    let aside = (now_ms()..)
        .map(|at_ms| database.with_file_name(format!("state.db.damaged-{at_ms}")))
        .find(|aside| !aside.exists())
        .ok_or(std::io::ErrorKind::AlreadyExists)?;
    // Its journals go with it: they belong to no other.
    for (from, to) in [("-wal", "-wal"), ("-shm", "-shm"), ("", "")] {
        let name = |path: &Path, end: &str| PathBuf::from(format!("{}{end}", path.display()));
        match fs::rename(name(database, from), name(&aside, to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fresh.persist(database).map_err(|error| error.error)?;
    Ok(aside)
}

/// Removes what a process that was killed while it made a copy left.
pub(super) fn clean(database: &Path) {
    let folder = database.parent().unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(HALF_MADE) {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    type Damage = fn(&Path);

    async fn with_blog() -> (tempfile::TempDir, PathBuf) {
        let (folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        store.copy().await.unwrap();
        store.close().await;
        let path = folder.path().join("state.db");
        (folder, path)
    }

    async fn sites(path: &Path) -> usize {
        let store = Store::open(path).await.unwrap();
        let sites = store.sites().await.unwrap().len();
        store.close().await;
        sites
    }

    #[tokio::test]
    async fn whatever_damages_the_database_its_copy_takes_its_place() {
        let ways: [(&str, Damage); 4] = [
            ("garbage", |path| fs::write(path, vec![0x5a; 8192]).unwrap()),
            ("half of it", |path| {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            }),
            ("emptied", |path| fs::write(path, "").unwrap()),
            ("removed", |path| fs::remove_file(path).unwrap()),
        ];
        for (name, damage) in ways {
            let (folder, path) = with_blog().await;
            damage(&path);
            assert_eq!(sites(&path).await, 1, "{name}");
            let files = fs::read_dir(folder.path()).unwrap().flatten();
            let names = files.map(|entry| entry.file_name().into_string().unwrap());
            let aside = names
                .filter(|name| name.contains("damaged"))
                .filter(|name| !name.ends_with("-wal") && !name.ends_with("-shm"))
                .count();
            assert_eq!(aside, usize::from(name != "removed"), "{name}");
        }
    }

    #[tokio::test]
    async fn a_damaged_database_without_a_copy_is_refused_with_what_to_do() {
        let (folder, path) = with_blog().await;
        fs::remove_file(copy_of(&path)).unwrap();
        fs::write(&path, vec![0x5a; 8192]).unwrap();
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, StoreError::NoCopy { .. }), "{error:?}");
        assert!(error.to_string().contains("put a backup in its place"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), vec![0x5a; 8192], "it is left as it is");
        drop(folder);
    }

    #[tokio::test]
    async fn the_copy_is_private_and_nothing_half_made_stays() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, path) = with_blog().await;
        assert_eq!(fs::metadata(copy_of(&path)).unwrap().permissions().mode() & 0o777, 0o600);
        let left = folder.path().join(".state-copyXYZ");
        fs::write(&left, "half").unwrap();
        assert_eq!(sites(&path).await, 1);
        assert!(!left.exists());
    }

    #[tokio::test]
    async fn the_file_alone_has_everything_after_a_copy_was_made() {
        let (folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        store.copy().await.unwrap();
        let alone = folder.path().join("alone/state.db");
        fs::create_dir(folder.path().join("alone")).unwrap();
        fs::copy(folder.path().join("state.db"), &alone).unwrap();
        assert_eq!(sites(&alone).await, 1);
    }
}
