//! `onebox deny` and `onebox allow` as types.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::time::span;

/// `onebox deny`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(crate) struct DenyArgs {
    /// What to do with such rules.
    #[command(subcommand)]
    pub(crate) action: Option<DenyAction>,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
}

/// `onebox allow`
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(crate) struct AllowArgs {
    /// What to do with such rules.
    #[command(subcommand)]
    pub(crate) action: Option<AllowAction>,
    #[command(flatten)]
    pub(crate) rule: RuleArgs,
}

/// A rule for an address.
#[derive(Debug, Args)]
pub(crate) struct RuleArgs {
    /// An address, or a network as in 203.0.113.0/24
    #[arg(value_name = "ADDR|CIDR", required = true)]
    pub(crate) network: Option<String>,
    /// Only on this site [default: on all]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// How long: 10m, 1h, 7d [default: until it is removed]
    #[arg(long = "for", value_name = "SPAN", value_parser = span)]
    pub(crate) lasts: Option<Duration>,
    /// Why, for whoever reads the list later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Make no rule; say what it would have done within the last hour
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to do with rules that refuse.
#[derive(Debug, Subcommand)]
pub(crate) enum DenyAction {
    /// List them
    List(ListArgs),
    /// Remove one
    Rm(RemoveArgs),
    /// Say who looked for holes within the last hour; nobody is refused by this
    Suggest(ListArgs),
}

/// What to do with rules that let in.
#[derive(Debug, Subcommand)]
pub(crate) enum AllowAction {
    /// List them
    List(ListArgs),
    /// Remove one
    Rm(RemoveArgs),
}

/// A list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A rule that is to go.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its address or network
    #[arg(value_name = "ADDR|CIDR")]
    pub(crate) network: String,
    /// The one of this site [default: the one of all sites]
    #[arg(long, value_name = "SITE")]
    pub(crate) site: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Verb};

    fn parsed(line: &str) -> Result<Verb, String> {
        let cli = Cli::try_parse_from(line.split_whitespace());
        cli.map(|cli| cli.verb).map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_or_what_to_do_with_rules() {
        let Verb::Deny(deny) = parsed("onebox deny 10.0.0.1 --for 1h --site blog").unwrap() else {
            panic!("it denies");
        };
        assert_eq!(deny.rule.network.as_deref(), Some("10.0.0.1"));
        assert_eq!(deny.rule.lasts.unwrap().as_secs(), 3600);
        for line in [
            "onebox deny list",
            "onebox deny suggest --json",
            "onebox allow rm 10.0.0.1 --site blog",
            "onebox allow 10.0.0.0/8 --dry-run",
        ] {
            parsed(line).unwrap();
        }
        for wrong in [
            "onebox deny",
            "onebox deny --for 1h",
            "onebox deny 10.0.0.1 --for soon",
            "onebox allow suggest x",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
