//! The command line as types: verbs, flags and their help. What they do is in [`crate::cmd`].

mod access;
mod address_rules;
mod events;
mod logs;
mod settings;
pub(crate) mod time;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

pub(crate) use access::{AuditArgs, TokenAction, TokenArgs, UserAction, UserArgs};
pub(crate) use address_rules::{
    AllowAction, AllowArgs, DenyAction, DenyArgs, ListArgs, RemoveArgs, RuleArgs,
};
pub(crate) use events::EventsArgs;
pub(crate) use logs::LogsArgs;
pub(crate) use settings::{ConfigArgs, EnvAction, EnvArgs, Manner};

/// One binary that puts Python sites on line.
#[derive(Debug, Parser)]
#[command(
    name = "onebox",
    version,
    about,
    propagate_version = false,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Start with `onebox deploy ./mysite`: it starts the appliance too, when none runs."
)]
pub(crate) struct Cli {
    /// Which appliance.
    #[command(flatten)]
    pub(crate) appliance: ApplianceArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Which appliance is meant; every verb takes these.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ApplianceArgs {
    /// Where the appliance keeps its state [default: /var/lib/onebox for root, else the XDG state folder]
    #[arg(long, global = true, value_name = "DIR", env = "ONEBOX_STATE_DIR", hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Where box.toml is [default: /etc/onebox for root, else the XDG configuration folder]
    #[arg(long, global = true, value_name = "DIR", env = "ONEBOX_CONFIG_DIR", hide_env_values = true, value_hint = ValueHint::DirPath)]
    pub(crate) config_dir: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Put a folder on line, or a new release of it
    Deploy(DeployArgs),
    /// Serve a folder in place, in the foreground: nothing is copied, installed or kept
    Run(RunArgs),
    /// Serve a folder while you write it: it is loaded anew on each change and shows its tracebacks; not for production
    Dev(DevArgs),
    /// Run the appliance in the foreground
    Serve(ServeArgs),
    /// Show the appliance and its sites
    Status(StatusArgs),
    /// Watch the appliance and its sites, second by second
    Top(TopArgs),
    /// Show which certificate answers to which host, and what is wrong with it; order one anew
    Cert(CertArgs),
    /// Have this machine believe the certificates of the box's own authority
    Trust(TrustArgs),
    /// Show what a site wrote, and what it answered
    Logs(LogsArgs),
    /// Show why a request failed: its traceback, and what its thread printed
    Autopsy(AutopsyArgs),
    /// List what a site's requests fail with, by traceback, the last seen first
    Errors(SiteJsonArgs),
    /// List what happened: deploys, changes, crashes, recycles; of the last day, or of one site
    Events(EventsArgs),
    /// Run a command as a site is run: its user, its Python, its variables, its folder
    Exec(ExecArgs),
    /// Load a site's live release anew; nobody waits for it
    Restart(SiteArg),
    /// Take a site off line; it stays deployed
    Stop(SiteArg),
    /// Put a stopped site back on line
    Start(SiteArg),
    /// Go back to an earlier release
    Rollback(RollbackArgs),
    /// List a site's releases, the newest first
    Releases(SiteJsonArgs),
    /// Remove a site with its releases and its data
    Rm(RmArgs),
    /// Show the onebox.toml that a site goes by; try another one out, or put it on line
    Config(ConfigArgs),
    /// Show, set and unset a site's environment variables
    Env(EnvArgs),
    /// Say how a site runs and why, or what happens to a request
    Explain(ExplainArgs),
    /// Give everybody the maintenance page of a site, or the site again
    Maintenance(MaintenanceArgs),
    /// Take stored answers out of a site's cache
    Purge(PurgeArgs),
    /// Refuse an address at once, on all sites or on one, for a while; list such rules, and who looks for holes
    Deny(DenyArgs),
    /// Let an address in whatever denies it; list such rules
    Allow(AllowArgs),
    /// Hash a password for `[auth]` in onebox.toml
    HashPassword,
    /// Check onebox.toml, or box.toml, and list every problem
    Check(CheckArgs),
    /// Write an annotated onebox.toml for a folder
    Init(InitArgs),
    /// Say who may log in to the dashboard, and what they may do there
    User(UserArgs),
    /// Make, list and revoke the tokens that programs use the API with
    Token(TokenArgs),
    /// Show who asked for which change, and from where
    Audit(AuditArgs),
    /// Give the dashboard's user `admin` a new password and print it; every session ends
    Password(JsonArg),
    /// Stop the appliance and all its sites
    Shutdown,
    /// Print the version
    Version(JsonArg),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// The process that serves the sites; started by the appliance
    #[command(hide = true)]
    Engine,
}

/// Where to listen.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListenArgs {
    /// Where sites are served, several separated by commas; port 0 takes a free one [default: port 80 for root, else 8080]
    #[arg(long, value_name = "ADDR:PORT", env = "ONEBOX_HTTP", hide_env_values = true)]
    pub(crate) http: Option<String>,
    /// Where sites are served with TLS; several are separated by commas, "none" is nowhere
    #[arg(long, value_name = "ADDR:PORT", env = "ONEBOX_HTTPS", hide_env_values = true)]
    pub(crate) https: Option<String>,
}

