//! The verbs, one file each, and the one place that chooses between them.

mod address_rules;
mod audit;
mod autopsy;
mod cert;
mod check;
mod completions;
mod config;
mod deploy;
mod env;
mod errors;
mod events;
mod exec;
mod explain;
mod hash_password;
mod init;
mod lifecycle;
mod logs;
mod operation;
mod password;
mod releases;
mod rm;
mod run;
mod serve;
mod status;
pub(crate) mod token;
mod top;
mod trust;
mod user;
mod version;

use onebox_config::{BoxConfig, BoxFlags, Paths};
use onebox_supervisor::Configuration;

use crate::cli::{ApplianceArgs, Cli, Verb};
use crate::client::Client;
use crate::report::Failure;

/// Does what the command line asks for.
pub(crate) fn dispatch(cli: Cli) -> Result<(), Failure> {
    let appliance = cli.appliance;
    match cli.verb {
        Verb::Serve(arguments) => serve::serve(&appliance, arguments),
        Verb::Engine => serve::engine(),
        Verb::Run(arguments) => run::run(&appliance, arguments),
        Verb::Dev(arguments) => run::develop(&appliance, arguments),
        Verb::Check(arguments) => check::check(arguments),
        Verb::Init(arguments) => init::init(arguments),
        Verb::HashPassword => hash_password::hash_password(),
        Verb::Version(arguments) => version::version(arguments),
        Verb::Trust(arguments) => trust::trust(&load_box(flags(&appliance))?, &arguments),
        Verb::Completions(arguments) => {
            completions::completions(arguments);
            Ok(())
        }
        verb => ask(&appliance, verb),
    }
}

/// The verbs that talk to an appliance.
fn ask(appliance: &ApplianceArgs, verb: Verb) -> Result<(), Failure> {
    let config = load_box(flags(appliance))?;
    let client = Client::new(&config.state_dir, Paths::new(&config.state_dir).control_socket());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let result = runtime.block_on(async {
        match verb {
            Verb::Deploy(arguments) => deploy::deploy(&client, &config, arguments).await,
            Verb::Status(arguments) => status::status(&client, arguments).await,
            Verb::Top(arguments) => top::top(&client, arguments).await,
            Verb::Cert(arguments) => cert::cert(&client, arguments).await,
            Verb::Autopsy(arguments) => autopsy::autopsy(&client, arguments).await,
            Verb::Errors(arguments) => errors::errors(&client, arguments).await,
            Verb::Events(arguments) => events::events(&client, arguments).await,
            Verb::Logs(arguments) => logs::logs(&client, arguments).await,
            Verb::Exec(arguments) => exec::exec(&client, arguments).await,
            Verb::Restart(arguments) => lifecycle::restart(&client, &arguments.site).await,
            Verb::Stop(arguments) => lifecycle::stop(&client, &arguments.site).await,
            Verb::Start(arguments) => lifecycle::start(&client, &arguments.site).await,
            Verb::Rollback(arguments) => lifecycle::rollback(&client, arguments).await,
            Verb::Releases(arguments) => releases::releases(&client, arguments).await,
            Verb::Rm(arguments) => rm::rm(&client, arguments).await,
            Verb::Config(arguments) => config::config(&client, arguments).await,
            Verb::Env(arguments) => env::env(&client, arguments.action).await,
            Verb::Explain(arguments) => explain::explain(&client, arguments).await,
            Verb::Deny(arguments) => address_rules::deny(&client, arguments).await,
            Verb::Allow(arguments) => address_rules::allow(&client, arguments).await,
            Verb::Purge(arguments) => lifecycle::purge(&client, arguments).await,
            Verb::Maintenance(arguments) => lifecycle::maintenance(&client, arguments).await,
            Verb::User(arguments) => user::user(&client, arguments.action).await,
            Verb::Token(arguments) => token::token(&client, arguments.action).await,
            Verb::Audit(arguments) => audit::audit(&client, arguments).await,
            Verb::Password(arguments) => password::password(&client, arguments).await,
            Verb::Shutdown => lifecycle::shutdown(&client).await,
            // Chosen by `dispatch` already.
            Verb::Serve(_)
            | Verb::Run(_)
            | Verb::Dev(_)
            | Verb::Check(_)
            | Verb::Init(_)
            | Verb::HashPassword
            | Verb::Trust(_)
            | Verb::Version(_)
            | Verb::Completions(_)
            | Verb::Engine => Ok(()),
        }
    });
    // A thread that still waits for a silent appliance must not keep the command.
    runtime.shutdown_background();
    result
}

/// The flags that every verb takes.
fn flags(appliance: &ApplianceArgs) -> BoxFlags {
    BoxFlags {
        state_dir: appliance.state_dir.clone(),
        config_dir: appliance.config_dir.clone(),
        ..BoxFlags::default()
    }
}

/// The configuration of a box that this process is to serve.
fn configuration(flags: BoxFlags) -> Result<Configuration, Failure> {
    let config = load_box(flags.clone())?;
    let read_again = Box::new(move || onebox_config::load_box(flags.clone()));
    Ok(Configuration { config, read_again })
}

fn load_box(flags: BoxFlags) -> Result<BoxConfig, Failure> {
    onebox_config::load_box(flags)
        .map_err(|error| Failure::config("the configuration of the box", error))
}
