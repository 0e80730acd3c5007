//! `onebox errors`: what requests of a site fail with.

use onebox_supervisor::api::ErrorGroup;

use crate::cli::SiteJsonArgs;
use crate::client::{Client, segment};
use crate::print::{self, clock, style};
use crate::report::Failure;

/// Prints one for each traceback, the one that was seen last first.
pub(crate) async fn errors(client: &Client, arguments: SiteJsonArgs) -> Result<(), Failure> {
    let path = format!("/api/v1/sites/{}/errors", segment(&arguments.site));
    let groups: Vec<ErrorGroup> = client.get(&path).await?;
    if arguments.json {
        return print::json(&groups);
    }
    if groups.is_empty() {
        anstream::eprintln!("no request has failed with an exception or passed its deadline");
        return Ok(());
    }
    let now_ms = clock::now_ms();
    let all: Vec<_> = groups.iter().map(|group| text(group, now_ms)).collect();
    anstream::println!("{}", all.join("\n"));
    Ok(())
}

/// What it is, how often it was and when, where, and how to see the last one.
fn text(group: &ErrorGroup, now_ms: i64) -> String {
    let ErrorGroup { exception, message, count, request_id, .. } = group;
    let mut what = exception.clone();
    if let Some(first) = message.lines().next() {
        what.push_str(&format!(": {}", first.escape_debug()));
    }
    let (first, last) = (clock::ago(group.first_ms, now_ms), clock::ago(group.last_ms, now_ms));
    let mut text = format!("{}\n  {count}×, last {last}, first {first}\n", style::bad(what));
    if let Some(place) = &group.place {
        text.push_str(&format!("  {}\n", place.escape_debug()));
    }
    text.push_str(&format!("  {}\n", style::faint(format!("onebox autopsy {request_id}"))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use onebox_supervisor::api::FailureKind;

    #[test]
    fn an_error_is_told_with_its_place_and_its_last_request() {
        let mut group = ErrorGroup {
            fingerprint: "f1".into(),
            kind: FailureKind::Exception,
            exception: "shop.Empty".into(),
            message: "no \u{1b}[2J stock\nat all".into(),
            place: Some("views.py:12 in index".into()),
            release: "r1".into(),
            request_id: "0123".into(),
            count: 7,
            first_ms: 0,
            last_ms: 7_140_000,
        };
        let plain =
            |group: &ErrorGroup| anstream::adapter::strip_str(&text(group, 7_200_000)).to_string();
        assert_eq!(
            plain(&group),
            "shop.Empty: no \\u{1b}[2J stock\n  7×, last 60 s ago, first 2 h ago\n  \
             views.py:12 in index\n  onebox autopsy 0123\n"
        );
        (group.message, group.place) = (String::new(), None);
        assert!(plain(&group).starts_with("shop.Empty\n  7×"));
    }
}
