//! The verbs about who may do what.

use clap::{Args, Subcommand};
use onebox_supervisor::api::{Role, Scope};

use crate::cmd::token::Expiry;

/// `onebox user`
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// List them
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Add one; a password is made up and printed
    Add {
        /// The name to log in with
        #[arg(value_name = "NAME")]
        name: String,
        /// viewer: sees everything but secrets; operator: deploys, restarts, rolls back too; admin: everything
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// Take the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give one another role
    Role {
        /// The user's name
        #[arg(value_name = "NAME")]
        name: String,
        /// viewer, operator or admin
        #[arg(value_name = "ROLE")]
        role: Role,
    },
    /// Give one a new password, which is made up and printed; all of the user's sessions end
    Password {
        /// The user's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Take the password from standard input
        #[arg(long)]
        password_stdin: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove one, with all sessions and tokens
    Rm {
        /// The user's name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `onebox token`
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: TokenAction,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenAction {
    /// List them
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one and print it, this once
    Create {
        /// What to call it
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do: metrics, read, deploy, operate, admin; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<Scope>,
        /// How long it is good: 90d, 12h, never
        #[arg(long, value_name = "TIME", default_value = "90d")]
        expires: Expiry,
        /// For whom it acts; it may do no more than this user [default: admin]
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one worthless
    Revoke {
        /// The token's name
        #[arg(value_name = "NAME")]
        name: String,
    },
}

/// `onebox audit`
#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// How many entries, the newest last
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) lines: u32,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}
