//! `onebox explain`: how a site runs, and why.

use onebox_supervisor::api::Explanation;

use crate::cli::SiteJsonArgs;
use crate::client::{Client, segment};
use crate::print::{self, style};
use crate::report::Failure;

/// Says it in sentences.
pub(crate) async fn explain(client: &Client, arguments: SiteJsonArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}/explain", segment(&arguments.site));
    let explanation: Explanation = client.get(&path).await?;
    if arguments.json {
        return print::json(&explanation);
    }
    anstream::println!(
        "{} is {}",
        style::strong(&arguments.site),
        print::status::mode(explanation.mode)
    );
    for reason in &explanation.reasons {
        anstream::println!("  {reason}");
    }
    if !explanation.static_folders.is_empty() {
        anstream::println!("\nserved without Python");
        for (prefix, folder) in &explanation.static_folders {
            anstream::println!("  {prefix}  {}", style::faint(folder));
        }
    }
    if !explanation.upstreams.is_empty() {
        anstream::println!("\nanswered by other servers");
        for upstream in &explanation.upstreams {
            anstream::println!(
                "  {}  {}",
                upstream.path,
                style::faint(upstream.servers.join(", "))
            );
        }
    }
    if !explanation.persistent.is_empty() {
        anstream::println!("\nkept across releases");
        for path in &explanation.persistent {
            anstream::println!("  {path}");
        }
    }
    Ok(())
}
