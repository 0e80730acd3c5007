//! Every setting of a box and of a site: parsed once, merged, checked, and handed on as plain data.
//!
//! Owns [`load_box`] (`box.toml`, `ONEBOX_*`, flags), [`load_site`] (`onebox.toml`), [`procfile`], the layout of the
//! state directory ([`Paths`]) and the names that others must keep ([`SiteName`], [`HostName`]). Everything that is
//! wrong is told at once, with its place and a hint ([`ConfigError`]). Must not know what the settings do.

mod accounts;
mod box_config;
mod document;
mod error;
mod hosts;
mod paths;
pub mod procfile;
mod section;
pub mod site;
mod types;
mod value;

pub use accounts::{Account, group_number, user_number};
pub use box_config::{
    AccessLists, AcmeSettings, BOX_FILE, BoxConfig, BoxFlags, ClientHeader, Clients, Limits,
    MetricsSettings, load_box,
};
pub use error::{ConfigError, Origin, Problem};
pub use hosts::{Hosts, Nobody, Places, below};
pub use paths::Paths;
pub use site::{PRIVATE_FILES, SITE_FILE, SiteConfig, load_site, parse_site};
pub use types::client_network;
pub use types::network as parse_network;
pub use types::{HostName, Invalid, SiteName};

/// The cookie of a login to the dashboard. Cookies know no ports: browsers send it to sites of the same host too.
pub const SESSION_COOKIE: &str = "onebox_session";
