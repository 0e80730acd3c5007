//! Files that are served without Python.

use std::borrow::Cow;

use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response};
use crate::route::{RoutedSite, StaticMount};

/// A mount.
pub(crate) struct Mount {
    prefix: String,
}

impl Mount {
    pub(crate) fn new(mount: &StaticMount) -> Self {
        Self { prefix: mount.url.trim_end_matches('/').to_owned() }
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Static files.
#[derive(Default)]
pub(crate) struct StaticFiles;

impl StaticFiles {
    pub(crate) async fn answer(
        &self,
        _routed: &RoutedSite,
        _head: &RequestHead,
        _path: &Cow<'_, [u8]>,
        _exchange: &mut Exchange,
    ) -> Result<Option<Response>, ProxyError> {
        Ok(None)
    }
}
