//! `onebox env`: a site's environment variables, kept by the appliance and not in its folder.

use http::Method;
use onebox_supervisor::api::{EnvVariable, VariableChanges, VariableFate, VariablesCheck};
use serde::de::IgnoredAny;

use crate::cli::{EnvAction, Manner};
use crate::client::{Client, segment};
use crate::print::{self, done, style};
use crate::report::Failure;

/// Lists, sets or unsets.
pub(crate) async fn env(client: &Client, action: EnvAction) -> Result<(), Failure> {
    match action {
        EnvAction::List { site, show, json } => list(client, &site, show, json).await,
        EnvAction::Set { site, assignments, unset, manner } => {
            let set = assignments.into_iter().map(|(name, value)| (name, Some(value)));
            let unset = unset.into_iter().map(|name| (name, None));
            change(client, &site, VariableChanges(set.chain(unset).collect()), manner).await
        }
        EnvAction::Unset { site, names, manner } => {
            let unset = names.into_iter().map(|name| (name, None));
            change(client, &site, VariableChanges(unset.collect()), manner).await
        }
    }
}

async fn change(
    client: &Client,
    site: &str,
    changes: VariableChanges,
    manner: Manner,
) -> Result<(), Failure> {
    let path = path(site);
    let check: VariablesCheck =
        client.call(Method::POST, &format!("{path}/check"), Some(&changes)).await?;
    if manner.dry_run && manner.json {
        print::json(&check)?;
    }
    if !check.problems.is_empty() {
        let problems = check.problems.iter();
        let problems =
            problems.map(|problem| format!("{}: {}", problem.name, problem.message)).collect();
        return Err(Failure::Variables { site: site.to_owned(), problems });
    }
    if !manner.dry_run {
        client.call::<IgnoredAny>(Method::PATCH, &path, Some(&changes)).await?;
        if manner.json {
            print::json(&check)?;
        }
    }
    if !manner.json {
        tell(site, &check, manner.dry_run);
    }
    Ok(())
}

fn tell(site: &str, check: &VariablesCheck, is_trial: bool) {
    for change in &check.changes {
        let becomes = match change.becomes {
            VariableFate::Added => "new",
            VariableFate::Changed => "another value",
            VariableFate::Unchanged => "as it is",
            VariableFate::Removed => "unset",
        };
        anstream::println!("  {}  {}", style::strong(&change.name), style::faint(becomes));
    }
    for warning in &check.warnings {
        anstream::eprintln!("{} {warning}", style::warning("warning:"));
    }
    match (is_trial, check.restarts) {
        (true, true) => anstream::println!("{site} would be restarted"),
        (true, false) => anstream::println!("{site} would not be restarted"),
        (false, true) => done(&format!("{site} was restarted with them")),
        (false, false) => done(&format!("{site} has them from its next start on")),
    }
}

async fn list(client: &Client, site: &str, show: bool, json: bool) -> Result<(), Failure> {
    let mut variables: Vec<EnvVariable> = client.get(&path(site)).await?;
    if !show {
        for variable in &mut variables {
            "***".clone_into(&mut variable.value);
        }
    }
    if json {
        return print::json(&variables);
    }
    if variables.is_empty() {
        anstream::eprintln!("{site} has no variables; `onebox env set {site} NAME=value` sets one");
    }
    for variable in &variables {
        anstream::println!("{}={}", style::strong(&variable.name), variable.value);
    }
    Ok(())
}

fn path(site: &str) -> String {
    format!("/api/v1/sites/{}/env", segment(site))
}
