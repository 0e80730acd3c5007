//! Who asks: a session's cookie on the admin addresses, the peer's uid on the control socket.
//!
//! Source: OWASP on session management and CSRF. The cookie is `HttpOnly; SameSite=Strict`; what changes something must carry the
//! session's token in a header too, which another origin can neither read nor send.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{AdminError, AdminState};
use crate::store::SessionRow;

/// The session cookie's name.
pub(super) const COOKIE: &str = "onebox_session";
/// The header that carries the CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";

/// Who a request comes from; an extension of every request that got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operator {
    /// The owner of the appliance's process, or root, over the control socket.
    Local,
    /// A user of the dashboard.
    User(SessionRow),
}

/// Lets requests with a session through, and with its CSRF token those that change something.
pub(super) async fn by_session(
    State(state): State<AdminState>,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    let token = cookie(request.headers()).ok_or(AdminError::Unauthorized)?;
    let session = state.appliance.store.session(&token_hash(token)).await?;
    let session = session.ok_or(AdminError::Unauthorized)?;
    check_csrf(request.method(), request.headers(), &session.csrf_token)?;
    request.extensions_mut().insert(Operator::User(session));
    Ok(next.run(request).await)
}

/// Marks requests over the control socket, whose peer was checked when it connected.
pub(super) async fn by_socket(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Operator::Local);
    next.run(request).await
}

/// What the database knows a session by.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// The session cookie's value.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE).then_some(value)
    })
}

fn check_csrf(method: &Method, headers: &HeaderMap, token: &str) -> Result<(), AdminError> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let given = headers.get(CSRF_HEADER).map_or(&[][..], |value| value.as_bytes());
    if given.ct_eq(token.as_bytes()).into() { Ok(()) } else { Err(AdminError::Csrf) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let sent = headers(&[("cookie", "a=b; onebox_session=secret; c=d")]);
        assert_eq!(cookie(&sent), Some("secret"));
        assert_eq!(cookie(&headers(&[("cookie", "xonebox_session=no")])), None);
    }

    #[test]
    fn only_reading_needs_no_token() {
        check_csrf(&Method::GET, &HeaderMap::new(), "token").unwrap();
        check_csrf(&Method::POST, &headers(&[("x-csrf-token", "token")]), "token").unwrap();
        for sent in [headers(&[]), headers(&[("x-csrf-token", "toke")])] {
            for method in [Method::POST, Method::PUT, Method::DELETE] {
                check_csrf(&method, &sent, "token").unwrap_err();
            }
        }
    }
}
