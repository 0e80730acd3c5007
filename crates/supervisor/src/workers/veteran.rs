//! Workers of the supervisor before this one: adopted, and drained when nobody needs them any more.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{WorkerContext, drain};
use crate::listeners::SocketFile;
use crate::logs::{Source, each_line};
use crate::process::{Process, ProcessData};
use crate::takeover::Luggage;

/// A worker of the supervisor before this one: it finishes what it has, and is not started again.
#[derive(Debug)]
pub(crate) struct Veteran {
    site: String,
    mercy: Duration,
    socket: SocketFile,
    process: Process,
}

/// A [`Veteran`], or a worker that becomes one: descriptors by their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct VeteranData {
    pub(super) site: String,
    pub(super) mercy: Duration,
    pub(super) socket: PathBuf,
    pub(super) process: ProcessData,
}

impl Veteran {
    /// The site that it serves.
    pub(crate) fn site(&self) -> &str {
        &self.site
    }

    /// Takes it over with what it prints.
    ///
    /// # Errors
    /// Where its descriptors are not there.
    pub(crate) fn adopt(context: &Arc<WorkerContext>, data: &VeteranData) -> io::Result<Arc<Self>> {
        let (process, output) = Process::adopt(&data.process)?;
        for (pipe, source) in [(output.stdout, Source::App), (output.stderr, Source::Error)] {
            let (logs, site) = (Arc::clone(&context.logs), data.site.clone());
            tokio::spawn(each_line(pipe, move |line| logs.write(&site, source, line)));
        }
        let (site, socket) = (data.site.clone(), SocketFile(data.socket.clone()));
        Ok(Arc::new(Self { site, mercy: data.mercy, socket, process }))
    }

    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(crate) fn pack(&self, luggage: &mut Luggage) -> io::Result<VeteranData> {
        let (site, socket) = (self.site.clone(), self.socket.0.clone());
        Ok(VeteranData { site, mercy: self.mercy, socket, process: self.process.pack(luggage)? })
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
