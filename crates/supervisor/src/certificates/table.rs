//! What the engines are told, and people: which certificate answers to which name of which site.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::acme::Ledger;
use super::authority::{Authority, AuthorityError, is_worn};
use super::names::{about_unorderable, is_public};
use super::own::Watched;
use super::pair::Pair;
use super::{State, Wanted, ledger_file};
use crate::api::{CertificateSource, CertificateStatus};
use crate::engine::tls::{CertificateData, NameData, TlsData};

/// The table that is being made.
pub(super) struct Table<'a> {
    state: &'a mut State,
    folder: &'a Path,
    now_ms: i64,
    pub(super) data: TlsData,
    pub(super) statuses: BTreeMap<String, Vec<CertificateStatus>>,
    pub(super) used: Vec<Vec<String>>,
    pub(super) wanted: BTreeMap<String, Vec<String>>,
    unknown: Option<Arc<Pair>>,
    /// What may be for more names than its site has: those that nobody has are its too.
    spare: Vec<Arc<Pair>>,
    catches_all: bool,
}

impl<'a> Table<'a> {
    /// Nothing yet, at a moment; the authority's files are in `folder`.
    pub(super) fn new(state: &'a mut State, folder: &'a Path, now_ms: i64) -> Self {
        Self {
            state,
            folder,
            now_ms,
            data: TlsData::default(),
            statuses: BTreeMap::new(),
            used: Vec::new(),
            wanted: BTreeMap::new(),
            unknown: None,
            spare: Vec::new(),
            catches_all: false,
        }
    }

    /// The hosts that the site's own certificate is for have that one, the others one of the authority.
    pub(super) fn add_site(&mut self, wanted: &Wanted) {
        let mut statuses = Vec::new();
        let mut left = wanted.hosts.clone();
        if let Some(files) = &wanted.own {
            let known = self.state.own.entry(wanted.site.clone());
            let own = known.or_insert_with(|| Watched::new(files.clone()));
            own.look(&wanted.site);
            let (pair, problem) = (own.pair().cloned(), own.problem().map(str::to_owned));
            let covered: Vec<String> = match &pair {
                Some(pair) => {
                    let all = left.iter().filter(|host| pair.facts.covers(host));
                    all.cloned().collect()
                }
                None => Vec::new(),
            };
            left.retain(|host| !covered.contains(host));
            let problem = problem.or_else(|| expired(pair.as_deref()?, self.now_ms));
            if let Some(pair) = &pair {
                self.add(pair, covered.iter(), true);
                self.spare.push(Arc::clone(pair));
                if wanted.catch_all {
                    self.unknown = Some(Arc::clone(pair));
                }
            }
            statuses.push(status(CertificateSource::Own, covered, pair.as_deref(), problem));
        }
        self.add_ordered(&wanted.site, &mut left, &mut statuses);
        self.catches_all |= wanted.catch_all;
        if !left.is_empty() {
            let is_missed = self.state.orders_folder.is_some();
            let (pair, problem) = match self.vouched(left.clone()) {
                Ok(pair) => (Some(pair), about_unorderable(&left).filter(|_| is_missed)),
                Err(error) => (None, Some(error.to_string())),
            };
            if let Some(pair) = &pair {
                self.add(pair, left.iter(), false);
            }
            statuses.push(status(CertificateSource::Internal, left, pair.as_deref(), problem));
        }
        self.statuses.insert(wanted.site.clone(), statuses);
    }

