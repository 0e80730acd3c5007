//! Who asks, and whether they may: a session's cookie or a token on the admin addresses, the peer's uid on the control socket.
//!
//! Source: OWASP on session management and CSRF, RFC 6750 section 2.1. The cookie is `HttpOnly; SameSite=Strict`; what changes
//! something must carry the session's token in a header too, which another origin can neither read nor send. A program's token is
//! no cookie: no page makes a browser send it.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use onebox_config::SESSION_COOKIE;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::task::AbortOnDropHandle;

use super::routes::Needs;
use super::{AdminError, AdminState, audit};
use crate::api::{Role, Scope, Session};
use crate::control::PeerUid;

/// The header that carries the CSRF token.
const CSRF_HEADER: &str = "x-csrf-token";
/// How often it is looked whether who watches a stream still may.
const WATCH: Duration = Duration::from_secs(15);

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// An admin address.
    Address,
    /// The control socket, whose peer was checked when it connected.
    Socket,
}

/// Who a request comes from; an extension of every request that got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user; `cli` over the control socket.
    pub(super) user: String,
    pub(super) role: Role,
    pub(super) scopes: Vec<Scope>,
    pub(super) credential: Credential,
    /// An address, or `uid 1000`.
    pub(super) client: String,
}

/// What a caller has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// The owner of the appliance's process, or root.
    Socket,
    /// A login of the dashboard.
    Session { token_hash: Vec<u8>, csrf_token: String },
    /// A program's token.
    Token { name: String, token_hash: Vec<u8> },
}

impl Caller {
    fn local(client: String) -> Self {
        let (role, scopes) = (Role::Admin, Scope::ALL.to_vec());
        Self { user: "cli".to_owned(), role, scopes, credential: Credential::Socket, client }
    }

    /// As the API tells it.
    pub(super) fn to_session(&self) -> Session {
        let csrf_token = match &self.credential {
            Credential::Session { csrf_token, .. } => csrf_token.clone(),
            Credential::Socket | Credential::Token { .. } => String::new(),
        };
        Session {
            user: self.user.clone(),
            role: self.role,
            scopes: self.scopes.clone(),
            csrf_token,
        }
    }

    /// Completes when the credential is worth nothing any more, or not enough to read.
    ///
    /// A task of its own looks: a stream is not polled while its client reads nothing, and must not hold the database meanwhile.
    pub(super) fn until_over(self, state: AdminState) -> impl Future<Output = ()> + Send {
        let watch = AbortOnDropHandle::new(tokio::spawn(self.watch(state, WATCH)));
        async move { watch.await.unwrap_or_default() }
    }

    async fn watch(self, state: AdminState, interval: Duration) {
        loop {
            tokio::time::sleep(interval).await;
            let now = match &self.credential {
                Credential::Socket => return std::future::pending().await,
                Credential::Session { token_hash, .. } => by_session(&state, token_hash).await,
                Credential::Token { token_hash, .. } => by_token(&state, token_hash).await,
            };
            match now {
                Ok(Some((now, _))) if now.scopes.contains(&Scope::Read) => {}
                // The database may be busy for a moment.
                Err(_) => {}
                Ok(_) => return,
            }
        }
    }
}

/// What stands before one route.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) state: AdminState,
    pub(super) door: Door,
    pub(super) needs: Needs,
    /// What the route does, as the audit log calls it.
    pub(super) action: String,
}

/// Lets a request through whose credential is good for the route, and writes down what changes something.
pub(super) async fn check(
    State(guard): State<Guard>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, AdminError> {
    if guard.needs == Needs::Nothing {
        return Ok(next.run(request).await);
    }
    let shown = Shown::by(guard.door, &request).ok_or(AdminError::Unauthorized)?;
    let caller = caller(&guard.state, shown, client(guard.door, &request)).await?;
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD);
    if let (Credential::Session { csrf_token, .. }, true) = (&caller.credential, is_change) {
        check_csrf(request.headers(), csrf_token)?;
    }
    let allowed = is_allowed(guard.needs, &caller);
    if !is_change {
        allowed?;
        request.extensions_mut().insert(caller);
        return Ok(next.run(request).await);
    }
    let target = params.iter().next().map(|(_, value)| value.to_owned());
    let entry = audit::begin(&guard.state, &caller, &guard.action, target).await;
    let mut response = match allowed {
        Ok(()) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refused) => axum::response::IntoResponse::into_response(refused),
    };
    entry.finish(&guard.state, &mut response).await;
    Ok(response)
}

/// What a request shows of who sends it, before anybody has looked whether that is worth something.
enum Shown {
    Socket,
    Token(Vec<u8>),
    Session(Vec<u8>),
}

impl Shown {
    fn by(door: Door, request: &Request) -> Option<Self> {
        let headers = request.headers();
        match door {
            Door::Socket => Some(Self::Socket),
            Door::Address => match bearer(headers) {
                Some(token) => Some(Self::Token(token_hash(token))),
                None => cookie(headers).map(|token| Self::Session(token_hash(token))),
            },
        }
    }
}

