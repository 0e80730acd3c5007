//! `onebox deny` and `onebox allow`: rules for addresses, what they would have done, and who should have one.

use std::net::IpAddr;

use http::Method;
use onebox_config::parse_network;
use onebox_supervisor::api::{
    AddedAddressRule, AddressRule, NewAddressRule, RuleAction, RuleSource, RuleSuggestions,
    RuleTrial,
};
use serde::de::IgnoredAny;

use crate::cli::{AllowAction, AllowArgs, DenyAction, DenyArgs, ListArgs, RemoveArgs, RuleArgs};
use crate::client::{Client, segment};
use crate::print::{self, clock, style, table::Columns};
use crate::report::Failure;

const RULES: &str = "/api/v1/address-rules";

/// `onebox deny`
pub(crate) async fn deny(client: &Client, arguments: DenyArgs) -> Result<(), Failure> {
    match arguments.action {
        None => rule(client, RuleAction::Deny, arguments.rule).await,
        Some(DenyAction::List(list)) => show(client, RuleAction::Deny, &list).await,
        Some(DenyAction::Rm(which)) => remove(client, RuleAction::Deny, &which).await,
        Some(DenyAction::Suggest(list)) => suggest(client, &list).await,
    }
}

/// `onebox allow`
pub(crate) async fn allow(client: &Client, arguments: AllowArgs) -> Result<(), Failure> {
    match arguments.action {
        None => rule(client, RuleAction::Allow, arguments.rule).await,
        Some(AllowAction::List(list)) => show(client, RuleAction::Allow, &list).await,
        Some(AllowAction::Rm(which)) => remove(client, RuleAction::Allow, &which).await,
    }
}

async fn rule(client: &Client, action: RuleAction, rule: RuleArgs) -> Result<(), Failure> {
    let RuleArgs { network, site, lasts, reason, dry_run, json } = rule;
    let network = network.unwrap_or_default();
    let own = own_address()
        .filter(|own| parse_network(&network).is_ok_and(|network| network.contains(own)));
    if dry_run {
        return try_out(client, action, (&network, site.as_deref()), json).await;
    }
    let lasts_s = lasts.map(|lasts| u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX));
    let new = NewAddressRule { action, network, site, reason, lasts_s };
    let mut added: AddedAddressRule = client.call(Method::POST, RULES, Some(&new)).await?;
    if let Some(own) = own.filter(|_| action == RuleAction::Deny) {
        added.warnings.push(format!("it names {own}, where you are logged in from"));
    }
    if json {
        return print::json(&added);
    }
    let AddressRule { network, site, expires_ms, .. } = &added.rule;
    let done = match action {
        RuleAction::Deny => "is refused",
        RuleAction::Allow => "is let in",
    };
    let place = site.as_ref().map_or("on all sites".to_owned(), |site| format!("on {site}"));
    let until = expires_ms.map_or("until the rule is removed".to_owned(), |at_ms| {
        format!("until {}", clock::local(at_ms))
    });
    print::done(&format!("{network} {done} {place} {until}"));
    for warning in &added.warnings {
        anstream::eprintln!("{} {warning}", style::warning("warning:"));
    }
    Ok(())
}

/// Where somebody is logged in from over SSH.
fn own_address() -> Option<IpAddr> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    let address: IpAddr = connection.split_whitespace().next()?.parse().ok()?;
    Some(address.to_canonical())
}

async fn try_out(
    client: &Client,
    action: RuleAction,
    (network, site): (&str, Option<&str>),
    json: bool,
) -> Result<(), Failure> {
    let mut path = format!("{RULES}/trial?action={}&network={}", action.name(), segment(network));
    if let Some(site) = site {
        path.push_str(&format!("&site={}", segment(site)));
    }
    let trial: RuleTrial = client.get(&path).await?;
    if json {
        return print::json(&trial);
    }
    let what = match action {
        RuleAction::Deny => "refused",
        RuleAction::Allow => "let in",
    };
    let RuleTrial { requests, addresses, .. } = trial;
    anstream::println!(
        "within the last hour it would have {what} {} of {}",
        count(requests, "request"),
        count(addresses, "address")
    );
    for site in &trial.sites {
        anstream::println!("  {} on {}", count(site.requests, "request"), site.site);
    }
    if !trial.examples.is_empty() {
        let mut table = Columns::new(&["time", "site", "address", "request", "status"]);
        for one in &trial.examples {
            let request = format!("{} {}", one.method, one.path.escape_debug());
            let (time, status) = (clock::local(one.at_ms), one.status.to_string());
            table.row([time, one.site.clone(), one.client.clone(), request, status]);
        }
        anstream::println!("{}", table.render());
    }
    anstream::eprintln!("{}", style::faint("from the access logs, which have every request"));
    Ok(())
}

