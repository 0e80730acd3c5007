//! `onebox run` and `onebox dev`: a folder served in place, in the foreground.

use onebox_config::BoxFlags;
use onebox_config::site::{Application, PythonChoice};
use onebox_supervisor::{Folder, ServeError};

use crate::cli::{ApplianceArgs, DevArgs, FolderArgs, RunArgs};
use crate::cmd::operation::print_detail;
use crate::cmd::serve::{become_supervisor, say};
use crate::cmd::{configuration, flags};
use crate::print::{status::sites, style};
use crate::report::Failure;

/// Serves until a signal ends it.
pub(crate) fn run(appliance: &ApplianceArgs, arguments: RunArgs) -> Result<(), Failure> {
    let folder = folder(arguments.folder)?;
    let flags =
        BoxFlags { http: arguments.listen.http, https: arguments.listen.https, ..flags(appliance) };
    let result = onebox_supervisor::run_in_place(configuration(flags)?, folder, |ready| {
        say(&format!("ready  {}", style::address(sites(&ready.http, &ready.https))));
    });
    result.map_err(failure)
}

/// The same for who writes the site.
pub(crate) fn develop(appliance: &ApplianceArgs, arguments: DevArgs) -> Result<(), Failure> {
    let folder = folder(arguments.folder)?;
    let https = Some("none".to_owned());
    let flags = BoxFlags { http: Some(arguments.http), https, ..flags(appliance) };
    let result = onebox_supervisor::develop(configuration(flags)?, folder, |ready| {
        say(&format!("ready  {}", style::address(sites(&ready.http, &ready.https))));
        say(&style::warning(
            "for development only: it shows tracebacks to whoever asks, and serves one request at a time",
        ));
    });
    result.map_err(failure)
}

/// The folder that is meant, checked.
fn folder(arguments: FolderArgs) -> Result<Folder, Failure> {
    become_supervisor()?;
    let root = super::deploy::folder(&arguments.path)?;
    let file = arguments.config.clone().unwrap_or_else(|| arguments.path.join("onebox.toml"));
    let read = move || {
        let mut site = onebox_config::load_site(&arguments.path, arguments.config.as_deref())?;
        if let Some(module) = &arguments.module {
            site.application = Some(Application::Module(module.clone()));
        }
        if let Some(python) = &arguments.python {
            site.python = Some(python_choice(python.clone()));
        }
        Ok(site)
    };
    read().map_err(|error| Failure::config(file.display().to_string(), error))?;
    Ok(Folder { root, read: Box::new(read) })
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::InPlace { reason, detail, hint } => {
            print_detail(&detail);
            Failure::InPlace { reason, hint }
        }
        error => Failure::serve(&error),
    }
}

/// A number is a version, everything else a path.
fn python_choice(text: String) -> PythonChoice {
    if text.starts_with(|first: char| first.is_ascii_digit()) && !text.contains('/') {
        PythonChoice::Version(text)
    } else {
        PythonChoice::Path(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_version_and_the_rest_a_path() {
        assert_eq!(python_choice("3.11".into()), PythonChoice::Version("3.11".into()));
        assert_eq!(
            python_choice("venv/bin/python".into()),
            PythonChoice::Path("venv/bin/python".into())
        );
    }
}