/// Where a request comes from.
fn client(door: Door, request: &Request) -> String {
    let extensions = request.extensions();
    let client = match door {
        Door::Address => extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|peer| peer.ip().to_canonical().to_string()),
        Door::Socket => extensions.get::<ConnectInfo<PeerUid>>().map(|peer| peer.0.to_string()),
    };
    client.unwrap_or_default()
}

async fn caller(state: &AdminState, shown: Shown, client: String) -> Result<Caller, AdminError> {
    let known = match shown {
        Shown::Socket => return Ok(Caller::local(client)),
        Shown::Token(hash) => by_token(state, &hash).await?,
        Shown::Session(hash) => by_session(state, &hash).await?,
    };
    let (Known { user, role, scopes }, credential) = known.ok_or(AdminError::Unauthorized)?;
    Ok(Caller { user, role, scopes, credential, client })
}

/// Whom a credential belongs to, and what it is good for.
struct Known {
    user: String,
    role: Role,
    scopes: Vec<Scope>,
}

async fn by_session(
    state: &AdminState,
    token_hash: &[u8],
) -> Result<Option<(Known, Credential)>, AdminError> {
    let session = state.appliance.store.session(token_hash).await?;
    Ok(session.map(|session| {
        let scopes = session.role.scopes().to_vec();
        let credential =
            Credential::Session { token_hash: token_hash.to_vec(), csrf_token: session.csrf_token };
        (Known { user: session.user, role: session.role, scopes }, credential)
    }))
}

async fn by_token(
    state: &AdminState,
    token_hash: &[u8],
) -> Result<Option<(Known, Credential)>, AdminError> {
    let token = state.appliance.store.token(token_hash).await?;
    Ok(token.map(|token| {
        let of_the_user = token.role.scopes();
        let scopes = token.scopes.into_iter().filter(|scope| of_the_user.contains(scope)).collect();
        let credential = Credential::Token { name: token.name, token_hash: token_hash.to_vec() };
        (Known { user: token.user, role: token.role, scopes }, credential)
    }))
}

fn is_allowed(needs: Needs, caller: &Caller) -> Result<(), AdminError> {
    match needs {
        Needs::Nothing | Needs::Login => Ok(()),
        Needs::Scope(scope) if caller.scopes.contains(&scope) => Ok(()),
        Needs::Scope(scope) => Err(AdminError::Forbidden { user: caller.user.clone(), scope }),
        Needs::Socket if caller.credential == Credential::Socket => Ok(()),
        Needs::Socket => Err(AdminError::ControlSocketOnly),
    }
}

/// What the database knows a session or token by.
pub(super) fn token_hash(token: &str) -> Vec<u8> {
    Sha256::digest(token.as_bytes()).to_vec()
}

/// The session cookie's value.
pub(super) fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(';')).find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == SESSION_COOKIE).then_some(value)
    })
}

/// The token of `Authorization: Bearer …`; the scheme's case does not matter (RFC 9110 section 11.1).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn check_csrf(headers: &HeaderMap, token: &str) -> Result<(), AdminError> {
    let given = headers.get(CSRF_HEADER).map_or(&[][..], |value| value.as_bytes());
    if given.ct_eq(token.as_bytes()).into() { Ok(()) } else { Err(AdminError::Csrf) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::routes_test::Api;

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
    fn a_token_is_found_behind_its_scheme_alone() {
        assert_eq!(bearer(&headers(&[("authorization", "Bearer abc")])), Some("abc"));
        assert_eq!(bearer(&headers(&[("authorization", "bearer abc")])), Some("abc"));
        for wrong in ["Basic abc", "abc", "Bearerabc"] {
            assert_eq!(bearer(&headers(&[("authorization", wrong)])), None, "{wrong}");
        }
    }

    #[test]
    fn a_csrf_token_is_the_sessions_or_none() {
        check_csrf(&headers(&[("x-csrf-token", "token")]), "token").unwrap();
        for sent in [headers(&[]), headers(&[("x-csrf-token", "toke")])] {
            check_csrf(&sent, "token").unwrap_err();
        }
    }

    #[tokio::test]
    async fn a_stream_ends_with_the_session_that_watches_it() {
        let api = Api::new().await;
        let store = &api.state.appliance.store;
        let day = Duration::from_secs(86_400);
        store.add_session(b"hash", "admin", "csrf", day).await.unwrap();
        let (known, credential) = by_session(&api.state, b"hash").await.unwrap().unwrap();
        let Known { user, role, scopes } = known;
        let caller = Caller { user, role, scopes, credential, client: String::new() };
        let mut watch = tokio::spawn(caller.watch(api.state.clone(), Duration::from_millis(10)));
        let still = tokio::time::timeout(Duration::from_millis(200), &mut watch).await;
        assert!(still.is_err(), "the session is good");
        store.remove_session(b"hash").await.unwrap();
        watch.await.unwrap();
    }
}
