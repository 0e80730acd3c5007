//! An upgrade: this process becomes the program that its file holds now, and everything that serves goes on meanwhile.
//!
//! The process id, the listening sockets, the lock and the children stay. What the next program must know of them goes over in a
//! file in memory ([`Takeover`]), descriptors by their numbers. It adopts the engines and workers as they are, starts its own
//! beside them, and drains the old ones. Before all of it the new program is run once to say whether it understands what it would
//! be given, the schema of the database included: from `exec` on there is no way back.
//!
//! Two versions meet here: [`FORMAT`] counts what is no longer understood by the other side.
//!
//! Source: execve(2), memfd_create(2).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use onebox_app_server::unblock_signals;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde::{Deserialize, Serialize};

use crate::appliance::Fleet;
use crate::listeners::{BoundListener, ListenerSet};
use crate::mask;
use crate::process::{hold_spawning, take_inherited};
use crate::ready::READY_FD;
use crate::store::{StoreError, known_schema};

/// The variable with the number of the file in memory.
const VARIABLE: &str = "ONEBOX_TAKEOVER";
/// The variable that asks a program only whether it understands such a file, on its standard input.
const CHECK: &str = "ONEBOX_TAKEOVER_CHECK";
/// Another number is another layout of the file.
const FORMAT: u32 = 2;
/// Descriptors are handed over above this number.
const FLOOR: RawFd = 100;
/// How long the new program may take for its answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// More than this of what it says is not shown, in bytes.
const SAID_BYTES: usize = 2000;

/// Everything that one supervisor leaves to the next.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Takeover {
    format: u32,
    /// What `state.db` is written in.
    #[serde(default)]
    schema: i64,
    pub(crate) lock: RawFd,
    pub(crate) control: RawFd,
    http: Vec<ListenerData>,
    /// A version before this one had none.
    #[serde(default)]
    https: Vec<ListenerData>,
    admin: Vec<ListenerData>,
    pub(crate) fleet: Fleet,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListenerData {
    wanted: Option<SocketAddr>,
    descriptor: RawFd,
}

/// Why this process is still what it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeError {
    /// The new program can't be run, or says no.
    #[error("{} would not start: {said}", program.display())]
    Refused {
        /// Its file.
        program: PathBuf,
        /// What it said, or what happened to it.
        said: String,
    },
    /// A folder is served in place: what that needs is gone with the process.
    #[error("`onebox run` can't be upgraded while it runs; end it and start it again")]
    InPlace,
    /// The operating system.
    #[error("the upgrade could not be made: {0}")]
    System(#[from] io::Error),
}

/// The program as this process was started: its file may hold another one now.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// Of this process. Call it at its start: later its file may be gone.
    ///
    /// # Errors
    /// Where the system does not say which file it is.
    pub(crate) fn of_this_process() -> io::Result<Self> {
        let mut words = std::env::args_os();
        let name = words.next().map(PathBuf::from).unwrap_or_default();
        // A name with a slash is the file that was named: a link may point to another version by now. Without one it was
        // found on PATH.
        let is_path = name.components().count() > 1;
        let path = if is_path { std::path::absolute(name)? } else { std::env::current_exe()? };
        Ok(Self { path, arguments: words.collect() })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        for consumed in [READY_FD, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", CHECK] {
            command.env_remove(consumed);
        }
        command
    }

    /// Asks the program that is in the file now whether it would take over.
    async fn check(&self, file: &File) -> Result<(), UpgradeError> {
        let refused = |said: String| UpgradeError::Refused { program: self.path.clone(), said };
        let mut command = self.command();
        command.env_remove(VARIABLE).env(CHECK, "1").process_group(0);
        command.stdin(reopened(file)?).stdout(Stdio::null()).stderr(Stdio::piped());
        unblock_signals(&mut command);
        let mut command = tokio::process::Command::from(command);
        let child =
            command.kill_on_drop(true).spawn().map_err(|error| refused(error.to_string()))?;
        match tokio::time::timeout(PATIENCE, child.wait_with_output()).await {
            Err(_) => Err(refused(format!("it said nothing within {PATIENCE:?}"))),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(output)) if output.status.success() => Ok(()),
            Ok(Ok(output)) => {
                let said = String::from_utf8_lossy(&output.stderr);
                let said: String = said.trim().chars().take(SAID_BYTES).collect();
                Err(refused(format!("{} {said}", output.status)))
            }
        }
    }
}

/// Copies of descriptors that survive `exec`, once they are told to.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    descriptors: Vec<OwnedFd>,
}

impl Luggage {
    /// Packs a copy; its number is for the next program.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&mut self, descriptor: impl AsFd) -> io::Result<RawFd> {
        let copy = fcntl_dupfd_cloexec(descriptor, FLOOR)?;
        let number = copy.as_raw_fd();
        self.descriptors.push(copy);
        Ok(number)
    }

    fn set(&self, flags: FdFlags) -> io::Result<()> {
        for descriptor in &self.descriptors {
            fcntl_setfd(descriptor, flags)?;
        }
        Ok(())
    }
}

/// What of this process is handed over beside the fleet.
pub(crate) struct Held<'a> {
    pub(crate) lock: BorrowedFd<'a>,
    pub(crate) control: BorrowedFd<'a>,
    pub(crate) http: &'a ListenerSet,
    pub(crate) https: &'a ListenerSet,
    pub(crate) admin: &'a ListenerSet,
}

