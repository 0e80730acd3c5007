//! The end of a proxy's connections, in the order that loses no request.
//!
//! First nothing more is accepted and every answer says `Connection: close`; connections without a request stay open, because a
//! client may be sending on one at this moment. They are closed when no request came for a while. A request whose answer has not
//! begun has its site's `reload-mercy`, then 503. What goes on after that is a transfer (a file, the rest of an answer, an
//! upgraded connection): it holds its connection's task alone, and the proxy waits for it up to the limit, then cuts it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long no request must have come before what is idle is closed. Longer than a busy client pauses between two requests.
const QUIET: Duration = Duration::from_secs(1);
/// What a connection that waits for its client has, however many others want its place.
const GRACE: Duration = Duration::from_secs(1);
/// How long cut connections may take to notice.
const CUT: Duration = Duration::from_secs(1);

/// Who accepts the connections that come after this proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heir {
    /// Another process that has the same listeners: this one stops at once, and what waits in their queues is the other's.
    Successor,
    /// Nobody: no new connection is let in, and those that were are accepted and answered.
    Nobody,
}

/// Why a connection whose client says nothing is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It had its time.
    TooLong,
    /// Others need its place.
    InTheWay,
}

/// Shared by the accept loops and all connections of one proxy.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    tasks: TaskTracker,
    accepting: TaskTracker,
    draining: AtomicBool,
    end: watch::Sender<Option<End>>,
    stop_accepting: CancellationToken,
    close_idle: CancellationToken,
    cut: CancellationToken,
    /// Connections wait here for who needs their place, the first that came first.
    in_the_way: Notify,
    busy: AtomicUsize,
    begun: AtomicU64,
    became_quiet: Notify,
}

