//! How often each client may ask, and how much at a time.
//!
//! Source: the generic cell rate algorithm (ITU-T I.371, Annex A), which is a token bucket in one number; RFC 6585 §4 (429).

use std::convert::Infallible;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use onebox_config::site::{Limit, LimitKey, Rate};
use quick_cache::sync::Cache;

use crate::clients;
use crate::error::ProxyError;
use crate::message::{ConnectionInfo, RequestHead};

/// So many buckets are remembered (a hundred bytes each); `config/onebox.toml` says so.
const MOST_BUCKETS: usize = 65_536;

/// A limit as requests need it.
pub(super) struct Limited {
    /// Which limit it is, on whatever route.
    scope: u64,
    pace: Option<Pace>,
    concurrent: Option<u32>,
    by: LimitKey,
}

/// A rate: at full speed a request comes each `interval`, and the bucket may be `slack` ahead of that.
struct Pace {
    interval_ns: u64,
    slack_ns: u64,
}

/// The buckets of all limits. Those that are seldom asked for are forgotten first.
pub(crate) struct Buckets {
    buckets: Cache<Key, Arc<Bucket>>,
    began: Instant,
    /// What clients send as keys must not be made to collide.
    hasher: [RandomState; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    scope: u64,
    who: u128,
}

#[derive(Default)]
struct Bucket {
    /// When the next request would be due if all came at full speed, in nanoseconds since the buckets began.
    due_ns: AtomicU64,
    under_way: AtomicU32,
}

/// A request that counts as one at a time, as long as this lives.
pub(crate) struct Permit(Arc<Bucket>);

impl Limited {
    /// The limit with this number of a site; `owner` is the route whose requests it counts, `None`: all of the site's.
    pub(super) fn new(limit: &Limit, (site, owner, number): (&str, Option<&str>, usize)) -> Self {
        // The same after each change of the configuration.
        let mut scope = DefaultHasher::new();
        (site, owner, number).hash(&mut scope);
        Self {
            scope: scope.finish(),
            pace: limit.rate.map(Pace::of),
            concurrent: limit.concurrent,
            by: limit.by.clone(),
        }
    }

    fn who(
        &self,
        head: &RequestHead,
        connection: &ConnectionInfo,
        hash: impl Fn(&[u8]) -> u128,
    ) -> u128 {
        let sent = match &self.by {
            // Its scope says which route.
            LimitKey::Route | LimitKey::All => return 0,
            LimitKey::Address => None,
            LimitKey::Header(name) => head.header(name),
            LimitKey::Cookie(name) => head.cookie(name),
        };
        match sent {
            Some(value) => hash(value),
            None => clients::network(connection.client()),
        }
    }
}

impl Pace {
    fn of(rate: Rate) -> Self {
        let interval = rate.per / rate.requests;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            interval_ns: nanoseconds(interval),
            slack_ns: nanoseconds(interval.saturating_mul(rate.burst - 1)),
        }
    }
}

impl Buckets {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            buckets: Cache::new(MOST_BUCKETS),
            began: Instant::now(),
            hasher: [RandomState::new(), RandomState::new()],
        }
    }

    /// Counts a request under each limit.
    ///
    /// # Errors
    /// [`ProxyError::TooMany`] where one is reached.
    pub(super) fn take(
        &self,
        limits: &[Limited],
        head: &RequestHead,
        connection: &ConnectionInfo,
        now: Instant,
    ) -> Result<Vec<Permit>, ProxyError> {
        let now_ns = now.saturating_duration_since(self.began).as_nanos();
        let now_ns = u64::try_from(now_ns).unwrap_or(u64::MAX);
        let mut permits = Vec::new();
        for limit in limits {
            let who = limit.who(head, connection, |value| self.hash(value));
            let key = Key { scope: limit.scope, who };
            let Ok(bucket) =
                self.buckets.get_or_insert_with(&key, || Ok::<_, Infallible>(Arc::default()));
            if let Some(most) = limit.concurrent {
                permits.push(
                    Arc::clone(&bucket)
                        .enter(most)
                        .ok_or(ProxyError::TooMany { retry_after_s: 1 })?,
                );
            }
            if let Some(pace) = &limit.pace {
                bucket.pass(pace, now_ns).map_err(|wait_ns| ProxyError::TooMany {
                    retry_after_s: u32::try_from(wait_ns.div_ceil(1_000_000_000))
                        .unwrap_or(u32::MAX),
                })?;
            }
        }
        Ok(permits)
    }

    fn hash(&self, value: &[u8]) -> u128 {
        let [high, low] = self.hasher.each_ref().map(|hasher| u128::from(hasher.hash_one(value)));
        high << 64 | low
    }
}

