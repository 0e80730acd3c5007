//! Which certificate answers to which name, and where it comes from: a site's own files, an authority of the world's, or the box's own.
//!
//! [`Certificates::renew`] looks at everything and says whether engines or people have to learn something new. It is called when the sites
//! change and every few seconds, and costs next to nothing where all is as it was.

pub(crate) mod acme;
mod authority;
mod names;
pub(crate) mod own;
mod pair;
mod table;
mod tickets;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_proxy::TicketKey;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::api::CertificateStatus;
use crate::clock::now_ms;
use crate::engine::tls::TlsData;

use acme::{Answer, Ledger, Predecessor, Proof, Window};
use authority::Authority;
use own::{OwnFiles, Watched};
use pair::Pair;
use table::Table;
use tickets::TicketKeys;

pub use names::about_unorderable;

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
    /// The certificate that the new one is to replace.
    pub(crate) replaces: Option<Predecessor>,
    /// Where the account lies.
    pub(crate) folder: PathBuf,
}

/// Why a wish for another certificate is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum WishError {
    /// No authority of the world's is asked for it.
    #[error(
        "{0} has no certificate that is ordered: `onebox cert {0}` shows where each comes from"
    )]
    NotOrdered(String),
    /// The last order is too young.
    #[error("the last order for {site} was just now; authorities allow few: the next may be in {}", lasting(*.wait))]
    TooSoon {
        /// The site.
        site: String,
        /// How long it is to wait.
        wait: Duration,
    },
}

/// In whole seconds, or minutes where there are many; rounded up.
fn lasting(wait: Duration) -> String {
    match wait.as_millis().div_ceil(1000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds.div_ceil(60)),
    }
}

/// For whom a look has found something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct News {
    pub(crate) engines: bool,
    pub(crate) people: bool,
}

