//! What happened, for the marks on charts and the list of events. A site that is removed leaves its events.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};
use crate::api::{EventKind, PastEvent};

/// So many events stay; a process that crashes again and again must not fill the disk.
const MOST_KEPT: i64 = 10_000;

/// Which events are asked for.
#[derive(Debug, Clone)]
pub(crate) struct EventSpan {
    /// From this moment on.
    pub(crate) from_ms: i64,
    /// Until before this one.
    pub(crate) to_ms: i64,
    /// Only those of this site, and those that concern the whole box.
    pub(crate) site: Option<String>,
    /// At most so many, the newest.
    pub(crate) limit: u32,
}

impl Store {
    /// Writes down what happened.
    pub(crate) async fn add_event(&self, event: &PastEvent) -> Result<(), StoreError> {
        let id = sqlx::query(
            "INSERT INTO events (at_ms, kind, site, release, text) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(event.at_ms)
        .bind(event.kind.name())
        .bind(&event.site)
        .bind(&event.release)
        .bind(&event.text)
        .execute(&self.pool)
        .await?
        .last_insert_rowid();
        sqlx::query("DELETE FROM events WHERE id <= ?1")
            .bind(id - MOST_KEPT)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The events of a span, the oldest first.
    pub(crate) async fn events(&self, span: &EventSpan) -> Result<Vec<PastEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT at_ms, kind, site, release, text FROM events \
             WHERE at_ms >= ?1 AND at_ms < ?2 AND (?3 IS NULL OR site IS NULL OR site = ?3) \
             ORDER BY at_ms DESC, id DESC LIMIT ?4",
        )
        .bind(span.from_ms)
        .bind(span.to_ms)
        .bind(&span.site)
        .bind(span.limit)
        .fetch_all(&self.pool)
        .await?;
        let events: Result<Vec<_>, sqlx::Error> = rows.iter().rev().map(to_event).collect();
        Ok(events?.into_iter().flatten().collect())
    }
}

/// `None` for a kind that this program does not know.
fn to_event(row: &SqliteRow) -> Result<Option<PastEvent>, sqlx::Error> {
    let Some(kind) = EventKind::named(row.try_get("kind")?) else { return Ok(None) };
    Ok(Some(PastEvent {
        at_ms: row.try_get("at_ms")?,
        kind,
        site: row.try_get("site")?,
        release: row.try_get("release")?,
        text: row.try_get("text")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;

    fn event(at_ms: i64, kind: EventKind, site: Option<&str>) -> PastEvent {
        let site = site.map(str::to_owned);
        PastEvent { at_ms, kind, site, release: Some("r1".into()), text: "what happened".into() }
    }

    async fn times(store: &Store, from_ms: i64, to_ms: i64, site: Option<&str>) -> Vec<i64> {
        let span = EventSpan { from_ms, to_ms, site: site.map(str::to_owned), limit: 3 };
        store.events(&span).await.unwrap().iter().map(|event| event.at_ms).collect()
    }

    #[tokio::test]
    async fn a_span_has_its_events_in_order_those_of_the_box_with_every_site() {
        let (_folder, store) = temporary().await;
        let written = event(30, EventKind::Deploy, Some("blog"));
        store.add_event(&written).await.unwrap();
        store.add_event(&event(10, EventKind::EngineCrash, None)).await.unwrap();
        store.add_event(&event(20, EventKind::Stop, Some("shop"))).await.unwrap();
        assert_eq!(times(&store, 10, 31, None).await, [10, 20, 30]);
        assert_eq!(times(&store, 11, 30, None).await, [20]);
        assert_eq!(times(&store, 0, 99, Some("blog")).await, [10, 30]);
        let span = EventSpan { from_ms: 30, to_ms: 31, site: None, limit: 1 };
        assert_eq!(store.events(&span).await.unwrap(), [written]);
    }

    #[tokio::test]
    async fn too_many_are_told_from_the_newest_and_kept_up_to_a_limit() {
        let (_folder, store) = temporary().await;
        for at_ms in 1..=5 {
            store.add_event(&event(at_ms, EventKind::Restart, Some("blog"))).await.unwrap();
        }
        assert_eq!(times(&store, 0, 99, None).await, [3, 4, 5]);
        sqlx::query("UPDATE events SET id = id + ?1 WHERE id > 2")
            .bind(MOST_KEPT)
            .execute(&store.pool)
            .await
            .unwrap();
        store.add_event(&event(6, EventKind::Restart, Some("blog"))).await.unwrap();
        let kept: i64 =
            sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&store.pool).await.unwrap();
        assert_eq!(kept, 4);
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::named(kind.name()), Some(kind));
            let json = serde_json::to_value(kind).unwrap();
            assert_eq!(json, kind.name(), "the API and the database have one word for it");
        }
        assert_eq!(EventKind::named("of-a-later-version"), None);
    }
}
