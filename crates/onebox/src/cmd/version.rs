//! `onebox version`.

use serde::Serialize;

use crate::cli::JsonArg;
use crate::print;
use crate::report::Failure;

#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
}

/// Prints it; no appliance is asked.
pub(crate) fn version(arguments: JsonArg) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        return print::json(&Version { version });
    }
    anstream::println!("onebox {version}");
    Ok(())
}
