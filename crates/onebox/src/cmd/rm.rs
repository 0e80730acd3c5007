//! `onebox rm`: remove a site for good, after asking.

use std::io::{BufRead, IsTerminal};

use http::Method;
use serde::de::IgnoredAny;

use crate::cli::RmArgs;
use crate::client::{Client, segment};
use crate::print::{done, style};
use crate::report::Failure;

/// Removes the site, its releases and what it kept across them.
pub(crate) async fn rm(client: &Client, arguments: RmArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}", segment(&arguments.site));
    // Asked first, so that nobody confirms the removal of a site that is not there.
    client.get::<IgnoredAny>(&path).await?;
    if !arguments.yes && !confirmed(&arguments.site)? {
        anstream::println!("{} was kept", arguments.site);
        return Ok(());
    }
    client.call::<IgnoredAny>(Method::DELETE, &path, None::<&()>).await?;
    done(&format!("removed {}", arguments.site));
    Ok(())
}

/// Asks on the terminal for the site's name.
fn confirmed(site: &str) -> Result<bool, Failure> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(Failure::Unconfirmed { site: site.to_owned() });
    }
    anstream::println!(
        "{} This removes {} with all its releases, its database files and its uploads.",
        style::warning("!"),
        style::strong(site)
    );
    anstream::print!("Type its name to go on: ");
    std::io::Write::flush(&mut std::io::stdout()).ok();
    let mut answer = String::new();
    input
        .lock()
        .read_line(&mut answer)
        .map_err(|source| Failure::File { path: "the terminal".into(), source })?;
    Ok(answer.trim() == site)
}
