//! What the configuration says about a request besides who serves it, in the form in which requests need it.
//!
//! Compiled once for each site and route; a site that says nothing has none of it ([`crate::route::RoutedSite::ruled`]).
//! `guard` is the box's, over all sites; `gate` answers in place of the site, `limits` says who asks too much, `headers` alters what passes, `passwords` checks
//! credentials.

mod gate;
mod guard;
mod headers;
mod limits;
mod networks;
mod passwords;

use std::ops::RangeInclusive;
use std::path::Path;

use onebox_config::Hosts;
use onebox_config::site::{Auth, LimitKey, OwnAnswer, Route, Rules, Target, TryFiles};

use self::limits::Limited;
use self::networks::Networks;
use crate::route::Site;
use crate::static_files::Page;

pub(crate) use gate::{Visit, user_name};
pub use guard::Guard;
pub(crate) use headers::HeaderPatch;
pub(crate) use limits::{Buckets, Permit};
pub(crate) use passwords::Passwords;

/// What is to be done to the requests of a site or of one of its routes.
pub(crate) struct Ruled {
    /// Everybody gets 503.
    maintenance: bool,
    maintenance_page: Option<Page>,
    canonical: Option<Canonical>,
    allow: Networks,
    deny: Networks,
    limits: Vec<Limited>,
    basic: Option<Basic>,
    answer: Option<OwnAnswer>,
    pub(crate) rewrite: Option<Target>,
    pub(crate) try_files: Option<TryFiles>,
    pub(crate) request_headers: HeaderPatch,
    pub(crate) headers: HeaderPatch,
    errors: Vec<(RangeInclusive<u16>, Page)>,
}

/// The host that requests for the others are sent to.
struct Canonical {
    host: String,
    others: Hosts<()>,
}

/// Names and hashed passwords.
struct Basic {
    realm: String,
    users: Vec<(String, String)>,
}

impl Ruled {
    /// What holds where no route does; `None`: nothing.
    pub(crate) fn of_site(site: &Site) -> Option<Self> {
        let routing = &site.routing;
        let is_silent = routing.rules == Rules::default()
            && !routing.maintenance
            && routing.canonical_host.is_none();
        (!is_silent).then(|| Self::new(site, &routing.rules, None))
    }

    /// What holds on a route, whose `rules` are completed with the site's; `None`: nothing.
    pub(crate) fn of_route(site: &Site, route: &Route, rules: &Rules) -> Option<Self> {
        let routing = &site.routing;
        let is_silent = *rules == Rules::default()
            && route.answer.is_none()
            && route.rewrite.is_none()
            && !routing.maintenance
            && routing.canonical_host.is_none();
        (!is_silent).then(|| Self::new(site, rules, Some(route)))
    }

    fn new(site: &Site, rules: &Rules, route: Option<&Route>) -> Self {
        let Site { name, routing, domains, .. } = site;
        let canonical = routing.canonical_host.as_ref().map(|host| {
            let mut others = Hosts::default();
            // NAME.localhost is for whoever sits at this machine.
            let is_other = |domain: &&String| *domain != host && !domain.ends_with(".localhost");
            for domain in domains.iter().filter(is_other) {
                others.insert(domain, ());
            }
            Canonical { host: host.clone(), others }
        });
        let basic = match &rules.auth {
            Some(Auth::Basic { realm, users }) => {
                Some(Basic { realm: realm.clone(), users: users.clone() })
            }
            Some(Auth::Open) | None => None,
        };
        // Those of the site are the same ones on all routes, unless they count by them.
        let limits = rules.limits.iter().flatten().enumerate().map(|(number, limit)| {
            let is_routes = |route: &&Route| {
                route.rules.limits.is_some() || matches!(limit.by, LimitKey::Route)
            };
            let owner = route.filter(is_routes).map(|route| route.pattern.to_string());
            Limited::new(limit, (name, owner.as_deref(), number))
        });
        let page = |path: &Path| Page::new(path);
        let errors = rules.errors.iter();
        Self {
            maintenance: routing.maintenance,
            maintenance_page: routing.maintenance_page.as_deref().and_then(page),
            canonical,
            allow: Networks::new(rules.allow.as_deref().unwrap_or_default()),
            deny: Networks::new(rules.deny.as_deref().unwrap_or_default()),
            limits: limits.collect(),
            basic,
            answer: route.and_then(|route| route.answer.clone()),
            rewrite: route.and_then(|route| route.rewrite.clone()),
            try_files: rules.try_files.clone(),
            request_headers: HeaderPatch::of_requests(&rules.request_headers),
            headers: HeaderPatch::of_answers(&rules.headers),
            errors: errors
                .filter_map(|error| Some((error.statuses.clone(), page(&error.page)?)))
                .collect(),
        }
    }

    /// The page for an error of ours: of those that name its status, the one that names the fewest.
    pub(crate) fn page(&self, status: u16) -> Option<&Page> {
        let named = self.errors.iter().filter(|(statuses, _)| statuses.contains(&status));
        let page = named.min_by_key(|(statuses, _)| statuses.end() - statuses.start());
        let own = self.maintenance_page.as_ref().filter(|_| self.maintenance && status == 503);
        own.or(page.map(|(_, page)| page))
    }
}

#[cfg(test)]
mod tests {
    use onebox_config::site::{ErrorPage, Routing};

    use super::*;
    use crate::testing;

    #[test]
    fn the_page_that_names_the_fewest_statuses_is_shown() {
        let page = |statuses, page: &str| ErrorPage { statuses, page: page.into() };
        let rules = Rules {
            errors: vec![page(400..=499, "/srv/4.html"), page(404..=404, "/srv/404.html")],
            ..Rules::default()
        };
        let routing = Routing { rules, ..Routing::default() }.into();
        let ruled = Ruled::of_site(&Site { routing, ..testing::site("blog") }).unwrap();
        let is = |status, index: usize| {
            ruled
                .page(status)
                .is_some_and(|page| std::ptr::eq(page, &raw const ruled.errors[index].1))
        };
        assert!(is(404, 1) && is(403, 0));
        assert!(ruled.page(500).is_none());
    }
}
