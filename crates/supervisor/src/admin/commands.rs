//! Commands that are run beside a site: whoever asks runs them.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};

use super::audit::Detail;
use super::{AdminError, AdminState};
use crate::api::{CommandPlace, CommandQuery};

/// What a command for a site is run with, secrets too
#[utoipa::path(post, path = "/api/v1/sites/{site}/command", operation_id = "run-command",
    request_body = CommandQuery, responses((status = OK, body = CommandPlace)))]
pub(super) async fn command(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    body: Result<Json<CommandQuery>, JsonRejection>,
) -> Result<(Extension<Detail>, Json<CommandPlace>), AdminError> {
    let Json(CommandQuery { program }) = body?;
    let place = state.appliance.command_place(&site).await?;
    Ok((Extension(Detail(program)), Json(place)))
}
