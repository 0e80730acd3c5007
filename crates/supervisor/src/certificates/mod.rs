//! Which certificate answers to which name, and where it comes from: a site's own files, an authority of the world's, or the box's own.
//!
//! [`Certificates::renew`] looks at everything and says whether the engines have to learn something new. It is called when the sites
//! change and every few seconds, and costs next to nothing where all is as it was.

pub(crate) mod acme;
mod authority;
mod names;
pub(crate) mod own;
mod pair;
mod tickets;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_proxy::TicketKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::api::{CertificateSource, CertificateStatus};
use crate::clock::now_ms;
use crate::engine::tls::{CertificateData, NameData, TlsData};

use acme::{Answer, Ledger, Proof};
use authority::{Authority, AuthorityError, is_worn};
use names::is_public;
use own::{OwnFiles, Watched};
use pair::Pair;
use tickets::TicketKeys;

/// What a site wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) site: String,
    /// Every host it answers to.
    pub(crate) hosts: Vec<String>,
    /// Whether it answers to those that nobody names.
    pub(crate) catch_all: bool,
    pub(crate) own: Option<OwnFiles>,
}

/// How often it is looked whether an order is due.
const LOOKS: Duration = Duration::from_secs(5);

/// An order that is to be made.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) site: String,
    pub(crate) hosts: Vec<String>,
    pub(crate) proof: Proof,
    /// Where the account lies.
    pub(crate) folder: PathBuf,
}

/// All certificates of the box.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// Where the authority lies.
    folder: PathBuf,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    own: BTreeMap<String, Watched>,
    authority: Option<Authority>,
    /// What the authority has made, by the names.
    vouched: BTreeMap<Vec<String>, Arc<Pair>>,
    tickets: TicketKeys,
    /// What came of orders, by site, at the authority whose folder this is.
    ledgers: BTreeMap<String, Ledger>,
    orders_folder: Option<PathBuf>,
    /// For which hosts a site needs an authority of the world's.
    wanted: BTreeMap<String, Vec<String>>,
    /// What an authority that asks right now is told.
    answers: Vec<Answer>,
    statuses: BTreeMap<String, Vec<CertificateStatus>>,
    data: Arc<TlsData>,
}

