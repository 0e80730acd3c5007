//! `onebox restart`, `stop`, `start`, `maintenance`, `purge`, `rollback` and `shutdown`: one request each.

use std::os::fd::OwnedFd;

use http::Method;
use onebox_supervisor::api::{ApplianceStatus, Purge, Purged, Rollback};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::de::IgnoredAny;

use crate::cli::{MaintenanceArgs, PurgeArgs, RollbackArgs, Switch};
use crate::client::{Client, segment};
use crate::cmd::operation::{self, Show};
use crate::print::{self, done};
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

/// Gives everybody the maintenance page, or the site again.
pub(crate) async fn maintenance(
    client: &Client,
    arguments: MaintenanceArgs,
) -> Result<(), Failure> {
    let site = arguments.site;
    let (method, text) = match arguments.switch {
        Switch::On => (Method::POST, format!("{site} is in maintenance")),
        Switch::Off => (Method::DELETE, format!("the maintenance of {site} has ended")),
    };
    let path = format!("/api/v1/sites/{}/maintenance", segment(&site));
    client.call::<IgnoredAny>(method, &path, None::<&()>).await?;
    done(&text);
    Ok(())
}

/// Takes stored answers out of a site's cache.
pub(crate) async fn purge(client: &Client, arguments: PurgeArgs) -> Result<(), Failure> {
    let PurgeArgs { site, url, prefix, tag, json } = arguments;
    let what = match (url, prefix, tag) {
        (Some(url), ..) => Purge::Url(url),
        (None, Some(prefix), _) => Purge::Prefix(prefix),
        (None, None, Some(tag)) => Purge::Tag(tag),
        (None, None, None) => Purge::All,
    };
    let path = format!("/api/v1/sites/{}/purge", segment(&site));
    let purged: Purged = client.call(Method::POST, &path, Some(&what)).await?;
    if json {
        return print::json(&purged);
    }
    let answers = purged.answers;
    done(&format!(
        "{answers} stored {} of {site} taken out",
        if answers == 1 { "answer" } else { "answers" }
    ));
    Ok(())
}

/// Ends the appliance and waits for its end; requests in flight are finished first.
pub(crate) async fn shutdown(client: &Client) -> Result<(), Failure> {
    let status: ApplianceStatus = client.get("/api/v1/status").await?;
    // Opened before it ends, so that it cannot be another process that got the number; `None` where it is in another container.
    let process = i32::try_from(status.pid).ok().and_then(Pid::from_raw);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    client.call::<IgnoredAny>(Method::POST, "/api/v1/shutdown", None::<&()>).await?;
    if let Some(process) = process {
        let waiting = tokio::task::spawn_blocking(move || wait_for_end(&process));
        waiting.await.map_err(std::io::Error::other).map_err(Failure::Runtime)?;
    }
    done("the appliance has ended");
    Ok(())
}

/// A process's descriptor is readable once it has ended.
fn wait_for_end(process: &OwnedFd) {
    retry_on_intr(|| poll(&mut [PollFd::new(process, PollFlags::IN)], None)).ok();
}
