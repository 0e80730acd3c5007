//! Curves over time: a site's and the box's.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};

use super::{AdminError, AdminState};
use crate::api::{BoxSeries, Mode, RouteReport, RoutesQuery, SeriesQuery, SiteSeries};
use crate::clock::now_ms;
use crate::history::resolution::Wanted;
use crate::store::metrics::Whose;

/// How long a span is where nobody says it.
const HOUR_MS: i64 = 3_600_000;

/// What the machine did, over time
#[utoipa::path(get, path = "/api/v1/series", operation_id = "box-series",
    params(SeriesQuery), responses((status = OK, body = BoxSeries)))]
pub(super) async fn box_series(
    State(state): State<AdminState>,
    query: Result<Query<SeriesQuery>, QueryRejection>,
) -> Result<Json<BoxSeries>, AdminError> {
    Ok(Json(state.appliance.history.the_box(wanted(query?.0)?).await?))
}

/// What a site did, over time
#[utoipa::path(get, path = "/api/v1/sites/{site}/series", operation_id = "site-series",
    params(SeriesQuery), responses((status = OK, body = SiteSeries)))]
pub(super) async fn site_series(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    query: Result<Query<SeriesQuery>, QueryRejection>,
) -> Result<Json<SiteSeries>, AdminError> {
    let wanted = wanted(query?.0)?;
    let status = state.appliance.site_status(&site).await?;
    let processes = match status.mode {
        Mode::Isolated => Whose::Workers(&site),
        Mode::Embedded | Mode::Static | Mode::Proxied => Whose::Engines,
    };
    Ok(Json(state.appliance.history.site(&site, processes, wanted).await?))
}

/// Where the time of a site went, by route
///
/// What took most of it first. Minutes of the last three hours, whole hours of the last three days, whole days before.
#[utoipa::path(get, path = "/api/v1/sites/{site}/routes", operation_id = "site-routes",
    params(RoutesQuery), responses((status = OK, body = RouteReport)))]
pub(super) async fn site_routes(
    State(state): State<AdminState>,
    Path(site): Path<String>,
    query: Result<Query<RoutesQuery>, QueryRejection>,
) -> Result<Json<RouteReport>, AdminError> {
    let RoutesQuery { from_ms, to_ms, span_ms } = query?.0;
    let wanted = wanted(SeriesQuery { from_ms, to_ms, span_ms, step_ms: None })?;
    state.appliance.site_status(&site).await?;
    Ok(Json(state.appliance.history.routes(&site, wanted).await?))
}

fn wanted(query: SeriesQuery) -> Result<Wanted, AdminError> {
    let SeriesQuery { from_ms, to_ms, span_ms, step_ms } = query;
    let to_ms = to_ms.unwrap_or_else(now_ms);
    let from_ms = match (from_ms, span_ms) {
        (Some(_), Some(_)) => {
            return Err(AdminError::Malformed("give either from_ms or span_ms".to_owned()));
        }
        (Some(from_ms), None) => from_ms,
        (None, span_ms) => to_ms.saturating_sub(span_ms.unwrap_or(HOUR_MS)),
    };
    Ok(Wanted { from_ms, to_ms, step_ms })
}
