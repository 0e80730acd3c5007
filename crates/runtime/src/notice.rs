//! What happens to requests that fail or pass their deadlines, and how much a process does, as lines of JSON for the host
//! (`onebox_app_server::Notice` reads them).

use std::time::{Duration, Instant};

use onebox_uwsgi::key;

use crate::heart::Stalls;
use crate::raised::{After, Frame, Raised, Sources};
use crate::report::json_string;
use crate::seats::Task;
use crate::stack;

/// Something that the host logs or acts on.
pub(crate) enum Notice {
    /// A request has passed its deadline; `place` and `stack` say where its thread is, where that can be known.
    Overdue { task: Task, place: Option<String>, stack: String, printed: String },
    /// The thread of such a request is free again.
    Freed { task: Task },
    /// The thread of such a request did not come back within its grace.
    Abandoned { task: Task },
    /// A request has failed.
    Failed(Failed),
    /// Python threads have waited so long for the GIL, and still wait.
    Stalled { waited: Duration },
    /// They waited so long and wait no more.
    Unstalled { waited: Duration },
    /// Only a fresh process helps.
    Wedged { reason: String },
    /// What the process does.
    Usage(Usage),
}

/// What the process does.
pub(crate) struct Usage {
    /// Requests that were begun.
    pub(crate) requests: u64,
    /// Those that run.
    pub(crate) running: u64,
    /// The one of these that was begun first.
    pub(crate) oldest: Option<Task>,
    /// How long threads wait for the GIL.
    pub(crate) gil_wait: Duration,
    /// Those that waited too long since this was told last.
    pub(crate) stalls: Stalls,
    /// How much of the time somebody wants the interpreter.
    pub(crate) busy_percent: u64,
}

/// A request whose application raised an exception, or answered with a status of 500 or above.
pub(crate) struct Failed {
    pub(crate) task: Task,
    /// The chain of exceptions, the first one first; empty where none was seen.
    pub(crate) raised: Vec<Raised>,
    /// What its thread printed meanwhile.
    pub(crate) printed: String,
    /// How many failures were not told before this one.
    pub(crate) lost: u64,
}

impl Notice {
    /// The line, with its end. Reads source files.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Overdue { task, place, stack, printed } => {
                let place = place.as_deref().map_or_else(|| "null".to_owned(), json_string);
                let frames = frames_json(&stack::frames(stack), &mut Sources::default());
                format!(
                    "{{\"notice\":\"overdue\",{},\"place\":{place},\"stack\":{},\"frames\":{frames},\"printed\":{}}}\n",
                    members(task),
                    json_string(stack),
                    json_string(printed)
                )
            }
            Self::Freed { task } => format!("{{\"notice\":\"freed\",{}}}\n", members(task)),
            Self::Abandoned { task } => format!("{{\"notice\":\"abandoned\",{}}}\n", members(task)),
            Self::Failed(failed) => failed.to_json(),
            Self::Stalled { waited } => {
                format!("{{\"notice\":\"stalled\",\"waited_ms\":{}}}\n", waited.as_millis())
            }
            Self::Unstalled { waited } => {
                format!("{{\"notice\":\"unstalled\",\"waited_ms\":{}}}\n", waited.as_millis())
            }
            Self::Wedged { reason } => {
                format!("{{\"notice\":\"wedged\",\"reason\":{}}}\n", json_string(reason))
            }
            Self::Usage(usage) => usage.to_json(),
        }
    }
}

impl Usage {
    fn to_json(&self) -> String {
        let Self { requests, running, oldest, gil_wait, stalls, busy_percent } = self;
        let gil_wait_us = gil_wait.as_micros();
        let oldest = oldest.as_ref().map(|task| format!("{{{}}}", members(task)));
        let oldest = oldest.unwrap_or_else(|| "null".to_owned());
        let stalls = format!(
            "{{\"count\":{},\"lasted_us\":{},\"longest_us\":{}}}",
            stalls.count,
            stalls.lasted.as_micros(),
            stalls.longest.as_micros()
        );
        format!(
            "{{\"notice\":\"usage\",\"requests\":{requests},\"running\":{running},\"oldest\":{oldest},\"gil_wait_us\":{gil_wait_us},\"gil_stalls\":{stalls},\"busy_percent\":{busy_percent}}}\n"
        )
    }
}

impl Failed {
    fn to_json(&self) -> String {
        let mut sources = Sources::default();
        let raised = self.raised.iter().map(|raised| {
            let after = match raised.after {
                None => "null",
                Some(After::Cause) => "\"cause\"",
                Some(After::Context) => "\"context\"",
            };
            format!(
                "{{\"type\":{},\"message\":{},\"after\":{after},\"frames\":{}}}",
                json_string(&raised.kind),
                json_string(&raised.message),
                frames_json(&raised.frames, &mut sources)
            )
        });
        let raised: Vec<_> = raised.collect();
        format!(
            "{{\"notice\":\"failed\",{},\"raised\":[{}],\"printed\":{},\"lost\":{}}}\n",
            members(&self.task),
            raised.join(","),
            json_string(&self.printed),
            self.lost
        )
    }
}

fn frames_json(frames: &[Frame], sources: &mut Sources) -> String {
    let frames = frames.iter().map(|frame| {
        let source =
            sources.line(frame).map_or_else(|| "null".to_owned(), |line| json_string(&line));
        format!(
            "{{\"file\":{},\"line\":{},\"function\":{},\"source\":{source}}}",
            json_string(&frame.file),
            frame.line,
            json_string(&frame.function)
        )
    });
    format!("[{}]", frames.collect::<Vec<_>>().join(","))
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
