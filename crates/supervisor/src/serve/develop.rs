//! `onebox dev`: a folder in place that is loaded anew whenever a source file of it changes.

use std::io;
use std::sync::Arc;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Folder, ServeError};
use crate::appliance::{Appliance, Layout, OperationFailure, Purpose, SiteRelease, Unsteady};
use crate::source_files::SourceFiles;
use crate::users::SiteDefaults;

/// How a terminal treats what is typed. A debugger that is ended leaves it as it was at its prompt.
pub(super) struct TerminalModes(Option<Termios>);

impl TerminalModes {
    /// As they are now; nothing where standard input is no terminal.
    pub(super) fn of_stdin() -> Self {
        Self(tcgetattr(io::stdin()).ok())
    }

    /// Makes them so again.
    pub(super) fn restore(&self) {
        if let Some(modes) = &self.0 {
            // A terminal that is gone needs none.
            tcsetattr(io::stdin(), OptionalActions::Now, modes).ok();
        }
    }
}

/// How to serve a folder as it is now.
///
/// # Errors
/// [`OperationFailure`] where it is no site, or its configuration is wrong.
pub(super) async fn read(
    folder: &Folder,
    defaults: &SiteDefaults,
    purpose: Purpose,
) -> Result<SiteRelease, OperationFailure> {
    let config =
        (folder.read)().map_err(|error| OperationFailure::new("detect", error.to_string()))?;
    SiteRelease::in_place(folder.root.clone(), config, defaults, purpose).await
}

/// Serves a folder, waiting for one that is no site yet, and goes on in the background whenever it changes.
///
/// # Errors
/// Where it can't be watched, or no engine can be started.
pub(super) async fn start(
    appliance: &Arc<Appliance>,
    folder: Arc<Folder>,
) -> Result<(), ServeError> {
    // Before it is read: no change is missed.
    let mut sources = SourceFiles::watch(&folder.root)?;
    let release = loop {
        match read(&folder, &appliance.site_defaults(), Purpose::Development).await {
            Ok(release) => break release,
            Err(failure) => tell(&failure),
        }
        let changed = sources.changed().await;
        changed.ok_or_else(|| io::Error::other("changes can't be seen any more"))?;
    };
    let layout = Layout::at_any_rate(vec![Arc::new(release)], &Unsteady::new());
    appliance.start_with(layout).await?;
    appliance.loaded().await.map_err(|failure| {
        let (detail, hint) = (String::new(), String::new());
        ServeError::InPlace { reason: failure.summary, detail, hint }
    })?;
    tokio::spawn(follow(Arc::clone(appliance), folder, sources));
    Ok(())
}

/// Loads it anew until the appliance ends.
async fn follow(appliance: Arc<Appliance>, folder: Arc<Folder>, mut sources: SourceFiles) {
    let terminal = TerminalModes::of_stdin();
    loop {
        let changed = tokio::select! {
            changed = sources.changed() => changed,
            () = appliance.shutdown.cancelled() => return,
        };
        // Without changes to come, what is served stays as it is; the reason is in the log.
        let Some(file) = changed else { return };
        tracing::info!(file, "changed; the site is loaded anew");
        terminal.restore();
        match read(&folder, &appliance.site_defaults(), Purpose::Development).await {
            Ok(release) => {
                if let Err(error) = appliance.serve_anew(release).await {
                    tracing::error!(%error, "the site can't be loaded anew");
                }
            }
            Err(failure) => tell(&failure),
        }
    }
}

/// Says why it is not served as it is now.
fn tell(failure: &OperationFailure) {
    let OperationFailure { reason, detail, hint, .. } = failure;
    let more: String = [detail, hint]
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| format!("\n{text}"))
        .collect();
    tracing::error!("{reason}{more}");
}
