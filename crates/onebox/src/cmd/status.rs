//! `onebox status`: the appliance and its sites.

use crate::cli::StatusArgs;
use crate::client::{Client, segment};
use crate::print::{self, clock};
use crate::report::Failure;
use onebox_supervisor::api::{ApplianceStatus, SiteStatus};

/// Shows all of it, or one site.
pub(crate) async fn status(client: &Client, arguments: StatusArgs) -> Result<(), Failure> {
    if let Some(name) = arguments.site {
        let site: SiteStatus = client.get(&format!("/api/v1/sites/{}", segment(&name))).await?;
        if arguments.json {
            return print::json(&site);
        }
        anstream::println!("{}", print::status::site(&site, clock::now_ms()));
        return Ok(());
    }
    let status: ApplianceStatus = client.get("/api/v1/status").await?;
    if arguments.json {
        return print::json(&status);
    }
    anstream::println!("{}", print::status::appliance(&status, clock::now_ms()));
    Ok(())
}
