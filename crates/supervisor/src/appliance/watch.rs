//! What is seen to by itself: an engine that dies is replaced at once, and the engine learns of workers that come and go.

use std::sync::Arc;
use std::time::Instant;

use super::Appliance;
use crate::engine::Generation;
use crate::logs::Source;

impl Appliance {
    /// Watches the current engine until it is replaced or the appliance ends.
    pub(super) fn watch_engine(self: &Arc<Self>, generation: Arc<Generation>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            let exit = tokio::select! {
                exit = generation.exited() => exit,
                () = appliance.shutdown.cancelled() => return,
            };
            let pause = {
                let mut running = appliance.running.lock();
                if !running.engine.as_ref().is_some_and(|engine| Arc::ptr_eq(engine, &generation)) {
                    return;
                }
                running.engine = None;
                running.crashes += 1;
                running.back_off.after_end(Instant::now())
            };
            tracing::error!(generation = generation.number, %exit, ?pause, "engine ended by itself");
            if let Some(embedded) = &generation.embedded {
                let text = format!("the engine {exit}; the next one starts in {pause:?}");
                appliance.logs.write(&embedded.site, Source::Onebox, &text);
            }
            appliance.announce();
            tokio::select! {
                () = tokio::time::sleep(pause) => appliance.replace_engine().await,
                () = appliance.shutdown.cancelled() => {}
            }
        });
    }

    /// Starts an engine where there is none; it accepts at once, and requests of a site that is still loading wait.
    async fn replace_engine(self: &Arc<Self>) {
        loop {
            let (layout, crews) = {
                let running = self.running.lock();
                if running.engine.is_some() {
                    return;
                }
                (running.layout.clone(), running.crews.clone())
            };
            let error = match self.start_engine(&layout, &crews) {
                Ok(engine) => return self.install(engine).await,
                Err(error) => error,
            };
            let pause = self.running.lock().back_off.after_end(Instant::now());
            tracing::error!(%error, ?pause, "no engine can be started");
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => return,
            }
        }
    }

    /// Makes a fresh engine the current one, unless an operation was faster.
    pub(super) async fn install(self: &Arc<Self>, engine: Arc<Generation>) {
        let is_current = {
            let mut running = self.running.lock();
            let is_free = running.engine.is_none() && !self.shutdown.is_cancelled();
            if is_free {
                running.engine = Some(Arc::clone(&engine));
            }
            is_free
        };
        if !is_current {
            return engine.kill().await;
        }
        engine.accept();
        // What changed since its configuration was made.
        self.publish();
        self.watch_engine(engine);
    }

    /// Passes on to the engine which workers there are, whenever one comes or goes.
    pub(super) fn watch_workers(self: &Arc<Self>) {
        let appliance = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::select! {
                    () = appliance.workers.changed.notified() => {
                        appliance.publish();
                    }
                    () = appliance.shutdown.cancelled() => return,
                }
            }
        });
    }
}
