//! One server of an upstream: whether it may be asked, how busy it is, and its idle connections.
//!
//! Must not know requests: who asks tells it what came of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onebox_config::site::{PassiveCheck, Protocol, Server};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use super::dial::Connection;
use super::trust::Trust;

/// How long a connection is kept without a request: shorter than servers keep it.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// What is known about a server at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerHealth {
    /// As it stands in `to`; the path of a socket is absolute.
    pub address: String,
    /// Whether it is asked.
    pub state: ServerState,
    /// How many requests it has.
    pub requests: u32,
    /// What went wrong there last; `None`: it has answered since, and checks have nothing to say against it.
    pub problem: Option<String>,
}

/// Whether a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// Nobody has looked yet.
    Unknown,
    /// It is.
    Up,
    /// Only where nobody else can be: requests failed there within `fail-timeout`.
    Down,
    /// It is not: `[upstream.health]` speaks against it.
    Unhealthy,
    /// It is not: it has `max-connections` requests.
    Full,
}

/// A server, for all requests to it.
pub(super) struct Peer {
    pub(super) server: Server,
    pub(super) trust: Trust,
    /// As it stands in the configuration, for logs and error pages.
    pub(super) name: String,
    passive: PassiveCheck,
    slow_start: Duration,
    max_connections: u32,
    keepalive: usize,
    busy: AtomicU32,
    health: Mutex<Health>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// What is known about a server.
#[derive(Debug, Default)]
struct Health {
    fails: u32,
    first_fail: Option<Instant>,
    /// Left alone until then.
    down_until: Option<Instant>,
    /// Checks say that it is not well.
    is_out: bool,
    /// When it came back.
    back_since: Option<Instant>,
    /// What went wrong last.
    problem: Option<String>,
}

impl Health {
    /// Since when it has been asked again, whether or not it has answered yet.
    fn back_since(&self, now: Instant) -> Option<Instant> {
        self.down_until.filter(|until| *until <= now).or(self.back_since)
    }
}

/// How willing a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be asked.
    Up,
    /// It failed a moment ago: asked only where nobody else can be.
    Down,
    /// It is full, or checks say that it is not well: never asked.
    Out,
}

