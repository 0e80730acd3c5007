//! What the box says of its own accord so that clients use HTTPS: ACME's answers, redirects, HSTS.
//!
//! Source: RFC 8555 §8.3 (HTTP challenge), RFC 6797 (HSTS), RFC 9110 §15.4.9 (308).

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use onebox_metrics::ServedBy;

use crate::exchange::Exchange;
use crate::message::{
    ConnectionInfo, Entrance, RequestHead, Response, ResponseBody, Scheme, field,
};
use crate::route::{Redirect, RoutedSite, Site};
use crate::service::Service;
use crate::vars::origin_form;

/// Where ACME asks for its tokens.
const CHALLENGES: &[u8] = b"/.well-known/acme-challenge/";

/// What ACME wants to hear, whichever host it asks: only an order of this box has such a token.
pub(crate) fn token(
    service: &Service,
    head: &RequestHead,
    exchange: &mut Exchange,
) -> Option<Response> {
    let token = std::str::from_utf8(head.path.strip_prefix(CHALLENGES)?).ok()?;
    let table = service.tls.table();
    let answer = table.token(token)?;
    let body = ResponseBody::Full(Bytes::copy_from_slice(answer.as_bytes()));
    let headers = vec![(Bytes::from_static(b"Content-Type"), Bytes::from_static(b"text/plain"))];
    exchange.answered(200, ServedBy::Proxy);
    Some(Response::new(200, headers, body))
}

/// The way to HTTPS, for a request that came without it and whose site wants it.
pub(crate) fn redirect(
    service: &Service,
    site: &Site,
    head: &RequestHead,
    connection: &ConnectionInfo,
    exchange: &mut Exchange,
) -> Option<Response> {
    if connection.scheme == Scheme::Https || connection.entrance != Entrance::Public {
        return None;
    }
    let (port, host) = (service.https_port()?, head.host.as_deref()?);
    let is_wanted = match site.https.redirect {
        Redirect::Never => false,
        Redirect::Always => true,
        Redirect::Trusted => service.tls.table().is_trusted(host),
    };
    if !is_wanted {
        return None;
    }
    let port = shown_port(port, head, connection);
    let target = String::from_utf8_lossy(&origin_form(head)).into_owned();
    let target = if target.starts_with('/') { target } else { "/".to_owned() };
    let location = Bytes::from(format!("https://{host}{port}{target}"));
    let headers = vec![(Bytes::from_static(b"Location"), location)];
    exchange.answered(308, ServedBy::Proxy);
    Some(Response::new(308, headers, ResponseBody::Empty))
}

/// `:8443`, or nothing. A client that reached another port than 80 without naming it came through somebody who maps ports, and
/// so does whoever maps 80 with 443.
fn shown_port(port: u16, head: &RequestHead, connection: &ConnectionInfo) -> Cow<'static, str> {
    let reached = connection.local.map_or(Scheme::Http.default_port(), |local| local.port());
    let is_mapped = head.port.is_none() && reached != Scheme::Http.default_port();
    if is_mapped || port == Scheme::Https.default_port() {
        return Cow::Borrowed("");
    }
    Cow::Owned(format!(":{port}"))
}

/// Tells browsers to come with HTTPS only, where the site wants that; said over TLS alone (RFC 6797 §7.2).
pub(crate) fn demand_https(
    response: &mut Response,
    routed: Option<&Arc<RoutedSite>>,
    connection: &ConnectionInfo,
) {
    const NAME: &[u8] = b"Strict-Transport-Security";
    let hsts = routed.and_then(|routed| routed.site.https.hsts);
    let (Some(hsts), Scheme::Https) = (hsts, connection.scheme) else { return };
    // The site's own word is more exact.
    if field(&response.headers, NAME).is_some() {
        return;
    }
    let value = Bytes::from(format!("max-age={}", hsts.as_secs()));
    response.headers.push((Bytes::from_static(NAME), value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_port_is_named_unless_somebody_in_front_maps_it() {
        let mut connection = testing::connection();
        let shown = |port, host: &str, connection: &ConnectionInfo| {
            let mut head = testing::get("/", &[("host", host)]);
            head.port = host.split_once(':').map(|(_, port)| port.parse().unwrap());
            shown_port(port, &head, connection).into_owned()
        };
        assert_eq!(shown(443, "a.example", &connection), "");
        assert_eq!(shown(8443, "a.example", &connection), ":8443");
        connection.local = "192.0.2.1:8080".parse().ok();
        assert_eq!(shown(8443, "a.example:8080", &connection), ":8443");
        assert_eq!(shown(8443, "a.example", &connection), "");
    }
}
