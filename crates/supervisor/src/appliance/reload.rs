//! A changed configuration of the box: refused whole, or in force without a lost request.
//!
//! What an engine is started with (its listeners, its limits) changes with the engine: the next one stands beside the old, loads
//! the site, and takes over.

use std::io;
use std::sync::Arc;

use onebox_config::BoxConfig;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::change::obeyed;
use super::{Appliance, OperationFailure};
use crate::api::EventKind;
use crate::engine::Loaded;
use crate::listeners::{BoundListener, ListenError, ListenerSet};
use crate::store::metrics::Retention;

/// Looks at the queue of a listener that is given up; each is a moment in which the engine takes in what waits.
const LOOKS: u32 = 100;

/// What can change while the appliance runs.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) config: Arc<BoxConfig>,
    pub(crate) http: ListenerSet,
    pub(crate) https: ListenerSet,
    pub(crate) admin: ListenerSet,
}

/// Why a configuration is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// An address of it.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Whom everything runs as.
    #[error("`user` under [process] takes a restart")]
    User,
    /// No engine can be started with it.
    #[error("no engine can be started with it: {0}")]
    Start(#[from] io::Error),
    /// The engine that was started with it is not ready.
    #[error("an engine that was started with it is not ready: {0}")]
    Engine(#[from] OperationFailure),
}

impl Appliance {
    /// Takes in a configuration. Returns whether anything changed.
    ///
    /// # Errors
    /// [`ReloadError`]; everything is as it was.
    pub(crate) async fn reload(self: &Arc<Self>, config: BoxConfig) -> Result<bool, ReloadError> {
        let _one_at_a_time = self.operation.lock().await;
        let old = self.settings();
        if config == *old.config {
            return Ok(false);
        }
        if config.user != old.config.user {
            return Err(ReloadError::User);
        }
        let next = Settings {
            http: old.http.changed(&config.http)?,
            https: old.https.changed(&config.https)?,
            admin: old.admin.changed(&config.admin)?,
            config: Arc::new(config),
        };
        let is_for_engines = next.config.limits != old.config.limits
            || next.config.clients != old.config.clients
            || !next.http.is_same_as(&old.http)
            || !next.https.is_same_as(&old.https);
        *self.settings.lock() = next.clone();
        self.renew_certificates(&self.layout()).await;
        let gone = [old.http.without(&next.http), old.https.without(&next.https)].concat();
        if is_for_engines && let Err(error) = self.renew_engine(&gone).await {
            *self.settings.lock() = old;
            return Err(error);
        }
        if next.config.access != old.config.access
            && let Err(error) = self.take_in_rules().await
        {
            tracing::error!(%error, "the rules for addresses of before hold");
        }
        self.workers.set_drain_timeout(next.config.limits.drain_timeout);
        self.history.set_retention(Retention::from(&next.config.metrics));
        self.journal
            .the_box(EventKind::Configuration, "the configuration of the box was read anew");
        self.announce();
        Ok(true)
    }

    /// Puts an engine with the settings of now in the place of the current one, which alone has the listeners that are `gone`. Where
    /// there is none, the next one has them.
    pub(super) async fn renew_engine(
        self: &Arc<Self>,
        gone: &[Arc<BoundListener>],
    ) -> Result<(), ReloadError> {
        let (old, layout, crews) = {
            let running = self.running.lock();
            let Some(engine) = running.engine.clone() else { return Ok(()) };
            (engine, running.layout.clone(), running.crews.clone())
        };
        let engine = self.start_engine(&layout, &crews)?;
        let ready = async {
            obeyed(&engine, 1).await?;
            // A site that does not load serves as well with the new configuration as with the old one.
            if old.load_state() == Loaded::Ready {
                let patience = layout.sites().map(|placed| placed.release.patience()).max();
                engine.loaded(patience.unwrap_or_default()).await?;
            }
            Ok::<(), OperationFailure>(())
        };
        if let Err(failure) = ready.await {
            engine.kill().await;
            return Err(failure.into());
        }
        for listener in gone {
            if let Err(error) = onebox_proxy::let_nobody_in(&listener.socket) {
                tracing::warn!(%error, "connections that wait at an address that was given up are lost");
            }
            self.emptied(&listener.socket).await;
        }
        let is_current = {
            let mut running = self.running.lock();
            let is_old = running.engine.as_ref().is_some_and(|other| Arc::ptr_eq(other, &old));
            if is_old {
                running.replace_engine(&engine);
            }
            is_old
        };
        if is_current {
            self.hand_over(engine, old, Vec::new(), &[]).await;
        } else {
            // The old one has just died, and its successor was started with the settings of now.
            engine.kill().await;
        }
        Ok(())
    }

    /// Waits until the engine has accepted what waited at a listener that lets nobody in.
    async fn emptied(&self, listener: &std::net::TcpListener) {
        for _ in 0..LOOKS {
            let mut waiting = [PollFd::new(listener, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(poll(&mut waiting, Some(&now)), Ok(1..)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}
