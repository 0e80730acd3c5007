//! What the runtime tells of a failed request, as the report that is kept: paths as people know them, and a fingerprint.

use std::path::Path;

use onebox_app_server::{Frame, Notice, Raised, ToldRequest};
use sha2::{Digest, Sha256};

use crate::api::{FailureKind, FailureReport};
use crate::clock::now_ms;
use crate::notices::Served;

/// So many bytes of a hash tell tracebacks apart.
const FINGERPRINT_BYTES: usize = 8;
/// What the application is called below its release, and its packages.
const APP: &str = "app/";
const PACKAGES: &str = "venv/";

/// The report of a notice; `None` where it tells of no failure.
pub(crate) fn report(served: Served<'_>, notice: &Notice) -> Option<FailureReport> {
    let (kind, request, mut raised, printed) = match notice {
        Notice::Failed { request, raised, printed, .. } => {
            let kind = match raised.is_empty() {
                true => FailureKind::Answer,
                false => FailureKind::Exception,
            };
            (kind, request, raised.clone(), printed)
        }
        Notice::Overdue { request, frames, printed, .. } => {
            (FailureKind::Deadline, request, vec![overdue(frames)], printed)
        }
        _ => return None,
    };
    for frame in raised.iter_mut().flat_map(|raised| &mut raised.frames) {
        frame.file = shortened(&frame.file, served.release);
    }
    let place = raised.last().and_then(|raised| place(&raised.frames));
    let fingerprint = raised.last().map(|last| fingerprint(kind, last, place.as_deref()));
    let ToldRequest { request_id, method, path, age_ms } = request.clone();
    Some(FailureReport {
        at_ms: now_ms(),
        kind,
        site: served.site.to_owned(),
        release: served.release.to_owned(),
        worker: served.worker.map(str::to_owned),
        request_id,
        method,
        path,
        age_ms,
        fingerprint: fingerprint.unwrap_or_default(),
        place,
        raised,
        printed: printed.clone(),
    })
}

/// A request past its deadline, as if it had raised where its thread was.
fn overdue(frames: &[Frame]) -> Raised {
    Raised {
        kind: "DeadlineExceeded".to_owned(),
        message: "the request passed its deadline (`harakiri`)".to_owned(),
        after: None,
        frames: frames.to_vec(),
    }
}

/// `/…/releases/ID/app/views.py` is `views.py`, so that a new release does not make a known traceback a new one.
fn shortened(file: &str, release: &str) -> String {
    let below = file.split_once(&format!("/releases/{release}/")).map(|(_, below)| below);
    below.map_or(file, |below| below.strip_prefix(APP).unwrap_or(below)).to_owned()
}

/// The innermost call in the site's own files, else the innermost of all.
fn place(frames: &[Frame]) -> Option<String> {
    let is_own = |frame: &&Frame| {
        let path = Path::new(&frame.file);
        path.is_relative()
            && !frame.file.starts_with(PACKAGES)
            && !frame.file.starts_with('<')
            && !path.components().any(|part| part.as_os_str() == "site-packages")
    };
    let frame = frames.iter().rev().find(is_own).or(frames.last())?;
    Some(format!("{}:{} in {}", frame.file, frame.line, frame.function))
}

/// The class and the calls, by their text where it is known: lines that were added above do not make it another one. A thread
/// past its deadline is caught at any call of a loop, so that its place stands for all.
fn fingerprint(kind: FailureKind, raised: &Raised, place: Option<&str>) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(text);
        hash.update([0]);
    };
    add(kind.name());
    add(&raised.kind);
    if kind == FailureKind::Deadline {
        add(place.unwrap_or_default());
    } else {
        for frame in &raised.frames {
            add(&frame.file);
            add(&frame.function);
            match &frame.source {
                Some(source) => add(source),
                None => add(&frame.line.to_string()),
            }
        }
    }
    hash.finalize().iter().take(FINGERPRINT_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVED: Served<'_> = Served { site: "blog", release: "r1", worker: Some("blog.1") };

    fn frame(file: &str, line: u32, source: &str) -> Frame {
        let (file, function) = (file.to_owned(), "index".to_owned());
        Frame { file, line, function, source: Some(source.to_owned()) }
    }

    fn failed(served: Served<'_>, kind: &str, frames: &[Frame]) -> FailureReport {
        let (request_id, method, path) = ("7".into(), "GET".into(), "/a".into());
        let request = ToldRequest { request_id, method, path, age_ms: 3 };
        let (kind, message, frames) = (kind.to_owned(), "m".to_owned(), frames.to_vec());
        let raised = vec![Raised { kind, message, after: None, frames }];
        let notice = Notice::Failed { request, raised, printed: String::new(), lost: 0 };
        report(served, &notice).unwrap()
    }

    #[test]
    fn files_are_named_from_the_release_and_the_place_is_the_sites_own() {
        let release = "/srv/sites/blog/releases/r1";
        let packages = format!("{release}/venv/lib/python3.11/site-packages/flask/app.py");
        let frames = [
            frame("/usr/lib/python3.11/threading.py", 1, "run()"),
            frame(&format!("{release}/app/blog/views.py"), 12, "1 / 0"),
            frame(&packages, 3, "raise"),
        ];
        let told = failed(SERVED, "ValueError", &frames);
        assert_eq!(told.place.as_deref(), Some("blog/views.py:12 in index"));
        let files: Vec<_> = told.raised[0].frames.iter().map(|frame| &*frame.file).collect();
        assert_eq!(files[1..], ["blog/views.py", "venv/lib/python3.11/site-packages/flask/app.py"]);
        assert_eq!((told.kind, told.worker.as_deref()), (FailureKind::Exception, Some("blog.1")));
    }

    #[test]
    fn a_new_release_or_a_line_above_keeps_the_fingerprint_and_another_call_does_not() {
        let at = |release: &str, line, source: &str| {
            let file = format!("/srv/sites/blog/releases/{release}/app/a.py");
            failed(Served { release, ..SERVED }, "KeyError", &[frame(&file, line, source)])
        };
        let first = at("r1", 3, "x[1]").fingerprint;
        assert_eq!(first.len(), 2 * FINGERPRINT_BYTES);
        assert_eq!(at("r2", 4, "x[1]").fingerprint, first);
        assert_ne!(at("r1", 3, "x[2]").fingerprint, first);
        let file = "/srv/sites/blog/releases/r1/app/a.py";
        assert_ne!(failed(SERVED, "IndexError", &[frame(file, 3, "x[1]")]).fingerprint, first);
    }

    #[test]
    fn an_answer_without_an_exception_is_in_no_group() {
        let (request_id, method, path) = ("7".into(), "GET".into(), "/a".into());
        let request = ToldRequest { request_id, method, path, age_ms: 3 };
        let printed = "why\n".to_owned();
        let notice = Notice::Failed { request, raised: Vec::new(), printed, lost: 0 };
        let told = report(SERVED, &notice).unwrap();
        assert_eq!((told.kind, &*told.fingerprint), (FailureKind::Answer, ""));
        assert_eq!(told.printed, "why\n");
        assert!(report(SERVED, &Notice::Stalled { waited_ms: 1 }).is_none());
    }
}
