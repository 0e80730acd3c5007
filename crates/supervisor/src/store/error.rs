//! What can be wrong with the database, told so that a person can mend it.
//!
//! Source: SQLite, "Result and Error Codes" (the low byte of an extended code is the primary one).

use sqlx::migrate::MigrateError;

use super::known_schema;

/// What went wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A statement failed.
    #[error("state.db: {0}")]
    Database(#[source] sqlx::Error),
    /// Another program has it.
    #[error(
        "state.db is locked by another program: nothing was changed; try again when it is free"
    )]
    Locked,
    /// It can't grow.
    #[error("the disk that holds state.db is full: nothing was changed; make room and try again")]
    Full,
    /// Nothing can be written.
    #[error("state.db can't be written: its file, its folder or its disk is read-only")]
    ReadOnly,
    /// Its bytes are not what was written.
    #[error(
        "state.db is damaged ({reason}): start the appliance again, and its last copy takes its place"
    )]
    Damaged {
        /// In SQLite's words.
        reason: String,
    },
    /// The same, and the copy that could take its place is not there.
    #[error(
        "state.db is damaged ({reason}), and state-copy.db is not there: put a backup in its place, or move it away to begin \
         with no site (the files of sites stay where they are)"
    )]
    NoCopy {
        /// In SQLite's words.
        reason: String,
    },
    /// It is no database of ours.
    #[error("state.db could not be brought up to date: {0}")]
    Migration(#[source] MigrateError),
    /// A later version of this program wrote it.
    #[error(
        "state.db was written by a later version of onebox (schema {version}, this one knows {known}): \
         start that version, or restore a backup of the state directory"
    )]
    Newer {
        /// The schema that this program does not know.
        version: i64,
        /// The last one that it knows.
        known: i64,
    },
    /// Its file can't be made, made private or put in place.
    #[error("state.db: {0}")]
    File(#[from] std::io::Error),
    /// A user or token that is not there.
    #[error("there is no {what} {name}")]
    NoSuch {
        /// `user` or `token`.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A name that another one has.
    #[error("there is a {what} {name} already")]
    NameTaken {
        /// `user` or `token`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Somebody has to be left who may do everything.
    #[error("{user} is the last user with the role admin")]
    LastAdmin {
        /// Who would not be one any more.
        user: String,
    },
    /// Two sites can't have one host.
    #[error("the host {host} belongs to the site {site}")]
    HostTaken {
        /// The host.
        host: String,
        /// Who has it.
        site: String,
    },
    /// Two sites can't answer to every host below one path.
    #[error(
        "requests for {path}/ that name no site's host belong to the site {site} by now: give one of the two `domains` of its own \
         (a deploy with `--domain HOST`), or remove {site}, then try again"
    )]
    PathTaken {
        /// The beginning of the URLs; empty: all of them.
        path: String,
        /// Who has it.
        site: String,
    },
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match primary_code(&error) {
            Some(5 | 6) => Self::Locked,
            Some(8) => Self::ReadOnly,
            Some(11 | 26) => Self::Damaged { reason: reason(&error) },
            Some(13) => Self::Full,
            _ => Self::Database(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        let known = known_schema();
        match error {
            MigrateError::VersionMissing(version) if version > known => {
                Self::Newer { version, known }
            }
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            error => Self::Migration(error),
        }
    }
}

fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}

fn reason(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}
