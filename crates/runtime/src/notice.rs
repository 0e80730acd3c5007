//! What happens to requests past their deadlines, and how much a process does, as lines of JSON for the host (`onebox_app_server::Notice` reads them).

use std::time::{Duration, Instant};

use onebox_uwsgi::key;

use crate::report::json_string;
use crate::seats::Task;

/// Something that the host logs or acts on.
pub(crate) enum Notice<'a> {
    /// A request has passed its deadline; `place` and `stack` say where its thread is, where that can be known.
    Overdue { task: &'a Task, place: Option<&'a str>, stack: &'a str },
    /// The thread of such a request is free again.
    Freed { task: &'a Task },
    /// The thread of such a request did not come back within its grace.
    Abandoned { task: &'a Task },
    /// Python threads have waited so long for the GIL, and still wait.
    Stalled { waited: Duration },
    /// They waited so long and wait no more.
    Unstalled { waited: Duration },
    /// Only a fresh process helps.
    Wedged { reason: &'a str },
    /// So many requests were begun and so many run; threads wait so long for the GIL.
    Usage { requests: u64, running: u64, gil_wait: Duration },
}

impl Notice<'_> {
    /// The line, with its end.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Overdue { task, place, stack } => {
                let place = place.map_or_else(|| "null".to_owned(), json_string);
                let stack = json_string(stack);
                format!(
                    "{{\"notice\":\"overdue\",{},\"place\":{place},\"stack\":{stack}}}\n",
                    members(task)
                )
            }
            Self::Freed { task } => format!("{{\"notice\":\"freed\",{}}}\n", members(task)),
            Self::Abandoned { task } => format!("{{\"notice\":\"abandoned\",{}}}\n", members(task)),
            Self::Stalled { waited } => {
                format!("{{\"notice\":\"stalled\",\"waited_ms\":{}}}\n", waited.as_millis())
            }
            Self::Unstalled { waited } => {
                format!("{{\"notice\":\"unstalled\",\"waited_ms\":{}}}\n", waited.as_millis())
            }
            Self::Wedged { reason } => {
                format!("{{\"notice\":\"wedged\",\"reason\":{}}}\n", json_string(reason))
            }
            Self::Usage { requests, running, gil_wait } => {
                let gil_wait_us = gil_wait.as_micros();
                format!(
                    "{{\"notice\":\"usage\",\"requests\":{requests},\"running\":{running},\"gil_wait_us\":{gil_wait_us}}}\n"
                )
            }
        }
    }
}

/// Which request, without its query, which may hold secrets.
fn members(task: &Task) -> String {
    let text = |key| String::from_utf8_lossy(task.vars.get(key).unwrap_or_default());
    let path = format!("{}{}", text(key::SCRIPT_NAME), text(key::PATH_INFO));
    format!(
        "\"request_id\":{},\"method\":{},\"path\":{},\"age_ms\":{}",
        json_string(&text(key::REQUEST_ID)),
        json_string(&text(key::REQUEST_METHOD)),
        json_string(&path),
        Instant::now().saturating_duration_since(task.began).as_millis()
    )
}
