//! `onebox autopsy`: everything that is known of one request.

use onebox_supervisor::api::Autopsy;

use crate::cli::AutopsyArgs;
use crate::client::{Client, segment};
use crate::print;
use crate::report::Failure;

/// Prints it.
pub(crate) async fn autopsy(client: &Client, arguments: AutopsyArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/requests/{}", segment(&arguments.request));
    let autopsy: Autopsy = client.get(&path).await?;
    if arguments.json {
        return print::json(&autopsy);
    }
    anstream::print!("{}", print::autopsy::text(&autopsy));
    Ok(())
}
