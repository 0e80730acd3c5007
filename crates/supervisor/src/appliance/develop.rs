//! A folder in place that has changed: its processes end, and fresh ones take their place.
//!
//! Unlike at a redeploy the old ones end first: what a site opens while it is imported, and the terminal, are there once. Who
//! connects meanwhile waits in the kernel's queue, who asks while the site is loaded in the engine's.

use std::sync::Arc;
use std::time::Duration;

use onebox_config::SiteConfig;
use onebox_config::site::{IsolationChoice, ProcessLimits, Processes};

use super::layout::Crews;
use super::{Appliance, BootError, Layout, SiteRelease, Unsteady};
use crate::engine::protocol::HeirData;
use crate::workers::Past;

/// How long a request may take that is being debugged.
const LONG_ENOUGH: Duration = Duration::from_secs(7 * 86_400);
/// How long what is in flight may take: a developer waits for it.
const MERCY: Duration = Duration::from_millis(300);

impl Appliance {
    /// Serves a folder as it is now.
    ///
    /// # Errors
    /// [`BootError`] where no process can be started.
    pub(crate) async fn serve_anew(
        self: &Arc<Self>,
        release: SiteRelease,
    ) -> Result<(), BootError> {
        let _one_at_a_time = self.operation.lock().await;
        let layout = Layout::at_any_rate(vec![Arc::new(release)], &Unsteady::new());
        let (engine, crews) = {
            let mut running = self.running.lock();
            running.layout = layout.clone();
            (running.engine.take(), std::mem::take(&mut running.crews))
        };
        if let Some(engine) = engine {
            engine.drain(MERCY, HeirData::Successor).await;
        }
        crews.into_values().for_each(|crew| self.dismiss(crew));
        let mut crews = Crews::new();
        for placed in layout.sites().filter(|placed| placed.wants_crew()) {
            crews.insert(placed.release.site.clone(), self.start_crew(placed, Past::Unproven)?);
        }
        let fresh = self.start_engine(&layout, &crews)?;
        self.running.lock().crews = crews;
        self.install(fresh).await;
        Ok(())
    }
}

/// What holds for a site in development: one thread, in the engine, as long as whoever debugs it wants. Returns the variables that
/// it starts with.
pub(super) fn settings(config: &mut SiteConfig) -> Vec<(String, String)> {
    config.isolation = IsolationChoice::Embedded;
    config.processes = Processes::Fixed(1);
    config.process_limits = ProcessLimits::default();
    (config.threads, config.idle) = (1, None);
    (config.harakiri, config.deadlock_timeout) = (LONG_ENOUGH, LONG_ENOUGH);
    config.reload_mercy = Duration::from_secs(1);
    // Compiled files are compared by the second, and a developer is faster.
    let wanted = [("FLASK_DEBUG", "1"), ("PYTHONDONTWRITEBYTECODE", "1")];
    let is_free = |name: &str| !config.env.contains_key(name) && std::env::var_os(name).is_none();
    let free = wanted.iter().filter(|(name, _)| is_free(name));
    free.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
