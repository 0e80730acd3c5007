//! What the runtime library says of requests that fail or pass their deadlines, of a GIL that nobody gives back, and of what
//! it does.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// A request has passed its deadline (`harakiri`).
    Overdue {
        /// Which one.
        #[serde(flatten)]
        request: ToldRequest,
        /// Where its thread is, as `views.py:12 in index`: the innermost call in the application's own files.
        place: Option<String>,
        /// The thread's whole stack, the innermost call first; empty where it can't be had.
        stack: String,
        /// The same as data, the outermost call first.
        #[serde(default)]
        frames: Vec<Frame>,
        /// What the thread had printed for the request by then.
        #[serde(default)]
        printed: String,
    },
    /// The thread of such a request is free again.
    Freed(ToldRequest),
    /// The thread of such a request did not come back within `harakiri-grace`.
    Abandoned(ToldRequest),
    /// The application raised an exception, or answered with a status of 500 or above.
    Failed {
        /// In which request.
        #[serde(flatten)]
        request: ToldRequest,
        /// The chain of exceptions, the first one first; empty where none was seen.
        raised: Vec<Raised>,
        /// What the thread printed for the request.
        printed: String,
        /// How many failures of this process were not told before this one: there were too many.
        lost: u64,
    },
    /// Python threads wait for the GIL; told again while they do.
    Stalled {
        /// How long, in milliseconds.
        waited_ms: u64,
    },
    /// They wait no more.
    Unstalled {
        /// How long they did, in milliseconds.
        waited_ms: u64,
    },
    /// Only a fresh process helps.
    Wedged {
        /// Why.
        reason: String,
    },
    /// What it does; told once a second while that changes, and when it comes to rest.
    Usage(Usage),
}

/// What a process does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests that were begun since it started.
    pub requests: u64,
    /// Requests that its threads serve now.
    pub running: u64,
    /// The one of these that was begun first.
    #[serde(default)]
    pub oldest: Option<ToldRequest>,
    /// How long a thread waits for the GIL, in microseconds: the mean of what was tried since the last time.
    pub gil_wait_us: u64,
    /// The waits for the GIL that were too long since this was told last.
    #[serde(default)]
    pub gil_stalls: GilStalls,
    /// How much of the time a thread that serves requests wants the interpreter, in percent.
    #[serde(default)]
    pub busy_percent: u64,
}

/// Waits for the GIL that were too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GilStalls {
    /// Those that began.
    pub count: u64,
    /// How long all of them lasted, in microseconds.
    pub lasted_us: u64,
    /// How long the longest had lasted by then.
    pub longest_us: u64,
}

impl GilStalls {
    /// Adds those of another time or process.
    pub fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.lasted_us = self.lasted_us.saturating_add(other.lasted_us);
        self.longest_us = self.longest_us.max(other.longest_us);
    }
}

/// One exception.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Raised {
    /// Its class, as `module.Name`; of a builtin only the name.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub message: String,
    /// How it came after the one before it in the chain; `None` for the first.
    pub after: Option<After>,
    /// Where it was raised, the outermost call first.
    pub frames: Vec<Frame>,
}

/// How one exception came after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// `raise … from`
    Cause,
    /// While the other was handled.
    Context,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Frame {
    /// Path of the source file, or a name such as `<string>`.
    pub file: String,
    /// Line in it.
    pub line: u32,
    /// The function.
    pub function: String,
    /// The line itself; `None` where it can't be read.
    pub source: Option<String>,
}

/// The request of a notice. Its query is left out: it may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldRequest {
    /// Its identity in logs and error pages.
    pub request_id: String,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// How long its thread has served it, in milliseconds.
    pub age_ms: u64,
}

impl Notice {
    /// Reads a line; `None` where it is none.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ToldRequest {
        let (request_id, method, path) = ("7".into(), "GET".into(), "/slow".into());
        ToldRequest { request_id, method, path, age_ms: 60_001 }
    }

    #[test]
    fn lines_of_the_library_are_understood() {
        let members = r#""request_id":"7","method":"GET","path":"/slow","age_ms":60001"#;
        let overdue =
            format!(r#"{{"notice":"overdue",{members},"place":"a.py:1 in f","stack":"  File\n"}}"#);
        let (place, stack) = (Some("a.py:1 in f".into()), "  File\n".into());
        let (frames, printed) = (Vec::new(), String::new());
        let expected = Notice::Overdue { request: request(), place, stack, frames, printed };
        assert_eq!(Notice::parse(&overdue), Some(expected));
        let frame = r#"{"file":"a.py","line":3,"function":"f","source":"1/0"}"#;
        let raised = format!(r#"{{"type":"E","message":"m","after":"cause","frames":[{frame}]}}"#);
        let failed = format!(
            r#"{{"notice":"failed",{members},"raised":[{raised}],"printed":"p\n","lost":2}}"#
        );
        let (file, function, source) = ("a.py".into(), "f".into(), Some("1/0".into()));
        let frames = vec![Frame { file, line: 3, function, source }];
        let (kind, message, after) = ("E".into(), "m".into(), Some(After::Cause));
        let raised = vec![Raised { kind, message, after, frames }];
        let expected =
            Notice::Failed { request: request(), raised, printed: "p\n".into(), lost: 2 };
        assert_eq!(Notice::parse(&failed), Some(expected));
        let freed = format!(r#"{{"notice":"freed",{members}}}"#);
        assert_eq!(Notice::parse(&freed), Some(Notice::Freed(request())));
        let stalled = Notice::Stalled { waited_ms: 500 };
        assert_eq!(Notice::parse(r#"{"notice":"stalled","waited_ms":500}"#), Some(stalled));
        let usage = Usage {
            requests: 7,
            running: 2,
            oldest: Some(request()),
            gil_wait_us: 5000,
            gil_stalls: GilStalls { count: 1, lasted_us: 250_000, longest_us: 200_000 },
            busy_percent: 93,
        };
        let line = format!(
            r#"{{"notice":"usage","requests":7,"running":2,"oldest":{{{members}}},"gil_wait_us":5000,"gil_stalls":{{"count":1,"lasted_us":250000,"longest_us":200000}},"busy_percent":93}}"#
        );
        assert_eq!(Notice::parse(&line), Some(Notice::Usage(usage)));
        assert_eq!(Notice::parse(r#"{"ready":true}"#), None);
    }
}
