//! Who asked for which change: written down before it is done, with its status after it.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::watch;

use super::auth::{Caller, Credential};
use super::{AdminError, AdminState};
use crate::api::{AuditEntry, AuditQuery};
use crate::store::Asked;

/// How many entries are told where nobody says it, and at most.
const FEW: u32 = 100;
const MOST: u32 = 1000;
/// Longer details are cut.
const LONGEST: usize = 200;

/// What a handler adds to the entry of its request; an extension of its answer. Never a secret.
#[derive(Debug, Clone)]
pub(super) struct Detail(pub(super) String);

/// An operation that goes on after its answer has begun: the status that it ends with. An extension of that answer.
#[derive(Debug, Clone)]
pub(super) struct Ending(pub(super) watch::Receiver<Option<StatusCode>>);

/// The entry of a change that is under way.
#[must_use]
pub(super) struct Entry {
    /// `None`: it could not be written.
    id: Option<i64>,
    asked: Asked,
}

/// Writes down what somebody asks for.
pub(super) async fn begin(
    state: &AdminState,
    caller: &Caller,
    action: &str,
    target: Option<String>,
) -> Entry {
    let token = match &caller.credential {
        Credential::Token { name, .. } => Some(name.clone()),
        Credential::Socket | Credential::Session { .. } => None,
    };
    let (who, client) = (caller.user.clone(), caller.client.clone());
    let (action, target) = (action.to_owned(), target.map(cut));
    write(state, Asked { who, token, client, action, target }).await
}

/// Writes down that somebody wants to log in.
pub(super) async fn begin_login(state: &AdminState, user: String, client: String) -> Entry {
    let action = "login".to_owned();
    write(state, Asked { who: cut(user), token: None, client, action, target: None }).await
}

async fn write(state: &AdminState, asked: Asked) -> Entry {
    // What can't be written down is done nevertheless: a full disk must not keep an operator from making room. The log has it.
    let id = match state.appliance.store.add_audit(&asked).await {
        Ok(id) => Some(id),
        Err(error) => {
            tracing::error!(%error, ?asked, "a change could not be written down");
            None
        }
    };
    Entry { id, asked }
}

impl Entry {
    /// Adds what came of it; where that is not known before its end, then.
    pub(super) async fn finish(self, state: &AdminState, response: &mut Response) {
        let detail = response.extensions_mut().remove::<Detail>().map(|detail| cut(detail.0));
        let Some(Ending(mut ending)) = response.extensions_mut().remove::<Ending>() else {
            return self.end(state, response.status(), detail).await;
        };
        let state = state.clone();
        tokio::spawn(async move {
            let status = ending.wait_for(Option::is_some).await.ok().and_then(|status| *status);
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            self.end(&state, status, detail).await;
        });
    }

    async fn end(self, state: &AdminState, status: StatusCode, detail: Option<String>) {
        let status = status.as_u16();
        let Asked { who, client, action, target, .. } = &self.asked;
        tracing::info!(who, client, action, target, status, "a change was asked for");
        let Some(id) = self.id else { return };
        if let Err(error) = state.appliance.store.finish_audit(id, status, detail.as_deref()).await
        {
            tracing::error!(%error, "what came of a change could not be written down");
        }
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// The audit log, the newest first
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "audit", params(AuditQuery),
    responses((status = OK, body = Vec<AuditEntry>)))]
pub(super) async fn audit(
    State(state): State<AdminState>,
    query: Result<Query<AuditQuery>, QueryRejection>,
) -> Result<Json<Vec<AuditEntry>>, AdminError> {
    let Query(AuditQuery { before_id, limit }) = query?;
    let limit = limit.unwrap_or(FEW).min(MOST);
    Ok(Json(state.appliance.store.audit(before_id.unwrap_or(i64::MAX), limit).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(cut("blog".to_owned()), "blog");
        let cut = cut("ü".repeat(LONGEST + 1));
        assert_eq!(cut.chars().count(), LONGEST + 1);
        assert!(cut.ends_with("ü…"));
    }
}
