//! `onebox password`: a new password for the dashboard, where the first one was lost.

use http::Method;
use onebox_supervisor::api::NewPassword;

use super::user::show_new;
use crate::cli::JsonArg;
use crate::client::Client;
use crate::report::Failure;

/// Sets it and prints it, this once.
pub(crate) async fn password(client: &Client, arguments: JsonArg) -> Result<(), Failure> {
    let new: NewPassword = client.call(Method::POST, "/api/v1/password", None::<&()>).await?;
    show_new(&new, arguments.json)
}
