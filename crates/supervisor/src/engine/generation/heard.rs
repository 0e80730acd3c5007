//! What an engine says: over the control socket, and by what it prints.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use onebox_app_server::{GilStalls, Notice, Usage};
use onebox_metrics::Snapshot;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{Notify, watch};

use super::super::logging::Told;
use super::super::protocol::{FromEngine, UpstreamHealth};
use crate::gil_stalls::StallCounter;
use crate::logs::{Logs, Source, each_line};
use crate::notices::{self, Books, Served};

/// Why an application was not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoadFailure {
    /// The exception, or what else happened, in one line.
    pub(crate) summary: String,
    /// May be empty.
    pub(crate) traceback: String,
}

impl LoadFailure {
    /// It was still loading when its time was over.
    pub(crate) fn too_late(limit: Duration) -> Self {
        let summary = format!(
            "the application was not loaded within {limit:?}: something it imports waits, or `timeout` under [health] in \
             onebox.toml is too short"
        );
        Self { summary, traceback: String::new() }
    }

    /// The traceback, else the summary.
    pub(crate) fn text(&self) -> &str {
        if self.traceback.is_empty() { &self.summary } else { &self.traceback }
    }
}

/// Whether an application was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// Not yet.
    Waiting,
    /// It takes requests.
    Ready,
    /// It never will.
    Failed(LoadFailure),
}

/// What the engine said so far.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) configured: u64,
    pub(super) loaded: Loaded,
    pub(super) draining: bool,
    /// Why its interpreter has to be replaced.
    pub(super) wedged: Option<String>,
    pub(super) usage: Usage,
    pub(super) upstreams: UpstreamHealth,
    /// The last order to take out stored answers, and how many there were.
    pub(super) purged: (u64, u64),
}

impl Heard {
    /// It has just been started.
    pub(super) const NOTHING: Self = Self {
        configured: 0,
        loaded: Loaded::Waiting,
        draining: false,
        wedged: None,
        usage: Usage {
            requests: 0,
            running: 0,
            oldest: None,
            gil_wait_us: 0,
            gil_stalls: GilStalls { count: 0, lasted_us: 0, longest_us: 0 },
            busy_percent: 0,
        },
        upstreams: UpstreamHealth::new(),
        purged: (0, 0),
    };
}

/// Sites whose requests wait in an engine for workers.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    sites: Mutex<BTreeSet<String>>,
    added: Notify,
}

impl Wanted {
    fn add(&self, site: String) {
        self.sites.lock().insert(site);
        self.added.notify_one();
    }

    /// Waits for sites, and takes them.
    pub(crate) async fn taken(&self) -> BTreeSet<String> {
        self.added.notified().await;
        std::mem::take(&mut *self.sites.lock())
    }
}

/// Takes in what an engine says.
pub(super) struct Ears {
    pub(super) heard: watch::Sender<Heard>,
    pub(super) samples: Arc<Mutex<VecDeque<Snapshot>>>,
    pub(super) stalls: Arc<StallCounter>,
    pub(super) log: LogWriter,
    pub(super) books: Books,
    pub(super) wanted: Arc<Wanted>,
}

impl Ears {
    /// Ends with the engine; what waits for [`Heard`] learns it by that.
    pub(super) async fn listen(self, reader: OwnedReadHalf) {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(message) => self.hear(message),
                Err(error) => {
                    tracing::warn!(%error, "the engine said something that is not understood");
                }
            }
        }
    }

    fn hear(&self, message: FromEngine) {
        match message {
            FromEngine::Configured { sequence } => {
                self.heard.send_modify(|heard| heard.configured = heard.configured.max(sequence));
            }
            FromEngine::Purged { sequence, answers } => {
                self.heard.send_modify(|heard| heard.purged = (sequence, answers));
            }
            FromEngine::SiteReady { .. } => {
                self.heard.send_modify(|heard| heard.loaded = Loaded::Ready);
            }
            FromEngine::SiteFailed { summary, traceback, .. } => {
                let failure = LoadFailure { summary, traceback };
                self.log.write(Source::Error, failure.text());
                self.heard.send_modify(|heard| heard.loaded = Loaded::Failed(failure));
            }
            FromEngine::Sample(snapshot) => {
                let mut samples = self.samples.lock();
                // Nobody takes samples before the sampler runs: the totals of the last few are enough.
                if samples.len() >= 4 {
                    samples.pop_front();
                }
                samples.push_back(snapshot);
            }
            FromEngine::Notice { site, release, notice } => {
                let served = Served { site: &site, release: &release, worker: None };
                notices::tell(&self.books, served, &notice);
                match notice {
                    Notice::Wedged { reason } => {
                        self.heard.send_modify(|heard| heard.wedged = Some(reason));
                    }
                    Notice::Usage(usage) => {
                        self.stalls.add(usage.gil_stalls);
                        self.heard.send_modify(|heard| heard.usage = usage);
                    }
                    _ => {}
                }
            }
            FromEngine::Requests(records) => self.books.history.requests(records),
            FromEngine::Upstreams(health) => {
                self.heard.send_modify(|heard| heard.upstreams = health);
            }
            FromEngine::Wanted { site } => self.wanted.add(site),
            FromEngine::Draining => self.heard.send_modify(|heard| heard.draining = true),
        }
    }
}

/// Where an engine's output goes: the log of its application, or ours.
#[derive(Clone)]
pub(super) struct LogWriter {
    pub(super) logs: Arc<Logs>,
    pub(super) site: Option<String>,
    pub(super) number: u64,
}

impl LogWriter {
    fn write(&self, source: Source, text: &str) {
        match &self.site {
            Some(site) => self.logs.write(site, source, text),
            None => tracing::warn!(generation = self.number, text, "engine"),
        }
    }

    /// Takes in what it prints.
    pub(super) async fn capture(self, output: impl tokio::io::AsyncRead + Unpin, source: Source) {
        each_line(output, |line| match Told::by_engine(line) {
            Some(told) => told.pass_on(self.number, &self.logs),
            None => self.write(source, line),
        })
        .await;
    }
}
