//! Whether a request gets to its site at all: the host's other name, addresses, limits, maintenance, passwords, redirects.
//!
//! Source: RFC 7617 (basic authentication), RFC 9110 §11 (challenges), §15.4 (redirects).

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use onebox_config::site::{Caught, Filling, OwnAnswer};

use super::{Basic, Buckets, Canonical, Passwords, Ruled};
use crate::error::ProxyError;
use crate::exchange::Exchange;
use crate::message::{ConnectionInfo, Entrance, RequestHead, Response, ResponseBody};
use crate::vars;

/// RFC 4648 §4; some clients leave out the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A request in front of the gate.
pub(crate) struct Visit<'a> {
    pub(crate) head: &'a RequestHead,
    /// The path, decoded.
    pub(crate) path: &'a [u8],
    pub(crate) connection: &'a ConnectionInfo,
    /// What the route's pattern caught of the path.
    pub(crate) caught: &'a Caught,
}

impl Ruled {
    /// The answer that stands in place of the site's; `None`: the request goes on. Health checks pass what depends on who asks.
    ///
    /// # Errors
    /// [`ProxyError`] for an error page.
    pub(crate) async fn gate(
        &self,
        visit: &Visit<'_>,
        (passwords, buckets): (&Passwords, &Buckets),
        exchange: &mut Exchange,
    ) -> Result<Option<Response>, ProxyError> {
        if visit.connection.entrance == Entrance::Public {
            if let Some(canonical) = self.canonical.as_ref().filter(|names| names.differ(visit)) {
                return Ok(Some(redirect(308, canonical.location(visit))));
            }
            self.check_address(visit.connection)?;
            if !self.limits.is_empty() {
                let now = visit.head.received_at;
                exchange.hold(buckets.take(&self.limits, visit.head, visit.connection, now)?);
            }
            if self.maintenance {
                return Err(ProxyError::Maintenance);
            }
            if let Some(basic) = &self.basic {
                basic.check(visit.head, passwords).await?;
            }
        }
        match &self.answer {
            None => Ok(None),
            Some(OwnAnswer::Status(status)) => Err(ProxyError::Configured(*status)),
            Some(OwnAnswer::Redirect(target, status)) => {
                let location = visit.fill(visit.path, |filling| target.to_location(filling));
                Ok(Some(redirect(*status, location)))
            }
        }
    }

    fn check_address(&self, connection: &ConnectionInfo) -> Result<(), ProxyError> {
        let client = connection.client();
        let is_let_in =
            (self.allow.is_empty() || self.allow.contain(client)) && !self.deny.contain(client);
        if is_let_in { Ok(()) } else { Err(ProxyError::Configured(403)) }
    }
}

impl Visit<'_> {
    /// Runs `render` with what the request puts in place of placeholders, `uri` being its path now.
    pub(crate) fn fill<T>(&self, uri: &[u8], render: impl FnOnce(&Filling<'_>) -> T) -> T {
        let request_uri = vars::origin_form(self.head);
        let host = self.head.authority().unwrap_or_default();
        render(&Filling {
            path: self.path,
            uri,
            caught: self.caught,
            request_uri: &request_uri,
            query: self.head.query.as_deref(),
            host: &host,
            scheme: self.connection.scheme.as_str(),
        })
    }
}

impl Canonical {
    fn differ(&self, visit: &Visit<'_>) -> bool {
        let host = visit.head.host.as_deref();
        host.is_some_and(|host| host.trim_end_matches('.') != self.host && self.others.names(host))
    }

    fn location(&self, visit: &Visit<'_>) -> Vec<u8> {
        let mut location = format!("{}://{}", visit.connection.scheme.as_str(), self.host);
        if let Some(port) = visit.head.port {
            location.push_str(&format!(":{port}"));
        }
        [location.as_bytes(), &visit.head.path_and_query()].concat()
    }
}

impl Basic {
    async fn check(&self, head: &RequestHead, passwords: &Passwords) -> Result<(), ProxyError> {
        let refused = || ProxyError::Unauthorized { realm: self.realm.clone() };
        let (name, password) =
            head.header("authorization").and_then(credentials).ok_or_else(refused)?;
        let known = self.users.iter().find(|(user, _)| user.as_bytes() == name);
        // A name that is not known takes as long as one that is.
        let Some((_, hash)) = known.or(self.users.first()) else { return Err(refused()) };
        let is_right = passwords.is_right(&password, hash).await?;
        if is_right && known.is_some() { Ok(()) } else { Err(refused()) }
    }
}

/// The name in an `Authorization` field, as it is logged; `None`: there is none.
pub(crate) fn user_name(value: &[u8]) -> Option<Vec<u8>> {
    credentials(value).map(|(name, _)| name)
}

/// Name and password (RFC 7617 §2); `None`: something else was sent.
fn credentials(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let decoded = BASE64.decode(encoded.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    Some((decoded.get(..colon)?.to_vec(), decoded.get(colon + 1..)?.to_vec()))
}

fn redirect(status: u16, location: Vec<u8>) -> Response {
    let location = (Bytes::from_static(b"Location"), location.into());
    Response::new(status, vec![location], ResponseBody::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_a_name_and_a_password() {
        let read = |value: &str| {
            credentials(value.as_bytes()).map(|(name, password)| {
                (String::from_utf8(name).unwrap(), String::from_utf8(password).unwrap())
            })
        };
        let aladdin = Some(("Aladdin".to_owned(), "open sesame".to_owned()));
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), aladdin);
        assert_eq!(read("bAsIc  QWxhZGRpbjpvcGVuIHNlc2FtZQ"), aladdin);
        assert_eq!(read("Basic YTpiOmM="), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(read("Basic Og=="), Some((String::new(), String::new())));
        for none in ["", "Basic", "Bearer YTpi", "Basic YWI=", "Basic Y!pi", "Basic =="] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
