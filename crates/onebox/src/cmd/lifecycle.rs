//! `onebox restart`, `stop`, `start`, `rollback` and `shutdown`: one request each.

use http::Method;
use onebox_supervisor::api::Rollback;
use serde::de::IgnoredAny;

use crate::cli::RollbackArgs;
use crate::client::{Client, segment};
use crate::cmd::operation::{self, Show};
use crate::print::style;
use crate::report::Failure;

/// Loads the live release anew.
pub(crate) async fn restart(client: &Client, site: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}/restart", segment(site));
    let lines = client.lines(Method::POST, &path, None::<&()>).await?;
    operation::follow(lines, &format!("the restart of {site}"), Show::Steps).await?;
    done(&format!("restarted {site}"));
    Ok(())
}

/// Goes back to an earlier release.
pub(crate) async fn rollback(client: &Client, arguments: RollbackArgs) -> Result<(), Failure> {
    let site = arguments.site;
    let path = format!("/api/v1/sites/{}/rollback", segment(&site));
    let body = Rollback { release: arguments.release };
    let lines = client.lines(Method::POST, &path, Some(&body)).await?;
    let outcome = operation::follow(lines, &format!("the rollback of {site}"), Show::Steps).await?;
    done(&format!("{site} is back at {}", outcome.release));
    Ok(())
}

/// Takes a site off line.
pub(crate) async fn stop(client: &Client, site: &str) -> Result<(), Failure> {
    client
        .call::<IgnoredAny>(
            Method::POST,
            &format!("/api/v1/sites/{}/stop", segment(site)),
            None::<&()>,
        )
        .await?;
    done(&format!("stopped {site}"));
    Ok(())
}

/// Puts it back on line.
pub(crate) async fn start(client: &Client, site: &str) -> Result<(), Failure> {
    client
        .call::<IgnoredAny>(
            Method::POST,
            &format!("/api/v1/sites/{}/start", segment(site)),
            None::<&()>,
        )
        .await?;
    done(&format!("started {site}"));
    Ok(())
}

/// Ends the appliance; requests in flight are finished first.
pub(crate) async fn shutdown(client: &Client) -> Result<(), Failure> {
    client.call::<IgnoredAny>(Method::POST, "/api/v1/shutdown", None::<&()>).await?;
    done("the appliance is shutting down");
    Ok(())
}

fn done(text: &str) {
    anstream::println!("{} {text}", style::good("✓"));
}
