//! A long operation of the appliance as its events come: printed as steps, or handed on as lines of JSON.

use onebox_supervisor::api::DeployEvent;

use crate::client::{ClientError, Lines};
use crate::print::progress::Progress;
use crate::report::Failure;

/// How it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// As lines for people.
    Steps,
    /// As the events themselves, a JSON object a line.
    Json,
}

impl Show {
    /// By the flag `--json`.
    pub(crate) fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Steps }
    }
}

/// What the last line of a successful operation said.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The site.
    pub(crate) site: String,
    /// Its live release.
    pub(crate) release: String,
    /// Its addresses, the best first.
    pub(crate) urls: Vec<String>,
    /// How long it took.
    pub(crate) total_ms: u64,
}

/// Reads events to the last one; `operation` names the whole, as in `the deploy of blog`.
///
/// # Errors
/// With the reason when the operation failed, after printing the traceback or the output that goes with it.
pub(crate) async fn follow(
    mut lines: Lines,
    operation: &str,
    show: Show,
) -> Result<Outcome, Failure> {
    let mut progress = Progress::new();
    while let Some(line) = lines.next().await? {
        let event = serde_json::from_slice(&line)
            .map_err(|source| ClientError::Answer { path: operation.to_owned(), source })?;
        if show == Show::Json {
            anstream::println!("{}", String::from_utf8_lossy(&line));
        }
        match (event, show) {
            (DeployEvent::Done { site, release, urls, total_ms }, _) => {
                progress.finish();
                return Ok(Outcome { site, release, urls, total_ms });
            }
            (DeployEvent::Failed { step, reason, detail, hint }, _) => {
                if show == Show::Steps {
                    progress.fail(&step);
                    print_detail(&detail);
                }
                return Err(Failure::Operation {
                    operation: operation.to_owned(),
                    step,
                    reason,
                    hint,
                });
            }
            (DeployEvent::Step { step, text }, Show::Steps) => progress.step(&step, &text),
            (DeployEvent::Output { line }, Show::Steps) => progress.output(&line),
            (DeployEvent::Warning { text }, Show::Steps) => progress.warning(&text),
            (_, Show::Json) => {}
        }
    }
    Err(Failure::BrokenOff { operation: operation.to_owned() })
}

/// A traceback or the last lines of output, set off from what is ours; it goes where the report goes.
pub(crate) fn print_detail(detail: &str) {
    if detail.trim().is_empty() {
        return;
    }
    anstream::eprintln!();
    for line in detail.trim_end().lines() {
        anstream::eprintln!("    {line}");
    }
    anstream::eprintln!();
}