fn count(number: u64, noun: &str) -> String {
    let end = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{number} {noun}{end}")
}

async fn show(client: &Client, action: RuleAction, list: &ListArgs) -> Result<(), Failure> {
    let mut rules: Vec<AddressRule> = client.get(RULES).await?;
    rules.retain(|rule| rule.action == action);
    if list.json {
        return print::json(&rules);
    }
    if rules.is_empty() {
        anstream::eprintln!("there is no such rule; `onebox {} ADDR` makes one", action.name());
        return Ok(());
    }
    let mut table = Columns::new(&["address", "site", "until", "since", "who", "reason"]);
    for rule in &rules {
        let site = rule.site.clone().unwrap_or_else(|| "all".to_owned());
        let until = rule.expires_ms.map_or("removed".to_owned(), clock::local);
        let since = match rule.source {
            RuleSource::Live => clock::local(rule.created_ms),
            RuleSource::File => String::new(),
        };
        let reason = rule.reason.clone().unwrap_or_default();
        table.row([rule.network.clone(), site, until, since, rule.who.clone(), reason]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}

async fn remove(client: &Client, action: RuleAction, which: &RemoveArgs) -> Result<(), Failure> {
    let rules: Vec<AddressRule> = client.get(RULES).await?;
    let wanted = parse_network(&which.network).map(|network| network.trunc()).ok();
    let is_it = |rule: &&AddressRule| {
        let network = parse_network(&rule.network).ok();
        rule.action == action && network.is_some() && network == wanted && rule.site == which.site
    };
    let place = which.site.as_ref().map_or("all sites".to_owned(), Clone::clone);
    let found = rules.iter().find(is_it);
    let Some(id) = found.and_then(|rule| rule.id) else {
        let message = match found {
            None => format!("no rule of {place} says {} {}", action.name(), which.network),
            Some(_) => format!("{} stands in box.toml, and is removed there", which.network),
        };
        let hint = format!("`onebox {} list` shows all", action.name());
        return Err(Failure::NoRule { reason: message, hint });
    };
    let path = format!("{RULES}/{id}");
    client.call::<IgnoredAny>(Method::DELETE, &path, None::<&()>).await?;
    print::done(&format!("no rule says {} {} any more", action.name(), which.network));
    Ok(())
}

async fn suggest(client: &Client, list: &ListArgs) -> Result<(), Failure> {
    let told: RuleSuggestions = client.get(&format!("{RULES}/suggestions")).await?;
    if list.json {
        return print::json(&told);
    }
    let rule = format!(
        "at least {} different pages that only scanners ask for and that are not there, and {} % of all requests, within an hour",
        told.least_probes, told.least_percent
    );
    if told.found.is_empty() {
        anstream::println!("nobody looked for holes");
    } else {
        let mut table = Columns::new(&["address", "probes", "requests", "sites", "as in"]);
        for one in &told.found {
            let examples: Vec<_> =
                one.examples.iter().map(|path| path.escape_debug().to_string()).collect();
            let (probes, requests) = (one.probes.to_string(), one.requests.to_string());
            table.row([
                one.network.clone(),
                probes,
                requests,
                one.sites.join(" "),
                examples.join(" "),
            ]);
        }
        anstream::println!("{}", table.render());
        anstream::eprintln!("`onebox deny ADDR --for 1d` refuses one");
    }
    anstream::eprintln!("{}", style::faint(rule));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_many_are_said_as_people_do() {
        assert_eq!(count(1, "address"), "1 address");
        assert_eq!(count(0, "address"), "0 addresses");
        assert_eq!(count(2, "request"), "2 requests");
    }
}