/// Becomes the program that is in the file now; returns only where that was not possible, and then nothing has changed. `written`
/// is waited for at the last moment: what is only in memory is gone then.
pub(crate) async fn become_new(
    program: &Program,
    held: Held<'_>,
    pack_fleet: impl Fn(&mut Luggage) -> io::Result<Fleet>,
    written: impl Future<Output = ()>,
) -> UpgradeError {
    match try_become_new(program, held, pack_fleet, written).await {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

async fn try_become_new(
    program: &Program,
    held: Held<'_>,
    pack_fleet: impl Fn(&mut Luggage) -> io::Result<Fleet>,
    written: impl Future<Output = ()>,
) -> Result<std::convert::Infallible, UpgradeError> {
    let pack = |luggage: &mut Luggage| -> io::Result<File> {
        let takeover = Takeover {
            format: FORMAT,
            schema: known_schema(),
            lock: luggage.pack(held.lock)?,
            control: luggage.pack(held.control)?,
            http: pack_listeners(luggage, held.http)?,
            https: pack_listeners(luggage, held.https)?,
            admin: pack_listeners(luggage, held.admin)?,
            fleet: pack_fleet(luggage)?,
        };
        takeover.to_file()
    };
    program.check(&pack(&mut Luggage::default())?).await?;
    written.await;
    // From here to `exec` no child is started, which would inherit all of it. Those that came and went during the check are seen
    // now.
    let _no_children = hold_spawning();
    let mut luggage = Luggage::default();
    let file = pack(&mut luggage)?;
    let number = luggage.pack(&file)?;
    luggage.set(FdFlags::empty())?;
    mask::give_back();
    let error = program.command().env(VARIABLE, number.to_string()).exec();
    mask::open();
    luggage.set(FdFlags::CLOEXEC)?;
    Err(error.into())
}

fn pack_listeners(luggage: &mut Luggage, set: &ListenerSet) -> io::Result<Vec<ListenerData>> {
    let pack = |listener: &Arc<BoundListener>| -> io::Result<ListenerData> {
        let descriptor = luggage.pack(&listener.socket)?;
        Ok(ListenerData { wanted: listener.wanted, descriptor })
    };
    set.iter().map(pack).collect()
}

impl Takeover {
    /// What was left to this process, if it is the program of an upgrade; ends the process where it was only asked.
    ///
    /// # Errors
    /// Where it is not understood.
    pub(crate) fn of_this_process() -> io::Result<Option<Self>> {
        if std::env::var_os(CHECK).is_some() {
            Self::read(io::stdin().lock())?;
            std::process::exit(0);
        }
        let Some(number) = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok()) else {
            return Ok(None);
        };
        let mut file = File::from(take_inherited(number)?);
        file.seek(SeekFrom::Start(0))?;
        Self::read(file).map(Some)
    }

    fn read(mut from: impl Read) -> io::Result<Self> {
        let mut text = String::new();
        from.read_to_string(&mut text)?;
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let format = serde_json::from_str::<Format>(&text)?.format;
        if format != FORMAT {
            return Err(wrong(format!("takeover format {format}, this version knows {FORMAT}")));
        }
        let takeover: Self = serde_json::from_str(&text)?;
        let (version, known) = (takeover.schema, known_schema());
        if version > known {
            return Err(io::Error::other(StoreError::Newer { version, known }));
        }
        Ok(takeover)
    }

    fn to_file(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("onebox-takeover", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(file)
    }

    /// The listeners for sites, those with TLS, and those for the dashboard.
    ///
    /// # Errors
    /// Where one is not there.
    pub(crate) fn listeners(&self) -> io::Result<[ListenerSet; 3]> {
        let take = |data: &ListenerData| -> io::Result<BoundListener> {
            let socket = TcpListener::from(take_inherited(data.descriptor)?);
            Ok(BoundListener { wanted: data.wanted, socket })
        };
        let set = |all: &[ListenerData]| all.iter().map(take).collect::<io::Result<_>>();
        Ok([set(&self.http)?, set(&self.https)?, set(&self.admin)?])
    }
}

/// All that every layout of the file has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// The same file from its start, with a place of its own.
fn reopened(file: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takeover() -> Takeover {
        let (http, https, admin, fleet) = (Vec::new(), Vec::new(), Vec::new(), Fleet::default());
        let schema = known_schema();
        Takeover { format: FORMAT, schema, lock: 100, control: 101, http, https, admin, fleet }
    }

    #[test]
    fn it_survives_the_file_and_another_format_is_refused() {
        let file = takeover().to_file().unwrap();
        assert_eq!(Takeover::read(reopened(&file).unwrap()).unwrap().lock, 100);
        let later = Takeover { format: FORMAT + 1, ..takeover() }.to_file().unwrap();
        let error = Takeover::read(reopened(&later).unwrap()).unwrap_err();
        assert!(error.to_string().contains("format 3"), "{error}");
        Takeover::read(&b"{}"[..]).unwrap_err();
    }

    #[test]
    fn a_program_that_does_not_know_the_schema_of_the_database_is_refused() {
        let later = Takeover { schema: known_schema() + 1, ..takeover() }.to_file().unwrap();
        let error = Takeover::read(reopened(&later).unwrap()).unwrap_err().to_string();
        assert!(error.contains("state.db was written by a later version"), "{error}");
    }

    #[test]
    fn listeners_are_found_again_by_their_numbers() {
        let set = ListenerSet::open(Vec::new(), &["127.0.0.1:0".parse().unwrap()]).unwrap();
        let mut luggage = Luggage::default();
        let http = pack_listeners(&mut luggage, &set).unwrap();
        let taken = Takeover { http, ..takeover() };
        // As after `exec`: the numbers are nobody else's.
        luggage.descriptors.into_iter().for_each(std::mem::forget);
        let [http, https, admin] = taken.listeners().unwrap();
        assert_eq!(http.addresses(), set.addresses());
        assert!(https.addresses().is_empty() && admin.addresses().is_empty());
        assert!(http.changed(&["127.0.0.1:0".parse().unwrap()]).unwrap().is_same_as(&http));
    }
}
