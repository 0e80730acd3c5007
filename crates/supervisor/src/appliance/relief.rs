//! An engine whose interpreter is wedged is replaced by a fresh one, while it serves what it still can.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Appliance;
use super::change::{Change, Renew, nobody};
use crate::engine::Generation;
use crate::logs::Source;

/// After this a fresh engine is tried again where the last one did not hold.
const AGAIN_AFTER: Duration = Duration::from_secs(10);

impl Appliance {
    /// Watches the interpreter of the current engine until it is replaced or the appliance ends.
    pub(super) fn watch_interpreter(self: &Arc<Self>, generation: Arc<Generation>) {
        let Some(embedded) = generation.embedded.clone() else { return };
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            let wedged = tokio::select! {
                wedged = generation.wedged() => wedged,
                () = appliance.shutdown.cancelled() => return,
            };
            if wedged.is_none() || !appliance.is_current(&generation) {
                return;
            }
            let unsteady =
                appliance.running.lock().unsteady_after(embedded.site.clone(), Instant::now());
            if let Some((site, proof)) = unsteady {
                appliance.isolate(&site, proof).await;
            }
            // Unless the site has left it by that.
            while appliance.is_current(&generation)
                && !appliance.relieve(&generation, &embedded.site).await
            {
                tokio::select! {
                    () = tokio::time::sleep(AGAIN_AFTER) => {}
                    () = appliance.shutdown.cancelled() => return,
                }
            }
        });
    }

    fn is_current(&self, generation: &Arc<Generation>) -> bool {
        let running = self.running.lock();
        running.engine.as_ref().is_some_and(|engine| Arc::ptr_eq(engine, generation))
    }

    /// Puts a fresh engine in the place of this one; whether nothing more is to be done.
    async fn relieve(self: &Arc<Self>, generation: &Arc<Generation>, site: &str) -> bool {
        let _one_at_a_time = self.operation.lock().await;
        if !self.is_current(generation) {
            return true;
        }
        let events = &nobody();
        let change = Change { target: self.layout(), site, renew: Renew::Replace, events };
        let relieved = self.change(change, async { Ok(()) }).await;
        let text = match &relieved {
            Ok(()) => "a fresh engine has taken over".to_owned(),
            Err(failure) => format!("no fresh engine could take over: {failure}"),
        };
        tracing::warn!(site, generation = generation.number, text, "wedged engine");
        self.logs.write(site, Source::Onebox, &text);
        relieved.is_ok()
    }
}
