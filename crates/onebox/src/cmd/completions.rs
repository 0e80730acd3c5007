//! `onebox completions`: a script for the user's shell.

use clap::CommandFactory;

use crate::cli::{Cli, CompletionsArgs};

/// Prints the script.
pub(crate) fn completions(arguments: CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "onebox", &mut script);
    anstream::print!("{}", String::from_utf8_lossy(&script));
}
