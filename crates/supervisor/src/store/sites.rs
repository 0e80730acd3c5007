//! Sites and their hosts, and the transaction that makes a release live.

use std::collections::BTreeMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{FallbackRow, Store, StoreError};
use crate::clock::now_ms;

/// A site as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteRow {
    pub(crate) name: String,
    pub(crate) live_release: Option<String>,
    pub(crate) live_ms: Option<i64>,
    pub(crate) stopped: bool,
    pub(crate) maintenance: bool,
    pub(crate) catch_all: bool,
    /// The beginning of its URLs; empty: all of them.
    pub(crate) path: String,
    /// Its hosts, the first one first.
    pub(crate) domains: Vec<String>,
    /// The release in whose place the live one serves.
    pub(crate) fallback: Option<FallbackRow>,
}

/// What becomes true at once when a release becomes live.
#[derive(Debug, Clone)]
pub(crate) struct Commit<'a> {
    pub(crate) site: &'a str,
    pub(crate) release: &'a str,
    pub(crate) domains: &'a [String],
    /// The beginning of its URLs; empty: all of them.
    pub(crate) path: &'a str,
    pub(crate) catch_all: bool,
}

impl Store {
    /// Every site, by name.
    pub(crate) async fn sites(&self) -> Result<Vec<SiteRow>, StoreError> {
        let mut domains: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in sqlx::query("SELECT site, host FROM domains ORDER BY site, rank")
            .fetch_all(&self.pool)
            .await?
        {
            domains.entry(row.try_get("site")?).or_default().push(row.try_get("host")?);
        }
        let mut fallbacks = self.fallbacks().await?;
        sqlx::query(
            "SELECT name, live_release, live_ms, stopped, maintenance, catch_all, path FROM sites ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await?
        .iter()
        .map(|row| {
            let name: String = row.try_get("name")?;
            let domains = domains.remove(&name).unwrap_or_default();
            let fallback = fallbacks.remove(&name);
            Ok(SiteRow { fallback, ..to_site(row, name, domains)? })
        })
        .collect()
    }

    /// One site.
    pub(crate) async fn site(&self, name: &str) -> Result<Option<SiteRow>, StoreError> {
        Ok(self.sites().await?.into_iter().find(|site| site.name == name))
    }

    /// Makes sure that the site is known; a new one has no live release.
    pub(crate) async fn add_site(&self, name: &str) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO sites (name, created_ms) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(now_ms())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Says which site has this path of one of these hosts and is not `site`.
    ///
    /// # Errors
    /// [`StoreError::HostTaken`] with the first such host.
    pub(crate) async fn check_hosts(
        &self,
        site: &str,
        hosts: &[String],
        path: &str,
    ) -> Result<(), StoreError> {
        for host in hosts {
            let sql = "SELECT site FROM domains WHERE host = ?1 AND path = ?2 AND site <> ?3";
            let row = sqlx::query(sql)
                .bind(host)
                .bind(path)
                .bind(site)
                .fetch_optional(&self.pool)
                .await?;
            if let Some(row) = row {
                let site = row.try_get("site")?;
                return Err(StoreError::HostTaken { host: format!("{host}{path}"), site });
            }
        }
        Ok(())
    }

    /// Whether a site may answer to every host below a path.
    ///
    /// # Errors
    /// [`StoreError::PathTaken`] where another one does.
    async fn check_catch_all(&self, site: &str, path: &str) -> Result<(), StoreError> {
        let sql = "SELECT name FROM sites WHERE catch_all = 1 AND path = ?1 AND name <> ?2";
        let taken = sqlx::query(sql).bind(path).bind(site).fetch_optional(&self.pool).await?;
        match taken {
            Some(row) => {
                let site = row.try_get("name")?;
                Err(StoreError::PathTaken { path: path.to_owned(), site })
            }
            None => Ok(()),
        }
    }

    /// Makes a release live: state, hosts and the pointer to it change together or not at all. A stopped site is started by it,
    /// and it serves in nobody's place.
    ///
    /// # Errors
    /// Where the release is not known, or one of the hosts or the path belongs to another site.
    pub(crate) async fn make_live(&self, commit: &Commit<'_>) -> Result<(), StoreError> {
        self.check_hosts(commit.site, commit.domains, commit.path).await?;
        if commit.catch_all {
            self.check_catch_all(commit.site, commit.path).await?;
        }
        let mut transaction = self.pool.begin().await?;
        write_live(&mut transaction, commit).await?;
        sqlx::query("DELETE FROM fallbacks WHERE site = ?1")
            .bind(commit.site)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }

    /// Remembers that an operator stopped or started the site.
    pub(crate) async fn set_stopped(&self, name: &str, stopped: bool) -> Result<(), StoreError> {
        sqlx::query("UPDATE sites SET stopped = ?2 WHERE name = ?1")
            .bind(name)
            .bind(stopped)
            .execute(&self.pool)
            .await?;
        self.note_change();
        Ok(())
    }

    /// Remembers that an operator began or ended the maintenance of the site.
    pub(crate) async fn set_maintenance(
        &self,
        name: &str,
        maintenance: bool,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE sites SET maintenance = ?2 WHERE name = ?1")
            .bind(name)
            .bind(maintenance)
            .execute(&self.pool)
            .await?;
        self.note_change();
        Ok(())
    }

    /// Forgets the site with all its releases, hosts and variables, and the rules for addresses that held for it.
    pub(crate) async fn remove_site(&self, name: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for statement in
            ["DELETE FROM sites WHERE name = ?1", "DELETE FROM address_rules WHERE site = ?1"]
        {
            sqlx::query(statement).bind(name).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        self.note_change();
        Ok(())
    }
}

/// Writes which release is live and the hosts that come with it, within the caller's transaction.
pub(super) async fn write_live(
    connection: &mut SqliteConnection,
    commit: &Commit<'_>,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE releases SET state = 'ready', problem = NULL WHERE site = ?1 AND id = ?2")
        .bind(commit.site)
        .bind(commit.release)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM domains WHERE site = ?1")
        .bind(commit.site)
        .execute(&mut *connection)
        .await?;
    for (rank, host) in commit.domains.iter().enumerate() {
        sqlx::query("INSERT INTO domains (host, path, site, rank) VALUES (?1, ?2, ?3, ?4)")
            .bind(host)
            .bind(commit.path)
            .bind(commit.site)
            .bind(i64::try_from(rank).unwrap_or(i64::MAX))
            .execute(&mut *connection)
            .await?;
    }
    sqlx::query(
        "UPDATE sites SET live_release = ?2, live_ms = ?3, catch_all = ?4, path = ?5, stopped = 0 \
         WHERE name = ?1",
    )
    .bind(commit.site)
    .bind(commit.release)
    .bind(now_ms())
    .bind(commit.catch_all)
    .bind(commit.path)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

fn to_site(row: &SqliteRow, name: String, domains: Vec<String>) -> Result<SiteRow, sqlx::Error> {
    Ok(SiteRow {
        name,
        live_release: row.try_get("live_release")?,
        live_ms: row.try_get("live_ms")?,
        stopped: row.try_get("stopped")?,
        maintenance: row.try_get("maintenance")?,
        catch_all: row.try_get("catch_all")?,
        path: row.try_get("path")?,
        domains,
        fallback: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn a_release_becomes_live_with_its_hosts() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        store.add_release("blog", "r1").await.unwrap();
        store.set_stopped("blog", true).await.unwrap();
        assert!(store.site("blog").await.unwrap().unwrap().stopped);
        store.set_maintenance("blog", true).await.unwrap();
        let domains = hosts(&["b.example", "a.example"]);
        let commit =
            Commit { site: "blog", release: "r1", domains: &domains, path: "", catch_all: true };
        store.make_live(&commit).await.unwrap();
        let site = store.site("blog").await.unwrap().unwrap();
        assert_eq!(site.live_release.as_deref(), Some("r1"));
        assert_eq!(site.domains, domains);
        assert!(site.catch_all && !site.stopped && site.live_ms.is_some());
        assert!(site.maintenance, "a deploy does not end it");
    }

    #[tokio::test]
    async fn a_host_of_another_site_changes_nothing() {
        let (_folder, store) = temporary().await;
        for site in ["one", "two"] {
            store.add_site(site).await.unwrap();
            store.add_release(site, "r1").await.unwrap();
        }
        let domains = hosts(&["a.example"]);
        let commit =
            Commit { site: "one", release: "r1", domains: &domains, path: "", catch_all: false };
        store.make_live(&commit).await.unwrap();
        let error = store.make_live(&Commit { site: "two", ..commit.clone() }).await.unwrap_err();
        assert_eq!(error.to_string(), "the host a.example belongs to the site one");
        assert_eq!(store.site("two").await.unwrap().unwrap().live_release, None);
        store.make_live(&commit).await.unwrap();
    }

    #[tokio::test]
    async fn one_host_has_several_sites_at_paths_of_their_own() {
        let (_folder, store) = temporary().await;
        for site in ["one", "two", "three"] {
            store.add_site(site).await.unwrap();
            store.add_release(site, "r1").await.unwrap();
        }
        let domains = hosts(&["a.example"]);
        let commit =
            Commit { site: "one", release: "r1", domains: &domains, path: "", catch_all: false };
        let wiki = Commit { site: "two", path: "/wiki", ..commit.clone() };
        store.make_live(&commit).await.unwrap();
        store.make_live(&wiki).await.unwrap();
        let error = store.make_live(&Commit { site: "three", ..wiki.clone() }).await.unwrap_err();
        assert_eq!(error.to_string(), "the host a.example/wiki belongs to the site two");
        // Everybody's host, too.
        for commit in [commit, wiki] {
            let everybody = Commit { domains: &[], catch_all: true, ..commit };
            store.make_live(&everybody).await.unwrap();
            store.make_live(&Commit { site: "three", ..everybody }).await.unwrap_err();
        }
        assert_eq!(store.site("two").await.unwrap().unwrap().path, "/wiki");
    }

    #[tokio::test]
    async fn a_release_that_is_not_known_cannot_be_live() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        let commit =
            Commit { site: "blog", release: "r9", domains: &[], path: "", catch_all: false };
        store.make_live(&commit).await.unwrap_err();
        assert_eq!(store.site("blog").await.unwrap().unwrap().live_release, None);
    }

    #[tokio::test]
    async fn one_site_at_most_answers_to_everybody() {
        let (_folder, store) = temporary().await;
        for site in ["one", "two"] {
            store.add_site(site).await.unwrap();
            store.add_release(site, "r1").await.unwrap();
        }
        let commit = Commit { site: "one", release: "r1", domains: &[], path: "", catch_all: true };
        store.make_live(&commit).await.unwrap();
        let error = store.make_live(&Commit { site: "two", ..commit }).await.unwrap_err();
        assert!(matches!(&error, StoreError::PathTaken { site, .. } if site == "one"), "{error}");
    }

    #[tokio::test]
    async fn a_removed_site_leaves_nothing() {
        let (_folder, store) = temporary().await;
        store.add_site("blog").await.unwrap();
        store.add_site("blog").await.unwrap();
        store.add_release("blog", "r1").await.unwrap();
        let domains = hosts(&["a.example"]);
        let commit =
            Commit { site: "blog", release: "r1", domains: &domains, path: "", catch_all: true };
        store.make_live(&commit).await.unwrap();
        let variable = [("KEY".to_owned(), Some("value".to_owned()))];
        store.change_variables("blog", &variable.into()).await.unwrap();
        store.remove_site("blog").await.unwrap();
        assert_eq!(store.site("blog").await.unwrap(), None);
        assert!(store.releases("blog").await.unwrap().is_empty());
        assert!(store.variables("blog").await.unwrap().is_empty());
        store.check_hosts("other", &domains, "").await.unwrap();
    }
}
