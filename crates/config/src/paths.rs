//! Where things lie below the state directory: the one place that knows these names.

use std::path::{Path, PathBuf};

/// The layout of a state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    state_dir: PathBuf,
}

impl Paths {
    /// The layout below `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into() }
    }

    /// The state directory itself.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// `run/`: sockets and what else ends with the process.
    pub fn run_dir(&self) -> PathBuf {
        self.state_dir.join("run")
    }

    /// `run/control.sock`: the admin API for the command line.
    pub fn control_socket(&self) -> PathBuf {
        self.run_dir().join("control.sock")
    }

    /// `state.db`: small, precious.
    pub fn state_db(&self) -> PathBuf {
        self.state_dir.join("state.db")
    }

    /// `metrics.db`: may be deleted.
    pub fn metrics_db(&self) -> PathBuf {
        self.state_dir.join("metrics.db")
    }

    /// `certificates/`: the box's own authority, and for each other one what it gave.
    pub fn certificates(&self) -> PathBuf {
        self.state_dir.join("certificates")
    }

    /// `certificates/authority/`: the root of the box's own authority.
    pub fn authority(&self) -> PathBuf {
        self.certificates().join("authority")
    }

    /// Its root, in PEM, for whoever wants to believe it.
    pub fn authority_root(&self) -> PathBuf {
        self.authority().join("root.pem")
    }

    /// `runtime/`: the runtime library, a folder for each version of it.
    pub fn runtime_dir(&self) -> PathBuf {
        self.state_dir.join("runtime")
    }

    /// `tmp/`: spooled bodies and uploads.
    pub fn temp_dir(&self) -> PathBuf {
        self.state_dir.join("tmp")
    }

    /// `cache/`: stored answers of sites that want them on the disk.
    pub fn cache_dir(&self) -> PathBuf {
        self.state_dir.join("cache")
    }

    /// `logs/`: the appliance's own log; a site's logs are in [`Self::logs`].
    pub fn box_logs(&self) -> PathBuf {
        self.state_dir.join("logs")
    }

    /// `sites/`
    pub fn sites_dir(&self) -> PathBuf {
        self.state_dir.join("sites")
    }

    /// `sites/NAME/`; `name` is a checked [`SiteName`](crate::SiteName).
    pub fn site_dir(&self, name: &str) -> PathBuf {
        self.sites_dir().join(name)
    }

    /// `sites/NAME/releases/`
    pub fn releases(&self, name: &str) -> PathBuf {
        self.site_dir(name).join("releases")
    }

    /// `sites/NAME/shared/`: what lives across releases.
    pub fn shared(&self, name: &str) -> PathBuf {
        self.site_dir(name).join("shared")
    }

    /// `sites/NAME/home/`: the home of a site's user that has none of its own.
    pub fn home(&self, name: &str) -> PathBuf {
        self.site_dir(name).join("home")
    }

    /// `logs/NAME/`: what a site wrote and answered.
    pub fn logs(&self, name: &str) -> PathBuf {
        self.box_logs().join(name)
    }
}
