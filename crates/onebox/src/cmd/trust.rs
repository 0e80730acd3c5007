//! `onebox trust`: this machine believes the certificates of the box's own authority, or no longer does.
//!
//! Debian's way (update-ca-certificates(8)): a file in a folder of the administrator's, and a program that takes it in.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use onebox_config::{BoxConfig, Paths};

use crate::cli::TrustArgs;
use crate::report::Failure;

/// The administrator's folder.
const FOLDER: &str = "/usr/local/share/ca-certificates";
const PROGRAM: &str = "update-ca-certificates";

/// Installs the root, or removes it.
pub(crate) fn trust(config: &BoxConfig, arguments: &TrustArgs) -> Result<(), Failure> {
    let root = Paths::new(&config.state_dir).authority_root();
    let text = match fs::read(&root) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::NoAuthority(config.state_dir.clone()));
        }
        Err(source) => return Err(Failure::File { path: root, source }),
    };
    let target = Path::new(FOLDER).join(file_name(&text));
    if arguments.uninstall {
        return uninstall(&target);
    }
    if !Path::new(FOLDER).is_dir() {
        return Err(Failure::NoTrustStore { root });
    }
    fs::write(&target, &text).map_err(|error| of_file(error, target.clone()))?;
    update()?;
    anstream::println!("installed {}", target.display());
    anstream::println!(
        "{PROGRAM} has run: programs that use this machine's authorities believe the box now."
    );
    anstream::println!("Browsers with a list of their own need the file too: {}", root.display());
    Ok(())
}

fn uninstall(target: &Path) -> Result<(), Failure> {
    match fs::remove_file(target) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            anstream::println!("nothing to remove: {} is not there", target.display());
            return Ok(());
        }
        Err(error) => return Err(of_file(error, target.to_owned())),
    }
    update()?;
    anstream::println!("removed {}; {PROGRAM} has run", target.display());
    Ok(())
}

/// By its content: several boxes may be trusted.
fn file_name(root: &[u8]) -> String {
    // FNV-1a: the name has to be the same each time, not hard to guess.
    let hash = root.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("onebox-{hash:016x}.crt")
}

fn update() -> Result<(), Failure> {
    // Not everybody's PATH has it.
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new(PROGRAM).env("PATH", format!("{path}:/usr/sbin:/sbin")).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(Failure::TrustStore(io::Error::other(said)))
        }
        Err(error) => Err(Failure::TrustStore(error)),
    }
}

fn of_file(error: io::Error, path: PathBuf) -> Failure {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::OnlyRoot(path),
        _ => Failure::File { path, source: error },
    }
}
