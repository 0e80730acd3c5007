//! What failed, where, and what to do: every error of the command line as a report for people.

use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
};
use onebox_config::{ConfigError, Origin, Problem};

use crate::client::ClientError;

/// Why a command ends with exit code 1.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The appliance is not there, or says no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A configuration has problems.
    #[error("{what} has {}", count(.problems.len()))]
    Config { what: String, problems: Vec<ProblemReport> },
    /// The folder that was named is none.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// A file of the user's cannot be read or written.
    #[error("{}", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// A file is there that would be overwritten.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A deploy or another long operation failed.
    #[error("{operation} failed at {step}: {reason}")]
    Operation { operation: String, step: String, reason: String, hint: String },
    /// The answer ended before it said how it went.
    #[error("{operation} was broken off: the appliance ended before it said how it went")]
    BrokenOff { operation: String },
    /// The folder could not be sent.
    #[error("the folder could not be sent")]
    Archive(#[source] std::io::Error),
    /// The appliance could not be started in the background.
    #[error("the appliance could not be started")]
    Spawn(#[source] std::io::Error),
    /// It started and ended again, or could not open what it needs.
    #[error("the appliance did not start: {error}")]
    Start { error: String, log: PathBuf },
    /// It said nothing for a long time.
    #[error("the appliance said nothing for {seconds} s")]
    Silent { seconds: u64, log: PathBuf },
    /// The supervisor ended with an error.
    #[error("{what}")]
    Serve { what: String, causes: Causes },
    /// Nothing was ever served with TLS.
    #[error("the box in {} has no authority of its own yet", .0.display())]
    NoAuthority(PathBuf),
    /// This machine keeps its authorities in another way.
    #[error("this machine has no {}", "/usr/local/share/ca-certificates")]
    NoTrustStore { root: PathBuf },
    /// What the machine believes is its administrator's.
    #[error("only root may change {}", .0.display())]
    OnlyRoot(PathBuf),
    /// update-ca-certificates failed.
    #[error("this machine's authorities could not be updated")]
    TrustStore(#[source] std::io::Error),
    /// A folder cannot be served in place.
    #[error("{reason}")]
    InPlace { reason: String, hint: String },
    /// A rule for an address that is not there, or not here.
    #[error("{reason}")]
    NoRule { reason: String, hint: String },
    /// Variables that can't be changed so.
    #[error("the variables of {site} stay as they are")]
    Variables { site: String, problems: Vec<String> },
    /// `rm` without a terminal to ask on.
    #[error("removing {site} with its releases and its data needs a confirmation")]
    Unconfirmed { site: String },
    /// A program that can't be run for a site.
    #[error("{program} could not be run")]
    Exec { program: String, source: std::io::Error },
    /// A value could not be written as JSON.
    #[error("the result could not be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The command's own runtime.
    #[error("the command could not start")]
    Runtime(#[source] std::io::Error),
    /// What is watched needs a terminal, and this is none.
    #[error("there is no terminal to show it on")]
    NoTerminal,
    /// The terminal can't be had as it is needed.
    #[error("the terminal can't be used")]
    Terminal(#[source] std::io::Error),
    /// A password can't be read or hashed.
    #[error("no password: {0}")]
    Password(#[source] std::io::Error),
}

/// The errors below another one, outermost first.
#[derive(Debug, Default)]
pub(crate) struct Causes(pub(crate) Vec<String>);

impl Failure {
    /// A configuration's problems under a common title.
    pub(crate) fn config(what: impl Into<String>, error: ConfigError) -> Self {
        let problems = error.problems.into_iter().map(ProblemReport::new).collect();
        Self::Config { what: what.into(), problems }
    }

    /// The supervisor's error with everything below it.
    pub(crate) fn serve(error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        Self::Serve { what: error.to_string(), causes: Causes(causes) }
    }

    /// A configuration's problems, a line each.
    pub(crate) fn problems(&self) -> Vec<String> {
        match self {
            Self::Config { problems, .. } => {
                problems.iter().map(|report| report.problem.to_string()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::Client(error) => return client_advice(error),
            Self::Operation { hint, .. }
            | Self::InPlace { hint, .. }
            | Self::NoRule { hint, .. }
                if hint.is_empty() =>
            {
                return None;
            }
            Self::Operation { hint, .. }
            | Self::InPlace { hint, .. }
            | Self::NoRule { hint, .. } => hint.clone(),
            Self::NotAFolder(_) => "name the folder that holds the site".into(),
            Self::Exists(_) => "onebox never overwrites it; edit it, and see `onebox check`".into(),
            Self::Start { log, .. } | Self::Silent { log, .. } => {
                format!("its log is {}; `onebox serve` starts it in the foreground", log.display())
            }
            Self::Serve { causes, .. } if causes.0.is_empty() => return None,
            Self::Serve { causes, .. } => causes.0.join("\n"),
            Self::NoAuthority(_) => {
                "it makes one when it is first served with TLS: `onebox serve --https :8443`".into()
            }
            Self::NoTrustStore { root } => {
                format!("Debian has it; elsewhere tell the machine to believe {}", root.display())
            }
            Self::OnlyRoot(_) => "run it with sudo, and --state-dir".into(),
            Self::TrustStore(_) => "Debian's package is ca-certificates".into(),
            Self::Variables { problems, .. } => problems.join("\n"),
            Self::Unconfirmed { site } => {
                format!("`onebox rm {site} --yes` removes it without asking")
            }
            Self::NoTerminal => "`onebox top --json` prints what there is to see".into(),
            Self::BrokenOff { .. } => "`onebox status` says what is live".into(),
            _ => return None,
        };
        Some(advice)
    }
}

fn client_advice(error: &ClientError) -> Option<String> {
    match error {
        ClientError::NotRunning { .. } => Some(
            "`onebox serve` starts it in the foreground, `onebox deploy PATH` in the background.\n\
             Another appliance is meant with --state-dir or ONEBOX_STATE_DIR."
                .into(),
        ),
        ClientError::Permission { .. } => {
            Some("run the command as the user who runs the appliance, or as root".into())
        }
        ClientError::Refused { error, .. } if !error.hint.is_empty() => Some(error.hint.clone()),
        _ => None,
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.advice().map(|advice| Box::new(advice) as Box<dyn fmt::Display>)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        match self {
            Self::Config { problems, .. } => {
                Some(Box::new(problems.iter().map(|problem| problem as &dyn Diagnostic)))
            }
            _ => None,
        }
    }
}

/// One problem of a configuration, shown at its line where the file can be read.
#[derive(Debug)]
pub(crate) struct ProblemReport {
    problem: Problem,
    place: Option<(NamedSource<String>, LabeledSpan)>,
}

impl ProblemReport {
    fn new(problem: Problem) -> Self {
        let place = place_of(&problem);
        Self { problem, place }
    }
}

fn place_of(problem: &Problem) -> Option<(NamedSource<String>, LabeledSpan)> {
    let Origin::File { path, line: Some(line) } = &problem.origin else {
        return None;
    };
    let text = std::fs::read_to_string(path).ok()?;
    let start: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let marked = text.get(start..)?.lines().next()?;
    let indent = marked.len() - marked.trim_start().len();
    let length = marked.trim().len().max(1);
    let span = LabeledSpan::new(None, start + indent, length);
    Some((NamedSource::new(path.display().to_string(), text), span))
}

impl fmt::Display for ProblemReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_none() {
            write!(f, "{}: ", self.problem.origin)?;
        }
        if !self.problem.key.is_empty() {
            // `thread` is not a key, but `threads`: 0 is too few.
            let colon = if self.problem.message.starts_with("is ") { "" } else { ":" };
            write!(f, "`{}`{colon} ", self.problem.key)?;
        }
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for ProblemReport {}

impl Diagnostic for ProblemReport {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        self.place.as_ref().map(|(_, span)| Box::new(std::iter::once(span.clone())) as Box<_>)
    }
}

fn count(problems: usize) -> String {
    if problems == 1 { "a problem".to_owned() } else { format!("{problems} problems") }
}

/// A failure with its causes in one line, for whoever cannot show a report.
pub(crate) fn one_line(failure: &Failure) -> String {
    let mut parts = vec![failure.to_string()];
    parts.extend(failure.problems());
    if let Failure::Serve { causes, .. } = failure {
        parts.extend(causes.0.iter().cloned());
    }
    parts.join(": ").replace('\n', " ")
}

/// The report as text, for a terminal or a file.
pub(crate) fn render(failure: &Failure) -> String {
    let coloured = std::io::stderr().is_terminal();
    let theme =
        if coloured { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_links(false)
        .with_break_words(false)
        .with_context_lines(0)
        .with_show_related_as_nested(true);
    let mut text = String::new();
    match handler.render_report(&mut text, failure) {
        Ok(()) => text,
        Err(_) => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(origin: Origin) -> Problem {
        Problem {
            key: "threads".into(),
            origin,
            message: "0 is too few".into(),
            hint: Some("1 to 1000 are allowed".into()),
        }
    }

    #[test]
    fn problems_are_shown_together_each_at_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("onebox.toml");
        std::fs::write(&path, "name = \"a\"\nthreads = 0\n").unwrap();
        let problems = vec![
            problem(Origin::File { path: path.clone(), line: Some(2) }),
            problem(Origin::Variable("ONEBOX_THREADS".into())),
        ];
        let text = render(&Failure::config("onebox.toml", ConfigError { problems }));
        for said in
            ["onebox.toml has 2 problems", "threads = 0", ":2:", "ONEBOX_THREADS", "1 to 1000"]
        {
            assert!(text.contains(said), "{said:?} in {text}");
        }
    }

    #[test]
    fn a_line_beyond_the_file_is_no_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("onebox.toml");
        std::fs::write(&path, "").unwrap();
        assert!(place_of(&problem(Origin::File { path, line: Some(7) })).is_none());
    }

    #[test]
    fn no_appliance_says_how_to_start_one() {
        let failure = Failure::from(ClientError::NotRunning { state_dir: "/srv/state".into() });
        let text = render(&failure);
        assert!(text.contains("no appliance is running for /srv/state"), "{text}");
        assert!(text.contains("onebox serve"), "{text}");
    }
}
