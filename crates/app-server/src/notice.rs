//! What the runtime library says of requests past their deadlines, of a GIL that nobody gives back, and of what it does.

use serde::{Deserialize, Serialize};

/// One line of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// A request has passed its deadline (`harakiri`).
    Overdue {
        /// Which one.
        #[serde(flatten)]
        request: OverdueRequest,
        /// Where its thread is, as `views.py:12 in index`: the innermost call in the application's own files.
        place: Option<String>,
        /// The thread's whole stack, the innermost call first; empty where it can't be had.
        stack: String,
    },
    /// The thread of such a request is free again.
    Freed(OverdueRequest),
    /// The thread of such a request did not come back within `harakiri-grace`.
    Abandoned(OverdueRequest),
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Requests that were begun since it started.
    pub requests: u64,
    /// Requests that its threads serve now.
    pub running: u64,
    /// How long a thread waits for the GIL, in microseconds: the mean of what was tried since the last time.
    pub gil_wait_us: u64,
}

/// A request past its deadline. Its query is left out: it may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverdueRequest {
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

    fn request() -> OverdueRequest {
        let (request_id, method, path) = ("7".into(), "GET".into(), "/slow".into());
        OverdueRequest { request_id, method, path, age_ms: 60_001 }
    }

    #[test]
    fn lines_of_the_library_are_understood() {
        let members = r#""request_id":"7","method":"GET","path":"/slow","age_ms":60001"#;
        let overdue =
            format!(r#"{{"notice":"overdue",{members},"place":"a.py:1 in f","stack":"  File\n"}}"#);
        let (place, stack) = (Some("a.py:1 in f".into()), "  File\n".into());
        assert_eq!(
            Notice::parse(&overdue),
            Some(Notice::Overdue { request: request(), place, stack })
        );
        let freed = format!(r#"{{"notice":"freed",{members}}}"#);
        assert_eq!(Notice::parse(&freed), Some(Notice::Freed(request())));
        let stalled = Notice::Stalled { waited_ms: 500 };
        assert_eq!(Notice::parse(r#"{"notice":"stalled","waited_ms":500}"#), Some(stalled));
        let usage = Usage { requests: 7, running: 2, gil_wait_us: 5000 };
        let line = r#"{"notice":"usage","requests":7,"running":2,"gil_wait_us":5000}"#;
        assert_eq!(Notice::parse(line), Some(Notice::Usage(usage)));
        assert_eq!(Notice::parse(r#"{"ready":true}"#), None);
    }
}
