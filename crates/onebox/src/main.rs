//! The command line of onebox: arguments, exit codes, printing. What it asks for is done by the supervisor.
//!
//! Exit codes: 0 ok, 1 failed, 2 usage.

mod allocator;
mod archive;
mod background;
mod cli;
mod client;
mod cmd;
mod print;
mod report;
mod top;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cmd::dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprint!("{}", report::render(&failure));
            ExitCode::FAILURE
        }
    }
}
