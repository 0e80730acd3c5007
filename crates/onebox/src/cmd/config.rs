//! `onebox config`: what a site on line is configured by, what another file would change, and that change.

use std::io::Read;
use std::path::{Path, PathBuf};

use http::Method;
use onebox_config::{ConfigError, Origin, Problem};
use onebox_supervisor::api::{
    ConfigurationCheck, ConfigurationProblem, NewConfiguration, SettingChange, SettingConcern,
    SiteConfiguration,
};

use crate::cli::ConfigArgs;
use crate::client::{Client, segment};
use crate::cmd::operation::{self, Show};
use crate::print::{self, done, style};
use crate::report::Failure;

/// Shows it, tries a file out, or applies one.
pub(crate) async fn config(client: &Client, arguments: ConfigArgs) -> Result<(), Failure> {
    let ConfigArgs { site, check, apply, release, json } = arguments;
    let path = format!("/api/v1/sites/{}/configuration", segment(&site));
    let live: SiteConfiguration = client.get(&path).await?;
    let Some(file) = check.as_ref().or(apply.as_ref()) else { return show(&live, json) };
    let release = release.unwrap_or(live.release);
    let wanted = NewConfiguration { release, text: read(file)? };
    let found: ConfigurationCheck =
        client.call(Method::POST, &format!("{path}/check"), Some(&wanted)).await?;
    if check.is_some() && json {
        print::json(&found)?;
    }
    if !found.problems.is_empty() {
        let problems = found.problems.into_iter().map(|problem| located(problem, file)).collect();
        return Err(Failure::config(shown(file), ConfigError { problems }));
    }
    if !json {
        print_check(&found);
    }
    if check.is_some() {
        return Ok(());
    }
    let lines = client.lines(Method::POST, &path, Some(&wanted)).await?;
    let what = format!("the change of {site}'s configuration");
    let outcome = operation::follow(lines, &what, Show::from_flag(json)).await?;
    if !json {
        done(&format!("{site} is live as {}", outcome.release));
    }
    Ok(())
}

fn show(live: &SiteConfiguration, json: bool) -> Result<(), Failure> {
    if json {
        return print::json(live);
    }
    match live.text.as_deref().unwrap_or_default() {
        "" => anstream::eprintln!("release {} has no onebox.toml", live.release),
        text => anstream::print!("{text}"),
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|source| Failure::File { path: PathBuf::from(shown(file)), source })
}

fn shown(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn located(problem: ConfigurationProblem, file: &Path) -> Problem {
    let ConfigurationProblem { line, key, message, hint } = problem;
    let origin = Origin::File { path: PathBuf::from(shown(file)), line };
    Problem { key, origin, message, hint: Some(hint).filter(|hint| !hint.is_empty()) }
}

fn print_check(check: &ConfigurationCheck) {
    if check.changes.is_empty() {
        anstream::println!("no setting would change");
    }
    for change in &check.changes {
        let SettingChange { name, old, new, concern } = change;
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        anstream::println!(
            "{}  {} → {}  {}",
            style::strong(name),
            style::faint(value(old)),
            value(new),
            style::faint(match concern {
                SettingConcern::Requests => "for each request",
                SettingConcern::Processes => "for fresh processes",
                SettingConcern::Release => "while the release is made",
            })
        );
    }
    for sentence in &check.outcome {
        anstream::println!("  {sentence}");
    }
    for warning in &check.warnings {
        anstream::eprintln!("{} {warning}", style::warning("warning:"));
    }
}
