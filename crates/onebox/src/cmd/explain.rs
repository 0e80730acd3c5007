//! `onebox explain`: how a site runs and why, or what happens to a request.

use onebox_supervisor::api::{Explanation, UrlExplanation};

use crate::cli::ExplainArgs;
use crate::client::{Client, segment};
use crate::print::{self, style};
use crate::report::Failure;

/// Says it in sentences.
pub(crate) async fn explain(client: &Client, arguments: ExplainArgs) -> Result<(), Failure> {
    // The name of a site has none of these.
    if arguments.what.contains(['/', '.', ':']) {
        return explain_url(client, &arguments).await;
    }
    let path = format!("/api/v1/sites/{}/explain", segment(&arguments.what));
    let explanation: Explanation = client.get(&path).await?;
    if arguments.json {
        return print::json(&explanation);
    }
    anstream::println!(
        "{} is {}",
        style::strong(&arguments.what),
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
            let servers: Vec<_> =
                upstream.servers.iter().map(|server| server.address.as_str()).collect();
            anstream::println!(
                "  {}  {}",
                print::upstream_place(upstream),
                style::faint(servers.join(", "))
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

async fn explain_url(client: &Client, arguments: &ExplainArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/explain?url={}", segment(&arguments.what));
    let explanation: UrlExplanation = client.get(&path).await?;
    if arguments.json {
        return print::json(&explanation);
    }
    match (&explanation.site, &explanation.route) {
        (Some(site), Some(route)) => {
            anstream::println!("{} by the route {route}", style::strong(site));
        }
        (Some(site), None) => anstream::println!("{}", style::strong(site)),
        (None, _) => anstream::println!("no site"),
    }
    for step in &explanation.steps {
        anstream::println!("  {step}");
    }
    if !explanation.other_routes.is_empty() {
        anstream::println!("\nroutes that match too and come after it");
        for route in &explanation.other_routes {
            anstream::println!("  {}", style::faint(route));
        }
    }
    Ok(())
}
