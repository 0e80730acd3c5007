//! The end of a proxy's connections, in the order that loses no request.
//!
//! First nothing more is accepted and every answer says `Connection: close`; connections without a request stay open, because a
//! client may be sending on one at this moment. They are closed last, when no request came for a while.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long no request must have come before what is idle is closed. Longer than a busy client pauses between two requests.
const QUIET: Duration = Duration::from_secs(1);
/// How long cut connections may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// Shared by the accept loops and all connections of one proxy.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    tasks: TaskTracker,
    accepting: TaskTracker,
    draining: AtomicBool,
    stop_accepting: CancellationToken,
    close_idle: CancellationToken,
    cut: CancellationToken,
    busy: AtomicUsize,
    begun: AtomicU64,
    became_quiet: Notify,
}

impl Lifecycle {
    /// Runs a task that [`Lifecycle::drained`] waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Runs an accept loop, whose end [`Lifecycle::stopped_accepting`] waits for too.
    pub(crate) fn spawn_accept_loop(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.accepting.track_future(task));
    }

    /// Begins the end: see the module.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.stop_accepting.cancel();
        self.accepting.close();
        self.tasks.close();
    }

    /// After [`Lifecycle::drain`]: resolves when no connection will be accepted any more.
    pub(crate) async fn stopped_accepting(&self) {
        self.accepting.wait().await;
    }

    /// Whether the next answer of each connection is its last.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Resolves when nothing more shall be accepted.
    pub(crate) async fn stop_accepting(&self) {
        self.stop_accepting.cancelled().await;
    }

    /// Resolves when connections without a request shall close.
    pub(crate) async fn close_idle(&self) {
        self.close_idle.cancelled().await;
    }

    /// Resolves when requests in flight shall be given up.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Marks a connection as busy until the guard is dropped.
    pub(crate) fn begin(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        Busy { lifecycle: self }
    }

    /// After [`Lifecycle::drain`]: waits until no request is in flight and none came for a while, then closes what is idle.
    /// What is still in flight at `limit` is cut.
    pub(crate) async fn drained(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        // Time to close the idle connections in order, also where requests never end.
        let last_call = deadline - QUIET.min(limit / 4);
        tokio::select! {
            () = self.tasks.wait() => return,
            _ = timeout_at(last_call, self.quiet()) => {}
        }
        self.close_idle.cancel();
        if timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::info!(connections = self.tasks.len(), "connections were cut");
            self.cut.cancel();
            // Whoever does not notice in time ends with the process.
            let _ = timeout_at(Instant::now() + CUT, self.tasks.wait()).await;
        }
    }

    /// Waits until nothing is in flight, and stays so for a while.
    async fn quiet(&self) {
        loop {
            let notified = self.became_quiet.notified();
            if self.busy.load(Ordering::Acquire) > 0 {
                notified.await;
                continue;
            }
            let begun = self.begun.load(Ordering::Acquire);
            sleep(QUIET).await;
            let is_quiet = self.busy.load(Ordering::Acquire) == 0;
            if is_quiet && begun == self.begun.load(Ordering::Acquire) {
                return;
            }
        }
    }
}

/// A connection with a request in flight.
#[derive(Debug)]
pub(crate) struct Busy<'l> {
    lifecycle: &'l Lifecycle,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.lifecycle.busy.fetch_sub(1, Ordering::AcqRel) == 1 && self.lifecycle.is_draining() {
            self.lifecycle.became_quiet.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_connections_close_after_requests_and_a_quiet_while() {
        let lifecycle = Arc::new(Lifecycle::default());
        let (request_done, done) = tokio::sync::oneshot::channel::<()>();
        let task = Arc::clone(&lifecycle);
        lifecycle.spawn(async move {
            let busy = task.begin();
            done.await.unwrap();
            drop(busy);
            task.close_idle().await;
        });
        lifecycle.drain();
        let begun = Instant::now();
        let waiting = Arc::clone(&lifecycle);
        let drained = tokio::spawn(async move { waiting.drained(Duration::from_secs(60)).await });
        sleep(Duration::from_secs(10)).await;
        assert!(!lifecycle.close_idle.is_cancelled());
        request_done.send(()).unwrap();
        drained.await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(11));
        assert!(!lifecycle.cut.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn requests_beyond_the_limit_are_cut() {
        let lifecycle = Arc::new(Lifecycle::default());
        let task = Arc::clone(&lifecycle);
        lifecycle.spawn(async move {
            let _busy = task.begin();
            task.cut().await;
        });
        lifecycle.drain();
        let begun = Instant::now();
        lifecycle.drained(Duration::from_secs(8)).await;
        assert_eq!(begun.elapsed().as_secs(), 8);
    }
}
