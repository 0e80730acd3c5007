//! A client that never stops asking while something is changed, and counts who did not answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::command::DEADLINE;
use super::http::{Answer, Connection, Trouble};

/// Between two requests: leaves the two cores of a test machine to what is tested.
const PACE: Duration = Duration::from_millis(5);

/// Asks until it is stopped.
pub(crate) struct Poller {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Tally>,
}

/// What was answered.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Bodies of answers with status 200, and how often each came.
    pub(crate) bodies: BTreeMap<String, u64>,
    /// Everything else.
    pub(crate) failures: Vec<String>,
    /// The longest time that an answer took.
    pub(crate) longest: Duration,
}

/// How connections are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// One for each request.
    Never,
    /// As long as the server allows.
    KeepAlive,
}

impl Poller {
    /// Asks for `path` on a new connection each time.
    pub(crate) fn start(address: SocketAddr, host: &str, path: &str) -> Self {
        Self::start_with(address, host, Reuse::Never, getting(path))
    }

    /// Asks for `path` on a connection that is kept until the server announces its end.
    pub(crate) fn keep_alive(address: SocketAddr, host: &str, path: &str) -> Self {
        Self::start_with(address, host, Reuse::KeepAlive, getting(path))
    }

    /// Sends `body` to `path`, on a connection that is kept.
    pub(crate) fn upload(address: SocketAddr, host: &str, path: &str, body: Bytes) -> Self {
        let path = path.to_owned();
        Self::start_with(address, host, Reuse::KeepAlive, move |open| {
            open.post(&path, "text/plain", body.clone())
        })
    }

    fn start_with(
        address: SocketAddr,
        host: &str,
        reuse: Reuse,
        ask: impl Fn(&mut Connection) -> Result<Answer, Trouble> + Send + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let host = host.to_owned();
        let (told, counter) = (stop.clone(), answered.clone());
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::default();
            let mut connection = None;
            while !told.load(Ordering::Relaxed) {
                let began = Instant::now();
                let opened = match connection.take() {
                    Some(open) => Ok(open),
                    None => Connection::open(address, &host),
                };
                let asked = opened.and_then(|mut open| ask(&mut open).map(|answer| (open, answer)));
                tally.longest = tally.longest.max(began.elapsed());
                match asked {
                    Ok((open, answer)) if answer.status == 200 => {
                        *tally.bodies.entry(answer.text()).or_default() += 1;
                        counter.fetch_add(1, Ordering::Relaxed);
                        connection =
                            Some(open).filter(|_| reuse == Reuse::KeepAlive && !answer.closes());
                    }
                    Ok((_, answer)) => {
                        tally.failures.push(format!("{} {}", answer.status, answer.text()))
                    }
                    Err(trouble) => tally.failures.push(trouble),
                }
                std::thread::sleep(PACE);
            }
            tally
        });
        Self { stop, answered, thread }
    }

    /// Answers with status 200 so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops asking.
    pub(crate) fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the poller lives")
    }

    /// Stops asking, once somebody was answered; every request was answered well.
    pub(crate) fn all_well(self) -> Tally {
        let begun = Instant::now();
        while self.answered() == 0 && begun.elapsed() < DEADLINE {
            std::thread::sleep(PACE);
        }
        let tally = self.stop();
        assert!(
            tally.failures.is_empty(),
            "{} failures, such as {:?}",
            tally.failures.len(),
            tally.failures.first()
        );
        assert!(!tally.bodies.is_empty(), "nobody was asked");
        tally
    }
}

fn getting(path: &str) -> impl Fn(&mut Connection) -> Result<Answer, Trouble> + use<> {
    let path = path.to_owned();
    move |open| open.get(&path)
}
