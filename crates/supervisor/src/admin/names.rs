//! Whether a request was meant for the dashboard: by the name that it was sent to, and by the page that sent it.
//!
//! Cookies know no ports: under a name that a site has, the site would get the dashboard's. So no name of a site is one of the
//! dashboard's, unless the box says so because that site leads there.
//!
//! A page of somebody else whose name is made to point at this machine (DNS rebinding) sends its own name as `Host`; a form on
//! another page sends that page's as `Origin`.
//!
//! Source: RFC 9110 section 7.2, RFC 6454 section 7, the Fetch standard on `Origin`.

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, Method, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::auth::bearer;
use super::{AdminError, AdminState};

/// Lets requests through that were meant for the dashboard, and what shows a token: no page makes a browser do that.
pub(super) async fn check(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if bearer(request.headers()).is_none() {
        let settings = state.appliance.settings();
        let machine = rustix::system::uname();
        let own = OwnNames {
            machine: &machine.nodename().to_string_lossy(),
            given: &settings.config.admin_hosts,
            is_a_sites: |host: &str| state.appliance.has_site_named(host),
        };
        own.check(request.method(), request.uri(), request.headers())
            .map_err(AdminError::Foreign)?;
    }
    Ok(next.run(request).await)
}

/// The names of the dashboard, beside addresses and `localhost`, which nobody can point elsewhere: `NAME.localhost` is a site's.
struct OwnNames<'a, F> {
    machine: &'a str,
    /// `listen.admin-hosts`
    given: &'a [String],
    /// Whether a site answers to a host by name; asked only about the machine's.
    is_a_sites: F,
}

impl<F: Fn(&str) -> bool> OwnNames<'_, F> {
    /// # Errors
    /// With the name that is none of them.
    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let sent_to = match uri.authority() {
            Some(authority) => Some(authority.to_string()),
            None => text(headers, header::HOST)?,
        };
        if let Some(sent_to) = &sent_to
            && !host(sent_to).is_some_and(|host| self.has(&host))
        {
            return Err(format!("\"{sent_to}\""));
        }
        if matches!(*method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        let Some(sender) = text(headers, header::ORIGIN)? else { return Ok(()) };
        let page = sender.split_once("://").map(|(_, authority)| authority);
        let is_same = page.is_some()
            && page.map(str::to_ascii_lowercase) == sent_to.map(|to| to.to_ascii_lowercase());
        // Behind a web server the request has another name than the page.
        let is_given = page.and_then(host).is_some_and(|host| self.given.contains(&host));
        if is_same || is_given { Ok(()) } else { Err(format!("\"{sender}\"")) }
    }

    fn has(&self, host: &str) -> bool {
        let address =
            host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        address.parse::<std::net::IpAddr>().is_ok()
            || host == "localhost"
            || self.given.iter().any(|given| given == host)
            || host.eq_ignore_ascii_case(self.machine) && !(self.is_a_sites)(host)
    }
}

/// A field that is there once; `None`: not at all.
fn text(headers: &HeaderMap, name: HeaderName) -> Result<Option<String>, String> {
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text.to_owned())),
        _ => Err(format!("what stands in {name}")),
    }
}

/// Without its port, in lower case.
fn host(authority: &str) -> Option<String> {
    let authority: Authority = authority.parse().ok()?;
    let host = authority.host().strip_suffix('.').unwrap_or(authority.host());
    (!authority.as_str().contains('@')).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, origin: Option<&str>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let given = ["admin.example.com".to_owned()];
        let own = OwnNames { machine: "Box7", given: &given, is_a_sites: |_: &str| false };
        own.check(&Method::POST, &Uri::from_static("/"), &headers)
    }

    #[test]
    fn the_dashboards_own_names_and_pages_are_let_in() {
        for host in [
            "127.0.0.1:8081",
            "[::1]:8081",
            "192.0.2.7",
            "localhost:8081",
            "LOCALHOST",
            "box7:8081",
            "admin.example.com",
            "Admin.Example.Com.:443",
        ] {
            check(host, None).unwrap();
            check(host, Some(&format!("http://{host}"))).unwrap();
        }
        // A web server in front sends the request to the address.
        check("127.0.0.1:8081", Some("https://admin.example.com")).unwrap();
    }

    #[test]
    fn a_name_that_was_pointed_here_and_a_page_of_somebody_else_are_not() {
        for host in [
            "evil.example",
            "evil.example:8081",
            "blog.localhost:8081",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "box7.evil.example",
            "me@localhost",
            "",
        ] {
            check(host, None).unwrap_err();
            check(host, Some(&format!("http://{host}"))).unwrap_err();
        }
        for origin in
            ["http://evil.example", "null", "", "http://localhost:3000", "http://localhost"]
        {
            check("localhost:8081", Some(origin)).unwrap_err();
        }
    }

    #[test]
    fn two_hosts_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, "localhost".parse().unwrap());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        let own = OwnNames { machine: "box", given: &[], is_a_sites: |_: &str| false };
        own.check(&Method::GET, &Uri::from_static("/"), &headers).unwrap_err();
        own.check(&Method::GET, &Uri::from_static("/"), &HeaderMap::new()).unwrap();
    }

    #[test]
    fn the_machines_own_name_is_a_sites_where_one_has_it() {
        let headers = HeaderMap::from_iter([(header::HOST, "box7.example.com".parse().unwrap())]);
        let check = |given: &[String]| {
            let is_a_sites = |host: &str| host == "box7.example.com";
            let own = OwnNames { machine: "box7.example.com", given, is_a_sites };
            own.check(&Method::GET, &Uri::from_static("/"), &headers)
        };
        check(&[]).unwrap_err();
        // Where that site leads to the dashboard.
        check(&["box7.example.com".to_owned()]).unwrap();
    }
}
