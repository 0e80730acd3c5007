//! `onebox releases`: what a site could go back to, and how each release did.

use onebox_supervisor::api::{Release, ReleaseState, TrafficFigures};

use crate::cli::SiteJsonArgs;
use crate::client::{Client, segment};
use crate::print::{self, clock, table::Columns};
use crate::report::Failure;

/// Lists them, the newest first.
pub(crate) async fn releases(client: &Client, arguments: SiteJsonArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}/releases", segment(&arguments.site));
    let releases: Vec<Release> = client.get(&path).await?;
    if arguments.json {
        return print::json(&releases);
    }
    let now_ms = clock::now_ms();
    let mut table =
        Columns::new(&["release", "state", "made", "requests", "errors", "p95", "problem"]);
    for release in &releases {
        let state = match release.state {
            _ if release.live => "live",
            ReleaseState::Staging => "staging",
            ReleaseState::Ready => "ready",
            ReleaseState::Failed => "failed",
        };
        let made = clock::ago(release.created_ms, now_ms);
        let [requests, errors, p95] = release.traffic.map(figures).unwrap_or_default();
        let problem = release.problem.as_deref().unwrap_or("");
        table.row([release.id.as_str(), state, &made, &requests, &errors, &p95, problem]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}

/// How many requests it answered, how many of them failed, and how long 95 of 100 took at most.
fn figures(traffic: TrafficFigures) -> [String; 3] {
    let TrafficFigures { requests, errors, p95_ms, .. } = traffic;
    [requests.to_string(), errors.to_string(), format!("{p95_ms:.1} ms")]
}