impl Bucket {
    /// Takes a token; the nanoseconds until there is one, where there is none.
    fn pass(&self, pace: &Pace, now_ns: u64) -> Result<(), u64> {
        let next = |due_ns: u64| {
            let due_ns = due_ns.max(now_ns);
            (due_ns - now_ns <= pace.slack_ns).then(|| due_ns.saturating_add(pace.interval_ns))
        };
        match self.due_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(_) => Ok(()),
            Err(due_ns) => Err(due_ns - now_ns - pace.slack_ns),
        }
    }

    fn enter(self: Arc<Self>, most: u32) -> Option<Permit> {
        let one_more = |count: u32| (count < most).then_some(count + 1);
        self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(self))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::testing;

    const SECOND: Duration = Duration::from_secs(1);

    fn limit(rate: Option<(u32, u32)>, concurrent: Option<u32>, by: LimitKey) -> Limit {
        let rate = rate.map(|(requests, burst)| Rate { requests, per: SECOND, burst });
        Limit { rate, concurrent, by }
    }

    struct Fixture {
        buckets: Buckets,
        limits: Vec<Limited>,
    }

    impl Fixture {
        fn new(limit: &Limit) -> Self {
            let limits = vec![Limited::new(limit, ("site", None, 0))];
            Self { buckets: Buckets::new(), limits }
        }

        fn ask(
            &self,
            address: &str,
            headers: &[(&str, &str)],
            after: Duration,
        ) -> Result<Vec<Permit>, u32> {
            let peer = SocketAddr::new(address.parse().unwrap(), 50_000);
            let connection = ConnectionInfo { peer: Some(peer), ..testing::connection() };
            let head = testing::get("/", headers);
            let now = self.buckets.began + after;
            self.buckets.take(&self.limits, &head, &connection, now).map_err(|error| match error {
                ProxyError::TooMany { retry_after_s } => retry_after_s,
                other => panic!("{other}"),
            })
        }

        fn passes(&self, address: &str, headers: &[(&str, &str)], after: Duration) -> bool {
            self.ask(address, headers, after).is_ok()
        }
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let fixture = Fixture::new(&limit(Some((2, 3)), None, LimitKey::Address));
        let begin = SECOND * 100;
        let at = |ms| fixture.passes("10.0.0.1", &[], begin + Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!(
            [at(499), at(500), at(501), at(999), at(1000)],
            [false, true, false, false, true]
        );
        assert!(fixture.passes("10.0.0.2", &[], begin), "another client has a bucket of its own");
        // After a long time it is full again, and not fuller.
        let full: Vec<_> = (0..5).map(|_| at(60_000)).collect();
        assert_eq!(full, [true, true, true, false, false]);
    }

    #[test]
    fn who_comes_too_early_is_told_when_to_come_again() {
        let limited = Limit {
            rate: Some(Rate { requests: 1, per: SECOND * 60, burst: 1 }),
            concurrent: None,
            by: LimitKey::Address,
        };
        let fixture = Fixture::new(&limited);
        assert!(fixture.passes("10.0.0.1", &[], SECOND));
        assert_eq!(fixture.ask("10.0.0.1", &[], SECOND * 11).err(), Some(50));
        assert_eq!(fixture.ask("10.0.0.1", &[], Duration::from_millis(60_500)).err(), Some(1));
        assert!(fixture.passes("10.0.0.1", &[], SECOND * 61));
    }

    #[test]
    fn only_so_many_are_under_way_at_a_time() {
        let fixture = Fixture::new(&limit(None, Some(2), LimitKey::All));
        let first = fixture.ask("10.0.0.1", &[], SECOND).unwrap();
        let second = fixture.ask("10.0.0.2", &[], SECOND).unwrap();
        assert_eq!(fixture.ask("10.0.0.3", &[], SECOND).err(), Some(1));
        drop(first);
        assert!(fixture.passes("10.0.0.3", &[], SECOND));
        drop(second);
    }

    #[test]
    fn requests_are_counted_together_by_what_the_limit_says() {
        type Client<'a> = (&'a str, &'a [(&'a str, &'a str)]);
        let header = || LimitKey::Header("x-api-key".to_owned());
        let cookie = || LimitKey::Cookie("sid".to_owned());
        let table: [(LimitKey, Client<'_>, Client<'_>, bool); 9] = [
            (LimitKey::Address, ("10.0.0.1", &[]), ("::ffff:10.0.0.1", &[]), true),
            (LimitKey::Address, ("2001:db8:1:2::3", &[]), ("2001:db8:1:2:ffff::4", &[]), true),
            (LimitKey::Address, ("2001:db8:1:2::3", &[]), ("2001:db8:1:3::3", &[]), false),
            (LimitKey::All, ("10.0.0.1", &[]), ("10.0.0.2", &[]), true),
            (
                header(),
                ("10.0.0.1", &[("x-api-key", "a")]),
                ("10.0.0.2", &[("x-api-key", "a")]),
                true,
            ),
            (
                header(),
                ("10.0.0.1", &[("x-api-key", "a")]),
                ("10.0.0.1", &[("x-api-key", "b")]),
                false,
            ),
            (header(), ("10.0.0.1", &[]), ("10.0.0.1", &[]), true),
            (header(), ("10.0.0.1", &[]), ("10.0.0.2", &[]), false),
            (
                cookie(),
                ("10.0.0.1", &[("cookie", "a=1; sid=7")]),
                ("10.0.0.2", &[("cookie", "sid=7")]),
                true,
            ),
        ];
        for (by, one, other, are_together) in table {
            let fixture = Fixture::new(&limit(Some((1, 1)), None, by));
            assert!(fixture.passes(one.0, one.1, SECOND));
            assert_eq!(
                fixture.passes(other.0, other.1, SECOND),
                !are_together,
                "{one:?} {other:?}"
            );
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let fixture = Fixture::new(&limit(Some((1, 1)), None, LimitKey::Header("k".to_owned())));
        for number in 0..MOST_BUCKETS * 2 {
            assert!(fixture.passes("10.0.0.1", &[("k", &number.to_string())], SECOND));
        }
        assert!(fixture.buckets.buckets.len() <= MOST_BUCKETS);
    }
}
