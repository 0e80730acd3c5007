//! Counters and histograms of the request path, and what they say at one moment.
//!
//! Owns [`SiteMetrics`] (atomics only: recording takes no lock, and allocates nothing but a route that it did not know and an octave
//! that a histogram did not have), the [`PhaseClock`] of one request, and [`Snapshot`], which is data: it travels from the engine to the supervisor, is subtracted, merged and
//! stored. Must not know HTTP, files, or who reads it.

mod cache;
mod dropped;
mod histogram;
mod packed;
mod phases;
mod registry;
mod releases;
mod routes;
mod site;
mod snapshot;
mod traffic;

pub use cache::{CacheMetrics, CacheOutcome, CacheSnapshot};
pub use dropped::{DropMetrics, DropSnapshot, Dropped};
pub use histogram::{Histogram, HistogramSnapshot};
pub use packed::{pack, unpack};
pub use phases::{Phase, PhaseClock, PhaseDurations};
pub use registry::Registry;
pub use releases::Releases;
pub use routes::Routes;
pub use site::{Finished, InFlight, ServedBy, SiteMetrics};
pub use snapshot::{SiteSnapshot, Snapshot};
pub use traffic::{Traffic, TrafficSnapshot};
