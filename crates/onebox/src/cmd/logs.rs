//! `onebox logs`: what a site wrote, with `--access` what it answered too, with `--follow` what comes.

use http::Method;
use onebox_supervisor::api::LogLine;

use crate::cli::LogsArgs;
use crate::client::{Client, ClientError, segment};
use crate::print;
use crate::report::Failure;

/// Prints the last lines, then with `--follow` each new one until the appliance ends.
pub(crate) async fn logs(client: &Client, arguments: LogsArgs) -> Result<(), Failure> {
    let mut path = query(&arguments);
    if !arguments.follow {
        let lines: Vec<LogLine> = client.get(&path).await?;
        return lines.iter().try_for_each(|line| show(line, arguments.json));
    }
    path.push_str("&follow=true");
    let mut events = client.lines(Method::GET, &path, None::<&()>).await?;
    while let Some(text) = events.next().await? {
        // Server-sent events: only `data:` carries something, names and comments (the heart beat) do not.
        let Some(data) = text.strip_prefix(b"data:") else { continue };
        let line = serde_json::from_slice(data)
            .map_err(|source| ClientError::Answer { path: path.clone(), source })?;
        show(&line, arguments.json)?;
    }
    Ok(())
}

/// The lines that are wanted.
fn query(arguments: &LogsArgs) -> String {
    let LogsArgs { site, lines, .. } = arguments;
    let mut path = format!("/api/v1/sites/{}/logs?lines={lines}", segment(site));
    if arguments.access {
        path.push_str("&access=true");
    }
    let texts = [
        ("status", &arguments.status),
        ("path", &arguments.path),
        ("address", &arguments.address),
        ("request_id", &arguments.request_id),
    ];
    for (name, value) in texts {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", segment(value)));
        }
    }
    for (name, at) in [("from_ms", arguments.since), ("to_ms", arguments.until)] {
        if let Some(at) = at {
            path.push_str(&format!("&{name}={}", at.as_millisecond()));
        }
    }
    path
}

fn show(line: &LogLine, json: bool) -> Result<(), Failure> {
    if json {
        return print::json_line(line);
    }
    anstream::println!("{}", print::log::line(line));
    Ok(())
}
