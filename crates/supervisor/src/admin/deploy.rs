//! The long operations: their answer is a stream of events, a JSON object on a line each.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Extension, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::audit::{Detail, Ending};
use super::{AdminError, AdminState};
use crate::api::{DeployEvent, DeployQuery, Rollback};
use crate::appliance::OperationError;
use crate::deploy::events::EventSink;

/// Events that the client may be behind before lines of output are left out.
const EVENTS: usize = 1024;

/// Put a folder on line, or a new release of it
///
/// The body is a tar archive of the folder. The answer is an event a line, as things happen; the last one is `done` or `failed`.
#[utoipa::path(post, path = "/api/v1/deploy", operation_id = "deploy",
    params(DeployQuery), request_body(content = Vec<u8>, content_type = "application/x-tar"),
    responses((status = OK, body = DeployEvent, content_type = "application/x-ndjson")))]
pub(super) async fn deploy(
    State(state): State<AdminState>,
    query: Result<Query<DeployQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, AdminError> {
    let Query(query) = query?;
    let name = query.name.as_ref().or(query.default_name.as_ref()).cloned().unwrap_or_default();
    let archive = body.into_data_stream();
    let appliance = state.appliance;
    let answer =
        stream(move |events| async move { appliance.deploy(query, archive, &events).await });
    Ok((Extension(Detail(name)), answer).into_response())
}

/// Load a site's live release anew
#[utoipa::path(post, path = "/api/v1/sites/{site}/restart", operation_id = "restart",
    responses((status = OK, body = DeployEvent, content_type = "application/x-ndjson")))]
pub(super) async fn restart(
    State(state): State<AdminState>,
    Path(site): Path<String>,
) -> Result<Response, AdminError> {
    state.appliance.site_status(&site).await?;
    let appliance = state.appliance;
    Ok(stream(move |events| async move { appliance.restart(&site, &events).await }))
}

/// Go back to an earlier release
#[utoipa::path(post, path = "/api/v1/sites/{site}/rollback", operation_id = "rollback",
    request_body = Rollback,
    responses((status = OK, body = DeployEvent, content_type = "application/x-ndjson")))]
pub(super) async fn rollback(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<Rollback>, JsonRejection>,
) -> Result<Response, AdminError> {
    let Json(rollback) = body?;
    state.appliance.site_status(&site).await?;
    let appliance = state.appliance;
    let wanted = rollback.release;
    let detail = Extension(Detail(wanted.clone().unwrap_or_default()));
    let answer = stream(move |events| async move {
        appliance.rollback(&site, wanted.as_deref(), &events).await
    });
    Ok((detail, answer).into_response())
}

/// Runs an operation to its end, whether or not the client stays, and answers with what it tells.
pub(super) fn stream<F>(operation: impl FnOnce(EventSink) -> F) -> Response
where
    F: Future<Output = Result<DeployEvent, OperationError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(EVENTS);
    let (ended, ending) = watch::channel(None);
    let outcome = operation(EventSink::new(sender.clone()));
    tokio::spawn(async move {
        let (last, status) = match outcome.await {
            Ok(done) => (done, StatusCode::OK),
            Err(error) => (error.to_event(), AdminError::from(error).status()),
        };
        ended.send_replace(Some(status));
        // The one event that must not be left out; a client that is gone does not need it.
        sender.send(last).await.ok();
    });
    let lines = ReceiverStream::new(receiver).map(|event| {
        serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            line
        })
    });
    let lines = Body::from_stream(lines);
    (Extension(Ending(ending)), [(header::CONTENT_TYPE, "application/x-ndjson")], lines)
        .into_response()
}
