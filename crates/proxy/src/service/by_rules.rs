//! The pipeline for a site or route with rules: what comes before it is served, and after.

use std::borrow::Cow;
use std::sync::Arc;

use onebox_config::site::{Otherwise, TryFiles, encode_path};
use onebox_metrics::ServedBy;

use super::{Asked, Head, Service, challenge, error_response};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{RequestHead, Response};
use crate::path;
use crate::request_body::RequestBody;
use crate::route::RoutedSite;
use crate::rules::{Ruled, Visit};
use crate::static_files::Tried;

impl Service {
    /// The answer of the route that has the path, with the site's pages for errors and with its headers.
    pub(super) async fn serve_by_rules(
        &self,
        site: &Arc<RoutedSite>,
        asked: Asked<'_>,
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        let (routed, caught) = site.at(asked.path);
        path::check_readings(asked.path, |other| Arc::ptr_eq(&routed, &site.at(other).0))?;
        let Some(ruled) = &routed.ruled else {
            return self.serve(&routed, asked, body, exchange).await;
        };
        let Asked { head, path, connection, .. } = asked;
        let visit = Visit { head, path, connection, caught: &caught };
        let mut response = match self.visited(&routed, ruled, (asked, &visit), body, exchange).await
        {
            Ok(response) => response,
            Err(error) => self.error_page(ruled, head, &error, exchange).await,
        };
        ruled.headers.apply(&mut response.headers);
        Ok(response)
    }

    /// Gate, request headers, rewrite, `try-files`; then the steps of every site.
    async fn visited(
        &self,
        routed: &Arc<RoutedSite>,
        ruled: &Ruled,
        (asked, visit): (Asked<'_>, &Visit<'_>),
        body: &mut RequestBody<'_>,
        exchange: &mut Exchange,
    ) -> Result<Response, ProxyError> {
        if let Some(own) = ruled.gate(visit, (&self.passwords, &self.buckets), exchange).await? {
            exchange.answered(own.status, ServedBy::Proxy);
            return Ok(own);
        }
        let mut seen = Seen { head: Cow::Borrowed(asked.head), path: Cow::Borrowed(asked.path) };
        if !ruled.request_headers.is_empty() {
            ruled.request_headers.apply_to_request(&mut seen.head.to_mut().headers);
        }
        if let Some(target) = &ruled.rewrite {
            seen.go_on_with(visit.fill(asked.path, |filling| target.to_rewritten(filling)))?;
        }
        let try_files = ruled.try_files.as_ref().filter(|_| !routed.passes_files(&seen.path));
        if let Some(try_files) = try_files {
            if let Some(file) = self.try_files(routed, try_files, (visit, &seen), exchange).await? {
                return Ok(file);
            }
            match &try_files.otherwise {
                Otherwise::Status(status) => return Err(ProxyError::Configured(*status)),
                Otherwise::Path(target) => {
                    let went_on = visit.fill(&seen.path, |filling| target.to_rewritten(filling));
                    seen.go_on_with(went_on)?;
                }
            }
        }
        let is_altered = matches!(seen.head, Cow::Owned(_));
        let head = if is_altered { Head::Altered } else { Head::AsItCame };
        let packet = asked.packet.map(|(packet, _)| (packet, head));
        let asked = Asked { head: &seen.head, path: &seen.path, packet, ..asked };
        self.serve(routed, asked, body, exchange).await
    }

    async fn try_files(
        &self,
        routed: &RoutedSite,
        try_files: &TryFiles,
        (visit, seen): (&Visit<'_>, &Seen<'_>),
        exchange: &mut Exchange,
    ) -> Result<Option<Response>, ProxyError> {
        for template in &try_files.files {
            let path = visit.fill(&seen.path, |filling| template.to_path(filling));
            let tried =
                if template.ends_with_slash() { Tried::Folder(&path) } else { Tried::File(&path) };
            let found = self.static_files.tried(routed, &seen.head, tried, exchange).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The site's own page for an error, else the plain one.
    async fn error_page(
        &self,
        ruled: &Ruled,
        head: &RequestHead,
        error: &ProxyError,
        exchange: &mut Exchange,
    ) -> Response {
        let plain = error_response(error, head, exchange);
        let Some(page) = ruled.page(error.status()) else { return plain };
        match self.static_files.page(page, error.status()).await {
            Ok(Some(mut own)) => {
                own.close = plain.close;
                own.headers.extend(plain.headers.into_iter().filter(|(name, _)| {
                    name.eq_ignore_ascii_case(b"retry-after")
                        || name.eq_ignore_ascii_case(b"cache-control")
                }));
                challenge(&mut own, error);
                own
            }
            Ok(None) => plain,
            Err(problem) => {
                tracing::warn!(error = %problem, "a page for errors can't be read");
                plain
            }
        }
    }
}

/// A request as rules have left it.
struct Seen<'a> {
    head: Cow<'a, RequestHead>,
    /// Decoded.
    path: Cow<'a, [u8]>,
}

impl Seen<'_> {
    /// Takes a new path, decoded, and a new query. The target stays what the client sent: it is what REQUEST_URI says.
    fn go_on_with(&mut self, (path, query): (Vec<u8>, Option<Vec<u8>>)) -> Result<(), ProxyError> {
        if path == *self.path && query.as_deref() == self.head.query.as_deref() {
            return Ok(());
        }
        if !path.starts_with(b"/") || path.contains(&0) {
            return Err(ProxyError::BadPath);
        }
        let head = self.head.to_mut();
        head.path = encode_path(&path).into();
        head.query = query.map(Into::into);
        self.path = Cow::Owned(path);
        Ok(())
    }
}
