//! Whether a request that changes something was meant for the dashboard: by the name that it was sent to, and by the page that sent it.
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

use super::{AdminError, AdminState};

/// Lets requests through that change nothing, and others that were meant for the dashboard.
pub(super) async fn check(
    State(state): State<AdminState>,
    request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let settings = state.appliance.settings();
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        let own = OwnNames { machine: &machine, given: &settings.config.admin_hosts };
        own.check(request.uri(), request.headers()).map_err(AdminError::Foreign)?;
    }
    Ok(next.run(request).await)
}

/// The names of the dashboard, beside addresses and `localhost`, which nobody can point elsewhere.
struct OwnNames<'a> {
    machine: &'a str,
    /// `listen.admin-hosts`
    given: &'a [String],
}

impl OwnNames<'_> {
    /// # Errors
    /// With the name that is none of them.
    fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        let sent_to = match uri.authority() {
            Some(authority) => Some(authority.to_string()),
            None => text(headers, header::HOST)?,
        };
        if let Some(sent_to) = &sent_to
            && !host(sent_to).is_some_and(|host| self.has(&host))
        {
            return Err(format!("\"{sent_to}\""));
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
            || host.ends_with(".localhost")
            || host.eq_ignore_ascii_case(self.machine)
            || self.given.iter().any(|given| given == host)
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
        OwnNames { machine: "Box7", given: &given }.check(&Uri::from_static("/"), &headers)
    }

    #[test]
    fn the_dashboards_own_names_and_pages_are_let_in() {
        for host in [
            "127.0.0.1:8081",
            "[::1]:8081",
            "192.0.2.7",
            "localhost:8081",
            "LOCALHOST",
            "x.localhost",
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
        let own = OwnNames { machine: "box", given: &[] };
        own.check(&Uri::from_static("/"), &headers).unwrap_err();
        own.check(&Uri::from_static("/"), &HeaderMap::new()).unwrap();
    }
}
