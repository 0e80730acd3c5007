//! Requests one by one, for whoever looks for one: all that failed or were slow, and some of the others.
//!
//! Made on the writer's thread from the lines that it writes: a request pays nothing for it. Query values, cookies and bodies
//! are in none of it.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use onebox_metrics::ServedBy;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Entry;

/// Longer ones are slow.
const SLOW: Duration = Duration::from_secs(1);
/// So many requests of a site are kept in a second that did not fail and were not slow.
const ORDINARY_PER_SECOND: u32 = 10;
/// So many others are.
const NOTABLE_PER_SECOND: u32 = 100;
/// So many wait to be fetched; what comes then is lost.
const MOST_WAITING: usize = 2000;
/// Longer paths, names of agents and errors are cut, in characters.
const LONGEST_TEXT: usize = 500;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RequestRecord {
    /// Its identity in logs and error pages.
    pub request_id: String,
    /// When its head arrived, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Its site.
    pub site: String,
    /// The release that was live.
    pub release: String,
    /// Its method.
    pub method: String,
    /// Its path, without the query.
    pub path: String,
    /// Of the answer; 0: no head was sent.
    pub status: u16,
    /// Who made the answer: `app`, `static`, `upstream`, `proxy`.
    pub served_by: String,
    /// The worker that had it; `None`: the embedded interpreter, or no application.
    #[serde(default)]
    pub worker: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// Bytes of the request.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// Microseconds of its connection's handshake, of the first request there; not in `total_us`.
    #[serde(default)]
    pub tls_us: Option<u64>,
    /// Until it was understood and routed, its body read where it is read first.
    pub accept_us: Option<u64>,
    /// Until a Python thread has taken it.
    pub queue_us: Option<u64>,
    /// Until the application gave its head, or the file was opened.
    pub app_us: Option<u64>,
    /// Until the last byte of the body was made.
    pub body_us: Option<u64>,
    /// Until the last byte was handed to the kernel.
    pub send_us: Option<u64>,
    /// From the first byte to the last.
    pub total_us: u64,
    /// The client's address.
    pub client: Option<String>,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

impl RequestRecord {
    fn of(entry: &Entry) -> Self {
        let phases = entry.phases;
        let agent = entry.fields.user_agent.as_deref().map(String::from_utf8_lossy);
        Self {
            request_id: entry.request_id.as_str().to_owned(),
            at_ms: i64::try_from(
                entry.began().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis(),
            )
            .unwrap_or(0),
            site: entry.site().to_owned(),
            release: entry.routed.site.release.clone(),
            method: entry.method.as_str().to_owned(),
            path: cut(&String::from_utf8_lossy(&entry.path)),
            status: entry.status,
            served_by: served_by(entry.served_by).to_owned(),
            worker: entry.worker.as_deref().map(str::to_owned),
            error: entry.error.as_deref().map(cut),
            bytes_in: entry.bytes_in,
            bytes_out: entry.bytes_out,
            tls_us: phases.tls.map(microseconds),
            accept_us: phases.accept.map(microseconds),
            queue_us: phases.queue.map(microseconds),
            app_us: phases.app.map(microseconds),
            body_us: phases.body.map(microseconds),
            send_us: phases.send.map(microseconds),
            total_us: microseconds(phases.total),
            client: entry.client_address(),
            user_agent: agent.as_deref().map(cut),
        }
    }

    /// Whether it failed or was slow.
    pub fn is_notable(&self) -> bool {
        is_notable(self.status, self.error.is_some(), Duration::from_micros(self.total_us))
    }
}

fn is_notable(status: u16, has_error: bool, total: Duration) -> bool {
    status == 0 || status >= 500 || has_error || total >= SLOW
}

/// As the access log and the API say it.
pub(super) fn served_by(by: ServedBy) -> &'static str {
    match by {
        ServedBy::App => "app",
        ServedBy::Static => "static",
        ServedBy::Cache => "cache",
        ServedBy::Upstream => "upstream",
        ServedBy::Proxy => "proxy",
    }
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Records that nobody has fetched yet.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Vec<RequestRecord>>);

impl Waiting {
    /// Takes them.
    pub(super) fn take(&self) -> Vec<RequestRecord> {
        std::mem::take(&mut self.0.lock())
    }

    fn push(&self, record: RequestRecord) {
        let mut waiting = self.0.lock();
        if waiting.len() < MOST_WAITING {
            waiting.push(record);
        }
    }
}

/// Chooses what is kept, second by second.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    second: u64,
    /// By site: ordinary and notable requests of this second.
    kept: HashMap<String, (u32, u32)>,
}

impl Sieve {
    /// Keeps the record of a request, or does not.
    pub(super) fn take(&mut self, entry: &Entry, waiting: &Waiting) {
        let second = entry.ended_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if second != self.second {
            self.second = second;
            self.kept.clear();
        }
        let is_notable = is_notable(entry.status, entry.error.is_some(), entry.phases.total);
        let (ordinary, notable) = match self.kept.get_mut(entry.site()) {
            Some(counts) => counts,
            None => self.kept.entry(entry.site().to_owned()).or_default(),
        };
        let (count, most) = match is_notable {
            true => (notable, NOTABLE_PER_SECOND),
            false => (ordinary, ORDINARY_PER_SECOND),
        };
        *count += 1;
        if *count <= most {
            waiting.push(RequestRecord::of(entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::tests::entry;
    use super::*;

    fn kept(entries: impl Iterator<Item = Entry>) -> Vec<RequestRecord> {
        let (mut sieve, waiting) = (Sieve::default(), Waiting::default());
        entries.for_each(|entry| sieve.take(&entry, &waiting));
        waiting.take()
    }

    #[test]
    fn a_record_has_what_the_line_has_and_its_phases() {
        let records = kept(std::iter::once(entry("blog")));
        let [record] = records.as_slice() else { panic!("one is kept: {records:?}") };
        assert_eq!((record.at_ms, &*record.site, record.status), (1000, "blog", 200));
        assert_eq!((record.queue_us, record.app_us, record.total_us), (Some(1500), None, 2000));
        assert_eq!(record.client.as_deref(), Some("192.0.2.7"));
        assert_eq!((&*record.served_by, record.worker.as_deref()), ("static", Some("blog.1")));
        assert!(!record.is_notable());
    }

    #[test]
    fn of_many_in_a_second_some_are_kept_and_every_failed_and_slow_one() {
        let ordinary = (0..500).map(|_| entry("blog"));
        let failed = (0..30).map(|_| Entry { status: 502, ..entry("blog") });
        let slow = (0..30).map(|_| {
            let mut slow = entry("blog");
            slow.phases.total = SLOW;
            slow
        });
        let records = kept(ordinary.chain(failed).chain(slow).chain([entry("shop")]));
        let count = |is_it: fn(&RequestRecord) -> bool| {
            records.iter().filter(|record| is_it(record)).count()
        };
        assert_eq!(count(|record| record.site == "blog" && !record.is_notable()), 10);
        assert_eq!(count(RequestRecord::is_notable), 60);
        assert_eq!(count(|record| record.site == "shop"), 1);
    }

    #[test]
    fn the_next_second_begins_anew_and_what_nobody_fetches_is_bounded() {
        let later = |seconds: u64| {
            let mut later = entry("blog");
            later.ended_at += Duration::from_secs(seconds);
            later
        };
        assert_eq!(kept((0..40).map(|number| later(number / 20))).len(), 20);
        assert_eq!(kept((0..3000).map(later)).len(), MOST_WAITING);
    }
}