impl Certificates {
    /// No certificate yet; files below `folder`.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let state = State {
            own: BTreeMap::new(),
            authority: None,
            vouched: BTreeMap::new(),
            tickets: TicketKeys::new(Instant::now()),
            ledgers: BTreeMap::new(),
            orders_folder: None,
            wanted: BTreeMap::new(),
            answers: Vec::new(),
            statuses: BTreeMap::new(),
            data: Arc::default(),
        };
        Self { folder, state: Mutex::new(state), news: Notify::new() }
    }

    /// Ticket keys of the supervisor before this one.
    pub(crate) fn adopt_ticket_keys(&self, keys: Vec<TicketKey>) {
        self.state.lock().tickets.adopt(keys);
    }

    /// What engines are told.
    pub(crate) fn data(&self) -> Arc<TlsData> {
        Arc::clone(&self.state.lock().data)
    }

    /// The certificates of a site.
    pub(crate) fn status(&self, site: &str) -> Vec<CertificateStatus> {
        self.state.lock().statuses.get(site).cloned().unwrap_or_default()
    }

    /// Whether HTTPS to a host works without a warning.
    pub(crate) fn is_trusted(&self, host: &str) -> bool {
        self.state.lock().data.names.iter().any(|name| name.name == host && name.is_trusted)
    }

    /// Waits until an order may be due.
    pub(crate) async fn wait_for_news(&self) {
        // Time is news too.
        tokio::time::timeout(LOOKS, self.news.notified()).await.ok();
    }

    /// An order that is to be made now.
    pub(crate) fn next_order(&self) -> Option<Due> {
        let state = self.state.lock();
        let folder = state.orders_folder.clone()?;
        let now_ms = now_ms();
        state.wanted.iter().find_map(|(site, hosts)| {
            let ledger = state.ledgers.get(site).filter(|ledger| ledger.is_due(hosts, now_ms))?;
            let (site, hosts, proof) = (site.clone(), hosts.clone(), ledger.proof());
            Some(Due { site, hosts, proof, folder: folder.clone() })
        })
    }

    /// An order begins. On record before it is made, so that no restart can repeat it at once. Blocks on the disk.
    pub(crate) fn begin_order(&self, due: &Due, first_pause: Duration) {
        self.record(due, |ledger| ledger.begin(&due.hosts, now_ms(), first_pause));
    }

    /// An order ended. Blocks on the disk.
    pub(crate) fn end_order(
        &self,
        due: &Due,
        outcome: Result<Pair, String>,
        first_pause: Duration,
    ) {
        self.record(due, |ledger| match outcome {
            Ok(pair) => ledger.obtained(pair),
            Err(problem) => ledger.failed(problem, now_ms(), first_pause),
        });
    }

    fn record(&self, due: &Due, change: impl FnOnce(&mut Ledger)) {
        let mut state = self.state.lock();
        let ledger = state.ledgers.entry(due.site.clone()).or_default();
        change(ledger);
        if let Err(error) = ledger.write(&ledger_file(&due.folder, &due.site)) {
            tracing::error!(site = due.site, %error, "what came of an order can't be kept");
        }
    }

    /// What an authority that asks right now is told.
    pub(crate) fn set_answers(&self, answers: Vec<Answer>) {
        self.state.lock().answers = answers;
    }

    /// Brings everything up to date for these sites, and for addresses of this machine; whether anything is new for the engines.
    /// In `orders` lies what an authority of the world's gave; `None`: none is asked. Blocks on the disk.
    pub(crate) fn renew(
        &self,
        sites: &[Wanted],
        addresses: &[IpAddr],
        orders: Option<PathBuf>,
    ) -> bool {
        let mut state = self.state.lock();
        if state.orders_folder != orders {
            state.ledgers.clear();
            state.orders_folder = orders;
        }
        state.tickets.rotate(Instant::now());
        state.own.retain(|site, files| {
            sites
                .iter()
                .any(|wanted| wanted.site == *site && wanted.own.as_ref() == Some(files.files()))
        });
        let mut table = Table { folder: &self.folder, now_ms: now_ms(), ..Table::new(&mut state) };
        for wanted in sites {
            table.add_site(wanted);
        }
        table.add_addresses(addresses);
        let Table { mut data, statuses, used, wanted, .. } = table;
        for answer in &state.answers {
            match answer.clone() {
                Answer::Token { token, text } => data.tokens.push((token, text)),
                Answer::Handshake { host, certificate } => {
                    data.challenges.push((host, certificate))
                }
            }
        }
        let data = TlsData { ticket_keys: state.tickets.all().to_vec(), ..data };
        state.ledgers.retain(|site, _| wanted.contains_key(site));
        if state.wanted != wanted {
            state.wanted = wanted;
            self.news.notify_one();
        }
        state.vouched.retain(|names, _| used.contains(names));
        state.statuses = statuses;
        let is_new = *state.data != data;
        if is_new {
            state.data = Arc::new(data);
        }
        is_new
    }
}

/// The table that is being made.
struct Table<'a> {
    state: &'a mut State,
    folder: &'a Path,
    now_ms: i64,
    data: TlsData,
    statuses: BTreeMap<String, Vec<CertificateStatus>>,
    used: Vec<Vec<String>>,
    wanted: BTreeMap<String, Vec<String>>,
    unknown: Option<Arc<Pair>>,
    /// What may be for more names than its site has: those that nobody has are its too.
    spare: Vec<Arc<Pair>>,
    catches_all: bool,
}

