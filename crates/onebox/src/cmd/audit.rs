//! `onebox audit`: who asked for which change.

use onebox_supervisor::api::AuditEntry;

use crate::cli::AuditArgs;
use crate::client::Client;
use crate::print::{self, clock, table::Columns};
use crate::report::Failure;

/// Prints the last entries, the newest last.
pub(crate) async fn audit(client: &Client, arguments: AuditArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/audit?limit={}", arguments.lines);
    let mut entries: Vec<AuditEntry> = client.get(&path).await?;
    entries.reverse();
    if arguments.json {
        return entries.iter().try_for_each(print::json_line);
    }
    if entries.is_empty() {
        anstream::eprintln!("nobody has changed anything yet");
        return Ok(());
    }
    let mut table = Columns::new(&["when", "who", "from", "what", "status"]);
    for entry in &entries {
        let who = match &entry.token {
            Some(token) => format!("{} ({token})", entry.who),
            None => entry.who.clone(),
        };
        let what = [Some(&entry.action), entry.target.as_ref(), entry.detail.as_ref()];
        let what: Vec<_> = what.into_iter().flatten().map(String::as_str).collect();
        let status = entry.status.map_or("–".to_owned(), |status| status.to_string());
        let when = clock::local(entry.at_ms);
        table.row([when, who, entry.client.clone(), what.join(" "), status]);
    }
    anstream::println!("{}", table.render());
    Ok(())
}
