//! Answers of applications and upstreams, stored and used again: a shared cache in memory, and on the disk where a site wants it.
//!
//! `directives`, `vary` and `policy` are RFC 9111 as pure functions; `stored` is an answer and what is made from it; `store` is the
//! bounded memory, `disk` what outlives it, `flights` keeps requests for the same answer together, `keeping` stores a body while it is sent. The walk of a
//! request through them is `service/cached`. Must not know who makes answers.
//!
//! A cache belongs to one release of a site in one engine: a new release begins without answers, so that nobody sees pages of a
//! release that is gone; an engine that starts has those of its release that are on the disk.

mod directives;
mod disk;
mod fetching;
mod flights;
mod keeping;
mod key;
mod policy;
mod settings;
mod status;
mod store;
mod stored;
mod tags;
mod vary;

use std::path::PathBuf;
use std::sync::Arc;

use http::Method;
use onebox_config::site::Routing;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use utoipa::ToSchema;

pub(crate) use directives::RequestDirectives;
pub use disk::Clearing;
use disk::Disk;
pub(crate) use fetching::Fetching;
pub(crate) use flights::{Flights, Landing, Lead, Role};
pub(crate) use keeping::Keeping;
pub(crate) use key::Key;
pub(crate) use policy::{Came, Terms, Use, may_be_own};
pub(crate) use settings::Settings;
pub(crate) use status::{Forward, Outcome, Tier};
pub(crate) use store::{Found, Store};
pub(crate) use stored::{Body, Stored, conditional, storable};
pub(crate) use tags::hide_tags;

use crate::message::{Response, fields};

/// Answers that are fetched while a stale one is used, at a time.
const MOST_BEHIND: usize = 64;

/// The stored answers of one release of a site.
pub struct Cache {
    pub(crate) store: Store,
    pub(crate) flights: Arc<Flights>,
    /// Requests that no client waits for.
    behind: Mutex<JoinSet<()>>,
}

/// What is taken out of a cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Purge {
    /// Everything.
    All,
    /// The answers to a URL, or to a path on every host.
    Url(String),
    /// Those to everything that begins so.
    Prefix(String),
    /// Those with a tag (`Cache-Tag`, `Surrogate-Key`).
    Tag(String),
}

impl Purge {
    /// Whether an answer is one of those.
    fn means(&self, key: &Key, tags: &[Box<[u8]>]) -> bool {
        match self {
            Self::All => true,
            Self::Url(url) => key.is(url),
            Self::Prefix(prefix) => key.begins_with(prefix),
            Self::Tag(tag) => tags.iter().any(|known| **known == *tag.as_bytes()),
        }
    }
}

/// A cache, and how a site or a route uses it.
pub(crate) struct Cached {
    pub(crate) cache: Arc<Cache>,
    pub(crate) settings: Settings,
}

impl Cache {
    /// The cache that a site's rules ask for; `None`: neither it nor a route stores anything. `folder` is what its release has on
    /// the disk, where the rules want that.
    pub fn new(routing: &Routing, folder: impl FnOnce() -> PathBuf) -> Option<Arc<Self>> {
        let routes = routing.routes.iter().map(|route| route.cache.within(&routing.cache));
        let rules = routes.chain([routing.cache.clone()]);
        let largest =
            rules.filter_map(|rules| Settings::of(&rules)).map(|on| on.max_object).max()?;
        let disk = routing.cache.disk.map(|size_bytes| Disk::open(folder(), size_bytes));
        Some(Arc::new(Self {
            store: Store::new(routing.cache.size_bytes(), largest as u64, disk),
            flights: Arc::default(),
            behind: Mutex::default(),
        }))
    }

    /// Takes answers out; how many there were.
    pub fn purge(&self, what: &Purge) -> u64 {
        self.store.purge(what)
    }

    /// Waits until what was taken out before is on no disk either.
    pub async fn settled(&self) {
        if let Some(disk) = self.store.disk() {
            disk.settled().await;
        }
    }

    /// Whether it stores answers on the disk, too.
    pub fn has_disk(&self) -> bool {
        self.store.has_disk()
    }

    /// Leaves what is on the disk to the process that comes after this one.
    pub fn leave_disk(&self) {
        if let Some(disk) = self.store.disk() {
            disk.close();
        }
    }

    /// Whether the disk has what it is to have.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.store.disk().is_none_or(|disk| disk.is_idle())
    }

    /// What is stored on the disk takes so many bytes.
    pub fn disk_bytes(&self) -> u64 {
        self.store.disk().map_or(0, |disk| disk.size_bytes())
    }

    /// Lets half of them go, those first that nobody asks for.
    pub(crate) fn halve(&self) {
        self.store.halve();
    }

    /// What the stored answers take, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.store.stored_bytes()
    }

    /// After an answer to an unsafe method: what it may have changed is validated before it is used (RFC 9111 §4.4).
    pub(crate) fn invalidate(&self, method: &Method, key: &Key, response: &Response) {
        let is_error = !matches!(response.status, 200..=399);
        if is_error || is_safe(method) {
            return;
        }
        let references = ["location", "content-location"];
        let named = references.iter().flat_map(|name| fields(&response.headers, name));
        let named = named.filter_map(|value| key.refers_to(value));
        for key in named.chain([key.clone()]) {
            self.store.invalidate(&key);
        }
    }

    /// Runs a request that no client waits for; it ends with the cache. Not beyond a limit: the next client tries again.
    pub(crate) fn run_behind(&self, request: impl Future<Output = ()> + Send + 'static) {
        let mut behind = self.behind.lock();
        while behind.try_join_next().is_some() {}
        if behind.len() < MOST_BEHIND {
            behind.spawn(request);
        }
    }
}

/// RFC 9110 §9.2.1, and the registered methods of WebDAV that are.
fn is_safe(method: &Method) -> bool {
    matches!(
        method.as_str(),
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PROPFIND" | "REPORT" | "SEARCH" | "QUERY"
    )
}
