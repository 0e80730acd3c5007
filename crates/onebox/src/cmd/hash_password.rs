//! `onebox hash-password`: what `[auth]` in a site's configuration wants. No appliance is needed.

use std::io::{self, IsTerminal};

use crate::print::style;
use crate::report::Failure;

/// Reads a password, which a terminal does not show, and prints its hash.
pub(crate) fn hash_password() -> Result<(), Failure> {
    let password = read_password()?;
    let hash = onebox_supervisor::hash_password(&password).map_err(Failure::Password)?;
    anstream::println!("{hash}");
    Ok(())
}

/// A line of standard input, asked for where that is a terminal.
pub(super) fn read_password() -> Result<String, Failure> {
    if io::stdin().is_terminal() {
        anstream::eprint!("{} ", style::strong("Password:"));
    }
    read_unseen().map_err(Failure::Password)
}

/// One line of standard input, without its end.
fn read_unseen() -> io::Result<String> {
    let stdin = io::stdin();
    let shown = rustix::termios::tcgetattr(&stdin).ok();
    if let Some(shown) = &shown {
        let mut unseen = shown.clone();
        unseen.local_modes.remove(rustix::termios::LocalModes::ECHO);
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, &unseen)?;
    }
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    if let Some(shown) = &shown {
        rustix::termios::tcsetattr(&stdin, rustix::termios::OptionalActions::Flush, shown)?;
        anstream::eprintln!();
    }
    read?;
    let password = line.trim_end_matches(['\n', '\r']);
    if password.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the password is empty"));
    }
    Ok(password.to_owned())
}
