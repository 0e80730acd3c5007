//! A request to the source whose answer may be stored.

use std::sync::Arc;

use super::store::Epoch;
use super::{Cache, Key, Stored};
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

impl Drop for Fetching {
    fn drop(&mut self) {
        self.cache.store.end(&self.key);
    }
}