/// A certificate whose authority is to be asked when it shall be renewed.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) site: String,
    pub(crate) certificate: Predecessor,
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
    /// Whose order is under way.
    ordering: Option<String>,
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
            ordering: None,
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
            Some(Due { site, hosts, proof, replaces: ledger.replaces(), folder: folder.clone() })
        })
    }

    /// A site's certificate is to be ordered now, due or not; the hosts that it will be for.
    ///
    /// # Errors
    /// [`WishError`]
    pub(crate) fn wish(&self, site: &str, first_pause: Duration) -> Result<Vec<String>, WishError> {
        let mut state = self.state.lock();
        let not_ordered = || WishError::NotOrdered(site.to_owned());
        let hosts = state.wanted.get(site).cloned().ok_or_else(not_ordered)?;
        // What is under way is what is wished for.
        if state.ordering.as_deref() != Some(site) {
            let now_ms = now_ms();
            let ledger = state.ledgers.get_mut(site).ok_or_else(not_ordered)?;
            ledger.wish(now_ms, first_pause).map_err(|earliest_ms| WishError::TooSoon {
                site: site.to_owned(),
                wait: Duration::from_millis(earliest_ms.abs_diff(now_ms)),
            })?;
            self.news.notify_one();
        }
        Ok(hosts)
    }

    /// A certificate about whose renewal its authority is to be asked now.
    pub(crate) fn next_question(&self) -> Option<Question> {
        let state = self.state.lock();
        let folder = state.orders_folder.clone()?;
        let now_ms = now_ms();
        state.wanted.keys().find_map(|site| {
            let certificate = state.ledgers.get(site)?.question(now_ms)?;
            Some(Question { site: site.clone(), certificate, folder: folder.clone() })
        })
    }

    /// What the authority said to a question, and in how long it is to be asked again; `None`: it has no opinion. Blocks on the disk.
    pub(crate) fn answered(&self, question: &Question, window: Option<Window>, again: Duration) {
        self.record(&question.site, &question.folder, |ledger| {
            ledger.heard(&question.certificate, window, again, now_ms());
        });
    }

    /// An order begins. On record before it is made, so that no restart can repeat it at once. Blocks on the disk.
    pub(crate) fn begin_order(&self, due: &Due, first_pause: Duration) {
        self.state.lock().ordering = Some(due.site.clone());
        let begin = |ledger: &mut Ledger| ledger.begin(&due.hosts, now_ms(), first_pause);
        self.record(&due.site, &due.folder, begin);
    }

    /// An order ended. Blocks on the disk.
    pub(crate) fn end_order(
        &self,
        due: &Due,
        outcome: Result<Pair, String>,
        first_pause: Duration,
    ) {
        self.state.lock().ordering = None;
        self.record(&due.site, &due.folder, |ledger| match outcome {
            Ok(pair) => ledger.obtained(pair, now_ms()),
            Err(problem) => ledger.failed(problem, now_ms(), first_pause),
        });
    }

    /// Of a site that is gone meanwhile nothing is kept.
    fn record(&self, site: &str, folder: &Path, change: impl FnOnce(&mut Ledger)) {
        let mut state = self.state.lock();
        if !state.wanted.contains_key(site) {
            return;
        }
        let ledger = state.ledgers.entry(site.to_owned()).or_default();
        change(ledger);
        if let Err(error) = ledger.write(&ledger_file(folder, site)) {
            tracing::error!(site, %error, "what came of an order can't be kept");
        }
    }

    /// Removes what was ordered for a site that is gone, at whatever authority: folders below `all`. Blocks on the disk.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn forget(&self, site: &str, all: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.wanted.remove(site);
        state.ledgers.remove(site);
        let folders = match std::fs::read_dir(all) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            folders => folders?,
        };
        for folder in folders {
            match std::fs::remove_file(ledger_file(&folder?.path(), site)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// What an authority that asks right now is told.
    pub(crate) fn set_answers(&self, answers: Vec<Answer>) {
        self.state.lock().answers = answers;
    }

    /// Brings everything up to date for these sites, and for addresses of this machine; for whom anything is new.
    /// In `orders` lies what an authority of the world's gave; `None`: none is asked. Blocks on the disk.
    pub(crate) fn renew(
        &self,
        sites: &[Wanted],
        addresses: &[IpAddr],
        orders: Option<PathBuf>,
    ) -> News {
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
        let mut table = Table::new(&mut state, &self.folder, now_ms());
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
        let news = News { engines: *state.data != data, people: state.statuses != statuses };
        state.statuses = statuses;
        if news.engines {
            state.data = Arc::new(data);
        }
        news
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
    use crate::api::CertificateSource;
    use crate::engine::tls::CertificateData;

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
        let local = ["127.0.0.1".parse().unwrap()];
        for is_new in [true, false] {
            let expected = News { engines: is_new, people: is_new };
            assert_eq!(certificates.renew(&sites, &local, None), expected);
        }
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
    fn a_wish_is_for_what_is_ordered_and_not_too_often() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::new(folder.path().join("authority"));
        let sites = [wanted("blog", &["a.org"]), wanted("home", &["home.localhost"])];
        certificates.renew(&sites, &[], Some(folder.path().join("0123")));
        let pause = Duration::from_secs(300);
        assert_eq!(certificates.wish("blog", pause).unwrap(), ["a.org"]);
        let due = certificates.next_order().unwrap();
        certificates.begin_order(&due, pause);
        assert_eq!(certificates.wish("blog", pause).unwrap(), ["a.org"], "it is under way");
        certificates.end_order(&due, Err("no".into()), pause);
        let refused = certificates.wish("blog", pause).unwrap_err().to_string();
        assert!(refused.ends_with("the next may be in 15 min"), "{refused}");
        assert!(certificates.next_order().is_none());
        let refused = certificates.wish("home", pause);
        assert_eq!(refused, Err(WishError::NotOrdered("home".into())));
    }

    #[test]
    fn of_a_site_that_is_gone_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let orders = folder.path().join("0123");
        let certificates = Certificates::new(folder.path().join("authority"));
        let sites = [wanted("blog", &["a.org"]), wanted("shop", &["b.org"])];
        certificates.renew(&sites, &[], Some(orders.clone()));
        let due = certificates.next_order().unwrap();
        assert_eq!(due.hosts, ["a.org"]);
        let pause = Duration::from_secs(300);
        certificates.begin_order(&due, pause);
        assert!(orders.join("blog.site.json").exists());
        certificates.renew(&sites[1..], &[], Some(orders.clone()));
        certificates.forget("blog", folder.path()).unwrap();
        certificates.end_order(&due, Err("too late".into()), pause);
        assert!(
            !orders.join("blog.site.json").exists(),
            "an order that ends later brings nothing back"
        );
        let due = certificates.next_order().unwrap();
        certificates.begin_order(&due, pause);
        assert!(due.site == "shop" && orders.join("shop.site.json").exists());
        Certificates::new(folder.path().join("none"))
            .forget("x", &folder.path().join("none"))
            .unwrap();
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
