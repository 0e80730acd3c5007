//! What operators are told of requests that fail or pass their deadlines: in the site's log with the stack, as an event, and as
//! a report that the request's id leads to.
//!
//! Must not know what is done about them.

use std::sync::Arc;

use onebox_app_server::{Notice, ToldRequest};

use crate::api::EventKind;
use crate::failures;
use crate::history::History;
use crate::journal::Journal;
use crate::logs::{Logs, Source};

/// Whose request it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Served<'a> {
    pub(crate) site: &'a str,
    pub(crate) release: &'a str,
    /// `None`: the embedded interpreter's.
    pub(crate) worker: Option<&'a str>,
}

/// Where it is written.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) logs: Arc<Logs>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) history: Arc<History>,
}

/// Writes a notice down.
pub(crate) fn tell(books: &Books, served: Served<'_>, notice: &Notice) {
    let Books { logs, journal, history } = books;
    let Served { site, release, .. } = served;
    if let Some(report) = failures::report(served, notice) {
        history.failed(report);
    }
    let log = |text: &str| logs.write(site, Source::Onebox, text);
    match notice {
        Notice::Overdue { request, place, stack, .. } => {
            let place = place.as_deref().unwrap_or("an unknown place");
            let text = format!("{} has passed its deadline, at {place}", named(request));
            log(format!("{text}\n{stack}").trim_end());
            let ToldRequest { request_id, method, path, age_ms } = request;
            tracing::warn!(
                site,
                request_id,
                method,
                path,
                age_ms,
                place,
                "request past its deadline"
            );
            journal.site(EventKind::Deadline, site, Some(release), &text);
        }
        Notice::Freed(request) => log(&format!("{}: its thread is free again", named(request))),
        Notice::Abandoned(request) => {
            log(&format!("{}: its thread does not come back and is given up", named(request)));
        }
        // Its traceback is in the log already.
        Notice::Failed { .. } => {}
        // Told every moment: the end of it says enough.
        Notice::Stalled { .. } | Notice::Usage(_) => {}
        Notice::Unstalled { waited_ms } => {
            log(&format!("Python threads waited {} for the GIL", seconds(*waited_ms)));
        }
        Notice::Wedged { reason } => {
            let text = format!("a fresh process is needed: {reason}");
            log(&text);
            tracing::warn!(site, error = reason, "process wedged");
            journal.site(EventKind::Wedged, site, Some(release), &text);
        }
    }
}

/// `request 3x… GET /slow after 60.1 s`
fn named(request: &ToldRequest) -> String {
    let ToldRequest { request_id, method, path, age_ms } = request;
    format!("request {request_id} {method} {path} after {}", seconds(*age_ms))
}

fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}
