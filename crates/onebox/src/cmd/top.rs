//! `onebox top`: what the appliance does, as it does it.

use std::io::IsTerminal;

use crate::cli::TopArgs;
use crate::client::Client;
use crate::print;
use crate::report::Failure;
use crate::top::{self, Snapshot};

/// Shows it until somebody has seen enough, or once as JSON.
pub(crate) async fn top(client: &Client, arguments: TopArgs) -> Result<(), Failure> {
    let snapshot = Snapshot::of(client).await?;
    if arguments.json {
        return print::json(&snapshot);
    }
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Failure::NoTerminal);
    }
    top::watch(client, snapshot).await
}
