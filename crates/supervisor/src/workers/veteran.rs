//! Workers of the supervisor before this one: adopted, and drained when nobody needs them any more.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe;
use tokio::sync::watch;

use super::life::{Heard, write_down};
use super::{WorkerContext, drain};
use crate::listeners::SocketFile;
use crate::notices::Served;
use crate::process::{Process, ProcessData, take_inherited};
use crate::takeover::Luggage;

/// How they are called where others have their names.
const VETERAN: &str = "veteran";

/// A worker of the supervisor before this one: it finishes what it has, and is not started again.
#[derive(Debug)]
pub(crate) struct Veteran {
    site: String,
    release: String,
    mercy: Duration,
    socket: SocketFile,
    process: Process,
    /// The same pipe as the one that is read, to be handed over.
    status: OwnedFd,
}

/// A [`Veteran`], or a worker that becomes one: descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VeteranData {
    pub(super) site: String,
    pub(super) release: String,
    pub(super) mercy: Duration,
    pub(super) socket: PathBuf,
    pub(super) process: ProcessData,
    pub(super) status: RawFd,
}

impl Veteran {
    /// The site that it serves.
    pub(crate) fn site(&self) -> &str {
        &self.site
    }

    /// Takes it over with what it prints and says.
    ///
    /// # Errors
    /// Where its descriptors are not there.
    pub(crate) fn adopt(context: &Arc<WorkerContext>, data: VeteranData) -> io::Result<Arc<Self>> {
        let (process, output) = Process::adopt(&data.process)?;
        let status = take_inherited(data.status)?;
        let pipe = pipe::Receiver::from_owned_fd(status.try_clone()?)?;
        let VeteranData { site, release, mercy, socket, .. } = data;
        let (context, names) = (Arc::clone(context), (site.clone(), release.clone()));
        tokio::spawn(async move {
            let served = Served { site: &names.0, release: &names.1, worker: Some(VETERAN) };
            // It has a successor already: what it says of itself moves nobody.
            let (heard, _) = watch::channel(Heard::default());
            write_down(&context, served, output, (pipe, &heard)).await;
        });
        Ok(Arc::new(Self { site, release, mercy, socket: SocketFile(socket), process, status }))
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<VeteranData> {
        Ok(VeteranData {
            site: self.site.clone(),
            release: self.release.clone(),
            mercy: self.mercy,
            socket: self.socket.0.clone(),
            process: self.process.pack(luggage)?,
            status: luggage.pack(&self.status)?,
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it finish what it has and end; kills it when it takes too long.
    pub(crate) async fn drain(&self, context: &WorkerContext) {
        drain(&self.process, self.mercy, context).await;
    }
}
