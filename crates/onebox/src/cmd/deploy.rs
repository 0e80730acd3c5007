//! `onebox deploy`: check the folder, send it, show what happens; start an appliance first where none runs.

use std::path::{Path, PathBuf};

use onebox_config::BoxConfig;
use onebox_supervisor::api::{ApplianceStatus, DeployEvent, DeployQuery};
use onebox_supervisor::ready::Ready;

use crate::archive::Archive;
use crate::background;
use crate::cli::DeployArgs;
use crate::client::{ChannelBody, Client, ClientError, segment};
use crate::cmd::operation::{self, Outcome, Show};
use crate::print::{self, clock, status::with_scheme, style};
use crate::report::Failure;

/// Puts the folder on line and prints its addresses.
pub(crate) async fn deploy(
    client: &Client,
    config: &BoxConfig,
    arguments: DeployArgs,
) -> Result<(), Failure> {
    let show = Show::from_flag(arguments.json);
    let result = attempt(client, config, &arguments, show).await;
    if let (Err(failure), Show::Json) = (&result, show) {
        report_early_failure(failure)?;
    }
    result
}

async fn attempt(
    client: &Client,
    config: &BoxConfig,
    arguments: &DeployArgs,
    show: Show,
) -> Result<(), Failure> {
    let root = folder(&arguments.path)?;
    onebox_config::load_site(&arguments.path, arguments.config.as_deref())
        .map_err(|error| Failure::config(configuration_name(arguments), error))?;
    let started = ensure_running(client, config).await?;
    if let Some(ready) = &started {
        say_started(ready, show);
    }
    let query = DeployQuery {
        name: arguments.name.clone(),
        default_name: root.file_name().map(|name| name.to_string_lossy().into_owned()),
        domains: Some(arguments.domains.join(",")).filter(|domains| !domains.is_empty()),
    };
    let archive = Archive { root, config: arguments.config.clone() };
    let lines = client
        .upload(&deploy_path(&query), ChannelBody(archive.stream()))
        .await
        .map_err(explain_upload)?;
    let outcome = operation::follow(lines, "the deploy", show).await?;
    if show == Show::Steps {
        say_done(client, &outcome).await?;
    }
    Ok(())
}

/// The real path of the site's folder.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, Failure> {
    let root = path.canonicalize().map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Failure::NotAFolder(path.to_owned()),
        _ => Failure::File { path: path.to_owned(), source },
    })?;
    if root.is_dir() { Ok(root) } else { Err(Failure::NotAFolder(path.to_owned())) }
}

fn configuration_name(arguments: &DeployArgs) -> String {
    let file = arguments.config.clone().unwrap_or_else(|| arguments.path.join("onebox.toml"));
    file.display().to_string()
}

/// Starts an appliance unless one answers; what it said of itself, if it was started.
async fn ensure_running(client: &Client, config: &BoxConfig) -> Result<Option<Ready>, Failure> {
    let running = async || client.get::<ApplianceStatus>("/api/v1/status").await;
    match running().await {
        Ok(_) => return Ok(None),
        Err(ClientError::NotRunning { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    match background::start(config).await {
        // Another deploy may have been faster: then its appliance has the state directory, and answers.
        Err(failure @ Failure::Start { .. }) => running().await.map(|_| None).map_err(|_| failure),
        started => started.map(Some),
    }
}

fn deploy_path(query: &DeployQuery) -> String {
    let fields =
        [("name", &query.name), ("default_name", &query.default_name), ("domains", &query.domains)];
    let given = fields
        .iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", segment(value.as_deref()?))));
    format!("/api/v1/deploy?{}", given.collect::<Vec<_>>().join("&"))
}

/// A body that broke off because of the folder is told as that, not as a broken connection.
fn explain_upload(error: ClientError) -> Failure {
    let ClientError::Broken(broken) = &error else {
        return error.into();
    };
    let mut cause = std::error::Error::source(broken);
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>()
            && io.get_ref().is_some()
        {
            return Failure::Archive(std::io::Error::new(io.kind(), io.to_string()));
        }
        cause = inner.source();
    }
    error.into()
}

/// The appliance that was just started; its password is shown this once, in JSON mode beside the events.
fn say_started(ready: &Ready, show: Show) {
    let dashboard = with_scheme(&ready.admin);
    let mut text = format!(
        "{} started an appliance in the background; dashboard {}",
        style::good("✓"),
        style::address(dashboard)
    );
    if let Some(password) = &ready.first_password {
        text.push_str(&format!(
            "\n  log in as {} with the password {}  {}",
            style::strong("admin"),
            style::strong(password),
            style::faint("(shown only this once)")
        ));
    }
    match show {
        Show::Steps => anstream::println!("{text}"),
        Show::Json => anstream::eprintln!("{text}"),
    }
}

async fn say_done(client: &Client, outcome: &Outcome) -> Result<(), Failure> {
    let took = clock::span(std::time::Duration::from_millis(outcome.total_ms));
    let took = style::faint(format!("({took})"));
    anstream::println!("\n{} is live as {} {took}", style::strong(&outcome.site), outcome.release);
    for url in &outcome.urls {
        anstream::println!("  {}", style::address(url));
    }
    let status: ApplianceStatus = client.get("/api/v1/status").await?;
    anstream::println!(
        "  {} {}",
        style::faint("dashboard"),
        style::address(with_scheme(&status.admin))
    );
    Ok(())
}

/// In JSON mode a reader of events learns also of what failed before there were any.
fn report_early_failure(failure: &Failure) -> Result<(), Failure> {
    if matches!(failure, Failure::Operation { .. }) {
        return Ok(());
    }
    print::json_line(&DeployEvent::Failed {
        step: "check".into(),
        reason: failure.to_string(),
        detail: failure.problems().join("\n"),
        hint: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_holds_what_was_given() {
        let query = DeployQuery {
            name: None,
            default_name: Some("my site".into()),
            domains: Some("a.b,c.d".into()),
        };
        assert_eq!(deploy_path(&query), "/api/v1/deploy?default_name=my%20site&domains=a.b%2Cc.d");
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(folder(file.path()), Err(Failure::NotAFolder(_))));
        assert!(matches!(folder(Path::new("/nonexistent")), Err(Failure::NotAFolder(_))));
    }
}
