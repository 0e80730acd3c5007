//! When a process is due to be replaced by a fresh one. Pure: whoever asks says what the process did and takes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use onebox_config::site::ProcessLimits;

/// How often workers were replaced, by site and [`Reason::name`].
pub(crate) type Recycles = BTreeMap<(String, &'static str), u64>;

/// Up to so much of a limit is left out, by chance: processes that started together are not due together.
const JITTER: f64 = 0.1;

/// Why a fresh process takes the place of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// It served so many requests.
    Requests(u64),
    /// It lives for so long.
    Age(Duration),
    /// It takes so many bytes of memory.
    Rss(u64),
    /// It took so many bytes, and was killed for it.
    MemoryLimit(u64),
    /// Its threads do not come back.
    Wedged(String),
}

impl Reason {
    /// The setting that asks for it, or `wedged`.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Requests(_) => "max-requests",
            Self::Age(_) => "max-lifetime",
            Self::Rss(_) => "reload-on-rss",
            Self::MemoryLimit(_) => "memory-limit",
            Self::Wedged(_) => "wedged",
        }
    }

    /// Whether it can wait until another worker of the site was replaced.
    pub(super) fn can_wait(&self) -> bool {
        !matches!(self, Self::Wedged(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(served) => write!(f, "it has served {served} requests"),
            Self::Age(age) => write!(f, "it is {} s old", age.as_secs()),
            Self::Rss(bytes) | Self::MemoryLimit(bytes) => {
                write!(f, "it takes {} MB of memory", bytes >> 20)
            }
            Self::Wedged(reason) => f.write_str(reason),
        }?;
        match self {
            Self::Wedged(_) => Ok(()),
            _ => write!(f, " (`{}`)", self.name()),
        }
    }
}

/// The limits of one process, a little below those of its site.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Due {
    requests: Option<u64>,
    age: Option<Duration>,
    rss: Option<u64>,
}

impl Due {
    /// For a process that draws `chance`, from 0 to 1.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u64")]
    pub(super) fn new(limits: &ProcessLimits, chance: f64) -> Self {
        let share = 1.0 - JITTER * chance.clamp(0.0, 1.0);
        // A limit has less than 2^53 of anything.
        let requests = |limit: u64| ((limit as f64 * share).ceil() as u64).max(1);
        Self {
            requests: limits.max_requests.map(requests),
            age: limits.max_lifetime.map(|limit| limit.mul_f64(share)),
            rss: limits.reload_on_rss,
        }
    }

    /// Whether it has to be told how much memory the process takes.
    pub(super) fn asks_for_memory(&self) -> bool {
        self.rss.is_some()
    }

    /// Why a process that did and takes this is due, if it is.
    pub(super) fn reason(&self, requests: u64, age: Duration, rss: Option<u64>) -> Option<Reason> {
        let many =
            self.requests.filter(|limit| requests >= *limit).map(|_| Reason::Requests(requests));
        let old = || self.age.filter(|limit| age >= *limit).map(|_| Reason::Age(age));
        let large = || {
            rss.zip(self.rss).filter(|(rss, limit)| rss > limit).map(|(rss, _)| Reason::Rss(rss))
        };
        many.or_else(old).or_else(large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ProcessLimits = ProcessLimits {
        max_requests: Some(1000),
        max_lifetime: Some(Duration::from_secs(100)),
        reload_on_rss: Some(64 << 20),
        memory_limit: None,
    };

    fn due(requests: u64, age_s: u64, rss: Option<u64>) -> Option<&'static str> {
        let due = Due::new(&LIMITS, 0.0);
        due.reason(requests, Duration::from_secs(age_s), rss).map(|reason| reason.name())
    }

    #[test]
    fn a_process_is_due_at_its_first_limit() {
        assert_eq!(due(999, 99, Some(64 << 20)), None);
        assert_eq!(due(1000, 0, None), Some("max-requests"));
        assert_eq!(due(0, 100, None), Some("max-lifetime"));
        assert_eq!(due(0, 0, Some((64 << 20) + 1)), Some("reload-on-rss"));
    }

    #[test]
    fn without_limits_nothing_is_ever_due() {
        let due = Due::new(&ProcessLimits::default(), 0.5);
        assert_eq!(due.reason(u64::MAX, Duration::MAX, Some(u64::MAX)), None);
    }

    #[test]
    fn chance_takes_a_tenth_at_most_and_leaves_one_request() {
        let after = |limit, chance| {
            let limits = ProcessLimits { max_requests: Some(limit), ..ProcessLimits::default() };
            Due::new(&limits, chance).requests
        };
        assert_eq!(
            (after(1000, 0.0), after(1000, 0.5), after(1000, 1.0)),
            (Some(1000), Some(950), Some(900))
        );
        assert_eq!((after(1, 1.0), after(5, 1.0)), (Some(1), Some(5)));
        let age = Due::new(&LIMITS, 1.0).age.unwrap();
        assert!(age >= Duration::from_secs(90) && age < Duration::from_secs(91), "{age:?}");
    }

    #[test]
    fn a_reason_names_its_setting() {
        assert_eq!(Reason::Rss(80 << 20).to_string(), "it takes 80 MB of memory (`reload-on-rss`)");
        assert_eq!(Reason::Wedged("a thread is lost".into()).to_string(), "a thread is lost");
    }
}