impl<'a> Table<'a> {
    fn new(state: &'a mut State) -> Self {
        Self {
            state,
            folder: Path::new(""),
            now_ms: 0,
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
    fn add_site(&mut self, wanted: &Wanted) {
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
            let (pair, problem) = match self.vouched(left.clone()) {
                Ok(pair) => (Some(pair), None),
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
        let (pair, next_ms) = (ledger.pair.clone(), ledger.next_ms());
        let problem = ledger.problem.clone();
        if let Some(pair) = &pair {
            let covered: Vec<String> =
                public.iter().filter(|host| pair.facts.covers(host)).cloned().collect();
            self.add(pair, covered.iter(), true);
            left.retain(|host| !covered.contains(host));
        }
        let problem = problem.or_else(|| expired(pair.as_deref()?, self.now_ms));
        let status = status(CertificateSource::Acme, public.clone(), pair.as_deref(), problem);
        statuses.push(CertificateStatus { next_try_ms: next_ms, ..status });
        self.wanted.insert(site.to_owned(), public);
    }

    /// The names that are left, and who comes by an address: that client names no host.
    fn add_addresses(&mut self, addresses: &[IpAddr]) {
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
        not_after_ms: pair.map(|pair| pair.facts.not_after_ms),
        problem,
        next_try_ms: None,
    }
}

fn ledger_file(folder: &Path, site: &str) -> PathBuf {
    folder.join(format!("{site}.site.json"))
}

#[cfg(test)]
mod tests {
    use onebox_config::site::OwnCertificate;

    use super::own::tests::as_the_supervisor;
    use super::pair::tests::self_signed;
    use super::*;

    fn wanted(site: &str, hosts: &[&str]) -> Wanted {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Wanted { site: site.to_owned(), hosts, catch_all: false, own: None }
    }

    fn issuer_of(data: &TlsData, name: &str) -> String {
        let place = data.names.iter().find(|known| known.name == name).unwrap().certificate;
        let CertificateData { chain, key } = data.certificates[place].clone();
        Pair::new(chain, key).unwrap().facts.issuer
    }

    #[test]
    fn names_have_the_sites_own_certificate_where_that_is_for_them_and_else_the_boxs() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = self_signed(&["a.example", "other.example"]);
        let files = ["a.pem", "a.key"].map(|name| folder.path().join(name));
        std::fs::write(&files[0], chain).unwrap();
        std::fs::write(&files[1], key).unwrap();
        let [certificate, key] = files;
        let own = Some(as_the_supervisor(OwnCertificate { certificate, key }));
        let blog = Wanted { own, ..wanted("blog", &["a.example", "blog.localhost"]) };
        let certificates = Certificates::new(folder.path().join("authority"));
        let sites = [blog, wanted("shop", &["other.example"])];
        assert!(certificates.renew(&sites, &["127.0.0.1".parse().unwrap()], None));
        assert!(!certificates.renew(&sites, &["127.0.0.1".parse().unwrap()], None));
        let data = certificates.data();
        assert_eq!(issuer_of(&data, "a.example"), "rcgen self signed cert");
        assert!(issuer_of(&data, "blog.localhost").starts_with("onebox on "));
        assert!(certificates.is_trusted("a.example") && !certificates.is_trusted("blog.localhost"));
        assert!(data.fallback.is_some() && data.unknown.is_none());
        let statuses = certificates.status("blog");
        let told: Vec<_> = statuses.iter().map(|one| (one.source, one.names.clone())).collect();
        let expected = [
            (CertificateSource::Own, vec!["a.example".to_owned()]),
            (CertificateSource::Internal, vec!["blog.localhost".to_owned()]),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_site_for_every_host_answers_to_unknown_ones_too() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(folder.path().join("authority"));
        let blog = Wanted { catch_all: true, ..wanted("blog", &["blog.localhost"]) };
        certificates.renew(&[blog], &[], None);
        let data = certificates.data();
        assert!(data.unknown.is_some() && data.unknown == data.fallback);
        certificates.renew(&[], &[], None);
        let data = certificates.data();
        assert!(data.unknown.is_none() && data.names.len() == 1);
    }
}
