//! What became of a site's orders, kept in a file over restarts: the certificate, and when the next try may be.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::authority::write_whole;
use super::super::pair::Pair;
use super::renewal::{Advice, Predecessor, Window};

/// The longest pause between two tries.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// After an order, somebody's wish for another one waits for so many first pauses: with the ordinary ones in between that keeps within
/// Let's Encrypt's limit too.
const WISHES: u32 = 3;

/// How a host is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// By a handshake on port 443.
    Tls,
    /// By a page on port 80.
    Http,
}

impl Proof {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls-alpn-01",
            Self::Http => "http-01",
        }
    }
}

/// The orders of one site at one authority.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Ledger {
    /// PEM: chain and key.
    certificate: Option<(String, String)>,
    /// For which hosts the last order was.
    asked: Vec<String>,
    /// How many in a row have failed.
    failures: u32,
    /// When it was begun.
    #[serde(default)]
    begun_ms: i64,
    /// When the next may be.
    next_ms: i64,
    /// Whether somebody wants one, due or not.
    #[serde(skip)]
    is_wished: bool,
    /// Why the last one failed.
    pub(crate) problem: Option<String>,
    /// What the authority says about the renewal of this certificate.
    #[serde(default)]
    advice: Advice,
    #[serde(skip)]
    pub(crate) pair: Option<Arc<Pair>>,
}

impl Ledger {
    /// What is kept; nothing, where that is not there or no use. Blocks on the disk.
    pub(crate) fn read(path: &Path) -> Self {
        let kept = std::fs::read(path).ok();
        let mut ledger: Self =
            kept.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let pair = ledger.certificate.clone().and_then(|(chain, key)| Pair::new(chain, key).ok());
        ledger.pair = pair.map(Arc::new);
        ledger
    }

