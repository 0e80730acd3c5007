//! A request to the source whose answer may be stored.

use std::sync::Arc;

use super::policy::Terms;
use super::store::Epoch;
use super::{Cache, Key, Stored, disk};
use crate::message::RequestHead;

/// While it lives it is known what is taken out of the cache: an answer from before that is not stored after.
pub(crate) struct Fetching {
    cache: Arc<Cache>,
    key: Key,
    since: Epoch,
}

impl Fetching {
    /// A request that is sent now.
    pub(crate) fn begin(cache: &Arc<Cache>, key: &Key) -> Self {
        Self { cache: Arc::clone(cache), key: key.clone(), since: cache.store.begin(key) }
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Stores the answer to `head`, unless what it would stand for was taken out since it was asked for.
    pub(crate) fn put(&self, head: &RequestHead, stored: Arc<Stored>) {
        self.cache.store.put(&self.key, head, stored, self.since);
    }
}

impl Fetching {
    /// What the disk has for a request, and memory has not. A small answer is in memory from then on.
    pub(crate) async fn load(
        &self,
        head: &RequestHead,
        may_stay: impl FnOnce(&Terms) -> bool + Send + 'static,
    ) -> Option<Arc<Stored>> {
        let (disk, on_disk) = self.cache.store.find_on_disk(&self.key, head)?;
        let key = self.key.clone();
        let loading = tokio::task::spawn_blocking(move || disk.load(&key, &on_disk, may_stay));
        let stored = Arc::new(loading.await.ok()??);
        if stored.body_bytes() <= disk::SMALL {
            self.cache.store.remember(&self.key, head, &stored, self.since);
        }
        Some(stored)
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.cache.store.end(&self.key);
    }
}
