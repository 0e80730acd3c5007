//! What a process told of its waits for the GIL, until the sampler takes it.

use onebox_app_server::GilStalls;
use parking_lot::Mutex;

/// The waits of one process that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct StallCounter(Mutex<GilStalls>);

impl StallCounter {
    /// Adds what was told.
    pub(crate) fn add(&self, told: GilStalls) {
        self.0.lock().merge(told);
    }

    /// What was told since the last call.
    pub(crate) fn take(&self) -> GilStalls {
        std::mem::take(&mut *self.0.lock())
    }
}