/// A drain that was begun.
#[derive(Debug, Clone, Copy)]
struct End {
    heir: Heir,
    begun: Instant,
    /// What is idle then is closed, even where requests never end.
    last_call: Instant,
    deadline: Instant,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            tasks: TaskTracker::new(),
            accepting: TaskTracker::new(),
            draining: AtomicBool::new(false),
            end: watch::channel(None).0,
            stop_accepting: CancellationToken::new(),
            close_idle: CancellationToken::new(),
            cut: CancellationToken::new(),
            in_the_way: Notify::new(),
            busy: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            became_quiet: Notify::new(),
        }
    }
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

    /// Begins the end: see the module. Called again, it can only come sooner.
    pub(crate) fn drain(&self, limit: Duration, heir: Heir) {
        let now = Instant::now();
        let deadline = now + limit;
        self.end.send_modify(|end| {
            let first =
                End { heir, begun: now, last_call: deadline - QUIET.min(limit / 4), deadline };
            let end = end.get_or_insert(first);
            if deadline < end.deadline {
                (end.last_call, end.deadline) = (first.last_call, deadline);
            }
        });
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

    /// Resolves when accepting is to end, with whom it is left to.
    pub(crate) async fn stop_accepting(&self) -> Heir {
        self.stop_accepting.cancelled().await;
        self.end.borrow().map_or(Heir::Successor, |end| end.heir)
    }

    /// Resolves when connections without a request shall close.
    pub(crate) async fn close_idle(&self) {
        self.close_idle.cancelled().await;
    }

    /// Has the connection that has waited longest for its client leave, or the next one that would wait, until there is a place.
    pub(crate) async fn make_way<T>(&self, place: impl Future<Output = T>) -> T {
        self.in_the_way.notify_one();
        let place = place.await;
        // Where nobody had to leave, nobody has to any more.
        let _ = self.in_the_way.notified().now_or_never();
        place
    }

    /// Resolves when a connection that waits for its client from now on shall leave to others.
    pub(crate) async fn in_the_way(&self) {
        sleep(GRACE).await;
        self.in_the_way.notified().await;
    }

    /// The same for a connection that waits at most for `limit`; one timer serves all its waits.
    pub(crate) fn silence<'w>(
        &'w self,
        mut timer: Pin<&'w mut Sleep>,
        limit: Duration,
    ) -> impl Future<Output = Silence> + 'w {
        let end = Instant::now() + limit;
        timer.as_mut().reset(end - limit.saturating_sub(GRACE));
        // Not an `async fn`, which would keep its arguments twice: most connections wait here.
        async move {
            timer.as_mut().await;
            timer.as_mut().reset(end);
            tokio::select! {
                biased;
                () = timer => Silence::TooLong,
                () = self.in_the_way.notified() => Silence::InTheWay,
            }
        }
    }

    /// Resolves when a request that an application has had since `since` without answering has had its mercy: counted from the
    /// beginning of the end, and for a request that came later from `since`.
    pub(crate) async fn mercy_over(&self, since: Instant, mercy: Duration) {
        self.stop_accepting.cancelled().await;
        let begun = self.end.borrow().map_or(since, |end| end.begun);
        sleep_until(begun.max(since) + mercy).await;
    }

    /// Resolves when requests in flight shall be given up.
    pub(crate) async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Marks a connection as busy until the guard is dropped: while a request is read and waits for its answer.
    pub(crate) fn begin(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        Busy { lifecycle: self }
    }

    /// After [`Lifecycle::drain`]: waits until no request waits for its answer and none came for a while, then closes what is
    /// idle. Transfers go on; what is still there at the limit is cut.
    pub(crate) async fn drained(&self) {
        tokio::select! {
            () = self.tasks.wait() => return,
            () = self.quiet() => {}
            () = self.reached(|end| end.last_call) => {}
        }
        self.close_idle.cancel();
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.reached(|end| end.deadline) => {
                tracing::info!(connections = self.tasks.len(), "connections were cut");
                self.cut.cancel();
                // Whoever does not notice in time ends with the process.
                let _ = timeout_at(Instant::now() + CUT, self.tasks.wait()).await;
            }
        }
    }

    /// Waits for a moment of the end, which may be moved meanwhile.
    async fn reached(&self, moment: impl Fn(&End) -> Instant) {
        let mut end = self.end.subscribe();
        loop {
            let at = end.borrow_and_update().as_ref().map(&moment);
            tokio::select! {
                () = async { sleep_until(at.unwrap_or_else(Instant::now)).await } => return,
                // The sender is ours.
                _ = end.changed() => {}
            }
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
        lifecycle.drain(Duration::from_secs(60), Heir::Successor);
        let begun = Instant::now();
        let waiting = Arc::clone(&lifecycle);
        let drained = tokio::spawn(async move { waiting.drained().await });
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
        lifecycle.drain(Duration::from_secs(8), Heir::Successor);
        let begun = Instant::now();
        lifecycle.drained().await;
        assert_eq!(begun.elapsed().as_secs(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_keeps_no_idle_connection_open_and_a_later_drain_can_only_shorten_it() {
        let lifecycle = Arc::new(Lifecycle::default());
        let transfer = Arc::clone(&lifecycle);
        lifecycle.spawn(async move {
            drop(transfer.begin());
            transfer.cut().await;
        });
        lifecycle.drain(Duration::from_secs(3600), Heir::Successor);
        let begun = Instant::now();
        let waiting = Arc::clone(&lifecycle);
        let drained = tokio::spawn(async move { waiting.drained().await });
        lifecycle.close_idle().await;
        assert_eq!(begun.elapsed().as_secs(), 1);
        sleep(Duration::from_secs(99)).await;
        lifecycle.drain(Duration::from_secs(7200), Heir::Successor);
        lifecycle.drain(Duration::from_secs(20), Heir::Nobody);
        drained.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 120);
    }

    #[tokio::test(start_paused = true)]
    async fn mercy_counts_from_the_end_and_for_later_requests_from_themselves() {
        let lifecycle = Lifecycle::default();
        let (start, mercy) = (Instant::now(), Duration::from_secs(10));
        sleep(Duration::from_secs(30)).await;
        lifecycle.drain(Duration::from_secs(3600), Heir::Successor);
        lifecycle.mercy_over(start, mercy).await;
        assert_eq!(start.elapsed().as_secs(), 40);
        sleep(Duration::from_secs(60)).await;
        lifecycle.mercy_over(Instant::now(), mercy).await;
        assert_eq!(start.elapsed().as_secs(), 110);
    }
}