    /// Hosts of the world's have what was ordered for them, as soon as it is there.
    fn add_ordered(
        &mut self,
        site: &str,
        left: &mut Vec<String>,
        statuses: &mut Vec<CertificateStatus>,
    ) {
        let public: Vec<String> = left.iter().filter(|host| is_public(host)).cloned().collect();
        let Some(folder) = self.state.orders_folder.as_ref().filter(|_| !public.is_empty()) else {
            return;
        };
        let file = ledger_file(folder, site);
        let known = self.state.ledgers.entry(site.to_owned());
        let ledger = known.or_insert_with(|| Ledger::read(&file));
        let (pair, problem, next_ms) =
            (ledger.pair.clone(), ledger.problem.clone(), ledger.next_ms());
        let renews_ms = ledger.renewal_ms();
        if let Some(pair) = &pair {
            let covered: Vec<String> =
                public.iter().filter(|host| pair.facts.covers(host)).cloned().collect();
            self.add(pair, covered.iter(), true);
            left.retain(|host| !covered.contains(host));
        }
        let problem = problem.or_else(|| expired(pair.as_deref()?, self.now_ms));
        let status = status(CertificateSource::Acme, public.clone(), pair.as_deref(), problem);
        let is_ordering = self.state.ordering.as_deref() == Some(site);
        statuses.push(CertificateStatus { next_try_ms: next_ms, renews_ms, is_ordering, ..status });
        self.wanted.insert(site.to_owned(), public);
    }

    /// The names that are left, and who comes by an address: that client names no host.
    pub(super) fn add_addresses(&mut self, addresses: &[IpAddr]) {
        for pair in std::mem::take(&mut self.spare) {
            self.add(&pair, pair.facts.names.iter(), true);
        }
        let addresses = addresses.iter().map(ToString::to_string);
        let names: Vec<String> = std::iter::once("localhost".to_owned()).chain(addresses).collect();
        let fallback = match self.vouched(names) {
            Ok(pair) => self.place(&pair),
            Err(error) => return tracing::error!(%error, "no certificate for addresses"),
        };
        self.data.fallback = Some(fallback);
        self.data.names.push(NameData {
            name: "localhost".to_owned(),
            certificate: fallback,
            is_trusted: false,
        });
        if self.catches_all {
            let own = self.unknown.take();
            self.data.unknown = Some(own.map_or(fallback, |pair| self.place(&pair)));
        }
    }

    fn add<'n>(&mut self, pair: &Pair, names: impl Iterator<Item = &'n String>, is_trusted: bool) {
        let certificate = self.place(pair);
        for name in names {
            let is_taken = self.data.names.iter().any(|known| known.name == *name);
            if !is_taken {
                let name = name.clone();
                self.data.names.push(NameData { name, certificate, is_trusted });
            }
        }
    }

    fn place(&mut self, pair: &Pair) -> usize {
        let data = CertificateData { chain: pair.chain.clone(), key: pair.key.clone() };
        let known = self.data.certificates.iter().position(|other| *other == data);
        known.unwrap_or_else(|| {
            self.data.certificates.push(data);
            self.data.certificates.len() - 1
        })
    }

    /// A certificate of the box's own authority.
    fn vouched(&mut self, names: Vec<String>) -> Result<Arc<Pair>, AuthorityError> {
        self.used.push(names.clone());
        if let Some(pair) = self.state.vouched.get(&names)
            && !is_worn(pair, self.now_ms)
        {
            return Ok(Arc::clone(pair));
        }
        let authority = match self.state.authority.take() {
            Some(authority) => authority,
            None => Authority::open(self.folder)?,
        };
        let authority = self.state.authority.insert(authority);
        let pair = Arc::new(authority.vouch(&names)?);
        self.state.vouched.insert(names, Arc::clone(&pair));
        Ok(pair)
    }
}

fn expired(pair: &Pair, now_ms: i64) -> Option<String> {
    let is_over = pair.facts.not_after_ms <= now_ms;
    let is_early = pair.facts.not_before_ms > now_ms;
    match (is_over, is_early) {
        (true, _) => Some("the certificate has expired".to_owned()),
        (_, true) => Some("the certificate is not valid yet".to_owned()),
        _ => None,
    }
}

fn status(
    source: CertificateSource,
    names: Vec<String>,
    pair: Option<&Pair>,
    problem: Option<String>,
) -> CertificateStatus {
    CertificateStatus {
        source,
        names,
        issuer: pair.map(|pair| pair.facts.issuer.clone()),
        not_before_ms: pair.map(|pair| pair.facts.not_before_ms),
        not_after_ms: pair.map(|pair| pair.facts.not_after_ms),
        renews_ms: None,
        is_ordering: false,
        problem,
        next_try_ms: None,
    }
}
