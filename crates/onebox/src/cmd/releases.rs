//! `onebox releases`: what a site could go back to.

use onebox_supervisor::api::{Release, ReleaseState};

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
    let mut table = Columns::new(&["release", "state", "made", "problem"]);
    for release in &releases {
        let state = match release.state {
            _ if release.live => "live",
            ReleaseState::Staging => "staging",
            ReleaseState::Ready => "ready",
            ReleaseState::Failed => "failed",
        };
        let made = clock::ago(release.created_ms, now_ms);
        table.row([release.id.as_str(), state, &made, release.problem.as_deref().unwrap_or("")]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}