impl Peer {
    pub(super) fn new(server: Server, settings: &onebox_config::site::Upstream) -> Arc<Self> {
        Arc::new(Self {
            name: server.to_string(),
            trust: Trust::new(server.ca_file.clone()),
            server,
            passive: settings.passive.clone(),
            slow_start: settings.slow_start,
            max_connections: settings.max_connections,
            // A connection that begins with one client's address is nobody else's.
            keepalive: match settings.proxy_protocol {
                Some(_) => 0,
                None => usize::try_from(settings.keepalive).unwrap_or(usize::MAX),
            },
            busy: AtomicU32::new(0),
            health: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// How many requests it has.
    pub(super) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether it may be asked at `now`.
    pub(super) fn standing(&self, now: Instant) -> Standing {
        if self.busy() >= self.max_connections {
            return Standing::Out;
        }
        let health = self.health.lock();
        match health.down_until {
            _ if health.is_out => Standing::Out,
            Some(until) if now < until => Standing::Down,
            _ => Standing::Up,
        }
    }

    /// What is known about it at `now`, for people.
    pub(super) fn health(&self, now: Instant) -> ServerHealth {
        let standing = self.standing(now);
        let health = self.health.lock();
        let state = match standing {
            Standing::Up => ServerState::Up,
            Standing::Down => ServerState::Down,
            Standing::Out if health.is_out => ServerState::Unhealthy,
            Standing::Out => ServerState::Full,
        };
        let (address, problem) = (self.name.clone(), health.problem.clone());
        ServerHealth { address, state, requests: self.busy(), problem }
    }

    /// Its weight in thousandths: less of it shortly after it came back.
    pub(super) fn weight(&self, now: Instant) -> u64 {
        let full = u64::from(self.server.weight) * 1000;
        let Some(since) = self.health.lock().back_since(now) else { return full };
        let (passed, whole) = (now.duration_since(since).as_millis(), self.slow_start.as_millis());
        if passed >= whole {
            return full;
        }
        let share = u128::from(full) * passed / whole.max(1);
        u64::try_from(share).unwrap_or(full).max(1)
    }

    /// Counts a request until the lease is dropped.
    pub(super) fn lease(self: &Arc<Self>) -> Lease {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Lease { peer: Arc::clone(self) }
    }

    /// It answered, whatever it said.
    pub(super) fn answered(&self) {
        let mut health = self.health.lock();
        health.fails = 0;
        if !health.is_out {
            health.problem = None;
        }
        if let Some(until) = health.down_until.take() {
            health.back_since = Some(until.min(Instant::now()));
            tracing::info!(server = self.name, "a server of an upstream is back");
        }
    }

    /// It gave no answer.
    pub(super) fn failed(&self, error: &dyn std::error::Error) {
        let now = Instant::now();
        let mut health = self.health.lock();
        let is_new = health.first_fail.is_none_or(|first| now > first + self.passive.fail_timeout);
        if is_new {
            (health.first_fail, health.fails) = (Some(now), 0);
        }
        health.fails = health.fails.saturating_add(1);
        health.problem = Some(error.to_string());
        if self.passive.max_fails > 0 && health.fails >= self.passive.max_fails {
            let was_up = health.down_until.is_none_or(|until| until <= now);
            health.down_until = Some(now + self.passive.fail_timeout);
            (health.first_fail, health.fails) = (None, 0);
            if was_up {
                let error = health.problem.as_deref();
                tracing::warn!(server = self.name, error, "a server of an upstream is left alone");
            }
        }
    }

    /// Checks say that it is well, or what is wrong.
    pub(super) fn set_out(&self, problem: Option<String>) {
        let mut health = self.health.lock();
        let is_out = problem.is_some();
        health.problem = problem;
        if std::mem::replace(&mut health.is_out, is_out) && !is_out {
            health.down_until = None;
            health.back_since = Some(Instant::now());
        }
    }

    /// The connection used last that is still open and has nothing to say.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        while let Some(Idle { connection, since }) = idle.pop() {
            if since.elapsed() < IDLE_TIME && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock();
        if idle.len() < self.keepalive {
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Whether connections are kept at all. With uwsgi and FastCGI each ends with its answer.
    pub(super) fn keeps(&self) -> bool {
        self.keepalive > 0 && matches!(self.server.protocol, Protocol::Http | Protocol::Https)
    }

    /// Closes what was idle for too long, or was closed by the server.
    pub(super) fn sweep(&self) {
        let fresh = |idle: &Idle| idle.since.elapsed() < IDLE_TIME && idle.connection.is_quiet();
        self.idle.lock().retain(fresh);
    }
}

/// A request that a server has.
pub(super) struct Lease {
    pub(super) peer: Arc<Peer>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.peer.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use onebox_config::site::Upstream;

    use super::*;
    use crate::testing;

    fn peer(settings: Upstream) -> Arc<Peer> {
        Peer::new(testing::server("http://a:1"), &settings)
    }

    fn settings(max_fails: u32) -> Upstream {
        let fail_timeout = Duration::from_secs(10);
        let slow_start = Duration::from_secs(20);
        let passive = PassiveCheck { max_fails, fail_timeout };
        Upstream { passive, slow_start, max_connections: 2, ..Upstream::default() }
    }

    const ERROR: std::fmt::Error = std::fmt::Error;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_is_left_alone_for_a_while() {
        let peer = peer(settings(2));
        peer.failed(&ERROR);
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
        peer.failed(&ERROR);
        assert_eq!(peer.standing(Instant::now()), Standing::Down);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_that_are_far_apart_do_not_count_together() {
        let peer = peer(settings(2));
        peer.failed(&ERROR);
        tokio::time::advance(Duration::from_secs(11)).await;
        peer.failed(&ERROR);
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
        peer.answered();
        peer.failed(&ERROR);
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_back_gets_its_share_slowly() {
        let peer = peer(settings(1));
        assert_eq!(peer.weight(Instant::now()), 1000);
        peer.failed(&ERROR);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(peer.weight(Instant::now()), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        peer.answered();
        tokio::time::advance(Duration::from_secs(4)).await;
        assert_eq!(peer.weight(Instant::now()), 250);
        tokio::time::advance(Duration::from_secs(15)).await;
        assert_eq!(peer.weight(Instant::now()), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn people_are_told_how_a_server_is_and_why() {
        let peer = peer(settings(1));
        let told = || {
            let ServerHealth { state, requests, problem, .. } = peer.health(Instant::now());
            (state, requests, problem)
        };
        assert_eq!(told(), (ServerState::Up, 0, None));
        peer.failed(&ERROR);
        let problem = Some(ERROR.to_string());
        assert_eq!(told(), (ServerState::Down, 0, problem.clone()));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(told(), (ServerState::Up, 0, problem), "nobody has asked it since");
        peer.answered();
        assert_eq!(told(), (ServerState::Up, 0, None));
        let wrong = Some("GET / answered 500".to_owned());
        peer.set_out(wrong.clone());
        peer.answered();
        assert_eq!(told(), (ServerState::Unhealthy, 0, wrong));
        peer.set_out(None);
        let _leases = [peer.lease(), peer.lease()];
        assert_eq!(told(), (ServerState::Full, 2, None));
    }

    #[tokio::test]
    async fn a_full_server_and_one_that_checks_took_out_are_never_asked() {
        let peer = peer(settings(1));
        let leases = [peer.lease(), peer.lease()];
        assert_eq!(peer.standing(Instant::now()), Standing::Out);
        drop(leases);
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
        peer.set_out(Some("GET / answered 500".to_owned()));
        assert_eq!(peer.standing(Instant::now()), Standing::Out);
        peer.set_out(None);
        assert_eq!(peer.standing(Instant::now()), Standing::Up);
    }
}
