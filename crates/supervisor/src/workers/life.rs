//! One process of a worker, from its start to its end, and the socket it listens on.
//!
//! Must not know what comes after it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onebox_app_server::{Notice, RuntimeLibrary, Usage, WorkerReport, worker_command};
use onebox_config::Account;
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::groups::Group;
use super::{CrewSpec, VeteranData, WorkerContext};
use crate::clock::now_ms;
use crate::gil_stalls::StallCounter;
use crate::listeners::{SocketFile, bind_unix};
use crate::logs::{Source, each_line};
use crate::notices::{self, Served};
use crate::process::{self, Exit, Output, Process};
use crate::takeover::Luggage;

const LISTENER_FD: i32 = 3;
const STATUS_FD: i32 = 4;
const LIFE_FD: i32 = 5;

/// A line has a traceback or a stack at most; more than this is none.
const LINE_BYTES: u64 = 1024 * 1024;
/// How long its output is read after its end.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A listening socket that processes come and go behind.
#[derive(Debug)]
pub(super) struct Door {
    file: SocketFile,
    listener: UnixListener,
}

impl Door {
    /// Only `owner`, else the supervisor's own user, can connect to it.
    pub(super) fn open(path: PathBuf, owner: Option<&Account>) -> io::Result<Self> {
        let listener = bind_unix(&path).map_err(io::Error::other)?;
        let file = SocketFile(path);
        if let Some(owner) = owner {
            std::os::unix::fs::lchown(&file.0, Some(owner.uid), Some(owner.gid))?;
        }
        Ok(Self { file, listener })
    }

    pub(super) fn path(&self) -> &Path {
        &self.file.0
    }
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) process: Arc<Process>,
    started_ms: i64,
    pub(super) started: Instant,
    heard: watch::Receiver<Heard>,
    /// The same pipe as the one that is read, to be handed over.
    status: Arc<OwnedFd>,
    /// Its output is being written down.
    written: JoinHandle<()>,
}

/// What others may know of a process while it runs.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) process: Arc<Process>,
    pub(super) started_ms: i64,
    pub(super) heard: watch::Receiver<Heard>,
    status: Arc<OwnedFd>,
}

impl About {
    /// For the process that this one becomes.
    ///
    /// # Errors
    /// Where there are no more descriptors.
    pub(super) fn pack(
        &self,
        spec: &CrewSpec,
        socket: PathBuf,
        luggage: &mut Luggage,
    ) -> io::Result<VeteranData> {
        Ok(VeteranData {
            site: spec.site.clone(),
            release: spec.release.clone(),
            mercy: spec.mercy,
            socket,
            process: self.process.pack(luggage)?,
            status: luggage.pack(&self.status)?,
        })
    }
}

/// What a process said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) report: Option<WorkerReport>,
    /// Why only a fresh process helps.
    pub(super) wedged: Option<String>,
    pub(super) usage: Usage,
    pub(super) stalls: Arc<StallCounter>,
}

impl Life {
    /// Starts a process of the worker `name` behind `door`; its output and its notices are written down by `tasks`.
    pub(super) fn start(
        context: &Arc<WorkerContext>,
        spec: &CrewSpec,
        name: &str,
        (door, group): (&Door, Option<&Group>),
        tasks: &TaskTracker,
    ) -> io::Result<Self> {
        let (status, status_writer) = io::pipe()?;
        let entrance = group.map(|group| Arc::clone(&group.entrance));
        let confinement = spec.confinement.clone().in_group(entrance);
        let (process, output) = process::spawn(
            command(spec),
            &[
                (door.listener.as_fd(), LISTENER_FD),
                (status_writer.as_fd(), STATUS_FD),
                (context.life.reader(), LIFE_FD),
            ],
            &confinement,
        )?;
        drop(status_writer);
        let kept = Arc::new(OwnedFd::from(status.try_clone()?));
        let status = pipe::Receiver::from_owned_fd(status.into())?;
        let (heard_sender, heard) = watch::channel(Heard::default());
        let (context, site) = (Arc::clone(context), spec.site.clone());
        let (release, name) = (spec.release.clone(), name.to_owned());
        let ended = process.ended();
        let written = tasks.spawn(async move {
            let served = Served { site: &site, release: &release, worker: Some(&name) };
            let output = write_down(&context, served, output, (status, &heard_sender));
            // After its end its last words; what it started may hold the pipes open for ever.
            let last_words = async {
                ended.await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                () = output => {}
                () = last_words => {}
            }
        });
        let (process, started) = (Arc::new(process), Instant::now());
        Ok(Self { process, started_ms: now_ms(), started, heard, status: kept, written })
    }

    /// What others may know of it.
    pub(super) fn about(&self) -> About {
        let (process, heard) = (Arc::clone(&self.process), self.heard.clone());
        About { process, started_ms: self.started_ms, heard, status: Arc::clone(&self.status) }
    }

    /// What it said last of what it does.
    pub(super) fn usage(&self) -> Usage {
        self.heard.borrow().usage.clone()
    }

    /// After its end: waits until what it wrote last is written down.
    pub(super) async fn last_words(&mut self) {
        (&mut self.written).await.ok();
    }

    /// Waits until it has said something else than `known`, or its end; `None`: it says no more.
    pub(super) async fn says(&mut self) -> Option<Heard> {
        self.heard.changed().await.ok()?;
        Some(self.heard.borrow_and_update().clone())
    }

    /// Lets it finish what it has and end; kills it when `limit` is over.
    pub(super) async fn finish(&self, limit: Duration) -> Exit {
        self.process.signal(Signal::TERM);
        self.process.exited_or_killed(limit).await
    }
}

fn command(spec: &CrewSpec) -> std::process::Command {
    let library = RuntimeLibrary { path: spec.library.clone() };
    let mut command = worker_command(&spec.interpreter, &library, &spec.spec);
    let own: Vec<_> = command
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    command.env_clear().envs(&spec.environment).envs(own).current_dir(&spec.spec.root);
    command
}

/// Writes down what a process prints and what it says of itself, to the ends of its pipes.
pub(super) async fn write_down(
    context: &WorkerContext,
    served: Served<'_>,
    output: Output,
    (status, heard): (pipe::Receiver, &watch::Sender<Heard>),
) {
    let log = |source| move |line: &str| context.books.logs.write(served.site, source, line);
    let tell = |notice: &Notice| notices::tell(&context.books, served, notice);
    tokio::join!(
        each_line(output.stdout, log(Source::App)),
        each_line(output.stderr, log(Source::Error)),
        hear(status, heard, tell)
    );
}

/// Reads the status pipe to its end: the report first, then notices.
async fn hear(status: pipe::Receiver, heard: &watch::Sender<Heard>, tell: impl Fn(&Notice)) {
    let mut status = BufReader::new(status);
    let mut line = String::new();
    loop {
        line.clear();
        match (&mut status).take(LINE_BYTES).read_line(&mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        if let Some(report) = WorkerReport::parse(&line) {
            heard.send_modify(|heard| heard.report = Some(report));
        } else if let Some(notice) = Notice::parse(&line) {
            tell(&notice);
            match notice {
                Notice::Wedged { reason } => {
                    heard.send_modify(|heard| heard.wedged = Some(reason));
                }
                Notice::Usage(usage) => heard.send_modify(|heard| {
                    heard.stalls.add(usage.gil_stalls);
                    heard.usage = usage;
                }),
                _ => {}
            }
        }
    }
}
