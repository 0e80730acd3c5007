//! `onebox password`: a new password for the dashboard, where the first one was lost.

use http::Method;
use onebox_supervisor::api::NewPassword;

use crate::cli::JsonArg;
use crate::client::Client;
use crate::print::{self, style};
use crate::report::Failure;

/// Sets it and prints it, this once.
pub(crate) async fn password(client: &Client, arguments: JsonArg) -> Result<(), Failure> {
    let new: NewPassword = client.call(Method::POST, "/api/v1/password", None::<&()>).await?;
    if arguments.json {
        return print::json(&new);
    }
    anstream::println!(
        "log in as {} with the password {}  {}",
        style::strong(&new.user),
        style::strong(&new.password),
        style::faint("(shown only this once)")
    );
    Ok(())
}
