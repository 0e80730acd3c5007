//! `onebox serve`: the appliance in the foreground; and the hidden `onebox engine` that it starts.

use std::io::Write;

use onebox_config::BoxFlags;
use onebox_supervisor::ready::{Readiness, Ready, ReadySignal};

use crate::allocator;
use crate::cli::{ApplianceArgs, ServeArgs};
use crate::cmd::{configuration, flags};
use crate::print::status::{sites, with_scheme};
use crate::print::style;
use crate::report::{self, Failure};

/// Serves until a signal or `onebox shutdown` ends it.
pub(crate) fn serve(appliance: &ApplianceArgs, arguments: ServeArgs) -> Result<(), Failure> {
    become_supervisor()?;
    let mut signal = ReadySignal::from_environment();
    if signal.is_awaited() {
        // Started in the background: a session of its own, so that the terminal's end is not ours. A process that leads one
        // already has nothing to do.
        rustix::process::setsid().ok();
    }
    let flags = BoxFlags {
        http: arguments.listen.http,
        https: arguments.listen.https,
        admin: arguments.admin,
        ..flags(appliance)
    };
    let result = configuration(flags).and_then(|configuration| {
        onebox_supervisor::serve(configuration, |ready| announce(&mut signal, ready))
            .map_err(|error| Failure::serve(&error))
    });
    if let Err(failure) = &result {
        signal.tell(&Readiness::Failed { error: report::one_line(failure) });
    }
    result
}

/// What holds for a process that will oversee others, before it has a second thread.
pub(crate) fn become_supervisor() -> Result<(), Failure> {
    allocator::keep_no_free_memory();
    onebox_supervisor::leave_orphans_to_another().map_err(Failure::Runtime)
}

/// Prints a line for whoever looks; a terminal that is gone is no reason not to serve.
pub(crate) fn say(line: &str) {
    writeln!(anstream::stdout(), "{line}").ok();
}

/// The process that serves the sites.
pub(crate) fn engine() -> Result<(), Failure> {
    onebox_supervisor::engine_main().map_err(|error| Failure::serve(&error))
}

/// Tells whoever waits, else whoever looks at the terminal.
fn announce(signal: &mut ReadySignal, ready: Ready) {
    if !signal.is_awaited()
        && let Some(password) = &ready.first_password
    {
        say(&format!(
            "the dashboard's user is {}, its password {password} (shown only this once)",
            style::strong("admin")
        ));
    }
    let sites = sites(&ready.http, &ready.https);
    let dashboard = with_scheme(&ready.admin);
    say(&format!(
        "ready  sites {}  dashboard {}",
        style::address(sites),
        style::address(dashboard)
    ));
    signal.tell(&Readiness::Ready(ready));
}