    /// Keeps it. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        write_whole(path, &serde_json::to_vec(self)?)
    }

    /// Whether an order for these hosts is to be made now: none covers them, or it is time to renew it.
    pub(crate) fn is_due(&self, hosts: &[String], now_ms: i64) -> bool {
        let covers = |pair: &Arc<Pair>| hosts.iter().all(|host| pair.facts.covers(host));
        let is_good = self.pair.as_ref().is_some_and(covers)
            && self.renewal_ms().is_some_and(|renewal_ms| now_ms < renewal_ms);
        // Who has corrected the names does not wait for the mistake.
        let may_be = now_ms >= self.next_ms || self.asked != hosts;
        self.is_wished || (!is_good && may_be)
    }

    /// The next order is to be made at once.
    ///
    /// # Errors
    /// When it may be, where the last one is too young.
    pub(crate) fn wish(&mut self, now_ms: i64, first_pause: Duration) -> Result<(), i64> {
        let earliest_ms = self.begun_ms.saturating_add(millis(first_pause.saturating_mul(WISHES)));
        if self.begun_ms != 0 && now_ms < earliest_ms {
            return Err(earliest_ms);
        }
        self.is_wished = true;
        Ok(())
    }

    /// When the certificate is to be renewed; `None`: there is none.
    pub(crate) fn renewal_ms(&self) -> Option<i64> {
        Some(self.advice.renewal_ms(&self.pair.as_ref()?.facts))
    }

    /// Which certificate the next one is to replace; only where the authority has shown that it knows what that means.
    pub(crate) fn replaces(&self) -> Option<Predecessor> {
        Predecessor::of(self.pair.as_ref().filter(|_| self.advice.is_known())?)
    }

    /// The certificate about whose renewal the authority is to be asked now.
    pub(crate) fn question(&self, now_ms: i64) -> Option<Predecessor> {
        Predecessor::of(self.pair.as_ref().filter(|_| self.advice.is_old(now_ms))?)
    }

    /// What it said about a certificate, and when it is to be asked again.
    pub(crate) fn heard(
        &mut self,
        about: &Predecessor,
        window: Option<Window>,
        again: Duration,
        now_ms: i64,
    ) {
        // It may have been replaced meanwhile.
        if self.pair.as_ref().and_then(|pair| Predecessor::of(pair)).as_ref() == Some(about) {
            self.advice.heard(window, now_ms.saturating_add(millis(again)));
        }
    }

    /// How the next try is to prove its hosts: the ways take turns.
    pub(crate) fn proof(&self) -> Proof {
        if self.failures.is_multiple_of(2) { Proof::Tls } else { Proof::Http }
    }

    /// When the next try is, where the last one failed.
    pub(crate) fn next_ms(&self) -> Option<i64> {
        self.problem.is_some().then_some(self.next_ms)
    }

    /// An order begins. Should nobody see its end, the next one waits.
    pub(crate) fn begin(&mut self, hosts: &[String], now_ms: i64, first_pause: Duration) {
        if self.asked != hosts {
            self.failures = 0;
        }
        self.asked = hosts.to_vec();
        (self.begun_ms, self.is_wished) = (now_ms, false);
        self.next_ms = now_ms.saturating_add(millis(first_pause));
    }

    /// It went well.
    pub(crate) fn obtained(&mut self, pair: Pair, now_ms: i64) {
        let before = self.pair.as_ref().map(|before| &before.facts);
        self.advice = self.advice.of_next(before, now_ms);
        self.certificate = Some((pair.chain.clone(), pair.key.clone()));
        self.pair = Some(Arc::new(pair));
        (self.failures, self.problem) = (0, None);
    }

    /// It did not: the pause doubles each time, which keeps within five failures an hour, Let's Encrypt's limit for a host.
    pub(crate) fn failed(&mut self, problem: String, now_ms: i64, first_pause: Duration) {
        let pause =
            first_pause.saturating_mul(1 << self.failures.min(16)).min(LONGEST.max(first_pause));
        self.failures = self.failures.saturating_add(1);
        self.next_ms = now_ms.saturating_add(millis(pause));
        self.problem = Some(problem);
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::pair::tests::self_signed;
    use super::*;

    const FIRST: Duration = Duration::from_secs(300);

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn less_than_five_tries_an_hour_fail_and_each_way_has_its_turn() {
        let mut ledger = Ledger::default();
        let (names, mut now_ms, mut tries) = (hosts(&["a.org"]), 0, Vec::new());
        while now_ms < 86_400_000 {
            if ledger.is_due(&names, now_ms) {
                tries.push((now_ms, ledger.proof()));
                ledger.begin(&names, now_ms, FIRST);
                ledger.failed("no".into(), now_ms, FIRST);
            }
            now_ms += 1000;
        }
        for (at_ms, _) in &tries {
            let hour =
                tries.iter().filter(|(other, _)| (at_ms..&(at_ms + 3_600_000)).contains(&other));
            assert!(hour.count() < 5, "{tries:?}");
        }
        assert_eq!((tries[0].1, tries[1].1, tries[2].1), (Proof::Tls, Proof::Http, Proof::Tls));
        assert!(tries.len() > 8 && ledger.is_due(&hosts(&["a.org", "b.org"]), now_ms));
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_and_where_a_name_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blog.json");
        let mut ledger = Ledger::default();
        let (chain, key) = self_signed(&["a.org", "b.org"]);
        ledger.begin(&hosts(&["a.org", "b.org"]), 0, FIRST);
        ledger.obtained(Pair::new(chain, key).unwrap(), 0);
        ledger.write(&path).unwrap();
        let kept = Ledger::read(&path);
        let facts = kept.pair.as_ref().unwrap().facts.clone();
        let at =
            |part: i64| facts.not_before_ms + (facts.not_after_ms - facts.not_before_ms) / 6 * part;
        assert!(!kept.is_due(&hosts(&["a.org"]), at(3)));
        assert!(kept.is_due(&hosts(&["a.org"]), at(5)));
        assert!(kept.is_due(&hosts(&["a.org", "c.org"]), at(3)));
        std::fs::write(&path, "{").unwrap();
        assert!(Ledger::read(&path).pair.is_none());
    }

    #[test]
    fn a_wish_needs_no_reason_and_does_not_come_too_often() {
        let mut ledger = Ledger::default();
        let names = hosts(&["a.org"]);
        let (chain, key) = self_signed(&["a.org"]);
        ledger.begin(&names, 1000, FIRST);
        ledger.obtained(Pair::new(chain, key).unwrap(), 1000);
        let now_ms = ledger.pair.as_ref().unwrap().facts.not_before_ms;
        assert!(!ledger.is_due(&names, now_ms));
        assert_eq!(ledger.wish(900_999, FIRST), Err(901_000));
        assert!(!ledger.is_due(&names, now_ms));
        ledger.wish(901_000, FIRST).unwrap();
        assert!(ledger.is_due(&names, now_ms));
        ledger.begin(&names, 901_000, FIRST);
        assert!(!ledger.is_due(&names, now_ms), "once");
        Ledger::default().wish(0, FIRST).unwrap();
    }

    #[test]
    fn an_order_that_was_broken_off_is_not_begun_again_at_once() {
        let mut ledger = Ledger::default();
        let names = hosts(&["a.org"]);
        ledger.begin(&names, 1000, FIRST);
        assert!(!ledger.is_due(&names, 2000) && ledger.is_due(&names, 301_000));
    }
}
