//! `onebox run` and `onebox dev`: an appliance of one folder, without a state of its own.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use onebox_config::{Account, BoxConfig, ConfigError, SiteConfig};

use super::develop::TerminalModes;
use super::{Configuration, Mode, ServeError, Start, check_user, run, runtime, start_logging};
use crate::activation::Activation;
use crate::appliance::Purpose;
use crate::mask;
use crate::ready::Ready;
use crate::signals::Blocked;

/// A folder that is served in place, and how its configuration is read.
pub struct Folder {
    /// Where it is.
    pub root: PathBuf,
    /// Reads its configuration, from the same file and flags each time.
    pub read: Box<dyn Fn() -> Result<SiteConfig, ConfigError> + Send + Sync>,
}

/// Serves one folder as it is until a signal ends it: nothing is copied, installed or kept.
///
/// # Errors
/// [`ServeError`] where it can't start; [`ServeError::InPlace`] where the folder is no site.
pub fn run_in_place(
    configuration: Configuration,
    folder: Folder,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    serve_folder(configuration, folder, Purpose::InPlace, on_ready)
}

/// The same for who writes the site: it is loaded anew when a source file changes, whoever asks is shown the traceback of what
/// fails, and a debugger has the terminal.
///
/// # Errors
/// As [`run_in_place`]; a folder that is no site yet is waited for.
pub fn develop(
    configuration: Configuration,
    folder: Folder,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    let terminal = TerminalModes::of_stdin();
    let result = serve_folder(configuration, folder, Purpose::Development, on_ready);
    terminal.restore();
    result
}

fn serve_folder(
    configuration: Configuration,
    folder: Folder,
    purpose: Purpose,
    on_ready: impl FnOnce(Ready),
) -> Result<(), ServeError> {
    start_logging();
    mask::open();
    let signals = Blocked::new()?;
    let given = Activation::take()?;
    let scratch = tempfile::Builder::new()
        .prefix("onebox-run-")
        .permissions(Permissions::from_mode(0o711))
        .tempdir()?;
    let (state_dir, owner) = (scratch.path().to_owned(), owner_of(&folder.root)?);
    let in_place = move |config: BoxConfig| BoxConfig {
        state_dir: state_dir.clone(),
        admin: Vec::new(),
        user: config
            .user
            .map(|of_box| if of_box.uid == 0 { of_box } else { owner.clone().unwrap_or(of_box) }),
        ..config
    };
    let Configuration { config, read_again } = configuration;
    let config = in_place(config);
    check_user(&config)?;
    let read_again = Box::new(move || read_again().map(&in_place));
    let runtime = runtime()?;
    let mode = Mode::InPlace { given, folder: Arc::new(folder), purpose };
    let configuration = Configuration { config, read_again };
    let start = Start { configuration, mode, program: None, signals };
    let result = runtime.block_on(run(start, on_ready));
    runtime.shutdown_background();
    result
}

/// Whose a folder is that is served in place, where that is not root.
fn owner_of(folder: &Path) -> io::Result<Option<Account>> {
    let folder = std::fs::metadata(folder)?;
    let unnamed = || Account::of_numbers(folder.uid(), folder.gid());
    let account = || Account::find(&folder.uid().to_string()).unwrap_or_else(unnamed);
    Ok((folder.uid() != 0).then(account))
}
