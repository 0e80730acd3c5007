//! `onebox check`: every problem of a configuration, at once. No appliance is needed.

use std::path::{Path, PathBuf};

use onebox_config::{BoxFlags, ConfigError};
use onebox_supervisor::about_unorderable;
use serde::Serialize;

use crate::cli::CheckArgs;
use crate::print::{self, done, style};
use crate::report::Failure;

/// One problem as JSON.
#[derive(Debug, Serialize)]
struct ProblemLine {
    key: String,
    place: String,
    message: String,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct Verdict {
    file: String,
    ok: bool,
    problems: Vec<ProblemLine>,
    /// What is allowed, and will not do what one may expect.
    warnings: Vec<String>,
}

/// Checks a site's folder, one `onebox.toml` or one `box.toml`; exit code 1 when there is a problem.
pub(crate) fn check(arguments: CheckArgs) -> Result<(), Failure> {
    let target = Target::of(&arguments.path)?;
    let file = target.file().display().to_string();
    let result = target.load();
    if arguments.json {
        let problems = result.as_ref().err().map(|error| error.problems.iter().map(line).collect());
        let verdict = Verdict {
            file: file.clone(),
            ok: result.is_ok(),
            problems: problems.unwrap_or_default(),
            warnings: result.as_ref().ok().cloned().into_iter().flatten().collect(),
        };
        print::json(&verdict)?;
    } else if let Ok(warning) = &result {
        let absent = if target.file().exists() {
            ""
        } else {
            " is not there; every setting is the default and"
        };
        done(&format!("{file}{absent} is fine"));
        if let Some(warning) = warning {
            anstream::println!("{} {warning}", style::warning("!"));
        }
    }
    result.map(drop).map_err(|error| Failure::config(file, error))
}

/// What is checked.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Site { root: PathBuf, file: Option<PathBuf> },
    Box { folder: PathBuf },
}

impl Target {
    fn of(path: &Path) -> Result<Self, Failure> {
        if path.is_dir() {
            return Ok(Self::Site { root: path.to_owned(), file: None });
        }
        if let Err(source) = path.metadata() {
            return Err(Failure::File { path: path.to_owned(), source });
        }
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.file_name().is_some_and(|name| name == "box.toml") {
            return Ok(Self::Box { folder: folder.to_owned() });
        }
        Ok(Self::Site { root: folder.to_owned(), file: Some(path.to_owned()) })
    }

    fn file(&self) -> PathBuf {
        match self {
            Self::Site { file: Some(file), .. } => file.clone(),
            Self::Site { root, file: None } => root.join("onebox.toml"),
            Self::Box { folder } => folder.join("box.toml"),
        }
    }

    /// What its owner should know although nothing is wrong.
    fn load(&self) -> Result<Option<String>, ConfigError> {
        match self {
            Self::Site { root, file } => {
                let site = onebox_config::load_site(root, file.as_deref())?;
                let orders = site.tls.own.is_none();
                Ok(orders.then(|| about_unorderable(&site.domains)).flatten())
            }
            Self::Box { folder } => {
                let flags = BoxFlags { config_dir: Some(folder.clone()), ..BoxFlags::default() };
                onebox_config::load_box(flags).map(|_| None)
            }
        }
    }
}

fn line(problem: &onebox_config::Problem) -> ProblemLine {
    ProblemLine {
        key: problem.key.clone(),
        place: problem.origin.to_string(),
        message: problem.message.clone(),
        hint: problem.hint.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_says_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["box.toml", "staging.toml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let of = |name: &str| Target::of(&folder.path().join(name)).unwrap();
        assert_eq!(of("box.toml"), Target::Box { folder: folder.path().to_owned() });
        assert_eq!(of("staging.toml").file(), folder.path().join("staging.toml"));
        assert_eq!(of("").file(), folder.path().join("onebox.toml"));
        assert!(Target::of(&folder.path().join("none.toml")).is_err());
    }
}
