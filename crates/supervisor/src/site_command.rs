//! A program that takes the place of this process and is run as a site's own are: as its user, with its variables, in its folder.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use onebox_config::Account;
use onebox_config::site::ProcessProperties;

use crate::api::{CommandPlace, CommandUser};
use crate::confinement::Confinement;

/// What a program at a terminal has of whoever starts it.
const OF_THE_TERMINAL: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// Becomes `program`; returns where that fails, with the reason.
pub fn become_command(place: CommandPlace, program: &OsString, args: &[OsString]) -> io::Error {
    let CommandPlace { folder, environment, user, umask, .. } = place;
    let account = user.map(|CommandUser { uid, gid, groups }| Account {
        groups,
        ..Account::of_numbers(uid, gid)
    });
    let properties = ProcessProperties { umask, ..ProcessProperties::default() };
    let of_terminal =
        OF_THE_TERMINAL.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).env_clear().envs(of_terminal).envs(environment);
    match Confinement::of_site(account, &properties, Vec::new()).hold(&mut command) {
        Ok(()) => command.exec(),
        Err(error) => error,
    }
}
