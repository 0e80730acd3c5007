//! `onebox env`: a site's environment variables, kept by the appliance and not in its folder.

use std::collections::BTreeMap;

use http::Method;
use onebox_supervisor::api::EnvVariable;
use serde::de::IgnoredAny;

use crate::cli::EnvAction;
use crate::client::{Client, segment};
use crate::print::{self, done, style};
use crate::report::Failure;

/// Lists, sets or unsets.
pub(crate) async fn env(client: &Client, action: EnvAction) -> Result<(), Failure> {
    match action {
        EnvAction::List { site, show, json } => list(client, &site, show, json).await,
        EnvAction::Set { site, assignments } => {
            let variables: BTreeMap<String, String> = assignments.into_iter().collect();
            client.call::<IgnoredAny>(Method::PUT, &path(&site), Some(&variables)).await?;
            let names: Vec<_> = variables.keys().map(String::as_str).collect();
            done(&format!("set {} of {site}", names.join(", ")));
            Ok(())
        }
        EnvAction::Unset { site, names } => {
            for name in &names {
                let path = format!("{}/{}", path(&site), segment(name));
                client.call::<IgnoredAny>(Method::DELETE, &path, None::<&()>).await?;
            }
            done(&format!("unset {} of {site}", names.join(", ")));
            Ok(())
        }
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