/// `onebox serve`
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen.
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    /// Where the dashboard is served [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR:PORT", env = "ONEBOX_ADMIN", hide_env_values = true)]
    pub(crate) admin: Option<String>,
}

/// A folder that is served in place.
#[derive(Debug, Args)]
pub(crate) struct FolderArgs {
    /// The site's folder
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(crate) path: PathBuf,
    /// Where the WSGI callable is, as in `mysite.wsgi:application`
    #[arg(long, value_name = "MODULE:APP")]
    pub(crate) module: Option<String>,
    /// A version, a python or a virtual environment
    #[arg(long, value_name = "PYTHON")]
    pub(crate) python: Option<String>,
    /// Another file than PATH/onebox.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
}

/// `onebox run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// What to serve.
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Where to listen.
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
}

/// `onebox dev`
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// What to serve.
    #[command(flatten)]
    pub(crate) folder: FolderArgs,
    /// Where to listen; whoever reaches it sees tracebacks
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    pub(crate) http: String,
}

/// `onebox deploy`
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// The site's folder
    #[arg(value_name = "PATH", value_hint = ValueHint::DirPath)]
    pub(crate) path: PathBuf,
    /// The site's name [default: `name` in onebox.toml, else the folder's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A host that the site answers to; may be given several times
    #[arg(long = "domain", value_name = "HOST")]
    pub(crate) domains: Vec<String>,
    /// Another file than PATH/onebox.toml
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// One JSON object a line, as things happen
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox status`
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this site
    #[arg(value_name = "SITE")]
    pub(crate) site: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// What there is to see now, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox cert`
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct CertArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub(crate) action: Option<CertAction>,
    #[command(flatten)]
    pub(crate) shown: StatusArgs,
}

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum CertAction {
    /// Order a site's certificate now, before its renewal is due or the pause after a failed order is over
    Renew(SiteJsonArgs),
}

/// `onebox trust`
#[derive(Debug, Args)]
pub(crate) struct TrustArgs {
    /// Take it back
    #[arg(long)]
    pub(crate) uninstall: bool,
}

/// `onebox exec`
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// The program and its arguments, as in `python manage.py createsuperuser`
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true, value_hint = ValueHint::CommandWithArguments)]
    pub(crate) command: Vec<OsString>,
}

/// `onebox autopsy`
#[derive(Debug, Args)]
pub(crate) struct AutopsyArgs {
    /// Its id, from the error page, the log or the answer's X-Request-Id
    #[arg(value_name = "ID")]
    pub(crate) request: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A verb that takes a site.
#[derive(Debug, Args)]
pub(crate) struct SiteArg {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
}

/// A verb that takes a site and can print JSON.
#[derive(Debug, Args)]
pub(crate) struct SiteJsonArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// A site's name, or the URL of a request: http://HOST/PATH, or HOST/PATH
    #[arg(value_name = "SITE|URL")]
    pub(crate) what: String,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox maintenance`
#[derive(Debug, Args)]
pub(crate) struct MaintenanceArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Begin or end it
    #[arg(value_name = "on|off")]
    pub(crate) switch: Switch,
}

/// `onebox purge`
#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// The answers to this URL, or to this path on every host [default: everything]
    #[arg(value_name = "URL", conflicts_with_all = ["prefix", "tag"])]
    pub(crate) url: Option<String>,
    /// The answers to everything that begins with this URL, or path
    #[arg(long, value_name = "URL", conflicts_with = "tag")]
    pub(crate) prefix: Option<String>,
    /// The answers with this tag in their Cache-Tag or Surrogate-Key
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whether something shall be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// It shall.
    On,
    /// It shall not.
    Off,
}

/// `onebox rollback`
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Which release [default: the one before the live one]
    #[arg(value_name = "RELEASE")]
    pub(crate) release: Option<String>,
}

/// `onebox rm`
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// The site's name
    #[arg(value_name = "SITE")]
    pub(crate) site: String,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// `onebox check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// A site's folder, its onebox.toml, or a box.toml
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The site's folder
    #[arg(value_name = "PATH", default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) path: PathBuf,
}

/// A verb that only takes `--json`.
#[derive(Debug, Args)]
pub(crate) struct JsonArg {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `onebox completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_state_folder_may_follow_the_verb() {
        let cli = Cli::try_parse_from(["onebox", "status", "--state-dir", "/tmp/x"]).unwrap();
        assert_eq!(cli.appliance.state_dir, Some(PathBuf::from("/tmp/x")));
    }
}
