//! What one supervisor leaves to the next at an upgrade, and how the next one takes it: adopt, start its own beside, hand over.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use onebox_proxy::TicketKey;
use serde::{Deserialize, Serialize};

use super::layout::Crews;
use super::{Appliance, BootError, Layout, Settings, Unsteady};
use crate::engine::{Generation, GenerationData};
use crate::process::LifePipeData;
use crate::site_sockets::SiteSocketData;
use crate::takeover::{Held, Luggage, Program, UpgradeError, become_new};
use crate::workers::{Past, Veteran, VeteranData};

/// The children and their sockets, and what is remembered of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(super) life: Option<LifePipeData>,
    engine: Option<GenerationData>,
    draining: Vec<GenerationData>,
    workers: Vec<VeteranData>,
    sockets: Vec<SiteSocketData>,
    /// A version before this one had none.
    #[serde(default)]
    ticket_keys: Vec<TicketKey>,
    /// The numbers of the last engine and of the next worker's socket: names are never used twice.
    pub(super) generations: u64,
    pub(super) next_socket: u64,
    crashes: u64,
    unsteady: Unsteady,
    mercy: Duration,
    pub(super) started_ms: i64,
}

impl Appliance {
    /// Becomes the program that is in this one's file now. Returns only where that is not possible; everything goes on then.
    pub(crate) async fn upgrade(
        self: &Arc<Self>,
        program: &Program,
        (lock, control): (BorrowedFd<'_>, BorrowedFd<'_>),
    ) -> UpgradeError {
        let _one_at_a_time = self.operation.lock().await;
        let Settings { http, https, admin, .. } = self.settings();
        let held = Held { lock, control, http: &http, https: &https, admin: &admin };
        let written = self.history.write_down();
        become_new(program, held, |luggage| self.pack(luggage), written).await
    }

    fn pack(&self, luggage: &mut Luggage) -> io::Result<Fleet> {
        let life = Some(self.workers.life.pack(luggage)?);
        let sockets = self.sockets.pack(luggage)?;
        let running = self.running.lock();
        let engine = running.engine.as_ref().map(|engine| engine.pack(luggage)).transpose()?;
        let draining = running.draining.iter().map(|engine| engine.pack(luggage));
        let draining = draining.collect::<io::Result<_>>()?;
        let mut workers = Vec::new();
        for crew in running.crews.values() {
            workers.extend(crew.pack(luggage)?);
        }
        for veteran in &running.veterans {
            workers.push(veteran.pack(luggage)?);
        }
        Ok(Fleet {
            life,
            engine,
            draining,
            workers,
            sockets,
            ticket_keys: self.certificates.data().ticket_keys.clone(),
            generations: running.generations,
            next_socket: self.workers.next_socket_number(),
            crashes: running.crashes,
            unsteady: running.unsteady.clone(),
            mercy: running.mercy(),
            started_ms: self.started_ms,
        })
    }

    /// Takes a fleet over: what serves goes on, and makes room for processes of this program one after the other.
    ///
    /// # Errors
    /// [`BootError`] where the database can't be read, or nothing can be adopted.
    pub(crate) async fn adopt(self: &Arc<Self>, fleet: Fleet) -> Result<(), BootError> {
        self.sockets.adopt(&fleet.sockets)?;
        self.certificates.adopt_ticket_keys(fleet.ticket_keys);
        let engine = fleet.engine.map(|data| Generation::adopt(&self.engines, data)).transpose()?;
        let veterans = fleet.workers.into_iter().map(|data| Veteran::adopt(&self.workers, data));
        let veterans = veterans.collect::<io::Result<Vec<_>>>()?;
        {
            let mut running = self.running.lock();
            running.generations = fleet.generations;
            running.crashes = fleet.crashes;
            running.unsteady = fleet.unsteady;
            running.mercy_before = Some(fleet.mercy);
            running.veterans = veterans.clone();
            running.engine = engine.clone();
        }
        let limit = self.settings().config.limits.drain_timeout;
        for data in fleet.draining {
            let old = Generation::adopt(&self.engines, data)?;
            self.running.lock().draining.push(Arc::clone(&old));
            self.retire(old, Vec::new(), limit);
        }
        let layout = Layout::at_any_rate(self.live_releases().await?, &self.unsteady());
        let crews = self.start_beside(&layout).await?;
        for wanted in layout.sockets() {
            self.open_at_start(&wanted).await;
        }
        {
            let mut running = self.running.lock();
            running.layout = layout.clone();
            running.crews = crews.clone();
        }
        self.renew_certificates(&layout).await;
        match &engine {
            Some(old) => {
                self.watch_engine(Arc::clone(old));
                if let Err(error) = self.renew_engine(&[]).await {
                    tracing::error!(%error, "the engine of before goes on");
                    self.publish().ok();
                }
            }
            None => {
                let fresh = self.start_engine(&layout, &crews)?;
                self.install(fresh).await;
            }
        }
        self.watch_workers();
        self.watch_logs();
        self.watch_store();
        self.watch_certificates();
        self.watch_orders();
        self.watch_address_rules();
        self.dismiss_veterans(engine, veterans);
        Ok(())
    }

    /// Starts the workers of a layout and waits until they take requests, or will not: those that fail are told, as at any start.
    async fn start_beside(self: &Arc<Self>, layout: &Layout) -> io::Result<Crews> {
        let mut crews = Crews::new();
        for placed in layout.sites().filter(|placed| placed.wants_crew()) {
            crews.insert(placed.release.site.clone(), self.start_crew(placed, Past::Served)?);
        }
        for placed in layout.sites() {
            let Some(crew) = crews.get(&placed.release.site) else { continue };
            if let Err(failure) = crew.ready(placed.release.patience()).await {
                tracing::error!(
                    site = crew.site(),
                    failure = failure.summary,
                    "a site does not load"
                );
            }
        }
        Ok(crews)
    }

    /// Ends the workers of before, once nothing goes to them any more.
    fn dismiss_veterans(
        self: &Arc<Self>,
        engine: Option<Arc<Generation>>,
        veterans: Vec<Arc<Veteran>>,
    ) {
        let current = self.running.lock().engine.clone();
        let is_current = |old: &Arc<Generation>| {
            current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old))
        };
        let replaced = engine.filter(|old| !is_current(old));
        for veteran in veterans {
            let (appliance, replaced) = (Arc::clone(self), replaced.clone());
            self.tasks.spawn(async move {
                if let Some(old) = replaced {
                    old.exited().await;
                }
                veteran.drain(&appliance.workers).await;
                let mut running = appliance.running.lock();
                running.veterans.retain(|other| !Arc::ptr_eq(other, &veteran));
            });
        }
    }
}
