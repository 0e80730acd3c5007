//! Every setting of a box and of a site: parsed once, merged, checked, and handed on as plain data.

mod box_config;
mod error;
mod paths;
pub mod site;

pub use box_config::{BoxConfig, BoxFlags, Limits};
pub use error::{ConfigError, Origin, Problem};
pub use paths::Paths;
pub use site::SiteConfig;
