//! `onebox events`: what happened to the box and its sites.

use onebox_supervisor::api::PastEvent;

use crate::cli::EventsArgs;
use crate::client::{Client, segment};
use crate::print::{self, clock, table::Columns};
use crate::report::Failure;

/// Prints them, the newest last.
pub(crate) async fn events(client: &Client, arguments: EventsArgs) -> Result<(), Failure> {
    let events: Vec<PastEvent> = client.get(&query(&arguments)).await?;
    if arguments.json {
        return events.iter().try_for_each(print::json_line);
    }
    if events.is_empty() {
        anstream::eprintln!("nothing happened in that time");
        return Ok(());
    }
    let mut table = Columns::new(&["when", "site", "event", "what"]);
    for event in &events {
        let site = event.site.as_deref().unwrap_or("–");
        let what = event.text.escape_debug().to_string();
        table.row([clock::local(event.at_ms).as_str(), site, event.kind.name(), &what]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}

fn query(arguments: &EventsArgs) -> String {
    let EventsArgs { site, since, until, .. } = arguments;
    let site = site.as_ref().map(|site| format!("site={}", segment(site)));
    let from = since.map(|at| format!("from_ms={}", at.as_millisecond()));
    let to = until.map(|at| format!("to_ms={}", at.as_millisecond()));
    let wanted: Vec<_> = [site, from, to].into_iter().flatten().collect();
    format!("/api/v1/events/past?{}", wanted.join("&"))
}
