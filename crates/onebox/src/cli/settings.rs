//! `onebox config` and `onebox env` as types.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// `onebox config`
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Say what this file would change in its place, with every problem; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "apply", value_hint = ValueHint::FilePath)]
    pub(crate) check: Option<PathBuf>,
    /// Put a release of the same files with this one in its place on line; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) apply: Option<PathBuf>,
    /// Only while this release is live [default: whichever is]
    #[arg(long, value_name = "RELEASE")]
    pub(crate) release: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox env`
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// What to do with the variables.
    #[command(subcommand)]
    pub(crate) action: EnvAction,
}

/// What to do with the variables.
#[derive(Debug, Subcommand)]
pub(crate) enum EnvAction {
    /// List them
    List {
        /// The site's name
        #[arg(value_name = "SITE")]
        site: String,
        /// Print the values too, not `***`
        #[arg(long)]
        show: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set variables and restart the site, once
    Set {
        /// The site's name
        #[arg(value_name = "SITE")]
        site: String,
        /// `NAME=value`, several allowed
        #[arg(value_name = "NAME=VALUE", required = true, value_parser = parse_assignment)]
        assignments: Vec<(String, String)>,
        /// Unset this one at the same time; may be given several times
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
        #[command(flatten)]
        manner: Manner,
    },
    /// Unset variables and restart the site, once
    Unset {
        /// The site's name
        #[arg(value_name = "SITE")]
        site: String,
        /// Their names
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[command(flatten)]
        manner: Manner,
    },
}

/// How a change is made.
#[derive(Debug, Args)]
pub(crate) struct Manner {
    /// Change nothing; say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `NAME=value`; the value may hold further `=`.
fn parse_assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn an_assignment_keeps_later_equals_signs() {
        assert_eq!(parse_assignment("URL=a=b"), Ok(("URL".into(), "a=b".into())));
        assert!(parse_assignment("=b").is_err());
        assert!(parse_assignment("URL").is_err());
    }

    #[test]
    fn variables_and_configurations_are_listed_tried_out_and_changed() {
        for line in [
            "onebox env list blog",
            "onebox env set blog A=1 B=2 --unset C --dry-run",
            "onebox env unset blog A --json",
            "onebox config blog --json",
            "onebox config blog --check -",
            "onebox config blog --apply new.toml --release 20261120-114213-3f2a",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_ok(), "{line}");
        }
        for line in
            ["onebox config", "onebox config blog --check a --apply b", "onebox env set blog"]
        {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
