//! `onebox exec`: a command that is run as a site is run, at this terminal.

use http::Method;
use onebox_supervisor::api::{CommandPlace, CommandQuery};
use onebox_supervisor::become_command;

use crate::cli::ExecArgs;
use crate::client::{Client, segment};
use crate::report::Failure;

/// Becomes the command; returns where it can't be run.
pub(crate) async fn exec(client: &Client, arguments: ExecArgs) -> Result<(), Failure> {
    let ExecArgs { site, command } = arguments;
    // clap has seen to it that there is one.
    let Some((program, rest)) = command.split_first() else { return Ok(()) };
    let shown = program.to_string_lossy().into_owned();
    let query = CommandQuery { program: shown.clone() };
    let path = format!("/api/v1/sites/{}/command", segment(&site));
    let place: CommandPlace = client.call(Method::POST, &path, Some(&query)).await?;
    let source = become_command(place, program, rest);
    Err(Failure::Exec { program: shown, source })
}
